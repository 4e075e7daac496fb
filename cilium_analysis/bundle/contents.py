"""What the answers of a bundle are about: metrics, labels and their values. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cilium_analysis.metrics import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAMED = re.compile(r'__name__\s*=~?\s*"([^"]*)"')
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def metric_of(match: str) -> str:
    """Give the metric that a selector names; empty if it names none."""
    found = _WORD.match(match.strip())
    return found[0] if found else ""


def metrics_of(queries: Iterable[str]) -> list[str]:
    """List the metrics that queries ask for, sorted, as far as they are known or Cilium's."""
    found: set[str] = set()
    for promql in queries:
        named = (name for text in _NAMED.findall(promql) for name in _WORD.findall(text))
        found.update(named, _WORD.findall(_STRING.sub('""', promql)))
    return sorted(name for name in found if name == "up" or find(name) is not None)


def label_names(frames: Iterable[pd.DataFrame]) -> list[str]:
    """List the labels of frames, sorted."""
    return sorted({str(name) for frame in frames for name in frame.columns.names} - {"__name__"})


def label_values(frames: Iterable[pd.DataFrame], name: str) -> list[str]:
    """List the values that a label has in frames, sorted."""
    held = (frame.columns for frame in frames if name in frame.columns.names)
    values = {str(value) for columns in held for value in columns.unique(name)}
    return sorted(values - {""})
