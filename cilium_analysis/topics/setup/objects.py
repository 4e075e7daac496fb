"""Kubernetes' objects that tell how Cilium is monitored."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cilium_analysis.window import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pandas as pd

    from cilium_analysis.window import Window

#: Labels of the pods of Cilium's chart (install/kubernetes/cilium/templates).
AGENT: Mapping[str, str] = {"k8s-app": "cilium"}
OPERATOR: Mapping[str, str] = {"io.cilium/app": "operator"}
_SOON = timedelta(minutes=15)


class Objects(Protocol):
    """What the API of a cluster showed at one time; tables as of `cilium_analysis.kube.Cluster`."""

    @property
    def server(self) -> str:
        """Address of the API server."""
        ...

    @property
    def read(self) -> datetime:
        """When it was read."""
        ...

    @property
    def nodes(self) -> pd.DataFrame:
        """``name, addresses, created``, …."""
        ...

    @property
    def pods(self) -> pd.DataFrame:
        """``namespace, name, node, labels, prometheus, created``, …."""
        ...

    @property
    def services(self) -> pd.DataFrame:
        """``namespace, name, headless, selector, prometheus, ports``, …."""
        ...

    @property
    def cilium_policies(self) -> pd.DataFrame:
        """``namespace, name, l7, selects, valid``, …."""
        ...

    @property
    def cilium_clusterwide_policies(self) -> pd.DataFrame:
        """Columns as of the policies of namespaces."""
        ...

    @property
    def cilium_config(self) -> pd.Series[str]:
        """The ConfigMap that configures Cilium: text by key."""
        ...

    @property
    def unread(self) -> tuple[str, ...]:
        """Names of the tables that could not be read: they are empty, which says nothing."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Why, and what else to know."""
        ...


def labelled(objects: Objects, labels: Mapping[str, str]) -> pd.DataFrame:
    """Give the pods that have these labels, but for those that have ended."""
    pods = objects.pods
    chosen = [
        labels.items() <= own.items() and phase not in ("Succeeded", "Failed")
        for own, phase in zip(pods["labels"], pods["phase"], strict=True)
    ]
    # Without any pod, a mere list would choose columns.
    return pods[np.array(chosen, dtype=bool)]


def service(objects: Objects, name: str) -> pd.DataFrame:
    """Give the services of a name that could be Cilium's: those without cluster address."""
    services = objects.services
    return services[(services["name"] == name) & services["headless"]]


def later(read: datetime, window: Window) -> list[str]:
    """Say so if the objects were read long after a window."""
    after = read - window.end
    if after < _SOON:
        return []
    length = format_duration(timedelta(minutes=after // timedelta(minutes=1)))
    return [
        f"Kubernetes was read {length} after the end of the window: nodes, pods and policies are"
        " as they were then, and what was deleted before is not among them."
    ]
