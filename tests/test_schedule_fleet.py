"""Fleets on a schedule: what is printed runs them, where their credentials are found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from cilium_analysis.cli import main
from cilium_analysis.fleet import read_fleet
from tests.test_schedule import (
    VERSIONS,
    arguments_of,
    command_of,
    command_of_cron,
    container_of,
    objects,
    pod_of,
    printed,
    service_of,
)

SECRETS = "/etc/cilium-analysis/secrets"
FLEET = f"""\
defaults: {{topics: [drop_reasons]}}
window: {{last: 1h}}
clusters:
  - name: prod-eu
    source: https://prometheus.eu.example
    credentials: {{bearer_token_file: {SECRETS}/eu-token, ca_file: {SECRETS}/ca.crt}}
  - name: prod-us
    source: https://prometheus.us.example
    match: 'cluster="us", a="$(HOME)"'
    kubernetes: in-cluster
    credentials: {{username: reports, password_env: CILIUM_ANALYSIS_US_PASSWORD}}
"""


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fleet.yaml").write_text(FLEET)


def in_a_pod(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    given = ["--fleet", "fleet.yaml", "--secret", "guarded:notify", *more]
    return printed(capsys, "kubernetes", *given)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_are_valid(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = [one for one in yaml.safe_load_all(in_a_pod(capsys)) if one]
    kinds = {one["kind"] for one in found}
    assert {"ConfigMap", "CronJob", "ClusterRole", "ClusterRoleBinding"} <= kinds
    for one in found:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_fleet_file_is_there_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = in_a_pod(capsys)
    config = objects(text)["ConfigMap"]
    assert config["data"] == {"fleet.yaml": FLEET}
    assert "  fleet.yaml: |\n    defaults:" in text
    volumes = {one["name"]: one for one in pod_of(text)["volumes"]}
    mounts = {one["name"]: one["mountPath"] for one in container_of(text)["volumeMounts"]}
    assert volumes["fleet"]["configMap"]["name"] == config["metadata"]["name"]
    assert arguments_of(text)[:2] == ["fleet", f"{mounts['fleet']}/fleet.yaml"]
    (tmp_path / "again").mkdir()
    copy = tmp_path / "again" / "fleet.yaml"
    copy.write_text(config["data"]["fleet.yaml"])
    assert [c.name for c in read_fleet(copy).clusters] == ["prod-eu", "prod-us"]


def test_every_reference_resolves_in_the_pod(capsys: pytest.CaptureFixture[str]) -> None:
    text = in_a_pod(capsys)
    (secret,) = [one["secret"] for one in pod_of(text)["volumes"] if "secret" in one]
    (mount,) = [one for one in container_of(text)["volumeMounts"] if one["name"] == "secrets"]
    there = {f"{mount['mountPath']}/{item['path']}" for item in secret["items"]}
    assert secret["secretName"] == "guarded"
    assert there == {f"{SECRETS}/{key}" for key in ("eu-token", "ca.crt", "notify")}
    environment = {one["name"]: one for one in container_of(text)["env"]}
    reference = environment["CILIUM_ANALYSIS_US_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "guarded", "key": "CILIUM_ANALYSIS_US_PASSWORD"}
    assert environment["CILIUM_ANALYSIS_NOTIFY_FILE"]["value"] == f"{SECRETS}/notify"
    assert pod_of(text)["automountServiceAccountToken"] is True


def test_resources_are_enough_for_all_workers(capsys: pytest.CaptureFixture[str]) -> None:
    text = in_a_pod(capsys, "--workers", "3", "--memory-limit", "1GiB", "--pdf")
    assert container_of(text)["resources"]["limits"] == {"cpu": "3", "memory": "3584Mi"}
    assert {"--workers=3", "--memory-limit=1GiB", "--pdf"} <= set(arguments_of(text))
    text = in_a_pod(capsys, "--memory", "8Gi", "--cpu", "500m")
    assert container_of(text)["resources"]["limits"] == {"cpu": "500m", "memory": "8Gi"}


ON_A_MACHINE = FLEET.replace("password_env: CILIUM_ANALYSIS_US_PASSWORD", "password_file: /etc/us")
ON_A_MACHINE = ON_A_MACHINE.replace(
    "kubernetes: in-cluster", "kubernetes: here\n    kubeconfig: /etc/here"
)


def test_cron_and_systemd_run_the_file_where_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Path("fleet.yaml").write_text(ON_A_MACHINE)
    where = str(tmp_path / "fleet.yaml")
    given = ["--fleet", "fleet.yaml", "--notify", "file:/etc/on-call", "--keep", "30d"]
    line = printed(capsys, "cron", *given, "--program", "/usr/bin/true")
    assert f"fleet {where} " in command_of_cron(line)
    done = subprocess.run(
        ["sh", "-nc", command_of_cron(line)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    service = service_of(printed(capsys, "systemd", *given))
    words = command_of(service)
    assert words[1:3] == ["fleet", where]
    assert "--keep=30d" in words


BAD = {
    "no such file": (FLEET, ["cron", "--fleet", "none.yaml"], "cannot read none.yaml"),
    "mistake": (FLEET + "  - 1\n", ["cron"], "fleet.yaml:12: a cluster has to be a mapping"),
    "environment": (FLEET, ["cron"], "fleet.yaml:7: scheduled runs get nothing from your envir"),
    "in-cluster": (
        FLEET.replace(", password_env: CILIUM_ANALYSIS_US_PASSWORD", ", password_file: /a"),
        ["systemd"],
        "fleet.yaml:7: in-cluster works only in a pod",
    ),
    "a fixed window": (
        FLEET.replace("last: 1h", "start: 2026-03-21T08:00Z"),
        ["kubernetes"],
        "fleet.yaml:2: a schedule would report on the same time",
    ),
    "no secret": (FLEET, ["kubernetes"], "give --secret NAME, which has ca.crt, eu-token, CILIUM"),
    "keys": (FLEET, ["kubernetes", "--secret", "a:token"], "give --secret NAME, or NAME:notify"),
    "elsewhere": (
        FLEET.replace(f"{SECRETS}/ca.crt", "/etc/ssl/ca.crt"),
        ["kubernetes", "--secret", "a"],
        f"fleet.yaml:4: ca_file is in no volume of the pod: write it as {SECRETS}/KEY",
    ),
    "climbing": (
        FLEET.replace(f"{SECRETS}/ca.crt", f"{SECRETS}/../x"),
        ["kubernetes", "--secret", "a"],
        "fleet.yaml:4: ca_file is in no volume",
    ),
    "a context": (
        FLEET.replace("kubernetes: in-cluster", "kubernetes: here"),
        ["kubernetes", "--secret", "a"],
        "fleet.yaml:7: a pod has no kubeconfig",
    ),
    "a bundle": (
        FLEET.replace("https://prometheus.eu.example", "."),
        ["kubernetes", "--secret", "a"],
        "fleet.yaml:4: a pod cannot see the bundle",
    ),
    "both": (FLEET, ["cron", "--source", "http://a:9090"], "says what to report on: leave out --s"),
    "topics": (FLEET, ["cron", "dns"], "leave out dns"),
    "limit": (FLEET, ["kubernetes", "--memory-limit", "2"], "--memory-limit '2' is not an amount"),
    "neither": (FLEET, ["cron", "--fleet", ""], "give --source http://…, or --fleet FILE"),
    "workers": (
        FLEET,
        ["cron", "--fleet", "", "--source", "http://a", "--workers", "2"],
        "a fleet",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, arguments, words = BAD[case]
    Path("fleet.yaml").write_text(text)
    given = [] if "--fleet" in arguments else ["--fleet", "fleet.yaml"]
    assert main(["schedule", *arguments, *given]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert words in line
