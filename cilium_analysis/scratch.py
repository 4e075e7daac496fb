"""Temporary directories, named by their process: those of a killed process are removed later."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

#: Short, since paths of sockets lie below.
_NAME = re.compile(r"ca-(?P<process>[0-9]{1,9})-.+", re.ASCII)


def scratch() -> Path:
    """Make a temporary directory; the caller removes it."""
    return Path(mkdtemp(prefix=f"ca-{os.getpid()}-"))


def clear() -> None:
    """Remove the temporary directories of processes that have ended."""
    for path in Path(gettempdir()).glob("ca-*"):
        named = _NAME.fullmatch(path.name)
        with suppress(OSError):
            mine = path.lstat().st_uid == os.getuid() if hasattr(os, "getuid") else False
            if named and mine and path.is_dir() and _is_gone(int(named["process"])):
                shutil.rmtree(path, ignore_errors=True)


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it runs, and belongs to another user
        return False
    return False
