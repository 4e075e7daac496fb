"""Findings that are one story: what one root change shows as, in order. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import Severity
from cilium_analysis.topics.incident.links import DEPTH, may_show_as

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cilium_analysis.findings import Finding

#: An onset is known no better than this: a scrape, a step, and the clock of who looks.
ONSET = timedelta(minutes=2)
#: Findings whose places are both named belong together only if these agree.
_PLACES = ("node", "namespace", "workload", "destination", "source", "map_name")


@dataclass(frozen=True)
class Story:
    """One thing that happened, and everything it shows as.

    Parameters
    ----------
    lead
        The finding to act on.
    evidence
        The others, in order of their onset.
    """

    lead: Finding
    evidence: tuple[Finding, ...] = ()

    @property
    def members(self) -> tuple[Finding, ...]:
        """All findings, the lead first."""
        return (self.lead, *self.evidence)

    @property
    def severity(self) -> Severity:
        """Highest of all."""
        return max(finding.severity for finding in self.members)

    def told(self) -> Finding:
        """Give the lead, with the rest as its evidence, as severe as the worst of them."""
        return replace(self.lead, severity=self.severity, evidence=self.evidence)


def stories(found: Iterable[Finding], *, step: timedelta) -> list[Story]:
    """Put findings that one root change may have brought about together, and rank the stories.

    Two findings are one story if the kind of one tends to show as the other's
    (`cilium_analysis.topics.incident.links`), it did not begin clearly later, they overlap, and
    the places that both name agree. Nothing is called a cause: a story is what to read together.

    Parameters
    ----------
    found
        Of all questions.
    step
        Of the window: an onset is no sharper.

    Returns
    -------
    list of Story
        The most severe first; then those with more to show for themselves, and the earlier.
    """
    findings = sorted(found, key=lambda each: (each.start, DEPTH.get(each.kind, 9), each.title))
    slack = max(2 * step, ONSET)
    parents = list(range(len(findings)))
    for one in range(len(findings)):
        for other in range(one):
            if _together(findings[one], findings[other], slack):
                _join(parents, one, other)
    groups: dict[int, list[Finding]] = {}
    for place, finding in enumerate(findings):
        groups.setdefault(_root(parents, place), []).append(finding)
    return sorted((_story(group, slack) for group in groups.values()), key=_rank)


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        place = parents[place]
    return place


def _join(parents: list[int], one: int, other: int) -> None:
    parents[_root(parents, one)] = _root(parents, other)


def _together(one: Finding, other: Finding, slack: timedelta) -> bool:
    same = one.kind == other.kind and abs(one.start - other.start) <= slack
    agree = same and _agree(one, other, exactly=one.kind not in _MONITORING)
    return agree or _shows_as(one, other, slack) or _shows_as(other, one, slack)


_MONITORING = ("scrape_gap", "missing_metrics")
#: What something else brings about shows within this time, unless it works slowly.
SOON = timedelta(minutes=10)
_GRADUAL = ("agent_restart", "endpoint_growth", "endpoint_limit", "map_pressure")
#: What fills something up begins long before it is full.
_FILLS = ("endpoint_growth",)


def _shows_as(first: Finding, then: Finding, slack: timedelta) -> bool:
    """Tell whether one finding may be how the other shows."""
    if not may_show_as(
        first.kind, first.labels.get("reason", ""), then.kind, then.labels.get("reason", "")
    ):
        return False
    in_order = first.start <= then.start + slack or then.kind in _FILLS
    # What an outage brings about may last a little longer than it does.
    still = then.start <= first.end + slack
    soon = first.kind in _GRADUAL or then.start <= first.start + SOON
    return in_order and still and soon and _agree(first, then)


def _agree(one: Finding, other: Finding, *, exactly: bool = False) -> bool:
    """Tell whether two findings name no different places; exactly, whether they share one."""
    both = [name for name in _PLACES if name in one.labels and name in other.labels]
    if exactly and one.kind == "drop_spike":
        return _reason(one) == _reason(other)
    return all(one.labels[name] == other.labels[name] for name in both)


def _reason(finding: Finding) -> str:
    return finding.labels.get("reason", "")


def _story(group: Sequence[Finding], slack: timedelta) -> Story:
    lead = _lead(group, slack)
    return Story(lead, tuple(each for each in group if each is not lead))


def _lead(group: Sequence[Finding], slack: timedelta) -> Finding:
    """Choose the finding from which the others may follow; a mere note leads no warning."""
    worst = max(finding.severity for finding in group)
    serious = [f for f in group if f.severity >= min(worst, Severity.WARNING)]
    roots = [f for f in serious if not any(_follows(f, o, slack) for o in serious)] or serious
    return min(roots, key=_precedence)


def _follows(finding: Finding, other: Finding, slack: timedelta) -> bool:
    """Tell whether a finding may follow from another, and not as well the other way round."""
    if other is finding or not _shows_as(other, finding, slack):
        return False
    mutual = _shows_as(finding, other, slack)
    return not mutual or other.start < finding.start - slack or _deeper(other, finding, slack)


def _deeper(other: Finding, finding: Finding, slack: timedelta) -> bool:
    known = DEPTH.get(other.kind, 9) < DEPTH.get(finding.kind, 9)
    return known and other.start <= finding.start + slack


def _precedence(finding: Finding) -> tuple[float, float, float, str]:
    return (-finding.severity, DEPTH.get(finding.kind, 9), -_amount(finding), finding.title)


def _amount(finding: Finding) -> float:
    amount = finding.total if finding.total is not None else finding.value
    return amount if math.isfinite(amount) else 0.0


def _rank(story: Story) -> tuple[float, float, float, float, str]:
    kinds = {each.kind for each in story.members if each.severity > Severity.INFO}
    lead = story.lead
    depth = DEPTH.get(lead.kind, 9)
    return (-story.severity, -len(kinds), depth, -_amount(lead), lead.title)
