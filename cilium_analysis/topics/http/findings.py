"""Findings about HTTP: errors, denials and delays to act on, and when HTTP is unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.frames import totals
from cilium_analysis.queries import Matcher
from cilium_analysis.statistics.rises import Rises, join
from cilium_analysis.texts import percent
from cilium_analysis.topics import commands, verdict
from cilium_analysis.topics.bursts import fewest, spilled, summed
from cilium_analysis.topics.http.durations import NAME, Slow, slow_requests
from cilium_analysis.topics.http.statuses import (
    DENIED_STATUS,
    FAILED,
    UNANSWERED,
    made_by_policy,
    status_class,
)
from cilium_analysis.topics.model import found_once
from cilium_analysis.topics.parties import namespace_of
from cilium_analysis.topics.telling import between, largest, only, several, short, trifling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.topics.http.data import Http, Requests

#: Errors are a burst only if their share of the requests rises by this factor too.
RATIO_FACTOR = 2.0
#: This share of the requests to a destination, for so long, and so many of them, is critical.
CRITICAL_SHARE = 0.05
CRITICAL_LENGTH = timedelta(minutes=2)
CRITICAL_TOTAL = 100.0
#: A quantile of the duration is critical from so many seconds on, if it is so many times the usual.
CRITICAL_SECONDS = 1.0
CRITICAL_SLOWER = 5.0
#: A burst is doubtful if fewer of its steps than this share were observed.
ENOUGH_OBSERVED = 0.98
_RISES = Rises()
_NEXT = {
    "http_errors": "Look at the logs and recent rollouts of the destination, and at its own"
    " dependencies: `hubble observe --protocol http --http-status {status}{to}`.",
    "http_denied": "Compare the layer 7 rules of the CiliumNetworkPolicies that select the"
    " destination with these requests (method, path, headers): `hubble observe --verdict DROPPED"
    " --protocol http{to}`.",
}


@dataclass(frozen=True)
class _Stream:
    """Requests to one destination that went wrong in one way.

    `bad` and `baseline` are label frames of those requests, `whole` and `baseline_whole` all
    requests to the destination per step.
    """

    kind: str
    destination: str
    bad: pd.DataFrame
    baseline: pd.DataFrame
    whole: pd.Series
    baseline_whole: pd.Series


@found_once
def findings(data: Http) -> Findings:
    """Say what about HTTP is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``http_errors``, ``http_denied`` and ``http_latency`` for every burst above the baseline.
        Empty when nothing is unusual, and when HTTP is not visible.
    """
    found = [
        _finding(data, stream, first, last)
        for stream in _streams(data)
        for first, last in _bursts(stream, data.window.step)
    ]
    found += [_slow(data, slow) for slow in slow_requests(data)]
    return verdict.told(data, found, topic="http_status", unknown=unknown(data))


def unknown(data: Http) -> tuple[str, ...]:
    """Give the reasons why it is not known whether requests fail; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if not data.now.counts.shape[1] and data.now.statusless:
        return (f"no label tells how {data.now.statusless:,.0f} requests ended",)
    if not data.now.counts.shape[1]:
        before = ", though there were some in the baseline" if data.baseline.counts.shape[1] else ""
        return (f"no HTTP request is visible in this window{before}",)
    sums = totals(data.now.counts, ["status"])
    failed = sum(n for status, n in sums.items() if status_class(str(status)) in ("4xx", "5xx"))
    fact = f"{sums.sum():,.0f} requests were answered, {failed:,.0f} of them with 4xx or 5xx"
    return verdict.no_baseline(data.baseline.counts, what="no HTTP request is visible", fact=fact)


def _streams(data: Http) -> Iterator[_Stream]:
    """Give what can go wrong at each destination: each status from 400 on, all 5xx as one.

    Requests without a response are apart.
    """
    counts, baseline = _apart(data.now), _apart(data.baseline)
    for destination in sorted(set(frames.values(counts, "destination"))):
        there, before = (only(frame, {"destination": destination}) for frame in (counts, baseline))
        wholes = there.sum(axis=1, min_count=1), before.sum(axis=1, min_count=1)
        for kind in sorted(set(map(_kind_of, frames.values(there, "status"))) - {""}):
            bad, normal = (
                frame.loc[
                    :, [_kind_of(status) == kind for status in frames.values(frame, "status")]
                ]
                for frame in (there, before)
            )
            name = "http_denied" if kind == "denied" else "http_errors"
            yield _Stream(name, destination, bad, normal, *wholes)


def _apart(requests: Requests) -> pd.DataFrame:
    """Tell the 403s of policies from the others: they get a status of their own."""
    counts = requests.counts
    labels = ["source", "destination", "method", "node", "status"]
    made = made_by_policy(requests)
    if not made.shape[1] or not counts.shape[1]:
        return frames.group(counts, labels)
    pairs = frames.group(made, ["source", "destination"])
    answered = [status == DENIED_STATUS for status in frames.values(counts, "status")]
    forbidden = counts.loc[:, answered]
    sums = frames.group(forbidden, ["source", "destination"])
    share = (pairs.reindex(columns=sums.columns) / sums.where(sums > 0)).clip(0.0, 1.0).fillna(0.0)
    keys = pd.MultiIndex.from_arrays(
        [frames.values(forbidden, name) for name in ("destination", "source")],
        names=sums.columns.names,
    )
    by_policy = forbidden * share.reindex(index=forbidden.index, columns=keys).to_numpy()
    parts = [
        counts.loc[:, [not a for a in answered]],
        forbidden - by_policy,
        frames.relabel(by_policy, "status", ["denied"] * by_policy.shape[1]),
    ]
    return frames.group(pd.concat(parts, axis=1), labels)


def _kind_of(status: str) -> str:
    if status == "denied":
        return status
    found = status_class(status)
    return found if found in FAILED else status if found == "4xx" else ""


def _bursts(stream: _Stream, step: timedelta) -> list[tuple[int, int]]:
    """Find bursts per source and overall, joined; drop those that only follow the traffic."""
    baseline = _filled(stream.baseline, stream.baseline_whole)
    those = _RISES.at(step)
    found = those.find(summed(stream.bad), summed(baseline))
    # A source without errors in the baseline had none whenever the destination was observed.
    none = np.where(baseline.notna().any(axis=1), 0.0, np.nan)
    for source in sorted(set(frames.values(stream.bad, "source"))):
        now, before = (only(frame, {"source": source}) for frame in (stream.bad, baseline))
        found += those.find(summed(now), summed(before) if before.shape[1] else none)
    joined = join(found, bridge=those.bridge)
    return [(first, last) for first, last in joined if _disproportionate(stream, first, last)]


def _filled(baseline: pd.DataFrame, whole: pd.Series) -> pd.DataFrame:
    """Give 0 where the destination was observed and no request went wrong."""
    if not baseline.shape[1]:
        return pd.DataFrame({"none": whole.where(whole.isna(), 0.0)})
    return baseline.mask(baseline.isna() & whole.notna().to_numpy()[:, None], 0.0)


def _disproportionate(stream: _Stream, first: int, last: int) -> bool:
    """Tell whether the share of bad requests rose, and not only the number of all requests."""
    now = stream.bad.iloc[first:last].sum().sum() / max(stream.whole.iloc[first:last].sum(), 1.0)
    return bool(now >= RATIO_FACTOR * _usual_share(stream))


def _usual_share(stream: _Stream) -> float:
    whole = float(stream.baseline_whole.sum())
    return float(stream.baseline.sum().sum()) / whole if whole else 0.0


def _finding(data: Http, stream: _Stream, first: int, last: int) -> Finding:
    bad, whole = stream.bad.iloc[first:last], float(stream.whole.iloc[first:last].sum())
    start, end = data.now.counts.index[first] - data.window.step, data.now.counts.index[last - 1]
    inside = float(bad.sum().sum())
    total = inside + spilled(stream.bad, stream.baseline, first, last)
    value, before = inside / (end - start).total_seconds(), _rate(data, stream)
    share = inside / whole if whole else 0.0
    labels, most = _labels(stream, bad)
    parts = (labels.get(f"destination_{part}", "") for part in ("namespace", "workload"))
    name = commands.workload("/".join(filter(None, parts)))
    return Finding(
        kind=stream.kind,
        severity=_severity(stream.kind, labels, share, total, end - start),
        title=_title(stream, labels, most, value, before, total, share),
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=labels,
        nodes=fewest(totals(bad, ["node"]).sort_values(ascending=False)),
        value=value,
        baseline_value=before,
        unit="requests/s",
        total=total,
        share=share,
        trust_reasons=_caveats(data, stream, first, last),
        query=_query(labels),
        next_step=_NEXT[stream.kind].format(
            status=labels.get("status", "5+"),
            to=f" --to-workload {name}" if name else "",
        ),
        brief=_brief(stream, bad, total, share),
    )


def _rate(data: Http, stream: _Stream) -> float:
    """Give the baseline's mean rate [requests/s] over the steps that were observed."""
    baseline = summed(_filled(stream.baseline, stream.baseline_whole))
    if np.isnan(baseline).all():
        return math.nan
    return float(np.nanmean(baseline) / data.window.step.total_seconds())


def _labels(stream: _Stream, bad: pd.DataFrame) -> tuple[dict[str, str], set[str]]:
    """Give status, source, destination, method and node where they single the errors out.

    Returns also the names of those labels that have most of the errors, and not all.
    """
    found = {name: largest(totals(bad, [name])) for name in ("status", "source", "method", "node")}
    status = DENIED_STATUS if stream.kind == "http_denied" else found["status"][0]
    labels = {"status": status} | _party("source", found["source"][0])
    labels |= _party("destination", stream.destination)
    for name in ("method", "node"):
        # What nearly all requests are anyway says nothing.
        if len(set(frames.values(bad, name))) > 1:
            labels[name] = found[name][0]
    most = {name for name, (_, partly) in found.items() if partly}
    return {name: text for name, text in labels.items() if text}, most


def _party(side: str, name: str) -> dict[str, str]:
    namespace, workload = namespace_of(name)
    if not namespace:
        return {side: name}
    return {f"{side}_namespace": namespace, f"{side}_workload": workload}


def _severity(
    kind: str, labels: dict[str, str], share: float, total: float, length: timedelta
) -> Severity:
    if trifling(total, share):
        return Severity.INFO
    serious = share >= CRITICAL_SHARE and length >= CRITICAL_LENGTH and total >= CRITICAL_TOTAL
    own_fault = kind == "http_errors" and status_class(labels.get("status", "500")) == "4xx"
    if own_fault:
        return Severity.WARNING if serious else Severity.INFO
    return Severity.CRITICAL if serious else Severity.WARNING


def _brief(stream: _Stream, bad: pd.DataFrame, total: float, share: float) -> str:
    """Say how many requests, between whom, how they ended, and which part of all these are."""
    sources = several(totals(bad, ["source"]))
    ends = between({"source": sources, "destination": stream.destination})
    counted = totals(bad, ["status"])
    statuses = several(counted) or "5xx"
    got = "no response" if statuses == UNANSWERED else statuses.removeprefix("mostly ")
    how = f"got {got}"
    if (counted > 0).sum() > 1 + statuses.count(",") + statuses.count(" and "):
        how = f"failed, most of them with {got}"
    if stream.kind == "http_denied":
        how = "got 403, denied by policy"
    whole = f"all requests to {stream.destination}" if stream.destination else "all requests"
    return f"{total:,.0f} requests{ends} {how} ({percent(share)} of {whole} in that time)"


def _title(
    stream: _Stream,
    labels: dict[str, str],
    most: set[str],
    value: float,
    before: float,
    total: float,
    share: float,
) -> str:
    """Say source, destination and status, how many, and which share of all requests to there."""
    source = "/".join(labels[n] for n in ("source_namespace", "source_workload") if n in labels)
    ends = {"source": source or labels.get("source", ""), "destination": stream.destination}
    status = labels.get("status", "5xx")
    how = "without a response" if status == UNANSWERED else f"answered with {status}"
    if stream.kind == "http_denied":
        how = "denied by policy (403)"
    if "status" in most and "status" in labels:
        # Most of those that failed, not of all.
        how = f"failed, mostly {how}"
    on = f"{' mostly' if 'node' in most else ''} on {labels['node']}" if "node" in labels else ""
    usual = "" if math.isnan(before) else f" ({percent(_usual_share(stream))})"
    whole = f"all requests to {stream.destination}" if stream.destination else "all requests"
    return (
        f"Requests{between(ends, most)} {how}{on}: {short(value)}/s ({percent(share)} of {whole}"
        f" in that time) instead of {short(before)}{usual}, {total:,.0f} in all"
    )


def _caveats(data: Http, stream: _Stream, first: int, last: int) -> tuple[str, ...]:
    """Give the caveats about the numbers of this burst."""
    said = []
    observed = float(stream.whole.iloc[first:last].notna().mean())
    if observed < ENOUGH_OBSERVED:
        said.append(f"requests were observed in only {observed:.0%} of the steps")
    if not stream.baseline_whole.notna().any():
        said.append(
            "no requests to it in the baseline: compared with the quieter half of the window"
        )
    if stream.kind == "http_denied" and not data.now.refused.shape[1]:
        said.append("the share of policies is estimated from the proxies' own counts")
    if data.now.apart and _kind_of(UNANSWERED) in map(
        _kind_of, frames.values(stream.bad, "status")
    ):
        said.append("responses are counted apart: one that comes late is missed until it comes")
    return (*said, *(f"server: {text}" for text in data.warnings))


def _query(labels: dict[str, str]) -> str:
    """Write PromQL that shows it, without context labels: which ones exist is configured."""
    status = (
        str(Matcher("status", "=", labels["status"])) if "status" in labels else 'status=~"5.."'
    )
    if labels.get("status") == UNANSWERED:
        status = 'status=~"0*"'
    known = [status] + [
        str(Matcher(name, "=", labels[name])) for name in ("method", "node") if name in labels
    ]
    return f"sum by (status, reporter) (rate(hubble_http_requests_total{{{','.join(known)}}}[5m]))"


def _slow(data: Http, slow: Slow) -> Finding:
    start = data.now.durations.index[slow.first] - data.window.step
    end = data.now.durations.index[slow.last - 1]
    rates = f"sum by (le) (rate({NAME}_bucket[5m]))"
    name, (value, usual) = f"p{slow.quantile * 100:.0f}", slow.told()
    to = f" to {slow.destination}" if slow.destination else ""
    serious = slow.value >= CRITICAL_SECONDS and slow.value >= CRITICAL_SLOWER * slow.baseline
    return Finding(
        kind="http_latency",
        severity=Severity.CRITICAL if serious else Severity.WARNING,
        title=f"Requests{to} are slow: {name} {value} instead of {usual}",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels={n: t for n, t in _party("destination", slow.destination).items() if t},
        value=slow.value,
        baseline_value=slow.baseline,
        unit="s",
        trust_reasons=tuple(f"server: {text}" for text in data.warnings),
        query=f"histogram_quantile({slow.quantile:g}, {rates})",
        next_step="Look at the load, limits and dependencies of the destination"
        f"{commands.pods_of(slow.destination)}, and at the"
        " traces of slow requests (exemplars) if they are stored.",
    )
