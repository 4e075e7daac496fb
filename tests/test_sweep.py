"""The whole command on many incidents at once: each version, every server, every scrape style."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import sweep
from tests.cluster.scenario import STYLES
from tests.servers.served import ClusterServer


@pytest.mark.parametrize(("version", "kind", "style"), sweep.rotation())
def test_every_incident_has_its_finding_and_nothing_else_is_alarming(
    version: tuple[int, int, int],
    kind: str,
    style: str,
    cluster_server: Callable[..., ClusterServer],
    tmp_path: Path,
) -> None:
    served = cluster_server(sweep.scenario(version, style), kind)
    code, summary, document = sweep.run(served, tmp_path)
    assert list(sweep.problems(served, code, summary, document["findings"])) == []


def test_every_server_and_every_style_occurs() -> None:
    versions, kinds, styles = (set(part) for part in zip(*sweep.rotation(), strict=True))
    assert versions == set(sweep.VERSIONS)
    assert kinds == set(sweep.KINDS)
    assert styles == set(STYLES)
