"""Questions about some workloads: what Hubble saw of them, and of nobody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cilium_analysis import connect, incident
from cilium_analysis.cli import main
from cilium_analysis.errors import NamesNoWorkload, ParameterError
from cilium_analysis.frames import label_index, totals
from cilium_analysis.question import ask, ask_source
from cilium_analysis.source import Record, iso
from cilium_analysis.topics import dns, drops, flows, http
from cilium_analysis.topics.drops.events import parties
from cilium_analysis.topics.parties import CONTEXT
from cilium_analysis.topics.workloads import Narrowed, Workloads
from cilium_analysis.window import Window
from tests.field.asking import available
from tests.field.make import (
    END,
    START,
    Metrics,
    agent,
    burst,
    counter,
    hubble,
    scrapes,
    steady,
    vitals,
)
from tests.field.make import iso as iso_of
from tests.servers.served import ClusterServer
from tests.test_model import ONCE
from tests.test_model import windows as windows_of_once

ENDS = ["source", "destination"]


def loaded(topic: Any, workloads: str) -> Any:
    question = ask(source="sample", baseline="", workloads=workloads)
    return topic.load(question.answers, question.window, question.baseline)


@pytest.mark.parametrize("text", ["", " to shop/db", "a to b to c", "a to ", "shop\x1b/cart"])
def test_what_names_no_workloads_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="names no workloads: write shop, shop/cart"):
        Workloads.parse(text)


@pytest.mark.parametrize(
    ("text", "source", "destination", "is_theirs"),
    [
        ("shop", "shop/cart", "data/db", True),
        ("shop", "data/db", "shop/cart", True),
        ("shop", "shopping/cart", "data/db", False),
        ("shop/cart", "shop/cart-7d9f8bc5d4-x2x4z", "data/db", True),
        ("shop/cart", "cart", "data/db", True),
        ("shop/cart", "shop/cart-api", "data/db", False),
        ("shop/cart", "other/cart", "data/db", False),
        ("shop/cart", "", "", False),
        ("shop/cart", "", "data/db", False),
        ("shop/cart to data/db", "shop/cart", "data/db", True),
        ("shop/cart to data/db", "data/db", "shop/cart", True),
        ("shop/cart to data/db", "shop/cart", "data/other", False),
        ("shop/cart to data/db", "shop/web", "data/db", False),
        ("shop to data", "shop/web", "data/db", True),
    ],
)
def test_what_concerns_them(text: str, source: str, destination: str, is_theirs: bool) -> None:
    assert Workloads.parse(text).concern("hubble_drop_total", source, destination) is is_theirs


def test_lookups_of_a_pair_are_those_of_its_source() -> None:
    pair = Workloads.parse("shop/cart to data/db")
    assert pair.concern("hubble_dns_queries_total", "shop/cart", "kube-system/coredns")
    assert pair.concern("hubble_dns_responses_total", "kube-system/coredns", "shop/cart")
    assert not pair.concern("hubble_dns_queries_total", "data/db", "kube-system/coredns")


class Fixed:
    """Answers each query with one frame."""

    name, server = "fixed", {"application": "test"}

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.journal: list[Record] = []

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        return self.frame

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        return self.frame

    def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
        return self.frame


def frame(*series: dict[str, str]) -> pd.DataFrame:
    index = pd.date_range("2026-03-21", periods=2, freq="30s", tz="UTC")
    return pd.DataFrame(1.0, index=index, columns=label_index(series))


def test_series_without_names_of_workloads_are_nobodys() -> None:
    source = Narrowed(Fixed(frame({"reason": "POLICY_DENIED"})), Workloads.parse("shop"))
    window, _ = windows()
    with pytest.raises(NamesNoWorkload, match="hubble_drop_total"):
        source.range(f"max by ({CONTEXT}) (hubble_drop_total{{}})", window)
    # Nor are sums of them, which topics ask for instead.
    with pytest.raises(NamesNoWorkload, match="hubble_drop_total"):
        source.range(
            "sum by (reason) (hubble_drop_total{} - hubble_drop_total{} offset 30s)", window
        )


def test_what_agents_export_stays_whole_but_for_their_packets() -> None:
    whole = Fixed(frame({"node": "a"}, {"node": "b"}))
    source = Narrowed(whole, Workloads.parse("shop"))
    window, _ = windows()
    for promql in (
        "up{}",
        "max_over_time(cilium_endpoint_state{}[30s])",
        "count(hubble_drop_total{})",
    ):
        assert source.range(promql, window).equals(whole.frame)
    assert source.range("max(max_over_time(cilium_drop_count_total{}[30s]))", window).empty
    assert source.range("max(max_over_time(cilium_forward_bytes_total{}[30s]))", window).empty


@pytest.mark.slow
def test_each_packet_is_somebodys_and_nobody_else_s() -> None:
    every = drops.load(connect("sample"), *windows()).now.hubble
    named = totals(parties(every), ENDS)
    for workload in ("batch/report", "monitoring/prometheus", "default/frontend"):
        mine = parties(loaded(drops, workload).now.hubble)
        theirs = named[[workload in pair for pair in named.index]]
        assert totals(mine, ENDS).sum() == pytest.approx(theirs.sum()) != 0
    assert loaded(drops, "batch/report").state == "not exported"


def windows() -> tuple[Window, Window]:
    question = ask(source="sample", baseline="")
    return question.window, question.baseline


@pytest.mark.slow
def test_requests_of_a_pair_are_those_between_them() -> None:
    pair = "default/frontend to default/web"
    whole = totals(http.load(connect("sample"), *windows()).now.counts, [*ENDS, "status"])
    mine = totals(loaded(http, pair).now.counts, [*ENDS, "status"])
    expected = whole.xs(("default/frontend", "default/web"))
    assert mine.sum() == pytest.approx(expected.sum()) != 0
    (found,) = http.findings(loaded(http, pair))
    assert (found.kind, round(found.total or 0.0)) == ("http_denied", 26_463)
    assert not http.findings(loaded(http, "default/frontend to default/api"))
    asked = totals(loaded(dns, pair).now.asked, ["source"])
    assert set(asked[asked > 0].index) == {"default/frontend"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workloads", "kinds"),
    [
        ("default/frontend to default/web", {"http_denied"}),
        # They are on worker-4 and worker-5, whose agent restarted.
        ("default/web to default/api", {"agent_restart"}),
    ],
)
def test_incidents_of_others_and_elsewhere_are_no_findings(workloads: str, kinds: set[str]) -> None:
    question = ask(source="sample", baseline="", workloads=workloads)
    data = incident.load(question.answers, question.window, question.baseline)
    assert {each.kind for each in incident.findings(data)} == kinds
    assert flows.unknown(data.topics["flows"]) == (
        "hubble_tcp_flags_total names no workloads (Hubble: labelsContext)",
    )


def test_a_workload_that_nobody_knows_is_an_error_that_names_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("report", "--source", "sample", "--output", str(tmp_path))
    assert main([*asked, "--workload", "batch/reprt"]) == 2
    assert "name no 'batch/reprt': did you mean batch/report?" in capsys.readouterr().err
    assert main([*asked, "--namespace", "nowhere"]) == 2
    assert "name no 'nowhere': they name batch, " in capsys.readouterr().err
    assert main([*asked, "--from", "batch/report"]) == 2
    assert "--from and --to go together" in capsys.readouterr().err
    assert main([*asked, "--namespace", "batch", "--workload", "batch/report"]) == 2
    assert "give one of --namespace, --workload, and --from with --to" in capsys.readouterr().err
    assert not list(tmp_path.glob("2*"))


@pytest.mark.slow
def test_a_report_is_narrowed_and_says_so(tmp_path: Path) -> None:
    asked = ("report", "incident", "drop_reasons", "--source", "sample", "--output", str(tmp_path))
    assert main([*asked, "--workload", "batch/report"]) == 0
    (run,) = tmp_path.glob("2*")
    page = (run / "index.html").read_text()
    assert "only batch/report" in page
    assert "from batch/report to default/web" in page
    assert "monitoring/prometheus" not in page
    note = "Hubble's metrics are narrowed to batch/report. Metrics of agents cover all workloads."
    assert note in unescape((run / "drop_reasons.html").read_text())


NAMES = "Names that the source looks up"
RESET = "TCP connections that an end reset"
UNANSWERED = "TCP connections without an answer"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "hops", "answer"),
    [
        ("batch/report to default/db", {"Policies on the way"}, "Yes, it had a part in it."),
        # The server answers with 503.
        ("default/frontend to default/web", {"Answers of the server"}, "No trouble was seen"),
        ("default/web to default/api", {NAMES, RESET}, "Yes, it had a part in it."),
    ],
)
def test_the_hop_with_trouble_is_found(
    cluster_server: Callable[..., ClusterServer], pair: str, hops: set[str], answer: str
) -> None:
    window, baseline = windows_of_once()
    asked = ask_source(
        connect(cluster_server(ONCE).url),
        start=iso(window.start),
        end=iso(window.end),
        step="30s",
        workloads=pair,
    )
    data = incident.load(asked.answers, window, baseline)
    table = incident.hops(data)
    assert set(table.loc[table["trouble"] == "yes", "hop"]) == hops
    found = incident.with_answer(data, incident.findings(data), table)
    assert found.answer.startswith(f"Was it the network, from {pair}? {answer}")
    assert all(f"{hop}: " in found.answer for hop in hops)
    # There are requests and connections from frontend to web only.
    unseen = set(table.loc[table["trouble"] == "not visible", "hop"])
    nothing = {"Rules of the layer 7 proxy", "Answers of the server", UNANSWERED, RESET}
    assert unseen == (set() if "frontend" in pair else nothing - hops)


def test_what_is_not_seen_is_no_proof() -> None:
    question = ask(source="sample", baseline="", workloads="default/web to default/api")
    data = incident.load(question.answers, question.window, question.baseline)
    table = incident.hops(data).set_index("hop")
    assert set(table.loc[table["trouble"] == "not visible"].index) >= {
        "TCP connections without an answer"
    }
    # The agent on one of their nodes restarted, which is a note.
    agents = table.loc["Agents on their nodes"]
    assert agents["trouble"] == "no"
    assert "a note: The agent on worker-5 restarted" in agents["evidence"]
    answer = incident.with_answer(data, incident.findings(data), incident.hops(data)).answer
    assert "? Not known. Not visible: TCP connections without an answer" in answer


def test_a_path_needs_two_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("report", "path", "--source", "sample", "--output", str(tmp_path))
    assert main(list(asked)) == 2
    assert main([*asked, "--namespace", "default"]) == 2
    said = capsys.readouterr().err
    assert said.count("this question is about two workloads: give --from NS/NAME and --to") == 2
    assert not list(tmp_path.glob("2*"))


@pytest.mark.slow
def test_a_path_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("report", "path", "--source", "sample", "--output", str(tmp_path))
    assert main([*asked, "--from", "default/frontend", "--to", "default/web"]) == 0
    answer, *_ = capsys.readouterr().out.splitlines()
    assert answer.startswith(
        "Was it the network, from default/frontend to default/web? Yes, it had a part in it. Rules"
        " of the layer 7 proxy: 26,463 requests from default/frontend to default/web got 403"
    )
    (run,) = tmp_path.glob("2*")
    assert answer in unescape((run / "path.html").read_text())
    assert answer in unescape((run / "index.html").read_text())
    assert "Was it the network, from default/frontend to default/web?" in (
        run / "report.md"
    ).read_text().replace("\\", "")


#: How Hubble may name a workload, by what its context options are set to.
NAMED: dict[str, Callable[[str, str, str], dict[str, str]]] = {
    "labels": lambda side, space, name: {
        f"{side}_namespace": space,
        f"{side}_workload": name,
    },
    "app": lambda side, space, name: {f"{side}_app": name},
    "pods": lambda side, space, name: {side: f"{space}/{name}-7d9f8bc5d4-x2x4z"},
    "identity": lambda side, space, name: {
        side: f"k8s:app={name},k8s:io.kubernetes.pod.namespace={space}"
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("context", NAMED)
def test_however_hubble_names_workloads_and_in_several_clusters(context: str) -> None:
    metrics, named = Metrics(), NAMED[context]
    for cluster in ("eu", "us"):
        target, seen = agent(1, cluster=cluster), hubble(1, cluster=cluster)
        vitals(metrics, target, seen, at=scrapes())
        for name in ("cart", "web"):
            ends = named("source", "shop", name) | named("destination", "data", "db")
            flow = seen | ends | {"protocol": "TCP", "verdict": "FORWARDED", "type": "Trace"}
            counter(metrics, "hubble_flows_processed_total", flow, steady(5.0), at=scrapes())
            lost = seen | ends | {"protocol": "TCP", "reason": "POLICY_DENIED"}
            # Denied: cart's in one cluster, and less of web's in the other.
            rate = {("us", "cart"): 20.0, ("eu", "web"): 10.0}.get((cluster, name), 0.0)
            counter(metrics, "hubble_drop_total", lost, burst(rate, 60, 70), at=scrapes())
    with available(metrics) as url:
        found = {}
        for name in ("cart", "web"):
            asked = ask_source(
                connect(url),
                start=iso_of(START),
                end=iso_of(END),
                workloads=f"shop/{name}" if context != "app" else name,
            )
            assert asked.answers.nodes == {"eu/worker-1", "us/worker-1"}  # type: ignore[attr-defined]
            data = drops.load(asked.answers, asked.window, asked.baseline)
            (found[name],) = drops.findings(data)
    assert {n: f.total for n, f in found.items()} == pytest.approx(
        {"cart": 12_000, "web": 6_000}, rel=0.02
    )
    clusters = {n: f.labels["node"].partition("/")[0] for n, f in found.items()}
    assert clusters == {"cart": "us", "web": "eu"}
