"""CRC-32C (Castagnoli), as Prometheus guards its index files; fast without compiled code."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

POLYNOMIAL: Final = 0x82F63B78  # RFC 3720, B.4, bits reversed
FULL: Final = 0xFFFFFFFF
#: entries to look at side by side
BATCH: Final = 50_000


def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


TABLE: Final = _table()


def _advance(states: np.ndarray, column: np.ndarray | int) -> np.ndarray:
    """Take one more byte into each state."""
    advanced: np.ndarray = TABLE[(states ^ column) & 0xFF] ^ (states >> 8)
    return advanced


def of_each(entries: Sequence[bytes]) -> np.ndarray:
    """Give the checksum of each of many short texts."""
    lengths = np.array([len(entry) for entry in entries])
    order = np.argsort(lengths, kind="stable")
    result = np.empty(len(entries), dtype=np.uint32)
    for begin in range(0, len(entries), BATCH):
        chosen = order[begin : begin + BATCH]
        result[chosen] = _of_batch([entries[i] for i in chosen], lengths[chosen])
    return result


def _of_batch(entries: Sequence[bytes], lengths: np.ndarray) -> np.ndarray:
    width = int(lengths.max(initial=0))
    padded = b"".join(entry.ljust(width, b"\0") for entry in entries)
    columns = np.frombuffer(padded, dtype=np.uint8).reshape(len(entries), width).T
    states = np.full(len(entries), FULL, dtype=np.uint32)
    for place in range(width):
        states = np.where(place < lengths, _advance(states, columns[place]), states)
    return states ^ np.uint32(FULL)


def of(data: bytes) -> int:
    """Give the checksum of one long text: of its pieces side by side, put together after.

    A state after some bytes is linear in the state before them (over GF(2)): that state moved on
    by as many zeros, and what the bytes make of a state of 0.
    """
    count = isqrt(len(data))
    length = len(data) // count if count else 0
    pieces = np.frombuffer(data, dtype=np.uint8)[: count * length].reshape(count, length)
    own = np.zeros(count, dtype=np.uint32)
    moved = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for place in range(length):
        own = _advance(own, pieces[:, place])
        moved = _advance(moved, 0)
    state, images = FULL, [int(image) for image in moved]
    for piece in own.tolist():
        bits = state
        state = piece
        for bit, image in enumerate(images):
            state ^= image if bits >> bit & 1 else 0
    for byte in data[count * length :]:
        state = int(_advance(np.array([state], dtype=np.uint32), byte)[0])
    return state ^ FULL
