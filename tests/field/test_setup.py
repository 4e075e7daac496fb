"""`setup_check` on the cases: it names each configuration, and what mends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.field.conftest import Asked

#: What must be said about a case, as regular expressions.
SAID = {
    "c01_gardener": (r"kube-apiserver:443|\binstance\b", r"\bpod\b"),
    "c14_exported_node": ("kube_node_info|kube-state-metrics", "exported_node|honor_?[lL]abels"),
    "c04_clusters": ("cluster_id",),
    "c03_two_jobs": ("kubernetes-pods", "twice|two jobs|same agents?|stored more than once"),
    "c11_stored_twice.replica": ("prometheus_replica", "twice|replica|stored more than once"),
    "c08_slow_scrape.300": (r"300 s|5 min",),
    "s01_federated.plain": ("exported_instance|honor_labels",),
    "s02_aggregated.alone": ("aggregated",),
    "s04_clusters.location": ("location",),
}


@pytest.mark.parametrize("name", SAID)
def test_the_way_of_scraping_is_named(asked: Asked, name: str) -> None:
    said = asked(name, "setup_check").said()
    for words in SAID[name]:
        assert re.search(words, said), said


def test_a_usual_way_of_scraping_is_not_found_fault_with(asked: Asked) -> None:
    said = asked("c05_le.never", "setup_check").said()
    assert not re.search("twice|aggregated|clusters|honor_labels|replica", said), said
