"""Many incidents at once: each version, every server, every scrape style."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cilium_simulator.scenario import STYLES
from tests import sweep
from tests.servers.served import ClusterServer

Serve = Callable[..., ClusterServer]


@pytest.mark.slow
@pytest.mark.parametrize(("version", "kind", "style"), sweep.rotation())
def test_every_incident_has_its_finding_and_nothing_else_is_alarming(
    version: tuple[int, int, int], kind: str, style: str, cluster_server: Serve
) -> None:
    served = cluster_server(sweep.scenario(version, style), kind)
    assert list(sweep.mistakes(served, sweep.analysed(served))) == []


@pytest.mark.slow
def test_the_command_tells_the_same_as_its_notebook(cluster_server: Serve, tmp_path: Path) -> None:
    version, kind, style = sweep.rotation()[2]
    served = cluster_server(sweep.scenario(version, style), kind)
    code, summary, document = sweep.run(served, tmp_path)
    assert list(sweep.problems(code, summary)) == []
    assert document["findings"] == sweep.analysed(served)


def test_every_server_and_every_style_occurs() -> None:
    versions, kinds, styles = (set(part) for part in zip(*sweep.rotation(), strict=True))
    assert versions == set(sweep.VERSIONS)
    assert kinds == set(sweep.KINDS)
    assert styles == set(STYLES)
