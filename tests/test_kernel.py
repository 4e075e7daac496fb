"""Kernels end with the run that started them, however early it is killed, and not before."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from cilium_analysis.forkserver import SUPPORTED, Forkserver
from cilium_analysis.question import ask
from cilium_analysis.report import report
from cilium_analysis.report.kernel import Kernels, environment
from tests.runs import REPORT, notebook, runs
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes have no parents there")
ROOT = Path(__file__).parent.parent


#: Starts a program and adopts what it leaves behind, as init of a container or of a user does: a
#: kernel that waits for process 1 to become its parent would wait for ever.
ADOPTS = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
run = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
print(run.pid, flush=True)
sys.stdin.read()
"""


def kernels_of(pid: int) -> list[int]:
    """The kernels of a process and what they are forked from, as soon as there are any."""
    found, kernels = [], False
    for child in psutil.Process(pid).children(recursive=True):
        try:
            words = " ".join(child.cmdline())
            parent = child.ppid()
        except psutil.NoSuchProcess:
            continue
        if "ipykernel_launcher" in words or "forkserver" in words:
            found.append(child.pid)
            kernels |= "ipykernel_launcher" in words or parent != pid
    return found if kernels else []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="nobody else adopts processes")
def test_a_run_that_is_killed_at_once_leaves_no_kernel(tmp_path: Path) -> None:
    mine = notebook(tmp_path / "mine", "import time; time.sleep(600)")
    run = [sys.executable, "-c", REPORT, str(tmp_path / "out"), str(mine), "drop_reasons"]
    with subprocess.Popen(
        [sys.executable, "-c", ADOPTS, *run],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        found = until(lambda: kernels_of(pid))
        os.kill(pid, signal.SIGKILL)
        try:
            until(lambda: not any(map(runs, found)), limit=20)
        finally:
            for each in filter(runs, found):
                os.kill(each, signal.SIGKILL)


def start(kernels: Kernels, home: Path) -> Any:
    """Start a kernel in a thread that ends then, and give its manager."""
    home.mkdir()
    manager = kernels.manager_class(home)()

    async def started() -> None:
        await manager.start_kernel(cwd=str(home))

    starting = threading.Thread(target=lambda: asyncio.run(started()))
    starting.start()
    starting.join()
    return manager


def answer(manager: Any, code: str) -> str:
    """What a kernel prints."""
    client = manager.client()
    client.start_channels()
    said: list[str] = []

    async def ask() -> None:
        await client.wait_for_ready(timeout=60)
        told = said.append
        await client.execute_interactive(
            code,
            allow_stdin=False,
            output_hook=lambda message: told(message["content"].get("text", "")),
            timeout=60,
        )

    asyncio.run(ask())
    client.stop_channels()
    return "".join(said).strip()


@pytest.fixture(params=["started", "forked"])
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    found = Kernels()
    if request.param == "forked":
        if not SUPPORTED:
            pytest.skip("nothing is forked here")
        found.prepare()
    yield found
    found.stop()


@pytest.mark.slow
def test_a_kernel_outlives_the_thread_that_started_it(kernels: Kernels, tmp_path: Path) -> None:
    manager = start(kernels, tmp_path / "home")
    process = manager.provisioner.process
    try:
        assert answer(manager, "print('here')") == "here"
        assert process.poll() is None
    finally:
        kernels.stop()
        process.wait()
        manager.context.destroy(linger=0)
    assert process.poll() is not None


@pytest.mark.slow
def test_kernels_know_what_they_are_given_and_nothing_of_each_other(
    kernels: Kernels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "planted")
    before = children()
    both = [start(kernels, tmp_path / name) for name in ("a", "b")]
    try:
        for manager, name in zip(both, ("a", "b"), strict=True):
            asked = (
                "import os, pandas; mine = globals().get('mine', 0) + 1; print(mine, os.getcwd())"
            )
            assert answer(manager, asked) == f"1 {tmp_path / name}"
            asked = "print(os.environ['IPYTHONDIR'], 'SECRET' in os.environ)"
            assert answer(manager, asked) == f"{tmp_path / name} False"
        process = both[0].provisioner.process
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) != 0
        assert answer(both[1], "print(mine)") == "1"
        with pytest.raises(subprocess.TimeoutExpired):
            both[1].provisioner.process.wait(0.1)
    finally:
        kernels.stop()
        for manager in both:
            manager.provisioner.process.wait(10)
            manager.context.destroy(linger=0)
    assert not set(children()) - set(before)


@pytest.mark.skipif(not SUPPORTED, reason="nothing is forked here")
def test_where_the_server_is_gone_kernels_are_started(tmp_path: Path) -> None:
    before = children()
    kernels = Kernels()
    kernels.prepare()
    for server in set(children()) - set(before):
        server.kill()
    manager = start(kernels, tmp_path / "home")
    try:
        assert answer(manager, "print(6 * 7)") == "42"
        assert "forkserver" not in words(psutil.Process(manager.provisioner.process.pid))
    finally:
        kernels.stop()
        manager.provisioner.process.wait(10)
        manager.context.destroy(linger=0)
    assert not set(children()) - set(before)


@pytest.mark.skipif(not SUPPORTED, reason="nothing is forked here")
def test_an_answer_that_comes_late_is_not_taken_for_the_next(tmp_path: Path) -> None:
    before = children()
    server = Forkserver(environment(os.environ), patience=0.05)  # it still imports
    try:
        asked = partial(
            server.fork,
            ["-f", str(tmp_path / "kernel.json")],
            environment=environment(os.environ, home=tmp_path),
            directory=tmp_path,
        )
        assert asked() is None
        server.patience = 60.0
        assert asked() is None
    finally:
        server.stop()
    assert not set(children()) - set(before)


@pytest.mark.slow
@pytest.mark.skipif(not SUPPORTED, reason="nothing is forked here")
def test_kernels_have_what_was_loaded_before_they_were_forked(tmp_path: Path) -> None:
    cell = """
from cilium_analysis.topics.model import _LOADED
print(sorted(key[0] for held in _LOADED._of_recordings.values() for key in held.found))
"""
    for topic in ("drop_reasons", "incident"):
        notebook(tmp_path / "mine", cell, topic=topic)
    run = report(
        ask(source="sample", baseline=""),
        topics=["drop_reasons", "incident"],
        directory=tmp_path / "out",
        notebooks=tmp_path / "mine",
    )
    printed = {}
    for topic in ("drop_reasons", "incident"):
        ran = nbformat.read(run.directory / f"{topic}.ipynb", as_version=4)
        printed[topic] = ran.cells[-1].outputs[0].text
    assert "topics.drops" in printed["drop_reasons"]
    assert "topics.dns" not in printed["drop_reasons"]
    assert {f"topics.{name}." in printed["incident"] for name in ("drops", "dns", "setup")} == {
        True
    }


def children() -> list[psutil.Process]:
    """The processes that this one started: kernels, and what they are forked from."""
    found = psutil.Process().children(recursive=True)
    return [each for each in found if "forkserver" in words(each) or "ipykernel" in words(each)]


def words(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""
