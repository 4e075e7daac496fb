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
from tests.runs import REPORT, notebook

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes have no parents there")
ROOT = Path(__file__).parent.parent


def kernels_of(pid: int) -> list[psutil.Process]:
    """The kernels of a process, as soon as they are programs of their own."""
    return [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if any("ipykernel_launcher" in word for word in child.cmdline())
    ]


@pytest.mark.parametrize("later", [0.0, 0.3])
def test_a_run_that_is_killed_at_once_leaves_no_kernel(later: float, tmp_path: Path) -> None:
    mine = notebook(tmp_path / "mine", "import time; time.sleep(600)")
    run = subprocess.Popen(
        [sys.executable, "-c", REPORT, str(tmp_path / "out"), str(mine), "drop_reasons"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    found: list[psutil.Process] = []
    while not found:
        assert run.poll() is None
        try:
            found = kernels_of(run.pid)
        except psutil.NoSuchProcess:
            continue
    time.sleep(later)
    run.send_signal(signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(found, timeout=20)
    assert not alive


def test_a_kernel_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    kernels = Kernels()
    manager = kernels.manager_class(tmp_path)()
    starting = threading.Thread(target=lambda: asyncio.run(manager.start_kernel()))
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
