"""Write series as Prometheus remote-write requests, with the markers that end a series.

Blocks made from OpenMetrics cannot hold staleness markers, so an ended series would linger for
the 5 minutes of the lookback; a Prometheus that really scraped the cluster would not show it.
Format: prompb/remote.proto and the remote-write 1.0 specification of Prometheus.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cilium_simulator.scrape import Series

STALE: Final = 0x7FF0000000000002  # model/value/value.go of Prometheus
#: a fresh server takes samples at most an hour older than its newest one
BATCH_MS: Final = 50 * 60 * 1000
SAMPLE_SIZE: Final = 18
#: so many samples are encoded at once
PIECE: Final = 10_000
#: what a request must say of itself
HEADERS: Final = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def varint(value: int) -> bytes:
    """Encode an unsigned number as protobuf does."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def snappy(data: bytes) -> bytes:
    """Wrap data in the snappy block format without compressing: a chain of literals."""
    out = [varint(len(data))]
    for start in range(0, len(data), 65536):
        piece = data[start : start + 65536]
        # Tag 61 says that the length, less one, follows in two bytes.
        out += [bytes([61 << 2]), struct.pack("<H", len(piece) - 1), piece]
    return b"".join(out)


def label_fields(series: Series, *, float_le: bool) -> bytes:
    """Encode the labels in the order of their names."""
    labels = {"__name__": series.name} | {k: v for k, v in series.labels.items() if v}
    if float_le and "le" in labels and labels["le"].isdigit():
        # What Prometheus 3 makes of le="1" when it scrapes.
        labels["le"] += ".0"
    return b"".join(label_field(name, value) for name, value in sorted(labels.items()))


@cache
def label_field(name: str, value: str) -> bytes:
    """Encode one label; most series share nearly all of theirs."""
    return field(1, field(1, name.encode()) + field(2, value.encode()))


def sample_fields(times: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Encode samples at once, one row of bytes each: times of this century need 6 bytes."""
    rows = np.empty((len(times), SAMPLE_SIZE), dtype=np.uint8)
    rows[:, 0:3] = (0x12, 16, 0x09)
    rows[:, 3:11] = bits.astype("<u8").view(np.uint8).reshape(-1, 8)
    rows[:, 11] = 0x10
    for i in range(6):
        more = 0x80 if i < 5 else 0
        rows[:, 12 + i] = (times >> (7 * i)) & 0x7F | more
    return rows


def _merged(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Put values and stale markers into one order of time."""
    bits = np.ascontiguousarray(series.values, dtype=np.float64).view(np.uint64)
    marks = np.full(len(series.stale), STALE, dtype=np.uint64)
    times = np.concatenate([series.times, series.stale]).astype(np.int64)
    order = np.argsort(times, kind="stable")
    return times[order], np.concatenate([bits, marks])[order]


def requests(series: Iterable[Series], *, float_le: bool) -> Iterator[bytes]:
    """Yield request bodies in time order, each with fifty minutes of all series."""
    known = list(series)
    labels = [label_fields(one, float_le=float_le) for one in known]
    merged = [_merged(one) for one in known]
    times = np.concatenate([times for times, _ in merged])
    bits = np.concatenate([bits for _, bits in merged])
    # Pieces that fit into a processor's cache.
    pieces = (slice(at, at + PIECE) for at in range(0, len(times), PIECE))
    samples = b"".join(sample_fields(times[piece], bits[piece]).tobytes() for piece in pieces)
    batches = np.unique(times // BATCH_MS)
    # Where each series, a row, reaches the end of each batch, a column.
    ends = np.array([np.searchsorted(own // BATCH_MS, batches, side="right") for own, _ in merged])
    begins = np.concatenate([[0], np.cumsum([len(own) for own, _ in merged])[:-1]])
    edges = SAMPLE_SIZE * (begins[:, None] + np.insert(ends, 0, 0, axis=1))
    for firsts, lasts in zip(edges.T[:-1].tolist(), edges.T[1:].tolist(), strict=True):
        parts = zip(labels, firsts, lasts, strict=True)
        body = [field(1, own + samples[a:b]) for own, a, b in parts if a < b]
        yield snappy(b"".join(body))


def write(series: Iterable[Series], path: Path, *, float_le: bool) -> None:
    """Keep the requests in a file, each after its length."""
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as out:
        for body in requests(series, float_le=float_le):
            out.write(struct.pack("<I", len(body)) + body)
    unfinished.rename(path)


def read(path: Path) -> Iterator[bytes]:
    """Read the requests back."""
    with path.open("rb") as source:
        while head := source.read(4):
            yield source.read(struct.unpack("<I", head)[0])
