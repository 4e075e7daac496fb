"""Kernels end with the run that started them, however early it is killed, and not before."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from cilium_analysis.report.kernel import Kernels
from tests.runs import REPORT, notebook, runs

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
    """The kernels of a process, as soon as they are programs of their own."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if any("ipykernel_launcher" in word for word in child.cmdline()):
                found.append(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


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
        while not (found := kernels_of(pid)):
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 20
        while any(map(runs, found)) and time.monotonic() < until:
            time.sleep(0.1)
        left = [each for each in found if runs(each)]
        for each in left:
            os.kill(each, signal.SIGKILL)
    assert not left


def test_a_kernel_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    kernels = Kernels()
    manager = kernels.manager_class(tmp_path)()

    async def start() -> None:
        await manager.start_kernel()

    starting = threading.Thread(target=lambda: asyncio.run(start()))
    starting.start()
    starting.join()
    process = getattr(manager.provisioner, "process")  # noqa: B009  of the local provisioner
    try:
        time.sleep(1)
        assert process.poll() is None
    finally:
        kernels.stop()
        process.wait()
        manager.context.destroy(linger=0)
