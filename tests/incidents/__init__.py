"""Cases to judge an analysis by: each incident in several clusters.

The files in `FOLDER` say what happens, and what is to be found; the cluster in which it happens is
drawn from the file's name and the number of the variant, so that it is always the same one.
Variant `TUNED` is for tuning, and `HELD` is held out: once one that was held out has led to a
change of a rule, it has been seen, and the next takes its place. So it went with 1 and 2.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cilium_simulator.fields import parse_version
from cilium_simulator.scenario import Scenario, parse

FOLDER = Path(__file__).parent
VERSIONS = (
    *("1.13.4", "1.14.5", "1.14.13", "1.15.2", "1.15.7", "1.16.5"),
    *("1.17.3", "1.18.2", "1.19.1", "1.20.0"),
)
STYLES = ("servicemonitor", "servicemonitor", "kube-prometheus-stack", "annotations")
NODES = (3, 4, 5, 6, 8, 12, 20)
INTERVALS = ("10s", "15s", "30s", "60s")
CONTEXTS = ("labels", "labels", "workload", "labels-pod")
TUNED, HELD = 0, 3
HALVES = ("tune", "held")
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One incident in one cluster."""

    name: str
    variant: int
    scenario: Scenario

    @property
    def half(self) -> str:
        """Tell whether the case may be tuned with."""
        return HALVES[self.variant >= HELD]


def names() -> list[str]:
    """List the incidents and quiet days."""
    return sorted(p.stem for p in FOLDER.glob("*.toml"))


def cases(*, variants: Sequence[int] = (TUNED, HELD)) -> Iterator[Case]:
    """Give every incident in several clusters."""
    for name in names():
        for number in variants:
            yield Case(name, number, variant(name, number))


def variant(name: str, number: int) -> Scenario:
    """Build one variant of an incident."""
    document = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    limits = document.pop("vary", {})
    drawn = {"version": _version(name, number, limits.get("versions", VERSIONS))}
    drawn |= _drawn(drawn["version"], limits, _random(f"{name} {number}"))
    document["cluster"] = {**drawn, **document["cluster"]}
    return parse(document, f"{name}-{number}")


def _random(text: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()[:16]))


def _version(name: str, number: int, versions: Sequence[str]) -> str:
    """Draw a version; neighbouring variants are far apart, so that both halves see old and new."""
    first, far = int(_random(name).integers(len(versions))), len(versions) // 2
    return versions[(first + number * far + number // 2) % len(versions)]


def _drawn(version: str, limits: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Draw a cluster within the limits of an incident."""
    nodes = int(_pick(rng, limits.get("nodes", NODES)))
    contexts = [c for c in limits.get("contexts", CONTEXTS) if c != "workload" or _new(version)]
    interval = _pick(rng, limits.get("intervals", INTERVALS))
    start = datetime(2026, 2, 2, 6, tzinfo=UTC) + timedelta(days=int(rng.integers(0, 60)))
    return {
        "nodes": nodes,
        "scrape_style": _pick(rng, limits.get("styles", STYLES)),
        "scrape_interval": interval if nodes <= 8 else "60s" if nodes > 40 else "30s",
        "seed": int(rng.integers(2**31)),
        "start": start,
        "noise": round(float(rng.uniform(0.3, 3.0)), 2),
        "burstiness": _pick(rng, (0.0, 0.1, 0.3)),
        "context": _pick(rng, contexts),
        "http": _pick(rng, ("v2", "v2", "v1")),
    }


def _new(version: str) -> bool:
    return parse_version(version) >= (1, 15, 0)


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]
