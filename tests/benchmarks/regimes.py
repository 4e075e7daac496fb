"""Series whose regimes are known, family by family, and quiet ones that have none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Noise = Callable[[np.random.Generator, Floats], Floats]

LENGTHS = (40, 60, 120, 240, 360, 720)
#: Shortest distance between two changes, and to the ends [samples].
APART = 8


@dataclass(frozen=True)
class Known:
    """A series and where its regimes truly start."""

    family: str
    values: Floats
    changes: tuple[int, ...]


def families() -> tuple[str, ...]:
    """Name all families; those whose name begins with "quiet" have no change."""
    return tuple(_CHANGING) + tuple(f"quiet {name}" for name in _QUIET)


def make(family: str, seeds: str, *, count: int) -> Iterator[Known]:
    """Give so many series of a family; another name of seeds gives others."""
    for number in range(count):
        digest = hashlib.sha256(f"{seeds}/{family}/{number}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        if family.startswith("quiet "):
            values = _QUIET[family.removeprefix("quiet ")](generator, _length(generator))
            yield Known(family, values, ())
        else:
            yield _changing(family, generator)


def _length(generator: np.random.Generator) -> int:
    return int(generator.choice(LENGTHS))


def _changing(family: str, generator: np.random.Generator) -> Known:
    n = _length(generator)
    changes = _changes(generator, n)
    values = _CHANGING[family](generator, _owner(changes, n))
    return Known(family, values, tuple(int(c) for c in changes))


def _changes(generator: np.random.Generator, n: int) -> Ints:
    """Draw one to four changes, or the two ends of one incident."""
    most = min(4, n // (3 * APART))
    while True:
        drawn = generator.integers(APART, n - APART + 1, size=generator.integers(1, most + 1))
        changes = np.unique(drawn)
        if len(changes) == 1 or np.diff(changes).min() >= APART:
            return changes.astype(np.int64)


def _owner(changes: Ints, n: int) -> Ints:
    return np.searchsorted(changes, np.arange(n), side="right").astype(np.int64)


def _levels(generator: np.random.Generator, owner: Ints, *, least: float, most: float) -> Floats:
    """Give levels [standard deviations of the noise] that differ by at least so much."""
    steps = generator.uniform(least, most, owner.max() + 1) * generator.choice(
        [-1, 1], owner.max() + 1
    )
    if generator.random() < 0.5:  # up and down again, as incidents go
        steps = np.abs(steps) * np.where(np.arange(len(steps)) % 2, 1, -1)
    return np.asarray(np.cumsum(steps)[owner], dtype=np.float64)


def _rates(
    generator: np.random.Generator, owner: Ints, *, low: float, ratio: tuple[float, float]
) -> Floats:
    """Give rates that alternate between an ordinary one and a multiple of it."""
    raised = low * generator.uniform(*ratio, owner.max() + 1)
    odd = (np.arange(owner.max() + 1) + generator.integers(2)) % 2 == 1
    return np.asarray(np.where(odd, raised, low)[owner], dtype=np.float64)


def ar(generator: np.random.Generator, n: int, phi: float) -> Floats:
    """Give AR(1) noise of variance 1."""
    shocks = generator.normal(size=n + 50) * np.sqrt(1 - phi**2)
    values = np.empty(n + 50)
    values[0] = generator.normal()
    for at in range(1, n + 50):
        values[at] = phi * values[at - 1] + shocks[at]
    return values[50:]


def _gaussian(generator: np.random.Generator, owner: Ints) -> Floats:
    scale = 10.0 ** generator.uniform(-3, 6)
    noise = generator.normal(size=len(owner))
    values: Floats = (_levels(generator, owner, least=2, most=6) + noise + 20) * scale
    return values


def _autocorrelated(generator: np.random.Generator, owner: Ints) -> Floats:
    noise = ar(generator, len(owner), generator.uniform(0.3, 0.7))
    return _levels(generator, owner, least=3, most=8) + noise + 50


def _poisson(generator: np.random.Generator, owner: Ints) -> Floats:
    rates = _rates(generator, owner, low=generator.uniform(1, 20), ratio=(2.5, 8))
    return generator.poisson(rates).astype(np.float64)


def _overdispersed(generator: np.random.Generator, owner: Ints) -> Floats:
    rates = _rates(generator, owner, low=generator.uniform(5, 50), ratio=(4, 12))
    return generator.negative_binomial(3, 3 / (3 + rates)).astype(np.float64)


def _sparse(generator: np.random.Generator, owner: Ints) -> Floats:
    """Packets dropped: hardly ever, then all the time."""
    rates = _rates(generator, owner, low=generator.uniform(0.005, 0.05), ratio=(60, 400))
    return generator.poisson(rates) / 30.0


def _ratio(generator: np.random.Generator, owner: Ints) -> Floats:
    shares = _rates(generator, owner, low=generator.uniform(0.002, 0.02), ratio=(8, 30))
    trials = generator.poisson(generator.uniform(50, 500), len(owner)) + 1
    return generator.binomial(trials, np.minimum(shares, 0.9)) / trials


def _latency(generator: np.random.Generator, owner: Ints) -> Floats:
    levels = _rates(generator, owner, low=generator.uniform(0.001, 0.1), ratio=(2.5, 8))
    return levels * generator.lognormal(0, generator.uniform(0.15, 0.4), len(owner))


def _gauge(generator: np.random.Generator, owner: Ints) -> Floats:
    """Endpoints: whole numbers that stand still, step, and flicker at times."""
    levels = np.round(
        generator.uniform(3, 40, owner.max() + 1) * (1 + np.arange(owner.max() + 1) % 2)
    )
    levels = levels + 5 * (np.arange(owner.max() + 1) % 2) + 30 * np.arange(owner.max() + 1)
    flicker = generator.choice([-1, 0, 0, 0, 0, 0, 0, 1], len(owner))
    values: Floats = levels[owner] + flicker * generator.integers(2)
    return values


def _with_outliers(generator: np.random.Generator, owner: Ints) -> Floats:
    values = _levels(generator, owner, least=3, most=6) + generator.normal(size=len(owner))
    at = generator.choice(len(owner), max(1, len(owner) // 80), replace=False)
    values[at] += generator.choice([-1, 1], len(at)) * generator.uniform(8, 60, len(at))
    return values


def _with_gaps(generator: np.random.Generator, owner: Ints) -> Floats:
    values = _levels(generator, owner, least=3, most=6) + generator.normal(size=len(owner))
    starts = np.flatnonzero(np.diff(owner, prepend=0))
    for _ in range(generator.integers(1, 4)):
        first = int(generator.integers(0, len(owner)))
        last = first + int(generator.integers(1, len(owner) // 12 + 2))
        # A gap that hides the change itself leaves no position to be found.
        if not np.any((starts >= first) & (starts <= last)):
            values[first:last] = np.nan
    return values


def _daily(generator: np.random.Generator, owner: Ints) -> Floats:
    wave = _wave(generator, len(owner)) * generator.uniform(1, 4)
    return wave + _levels(generator, owner, least=4, most=8) + generator.normal(size=len(owner))


def _drifting(generator: np.random.Generator, owner: Ints) -> Floats:
    drift = np.linspace(0, generator.uniform(2, 6), len(owner))
    return drift + _levels(generator, owner, least=4, most=8) + generator.normal(size=len(owner))


def _wave(generator: np.random.Generator, n: int) -> Floats:
    period = n / generator.uniform(4, 7)
    phase = generator.uniform(0, 2 * np.pi)
    return np.asarray(np.sin(2 * np.pi * np.arange(n) / period + phase), dtype=np.float64)


def _quiet_bursts(generator: np.random.Generator, n: int) -> Floats:
    """Nothing but a few single samples."""
    values = np.zeros(n)
    at = generator.choice(n, max(1, n // 60), replace=False)
    values[at] = generator.lognormal(3, 1, len(at))
    return values


def _quiet_outliers(generator: np.random.Generator, n: int) -> Floats:
    values = generator.normal(size=n)
    at = generator.choice(n, max(1, n // 80), replace=False)
    values[at] += generator.choice([-1, 1], len(at)) * generator.uniform(8, 60, len(at))
    return values


def _quiet_gaps(generator: np.random.Generator, n: int) -> Floats:
    return _with_gaps(generator, np.zeros(n, dtype=np.int64)) * 1.0


_CHANGING: Mapping[str, Callable[[np.random.Generator, Ints], Floats]] = {
    "gaussian": _gaussian,
    "autocorrelated": _autocorrelated,
    "poisson": _poisson,
    "overdispersed": _overdispersed,
    "sparse": _sparse,
    "ratio": _ratio,
    "latency": _latency,
    "gauge": _gauge,
    "outliers": _with_outliers,
    "gaps": _with_gaps,
    "daily": _daily,
    "drifting": _drifting,
}

_QUIET: Mapping[str, Callable[[np.random.Generator, int], Floats]] = {
    "white": lambda g, n: g.normal(size=n),
    "AR 0.3": lambda g, n: ar(g, n, 0.3),
    "AR 0.5": lambda g, n: ar(g, n, 0.5),
    "AR 0.7": lambda g, n: ar(g, n, 0.7),
    "poisson 0.05": lambda g, n: g.poisson(0.05, n).astype(np.float64),
    "poisson 0.5": lambda g, n: g.poisson(0.5, n).astype(np.float64),
    "poisson 5": lambda g, n: g.poisson(5, n).astype(np.float64),
    "negative binomial": lambda g, n: g.negative_binomial(1, 0.1, n).astype(np.float64),
    "Student 3": lambda g, n: g.standard_t(3, n),
    "lognormal": lambda g, n: g.lognormal(0, 1, n),
    "ratio": lambda g, n: g.binomial(100, 0.01, n) / 100,
    "outliers": _quiet_outliers,
    "bursts": _quiet_bursts,
    "gaps": _quiet_gaps,
    "daily": lambda g, n: 3 * _wave(g, n) + g.normal(size=n),
    "drift": lambda g, n: np.linspace(0, g.uniform(2, 20), n) + g.normal(size=n),
}
