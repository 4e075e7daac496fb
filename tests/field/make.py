"""Makes the metrics of a case, and the truth about them: labels, counters, and what a case is.

The cases themselves are in `cases` and beside it; who serves and asks them is in `asking`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MINUTE, HOUR, DAY = 60, 3600, 86400
START = 1795168800  # 2026-11-20T10:00:00Z, where the window begins
END = START + 2 * HOUR
BASELINE = START - 2 * HOUR
#: The first scrape: a quarter of an hour before the baseline.
FIRST = BASELINE - 15 * MINUTE
#: When agents started that are not said to have restarted.
LONG_AGO = BASELINE - 30 * DAY

Labels = Mapping[str, str]
#: From a time [s since 1970] to events per second.
Rate = Callable[[int], float]
Build = Callable[["Metrics", str], dict[str, Any]]


class Metrics:
    """Samples of many series, as a server would have stored them."""

    def __init__(self) -> None:
        self.series: dict[str, dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]] = (
            defaultdict(dict)
        )

    def add(self, name: str, labels: Labels, samples: Iterable[tuple[float, float]]) -> None:
        """Add samples (time, value) to the series of this name and these labels."""
        self.series[name].setdefault(tuple(sorted(labels.items())), []).extend(samples)

    def write(self, path: Path) -> None:
        """Write everything as OpenMetrics."""
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for name in sorted(self.series):
                file.write(f"# TYPE {name} unknown\n")
                for labels, samples in sorted(self.series[name].items()):
                    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
                    for at, value in sorted(samples):
                        file.write(f"{name}{{{inner}}} {float(value)!r} {at:.3f}\n")
            file.write("# EOF\n")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def scrapes(*, every: int = 30, first: int = FIRST, last: int = END, offset: int = 7) -> list[int]:
    """Give the times at which a target is scraped."""
    return list(range(first + offset, last + 1, every))


def minutes(time_: float, first: float, last: float) -> bool:
    """Tell whether a time lies between these minutes of the window."""
    return START + MINUTE * first <= time_ < START + MINUTE * last


def burst(rate: float, first: float, last: float, *, beside: float = 0.0) -> Rate:
    """Give a rate that holds between these minutes of the window, and another one beside it."""
    return lambda at: beside + (rate if minutes(at, first, last) else 0.0)


def at_once(amount: float, when: int) -> Rate:
    """Give a rate of so many events within one second."""
    return lambda at: amount if at == when else 0.0


def steady(rate: float) -> Rate:
    """Give a rate that never changes."""
    return lambda at: rate


def agent(number: int, *, node: bool = True, port: int = 9962, **more: str) -> dict[str, str]:
    """Give the labels of an agent's target: job, instance, and node as the chart's relabeling
    adds it."""
    labels = {"job": "cilium-agent", "instance": f"10.0.0.{number}:{port}"}
    return labels | ({"node": f"worker-{number}"} if node else {}) | more


def hubble(number: int, *, node: bool = True, **more: str) -> dict[str, str]:
    """Give the labels of the same node's Hubble target."""
    return agent(number, node=node, port=9965) | {"job": "hubble-metrics"} | more


def constant(metrics: Metrics, name: str, labels: Labels, value: float, at: Iterable[int]) -> None:
    """Add a gauge that never changes."""
    metrics.add(name, labels, [(time_, float(value)) for time_ in at])


def vitals(
    metrics: Metrics,
    labels: Labels,
    hubble_labels: Labels | None = None,
    *,
    born: float = LONG_AGO,
    at: Iterable[int] | None = None,
) -> None:
    """Add what each agent has: the start of its process, and that it answers its scrapes."""
    times = list(scrapes() if at is None else at)
    constant(metrics, "cilium_process_start_time_seconds", labels, born, times)
    constant(metrics, "up", labels, 1, times)
    if hubble_labels is not None:
        constant(metrics, "up", hubble_labels, 1, times)


def counter(
    metrics: Metrics,
    name: str,
    labels: Labels,
    rate: Rate,
    *,
    base: float = 0.0,
    at: Iterable[int] | None = None,
) -> dict[int, int]:
    """Add a counter of whole events; give its values by time."""
    grown, last, values = 0.0, FIRST, {}
    for time_ in scrapes() if at is None else at:
        grown += sum(rate(second) for second in range(last, time_))
        last = time_
        values[time_] = int(base) + int(grown)
    metrics.add(name, labels, values.items())
    return values


def counted(values: Mapping[int, int], after: int = START, until: int = END) -> int:
    """Give what the scrapes say was counted in a stretch of time, the window if none is named."""
    before = [time_ for time_ in values if time_ <= after]
    inside = [time_ for time_ in values if time_ <= until]
    return values[max(inside)] - (values[max(before)] if before else 0)


def drops(
    metrics: Metrics,
    labels: Labels,
    rate: Rate,
    *,
    base: float = 0.0,
    at: Iterable[int] | None = None,
    direction: str = "INGRESS",
    reason: str = "Policy denied",
) -> dict[int, int]:
    """Add the agent's own count of dropped packets."""
    return counter(
        metrics,
        "cilium_drop_count_total",
        {**labels, "direction": direction, "reason": reason},
        rate,
        base=base,
        at=at,
    )


@dataclass(frozen=True)
class Case:
    """One case: who builds it, and how it is to be asked.

    Parameters
    ----------
    build
        Adds the metrics, given the variant; returns `truth`.
    variants
        What the builder may be asked for; none for a case that is one only.
    topics
        Those which show it.
    arguments
        Of `cilium-analysis report`, beside source, times and output.
    source
        Where the like was reported.
    """

    name: str
    build: Build
    variants: tuple[str, ...] = ()
    topics: tuple[str, ...] = ("drop_reasons",)
    arguments: tuple[str, ...] = ()
    source: str = ""

    @property
    def names(self) -> list[str]:
        """One name for each variant."""
        return [f"{self.name}.{variant}" for variant in self.variants] or [self.name]


CASES: dict[str, Case] = {}


def case(
    *variants: str,
    topics: tuple[str, ...] = ("drop_reasons",),
    arguments: tuple[str, ...] = (),
    source: str = "",
) -> Callable[[Build], Build]:
    """Register a builder under its own name."""

    def register(build: Build) -> Build:
        CASES[build.__name__] = Case(build.__name__, build, variants, topics, arguments, source)
        return build

    return register


def truth(
    expect: str, /, *, refuses: Sequence[Mapping[str, Any]] = (), **numbers: object
) -> dict[str, Any]:
    """Say what is true: in words what a user may expect, and the numbers; what is refused."""
    return {"expect": " ".join(expect.split()), "numbers": numbers, "refuses": list(refuses)}


def find(name: str) -> tuple[Case, str]:
    """Give a case and its variant by name; the beginning of a name is enough if only one has it."""
    names = [each for known in CASES.values() for each in known.names]
    chosen = [each for each in names if each == name] or [
        each for each in names if each.startswith(name)
    ]
    if len(chosen) != 1:
        problem = "one of" if chosen else "no such case; one of"
        raise LookupError(f"{name}: {problem} {', '.join(chosen or names)}")
    stem, _, variant = chosen[0].partition(".")
    return CASES[stem], variant


def build(name: str) -> tuple[Metrics, dict[str, Any]]:
    """Give the metrics of a case, and the truth about it."""
    known, variant = find(name)
    metrics = Metrics()
    told = known.build(metrics, variant)
    about = {
        "case": f"{known.name}.{variant}" if variant else known.name,
        "scrape": " ".join((known.build.__doc__ or "").split()),
        "topics": list(known.topics),
        "arguments": list(known.arguments),
        "source": known.source,
    }
    return metrics, about | told


def iso(seconds: float) -> str:
    """Write a time as the command line takes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
