"""What is known of Cilium's metrics, and that every query asks for what there is."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import nbformat
import pytest

from cilium_analysis import incident
from cilium_analysis.metrics.known import CONTEXT, CONTEXT_LABELS, VERSIONS, find, known
from cilium_analysis.queries import Query
from cilium_analysis.targets import asking as targets
from cilium_analysis.topics import TOPICS

#: What scraping adds (job, instance, and the relabelings of chart, operator and examples), and
#: what belongs to every histogram.
ADDED = {
    *("cluster", "instance", "job", "k8s_cluster", "namespace", "node", "pod"),
    *("exported_instance", "le", "__name__"),
}
#: Of other exporters: kube-state-metrics, and Prometheus itself.
OTHERS = {"kube_node_info": {"exported_node", "internal_ip"}, "up": set()}
_NAME = re.compile(r"\b((?:cilium|hubble|kube)_[a-z0-9_]+|up)\b(?=\s*[{\[)\s]|$)")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_BY = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"\{([^}]*)\}")
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")


def catalogue() -> Iterator[tuple[str, str, Query]]:
    """Every query there is: topic, name, query."""
    modules = {"incident": incident} | {name: topic.module for name, topic in TOPICS.items()}
    for topic, found in modules.items():
        for table in ("QUERIES", "OVER_NODES", "EXEMPLARS"):
            data = sys.modules.get(f"{found.__name__}.data", found)
            for name, query in getattr(data, table, {}).items():
                yield topic, f"{table.lower()}-{name}", query
        assert found.QUERIES
    yield from (("targets", name, query) for name, query in targets.QUERIES.items())


CATALOGUE = list(catalogue())
IDS = [f"{topic}-{name}" for topic, name, _ in CATALOGUE]


def metrics_of(query: Query) -> set[str]:
    """The metrics a query names, also as alternatives of ``__name__=~"a|b"``."""
    named = re.findall(r'__name__=~?"([^"]*)"', query.promql)
    alternatives = {name for text in named for name in _spelled_out(text)}
    bare = _BY.sub("", _SELECTOR.sub("{}", _STRING.sub('""', query.promql)))
    return alternatives | set(_NAME.findall(bare))


def _spelled_out(pattern: str) -> list[str]:
    """The names that a pattern such as ``a|b`` or ``a_(b|c)_d`` stands for."""
    group = re.fullmatch(r"(\w*)\(([^()]*)\)(\w*)", pattern)
    if group is None:
        return pattern.split("|")
    return [f"{group[1]}{middle}{group[3]}" for middle in group[2].split("|")]


def labels_of(query: Query) -> set[str]:
    """The labels a query groups or selects by."""
    text = _STRING.sub('""', query.render(step=timedelta(seconds=30)))
    grouped = {part.strip() for inner in _BY.findall(text) for part in inner.split(",")}
    matched = {name for inner in _SELECTOR.findall(text) for name in _MATCHER.findall(inner)}
    return (grouped | matched) - {""}


def allowed(name: str) -> set[str]:
    if name in OTHERS:
        return OTHERS[name] | ADDED
    metric = find(name)
    assert metric is not None, f"{name} is no metric of Cilium"
    context = set(CONTEXT_LABELS) if CONTEXT in metric.labels else set()
    own = set(metric.labels) - {CONTEXT}
    # Labels of older versions, such as source_node_name up to 1.18, stand in the remark.
    older = set(re.findall(r"[a-z_]+", metric.remark)) if "label" in metric.remark else set()
    older |= {"source_cluster", "source_node_name"} & set(re.findall(r"\w+", metric.remark))
    # What Cilium calls the response code with some numbers of context labels, by a fault.
    faulty = {"type"} if name.startswith("hubble_dns_") else set()
    return own | context | older | faulty | ADDED


@pytest.mark.parametrize(("topic", "name", "query"), CATALOGUE, ids=IDS)
def test_a_query_names_only_metrics_and_labels_there_are(
    topic: str, name: str, query: Query
) -> None:
    metrics = metrics_of(query)
    assert metrics, f"{topic} {name} names no metric: {query.promql}"
    permitted = set().union(*(allowed(metric) for metric in metrics))
    assert labels_of(query) <= permitted


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version[0]}.{version[1]}")
@pytest.mark.parametrize("topic", ["incident", *TOPICS])
def test_every_topic_can_be_answered_in_every_version(topic: str, version: tuple[int, int]) -> None:
    names = {m for of, _, query in CATALOGUE if of == topic for m in metrics_of(query)}
    there = {name for name in names if (metric := find(name)) and metric.exists(version)}
    assert there


@pytest.mark.parametrize(("topic", "name", "query"), CATALOGUE, ids=IDS)
def test_a_query_says_what_it_is_about(topic: str, name: str, query: Query) -> None:
    assert query.unit, (topic, name)
    assert query.about, (topic, name)


# The table


def test_versions_are_read() -> None:
    lives = {
        name: [v[1] for v in VERSIONS if known()[name].exists(v)]
        for name in (
            "cilium_drop_count_total",
            "cilium_node_connectivity_status",
            "cilium_node_health_connectivity_status",
            "cilium_policy_import_errors_total",
            "cilium_reconciler_full_total",
            "cilium_operator_ipam_interface_creation_ops",
            "cilium_agent_bootstrap_seconds",
        )
    }
    every = list(range(13, 21))
    assert lives == {
        "cilium_drop_count_total": every,
        "cilium_node_connectivity_status": [13, 14, 15, 16, 17],
        "cilium_node_health_connectivity_status": [17, 18, 19, 20],
        "cilium_policy_import_errors_total": [13, 14],
        "cilium_reconciler_full_total": [16],
        "cilium_operator_ipam_interface_creation_ops": every,
        "cilium_agent_bootstrap_seconds": [13, 14, 15, 16, 17, 18, 19],
    }


def test_series_of_histograms_are_found() -> None:
    for name in ("_bucket", "_sum", "_count"):
        metric = find(f"hubble_http_request_duration_seconds{name}")
        assert metric is not None
        assert metric.kind == "histogram"
    counter = find("cilium_drop_count_total")
    assert counter is not None
    assert counter.name == "cilium_drop_count_total"
    assert find("no_such_metric") is None


def test_what_one_reads_in_a_query() -> None:
    query = Query('sum by (a, b) (rate(cilium_x_total{c="d=e",f=~"g",<match>}[5m])) / up', "", "")
    assert metrics_of(query) == {"cilium_x_total", "up"}
    assert labels_of(query) == {"a", "b", "c", "f"}


# Panels of Cilium's dashboards

PANELS = Path(__file__).parent / "data" / "dashboards" / "dashboards.csv"
#: How the labels of the dashboards are called elsewhere: the pod of an agent stands for its node.
SPELLED = {"pod": "node", "subnetId": "subnet_id"}
LISTED = Path(__file__).parent.parent / "notebooks" / "README.md"


def panels() -> list[dict[str, str]]:
    with PANELS.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def listed() -> list[list[str]]:
    rows = [line.strip().strip("|").split(" | ") for line in LISTED.read_text().splitlines()]
    return [[cell.strip() for cell in row] for row in rows if len(row) == 5][1:]


def kept_by(query: Query) -> set[str]:
    """The labels of a query's answer: of its outermost aggregations, and those it writes."""
    kept: set[str] = set()
    text = _STRING.sub('""', query.render(step=timedelta(seconds=30)))
    # Of nested aggregations the outer one comes first, and decides.
    for part in re.split(r"\bor\b", text):
        outer = re.search(r"\bby\s*\(([^)]*)\)", part)
        kept |= {name.strip() for name in outer[1].split(",")} if outer else set()
    return kept | set(
        re.findall(r'label_replace\(.*?, "(\w+)"', query.render(step=timedelta(seconds=30)))
    )


def headings(notebook: str) -> set[str]:
    cells = nbformat.read(LISTED.parent / f"{notebook}.ipynb", as_version=4).cells
    lines = [line for c in cells if c.cell_type == "markdown" for line in c.source.splitlines()]
    return {line.removeprefix("## ") for line in lines if line.startswith("## ")}


def of_cilium(panel: dict[str, str]) -> set[str]:
    found = {find(metric) for metric in panel["metrics"].split(";")}
    return {metric.name for metric in found if metric}


def test_every_panel_is_listed_once() -> None:
    expected = [(p["dashboard"], p["section"], p["panel"]) for p in panels()]
    assert len(expected) == 135
    assert [(row[0], row[1], row[2]) for row in listed()] == expected


@pytest.mark.parametrize("number", range(135))
def test_a_panel_is_where_the_list_says(number: int) -> None:
    panel, (*_, where, section) = panels()[number], listed()[number]
    metrics = of_cilium(panel)
    if where == "–":
        assert not metrics
        assert not re.search(r"\b(cilium|hubble)_", panel["metrics"])
        assert "not of Cilium" in section
        return
    if where == "dead":
        assert not metrics
        assert panel["metrics"] in section
        return
    notebook = re.fullmatch(r"\[`(\w+)`\]\((\w+)\.ipynb\)", where)
    assert notebook
    assert notebook[1] == notebook[2]
    if notebook[1] == "explore":
        # No page asks for it; whoever wants it finds the metric by its name there.
        named = set(re.findall(r"`(\w+)`", section))
        assert named >= (metrics or {"cilium_kvstore_operations_duration_seconds"})
        assert all(find(name) for name in named)
        return
    assert section in headings(notebook[1])
    asking = [query for of, _, query in CATALOGUE if of == notebook[1]]
    if not metrics:
        # Two panels of which dashboards.csv does not tell the metric: kvstore operations.
        assert not panel["metrics"]
        metrics = {"cilium_kvstore_operations_duration_seconds"}
    ours = [q for q in asking if metrics & {m.name for n in metrics_of(q) if (m := find(n))}]
    assert ours
    wanted = {SPELLED.get(label, label) for label in panel["grouped_by"].split(";")} - {""}
    assert wanted <= {label for query in ours for label in kept_by(query)}
