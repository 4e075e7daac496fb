"""Schedules whose Prometheus is found by the API of a cluster: what is printed can find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cilium_analysis.cli import main
from cilium_analysis.connection import connect
from tests.faults import vector
from tests.kube_api import PATHS, KubeApi, granted_by, write_kubeconfig
from tests.test_schedule import (
    URL,
    VERSIONS,
    arguments_of,
    command_of,
    objects,
    parsed,
    pod_of,
    printed,
    service_of,
)
from tests.test_ways_kubernetes import STACK
from tests.test_ways_pods import PODS, pod

SECRETS = "/etc/cilium-analysis/secrets"
NAMED = "kubernetes:monitoring/kps-prometheus:9090"
SOURCES = ("kubernetes:", NAMED, "kubernetes:monitoring/kps-prometheus")


@pytest.mark.parametrize("source", SOURCES)
def test_a_pod_may_ask_what_it_takes_to_find_it_and_no_more(
    source: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(capsys, "kubernetes", "--source", source)
    found = objects(text)
    assert pod_of(text)["automountServiceAccountToken"] is True
    assert parsed(arguments_of(text))["source"] == source
    role, binding = found["ClusterRole"], found["ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert subject["name"] == pod_of(text)["serviceAccountName"]
    granted = granted_by(role)
    proxied = {NAMED.removeprefix("kubernetes:"): lambda _: vector(({}, 1.0, "6"))}
    stack = STACK | {"spec": STACK["spec"] | {"selector": {"app": "prometheus"}}}
    with KubeApi({PATHS["Service"]: [stack], PODS: [pod("prometheus-0")]}, proxied=proxied) as api:
        config = write_kubeconfig(tmp_path / "kubeconfig", api.url)
        monkeypatch.setenv("KUBECONFIG", str(config))
        connect(source)
        # By an API server the Service is asked through it; in a pod by its address.
        assert granted == {right for right in api.rights() if "proxy" not in right[1]}
    for version in VERSIONS:
        for one in yaml.safe_load_all(text):
            if one:
                kubernetes_validate.validate(one, version, strict=True)


def test_the_role_of_a_source_does_not_take_rights_from_other_schedules(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--source", NAMED, "--kubernetes", "in-cluster", "--name", "nightly"]
    text = printed(capsys, "kubernetes", *given)
    roles = [one for one in yaml.safe_load_all(text) if one and one["kind"] == "ClusterRole"]
    bindings = [r for r in yaml.safe_load_all(text) if r and r["kind"] == "ClusterRoleBinding"]
    names = ["cilium-analysis", "monitoring-nightly-source"]
    assert [one["metadata"]["name"] for one in roles] == names
    assert [one["roleRef"]["name"] for one in bindings] == names
    assert len({one["metadata"]["name"] for one in bindings}) == 2
    assert "ClusterRole" not in objects(printed(capsys, "kubernetes", "--source", URL))


def test_a_service_and_cron_take_the_kubeconfig(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--source", "kubernetes:?context=prod", "--kubeconfig", "/root/.kube/config"]
    body = service_of(printed(capsys, "systemd", *given))
    assert body["LoadCredential"] == ["kubeconfig:/root/.kube/config"]
    assert "KUBECONFIG=%d/kubeconfig" in body["Environment"]
    assert parsed(command_of(body)[1:])["source"] == given[1]
    assert "KUBECONFIG=/root/.kube/config" in printed(capsys, "cron", *given)
    assert "KUBECONFIG" not in printed(capsys, "cron", "--source", "openshift:")


FLEET = f"""\
window: {{last: 1h}}
clusters:
  - name: here
    source: kubernetes:monitoring/prometheus:9090
  - name: there
    source: kubernetes:?context=there&kubeconfig={SECRETS}/there&via=port-forward
  - name: openshift
    source: openshift:?kubeconfig={SECRETS}/openshift
"""


def test_a_fleet_in_a_pod_has_its_kubeconfigs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    text = printed(capsys, "kubernetes", "--fleet", str(file), "--secret", "guarded")
    (secret,) = [one["secret"] for one in pod_of(text)["volumes"] if "secret" in one]
    assert {item["path"] for item in secret["items"]} == {"there", "openshift"}
    rules = objects(text)["ClusterRole"]["rules"]
    assert [(rule["resources"], rule["verbs"], rule.get("resourceNames")) for rule in rules] == [
        (["services"], ["get"], ["prometheus"]),
        (["pods"], ["list"], None),
    ]
    assert pod_of(text)["automountServiceAccountToken"] is True
    file.write_text(
        "".join(FLEET.splitlines(keepends=True)[:2]) + FLEET[FLEET.index("  - name: t") :]
    )
    text = printed(capsys, "kubernetes", "--fleet", str(file), "--secret", "guarded")
    assert "ClusterRole" not in objects(text)
    assert pod_of(text)["automountServiceAccountToken"] is False


BAD: dict[str, tuple[list[str], str]] = {
    "context": (["kubernetes", "--source", "kubernetes:?context=a"], "leave context= out"),
    "kubeconfig": (
        ["kubernetes", "--source", "kubernetes:?kubeconfig=/a"],
        "leave kubeconfig= out",
    ),
    "via": (
        ["kubernetes", "--source", f"{NAMED}?via=port-forward"],
        "leave via= out of the source",
    ),
    "openshift": (
        ["kubernetes", "--source", "openshift:"],
        "write https://thanos-querier.openshift-monitoring.svc:9091, with a token",
    ),
    "a service": (["systemd", "--source", "kubernetes:"], "add --kubeconfig FILE"),
    "a service on OpenShift": (["systemd", "--source", "openshift:"], "add --kubeconfig FILE"),
    "a service's file": (
        ["systemd", "--source", "kubernetes:?kubeconfig=/a", "--kubeconfig", "/a"],
        "give --kubeconfig, not kubeconfig=",
    ),
    "no use": (["cron", "--source", URL, "--kubeconfig", "/a"], "--kubeconfig needs a context"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_not_printed(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, words = BAD[case]
    assert main(["schedule", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert words in line


@pytest.mark.parametrize(
    ("platform", "cluster", "words"),
    [
        ("kubernetes", {"source": "kubernetes:?context=a"}, "leave context= out of the source"),
        ("kubernetes", {"source": "openshift:"}, "a pod has no user of OpenShift"),
        (
            "kubernetes",
            {"source": "kubernetes:?kubeconfig=/home/a/config"},
            f"kubeconfig of the source is in no volume of the pod: write it as {SECRETS}/KEY",
        ),
        ("systemd", {"source": "kubernetes:"}, "name one, as ?kubeconfig=/… in the source"),
        ("systemd", {"source": URL, "kubernetes": "here"}, "name one, as kubeconfig: /…"),
    ],
)
def test_a_fleet_that_cannot_run_is_not_printed(
    platform: str,
    cluster: dict[str, Any],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(
        yaml.safe_dump({"window": {"last": "1h"}, "clusters": [{"name": "a"} | cluster]})
    )
    assert main(["schedule", platform, "--fleet", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    if platform == "systemd":
        assert "fleet" in printed(capsys, "cron", "--fleet", str(file))


@pytest.mark.parametrize("keys", ["token", "username,password", "http-config"])
def test_credentials_are_for_a_service_that_is_named(
    keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["schedule", "kubernetes", "--secret", f"guarded:{keys}", "--source"]
    assert main([*given, "kubernetes:"]) == 2
    said = capsys.readouterr().err
    assert "only found gets no credentials: name it, as --source kubernetes:NAMESPACE/SERV" in said
    assert main([*given, NAMED]) == 0
    assert main(["schedule", "kubernetes", "--secret", "it:ca.crt", "--source", "kubernetes:"]) == 0
