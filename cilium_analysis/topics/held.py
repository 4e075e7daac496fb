"""What topics loaded of a recording and found there, once for all processes of a run.

A run's notebooks are about one recording. The process that their kernels are forked from loads each
topic once, see `cilium_analysis.source.share`; the topic's own notebook and the incident's have it.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from cilium_analysis.source import Once

if TYPE_CHECKING:
    from collections.abc import Callable

    from cilium_analysis.findings import Findings
    from cilium_analysis.window import Window

Data = TypeVar("Data")

#: By topic, window, baseline and matchers.
LOADED: Once[tuple[str, Window, Window, str], Any] = Once(only_shared=True)
#: By what they were found in, which stays alive with what is shared.
_FOUND: dict[int, Findings] = {}


def found(find: Callable[[Data], Findings]) -> Callable[[Data], Findings]:
    """Make a topic's ``findings``: in what is shared they are found once.

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
            if LOADED.holds(data):
                _FOUND[id(data)] = known
        return known

    return once
