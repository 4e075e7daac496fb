"""What a server refuses: the topic goes on without it, and says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, NamesNoWorkload, QueryRejected
from cilium_analysis.source import as_recorded, tell, weighed
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from cilium_analysis.queries import Query
    from cilium_analysis.source import Source

#: Longest reason of a server that is told [characters].
LONGEST = 300


@dataclass(frozen=True)
class Refusal:
    """A query that the server refused: what depends on it is not known.

    Parameters
    ----------
    query
        That was refused.
    problem
        As the source raised it.
    """

    query: Query
    problem: BudgetExceeded | QueryRejected

    def __str__(self) -> str:
        why = clipped(line(self.problem.why), LONGEST)
        if isinstance(self.problem, NamesNoWorkload):
            return f"{why} names no workloads (Hubble: labelsContext)"
        return f"the server refused to tell of {self.query.about}: {why}"


def answered(
    source: Source, query: Query, ask: Callable[[], pd.DataFrame], *, strict: bool = False
) -> pd.DataFrame:
    """Give an answer; no series where the server refuses it, which those who follow are told.

    Parameters
    ----------
    source, query
        What is asked what.
    ask
        Asks it.
    strict
        As for `fetch`.
    """
    try:
        with weighed(source), as_recorded():
            return ask()
    except (BudgetExceeded, QueryRejected) as problem:
        if strict:
            raise
        tell(refusals=[Refusal(query, problem)])
        return frames.empty()
