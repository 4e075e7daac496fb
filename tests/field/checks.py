"""What the tests of field cases have in common: near enough, in time, and said in which words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.field.asking import Told, when
from tests.field.make import MINUTE, START, Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Words that say that scrapes are missing; none is true where targets are scraped rarely.
GAPS = re.compile(
    r"scraped in only|was not scraped|not scraped for|nothing was scraped|scrapes? (are|is) missing"
    r"|not in the data for|did not answer",
    re.IGNORECASE,
)


def near(value: float, share: float = 0.01) -> Any:
    """Compare with what is true, to within a share of it."""
    return pytest.approx(value, rel=share)


def lasts(finding: dict[str, Any], first: float, last: float, *, within: float) -> None:
    """Check that a finding begins and ends at these minutes of the window, to within [s]."""
    begins, ends = when(finding["start"]), when(finding["end"])
    assert abs(begins - (START + MINUTE * first)) <= within, finding["start"]
    assert abs(ends - (START + MINUTE * last)) <= within, finding["end"]


def no_gaps(told: Told) -> None:
    """Check that nothing is said about missing scrapes."""
    said = [line for line in told.said().splitlines() if GAPS.search(line)]
    assert not said, said


def nowhere(told: Told) -> None:
    """Check that no place is invented where none is known: "on :" or "on ,"."""
    titles = [each["title"] for each in told.all_findings]
    assert not [title for title in titles if re.search(r"\bon\s*([:,]|$)", title)], titles


def counted_in(metrics: Metrics, name: str, *, after: int, until: int, **labels: str) -> float:
    """Give what the series of a name with these labels gained between two times, of no reset."""
    return sum(
        _gained(dict(samples), after, until)
        for key, samples in metrics.series[name].items()
        if labels.items() <= dict(key).items()
    )


def _gained(samples: dict[float, float], after: int, until: int) -> float:
    before = [time for time in samples if time <= after]
    inside = [time for time in samples if time <= until]
    first = max(before) if before else min(samples)
    return samples[max(inside)] - samples[first] if inside else 0.0


def said_any(told: Told, words: Iterable[str]) -> bool:
    """Tell whether any of these is said."""
    text = told.said()
    return any(word in text for word in words)
