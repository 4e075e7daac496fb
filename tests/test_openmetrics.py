"""``findings.prom``: metrics of a run, read by Prometheus' own checker and its client's parser."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cilium_analysis.cli import main
from cilium_analysis.errors import ParameterError
from cilium_analysis.findings import Finding, Findings, Severity, Unknown
from cilium_analysis.report import openmetrics
from cilium_analysis.source import window_as_json
from cilium_analysis.storage.runs import RUN_SCHEMA
from cilium_analysis.window import Window
from tests.conftest import installed_or_skip
from tests.servers.process import free_port
from tests.servers.prometheus import NotInstalled, find
from tests.test_report import WINDOW

PREFIX = "cilium_analysis_"
SAMPLE = ["--source", "sample", "--start", "2026-03-21 08:00", "--end", "2026-03-21 10:00"]


def finding(**changes: Any) -> Finding:
    made = Finding(
        kind="drop_spike",
        severity=Severity.CRITICAL,
        title="Drops “Policy denied”",
        start=WINDOW.start,
        end=WINDOW.end,
        value=34.25,
        baseline_value=0.5,
        unit="packets/s",
        query="up",
        next_step="",
        labels={"reason": "Policy denied", "node": "worker-2"},
        topic="drop_reasons",
    )
    return replace(made, **changes)


def run(window: Window = WINDOW, **changes: Any) -> dict[str, Any]:
    return {
        "name": "20260321T080000Z-20260321T100000Z-abcdef",
        "status": "complete",
        "cluster": "prod-eu",
        "source": "http://prometheus:9090",
        "window": window_as_json(window),
        "began": "2026-03-21T10:00:05Z",
        "seconds": 12.5,
        "verdict": "critical",
        "versions": {"cilium-analysis": "0.1.0"},
    } | changes


def document(*items: Finding, unknown: tuple[Unknown, ...] = ()) -> dict[str, Any]:
    found = Findings("http://prometheus:9090", WINDOW, None, items, ranked=True, unknown=unknown)
    made: dict[str, Any] = json.loads(json.dumps(found.as_json()))
    return made


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples, by name and labels; the parser fails on what Prometheus would refuse."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            assert sample.timestamp is None
            key = sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())
            assert key not in found, "a collector refuses a series that is there twice"
            found[key] = sample.value
    return found


def values(text: str, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(dict(given).get(label, "") for label in labels): value
        for (metric, given), value in read(text).items()
        if metric == name
    }


def check(text: str) -> None:
    try:
        tool = find("prometheus-2", "promtool")
    except NotInstalled as error:
        installed_or_skip(error)
    done = subprocess.run(
        [str(tool), "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# What it says


def test_each_finding_has_its_value_its_times_and_labels_that_stay() -> None:
    text = openmetrics.render(run(), document(finding()), called_report="nightly")
    check(text)
    own = {"cluster": "prod-eu", "report": "nightly"}
    which = own | {"kind": "drop_spike", "severity": "critical", "topic": "drop_reasons"}
    which |= {"id": finding().key(), "node": "worker-2"}
    found = read(text)
    levels = which | {"unit": "packets/s", "trust": "good"}
    assert found["finding", frozenset(levels.items())] == 34.25
    assert found["finding_baseline", frozenset(which.items())] == 0.5
    for name, moment in {"start": WINDOW.start, "end": WINDOW.end}.items():
        stamp = found[f"finding_{name}_timestamp_seconds", frozenset(which.items())]
        assert stamp == moment.timestamp()
    info = own | {"id": finding().key(), "title": "Drops “Policy denied”"}
    info |= {"where": "node=worker-2, reason=Policy denied"}
    assert found["finding_info", frozenset(info.items())] == 1
    assert values(text, "findings", "severity") == {
        ("critical",): 1,
        ("warning",): 0,
        ("info",): 0,
    }
    began = datetime(2026, 3, 21, 10, 0, 5, tzinfo=UTC).timestamp()
    assert values(text, "run_timestamp_seconds") == {(): began}
    assert values(text, "run_failed") == values(text, "run_unknown") == {(): 0}


def test_the_next_run_has_the_same_series_though_numbers_and_times_differ() -> None:
    later = WINDOW.start + timedelta(minutes=7)
    another = finding(title="Drops: 12 packets/s", start=later, value=12.0, baseline_value=1.0)
    now, then = (
        {key for key in read(openmetrics.render(run(), document(one))) if "info" not in key[0]}
        for one in (finding(), another)
    )
    assert now == then


def test_a_level_that_is_unknown_is_no_number_and_an_infinite_one_is_written() -> None:
    two = finding(value=math.nan, labels={}), finding(baseline_value=math.inf)
    text = openmetrics.render(run(), document(*two))
    check(text)
    assert math.isnan(values(text, "finding", "node")["",])


def test_an_unknown_run_does_not_say_that_there_are_none() -> None:
    unknown = Unknown("drop_reasons", ("nothing was scraped",))
    text = openmetrics.render(
        run(verdict="unknown"), document(finding(severity=Severity.INFO), unknown=(unknown,))
    )
    check(text)
    counts = values(text, "findings", "severity")
    assert math.isnan(counts["critical",])
    assert math.isnan(counts["warning",])
    assert counts["info",] == 1
    assert values(text, "run_unknown") == {(): 1}
    assert values(text, "topic_unknown", "topic") == {("drop_reasons",): 1}


def test_a_failed_run_says_so_with_what_is_known() -> None:
    for found in (None, document(finding())):
        text = openmetrics.render(run(status="failed"), found)
        check(text)
        assert values(text, "run_failed") == {(): 1}
        assert values(text, "run_unknown") == {(): float(found is None)}
        assert math.isnan(values(text, "findings", "severity")["warning",])
    text = openmetrics.render_failure(
        source="http://p:9090", began=datetime.now(UTC), called_report="nightly"
    )
    check(text)
    assert values(text, "run_failed", "cluster", "report") == {("http://p:9090", "nightly"): 1}
    assert values(text, "findings") == {}


def test_the_number_of_series_is_bounded_and_what_is_left_out_is_told() -> None:
    many = [finding(labels={"node": f"worker-{n}"}) for n in range(openmetrics.MOST + 23)]
    text = openmetrics.render(run(), document(*many))
    check(text)
    shown = values(text, "finding", "node")
    assert list(shown) == [(f"worker-{n}",) for n in range(openmetrics.MOST)]
    assert values(text, "findings_left_out") == {(): 23}
    assert values(text, "findings", "severity")["critical",] == openmetrics.MOST + 23


def test_findings_of_one_place_are_series_of_their_own() -> None:
    twice = finding(), finding(start=WINDOW.start + timedelta(minutes=9))
    assert len(values(openmetrics.render(run(), document(*twice)), "finding", "id")) == 2


# What is hostile


HOSTILE = (
    'a"} 1\nup{x="',
    "back\\slash \\n \\",
    "# HELP up\n# TYPE up counter\nup 7",
    "\ud800 half a pair",
    "\x00\x1b[31m\u202e\r\n",
    "x" * 10_000,
    "東京 🐝",
    "",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_of_a_cluster_breaks_out_of_its_label(text: str) -> None:
    found = document(finding())
    found["findings"][0] |= {"title": text, "unit": text, "labels": {"node": text, "a": text}}
    written = openmetrics.render(run(cluster=text, source=text or "s"), found, called_report="r")
    check(written)
    for name, labels in read(written):
        assert not name.startswith("up")
        for _, value in labels:
            assert len(value) <= openmetrics.LONGEST
            assert value.isprintable()


@given(st.lists(st.text(st.characters(), max_size=30), min_size=4, max_size=4))
def test_any_text_is_read_back(texts: list[str]) -> None:
    title, node, cluster, unit = texts
    found = document(finding(title=title, labels={"node": node}, unit=unit))
    written = openmetrics.render(run(cluster=cluster), found)
    assert written.encode()
    names = {name for name, _ in read(written)}
    assert {"finding", "finding_info", "run_info"} <= names


# Where it is put


def files(directory: Path) -> Iterable[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_report_puts_it_beside_findings_json_and_where_the_collector_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "collector"
    place.mkdir()
    (place / "nightly.prom").write_text("stale 1\n")
    before = os.umask(0o077)
    try:
        code = main(["report", "drop_reasons", *SAMPLE, "--textfile", str(place / "nightly.prom")])
    finally:
        os.umask(before)
    assert code == 0
    assert files(place) == ["nightly.prom"]
    assert (place / "nightly.prom").stat().st_mode & 0o777 == 0o644
    (made,) = Path("reports").glob("*/findings.prom")
    found = json.loads((made.parent / "findings.json").read_text())
    for text, name in (
        (made.read_text(), ""),
        ((place / "nightly.prom").read_text(), "nightly"),
    ):
        check(text)
        told = values(text, "finding", "id", "severity", "unit", "report")
        assert told == {
            (row["id"], row["severity"], row["unit"], name): row["value"]
            for row in found["findings"]
        }
        assert told
        (report,) = {key[0] for key in values(text, "run_info", "run")}
        assert report == made.parent.name


@pytest.mark.parametrize(
    ("begin", "code"), [("http://user:s3cr3t@", 1), ("user:s3cr3t@", 2), ("s3cr3t/?s3cr3t@", 2)]
)
def test_a_run_that_cannot_be_made_takes_the_place_of_the_last_findings(
    begin: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "nightly.prom"
    file.write_text(openmetrics.render(run(), document(finding()), called_report="nightly"))
    url = f"{begin}127.0.0.1:{free_port()}?token=s3cr3t"
    given = ["--source", url, "--timeout", "1s", "--textfile", str(file)]
    assert main(["report", "drop_reasons", *given]) == code
    text = file.read_text()
    check(text)
    assert "s3cr3t" not in text
    # What could not be opened has no name: that of the last run stays.
    assert ("127.0.0.1" if code == 1 else 'cluster="prod-eu"') in text
    assert values(text, "run_failed", "report") == {("nightly",): 1}
    assert values(text, "finding") == {}
    assert files(tmp_path)[0] == "nightly.prom"
    file.unlink()
    assert main(["report", "drop_reasons", *given]) == code
    assert "127.0.0.1" in file.read_text()
    assert "s3cr3t" not in file.read_text()


@pytest.mark.parametrize("cluster", ["prod-eu", 'a "b" \\n c', "kubernetes:m/p:9090?context=x"])
def test_a_failure_keeps_the_cluster_of_the_file(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "nightly.prom"
    file.write_text(openmetrics.render(run(cluster=cluster), document(), called_report="nightly"))
    for source in (["--source", "kubernetes:?context=nowhere"], ["--resume", "gone"]):
        assert main(["report", *source, "--textfile", str(file)]) != 0
        text = file.read_text()
        check(text)
        assert values(text, "run_failed", "cluster") == {(cluster,): 1}


def test_a_failure_is_never_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "nightly.prom"
    (tmp_path / "here").mkdir()
    parameters = {"timezone": "UTC", "match": ""}
    summary = run(schema=RUN_SCHEMA, topics=[], findings={}, parameters=parameters)
    (tmp_path / "here" / "run.json").write_text(json.dumps(summary))
    for about, cluster in (
        (["--resume", "gone"], "unknown"),
        (["--source", "nowhere"], "nowhere"),
        (["--resume", "here"], "prod-eu"),
    ):
        file.unlink(missing_ok=True)
        assert main(["report", *about, "--textfile", str(file)]) != 0
        assert values(file.read_text(), "run_failed", "cluster") == {(cluster,): 1}


def test_what_is_no_file_of_ours_has_no_cluster(tmp_path: Path) -> None:
    for content in (b"", b"\xff", b'up{cluster="a"} 1\n', b'cilium_analysis_x{cluster="a'):
        (tmp_path / "a.prom").write_bytes(content)
        assert openmetrics.cluster_in(tmp_path / "a.prom") == ""
    assert openmetrics.cluster_in(tmp_path / "none.prom") == ""


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("nightly.txt", "reads FILE.prom only"),
        ("nowhere/nightly.prom", "there is no directory"),
        ("a\nb.prom", "reads FILE.prom only"),
    ],
)
def test_a_place_that_no_collector_reads_is_told_before_anything_is_asked(
    file: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *SAMPLE, "--textfile", str(tmp_path / file)]) == 2
    assert said in capsys.readouterr().err
    assert files(tmp_path) == []


def test_a_place_that_is_lost_fails_the_run_which_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "collector"
    place.mkdir()
    checked = openmetrics.check_place

    def lost(path: Path) -> None:
        checked(path)
        shutil.rmtree(place)

    monkeypatch.setattr(openmetrics, "check_place", lost)
    assert main(["report", "drop_reasons", *SAMPLE, "--textfile", str(place / "a.prom")]) == 1
    said = capsys.readouterr()
    assert "cannot write" in said.err
    assert "Report: " in said.out


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "a.prom").mkdir()  # which no file can replace
    with pytest.raises(Exception, match="cannot write"):
        openmetrics.place(tmp_path / "a.prom", "x 1\n")
    assert files(tmp_path) == ["a.prom"]
    with pytest.raises(ParameterError, match="reads FILE"):
        openmetrics.check_place(tmp_path / "findings.json")
