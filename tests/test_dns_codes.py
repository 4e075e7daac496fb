"""DNS by response codes, servers and shares, on answers from memory."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import frames
from cilium_analysis.findings import Severity
from cilium_analysis.frames import totals
from cilium_analysis.topics import dns
from cilium_analysis.topics.dns.data import QUERIES
from cilium_analysis.topics.dns.outcomes import NO_RESPONSE
from cilium_analysis.window import Window
from tests.sources import MemorySource, grid

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T09:00Z", step="30s")
WIDE = WINDOW.extended(before=timedelta(minutes=5))
LABELS = "rcode query source destination node instance"
NAMES = sorted({*LABELS.split(), "type", "qtypes"})
WEBS = (("web", "shop"), ("web", ""))

Series = dict[tuple[str, ...], object]


def answers(**values: pd.DataFrame) -> MemorySource:
    """A source that knows some of the queries, in the window and in its baseline."""
    return MemorySource({QUERIES[n].render(step=WINDOW.step): f for n, f in values.items()})


def two_windows(now: float, before: float) -> np.ndarray:
    """A counter of so many per step in `WINDOW`, and of so many in its first half."""
    return np.cumsum(np.where(np.arange(WIDE.points) > WIDE.points // 2, now, before))


def test_responses_without_a_code_are_unknown_and_not_failed() -> None:
    many = two_windows(30.0, 3.0)
    source = answers(
        queries=grid(WIDE, {("", "", "a", "b", "n", "i"): many}, LABELS),
        responses=grid(WIDE, {("", "", "b", "a", "n", "i"): many}, LABELS),
    )
    data = dns.load(source, WINDOW, WINDOW.baseline())
    assert list(dns.findings(data)) == []
    (row,) = dns.by_client(data).to_dict("records")
    assert (row["failed"], row["missing"]) == (0, 0)
    assert row["unknown"] == row["responses"] > 1000
    assert np.isnan(row["share"])
    assert dns.by_qtype(data)["failed"].sum() == 0
    assert any("whether these lookups failed is unknown" in note for note in dns.notes(data))
    assert "no label tells the code of any response" in dns.unknown(data)


@pytest.mark.parametrize("other", ["type", "qtypes"])
def test_codes_are_known_by_their_words(other: str) -> None:
    fine, bad = two_windows(30.0, 30.0), two_windows(5.0, 0.0)
    labels = LABELS.replace("rcode", other)
    series: Series = {("No Error", "", "b", "a", "n", "i"): fine}
    series[("Server Failure", "", "b", "a", "n", "i")] = bad
    # This one is right, as of a node with another version.
    own = grid(WIDE, {("Query Refused", "", "b", "a", "m", "j"): two_windows(2.0, 2.0)}, LABELS)
    both = pd.concat(
        [frames.with_levels(f, NAMES) for f in (grid(WIDE, series, labels), own)], axis=1
    )
    data = dns.load(answers(responses=both), WINDOW, WINDOW.baseline())
    sums = totals(data.now.counts, ["rcode"])
    assert set(sums.index) == {"No Error", "Server Failure", "Query Refused"}
    assert {f.labels["rcode"] for f in dns.findings(data)} == {"Server Failure"}


def test_the_type_of_a_record_is_no_code() -> None:
    series: Series = {("No Error", "A", "", "b", "a", "n", "i"): two_windows(30.0, 30.0)}
    frame = grid(WIDE, series, LABELS.replace("rcode", "rcode type"))
    data = dns.load(answers(responses=frame), WINDOW, WINDOW.baseline())
    assert data.code_label == "rcode"
    assert set(totals(data.now.counts, ["rcode"]).index) == {"No Error"}


def test_failures_and_lookups_without_an_answer_add_up_by_server() -> None:
    """One server fails some lookups, another one answers none: each is told with its server."""
    late = two_windows(5.0, 0.0)
    ordinary = two_windows(50.0, 50.0)
    queries: Series = {("", "", "shop/web", "dns/one", "n", "i"): ordinary + late}
    queries[("", "", "shop/web", "8.8.8.8", "n", "i")] = late
    responses: Series = {("No Error", "", "dns/one", "shop/web", "n", "i"): ordinary}
    responses[("Server Failure", "", "dns/one", "shop/web", "n", "i")] = late
    source = answers(queries=grid(WIDE, queries, LABELS), responses=grid(WIDE, responses, LABELS))
    data = dns.load(source, WINDOW, WINDOW.baseline())
    found = {f.labels["rcode"]: f for f in dns.findings(data)}
    assert set(found) == {"Server Failure", NO_RESPONSE}
    assert found["Server Failure"].labels["destination"] == "dns/one"
    assert found[NO_RESPONSE].labels["destination"] == "8.8.8.8"
    assert all(f.labels["source"] == "shop/web" for f in found.values())
    codes = dns.by_rcode(data)["responses"]
    assert codes.sum() == round(data.now.asked.sum().sum())
    servers = dns.by_server(data)
    assert servers["missing"].to_dict() == {"dns/one": 0, "8.8.8.8": codes[NO_RESPONSE]}
    assert found[NO_RESPONSE].share == pytest.approx(1 / 12, rel=0.01)
    assert "8.3% of all lookups in that time" in found[NO_RESPONSE].title


def test_missing_answers_belong_to_a_server_that_was_asked_by_another_name() -> None:
    asked = two_windows(20.0, 20.0)
    answered = asked - two_windows(4.0, 0.0)
    source = answers(
        queries=grid(WIDE, {("", "", "shop/web", "10.96.0.10", "n", "i"): asked}, LABELS),
        responses=grid(WIDE, {("No Error", "", "dns/one", "shop/web", "n", "i"): answered}, LABELS),
    )
    data = dns.load(source, WINDOW, WINDOW.baseline())
    (finding,) = dns.findings(data)
    assert finding.labels["destination"] == "10.96.0.10"
    assert finding.total == pytest.approx(4.0 * (WIDE.points - WIDE.points // 2 - 1), rel=0.02)


@pytest.mark.parametrize(
    ("bad", "of", "severity"),
    [(2.0, 5000.0, Severity.INFO), (1.0, 120.0, Severity.INFO), (2.0, 80.0, Severity.WARNING)],
    ids=["a trickle", "a handful", "a part"],
)
def test_failures_are_judged_by_their_share(bad: float, of: float, severity: Severity) -> None:
    series: Series = {("No Error", "", "b", "a", "n", "i"): two_windows(of, of)}
    series[("Query Refused", "", "b", "a", "n", "i")] = two_windows(bad, 0.0)
    data = dns.load(answers(responses=grid(WIDE, series, LABELS)), WINDOW, WINDOW.baseline())
    (finding,) = dns.findings(data)
    assert finding.severity is severity
    assert f"{bad / (bad + of):.1%} of all lookups in that time" in finding.title


def test_one_client_under_two_spellings_is_one() -> None:
    """The DNS proxy's flows may carry the app without its namespace."""
    names = "rcode source_app source_namespace destination_app destination_namespace node instance"
    many = two_windows(10.0, 10.0)
    queries: Series = {("", app, space, "dns", "sys", "n", "i"): many for app, space in WEBS}
    responses: Series = {
        ("No Error", "dns", "sys", app, space, "n", "i"): many for app, space in WEBS
    }
    source = answers(queries=grid(WIDE, queries, names), responses=grid(WIDE, responses, names))
    data = dns.load(source, WINDOW, WINDOW.baseline())
    assert list(dns.by_client(data).index) == ["shop/web"]
    assert dns.missing(data).sum().sum() == 0


def test_what_is_not_scraped_is_not_blamed_on_a_policy() -> None:
    said = dns.notes(dns.load(MemorySource(), WINDOW, WINDOW.baseline()))
    assert "no target with Hubble's metrics was scraped" in said[0]
    assert not any("policy" in note for note in said)
