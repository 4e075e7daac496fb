"""Runs that were stopped keep what was done, and make the rest later."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cilium_analysis.cli import main
from cilium_analysis.errors import ParameterError
from cilium_analysis.question import ask
from cilium_analysis.report import Run, report, resume
from cilium_analysis.report.execute import STOPPED
from tests.runs import REPORT, appears, notebook, runs

TOPICS = ("drop_reasons", "setup_check")
#: What the second notebook does: it waits, unless it is told not to.
WAITS = """
import os, pathlib, time
pathlib.Path({note!r}).write_text(f"{{os.getpid()}} ")
while not pathlib.Path({go!r}).exists():
    time.sleep(0.1)
print("now it is done")
"""


def waiting(folder: Path) -> Path:
    """Make two notebooks, of which the second waits for a file."""
    mine = notebook(folder / "mine", "print('done at once')")
    code = WAITS.format(note=str(folder / "kernel"), go=str(folder / "go"))
    return notebook(mine, code, topic="setup_check")


def listed(run: Path) -> list[str]:
    return [path.name for path in sorted(run.parent.iterdir())]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_what_was_done_is_kept_and_the_rest_is_made_later(
    how: signal.Signals, tmp_path: Path
) -> None:
    mine, out = waiting(tmp_path), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", REPORT, str(out), str(mine), *TOPICS],
        stdout=subprocess.PIPE,
        text=True,
    )
    kernel = int(appears(tmp_path / "kernel"))
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not runs(kernel)
    (directory,) = [path for path in out.iterdir() if path.is_dir()]
    assert said.strip() == (
        f"stopped; 1 of 2 reports are kept, and report --resume {directory} makes the others"
    )
    before = json.loads((directory / "run.json").read_text())
    assert before["status"] == "failed"
    assert [row["error"] for row in before["topics"]] == ["", STOPPED]
    assert json.loads((directory / "findings.json").read_text())["incomplete"] == ["setup_check"]
    assert "stopped before it was done" in (directory / "setup_check.html").read_text()
    first = (directory / "drop_reasons.ipynb").read_bytes()

    (tmp_path / "go").touch()
    lines: list[str] = []
    run = resume(directory, notebooks=mine, tell=lines.append)
    assert lines == ["Running setup_check"]
    assert run.summary["status"] == "complete"
    assert run.summary["began"] == before["began"]
    assert run.summary["source"] == before["source"]
    assert run.summary["seconds"] >= before["seconds"]
    assert (directory / "drop_reasons.ipynb").read_bytes() == first
    assert "now it is done" in (directory / "setup_check.html").read_text()
    assert "incomplete" not in json.loads((directory / "findings.json").read_text())
    assert listed(directory) == [directory.name, "index.html"]
    assert "failed" not in (out / "index.html").read_text().split("<tbody>")[1].split("</tbody>")[0]


@pytest.fixture(scope="module")
def failed_once(tmp_path_factory: pytest.TempPathFactory) -> Run[Path]:
    folder = tmp_path_factory.mktemp("failed")
    mine = notebook(folder / "mine", "print('fine')")
    notebook(mine, "raise ValueError('not today')", topic="setup_check")
    return report(
        ask(source="sample", baseline="", around="2026-03-21 09:10"),
        topics=TOPICS,
        directory=folder / "out",
        notebooks=mine,
        jobs=2,
    )


@pytest.fixture
def failed(failed_once: Run[Path], tmp_path: Path) -> Run[Path]:
    """A run of which one notebook failed, for a test to do with as it likes."""
    shutil.copytree(failed_once.directory.parents[1], tmp_path, dirs_exist_ok=True)
    return replace(failed_once, directory=tmp_path / "out" / failed_once.directory.name)


@pytest.mark.slow
def test_what_failed_is_tried_again_and_may_fail_again(failed: Run[Path], tmp_path: Path) -> None:
    again = resume(failed.directory, notebooks=tmp_path / "mine")
    assert again.failures == {"setup_check": "ValueError: not today"}
    notebook(tmp_path / "mine", "print('better')", topic="setup_check")
    whole = resume(failed.directory, notebooks=tmp_path / "mine")
    assert whole.failures == {}
    # How its window was found is still said.
    assert whole.summary["located"].startswith("Around 09:10")
    assert whole.summary["located"] == failed.summary["located"]
    assert f"<dd>{whole.summary['located']}</dd>" in (whole.directory / "index.html").read_text()
    assert "pdf" not in whole.summary
    # What is asked for now is made of what is there.
    whole = resume(failed.directory, notebooks=tmp_path / "mine", paper=True)
    assert whole.failures == {}
    assert whole.summary["pdf"] == "report.pdf"
    assert (whole.directory / "report.pdf").read_bytes().startswith(b"%PDF-")
    lines: list[str] = []
    same = resume(failed.directory, notebooks=tmp_path / "mine", tell=lines.append)
    assert lines == ["nothing is missing"]
    assert same.summary["status"] == "complete"


@pytest.mark.slow
def test_a_run_that_cannot_be_replaced_stays(
    failed: Run[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in failed.directory.iterdir() if p.is_file()}
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name.startswith(f".{failed.directory.name}."):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    notebook(tmp_path / "mine", "print('better')", topic="setup_check")
    with pytest.raises(Exception, match="No space left on device"):
        resume(failed.directory, notebooks=tmp_path / "mine")
    assert {p.name: p.read_bytes() for p in failed.directory.iterdir() if p.is_file()} == before
    assert listed(failed.directory) == [failed.directory.name, "index.html"]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="is no run: give a directory"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": None}, "is not whole: make the report anew"),
        ({"parameters": {"timezone": "UTC", "match": ""}}, "is not whole: make the report anew"),
        ({"topics": [{"topic": "../../evil", "html": "", "notebook": ""}]}, "unknown topic"),
        ({"topics": [{"topic": "dns", "html": "", "notebook": ""}]}, "is not whole"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(
    change: dict[str, object], said: str, failed: Run[Path]
) -> None:
    file = failed.directory / "run.json"
    file.write_text(json.dumps(failed.summary | change))
    with pytest.raises(ParameterError, match=said):
        resume(failed.directory)


@pytest.mark.slow
def test_a_notebook_that_cannot_be_read_any_more_is_made_again(
    failed: Run[Path], tmp_path: Path
) -> None:
    (failed.directory / "drop_reasons.ipynb").write_text("{")
    notebook(tmp_path / "mine", "print('better')", topic="setup_check")
    lines: list[str] = []
    run = resume(failed.directory, notebooks=tmp_path / "mine", tell=lines.append)
    assert lines == ["Running drop_reasons, setup_check"]
    assert run.failures == {}


def test_a_run_whose_recording_is_gone_is_refused(failed: Run[Path]) -> None:
    shutil.rmtree(failed.directory / "bundle")
    with pytest.raises(Exception, match="bundle"):
        resume(failed.directory)
    assert listed(failed.directory) == [failed.directory.name, "index.html"]


@pytest.mark.parametrize("source", [[], ["--source", "http://prometheus:9090"]])
@pytest.mark.parametrize("command", ["report", "capture"])
def test_a_kubeconfig_that_nobody_would_read_is_refused(
    command: str, source: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--resume", "earlier", "--kubeconfig", "file", *source]) == 2
    assert "--kubeconfig is for --source kubernetes:" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_takes_the_question_from_the_run(
    failed: Run[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--resume", str(failed.directory), "dns", "--start", "-2h"]) == 2
    assert "leave out dns, --start" in capsys.readouterr().err
    assert main(["report", "--resume", str(failed.directory), "--fail-on", "critical"]) == 0
    shown = capsys.readouterr()
    assert "Running setup_check" in shown.err
    assert f"Report: {failed.directory}" in shown.out
