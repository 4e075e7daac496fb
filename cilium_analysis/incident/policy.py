"""Changes of policies, from the revisions of the agents and from Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.incident.links import ends, may_show_as, unlike
from cilium_analysis.texts import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from numpy.typing import NDArray

    from cilium_analysis.incident.data import Incident
    from cilium_analysis.window import Window

#: Agents take a policy over within seconds; their scrapes are up to a minute apart.
TOGETHER = timedelta(minutes=2)
#: What a change brings about begins so soon after it: agents take it over within seconds.
BEFORE = timedelta(seconds=90)
#: After its start an agent reads all policies anew.
STARTING = timedelta(minutes=5)


@dataclass(frozen=True)
class Change:
    """One change of policies.

    Parameters
    ----------
    start, end
        Between these it happened.
    nodes
        Of the agents that took it over; empty if only Kubernetes shows it.
    names
        ``(namespace, name)`` of policies that were written then, if Kubernetes was asked.
    """

    start: datetime
    end: datetime
    nodes: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """One sentence about it."""
        named = ", ".join("/".join(part for part in name if part) for name in self.names[:3])
        where = f" (loaded by {counted(len(self.nodes), 'agent')})" if self.nodes else ""
        return f"Policies changed{': ' + named if named else ''}{where}"


def changes(data: Incident) -> list[Change]:
    """List the changes of policies in the window, in order of time.

    Parameters
    ----------
    data
        As from `load`. The revision of an agent (``cilium_policy_max_revision``) grows with
        every policy that is added, edited or deleted; what an agent reads at its start is left
        out.
    """
    seen = list(_from_revisions(data))
    written = list(_from_kubernetes(data))
    found = []
    for change in seen:
        mine = [w for w in written if change.start - TOGETHER <= w.start <= change.end + TOGETHER]
        names = tuple(dict.fromkeys(name for w in mine for name in w.names))
        found.append(Change(change.start, change.end, change.nodes, names))
        written = [w for w in written if w not in mine]
    return sorted([*found, *written], key=lambda each: each.start)


def _from_revisions(data: Incident) -> Iterator[Change]:
    steps = _steps(data)
    first = 0
    for place in range(len(steps)):
        last = place + 1 == len(steps) or steps[place + 1][0] - steps[place][0] > TOGETHER
        if last:
            group = steps[first : place + 1]
            nodes = tuple(sorted({node for _, node in group}))
            start = group[0][0] - data.window.step
            yield Change(start.to_pydatetime(), group[-1][0].to_pydatetime(), nodes)
            first = place + 1


def _steps(data: Incident) -> list[tuple[pd.Timestamp, str]]:
    """Give times and nodes at which a revision grew, without what an agent reads at its start."""
    known = data.revisions
    grown = known.ffill().diff() > 0
    starts = data.started.reindex(known.index).ffill()
    found = []
    for place, label in enumerate(known.columns):
        node = str(label[0])
        times = known.index[grown.iloc[:, place].to_numpy()]
        young = _young(starts, node, pd.DatetimeIndex(times))
        found += [(time, node) for time, is_young in zip(times, young, strict=True) if not is_young]
    begin = pd.Timestamp(data.window.start)
    return sorted((time, node) for time, node in found if time > begin)


def _young(starts: pd.DataFrame, node: str, times: pd.DatetimeIndex) -> NDArray[np.bool_]:
    """Tell at which times an agent had just started."""
    mine = [p for p, label in enumerate(starts.columns) if label[0] == node]
    if not mine or not len(times):
        return np.zeros(len(times), dtype=bool)
    began = starts.iloc[:, mine[0]].reindex(times).to_numpy(dtype="float64")
    age = frames.milliseconds(times) / 1000.0 - began
    young: NDArray[np.bool_] = np.nan_to_num(age, nan=np.inf) < STARTING.total_seconds()
    return young


def _from_kubernetes(data: Incident) -> Iterator[Change]:
    if data.objects is None:
        return
    table = data.objects.policies
    for _, row in table.iterrows():
        for moment in {row["created"], row["changed"]}:
            if pd.notna(moment) and data.window.start < moment <= data.window.end:
                time = pd.Timestamp(moment).to_pydatetime()
                yield Change(time, time, names=((str(row["namespace"]), str(row["name"])),))


def as_finding(change: Change) -> Finding:
    """Give a change as evidence; by itself it is nothing to act on."""
    labels = {}
    if len(change.names) == 1:
        namespace, name = change.names[0]
        labels = {"namespace": namespace, "name": name} if namespace else {"name": name}
    return Finding(
        kind="policy_change",
        severity=Severity.INFO,
        title=change.text,
        start=change.start,
        end=change.end,
        labels=labels,
        value=float(len(change.nodes)) or float("nan"),
        baseline_value=float("nan"),
        unit="agents",
        query="max by (node) (cilium_policy_max_revision)",
        next_step="See who changed which policy then: `kubectl get cnp,ccnp,netpol -A"
        " --show-managed-fields -o yaml`, and the history of your repository.",
    )


def may_bring(change: Finding, finding: Finding, *, step: timedelta) -> bool:
    """Tell whether a change of policies may have brought about a finding.

    Parameters
    ----------
    change
        As from `as_finding`.
    finding
        What a policy can cause: denials, and traffic or lookups without an answer, of workloads
        in the policy's namespace if it is known. A mere note needs no policy beside it, unless it
        is of packets dropped.
    step
        Of the window, or the scrape interval if that is longer.
    """
    near = change.start <= finding.start + step
    before = finding.start - change.end <= max(BEFORE, step)
    return near and before and _concerns(change, finding)


def may_end(change: Finding, finding: Finding, *, step: timedelta, window: Window) -> bool:
    """Tell whether a change of policies may have ended a finding that is over.

    Parameters
    ----------
    change, finding, step
        As for `may_bring`.
    window
        What reaches its end is not over.
    """
    over = not finding.goes_on(window) and finding.start + step < change.start
    near = abs(finding.end - change.end) <= max(BEFORE, step)
    return over and near and _concerns(change, finding)


def _concerns(change: Finding, finding: Finding) -> bool:
    """Tell whether a finding is of a kind, and at a place, that a change of policies reaches."""
    told = finding.severity > Severity.INFO or finding.kind == "drop_spike"
    there = not unlike(ends(change).anywhere, ends(finding))
    return told and there and may_show_as(change, finding)
