"""A cluster as its API shows it at one time, as plain tables that a bundle can keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis.errors import BundleError, KubernetesUnavailable
from cilium_analysis.kube import tables
from cilium_analysis.kube.listing import Unread
from cilium_analysis.kube.resources import CILIUM_CONFIG, CONFIGURATION, RESOURCES

if TYPE_CHECKING:
    from cilium_analysis.kube.access import Kubernetes
    from cilium_analysis.kube.listing import Reader
    from cilium_analysis.kube.resources import Resource
    from cilium_analysis.kube.rows import Row
    from cilium_analysis.window import Window

SCHEMA = "cilium-analysis/kubernetes/1"


@dataclass(frozen=True, eq=False)
class Cluster:
    """What the API of a cluster showed at one time. Texts in it are whatever users wrote.

    Parameters
    ----------
    server
        Address of the API server, without credentials.
    read
        When it was read, in UTC.
    events
        ``namespace, kind, name`` of what it is about, ``type, reason, message, count, first,
        last, component, node``; in order of ``last``.
    nodes
        ``name, internal_ip, addresses, ready, ready_changed, unschedulable, kubelet_version,
        kernel_version, zone, roles, created``.
    namespaces
        ``name, phase, labels, created``.
    pods
        ``namespace, name, node, ip, host_ip, phase, ready, restarts, last_exit,
        last_exit_reason, owner_kind, owner, labels, prometheus, ports, created``. The owner is
        the workload as Hubble names it; ``prometheus`` holds the ``prometheus.io/…`` annotations.
    services
        ``namespace, name, type, headless, selector, labels, prometheus, ports, created``.
    cilium_policies, cilium_clusterwide_policies, network_policies
        ``kind, namespace, name, created, changed, generation, directions, l7, denies, selects,
        valid``: `changed` is when anyone last wrote to the rules, NaT if the API does not tell;
        ``l7`` such as ``dns,http``; ``valid`` is empty where Cilium does not say.
    cilium_config
        The ConfigMap that configures Cilium: text by key.
    cilium_config_changed
        When anyone last wrote to it, if the API tells.
    unread
        Names of the tables that could not be read: they are empty, which says nothing.
    notes
        Why, and what else to know; one line each.
    """

    server: str
    read: datetime
    events: pd.DataFrame
    nodes: pd.DataFrame
    namespaces: pd.DataFrame
    pods: pd.DataFrame
    services: pd.DataFrame
    cilium_policies: pd.DataFrame
    cilium_clusterwide_policies: pd.DataFrame
    network_policies: pd.DataFrame
    cilium_config: pd.Series[str]
    cilium_config_changed: datetime | None = None
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, name))} {name}" for name in tables.COLUMNS)
        return f"Cluster({self.server!r}: {sizes})"

    @property
    def policies(self) -> pd.DataFrame:
        """All network policies of the three kinds."""
        kinds = (self.cilium_policies, self.cilium_clusterwide_policies, self.network_policies)
        return pd.concat(kinds, ignore_index=True)

    @property
    def hubble_services(self) -> pd.DataFrame:
        """The services through which Prometheus finds Hubble's metrics."""
        return self.services[self.services["name"] == "hubble-metrics"].reset_index(drop=True)

    def as_json(self) -> dict[str, Any]:
        """Give all of it as JSON-ready values, from which `from_json` makes the same again."""
        return {
            "schema": SCHEMA,
            "server": self.server,
            "read": tables.time_as_json(self.read),
            **{name: tables.as_json(name, getattr(self, name)) for name in tables.COLUMNS},
            "cilium_config": self.cilium_config.to_dict(),
            "cilium_config_changed": tables.time_as_json(self.cilium_config_changed),
            "unread": list(self.unread),
            "notes": list(self.notes),
        }

    def noted(self, *notes: str) -> Cluster:
        """Give the same with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Cluster:
        """Make a cluster from what `as_json` gave.

        Raises
        ------
        BundleError
            If it is damaged or of another schema.
        """
        schema = document.get("schema") if isinstance(document, Mapping) else None
        if schema != SCHEMA:
            raise BundleError(
                f"the Kubernetes objects have the schema {schema!r}; this version reads {SCHEMA!r}"
            )
        try:
            return cls(
                server=_text(document["server"]),
                read=tables.time_from_json(document["read"]) or _no_time(),
                **{name: tables.from_json(name, document[name]) for name in tables.COLUMNS},
                cilium_config=_series(document["cilium_config"]),
                cilium_config_changed=tables.time_from_json(document["cilium_config_changed"]),
                unread=tuple(map(_text, document["unread"])),
                notes=tuple(map(_text, document["notes"])),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as problem:
            raise BundleError(f"the Kubernetes objects are damaged: {problem!r}") from None


def load(
    kubernetes: Kubernetes,
    *,
    window: Window | None = None,
    since: datetime | None = None,
    cilium_namespace: str = "kube-system",
) -> Cluster:
    """Read a cluster's objects once. What cannot be read is left empty, with a note.

    Parameters
    ----------
    kubernetes
        Where to read.
    window
        Keeps only the events that touch it; all there are if None.
    since
        Keeps the events from then on, if it is before the window's start.
    cilium_namespace
        Where Cilium runs.

    Raises
    ------
    KubernetesUnavailable
        If no API server answers at all.
    SourceError
        If there is no such cluster to ask, its credentials are refused, or the package
        ``kubernetes`` is missing.
    """
    with kubernetes.reader() as reader:
        reading = _Reading(reader)
        found = {one.table: reading.rows(one) for one in RESOURCES}
        config = reading.configuration(cilium_namespace)
    changed = config.get("changed")
    frames = {name: tables.frame(name, tables.ordered(name, rows)) for name, rows in found.items()}
    if window is not None:
        reading.notes += _forgotten(frames["events"], window)
        earlier = max(window.start - (since or window.start), timedelta())
        frames["events"] = during(frames["events"], window.extended(before=earlier))
    return Cluster(
        server=reader.server,
        read=datetime.now(UTC),
        **frames,
        cilium_config=_series(config.get("data", {})),
        cilium_config_changed=changed if isinstance(changed, datetime) else None,
        unread=tuple(reading.unread),
        notes=tuple(reading.notes),
    )


def during(events: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Give the events that were seen at any time within a window, its ends included."""
    touching = (events["first"] <= window.end) & (events["last"] >= window.start)
    return events[touching].reset_index(drop=True)


class _Reading:
    """Reads one kind after the other, and remembers what could not be read."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.unread: list[str] = []
        self.notes: list[str] = []
        self._is_kubernetes = False

    def rows(self, resource: Resource) -> list[Row]:
        try:
            rows = self.reader.rows(resource)
        except Unread as problem:
            self._keep(resource, problem)
            return []
        self._is_kubernetes = True
        return rows

    def configuration(self, namespace: str) -> Row:
        """Read the ConfigMap of Cilium."""
        get = partial(CONFIGURATION.lister(self.reader.api), CILIUM_CONFIG, namespace)
        try:
            return CONFIGURATION.row(self.reader.ask(get, CONFIGURATION))
        except Unread as problem:
            self._keep(CONFIGURATION, problem)
            return {}

    def _keep(self, resource: Resource, problem: Unread) -> None:
        """Go on after a failure, unless nothing has shown yet that this is a Kubernetes API."""
        if not (self._is_kubernetes or problem.is_answer):
            raise KubernetesUnavailable(str(problem)) from None
        self._is_kubernetes = True
        self.unread.append(resource.table)
        self.notes.append(str(problem))


def _forgotten(events: pd.DataFrame, window: Window) -> list[str]:
    """Say so if the window began before the oldest event that the API server still has."""
    oldest = events["last"].min()
    if events.empty or oldest <= window.start:
        return []
    return [
        f"The oldest event is of {oldest:%Y-%m-%d %H:%M:%S}Z, after the window's start: what was"
        " before may be missing, as an API server forgets events, by default after an hour."
    ]


def _series(data: object) -> pd.Series[str]:
    """Make the Series of a ConfigMap's data; ValueError if it is none."""
    if not isinstance(data, Mapping) or not all(isinstance(v, str) for v in data.values()):
        raise ValueError(f"{CILIUM_CONFIG} holds more than texts")
    index = pd.Index(list(data), dtype="str", name="key")
    return pd.Series(list(data.values()), index=index, dtype="str", name="cilium_config")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")  # noqa: TRY004
    return value


def _no_time() -> datetime:
    raise ValueError("the time of reading is missing")
