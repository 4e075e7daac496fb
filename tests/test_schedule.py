"""What `cilium-analysis schedule` prints, read by the programs it is for, or by their rules."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import kubernetes_validate
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cilium_analysis import __version__
from cilium_analysis.cli import main
from cilium_analysis.cli.parser import build_parser
from cilium_analysis.errors import ParameterError
from cilium_analysis.queries import Matcher, parse_matchers, quote
from cilium_analysis.schedule import (
    Credential,
    CronJob,
    Plan,
    Secret,
    Service,
    Timing,
    crontab,
    manifests,
    units,
)
from tests.waiting import until

ROOT = Path(__file__).parent.parent
URL = "http://prometheus:9090"
PLATFORMS = ("kubernetes", "cron", "systemd")
PROGRAM = "/opt/cilium-analysis/bin/cilium-analysis"
#: The oldest that anybody maintains, and the newest there is.
VERSIONS = ("1.31", kubernetes_validate.latest_version())
HOSTILE = (
    'pod=~"a b\'c$d$(HOME)$$(HOME)${HOME}`id`%n%%n\\\\%\\\\\\\\%;|&<>#!~*?[x]{y}\\"z"',
    'cluster="\\\\"',
    'cluster="it\'s"',
    'cluster="$"',
    'cluster="%"',
    'cluster="ü 東京 🐝"',
)
#: What no workload is called, but a person may type.
ODD = "a'$b%"
printable = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=40)
#: Texts that are made of what some reader minds.
PIECES = ["$", "$$", "$(A)", "${A}", "%", "%n", "\\", "\\\\", "\\%", "'", '"', "`", ";", "#", "{}"]
awkward = st.lists(st.sampled_from([*PIECES, " ", "a", "é"]), max_size=8).map("".join)
matches = st.one_of(printable, awkward).map(lambda text: f"pod={quote(text)}")
quick = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def plan(**options: Any) -> Plan:
    given: dict[str, Any] = {"source": URL, "timing": Timing.every("1h")}
    return Plan(**given | options)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the real command line makes of them."""
    return vars(build_parser().parse_args(arguments))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["schedule", *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


# What all have in common


FULL = {
    "topics": ("drop_reasons", "dns"),
    "window": "6h",
    "timing": Timing("7 */6 * * mon-fri"),
    "baseline": "1d",
    "step": "1m",
    "match": HOSTILE[0],
    "timezone": "Europe/Berlin",
    "fail_on": "critical",
    "jobs": 3,
    "keep": timedelta(days=30),
    "notify_on": "critical",
    "link": "https://reports.example.org/100%25/$(HOME)/$HOME",
}


def assert_asks_for_it_all(arguments: list[str], output: str) -> None:
    found = parsed(arguments)
    assert (
        found
        | {
            "topics": ["drop_reasons", "dns"],
            "source": URL,
            "start": "-6h",
            "end": "now",
            "baseline": "1d",
            "step": "1m",
            "match": HOSTILE[0],
            "timezone": "Europe/Berlin",
            "fail_on": "critical",
            "jobs": 3,
            "keep": timedelta(days=30),
            "notify": [],
            "notify_on": "critical",
            "link": FULL["link"],
            "output": output,
            "kubernetes": "",
            "compare": None,
        }
        == found
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--workload", "shop"], {"workload": "shop", "from": "", "to": ""}),
        (["--from", ODD, "--to", "b/c"], {"workload": "", "from": ODD, "to": "b/c"}),
    ],
)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_part_of_the_cluster_is_passed_on(
    platform: str, given: list[str], said: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, platform, "--source", URL, *given)
    if platform == "kubernetes":
        arguments = arguments_of(text)
    elif platform == "systemd":
        _, *arguments = command_of(service_of(text))
    else:
        command = cron_reads(text.splitlines()[-1], strips=True, pairs=True)
        words = shlex.split(command.split("exit 75; ")[1].split(" >>")[0])
        arguments = words[words.index("report") :]
    assert parsed(arguments).items() >= (said | {"namespace": ""}).items()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_environment_is_in_no_output(
    platform: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = "planted-secret"
    for name in ("BEARER_TOKEN", "PASSWORD", "USERNAME", "TENANT", "BEARER_TOKEN_FILE", "CA_FILE"):
        monkeypatch.setenv(f"CILIUM_ANALYSIS_{name}", f"{planted}-{name}")
    monkeypatch.setenv("CILIUM_ANALYSIS_SOURCE", f"http://{planted}:9090")
    monkeypatch.setenv("CILIUM_ANALYSIS_KUBERNETES", planted)
    assert planted not in printed(capsys, platform, "--source", URL)
    assert main(["schedule", platform]) == 2
    assert planted not in "".join(capsys.readouterr())


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_report_leaves_nothing_out(platform: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--start=-1d" in printed(capsys, platform, "--source", URL, "--every", "1d")
    assert "--start=-1h" in printed(capsys, platform, "--source", URL, "--cron", "0 8 * * 1")
    assert main(["schedule", platform, "--source", URL, "--every", "6h", "--window", "1h"]) == 0
    assert "no report covers the 5h between them" in capsys.readouterr().err


@pytest.mark.parametrize("platform", PLATFORMS)
def test_reports_are_kept_for_ever_only_where_that_is_said(
    platform: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program = [] if platform == "kubernetes" else ["--program", PROGRAM]
    command = ["schedule", platform, "--source", URL, *program]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err == "cilium-analysis: reports are never removed without --keep\n"
    assert "--keep" not in out
    assert main([*command, "--keep", "4w12h"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "--keep=28d12h" in out


@pytest.mark.parametrize("platform", PLATFORMS)
def test_whom_to_notify_is_named_and_how_is_passed_on(
    platform: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whom = {"kubernetes": ["--secret", "prometheus:notify"]}
    given = whom.get(platform, ["--notify", "file:/etc/on-call"])
    how = ["--notify-on", "critical", "--link", "https://reports.example.org/"]
    text = printed(capsys, platform, "--source", URL, *given, *how)
    for option in ("--notify-on=critical", "--link=https://reports.example.org"):
        assert re.search(rf"{option}['\s]", text)
    places = {
        "kubernetes": "name: CILIUM_ANALYSIS_NOTIFY_FILE\n",
        "cron": "CILIUM_ANALYSIS_NOTIFY_FILE=/etc/on-call ",
        "systemd": "CILIUM_ANALYSIS_NOTIFY_FILE=%d/notify\n",
    }
    assert places[platform] in text


BAD = {
    "no platform": ([], "required: PLATFORM"),
    "unknown platform": (["windows"], "invalid choice: 'windows'"),
    "no source": (["cron"], "nothing to report on: give --source"),
    "no URL": (["cron", "--source", "sample"], "is not the URL of a server"),
    "no host": (["cron", "--source", "http://"], "is not the URL of a server"),
    "port": (["cron", "--source", "http://a:99999"], "is not the URL of a server"),
    "a password": (["cron", "--source", "http://ann:hunter2@a:9090"], "credentials in it"),
    "an odd password": (["cron", "--source", "http://ann:hun/hunter2@a"], "credentials in it"),
    "no bracket": (["cron", "--source", "http://[a"], "is not the URL of a server"),
    "a token": (["cron", "--source", "http://a/?token=hunter2"], "is not the URL of a server"),
    "unknown topic": (["cron", "drop_reason"], "did you mean drop_reasons?"),
    "too few fields": (["cron", "--cron", "5 * * *"], "it needs five fields"),
    "a minute": (["cron", "--cron", "60 * * * *"], "'60' is not a minute (0 to 59)"),
    "an hour": (["cron", "--cron", "0 24 * * *"], "'24' is not an hour (0 to 23)"),
    "a weekday": (["cron", "--cron", "0 0 * * 7"], "'7' is not a day of the week, Sunday being 0"),
    "a macro": (["cron", "--cron", "@hourly"], "it needs five fields"),
    "a command": (["cron", "--cron", "* * * * * rm"], "it needs five fields"),
    "a line end": (["cron", "--cron", "* * * *\n*;x"], "is not a day of the week"),
    "an empty range": (["cron", "--cron", "9-5 * * * *"], "is an empty range"),
    "a step alone": (["cron", "--cron", "5/15 * * * *"], "write 5-59/…"),
    "step of zero": (["cron", "--cron", "*/0 * * * *"], "is an empty range"),
    "no such day": (["cron", "--cron", "0 0 31 2,4 *"], "there is no such day"),
    "unclear days": (["cron", "--cron", "0 0 */2 * 1"], "list the days"),
    "both": (["cron", "--every", "1h", "--cron", "0 * * * *"], "not allowed with"),
    "uneven": (["cron", "--every", "90m"], "does not fit evenly"),
    "seconds": (["cron", "--every", "30s"], "does not fit evenly"),
    "never": (["cron", "--every", "0"], "does not fit evenly"),
    "no interval": (["cron", "--every", "often"], "'often' is not a duration"),
    "no window": (["cron", "--window", "0"], "a window of zero"),
    "a step too long": (["cron", "--step", "2h"], "longer than the window"),
    "baseline": (["cron", "--every", "1d", "--baseline", "1h"], "overlaps the window"),
    "zone": (["cron", "--timezone", "Mars/Olympus"], "unknown time zone"),
    "half a pair": (["cron", "--from", "shop/cart"], "--from and --to go together"),
    "no pair": (["cron", "path", "--workload", "a/b"], "this question is about two workloads"),
    "match": (["cron", "--match", "cluster=prod"], "cannot read the label matchers"),
    "line end": (["cron", "--match", 'a="b\nc"'], "holds the character U+000A"),
    "a program of two lines": (["cron", "--program", "/x\n* * * * * y"], "character U+000A"),
    "a returning output": (["cron", "--output", "a\rb"], "--output holds the character U+000D"),
    "severity": (["cron", "--fail-on", "info"], "invalid choice: 'info'"),
    "jobs": (["cron", "--jobs", "0"], "'0' is not a number of notebooks"),
    "too long": (["cron", "--match", 'a="' + "b" * 900 + '"'], "crons cut or refuse it"),
    "in a pod": (["cron", "--kubernetes", "in-cluster"], "only in a pod: name a context"),
    "kubeconfig alone": (["cron", "--kubeconfig", "/k"], "--kubeconfig needs a context"),
    "credential": (["cron", "--credential", "token=hunter2"], "does not hold a value"),
    "a value": (["systemd", "--credential", "hunter2"], "does not hold a value"),
    "an odd file": (["cron", "--credential", "token=/a b"], "is not a path"),
    "half": (["cron", "--username", "ann"], "a password needs a user name"),
    "http-config and a token": (
        ["cron", "--credential", "http-config=/h", "--credential", "token=/t"],
        "http-config says how to sign in: leave token out",
    ),
    "half of TLS": (["cron", "--credential", "tls.key=/k"], "name tls.crt too"),
    "units' name": (["systemd", "--name", "a/b"], "--name 'a/b' is not a name"),
    "a user": (["systemd", "--user", "a b"], "is not the name of a user"),
    "no state": (["systemd", "--output", "/srv/reports"], "use /var/lib/cilium-analysis"),
    "up": (["systemd", "--output", "/var/lib/../x"], "is not a path"),
    "program": (["systemd", "--program", "cilium-analysis"], "has to be absolute"),
    "no kubeconfig": (["systemd", "--kubernetes", "prod"], "add --kubeconfig FILE"),
    "name": (["kubernetes", "--name", "Cilium"], "--name 'Cilium' is not a name"),
    "long name": (["kubernetes", "--name", "a" * 53], "at most 52"),
    "namespace": (["kubernetes", "--namespace", "a.b"], "--namespace 'a.b' is not a name"),
    "claim": (["kubernetes", "--claim", "a..b"], "--claim 'a..b' is not a name"),
    "size": (["kubernetes", "--volume-size", "10GB"], "'10GB' is not a quantity"),
    "half a byte": (["kubernetes", "--memory", "512m"], "less than a megabyte"),
    "nothing": (["kubernetes", "--cpu", "0"], "'0' is not a quantity"),
    "image": (["kubernetes", "--image", "a b"], "--image 'a b' is not an image"),
    "secret": (["kubernetes", "--secret", "a b"], "--secret 'a b' is not a name"),
    "key": (["kubernetes", "--secret", "a:tokn"], "did you mean token?"),
    "two ways": (["kubernetes", "--secret", "a:token,password"], "cannot both be sent"),
    "mount": (["kubernetes", "--output", "/tmp/x"], "is taken in the container"),
    "over the program": (["kubernetes", "--output", "/opt"], "is taken in the container"),
    "context": (["kubernetes", "--kubernetes", "prod"], "a pod has no kubeconfig"),
    "nobody to notify": (
        ["cron", "--notify-on", "info"],
        "need a service to notify: add --notify file:",
    ),
    "no reader": (
        ["systemd", "--link", "https://a"],
        "need a service to notify: add --notify file:/PATH",
    ),
    "no key": (["kubernetes", "--link", "https://a"], "add the key notify to --secret"),
    "another key": (
        ["kubernetes", "--secret", "a:token", "--notify-on", "info"],
        "add the key notify to --secret",
    ),
    "a variable": (
        ["cron", "--notify", "env:CILIUM_ANALYSIS_X"],
        "get nothing from your environment",
    ),
    "units' variable": (
        ["systemd", "--notify", "env:hunter2"],
        "get nothing from your environment",
    ),
    "an address": (["cron", "--notify", "slack://hunter2"], "does not hold an address"),
    "a file of none": (["cron", "--notify", "file:json://hunter2@h"], "does not hold an address"),
    "a relative file": (["systemd", "--notify", "file:on-call"], "its absolute path"),
    "an odd list": (["cron", "--notify", "file:/on call"], "--notify '/on call' is not a path"),
    "two lists": (
        ["systemd", "--notify", "file:/a", "--notify", "file:/b"],
        "notify is named twice",
    ),
    "a pod's file": (["kubernetes", "--notify", "file:/hunter2"], "give --secret NAME:notify"),
    "days of what": (["cron", "--keep", "30"], "'30' has no unit"),
    "nothing kept": (["kubernetes", "--keep", "0d"], "would keep nothing"),
    "hardly anything": (["kubernetes", "--keep", "0.1ms"], "would keep nothing"),
    "a bad link": (["systemd", "--link", "https://ann:hunter2@a"], "a link begins with"),
    "severity of none": (["cron", "--notify-on", "never"], "invalid choice: 'never'"),
    "other platform's": (["cron", "--namespace", "x"], "unrecognized arguments: --namespace"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_source = arguments and "source" not in message and "--source" not in arguments
    given_source = ["--source", URL] if needs_source and arguments[0] in PLATFORMS else []
    assert main(["schedule", *arguments[:1], *given_source, *arguments[1:]]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert message in err
    assert "hunter2" not in err


# When


@pytest.mark.parametrize(
    ("every", "cron"),
    [
        ("1m", "* * * * *"),
        ("15m", "*/15 * * * *"),
        ("1h", "5 * * * *"),
        ("60m", "5 * * * *"),
        ("6h", "5 */6 * * *"),
        ("1d", "5 0 * * *"),
        ("1w", "5 0 * * 1"),
    ],
)
def test_intervals_as_cron_expressions(every: str, cron: str) -> None:
    assert Timing.every(every).cron == cron


@pytest.mark.parametrize(
    ("cron", "calendars"),
    [
        ("5 * * * *", ["*-*-* *:05:00 UTC"]),
        ("*/20 8-10 * * *", ["*-*-* 08,09,10:00,20,40:00 UTC"]),
        ("0 0 1 jan,7 *", ["*-01,07-01 00:00:00 UTC"]),
        ("0 0 * * mon-fri", ["Mon,Tue,Wed,Thu,Fri *-*-* 00:00:00 UTC"]),
        ("0 0 13 * 5", ["*-*-13 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC"]),
    ],
)
def test_cron_expressions_as_calendars(cron: str, calendars: list[str]) -> None:
    assert list(Timing(cron).calendars("UTC")) == calendars


def named(field: str, value: int, first: int) -> bool:
    """Say whether a place of a cron expression, without names, has a value."""
    for item in field.split(","):
        span, _, step = item.partition("/")
        low, _, high = span.partition("-")
        lowest, highest = (first, 99) if span == "*" else (int(low), int(high or low))
        if lowest <= value <= highest and (value - lowest) % int(step or 1) == 0:
            return True
    return False


def due(cron: str, moment: datetime) -> bool:
    """Say whether an expression has a minute, as crontab(5) reads it."""
    minute, hour, date, month, weekday = cron.split()
    days = [named(date, moment.day, 1), named(weekday, moment.isoweekday() % 7, 0)]
    return (
        named(minute, moment.minute, 0)
        and named(hour, moment.hour, 0)
        and named(month, moment.month, 1)
        and (all(days) if "*" in (date, weekday) else any(days))
    )


SYSTEMD = shutil.which("systemd-analyze")
systemd_only = pytest.mark.skipif(SYSTEMD is None, reason="needs systemd-analyze")


def elapses(calendar: str, *, since: datetime, until: datetime, most: int = 1500) -> set[datetime]:
    """Give the times that systemd has for a calendar expression."""
    options = [f"--base-time={since:%Y-%m-%d %H:%M:%S} UTC", f"--iterations={most}"]
    done = subprocess.run(
        [str(SYSTEMD), "calendar", *options, calendar],
        check=True,
        capture_output=True,
        text=True,
        env={"TZ": "UTC", "LC_ALL": "C"},
    )
    found = re.findall(r"(?:elapse|#\d+): \w{3} (\S+ \S+) UTC", done.stdout)
    times = {datetime.fromisoformat(text).replace(tzinfo=UTC) for text in found}
    return {moment for moment in times if moment <= until}


@systemd_only
@pytest.mark.parametrize(
    "cron",
    [
        "5 * * * *",
        "*/25 */7 * * *",
        "3 4 13 * 5",
        "1-9/4 2,5 28-31 3 *",
        "0 12 * 1-3 0,6",
        "0 0 */9 */3 *",
        "0 0 1 4 *",
    ],
)
def test_systemd_and_cron_mean_the_same_minutes(cron: str) -> None:
    since = datetime(2026, 3, 1, tzinfo=UTC) - timedelta(minutes=1)
    minutes = [since + timedelta(minutes=n) for n in range(1, 40 * 24 * 60)]
    found = [
        elapses(calendar, since=since, until=minutes[-1])
        for calendar in Timing(cron).calendars("UTC")
    ]
    expected = {moment for moment in minutes if due(cron, moment)}
    assert expected
    assert set().union(*found) == expected


@systemd_only
def test_calendars_go_by_the_clock_of_a_zone() -> None:
    (calendar,) = Timing("0 9 * * *").calendars("Europe/Berlin")
    since = datetime(2026, 3, 28, tzinfo=UTC)
    found = elapses(calendar, since=since, until=since + timedelta(days=2), most=3)
    assert {moment.hour for moment in found} == {8, 7}


# Cron


def cron_reads(line: str, *, strips: bool, pairs: bool) -> str:
    """Give what a cron hands to the shell.

    Parameters
    ----------
    strips
        Whether it takes the backslash of ``\\%`` away, as cronie and Debian's do; Vixie's leaves
        it.
    pairs
        Whether a backslash escapes the one behind it.
    """
    _, _, _, _, _, command = line.split(" ", 5)
    found, at = "", 0
    while at < len(command):
        char, following = command[at], command[at + 1 : at + 2]
        if char == "%":
            break
        if char == "\\" and (following == "%" or (pairs and following)):
            kept = following if strips and following == "%" else char + following
            found, at = found + kept, at + 2
            continue
        found, at = found + char, at + 1
    return found


STUB = """#!{python}
import json, os, sys
kept = {{k: v for k, v in os.environ.items() if k.startswith(("CILIUM", "KUBE"))}}
with open({seen!r}, "w", encoding="utf-8") as file:
    json.dump([sys.argv[1:], kept], file)
print("Report: made")
sys.exit(int(os.environ.get("STUB_EXIT", "0")))
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A program that writes down how it was called."""
    program = tmp_path / "bin of ann's" / "cilium-analysis"
    program.parent.mkdir()
    program.write_text(STUB.format(python=sys.executable, seen=str(tmp_path / "seen.json")))
    program.chmod(0o755)
    return program


def sh(command: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8"} | variables
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=home, env=environment, capture_output=True, text=True
    )


def called(tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    arguments, environment = json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))
    return arguments, environment


def test_the_line_of_a_crontab(stub: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    text = crontab(
        plan(**FULL, username="ann$ %1", tenant="it's"),
        program=str(stub),
        output="re ports/100%",
        credentials=[
            Credential("password", "/etc/p%w"),
            Credential("ca.crt", "/etc/ca.crt"),
            Credential.addresses("file:/etc/on%call"),
        ],
    )
    *comments, line = text.splitlines()
    assert comments
    assert all(comment.startswith("# ") for comment in comments)
    assert "~/re ports/100%/cron.log" in comments[1]
    assert line.startswith("7 */6 * * mon-fri ")
    done = sh(cron_reads(line, strips=True, pairs=True), home)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert (home / "re ports/100%/cron.log").read_text() == "Report: made\n"
    arguments, environment = called(tmp_path)
    assert_asks_for_it_all(arguments, "re ports/100%")
    assert environment == {
        "CILIUM_ANALYSIS_PASSWORD_FILE": "/etc/p%w",
        "CILIUM_ANALYSIS_CA_FILE": "/etc/ca.crt",
        "CILIUM_ANALYSIS_NOTIFY_FILE": "/etc/on%call",
        "CILIUM_ANALYSIS_USERNAME": "ann$ %1",
        "CILIUM_ANALYSIS_TENANT": "it's",
    }


def test_cron_gets_something_to_send_by_mail_when_a_run_fails(stub: Path, tmp_path: Path) -> None:
    text = crontab(plan(), program=str(stub), output="out")
    done = sh(cron_reads(text.splitlines()[-1], strips=True, pairs=True), tmp_path, STUB_EXIT="20")
    code = "20 (75: the last one still runs)"
    assert done.stdout == f"cilium-analysis ended with {code} on {URL} (see ./out/cron.log)\n"


WAITING = """#!{python}
import pathlib, time
pathlib.Path({began!r}).touch()
until = time.monotonic() + 20
while not pathlib.Path({enough!r}).exists() and time.monotonic() < until:
    time.sleep(0.02)
"""


@dataclass
class Running:
    """What a crontab has started, and has not ended yet."""

    command: str
    program: Path
    process: subprocess.Popen[bytes]
    enough: Path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    began, enough, program = (tmp_path / name for name in ("began", "enough", "waits"))
    text = WAITING.format(python=sys.executable, began=str(began), enough=str(enough))
    program.write_text(text)
    program.chmod(0o755)
    command = command_of_cron(crontab(plan(), program=str(program), output="out"))
    with subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=tmp_path, start_new_session=True
    ) as first:
        until(began.exists)
        yield Running(command, program, first, enough)
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)


def command_of_cron(text: str) -> str:
    return cron_reads(text.splitlines()[-1], strips=True, pairs=True)


flock_only = pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")


@flock_only
def test_a_run_that_is_due_while_the_last_one_goes_on_is_left_out_and_told(
    running: Running, tmp_path: Path
) -> None:
    done = sh(running.command, tmp_path)
    assert (done.stdout.split(" on ")[0], done.stderr) == (
        "cilium-analysis ended with 75 (75: the last one still runs)",
        "",
    )


@flock_only
@pytest.mark.parametrize("other", [{"source": "http://other:9090"}, {"match": 'cluster="eu"'}])
def test_schedules_that_share_a_directory_do_not_wait_for_each_other(
    other: dict[str, str], running: Running, stub: Path, tmp_path: Path
) -> None:
    text = crontab(plan(**other), program=str(stub), output="out")
    assert sh(command_of_cron(text), tmp_path).stdout == ""
    assert called(tmp_path)[0][0] == "report"


@flock_only
@pytest.mark.parametrize("ending", ["by itself", "killed"])
def test_the_next_run_begins_once_the_last_one_has_ended(
    ending: str, running: Running, stub: Path, tmp_path: Path
) -> None:
    again = running.command.replace(str(running.program), shlex.quote(str(stub)))
    assert sh(again, tmp_path).stdout != ""
    if ending == "killed":
        os.killpg(running.process.pid, signal.SIGKILL)
    else:
        running.enough.touch()
    until(lambda: sh(again, tmp_path).stdout == "")
    assert called(tmp_path)[0][0] == "report"


def test_without_flock_a_report_is_made_all_the_same(stub: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mkdir").symlink_to(str(shutil.which("mkdir")))
    command = command_of_cron(crontab(plan(), program=str(stub), output="out"))
    done = sh(command, tmp_path, PATH=str(tools))
    assert (done.stdout, done.stderr) == ("", "")
    assert called(tmp_path)[0][0] == "report"


def survives_cron(match: str, stub: Path, home: Path) -> None:
    text = crontab(plan(match=match), program=str(stub), output="out")
    *comments, line = text.splitlines()
    assert len(comments) == 3
    commands = {cron_reads(line, strips=s, pairs=p) for s in (True, False) for p in (True, False)}
    for command in commands:
        assert sh(command, home).stderr == ""
        assert parsed(called(home)[0])["match"] == match


def test_a_line_that_quotes_for_the_shell_alone_would_not_survive() -> None:
    line = f"* * * * * echo {shlex.quote('100 %')}"
    assert cron_reads(line, strips=True, pairs=True) == "echo '100 "


# systemd


def settings_of(text: str) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Read unit files by systemd.syntax(7): file, section, setting, all its values."""
    files: dict[str, dict[str, dict[str, list[str]]]] = {}
    section: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if named := re.fullmatch(r"# /etc/systemd/system/(\S+)", line):
            files[named[1]] = {}
        elif opened := re.fullmatch(r"\[(\w+)\]", line):
            section = next(reversed(files.values())).setdefault(opened[1], {})
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section.setdefault(name, []).append(value)
    return files


def unquoted(value: str) -> list[str]:
    """Split a value into words by systemd.syntax(7), "Quoting", and expand ``%%``."""
    words: list[str] = []
    word: str | None = None
    mark, at = "", 0
    while at < len(value):
        char = value[at]
        if char == "\\":
            assert value[at + 1] in "\\\"'", value
            word, at = (word or "") + value[at + 1], at + 2
            continue
        if mark:
            word, mark = (word or "", "") if char == mark else ((word or "") + char, mark)
        elif char in "\"'" and word is None:
            word, mark = "", char
        elif char == " ":
            words += [word] if word is not None else []
            word = None
        else:
            assert char not in "\"';", value
            word = (word or "") + char
        at += 1
    assert not mark, value
    words += [word] if word is not None else []
    for text in words:
        assert not re.search("%[^%dC]", text.replace("%%", "")), text
    return [text.replace("%%", "%") for text in words]


def command_of(service: dict[str, list[str]]) -> list[str]:
    """Give the words of ExecStart, variables expanded as systemd.service(5) says."""
    (value,) = service["ExecStart"]
    program, *arguments = unquoted(value)
    for word in arguments:
        assert "$" not in word.replace("$$", ""), word
    return [program, *(word.replace("$$", "$") for word in arguments)]


def service_of(text: str) -> dict[str, list[str]]:
    (service,) = [found for name, found in settings_of(text).items() if name.endswith(".service")]
    return service["Service"]


def test_metrics_go_where_a_collector_of_this_machine_reads_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = "/var/lib/node_exporter/textfile_collector/cilium.prom"
    given = ["--source", URL, "--textfile", file]
    line = command_of_cron(printed(capsys, "cron", *given))
    assert f"--textfile={file}" in line
    service = service_of(printed(capsys, "systemd", *given, "--user", "reports"))
    assert service["ReadWritePaths"] == [str(Path(file).parent)]
    assert f"--textfile={file}" in service["ExecStart"][0]
    assert main(["schedule", "systemd", *given]) == 0
    assert "usually cannot write to /var/lib/node_exporter/textfile" in capsys.readouterr().err
    for wrong in ("cilium.prom", "/var/lib/metrics.txt", "/var/lib/a b.prom"):
        assert main(["schedule", "cron", "--source", URL, "--textfile", wrong]) == 2
        assert "--textfile" in capsys.readouterr().err
    assert main(["schedule", "cron", "--fleet", "fleet.yaml", "--textfile", file]) == 2
    assert "for one server" in capsys.readouterr().err
    assert main(["schedule", "kubernetes", *given]) == 2


@pytest.mark.parametrize("platform", PLATFORMS)
def test_findings_go_to_a_grafana_with_a_token_of_its_own(
    platform: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "grafana:https://grafana.example.org/g"
    given = ["--source", URL, "--grafana", where[8:], "--annotate", where, "--notify-on", "warning"]
    token = (
        ["--secret", "guarded:grafana-token"]
        if platform == "kubernetes"
        else ["--credential", "grafana-token=/etc/grafana-token"]
    )
    text = printed(capsys, platform, *given, *token)
    for words in (f"--annotate={where}", f"--grafana={where[8:]}", "GRAFANA_TOKEN_FILE"):
        assert words in text
    for wrong, said in (
        (given, "go together"),
        (["--source", URL, *token], "go together"),
        ([*given, *token, "--annotate", "grafana:https://u:p@g"], "not the address"),
    ):
        assert main(["schedule", platform, *wrong]) == 2
        assert said in capsys.readouterr().err


def test_the_units() -> None:
    service = Service(
        name="nightly",
        program="/opt/my tools/100%/cilium-analysis",
        credentials=(
            Credential("password", "/etc/p%w"),
            Credential("ca.crt", "/etc/ca.crt"),
            Credential.addresses("file:/etc/on%call"),
        ),
    )
    text = units(plan(**FULL, username="ann$ %1", tenant='it\'s "us"'), service)
    found = settings_of(text)
    assert list(found) == ["nightly.service", "nightly.timer"]
    body = found["nightly.service"]["Service"]
    program, *arguments = command_of(body)
    assert program == service.program
    assert_asks_for_it_all(arguments, "/var/lib/nightly")
    assert body["Type"] == ["oneshot"]
    assert body["DynamicUser"] == ["yes"]
    assert body["StateDirectory"] == ["nightly"]
    assert body["NoNewPrivileges"] == ["yes"]
    assert body["ProtectSystem"] == ["strict"]
    assert body["LoadCredential"] == [
        "password:/etc/p%%w",
        "ca.crt:/etc/ca.crt",
        "notify:/etc/on%%call",
    ]
    assert [word for value in body["Environment"] for word in unquoted(value)] == [
        "HOME=%C/nightly",
        "MPLCONFIGDIR=%C/nightly/matplotlib",
        "CILIUM_ANALYSIS_PASSWORD_FILE=%d/password",
        "CILIUM_ANALYSIS_CA_FILE=%d/ca.crt",
        "CILIUM_ANALYSIS_NOTIFY_FILE=%d/notify",
        "CILIUM_ANALYSIS_USERNAME=ann$ %1",
        'CILIUM_ANALYSIS_TENANT=it\'s "us"',
    ]
    timer = found["nightly.timer"]
    assert timer["Timer"]["OnCalendar"] == [
        "Mon,Tue,Wed,Thu,Fri *-*-* 00,06,12,18:07:00 Europe/Berlin"
    ]
    assert timer["Install"]["WantedBy"] == ["timers.target"]


def test_reports_may_belong_to_somebody() -> None:
    body = service_of(units(plan(), Service(program=PROGRAM, user="ann", output="/var/lib/a/b/")))
    assert body["User"] == ["ann"]
    assert "DynamicUser" not in body
    assert body["StateDirectory"] == ["a/b"]
    assert "--output=/var/lib/a/b" in command_of(body)


def test_a_kubeconfig_is_handed_over_by_systemd(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--kubernetes", "prod", "--kubeconfig", "/root/.kube/config"]
    body = service_of(printed(capsys, "systemd", "--source", URL, *options))
    assert body["LoadCredential"] == ["kubeconfig:/root/.kube/config"]
    assert "KUBECONFIG=%d/kubeconfig" in body["Environment"]
    assert parsed(command_of(body)[1:])["kubernetes"] == "prod"


def test_a_program_in_a_home_can_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["schedule", "systemd", "--source", URL, "--keep", "30d", "--program"]
    assert main([*command, "/home/ann/.venv/bin/cilium-analysis"]) == 0
    out, err = capsys.readouterr()
    assert service_of(out)["ProtectHome"] == ["read-only"]
    assert "is in a home" in err
    assert main([*command, PROGRAM]) == 0
    out, err = capsys.readouterr()
    assert service_of(out)["ProtectHome"] == ["yes"]
    assert err == ""


def survives_systemd(match: str, _stub: Path, _home: Path) -> None:
    text = units(plan(match=match), Service(program=PROGRAM))
    assert parsed(command_of(service_of(text))[1:])["match"] == match


@systemd_only
@pytest.mark.parametrize("match", HOSTILE)
def test_systemd_finds_nothing_to_complain_about(match: str, stub: Path, tmp_path: Path) -> None:
    service = Service(
        program=str(stub).replace("'", "").replace("bin of anns", "b in"),
        credentials=(Credential("password", "/etc/p%w"), Credential("notify", "/etc/on%call")),
        output="/var/lib/a/b",
    )
    Path(service.program).parent.mkdir()
    shutil.copy(stub, service.program)
    text = units(plan(**FULL | {"match": match}, username="a$ %1"), service)
    assert verified(text, tmp_path) == ""
    assert "Unknown key" in verified(text.replace("ProtectClock=", "ProtectClok="), tmp_path)


def verified(text: str, directory: Path) -> str:
    """Give what systemd-analyze says about units."""
    files = re.split(r"^# /etc/systemd/system/(\S+)\n", text, flags=re.MULTILINE)[1:]
    paths = []
    for name, content in zip(files[::2], files[1::2], strict=True):
        (directory / name).write_text(content, encoding="utf-8")
        paths.append(str(directory / name))
    done = subprocess.run([str(SYSTEMD), "verify", *paths], capture_output=True, text=True)
    said = done.stdout + done.stderr
    # What the other units of a machine are like is not the question.
    return "\n".join(line for line in said.splitlines() if str(directory) in line)


# Kubernetes


def objects(text: str) -> dict[str, dict[str, Any]]:
    return {found["kind"]: found for found in yaml.safe_load_all(text) if found}


def pod_of(text: str) -> dict[str, Any]:
    pod: dict[str, Any] = objects(text)["CronJob"]["spec"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]
    return pod


def container_of(text: str) -> dict[str, Any]:
    (container,) = pod_of(text)["containers"]
    assert isinstance(container, dict)
    return container


def expanded(text: str, mapping: Callable[[str], str] = lambda _: "EXPANDED") -> str:
    """Expand ``$(NAME)`` as Kubernetes does (third_party/forked/golang/expansion/expand.go)."""
    found, at = "", 0
    while at < len(text):
        rest = text[at + 1 :]
        if text[at] != "$" or not rest:
            found, at = found + text[at], at + 1
        elif rest[0] == "(" and ")" in rest:
            name = rest[1 : rest.index(")")]
            found, at = found + mapping(name), at + len(name) + 3
        else:
            found, at = found + ("$" if rest[0] == "$" else f"${rest[0]}"), at + 2
    return found


def arguments_of(text: str) -> list[str]:
    container = container_of(text)
    assert container["command"] == ["cilium-analysis"]
    return [expanded(word) for word in container["args"]]


SECRET = Secret.parse("prometheus:username,password,ca.crt,tls.crt,tls.key,notify")
JOBS = {
    "plain": (plan(), CronJob()),
    "full": (plan(**FULL, tenant="it's $(HOME)"), CronJob(secret=SECRET, name="a-b", cpu="300m")),
    "in cluster": (plan(kubernetes="in-cluster"), CronJob(claim="mine", namespace="1e3")),
    "store": (plan(), CronJob(output="s3://team/reports", service_account="reports")),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", JOBS)
def test_manifests_are_valid(case: str, version: str) -> None:
    for found in objects(manifests(*JOBS[case])).values():
        kubernetes_validate.validate(found, version, strict=True)


def test_a_broken_manifest_is_not() -> None:
    good = objects(manifests(*JOBS["plain"]))["CronJob"]
    broken = deepcopy(good)
    broken["spec"]["concurrencyPolice"] = broken["spec"].pop("concurrencyPolicy")
    with pytest.raises(kubernetes_validate.ValidationError, match="concurrencyPolice"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)
    broken = deepcopy(good)
    broken["spec"]["jobTemplate"]["spec"]["backoffLimit"] = "2"
    with pytest.raises(kubernetes_validate.ValidationError, match="integer"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_the_cron_job() -> None:
    text = manifests(*JOBS["full"])
    spec = objects(text)["CronJob"]["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("7 */6 * * mon-fri", "Europe/Berlin")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert_asks_for_it_all(arguments_of(text), "/reports")
    assert container_of(text)["resources"] == {
        "requests": {"cpu": "150m", "memory": "2Gi"},
        "limits": {"cpu": "300m", "memory": "2Gi"},
    }


def test_the_pod_may_do_little() -> None:
    pod = pod_of(manifests(*JOBS["full"]))
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_everything_that_is_mounted_is_there_and_home_can_be_written() -> None:
    for case in JOBS.values():
        pod = pod_of(manifests(*case))
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} == set(volumes)
        written = {entry["name"]: entry.get("value", "") for entry in container["env"]}
        assert "emptyDir" in volumes[mounts[written["HOME"]]["name"]]
        assert written["MPLCONFIGDIR"].startswith(written["HOME"])
        assert "emptyDir" in volumes[mounts["/tmp"]["name"]]
        if case != JOBS["store"]:
            assert "persistentVolumeClaim" in volumes[mounts["/reports"]["name"]]


def test_credentials_are_named_by_their_keys() -> None:
    text = manifests(*JOBS["full"])
    environment = {entry["name"]: entry for entry in container_of(text)["env"]}
    for name, key in {
        "PASSWORD_FILE": "password",
        "CA_FILE": "ca.crt",
        "CLIENT_KEY": "tls.key",
        "NOTIFY_FILE": "notify",
    }.items():
        value = environment[f"CILIUM_ANALYSIS_{name}"]["value"]
        assert value == f"/etc/cilium-analysis/secrets/{key}"
    reference = {"secretKeyRef": {"name": "prometheus", "key": "username"}}
    assert environment["CILIUM_ANALYSIS_USERNAME"]["valueFrom"] == reference
    assert expanded(environment["CILIUM_ANALYSIS_TENANT"]["value"]) == "it's $(HOME)"
    (secret,) = [volume["secret"] for volume in pod_of(text)["volumes"] if "secret" in volume]
    assert secret["secretName"] == "prometheus"
    keys = ["password", "ca.crt", "tls.crt", "tls.key", "notify"]
    assert [item["key"] for item in secret["items"]] == keys
    assert Secret.parse("one").keys == ("token",)


def test_the_api_is_only_read_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(objects(manifests(*JOBS["plain"]))) == {
        "ServiceAccount",
        "PersistentVolumeClaim",
        "CronJob",
    }
    text = printed(capsys, "kubernetes", "--source", URL, "--kubernetes", "in-cluster")
    found = objects(text)
    assert pod_of(text)["automountServiceAccountToken"] is True
    rules = found["ClusterRole"]["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} <= {"get", "list"}
    binding = found["ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == found["ClusterRole"]["metadata"]["name"]
    (subject,) = binding["subjects"]
    meta = found["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (meta["name"], meta["namespace"])
    assert parsed(arguments_of(text))["kubernetes"] == "in-cluster"


def test_reports_in_an_object_store_need_no_volume() -> None:
    text = manifests(*JOBS["store"])
    assert "PersistentVolumeClaim" not in objects(text)
    assert all("emptyDir" in volume for volume in pod_of(text)["volumes"])
    assert parsed(arguments_of(text))["output"] == "s3://team/reports"
    assert pod_of(text)["serviceAccountName"] == "reports"


def test_a_claim_that_is_there_is_not_made() -> None:
    text = manifests(*JOBS["in cluster"])
    assert "PersistentVolumeClaim" not in objects(text)
    (reports,) = [volume for volume in pod_of(text)["volumes"] if volume["name"] == "reports"]
    assert reports["persistentVolumeClaim"] == {"claimName": "mine"}


def test_other_readers_of_yaml_take_no_name_for_a_number() -> None:
    assert "namespace: '1e3'" in manifests(*JOBS["in cluster"])


def survives_kubernetes(match: str, _stub: Path, _home: Path) -> None:
    text = manifests(plan(match=match), CronJob())
    assert parsed(arguments_of(text))["match"] == match


@quick
@given(text=st.text(max_size=30))
def test_a_plan_takes_any_text_or_refuses_it(text: str) -> None:
    """No text that is taken can begin a line of its own."""
    assume(text)
    match = str(Matcher("pod", "=", text))
    assert parse_matchers(match)[0].value == text
    try:
        asked = plan(match=match, tenant=text)
    except ParameterError:
        return
    assert len(units(asked, Service(program=PROGRAM)).splitlines()) == len(
        units(
            plan(match="a='b'".replace("'", '"'), tenant="x"), Service(program=PROGRAM)
        ).splitlines()
    )


# The image


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def test_the_image_runs_as_nobody_in_particular() -> None:
    found = instructions()
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    final = dict(found[last:])
    user, _, group = final["USER"].partition(":")
    pod = pod_of(manifests(*JOBS["plain"]))["securityContext"]
    assert (int(user), int(group)) == (pod["runAsUser"], pod["runAsGroup"])
    assert int(user) > 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert json.loads(final["ENTRYPOINT"]) == [*project["scripts"]]
    assert all(re.fullmatch(r"python:3\.\d+-slim( AS build)?", v) for k, v in found if k == "FROM")


def test_the_image_installs_what_the_project_names(tmp_path: Path) -> None:
    """From the files that it copies, and no others, the wheel gets all that it has."""
    # What it installs beside the wheel is in locks/image.txt; see test_locks.py.
    for name, text in instructions():
        if name == "COPY" and not text.startswith("--from"):
            copy(text.split(), tmp_path)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "w")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "w").glob("*.whl")
    assert __version__ in wheel.name
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "cilium_analysis/_notebooks/incident.ipynb" in names
    assert "cilium_analysis/_sample/manifest.json" in names
    assert "cilium_analysis/cluster_role.yaml" in names


def copy(words: list[str], target: Path) -> None:
    *sources, place = words
    for source in sources:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, target / place, ignore=ignored)
        else:
            (target / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target / place)


def test_the_image_may_copy_what_is_not_ignored() -> None:
    kept = {
        line[1:]
        for line in (ROOT / ".containerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        word
        for name, text in instructions()
        if name == "COPY" and not text.startswith("--from")
        for word in text.split()[:-1]
    }
    # Each of the two recipes takes its own lock file.
    assert kept == {"locks" if word.startswith("locks/") else word for word in copied}


# Whatever is matched, on every platform

Survives = Callable[[str, Path, Path], None]
everywhere = pytest.mark.parametrize(
    "survives", [survives_cron, survives_systemd, survives_kubernetes]
)


@everywhere
@pytest.mark.parametrize("match", HOSTILE)
def test_hostile_matchers_survive(
    survives: Survives, match: str, stub: Path, tmp_path: Path
) -> None:
    survives(match, stub, tmp_path)


@pytest.mark.slow
@everywhere
@quick
@given(match=matches)
def test_any_matcher_survives(survives: Survives, match: str, stub: Path, tmp_path: Path) -> None:
    survives(match, stub, tmp_path)
