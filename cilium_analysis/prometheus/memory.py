"""How large one answer may be, by the memory that is there."""

from __future__ import annotations

import os
from pathlib import Path

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
#: Limit and use of a container, in the files of cgroups version 2 and 1.
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
#: An answer that has to be parsed as a whole takes about eight times its size.
_SHARE = 8
#: Far more than any request is planned to bring, see `planning` [bytes].
_LARGEST = 1 << 30
_UNKNOWN = 4 << 30


def largest_answer() -> int:
    """Give how large an answer may be by default [bytes]."""
    return min(_LARGEST, available() // _SHARE)


def available() -> int:
    """Give the memory that is free for use, in this container too [bytes]."""
    found = [free for limit, used in _LIMITS if (free := _free(_GROUP / limit, _GROUP / used))]
    return min([*found, _of_machine()])


def _free(limit: Path, used: Path) -> int:
    """Give what a container may still use; 0 where it has no limit."""
    try:
        return max(int(limit.read_text()) - int(used.read_text()), 1)
    except (OSError, ValueError):  # version 2 writes "max" where there is none
        return 0


def _of_machine() -> int:
    try:
        words = _MEMORY.read_text().split()
        return int(words[words.index("MemAvailable:") + 1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN
