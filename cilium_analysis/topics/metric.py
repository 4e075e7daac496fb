"""How topics declare their metrics: what is asked, and how `Reader.read` reads the answer.

Every answer is bounded: the server adds up what one process exposes under many labels (paths,
hosts, subnets), per process. That is safe, because all counters of a process restart together,
and one that is born counts from 0. Counters of different processes are never added up before
their increase is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cilium_analysis.queries import Query
from cilium_analysis.topics import loading

#: What every agent exposes from its start on.
_AGENT = "cilium_process_start_time_seconds{<match>}"

Kind = Literal["gauge", "counter", "pinned", "gained"]
Process = Literal["agent", "hubble", "operator", "other"]
Use = Literal["searched", "slow", "shown"]


@dataclass(frozen=True)
class Metric(Query):
    """A query, and how its answer is read.

    Parameters
    ----------
    kind
        ``gauge``, ``counter`` (of a process), ``pinned`` (a counter that outlives it), or
        ``gained`` (the increase of a counter, added up by the server).
    labels
        Labels of the answer beside those of the node.
    process
        Whose metric it is. Of an ``other`` one it is not known when it was scraped.
    use
        Whether findings are looked for in each of its steps (``searched``), in a level that moves
        slowly (``slow``), or nowhere (``shown``): of many nodes it is then asked for in longer
        steps.
    section
        For `agent_health`, one of `cilium_analysis.topics.health.catalogue.SECTIONS`.
    total, broken
        As of `cilium_analysis.source.Sums`, of what is ``gained``; empty if there is no such way.
    """

    kind: Kind = "gauge"
    labels: tuple[str, ...] = ()
    process: Process = "agent"
    use: Use = "searched"
    section: str = ""
    total: str = ""
    broken: str = ""


def by(labels: str) -> str:
    """Give labels (with blanks between them) and those of the node as PromQL's ``by`` does."""
    return ", ".join(("<target>", *sorted(set(labels.split()))))


def reduced(selector: str, labels: str = "", *, inside: str = "", over: str = "max") -> str:
    """Write PromQL for one value per process and step, added up over the labels inside.

    Parameters
    ----------
    selector
        With its braces.
    labels
        To keep, with blanks between them.
    inside
        Labels of the same process to add up over.
    over
        How to reduce a step: ``max``, ``last`` or ``avg``.
    """
    each = f"max by ({by(f'{labels} {inside}')}) ({over}_over_time({selector}[<range>]))"
    return f"sum by ({by(labels)}) ({each})" if inside else each


def metric(
    kind: Kind,
    selector: str,
    unit: str,
    about: str,
    labels: str = "",
    *,
    inside: str = "",
    over: str = "max",
    use: Use = "searched",
    spare: bool = False,
) -> Metric:
    """Declare a metric that is asked for per process.

    Parameters
    ----------
    kind
        As `Metric.kind`.
    selector
        Name of the metric, with braces where it has matchers.
    unit
        Of the values.
    about
        What the answer says, in words.
    labels, inside, over
        As for `reduced`.
    use, spare
        As for `Metric`.
    """
    selector = selector if "{" in selector else selector + "{<match>}"
    promql = reduced(selector, labels, inside=inside, over=over)
    return Metric(promql, unit, about, spare, kind, tuple(labels.split()), use=use)


def gauge(selector: str, unit: str, about: str, labels: str = "") -> Metric:
    """Declare a gauge: the answer is its highest level in each step; parameters as for `metric`."""
    return metric("gauge", selector, unit, about, labels)


def counter(selector: str, about: str, labels: str = "", *, inside: str = "") -> Metric:
    """Declare a counter of a process; parameters as for `metric`."""
    return metric("counter", selector, "1", about, labels, inside=inside)


def gained(
    selector: str,
    about: str,
    labels: str,
    *,
    inside: str = "",
    unit: str = "1",
    use: Use = "searched",
) -> Metric:
    """Declare the increase of a counter in all agents together, by labels with many values.

    Its series do not become more with the nodes. Parameters as for `metric`.
    """
    kept, counters = labels.split(), f"{selector}{{<match>}}"
    outside = f"sum by ({', '.join(('<cluster>', *sorted(kept)))})"
    # An agent that is scraped twice counts once.
    once = f"max by ({by(f'{labels} {inside}')})"
    return Metric(
        f"{outside} ({once} ({loading.gained(counters, there=_AGENT)}))",
        unit,
        f"{about}, per step",
        kind="gained",
        labels=tuple(kept),
        use=use,
    )


def durations(
    name: str, histogram: str, about: str, labels: str = "", *, inside: str = ""
) -> dict[str, Metric]:
    """Declare sum and count of a histogram: enough for means.

    Parameters
    ----------
    name
        Of the two queries, before ``_seconds`` and ``_count``.
    histogram
        Name of the metric.
    about, labels, inside
        As for `metric`.
    """
    taken = f"time taken by {about}"
    return {
        f"{name}_seconds": metric("counter", f"{histogram}_sum", "s", taken, labels, inside=inside),
        f"{name}_count": counter(f"{histogram}_count", about, labels, inside=inside),
    }
