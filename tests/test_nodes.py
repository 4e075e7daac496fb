from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from cilium_analysis import frames, nodes

if TYPE_CHECKING:
    import pandas as pd


@pytest.mark.parametrize(
    ("instance", "address"),
    [
        ("10.0.0.1:9962", "10.0.0.1"),
        ("[fd00::1]:9962", "fd00::1"),
        ("worker-1", "worker-1"),
        ("worker-1:http", "worker-1:http"),
        ("", ""),
    ],
)
def test_the_host_of_an_instance(instance: str, address: str) -> None:
    assert nodes.host(instance) == address


def frame(*series: dict[str, str]) -> pd.DataFrame:
    values = np.arange(1.0, len(series) + 1)[None, :]
    return frames.build(np.array([0]), values, series)


def test_a_node_label_wins_then_the_name_of_the_address_then_the_address() -> None:
    given = frame(
        {"instance": "10.0.0.1:9962", "node": "a"},
        {"instance": "10.0.0.2:9962", "node": ""},
        {"instance": "10.0.0.3:9962", "node": ""},
    )
    resolved = nodes.resolve(given, names={"10.0.0.1": "wrong", "10.0.0.2": "b"})
    assert list(resolved.columns) == [("10.0.0.3",), ("a",), ("b",)]


def test_one_agent_scraped_twice_counts_once() -> None:
    given = frame(
        {"instance": "10.0.0.1:9962", "node": "a"}, {"instance": "10.0.0.1:9090", "node": "a"}
    )
    assert nodes.resolve(given).to_numpy().tolist() == [[2.0]]


def test_nodes_of_two_clusters_stay_apart() -> None:
    given = frame(
        {"cluster": "x", "instance": "i", "node": "a"},
        {"cluster": "y", "instance": "i", "node": "a"},
    )
    assert list(nodes.resolve(given).columns) == [("x/a",), ("y/a",)]
    alone = frame({"cluster": "x", "instance": "i", "node": "a"})
    assert list(nodes.resolve(alone).columns) == [("a",)]


def test_unnamed() -> None:
    assert nodes.unnamed(frame({"instance": "i"}))
    assert not nodes.unnamed(frame({"instance": "i", "node": "a"}))
    assert not nodes.unnamed(frames.empty(["instance"]))


def test_sums_over_nodes_have_no_address_to_look_up() -> None:
    assert nodes.unnamed(frame({"instance": "10.0.0.1:9962", "reason": "a"}))
    assert not nodes.unnamed(frame({"cluster": "a", "reason": "a"}))
    assert not nodes.unnamed(frame({"instance": "10.0.0.1:9962", "node": "a"}))
