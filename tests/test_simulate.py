"""The command `simulate`: what it writes, sends and serves, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from cilium_analysis.cli import main
from cilium_analysis.cli.parser import build_parser
from cilium_simulator.scenario import names
from cilium_simulator.simulation import Cluster
from cilium_simulator.truth import Truth
from tests.conftest import installed_or_skip
from tests.servers.install import HOW_TO_GET, program
from tests.servers.process import ServerProcess
from tests.servers.prometheus import NotInstalled

PROGRAM = [
    sys.executable,
    "-c",
    "import sys; from cilium_analysis.cli import main; sys.exit(main())",
]
Make = Callable[..., Cluster]
Said = pytest.CaptureFixture[str]
BURST = "burst_between_scrapes"
MINE = """\
[cluster]
duration = "1h"
[[event]]
kind = "drops"
source = "shop/cart"
destination = "shop/db"
node = "#1"
rate = 20.0
start = "40m"
duration = "12m"
"""


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run every test in an empty directory, with the process's own signals afterwards."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def simulate(*arguments: str) -> int:
    return main(["simulate", *arguments])


def left() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_scenarios_are_listed_with_what_happens(capsys: Said) -> None:
    assert simulate("--list") == 0
    told = capsys.readouterr().out.splitlines()
    assert [text.partition(": ")[0] for text in told] == names()
    assert "http_errors: An application answers 503" in "\n".join(told)


def test_the_files_are_written(capsys: Said) -> None:
    assert simulate(BURST, "files") == 0
    assert left() == ["files"]
    files = Path("files")
    assert sorted(each.name for each in files.iterdir()) == [
        *("kubernetes.json", "metrics.om", "truth.json"),
    ]
    assert (files / "metrics.om").read_text().endswith("# EOF\n")
    assert Truth.read(files / "truth.json").incidents[0].total == 1200
    shown = json.loads((files / "kubernetes.json").read_text())
    assert len(shown["Node"]) == 4
    assert shown["time"] == "2026-03-10T09:00:00+00:00"
    told = capsys.readouterr().out
    assert "burst_between_scrapes: 2026-03-10 08:00:00 to 2026-03-10 09:00:00 UTC, 4 nodes" in told
    assert "1200" not in told, "what happens is to be found"


def test_what_happens_is_said_on_request(capsys: Said) -> None:
    assert simulate(BURST, "--truth") == 0
    assert left() == []
    told = capsys.readouterr().out
    assert (
        "1. drops: 2026-03-10 08:20:08 to 2026-03-10 08:20:14, worker-1, reason CT: Map insertion"
        " failed, direction EGRESS, source default/web, destination default/db, protocol TCP,"
        " 1,200 packets" in told
    )


def test_what_happens_everywhere_at_one_moment_and_not_at_all(capsys: Said) -> None:
    Path("mine.toml").write_text(
        '[[event]]\nkind = "rollout"\ndestination = "shop/cart"\nstart = "1h"\n'
    )
    Path("quiet.toml").write_text("")
    for name in ("mine.toml", "quiet.toml"):
        assert simulate(name, "--truth") == 0
    _, rollout, _, nothing = capsys.readouterr().out.splitlines()
    assert rollout == "1. rollout: 2026-03-02 09:00:00, all nodes, destination shop/cart"
    assert nothing == "Nothing happens in it but what is ordinary."


def test_a_directory_is_whole_or_not_there(cluster: Make, tmp_path: Path) -> None:
    nothing: Any = None
    broken = replace(cluster(BURST), truth=nothing)
    with pytest.raises(AttributeError):
        broken.write(tmp_path / "files")
    assert left() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no scenario: give its name, as cilium-analysis simulate --list shows them"),
        ([BURST], "nothing to do with it: give DIR, --serve, --remote-write or --truth"),
        (["nothing", "files"], "no scenario nothing; there are: annotations_style, burst"),
        (["mine.toml", "files"], "no scenario mine.toml; there are: "),
        (["bad.toml", "files"], "bad: event 1 of 1 (drops): start is missing"),
        ([BURST, "there"], "there exists already: choose another directory"),
        ([BURST, "bad.toml/files"], "cannot write bad.toml/files: "),
        ([BURST, "files", "--end", "soon"], "'soon' is not a time"),
        ([BURST, "files", "--end", "0001-01-01T00:00Z"], "it does not lie in the years 2000"),
        ([BURST, "files", "--timezone", "Mars"], "Mars"),
        ([BURST, "--serve", "--prometheus", "there"], "no program prometheus in there: install it"),
        ([BURST, "--remote-write", "file:///etc/passwd"], "is no address: it begins with http://"),
        ([BURST, "--remote-write", "http://127.0.0.1:9/x"], "cannot be reached: "),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], says: str, capsys: Said
) -> None:
    Path("there").mkdir()
    Path("bad.toml").write_text('[[event]]\nkind = "drops"\nrate = 1.0\n')
    assert simulate(*arguments) in (1, 2)
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert left() == ["bad.toml", "there"]


def test_no_prometheus_on_the_path(monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    monkeypatch.setenv("PATH", str(Path.cwd()))
    assert simulate(BURST, "--serve") == 1
    told = capsys.readouterr()
    assert "there is no program prometheus on PATH: install it (apt install prometheus" in told.err
    assert told.out == "", "it is missed before the simulation"


def test_it_may_end_now(capsys: Said) -> None:
    Path("mine.toml").write_text(MINE)
    before = datetime.now(UTC)
    assert simulate("mine.toml", "files", "--end", "now") == 0
    truth = Truth.read(Path("files") / "truth.json")
    end = truth.incidents[0].start + timedelta(minutes=20)
    assert before - timedelta(seconds=1) <= end <= datetime.now(UTC)
    assert simulate("mine.toml", "again", "--end=2026-06-01 12:00", "--timezone=Asia/Tokyo") == 0
    (incident,) = Truth.read(Path("again") / "truth.json").incidents
    assert incident.start.isoformat() == "2026-06-01T02:40:00+00:00"
    assert "2026-06-01 02:00:00 to 2026-06-01 03:00:00 UTC" in capsys.readouterr().out


# A real Prometheus


def directory_of(kind: str) -> str:
    found = program(kind, "prometheus")
    if found is None:
        installed_or_skip(NotInstalled(f"no Prometheus, get it with: {HOW_TO_GET}"))
    return str(found.parent)


class Served:
    """A command that serves: its process, what it says, and where it puts its data."""

    def __init__(self, process: subprocess.Popen[str], temporary: Path) -> None:
        self.process, self.temporary = process, temporary
        self.said: list[str] = []
        assert process.stdout is not None
        for text in process.stdout:
            self.said.append(text.rstrip("\n"))
            if text.startswith("cilium-analysis: "):
                break
        (self.url,) = re.findall(r"at (http://127\.0\.0\.1:\d+)", "\n".join(self.said)) or [""]
        (self.server,) = psutil.Process(process.pid).children() or [None]

    def ask(self, query: str, moment: datetime) -> float:
        words = urllib.parse.urlencode({"query": query, "time": moment.timestamp()})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=30) as answer:
            (row,) = json.load(answer)["data"]["result"]
        return float(row["value"][1])

    def ended(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out

    def nothing_is_left(self) -> bool:
        assert self.server is not None
        return not self.server.is_running() and not [*self.temporary.iterdir()]


@contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    temporary = Path("temporary")
    temporary.mkdir()
    process = subprocess.Popen(
        [*PROGRAM, "simulate", "--serve", "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary.absolute()), "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield Served(process, temporary)
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("kind", ["prometheus-2", "prometheus-3"])
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_a_prometheus_serves_it_until_it_is_stopped(
    kind: str, ends: signal.Signals, cluster: Make
) -> None:
    with serving(BURST, "--prometheus", directory_of(kind)) as served:
        end = cluster(BURST).scenario.end
        assert served.ask("sum(cilium_drop_count_total)", end) == 1600
        assert served.ask('count(up{job="cilium-agent"})', end) == 4
        first, second, third, fourth, _ = served.said
        assert "4 nodes, Cilium 1.16.5, scraped every 15 s" in first
        assert second.startswith(f"Prometheus {kind[-1]}.")
        build_parser().parse_args(shlex.split(third.removeprefix("Try: cilium-analysis ")))
        assert "--start 2026-03-10T08:30:00Z --end 2026-03-10T09:00:00Z" in third
        assert fourth == f"What happens in it: cilium-analysis simulate {BURST} --truth"
        assert "1,200" not in "".join(served.said)
        assert [*served.temporary.iterdir()]
        served.process.send_signal(ends)
        assert served.ended() == (0, "cilium-analysis: stopped; nothing was left behind\n")
        assert served.nothing_is_left()


def test_series_that_ended_are_no_longer_there(cluster: Make) -> None:
    with serving("series_end", "--prometheus", directory_of("prometheus-2")) as served:
        (gone,) = [n for n in cluster("series_end").nodes if n.name == "worker-4"]
        start = cluster("series_end").scenario.start
        at = start + timedelta(seconds=gone.left)
        assert served.ask('count(up{job="cilium-agent"})', at) == 5
        assert served.ask('count(up{job="cilium-agent"})', at + timedelta(minutes=1)) == 4


def test_what_ends_now_is_there_now() -> None:
    Path("mine.toml").write_text(MINE)
    directory = directory_of("prometheus-3")
    with serving("mine.toml", "--end", "now", "--truth", "--prometheus", directory) as served:
        asked = "sum(increase(cilium_drop_count_total[25m]))"
        assert served.ask(asked, datetime.now(UTC)) == pytest.approx(20 * 12 * 60, rel=0.1)
        assert any("1. drops: " in text for text in served.said)
        assert not any("What happens" in text for text in served.said)


def test_a_server_that_ends_by_itself_is_an_error() -> None:
    with serving(BURST, "--prometheus", directory_of("prometheus-2")) as served:
        assert served.server is not None
        served.server.kill()
        code, told = served.ended()
        assert code == 1
        assert "Prometheus ended with -9: " in told
        assert served.nothing_is_left()


def test_an_address_that_is_taken(capsys: Said) -> None:
    directory = directory_of("prometheus-2")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        assert simulate(BURST, "--serve", "--prometheus", directory, "--listen", taken) == 1
    told = capsys.readouterr().err
    assert f"cannot listen on {taken} (Address already in use): give another --listen" in told
    for listen in ("9090", "127.0.0.1:99999"):
        assert simulate(BURST, "--serve", "--prometheus", directory, "--listen", listen) == 1
        assert "is no address to listen on: write it as 127.0.0.1" in capsys.readouterr().err


def test_a_program_that_does_not_serve(capsys: Said) -> None:
    fake = Path("prometheus")
    fake.write_text("#!/bin/sh\necho 'error: unknown flag --web.enable-remote-write-receiver'\n")
    fake.chmod(0o755)
    assert simulate(BURST, "--serve", "--prometheus", ".", "--listen", "127.0.0.1:0") == 1
    told = capsys.readouterr().err
    assert "does not serve 127.0.0.1:" in told
    assert "error: unknown flag" in told
    fake.write_text("this is no program\n")
    assert simulate(BURST, "--serve", "--prometheus", ".", "--listen", "127.0.0.1:0") == 1
    assert "prometheus does not run: Exec format error" in capsys.readouterr().err


def test_it_is_sent_to_a_server_that_is_there(victoria: ServerProcess, capsys: Said) -> None:
    Path("mine.toml").write_text(MINE)
    assert (
        simulate("mine.toml", "--end", "now", "--remote-write", f"{victoria.url}/api/v1/write") == 0
    )
    assert f"Sent to {victoria.url}/api/v1/write" in capsys.readouterr().out
    victoria.get("/internal/force_flush")
    words = urllib.parse.urlencode({"query": 'count(last_over_time(up{job="cilium-agent"}[10m]))'})
    (row,) = json.loads(victoria.get(f"/api/v1/query?{words}"))["data"]["result"]
    assert row["value"][1] == "4"
    assert simulate("mine.toml", "--remote-write", f"{victoria.url}/nothing") == 1
    assert f"{victoria.url}/nothing refused it with 400" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_finds_what_the_truth_says() -> None:
    Path("mine.toml").write_text(MINE)
    with serving("mine.toml", "--prometheus", directory_of("prometheus-2")) as served:
        (tried,) = [text for text in served.said if text.startswith("Try: cilium-analysis ")]
        words = shlex.split(tried.removeprefix("Try: cilium-analysis "))
        assert main([words[0], "drop_reasons", *words[1:]]) == 0
    (file,) = Path("reports").glob("*/findings.json")
    (finding,) = json.loads(file.read_text())["findings"]
    assert simulate("mine.toml", "files") == 0
    (incident,) = Truth.read(Path("files") / "truth.json").incidents
    assert finding["kind"] == "drop_spike"
    assert finding["labels"].items() >= {
        *{"reason": "Policy denied", "direction": "INGRESS", "node": "worker-2"}.items(),
        *{"source": "shop/cart", "destination": "shop/db"}.items(),
    }
    assert finding["total"] == pytest.approx(incident.total, rel=0.02)
    start, end = (datetime.fromisoformat(finding[name]) for name in ("start", "end"))
    assert abs(start - incident.start) <= timedelta(minutes=1)
    assert abs(end - incident.end) <= timedelta(minutes=1)
