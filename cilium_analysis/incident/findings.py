"""What happened: the findings of all topics as ranked stories, with their caveats.

A baseline that was itself an incident is found by exchanging window and baseline, and left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.incident import policy
from cilium_analysis.incident.caveats import caveats, unknown
from cilium_analysis.incident.stories import Story, stories
from cilium_analysis.topics import TOPICS
from cilium_analysis.topics.verdict import ABOUT_MONITORING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cilium_analysis.incident.data import Incident
    from cilium_analysis.topics import Topic

#: Names of what topics counted in the window, and of the same in the baseline.
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "drop_reasons": (("counts", "usual"), ("seen", "usual_seen")),
    "http_status": (
        ("counts", "usual"),
        ("durations", "usual_durations"),
        ("refused", "usual_refused"),
        ("proxy", "usual_proxy"),
    ),
    "dns": (("counts", "usual"), ("asked", "usual_asked"), ("seen", "usual_seen")),
}
#: So much of a baseline must be left to compare with.
ENOUGH = 0.25


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
    return Findings(
        data.source,
        data.window,
        data.baseline,
        tuple(story.as_finding() for story in ranked),
        ranked=True,
        topic="incident",
        unknown=unknown(data),
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
    """Give the findings of one topic, compared with what is ordinary in its baseline."""
    topic = TOPICS[name]
    usable, unusual = cleaned(topic, data.topics[name])
    said = tuple(
        f"the baseline was itself an incident from {f.start:%H:%M:%S}Z to {f.end:%H:%M:%S}Z"
        f" ({f.kind.replace('_', ' ')}): compared with the rest of it"
        for f in unusual
    )
    # What is not measured is said once, by the topic about the monitoring.
    elsewhere = name not in ABOUT_MONITORING and bool(ABOUT_MONITORING & set(data.topics))
    found = topic.findings(usable)
    for finding in found:
        if not (finding.kind == "missing_metrics" and found.is_unknown and elsewhere):
            yield replace(finding, trust_reasons=(*finding.trust_reasons, *said))


def cleaned(topic: Topic, data: Any) -> tuple[Any, tuple[Finding, ...]]:
    """Take out of a baseline what would be a finding if it were the window.

    Parameters
    ----------
    topic
        Its ``findings`` is called with window and baseline exchanged.
    data
        What the topic loaded.

    Returns
    -------
    tuple
        The data with what is left of its baseline, and what was found in it. The data as they
        are if nothing was, or if too little would be left.
    """
    if topic.name not in PAIRS or data.baseline.end > data.window.start:
        return data, ()
    exchanged = {a: getattr(data, b) for pair in PAIRS[topic.name] for a, b in (pair, pair[::-1])}
    reverse = replace(data, window=data.baseline, baseline=data.window, **exchanged)
    found = [
        finding
        for finding in topic.findings(reverse)
        if finding.severity >= Severity.WARNING and finding.kind != "missing_metrics"
    ]
    if not found:
        return data, ()
    changes = {usual: _without(getattr(data, usual), found) for _, usual in PAIRS[topic.name]}
    first = PAIRS[topic.name][0][1]
    if len(changes[first]) < ENOUGH * len(getattr(data, first)):
        return data, tuple(found)
    return replace(data, **changes), tuple(found)


def _without(frame: pd.DataFrame, found: Sequence[Finding]) -> pd.DataFrame:
    """Leave out the steps of some findings."""
    index = pd.DatetimeIndex(frame.index)
    keep = pd.Series(data=True, index=index)
    for finding in found:
        first, last = pd.Timestamp(finding.start), pd.Timestamp(finding.end)
        keep &= ~((index > first) & (index <= last))
    return frame.loc[keep.to_numpy()]


def _with_policies(data: Incident, story: Story) -> Story:
    """Add the changes of policies shortly before what they may have brought about."""
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
