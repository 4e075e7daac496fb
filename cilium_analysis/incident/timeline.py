"""Everything that happened, in order of time: findings, policies, agents, Kubernetes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.incident.links import ends
from cilium_analysis.incident.policy import changes
from cilium_analysis.topics.health.restarts import restarts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.findings import Finding, Findings
    from cilium_analysis.incident.data import Incident

COLUMNS = ("time", "end", "kind", "what", "where", "story")
#: Kubernetes events of one reason about so many objects are one row.
_FEW = 3
#: So many pods of one workload that are made in the window are a rollout, or a scaling.
_SEVERAL = 2
_Row = dict[str, object]


def timeline(data: Incident, found: Findings) -> pd.DataFrame:
    """List what happened in order of time, which does not mean that one caused the other.

    Parameters
    ----------
    data
        As from `load`.
    found
        As from `findings`.

    Returns
    -------
    pandas.DataFrame
        ``time`` and ``end`` (UTC), ``kind`` (that of a finding; or ``policies``, ``agent``,
        ``rollout``, ``node``, ``event``), ``what``, ``where``, ``story`` (the rank of the
        finding it belongs to; NA if to none).
    """
    rows = [
        *(row for rank, lead in enumerate(found, start=1) for row in _told(lead, rank)),
        *_policies(data, found),
        *_agents(data, found),
        *_kubernetes(data),
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("time", "end"):
        table[name] = pd.to_datetime(table[name], utc=True)
    table["story"] = table["story"].astype("Int64")
    return table.sort_values(["time", "end", "story", "what"], ignore_index=True, kind="stable")


def _told(lead: Finding, rank: int) -> Iterator[_Row]:
    for finding in (lead, *lead.evidence):
        where = ", ".join(filter(None, (str(ends(finding)), finding.labels.get("map_name", ""))))
        yield _row(finding.start, finding.end, finding.kind, finding.title, where, rank)


def _row(
    start: object, end: object, kind: str, what: str, where: str = "", story: int | None = None
) -> _Row:
    return dict(zip(COLUMNS, (start, end, kind, what, where, story), strict=True))


def _policies(data: Incident, found: Findings) -> Iterator[_Row]:
    told = {(e.start, e.end) for lead in found for e in lead.evidence if e.kind == "policy_change"}
    for change in changes(data):
        if (change.start, change.end) not in told:
            where = ", ".join(change.nodes[:_FEW])
            yield _row(change.start, change.end, "policies", change.text, where)


def _agents(data: Incident, found: Findings) -> Iterator[_Row]:
    """Give the restarts of agents that no finding is about."""
    health = data.topics.get("agent_health")
    if health is None:
        return
    kinds = {each.kind for lead in found for each in (lead, *lead.evidence)}
    for restart in restarts(health) if "agent_restart" not in kinds else ():
        what = f"Agents started anew ({restart.how})"
        where = ", ".join(restart.nodes[:_FEW])
        yield _row(restart.begin, restart.end, "agent", what, where)


def _kubernetes(data: Incident) -> Iterator[_Row]:
    if data.objects is None:
        return
    yield from _nodes(data, data.objects.nodes)
    yield from _rollouts(data, data.objects.pods)
    yield from _events(data, data.objects.events)


def _inside(data: Incident, times: pd.Series) -> pd.Series:
    return times.notna() & (times > data.window.start) & (times <= data.window.end)


def _nodes(data: Incident, nodes: pd.DataFrame) -> Iterator[_Row]:
    for _, row in nodes[_inside(data, nodes["ready_changed"])].iterrows():
        state = "ready" if row["ready"] else "not ready"
        moment = row["ready_changed"]
        yield _row(moment, moment, "node", f"Node became {state}", str(row["name"]))


def _rollouts(data: Incident, pods: pd.DataFrame) -> Iterator[_Row]:
    """Give the workloads of which several pods were made in the window."""
    made = pods[_inside(data, pods["created"]) & (pods["owner"] != "")]
    for (namespace, kind, owner), group in made.groupby(["namespace", "owner_kind", "owner"]):
        if len(group) >= _SEVERAL:
            what = f"{len(group)} pods of {kind} {owner} were made"
            start, end = group["created"].min(), group["created"].max()
            yield _row(start, end, "rollout", what, f"{namespace}/{owner}")


def _events(data: Incident, events: pd.DataFrame) -> Iterator[_Row]:
    """Give warnings of Kubernetes, one row per reason and kind of object."""
    begun = events["first"].where(events["first"] > data.window.start, data.window.start)
    warned = events[(events["type"] == "Warning") & (events["last"] > data.window.start)]
    warned = warned[warned["first"] <= data.window.end].assign(begun=begun)
    for (reason, kind), group in warned.groupby(["reason", "kind"]):
        named = zip(group["namespace"], group["name"], strict=True)
        names = list(dict.fromkeys(f"{n}/{m}".strip("/") for n, m in named))
        more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
        what = f"{kind} {reason}: {group['message'].iloc[0]}"
        where = ", ".join(names[:_FEW]) + more
        yield _row(group["begun"].min(), group["last"].max(), "event", what, where)
