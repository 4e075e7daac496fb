"""What notebooks ask that name no source of their own."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_analysis.config import FILE, Config, configured, read_config
from cilium_analysis.errors import ParameterError
from cilium_analysis.question import ask

texts = st.text(st.characters(codec="utf-8"))


plain = texts.filter(lambda text: not {"@", "?"} & {*text})


@given(source=plain, kubernetes=texts, kubeconfig=texts)
def test_whatever_is_written_is_read_again(source: str, kubernetes: str, kubeconfig: str) -> None:
    config = Config(source, kubernetes, kubeconfig)
    assert tomllib.loads(config.text()) == asdict(config)


@pytest.mark.parametrize("user", ["me:hunter2", "me"])
def test_credentials_are_not_written(user: str) -> None:
    with pytest.raises(ParameterError, match="CILIUM_ANALYSIS_PASSWORD_FILE") as error:
        Config(source=f" HTTPS://{user}@prometheus:9090/x").text()
    assert "hunter2" not in str(error.value)
    assert Config(source="https://prometheus/@x").text()


def test_tokens_in_an_address_are_not_written() -> None:
    with pytest.raises(ParameterError, match="CILIUM_ANALYSIS_BEARER_TOKEN_FILE") as error:
        Config(source="https://prometheus:9090/?namespace=shop&token=hunter2").text()
    assert "hunter2" not in str(error.value)
    assert "namespace=shop" in Config(source="https://prometheus:9090/?namespace=shop").text()


def test_the_environment_comes_first_then_the_file_then_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CILIUM_ANALYSIS_SOURCE", raising=False)
    assert configured() == Config(source="sample")
    Path(FILE).write_text('source = "http://file:9090"\nkubernetes = "in-cluster"\n')
    assert configured() == Config("http://file:9090", "in-cluster")
    monkeypatch.setenv("CILIUM_ANALYSIS_SOURCE", "http://environment:9090")
    assert configured() == Config("http://environment:9090")
    assert read_config(tmp_path / "elsewhere") is None


@pytest.mark.slow
def test_a_notebook_that_names_no_source_asks_what_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("SOURCE", "KUBERNETES"):
        monkeypatch.delenv(f"CILIUM_ANALYSIS_{variable}", raising=False)
    assert ask(source="configured").source.name.startswith("sample")
    file = Config("http://file:9090", "in-cluster", cilium_namespace="cilium")
    Path(FILE).write_text(file.text())
    asked = ask(source="configured")
    assert asked.source.name == "http://file:9090"
    assert asked.kubernetes is not None
    assert asked.kubernetes.in_cluster
    assert asked.cilium_namespace == "cilium"
    # Another source is another cluster: the file's Kubernetes is not that of it.
    other = ask(source="http://another:9090")
    assert other.kubernetes is None
    assert other.cilium_namespace == "kube-system"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source = 3", 'source is not text: write source = "3"'),
        ('sauce = "x"', "did you mean source"),
        ("source = ", "cannot read"),
    ],
)
def test_a_damaged_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ParameterError, match=FILE) as error:
        read_config(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
