"""Stories: findings that one change may have brought about, in order. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from cilium_analysis.findings import Severity
from cilium_analysis.incident.links import (
    DEPTH,
    denial,
    ends,
    may_show_as,
    reaches,
    refused_together,
    said,
    unlike,
)
from cilium_analysis.topics.parties import meet
from cilium_analysis.topics.verdict import PROBE, PROBED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cilium_analysis.findings import Finding
    from cilium_analysis.incident.links import Ends

#: One change shows within so much of itself at all places, or as another kind of the same.
AT_ONCE = timedelta(minutes=2)
#: What something else brings about shows within this time, unless it works slowly.
SOON = timedelta(minutes=10)
_GRADUAL = ("agent_restart", "endpoint_growth", "endpoint_limit", "map_pressure")
#: Failures that a server's answers tell, or that it gives none.
_ANSWERS = ("dns_failures", "http_errors")
#: What fills something up begins long before it is full.
_FILLS = ("endpoint_growth",)
#: An agent has settled so long after its start, at the latest; what lasts longer is no part of it.
SETTLED = timedelta(minutes=15)


@dataclass(frozen=True)
class Story:
    """One event, and all findings that tell of it.

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

    def as_finding(self) -> Finding:
        """Give the lead, with the rest as its evidence, as severe as the worst of them."""
        return replace(self.lead, severity=self.severity, evidence=self.evidence)


def stories(found: Iterable[Finding], *, step: timedelta) -> list[Story]:
    """Group findings that one change may have brought about, and rank the stories.

    Each finding joins the one that explains it best: one whose kind tends to bring its own kind
    about (`links`), that did not begin later, still lasted, and is about the same workloads or
    nodes as far as both name any. Findings of one kind that begin at once are one story, too.
    Nothing is called a cause: a story is what to read together.

    Parameters
    ----------
    found
        Of all topics.
    step
        Of the window, or the scrape interval if that is longer: an onset is no sharper.

    Returns
    -------
    list of Story
        The most severe first; then those with more to show for themselves, and the earlier.
    """
    ordered = sorted(found, key=lambda each: (each.start, DEPTH.get(each.kind, 9), each.title))
    known = [_Known(finding, step) for finding in ordered]
    parents = list(range(len(known)))
    for place, one in enumerate(known):
        alike = [
            other
            for other in range(place)
            if one.is_as(known[other]) or one.goes_on_from(known[other])
        ]
        others = [p for p in range(len(known)) if p != place]
        reasons = [p for p in others if known[p].shows(one) and not known[p].follows(one)]
        best = [min(reasons, key=lambda p: one.distance(known[p]))] if reasons else []
        for other in (*alike, *best):
            parents[_root(parents, place)] = _root(parents, other)
    groups: dict[int, list[_Known]] = {}
    for place, one in enumerate(known):
        groups.setdefault(_root(parents, place), []).append(one)
    return sorted((_story(group) for group in groups.values()), key=_rank)


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        place = parents[place]
    return place


@dataclass(frozen=True)
class _Known:
    """A finding, compared with others."""

    finding: Finding
    step: timedelta

    @cached_property
    def ends(self) -> Ends:
        return ends(self.finding)

    @property
    def depth(self) -> int:
        return DEPTH.get(self.finding.kind, 9)

    def after(self, other: _Known) -> bool:
        """Tell whether this began no earlier than another, as sharply as both onsets are known."""
        probed = {self.finding.kind, other.finding.kind} & PROBED
        slack = max(PROBE, self.step) if probed else self.step
        return other.finding.start <= self.finding.start + slack

    @property
    def at_once(self) -> timedelta:
        """Longest time between what one change brings about in several places."""
        return max(AT_ONCE, 2 * self.step)

    def is_as(self, other: _Known) -> bool:
        """Tell whether both are the same thing: of one nature, at once, at the same ends."""
        one, two = self.finding, other.finding
        if abs(one.start - two.start) > self.at_once or not self._of_one_map(other):
            return False
        if denial(one) and denial(two):
            # A policy at one workload refuses all who ask it, by packets and by requests.
            return refused_together(self.ends.anywhere, other.ends.anywhere)
        if one.kind == two.kind == "drop_spike":
            alike = said(one) == said(two)
            return alike and not unlike(self.ends.anywhere, other.ends.anywhere)
        return one.kind == two.kind and not unlike(self.ends, other.ends)

    def goes_on_from(self, other: _Known) -> bool:
        """Tell whether this begins where another ends: the same servers fail in another way.

        Servers of names that come back after an outage say at first that they cannot answer.
        """
        one, two = self.finding, other.finding
        return (
            one.kind == two.kind
            and one.kind in _ANSWERS
            and abs(one.start - two.end) <= self.at_once
            and meet(self.ends.destinations, other.ends.destinations)
            and not unlike(self.ends, other.ends)
        )

    def _of_one_map(self, other: _Known) -> bool:
        maps = (each.finding.labels.get("map_name", "") for each in (self, other))
        return len(set(filter(None, maps))) <= 1

    def shows(self, other: _Known) -> bool:
        """Tell whether the other finding may be how this one shows."""
        first, then = self.finding, other.finding
        if not may_show_as(first, then) or not self._of_one_map(other):
            return False
        in_order = other.after(self) or then.kind in _FILLS
        # What an outage brings about may last a little longer than it does.
        still = then.start <= first.end + self.at_once
        soon = first.kind in _GRADUAL or then.start <= first.start + SOON
        return in_order and still and soon and reaches(self._felt_by(other), other.ends)

    def _felt_by(self, other: _Known) -> Ends:
        """Give the ends where this shows: failing lookups show at the client, not at the server."""
        if self.finding.kind == "dns_failures" != other.finding.kind:
            return replace(self.ends, destinations=frozenset())
        return self.ends

    def follows(self, other: _Known) -> bool:
        """Tell whether this may follow from another, and not as well the other way round."""
        if other is self or not other.shows(self):
            return False
        mutual = self.shows(other)
        return not mutual or not other.after(self) or other.depth < self.depth

    def distance(self, other: _Known) -> tuple[bool, bool, float, float, str]:
        """Give how badly another explains this: by its ends, its time and its depth."""
        named = bool(self.ends.workloads and other.ends.workloads)
        placed = bool(self.ends.nodes & other.ends.nodes)
        apart = abs(self.finding.start - other.finding.start)
        return (
            not (named or placed),
            apart > self.at_once,
            other.depth,
            apart.total_seconds(),
            other.finding.title,
        )

    def settles(self, restart: _Known, away: Sequence[_Known] = ()) -> bool:
        """Tell whether this is what an agent's restart brings along, and is over with it.

        Parameters
        ----------
        restart
            Of an agent, or of its node.
        away
            Nodes that were not reachable: failing requests to what ran there name no node.
        """
        ended = self.finding.end <= restart.finding.end + SETTLED
        there = not restart.ends.nodes or bool(restart.ends.nodes & self.ends.nodes)
        there = there or any(self.follows(node) and node.settles(restart) for node in away)
        return restart.shows(self) and ended and there and not denial(self.finding)


def _story(group: Sequence[_Known]) -> Story:
    lead = _lead(group).finding
    return Story(lead, tuple(each.finding for each in group if each.finding is not lead))


def _lead(group: Sequence[_Known]) -> _Known:
    """Choose the finding from which the others may follow; one of severity info leads no warning.

    What an agent's restart brings along leads no story, however severe it is.
    """
    worst = max(one.finding.severity for one in group)
    serious = [one for one in group if one.finding.severity >= min(worst, Severity.WARNING)]
    restarts = [one for one in group if one.finding.kind == "agent_restart"]
    away = [one for one in group if one.finding.kind == "node_unreachable"]
    heads = [one for one in serious if not any(one.settles(r, away) for r in restarts)] or restarts
    roots = [one for one in heads if not any(one.follows(other) for other in heads)] or heads
    return min(roots, key=_precedence)


def _precedence(one: _Known) -> tuple[float, float, float, str]:
    finding = one.finding
    return (-finding.severity, one.depth, -_amount(finding), finding.title)


def _amount(finding: Finding) -> float:
    amount = finding.total if finding.total is not None else finding.value
    return amount if math.isfinite(amount) else 0.0


def _rank(story: Story) -> tuple[float, float, float, float, str]:
    kinds = {each.kind for each in story.members if each.severity > Severity.INFO}
    lead = story.lead
    depth = DEPTH.get(lead.kind, 9)
    return (-story.severity, -len(kinds), depth, -_amount(lead), lead.title)
