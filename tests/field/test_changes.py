"""Cases of `siblings_changes`: what is true of each, asked of one topic at a time."""

from __future__ import annotations

from typing import Any

from tests.field.asking import Told
from tests.field.checks import lasts, near, said_any
from tests.field.conftest import Asked

LOST, FAILED = 24_060, 6012


def spike(told: Told, *, within: float = 30) -> dict[str, Any]:
    """Check that there is one finding of drops: the incident's."""
    found = told.one("drop_spike")
    assert found["total"] == near(LOST)
    lasts(found, 40, 60, within=within)
    return found


def test_pairs_of_servers_of_two_clusters_count_once_without_doubt(asked: Asked) -> None:
    told = asked("s19_pairs_of_clusters", "drop_reasons")
    found = spike(told)
    assert found["labels"]["node"] == "green/worker-2"
    assert not found["trust_reasons"]
    assert not said_any(told, ["may count a target twice"])
