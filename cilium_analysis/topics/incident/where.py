"""Where a change comes from: the few combinations of labels that explain most of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.statistics.attribution import attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_analysis.findings import Finding, Findings
    from cilium_analysis.topics.incident.data import Incident

#: Fewer than this share of the change is not worth a row.
WORTH = 0.03
_ANY = "*"


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
        against the baseline, ``unit`` and ``share`` of the whole change; the last row of each
        part is what no combination explains, so that changes add up.
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


def _rows(
    rank: int, finding: Finding, explained: tuple[str, str, pd.DataFrame] | None
) -> list[tuple[object, ...]]:
    if explained is None:
        return []
    what, unit, table = explained
    rows: list[tuple[object, ...]] = []
    for labels, row in table.iterrows():
        key = labels if isinstance(labels, tuple) else (labels,)
        named = zip(table.index.names, key, strict=True)
        text = ", ".join(f"{name} {value}" for name, value in named if value not in (_ANY, ""))
        worth = abs(row["share"]) >= WORTH if pd.notna(row["share"]) else False
        if worth:
            rows.append((rank, what, text or "everything else", row["change"], unit, row["share"]))
    return rows


def _drops(data: Incident, finding: Finding) -> tuple[str, str, pd.DataFrame] | None:
    drops = data.topics["drop_reasons"]
    by = ["reason", "direction", "node"]
    before, after = _sums(data, finding, drops.usual, drops.counts, by)
    return "packets dropped", "packets", attribute(before, after)


def _http(data: Incident, finding: Finding) -> tuple[str, str, pd.DataFrame] | None:
    http = data.topics["http_status"]
    by = ["source", "destination", "method", "node"]
    bad = [_failed(frame) for frame in (http.usual, http.counts)]
    before, after = _sums(data, finding, bad[0], bad[1], by)
    whole = _sums(data, finding, http.usual, http.counts, by)
    if not before.sum() and not after.sum():
        return None
    table = attribute(before, after, exposure=whole)
    table["change"] *= 100.0
    return "share of HTTP requests that failed or were denied", "percentage points", table


def _failed(counts: pd.DataFrame) -> pd.DataFrame:
    """Keep the requests answered with 403 or 5xx."""
    status = pd.Index(counts.columns.get_level_values("status")).astype(str)
    failed: pd.DataFrame = counts.loc[:, status.str.match(r"403|5..")]
    return failed


def _dns(data: Incident, finding: Finding) -> tuple[str, str, pd.DataFrame] | None:
    dns = data.topics["dns"]
    before, after = _sums(
        data, finding, dns.usual, dns.counts, ["rcode", "source", "query", "node"]
    )
    return "DNS responses", "responses", attribute(before, after)


def _sums(
    data: Incident,
    finding: Finding,
    usual: pd.DataFrame,
    counts: pd.DataFrame,
    by: Sequence[str],
) -> tuple[pd.Series, pd.Series]:
    """Count per combination while a finding lasted, and as much of the baseline."""
    during = frames.between(counts, finding.start, finding.end)
    scale = (finding.end - finding.start) / data.baseline.length
    return _plain(totals(usual, by) * scale, by), _plain(totals(during, by), by)


def _plain(sums: pd.Series, by: Sequence[str]) -> pd.Series:
    """Rename labels that would read as one left open: whoever named a workload so."""
    table = sums.rename("value").reset_index()
    for name in by:
        table[name] = table[name].replace(_ANY, "＊")
    return table.groupby(list(by))["value"].sum()


_EXPLAINED: Mapping[str, Callable[[Incident, Finding], tuple[str, str, pd.DataFrame] | None]] = {
    "drop_spike": _drops,
    "http_errors": _http,
    "http_denied": _http,
    "dns_failures": _dns,
}
