"""Who and where a finding is about, whatever labels it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cilium_analysis.incident.links import Ends, ends
from cilium_analysis.topics.parties import same
from tests.test_stories import finding

WEB, DB = frozenset({"default/web"}), frozenset({"data/db"})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"source": "default/web", "destination": "data/db"}, Ends(WEB, DB)),
        (
            {"source_namespace": "default", "source_workload": "web", "destination": "data/db"},
            Ends(WEB, DB),
        ),
        ({"destination_namespace": "data", "destination_workload": "db"}, Ends((frozenset()), DB)),
        ({"namespace": "default", "workload": "web", "direction": "EGRESS"}, Ends(WEB)),
        ({"namespace": "data", "workload": "db", "direction": "INGRESS"}, Ends(frozenset(), DB)),
        ({"namespace": "data", "workload": "db"}, Ends(frozenset(), DB)),
        ({"node": "n1"}, Ends(nodes=frozenset({"n1"}))),
        ({"node": "n1, n2"}, Ends(nodes=frozenset({"n1", "n2"}))),
        ({"source": "reserved:world", "destination": "data/db"}, Ends(frozenset(), DB)),
        ({"source": "world", "destination": "data/db"}, Ends(frozenset(), DB)),
        (
            {"source": "cidr:203.0.113.7/32,reserved:world"},
            Ends(frozenset({"cidr:203.0.113.7/32,reserved:world"})),
        ),
        ({"metric": "up", "map_name": "ct4"}, Ends()),
    ],
)
def test_labels_say_who_is_at_which_end(labels: Mapping[str, Any], expected: Ends) -> None:
    assert ends(finding("drop_spike", **labels)) == expected


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("default/web", "default/web", True),
        ("default/web", "web", True),
        ("default/web", "shop/web", False),
        ("default/web", "default/web-api", False),
        ("default/web", "default", True),
        ("data/db", "data/db-0", True),
        ("db-0", "data/db", True),
        ("default/web-7d4b9c5f6d-x2kqz", "default/web", True),
        ("kube-system/proxy-x2kqz", "proxy", True),
        ("203.0.113.0/24", "24", False),
        ("203.0.113.0/24", "203.0.113.0/24", True),
        ("203.0.113.0/24", "203.0.113.0/25", False),
        ("k8s:app.kubernetes.io/name=web", "name=web", False),
        ("cidr:203.0.113.7/32,reserved:world", "32,reserved:world", False),
    ],
)
def test_a_workload_has_several_spellings(one: str, other: str, alike: bool) -> None:
    assert same(one, other) is same(other, one) is alike


def test_both_ends_are_named_with_the_source_first() -> None:
    named = finding("http_errors", source="a/web", destination="b/db", node="n1")
    assert str(ends(named)) == "a/web to b/db, n1"
    assert str(ends(finding("http_errors", destination_workload="db"))) == "db"
    assert str(ends(finding("missing_metrics"))) == ""
