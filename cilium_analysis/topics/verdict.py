"""What keeps a question from being answered: no scrapes, no metric, nothing to compare with.

Each topic says so in its ``unknown``; none of its reasons means that the question can be answered,
and only then does "nothing unusual" hold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.findings import Findings, Unknown
from cilium_analysis.texts import percent
from cilium_analysis.topics import loading

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from numpy.typing import NDArray

    from cilium_analysis.findings import Finding
    from cilium_analysis.topics.remarks import Remarks
    from cilium_analysis.window import Window

    class _Data(Protocol):
        """What every topic loads."""

        @property
        def source(self) -> str: ...
        @property
        def window(self) -> Window: ...
        @property
        def baseline(self) -> Window: ...
        @property
        def remarks(self) -> Remarks: ...


#: Topics that can be judged where nothing is measured: they say so.
ABOUT_MONITORING = frozenset({"setup_check"})
#: A node that was scraped in less than this share of the steps has gaps.
WHOLE = 0.98
#: Targets that were scraped in less than this share of the window leave most of it unknown.
ENOUGH = 0.5
NO_AGENTS = "no metrics of Cilium agents in this window"


def told(data: _Data, found: Iterable[Finding], *, topic: str, unknown: Iterable[str]) -> Findings:
    """Give the findings of a topic with what keeps it from an answer.

    Parameters
    ----------
    data
        What the topic loaded.
    found
        In any order.
    topic
        Name of the notebook.
    unknown
        Reasons why the question cannot be answered; none if it can.
    """
    reasons, remarks = tuple(unknown), data.remarks
    if refused(remarks):
        # What was not told is not missing.
        found = [each for each in found if each.kind != "missing_metrics"]
    doubted = (
        replace(
            each,
            trust_reasons=(*each.trust_reasons, *remarks.caveats),
            query=remarks.asked(each.query),
            labels=remarks.singled_out(each.labels),
        )
        for each in found
    )
    return Findings(
        data.source,
        data.window,
        data.baseline,
        tuple(doubted),
        topic=topic,
        unknown=(Unknown(topic, reasons),) if reasons else (),
    )


def refused(remarks: Remarks) -> tuple[str, ...]:
    """Give what a server refused to tell that a topic cannot be judged without."""
    return tuple(dict.fromkeys(str(each) for each in remarks.refused if not each.query.spare))


def rarely_scraped(seen: pd.DataFrame, what: str) -> tuple[str, ...]:
    """Say when most of the window is unknown, as hardly anything was scraped in it.

    Parameters
    ----------
    seen
        Frame of bool, one column per node; without columns nothing tells.
    what
        That was scraped, in the plural.
    """
    if not seen.size:
        return ()
    share = float(scraped(seen).mean())
    if share >= ENOUGH:
        return ()
    return (f"{what} were scraped in only {percent(share)} of the window",)


def scraped(seen: pd.DataFrame) -> pd.Series:
    """Give the share of the steps in which each node was scraped, or could not have been yet.

    Parameters
    ----------
    seen
        Frame of bool, one column per node.

    Returns
    -------
    pandas.Series
        0 to 1. All pages tell it from this one, so that they tell the same.
    """
    shares = {node: _known(column.to_numpy(dtype=bool)) for node, column in seen.items()}
    return pd.Series(shares, dtype="float64")


def _known(seen: NDArray[np.bool_]) -> float:
    """Give the share of the steps since whose last scrape no other was due."""
    rows = np.arange(len(seen))
    last = np.maximum.accumulate(np.where(seen, rows, -1))
    return float((rows - last < loading.spacing(seen)).mean()) if seen.any() else 0.0


def gaps(seen: pd.DataFrame, window: Window, *, of: str = "") -> list[str]:
    """Say for how long nodes were not scraped, where that is long enough to matter.

    Parameters
    ----------
    seen
        As for `scraped`.
    window
        Its rows are steps of it.
    of
        What runs on the nodes, if it is not the agent.
    """
    minutes = window.length.total_seconds() / 60
    return [
        f"{of}{node} was not scraped for {(1.0 - share) * minutes:.0f} of the window's"
        f" {minutes:.0f} minutes."
        for node, share in scraped(seen).items()
        if share < WHOLE
    ]


def started(restarts: pd.DataFrame) -> list[str]:
    """Say when agents started; all pages say it in the same words.

    Parameters
    ----------
    restarts
        ``time`` and ``node``.
    """
    return [
        f"The agent on {row['node']} started at {row['time']:%Y-%m-%d %H:%M:%S}Z."
        for _, row in restarts.iterrows()
    ]


def no_baseline(*usual: pd.DataFrame, what: str, fact: str = "") -> tuple[str, ...]:
    """Say when the baseline holds nothing to compare with.

    Parameters
    ----------
    usual
        Frames of the baseline; any of them with series is something.
    what
        That is missing.
    fact
        What the window has all the same, as a whole clause.
    """
    if any(frame.shape[1] and frame.notna().to_numpy().any() for frame in usual):
        return ()
    said = f"{fact}, and " if fact else ""
    return (f"{said}{what} in the baseline: what is usual is not known",)
