"""Counters: from the values of counters to what was really counted. Pure.

PromQL's ``increase`` loses the first value of a new series and extrapolates to the edges of its
range (promql/functions.go, ``extrapolatedRate``), which is wrong by a whole burst for Cilium's
drop counters: such a series is born at its first drop. Here the growth is read from the values
themselves, one series at a time, before any sum:

- a series born while its target was already being scraped began at 0;
- a value that falls was reset and began at 0 again;
- except for the counters that live in a pinned BPF map (``cilium_drop_*``, ``cilium_forward_*``,
  pkg/maps/metricsmap/metricsmap.go): they survive a restart of the agent. Up to Cilium 1.14 the
  agent copied them, so that they fell to 0 and jumped back; that is no growth. When one series
  of a node's map was really reset (the node rebooted), all of them were;
- growth over a gap in the scrapes is spread evenly over the gap.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    #: Each label of all series, in their order.
    _Labels = Mapping[str, list[str]]
    #: Row, kind, amount, and the series that it is told of.
    _Event = tuple[int, str, float, int]

PINNED = re.compile(r"cilium_(drop|forward)_(count|bytes)_total")

#: Labels that say which scrape target a series comes from.
TARGET_LABELS = ("cluster", "instance", "job", "node", "pod")

#: Labels that change when a pod is replaced, although the series goes on.
CHURN_LABELS = frozenset(
    {"controller_revision_hash", "helm_sh_chart", "pod", "pod_template_generation"}
)

#: How long after an agent's restart its copy of a pinned counter may be missing or 0.
RETURN_WITHIN = timedelta(minutes=5)

#: A pinned counter that falls by less than this share and returns came from another replica.
REPLICA_SHARE = 0.1


@dataclass(frozen=True)
class Reading:
    """What a counter frame says.

    Parameters
    ----------
    increase
        Label frame with the index and columns of the counters: what was counted between the
        time before and this one; NaN where nothing is known.
    events
        One row per decision that the numbers depend on: ``time``, ``event`` (``birth``,
        ``reset``, ``artefact``, ``gap``, ``unknown_start``), ``amount`` (what was counted, or
        left out for an artefact and an unknown start), and the labels of the series.
    """

    increase: pd.DataFrame
    events: pd.DataFrame


@dataclass
class _Track:
    """One series while it is being read."""

    levels: Floats
    seen: Flags
    horizon: int
    pinned: bool
    resets_at: tuple[tuple[int, int], ...] = ()
    events: list[tuple[int, str, float]] = field(default_factory=list)
    resets: list[tuple[int, int]] = field(default_factory=list)


def increase(
    frame: pd.DataFrame, *, scraped: pd.DataFrame | None = None, pinned: bool | None = None
) -> pd.DataFrame:
    """Give what was counted in each step.

    Parameters
    ----------
    frame
        Label frame of counter values. With ``max_over_time(x[step])`` not even what was counted
        just before a reset, or by a series that ended, is lost between two steps.
    scraped
        Label frame with a value wherever a target was scraped: best the start time of its
        process [s since 1970], which tells a node that has just joined (it counts from 0) from
        one that had not been scraped for a while; or ``up == 1``. Joined on the labels of
        `TARGET_LABELS` that both have.
        Without it, a target counts as scraped where any series of it has a sample, or, if there
        is none before, where the frame has any sample.
    pinned
        Whether the counters live in a pinned BPF map; by default read from their names, and,
        where the name is gone, from the labels ``reason`` and ``direction``.

    Returns
    -------
    pandas.DataFrame
        Label frame as `Reading.increase`. The first row is NaN: it is what the second is
        compared with. Sums over time and series are exact totals of what the scrapes saw.
    """
    return _count(frame, scraped, pinned)[0]


def read(
    frame: pd.DataFrame, *, scraped: pd.DataFrame | None = None, pinned: bool | None = None
) -> Reading:
    """Give what was counted in each step, and the decisions behind it.

    Parameters
    ----------
    frame, scraped, pinned
        As for `increase`.
    """
    grown, rows = _count(frame, scraped, pinned)
    return Reading(grown, _event_table(rows, frame))


def _count(
    frame: pd.DataFrame, scraped: pd.DataFrame | None, pinned: bool | None
) -> tuple[pd.DataFrame, list[_Event]]:
    values = frame.to_numpy(dtype="float64")
    labels = _labels(frame)
    chains = _chains(labels, values.shape[1])
    seen = _seen(frame, labels, scraped)
    horizon = _horizon(frame.index)
    flags = _pinned(labels, values.shape[1], told=pinned)
    result = np.full(values.shape, np.nan)
    tracks: dict[Hashable, _Track] = {}
    for identity, members in chains.items():
        merged = values[:, members[0]] if len(members) == 1 else _merge(values[:, members])
        first = members[0]
        tracks[identity] = _Track(merged, seen[:, first], horizon, bool(flags[first]))
    _share_resets(tracks, labels, chains)
    rows: list[_Event] = []
    for identity, members in chains.items():
        growth = _grow(tracks[identity])
        _attribute(result, growth, values, members)
        rows += [(*event, members[0]) for event in tracks[identity].events]
    return pd.DataFrame(result, index=frame.index, columns=frame.columns), rows


def _labels(frame: pd.DataFrame) -> _Labels:
    return {str(name): frames.values(frame, str(name)) for name in frame.columns.names}


def _horizon(index: pd.Index) -> int:
    """Count the steps within which a pinned counter must be back after a restart."""
    if len(index) < 2:
        return 1
    step = pd.Timedelta(int(np.diff(frames.milliseconds(index)).min()), "ms")
    return max(2, int(RETURN_WITHIN / step))


def _chains(labels: _Labels, series: int) -> Mapping[Hashable, list[int]]:
    """Put the columns that are one series under a changing pod name together."""
    anchored = any("" not in labels.get(name, [""]) for name in ("instance", "node"))
    names = [n for n in labels if not (anchored and n in CHURN_LABELS)]
    return _positions(_keys(labels, names, series))


def _merge(values: Floats) -> Floats:
    """Take the highest sample of the columns of one chain at each time."""
    merged: Floats = np.fmax.reduce(values, axis=1)
    return merged


def _attribute(result: Floats, growth: Floats, values: Floats, members: Sequence[int]) -> None:
    """Write the growth of a chain to the column that had the sample (the last one in a gap)."""
    if len(members) == 1:
        result[:, members[0]] = growth
        return
    present = ~np.isnan(values[:, members])
    owner = np.where(present.any(axis=1), present.argmax(axis=1), -1)
    owner = pd.Series(owner).replace(-1, np.nan).bfill().ffill().fillna(0).to_numpy(dtype=int)
    for which, column in enumerate(members):
        result[:, column] = np.where(owner == which, growth, np.nan)


def _pinned(labels: _Labels, series: int, *, told: bool | None) -> Flags:
    """Tell which series live in a pinned map, by name or else by labels."""
    if told is not None:
        return np.full(series, told)
    by_labels = {"reason", "direction"} <= set(labels)
    names = labels.get("__name__", [""] * series)
    flags = [bool(PINNED.fullmatch(name)) or (not name and by_labels) for name in names]
    return np.array(flags, dtype=np.bool_)


def _keys(labels: _Labels, names: Sequence[str], series: int) -> list[tuple[str, ...]]:
    """Give some labels of each series; without names, all are alike."""
    return list(zip(*(labels[name] for name in names), strict=True)) if names else [()] * series


def _seen(frame: pd.DataFrame, labels: _Labels, scraped: pd.DataFrame | None) -> Flags:
    """Tell, for each series, at which times its target was scraped: shape (T, S)."""
    if scraped is not None:
        return _seen_in(scraped, frame, labels)
    present = ~np.isnan(frame.to_numpy(dtype="float64"))
    anywhere = present.any(axis=1) if present.size else np.zeros(len(frame), dtype=bool)
    names = [n for n in TARGET_LABELS if n in labels]
    seen = np.empty(present.shape, dtype=bool)
    for members in _positions(_keys(labels, names, present.shape[1])).values():
        own = present[:, members].any(axis=1)
        began = int(own.argmax()) if own.any() else len(own)
        before = np.arange(len(own)) < began
        # No series of this target is known earlier: that others were scraped has to do.
        seen[:, members] = np.where(before, anywhere & before, own)[:, None]
    return seen


def _seen_in(scraped: pd.DataFrame, frame: pd.DataFrame, labels: _Labels) -> Flags:
    """Look the targets up in a frame that says when they were scraped."""
    targets = _labels(scraped)
    names = [n for n in TARGET_LABELS if n in labels and n in targets]
    starts = scraped.reindex(frame.index).to_numpy(dtype="float64")
    anyone = ~np.isnan(starts).all(axis=1) if starts.size else np.zeros(len(frame), dtype=bool)
    known = {
        key: _watched(_merge(starts[:, members]), anyone, frame.index)
        for key, members in _positions(_keys(targets, names, starts.shape[1])).items()
    }
    seen: Flags = ~np.isnan(frame.to_numpy(dtype="float64"))
    for column, key in enumerate(_keys(labels, names, seen.shape[1])):
        if key in known:
            seen[:, column] |= known[key]
    return seen


def _watched(starts: Floats, anyone: Flags, index: pd.Index) -> Flags:
    """Tell when one target was scraped; before it began to exist, when the others were."""
    seen: Flags = ~np.isnan(starts)
    if not seen.any():
        return seen
    first = int(seen.argmax())
    if first and starts[first] >= index[0].timestamp():
        seen[:first] |= anyone[:first]
    return seen


def _positions(keys: Sequence[Hashable]) -> Mapping[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        found[key].append(position)
    return found


def _share_resets(
    tracks: Mapping[Hashable, _Track],
    labels: _Labels,
    chains: Mapping[Hashable, Sequence[int]],
) -> None:
    """Where one series of a node's pinned map was really reset, all of that map were.

    ``cilium_forward_*`` only follow: in Cilium 1.15.0 to 1.15.3 they show whichever forward
    reason comes last, so that they fall without any reset.
    """
    names = [n for n in TARGET_LABELS if n in labels and n not in CHURN_LABELS]
    pinned = [identity for identity in chains if tracks[identity].pinned]
    if not names or not pinned:
        return
    keys = _keys(labels, names, 0)
    maps: dict[tuple[str, ...], list[Hashable]] = defaultdict(list)
    for identity in pinned:
        maps[keys[chains[identity][0]]].append(identity)
    forward = [name.startswith("cilium_forward_") for name in labels.get("__name__", ())]
    for identities in maps.values():
        resets: set[tuple[int, int]] = set()
        for identity in identities:
            if not (forward and forward[chains[identity][0]]):
                track = tracks[identity]
                probe = _Track(track.levels, track.seen, track.horizon, track.pinned)
                _grow(probe)
                resets.update(probe.resets)
        for identity in identities if resets else ():
            tracks[identity].resets_at = tuple(sorted(resets))


def _grow(track: _Track) -> Floats:
    """Read one series: growth per step, NaN where nothing is known."""
    result = np.full(len(track.levels), np.nan)
    rows = np.flatnonzero(~np.isnan(track.levels))
    if not len(rows):
        return result
    rows = _without_artefacts(track, rows)
    _begin(track, int(rows[0]), result)
    samples = track.levels[rows]
    steps = np.diff(samples)
    again = _restarted(track, rows, samples)
    steps[again] = samples[1:][again]
    result[rows[1:]] = steps
    for place in np.flatnonzero(again):
        before, after = int(rows[place]), int(rows[place + 1])
        track.resets.append((before, after))
        track.events.append((after, "reset", float(samples[place + 1])))
    _spread_gaps(track, rows, steps, result)
    return result


def _without_artefacts(track: _Track, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Leave out the samples of a pinned counter that a restarting agent showed as 0.

    Also those a little too low that a lagging replica of the same target left behind.
    """
    samples = track.levels[rows]
    if not track.pinned or not (np.diff(samples) < 0).any():
        return rows
    keep = np.ones(len(rows), dtype=bool)
    for fall in np.flatnonzero(np.diff(samples) < 0) + 1:
        level = samples[:fall][keep[:fall]].max()
        window = (rows[fall:] - rows[fall - 1]) <= track.horizon
        back = np.flatnonzero(window & (samples[fall:] >= level))
        if keep[fall] and len(back):
            dip = samples[fall : fall + back[0]]
            if (dip == 0).all() or (dip >= (1 - REPLICA_SHARE) * level).all():
                keep[fall : fall + back[0]] = False
                track.events.append((int(rows[fall]), "artefact", float(level)))
    return rows[keep]


def _begin(track: _Track, first: int, result: Floats) -> None:
    """Count a series born under observation from 0; leave one of unknown history out."""
    if first == 0:
        return
    before = np.flatnonzero(track.seen[:first])
    amount = float(track.levels[first])
    if not len(before):
        track.events.append((first, "unknown_start", amount))
        return
    last = int(before[-1])
    result[last + 1 : first + 1] = amount / (first - last)
    track.events.append((first, "birth", amount))


def _restarted(track: _Track, rows: NDArray[np.intp], samples: Floats) -> Flags:
    """Tell which samples, after the first, count from 0 again."""
    again: Flags = np.diff(samples) < 0
    # Gone for long while its target was scraped: what comes back is a new count.
    unseen = np.cumsum(track.seen)
    watched: NDArray[np.int64] = unseen[rows[1:] - 1] - unseen[rows[:-1]]
    again |= watched > track.horizon
    for before, after in track.resets_at:
        again |= (rows[:-1] <= before) & (rows[1:] >= after)
    return again


def _spread_gaps(track: _Track, rows: NDArray[np.intp], steps: Floats, result: Floats) -> None:
    """Spread growth evenly over the steps without a sample before it."""
    lengths = np.diff(rows)
    usual = np.median(lengths) if len(lengths) else 1
    for place in np.flatnonzero(lengths > 1):
        before, after, growth = int(rows[place]), int(rows[place + 1]), float(steps[place])
        watched: NDArray[np.intp] = np.flatnonzero(track.seen[before + 1 : after])
        begin = before + 1
        if len(watched) and (before, after) in track.resets:
            # Seen without a value: nothing of the new count was there by then.
            begin += int(watched[-1]) + 1
        result[before + 1 : begin] = 0.0
        result[begin : after + 1] = growth / (after + 1 - begin)
        if lengths[place] >= 3 * usual and not len(watched):
            track.events.append((after, "gap", growth))


def _event_table(rows: Sequence[_Event], frame: pd.DataFrame) -> pd.DataFrame:
    """Lay the events out as a table in order of time."""
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
