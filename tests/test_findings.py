from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cilium_analysis.findings import MIME, SCHEMA, Finding, Findings, Severity, Unknown
from cilium_analysis.window import Window

START = datetime(2026, 3, 21, 8, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=2), timedelta(seconds=30))
FINDING = Finding(
    kind="drop_spike",
    severity=Severity.WARNING,
    title="Drops <b>& more",
    start=START,
    end=START + timedelta(minutes=5),
    labels={"reason": "Policy denied"},
    value=41.2,
    baseline_value=float("nan"),
    unit="packets/s",
    total=12431.0,
    share=0.91,
    query="q",
    next_step="look",
)


def findings(*items: Finding) -> Findings:
    return Findings("http://prometheus:9090", WINDOW, WINDOW.baseline(), items)


def test_the_document_is_the_one_of_the_contract() -> None:
    document = json.loads(json.dumps(findings(FINDING).as_json(), allow_nan=False))
    assert document["schema"] == SCHEMA
    assert document["window"] == {
        "start": "2026-03-21T08:00:00Z",
        "end": "2026-03-21T10:00:00Z",
        "step_seconds": 30.0,
    }
    assert document["baseline"]["end"] == document["window"]["start"]
    (row,) = document["findings"]
    assert set(row) == {
        "id", "kind", "severity", "title", "start", "end", "labels", "value", "baseline_value",
        "unit", "total", "share", "rank", "trust", "trust_reasons", "query", "next_step",
        "brief", "topic", "begun_before", "ongoing", "known_until",
    }  # fmt: skip
    assert (row["rank"], row["trust"], row["severity"]) == (1, "good", "warning")
    assert row["baseline_value"] is None, "JSON knows no NaN"


def test_the_most_severe_comes_first_then_the_largest() -> None:
    small = replace(FINDING, title="small", total=1.0)
    critical = replace(FINDING, title="critical", severity=Severity.CRITICAL, total=1.0)
    ordered = findings(small, FINDING, critical)
    assert [f.title for f in ordered] == ["critical", FINDING.title, "small"]
    assert ordered.worst is Severity.CRITICAL


def test_ids_are_stable_and_unique() -> None:
    again = replace(FINDING, start=START + timedelta(hours=1), end=WINDOW.end, total=1.0)
    other = replace(FINDING, labels={"reason": "Stale or unroutable IP"})
    rows = findings(FINDING, again, other).as_json()["findings"]
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == 3
    shifted = findings(replace(FINDING, start=START + timedelta(seconds=30), value=3.0))
    assert shifted.as_json()["findings"][0]["id"] in ids


def test_a_doubt_makes_it_doubtful() -> None:
    assert replace(FINDING, trust_reasons=("gap",)).trust == "doubtful"


def test_text_is_escaped_and_quiet_is_said() -> None:
    shown = findings(FINDING)._repr_mimebundle_()
    assert "<b>" not in shown["text/html"]
    assert "Drops &lt;b&gt;&amp; more" in shown["text/html"]
    assert shown[MIME]["findings"][0]["title"] == FINDING.title
    assert findings().worst is None
    assert "Nothing unusual" in findings()._repr_mimebundle_()["text/html"]
    assert findings().as_json()["findings"] == []


def test_a_document_is_read_as_it_was_written() -> None:
    lead = replace(FINDING, evidence=(replace(FINDING, kind="http_errors", total=None),))
    whole = replace(
        findings(
            lead, replace(FINDING, trust_reasons=("gap",), start=START + timedelta(minutes=1))
        ),
        unknown=(Unknown("dns", ("no metrics",)),),
        incomplete=("flows",),
    )
    document = json.loads(json.dumps(whole.as_json(), allow_nan=False))
    assert Findings.from_json(document).as_json() == document


def test_a_table_says_when_in_the_zone_of_the_window() -> None:
    in_tokyo = replace(WINDOW, timezone="Asia/Tokyo")
    moment = replace(FINDING, title="restarted", end=START)
    ongoing = replace(FINDING, title="goes on", end=WINDOW.end, total=1.0)
    shown = replace(findings(FINDING, moment, ongoing), window=in_tokyo).to_html()
    assert "2026-03-21 17:00 to 17:05 Asia/Tokyo, 5 min<" in shown
    assert ">17:00 Asia/Tokyo<" in shown
    assert "2026-03-21 17:00 to 19:00 Asia/Tokyo, 2 h, ongoing<" in shown
