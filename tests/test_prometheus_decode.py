"""Answers, decoded while they arrive: the same as decoded slowly and plainly from the whole."""

from __future__ import annotations

import json
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cilium_analysis import frames
from cilium_analysis.errors import AnswerContradictory
from cilium_analysis.prometheus import decode
from cilium_analysis.prometheus.columns import Answer, Columns, join
from cilium_analysis.prometheus.decode import (
    BrokenBodyError,
    Decoder,
    OddBodyError,
    TooLargeError,
)
from tests.answers import (
    STYLES,
    Style,
    Written,
    answers,
    assert_label_frame,
    go_time,
    patient,
    plainly,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORDED = Path(__file__).parent / "data" / "prom-json"
HEAD = b'{"status":"success","data":{"resultType":"matrix","result":['


def decoded(*pieces: bytes) -> Answer:
    decoder = Decoder()
    for piece in pieces:
        decoder.feed(piece)
    return decoder.finish()


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    inside = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[begin:end] for begin, end in pairwise(inside)]


def frame_of(*pieces: bytes) -> pd.DataFrame:
    return join([decoded(*pieces).columns])


@given(answers(), st.lists(st.integers(0, 4000), max_size=6))
@patient
def test_the_frame_is_that_of_the_whole_document(written: Written, places: list[int]) -> None:
    found = decoded(*cut(written.body, places))
    assert found.histograms == written.histograms
    assert found.size == len(written.body)
    assert found.columns.samples == sum(len(one.samples) for one in written.series)
    assert_label_frame(join([found.columns]), plainly(written.body))


@given(answers())
@patient
def test_what_stands_beside_the_series_is_kept(written: Written) -> None:
    document = json.loads(written.body)
    document["data"]["result"] = []
    assert decoded(written.body).envelope == document


@given(answers(), st.integers(0, 10_000), st.lists(st.integers(0, 4000), max_size=3))
@patient
def test_a_part_of_a_body_is_never_an_answer(
    written: Written, length: int, places: list[int]
) -> None:
    body = written.body.rstrip()
    part = body[: length % len(body)]
    with pytest.raises(BrokenBodyError):
        decoded(*cut(part, places))


STRUCTURE = b'"[]{},:'
#: Bytes that damage a structure; digits would make other numbers of it.
DAMAGE = [bytes([byte]) for byte in STRUCTURE + b"\\ x\x00\xff"]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body with one byte of its structure gone, replaced, or one too many."""
    body = draw(answers()).body
    places = [place for place, byte in enumerate(body) if byte in STRUCTURE]
    place = draw(st.sampled_from(places))
    behind = place + draw(st.integers(0, 1))
    return body[:place] + draw(st.sampled_from([b"", *DAMAGE])) + body[behind:]


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse names that stand twice in an object: no rule says which one is meant."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError(pairs)
    return dict(pairs)


def plainly_if_sound(body: bytes) -> pd.DataFrame | None:
    try:
        sound = json.loads(body.decode(), object_pairs_hook=once)
        json.dumps(sound, ensure_ascii=False).encode()
        data = sound.get("data")
        is_matrix = isinstance(data, dict) and "resultType" in data
        if is_matrix and data["resultType"] != "matrix":
            return None
        rows = data["result"] if is_matrix else []
        if not all(row.get("values") or row.get("histograms") for row in rows):
            return None
        texts = [text for row in rows for text in row["metric"].values()]
        if not all(isinstance(text, str) for text in texts):
            return None
        return plainly(body) if rows else frames.empty()
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        return None


def contradicts(body: bytes) -> bool:
    """Whether the damage made one series of two: a label's text may be what was damaged."""
    rows = json.loads(body)["data"]["result"]
    names = [tuple(sorted((k, v) for k, v in row["metric"].items() if v)) for row in rows]
    return len(set(names)) < len(names)


@pytest.mark.slow
@given(damaged(), st.lists(st.integers(0, 4000), max_size=3))
@settings(patient, max_examples=300)
def test_a_damaged_body_gives_what_it_says_or_an_error(body: bytes, places: list[int]) -> None:
    wanted = plainly_if_sound(body)
    try:
        found = frame_of(*cut(body, places))
    except BrokenBodyError:
        assert wanted is None
    except AnswerContradictory:
        assert contradicts(body)
    else:
        assert wanted is not None
        assert_label_frame(found, wanted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"success"',
        b"Service Unavailable",
        b"<html></html>",
        b"\x00\xff\xfe",
        b'{"status":"success"',
        b'{"status":"success"}{"status":"success"}',
        HEAD,
        HEAD + b"]}}x",
        HEAD + b'{"metric":{"a":"b"},"values":[[1,"x"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,""]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,"2","3"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[null,"1"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[["NaN","1"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[NaN,"1"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1e300,"1"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1e18,"1"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,2"],[3,"4"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,"[2"],[3,"4"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,[2"],[3,"4"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,"2"],"3,"4"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,"2"],,3,"4"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,"2"]{,[3,"4"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,"2"],{[3,"4"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":[[1,"2"],[3","4"]]}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":{"1":"2"}}]}}',
        HEAD + b'{"metric":{"a":"b"},"values":7}]}}',
        HEAD + b'{"metric":{"a":1},"values":[[1,"2"]]}]}}',
        HEAD + b'{"metric":["a"],"values":[[1,"2"]]}]}}',
        HEAD + b'{"values":[[1,"2"]]}]}}',
        HEAD + b"[1,2]]}}",
        HEAD[:-1] + b'{"a":1}}}',
        HEAD[:-1] + b"3}}",
    ],
)
def test_no_sound_matrix_is_a_broken_body(body: bytes) -> None:
    with pytest.raises(BrokenBodyError):
        decoded(body)
    with pytest.raises(BrokenBodyError):
        decoded(*(body[place : place + 1] for place in range(len(body))))


def values_of(text: str) -> list[float]:
    body = HEAD + b'{"metric":{},"values":[' + text.encode() + b"]}]}}"
    found: list[float] = frame_of(body).iloc[:, 0].tolist()
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("+Inf", float("inf")),
        ("Inf", float("inf")),
        ("-Inf", float("-inf")),
        ("1e-07", 1e-07),
        ("1e+21", 1e21),
        ("-1.5e+300", -1.5e300),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
        ("1e400", float("inf")),
        ("1.8446744073709552e+19", 18446744073709552000.0),
        ("0.30000000000000004", 0.30000000000000004),
        ("9007199254740993", 9007199254740992.0),
        ("+1", 1.0),
        ("0", 0.0),
    ],
)
def test_every_way_to_write_a_number(text: str, value: float) -> None:
    assert values_of(f'[1,"{text}"]') == [value]
    assert values_of(f'[1,"{text}"],[2,"7"]') == [value, 7]


def test_nan_is_a_sample_that_counts() -> None:
    found = decoded(HEAD + b'{"metric":{},"values":[[1,"NaN"],[2,"1"]]}]}}')
    assert found.columns.samples == 2
    assert join([found.columns]).isna().to_numpy().tolist() == [[True], [False]]


@pytest.mark.parametrize("style", [STYLES[0], STYLES[-1]])
def test_times_are_exact_to_the_millisecond(style: Style) -> None:
    """Where floats are a little off: 1.001 * 1000 is less than 1001."""
    moments = [-1001, -1, 0, 1, 1001, 1435781451500, 1435781451781, 4102444800999]
    moments += range(1_774_080_000_000, 1_774_080_002_000)
    values = [[go_time(moment), "1"] for moment in sorted(moments)]
    data = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
    index = frame_of(render({"status": "success", "data": data}, style).encode()).index
    assert frames.milliseconds(index).tolist() == sorted(moments)


def test_the_same_sample_twice_counts_once() -> None:
    """As of a proxy that joins two answers; other series have points between and behind."""
    body = HEAD + (
        b'{"metric":{"a":"1"},"values":[[1,"10"],[1,"10"],[2,"NaN"],[2,"NaN"],[3,"30"]]},'
        b'{"metric":{"a":"2"},"values":[[1,"1"],[2,"2"],[3,"3"]]},'
        b'{"metric":{"a":"2","b":""},"values":[[1,"1"],[2,"2"],[3,"3"]]}]}}'
    )
    found = frame_of(body)
    assert_label_frame(found, plainly(body))
    assert found.iloc[[0, 2], 0].tolist() == [10, 30]
    assert found.isna().iloc[:, 0].tolist() == [False, True, False]
    assert found["2"].iloc[:, 0].tolist() == [1, 2, 3]


CONTRADICTIONS = {
    "two values at a time": (
        '{"metric":{"a":"1"},"values":[[1,"10"],[1,"11"],[3,"30"]]}',
        "00:01Z",
    ),
    "a value and none": ('{"metric":{"a":"1"},"values":[[1,"10"],[2,"NaN"],[2,"1"]]}', "00:02Z"),
    "times that go back": ('{"metric":{"a":"1"},"values":[[3,"30"],[1,"10"]]}', "00:01Z"),
    "a series twice": (
        '{"metric":{"a":"1"},"values":[[1,"1"],[2,"2"]]},'
        '{"metric":{"a":"2"},"values":[[1,"1"],[2,"2"]]},'
        '{"metric":{"a":"1"},"values":[[1,"1"],[2,"3"]]}',
        "00:02Z",
    ),
    "a series twice, an empty label apart": (
        '{"metric":{"a":"1"},"values":[[1,"1"]]},{"metric":{"a":"1","b":""},"values":[[1,"2"]]}',
        "00:01Z",
    ),
    "a series in two parts": (
        '{"metric":{"a":"1"},"values":[[1,"1"],[2,"2"]]},{"metric":{"a":"1"},"values":[[3,"1"]]}',
        "00:01Z",
    ),
    "a series twice, one longer": (
        '{"metric":{"a":"1"},"values":[[1,"1"],[2,"2"]]},{"metric":{"a":"1"},"values":[[1,"1"]]}',
        "00:02Z",
    ),
}


@pytest.mark.parametrize("rows", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
@pytest.mark.parametrize("space", ["", " "])
def test_an_answer_that_contradicts_itself_is_refused(rows: tuple[str, str], space: str) -> None:
    """No rule says which value is right; cut at the level of bytes, and parsed as a document."""
    body = HEAD + rows[0].encode() + b"]}" + space.encode() + b"}"
    body = body.replace(b'{"metric"', b"{" + space.encode() + b'"metric"')
    with pytest.raises(AnswerContradictory) as caught:
        join([decoded(body).columns], query="sum(x)")
    for part in ('{a="1"}', rows[1], "(query: sum(x))"):
        assert part in str(caught.value)


def test_two_requests_for_one_moment_may_differ_by_their_rounding_only() -> None:
    def part(text: str) -> Columns:
        row = f'{{"metric":{{"a":"1"}},"values":[[1,"1"],[2,"{text}"]]}}]}}}}'
        return decoded(HEAD + row.encode()).columns

    assert join([part("0.3"), part("0.30000000000000004")]).iloc[1, 0] == pytest.approx(0.3)
    assert join([part("+Inf"), part("+Inf")]).iloc[1, 0] == float("inf")
    with pytest.raises(AnswerContradictory, match=r"twice, and not the same at .*00:02Z"):
        join([part("0.3"), part("0.31")])


def test_an_empty_label_is_no_label() -> None:
    body = HEAD + b'{"metric":{"a":"","b":"x"},"values":[[1,"1"]]}]}}'
    assert frame_of(body).columns.names == ["b"]


@pytest.mark.parametrize("style", STYLES)
def test_no_series_are_an_empty_frame(style: Style) -> None:
    body = render({"status": "success", "data": {"resultType": "matrix", "result": []}}, style)
    assert_label_frame(frame_of(body.encode()), frames.empty())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"resultType":"matrix","result":null}', "no result in it"),
        ('{"resultType":"matrix"}', "no result in it"),
        ('{"resultType":"matrix","result":{}}', "another form"),
        ('{"resultType":null,"result":[]}', "a result of the type null"),
        ('{"resultType":"streams","result":[]}', 'a result of the type "streams"'),
        ('{"resultType":["matrix"],"result":[]}', "a result of the type"),
        ('{"resultType":"scalar","result":[]}', "a sample of another form"),
        ('{"resultType":"string","result":[1,2]}', "another form"),
        ('{"resultType":"matrix","result":[7]}', "a series of another form"),
        ('{"resultType":"matrix","result":[{"metric":{}}]}', "a series without samples"),
        ('{"resultType":"matrix","result":[{"metric":{},"values":null}]}', "another form"),
        ('{"resultType":"matrix","result":[{"metric":{},"values":[[1,true]]}]}', "a sample of"),
        ('{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1_0"]]}]}', "a sample of"),
        ('{"resultType":"matrix","result":[{"metric":{},"values":[[1,NaN]]}]}', "NaN without"),
        ('{"resultType":"matrix","result":[],"x":-Infinity}', "-Infinity without quotes"),
        ('{"resultType":"matrix","result":[],"result":[]}', '"result" stands twice'),
        (
            '{"resultType":"matrix","result":[{"metric":{"a":"1","a":"2"},"values":[[1,"1"]]}]}',
            '"a" stands twice',
        ),
        ('{"resultType":"matrix","result":' + "[" * 100_000 + "]" * 100_000 + "}", "too deeply"),
    ],
)
def test_a_whole_answer_of_another_form(data: str, words: str) -> None:
    """Never an empty frame; and no use in asking again, as after an answer that broke off."""
    body = b'{"status":"success","data":' + data.encode() + b"}"
    with pytest.raises(OddBodyError, match=re.escape(words)):
        decoded(body)


def test_a_series_whose_samples_are_an_empty_list_is_told() -> None:
    body = HEAD + b'{"metric":{"a":"1"},"values":[[1,"10"]]},{"metric":{"a":"2"},"values":[]}]}}'
    found = decoded(body)
    assert found.hollow == {"a": "2"}
    assert found.columns.labels == [{"a": "1"}, {"a": "2"}]
    assert found.columns.without_empty().labels == [{"a": "1"}]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("length", [1, 2, 50, 10_000])
def test_a_byte_order_mark_is_no_data(style: Style, length: int) -> None:
    row = {"metric": {"a": "b"}, "values": [[n, "1"] for n in range(20)]}
    data = {"resultType": "matrix", "result": [row]}
    body = render({"status": "success", "data": data}, style).encode()
    marked = b"\xef\xbb\xbf" + body
    pieces = [marked[n : n + length] for n in range(0, len(marked), length)]
    assert_label_frame(frame_of(*pieces), plainly(body))


def test_a_body_over_the_limit_is_refused_while_it_arrives() -> None:
    decoder = Decoder(1000)
    for _ in range(1000):
        decoder.feed(b" ")
    with pytest.raises(TooLargeError, match="1,000 bytes"):
        decoder.feed(b" ")


@pytest.mark.parametrize("batch", [1, 60, 1 << 22])
def test_many_series_are_cut_while_they_arrive(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left for the JSON parser is the envelope alone, and memory holds a batch."""
    rest: list[bytes] = []
    whole = decode.parse

    def spy(body: bytes) -> dict[str, object]:
        rest.append(body)
        return whole(body)

    monkeypatch.setattr(decode, "parse", spy)
    rows = [
        f'{{"metric":{{"n":"{n:03d}"}},'
        f'"values":[[{n},"{n}"],[{n + 1}.500,"+Inf"],[{n + 2},"NaN"]]}}'
        for n in range(200)
    ]
    end = b']},"warnings":["slow"]}'
    body = HEAD + ",".join(rows).encode() + end
    decoder, waiting = Decoder(batch=batch), []
    for place in range(0, len(body), 97):
        decoder.feed(body[place : place + 97])
        done = len(decoder.columns.labels)
        waiting.append(decoder.size - len(HEAD) - sum(len(row) + 1 for row in rows[:done]))
    assert (len(decoder.columns.labels) == 0) == (batch > len(body))
    found = decoder.finish()
    assert rest == [HEAD + end]
    # A batch is parsed as soon as it is full.
    assert max(waiting) <= batch + 200
    assert found.envelope["warnings"] == ["slow"]
    assert_label_frame(join([found.columns]), plainly(body))


def test_histograms_beside_floats_are_counted_and_left_out() -> None:
    """A series of both kinds in the midst of others, as a migrating target gives it."""
    body = HEAD + (
        b'{"metric":{"a":"1"},"values":[[1,"10"],[2,"20"]]},'
        b'{"metric":{"a":"2"},"values":[[1,"1"]],"histograms":[[2,{"count":"3","sum":"4"}]]},'
        b'{"metric":{"a":"3"},"histograms":[[1,{"count":"3","sum":"4","buckets":'
        b'[[0,"-1","1","3"]]}],[2,{"count":"3","sum":"4"}]]},'
        b'{"metric":{"a":"4"},"values":[[1,"40"]]}]}}'
    )
    for pieces in ([body], [body[n : n + 1] for n in range(len(body))]):
        found = decoded(*pieces)
        assert found.histograms == 3
        frame = join([found.columns])
        assert frame.columns.get_level_values("a").tolist() == ["1", "2", "4"]
        assert_label_frame(frame, plainly(body))


@pytest.mark.parametrize(
    "row",
    [
        b'{"metric":{"a":"1"},"histograms":[[1,{"count":"3"}],[2,{"count":"3"]]}',
        b'{"metric":{"a":"1"},"histograms":[[1,{"count":"3"}],2,{"count":"3"}]]}',
        b'{"metric":{"a":"1"},"values":[[1,"2"]],"histograms":[[1,{"count":"3"},2,{"count":"3"}]}',
        b'{"metric":{"a":"1"},"values":[[1,"2"],"histograms":[[1,{"count":"3"}]]}',
    ],
)
def test_histograms_that_are_damaged(row: bytes) -> None:
    with pytest.raises(BrokenBodyError):
        decoded(HEAD + b'{"metric":{"a":"0"},"values":[[1,"2"]]},' + row + b"]}}")


def with_histograms(count: int) -> bytes:
    """An answer of so many histograms, of twenty buckets each."""
    buckets = [[0, f"{2.0**n}", f"{2.0 ** (n + 1)}", "3"] for n in range(20)]
    histogram = {"count": "60", "sum": "1.5", "buckets": buckets}
    rows = [
        {"metric": {"n": str(n)}, "histograms": [[t, histogram] for t in range(count // 10)]}
        for n in range(10)
    ]
    data = {"resultType": "matrix", "result": rows}
    return render({"status": "success", "data": data}, Style()).encode()


@pytest.mark.slow
def test_histograms_take_as_much_longer_as_there_are_more() -> None:
    """Time of this thread; ten times as many took sixteen times as long."""
    took = {}
    for count in (1000, 10_000):
        body = with_histograms(count)
        pieces = [body[n : n + 65_536] for n in range(0, len(body), 65_536)]
        began = time.thread_time()
        assert decoded(*pieces).histograms == count
        took[count] = time.thread_time() - began
    assert took[10_000] < 30 * took[1000]


def test_a_recorded_answer_written_anew_by_another_program() -> None:
    body = (RECORDED / "holmesgpt-node-cpu-range.json").read_bytes()
    frame = frame_of(body)
    assert_label_frame(frame, plainly(body))
    assert frame.shape[1] == 8
    assert frame.columns.names == ["mode"]
    assert frame.index[0] == pd.Timestamp(1756099500, unit="s", tz="UTC")
    assert frame["idle"].iloc[0].tolist() == [0.9651944444444388]


def test_a_recorded_answer_of_victoria() -> None:
    exchange = json.loads((RECORDED / "vm-cluster-playground__shape_range.json").read_text())
    body = json.dumps(exchange["body"], separators=(",", ":")).encode()
    found = decoded(body)
    assert found.envelope["isPartial"] is False
    assert found.envelope["data"] == {"resultType": "matrix", "result": []}
    frame = join([found.columns])
    assert_label_frame(frame, plainly(body))
    assert frame.index[0] == pd.Timestamp(1790924705194, unit="ms", tz="UTC")
    assert frame.shape == (16, 1)
