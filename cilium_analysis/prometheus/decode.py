"""From the bytes of an answer to series, while they arrive. Pure.

Prometheus and VictoriaMetrics write a matrix always in the same form
(web/api/v1/json_codec.go, app/vmselect/prometheus/query_range_response.qtpl)::

    {"status":"success","data":{"resultType":"matrix","result":[
    {"metric":{…},"values":[[t,"v"],[t,"v"],…]},…]}, …}

with ``"histograms":[[t,{…}],…]`` behind the values, or in their place, where a series has any.
Answers in that form are cut into series at the level of bytes, and the samples of many series
are handed to a CSV parser in C at once. That is safe: inside a JSON string a quote is always
escaped, so that ``},"values":[[`` cannot stand in a label. From the first byte on that is not of
that form, the rest is parsed as a JSON document, and checked.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from cilium_analysis.prometheus.columns import FARTHEST, Answer, Columns, milliseconds, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_HEAD = re.compile(
    rb'\{"status":"success",(?:"isPartial":(?:true|false),)?'
    rb'"data":\{"resultType":"matrix","result":\['
)
_HEAD_LIMIT = 128
_SERIES = b'{"metric":{'
_ARRAY = re.compile(rb'\},"(?P<kind>values|histograms)":\[\[')
_ARRAY_LENGTH = len('},"histograms":[[')
_BEHIND = b'"]],"histograms":'
_BETWEEN = b'"],['
_NEXT = (b",{", b"]}")
_NOTHING = (np.empty(0, np.int64), np.empty(0, np.float64))
#: Bytes of samples that are parsed at once; more is hardly faster, and leaves larger holes.
BATCH = 1 << 20
_TO_LINES = bytes.maketrans(b"]", b"\n")
#: Most bytes of labels; a series with more is of another form.
_LABELS_LIMIT = 1 << 20
#: Bytes that are read of what is no JSON object, for the error.
_FOREIGN = 1 << 16


#: Errors that a body of another form may raise while it is read.
_ODD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class TooLargeError(ValueError):
    """The body is larger than allowed; the message is the limit."""


class BrokenBodyError(ValueError):
    """The body of an answer is not whole, or not as Prometheus writes it."""


class OddBodyError(BrokenBodyError):
    """The body is a whole JSON object, but not as Prometheus writes it."""


class ForeignBodyError(BrokenBodyError):
    """The body is no JSON object from its first byte on; the message is its beginning."""


@dataclass
class Decoder:
    """Takes the body of one answer in pieces, and returns the answer.

    Parameters
    ----------
    limit
        Largest size of the body [bytes].
    batch
        Series are parsed when there are so many of them [bytes]; memory holds little more.
    """

    limit: int = sys.maxsize
    batch: int = BATCH
    columns: Columns = field(default_factory=Columns)
    histograms: int = 0
    size: int = 0
    hollow: Mapping[str, str] | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _head: bytes | None = None
    _begun: bool = False
    _fast: bool = True
    _scanned: int = 0
    #: Behind what is scanned: where the values of the next series begin, and what was read.
    _middle: int = -1
    _sought: int = 0
    #: Labels, ends of the samples, number of histograms.
    _waiting: list[tuple[Mapping[str, str], int, int, int]] = field(default_factory=list)

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body.

        Raises
        ------
        TooLargeError
            If the body is larger than the limit.
        ForeignBodyError
            If it is no JSON object, as far as can be seen.
        """
        self.size += len(piece)
        if self.size > self.limit:
            self._buffer.clear()
            raise TooLargeError(f"{self.limit:,} bytes")
        self._buffer += piece
        if not self._begun:
            self._begin(last=False)
        elif self._fast:
            self._advance(last=False)

    def finish(self) -> Answer:
        """Return the answer, once the whole body has been fed.

        Raises
        ------
        BrokenBodyError
            If the body is not a JSON object, or its result not one of samples.
        """
        if not self._begun:
            self._begin(last=True)
        if self._fast:
            self._advance(last=True)
        body = (self._head or b"") + self._buffer
        self._buffer.clear()
        envelope = parse(body)
        del body
        data = envelope.get("data")
        if isinstance(data, dict) and "resultType" in data:
            rows = _rows(data)
            if data["resultType"] == "matrix":
                for row in rows:
                    self._add(row)
                data["result"] = []
        return Answer(envelope, self.columns, self.histograms, self.size, self.hollow)

    def _add(self, row: Mapping[str, Any]) -> None:
        """Add a series of a matrix that was parsed as a document, if it is well formed."""
        labels = _checked_labels(row.get("metric"))
        values, histograms = row.get("values", []), row.get("histograms", [])
        if not isinstance(values, list) or not isinstance(histograms, list):
            raise OddBodyError("a series of another form")
        if "values" not in row and not histograms:
            raise OddBodyError("a series without samples")
        try:
            if "values" in row:
                self.columns.add_samples(labels, values)
        except _ODD:
            raise OddBodyError("a sample of another form") from None
        self.histograms += len(histograms)
        if not values and not histograms:
            self.hollow = labels

    def _begin(self, *, last: bool) -> None:
        """Read the first bytes: a byte order mark, no JSON object, or the usual head."""
        if not last and len(self._buffer) < _HEAD_LIMIT:
            return
        if self._buffer.startswith(codecs.BOM_UTF8):
            del self._buffer[: len(codecs.BOM_UTF8)]
        start = bytes(self._buffer[:_FOREIGN]).lstrip()
        if start and not start.startswith(b"{"):
            self._fast = False
            if last or len(self._buffer) >= _FOREIGN:
                raise ForeignBodyError(start.decode("utf-8", "replace"))
            return
        self._begun = True
        found = _HEAD.match(self._buffer)
        self._fast = found is not None
        if found:
            self._head = found[0]
            del self._buffer[: found.end()]
            self._advance(last=last)

    def _advance(self, *, last: bool) -> None:
        """Find all series that are whole; parse them when they are many, or the last."""
        while self._cut():
            pass
        if self._waiting and (last or not self._fast or self._scanned >= self.batch):
            self._parse()

    def _cut(self) -> bool:
        """Find the next whole series behind those found already; read no byte twice."""
        buffer, begin = self._buffer, self._scanned
        if self._middle < 0:
            found = _ARRAY.search(buffer, begin + self._sought)
            if found is None:
                self._sought = max(len(buffer) - _ARRAY_LENGTH - begin, 0)
                return self._leave() if self._sought > _LABELS_LIMIT else False
            self._middle = self._sought = found.start() - begin
        end = buffer.find(b"]]}", begin + self._sought)
        # Buckets of a histogram end likewise, and others, or none, come behind them.
        while 0 <= end < len(buffer) - 4 and buffer[end + 3 : end + 5] not in _NEXT:
            end = buffer.find(b"]]}", end + 1)
        if not 0 <= end < len(buffer) - 4:
            self._sought = (end if end >= 0 else max(len(buffer) - 2, begin + self._middle)) - begin
            return False
        series = _series(bytes(buffer[begin : end + 2]), self._middle)
        if series is None:
            return self._leave()
        labels, first, last, histograms = series
        self._waiting.append((labels, begin + first, begin + last, histograms))
        # The bracket behind the last series stays: it begins the tail of the document.
        self._scanned = end + (4 if buffer[end + 3] == 0x2C else 3)
        self._middle, self._sought = -1, 0
        return True

    def _leave(self) -> bool:
        self._fast = False
        return False

    def _parse(self) -> None:
        """Parse the samples of all series found, and free their bytes."""
        view = bytes(self._buffer[: self._scanned])
        plain = [each for each in self._waiting if each[1] < each[2]]
        texts = [view[begin:end] for _, begin, end, _ in plain]
        lengths = [text.count(b"]") + 1 for text in texts]
        parsed = _samples(texts, sum(lengths)) if plain else _NOTHING
        if parsed is None:
            self._fast = False
        else:
            stop = 0
            for (labels, _, _, _), length in zip(plain, lengths, strict=True):
                start, stop = stop, stop + length
                self.columns.add(labels, parsed[0][start:stop], parsed[1][start:stop])
            self.histograms += sum(each[3] for each in self._waiting)
            del self._buffer[: self._scanned]
        self._waiting.clear()
        self._scanned = 0


def _series(text: bytes, middle: int) -> tuple[Mapping[str, str], int, int, int] | None:
    """Return labels, the ends of the samples, and the number of histograms of one series."""
    import orjson

    if not text.startswith(_SERIES):
        return None
    metric = text[len(_SERIES) - 1 : middle + 1]
    try:
        labels = _checked_labels(orjson.loads(metric))
    except ValueError:
        return None
    # Within a string a quote is escaped, so that this stands behind names only: each is there once.
    if len(labels) != metric.count(b'":"'):
        return None
    first, last = middle + len('},"values":[['), len(text) - 3
    if text.startswith(b'},"values"', middle) and text.endswith(b'"]]'):
        return labels, first, last, 0
    last = text.find(_BEHIND, middle)
    behind = last + len(_BEHIND)
    if text.startswith(b'},"histograms"', middle):
        first, last, behind = 0, 0, middle + len('},"histograms":')
    count = _histograms(text[behind:]) if last >= 0 else 0
    return (labels, first, last, count) if count else None


def _histograms(text: bytes) -> int:
    """Count the histograms of ``[[t,{…}],[t,{…}]]``; 0 if it is of another form.

    One at a time: they take far more memory than samples, and nobody keeps them.
    """
    import orjson

    if not (text.startswith(b"[[") and text.endswith(b"}]]")):
        return 0
    pieces = text[2:-3].split(b"}],[")
    try:
        parsed = (orjson.loads(b"[" + piece + b"}]") for piece in pieces)
        sound = all(len(each) == 2 and isinstance(each[1], dict) for each in parsed)
    except orjson.JSONDecodeError:
        return 0
    return len(pieces) if sound else 0


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


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """Parse a whole body.

    Not with orjson, which takes the last of two values with the same name: no rule says which one
    is meant.

    Raises
    ------
    OddBodyError
        If a name stands twice in an object.
    BrokenBodyError
        If it is no whole JSON.
    """
    import orjson

    try:
        text = body.decode("utf-8")
        document: dict[str, Any] = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number
        )
        if "\\ud" in text or "\\uD" in text:
            # It refuses half of a pair of surrogates, which is no text.
            orjson.loads(body)
    except UnicodeDecodeError as problem:
        raise BrokenBodyError(f"no UTF-8 at byte {problem.start}") from None
    except RecursionError:
        raise OddBodyError("it is nested too deeply") from None
    except json.JSONDecodeError as problem:
        where = f"{problem.msg.lower()}, character {problem.pos} of {len(text)}"
        raise BrokenBodyError(f"no JSON: {where}") from None
    except BrokenBodyError:
        raise
    except ValueError:
        raise BrokenBodyError("no JSON that can be read") from None
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise OddBodyError(f"{json.dumps(twice)} stands twice in one object")
    return found


def _no_number(word: str) -> NoReturn:
    raise OddBodyError(f"{word} without quotes is no JSON")


def _rows(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the series of a result, if it is well formed; a scalar and a string have none.

    Raises
    ------
    OddBodyError
        If the result is not what its type says, or the type is none of Prometheus' four.
    """
    kind, result = data["resultType"], data.get("result")
    if result is None:
        raise OddBodyError("no result in it")
    if kind not in ("matrix", "vector", "scalar", "string"):
        raise OddBodyError(f"a result of the type {json.dumps(kind)}")
    if not isinstance(result, list):
        raise OddBodyError("a result of another form")
    if kind in ("scalar", "string"):
        _check(result, text=kind == "string")
        return ()
    if not all(isinstance(row, dict) for row in result):
        raise OddBodyError("a series of another form")
    for row in result if kind == "vector" else ():
        _checked_labels(row.get("metric"))
        if "value" in row or "histogram" not in row:
            _check(row.get("value"))
    return result


def _check(sample: Any, *, text: bool = False) -> None:
    """Refuse what is no pair of a time and a value."""
    try:
        time, value = sample
        milliseconds(time)
        if not text:
            numbers([value])
        elif not isinstance(value, str):
            raise OddBodyError("a result of another form")
    except _ODD:
        raise OddBodyError("a sample of another form") from None


def _checked_labels(metric: Any) -> dict[str, str]:
    """Return a metric if it is a set of labels."""
    if isinstance(metric, dict) and all(type(value) is str for value in metric.values()):
        return metric
    raise OddBodyError("a metric is not a set of labels")
