"""Known defects of Cilium's metrics, by version, and traps of metrics that count right.

Defects are faults of counting, in ``defects.csv``. Renamed metrics and labels are in
``metrics.csv``.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cilium_analysis.metrics.known import Metric

#: Major, minor, patch; and whether it is a release, so that ``1.20.0-rc.1`` is before ``1.20.0``.
Release = tuple[int, int, int, bool]

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?P<rest>.*)")
_BEFORE_RELEASE = re.compile(r"[-.+]?(alpha|beta|dev|pre|rc|snapshot)", re.IGNORECASE)
_BORN = (
    "A series is born with its first event, at a value above 0: rate() and increase() lose that"
    " step, often the whole burst. counters.increase counts it."
)
_PINNED = (
    "It lives in a pinned BPF map and survives a restart of the agent; up to Cilium 1.14 it falls"
    " to 0 then and jumps back, which increase() reads as a gigantic spike. counters.increase"
    " does not."
)
_EXTRAPOLATED = (
    "increase() extrapolates: totals come from the counter itself, per series, before any sum."
)
_SPELLED = (
    "Cilium's own counters and Hubble's spell reasons differently"
    " (“Policy denied”, “POLICY_DENIED”)."
)
_EVENTS = (
    "It counts events: a denied packet shows up about twice. Amounts come from"
    " cilium_drop_count_total; who and where from Hubble."
)
_MANY = (
    "A cluster of N nodes has at least 2·N² series of it: never fetch them whole, let the server"
    " add them up, as in sum by (target_node_name) (…)."
)
_NO_TARGET = (
    "It names no target and counts addresses; failed probes are recorded as 10 s."
    " cilium_node_connectivity_* named the target up to Cilium 1.17."
)
_FORBIDDEN = (
    'A 403 may come from a policy or from the application: cilium_policy_l7_total{rule="denied"}'
    " tells them apart."
)
_TWICE = (
    "With L7 rules at both ends each request counts twice: select one reporter. httpV2 differs"
    " from http (v1) in labels, and v1 swaps source and destination."
)
_SEEN = (
    "It exists only where an L7 CiliumNetworkPolicy matches the traffic: an empty answer means"
    " “not visible”, not “no traffic”."
)
_PODS = (
    "Series of deleted pods vanish after a minute, and pod labels change with every rollout:"
    " group by node or workload."
)
_RING = (
    "Events of hubble_ring_buffer are lost to readers of flows: Hubble's metrics are counted before"
    " the ring is written. Only perf_event_ring_buffer and observer_events_queue lower them."
)

#: Which metrics each trap is of.
_TRAPS = (
    (r"cilium_drop_(count|bytes)_total|hubble_drop_total|hubble_http_requests_total", _BORN),
    (r"cilium_(drop|forward)_(count|bytes)_total", _PINNED),
    (r"cilium_drop_count_total|hubble_drop_total", _SPELLED),
    (r"hubble_drop_total", _EVENTS),
    (r"cilium_node_connectivity_\w+", _MANY),
    (r"cilium_node_health_connectivity_\w+", _NO_TARGET),
    (r"hubble_http_requests_total", _FORBIDDEN),
    (r"hubble_http_\w+", _TWICE),
    (r"hubble_(http|dns)_\w+|cilium_policy_l7_total", _SEEN),
    (r"hubble_lost_events_total", _RING),
    (r"hubble_(?!lost_)\w+", _PODS),
)


@dataclass(frozen=True)
class Defect:
    """A fault of some versions of Cilium that makes metrics wrong.

    Parameters
    ----------
    issue
        Such as ``cilium#46584``; empty where none is known.
    since, until
        The first version with it, and the first without it again; empty if there is none, or
        none is known.
    metrics
        Names of the metrics that are wrong.
    condition
        When they are wrong, beside the version; empty if always.
    symptom
        What is wrong, in words.
    instead
        Other evidence to use.
    accounted
        Whether the topics account for it, so that the reports' numbers are right.
    """

    issue: str
    since: str
    until: str
    metrics: frozenset[str]
    condition: str
    symptom: str
    instead: str
    accounted: bool

    def concerns(self, version: str) -> bool:
        """Return whether a version has it; False if the version cannot be read."""
        found = release(version)
        if found is None:
            return False
        since, until = release(self.since), release(self.until)
        return (since is None or since <= found) and (until is None or found < until)

    @property
    def versions(self) -> str:
        """The versions with it, in words."""
        if self.since and self.until:
            return f"{self.since} up to before {self.until}"
        if self.since:
            return f"{self.since} and later"
        return f"before {self.until}" if self.until else "all versions"

    def told(self, versions: Sequence[str] = ()) -> str:
        """Return what is wrong, and what to use instead.

        Parameters
        ----------
        versions
            Versions in use with it; all versions with it if none is given.
        """
        which = ", ".join(versions) if versions else self.versions
        issue = f" ({self.issue})" if self.issue else ""
        when = f", {self.condition}" if self.condition else ""
        names = ", ".join(sorted(self.metrics))
        return f"Cilium {which}{issue}{when}: {self.symptom} ({names}). Use {self.instead}."

    @property
    def brief(self) -> str:
        """What is wrong and in which versions, as a part of a sentence."""
        where = filter(None, (self.versions, self.condition, self.issue))
        return f"{self.symptom} ({', '.join(where)})"


@cache
def known() -> tuple[Defect, ...]:
    """Return all defects that are known."""
    text = files("cilium_analysis.metrics").joinpath("defects.csv").read_text(encoding="utf-8")
    return tuple(
        Defect(
            **{name: row[name] for name in ("issue", "since", "until", "condition", "symptom")},
            metrics=frozenset(row["metrics"].split(";")),
            instead=row["instead"],
            accounted=row["accounted"] == "yes",
        )
        for row in csv.DictReader(text.splitlines())
    )


def applying(versions: Iterable[str], metrics: Iterable[str]) -> tuple[Defect, ...]:
    """Return the defects that these metrics have in any of these versions.

    Parameters
    ----------
    versions
        Values of ``cilium_version``; those that cannot be read have no defects.
    metrics
        Names without the endings of a histogram's series.
    """
    versions, metrics = tuple(versions), frozenset(metrics)
    return tuple(
        defect
        for defect in known()
        if defect.metrics & metrics and any(defect.concerns(version) for version in versions)
    )


def notes(versions: Iterable[str], metrics: Iterable[str]) -> list[str]:
    """Return notes on the defects that make the numbers of a report wrong.

    Parameters
    ----------
    versions
        As for `applying`. If none can be read, the note names the versions with each defect.
    metrics
        Metrics of the report.

    Returns
    -------
    list of str
        One note per defect, or one in all where the version is not known. Defects that the
        reports account for are left out.
    """
    versions, metrics = tuple(versions), frozenset(metrics)
    if any(release(version) for version in versions):
        return [
            "Known defect of "
            + defect.told(sorted(filter(defect.concerns, set(versions)), key=_order))
            for defect in applying(versions, metrics)
            if not defect.accounted
        ]
    possible = [d.brief for d in known() if d.metrics & metrics and not d.accounted]
    if not possible:
        return []
    return [f"The version of Cilium is not in the data; in some, {'; or '.join(possible)}."]


def release(version: str) -> Release | None:
    """Read a version such as ``1.19.7`` or ``v1.20.0-rc.1``; None if it is none."""
    found = _VERSION.match(version.strip())
    if not found:
        return None
    final = not _BEFORE_RELEASE.match(found["rest"])
    return int(found[1]), int(found[2]), int(found[3] or 0), final


def _order(version: str) -> Release:
    return release(version) or (0, 0, 0, False)


def traps(metric: Metric) -> tuple[str, ...]:
    """Return what to know before a metric is read, in sentences."""
    own = [text for names, text in _TRAPS if re.fullmatch(names, metric.name)]
    wrong = [f"Known defect of {d.told()}" for d in known() if metric.name in d.metrics]
    return (*own, *wrong, *([_EXTRAPOLATED] if metric.kind == "counter" else []))
