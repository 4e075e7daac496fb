"""Who talks to whom in Hubble's metrics, whichever context labels are configured.

Hubble's options sourceContext, destinationContext and labelsContext decide which labels there
are (pkg/hubble/metrics/api/context.go).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.metrics.known import CONTEXT_LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The context labels as they stand in the ``by (…)`` of a query.
CONTEXT = ", ".join(CONTEXT_LABELS)


def name_parties(frame: pd.DataFrame, keep: tuple[str, ...]) -> pd.DataFrame:
    """Name both ends of what Hubble counted.

    Parameters
    ----------
    frame
        Label frame with context labels.
    keep
        Other labels to keep.

    Returns
    -------
    pandas.DataFrame
        Label frame with the labels kept, ``source`` and ``destination``; an end that no label
        names is ``""``. Series that no longer differ are added up.
    """
    table = frames.labels(frame)
    named = frames.relabel(frame, "source", party(table, "source"))
    named = frames.relabel(named, "destination", party(table, "destination"))
    return frames.group(named, [*keep, "source", "destination"])


def swapped(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a frame with source and destination exchanged, as for what answers are counted by."""
    turned = {"source": "destination", "destination": "source"}
    names = [_turned(str(name), turned) for name in frame.columns.names]
    table = frames.labels(frame)
    table.columns = pd.Index(names)
    result = frame.copy(deep=False)
    result.columns = pd.MultiIndex.from_frame(table[sorted(names)])
    return result


def _turned(name: str, turned: Mapping[str, str]) -> str:
    side, mark, rest = name.partition("_")
    return turned.get(side, side) + mark + rest


def column(table: pd.DataFrame, name: str) -> list[str]:
    """Give a label of every series; ``""`` where there is none."""
    return [str(value) for value in table[name]] if name in table else [""] * len(table)


def party(table: pd.DataFrame, side: str) -> list[str]:
    """Name one end: workload or app within its namespace, else whatever context there is.

    Parameters
    ----------
    table
        Labels, one row per series.
    side
        ``source`` or ``destination``.
    """
    spaces = column(table, f"{side}_namespace")
    names = [
        next((name for name in row if name), "")
        for row in zip(
            *(column(table, f"{side}_{part}") for part in ("workload", "app", "pod", "ip")),
            strict=True,
        )
    ]
    joined = ["/".join(part for part in pair if part) for pair in zip(spaces, names, strict=True)]
    contexts = column(table, side)
    return [whole or context for whole, context in zip(joined, contexts, strict=True)]
