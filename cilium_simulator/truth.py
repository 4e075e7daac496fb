"""What really happened, from the arrivals themselves and not from any counter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cilium_simulator.events import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from cilium_simulator.events import Event
    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario
    from cilium_simulator.traffic import Drops, Lookups, Requests

SCHEMA = "cilium-analysis/truth/1"
DROP_LABELS = ("node", "reason", "direction", "protocol", "source", "destination", "size")
LOOKUP_LABELS = ("node", "source", "rcode", "query")
REQUEST_LABELS = ("node", "source", "destination", "method", "status", "denied")
_COUNTED = {"drops": "packets", "policy": "requests", "http": "requests", "dns": "lookups"}
Moment = str | datetime | float | int


@dataclass(frozen=True)
class Incident:
    """One thing that was made to happen; `total` counts what it did, `onset` its first packet."""

    kind: str
    labels: dict[str, str]
    nodes: tuple[str, ...]
    start: datetime
    end: datetime
    onset: datetime
    total: int


@dataclass(frozen=True)
class Flow:
    """A stream of arrivals: which second, how many."""

    labels: dict[str, str]
    seconds: np.ndarray
    counts: np.ndarray
    event: int


class Truth:
    """The truth of one simulation.

    Moments are Unix seconds, aware datetimes or ISO strings; spans are closed at the start and
    open at the end, in whole seconds.
    """

    def __init__(
        self,
        scenario: str,
        epoch: int,
        drops: list[Flow],
        requests: list[Flow],
        lookups: list[Flow],
        incidents: list[Incident],
        restarts: list[dict[str, Any]],
    ) -> None:
        """Keep the streams; use `build` or `read` to get a truth."""
        self.scenario = scenario
        self.epoch = epoch
        self.drops = drops
        self.requests_ = requests
        self.lookups_ = lookups
        self.incidents = incidents
        #: agent processes: node, pod, start and end in Unix seconds, and why the run began
        self.restarts = restarts

    def dropped(
        self,
        start: Moment,
        end: Moment,
        by: Sequence[str] = ("reason", "direction", "node"),
        *,
        incident: int | None = None,
    ) -> pd.Series[float]:
        """Count the packets dropped in a span.

        `by` may also be protocol, source, destination, size.
        With `incident`, only those of the event with that position in the scenario.
        """
        flows = [f for f in self.drops if incident is None or f.event == incident]
        return self._total(flows, start, end, by)

    def bytes_dropped(
        self, start: Moment, end: Moment, by: Sequence[str] = ("reason", "direction", "node")
    ) -> pd.Series[float]:
        """Count the bytes of the packets dropped in a span; `by` as for `dropped`."""
        packets = self.dropped(start, end, by=(*by, "size"))
        weighed = packets * packets.index.get_level_values("size").astype(int)
        return weighed.groupby(level=list(by)).sum()

    def requests(
        self, start: Moment, end: Moment, by: Sequence[str] = ("status", "destination")
    ) -> pd.Series[float]:
        """Count the HTTP requests in a span; `by` may also be node, source, method, denied."""
        return self._total(self.requests_, start, end, by)

    def lookups(
        self, start: Moment, end: Moment, by: Sequence[str] = ("rcode",)
    ) -> pd.Series[float]:
        """Count the DNS lookups answered in a span; `by` may also be node, source, query."""
        return self._total(self.lookups_, start, end, by)

    def caused(self, incident: int, start: Moment, end: Moment) -> int:
        """Count the packets, requests and lookups of one event in a span."""
        first, last = self._second(start), self._second(end)
        total = 0
        for flow in (*self.drops, *self.requests_, *self.lookups_):
            if flow.event == incident:
                a, b = np.searchsorted(flow.seconds, [first, last])
                total += int(flow.counts[a:b].sum())
        return total

    def incident(self, kind: str) -> Incident:
        """Return the only incident of a kind."""
        (found,) = [i for i in self.incidents if i.kind == kind]
        return found

    def lines(self) -> Iterator[str]:
        """Yield what happened, one line for each event of the scenario, times in UTC."""
        if not self.incidents:
            yield "Nothing happens in it but what is ordinary."
        everywhere = {run["node"] for run in self.restarts}
        for number, one in enumerate(self.incidents, start=1):
            labels = "".join(f", {name} {text}" for name, text in one.labels.items())
            total = f", {one.total:,} {_COUNTED[one.kind]}" if one.total else ""
            end = "" if KINDS[one.kind].is_moment else f" to {one.end:%Y-%m-%d %H:%M:%S}"
            when = f"{one.start:%Y-%m-%d %H:%M:%S}{end}"
            nodes = "all nodes" if everywhere <= set(one.nodes) else ", ".join(one.nodes)
            yield f"{number}. {one.kind}: {when}, {nodes}{labels}{total}"

    def _total(
        self, flows: Iterable[Flow], start: Moment, end: Moment, by: Sequence[str]
    ) -> pd.Series[float]:
        first, last = self._second(start), self._second(end)
        rows = []
        for flow in flows:
            a, b = np.searchsorted(flow.seconds, [first, last])
            rows.append([flow.labels[k] for k in by] + [float(flow.counts[a:b].sum())])
        table = pd.DataFrame(rows, columns=[*by, "total"])
        total = table.groupby(list(by))["total"].sum()
        return total[total > 0]

    def _second(self, moment: Moment) -> float:
        return _unix(moment) - self.epoch

    def write(self, path: Path) -> None:
        """Write truth.json."""
        document = {
            "schema": SCHEMA,
            "scenario": self.scenario,
            "epoch": self.epoch,
            "incidents": [_incident_row(i) for i in self.incidents],
            "restarts": self.restarts,
            "drops": [_flow_row(f) for f in self.drops],
            "requests": [_flow_row(f) for f in self.requests_],
            "lookups": [_flow_row(f) for f in self.lookups_],
        }
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
        unfinished.rename(path)

    @classmethod
    def read(cls, path: Path) -> Truth:
        """Read truth.json."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            document["scenario"],
            document["epoch"],
            [_flow(r) for r in document["drops"]],
            [_flow(r) for r in document["requests"]],
            [_flow(r) for r in document["lookups"]],
            [_incident(r) for r in document["incidents"]],
            document["restarts"],
        )


def _unix(moment: Moment) -> float:
    if isinstance(moment, (int, float)):
        return float(moment)
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    # A time without a zone is UTC here, as in the rest of the project.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _flow_row(flow: Flow) -> dict[str, Any]:
    arrays = {"seconds": flow.seconds.tolist(), "counts": flow.counts.tolist()}
    return {"labels": flow.labels, "event": flow.event, **arrays}


def _flow(row: dict[str, Any]) -> Flow:
    return Flow(row["labels"], np.array(row["seconds"]), np.array(row["counts"]), row["event"])


def _incident_row(incident: Incident) -> dict[str, Any]:
    row = dict(vars(incident))
    return row | {k: row[k].isoformat() for k in ("start", "end", "onset")}


def _incident(row: dict[str, Any]) -> Incident:
    moments = {k: datetime.fromisoformat(row[k]) for k in ("start", "end", "onset")}
    return Incident(**{**row, **moments, "nodes": tuple(row["nodes"])})


def build(
    scenario: Scenario,
    nodes: list[Node],
    drops: list[Drops],
    requests: list[Requests],
    lookups: list[Lookups],
) -> Truth:
    """Gather the truth of a simulation."""
    numbers = {id(e): i for i, e in enumerate(scenario.events)}
    streams: list[Drops | Requests | Lookups] = [*drops, *requests, *lookups]
    return Truth(
        scenario.name,
        scenario.epoch,
        [_of(d, DROP_LABELS, d.arrivals, numbers) for d in drops],
        [_of(r, REQUEST_LABELS, r.arrivals, numbers) for r in requests],
        [_of(x, LOOKUP_LABELS, x.arrivals, numbers) for x in lookups],
        [_happened(scenario, e, streams) for e in scenario.events],
        [_run(scenario, n, i) for n in nodes for i in range(len(n.runs))],
    )


def _of(
    stream: Drops | Requests | Lookups,
    names: Sequence[str],
    arrivals: np.ndarray,
    numbers: dict[int, int],
) -> Flow:
    labels = {k: str(getattr(stream, k)) for k in names}
    seconds = np.flatnonzero(arrivals)
    return Flow(labels, seconds, arrivals[seconds], numbers.get(id(stream.event), -1))


def _happened(
    scenario: Scenario, event: Event, streams: Sequence[Drops | Requests | Lookups]
) -> Incident:
    mine = [s.arrivals for s in streams if s.event is event]
    total = np.sum(mine, axis=0) if mine else np.zeros(1)
    hits = np.flatnonzero(total)
    onset = int(hits[0]) if len(hits) else event.start
    start, end, first = (
        datetime.fromtimestamp(scenario.epoch + s, UTC) for s in (event.start, event.end, onset)
    )
    nodes = event.nodes or scenario.nodes
    return Incident(event.kind, event.labels, nodes, start, end, first, int(total.sum()))


def _run(scenario: Scenario, node: Node, index: int) -> dict[str, Any]:
    run = node.runs[index]
    before = node.runs[index - 1] if index else None
    why = "first"
    if before:
        why = "reboot" if before.boot != run.boot else "restart"
        why = "replaced" if before.pod != run.pod else why
    span = {"start": scenario.epoch + run.start, "end": scenario.epoch + run.end}
    return {"node": node.name, "pod": run.pod, "why": why, **span}
