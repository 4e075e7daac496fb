"""An answer as a JSON document: what is sound, damaged, or of another form. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from cilium_analysis.prometheus.columns import milliseconds, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.prometheus.columns import Columns

#: What a body of another form may raise while it is looked at.
_ODD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class BrokenBodyError(ValueError):
    """The body of an answer is not whole, or not what Prometheus writes."""


class OddBodyError(BrokenBodyError):
    """The body is a whole JSON object, and not what Prometheus writes."""


class ForeignBodyError(BrokenBodyError):
    """The body is no JSON object from its first byte on; the message is how it begins."""


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


def rows_of(data: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Give the series of a result, if it is well formed; a scalar and a string have none.

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
    if kind == "vector":
        for row in result:
            _check_row(row)
    return result


def _check_row(row: Mapping[str, Any]) -> None:
    """Look whether a row of a vector is well formed."""
    labels_of(row.get("metric"))
    if "value" in row or "histogram" not in row:
        _check(row.get("value"))


def _check(sample: Any, *, text: bool = False) -> None:
    try:
        time, value = sample
        milliseconds(time)
        if not text:
            numbers([value])
        elif not isinstance(value, str):
            raise OddBodyError("a result of another form")
    except _ODD:
        raise OddBodyError("a sample of another form") from None


def add(columns: Columns, row: Mapping[str, Any]) -> int:
    """Add a row of a matrix to columns; give the number of its histograms.

    Raises
    ------
    OddBodyError
        If it is not well formed.
    """
    labels = labels_of(row.get("metric"))
    values, histograms = row.get("values", []), row.get("histograms", [])
    if not isinstance(values, list) or not isinstance(histograms, list):
        raise OddBodyError("a series of another form")
    if "values" not in row and not histograms:
        raise OddBodyError("a series without samples")
    try:
        if "values" in row:
            columns.add_samples(labels, values)
    except _ODD:
        raise OddBodyError("a sample of another form") from None
    return len(histograms)


def labels_of(metric: Any) -> dict[str, str]:
    """Give back what is a set of labels."""
    if isinstance(metric, dict) and all(type(value) is str for value in metric.values()):
        return metric
    raise OddBodyError("a metric is not a set of labels")
