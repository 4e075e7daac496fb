"""Retention: what goes, what stays, and what happens when it is cut short or done twice."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cilium_analysis.cli import main
from cilium_analysis.errors import OutputError
from cilium_analysis.report.html import runs_page
from cilium_analysis.source import iso
from cilium_analysis.storage.directory import Directory
from cilium_analysis.storage.runs import RUN_SCHEMA, is_run_name, run_name
from cilium_analysis.window import Window
from tests.runs import notebook
from tests.test_report import WINDOW, Elements

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEEP = timedelta(days=30)
WEST = {"timezone": "America/Los_Angeles", "match": ""}
SUMMARY = {
    "schema": RUN_SCHEMA,
    "status": "complete",
    "source": "http://prometheus:9090",
    "window": {"start": "2026-03-21T08:00:00Z", "end": "2026-03-21T10:00:00Z"},
    "parameters": {"timezone": "UTC", "match": ""},
    "findings": {"critical": 0, "warning": 0, "info": 0},
    "topics": [],
    "seconds": 1.0,
}


def made(directory: Path, age: timedelta, *, name: str = "", began: object = None) -> Path:
    """A run of this age, whose files are all new."""
    run = directory / (name or run_name(WINDOW))
    (run / "bundle").mkdir(parents=True)
    (run / "bundle" / "manifest.json").write_text("{}")
    (run / "index.html").write_text("a page")
    summary = SUMMARY | {"began": iso(NOW - age) if began is None else began}
    (run / "run.json").write_text(json.dumps(summary))
    return run


def pruned(directory: Path, *, keep: timedelta = KEEP, spare: str = "") -> tuple[int, list[str]]:
    """How many were removed, and what was said."""
    said: list[str] = []
    runs = Directory(directory)
    removed = runs.prune(index=runs_page, keep=keep, made={spare}, now=NOW, tell=said.append)
    return removed, said


def left(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"index.html"}


def listed(directory: Path) -> set[str]:
    links = [a["href"] for a in Elements((directory / "index.html").read_text()).named("a")]
    return {link.split("/")[0] for link in links if not link.startswith("#")}


DAY = timedelta(days=1)


# What goes, and what stays


def test_older_runs_go_and_the_index_is_written_anew(tmp_path: Path) -> None:
    young, edge = made(tmp_path, 29 * DAY), made(tmp_path, KEEP)
    made(tmp_path, 31 * DAY), made(tmp_path, KEEP + timedelta(seconds=1))
    Directory(tmp_path).write_index(runs_page)
    assert len(listed(tmp_path)) == 4
    assert pruned(tmp_path) == (2, ["removed 2 runs older than 30d"])
    assert left(tmp_path) == listed(tmp_path) == {young.name, edge.name}


def test_the_age_is_that_of_the_run_and_not_of_its_files(tmp_path: Path) -> None:
    young = made(tmp_path, DAY)
    for path in (young, *young.rglob("*")):
        os.utime(path, (0, 0))
    old = made(tmp_path, 31 * DAY)
    pruned(tmp_path)
    assert left(tmp_path) == {young.name}
    assert not old.exists()


def test_the_run_just_made_stays_whatever_its_age(tmp_path: Path) -> None:
    just, other = made(tmp_path, 99 * DAY), made(tmp_path, 99 * DAY)
    assert pruned(tmp_path, spare=just.name)[0] == 1
    assert left(tmp_path) == {just.name}
    assert not other.exists()


def test_a_run_of_the_future_stays(tmp_path: Path) -> None:
    run = made(tmp_path, -99 * DAY)
    assert pruned(tmp_path) == (0, [])
    assert left(tmp_path) == {run.name}


def foreign(directory: Path) -> None:
    """Everything that looks like an old run but is none, or is not ours."""
    made(directory, 99 * DAY, name="incident-of-march")
    made(directory, 99 * DAY, name=f"{run_name(WINDOW)}.bak")
    made(directory, 99 * DAY, name=".removed-by-hand")
    later = made(directory, 99 * DAY) / "run.json"
    later.write_text(json.dumps(SUMMARY | {"schema": "other/run/1", "began": iso(NOW - 99 * DAY)}))
    (made(directory, 99 * DAY) / "run.json").write_text("{")
    (made(directory, 99 * DAY) / "run.json").unlink()
    (directory / run_name(WINDOW)).write_text("a file")


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    foreign(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert pruned(tmp_path) == (0, [])
    assert set(tmp_path.rglob("*")) - {tmp_path / "index.html"} == before


@pytest.mark.parametrize("began", [99, "", "long ago", "2026-01-01T00:00:00", ["2026-01-01"]])
def test_a_run_whose_age_cannot_be_told_stays(began: object, tmp_path: Path) -> None:
    run = made(tmp_path, 99 * DAY, began=began)
    assert pruned(tmp_path) == (0, [])
    assert left(tmp_path) == {run.name}


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    run = made(elsewhere, 99 * DAY)
    (out / run.name).symlink_to(run)
    (out / f".removed-{run.name}").symlink_to(run)
    (out / f".{run.name}.20260101T000000Z").symlink_to(run)
    linked = made(out, 99 * DAY)
    shutil.move(linked / "run.json", elsewhere / "run.json")
    (linked / "run.json").symlink_to(elsewhere / "run.json")
    real = made(out, 99 * DAY)
    (real / "way-out").symlink_to(elsewhere)
    before = set(elsewhere.rglob("*"))
    assert pruned(out)[0] == 1
    assert not real.exists()
    assert set(elsewhere.rglob("*")) == before
    assert linked.is_dir()
    assert (out / run.name).is_symlink()


# What is cut short


def test_what_a_crash_has_left_is_cleared(tmp_path: Path) -> None:
    made(tmp_path, DAY, name=f".removed-{run_name(WINDOW)}")
    made(tmp_path, DAY, name=f".{run_name(WINDOW)}.{NOW - 31 * DAY:%Y%m%dT%H%M%SZ}")
    young = made(tmp_path, DAY, name=f".{run_name(WINDOW)}.{NOW - 29 * DAY:%Y%m%dT%H%M%SZ}")
    hand_made = made(tmp_path, DAY, name=f".{run_name(WINDOW)}.99999999T999999Z")
    assert pruned(tmp_path) == (0, ["cleared 1 run that had been cut short"])
    assert left(tmp_path) == {young.name, hand_made.name}
    assert listed(tmp_path) == set()


def test_the_index_lists_nothing_that_is_hidden(tmp_path: Path) -> None:
    run = made(tmp_path, DAY)
    made(tmp_path, DAY, name=f".removed-{run_name(WINDOW)}")
    made(tmp_path, DAY, name=f".{run_name(WINDOW)}.20260501T110000Z")
    Directory(tmp_path).write_index(runs_page)
    assert listed(tmp_path) == {run.name}


def test_an_index_that_was_never_finished_goes_after_a_day(tmp_path: Path) -> None:
    ages = {
        ".index-0a1b2c.html": 25,
        ".index-3d4e5f.html": 23,
        ".index-mine.html": 99,
        ".index-0a1b2c.html.bak": 99,
        "index-0a1b2c.html": 99,
    }
    for name, hours in ages.items():
        written = (NOW - timedelta(hours=hours)).timestamp()
        (tmp_path / name).write_text("half a pa")
        os.utime(tmp_path / name, (written, written))
    (tmp_path / ".index-abcdef.html").mkdir()
    os.utime(tmp_path / ".index-abcdef.html", (0, 0))
    assert pruned(tmp_path, keep=timedelta(minutes=1)) == (0, [])
    assert left(tmp_path) == {*ages, ".index-abcdef.html"} - {".index-0a1b2c.html"}


BROKEN: dict[str, dict[str, object]] = {
    "no time": {"began": None},
    "another time": {"began": 1767225600},
    "no such time": {"began": "2026-02-30T00:00:00Z"},
    "a time before all": {"began": "0001-01-01T00:00:00Z", "parameters": WEST},
    "no window": {"window": None},
    "half a window": {"window": {"start": "2026-03-21T08:00:00Z"}},
    "a list for a window": {"window": ["2026-03-21T08:00:00Z", "2026-03-21T10:00:00Z"]},
    "no zone": {"parameters": {"match": ""}},
    "no such zone": {"parameters": {"timezone": "Mars/Olympus", "match": ""}},
    "a number for a zone": {"parameters": {"timezone": 1, "match": ""}},
    "no matchers": {"parameters": {"timezone": "UTC"}},
    "no parameters": {"parameters": []},
    "no counts": {"findings": [1, 2, 3]},
    "a word for a count": {"findings": {"critical": "many"}},
    "a negative count": {"findings": {"critical": -1}},
    "a count without an end": {"findings": {"critical": 10**400}},
    "another severity": {"findings": {"terrible": 1}},
    "no topics": {"topics": None},
    "a topic without a page": {"topics": [{"topic": "dns", "notebook": "dns.ipynb"}]},
    "words for topics": {"topics": ["dns"]},
    "a number for a topic": {"topics": [{"topic": 1, "notebook": "a", "html": "b"}]},
    "no source": {"source": None},
    "no status": {"status": None},
}


def listed_beside(directory: Path, text: str, *, name: str = "") -> set[str]:
    """What the index lists where this is a ``run.json``, but for the whole run beside it."""
    whole, other = made(directory, DAY), made(directory, DAY, name=name)
    (other / "run.json").write_text(text)
    Directory(directory).write_index(runs_page)
    found = listed(directory)
    assert whole.name in found
    return found - {whole.name}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("absent", [True, False])
def test_the_index_skips_what_it_cannot_show(
    broken: dict[str, object], absent: bool, tmp_path: Path
) -> None:
    document = SUMMARY | {"began": iso(NOW)} | broken
    if absent:
        for key in broken:
            del document[key]
    assert listed_beside(tmp_path, json.dumps(document)) == set()


def test_the_index_shows_the_document_that_the_broken_ones_are_made_of(tmp_path: Path) -> None:
    topic = {"topic": "dns", "notebook": "dns.ipynb", "html": "dns.html"}
    document = SUMMARY | {"began": iso(NOW), "parameters": WEST, "topics": [topic]}
    assert len(listed_beside(tmp_path, json.dumps(document))) == 1


@pytest.mark.parametrize("text", ["[" * 99_999, "null", "\ufeff{}", "[]", '{"schema": []}'])
def test_the_index_skips_what_is_no_document(text: str, tmp_path: Path) -> None:
    assert listed_beside(tmp_path, text) == set()


def test_characters_that_cannot_be_written_do_not_break_the_index(tmp_path: Path) -> None:
    half = json.dumps(SUMMARY | {"began": iso(NOW), "source": "half \ud83d"})
    assert listed_beside(tmp_path, half, name="a") == {"a"}
    whole, directory = json.dumps(SUMMARY | {"began": iso(NOW)}), tmp_path / "other"
    assert listed_beside(directory, whole, name=os.fsdecode(b"b\xff")) == set()


def test_cut_short_while_deleting_the_index_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    young, old = made(tmp_path, DAY), made(tmp_path, 31 * DAY)
    Directory(tmp_path).write_index(runs_page)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            pruned(tmp_path)
    assert listed(tmp_path) == {young.name}
    assert left(tmp_path) == {young.name, f".removed-{old.name}"}
    assert pruned(tmp_path) == (0, [])
    assert left(tmp_path) == {young.name}


RUNNING = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from cilium_analysis.storage.directory import Directory
began = datetime.now(UTC) - timedelta(days=99)
with Directory(Path(sys.argv[1])).new_run(sys.argv[2], began=began):
    print("running", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_goes_on_is_left_alone_and_cleared_once_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUNNING, str(tmp_path), run_name(WINDOW)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "running\n"
        (temporary,) = left(tmp_path)
        now = datetime.now(UTC)
        said: list[str] = []
        runs = Directory(tmp_path)
        runs.prune(index=runs_page, keep=DAY, made=(), now=now, tell=said.append)
        assert left(tmp_path) == {temporary}
        running.kill()
        running.wait()
    runs.prune(index=runs_page, keep=DAY, made=(), now=now, tell=said.append)
    assert left(tmp_path) == set()
    assert said == ["cleared 1 run that had been cut short"]


def test_a_run_of_today_is_not_taken_for_a_dead_one_however_little_is_kept(tmp_path: Path) -> None:
    """On a disk that machines share, the lock of another one may not be seen."""
    other = tmp_path / f".{run_name(WINDOW)}.{NOW - timedelta(hours=5):%Y%m%dT%H%M%SZ}"
    other.mkdir()
    pruned(tmp_path, keep=timedelta(minutes=1))
    assert left(tmp_path) == {other.name}


def test_where_nothing_can_be_locked_no_unfinished_run_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = tmp_path / f".{run_name(WINDOW)}.20260101T000000Z"
    unknown.mkdir()

    def refused(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    pruned(tmp_path)
    assert left(tmp_path) == {unknown.name}


def test_a_new_run_is_written_where_nothing_can_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with Directory(tmp_path).new_run("mine", began=NOW) as temporary:
        (temporary / "page").write_text("")
    assert left(tmp_path) == {"mine"}


# What cannot be removed


def test_a_run_that_cannot_be_removed_is_told_and_the_others_go(tmp_path: Path) -> None:
    stuck, old = made(tmp_path, 31 * DAY), made(tmp_path, 31 * DAY)
    (tmp_path / f".removed-{stuck.name}").write_text("in the way")
    removed, said = pruned(tmp_path)
    assert removed == 1
    assert said == [
        f"cannot remove {stuck}: Not a directory",
        "removed 1 run older than 30d",
    ]
    assert listed(tmp_path) == {stuck.name}
    assert not old.exists()


def test_what_cannot_be_deleted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = made(tmp_path, 31 * DAY)

    def refused(*_: object, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refused)
    removed, said = pruned(tmp_path)
    hidden = tmp_path / f".removed-{old.name}"
    assert (removed, said[0]) == (1, f"cannot delete all of {hidden}: Permission denied")
    assert listed(tmp_path) == set()


def test_a_directory_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot read .*nowhere: No such file or directory"):
        pruned(tmp_path / "nowhere")


# Two at a time

PRUNING = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from cilium_analysis.report.html import runs_page
from cilium_analysis.storage.directory import Directory
directory, now = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
Directory(directory).prune(index=runs_page, keep=timedelta(days=30), made=(), now=now, tell=print)
"""


@pytest.mark.slow
def test_two_that_prune_together_remove_each_run_once(tmp_path: Path) -> None:
    young = {made(tmp_path, DAY).name for _ in range(5)}
    for _ in range(60):
        run = made(tmp_path, 31 * DAY)
        for number in range(20):
            (run / "bundle" / f"{number}.parquet").write_text("")
    command = [sys.executable, "-c", PRUNING, str(tmp_path), NOW.isoformat()]
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)
    ]
    assert [process.stdout.readline() for process in both if process.stdout] == ["ready\n"] * 2
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [err for _, err in said] == ["", ""]
    counts = [int(n) for out, _ in said for n in re.findall(r"removed (\d+) runs? older", out)]
    assert sum(counts) == 60
    assert not [out for out, _ in said if "cannot" in out]
    assert left(tmp_path) == listed(tmp_path) == young


# The command


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of one small notebook."""
    mine = notebook(tmp_path / "mine", "1")
    monkeypatch.setattr("cilium_analysis.report.run.notebook_directory", lambda: mine)
    monkeypatch.chdir(tmp_path)


REPORT = ["report", "drop_reasons", "--source", "sample"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_report_removes_old_runs(capsys: pytest.CaptureFixture[str]) -> None:
    out = Path("reports")
    now = datetime.now(UTC)
    old, young = (made(out, DAY, began=iso(now - days * DAY)) for days in (31, 29))
    assert main([*REPORT, "--keep", "30d"]) == 0
    text, err = capsys.readouterr()
    assert err.splitlines()[-1] == "cilium-analysis: removed 1 run older than 30d"
    (page,) = re.findall(r"Report: (\S+)", text)
    assert left(out) == listed(out) == {young.name, Path(page).parent.name}
    assert not old.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_without_being_asked_to_nothing_is_removed() -> None:
    old = made(Path("reports"), 999 * DAY)
    assert main(REPORT) == 0
    assert old.is_dir()
    assert len(left(Path("reports"))) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("soon", "'soon' is not a duration"),
        ("-1d", "expected one argument"),
        ("30", "'30' has no unit: write 30d for days"),
        ("0d", "'0d' would keep nothing"),
        ("999999999999d", "too long a duration"),
    ],
)
def test_what_is_no_retention_is_refused_before_anything_runs(
    given: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = made(tmp_path / "out", 999 * DAY)
    assert main([*REPORT, "--output", str(tmp_path / "out"), "--keep", given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert left(tmp_path / "out") == {old.name}


def test_a_demo_removes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--keep", "30d"]) == 2
    assert "unrecognized arguments: --keep" in capsys.readouterr().err


def test_names_of_runs_are_known_again() -> None:
    name = run_name(Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z"))
    assert is_run_name(name)
    assert not is_run_name(f"{name}\n")
    assert not is_run_name(f"{name[:-1]}A")
