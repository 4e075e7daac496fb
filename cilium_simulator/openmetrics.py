"""Write series as OpenMetrics text with timestamps, as ``promtool tsdb create-blocks-from`` reads.

The format: https://github.com/prometheus/OpenMetrics. All samples of a family must be together,
all samples of a series in time order, and the text must end with ``# EOF``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cilium_simulator.scrape import Labels, Series

ENDINGS = ("_total", "_bucket", "_count", "_sum")


def family(series: Series) -> str:
    """Name the family of a sample: without the ending that its type adds."""
    endings = {"counter": ENDINGS[:1], "histogram": ENDINGS[1:]}.get(series.kind, ())
    for ending in endings:
        if series.name.endswith(ending):
            return series.name.removesuffix(ending)
    return series.name


def escape(value: str) -> str:
    """Escape a label value."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """Write a value; whole numbers as such, to keep the file small."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def label_set(labels: Labels) -> str:
    """Write the braces; empty labels are the same as no labels."""
    pairs = [f'{k}="{escape(v)}"' for k, v in sorted(labels.items()) if v]
    return "{" + ",".join(pairs) + "}"


def lines(series: Iterable[Series]) -> Iterator[str]:
    """Yield the text, family after family."""
    families: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        families[family(one)].append(one)
    for name, members in sorted(families.items()):
        yield f"# TYPE {name} {members[0].kind}\n"
        for one in members:
            yield from _samples(one)
    yield "# EOF\n"


def _samples(series: Series) -> Iterator[str]:
    head = series.name + label_set(series.labels) + " "
    whole = series.values == np.floor(series.values)
    values = series.values.tolist()
    for i, (value, time) in enumerate(zip(values, series.times.tolist(), strict=True)):
        shown = int(value) if whole[i] else repr(value)
        yield f"{head}{shown} {time / 1000:.3f}\n"


def write(series: Iterable[Series], path: Path) -> None:
    """Write the file whole or not at all."""
    unfinished = path.with_suffix(".new")
    with unfinished.open("w", encoding="utf-8") as out:
        out.writelines(lines(series))
    unfinished.rename(path)
