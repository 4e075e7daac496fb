"""A cluster of very many nodes: a few simulated ones, again and again under other names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cilium_simulator.nodes import ALPHABET
from cilium_simulator.scenario import Scenario, Service, load, node_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.scrape import Labels

#: the worker nodes that are really simulated
SIMULATED: Final = 4
#: nodes that share the names of their workloads
NEIGHBOURS: Final = 10
WORKLOADS: Final = ("source_workload", "destination_workload")
NAMED: Final = ("node", "source_node_name", "target_node_name")
_IP = re.compile(r"10\.10\.0\.(\d+)")


def scenario(version: tuple[int, int, int], *, hours: int = 13) -> Scenario:
    """Give what the simulated nodes are told to be: scraped each minute, with layer 7 in sight."""
    services = (
        Service("shop/frontend", "shop/web", 4.0, methods={"GET": 0.8, "POST": 0.2}),
        Service("shop/web", "shop/api", 2.0, statuses={"200": 0.99, "500": 0.01}),
    )
    return load("quiet").with_(
        name="crowd",
        nodes=node_names(SIMULATED + 1),
        version=version,
        interval=60,
        seconds=hours * 3600,
        dns=1.0,
        services=services,
    )


class Clones:
    """Names the clones of series: worker-1 to worker-4 become as many workers as wanted."""

    def __init__(self, nodes: int) -> None:
        """Take the number of nodes, the control plane among them."""
        self.workers = range(1, nodes)

    def __call__(self, labels: Labels) -> Iterator[Labels]:
        """Yield the labels of all clones of one series."""
        model = _model(labels)
        if not model:
            yield from self._targets(labels, "control-plane")
            return
        for number in self.workers:
            if 1 + (number - 1) % SIMULATED == model:
                yield from self._targets(_renamed(labels, model, number), f"worker-{number}")

    def _targets(self, labels: Labels, observer: str) -> Iterator[Labels]:
        """Yield the series of an observer about one target for all its clones."""
        target = labels.get("target_node_name", "")
        if not target.startswith("worker-"):
            yield labels
            return
        model = int(target.removeprefix("worker-"))
        near = labels["target_node_type"] == "local_node"
        for number in self.workers:
            name = f"worker-{number}"
            if (name == observer) == near and (near or 1 + (number - 1) % SIMULATED == model):
                yield labels | _target(labels, number)


def _model(labels: Labels) -> int:
    """Tell which simulated worker exposed a series; 0 for all else."""
    name = labels.get("node", "")
    return int(name.removeprefix("worker-")) if name.startswith("worker-") else 0


def _target(labels: Labels, number: int) -> Labels:
    known = {"target_node_name": f"worker-{number}"}
    return known | ({"target_node_ip": _address(number)} if "target_node_ip" in labels else {})


def _address(number: int) -> str:
    return f"10.10.{number // 200}.{10 + number % 200}"


def _renamed(labels: Labels, model: int, number: int) -> Labels:
    """Give the labels of one clone: its node, its pod, and the workloads on it."""
    named = dict(labels)
    for key in ("node", "source_node_name"):
        if key in named:
            named[key] = f"worker-{number}"
    named["instance"] = f"{_address(number)}:{labels['instance'].rpartition(':')[2]}"
    if named.get("pod", "").startswith("cilium-"):
        named["pod"] = f"cilium-{_suffix(number)}"
    for key in WORKLOADS:
        if named.get(key):
            named[key] = f"{named[key]}-{number // NEIGHBOURS}"
    return named


def _suffix(number: int) -> str:
    digits = []
    for _ in range(5):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
