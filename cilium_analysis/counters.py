"""Counters: from the values of counters to their increases. Pure.

PromQL's ``increase`` loses the first value of a new series and extrapolates to the edges of its
range (promql/functions.go, ``extrapolatedRate``), which is wrong by a whole burst for Cilium's
drop counters: such a series is born at its first drop. Here the increase is read from the values
themselves, one series at a time, before any sum:

- a series born while its target was already being scraped began at 0, unless it continues one
  that ended: a reason that an upgrade spells in another way keeps its whole past;
- a series of a target that was not scraped before has an unknown past: only the start of its
  process proves that a counter of the process began then;
- a value that falls was reset and began at 0 again, and so were all others of its process where
  that is known to have started anew, even if they are above their last value by then;
- except for pinned counters, which live in a BPF map (``cilium_drop_*``, ``cilium_forward_*``,
  pkg/maps/metricsmap/metricsmap.go): they survive a restart of the agent. Up to Cilium 1.14 the
  agent copied them, so that they fell to 0 and jumped back; that is no increase. If one series
  of a node's map was really reset (the node rebooted), all of them were;
- the increase over a scrape gap is spread evenly over the gap.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.births import (
    CHURN_LABELS,
    TARGET_LABELS,
    anchored,
    chains_of,
    highest,
    keys_of,
    labels_of,
    restarted_between,
    restarts_of,
    scraped_at,
    starts_of,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from cilium_analysis.births import Flags, Floats, Labels

    #: Row, kind, amount, and the position of the series.
    _Event = tuple[int, str, float, int]

PINNED = re.compile(r"cilium_(drop|forward)_(count|bytes)_total")

#: How long after an agent's restart its copy of a pinned counter may be missing or 0.
RETURN_WITHIN = timedelta(minutes=5)

#: A pinned counter that falls by less than this share and returns was scraped from a replica.
REPLICA_SHARE = 0.1


@dataclass(frozen=True)
class Reading:
    """The increases of counters, and the decisions behind them.

    Parameters
    ----------
    increase
        Label frame with the index and columns of the counters: the increase since the time
        before; NaN where it is unknown.
    events
        One row per decision that the numbers depend on: ``time``, ``event`` (``birth``,
        ``renamed``, ``reset``, ``fall``, ``artefact``, ``gap``, ``unknown_start``), ``amount``
        (the increase; or what was left out, for a fall, an artefact and an unknown start), and
        the labels of the series.
    renamed
        Positions of columns: a series of a pinned map, and the one that it continues.
    """

    increase: pd.DataFrame
    events: pd.DataFrame
    renamed: tuple[tuple[int, int], ...] = ()


@dataclass
class _Track:
    """One series while it is being read."""

    levels: Floats
    scraped: Flags
    restarted: Flags
    horizon: int
    pinned: bool
    summed: bool
    before: float | None = None
    heir_of: _Track | None = None
    resets_at: tuple[tuple[int, int], ...] = ()
    events: list[tuple[int, str, float]] = field(default_factory=list)
    resets: list[tuple[int, int]] = field(default_factory=list)


def increase(
    frame: pd.DataFrame, *, scraped: pd.DataFrame | None = None, pinned: bool | None = None
) -> pd.DataFrame:
    """Give the increase of counters in each step.

    Parameters
    ----------
    frame
        Label frame of counter values. With ``max_over_time(x[step])`` the increase between two
        steps is kept even before a reset, and of a series that ended.
    scraped
        Label frame with a value wherever a target was scraped: best the start time of its
        process [s since 1970], which tells a node that has just joined (it counts from 0) from
        one that had not been scraped for a while; or ``up == 1``. Joined on the labels of
        `TARGET_LABELS` that both have.
        Without it, a target counts as scraped where any series of it has a sample.
    pinned
        Whether the counters live in a pinned BPF map; by default read from their names, and,
        where the name is gone, from the labels ``reason`` and ``direction``.

    Returns
    -------
    pandas.DataFrame
        Label frame as `Reading.increase`. The first row is NaN: the second is compared with it.
        Sums over time and series are exact totals of what the scrapes show.

    Examples
    --------
    >>> from cilium_analysis import connect, counters, frames
    >>> source = connect("sample")
    >>> dropped = counters.increase(source.range("cilium_drop_count_total", source.window))
    >>> frames.totals(dropped, ["reason"]).nlargest(2)
    reason
    Policy denied              86986.0
    Unsupported L3 protocol     3137.0
    dtype: float64
    """
    return _count(frame, scraped, pinned)[0]


def read(
    frame: pd.DataFrame, *, scraped: pd.DataFrame | None = None, pinned: bool | None = None
) -> Reading:
    """Give the increase of counters in each step, and the decisions behind it.

    Parameters
    ----------
    frame, scraped, pinned
        As for `increase`.
    """
    grown, rows, renamed = _count(frame, scraped, pinned)
    return Reading(grown, _event_table(rows, frame), renamed)


def _count(
    frame: pd.DataFrame, scraped: pd.DataFrame | None, pinned: bool | None
) -> tuple[pd.DataFrame, list[_Event], tuple[tuple[int, int], ...]]:
    values = frame.to_numpy(dtype="float64")
    labels = labels_of(frame)
    chains = chains_of(labels, values.shape[1])
    flags = _pinned(labels, values.shape[1], known=pinned)
    at, restarts = scraped_at(frame, labels, scraped, flags), restarts_of(frame, labels, scraped)
    horizon = _horizon(frame.index)
    # In a sum over all nodes, a fall may be a node that left.
    summed = [node == "" for node in labels.get("node", ["?"] * values.shape[1])]
    result = np.full(values.shape, np.nan)
    tracks: dict[Hashable, _Track] = {}
    for identity, (first, *others) in chains.items():
        merged = highest(values[:, [first, *others]]) if others else values[:, first]
        anew = np.logical_or.reduce([restarts[member] for member in (first, *others)])
        tracks[identity] = _Track(
            merged, at[:, first], anew, horizon, bool(flags[first]), summed[first]
        )
    _share_resets(tracks, labels, chains)
    _share_restarts(tracks, frame, labels, chains, scraped)
    _take_over(tracks, labels, chains)
    rows: list[_Event] = []
    for identity, members in chains.items():
        gain = _grow(tracks[identity])
        _attribute(result, gain, values, members)
        rows += [(*event, members[0]) for event in tracks[identity].events]
    column = {id(tracks[identity]): members[0] for identity, members in chains.items()}
    renamed = tuple(
        (column[id(track)], column[id(track.heir_of)])
        for track in tracks.values()
        if track.heir_of is not None
    )
    return pd.DataFrame(result, index=frame.index, columns=frame.columns), rows, renamed


def _horizon(index: pd.Index) -> int:
    """Give the number of steps within which a pinned counter returns after a restart."""
    if len(index) < 2:
        return 1
    step = pd.Timedelta(int(np.diff(frames.milliseconds(index)).min()), "ms")
    return max(2, int(RETURN_WITHIN / step))


def _attribute(result: Floats, gain: Floats, values: Floats, members: Sequence[int]) -> None:
    """Write the increase of a chain to the column that has the sample (in a gap, the next one)."""
    if len(members) == 1:
        result[:, members[0]] = gain
        return
    present = ~np.isnan(values[:, members])
    owner = pd.Series(np.where(present.any(axis=1), present.argmax(axis=1), np.nan)).bfill()
    for which, column in enumerate(members):
        result[:, column] = np.where(owner == which, gain, np.nan)


def _pinned(labels: Labels, series: int, *, known: bool | None) -> Flags:
    """Tell which series are pinned, by name or else by labels."""
    if known is not None:
        return np.full(series, known)
    by_labels = {"reason", "direction"} <= set(labels)
    names = labels.get("__name__", [""] * series)
    flags = [bool(PINNED.fullmatch(name)) or (not name and by_labels) for name in names]
    return np.array(flags, dtype=np.bool_)


def _take_over(
    tracks: Mapping[Hashable, _Track],
    labels: Labels,
    chains: Mapping[Hashable, Sequence[int]],
) -> None:
    """Find series that continue others, which ended when they were born.

    A series of a pinned map ends only if its labels are spelled in another way from then on. The
    series of a process end with it; they were only renamed if all of them ended at once, and the
    process continued.
    """
    names = [n for n in TARGET_LABELS if n in labels and n not in CHURN_LABELS]
    keys = keys_of(labels, names, sum(map(len, chains.values())))
    counted = labels.get("__name__", [""] * len(keys))
    groups: dict[tuple[tuple[str, ...], str], list[_Track]] = defaultdict(list)
    for identity, members in chains.items():
        if (~np.isnan(tracks[identity].levels)).any():
            groups[keys[members[0]], counted[members[0]]].append(tracks[identity])
    named = anchored(labels)
    for group in groups.values():
        spans = [np.flatnonzero(~np.isnan(track.levels))[[0, -1]] for track in group]
        for born in {int(first) for first, _ in spans}:
            _pass_on(group, spans, born, anchored=named)


def _pass_on(
    group: Sequence[_Track], spans: Sequence[NDArray[np.intp]], born: int, *, anchored: bool
) -> None:
    """Let the series born in a row continue those that ended just before.

    A map is that of its node, also if the pod is another one: an upgrade replaces it.
    """
    same = group[0].pinned and anchored
    horizon = group[0].horizon
    new = [
        g
        for g, (first, _) in zip(group, spans, strict=True)
        if first == born and (same or g.scraped[:born].any())
    ]
    old = [
        (float(g.levels[last]), g)
        for g, (_, last) in zip(group, spans, strict=True)
        if last < born <= last + horizon
    ]
    if not new or not old:
        return
    if group[0].pinned:
        for track in sorted(new, key=lambda t: -t.levels[born]):
            fit = [each for each in old if each[0] <= track.levels[born]]
            if fit:
                best = max(fit, key=lambda each: each[0])
                track.before, track.heir_of = best
                old = [each for each in old if each[1] is not best[1]]
        return
    going_on = any(first < born <= last for first, last in spans)
    since = slice(max(born - horizon, 0), born + 1)
    began = any(track.restarted[since].any() for track in (*new, *(track for _, track in old)))
    whole, past = sum(float(t.levels[born]) for t in new), sum(value for value, _ in old)
    if not going_on and not began and 0 < past <= whole:
        for track in new:
            track.before = float(track.levels[born]) * past / whole


def _share_resets(
    tracks: Mapping[Hashable, _Track],
    labels: Labels,
    chains: Mapping[Hashable, Sequence[int]],
) -> None:
    """Apply a real reset of one series of a node's pinned map to all series of that map.

    ``cilium_forward_*`` do not decide: in Cilium 1.15.0 to 1.15.3 they show whichever forward
    reason comes last, so that they fall without any reset.
    """
    names = [n for n in TARGET_LABELS if n in labels and n not in CHURN_LABELS]
    pinned = [identity for identity in chains if tracks[identity].pinned]
    if not names:
        return
    keys = keys_of(labels, names, 0)
    maps: dict[tuple[str, ...], list[Hashable]] = defaultdict(list)
    for identity in pinned:
        maps[keys[chains[identity][0]]].append(identity)
    forward = [name.startswith("cilium_forward_") for name in labels.get("__name__", ())]
    for identities in maps.values():
        resets: set[tuple[int, int]] = set()
        for identity in identities:
            if not (forward and forward[chains[identity][0]]):
                track = tracks[identity]
                probe = replace(track, events=[], resets=[])
                _grow(probe)
                resets.update(probe.resets)
        for identity in identities if resets else ():
            tracks[identity].resets_at = tuple(resets)


def _share_restarts(
    tracks: Mapping[Hashable, _Track],
    frame: pd.DataFrame,
    labels: Labels,
    chains: Mapping[Hashable, Sequence[int]],
    scraped: pd.DataFrame | None,
) -> None:
    """Apply a known start of a process to all of its counters, also to those that did not fall."""
    keys, began = starts_of(frame, labels, scraped)
    groups: dict[tuple[str, ...], list[_Track]] = defaultdict(list)
    for identity, members in chains.items():
        if keys[members[0]] in began and not tracks[identity].pinned:
            groups[keys[members[0]]].append(tracks[identity])
    for key, group in groups.items():
        shared = restarted_between([track.levels for track in group], began[key], frame.index)
        for track in group:
            track.resets_at = shared


def _grow(track: _Track) -> Floats:
    """Give the increase of one series in each step, NaN where it is unknown."""
    result = np.full(len(track.levels), np.nan)
    rows = np.flatnonzero(~np.isnan(track.levels))
    if not len(rows):
        return result
    rows = _without_artefacts(track, rows)
    _begin(track, int(rows[0]), result)
    samples = track.levels[rows]
    steps = np.diff(samples)
    again = _restarted(track, rows, samples)
    if track.summed:
        for place in np.flatnonzero(steps < 0):
            track.events.append((int(rows[place + 1]), "fall", float(-steps[place])))
        steps[steps < 0] = 0.0
        again &= False
    steps[again] = samples[1:][again]
    result[rows[1:]] = steps
    for place in np.flatnonzero(again):
        before, after = int(rows[place]), int(rows[place + 1])
        track.resets.append((before, after))
        track.events.append((after, "reset", float(samples[place + 1])))
    _spread_gaps(track, rows, steps, result)
    return result


def _without_artefacts(track: _Track, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Leave out the samples of a pinned counter that a restarting agent exported as 0.

    Also those that are a little too low, from a replica that lags behind.
    """
    samples = track.levels[rows]
    if not track.pinned:
        return rows
    keep = np.ones(len(rows), dtype=bool)
    for fall in np.flatnonzero(np.diff(samples) < 0) + 1:
        level = samples[:fall][keep[:fall]].max()
        window = (rows[fall:] - rows[fall - 1]) <= track.horizon
        back = np.flatnonzero(window & (samples[fall:] >= level))
        if keep[fall] and len(back):
            dip = samples[fall : fall + back[0]]
            if ((dip == 0) | (dip >= (1 - REPLICA_SHARE) * level)).all():
                keep[fall : fall + back[0]] = False
                track.events.append((int(rows[fall]), "artefact", float(level)))
    return rows[keep]


def _begin(track: _Track, first: int, result: Floats) -> None:
    """Count a series from 0 if its target was scraped before; else its past is unknown."""
    if first == 0:
        return
    before = np.flatnonzero(track.scraped[:first])
    amount = float(track.levels[first])
    if track.before is not None:
        result[first] = amount - track.before
        track.events.append((first, "renamed", amount - track.before))
        return
    if not len(before):
        track.events.append((first, "unknown_start", amount))
        return
    last = int(before[-1])
    result[last + 1 : first + 1] = amount / (first - last)
    track.events.append((first, "birth", amount))


def _restarted(track: _Track, rows: NDArray[np.intp], samples: Floats) -> Flags:
    """Tell which samples, after the first, count from 0 again."""
    again: Flags = np.diff(samples) < 0
    # A series that was missing for long while its target was scraped counts from 0 again.
    scrapes = np.cumsum(track.scraped)
    without: NDArray[np.int64] = scrapes[rows[1:] - 1] - scrapes[rows[:-1]]
    again |= without > track.horizon
    for before, after in track.resets_at:
        again |= (rows[:-1] <= before) & (rows[1:] >= after)
    return again


def _spread_gaps(track: _Track, rows: NDArray[np.intp], steps: Floats, result: Floats) -> None:
    """Spread an increase evenly over the steps without a sample before it."""
    lengths = np.diff(rows)
    usual = np.median(lengths) if len(lengths) else 1
    for place in np.flatnonzero(lengths > 1):
        before, after, gain = int(rows[place]), int(rows[place + 1]), float(steps[place])
        scrapes: NDArray[np.intp] = np.flatnonzero(track.scraped[before + 1 : after])
        begin = before + 1
        if (before, after) in track.resets:
            known = [b for b, a in track.resets_at if before <= b and a <= after]
            if known and not track.pinned:
                begin = max(known) + 1
            elif len(scrapes):
                # Scraped without a value: the new count had not begun by then.
                begin += int(scrapes[-1]) + 1
        result[before + 1 : begin] = 0.0
        result[begin : after + 1] = gain / (after + 1 - begin)
        if lengths[place] >= 3 * usual and not len(scrapes):
            track.events.append((after, "gap", gain))


def _event_table(rows: Sequence[_Event], frame: pd.DataFrame) -> pd.DataFrame:
    """Make a table of the events in order of time."""
    ordered = sorted(rows, key=lambda row: (row[0], row[3]))
    head = pd.DataFrame(
        {
            "time": frame.index[[row[0] for row in ordered]],
            "event": [row[1] for row in ordered],
            "amount": np.array([row[2] for row in ordered], dtype="float64"),
        }
    )
    tail = frames.labels(frame).iloc[[row[3] for row in ordered]].reset_index(drop=True)
    return pd.concat([head, tail], axis=1)
