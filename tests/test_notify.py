"""Notification: what is told, to whom, when, and that no address is ever shown."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cilium_analysis.cli import main
from cilium_analysis.errors import ParameterError, ServerUnavailable
from cilium_analysis.findings import Finding, Findings, Severity, merge
from cilium_analysis.report import Run
from cilium_analysis.report.messages import Message, about_failure, about_run
from cilium_analysis.report.notify import NOTIFY_VARIABLE, receivers, send
from cilium_analysis.window import Window
from tests.runs import notebook
from tests.test_report import WINDOW
from tests.waiting import until

SECRET = "planted-s3cr3t"  # in the user, the path and the query of every address here
MESSAGE = Message("a title", "a body", Severity.WARNING)


@dataclass
class Endpoint:
    """What a service that takes messages was sent, and how it answers."""

    port: int
    answers: list[int] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return address(self.port)


def address(port: int) -> str:
    return f"json://{SECRET}:{SECRET}@127.0.0.1:{port}/{SECRET}?-key={SECRET}&rto=0.5&wait=0.1"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.asked.append(self.path)
            code = kept.answers.pop(0) if kept.answers else 200
            if code == 200:
                kept.received.append(json.loads(body))
            if code == 0:
                # Silent until the client hangs up.
                self.connection.settimeout(20)
                self.connection.recv(1)
                self.close_connection = True
                return
            self.send_response(code or 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # who asked has gone
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    kept = Endpoint(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kept
    server.shutdown()
    server.server_close()


@pytest.fixture
def refused() -> str:
    """The address of a service that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return address(taken.getsockname()[1])


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(NOTIFY_VARIABLE, raising=False)


def addresses(*lines: str) -> list[str]:
    """The option that names a file of these."""
    Path("addresses").write_text("\n".join(lines))
    return ["--notify", "file:addresses"]


# Reports, quick ones


FOUND = """
from datetime import UTC, datetime
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.window import Window
window = Window.parse(start, end, step=step)
Findings("a source", window, None, tuple(
    Finding(
        kind="drop_spike", severity=Severity[name], title=f"Drops of {name} rose",
        start=window.start, end=window.end, value=3.0, baseline_value=0.0, unit="packets/s",
        query="up", next_step="look at it", labels={"node": name},
    )
    for name in NAMES
))
"""
REPORT = ["report", "drop_reasons", "--source", "sample"]
Quick = Callable[..., None]


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Quick:
    """Makes the notebook of all reports one that finds these severities, or that does this."""

    def prepare(*names: str, code: str = "") -> None:
        mine = notebook(tmp_path / "mine", code or FOUND.replace("NAMES", repr(names)))
        monkeypatch.setattr("cilium_analysis.report.run.notebook_directory", lambda: mine)

    return prepare


@pytest.mark.slow
def test_a_finding_is_told_once(
    quick: Quick, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    quick("WARNING", "INFO")
    zone = ["--timezone", "Asia/Tokyo", "--link", "https://reports.example.org/cilium/"]
    assert main([*REPORT, *addresses("# who is on call", endpoint.address), *zone]) == 0
    (page,) = re.findall(r"Report: reports/(\S+)", capsys.readouterr().out)
    (message,) = endpoint.received
    source = "sample (a simulated cluster, Cilium 1.15.2)"
    assert message["title"] == (f"[warning] {source}, 2026-03-21 17:00:00 to 19:00:00 Asia/Tokyo")
    assert message["message"].splitlines() == [
        "1. [warning] Drops of WARNING rose",
        "   2026-03-21 17:00:00 to 19:00:00 Asia/Tokyo",
        "   Next: look at it",
        "2. [info] Drops of INFO rose",
        "   2026-03-21 17:00:00 to 19:00:00 Asia/Tokyo",
        "   Next: look at it",
        f"Report: https://reports.example.org/cilium/{page}",
    ]
    assert message["type"] == "warning"


@pytest.mark.slow
@pytest.mark.parametrize("least", [None, "critical"])
def test_what_is_not_severe_enough_is_told_to_nobody(
    least: str | None, quick: Quick, endpoint: Endpoint
) -> None:
    quick("WARNING" if least else "INFO")
    on = ["--notify-on", least] if least else []
    assert main([*REPORT, *addresses(endpoint.address), *on]) == 0
    assert endpoint.asked == []


@pytest.mark.slow
def test_a_run_that_failed_is_told(
    quick: Quick, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    quick(code="raise ValueError('no such @everyone')")
    assert main([*REPORT, *addresses(endpoint.address), "--notify-on", "critical"]) == 1
    (message,) = endpoint.received
    assert message["title"].startswith("[failed] sample ")
    assert "drop_reasons stopped, with ValueError: no such @\u200beveryone" in message["message"]
    assert message["type"] == "failure"
    (page,) = re.findall(r"Report: (\S+)", capsys.readouterr().out)
    assert message["message"].splitlines()[-1] == f"Report: {Path(page).absolute()}"


@pytest.mark.slow
def test_a_source_that_is_down_is_told(
    endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        source = f"http://127.0.0.1:{taken.getsockname()[1]}"
    command = ["report", "--source", source.replace("//", "//ann:hunter2@")]
    assert main([*command, "--match", 'cluster="prod"', *addresses(endpoint.address)]) == 1
    (message,) = endpoint.received
    assert message["title"].startswith(f'[failed] {source} {{cluster="prod"}}, 20')
    assert message["message"].startswith("There is no report: ")
    assert source in message["message"]
    (line,) = (x for x in capsys.readouterr().err.splitlines() if " Reading " not in x)
    assert source in line
    assert "hunter2" not in json.dumps(message)


def test_a_report_that_is_asked_for_wrongly_is_told(endpoint: Endpoint) -> None:
    """A schedule that was mistyped would otherwise be silent for ever."""
    command = ["report", "--source", "http://ann:hunter2@nowhere:1/?token=hunter2"]
    assert main([*command, "--start", "soon", *addresses(endpoint.address)]) == 2
    (message,) = endpoint.received
    assert "'soon' is not a time" in message["message"]
    assert message["title"] == "[failed] http://…@\u200bnowhere:1/"
    assert "hunter2" not in json.dumps(message)


def test_an_unexpected_error_is_told_without_its_words(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr("cilium_analysis.report.run.capture", broken)
    assert main([*REPORT, *addresses(endpoint.address)]) == 1
    (message,) = endpoint.received
    assert "unexpected ZeroDivisionError" in message["message"]
    assert "hunter2" not in json.dumps(message)


def test_a_report_that_is_stopped_by_hand_tells_nobody(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cilium_analysis.report.run.capture", stopped)
    assert main([*REPORT, *addresses(endpoint.address)]) == 130
    assert endpoint.asked == []


def stopped_while(capsys: pytest.CaptureFixture[str]) -> None:
    """Check that what was said of a report that was stopped is true."""
    err = capsys.readouterr().err
    (directory,) = re.findall(r"^cilium-analysis: stopped; the report is kept in (\S+)$", err, re.M)
    assert (Path(directory) / "index.html").is_file()
    assert "nothing was left" not in err


@pytest.mark.slow
def test_stopped_by_hand_while_notifying_the_report_is_kept(
    quick: Quick, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    quick("CRITICAL")
    endpoint.answers = [0, 0]

    def stop() -> None:
        until(lambda: endpoint.asked)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    assert main([*REPORT, *addresses(endpoint.address)]) == 130
    stopped_while(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [[], ["--keep", "30d"]])
def test_stopped_by_hand_while_the_index_is_written_the_report_is_kept(
    keep: list[str],
    quick: Quick,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    quick("CRITICAL")
    monkeypatch.setattr("cilium_analysis.storage.directory.Directory.write_index", stopped)
    assert main([*REPORT, *keep]) == 130
    stopped_while(capsys)


@pytest.mark.slow
def test_who_reads_the_results_may_go_before_they_are_printed(
    quick: Quick, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick("CRITICAL")
    reading, writing = os.pipe()
    os.close(reading)
    gone = os.fdopen(writing, "w", buffering=1)
    monkeypatch.setattr(sys, "stdout", gone)
    # As with `| head`: that somebody has read enough is no failure.
    assert main([*REPORT, *addresses(endpoint.address)]) == 0
    assert len(endpoint.received) == 1
    with suppress(BrokenPipeError):
        gone.close()


@pytest.mark.slow
def test_a_demo_tells_nobody(
    quick: Quick, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses(endpoint.address)
    monkeypatch.setenv(NOTIFY_VARIABLE, "addresses")
    quick("CRITICAL")
    monkeypatch.setattr("cilium_analysis.report.run.choose_topics", lambda *_: ("drop_reasons",))
    assert main(["demo"]) == 0
    assert endpoint.asked == []
    assert main(["demo", "--notify", "file:addresses"]) == 2


# Who is told


@pytest.mark.slow
def test_a_file_may_be_named_by_the_environment(
    quick: Quick, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses(endpoint.address)
    monkeypatch.setenv(NOTIFY_VARIABLE, "addresses")
    quick("CRITICAL")
    assert main([*REPORT, "--fail-on", "critical"]) == 20
    assert len(endpoint.received) == 1


def test_several_are_told_and_none_twice(endpoint: Endpoint) -> None:
    Path("one").write_text(f"\ufeff# a comment\n\n  {endpoint.address}\njson://127.0.0.1:1/a\n")
    Path("two").write_text(endpoint.address)
    environment = {
        "CILIUM_ANALYSIS_PAGER": f"{endpoint.address}\n",
        "CILIUM_ANALYSIS_OTHER": "json://127.0.0.1:1/b",
        NOTIFY_VARIABLE: "not there",
    }
    given = ["file:one", "file:two", "env:CILIUM_ANALYSIS_PAGER", "env:CILIUM_ANALYSIS_OTHER"]
    found = receivers(given, environment=environment)
    assert len({receiver.where for receiver in found}) == 3
    assert {"file:one:4", "env:CILIUM_ANALYSIS_OTHER"} < {receiver.where for receiver in found}
    assert receivers([], environment={}) == ()


BAD = {
    "an address": (f"json://{SECRET}@127.0.0.1", "--notify takes no address"),
    "an address for a file": (f"file:json://{SECRET}@127.0.0.1", "--notify takes no address"),
    "an address for a variable": (f"env:json://{SECRET}@h", "begins with CILIUM_ANALYSIS_"),
    "a variable that notebooks see": (f"env:{SECRET}", "begins with CILIUM_ANALYSIS_"),
    "no such variable": ("env:CILIUM_ANALYSIS_NOPE", "env:CILIUM_ANALYSIS_NOPE: there is no such"),
    "no such file": ("file:nope", "to notify in nope: No such file"),
    "a directory": ("file:.", "to notify in .: Is a directory"),
    "not text": ("file:binary", "to notify in binary: not a text file"),
    "an empty file": ("file:empty", "no address to notify in empty"),
    "a word": (SECRET, "--notify takes no address"),
    "not understood": ("file:wrong", "file:wrong:2 is no address that apprise understands"),
    "half an address": ("env:CILIUM_ANALYSIS_HALF", "env:CILIUM_ANALYSIS_HALF is no address"),
}


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_told_is_refused_before_anything_runs(
    given: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("binary").write_bytes(b"\xff\xfe\x00")
    Path("empty").write_text("# nobody\n")
    Path("wrong").write_text(f"json://127.0.0.1:1/a\nnope://{SECRET}\n")
    monkeypatch.setenv("CILIUM_ANALYSIS_HALF", f"slack://{SECRET}")
    assert main([*REPORT, "--notify", given, "--debug"]) == 2
    out, err = capsys.readouterr()
    assert message in err.splitlines()[-1]
    assert SECRET not in out + err
    assert not Path("reports").exists()


def test_without_apprise_the_message_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert main([*REPORT, *addresses("json://127.0.0.1:1/")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'cilium-analysis[notify]'" in line
    assert not Path("reports").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--notify-on", "critical"], "need a service to notify"),
        (["--link", "https://reports.example.org"], "need a service to notify"),
        (["--link", "reports.example.org"], "a link begins with http"),
        (["--link", f"https://ann:{SECRET}@reports.example.org"], "a link begins with http"),
        (["--link", f"https://reports.example.org/?key={SECRET}"], "a link begins with http"),
        (["--link", "https://reports.example.org/a\nb"], "a link begins with http"),
        (["--notify-on", "never"], "invalid choice: 'never'"),
    ],
)
def test_how_without_whom_and_bad_links_are_refused(
    option: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*REPORT, *option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert SECRET not in line


# Services that do not take it


def told(message: Message, *lines: str, patience: float = 30.0) -> tuple[int, list[str]]:
    """How many got it, and what was said."""
    Path("addresses").write_text("\n".join(lines))
    said: list[str] = []
    found = receivers(["file:addresses"], environment={})
    return send(found, message, tell=said.append, patience=patience), said


@pytest.mark.slow
def test_an_endpoint_that_answers_with_an_error_keeps_the_exit_code(
    quick: Quick, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.answers = [500] * 9
    quick("CRITICAL")
    assert main([*REPORT, *addresses(endpoint.address), "--fail-on", "critical"]) == 20
    assert len(endpoint.asked) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "cilium-analysis: file:addresses:1 was not notified: the service answered 500"


@pytest.mark.parametrize("code", [404, 302])
def test_an_address_that_is_wrong_or_leads_elsewhere(code: int, endpoint: Endpoint) -> None:
    endpoint.answers = [code] * 9
    said = f"file:addresses:1 was not notified: the service answered {code}"
    assert told(MESSAGE, endpoint.address) == (0, [said])
    assert not [path for path in endpoint.asked if "elsewhere" in path]


@pytest.mark.slow
def test_an_endpoint_that_refuses_connections_keeps_the_exit_code(
    quick: Quick, refused: str, capsys: pytest.CaptureFixture[str]
) -> None:
    quick("CRITICAL")
    assert main([*REPORT, *addresses(refused)]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].endswith(
        "was not notified: the service cannot be reached, or is too slow"
    )
    assert "Report: " in out


def test_an_error_that_passes_is_tried_once_more(endpoint: Endpoint) -> None:
    endpoint.answers = [503]
    assert told(MESSAGE, endpoint.address) == (1, [])
    assert [message["title"] for message in endpoint.received] == ["a title"]


def test_an_endpoint_that_keeps_silent(endpoint: Endpoint) -> None:
    endpoint.answers = [0, 0]
    reason = "the service cannot be reached, or is too slow"
    assert told(MESSAGE, endpoint.address) == (0, [f"file:addresses:1 was not notified: {reason}"])


def test_one_that_fails_does_not_keep_the_others_waiting(endpoint: Endpoint, refused: str) -> None:
    got, said = told(MESSAGE, refused, endpoint.address, "json://127.0.0.1:1/")
    assert got == 1
    assert [text.split(" was not ")[0] for text in said] == ["file:addresses:1", "file:addresses:3"]
    assert len(endpoint.received) == 1


SLOW = """
import socket, sys, threading, time
from cilium_analysis.report.messages import Message
from cilium_analysis.report.notify import receivers, send
listening = socket.create_server(("127.0.0.1", 0))
def drip():
    connection, _ = listening.accept()
    connection.recv(9999)
    while True:
        connection.sendall(b"H")
        time.sleep(0.1)
threading.Thread(target=drip, daemon=True).start()
address = f"json://127.0.0.1:{listening.getsockname()[1]}"
found = receivers(["env:CILIUM_ANALYSIS_X"], environment={"CILIUM_ANALYSIS_X": address})
sys.exit(send(found, Message("t", "b", None), tell=print, patience=1.0))
"""


@pytest.mark.slow
def test_an_endpoint_that_drips_holds_neither_the_command_nor_its_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "env:CILIUM_ANALYSIS_X was not notified: no answer in time\n"
    assert done.stderr == ""


# Secrets


SEEING = """
import os
assert not [name for name, value in os.environ.items() if "planted" in value], "seen"
"""


@pytest.mark.slow
@pytest.mark.parametrize("answers", [[], [500, 500]])
def test_no_address_is_seen_anywhere(
    answers: list[int],
    quick: Quick,
    endpoint: Endpoint,
    refused: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.answers = answers
    quick(code=SEEING + FOUND.replace("NAMES", "['CRITICAL']"))
    monkeypatch.setenv("CILIUM_ANALYSIS_PAGER", endpoint.address)
    given = ["--notify", "env:CILIUM_ANALYSIS_PAGER", *addresses(refused), "--show-code"]
    assert main([*REPORT, *given, "--debug"]) == 0
    out, err = capsys.readouterr()
    assert "was not notified" in err
    assert endpoint.asked[0] == f"/{SECRET}?key={SECRET}"  # it was there to be leaked
    assert SECRET not in out + err
    assert not [r for r in caplog.records if SECRET in r.getMessage() + str(r.exc_info)]
    files = [path for path in Path("reports").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_receivers_do_not_show_their_address() -> None:
    (found,) = receivers(["env:CILIUM_ANALYSIS_X"], environment={"CILIUM_ANALYSIS_X": address(1)})
    assert repr(found) == "Receiver(where='env:CILIUM_ANALYSIS_X')"


def test_what_others_log_is_still_logged(caplog: pytest.LogCaptureFixture) -> None:
    receivers(["env:CILIUM_ANALYSIS_X"], environment={"CILIUM_ANALYSIS_X": address(1)})
    logging.getLogger("urllib3.connectionpool").warning("of somebody else")
    assert [record.getMessage() for record in caplog.records] == ["of somebody else"]


# Messages


def finding(number: int, severity: Severity = Severity.WARNING, **other: Any) -> Finding:
    usual: dict[str, Any] = {
        "kind": "drop_spike",
        "severity": severity,
        "title": f"Finding {number}",
        "start": datetime(2026, 3, 21, 9, tzinfo=UTC),
        "end": datetime(2026, 3, 21, 9, 42, tzinfo=UTC),
        "value": 100.0 - number,
        "baseline_value": 0.0,
        "unit": "packets/s",
        "query": "up",
        "next_step": "look",
        "labels": {"number": str(number)},
    }
    return Finding(**(usual | other))


def run_of(
    *found: Finding, timezone: str = "UTC", match: str = "", source: str = "prod"
) -> Run[Path]:
    whole = Findings(source, WINDOW, None, found, ranked=True)
    document = merge(replace(whole, items=()), [], stories=[whole]).as_json()
    counts = {str(s): sum(each.severity is s for each in found) for s in Severity}
    summary = {
        "source": source,
        "window": document["window"],
        "parameters": {"timezone": timezone, "match": match},
        "findings": counts,
        "topics": [],
    }
    return Run(Path("reports/a"), summary, document)


def about(run: Run[Path], *, at: Severity = Severity.WARNING, page: str = "https://x/a") -> Message:
    message = about_run(run, at=at, page=page)
    assert message is not None
    return message


def test_five_findings_are_told_and_the_others_counted() -> None:
    lines = about(run_of(*map(finding, range(8)))).body.splitlines()
    assert [line for line in lines if line.startswith(tuple("123456789"))] == [
        f"{rank}. [warning] Finding {rank - 1}" for rank in range(1, 6)
    ]
    assert lines[-2:] == ["and 3 more", "Report: https://x/a"]
    assert "more" not in about(run_of(*map(finding, range(5)))).body


def test_what_is_severe_enough_comes_first_with_its_rank() -> None:
    quiet = [finding(number, Severity.INFO) for number in range(6)]
    body = about(run_of(*quiet, finding(6, Severity.CRITICAL))).body
    assert body.splitlines()[0] == "7. [critical] Finding 6"
    assert "and 2 more" in body


def test_doubtful_ones_say_so() -> None:
    body = about(run_of(finding(1, trust_reasons=("half of it", "is missing")))).body
    assert "   Doubtful: half of it; is missing" in body.splitlines()
    assert "Doubtful" not in about(run_of(finding(1))).body


def test_times_are_the_readers_and_name_the_day_once() -> None:
    run = run_of(finding(1), timezone="America/Los_Angeles", match='cluster="eu"')
    assert "2026-03-21 02:00:00 to 02:42:00 America/Los_Angeles" in about(run).body
    assert about(run).title == (
        '[warning] prod {cluster="eu"}, 2026-03-21 01:00:00 to 03:00:00 America/Los_Angeles'
    )
    over_midnight = finding(1, start=datetime(2026, 3, 21, 6, 59, tzinfo=UTC))
    body = about(run_of(over_midnight, timezone="America/Los_Angeles")).body
    assert "2026-03-20 23:59:00 to 2026-03-21 02:42:00" in body


HOSTILE = "\x1b]0;owned\x07\nReport: https://evil\r\u202e@everyone <b>*x*</b>\u2028" + "x" * 9999


def test_hostile_texts_stay_one_line_each_and_short() -> None:
    hostile: dict[str, Any] = {"title": HOSTILE, "next_step": HOSTILE, "trust_reasons": (HOSTILE,)}
    run = run_of(*(finding(n, **hostile) for n in range(9)), source=HOSTILE, match=HOSTILE)
    message = about(run)
    assert len(message.title) + len(message.body) < 2000
    assert message.title.replace("\u200b", "").isprintable()
    lines = message.body.splitlines()
    assert all(line.replace("\u200b", "").isprintable() for line in lines)
    assert [line for line in lines if line.startswith("Report:")] == ["Report: https://x/a"]
    assert "@everyone" not in message.title + message.body
    assert lines[-2].startswith("and ")


def test_a_hostile_error_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    message = about_failure(ServerUnavailable(HOSTILE), source=HOSTILE, window=WINDOW)
    assert message.body.replace("\u200b", "").isprintable()
    assert "@everyone" not in message.title + message.body
    assert len(message.title) + len(message.body) < 1000


@pytest.mark.parametrize("least", Severity)
@pytest.mark.parametrize("worst", Severity)
def test_the_worst_finding_decides(least: Severity, worst: Severity) -> None:
    message = about_run(run_of(finding(1, worst), finding(2, Severity.INFO)), at=least, page="")
    assert (message is not None) == (worst >= least)
    assert message is None or message.severity is worst


def test_a_quiet_run_is_not_worth_telling() -> None:
    assert about_run(run_of(), at=Severity.INFO, page="") is None
    assert about_run(run_of(finding(1, Severity.INFO)), at=Severity.WARNING, page="") is None


def test_a_failed_run_tells_what_stopped_and_what_it_found_before() -> None:
    run = run_of(finding(1, Severity.CRITICAL))
    errors = {"dns": "ValueError: no", "flows": "KeyError: x"}
    run.summary["topics"] = [{"topic": t, "error": error} for t, error in errors.items()]
    message = about(run)
    assert message.title.startswith("[failed, critical] prod, ")
    assert message.severity is None
    assert message.body.splitlines()[:2] == [
        "Not complete: dns, flows stopped, the first with ValueError: no",
        "1. [critical] Finding 1",
    ]


def test_windows_of_days_are_told_too() -> None:
    window = Window.parse("2026-03-20T08:00Z", "2026-03-21T10:00Z", timezone="UTC")
    title = about_failure(ParameterError("no"), source="prod", window=window).title
    assert title == "[failed] prod, 2026-03-20 08:00:00 to 2026-03-21 10:00:00 UTC"
