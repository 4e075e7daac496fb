"""Whole runs, by the real command, while something breaks between it and a real Prometheus.

In each case there is the whole report in the end, or one error, and what was recorded is kept to
be gone on with; nothing hangs, and nothing half-written is left.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from cilium_analysis.bundle import Bundle
from cilium_analysis.errors import BundleError
from tests.faults import Answerer, Reply, Request, Stub, broken, forward, refusal
from tests.servers.served import ClusterServer
from tests.waiting import until

PROGRAM = "import sys; from cilium_analysis.cli import main; sys.exit(main())"
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_AS, ({0}, {0})); "
#: No run here takes longer, however it is disturbed [s].
LONGEST = 100.0
KEPT = "what was recorded is kept: report --resume"
HUBBLE = "hubble_drop_total"


@pytest.fixture(scope="module")
def cluster(cluster_server: Callable[..., ClusterServer]) -> ClusterServer:
    return cluster_server("http_errors")


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    code: int
    said: str
    seconds: float


class Runs:
    """Makes reports on a cluster through a server that a test controls."""

    def __init__(self, cluster: ClusterServer, out: Path) -> None:
        self.out = out
        #: Of the process and of each of its kernels [bytes]; 0 is no limit.
        self.memory = 0
        start, end = cluster.scenario.start, cluster.scenario.end
        half = start + (end - start) / 2
        self.window = ["--start", half.isoformat(), "--end", end.isoformat(), "--step", "30s"]

    def report(self, stub: Stub, *more: str) -> Ended:
        """Report on drops."""
        asked = ["drop_reasons", "--source", stub.url, *self.window, "--output", str(self.out)]
        return self.command(["report", *asked, *more])

    def resume(self, stub: Stub, *more: str) -> Ended:
        """Go on with the only run."""
        return self.command(["report", "--resume", str(self.run), "--source", stub.url, *more])

    def capture(self, stub: Stub, *more: str) -> Ended:
        """Record what drops need, into the bundle."""
        asked = ["drop_reasons", "--source", stub.url, *self.window, "--output", str(self.out)]
        return self.command(["capture", *asked, *more])

    def command(self, arguments: list[str]) -> Ended:
        began = time.monotonic()
        program = LIMITED.format(self.memory) + PROGRAM if self.memory else PROGRAM
        with subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            self.process = process
            said, _ = process.communicate(timeout=LONGEST)
        return Ended(process.returncode, said, time.monotonic() - began)

    @property
    def run(self) -> Path:
        """The directory of the only run."""
        names = {path.name for path in self.out.iterdir() if path.is_dir()}
        # What a killed process leaves has the name of its run in its own.
        (name,) = {name.removeprefix(".").partition(".")[0] for name in names}
        return self.out / name

    def is_whole(self) -> bool:
        """Whether the run is complete, is listed, and nothing else lies about."""
        assert sorted(path.name for path in self.out.iterdir()) == [self.run.name, "index.html"]
        assert not [path for path in self.run.rglob("*") if path.name.startswith(".")]
        summary = json.loads((self.run / "run.json").read_text())
        return bool(summary["status"] == "complete" and (self.run / "drop_reasons.html").exists())

    def is_kept(self) -> bool:
        """Whether there is a run that was cut short, with answers that go together."""
        summary = json.loads((self.run / "run.json").read_text())
        manifest = json.loads((self.run / "bundle" / "manifest.json").read_text())
        files = [self.run / "bundle" / row["file"] for row in manifest["answers"] if "file" in row]
        whole = bool(files) and all(path.exists() for path in files)
        return whole and summary["status"] == "failed" and (self.run / "index.html").exists()


@pytest.fixture
def runs(cluster: ClusterServer, tmp_path: Path) -> Runs:
    return Runs(cluster, tmp_path / "out")


def after(number: int, then: Answerer, otherwise: Answerer) -> Answerer:
    """Answer so many requests as they are, and all later ones otherwise."""
    lock, count = threading.Lock(), iter(range(10**9))

    def ask(request: Request) -> Reply:
        with lock:
            late = next(count) >= number
        return (then if late else otherwise)(request)

    return ask


def lost(_: Request) -> Reply:
    """As a server that was killed."""
    return Reply(ends="reset")


# The server


@pytest.mark.slow
def test_a_server_that_is_restarted_again_and_again_costs_nothing(
    cluster: ClusterServer, runs: Runs
) -> None:
    chance, real = random.Random(7), forward(cluster.url)
    downs = sorted(chance.sample(range(2, 40), 10))
    count, back = iter(range(10**9)), [0.0]

    def restarting(request: Request) -> Reply:
        if (number := next(count)) in downs:
            # The last time for longer than a few tries take.
            back[0] = time.monotonic() + (8.0 if number == downs[-1] else 0.4)
        return lost(request) if time.monotonic() < back[0] else real(request)

    with Stub(restarting) as stub:
        ended = runs.report(stub)
    assert ended.code == 0, ended.said
    assert runs.is_whole()


@pytest.mark.slow
def test_what_a_lost_server_told_is_kept_and_gone_on_with(
    cluster: ClusterServer, runs: Runs
) -> None:
    real = forward(cluster.url)
    with Stub(after(9, lost, real)) as stub:
        ended = runs.report(stub, "--timeout", "5s")
        assert ended.code == 1
        assert KEPT in ended.said
        assert "Traceback" not in ended.said
        assert runs.is_kept()
        before = len(list((runs.run / "bundle" / "answers").iterdir()))
        stub.play(after(6, lost, real))
        assert runs.resume(stub, "--timeout", "5s").code == 1
        assert runs.is_kept()
        assert len(list((runs.run / "bundle" / "answers").iterdir())) > before
        stub.play(real)
        ended = runs.resume(stub)
    assert ended.code == 0, ended.said
    assert runs.is_whole()


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_a_storm_of_refusals_is_sat_out(cluster: ClusterServer, runs: Runs, status: int) -> None:
    chance, real = random.Random(status), forward(cluster.url)
    busy = refusal(status, "unavailable", "come again", Retry_After="0")
    with Stub(lambda request: busy if chance.random() < 0.3 else real(request)) as stub:
        ended = runs.report(stub)
    assert ended.code == 0, ended.said
    assert runs.is_whole()


def bomb(_: Request) -> Reply:
    """Small on its way, and 2.5 GiB when it is unpacked."""
    member = gzip.compress(b" " * 2**26)
    return Reply(member * 40, headers={"Content-Encoding": "gzip"})


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["silent", "cut", "wrong", "unavailable", "bomb", "selective"])
def test_one_query_that_is_never_answered_costs_what_depends_on_it(
    cluster: ClusterServer, runs: Runs, fault: str
) -> None:
    real, gate = forward(cluster.url), threading.Event()
    kinds: dict[str, Answerer] = {
        "selective": lambda _: refusal(503, "timeout", "query timed out"),
        "silent": lambda _: Reply(b'{"status":"success",', ends="stall", at=20, gate=gate),
        "cut": broken(real, "cut"),
        "bomb": bomb,
        "wrong": lambda _: refusal(422, "execution", "too many series"),
        "unavailable": lambda _: refusal(
            503, "timeout", "query timed out in expression evaluation"
        ),
    }

    def ask(request: Request) -> Reply:
        query = request.params.get("query", "")
        # Some proxies let no query through that selects nothing.
        if fault == "selective" and query == "vector(1)":
            return refusal(403, "forbidden", "no label matcher")
        mine = f"max_over_time({HUBBLE}" in query
        return (kinds[fault] if mine else real)(request)

    with Stub(ask) as stub:
        ended = runs.report(stub, "--timeout", "60s" if fault == "bomb" else "3s")
        gate.set()
    assert ended.code == 0, ended.said
    assert runs.is_whole()
    page = (runs.run / "drop_reasons.html").read_text()
    assert "The server refused to tell of drop events seen by Hubble" in page
    assert json.loads((runs.run / "findings.json").read_text())["unknown"] == []


@pytest.mark.slow
def test_a_server_that_falls_silent_is_not_waited_for_longer_than_the_deadline(
    cluster: ClusterServer, runs: Runs, tmp_path: Path
) -> None:
    gate = threading.Event()
    silent = Reply(b"{", ends="stall", at=1, gate=gate)
    told = tmp_path / "told"
    with Stub(Reply()) as people, Stub(after(9, lambda _: silent, forward(cluster.url))) as stub:
        told.write_text(f"json://127.0.0.1:{people.port}/hook\n")
        ended = runs.report(stub, "--deadline", "8s", "--notify", f"file:{told}")
        gate.set()
        assert b"deadline" in b"".join(request.body for request in people.requests)
    assert ended.code == 1
    assert "deadline" in ended.said
    assert KEPT in ended.said
    assert ended.seconds < 2 * 8
    assert runs.is_kept()


# Signals


@pytest.mark.slow
def test_a_run_that_is_stopped_ten_times_is_whole_in_the_end(
    cluster: ClusterServer, runs: Runs
) -> None:
    real, moments = forward(cluster.url), random.Random(3)
    ways = [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]

    def stopping(way: signal.Signals) -> Answerer:
        def stop(request: Request) -> Reply:
            runs.process.send_signal(way)
            return real(request)

        return stop

    with Stub(real) as stub:
        for number in range(10):
            way = ways[number % 3]
            stub.play(after(moments.randint(3, 6), stopping(way), real))
            ended = runs.resume(stub) if number else runs.report(stub)
            assert ended.code == (-9 if way == signal.SIGKILL else 130), ended.said
            assert "Traceback" not in ended.said
            if way != signal.SIGKILL:
                assert KEPT in ended.said
                assert runs.is_kept()
        stub.play(real)
        ended = runs.resume(stub)
    assert ended.code == 0, ended.said
    assert runs.is_whole()


@pytest.mark.slow
def test_what_a_killed_run_left_is_found_by_the_next(cluster: ClusterServer, runs: Runs) -> None:
    real = forward(cluster.url)

    def kill(request: Request) -> Reply:
        runs.process.kill()
        return real(request)

    with Stub(after(8, kill, real)) as stub:
        assert runs.report(stub).code == -9
        (left,) = runs.out.iterdir()
        assert left.name.startswith(".")
        stub.play(real)
        ended = runs.report(stub)
    assert ended.code == 0
    assert "a run was cut short: report --resume" in ended.said
    found = [path for path in runs.out.iterdir() if path.is_dir()]
    assert len(found) == 2
    assert not [path for path in found if path.name.startswith(".")]
    assert (runs.out / "index.html").read_text().count("the process was killed") == 1


@pytest.mark.slow
def test_a_run_that_is_killed_while_its_notebooks_run_is_gone_on_with(
    cluster: ClusterServer, runs: Runs
) -> None:
    killers: list[threading.Thread] = []
    kernels: list[psutil.Process] = []

    def kill_later(request: Request) -> Reply:
        if not killers:
            killers.append(threading.Thread(target=kill))
            killers[0].start()
        return forward(cluster.url)(request)

    def kill() -> None:
        """Wait until the recording is whole, and a notebook has begun."""
        until(lambda: any(json.loads(p.read_text())["whole"] for p in manifests()))
        kernels.extend(until(lambda: psutil.Process(runs.process.pid).children(recursive=True)))
        runs.process.kill()

    def manifests() -> list[Path]:
        return list(runs.out.glob(".*/bundle/manifest.json"))

    with Stub(kill_later) as stub:
        assert runs.report(stub).code == -9
        killers[0].join()
        stub.play(lost)  # whose recording is whole asks nothing
        ended = runs.resume(stub)
    assert ended.code == 0, ended.said
    assert runs.is_whole()
    assert kernels
    assert not [kernel for kernel in kernels if kernel.is_running()]


@pytest.mark.slow
def test_a_kernel_that_is_killed_in_a_cell_costs_its_notebook(
    cluster: ClusterServer, runs: Runs
) -> None:
    def kill() -> None:
        """Kill the first kernel: one that was started, or forked from what was."""
        until(killed_one)

    def works(child: psutil.Process) -> bool:
        return bool(sum(child.cpu_times()[:2]) > 0.5)

    def killed_one() -> bool:
        with suppress(psutil.NoSuchProcess, AttributeError):
            for child in psutil.Process(runs.process.pid).children(recursive=True):
                forked = child.parent().pid != runs.process.pid
                if forked or "ipykernel_launcher" in str(child.cmdline()):
                    # By then it has begun its work.
                    until(partial(works, child))
                    child.kill()
                    return True
        return False

    with Stub(forward(cluster.url)) as stub:
        killer = threading.Thread(target=kill)
        killer.start()
        ended = runs.report(stub)
        killer.join()
        assert ended.code == 1
        assert "drop_reasons stopped with" in ended.said
        assert "what ran is kept in" in ended.said
        assert runs.is_kept()
        stub.play(lost)
        ended = runs.resume(stub)
    assert ended.code == 0, ended.said
    assert runs.is_whole()


@pytest.mark.slow
def test_a_bundle_that_is_cut_short_is_gone_on_with(cluster: ClusterServer, runs: Runs) -> None:
    real = forward(cluster.url)

    def stop(request: Request) -> Reply:
        runs.process.send_signal(signal.SIGTERM)
        return real(request)

    def kill(request: Request) -> Reply:
        runs.process.kill()
        return real(request)

    def answers() -> int:
        manifest = json.loads((runs.out / "manifest.json").read_text())
        assert not manifest["whole"]
        return len(manifest["answers"])

    with Stub(after(0, lost, real)) as stub:
        assert runs.capture(stub, "--timeout", "2s").code == 1
        assert not runs.out.exists()
        stub.play(after(9, lost, real))
        ended = runs.capture(stub, "--timeout", "2s")
        assert (ended.code, f"capture --resume {runs.out} goes on" in ended.said) == (1, True)
        held = [answers()]
        assert "exists already" in runs.capture(stub).said
        for way, code in ((stop, 130), (kill, -9)):
            stub.play(after(5, way, real))
            again = ["capture", "--resume", str(runs.out), "--source", stub.url]
            assert runs.command(again).code == code
            held.append(answers())
        assert held == sorted(held)
        assert held[0] < held[1]
        cut = Bundle(runs.out)
        with pytest.raises(BundleError, match="recording was cut short"):
            cut.range("up", cut.window)
        stub.play(real)
        assert runs.command(again).code == 0
        assert "is complete: there is nothing to resume" in runs.command(again).said
    assert Bundle(runs.out).whole
    for path in (runs.out, *runs.out.rglob("*")):
        assert not path.name.startswith(".")


# The machine


@pytest.mark.slow
@pytest.mark.parametrize("mebibytes", [300, 900, 1400, 2000, 2600])
def test_a_limit_of_memory_ends_a_run_in_one_line(
    cluster: ClusterServer, runs: Runs, mebibytes: int
) -> None:
    """How far a run gets depends on the machine: how many threads its libraries start."""
    with Stub(forward(cluster.url)) as stub:
        runs.memory = mebibytes * 2**20
        ended = runs.report(stub)
        runs.memory = 0
        assert ended.code in (0, 1), ended.said
        assert "Traceback" not in ended.said
        if ended.code and runs.out.exists() and list(runs.out.iterdir()):
            assert "memory" in ended.said
            ended = runs.resume(stub)
            assert ended.code == 0, ended.said
    if ended.code == 0:
        assert runs.is_whole()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Give a file system of so many kilobytes."""
    place = tmp_path / "small"
    place.mkdir()

    def mount(size: int) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)],
            capture_output=True,
        )
        if done.returncode:
            pytest.skip("only root can mount a small file system")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True)


@pytest.mark.slow
def test_a_disk_that_is_full_ends_a_run_in_one_line(
    cluster: ClusterServer, runs: Runs, small: Callable[[int], Path], tmp_path: Path
) -> None:
    real, kept = forward(cluster.url), None
    with Stub(real) as stub:
        for size in (16, 32, 64, 96, 128, 192, 256, 320, 384, 448):
            runs.out = small(size) / "out"
            ended = runs.report(stub)
            if ended.code == 0:
                break
            lines = [line for line in ended.said.splitlines() if "No space left" in line]
            assert len(lines) == 1, ended.said
            assert "Traceback" not in ended.said
            left = list(runs.out.iterdir()) if runs.out.exists() else []
            assert not [path for path in left if path.name.startswith(".")]
            if KEPT in ended.said:
                assert runs.is_kept()
                kept = shutil.copytree(runs.run, tmp_path / f"kept-{size}" / runs.run.name)
            subprocess.run(["umount", str(tmp_path / "small")], check=True)
        assert kept is not None
        runs.out = kept.parent
        ended = runs.resume(stub)
    assert ended.code == 0, ended.said
    assert runs.is_whole()


@pytest.mark.slow
def test_two_runs_at_once_are_both_kept(cluster: ClusterServer, runs: Runs) -> None:
    others = Runs(cluster, runs.out)
    ends: list[Ended] = []
    with Stub(forward(cluster.url)) as stub:
        threads = [
            threading.Thread(
                target=lambda mine=mine: ends.append(mine.report(stub, "--keep", "1d"))
            )
            for mine in (runs, others)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [ended.code for ended in ends] == [0, 0], ends
    made = [path.name for path in runs.out.iterdir() if path.is_dir()]
    assert len(made) == 2
    index = (runs.out / "index.html").read_text()
    assert all(f"{name}/index.html" in index for name in made)


@pytest.mark.slow
def test_credentials_do_not_go_to_an_address_that_only_a_run_names(
    cluster: ClusterServer, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = forward(cluster.url)
    monkeypatch.setenv("CILIUM_ANALYSIS_USERNAME", "ann")
    monkeypatch.setenv("CILIUM_ANALYSIS_PASSWORD", "hunter2-planted")
    seen: list[Any] = []

    def watching(request: Request) -> Reply:
        seen.append("authorization" in request.headers)
        return real(request)

    with Stub(after(9, lost, watching)) as stub:
        assert runs.report(stub, "--timeout", "5s").code == 1
        assert all(seen)
        seen.clear()
        stub.play(watching)
        told = runs.command(["report", "--resume", str(runs.run)])
        assert told.code == 0, told.said
    assert seen
    assert not any(seen)
    assert "hunter2" not in told.said
    assert os.environ["CILIUM_ANALYSIS_PASSWORD"] == "hunter2-planted"
