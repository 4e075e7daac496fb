"""Pods of workloads: which ones exist when, and on which node."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_simulator.events import Rollout
from cilium_simulator.nodes import suffix

if TYPE_CHECKING:
    import numpy as np

    from cilium_simulator.scenario import Scenario

FOREVER = 10**9


@dataclass(frozen=True)
class Pod:
    """One pod of a workload on a node, from when until when."""

    name: str
    start: int
    end: int


class Pods:
    """Hands out the pods of a workload on a node; a rollout replaces all of them at once."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Remember when workloads are rolled out."""
        self._rng = rng
        self._known: dict[tuple[str, str], list[Pod]] = {}
        self._rollouts: dict[str, list[int]] = {}
        for event in scenario.of(Rollout):
            self._rollouts.setdefault(event.destination, []).append(event.start)

    def of(self, workload: str, node: str) -> list[Pod]:
        """List the pods that one workload has had on one node, oldest first."""
        key = (workload, node)
        if key not in self._known:
            moments = [-FOREVER, *self._rollouts.get(workload, []), FOREVER]
            self._known[key] = [
                Pod(self._name(workload), start, end) for start, end in itertools.pairwise(moments)
            ]
        return self._known[key]

    def _name(self, workload: str) -> str:
        short = workload.partition("/")[2] or workload
        return f"{short}-{suffix(self._rng, 10)}-{suffix(self._rng)}"
