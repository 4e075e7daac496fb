"""Where a change comes from: the few combinations of labels that explain most of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.statistics.attribution import explain
from cilium_analysis.topics.dns.outcomes import ended
from cilium_analysis.topics.drops.events import parties
from cilium_analysis.topics.telling import only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cilium_analysis.findings import Finding, Findings
    from cilium_analysis.incident.data import Incident
    from cilium_analysis.topics.model import Compared

#: Fewer than this share of the change is not worth a row.
WORTH = 0.03
_ANY = "*"
_ENDS = ["source", "destination"]


@dataclass(frozen=True)
class _Counts:
    """Amounts per combination of labels that a finding is about, as expected and as counted."""

    of: str
    unit: str
    before: pd.Series
    after: pd.Series


def where(data: Incident, found: Findings, *, most: int = 12) -> pd.DataFrame:
    """Explain how much was lost in each story: which combinations of labels have most of it.

    Parameters
    ----------
    data
        As from `load`.
    found
        As from `findings`.
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``story``, ``of`` (what changed), ``where`` (labels; the rest is left open), ``change``
        against the baseline, ``unit`` and ``share`` of all that changed the same way (NaN for what
        changed the other way); the last row of each part is what no combination explains, so that
        changes add up.
    """
    rows = [
        row
        for rank, lead in enumerate(found, start=1)
        for finding in (lead, *lead.evidence)
        if finding.kind in _EXPLAINED
        for row in _rows(rank, finding, _EXPLAINED[finding.kind](data, finding))
    ]
    columns = ["story", "of", "where", "change", "unit", "share"]
    table = pd.DataFrame(rows, columns=columns).drop_duplicates(["of", "where"], ignore_index=True)
    return table.head(most)


def _rows(rank: int, finding: Finding, counts: Iterable[_Counts]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for count in counts:
        whole = count.after.sum() - count.before.sum()
        changes = list(explain(count.before, count.after, worth=WORTH))
        # What moved the other way is no share of it, and makes none larger than the whole.
        moved = sum(change for _, change in changes if change * whole > 0)
        for labels, change in changes:
            if abs(change) >= WORTH * abs(whole) > 0:
                text = ", ".join(f"{name} {value}" for name, value in labels.items())
                where = text or "everything else"
                share = change / moved if change * whole > 0 else math.nan
                rows.append((rank, count.of, where, change, count.unit, share))
    return rows


def _drops(data: Incident, finding: Finding) -> Iterator[_Counts]:
    drops = data.topics["drop_reasons"]
    by = ["reason", "direction", "node"]
    yield _Counts(
        _of("packets dropped", drops.baseline.counts),
        "packets",
        *_sums(drops, finding, drops.baseline.counts, drops.now.counts, by),
    )
    seen = parties(drops.now.hubble) if drops.now.hubble.shape[1] else drops.now.hubble
    if seen.shape[1]:
        mine = only(seen, {"reason": finding.labels["reason"]})
        during = frames.between(mine, finding.start, finding.end)
        # The baseline of sources and destinations is hardly ever worth a query.
        after = _plain(totals(during, _ENDS), _ENDS)
        yield _Counts("drops that Hubble saw", "events", after.iloc[:0], after)


def _http(data: Incident, finding: Finding) -> Iterator[_Counts]:
    http = data.topics["http_status"]
    by = [*_ENDS, "method", "node"]
    bad = [_failed(frame) for frame in (http.baseline.counts, http.now.counts)]
    before, after = _sums(http, finding, bad[0], bad[1], by)
    asked, now = _sums(http, finding, http.baseline.counts, http.now.counts, by)
    yield _Counts(
        _of("HTTP requests that failed or were denied", http.baseline.counts),
        "requests",
        _at(before, asked, now),
        after,
    )


def _at(failed: pd.Series, asked: pd.Series, now: pd.Series) -> pd.Series:
    """Give how many of the requests of now would have failed at the baseline's ratios."""
    overall = failed.sum() / asked.sum() if asked.sum() else 0.0
    ratios = (failed / asked[asked > 0]).reindex(now.index).fillna(overall)
    return now * ratios


def _failed(counts: pd.DataFrame) -> pd.DataFrame:
    """Keep the requests answered with 403 or 5xx, or not at all."""
    status = pd.Index(counts.columns.get_level_values("status")).astype(str)
    failed: pd.DataFrame = counts.loc[:, status.str.match(r"403|5..|0+")]
    return failed


def _dns(data: Incident, finding: Finding) -> Iterator[_Counts]:
    dns, rcode = data.topics["dns"], finding.labels["rcode"]
    ends = (ended(each.asked, each.counts) for each in (dns.baseline, dns.now))
    baseline, now = (only(each, {"rcode": rcode}) for each in ends)
    sums = _sums(dns, finding, baseline, now, ["source", "query", "node"])
    name = _of(f"DNS lookups that ended with: {rcode}", dns.baseline.counts)
    yield _Counts(name, "lookups", *sums)


def _of(what: str, baseline: pd.DataFrame) -> str:
    """Name what changed; without a baseline it is all that was counted."""
    known = baseline.shape[1] and baseline.notna().to_numpy().any()
    return what if known else f"{what}, all of them: there is no baseline"


def _sums(
    data: Compared[Any, Any],
    finding: Finding,
    baseline: pd.DataFrame,
    counts: pd.DataFrame,
    by: Sequence[str],
) -> tuple[pd.Series, pd.Series]:
    """Count per combination while a finding lasted, and as much of the baseline."""
    during = frames.between(counts, finding.start, finding.end)
    scale = (finding.end - finding.start) / data.baseline.length
    return _plain(totals(baseline, by) * scale, by), _plain(totals(during, by), by)


def _plain(sums: pd.Series, by: Sequence[str]) -> pd.Series:
    """Rename a label value ``*``, which would read as a label that is left open."""
    table = sums.rename("value").reset_index()
    for name in by:
        table[name] = table[name].replace(_ANY, "＊")
    return table.groupby(list(by))["value"].sum()


_EXPLAINED: Mapping[str, Callable[[Incident, Finding], Iterator[_Counts]]] = {
    "drop_spike": _drops,
    "http_errors": _http,
    "http_denied": _http,
    "dns_failures": _dns,
}
