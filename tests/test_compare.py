"""Two runs beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cilium_analysis.errors import ParameterError
from cilium_analysis.findings import SCHEMA
from cilium_analysis.report.compare import compared, read_findings


def row(name: str, value: float | None, severity: str = "warning") -> dict[str, Any]:
    return {
        "id": name,
        "kind": "drop_spike",
        "title": f"about {name}",
        "severity": severity,
        "value": value,
        "unit": "packets/s",
    }


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"schema": SCHEMA, "findings": list(rows)}


def test_every_kind_of_change() -> None:
    now = document(row("a", 10), row("b", 20), row("c", 1), row("d", 5, "critical"), row("f", None))
    then = document(row("a", 11), row("b", 10), row("c", 2), row("d", 9), row("e", 1), row("f", 0))
    assert {each["id"]: each["change"] for each in compared(now, then)} == {
        "a": "same",
        "b": "worse",
        "c": "better",
        "d": "worse",
        "e": "gone",
        "f": "same",
    }
    back = {each["id"]: each["change"] for each in compared(then, now)}
    assert back == {
        "a": "same",
        "b": "better",
        "c": "worse",
        "d": "better",
        "e": "new",
        "f": "same",
    }


def test_nothing_is_known_to_be_gone_where_nothing_can_be_judged() -> None:
    (told,) = compared(document(), document(row("a", 1)), unknown=True)
    assert told["change"] == "unknown"


def test_evidence_counts_wherever_it_is_told() -> None:
    story = row("lead", 5) | {"evidence": [row("part", 3)]}
    assert {each["change"] for each in compared(document(story), document(row("part", 3)))} == {
        "new",
        "same",
    }


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no run to compare with"):
        read_findings(tmp_path)
    (tmp_path / "findings.json").write_text("[]")
    with pytest.raises(ParameterError, match="has the schema None"):
        read_findings(tmp_path)
    window = {"start": "2026-03-21T08:00:00Z", "end": "2026-03-21T10:00:00Z", "step_seconds": 30}
    (tmp_path / "findings.json").write_text(json.dumps(document() | {"window": window}))
    assert read_findings(tmp_path) == read_findings(tmp_path / "findings.json")
