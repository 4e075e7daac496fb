"""How counters of stored targets are compared, to prove which are one agent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.queries import Matcher, Query, any_of
from cilium_analysis.targets.replicas import Evidence, compare, compare_starts
from cilium_analysis.targets.stored import END, own_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.source import Source
    from cilium_analysis.targets.replicas import Counters, Pair
    from cilium_analysis.targets.stored import Bins, Component, Row
    from cilium_analysis.window import Window

#: Counters that tell two agents apart by their values.
COMPARED: Mapping[Component, tuple[str, ...]] = {
    "agent": ("cilium_forward_count_total", "cilium_drop_count_total"),
    "hubble": (
        "hubble_flows_processed_total",
        "hubble_drop_total",
        "hubble_tcp_flags_total",
        "hubble_http_requests_total",
        "hubble_dns_queries_total",
    ),
}
_STARTS: Mapping[Component, str] = {
    "agent": "cilium_process_start_time_seconds",
    "operator": "cilium_operator_process_start_time_seconds",
}
#: Times at which counters of two stored targets are compared.
COMPARISONS = 8
#: Points in time at which the ends of counters are looked for.
MOST_POINTS = 500
#: Least time between two of them: the slowest collectors scrape every five minutes.
APART = timedelta(minutes=5)


@dataclass(frozen=True)
class Comparer:
    """Compares stored targets of one source.

    Parameters
    ----------
    source, windows, match
        What answers, about when, and the label matchers of the user.
    """

    source: Source
    windows: tuple[Window, ...]
    match: tuple[Matcher, ...]

    def evidence(
        self, rows: Sequence[Row], pairs: Sequence[Pair], bins: Bins
    ) -> dict[Pair, Evidence]:
        """Compare counters, and starts of processes, of pairs of stored targets."""
        found = {pair: Evidence() for pair in pairs}
        for component in sorted({rows[one].component for one, _ in pairs}):
            mine = [pair for pair in pairs if rows[pair[0]].component == component]
            window = self._shared(rows, mine, bins)
            chosen = [rows[number] for pair in mine for number in pair]
            for metric in COMPARED.get(component, ()):
                stored = _Stored.of(self._values(metric, chosen, window), own_labels([metric]))
                for pair in mine:
                    one, other = (stored.by(rows[number]) for number in pair)
                    if one.shape[1] or other.shape[1]:
                        found[pair] += compare(one, other)
            if component in _STARTS:
                stored = _Stored.of(self._values(_STARTS[component], chosen, window), ())
                for pair in mine:
                    one, other = (stored.by(rows[number]) for number in pair)
                    found[pair] += compare_starts(_latest(one), _latest(other))
        return found

    def ends(self, rows: Sequence[Row], numbers: Sequence[int], bins: Bins) -> Counters:
        """Give the first and the last values of pinned counters of some rows."""
        times = [bins[each] for number in numbers for each in rows[number].bins]
        begin, end = min(times)[0].to_pydatetime(), max(time for _, time in times).to_pydatetime()
        step = max(timedelta(minutes=1), (end - begin) / MOST_POINTS)
        step = timedelta(seconds=60 * -(-step // timedelta(seconds=60)))
        window = replace(
            self.windows[0], start=end - -(-(end - begin) // step) * step, end=end, step=step
        )
        found: dict[int, dict[object, tuple[float, float]]] = {}
        for metric in COMPARED["agent"]:
            values = self._values(metric, [rows[number] for number in numbers], window)
            stored = _Stored.of(values, own_labels([metric]))
            for number in numbers:
                for key, column in stored.by(rows[number]).items():
                    known = column.dropna()
                    if len(known):
                        span = (float(known.iloc[0]), float(known.iloc[-1]))
                        found.setdefault(number, {})[(metric, key)] = span
        return found

    def _shared(self, rows: Sequence[Row], pairs: Sequence[Pair], bins: Bins) -> Window:
        """Choose times at which most of these targets were scraped."""
        common: dict[int, int] = {}
        for one, other in pairs:
            for each in rows[one].bins.keys() & rows[other].bins.keys():
                common[each] = common.get(each, 0) + 1
        last = max(common, key=lambda each: (common[each], bins[each][1]))
        first, end = (moment.to_pydatetime() for moment in bins[last])
        apart: timedelta = max((end - first) / 2, APART)
        window = min(self.windows, key=lambda w: abs((w.end - end).total_seconds()))
        return replace(window, start=end - COMPARISONS * apart, end=end, step=apart)

    def _values(self, metric: str, rows: Sequence[Row], window: Window) -> pd.DataFrame:
        """Ask for the counters of some stored targets only."""
        extra = []
        for label in ("instance", "pod", "exported_instance"):
            values = sorted({row.labels.get(label, "") for row in rows})
            if len(values) > 1 and all(values):
                extra.append(any_of(label, values))
                break
        query = Query(f"max_over_time({metric}{{<match>}}[<range>])", "1", "to compare targets by")
        try:
            return self.source.range(
                query.render(match=(*self.match, *extra), step=window.step), window
            )
        except (QueryRejected, BudgetExceeded):
            return frames.empty()


@dataclass(frozen=True)
class _Stored:
    """Counters of some stored targets.

    Parameters
    ----------
    names
        Labels of targets.
    parts
        By their values, the series of each target, with the metric's own labels in the columns.
    """

    names: tuple[str, ...]
    parts: Mapping[tuple[str, ...], pd.DataFrame]

    @classmethod
    def of(cls, values: pd.DataFrame, own: Sequence[str]) -> _Stored:
        """Part a label frame by its targets."""
        table = frames.labels(values).astype(str)
        mine = [str(n) for n in table.columns if n in own or END.match(str(n))]
        names = [str(n) for n in table.columns if str(n) not in mine]
        # Without any label left each series still is one.
        keys, targets = (
            [tuple(row) for row in table[which].to_numpy()] if which else [()] * len(table)
            for which in (mine, names)
        )
        places: dict[tuple[str, ...], list[int]] = {}
        for place, target in enumerate(targets):
            places.setdefault(target, []).append(place)
        array = values.to_numpy(dtype="float64")
        return cls(
            tuple(names),
            {
                target: pd.DataFrame(
                    array[:, found],
                    index=values.index,
                    columns=pd.Index([keys[place] for place in found], tupleize_cols=False),
                )
                for target, found in places.items()
            },
        )

    def by(self, row: Row) -> pd.DataFrame:
        """Give the series of one stored target; none if there are none."""
        found = self.parts.get(tuple(row.labels.get(name, "") for name in self.names))
        return pd.DataFrame() if found is None else found


def _latest(values: pd.DataFrame) -> float:
    known = values.to_numpy(dtype="float64").ravel()
    known = known[~np.isnan(known)]
    return float(known[-1]) if len(known) else float("nan")
