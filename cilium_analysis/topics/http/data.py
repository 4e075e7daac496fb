"""What the question about HTTP is answered from: queries as data, and their frames.

Hubble's metrics ``http`` (v1) and ``httpV2`` share names but not meanings
(pkg/hubble/metrics/http/handler.go): v2 counts a request when it is answered, with its status; v1
counts requests without a status, and responses apart, from the server's point of view, so that
source and destination are swapped. Here both become the same: requests by the status that they
got, from their client to their server; `unanswered` finds those of v1 that got none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import NotPrometheus, QueryRejected
from cilium_analysis.queries import Query, parse_matchers
from cilium_analysis.topics import hubble
from cilium_analysis.topics.http import durations
from cilium_analysis.topics.http.findings import findings
from cilium_analysis.topics.http.statuses import unanswered, with_status
from cilium_analysis.topics.metric import metric
from cilium_analysis.topics.model import Compared, Loader, Part
from cilium_analysis.topics.parties import name_parties, spellings, swapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cilium_analysis.topics.reader import Reader

    Floats = NDArray[np.float64]
    #: First row, the one after the last, and the reporter chosen for them.
    _Chosen = tuple[int, int, str]

#: A reporter that begins or ends to count so many steps apart from others saw other requests.
LATER = 10
_SENT = ("method", "protocol", "reporter", "status")
REQUESTS = hubble.Counter(
    "hubble_http_requests_total",
    _SENT,
    "requests",
    "HTTP requests; with a status (httpV2) those answered",
)
RESPONSES = hubble.Counter(
    "hubble_http_responses_total",
    _SENT,
    "responses",
    "HTTP responses, with source and destination swapped (http, v1)",
)
REFUSED = hubble.Counter(
    'hubble_drop_total{protocol="HTTP",reason="DROP_REASON_UNKNOWN",<match>}',
    (),
    "requests",
    "requests that a layer 7 policy denied, as Hubble saw them",
    spare=True,
    there="hubble_http_requests_total{<match>}",
)
# Up to Cilium 1.14.5 there is no proxy_type, and DNS is among them.
PROXY = hubble.Counter(
    "cilium_policy_l7_total",
    ("proxy_type", "rule"),
    "requests",
    "layer 7 requests that each proxy received, forwarded, denied or could not parse",
    spare=True,
    with_parties=False,
)
REDIRECTS = metric(
    "gauge",
    "cilium_proxy_redirects",
    "redirects",
    "ports of endpoints whose traffic the policies send through a proxy",
    "protocol_l7",
    over="last",
    use="shown",
    spare=True,
)
_COUNTERS = {
    "requests": REQUESTS,
    "responses": RESPONSES,
    "refused": REFUSED,
    "proxy": PROXY,
}
QUERIES: Mapping[str, Query] = {
    **{name: counter.whole for name, counter in _COUNTERS.items()},
    **{f"{name}_over_nodes": counter.over_nodes for name, counter in _COUNTERS.items()},
    "durations": durations.EACH,
    "durations_over_nodes": durations.OVER_NODES,
    "redirects": REDIRECTS,
}
#: Of what exemplars are kept, if they are at all (httpV2:exemplars=true, OpenMetrics, and
#: --enable-feature=exemplar-storage); a value is the duration of that one request [s], or 1.
EXEMPLARS: Mapping[str, Query] = {
    "slow": Query(
        "hubble_http_request_duration_seconds_bucket{<match>}", "s", "traces of single requests"
    ),
    "failed": Query(
        'hubble_http_requests_total{status=~"[45]..|0+",<match>}',
        "requests",
        "traces of single requests that failed",
    ),
}
KEYS = ("source", "destination", "method", "status")


@dataclass(frozen=True, kw_only=True)
class Requests(Part):
    """What was counted; the time of a row is the end of its step.

    Parameters
    ----------
    counts
        Label frame (``destination``, ``method``, ``node``, ``source``, ``status``) of requests
        per step [requests], as one reporter saw them. The status of those without a response is
        ``0``.
    durations
        Label frame (``destination``, ``le``, ``source``) of requests answered within ``le``
        seconds per step.
    refused
        Label frame (``destination``, ``source``) of requests denied by policy per step.
    protocols
        Label frame (``protocol``) of requests answered per step, by version of HTTP.
    proxy
        Label frame (``node``, ``proxy_type``, ``rule``) of what the proxies did per step:
        ``fqdn`` is the DNS proxy; up to Cilium 1.14.5 the type is empty, and DNS is among it.
    redirects
        Label frame (``node``, ``protocol_l7``) of the redirects to a proxy.
    statusless
        Number of requests of which no label tells how they ended.
    apart
        Whether requests and responses are counted apart (http, v1).
    unpaired
        Number of requests counted apart from responses with other parties.
    hubble_scraped, agents_scraped
        Whether any target of Hubble's metrics, and of the agents', is known.
    twice
        Pairs of source and destination that both ends reported, so that one was left out.
    """

    counts: pd.DataFrame
    durations: pd.DataFrame
    refused: pd.DataFrame
    protocols: pd.DataFrame
    proxy: pd.DataFrame
    redirects: pd.DataFrame
    statusless: float
    apart: bool
    unpaired: float
    hubble_scraped: bool
    agents_scraped: bool
    twice: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Http(Compared[Requests, Requests]):
    """Everything about the HTTP requests in a window and its baseline.

    Parameters
    ----------
    exemplars
        One row per exemplar in the window: ``time``, ``value``, ``of`` (a name of `EXEMPLARS`),
        the labels of the series and of the exemplar.
    """

    exemplars: pd.DataFrame


def _ask(reader: Reader, before: Reader) -> Http:
    return Http(
        source=reader.source.name,
        now=_requests(reader),
        baseline=_requests(before),
        exemplars=_exemplars(reader),
        crowd_note=reader.crowd_note,
    )


load = Loader(_ask, findings)


def _requests(reader: Reader) -> Requests:
    grown = {name: hubble.read(reader, counter) for name, counter in _COUNTERS.items()}
    old = set(frames.values(grown["responses"], "node"))
    known, statusless = with_status(grown["requests"], old)
    full = spellings(*grown.values())
    keep = (*KEYS, "node", "protocol", "reporter")
    answered = _together([known, swapped(grown["responses"])], keep, full)
    gone, unpaired = unanswered(grown["requests"], grown["responses"], old, spelled=full)
    # Both are named already.
    parts = [frames.with_levels(part, keep) for part in (answered, gone) if part.shape[1]]
    ended = frames.group(pd.concat(parts, axis=1), keep) if parts else answered
    reporters = _reporters(ended)
    took = reader.read(durations.OVER_NODES if reader.crowded else durations.EACH)
    timed = name_parties(_unswapped(took, old), ("le", "reporter"), spelled=full)
    once = [_of_reporters(each, reporters, ended.index) for each in (ended, answered)]
    durations_once = _of_reporters(timed, reporters, ended.index)
    return Requests(
        window=reader.window,
        counts=frames.group(once[0], [*KEYS, "node"]),
        protocols=frames.group(once[1], ["protocol"]),
        durations=frames.group(durations_once, ["source", "destination", "le"]),
        refused=name_parties(grown["refused"], (), spelled=full),
        proxy=frames.group(grown["proxy"], ["node", "proxy_type", "rule"]),
        redirects=reader.read(REDIRECTS),
        statusless=statusless,
        apart=bool(old),
        unpaired=unpaired,
        hubble_scraped=bool(reader.hubble.starts.shape[1]),
        agents_scraped=bool(reader.agents.starts.shape[1]),
        twice=_twice(answered),
    )


def _exemplars(reader: Reader) -> pd.DataFrame:
    """Ask for exemplars; a server that knows none is no reason to stop."""
    found = []
    for name, query in EXEMPLARS.items():
        promql = query.render(match=parse_matchers(reader.match), step=reader.window.step)
        try:
            found.append(reader.source.exemplars(promql, reader.window).assign(of=name))
        except (QueryRejected, NotPrometheus):
            continue
    filled = [table for table in found if len(table)]
    return pd.concat(filled, ignore_index=True).fillna("") if filled else pd.DataFrame()


def _unswapped(took: pd.DataFrame, old: set[str]) -> pd.DataFrame:
    """Turn the durations of v1 round; they have no status that would tell."""
    chosen = [node in old for node in frames.values(took, "node")]
    if not any(chosen):
        return took
    turned = swapped(took.loc[:, chosen])
    return pd.concat([took.loc[:, [not c for c in chosen]], turned], axis=1)


def _together(
    parts: list[pd.DataFrame], keep: tuple[str, ...], full: Mapping[str, str]
) -> pd.DataFrame:
    """Name the parties of several frames and put them side by side."""
    others = tuple(name for name in keep if name not in ("source", "destination"))
    named = [name_parties(part, others, spelled=full) for part in parts if part.shape[1]]
    if not named:
        return frames.empty(keep)
    return frames.group(pd.concat(named, axis=1), keep)


def _reporters(ended: pd.DataFrame) -> dict[tuple[str, ...], list[_Chosen]]:
    """Choose one reporter per pair and part of the time: the one that saw more.

    With layer 7 rules at both ends every request is counted at both. A rule that is new at one end
    counts from then on, so that the time is parted where one of them begins or ends to count.
    Pairs without a name may be of several services, of which each has its own end with rules:
    there it is one reporter per status.
    """
    grouped = frames.group(ended, ["source", "destination", "reporter", "status"])
    values, table = np.nan_to_num(grouped.to_numpy(dtype="float64")), frames.labels(grouped)
    seen: dict[tuple[str, ...], dict[str, dict[str, Floats]]] = {}
    names = ["source", "destination", "reporter", "status"]
    for place, (source, destination, reporter, status) in enumerate(table[names].to_numpy()):
        for key in {(source, destination), _key(source, destination, status)}:
            seen.setdefault(key, {}).setdefault(reporter, {})[status] = values[:, place]
    return {
        key: [
            (first, last, _fuller({r: _sums(s, first, last) for r, s in each.items()}))
            for first, last in pairwise(
                _parts([np.sum([*s.values()], axis=0) for s in each.values()])
            )
        ]
        for key, each in seen.items()
    }


def _key(source: str, destination: str, status: str) -> tuple[str, ...]:
    return (source, destination) if source and destination else (source, destination, status)


def _parts(counts: Sequence[Floats]) -> list[int]:
    """Give the rows at which reporters begin or end to count, if long after or before others."""
    rows = [found for each in counts if len(found := np.flatnonzero(each > 0))]
    begins, ends = ([int(found[place]) for found in rows] for place in (0, -1))
    edges = {begin for begin in begins if begin - min(begins) >= LATER}
    edges |= {end + 1 for end in ends if max(ends) - end >= LATER}
    return sorted({0, len(counts[0])} | edges)


def _sums(counts: Mapping[str, Floats], first: int, last: int) -> dict[str, float]:
    return {status: float(each[first:last].sum()) for status, each in counts.items()}


def _fuller(seen: Mapping[str, Mapping[str, float]]) -> str:
    """Name the reporter that saw more; the server if both saw as much.

    Each of them may have lost a few, so that one within a hundredth of the other saw as much; not
    if what it lacks are statuses that it never saw, as those of the other end's proxy.
    """
    sums = {name: sum(counts.values()) for name, counts in seen.items()}
    most = max(sums, key=lambda name: sums[name])

    def enough(name: str) -> bool:
        strange = sum(n for status, n in seen[most].items() if not seen[name].get(status))
        lacking = sums[most] - sums[name]
        return lacking <= 0.01 * sums[most] and not 0 < strange <= 2 * lacking

    return max(seen, key=lambda name: (enough(name), name == "server"))


def _seen(answered: pd.DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    sums = frames.group(answered, ["source", "destination", "reporter"]).sum()
    seen: dict[tuple[str, str], dict[str, float]] = {}
    for key, total in sums.items():
        labels = dict(zip(sums.index.names, key, strict=True))  # type: ignore[call-overload]
        pair = (labels["source"], labels["destination"])
        seen.setdefault(pair, {})[labels["reporter"]] = float(total)
    return seen


def _twice(answered: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    found = _seen(answered)
    return tuple(sorted(p for p, seen in found.items() if sum(n > 0 for n in seen.values()) > 1))


def _of_reporters(
    frame: pd.DataFrame, chosen: Mapping[tuple[str, ...], Sequence[_Chosen]], index: pd.Index
) -> pd.DataFrame:
    """Keep what was counted by the reporter that was chosen for these rows of an index."""
    rows = index.searchsorted(frame.index)
    names = ["source", "destination", "reporter", "status"]
    table = frames.labels(frame).reindex(columns=names, fill_value="")
    values, kept = frame.to_numpy(dtype="float64", copy=True), []
    for place, (source, destination, reporter, status) in enumerate(table[names].to_numpy()):
        key = _key(source, destination, status) if status else (source, destination)
        parts = chosen.get(key, [(0, len(index), reporter)])
        kept.append(any(name == reporter for _, _, name in parts))
        for first, last, name in parts:
            if name != reporter:
                values[(first <= rows) & (rows < last), place] *= 0.0
    return pd.DataFrame(values, frame.index, frame.columns).loc[:, kept]
