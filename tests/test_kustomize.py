"""The Kustomize base: valid, as safe as what the command prints, with options that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cilium_analysis.cli import main
from cilium_analysis.cli.parser import build_parser
from cilium_analysis.prometheus.credentials import PREFIX

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "deploy" / "kustomize"
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text())
(GENERATED,) = KUSTOMIZATION["configMapGenerator"]
VALUES = dict(literal.split("=", 1) for literal in GENERATED["literals"])
OBJECTS: dict[str, Any] = {
    found["kind"]: found
    for name in KUSTOMIZATION["resources"]
    for found in yaml.safe_load_all((BASE / name).read_text())
}
POD = OBJECTS["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
(REPORT,) = POD["containers"]


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("kind", OBJECTS)
def test_each_object_is_valid(kind: str, version: str) -> None:
    kubernetes_validate.validate(OBJECTS[kind], version, strict=True)


def test_what_is_referred_to_is_there() -> None:
    account, role, bound = (
        OBJECTS[kind] for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    )
    assert bound["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = bound["subjects"]
    assert subject["name"] == account["metadata"]["name"] == POD["serviceAccountName"]
    # Kustomize sets the namespace of a subject as that of all else.
    assert subject["namespace"] == KUSTOMIZATION["namespace"]
    claims = [
        v["persistentVolumeClaim"]["claimName"] for v in POD["volumes"] if v["name"] == "reports"
    ]
    assert claims == [OBJECTS["PersistentVolumeClaim"]["metadata"]["name"]]
    assert {m["name"] for m in REPORT["volumeMounts"]} == {v["name"] for v in POD["volumes"]}
    (values,) = REPORT["envFrom"]
    assert values["configMapRef"]["name"] == GENERATED["name"]
    assert (BASE / "cluster-role.yaml").read_text() == (
        ROOT / "cilium_analysis" / "cluster_role.yaml"
    ).read_text()


def test_the_command_is_one_with_all_values() -> None:
    named = {name for arg in REPORT["args"] for name in re.findall(r"\$\((\w+)\)", arg)}
    assert named == set(VALUES)
    args = [re.sub(r"\$\((\w+)\)", lambda found: VALUES[found[1]], arg) for arg in REPORT["args"]]
    options = build_parser().parse_args(args)
    assert (options.source, options.start) == (VALUES["SOURCE"], "-1h")
    assert options.kubernetes == "in-cluster"


def test_it_is_as_safe_as_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    about = ["--source", VALUES["SOURCE"], "--kubernetes", "in-cluster", "--keep", "30d"]
    assert main(["schedule", "kubernetes", *about]) == 0
    printed = {each["kind"]: each for each in yaml.safe_load_all(capsys.readouterr().out) if each}
    spec = printed["CronJob"]["spec"]
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert POD["securityContext"] == pod["securityContext"]
    (container,) = pod["containers"]
    assert REPORT["securityContext"] == container["securityContext"]
    assert REPORT["env"] == container["env"]
    mine = OBJECTS["CronJob"]["spec"]
    for name in ("concurrencyPolicy", "startingDeadlineSeconds", "schedule"):
        assert mine[name] == spec[name]
    for name in ("backoffLimit", "podFailurePolicy", "activeDeadlineSeconds"):
        assert mine["jobTemplate"]["spec"][name] == spec["jobTemplate"]["spec"][name]


def test_the_variables_of_its_comment_are_ours() -> None:
    text = (BASE / "kustomization.yaml").read_text()
    named = set(re.findall(rf"{PREFIX}\w+(?==)", text))
    readme = (ROOT / "README.md").read_text() + "".join(
        path.read_text() for path in (ROOT / "docs").rglob("*.md")
    )
    assert named
    assert all(name in readme or f"…_{name.removeprefix(PREFIX)}" in readme for name in named)
