"""What topics loaded of a recording, and found: held for processes that are forked from this one.

A run's notebooks are about one recording. The process that their kernels are forked from loads each
topic once; the topic's own notebook and the incident's then have it.
"""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cilium_analysis.source import Relay, note, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from cilium_analysis.findings import Findings
    from cilium_analysis.source import Said, Source
    from cilium_analysis.window import Window

    #: Topic, recording, window, baseline and matchers.
    Key = tuple[str, Path, Window, Window, str]

Data = TypeVar("Data")

_LOADED: dict[Key, tuple[Any, Said]] = {}
#: By what they were found in, which stays alive with what is held.
_FOUND: dict[int, Findings] = {}
_is_holding = False


def hold() -> None:
    """Hold from now on what is loaded in this process."""
    global _is_holding
    _is_holding = True


def key(topic: str, source: Source, window: Window, baseline: Window, *, match: str) -> Key | None:
    """Name what is loaded; None where nothing is held, or of a server, whose answers change."""
    while isinstance(source, Relay):
        source = source.source
    directory = getattr(source, "directory", None)
    if not _is_holding or not isinstance(directory, Path):
        return None
    return topic, directory.resolve(), window, baseline, match


def loaded(key: Key | None, source: Source) -> Any:
    """Give what was loaded, and tell again what the recording said then; None if nothing was."""
    if key is None or key not in _LOADED:
        return None
    data, said = _LOADED[key]
    for record in said.records:
        note(source, record)
    tell(refusals=said.refusals)
    return data


def keep(key: Key | None, data: object, said: Said) -> None:
    """Hold what was loaded under a name, and what the recording said meanwhile."""
    if key is not None:
        _LOADED[key] = data, said


def found(find: Callable[[Data], Findings]) -> Callable[[Data], Findings]:
    """Make a topic's ``findings``: of what is held they are found once.

    Parameters
    ----------
    find
        Finds them in what the topic loaded.
    """

    @wraps(find)
    def once(data: Data) -> Findings:
        known = _FOUND.get(id(data))
        if known is None:
            known = find(data)
            if any(data is each for each, _ in _LOADED.values()):
                _FOUND[id(data)] = known
        return known

    return once
