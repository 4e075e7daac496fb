"""From the bytes of an answer to series, while they arrive. Pure.

Prometheus and VictoriaMetrics write a matrix always in the same form
(web/api/v1/json_codec.go, app/vmselect/prometheus/query_range_response.qtpl)::

    {"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{…},"values":[[t,"v"],[t,"v"],…]},…]}, …}

Answers in that form are cut into series at the level of bytes, and the samples of many series
are handed to a CSV parser in C at once. That is safe: inside a JSON string a quote is always
escaped, so that ``},"values":[[`` cannot stand in a label. From the first byte on that is not of
that form, the rest is parsed as a JSON document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cilium_analysis.prometheus.columns import FARTHEST, Columns, milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_HEAD = re.compile(
    rb'\{"status":"success",(?:"isPartial":(?:true|false),)?'
    rb'"data":\{"resultType":"matrix","result":\['
)
_HEAD_LIMIT = 128
_SERIES = b'{"metric":{'
_VALUES = b'},"values":[['
_BETWEEN = b'"],['
#: So many bytes of samples are parsed at once; more is hardly faster, and leaves larger holes.
_BATCH = 1 << 20
_TO_LINES = bytes.maketrans(b"]", b"\n")


class BrokenBodyError(ValueError):
    """The body of an answer is not whole, or not what Prometheus writes."""


class ForeignBodyError(BrokenBodyError):
    """The body is no JSON object from its first byte on; the message is how it begins."""


@dataclass
class Answer:
    """A decoded answer.

    Parameters
    ----------
    envelope
        The document without the series of a matrix.
    columns
        The series of a matrix; none for other results.
    histograms
        Number of native histogram samples that were left out.
    size
        Of the body [bytes].
    """

    envelope: dict[str, Any]
    columns: Columns
    histograms: int = 0
    size: int = 0

    @property
    def data(self) -> dict[str, Any]:
        """What is under ``data``; empty if there is nothing."""
        found = self.envelope.get("data")
        return found if isinstance(found, dict) else {}


@dataclass
class Decoder:
    """Take the body of one answer in pieces, then give the answer."""

    columns: Columns = field(default_factory=Columns)
    histograms: int = 0
    size: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _head: bytes | None = None
    _fast: bool = True
    _scanned: int = 0
    _waiting: list[tuple[Mapping[str, str], int, int]] = field(default_factory=list)

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        self.size += len(piece)
        self._buffer += piece
        if self._fast:
            self._advance(last=False)

    def finish(self) -> Answer:
        """Give the answer, once the whole body has been fed.

        Raises
        ------
        BrokenBodyError
            If the body is not a JSON object, or its matrix not one of samples.
        """
        if self._fast:
            self._advance(last=True)
        envelope = _document((self._head or b"") + bytes(self._buffer))
        self._buffer.clear()
        data = envelope.get("data")
        if isinstance(data, dict) and "resultType" in data:
            try:
                self._take(data, data.get("result") or [])
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                raise BrokenBodyError("a result of another form") from None
        return Answer(envelope, self.columns, self.histograms, self.size)

    def _take(self, data: dict[str, Any], result: Any) -> None:
        """Add the series of a matrix; look whether another result is well formed."""
        if data["resultType"] == "matrix":
            self._add_all(result)
            data["result"] = []
        elif data["resultType"] == "vector":
            for row in result:
                _checked(row["metric"])
                _check_sample(row.get("value", (0, "0")))
        elif data["resultType"] == "scalar":
            _check_sample(result)

    def _advance(self, *, last: bool) -> None:
        """Cut off all series that are whole; parse them when they are many, or the last."""
        if self._head is None and not self._begin(last=last):
            return
        while self._cut():
            pass
        pending = sum(end - begin for _, begin, end in self._waiting)
        if self._waiting and (last or not self._fast or pending >= _BATCH):
            self._parse()

    def _begin(self, *, last: bool) -> bool:
        """Look at the head; leave the fast way if it is of another form."""
        found = _HEAD.match(self._buffer)
        if found:
            self._head = found[0]
            del self._buffer[: found.end()]
            return True
        self._fast = not last and len(self._buffer) < _HEAD_LIMIT
        return False

    def _cut(self) -> bool:
        """Find the next whole series behind those found already."""
        buffer, begin = self._buffer, self._scanned
        middle = buffer.find(_VALUES, begin)
        end = buffer.find(b"]]", middle) if middle >= 0 else -1
        if end < 0 or len(buffer) < end + 4:
            return False
        if not buffer.startswith(_SERIES, begin) or buffer[end - 1] != 0x22:
            return self._leave()
        if bytes(buffer[end + 2 : end + 4]) not in (b"},", b"}]"):
            return self._leave()
        labels = _labels(bytes(buffer[begin + 10 : middle + 1]))
        if labels is None:
            return self._leave()
        self._waiting.append((labels, middle + len(_VALUES), end - 1))
        # The bracket behind the last series stays: it begins the tail of the document.
        self._scanned = end + (4 if buffer[end + 3] == 0x2C else 3)
        return True

    def _leave(self) -> bool:
        self._fast = False
        return False

    def _parse(self) -> None:
        """Parse the samples of all series found, and forget their bytes."""
        view = bytes(self._buffer[: self._scanned])
        texts = [view[begin:end] for _, begin, end in self._waiting]
        lengths = [text.count(b"]") + 1 for text in texts]
        parsed = _samples(texts, sum(lengths))
        if parsed is None:
            self._fast = False
        else:
            stop = 0
            for (labels, _, _), length in zip(self._waiting, lengths, strict=True):
                start, stop = stop, stop + length
                self.columns.add(labels, parsed[0][start:stop], parsed[1][start:stop])
            del self._buffer[: self._scanned]
        self._waiting.clear()
        self._scanned = 0

    def _add_all(self, result: Sequence[Mapping[str, Any]]) -> None:
        """Add series from a parsed document."""
        for row in result:
            labels, values = _checked(row["metric"]), row.get("values") or []
            self.histograms += len(row.get("histograms") or [])
            if values:
                self.columns.add_samples(labels, values)


def _document(body: bytes) -> dict[str, Any]:
    import orjson

    start = body[:512].lstrip()
    if start[:1] not in (b"{", b""):
        raise ForeignBodyError(start.decode("utf-8", "replace"))
    try:
        document: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise BrokenBodyError(str(problem)) from None
    return document


def _labels(text: bytes) -> Mapping[str, str] | None:
    """Parse a metric's labels, if that is what the bytes are."""
    import orjson

    try:
        return _checked(orjson.loads(text))
    except ValueError:
        return None


def _checked(metric: Any) -> dict[str, str]:
    """Give back what is a set of labels."""
    if isinstance(metric, dict) and all(type(value) is str for value in metric.values()):
        return metric
    raise ValueError("a metric is not a set of labels")


def _check_sample(sample: Any) -> None:
    time, value = sample
    milliseconds(time)
    float(value)


def _samples(
    texts: Sequence[bytes], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Parse ``t,"v"],[t,"v`` of several series as one CSV; None if it is of another form."""
    import pyarrow as pa
    from pyarrow import csv

    # One pass over the bytes: t,"v"],[t,"v becomes lines of ,t,v. Too many or too few quotes or
    # brackets or columns are damage, and so is all but nothing (which is true) in the first.
    body = _BETWEEN.join(texts)
    lines = b"," + body.translate(_TO_LINES, b'"[')
    opening = np.count_nonzero(np.frombuffer(body, np.uint8) == ord("["))
    if opening != count - 1 or len(body) + 1 - len(lines) != 3 * count - 2:
        return None
    if b"Inf" in lines:
        lines = lines.replace(b"+Inf", b"Inf")
    columns = {"": pa.bool_(), "t": pa.float64(), "v": pa.float64()}
    try:
        table = csv.read_csv(
            pa.py_buffer(lines),
            read_options=csv.ReadOptions(
                column_names=list(columns), use_threads=False, block_size=len(lines) + 2
            ),
            parse_options=csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=columns, null_values=["NaN"], true_values=[""], false_values=[]
            ),
        )
    except pa.ArrowInvalid:
        return None
    seconds = table["t"].to_numpy()
    # A copy, or the few megabytes around these values would stay for as long as they do.
    values = table["v"].to_numpy().copy()
    if len(seconds) != count or not -FARTHEST <= seconds.min() <= seconds.max() <= FARTHEST:
        return None
    times = np.rint(seconds * 1000).astype(np.int64)
    del table, seconds
    pa.default_memory_pool().release_unused()
    return times, values
