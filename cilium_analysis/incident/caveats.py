"""How far to trust findings: caveats from other topics, notes, and topics that are unknown."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.findings import ABOUT_MONITORING, Unknown
from cilium_analysis.frames import totals
from cilium_analysis.texts import without_unknown
from cilium_analysis.topics import TOPICS
from cilium_analysis.topics.reasons import from_hubble

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from cilium_analysis.findings import Finding
    from cilium_analysis.incident.data import Incident
    from cilium_analysis.topics.drops import Drops

#: Fewer events than this are few enough to be chance.
FEW = 20.0
#: Hubble, where it sees all drops, counts each about twice; below this share it misses most.
SEES = 0.25
#: By topic, what shows that agents were scraped.
_SCRAPED = {"drop_reasons": ("now.scraped",), "endpoint_growth": ("now.counts",)}
#: Findings of these kinds are about the monitoring, and not doubtful because of it.
_OF_MONITORING = frozenset({"scrape_gap", "missing_metrics", "counter_artefact"})


def caveats(data: Incident, finding: Finding) -> Iterator[str]:
    """Give the caveats about a finding that its own topic cannot know.

    Parameters
    ----------
    data
        As from `load`.
    finding
        Of any topic.
    """
    if finding.kind in _OF_MONITORING:
        return
    if finding.start <= data.window.start:
        yield "it had begun when the window begins: ask for an earlier start to see its onset"
    elif finding.begun_before:
        yield "it may have begun before the data begin"
    newest = newest_sample(data)
    if newest is not None and newest < finding.end - 2 * data.window.step:
        yield f"the newest sample is of {newest:%H:%M:%S}Z, before its end"
    if finding.total is not None and finding.total < FEW:
        yield f"only {finding.total:.0f} events"
    if finding.kind == "drop_spike":
        yield from _disagreement(data, finding)


def newest_sample(data: Incident) -> pd.Timestamp | None:
    """Give the time of the last step in which any agent was scraped; None if none ever was.

    Any metric of an agent shows that: its start time may be left out.
    """
    every = [data.started]
    for name, frames_of in _SCRAPED.items():
        if name in data.topics:
            every += [attrgetter(each)(data.topics[name]) for each in frames_of]
    known = [frame.notna() & (frame != 0) for frame in every]
    times = [frame.index[frame.any(axis=1).to_numpy()] for frame in known]
    return max((each[-1] for each in times if len(each)), default=None)


def _disagreement(data: Incident, finding: Finding) -> Iterator[str]:
    """Compare the datapath's count of a reason with Hubble's events."""
    drops = data.topics.get("drop_reasons")
    if drops is None or not drops.now.hubble.shape[1] or finding.total is None:
        return
    events = _hubble(drops, finding.start, finding.end)
    seen = float(events.get(finding.labels.get("reason", ""), 0.0))
    if seen < SEES * finding.total:
        yield (
            f"Hubble shows {seen:,.0f} events of this reason for {finding.total:,.0f} packets:"
            " whose packets they are is a sample"
        )


def _hubble(drops: Drops, start: object, end: object) -> pd.Series:
    """Count Hubble's drop events by the datapath's name for their reason."""
    sums = totals(frames.between(drops.now.hubble, start, end), ["reason"])
    sums.index = [from_hubble(str(reason)) for reason in sums.index]
    return sums.groupby(level=0).sum()


def notes(data: Incident) -> list[str]:
    """Say what limits the whole analysis: the notes of all topics, each once.

    Parameters
    ----------
    data
        As from `load`.
    """
    said = list(_uncounted(data))
    if data.objects is None:
        said.append(
            "Kubernetes was not asked: events, rollouts and names of policies are missing from"
            " the timeline."
        )
    said += [note for name, loaded in data.topics.items() for note in TOPICS[name].notes(loaded)]
    return without_unknown(said, (each.as_json() for each in unknown(data)))


def _uncounted(data: Incident) -> Iterator[str]:
    """Say which reasons Hubble counts, but the datapath's counter does not."""
    drops = data.topics.get("drop_reasons")
    if drops is None or not drops.now.hubble.shape[1]:
        return
    events = _hubble(drops, data.window.start, data.window.end)
    counted = totals(drops.now.counts, ["reason"])
    for reason, seen in events.items():
        if seen >= 2 * FEW and not counted.get(reason, 0.0) and reason in counted.index:
            yield (
                f"Hubble shows {seen:,.0f} drops “{reason}” that cilium_drop_count_total does not:"
                " their amount is not known."
            )


def unknown(data: Incident) -> tuple[Unknown, ...]:
    """Give what is not known, by topic; the incident itself is among it if all other topics are.

    Parameters
    ----------
    data
        As from `load`.
    """
    reasons: dict[str, tuple[str, ...]] = dict.fromkeys(data.missing, ("not in this bundle",))
    reasons |= {name: TOPICS[name].unknown(loaded) for name, loaded in data.topics.items()}
    found = [Unknown(name, reasons[name]) for name in TOPICS if reasons.get(name)]
    if {each.topic for each in found} >= set(TOPICS) - ABOUT_MONITORING:
        every = dict.fromkeys(reason for each in found for reason in each.reasons)
        found.insert(0, Unknown("incident", tuple(every)))
    return tuple(found)
