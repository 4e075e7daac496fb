"""Cases of `siblings_changes`: what is true of each, asked of one topic at a time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import Told, topic
from tests.field.checks import lasts, near, no_gaps, said_any
from tests.field.conftest import Asked, Serve

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


@pytest.mark.parametrize("variant", ["longer", "shorter"])
def test_another_scrape_interval_is_no_missing_scrapes(serve: Serve, variant: str) -> None:
    url, _ = serve(f"s20_interval.{variant}")
    told = topic(url, "drop_reasons")
    found = spike(told, within=60)
    assert found["labels"]["node"] == "worker-2"
    assert not found["trust_reasons"]
    no_gaps(told)
    told = topic(url, "endpoint_growth")
    found = told.one("endpoint_growth")
    assert (found["baseline_value"], found["value"]) == (20, 80)
    no_gaps(told)
    told = topic(url, "http_status")
    found = told.one("http_errors")
    assert found["total"] == near(FAILED)
    lasts(found, 80, 100, within=60)
    no_gaps(told)
