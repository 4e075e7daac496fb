"""Metrics that the user's label matchers leave out whole, as none of their series has the label.

A metric without any matching series would look like one that is not exported, or like quiet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, BundleError, QueryRejected
from cilium_analysis.metrics.known import CONTEXT_LABELS
from cilium_analysis.queries import Matcher, Query, count_each, parse_matchers, selected
from cilium_analysis.source import tell
from cilium_analysis.targets.histograms import HISTOGRAMS
from cilium_analysis.texts import counted
from cilium_analysis.topics import answers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from cilium_analysis.source import Said, Source
    from cilium_analysis.window import Window

_OURS = ("cilium_", "hubble_")
#: Endings of the series of one histogram.
_ENDINGS = ("_bucket", "_count", "_sum")
#: Metrics in a query: servers and proxies limit its length.
_AT_ONCE = 60


@dataclass(frozen=True)
class Silenced:
    """What matchers leave out.

    Parameters
    ----------
    match
        The matchers, as the user wrote them.
    metrics
        By matcher: metrics that exist, but never with its label.
    """

    match: str = ""
    metrics: Mapping[Matcher, tuple[str, ...]] = field(default_factory=dict)

    @property
    def said(self) -> tuple[str, ...]:
        """A clause for each matcher that leaves something out."""
        return tuple(
            f"the matcher {matcher} leaves out {counted(len(names), 'metric')} without the label"
            f" {matcher.label}"
            for matcher, names in self.metrics.items()
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that name the metrics."""
        said = [
            f"The matcher {matcher} leaves out what has no label {matcher.label}:"
            f" {', '.join(names)}."
            for matcher, names in self.metrics.items()
        ]
        if any(matcher.label in CONTEXT_LABELS for matcher in self.metrics):
            said.append(
                "To narrow only what Hubble saw, name the workloads instead (--namespace,"
                " --workload, or --from and --to; the parameter workloads of a notebook)."
            )
        return tuple(said)

    def explain(self, unknown: Iterable[str]) -> tuple[str, ...]:
        """Add to reasons why a question cannot be answered what the matchers leave out."""
        reasons = tuple(unknown)
        return (*reasons, *self.said) if reasons else ()

    def any_of(self, metrics: Collection[str]) -> bool:
        """Tell whether any of these metrics is left out."""
        return any(name in names for name in metrics for names in self.metrics.values())


def silenced(source: Source, window: Window, *, match: str, said: Said) -> Silenced:
    """Find what matchers leave out of what a topic asked for.

    A metric is left out by a matcher if a series without its label cannot match, if some series
    of the metric lack the label, and none has it: at the start, middle and end of the window.

    Parameters
    ----------
    source, window, match
        As for a topic's ``load``.
    said
        What the source answered to the topic.
    """
    needed = [each for each in parse_matchers(match) if each.needs_label]
    asked, found = set[str](), set[str]()
    for record in said.records if needed else ():
        names = {name for name in selected(record.promql) if name.startswith(_OURS)}
        asked |= names
        # A series of several metrics may be of any of them.
        found |= names if record.series and len(names) == 1 else set()
    left = {}
    for matcher in needed:
        # What another matcher excludes anyway, such as another cluster, tells nothing of this one.
        rest = [
            mild
            for each in parse_matchers(match)
            if each.label != matcher.label and (mild := each.or_without())
        ]
        have, lack = (Matcher(matcher.label, operator, "") for operator in ("!=", "="))
        without = _there(source, window, asked - found, [lack, *rest])
        others = _there(source, window, without or set(), [have, *rest])
        if without is None or others is None:  # not known
            continue
        if names := without - others:
            left[matcher] = tuple(sorted({_plain(name) for name in names}))
    return Silenced(match, left)


def _there(
    source: Source, window: Window, metrics: set[str], match: Sequence[Matcher]
) -> set[str] | None:
    """Give those of some metrics of which there is a series that matches; None if not known."""
    step = timedelta(seconds=math.ceil(window.length.total_seconds() / 2))
    moments = replace(window, start=window.end - 2 * step, step=step)
    there: set[str] = set()
    names = sorted(metrics)
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        query = Query(count_each(some), "series", f"which metrics have {match[0]}", spare=True)
        ask = partial(source.range, query.render(match=match, step=step), moments)
        try:
            frame = answers.answered(source, query, ask, strict=True)
        except BundleError:  # recorded before this was asked, or for another window
            return None
        except (BudgetExceeded, QueryRejected) as problem:
            tell(refusals=[answers.Refusal(query, problem)])
            return None
        there |= set(frames.values(frame, "metric"))
    return there


def _plain(name: str) -> str:
    """Give the name of a histogram for that of one of its series; other names as they are."""
    base = next((name.removesuffix(each) for each in _ENDINGS if name.endswith(each)), "")
    return base if base in HISTOGRAMS else name
