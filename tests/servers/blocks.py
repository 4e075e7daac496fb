"""Make one block of Prometheus hold many nodes: new index entries for the chunks that are there.

What a query costs depends on series and samples, not on their values, so that clones may share
their chunks: a cluster of a thousand nodes is made in a minute and takes little disk.
The format of an index: tsdb/docs/format/index.md of Prometheus, version 2.
"""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cilium_simulator.remote_write import varint
from tests.servers import checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from cilium_simulator.scrape import Labels

HEADER: Final = struct.pack(">IB", 0xBAAAD700, 2)
TOC: Final = struct.Struct(">6QI")
#: places of series are counted in so many bytes
ALIGNED: Final = 16

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Entry:
    """One series of an index: its labels in order, and the encoded list of its chunks."""

    labels: Pairs
    chunks: bytes


def multiply(block: Path, clones: Callable[[Labels], Iterable[Labels]]) -> int:
    """Replace each series of a block by its clones; gives how many there are then."""
    path = block / "index"
    entries = [
        Entry(tuple(sorted(labels.items())), entry.chunks)
        for entry in read(path.read_bytes())
        for labels in clones(dict(entry.labels))
    ]
    entries.sort(key=lambda entry: entry.labels)
    # The chunks of promtool's blocks are hard-linked by who uses them; the index is replaced.
    path.unlink()
    path.write_bytes(write(entries))
    meta = json.loads((block / "meta.json").read_text())
    meta["stats"]["numSeries"] = len(entries)
    (block / "meta.json").write_text(json.dumps(meta))
    return len(entries)


def read(index: bytes) -> Iterator[Entry]:
    """Yield the series of an index."""
    symbols_at, series_at, *later, _ = TOC.unpack(index[-TOC.size :])
    end = min(place for place in later if place > series_at)
    count = struct.unpack_from(">I", index, symbols_at + 4)[0]
    symbols, place = [], symbols_at + 8
    for _ in range(count):
        length, place = _varint(index, place)
        symbols.append(index[place : place + length].decode())
        place += length
    place = -(-series_at // ALIGNED) * ALIGNED
    while place < end:
        length, begin = _varint(index, place)
        yield _entry(index[begin : begin + length], symbols)
        place = -(-(begin + length + 4) // ALIGNED) * ALIGNED


def _entry(content: bytes, symbols: list[str]) -> Entry:
    count, place = _varint(content, 0)
    references = []
    for _ in range(2 * count):
        reference, place = _varint(content, place)
        references.append(symbols[reference])
    return Entry(tuple(zip(references[::2], references[1::2], strict=True)), content[place:])


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while data[place] & 0x80:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | data[place] << shift, place + 1


def write(entries: list[Entry]) -> bytes:
    """Write an index of series, which are in the order of their labels."""
    names = sorted({text for entry in entries for pair in entry.labels for text in pair})
    numbers = {name: number for number, name in enumerate(names)}
    out = bytearray(HEADER)
    symbols_at = len(out)
    texts = (varint(len(raw)) + raw for raw in (name.encode() for name in names))
    out += _guarded(struct.pack(">I", len(names)) + b"".join(texts))
    out += bytes(-len(out) % ALIGNED)
    series_at = len(out)
    places = _add_series(out, entries, numbers)
    out += bytes(-len(out) % 4)
    postings_at = len(out)
    offsets = _add_postings(out, entries, places)
    table_at = len(out)
    rows = (_row(name, value, offset) for (name, value), offset in sorted(offsets.items()))
    out += _guarded(struct.pack(">I", len(offsets)) + b"".join(rows))
    # The label indices of version 1 are read by nobody.
    toc = struct.pack(">6Q", symbols_at, series_at, postings_at, 0, postings_at, table_at)
    return bytes(out) + toc + struct.pack(">I", checksum.of(toc))


def _guarded(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content + struct.pack(">I", checksum.of(content))


def _add_series(out: bytearray, entries: list[Entry], numbers: dict[str, int]) -> list[int]:
    """Add all series; gives their places in units of 16 bytes."""
    encoded = {name: varint(number) for name, number in numbers.items()}
    bodies = [
        varint(len(entry.labels))
        + b"".join(encoded[text] for pair in entry.labels for text in pair)
        + entry.chunks
        for entry in entries
    ]
    places = []
    for body, check in zip(bodies, checksum.of_each(bodies).tolist(), strict=True):
        out += bytes(-len(out) % ALIGNED)
        places.append(len(out) // ALIGNED)
        out += varint(len(body)) + body + struct.pack(">I", check)
    return places


def _add_postings(
    out: bytearray, entries: list[Entry], places: list[int]
) -> dict[tuple[str, str], int]:
    """Add for each label the list of series that have it; gives where each list begins."""
    lists: dict[tuple[str, str], list[int]] = defaultdict(list)
    lists["", ""] = places
    for entry, place in zip(entries, places, strict=True):
        for pair in entry.labels:
            lists[pair].append(place)
    offsets = {}
    for pair in sorted(lists):
        offsets[pair] = len(out)
        numbers = np.array(lists[pair], dtype=">u4").tobytes()
        out += _guarded(struct.pack(">I", len(lists[pair])) + numbers)
    return offsets


def _row(name: str, value: str, offset: int) -> bytes:
    texts = (varint(len(raw)) + raw for raw in (name.encode(), value.encode()))
    return b"\x02" + b"".join(texts) + varint(offset)
