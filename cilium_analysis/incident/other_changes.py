"""What else changed: every quantity that any topic asks for, where it was far from its baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.statistics.deviations import deviations
from cilium_analysis.topics.health.catalogue import QUERIES as HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cilium_analysis.frames import How
    from cilium_analysis.incident.data import Incident
    from cilium_analysis.topics.dns import Dns
    from cilium_analysis.topics.drops import Drops
    from cilium_analysis.topics.endpoints import Endpoints
    from cilium_analysis.topics.flows import Flows
    from cilium_analysis.topics.health import Health
    from cilium_analysis.topics.http import Http

#: Larger scores say nothing more: the smaller the unit, the farther from a baseline without spread.
MOST_SCORE = 100.0
#: What one event adds to a counter, where that is not 1 [unit]: a packet is of so many bytes.
EVENT: Mapping[str, float] = {"bytes/s": 1_500.0}
COLUMNS = (
    *("what", "where", "unit", "usual", "extreme", "score"),
    *("began_after", "began_before", "until"),
)


@dataclass(frozen=True)
class Stream:
    """Series of one quantity, in the window and in the baseline.

    Parameters
    ----------
    what, unit
        In words.
    now, baseline
        Label frames, with the same step.
    counts
        Whether they are counts per step; they are shown per second.
    """

    what: str
    unit: str
    now: pd.DataFrame
    baseline: pd.DataFrame
    counts: bool


def other_changes(data: Incident, *, most: int = 20) -> pd.DataFrame:
    """List the quantities that were farthest from their baseline, whatever they are.

    Parameters
    ----------
    data
        As from `load`.
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``where`` (labels), ``unit``, ``usual`` and ``extreme`` level [unit], ``score``
        (how many half spans of its baseline it was away, at the most; signed; comparable between
        units), ``began_after`` and ``began_before``, between which that began, and ``until`` it
        lasted (UTC); the farthest first. A score is at most `MOST_SCORE`. What has no data in the
        baseline has none, and is left out.
    """
    rows = [row for stream in _streams(data) for row in farthest(stream, most=most)]
    return ranked(rows, most=most)


def ranked(rows: Sequence[tuple[object, ...]], *, most: int) -> pd.DataFrame:
    """Give the rows that are farthest, in this order, with bounded scores.

    Parameters
    ----------
    rows
        Values of `COLUMNS`.
    most
        Number of rows.
    """
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    order = table["score"].abs().sort_values(ascending=False, kind="stable").index
    table = table.loc[order[:most]].reset_index(drop=True)
    return table.assign(score=table["score"].clip(-MOST_SCORE, MOST_SCORE))


def _streams(data: Incident) -> Iterator[Stream]:
    """Give everything that was loaded, grouped so that it can be read."""
    readers: Mapping[str, Callable[[Any], Iterator[Stream]]] = {
        "drop_reasons": _drops,
        "http_status": _http,
        "dns": _dns,
        "flows": _flows,
        "endpoint_growth": _endpoints,
        "agent_health": _health,
    }
    for name, loaded in data.topics.items():
        if name in readers:
            yield from readers[name](loaded)


def _grouped(
    what: str, unit: str, now: pd.DataFrame, baseline: pd.DataFrame, by: Sequence[str]
) -> Stream:
    return Stream(what, unit, frames.group(now, by), frames.group(baseline, by), counts=True)


def _drops(data: Drops) -> Iterator[Stream]:
    yield _grouped(
        "Drops", "packets/s", data.now.counts, data.baseline.counts, ["reason", "direction"]
    )
    yield _grouped("Drops of a node", "packets/s", data.now.counts, data.baseline.counts, ["node"])


def _http(data: Http) -> Iterator[Stream]:
    by = ["destination", "status"]
    yield _grouped("HTTP responses", "requests/s", data.now.counts, data.baseline.counts, by)


def _dns(data: Dns) -> Iterator[Stream]:
    yield _grouped("DNS responses", "responses/s", data.now.counts, data.baseline.counts, ["rcode"])
    yield _grouped("DNS queries", "queries/s", data.now.asked, data.baseline.asked, ["source"])


def _flows(data: Flows) -> Iterator[Stream]:
    now, baseline = data.now, data.baseline
    yield _grouped("Flows", "flows/s", now.flows, baseline.flows, ["protocol", "verdict"])
    yield _grouped("TCP flags", "flows/s", now.flags, baseline.flags, ["flag"])
    yield _grouped("ICMP messages", "flows/s", now.icmp, baseline.icmp, ["type"])


def _endpoints(data: Endpoints) -> Iterator[Stream]:
    now, baseline = data.now, data.baseline
    by = ["endpoint_state"]
    states = [frames.group(span.states, by) for span in (now, baseline)]
    yield Stream("Endpoints in a state", "endpoints", states[0], states[1], counts=False)
    known = [frames.group(span.identities, ["type"], how="max") for span in (now, baseline)]
    yield Stream("Identities", "identities", known[0], known[1], counts=False)
    fill = [frames.group(span.pressure, ["map_name"], how="max") for span in (now, baseline)]
    yield Stream("Fill of the fullest BPF map", "ratio", fill[0], fill[1], counts=False)


def _health(data: Health) -> Iterator[Stream]:
    for name, metric in HEALTH.items():
        counts = metric.kind != "gauge"
        if metric.unit == "s since 1970" or name == "up":
            continue
        how: How = "sum" if counts else "max"
        now, baseline = (
            span.whole(name, metric.labels, how=how) for span in (data.now, data.baseline)
        )
        unit = f"{metric.unit}/s" if counts else metric.unit
        yield Stream(metric.about[:1].upper() + metric.about[1:], unit, now, baseline, counts)


def farthest(stream: Stream, *, most: int) -> Iterator[tuple[object, ...]]:
    """Give the rows of the series that were farthest from their baseline.

    Parameters
    ----------
    stream
        The series, in the window and in the baseline.
    most
        Number of series.

    Yields
    ------
    tuple
        Values of `COLUMNS`.
    """
    now = stream.now
    if not now.shape[1] or not len(now) or not stream.baseline.notna().to_numpy().any():
        return
    event = EVENT.get(stream.unit, 1.0) if stream.counts else 1.0
    scale = (frames.step_seconds(now) or 1.0) / event if stream.counts else 1.0
    found_in = deviations(stream.baseline / event, now / event, counts=stream.counts, most=most)
    for found in found_in.to_dict("records"):
        yield (
            stream.what,
            _where(now, found["series"]),
            stream.unit,
            found["usual"] / scale,
            found["extreme"] / scale,
            found["score"],
            found["earliest"],
            found["latest"],
            found["end"],
        )


def _where(frame: pd.DataFrame, which: int) -> str:
    names = zip(frame.columns.names, frame.columns[which], strict=True)
    return ", ".join(f"{name} {text}" for name, text in names if text)
