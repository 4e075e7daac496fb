from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cilium_analysis import frames
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.bundle.files import read_frame, write_frame
from cilium_analysis.errors import (
    BudgetExceeded,
    BundleError,
    Interrupted,
    OutputError,
    QueryRejected,
    ServerUnavailable,
)
from cilium_analysis.source import as_recorded, iso
from cilium_analysis.window import Window
from tests.sources import MemorySource, grid

START = datetime(2026, 3, 21, 8, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=10), timedelta(seconds=30), timezone="Asia/Tokyo")
FRAME = grid(WINDOW, {("a", 'x"$<b>'): np.arange(21.0) / 3, ("b", ""): 1e-7}, "node reason")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A bundle that holds one range answer and one instant answer."""
    source = MemorySource({"up": FRAME}, warnings=("partial answer",))
    directory = tmp_path / "deep" / "bundle"
    with Recorder(source, directory, window=WINDOW, baseline=WINDOW.baseline()) as recorder:
        assert recorder.range("up", WINDOW) is FRAME
        recorder.range("up", WINDOW)
        recorder.instant("up", WINDOW.end)
        recorder.range("nothing", WINDOW)
    return directory


def test_what_was_recorded_is_answered_again_to_the_last_digit(recorded: Path) -> None:
    bundle = Bundle(recorded)
    pd.testing.assert_frame_equal(bundle.range("up", WINDOW), FRAME, check_exact=True)
    pd.testing.assert_frame_equal(bundle.instant("up", WINDOW.end), FRAME.tail(1))
    assert bundle.range("nothing", WINDOW).shape == (0, 0)
    assert (bundle.window, bundle.baseline) == (WINDOW, WINDOW.baseline())
    assert bundle.window.timezone == "Asia/Tokyo"
    assert bundle.name == "http://prometheus:9090"
    assert bundle.server["version"] == "3.5.0"


def test_cost_and_warnings_survive(recorded: Path) -> None:
    bundle = Bundle(recorded)
    bundle.range("up", WINDOW)
    (record,) = bundle.journal
    assert record.warnings == ("partial answer",)
    assert (record.series, record.samples, record.bytes, record.seconds) == (2, 42, 100, 0.5)


def test_a_part_of_the_window_at_the_same_step_is_answered(recorded: Path) -> None:
    part = Window(START + timedelta(minutes=2), START + timedelta(minutes=4), WINDOW.step)
    frame = Bundle(recorded).range("up", part)
    assert (frame.index[0], frame.index[-1], len(frame)) == (part.start, part.end, 5)


@pytest.mark.parametrize(
    "window",
    [
        WINDOW.extended(after=timedelta(seconds=30)),
        WINDOW.extended(before=timedelta(seconds=30)),
        Window(WINDOW.start, WINDOW.end, timedelta(seconds=60)),
        Window(START + timedelta(seconds=10), START + timedelta(seconds=70), WINDOW.step),
    ],
)
def test_anything_else_says_what_the_bundle_holds(recorded: Path, window: Window) -> None:
    with pytest.raises(BundleError, match="2026-03-21T08:00:00Z to 2026-03-21T08:10:00Z"):
        Bundle(recorded).range("up", window)


def test_another_query_says_so(recorded: Path) -> None:
    with pytest.raises(BundleError, match="holds nothing of down; this works: nothing"):
        Bundle(recorded).range("down", WINDOW)
    with as_recorded(), pytest.raises(BundleError, match="not to this query: down"):
        Bundle(recorded).range("down", WINDOW)
    with pytest.raises(BundleError):
        Bundle(recorded).instant("up", START)
    with pytest.raises(BundleError, match="cannot answer down : ") as raised:
        Bundle(recorded).range("  down\n", WINDOW)
    assert "\n" not in str(raised.value)


def test_the_same_answer_is_kept_once(recorded: Path) -> None:
    manifest = json.loads((recorded / "manifest.json").read_text())
    assert [row["promql"] for row in manifest["answers"]] == ["up", "up", "nothing"]
    assert {row["file"] for row in manifest["answers"]} == {
        f"answers/{path.name}" for path in (recorded / "answers").iterdir()
    }
    assert manifest["answers"][0]["rows"] == 42


def test_what_two_topics_ask_is_asked_once(tmp_path: Path) -> None:
    source = MemorySource({"up": FRAME}, warnings=("partial answer",))
    with Recorder(source, tmp_path / "bundle", window=WINDOW) as recorder:
        recorder.range("up", WINDOW)
        source.error = ServerUnavailable("gone since")
        pd.testing.assert_frame_equal(recorder.range("up", WINDOW), FRAME, check_exact=True)
    first, again = source.journal
    assert (first.bytes, again.bytes, again.seconds) == (100, 0, 0.0)
    assert again.warnings == ("partial answer",)


class Gated(MemorySource):
    """Answers when a gate is opened."""

    def __init__(self) -> None:
        super().__init__({"up": FRAME})
        self.asked, self.gate = Event(), Event()

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        self.asked.set()
        assert self.gate.wait(30)
        return super().range(promql, window)


@pytest.mark.parametrize("kept", [False, True])
def test_it_is_shown_while_other_threads_go_on_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    monkeypatch.setattr("cilium_analysis.bundle.recorder.EVERY", 0.0)
    directory, ended = tmp_path / "bundle", Event()
    with Recorder(MemorySource(), directory, window=WINDOW, kept=kept) as recorder:

        def record(part: int) -> None:
            for number in range(60):
                recorder.range(f"q{part}_{number}", WINDOW)
                recorder.range(f"q{part}_{number // 2}", WINDOW)

        def show() -> None:
            while not ended.is_set():
                recorder.show()

        with ThreadPoolExecutor(5) as pool:
            showing = pool.submit(show)
            try:
                for done in [pool.submit(record, part) for part in range(4)]:
                    done.result()
            finally:
                ended.set()
            showing.result()
    bundle = Bundle(directory)
    for part in range(4):
        for number in range(60):
            bundle.range(f"q{part}_{number}", WINDOW)


def test_what_two_threads_ask_at_the_same_time_is_asked_once(tmp_path: Path) -> None:
    source = Gated()
    with (
        Recorder(source, tmp_path / "bundle", window=WINDOW) as recorder,
        ThreadPoolExecutor(2) as pool,
    ):
        answers = [pool.submit(recorder.range, "up", WINDOW) for _ in range(2)]
        assert source.asked.wait(30)
        source.gate.set()
        for answer in answers:
            pd.testing.assert_frame_equal(answer.result(30), FRAME, check_exact=True)
    assert sorted(record.bytes for record in source.journal) == [0, 100]
    assert len(Bundle(tmp_path / "bundle").manifest["answers"]) == 1


@pytest.mark.parametrize("kept", [False, True])
def test_an_answer_that_comes_after_the_end_is_not_recorded(tmp_path: Path, kept: bool) -> None:
    source, directory = Gated(), tmp_path / "bundle"
    with ThreadPoolExecutor(1) as pool:
        recorder = Recorder(source, directory, window=WINDOW, kept=kept)
        with suppress(KeyboardInterrupt), recorder:
            late = pool.submit(recorder.range, "up", WINDOW)
            assert source.asked.wait(30)
            raise KeyboardInterrupt
        before = sorted(tmp_path.rglob("*"))
        source.gate.set()
        with pytest.raises(Interrupted, match="has ended"):
            late.result(30)
        with pytest.raises(Interrupted, match="has ended"):
            recorder.range("other", WINDOW)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refusal_is_not_asked_for_twice(tmp_path: Path) -> None:
    source = MemorySource(error=BudgetExceeded("too many series"))
    with Recorder(source, tmp_path / "bundle", window=WINDOW) as recorder:
        with pytest.raises(BudgetExceeded):
            recorder.range("up", WINDOW)
        source.error = ServerUnavailable("gone since")
        with pytest.raises(BudgetExceeded, match="too many series"):
            recorder.range("up", WINDOW)


def test_any_tool_can_read_the_numbers(recorded: Path) -> None:
    table = pq.read_table(recorded / "answers" / "0001.parquet").to_pandas()
    assert list(table.columns) == ["time", "label:node", "label:reason", "value", "series"]
    assert table["value"].sum() == pytest.approx(FRAME.sum().sum())


def test_nothing_is_left_when_recording_fails(tmp_path: Path) -> None:
    source = MemorySource(error=ServerUnavailable("gone"))
    with (
        pytest.raises(ServerUnavailable),
        Recorder(source, tmp_path / "bundle", window=WINDOW) as recorder,
    ):
        recorder.range("up", WINDOW)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_recorded_and_answered_again(tmp_path: Path) -> None:
    source = MemorySource(error=BudgetExceeded("too many"))
    with Recorder(source, tmp_path / "bundle", window=WINDOW) as recorder:
        with pytest.raises(BudgetExceeded):
            recorder.range("up", WINDOW)
    with pytest.raises(BudgetExceeded, match="too many"):
        Bundle(tmp_path / "bundle").range("up", WINDOW)


def test_a_directory_that_exists_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        Recorder(MemorySource(), tmp_path, window=WINDOW)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Recorder(MemorySource(), tmp_path / "file" / "bundle", window=WINDOW)


def damage(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | changes))


def test_damage_is_noticed(recorded: Path) -> None:
    path = recorded / "answers" / "0001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="has changed"):
        Bundle(recorded).range("up", WINDOW)
    path.unlink()
    with pytest.raises(BundleError, match="damaged"):
        Bundle(recorded).range("up", WINDOW)


def rewritten(directory: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Bundle:
    """The bundle with the rows of its first answer changed, and its checksum set right."""
    path = directory / "answers" / "0001.parquet"
    table = pq.read_table(path)
    rows = pa.Table.from_pandas(change(table.to_pandas()), preserve_index=False)
    pq.write_table(rows.cast(table.schema), path)
    manifest = json.loads((directory / "manifest.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    answers = [{**manifest["answers"][0], "sha256": digest}, *manifest["answers"][1:]]
    damage(directory, answers=answers)
    return Bundle(directory)


def relabelled(rows: pd.DataFrame, *, reason: str, where: pd.Series) -> pd.DataFrame:
    texts = rows["label:reason"].astype(str).where(~where, reason)
    return rows.assign(**{"label:reason": texts.astype("category")})


def same_labels(rows: pd.DataFrame) -> pd.DataFrame:
    first = rows[["label:node", "label:reason"]].astype(str).iloc[0]
    return rows.assign(
        **{str(name): pd.Categorical([text] * len(rows)) for name, text in first.items()}
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: pd.concat([rows.iloc[:3], rows.iloc[2:]]),
            "not in order of time, or doubled",
        ),
        (lambda rows: pd.concat([rows.iloc[[1, 0]], rows.iloc[2:]]), "not in order of time"),
        (lambda rows: rows[::-1], "series are not in order"),
        (same_labels, "two series have the same labels"),
        (
            lambda rows: relabelled(rows, reason="y", where=pd.Series(rows.index == 3)),
            "different labels in its rows",
        ),
        (
            lambda rows: rows.assign(time=rows["time"] + pd.Timedelta("1s")),
            "2026-03-21T08:00:01Z, which is no time of the frame",
        ),
    ],
)
def test_rows_that_nobody_wrote_are_refused(
    recorded: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: str
) -> None:
    """Also where the checksum is right: a bundle that another program made."""
    bundle = rewritten(recorded, lambda rows: rows)
    pd.testing.assert_frame_equal(bundle.range("up", WINDOW), FRAME, check_exact=True)
    with pytest.raises(BundleError, match=f"0001.parquet, up .*{words}"):
        rewritten(recorded, change).range("up", WINDOW)


@pytest.mark.parametrize("times", [[0, 0], [1000, 0]])
def test_times_of_a_frame_that_are_not_in_order_are_refused(
    tmp_path: Path, times: list[int]
) -> None:
    index = pd.DatetimeIndex(np.array(times, dtype="datetime64[ms]"), tz="UTC", name="time")
    columns = frames.label_index([{"a": "x"}])
    write_frame(pd.DataFrame(1.0, index=index, columns=columns), tmp_path / "frame.parquet")
    with pytest.raises(BundleError, match="1970-01-01T00:00:00Z"):
        read_frame((tmp_path / "frame.parquet").read_bytes(), file="frame.parquet")


def test_a_series_without_samples_takes_no_labels_from_another(tmp_path: Path) -> None:
    series = [{"a": name} for name in ("x", "y", "z")]
    frame = frames.build(np.array([0, 1000]), np.array([[1, np.nan, 3.0]] * 2), series)
    write_frame(frame, tmp_path / "frame.parquet")
    found = read_frame((tmp_path / "frame.parquet").read_bytes(), file="frame.parquet")
    pd.testing.assert_frame_equal(found, frame[["x", "z"]], check_column_type=False)


def test_samples_far_from_the_recorded_window_are_refused(recorded: Path) -> None:
    manifest = json.loads((recorded / "manifest.json").read_text())
    early = WINDOW.baseline()
    stored = {"start": iso(early.start), "end": iso(early.end), "step_seconds": 30.0}
    damage(recorded, answers=[{**manifest["answers"][0], "window": stored}])
    with pytest.raises(BundleError, match=r'node="a".* has a sample at 2026-03-21T08:01:00Z'):
        Bundle(recorded).range("up", early)


def test_an_answer_that_the_server_moved_is_answered_again_whole(tmp_path: Path) -> None:
    times = frames.time_index(frames.milliseconds(FRAME.index) - 7000)
    moved = FRAME.set_axis(times)
    with Recorder(MemorySource({"up": moved}), tmp_path / "bundle", window=WINDOW) as recorder:
        live = recorder.range("up", WINDOW)
    pd.testing.assert_frame_equal(Bundle(tmp_path / "bundle").range("up", WINDOW), live)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "cilium-analysis/bundle/99"},
        {"answers": [{"promql": "up", "window": None}]},
        {"answers": [{"promql": "up", "window": None, "file": "../../etc/passwd"}]},
        {"answers": [{"promql": "up", "window": {"start": 1}, "file": "answers/0001.parquet"}]},
        {"window": None},
        {"answers": None},
    ],
)
def test_a_manifest_that_cannot_be_is_refused(recorded: Path, changes: dict[str, object]) -> None:
    damage(recorded, **changes)
    with pytest.raises(BundleError):
        Bundle(recorded)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        Bundle(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        Bundle(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(BundleError, match="schema"):
        Bundle(tmp_path)


def identity(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Tell series apart as Prometheus does: an empty label is no label."""
    return tuple(sorted((name, text) for name, text in labels.items() if text))


LABELS = st.dictionaries(st.sampled_from(["__name__", "a", "series", "value"]), st.text(max_size=4))


@pytest.mark.slow
@settings(max_examples=50)
@given(
    series=st.lists(LABELS, min_size=1, max_size=5, unique_by=identity),
    data=st.data(),
)
def test_every_frame_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, series: list[dict[str, str]], data: st.DataObject
) -> None:
    value = st.one_of(st.just(np.nan), st.floats(width=64))
    column = st.lists(value, min_size=4, max_size=4).filter(lambda c: not np.isnan(c).all())
    values = np.array([data.draw(column) for _ in series]).T
    frame = frames.build(np.array([0, 1, 500, 10**12]), values, series)
    # Labels that are empty in every series do not exist in Prometheus.
    path = tmp_path_factory.mktemp("frame") / "frame.parquet"
    write_frame(frame, path)
    pd.testing.assert_frame_equal(
        read_frame(path.read_bytes(), file=path.name), frame, check_exact=True
    )


def test_a_recording_that_is_shown_answers_what_it_holds_so_far(tmp_path: Path) -> None:
    source, directory = MemorySource({"up": FRAME}), tmp_path / "bundle"
    with Recorder(source, directory, window=WINDOW) as recorder:
        recorder.range("up", WINDOW)
        assert not directory.exists()
        recorder.show()
        early = Bundle(directory)
        pd.testing.assert_frame_equal(early.range("up", WINDOW), FRAME)
        recorder.range("later", WINDOW)
        with pytest.raises(BundleError, match="later"):
            early.range("later", WINDOW)
    assert Bundle(directory).range("later", WINDOW).empty
    assert list(tmp_path.iterdir()) == [directory]


def test_a_recording_that_was_shown_is_gone_when_it_fails(tmp_path: Path) -> None:
    def record() -> None:
        source = MemorySource({"up": FRAME})
        with Recorder(source, tmp_path / "bundle", window=WINDOW) as recorder:
            recorder.range("up", WINDOW)
            recorder.show()
            raise ServerUnavailable("gone")

    with pytest.raises(ServerUnavailable):
        record()
    assert list(tmp_path.iterdir()) == []


def test_what_was_refused_is_asked_again_when_a_recording_goes_on(tmp_path: Path) -> None:
    source, where = MemorySource({"up": FRAME}), tmp_path / "bundle"

    def recorder() -> Recorder:
        return Recorder(source, where, window=WINDOW, kept=True)

    with pytest.raises(ServerUnavailable), recorder() as first:  # noqa: PT012
        first.range("up", WINDOW)
        source.error = QueryRejected("too busy")
        with pytest.raises(QueryRejected):
            first.range("up + 1", WINDOW)
        source.error = None
        first.range("up + 2", WINDOW)
        raise ServerUnavailable("gone")
    held = Bundle(where)
    assert not held.whole
    with pytest.raises(QueryRejected):
        held.range("up + 1", WINDOW)
    source.answers = {"up + 1": FRAME}
    with recorder() as second:
        assert second.range("up", WINDOW).equals(FRAME)  # of what is kept
        assert second.range("up + 1", WINDOW).equals(FRAME)
        assert second.range("up + 2", WINDOW).empty
    held = Bundle(where)
    assert held.whole
    held.verify(deeply=True)
    assert held.range("up + 1", WINDOW).equals(FRAME)
    assert len(list((where / "answers").iterdir())) == 3
