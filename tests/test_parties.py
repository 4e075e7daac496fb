"""Who talks to whom, by whichever labels Hubble has."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cilium_analysis import frames
from cilium_analysis.topics.parties import name_parties, namespace_of, party, readable, spellings

POD = (
    "k8s:{},k8s:io.cilium.k8s.policy.cluster=default,"
    "k8s:io.cilium.k8s.policy.serviceaccount={},k8s:io.kubernetes.pod.namespace=shop"
)
IDENTITIES = {
    POD.format("app.kubernetes.io/name=web", "web"): "shop/web",
    POD.format("app.kubernetes.io/name=web,k8s:app=other", "x"): "shop/web",
    POD.format("k8s-app=kube-dns", "coredns"): "shop/kube-dns",
    POD.format("tier=back", "payments"): "shop/payments",
    POD.format("tier=back", "default"): "shop/tier=back",
    POD.format("example.com/role=db,k8s:team.example.com/part=primary", "default"): "shop/role=db",
    POD.format("batch.kubernetes.io/job-name", "default"): "shop/job-name",
    "k8s:io.kubernetes.pod.namespace=shop": "shop",
    "k8s:io.cilium.k8s.policy.serviceaccount=default,k8s:io.kubernetes.pod.namespace=shop": (
        "shop/default"
    ),
    "container:app=web": "web",
    "cidr:203.0.113.7/32,reserved:world": "203.0.113.7/32",
    # Up to Cilium 1.15 an identity has each wider prefix, too.
    "cidr:0.0.0.0/0,cidr:203.0.113.0/24,cidr:192.0.0.0/2,reserved:world": "203.0.113.0/24",
    "cidr:2001-db8--1/128,reserved:world-ipv6": "2001:db8::1/128",
    "cidr:0--0/0,reserved:world": "::/0",
    "cidr:172.18.0.2/32,reserved:kube-apiserver,reserved:world": "kube-apiserver",
    "reserved:kube-apiserver,reserved:remote-node": "kube-apiserver",
    "fqdn:*.example.com,reserved:world": "*.example.com",
    "cidrgroup:partners,reserved:world": "partners",
    "reserved:world": "world",
    "reserved:host": "host",
    "reserved:host,k8s:node-role.kubernetes.io/control-plane": "host",
}


@pytest.mark.parametrize(("identity", "name"), IDENTITIES.items())
def test_an_identity_becomes_a_name(identity: str, name: str) -> None:
    assert readable(identity) == name


@pytest.mark.parametrize(
    "context",
    ["", "shop/web", "shop/web-7c9d8b6f5d-x2k9p", "10.0.0.1", "fd00::1", "a.example.com,b.", "web"],
)
def test_other_contexts_stay_as_they_are(context: str) -> None:
    assert readable(context) == context


@pytest.mark.parametrize(
    ("name", "parts"),
    {
        "shop/web": ("shop", "web"),
        "shop/role=db": ("shop", "role=db"),
        "web": ("", "web"),
        "world": ("", "world"),
        "203.0.113.7/32": ("", "203.0.113.7/32"),
        "2001:db8::1/128": ("", "2001:db8::1/128"),
        "::/0": ("", "::/0"),
        "k8s:app.kubernetes.io/name=web": ("", "k8s:app.kubernetes.io/name=web"),
        "a/b/c": ("", "a/b/c"),
        "/web": ("", "/web"),
        "shop/": ("", "shop/"),
        "": ("", ""),
    }.items(),
)
def test_only_a_namespace_is_split_off(name: str, parts: tuple[str, str]) -> None:
    assert namespace_of(name) == parts


@pytest.mark.parametrize(("identity", "name"), IDENTITIES.items())
def test_the_name_of_an_identity_is_split_as_it_was_made(identity: str, name: str) -> None:
    space = "shop" if "pod.namespace=shop" in identity and name != "shop" else ""
    assert namespace_of(name) == (space, name.removeprefix("shop/") if space else name)


def counted(*series: dict[str, str]) -> pd.DataFrame:
    """One event of each series."""
    return frames.build(np.array([0, 30_000]), np.ones((2, len(series))), series)


def named(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    """What was counted by source and destination."""
    sums = frames.totals(name_parties(frame, ()), ["source", "destination"])
    return {(str(a), str(b)): float(sums[a, b]) for a, b in sums.index}


def test_labels_of_workloads_are_preferred_to_the_context() -> None:
    table = pd.DataFrame(
        [
            {"source": "api", "source_namespace": "default", "source_workload": "api"},
            {"source": "reserved:world", "source_namespace": "", "source_workload": ""},
        ]
    )
    assert party(table, "source") == ["default/api", "world"]


def test_both_spellings_of_a_workload_are_one() -> None:
    """The DNS proxy's flows carry the app and not the namespace."""
    frame = counted(
        {"source_app": "front", "source_namespace": "shop", "destination_app": "dns"},
        {"source_app": "front", "source_namespace": "", "destination_app": "dns"},
        {"destination_app": "front", "source_app": "dns"},
    )
    assert named(frame) == {("shop/front", "dns"): 4.0, ("dns", "shop/front"): 2.0}


def test_a_bare_name_of_two_namespaces_stays_as_it_is() -> None:
    frame = counted(
        {"source_app": "front", "source_namespace": "shop"},
        {"source_app": "front", "source_namespace": "test"},
        {"source_app": "front"},
    )
    assert named(frame) == {("shop/front", ""): 2.0, ("test/front", ""): 2.0, ("front", ""): 2.0}


def test_a_reserved_name_is_no_workload() -> None:
    frame = counted(
        {"source_app": "host", "source_namespace": "shop"},
        {"source": "reserved:host"},
    )
    assert named(frame) == {("shop/host", ""): 2.0, ("host", ""): 2.0}


def test_other_metrics_can_prove_what_a_bare_name_stands_for() -> None:
    dns = counted({"source_app": "front", "method": "GET"})
    flows = counted({"source_app": "front", "source_namespace": "shop"})
    assert spellings(dns) == {}
    full = spellings(dns, flows)
    assert set(frames.labels(name_parties(dns, (), spelled=full))["source"]) == {"shop/front"}
