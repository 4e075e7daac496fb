"""How the queries of this topic are made, as data: what is asked, and how the answer is read.

Every answer is bounded: what one process exposes under many labels (paths, hosts, subnets) is
added up by the server, per process. That is safe, because all counters of a process begin anew
together, and one that is born counts from 0. Counters of different processes are never added up
before their growth is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cilium_analysis.queries import Query
from cilium_analysis.topics import loading

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What every agent exposes from its start on.
_AGENT = "cilium_process_start_time_seconds{<match>}"

Kind = Literal["gauge", "counter", "pinned", "gained"]


@dataclass(frozen=True)
class Metric(Query):
    """A query, and how its answer is read.

    Parameters
    ----------
    kind
        ``gauge``, ``counter`` (of a process), or ``pinned`` (a counter that outlives it), or
        ``gained`` (what a counter gained, added up over all processes by the server).
    section
        One of `SECTIONS`.
    labels
        Labels of the answer beside those of the node.
    shown_only
        Whether tables and plots show it, but no finding is looked for in it: of many nodes it is
        asked for in longer steps.
    """

    kind: Kind = "gauge"
    section: str = "agent"
    labels: tuple[str, ...] = ()
    shown_only: bool = False


def by(labels: Sequence[str]) -> str:
    """List labels and those of the node, as PromQL's ``by`` wants them.

    Parameters
    ----------
    labels
        Beside those of the node.
    """
    return ", ".join(("<target>", *sorted(set(labels))))


def asked(
    selector: str, labels: Sequence[str], inside: Sequence[str] = (), *, over: str = "max"
) -> str:
    """Reduce a metric per process: the greatest per step, added up over the labels inside.

    Parameters
    ----------
    selector
        With its braces.
    labels
        To keep.
    inside
        Labels of the same process to add up over.
    over
        How to reduce a step: ``max`` or ``last``.
    """
    each = f"max by ({by((*labels, *inside))}) ({over}_over_time({selector}[<range>]))"
    return f"sum by ({by(labels)}) ({each})" if inside else each


def metric(
    kind: Kind,
    section: str,
    selector: str,
    unit: str,
    about: str,
    *labels: str,
    inside: Sequence[str] = (),
    over: str = "max",
) -> Metric:
    """Ask for a metric per process.

    Parameters
    ----------
    kind
        As `Metric.kind`.
    section
        As `Metric.section`.
    selector
        Name of the metric, with braces where it has matchers.
    unit
        Of the values.
    about
        What the answer says, in words.
    labels
        To keep.
    inside
        Labels of the same process to add up over.
    over
        How to reduce a step: ``max`` or ``last``.
    """
    selector = selector if "{" in selector else selector + "{<match>}"
    promql = asked(selector, labels, inside, over=over)
    return Metric(promql, unit, about, kind=kind, section=section, labels=labels)


def gauge(section: str, selector: str, unit: str, about: str, *labels: str) -> Metric:
    """Ask for the highest level in each step.

    Parameters
    ----------
    section
        As `Metric.section`.
    selector
        Name of the metric, with braces where it has matchers.
    unit
        Of the values.
    about
        What the answer says, in words.
    labels
        To keep.
    """
    return metric("gauge", section, selector, unit, about, *labels)


def counter(
    section: str, selector: str, about: str, *labels: str, inside: Sequence[str] = ()
) -> Metric:
    """Ask for a counter of a process.

    Parameters
    ----------
    section
        As `Metric.section`.
    selector
        Name of the metric, with braces where it has matchers.
    about
        What the answer says, in words.
    labels
        To keep.
    inside
        Labels of the same process to add up over.
    """
    return metric("counter", section, selector, "1", about, *labels, inside=inside)


def gained(section: str, selector: str, about: str, *labels: str, unit: str = "1") -> Metric:
    """Ask for what a counter gained in all agents together, by labels with many values.

    Its series do not become more with the nodes.

    Parameters
    ----------
    section
        As `Metric.section`.
    selector
        Name of the metric.
    about
        What the answer says, in words.
    labels
        To keep.
    unit
        Of the values.
    """
    grown = loading.gained(f"{selector}{{<match>}}", there=_AGENT)
    names = ", ".join(("<cluster>", *sorted(labels)))
    # An agent that is scraped twice counts once.
    once = f"max by ({by(labels)}) ({grown})"
    promql = f"sum by ({names}) ({once})"
    return Metric(promql, unit, about + ", per step", kind="gained", section=section, labels=labels)


def durations(
    name: str,
    section: str,
    histogram: str,
    about: str,
    *labels: str,
    inside: Sequence[str] = (),
) -> dict[str, Metric]:
    """Ask for the sum and the count of a histogram: enough for means.

    Parameters
    ----------
    name
        Of the two queries, before ``_seconds`` and ``_count``.
    section
        As `Metric.section`.
    histogram
        Name of the metric.
    about
        What the answer says, in words.
    labels
        To keep.
    inside
        Labels of the same process to add up over.
    """
    return {
        f"{name}_seconds": metric(
            "counter",
            section,
            f"{histogram}_sum",
            "s",
            f"time taken by {about}",
            *labels,
            inside=inside,
        ),
        f"{name}_count": counter(section, f"{histogram}_count", about, *labels, inside=inside),
    }
