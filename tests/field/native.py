"""Stores histograms as Prometheus 3 does with `convert_classic_histograms_to_nhcb`: native ones.

promtool makes no native histograms from OpenMetrics, so that everything is sent by remote write.
Format: prompb/types.proto of Prometheus, `TimeSeries` and `Histogram`.
"""

from __future__ import annotations

import math
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator.remote_write import BATCH_MS, HEADERS, STALE, field, snappy, varint
from tests.field.asking import KIND
from tests.field.make import Metrics
from tests.servers.prometheus import PrometheusServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: The schema of native histograms whose bounds are given one by one.
CUSTOM = -53
#: What Prometheus stores where a series has ended.
STALE_VALUE = float(np.uint64(STALE).view(np.float64))
Key = tuple[tuple[str, str], ...]
#: For each series its samples: time [s], and the encoded field of a `TimeSeries`.
Encoded = dict[tuple[str, Key], list[tuple[float, bytes]]]


#: Since when, and until when, a kind of histogram is stored: all the time, or never.
ALWAYS, NEVER = (-math.inf, math.inf), (math.inf, math.inf)


@contextmanager
def serving_native(
    metrics: Metrics,
    *histograms: str,
    native: tuple[float, float] = ALWAYS,
    classic: tuple[float, float] = NEVER,
) -> Iterator[str]:
    """Serve metrics with classic histograms stored as native ones; gives the address.

    Parameters
    ----------
    metrics
        With classic histograms.
    histograms
        Those that are stored as native ones.
    native, classic
        Since when and until when they are stored as such [s since 1970].
    """
    flags = ("--enable-feature=native-histograms",)
    with PrometheusServer(KIND, remote_write=True, flags=flags) as server:
        for body in _requests(_encoded(metrics, histograms, native, classic)):
            server.get("/api/v1/write", body, HEADERS)
        yield server.url


def _encoded(
    metrics: Metrics,
    histograms: Sequence[str],
    native: tuple[float, float],
    classic: tuple[float, float],
) -> Encoded:
    parts = {f"{each}_{part}" for each in histograms for part in ("bucket", "count", "sum")}
    encoded: Encoded = {
        (name, key): [
            (time, field(2, _double(1, value) + _number(2, time)))
            for time, value in (_within(one, classic) if name in parts else one)
        ]
        for name, series in metrics.series.items()
        for key, one in series.items()
    }
    for histogram in histograms:
        buckets = _by_series(metrics.series.get(f"{histogram}_bucket", {}))
        for key, samples in metrics.series[f"{histogram}_sum"].items():
            # Without buckets there is one that holds everything.
            counts = dict(metrics.series[f"{histogram}_count"][key])
            by_bound = buckets.get(key, {}) | {math.inf: counts}
            bounds = sorted(by_bound)
            encoded[histogram, key] = [
                (time, field(4, _histogram(time, bounds, below, total)))
                for time, total in samples
                if native[0] <= time < native[1]
                for below in [[by_bound[bound][time] for bound in bounds]]
            ]
    return {key: samples for key, samples in encoded.items() if samples}


def _within(
    samples: Sequence[tuple[float, float]], stored: tuple[float, float]
) -> list[tuple[float, float]]:
    """Give the samples that are stored, and after them the mark that the series has ended."""
    kept = [(time, value) for time, value in samples if stored[0] <= time < stored[1]]
    ended = next((time for time, _ in samples if kept and time >= stored[1]), None)
    return kept if ended is None else [*kept, (ended, STALE_VALUE)]


def _by_series(
    buckets: Mapping[Key, Iterable[tuple[float, float]]],
) -> dict[Key, dict[float, dict[float, float]]]:
    """Give for each histogram its buckets by bound, and their values by time."""
    found: dict[Key, dict[float, dict[float, float]]] = {}
    for key, samples in buckets.items():
        labels = dict(key)
        bound = float(labels.pop("le"))
        rest = tuple(sorted(labels.items()))
        # The same bound under another spelling is the same bucket.
        found.setdefault(rest, {}).setdefault(bound, {}).update(samples)
    return found


def _histogram(time: float, bounds: list[float], below: list[float], total: float) -> bytes:
    counts = [int(b - a) for a, b in zip([0.0, *below], below, strict=False)]
    deltas = [b - a for a, b in zip([0, *counts], counts, strict=False)]
    span = bytes([2 << 3]) + varint(len(counts))
    return b"".join(
        (
            bytes([1 << 3]) + varint(int(below[-1])),
            _double(3, total),
            bytes([4 << 3]) + varint(_zigzag(CUSTOM)),
            field(11, span),
            field(12, b"".join(varint(_zigzag(delta)) for delta in deltas)),
            _number(15, time),
            # The number of this field takes two bytes with its kind.
            varint(16 << 3 | 2) + varint(8 * (len(bounds) - 1)),
            struct.pack(f"<{len(bounds) - 1}d", *bounds[:-1]),
        )
    )


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def _number(number: int, time: float) -> bytes:
    return bytes([number << 3]) + varint(int(time * 1000))


def _requests(encoded: Encoded) -> Iterator[bytes]:
    """Yield request bodies in time order, each with fifty minutes of all series."""
    batches: dict[int, list[bytes]] = {}
    for (name, key), samples in encoded.items():
        labels = b"".join(
            field(1, field(1, label.encode()) + field(2, value.encode()))
            for label, value in sorted((("__name__", name), *key))
        )
        by_batch: dict[int, list[bytes]] = {}
        for time, sample in sorted(samples):
            by_batch.setdefault(int(time * 1000) // BATCH_MS, []).append(sample)
        for batch, content in by_batch.items():
            batches.setdefault(batch, []).append(field(1, labels + b"".join(content)))
    for batch in sorted(batches):
        yield snappy(b"".join(batches[batch]))
