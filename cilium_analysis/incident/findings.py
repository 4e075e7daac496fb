"""What happened: the findings of all topics as ranked stories, with their caveats."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cilium_analysis.findings import ABOUT_MONITORING, Finding, Findings
from cilium_analysis.incident import policy
from cilium_analysis.incident.caveats import caveats, unknown
from cilium_analysis.incident.stories import Story, stories
from cilium_analysis.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.incident.data import Incident


def findings(data: Incident) -> Findings:
    """Give what happened, most likely the root or most worth acting on first.

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
    not_known = unknown(data)
    quiet = [name for name in data.topics if not any(_of(data, name))]
    if data.revisions.shape[1] and not policy.changes(data):
        quiet.append("policy_changes")
    return Findings(
        data.source,
        data.window,
        data.baseline,
        tuple(story.as_finding() for story in ranked),
        ranked=True,
        topic="incident",
        unknown=not_known,
        checked=tuple(n for n in quiet if n not in {each.topic for each in not_known}),
    )


def every(data: Incident) -> list[Finding]:
    """Give the findings of all topics, with all caveats; what two topics both find, once."""
    found: dict[object, Finding] = {}
    for name in data.topics:
        for finding in _of(data, name):
            found.setdefault((finding.key(), finding.start, finding.end), finding)
    return [
        replace(f, trust_reasons=tuple(dict.fromkeys((*f.trust_reasons, *caveats(data, f)))))
        for f in found.values()
    ]


def _of(data: Incident, name: str) -> Iterator[Finding]:
    """Give the findings of one topic."""
    # What is not measured is said once, by the topic about the monitoring.
    elsewhere = name not in ABOUT_MONITORING and bool(ABOUT_MONITORING & set(data.topics))
    found = TOPICS[name].findings(data.topics[name])
    for finding in found:
        if not (finding.kind == "missing_metrics" and found.is_unknown and elsewhere):
            yield finding


def _with_policies(data: Incident, story: Story) -> Story:
    """Add the changes of policies shortly before what they may have brought about, or ended."""
    step = data.resolution
    near = [
        change
        for change in map(policy.as_finding, policy.changes(data))
        if any(
            policy.may_bring(change, finding, step=step)
            or policy.may_end(change, finding, step=step, window=data.window)
            for finding in story.members
        )
    ]
    evidence = sorted((*story.evidence, *near), key=lambda each: each.start)
    return replace(story, evidence=tuple(evidence))


def _rank(story: Story) -> tuple[float, bool]:
    """Put what follows a change of policies before what is as severe, but follows nothing."""
    half = story.lead.start + (story.lead.end - story.lead.start) / 2
    changed = any(each.kind == "policy_change" and each.start <= half for each in story.evidence)
    return (-story.severity, not changed)
