"""The objects of a cluster at one time, as plain tables that a bundle can keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from cilium_analysis.errors import BundleError, KubernetesUnavailable
from cilium_analysis.kube import tables
from cilium_analysis.kube.reading import CILIUM_CONFIG, CONFIGURATION, RESOURCES, Unread

if TYPE_CHECKING:
    from cilium_analysis.kube.access import Kubernetes
    from cilium_analysis.kube.objects import Row
    from cilium_analysis.kube.reading import Reader, Resource
    from cilium_analysis.window import Window

SCHEMA = "cilium-analysis/kubernetes/1"


@dataclass(frozen=True, eq=False)
class Cluster:
    """The objects of a cluster at one time. Texts in it may be anything that users wrote.

    Parameters
    ----------
    server
        Address of the API server, without credentials.
    read
        When it was read, in UTC.
    events
        ``namespace, kind, name`` of the object, ``type, reason, message, count, first, last,
        component, node``; in order of ``last``.
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
        valid``: ``changed`` is the last write to the rules, NaT if unknown; ``l7`` such as
        ``dns,http``; ``valid`` is empty where Cilium does not set it.
    cilium_config
        The ConfigMap that configures Cilium: text by key.
    cilium_config_changed
        Time of the last write to it, if known.
    unread
        Names of the tables that could not be read: they are empty, and the objects unknown.
    notes
        The reasons, and other notes for readers; one line each.
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
        """The services by which Prometheus discovers Hubble's metrics."""
        return self.services[self.services["name"] == "hubble-metrics"].reset_index(drop=True)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON-ready values, which `from_json` reads."""
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
        """Return the same cluster with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Cluster:
        """Make a cluster from the values of `as_json`.

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
                read=_time(document["read"]),
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
    """Read a cluster's objects once. Tables that cannot be read are left empty, with a note.

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
    """Return the events that happened at any time within a window, its ends included."""
    touching = (events["first"] <= window.end) & (events["last"] >= window.start)
    return events[touching].reset_index(drop=True)


class _Reading:
    """Reads one kind of object after the other, and notes those that could not be read."""

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
        """Note a failure; it is an error until an answer shows that this is a Kubernetes API."""
        if not (self._is_kubernetes or problem.is_answer):
            raise KubernetesUnavailable(str(problem)) from None
        self._is_kubernetes = True
        self.unread.append(resource.table)
        self.notes.append(str(problem))


def _forgotten(events: pd.DataFrame, window: Window) -> list[str]:
    """Return a note if the window begins before the oldest event that the API server has."""
    oldest = events["last"].min()
    if events.empty or oldest <= window.start:
        return []
    return [
        f"The oldest event is of {window.told(oldest)}, after the window's start: what was before"
        " may be missing, as an API server forgets events, by default after an hour."
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


def _time(value: object) -> datetime:
    found = tables.time_from_json(value)
    if found is None:
        raise ValueError("the time of reading is missing")
    return found
