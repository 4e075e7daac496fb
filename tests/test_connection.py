"""From an address to a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from cilium_analysis import Prometheus, connect
from cilium_analysis.bundle import Bundle
from cilium_analysis.connection import SAMPLES, sample_directory
from cilium_analysis.errors import BundleError, SourceError


def test_an_address_decides_what_the_source_is() -> None:
    assert isinstance(connect("http://127.0.0.1:9"), Prometheus)
    assert isinstance(connect(" https://prometheus.example/prefix "), Prometheus)
    assert isinstance(connect(str(sample_directory())), Bundle)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_say_what_they_are(name: str) -> None:
    source = connect(name)
    assert isinstance(source, Bundle)
    assert source.name.startswith(f"{name} (")


@pytest.mark.parametrize(
    "address", ["", "  ", "nowhere", "ftp://prometheus:9090", "prometheus:9090"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(SourceError, match="give the URL of a server"):
        connect(address)


def test_a_directory_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"it has no manifest\.json"):
        connect(str(tmp_path))


def test_a_file_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError):
        connect(str(tmp_path / "file"))


def test_a_password_in_an_address_that_is_none_is_not_shown() -> None:
    with pytest.raises(SourceError) as caught:
        connect("ftp://ann:hunter2@prometheus:9090")
    assert "hunter2" not in str(caught.value)
    assert isinstance(connect("HTTP://ann:hunter2@127.0.0.1:9"), Prometheus)
