"""The setup check with the Kubernetes API beside it: what is configured, found, selected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from cilium_analysis import connect
from cilium_analysis.findings import Severity
from cilium_analysis.kube import Cluster, Kubernetes
from cilium_analysis.kube import load as read
from cilium_analysis.source import Source
from cilium_analysis.topics import setup
from cilium_analysis.topics.setup import exposure, objects
from cilium_analysis.topics.setup.exposure import COMPONENTS
from cilium_analysis.window import Window
from cilium_simulator.events import AgentRestart, Policy
from cilium_simulator.kubernetes import Moment, Object
from cilium_simulator.scenario import STYLES, Scenario
from cilium_simulator.scenario import load as scenario
from cilium_simulator.simulation import Cluster as Simulated
from tests.kube_api import PATHS, KubeApi, write_kubeconfig
from tests.servers.served import ClusterServer
from tests.sources import MemorySource

Serve = Callable[..., ClusterServer]
Change = Callable[[dict[str, list[Object]], dict[str, str]], object]

TOLD = scenario("http_errors")


@pytest.fixture
def shown(tmp_path: Path) -> Callable[..., Cluster]:
    """Read a scenario's cluster from the stand-in API at its end, after a change to it."""

    def show(
        told: Scenario = TOLD, change: Change = lambda objects, config: None, forbid: str = ""
    ) -> Cluster:
        moment = Moment(told, told.seconds)
        objects, config = moment.objects(), moment.config()
        change(objects, config)
        api = KubeApi({PATHS[kind]: found for kind, found in objects.items()}, config=config)
        if forbid:
            api.forbid(PATHS.get(forbid, forbid))
        with api:
            return read(Kubernetes(str(write_kubeconfig(tmp_path / "config", api.url))))

    return show


def check(source: Source, cluster: Cluster, told: Scenario = TOLD) -> setup.Setup:
    window = Window.parse(told.start.isoformat(), told.end.isoformat(), step="30s")
    return setup.load(source, window, window.baseline()).with_cluster(cluster)


def rows(data: setup.Setup) -> dict[str, str]:
    table = setup.kubernetes(data)
    return dict(zip(table["what"], table["state"], strict=True))


def drop(kind: str, name: str) -> Change:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        kept = [one for one in objects[kind] if one["metadata"]["name"] != name]
        assert len(kept) < len(objects[kind])
        objects[kind] = kept

    return change


# All is well


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_all_is_well_in_every_style(
    style: str, cluster_server: Serve, shown: Callable[..., Cluster]
) -> None:
    told = TOLD.with_(style=style)
    data = check(connect(cluster_server(told).url), shown(told), told)
    found = rows(data)
    assert {found[one.name] for one in COMPONENTS} == {"scraped"}
    expected = {
        "annotations": "annotations, as in Cilium's monitoring-example.yaml",
        "servicemonitor": "ServiceMonitors",
        "kube-prometheus-stack": "ServiceMonitors, of kube-prometheus-stack",
    }
    assert found["way of scraping"] == expected[style]
    assert found["Service hubble-metrics"] == f"selects {len(told.nodes)} pods"
    assert found["nodes and agents"] == "an agent on every node"
    assert "nodes and targets" not in found
    assert found["HTTP at layer 7"] == "visible where a policy selects it"
    assert list(setup.findings(data)) == []


def test_without_kubernetes_there_is_no_table(cluster_server: Serve) -> None:
    window = Window.parse(TOLD.start.isoformat(), TOLD.end.isoformat(), step="30s")
    data = setup.load(connect(cluster_server(TOLD).url), window, window.baseline())
    assert setup.kubernetes(data).empty
    assert not any("Kubernetes" in note for note in setup.notes(data))


# Configured or not, scraped or not


def next_steps(data: setup.Setup) -> dict[str, str]:
    found = {f.labels["metric"]: f.next_step for f in setup.findings(data)}
    # Many clusters do without the operator's metrics: no finding, but a note.
    notes = [note for note in setup.notes(data) if "metrics of the operator" in note]
    return found | dict.fromkeys(
        ["cilium_operator_process_start_time_seconds"], "".join(notes).partition("unknown. ")[2]
    )


def test_what_is_configured_but_not_there_is_a_matter_of_scraping(
    shown: Callable[..., Cluster],
) -> None:
    data = check(MemorySource(), shown())
    assert {rows(data)[one.name] for one in COMPONENTS} == {"not scraped"}
    for step in next_steps(data).values():
        assert "switched on" in step
        assert "not scraped" in step
        assert "not switched on" not in step
    assert "prometheus-serve-addr=:9962" in next_steps(data)["cilium_process_start_time_seconds"]
    assert "selects it" in next_steps(data)["hubble_lost_events_total"]


def test_annotations_that_nobody_heeds(shown: Callable[..., Cluster]) -> None:
    told = TOLD.with_(style="annotations")
    data = check(MemorySource(), shown(told), told)
    assert rows(data)["way of scraping"] == "annotations, which no Prometheus heeds"
    assert all("prometheus.io/scrape" in step for step in next_steps(data).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "name", "helm"),
    [
        ("prometheus-serve-addr", "agent", "prometheus.enabled=true"),
        ("operator-prometheus-serve-addr", "operator", "operator.prometheus.enabled=true"),
        ("hubble-metrics-server", "Hubble", "hubble.metrics.enabled"),
        ("hubble-metrics", "Hubble", "hubble.metrics.enabled"),
        ("enable-hubble", "Hubble", "hubble.enabled=true"),
    ],
)
def test_what_is_not_configured_is_a_matter_of_helm(
    key: str, name: str, helm: str, shown: Callable[..., Cluster], cluster_server: Serve
) -> None:
    cluster = shown(change=lambda objects, config: config.pop(key))
    data = check(MemorySource(), cluster)
    assert rows(data)[name] == "off"
    one = exposure.component(name)
    assert one is not None
    step = next_steps(data)[one.metrics[0]]
    assert step.startswith("It is not switched on")
    assert helm in step
    served = check(connect(cluster_server(TOLD).url), cluster)
    assert rows(served)[name] == "scraped, though off"


def test_dynamic_metrics_of_hubble_count(shown: Callable[..., Cluster]) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        del config["hubble-metrics"]
        config["hubble-dynamic-metrics-config-path"] = "/dynamic-metrics-config/x.yaml"

    assert rows(check(MemorySource(), shown(change=change)))["Hubble"] == "not scraped"


def test_a_service_that_selects_nothing(shown: Callable[..., Cluster]) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        (hubble,) = (s for s in objects["Service"] if s["metadata"]["name"] == "hubble-metrics")
        hubble["spec"]["selector"] = {"k8s-app": "anetd"}

    data = check(MemorySource(), shown(change=change))
    assert rows(data)["Service hubble-metrics"] == "selects no pod"
    assert "selects no pod" in next_steps(data)["hubble_lost_events_total"]
    gone = check(MemorySource(), shown(change=drop("Service", "hubble-metrics")))
    assert rows(gone)["Service hubble-metrics"] == "none"
    assert "neither an annotation nor a Service" in next_steps(gone)["hubble_lost_events_total"]


def test_metrics_of_hubble_one_by_one(shown: Callable[..., Cluster], cluster_server: Serve) -> None:
    source = connect(cluster_server(TOLD).url)
    data = check(source, shown())
    # Configured, but the scenario has no lookups.
    assert rows(data)["Hubble dns"] == "configured"
    less = shown(change=lambda objects, config: config.update({"hubble-metrics": "drop flow"}))
    found = rows(check(source, less))
    assert found["Hubble dns"] == "not configured"
    assert found["Hubble tcp"] == "there, though not configured"
    assert "Hubble drop" not in found


def test_metrics_that_are_taken_away(shown: Callable[..., Cluster]) -> None:
    taken = {"metrics": "+cilium_x -cilium_drop_count_total"}
    data = check(MemorySource(), shown(change=lambda objects, config: config.update(taken)))
    assert rows(data)["metrics taken away"] == "cilium_drop_count_total"


@pytest.mark.parametrize("annotated", [True, False])
def test_envoy_is_told_of_by_its_service(annotated: bool, shown: Callable[..., Cluster]) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        meta = {"name": "cilium-envoy", "namespace": "kube-system"}
        asked = {"prometheus.io/scrape": "true", "prometheus.io/port": "9964"}
        ports = [{"name": "envoy-metrics", "port": 9964}]
        one = {"metadata": meta | {"annotations": asked if annotated else {}}}
        objects["Service"].append(one | {"spec": {"clusterIP": "None", "ports": ports}})

    assert rows(check(MemorySource(), shown()))["Envoy"] == "off"
    table = setup.kubernetes(check(MemorySource(), shown(change=change))).set_index("what")
    assert table.loc["Envoy", "state"] == "not scraped"
    expected = "with annotation" if annotated else "without annotation"
    assert str(table.loc["Envoy", "seen"]).endswith(expected)
    embedded = shown(
        change=lambda objects, config: config.update({"proxy-prometheus-port": "9964"})
    )
    assert rows(check(MemorySource(), embedded))["Envoy"] == "not scraped"


# Layer 7


def test_no_policy_with_layer_7_rules(shown: Callable[..., Cluster], cluster_server: Serve) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        objects["CiliumNetworkPolicy"] = []

    nothing = check(MemorySource(), shown(change=change))
    assert rows(nothing)["HTTP at layer 7"] == "no policy"
    said = setup.notes(nothing)
    assert any("HTTP is not visible because no layer 7 policy" in note for note in said)
    assert any("DNS is not visible because no layer 7 policy" in note for note in said)
    there = setup.notes(check(connect(cluster_server(TOLD).url), shown(change=change)))
    assert any("HTTP is in the metrics though no policy" in note for note in there)
    off = shown(change=lambda objects, config: config.update({"enable-l7-proxy": "false"}))
    assert any("l7Proxy=true" in note for note in setup.notes(check(MemorySource(), off)))


def test_a_policy_says_what_is_visible(shown: Callable[..., Cluster]) -> None:
    table = setup.kubernetes(check(MemorySource(), shown())).set_index("what")
    seen = str(table.loc["HTTP at layer 7", "seen"])
    served = {s.destination.partition("/") for s in TOLD.services}
    for space, _, name in served:
        assert f"{space}: run={name}" in seen


def test_a_policy_that_cilium_refuses_shows_nothing(shown: Callable[..., Cluster]) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        for policy in objects["CiliumNetworkPolicy"]:
            policy["status"] = {"conditions": [{"type": "Valid", "status": "False"}]}

    assert rows(check(MemorySource(), shown(change=change)))["HTTP at layer 7"] == "no policy"


# Nodes


def test_a_node_without_an_agent(shown: Callable[..., Cluster], cluster_server: Serve) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        objects["Pod"] = [
            pod
            for pod in objects["Pod"]
            if (pod["spec"]["nodeName"], pod["metadata"]["labels"].get("k8s-app"))
            != ("worker-2", "cilium")
        ]

    data = check(connect(cluster_server(TOLD).url), shown(change=change))
    (finding,) = setup.findings(data)
    assert (finding.kind, finding.severity) == ("missing_metrics", Severity.WARNING)
    assert finding.labels["node"] == "worker-2"
    # The objects are read now, long after the simulated window.
    assert any("after the end of the window" in reason for reason in finding.trust_reasons)


def test_an_agent_that_prometheus_does_not_know(
    shown: Callable[..., Cluster], cluster_server: Serve
) -> None:
    more = TOLD.with_(nodes=(*TOLD.nodes, "worker-8", "worker-9"))
    data = check(connect(cluster_server(TOLD).url), shown(more))
    (finding,) = setup.findings(data)
    assert (finding.kind, finding.severity) == ("scrape_gap", Severity.WARNING)
    assert finding.labels["node"] == "worker-8, worker-9"
    assert f"2 of {len(more.nodes)} nodes" in finding.title


def test_nodes_that_came_after_the_window_are_none_of_its_business(
    shown: Callable[..., Cluster], cluster_server: Serve
) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        for node in objects["Node"][-2:]:
            created = TOLD.end + timedelta(seconds=1)
            node["metadata"]["creationTimestamp"] = f"{created:%Y-%m-%dT%H:%M:%SZ}"

    more = TOLD.with_(nodes=(*TOLD.nodes, "worker-8", "worker-9"))
    data = check(connect(cluster_server(TOLD).url), shown(more, change))
    assert list(setup.findings(data)) == []


def test_another_cluster_is_said_and_nothing_is_concluded(
    shown: Callable[..., Cluster], cluster_server: Serve
) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        config.clear()
        for node in objects["Node"]:
            node["metadata"]["name"] = f"other-{node['metadata']['name']}"
            node["status"]["addresses"] = [{"type": "InternalIP", "address": "192.0.2.7"}]

    data = check(connect(cluster_server(TOLD).url), shown(change=change))
    assert rows(data) == {"same cluster": "no"}
    assert list(setup.findings(data)) == []
    (said,) = (note for note in setup.notes(data) if "of different clusters" in note)
    assert "other-worker-1" in said


# What could not be read is unknown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forbidden", "unknown"),
    [
        ("Node", {"nodes and agents"}),
        ("Pod", {"nodes and agents"}),
        ("Service", {"Service hubble-metrics", "Envoy"}),
        ("CiliumClusterwideNetworkPolicy", {"HTTP at layer 7", "DNS at layer 7"}),
        (
            "/api/v1/namespaces/kube-system/configmaps/cilium-config",
            {"agent", "operator", "Hubble", "Envoy"},
        ),
    ],
    ids=lambda value: value.rpartition("/")[2] if isinstance(value, str) else "",
)
def test_what_could_not_be_read_is_unknown(
    forbidden: str, unknown: set[str], shown: Callable[..., Cluster], cluster_server: Serve
) -> None:
    def change(objects: dict[str, list[Object]], config: dict[str, str]) -> None:
        objects["CiliumNetworkPolicy"] = []

    cluster = shown(change=change, forbid=forbidden)
    assert cluster.unread
    for source in (connect(cluster_server(TOLD).url), MemorySource()):
        data = check(source, cluster)
        assert {what for what, state in rows(data).items() if state == "unknown"} == unknown
        assert any("403" in note for note in setup.notes(data))
        assert not objects.without_agent(data, cluster) or forbidden == "Service"
        assert not objects.not_scraped(data, cluster)
    assert list(setup.findings(check(connect(cluster_server(TOLD).url), cluster))) == []
    if "configmaps" in forbidden:
        empty = setup.findings(check(MemorySource(), cluster))
        assert all(f.next_step.startswith("Switch it on (Helm:") for f in empty)
    if "Policy" in forbidden:
        assert not any("not visible" in note for note in setup.notes(data))


# The simulated cluster's objects agree with its metrics


def test_objects_agree_with_the_metrics(
    cluster: Callable[[str], Simulated], shown: Callable[..., Cluster]
) -> None:
    told = scenario("sample")
    simulated = cluster("sample")
    shown_now = shown(told)
    agents = shown_now.pods[[o == "cilium" for o in shown_now.pods["owner"]]]
    scraped = {
        (s.labels["pod"], s.labels["node"], s.labels["instance"].partition(":")[0])
        for s in simulated.find("up", job="cilium-agent")
    }
    assert set(zip(agents["name"], agents["node"], agents["ip"], strict=True)) == scraped
    restarted = agents.set_index("node")["restarts"]
    expected = {e.nodes[0]: 1 for e in told.of(AgentRestart)}
    assert restarted[restarted > 0].to_dict() == expected
    (change,) = told.of(Policy)
    counted = simulated.find("cilium_policy", node="worker-1")[0]
    for at in (change.start - 60, change.start + 60, change.end + 60):
        objects = Moment(told, at).objects()
        listed = sum(len(found) for kind, found in objects.items() if "Policy" in kind)
        nearest = abs(counted.times / 1000 - told.epoch - at).argmin()
        assert listed == counted.values[nearest]


def test_events_are_forgotten_as_the_server_is_told_to() -> None:
    told = scenario("sample")
    (restart,) = told.of(AgentRestart)
    after = restart.end + 5400
    about = [e["involvedObject"]["name"] for e in Moment(told, after).objects()["Event"]]
    assert len(set(about)) == 1
    assert Moment(told, after, event_ttl=3600).objects()["Event"] == []
    assert Moment(told, restart.start - 1).objects()["Event"] == []


def test_nodes_that_reboot_say_so() -> None:
    told = scenario("node_reboot")
    reasons = {e["reason"] for e in Moment(told, told.seconds).objects()["Event"]}
    assert {"Rebooted", "NodeReady", "NodeNotReady"} <= reasons
