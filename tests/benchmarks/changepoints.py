"""How well `changepoints.detect` finds regimes, beside others, and how long it takes.

``python -m tests.benchmarks.changepoints`` prints every family of generated series; with
``--turing DIRECTORY`` (or ``TURING_CHANGE_POINTS``) also those of the Turing Change Point
Dataset that are there, as ``NAME.json`` beside ``annotations.json``. Its series have licences of
their own and are not here. Only those with one dimension are used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from ruptures.detection import Binseg, KernelCPD

from cilium_analysis.statistics import changepoints
from tests.benchmarks import regimes
from tests.benchmarks.cases import Figure
from tests.benchmarks.segmentation import covering, f1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Detect = Callable[[Floats], list[int]]

DIRECTORY = "TURING_CHANGE_POINTS"
#: Names of seeds; nothing was ever fitted to the second.
SEEDS = ("tuning", "held out")
SERIES = 40


@dataclass(frozen=True)
class Score:
    """Means over series."""

    f1: float
    covering: float
    alarms: float


@dataclass(frozen=True)
class Annotated:
    """A series and the changes that each annotator saw."""

    name: str
    values: Floats
    annotations: tuple[tuple[int, ...], ...]


def ours(values: Floats) -> list[int]:
    return [int(at) for at in changepoints.detect(values)]


def nothing(values: Floats) -> list[int]:
    return []


def binseg(values: Floats) -> list[int]:
    return _plain(values, lambda standard, pen: Binseg("l2", jump=1).fit(standard).predict(pen=pen))


def pelt(values: Floats) -> list[int]:
    return _plain(
        values, lambda standard, pen: KernelCPD(kernel="linear").fit(standard).predict(pen=pen)
    )


def _plain(values: Floats, predict: Callable[[Floats, float], Sequence[int]]) -> list[int]:
    """Segment as the TCPD benchmark does by default: standardised, penalty 3 log n."""
    observed = np.flatnonzero(~np.isnan(values))
    known = values[observed]
    deviation = known.std()
    if len(known) < 6 or deviation == 0:
        return []
    ends = predict(((known - known.mean()) / deviation)[:, None], 3 * math.log(len(known)))
    return [int(observed[end]) for end in ends[:-1]]


METHODS: Mapping[str, Detect] = {"detect": ours, "PELT": pelt, "BinSeg": binseg, "nothing": nothing}


def score(detect: Detect, series: Sequence[Annotated]) -> Score:
    """Run a method over series."""
    found = [detect(one.values) for one in series]
    pairs = list(zip(series, found, strict=True))
    return Score(
        fmean(f1(one.annotations, positions) for one, positions in pairs),
        fmean(covering(one.annotations, positions, len(one.values)) for one, positions in pairs),
        fmean(len(positions) > 0 for positions in found),
    )


def generated(family: str, seeds: str) -> list[Annotated]:
    """Give the series of a family, the truth as their only annotator."""
    count = SERIES * (4 if family.startswith("quiet ") else 1)
    made = regimes.make(family, seeds, count=count)
    return [Annotated(family, one.values, (one.changes,)) for one in made]


def turing(directory: Path, *, half: int) -> list[Annotated]:
    """Read a half, by a hash of the name, of the Turing Change Point Dataset."""
    annotations = json.loads((directory / "annotations.json").read_text(encoding="utf-8"))
    series = []
    for name in sorted(annotations):
        file = directory / f"{name}.json"
        digest = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        if digest % 2 != half or not file.exists():
            continue
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["n_dim"] == 1:
            values = np.array(data["series"][0]["raw"], dtype=np.float64)
            seen = tuple(tuple(one) for one in annotations[name].values())
            series.append(Annotated(name, values, seen))
    return series


def figures() -> Iterator[Figure]:
    """Give the quality and the speed of change points, as rows of the table."""
    yield from finding()


def finding() -> Iterator[Figure]:
    """Find regimes in series that nothing was fitted to."""
    held = SEEDS[1]
    changing = [s for f in regimes.families() if "quiet" not in f for s in generated(f, held)]
    yield _compared(
        "regimes found, generated series", changing, f"{len(changing)} series", 0.75, 0.7
    )
    quiet = [score(ours, generated(f, held)).alarms for f in regimes.families() if "quiet" in f]
    yield Figure(
        "false alarms in quiet series",
        f"{fmean(quiet):.1%}",
        f"worst of {len(quiet)} families {max(quiet):.1%}",
        "≤ 2 %",
        fmean(quiet) <= 0.02,
    )
    if os.environ.get(DIRECTORY):
        real = turing(Path(os.environ[DIRECTORY]), half=1)
        what = "regimes found, Turing Change Point Dataset"
        yield _compared(what, real, f"{len(real)} series held out", 0.75, 0.7)


def _compared(
    what: str, series: Sequence[Annotated], beside: str, f1_aim: float, covering_aim: float
) -> Figure:
    scores = {name: score(detect, series) for name, detect in METHODS.items()}
    mine = scores.pop("detect")
    others = ", ".join(f"{name} {s.f1:.2f} / {s.covering:.2f}" for name, s in scores.items())
    return Figure(
        what,
        f"F1 {mine.f1:.2f}, covering {mine.covering:.2f}",
        f"{beside}; {others}",
        f"≥ {f1_aim} / {covering_aim}",
        mine.f1 >= f1_aim and mine.covering >= covering_aim,
    )


def _print(title: str, groups: Mapping[str, Sequence[Annotated]]) -> None:
    print(f"\n{title:28}" + "".join(f"{name:>22}" for name in METHODS))
    for name, series in groups.items():
        cells = []
        for detect in METHODS.values():
            s = score(detect, series)
            alarms = f"alarms {s.alarms:.3f}"
            cells.append(alarms if name.startswith("quiet") else f"{s.f1:.3f} / {s.covering:.3f}")
        print(f"{name:28}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def main() -> None:
    """Print F1 / covering, or the share of series with a false alarm."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.changepoints")
    parser.add_argument("--turing", default=os.environ.get(DIRECTORY), help="directory of TCPD")
    parser.add_argument("--seeds", nargs="*", default=SEEDS, help="names of seeds")
    options = parser.parse_args()
    for seeds in options.seeds:
        _print(f"seeds “{seeds}”", {f: generated(f, seeds) for f in regimes.families()})
    if options.turing:
        for half in (0, 1):
            series = turing(Path(options.turing), half=half)
            _print(f"Turing, half {half}", {s.name: [s] for s in series} | {"all": series})


if __name__ == "__main__":
    main()
