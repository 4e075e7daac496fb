"""What happened: all findings as stories, ranked, each with what speaks against its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Findings
from cilium_analysis.topics.incident import policy, trust
from cilium_analysis.topics.incident.baselines import cleaned
from cilium_analysis.topics.incident.data import TOPICS
from cilium_analysis.topics.incident.stories import Story, stories
from cilium_analysis.topics.incident.unknown import unknown
from cilium_analysis.topics.verdict import ABOUT_MONITORING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cilium_analysis.topics.incident.data import Incident


def findings(data: Incident) -> Findings:
    """Tell what happened, most likely the root or most worth acting on first.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        One per story: its lead, with the other findings of the story as ``evidence``. Empty when
        nothing is unusual.
    """
    told = [_with_policies(data, story) for story in stories(every(data), step=data.resolution)]
    ranked = sorted(told, key=_rank)
    return Findings(
        data.source,
        data.window,
        data.baseline,
        tuple(s.told() for s in ranked),
        ranked=True,
        topic="incident",
        unknown=unknown(data),
    )


def every(data: Incident) -> list[Finding]:
    """Give the findings of all questions, with all that is known against them."""
    found = [finding for name in data.topics for finding in _of(data, name)]
    return [_doubted(data, finding) for finding in _once(found)]


def _of(data: Incident, name: str) -> Iterator[Finding]:
    """Give the findings of one question, against what is ordinary in its baseline."""
    module = TOPICS[name]
    usable, unusual = cleaned(name, module, data.topics[name])
    said = tuple(
        f"the baseline was itself an incident from {f.start:%H:%M:%S}Z to {f.end:%H:%M:%S}Z"
        f" ({f.kind.replace('_', ' ')}): compared with the rest of it"
        for f in unusual
    )
    found = module.findings(usable)
    for finding in found:
        if finding.kind == "missing_metrics" and found.is_unknown and _monitoring_told(data, name):
            continue
        yield replace(finding, trust_reasons=(*finding.trust_reasons, *said))


def _monitoring_told(data: Incident, name: str) -> bool:
    """Tell whether another topic says what is not measured, so that it is said once."""
    return name not in ABOUT_MONITORING and bool(ABOUT_MONITORING & set(data.topics))


def _once(found: Sequence[Finding]) -> Iterator[Finding]:
    """Leave out what two questions both say: the same thing about the same time."""
    seen = set()
    for finding in found:
        key = (finding.key(), finding.start, finding.end)
        if key not in seen:
            seen.add(key)
            yield finding


def _doubted(data: Incident, finding: Finding) -> Finding:
    reasons = dict.fromkeys((*finding.trust_reasons, *trust.doubts(data, finding)))
    return replace(finding, trust_reasons=tuple(reasons))


def _with_policies(data: Incident, story: Story) -> Story:
    """Show the policies that changed shortly before what they may have brought about."""
    step = data.resolution
    near = [
        change
        for change in map(policy.as_finding, policy.changes(data))
        if any(policy.may_bring(change, finding, step=step) for finding in story.members)
    ]
    evidence = sorted((*story.evidence, *near), key=lambda each: each.start)
    return replace(story, evidence=tuple(evidence))


def _rank(story: Story) -> tuple[float, bool]:
    """Put what follows a change of policies before what is as severe, but follows nothing."""
    changed = any(finding.kind == "policy_change" for finding in story.evidence)
    return (-story.severity, not changed)
