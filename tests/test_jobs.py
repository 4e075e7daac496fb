"""Jobs of a run: notebooks start when what they need is recorded, and end when the run does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cilium_analysis.errors import ServerUnavailable
from cilium_analysis.question import ask
from cilium_analysis.report.jobs import Jobs
from cilium_analysis.report.summary import parameters
from tests.runs import appears, notebook, runs

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = "print(file=open({log!r}, 'a'), end={name!r})"
WAITS = """
import os, pathlib, time
pathlib.Path({note!r}).write_text(f"{{os.getpid()}} ")
while not pathlib.Path({go!r}).exists():
    time.sleep(0.05)
"""


def jobs(folder: Path, code: dict[str, str], *, number: int) -> Jobs:
    mine = folder / "mine"
    for topic, text in code.items():
        notebook(mine, text, topic=topic)
    target = folder / "run"
    target.mkdir()
    files = [mine / f"{topic}.ipynb" for topic in code]
    given = parameters(ask(source="sample", baseline=""))
    return Jobs(files, given, target, number=number, progress=False)


def test_a_notebook_runs_beside_the_recording_once_it_is_ready(tmp_path: Path) -> None:
    code = {
        "dns": WAITS.format(note=str(tmp_path / "note"), go=str(tmp_path / "go")),
        "flows": "print('flows')",
    }

    def record(ready: Callable[[str], None]) -> None:
        ready("dns")
        appears(tmp_path / "note")
        (tmp_path / "go").touch()
        ready("flows")

    done = jobs(tmp_path, code, number=2).run(record)
    assert [(one.topic, one.error) for one in done] == [("dns", ""), ("flows", "")]
    assert (tmp_path / "run" / "flows.ipynb").exists()


@pytest.mark.slow
def test_one_at_a_time_is_recording_first_and_then_the_longest_first(tmp_path: Path) -> None:
    """But the incident needs what others load."""
    topics = ("setup_check", "drop_reasons", "incident")
    log = str(tmp_path / "log")
    code = {topic: LOG.format(log=log, name=f"{topic} ") for topic in topics}

    def record(ready: Callable[[str], None]) -> None:
        for topic in topics:
            ready(topic)

    done = jobs(tmp_path, code, number=1).run(record)
    assert [one.topic for one in done] == list(topics)
    assert Path(log).read_text().split() == ["drop_reasons", "incident", "setup_check"]


@pytest.mark.slow
def test_where_recording_fails_no_kernel_goes_on(tmp_path: Path) -> None:
    code = {
        "dns": WAITS.format(note=str(tmp_path / "note"), go=str(tmp_path / "never")),
        "flows": "print('flows')",
    }
    kernels: list[int] = []

    def record(ready: Callable[[str], None]) -> None:
        ready("dns")
        kernels.append(int(appears(tmp_path / "note")))
        ready("flows")
        raise ServerUnavailable("gone")

    with pytest.raises(ServerUnavailable, match="gone"):
        jobs(tmp_path, code, number=2).run(record)
    assert kernels
    assert not any(runs(kernel) for kernel in kernels)
