"""What a source has answered and refused since a topic began to ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.source import weighed
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from cilium_analysis.queries import Query
    from cilium_analysis.source import Source

#: Longest reason of a server that is told [characters].
LONGEST = 300


@dataclass(frozen=True)
class Mark:
    """A moment: how many answers, and refusals, a source had given."""

    answers: int
    refusals: int


def mark(source: Source) -> Mark:
    """Give the moment at which a topic begins to ask."""
    return Mark(len(source.journal), len(_REFUSED.get(source, ())))


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
        return f"the server refused to tell of {self.query.about}: {why}"


#: What sources have refused.
_REFUSED: WeakKeyDictionary[Source, list[Refusal]] = WeakKeyDictionary()


def answered(
    source: Source, query: Query, ask: Callable[[], pd.DataFrame], *, strict: bool = False
) -> pd.DataFrame:
    """Give an answer; nothing where the server refuses it, and remember that it did.

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
        with weighed(source):
            return ask()
    except (BudgetExceeded, QueryRejected) as problem:
        if strict:
            raise
        _REFUSED.setdefault(source, []).append(Refusal(query, problem))
        return frames.empty()


def refused(source: Source, since: Mark) -> tuple[Refusal, ...]:
    """Give what a source has refused since a moment."""
    return tuple(_REFUSED.get(source, ())[since.refusals :])


def warnings(source: Source, since: Mark) -> tuple[str, ...]:
    """Collect what the server said beside its answers since a moment, each thing once."""
    answers = source.journal[since.answers :]
    return tuple(sorted({text for record in answers for text in record.warnings}))
