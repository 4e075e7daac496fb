"""Configurations of scraping: each is told where it is, and nothing where it is not."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest

from cilium_analysis.targets import Targets
from cilium_analysis.topics.setup.configurations import COLUMNS, Facts, configurations
from cilium_analysis.window import Window

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
BEGAN, ENDED = pd.Timestamp("2026-03-21T07:50Z"), pd.Timestamp("2026-03-21T10:00Z")


def row(component: str, number: int, **changes: object) -> dict[str, object]:
    port = {"agent": 9962, "hubble": 9965, "operator": 9963}[component]
    return {
        "component": component,
        "job": component,
        "instance": f"10.0.0.{number}:{port}",
        "pod": f"kube-system/{component}-{number}",
        "node": f"worker-{number}",
        "cluster": "",
        "interval": 15.0,
        "first": BEGAN,
        "last": ENDED,
        "replica_of": -1,
    } | changes


def ordinary(**changes: object) -> list[dict[str, object]]:
    return [row(part, number, **changes) for part in ("agent", "hubble") for number in (1, 2, 3)]


def told(
    rows: Sequence[dict[str, object]],
    *,
    labels: tuple[str, ...] = ("instance",),
    clusters: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    facts: Facts | None = None,
) -> dict[str, str]:
    targets = Targets(pd.DataFrame(rows), labels=labels, clusters=clusters, notes=notes)
    table = configurations(targets, facts or Facts(), WINDOW)
    assert list(table.columns) == COLUMNS
    assert (table[["costs", "mended by"]] != "").all(axis=None)
    return dict(zip(table["configuration"], table["here"], strict=True))


def test_an_ordinary_cluster_has_none() -> None:
    assert told([*ordinary(), row("operator", 1)]) == {}


def test_no_target_at_all_has_none() -> None:
    targets = Targets(pd.DataFrame(columns=list(row("agent", 1))))
    assert configurations(targets, Facts(starts=False), WINDOW).empty


@pytest.mark.parametrize(("label", "value"), [("pod", "kube-apiserver:443"), ("node", "proxy")])
def test_one_instance_of_all_agents_is_told(label: str, value: str) -> None:
    found = told(ordinary(instance=value), labels=(label,))
    assert found == {
        "one instance for several targets": f"instance={value} for 3 targets of agents;"
        f" `{label}` tells them apart"
    }


def test_pods_that_follow_each_other_share_an_instance_rightly() -> None:
    middle = pd.Timestamp("2026-03-21T09:00Z")
    rows = ordinary()
    rows[0] |= {"last": middle + pd.Timedelta("10min")}
    rows.append(row("agent", 1, pod="kube-system/agent-9", first=middle))
    assert told(rows) == {}


def test_the_same_address_in_two_clusters_is_no_shared_instance() -> None:
    rows = [*ordinary(cluster="east"), *ordinary(cluster="west")]
    found = told(rows, labels=("location", "instance"), clusters=("location",))
    assert found == {"several clusters": "2 clusters (east, west), told apart by `location`"}


def test_exported_instances_are_told_by_label_and_by_series() -> None:
    found = told(ordinary(), labels=("exported_instance",))
    assert found["exported_instance"] == "`exported_instance` tells targets apart, not instance"
    counted = told(ordinary(), facts=Facts(exported=1200))
    assert counted["exported_instance"] == "1,200 series have exported_instance"


def test_labels_that_were_aggregated_away_are_told() -> None:
    rows = [row(part, 1, instance="", pod="", node="") for part in ("agent", "hubble")]
    assert set(told(rows)) == {"target labels aggregated away"}


def test_what_is_stored_twice_is_told_once() -> None:
    twins = [
        row("agent", number, job="kubernetes-pods", replica_of=number - 1) for number in (1, 2, 3)
    ]
    note = "3 targets are stored more than once; the copies differ in `job`. Each counts once."
    found = told([*ordinary(), *twins], notes=(note,))
    assert found == {"stored twice": note.partition(". ")[0]}


def test_targets_without_a_label_node_are_counted() -> None:
    found = told(ordinary(), facts=Facts(unnamed={"hubble": 3, "operator": 1}))
    assert found == {"no label node": "3 of 3 targets of Hubble have no label node"}


@pytest.mark.parametrize(("same", "is_told"), [(True, True), (False, False)])
def test_nodes_that_all_go_by_one_name_are_told(same: bool, is_told: bool) -> None:
    nodes = pd.DataFrame(
        {
            "node": ["worker-2" if same else f"worker-{n}" for n in range(4)],
            "internal_ip": [f"10.0.0.{n}" for n in range(4)],
        }
    )
    found = told(ordinary(), facts=Facts(nodes=nodes))
    assert ("kube_node_info is inconsistent" in found) is is_told


@pytest.mark.parametrize(
    ("bounds", "is_told"),
    [(("1", "1.0", "10"), True), (("1.0", "10.0"), False), (("1", "10"), False), ((), False)],
)
def test_bounds_in_two_spellings_are_told(bounds: tuple[str, ...], is_told: bool) -> None:
    found = told(ordinary(), facts=Facts(bounds=bounds))
    assert ("le spelled in two ways" in found) is is_told
    if is_told:
        assert found["le spelled in two ways"] == 'le="1" and le="1.0"'


def test_rare_and_mixed_scrapes_are_told() -> None:
    name = "rare or mixed scrapes"
    assert told(ordinary(interval=60.0)) == {name: "targets are scraped every 60 s"}
    rows = [row("agent", 1, interval=60.0), *ordinary()[1:]]
    assert told(rows) == {name: "targets are scraped every 15 to 60 s"}
    assert told(ordinary(interval=30.0)) == {}
    # An operator that is scraped rarely is no matter.
    assert told([*ordinary(), row("operator", 1, interval=300.0)]) == {}


def test_metrics_that_begin_in_the_window_are_told() -> None:
    began = pd.Timestamp("2026-03-21T09:10Z")
    found = told(ordinary(first=began))
    assert found == {"metrics switched on lately": "metrics of agents begin at 09:10 UTC"}
    # A node that joins is none.
    assert told([*ordinary(), row("agent", 4, first=began), row("hubble", 4, first=began)]) == {}


def test_start_times_that_are_not_stored_are_told() -> None:
    assert set(told(ordinary(), facts=Facts(starts=False))) == {"no start times"}
    hubble = [each for each in ordinary() if each["component"] == "hubble"]
    assert set(told(hubble, facts=Facts(starts=False))) == {"only one of agents and Hubble"}


@pytest.mark.parametrize(("there", "lacking"), [("agent", "Hubble"), ("hubble", "the agents")])
def test_one_without_the_other_is_told(there: str, lacking: str) -> None:
    found = told([each for each in ordinary() if each["component"] == there])
    assert found["only one of agents and Hubble"].endswith(f"none of {lacking}")
