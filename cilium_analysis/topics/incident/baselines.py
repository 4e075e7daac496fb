"""A baseline that was itself an incident: found by looking the other way round, and left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from cilium_analysis.findings import Finding

#: What each question counted in the window, and the same in the baseline.
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "drop_reasons": (("counts", "usual"), ("seen", "usual_seen")),
    "http_status": (
        ("counts", "usual"),
        ("durations", "usual_durations"),
        ("refused", "usual_refused"),
        ("proxy", "usual_proxy"),
    ),
    "dns": (("counts", "usual"), ("asked", "usual_asked"), ("seen", "usual_seen")),
}
#: So much of a baseline must be left to compare with.
ENOUGH = 0.25


def cleaned(name: str, module: ModuleType, data: Any) -> tuple[Any, tuple[Finding, ...]]:
    """Take out of a baseline what would be a finding if it were the window.

    Parameters
    ----------
    name
        Of the question.
    module
        Of the question; its ``findings`` is asked with window and baseline swapped.
    data
        What the question loaded.

    Returns
    -------
    tuple
        The data with what is left of its baseline, and what was found in it. The data as they
        are if nothing was, or if too little would be left.
    """
    if name not in PAIRS or data.baseline.end > data.window.start:
        return data, ()
    found = [f for f in module.findings(_swapped(name, data)) if _counts(f)]
    if not found:
        return data, ()
    changes = {usual: _without(getattr(data, usual), found) for _, usual in PAIRS[name]}
    first = PAIRS[name][0][1]
    if len(changes[first]) < ENOUGH * len(getattr(data, first)):
        return data, tuple(found)
    return replace(data, **changes), tuple(found)


def _swapped(name: str, data: Any) -> Any:
    """Give the data with the baseline in place of the window."""
    swapped = {a: getattr(data, b) for pair in PAIRS[name] for a, b in (pair, pair[::-1])}
    return replace(data, window=data.baseline, baseline=data.window, **swapped)


def _counts(finding: Finding) -> bool:
    return finding.severity >= Severity.WARNING and finding.kind != "missing_metrics"


def _without(frame: pd.DataFrame, found: Sequence[Finding]) -> pd.DataFrame:
    index = pd.DatetimeIndex(frame.index)
    keep = pd.Series(data=True, index=index)
    for finding in found:
        first, last = pd.Timestamp(finding.start), pd.Timestamp(finding.end)
        keep &= ~((index > first) & (index <= last))
    return frame.loc[keep.to_numpy()]
