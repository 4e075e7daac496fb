"""The JSON Schemas of the package say all that runs and bundles write, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cilium_analysis.bundle import Recorder
from cilium_analysis.bundle.manifest import SCHEMA as BUNDLE_SCHEMA
from cilium_analysis.connection import SAMPLES, sample_directory
from cilium_analysis.errors import QueryRejected
from cilium_analysis.findings import SCHEMA, Finding, Findings, Severity, Unknown
from cilium_analysis.question import ask
from cilium_analysis.report import report
from cilium_analysis.window import Window
from tests.sources import MemorySource

START = datetime(2026, 3, 21, 8, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=2), timedelta(seconds=30))
FINDING = Finding(
    kind="drop_spike",
    severity=Severity.WARNING,
    title="Drops",
    start=START,
    end=START + timedelta(minutes=5),
    value=41.2,
    baseline_value=float("nan"),
    unit="packets/s",
    query="q",
    next_step="look",
)


def schema(name: str) -> dict[str, Any]:
    text = files("cilium_analysis").joinpath("schemas", f"{name}.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def closed(part: Any) -> Any:
    """The same schema, in which a field that it does not name is an error."""
    if isinstance(part, list):
        return [closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    inner = {key: closed(value) for key, value in part.items()}
    return inner | {"additionalProperties": False} if "properties" in part else inner


def errors(name: str, document: object) -> list[str]:
    found = Draft202012Validator(closed(schema(name))).iter_errors(document)
    return [f"{each.json_path}: {each.message}" for each in found]


@pytest.mark.parametrize("name", ["findings", "bundle"])
def test_each_is_a_schema_and_describes_every_field(name: str) -> None:
    whole = schema(name)
    Draft202012Validator.check_schema(whole)
    for kind, one in {"": whole, **whole["$defs"]}.items():
        assert one["description"], kind
        for field, about in one["properties"].items():
            assert about.get("description"), (kind, field)


def test_the_numbers_are_those_that_the_code_writes() -> None:
    assert schema("findings")["properties"]["schema"]["const"] == SCHEMA
    assert schema("bundle")["properties"]["schema"]["const"] == BUNDLE_SCHEMA


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_are_bundles(name: str) -> None:
    manifest = json.loads((sample_directory(name) / "manifest.json").read_text("utf-8"))
    assert errors("bundle", manifest) == []


def test_a_run_writes_findings_and_a_bundle_by_them(tmp_path: Path) -> None:
    topics = ("drop_reasons", "agent_health")
    run = report(ask(source="sample", baseline=""), topics=topics, directory=tmp_path)
    found = json.loads((run.directory / "findings.json").read_text("utf-8"))
    assert found["findings"], "the sample has an incident"
    assert errors("findings", found) == []
    manifest = json.loads((run.directory / "bundle" / "manifest.json").read_text("utf-8"))
    assert errors("bundle", manifest) == []


def test_every_field_that_findings_can_have_is_in_the_schema() -> None:
    story = replace(
        FINDING,
        evidence=(replace(FINDING, kind="http_denied", total=3.0, share=0.5),),
        known_until=START,
        ongoing=True,
        begun_before=False,
    )
    whole = Findings(
        "http://prometheus:9090",
        WINDOW,
        None,
        (story, FINDING),
        unknown=(Unknown("dns", ("no metrics",)),),
        incomplete=("flows",),
        checked=("http_status",),
        answer="It was.",
    )
    assert errors("findings", whole.as_json()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("severity", "bad"),
        ("share", 1.2),
        ("value", "much"),
        ("id", "drop spike"),
        ("trust_reasons", None),
        ("invented", 1),
    ],
)
def test_a_wrong_finding_is_refused(field: str, value: object) -> None:
    document = Findings("s", WINDOW, WINDOW.baseline(), (FINDING,)).as_json()
    document["findings"][0][field] = value
    assert errors("findings", document)


def test_a_refused_query_is_a_row_of_the_bundle(tmp_path: Path) -> None:
    source = MemorySource(error=QueryRejected("too many samples: ask for less"))
    with Recorder(source, tmp_path / "bundle", window=WINDOW, baseline=None) as recorder:
        with pytest.raises(QueryRejected):
            recorder.range("up", WINDOW)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text("utf-8"))
    assert "error" in manifest["answers"][0]
    assert errors("bundle", manifest) == []
