"""`setup_check` on the cases: it names each configuration, and what mends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from cilium_analysis.absence import absent
from cilium_analysis.question import ask
from cilium_analysis.topics import setup
from tests.field.make import END, START, iso

if TYPE_CHECKING:
    from tests.field.asking import Told
    from tests.field.conftest import Asked, Serve

#: What must be said about a case, as regular expressions.
SAID = {
    "c01_gardener": (r"kube-apiserver:443|\binstance\b", r"\bpod\b"),
    "c14_exported_node": ("kube_node_info|kube-state-metrics", "exported_node|honor_?[lL]abels"),
    "c04_clusters": ("cluster_id",),
    "c03_two_jobs": ("kubernetes-pods|`job`", "twice|two jobs|same agents?|stored more than once"),
    "c11_stored_twice.replica": ("prometheus_replica", "twice|replica|stored more than once"),
    "c08_slow_scrape.300": (r"\b300\b|5 min",),
    "s01_federated.plain": ("exported_instance|honor_labels",),
    "s02_aggregated.alone": ("aggregated",),
    "s04_clusters.location": ("location",),
}


#: All tables of the page.
TABLES = (setup.checks, setup.targets, setup.gaps, setup.configurations)


def page(told: Told) -> str:
    """Give all that the page says: findings, what to do about them, notes and tables."""
    steps = [each["next_step"] for each in told.all_findings]
    tables = [table(told.data).to_string() for table in TABLES]
    return "\n".join([told.said(), *steps, *tables])


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_the_way_of_scraping_is_named(asked: Asked, name: str) -> None:
    said = page(asked(name, "setup_check"))
    for words in SAID[name]:
        assert re.search(words, said), said


def test_a_usual_way_of_scraping_is_not_found_fault_with(asked: Asked) -> None:
    said = page(asked("c05_le.never", "setup_check"))
    assert not re.search("twice|aggregated|clusters|honor_labels|replica", said), said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s02_aggregated.alone", "c17_no_port.steady", "c25_get_only.501"])
def test_an_unusual_way_of_scraping_is_not_taken_for_none(serve: Serve, name: str) -> None:
    question = ask(source=serve(name)[0], start=iso(START), end=iso(END), step="30s")
    assert not absent(question.source, question.window, question.baseline, match="")
