"""What is read from a Kubernetes API, from a real HTTP server with recorded objects."""

from __future__ import annotations

import json
import logging
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import trustme
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.client import ApiClient, Configuration
from pandas.testing import assert_frame_equal, assert_series_equal

from cilium_analysis.errors import BundleError, KubernetesUnavailable, ParameterError, SourceError
from cilium_analysis.kube import Cluster, Kubernetes, cluster_role, during, load, objects, tables
from cilium_analysis.kube.reading import CONFIGURATION, RESOURCES, Resource
from cilium_analysis.window import Window
from tests.faults import Reply, Stub, page, text
from tests.kube_api import (
    CONFIG,
    PATHS,
    KubeApi,
    granted_by,
    manifests,
    recorded_list,
    status,
    write_kubeconfig,
)

SECRET = "very-secret-token"
TOKEN = f"eyJhbGciOi.{SECRET}.c2lnbmF0dXJl"
EVENTS, NODES, NAMESPACES, PODS = (PATHS[k] for k in ("Event", "Node", "Namespace", "Pod"))
CNP, CCNP = PATHS["CiliumNetworkPolicy"], PATHS["CiliumClusterwideNetworkPolicy"]
SETTINGS = {"enable-l7-proxy": "true", "bpf-map-dynamic-size-ratio": "0.0025"}


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with KubeApi(config=SETTINGS) as server:
        yield server


@pytest.fixture
def kubernetes(api: KubeApi, tmp_path: Path, pauses: list[float]) -> Kubernetes:
    file = write_kubeconfig(tmp_path / "kubeconfig", api.url)
    return Kubernetes(str(file), timeout=5, pause=pauses.append)


@pytest.fixture
def pauses() -> list[float]:
    return []


def assert_same(one: Cluster, other: Cluster) -> None:
    for name in tables.COLUMNS:
        assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    assert_series_equal(one.cilium_config, other.cilium_config)
    for name in ("server", "read", "cilium_config_changed", "unread", "notes"):
        assert getattr(one, name) == getattr(other, name)


def event(number: int, first: str = "2026-03-21T08:00:00Z", last: str = "") -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": "shop", "name": f"cart-{number:05}"}
    times = {"firstTimestamp": first, "lastTimestamp": last or first}
    return {"involvedObject": about, "reason": "Unhealthy", "type": "Warning", **times}


def window(start: str = "2026-03-21 08:00", end: str = "2026-03-21 09:00") -> Window:
    return Window.parse(start, end, step="30s", now=datetime(2026, 4, 1, tzinfo=UTC))


# --- what the recorded objects say -------------------------------------------------------------


def test_a_whole_cluster(kubernetes: Kubernetes, api: KubeApi, pauses: list[float]) -> None:
    cluster = load(kubernetes)
    assert cluster.notes == cluster.unread == ()
    assert cluster.server == api.url
    assert datetime.now(UTC) - cluster.read < timedelta(minutes=1)
    assert len(cluster.events) == 76
    assert len(cluster.nodes) == 7
    assert len(cluster.cilium_clusterwide_policies) == 5
    assert len(cluster.policies) == sum(len(api.objects[p]) for p in (CNP, CCNP))
    assert cluster.cilium_config.to_dict() == dict(sorted(SETTINGS.items()))
    assert cluster.cilium_config_changed == datetime(2026, 3, 21, 8, 15, tzinfo=UTC)
    assert "76 events, 7 nodes" in repr(cluster)
    assert pauses == []
    assert api.requests[0].headers["accept-encoding"] == "gzip"
    for name in tables.COLUMNS:
        frame: pd.DataFrame = getattr(cluster, name)
        assert list(frame.columns) == list(tables.COLUMNS[name])


def test_the_owners_manual_is_complete() -> None:
    for columns in tables.COLUMNS.values():
        for column in columns:
            assert column in (Cluster.__doc__ or "")


def test_events(kubernetes: Kubernetes) -> None:
    events = load(kubernetes).events
    assert events["last"].is_monotonic_increasing
    assert str(events["first"].dtype) == "datetime64[us, UTC]"
    scheduled = events[events["name"] == "crashpod-f9b59484-7828f"].iloc[0]
    assert scheduled["reason"] == "Scheduled"
    assert scheduled["first"] == scheduled["last"] == pd.Timestamp("2023-07-10T05:31:39.694297Z")
    assert scheduled["component"] == "default-scheduler"
    assert scheduled["count"] == 1
    assert (events["first"] <= events["last"]).all()
    assert (events["reason"] == "Failed").sum() == 13
    pulled = events[events["reason"] == "Pulled"].iloc[0]
    assert (pulled["component"], pulled["node"], pulled["kind"]) == ("kubelet", "minikube", "Pod")


def test_an_event_in_a_series() -> None:
    row = objects.event(
        {
            "involvedObject": {"kind": "Node", "name": "worker-2"},
            "eventTime": "2026-03-21T08:00:00.5Z",
            "series": {"count": 7, "lastObservedTime": "2026-03-21T08:20:00.123456789Z"},
            "reportingComponent": "kubelet",
        }
    )
    assert row["count"] == 7
    assert row["last"] == datetime(2026, 3, 21, 8, 20, 0, 123456, tzinfo=UTC)
    assert (row["namespace"], row["node"]) == ("", "worker-2")


def test_nodes(kubernetes: Kubernetes) -> None:
    nodes = load(kubernetes).nodes.set_index("name")
    marc = nodes.loc["repldev-marc"]
    assert marc["internal_ip"] == "10.168.0.26"
    assert marc["addresses"] == ["10.168.0.26", "repldev-marc"]
    assert marc["kubelet_version"] == "v1.16.2"
    assert marc["created"] == pd.Timestamp("2019-10-23T18:16:43Z")
    assert marc["ready_changed"] == pd.Timestamp("2019-10-31T21:28:36Z")
    assert nodes["ready"].all()
    assert not nodes["unschedulable"].any()
    assert nodes.loc["ip-172-31-21-92", "roles"] == "control-plane,master"


def test_a_cordoned_node_that_is_not_ready() -> None:
    labels = {"topology.kubernetes.io/zone": "b", "node-role.kubernetes.io/worker": "", "x": "y"}
    row = objects.node(
        {
            "metadata": {"labels": labels},
            "spec": {"unschedulable": True},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
        }
    )
    assert row["unschedulable"]
    assert not row["ready"]
    assert (row["zone"], row["roles"], row["internal_ip"]) == ("b", "worker", "")


def test_pods(kubernetes: Kubernetes) -> None:
    pods = load(kubernetes).pods.set_index("name")
    killed = pods.loc["oom-kill-job3-gbb89"]
    assert (killed["owner_kind"], killed["owner"]) == ("Job", "oom-kill-job3")
    assert (killed["node"], killed["ip"], killed["host_ip"]) == (
        "minikube",
        "172.17.0.3",
        "192.168.49.2",
    )
    assert (killed["phase"], killed["ready"], killed["restarts"]) == ("Failed", False, 0)
    assert (killed["last_exit"], killed["last_exit_reason"]) == (
        pd.Timestamp("2023-07-11T04:43:25Z"),
        "OOMKilled",
    )
    assert killed["labels"]["job-name"] == "oom-kill-job3"
    waiting = pods.loc["random-pod-75b66db9b9-nqhp8"]
    assert (waiting["owner_kind"], waiting["owner"]) == ("Deployment", "random-pod")
    assert pd.isna(waiting["last_exit"])


@pytest.mark.parametrize(
    ("kind", "name", "labels", "owner"),
    [
        ("ReplicaSet", "web-5d4f8", {"pod-template-hash": "5d4f8"}, ("Deployment", "web")),
        ("ReplicaSet", "web-5d4f8", {"pod-template-hash": "other"}, ("ReplicaSet", "web-5d4f8")),
        ("ReplicaSet", "web-5d4f8", {}, ("ReplicaSet", "web-5d4f8")),
        ("ReplicaSet", "web-5d4f8", {"pod-template-hash": ""}, ("ReplicaSet", "web-5d4f8")),
        ("ReplicaSet", "web-77", {"rollouts-pod-template-hash": "77"}, ("Rollout", "web")),
        ("ReplicationController", "db-3", {"deploymentconfig": "db"}, ("DeploymentConfig", "db")),
        ("Job", "backup-29012345", {}, ("CronJob", "backup")),
        ("Job", "backup-1574000000", {}, ("CronJob", "backup")),
        ("Job", "backup-2024", {}, ("Job", "backup-2024")),
        ("DaemonSet", "cilium", {}, ("DaemonSet", "cilium")),
        ("Node", "worker-1", {}, ("Node", "worker-1")),
    ],
)
def test_workloads(kind: str, name: str, labels: dict[str, str], owner: tuple[str, str]) -> None:
    references = [{"kind": "Other", "name": "x"}, {"kind": kind, "name": name, "controller": True}]
    meta = {"labels": labels, "ownerReferences": references}
    assert objects.workload({"metadata": meta}) == owner


def test_a_pod_of_nobody() -> None:
    assert objects.workload({"metadata": {"name": "alone"}}) == ("", "")


def test_what_prometheus_is_asked_to_scrape(kubernetes: Kubernetes, api: KubeApi) -> None:
    marks = {"prometheus.io/scrape": "true", "prometheus.io/port": "9965", "other": "x"}
    port = {"name": "hubble-metrics", "port": 9965, "targetPort": "hubble-metrics"}
    meta = {"name": "hubble-metrics", "namespace": "kube-system", "annotations": marks}
    spec = {"clusterIP": "None", "type": "ClusterIP", "ports": [port], "selector": {"a": "b"}}
    container = {"ports": [{"containerPort": 9962, "name": "prometheus", "protocol": "TCP"}]}
    agent = {"metadata": {"name": "cilium-x", "annotations": marks}}
    api.objects[PATHS["Service"]].append({"metadata": meta, "spec": spec})
    api.objects[PODS].append(agent | {"spec": {"containers": [container]}})
    cluster = load(kubernetes)
    (hubble,) = cluster.hubble_services.to_dict("records")
    assert hubble["headless"] is True
    assert hubble["prometheus"] == {"port": "9965", "scrape": "true"}
    assert hubble["ports"] == [{"name": "hubble-metrics", "port": 9965, "protocol": "TCP"}]
    pod = cluster.pods.set_index("name").loc["cilium-x"]
    assert pod["prometheus"] == hubble["prometheus"]
    assert pod["ports"] == [{"name": "prometheus", "port": 9962, "protocol": "TCP"}]


def test_policies(kubernetes: Kubernetes) -> None:
    cluster = load(kubernetes)
    found = cluster.policies.set_index("name")
    dns = found.loc["tofqdn-dns-visibility"].iloc[0]
    assert (dns["directions"], dns["l7"], dns["kind"]) == ("egress", "dns", "CiliumNetworkPolicy")
    assert dns["selects"] == "any:org=alliance"
    assert (dns["namespace"], dns["generation"]) == ("default", 1)
    host = found.loc["demo-host-policy"]
    assert (host["namespace"], host["selects"]) == ("", "nodes: node-access=ssh")
    assert found.loc["isolate-ns1"]["selects"].tolist() == ["*", "*"]
    assert found.loc["requires-rule"]["selects"] == "env=prod"
    assert (found["l7"] == "http").sum() == 4
    assert found["created"].notna().all()
    assert found["changed"].isna().all()
    assert not found["denies"].any()


def test_every_recorded_policy_has_a_direction() -> None:
    read = objects.cilium_policy("any")
    found = [read(thing) for thing in manifests() if thing["kind"].startswith("Cilium")]
    assert len(found) == 36
    assert {row["directions"] for row in found} == {"egress", "ingress", "egress,ingress"}


def test_a_policy_that_was_changed_and_is_not_valid() -> None:
    spec = {"endpointSelector": {}, "egressDeny": [{"toEntities": ["world"]}], "ingress": []}
    fields = [
        {"time": "2026-03-21T08:14:00Z", "fieldsV1": {"f:metadata": {}, "f:spec": {}}},
        {"time": "2026-03-21T08:12:00Z", "fieldsV1": {"f:spec": {}}},
        {"time": "2026-03-21T08:30:00Z", "fieldsV1": {"f:status": {}}},
        {"time": "2026-03-21T08:31:00Z", "fieldsV1": {"f:spec": {}}, "subresource": "status"},
    ]
    condition = {"type": "Valid", "status": "False"}
    row = objects.cilium_policy("CiliumNetworkPolicy")(
        {"metadata": {"managedFields": fields}, "spec": spec, "status": {"conditions": [condition]}}
    )
    assert row["changed"] == datetime(2026, 3, 21, 8, 14, tzinfo=UTC)
    assert (row["directions"], row["denies"], row["valid"]) == ("egress", True, "False")


def test_layer_seven_rules_of_any_kind() -> None:
    port: dict[str, Any] = {"rules": {"kafka": [{}], "http": [], "dns": None}}
    own = {"rules": {"l7proto": "envoy.filter", "l7": [{}]}}
    spec = {"ingress": [{"toPorts": [port, own]}, {}]}
    row = objects.cilium_policy("CiliumNetworkPolicy")({"specs": [spec, {"nodeSelector": {}}]})
    assert row["l7"] == "envoy.filter,kafka"
    assert row["selects"] == "*; nodes: *"


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, "ingress"),
        ({"egress": [{}]}, "egress,ingress"),
        ({"policyTypes": ["Egress"]}, "egress"),
        ({"policyTypes": ["Ingress", "Egress"]}, "egress,ingress"),
    ],
)
def test_policies_of_kubernetes(spec: dict[str, Any], directions: str) -> None:
    row = objects.network_policy({"spec": spec | {"podSelector": {"matchLabels": {"a": "b"}}}})
    assert (row["kind"], row["directions"], row["selects"]) == ("NetworkPolicy", directions, "a=b")


def test_selectors() -> None:
    expressions = [
        {"key": "env", "operator": "In", "values": ["a", "b"]},
        {"key": "env", "operator": "NotIn", "values": ["c"]},
        {"key": "x", "operator": "Exists"},
        {"key": "y", "operator": "DoesNotExist"},
        {"key": "z", "operator": "Odd"},
    ]
    thing = {"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": expressions}
    assert objects.selector(thing) == "a=1,b=2,env in (a,b),env notin (c),x,!y,z Odd"


# --- windows ------------------------------------------------------------------------------------


def test_only_events_of_the_window(kubernetes: Kubernetes, api: KubeApi) -> None:
    times = [
        ("2026-03-21T07:00:00Z", "2026-03-21T07:59:59Z"),
        ("2026-03-21T07:00:00Z", "2026-03-21T08:00:00Z"),
        ("2026-03-21T07:00:00Z", "2026-03-21T10:00:00Z"),
        ("2026-03-21T09:00:00Z", ""),
        ("2026-03-21T09:00:01Z", ""),
    ]
    api.objects[EVENTS] = [event(n, *pair) for n, pair in enumerate(times)]
    cluster = load(kubernetes, window=window())
    assert cluster.events["name"].tolist() == ["cart-00001", "cart-00003", "cart-00002"]
    assert cluster.notes == ()
    assert_frame_equal(during(load(kubernetes).events, window()), cluster.events)


def test_forgotten_events_are_noted(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.objects[EVENTS] = [event(1, "2026-03-21T08:40:00Z")]
    cluster = load(kubernetes, window=window())
    (note,) = cluster.notes
    assert "The oldest event is of 08:40 UTC" in note
    assert cluster.unread == ()


def test_no_events_at_all(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.objects[EVENTS] = []
    cluster = load(kubernetes, window=window())
    assert cluster.events.empty
    assert str(cluster.events["last"].dtype) == "datetime64[us, UTC]"


# --- lists, page by page ------------------------------------------------------------------------


def test_pages(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.objects[EVENTS] = [event(n) for n in range(1201)]
    assert load(kubernetes).events["name"].nunique() == 1201
    asked = [dict(request.params) for request in api.asked(EVENTS)]
    assert [one.get("continue") for one in asked] == [None, "1-500", "1-1000"]
    assert {one["limit"] for one in asked} == {"500"}


def test_an_expired_list_begins_again(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.objects[EVENTS] = [event(n) for n in range(600)]
    api.then(EVENTS, lambda: None, lambda: api.change(EVENTS, [event(7), event(9)]))
    cluster = load(kubernetes)
    assert cluster.events["name"].tolist() == ["cart-00007", "cart-00009"]
    assert cluster.notes == ()
    assert len(api.asked(EVENTS)) == 3


def test_a_list_that_expires_twice_is_not_mixed(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.objects[EVENTS] = [event(n) for n in range(600)]
    change = [lambda: None, lambda: api.change(EVENTS, [event(n) for n in range(700)])]
    api.then(EVENTS, *change, *change)
    cluster = load(kubernetes)
    assert cluster.events.empty
    assert cluster.unread == ("events",)
    assert cluster.notes == ("cannot read events: it changed while it was read, twice; try again",)
    assert len(cluster.nodes) == 7


def test_pages_that_never_end(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.always(EVENTS, Reply(b'{"items": [], "metadata": {"continue": "again"}}'))
    (note,) = load(kubernetes).notes
    assert "never end" in note
    assert len(api.asked(EVENTS)) == 2


# --- rights -------------------------------------------------------------------------------------


def test_the_role_is_what_is_asked_for(kubernetes: Kubernetes, api: KubeApi) -> None:
    load(kubernetes)
    role = yaml.safe_load(cluster_role())
    assert role["kind"] == "ClusterRole"
    granted = granted_by(role)
    assert granted == api.rights()
    assert {verb for *_, verb, _ in granted} == {"get", "list"}
    assert "secrets" not in cluster_role().lower().split("rules:")[1]


def test_a_missing_right_is_named_and_the_rest_is_read(
    kubernetes: Kubernetes, api: KubeApi
) -> None:
    api.forbid(CNP).forbid(PODS).forbid(CONFIG)
    cluster = load(kubernetes)
    assert cluster.unread == ("cilium_policies", "pods", "cilium_config")
    policies_note, pods_note, config_note = cluster.notes
    assert policies_note == (
        "cannot list ciliumnetworkpolicies.cilium.io (403): ask for list on"
        " ciliumnetworkpolicies of the API group cilium.io in the ClusterRole; the server says:"
        ' ciliumnetworkpolicies is forbidden: User "reader" cannot list resource'
        ' "ciliumnetworkpolicies"'
    )
    assert 'list on pods of the core API group "" in the ClusterRole' in pods_note
    assert "cannot get configmaps (403): ask for get on configmaps" in config_note
    assert cluster.cilium_policies.empty
    assert list(cluster.cilium_policies.columns) == list(tables.COLUMNS["cilium_policies"])
    assert cluster.cilium_config.empty
    assert len(cluster.nodes) == 7
    assert len(api.asked(CNP)) == 1


def test_no_rights_at_all(kubernetes: Kubernetes, api: KubeApi) -> None:
    for path in (*PATHS.values(), CONFIG):
        api.forbid(path)
    cluster = load(kubernetes)
    assert set(cluster.unread) == {*tables.COLUMNS, "cilium_config"}
    assert len(cluster.notes) == len(cluster.unread)


def test_a_cluster_without_cilium(kubernetes: Kubernetes, api: KubeApi) -> None:
    del api.objects[CNP], api.objects[CCNP]
    api.config = None
    cluster = load(kubernetes, cilium_namespace="cilium")
    assert cluster.unread == ("cilium_policies", "cilium_clusterwide_policies", "cilium_config")
    assert cluster.notes[0] == (
        "cannot read ciliumnetworkpolicies.cilium.io:"
        " the cluster does not have this kind of object (404)"
    )
    assert "name the namespace in which Cilium runs" in cluster.notes[2]
    assert api.requests[-1].path == "/api/v1/namespaces/cilium/configmaps/cilium-config"


def test_refused_credentials(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.token = TOKEN
    with pytest.raises(SourceError, match="does not accept the credentials; log in again"):
        load(kubernetes)
    assert len(api.requests) == 1


# --- a server in trouble ------------------------------------------------------------------------


def test_it_waits_as_long_as_it_is_asked_to(
    kubernetes: Kubernetes, api: KubeApi, pauses: list[float]
) -> None:
    api.then(NODES, status(429, "TooManyRequests", Retry_After="7"))
    api.then(PODS, status(500, "InternalError"), status(503), status(504))
    cluster = load(kubernetes)
    assert cluster.notes == ()
    assert (len(cluster.nodes), len(cluster.pods)) == (7, 6)
    assert pauses[0] == 7
    assert 0 < pauses[1] < pauses[3] * 2


def test_it_does_not_wait_for_ever(
    kubernetes: Kubernetes, api: KubeApi, pauses: list[float]
) -> None:
    api.then(NODES, status(429, Retry_After="86400"), status(429, Retry_After="soon"))
    assert load(kubernetes).notes == ()
    assert pauses[0] == 30
    assert pauses[1] < 10


def test_a_server_error_that_stays_is_noted(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.always(
        EVENTS, status(500, "InternalError", "etcdserver:\n request <b>timed out</b>\x1b[0m")
    )
    cluster = load(kubernetes)
    assert cluster.notes == (
        f"cannot read events: {api.url} answered 500 (etcdserver: request <b>timed out</b> [0m)",
    )
    assert len(api.asked(EVENTS)) == kubernetes.retries + 1


def test_a_refusal_is_not_repeated(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.always(EVENTS, status(400, "BadRequest", "x" * 1000))
    (note,) = load(kubernetes).notes
    assert len(note) < 400
    assert len(api.asked(EVENTS)) == 1


def test_broken_answers_are_asked_for_again(kubernetes: Kubernetes, api: KubeApi) -> None:
    whole = json.dumps({"items": [event(1)]}).encode()
    api.then(EVENTS, Reply(whole[:20]), Reply(whole, ends="cut", at=20), Reply(whole))
    cluster = load(kubernetes)
    assert cluster.notes == ()
    assert cluster.events["name"].tolist() == ["cart-00001"]


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"items": 7}', b"", b"{", b"<html>", b"\xff"])
def test_what_is_no_list_is_noted(kubernetes: Kubernetes, api: KubeApi, body: bytes) -> None:
    api.always(EVENTS, Reply(body))
    cluster = load(kubernetes)
    assert cluster.unread == ("events",)
    assert "is it the Kubernetes API?" in cluster.notes[0]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (page(), "answered with a web page; is it the Kubernetes API?"),
        (Reply(b'{"status": "success"}'), "answered with no list"),
        (text(404, "not here"), "does not know them (404)"),
        (page(302, Location="http://127.0.0.1:1/login"), "redirects, which is not followed"),
        (Reply(b"{", chunk=1), "answered with broken JSON"),
        (page(503), "answered 503 (Service Unavailable)"),
        (page(403, "Blocked"), "the server says: Forbidden"),
    ],
)
def test_another_server_is_an_error(tmp_path: Path, reply: Reply, why: str) -> None:
    with Stub(reply) as stub:
        file = write_kubeconfig(tmp_path / "kubeconfig", stub.url, token=TOKEN)
        with pytest.raises(KubernetesUnavailable) as caught:
            load(Kubernetes(str(file), retries=1, pause=lambda _: None))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreachable_server(tmp_path: Path, pauses: list[float]) -> None:
    file = write_kubeconfig(tmp_path / "kubeconfig", "http://user:pass@127.0.0.1:9")
    with pytest.raises(KubernetesUnavailable) as caught:
        load(Kubernetes(str(file), timeout=2, pause=pauses.append))
    said = str(caught.value)
    assert said.startswith("cannot read namespaces: cannot reach http://127.0.0.1:9 (")
    assert said.endswith("Connection refused); is it running, and reachable from here?")
    assert len(pauses) == 4


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    file = write_kubeconfig(tmp_path / "kubeconfig", "http://api.cluster.invalid:6443")
    with pytest.raises(KubernetesUnavailable, match=r"cannot reach http://api\.cluster\.invalid"):
        load(Kubernetes(str(file), timeout=2, retries=0))


def test_a_slow_server(kubernetes: Kubernetes, api: KubeApi) -> None:
    gate = threading.Event()
    quick = Kubernetes(kubernetes.kubeconfig, timeout=0.2, pause=kubernetes.pause)
    api.then(NODES, *[Reply(b'{"items": []}', gate=gate)] * 2)
    api.then(PODS, *[Reply(b'{"items": [', ends="stall", at=5, gate=gate)] * 2)
    try:
        cluster = load(quick)
    finally:
        gate.set()
    assert cluster.unread == ("nodes", "pods")
    assert cluster.notes[0] == (
        f"cannot read nodes: no answer of {api.url} within the timeout of 0.2 s"
    )
    assert len(api.asked(NODES)) == len(api.asked(PODS)) == 2


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    gate = threading.Event()
    with Stub(Reply(b"{}", gate=gate)) as stub:
        file = write_kubeconfig(tmp_path / "kubeconfig", stub.url)
        try:
            with pytest.raises(KubernetesUnavailable, match=r"timeout of 0\.1 s"):
                load(Kubernetes(str(file), timeout=0.1, pause=lambda _: None))
        finally:
            gate.set()


def test_a_page_in_drops(tmp_path: Path, api: KubeApi) -> None:
    # Each chunk comes in time, the page does not.
    api.then(NODES, *[Reply(b" " * 3_000_000, chunk=1)] * 2)
    file = write_kubeconfig(tmp_path / "kubeconfig", api.url)
    cluster = load(Kubernetes(str(file), timeout=0.3, pause=lambda _: None))
    assert cluster.unread == ("nodes",)


# --- credentials --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def safe_api(authority: trustme.CA) -> Iterator[KubeApi]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with KubeApi(config=SETTINGS, token=TOKEN, tls=context) as server:
        yield server


def trusted(authority: trustme.CA, folder: Path) -> str:
    file = folder / "ca.crt"
    authority.cert_pem.write_to_path(file)
    return str(file)


def test_the_token_is_sent_and_kept_nowhere(
    safe_api: KubeApi,
    authority: trustme.CA,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    safe_api.always(EVENTS, status(500, "InternalError", f"Authorization: Bearer {TOKEN}"))
    trust = trusted(authority, tmp_path)
    file = write_kubeconfig(tmp_path / "config", safe_api.url, token=TOKEN, authority=trust)
    kubernetes = Kubernetes(str(file), pause=lambda _: None)
    cluster = load(kubernetes)
    assert cluster.unread == ("events",)
    assert "(Authorization: Bearer …)" in cluster.notes[0]
    assert len(cluster.nodes) == 7
    with kubernetes.reader() as reader:
        shown = [repr(reader), repr(kubernetes), str(vars(kubernetes))]
    shown += [repr(cluster), json.dumps(cluster.as_json()), caplog.text, *capfd.readouterr()]
    assert not any(SECRET in one for one in shown)
    assert safe_api.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_an_unknown_authority(safe_api: KubeApi, tmp_path: Path) -> None:
    trust = trusted(trustme.CA(), tmp_path)
    file = write_kubeconfig(tmp_path / "config", safe_api.url, token=TOKEN, authority=trust)
    with pytest.raises(KubernetesUnavailable) as caught:
        load(Kubernetes(str(file), retries=0))
    assert "no TLS with https://127.0.0.1" in str(caught.value)
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert safe_api.requests == []


def test_a_token_that_is_none_is_not_quoted(api: KubeApi, tmp_path: Path) -> None:
    file = write_kubeconfig(tmp_path / "config", api.url, token=f"{TOKEN}\nX-More: yes")
    with pytest.raises(KubernetesUnavailable) as caught:
        load(Kubernetes(str(file), retries=0))
    assert "the token in the kubeconfig" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert api.requests == []


def test_a_redirect_takes_the_token_nowhere(tmp_path: Path) -> None:
    with Stub(Reply(b'{"items": []}')) as other:
        with Stub(page(307, Location=f"{other.url}/api/v1/namespaces")) as stub:
            file = write_kubeconfig(tmp_path / "config", stub.url, token=TOKEN)
            with pytest.raises(KubernetesUnavailable, match="redirects"):
                load(Kubernetes(str(file)))
        assert other.requests == []


def test_the_service_account_of_a_pod(
    safe_api: KubeApi,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trusted(authority, tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    at_home(monkeypatch, tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(safe_api.stub.port))
    cluster = load(Kubernetes(service_account=str(tmp_path)))
    assert cluster.server == safe_api.url
    assert cluster.notes == ()
    with pytest.raises(SourceError, match="holds no service account"):
        load(Kubernetes(service_account=str(tmp_path / "none")))


def at_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HOME", str(home))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_where_a_kubeconfig_is_looked_for(
    api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(monkeypatch, tmp_path)
    with pytest.raises(SourceError, match="no cluster to ask: there is no kubeconfig"):
        load(Kubernetes())
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube" / "config", api.url)
    assert load(Kubernetes()).server == api.url
    with KubeApi() as other:
        named = write_kubeconfig(tmp_path / "named", other.url)
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{named}")
        assert load(Kubernetes()).server == other.url
    with pytest.raises(SourceError, match="there is no kubeconfig nowhere"):
        load(Kubernetes("nowhere"))


def test_contexts(api: KubeApi, tmp_path: Path) -> None:
    file = str(write_kubeconfig(tmp_path / "config", api.url, context="production"))
    assert load(Kubernetes(file, "production")).server == api.url
    with pytest.raises(SourceError, match="no context 'produktion': did you mean production"):
        load(Kubernetes(file, "produktion"))
    with pytest.raises(KubernetesUnavailable, match=r"127\.0\.0\.1:1 "):
        load(Kubernetes(file, "elsewhere", retries=0))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "[]",
        lambda text: f"token: {TOKEN}\n\t{text}",
        lambda text: text.replace(
            "token:", "auth-provider: {name: gcp, config: {expiry: x}}\n    token:"
        ),
        lambda text: text.replace("contexts:", "elsewhere:"),
        lambda text: text.replace("http://127.0.0.1", "api.example"),
        lambda text: text.replace("cluster: near", "cluster: nowhere"),
        lambda text: text.replace(
            "server: http://127.0.0.1", "certificate-authority: none\n    server: https://127.0.0.1"
        ),
    ],
)
def test_a_kubeconfig_without_sense(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    file = write_kubeconfig(tmp_path / "config", "http://127.0.0.1:9", token=TOKEN)
    file.write_text(spoil(file.read_text()))
    with pytest.raises(SourceError) as caught:
        load(Kubernetes(str(file)))
    assert SECRET not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_client_of_your_own(api: KubeApi) -> None:
    configuration = Configuration()
    configuration.host = api.url
    # Its name in the client, then and now.
    for name in ("authorization", "BearerToken"):
        configuration.api_key[name] = f"Bearer {TOKEN}"
    with ApiClient(configuration) as client:
        kubernetes = Kubernetes(client=client)
        assert "ApiClient" not in repr(kubernetes)
        assert load(kubernetes).notes == ()
        assert load(kubernetes).server == api.url
    assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(SourceError, match=r"pip install 'cilium-analysis\[kubernetes\]'"):
        load(Kubernetes())


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}])
def test_options_without_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="cannot be: use"):
        Kubernetes(**options)


def test_the_package_is_imported_late() -> None:
    code = "import sys, cilium_analysis.kube; sys.exit('kubernetes' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- JSON ---------------------------------------------------------------------------------------


def through_json(cluster: Cluster) -> Cluster:
    return Cluster.from_json(json.loads(json.dumps(cluster.as_json())))


def test_a_recorded_cluster_comes_back(kubernetes: Kubernetes, api: KubeApi) -> None:
    api.forbid(CCNP)
    cluster = load(kubernetes)
    again = through_json(cluster)
    assert_same(cluster, again)
    assert again.as_json() == cluster.as_json()


def test_no_environment_of_a_container_is_kept(kubernetes: Kubernetes, api: KubeApi) -> None:
    pod = recorded_list("pods-oomkill.json")[0]
    pod["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "hunter2"}]
    pod["metadata"]["annotations"] = {"last-applied-configuration": "hunter2"}
    api.objects[PODS] = [pod]
    assert "hunter2" not in json.dumps(load(kubernetes).as_json())


def values(kind: str) -> st.SearchStrategy[object]:
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=4,
    )
    kinds: dict[str, st.SearchStrategy[object]] = {
        "text": st.text(),
        "flag": st.booleans(),
        "number": st.integers(-(2**63) + 1, 2**63 - 1),
        "time": st.none() | st.datetimes(timezones=st.just(UTC)),
        "pairs": st.dictionaries(st.text(), st.text(), max_size=3),
        "list": st.lists(anything, max_size=3),
    }
    return kinds[kind]


def table(name: str) -> st.SearchStrategy[pd.DataFrame]:
    row = st.fixed_dictionaries({c: values(kind) for c, kind in tables.COLUMNS[name].items()})
    return st.lists(row, max_size=3).map(lambda rows: tables.frame(name, rows))


@pytest.mark.slow
@given(st.data(), st.sampled_from(sorted(tables.COLUMNS)))
@settings(max_examples=40, deadline=None)
def test_any_cluster_comes_back(data: st.DataObject, name: str) -> None:
    config = data.draw(st.dictionaries(st.text(), st.text(), max_size=3))
    frames = {one: tables.frame(one, []) for one in tables.COLUMNS}
    frames[name] = data.draw(table(name))
    cluster = Cluster(
        server=data.draw(st.text()),
        read=data.draw(st.datetimes(timezones=st.just(UTC))),
        **frames,
        cilium_config=pd.Series(
            list(config.values()),
            index=pd.Index(list(config), dtype="str", name="key"),
            dtype="str",
            name="cilium_config",
        ),
        cilium_config_changed=data.draw(st.none() | st.datetimes(timezones=st.just(UTC))),
        unread=tuple(data.draw(st.lists(st.text(), max_size=2))),
        notes=tuple(data.draw(st.lists(st.text(), max_size=2))),
    )
    again = through_json(cluster)
    assert_same(cluster, again)
    assert again.as_json() == cluster.as_json()


WORDS = """
    metadata spec specs status name namespace labels annotations ownerReferences controller kind
    conditions type addresses containers containerStatuses state lastState terminated ports
    ingress egress toPorts rules http endpointSelector matchLabels matchExpressions operator
    policyTypes managedFields fieldsV1 f:spec time eventTime series count involvedObject data
    creationTimestamp finishedAt restartCount values podSelector
"""
NAMES = st.sampled_from(WORDS.split())
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["Ready", "InternalIP", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    ),
    st.sampled_from(["2026-03-21T08:00:00Z", "2026-03-21", "ReplicaSet", "Job", "Ingress"]),
)
THINGS = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    ),
    max_size=4,
)


@pytest.mark.slow
@given(st.lists(THINGS, max_size=3), st.sampled_from(RESOURCES))
@settings(max_examples=150, deadline=None)
def test_no_object_can_break_a_table(things: list[dict[str, Any]], resource: Resource) -> None:
    found = tables.ordered(resource.table, map(resource.row, things))
    frame = tables.frame(resource.table, found)
    written = json.dumps(tables.as_json(resource.table, frame))
    assert_frame_equal(tables.from_json(resource.table, json.loads(written)), frame)
    for thing in things:
        CONFIGURATION.row(thing)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        {"schema": "cilium-analysis/kubernetes/2"},
        {"events": None},
        {"events": [7]},
        {"nodes": [{"name": "a"}]},
        {"read": None},
        {"read": "yesterday"},
        {"read": "2026-03-21T08:00:00"},
        {"cilium_config": {"a": 1}},
        {"cilium_config": []},
        {"cilium_config_changed": 5},
        {"notes": [1]},
        {"notes": None},
        {"server": None},
        {"namespaces": [{"name": "a", "phase": "", "labels": {}, "created": 1}]},
        {"namespaces": [{"name": "a", "phase": "", "labels": [], "created": None}]},
    ],
)
def test_damaged_json(kubernetes: Kubernetes, damage: dict[str, Any]) -> None:
    document = load(kubernetes).as_json()
    with pytest.raises(BundleError, match="the Kubernetes objects"):
        Cluster.from_json(document | damage)
    for key in damage:
        with pytest.raises(BundleError):
            Cluster.from_json({name: value for name, value in document.items() if name != key})


@pytest.mark.parametrize("document", [None, [], "x", {}])
def test_what_is_no_cluster(document: Any) -> None:
    with pytest.raises(BundleError, match="have the schema None"):
        Cluster.from_json(document)
