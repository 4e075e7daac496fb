"""Questions: the parameters of a notebook or a command, checked and made into objects."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from cilium_analysis import targets
from cilium_analysis.around import locate
from cilium_analysis.bundle import Bundle
from cilium_analysis.config import CONFIGURED, Config, configured
from cilium_analysis.connection import connect
from cilium_analysis.errors import (
    BundleError,
    ParameterError,
    PrometheusError,
    WindowError,
)
from cilium_analysis.injected import check_injected, check_text
from cilium_analysis.queries import parse_matchers
from cilium_analysis.show import definition_list, span
from cilium_analysis.source import iso
from cilium_analysis.texts import visible
from cilium_analysis.times import format_duration, parse_duration
from cilium_analysis.ways import is_of_a_cluster
from cilium_analysis.window import Window, fitting_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.kube import Cluster, Kubernetes
    from cilium_analysis.prometheus import Deadline
    from cilium_analysis.queries import Matcher
    from cilium_analysis.source import Source

#: Timeout of each query, with all its tries.
_TIMEOUT = "2m"
#: Environment variable for the parameter ``kubernetes``, which notebooks do not have.
KUBERNETES_VARIABLE = "CILIUM_ANALYSIS_KUBERNETES"


@dataclass(frozen=True)
class Question:
    """A source, a window and a baseline: the parameters of a notebook as objects.

    Parameters
    ----------
    source
        A server or a bundle.
    window, baseline
        The window under analysis, and the window that it is compared with.
    match
        Label matchers that narrow every query; checked.
    kubernetes
        The Kubernetes API that is read beside a server; None if none is.
    cilium_namespace
        Namespace of Cilium.
    called
        Name of the cluster, if there are several; shown beside the source.
    workloads
        Hubble's metrics are narrowed to them; all if empty. As `ask` takes it.
    located
        How the window was found, in one line; empty if start and end were given.
    """

    source: Source
    window: Window
    baseline: Window
    match: str = ""
    kubernetes: Kubernetes | None = None
    cilium_namespace: str = "kube-system"
    called: str = ""
    workloads: str = ""
    located: str = ""

    @cached_property
    def answers(self) -> Source:
        """What topics are loaded from: the source, narrowed to the workloads if any are given.

        Raises
        ------
        ParameterError
            If Hubble's metrics name no such workloads.
        """
        if not self.workloads:
            return self.source
        from cilium_analysis.topics import flows
        from cilium_analysis.topics.workloads import Narrowed, Workloads, nodes

        asked, where = Workloads.parse(self.workloads), frozenset[str]()
        with suppress(BundleError):  # recorded for other topics only
            where = nodes(flows.seen(self.source, self.window, match=self.match), asked)
        return Narrowed(self.source, asked, nodes=where)

    @cached_property
    def cluster(self) -> Cluster | None:
        """Objects of the Kubernetes API: recorded in a bundle, or read on first use.

        None without such an API. A note warns if it seems to be of another cluster than the
        metrics.

        Raises
        ------
        KubernetesUnavailable, SourceError
            As of `cilium_analysis.kube.load`.
        BundleError
            If the bundle's objects are damaged.
        """
        from cilium_analysis.kube import Cluster, load
        from cilium_analysis.topics.setup.objects import cluster_notes, later, nodes_in_metrics

        if isinstance(self.source, Bundle):
            document = self.source.kubernetes
            return Cluster.from_json(document) if document is not None else None
        if self.kubernetes is None:
            return None
        found = load(
            self.kubernetes,
            window=self.window,
            since=self.baseline.start,
            cilium_namespace=self.cilium_namespace,
        )
        metrics = nodes_in_metrics(self.source, self.window, match=self.match)
        notes = cluster_notes(metrics, found.nodes, unread=found.unread)
        return found.noted(*later(found.read, self.window), *notes)

    @property
    def reading(self) -> str:
        """Everything that is going to be read, for people."""
        beside = f" and Kubernetes ({self.kubernetes.name})" if self.kubernetes else ""
        name = f"{self.called} ({self.source.name})" if self.called else self.source.name
        only = f", only {self.match}" if self.match else ""
        only += f", of workloads only {self.workloads}" if self.workloads else ""
        return name + beside + only

    def _repr_html_(self) -> str:
        return definition_list(self._rows())

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {text}" for name, text in self._rows().items())

    def _rows(self) -> dict[str, str]:
        rows = {
            "Source": self.source.name,
            "Window": span(self.window),
            "Baseline": span(self.baseline),
            "Only": self.match,
            "Workloads": self.workloads,
            "Clusters": self._clusters(),
            "Kubernetes": self._kubernetes(),
        }
        return {name: visible(text) for name, text in rows.items() if text}

    def _clusters(self) -> str:
        """Return the clusters, and the labels that tell them apart; empty if there is one cluster.

        Only a bundle is asked: to show a question sends no request to a server.
        """
        if not isinstance(self.source, Bundle):
            return ""
        try:
            known = targets.of(self.source, self.window, self.baseline, match=self.match)
        except (BundleError, PrometheusError):
            return ""
        names = sorted(set(known.table["cluster"]) - {""})
        if len(names) < 2:
            return ""
        return f"{len(names)}, told apart by {', '.join(known.clusters)}: {targets.listed(names)}"

    def _kubernetes(self) -> str:
        """Return the name of the API without reading it."""
        if isinstance(self.source, Bundle):
            row = self.source.manifest.get("kubernetes")
            if not row:
                return ""
            return f"{row['server']}, read {self.window.told(datetime.fromisoformat(row['read']))}"
        return self.kubernetes.name if self.kubernetes else ""


def ask(
    *,
    source: str,
    start: str = "",
    end: str = "",
    step: str = "",
    baseline: str = "previous",
    match: str = "",
    timezone: str = "UTC",
    kubernetes: str = "",
    kubeconfig: str = "",
    cilium_namespace: str = "",
    timeout: str = "",
    deadline: str = "",
    workloads: str = "",
    around: str = "",
    alert: str = "",
) -> Question:
    """Check the parameters of a notebook, and make them into a question.

    Parameters
    ----------
    source
        As for `cilium_analysis.connect`; or ``configured``: the source of
        `cilium_analysis.config.configured`, with its Kubernetes API.
    start, end
        As for `Window.parse`. Without a start, the window is the recorded one of a bundle, and
        the last two hours of a server.
    step
        As for `Window.parse`.
    baseline
        As for `Window.baseline`; empty is ``previous``, or a bundle's own.
    match
        Label matchers such as ``cluster="prod"``.
    timezone
        IANA name of the reader's zone.
    kubernetes, kubeconfig
        As for `cilium_analysis.kube.Kubernetes.at`. If empty, it is that of the environment
        variable ``CILIUM_ANALYSIS_KUBERNETES``; without it no Kubernetes API is read.
    cilium_namespace
        Namespace of Cilium; ``kube-system`` if empty.
    timeout, deadline
        Time for each query, and for all queries of this source: such as ``30m``.
    workloads
        What to narrow Hubble's metrics to: a namespace ``shop``, a workload ``shop/cart``, or a
        pair ``shop/cart to shop/db``.
    around, alert
        A time, or the name of an alert, instead of start and end: the window is what is unusual
        around it, as of `cilium_analysis.around.locate`.

    Raises
    ------
    UsageError
        If a parameter is not valid.

    Examples
    --------
    >>> question = ask(source="sample", baseline="1d", timezone="Asia/Tokyo")
    >>> print(question.baseline.start)
    2026-03-20 08:00:00+00:00
    """
    given = {"source": source, "start": start, "end": end, "step": step, "match": match}
    more = {"baseline": baseline, "timezone": timezone, "workloads": workloads}
    check_text(given | more)
    check_injected()
    config = configured() if source == CONFIGURED else Config(source=source)
    seconds = parse_duration(timeout or _TIMEOUT).total_seconds()
    if around or alert:  # not beside what says once more which window is meant
        given = {"around": around, "alert": alert, "start": start, "end": end}
        first, *others = [f"--{name}" for name, text in given.items() if text]
        if others:
            hint = f"leave {', '.join(others)} out"
            raise ParameterError(f"{first} finds start and end of the window: {hint}")
    found = connect(config.source, timeout=seconds, deadline=_until(deadline))
    located = ""
    if around or alert:
        place = locate(found, time=around, alert=alert, match=match, timezone=timezone)
        located = place.said
        if not isinstance(found, Bundle):
            start, end = iso(place.start), iso(place.end)
    asked = ask_source(
        found,
        start=start,
        end=end,
        step=step,
        baseline=baseline,
        match=match,
        timezone=timezone,
        kubernetes=_access(found, kubernetes or config.kubernetes, kubeconfig or config.kubeconfig),
        cilium_namespace=cilium_namespace or config.cilium_namespace,
        workloads=workloads,
    )
    return replace(asked, located=located) if located else asked


def ask_again(
    name: str,
    given: Mapping[str, str],
    *,
    source: str,
    shown: str,
    called: str = "",
    timeout: float,
) -> Question:
    """Make the question of a recording again, for the server that it was recorded from.

    Parameters
    ----------
    name
        Of the server, in the recording.
    given
        The parameters of the recording, as for `ask`.
    source
        The server, as the user names it. If empty, its address is taken from the recording; that
        may be from anybody, so that this server gets no credentials.
    shown
        Name of the recording, for the error.
    called
        As for `ask_source`.
    timeout
        Of each query, with all its tries [s].

    Raises
    ------
    UsageError
        If this is another server.
    """
    from cilium_analysis.prometheus import Credentials

    server = connect(source or name, credentials=None if source else Credentials(), timeout=timeout)
    if isinstance(server, Bundle) or server.name != name:
        raise ParameterError(f"{shown} was recorded from {name}: give that source")
    return ask_source(
        server,
        start=given["start"],
        end=given["end"],
        step=given["step"],
        baseline=given["baseline"],
        match=given["match"],
        timezone=given["timezone"],
        called=called,
        workloads=given.get("workloads", ""),
    )


def ask_source(
    source: Source,
    *,
    start: str = "",
    end: str = "",
    step: str = "",
    baseline: str = "previous",
    match: str = "",
    timezone: str = "UTC",
    kubernetes: Kubernetes | None = None,
    cilium_namespace: str = "kube-system",
    called: str = "",
    workloads: str = "",
) -> Question:
    """Make a question for a source that is connected already, without the environment.

    Parameters
    ----------
    source
        A server or a bundle.
    start, end, step, baseline, match, timezone, cilium_namespace, workloads
        As for `ask`. The default step is that of a bundle; of a server it is never finer than the
        scrape interval, and in a short window as fine as it, from 5 s on. The default matchers are
        those of a bundle.
    kubernetes, called
        As of `Question`.

    Raises
    ------
    UsageError
        If a parameter is not valid.
    """
    given = parse_matchers(match)
    if workloads:
        from cilium_analysis.topics.workloads import Workloads

        workloads = Workloads.parse(workloads).text
    if isinstance(source, Bundle) and source.match is not None:
        match = _held_match(source, source.match, given)
    if isinstance(source, Bundle) and not start:
        window = _recorded(source, end=end, step=step, timezone=timezone)
        if not baseline and source.baseline:
            return Question(
                source, window, source.baseline, match, called=called, workloads=workloads
            )
    else:
        times = {"start": start, "end": end, "step": step, "timezone": timezone}
        window = _window(source, times, baseline=baseline or "previous", match=match)
    before = window.baseline(baseline or "previous")
    return Question(source, window, before, match, kubernetes, cilium_namespace, called, workloads)


def _held_match(bundle: Bundle, held: str, given: Sequence[Matcher]) -> str:
    """Return the matchers of a bundle, which answers no queries with other matchers."""
    if given and set(given) != set(parse_matchers(held)):
        shown = f"{{{held}}}: leave --match out" if held else "none: leave --match out"
        raise BundleError(
            f"the bundle {bundle.called} holds answers to queries with the matchers {shown}, or"
            " record another one"
        )
    return held


def _window(source: Source, times: Mapping[str, str], *, baseline: str, match: str) -> Window:
    """Read the window; the default step is one in which every target is scraped.

    A short window has finer steps if its targets are scraped as often.
    """
    now, step = datetime.now(UTC), times["step"]
    if not step and isinstance(source, Bundle):
        step = format_duration(source.window.step)
    start, end = times["start"] or "-2h", times["end"] or "now"
    window = Window.parse(start, end, step=step, timezone=times["timezone"], now=now)
    if step:
        return window
    try:
        # The topics ask about both windows, and then use this answer.
        known = targets.of(source, window, window.baseline(baseline), match=match)
    except PrometheusError:
        # The first query of the run raises a better error.
        return window
    chosen = fitting_step(window, known.slowest, {*known.table["interval"]})
    if chosen == window.step:
        return window
    step = format_duration(chosen)
    return Window.parse(start, end, step=step, timezone=times["timezone"], now=now)


def _until(deadline: str) -> Deadline | None:
    if not deadline:
        return None
    from cilium_analysis.prometheus import Deadline  # slow to import, and not needed for a bundle

    return Deadline.after(parse_duration(deadline).total_seconds())


def _recorded(bundle: Bundle, *, end: str, step: str, timezone: str) -> Window:
    """Return the window of a bundle, in the reader's time zone."""
    if end or step:
        raise WindowError("an end or a step needs a start; give none of them for the whole bundle")
    held = bundle.window
    return Window(held.start, held.end, held.step, timezone=timezone or held.timezone)


def _access(source: Source, where: str, kubeconfig: str) -> Kubernetes | None:
    """Return the Kubernetes API that is named: the current context may be of another cluster."""
    if isinstance(source, Bundle):
        if where or kubeconfig:
            raise ParameterError(
                "a bundle brings its own Kubernetes objects: leave --kubernetes out"
            )
        return None
    chosen = where or os.environ.get(KUBERNETES_VARIABLE, "")
    if kubeconfig and not chosen and not is_of_a_cluster(source.name):
        raise ParameterError("a kubeconfig needs a context: add --kubernetes current, or its name")
    if not chosen:
        return None
    from cilium_analysis.kube import Kubernetes

    return Kubernetes.at(chosen, kubeconfig=kubeconfig)
