"""Ways to a Prometheus that has no address of its own: found in a cluster, or behind a Grafana.

Each is written as a source: ``kubernetes:…``, ``openshift:`` or ``grafana:…``, which
`connection.connect` takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cilium_analysis.prometheus import Credentials, Deadline, Prometheus
    from cilium_analysis.prometheus.access import Access

#: Modules here that have ``check`` and ``reach``, by how their sources begin.
WAYS = ("kubernetes", "openshift", "grafana")
_OF_CLUSTERS = WAYS[:2]


def is_way(source: str) -> bool:
    """Tell whether a source is one of these."""
    return source.partition(":")[0] in WAYS and ":" in source


def is_of_a_cluster(source: str) -> bool:
    """Tell whether a source is found by the API of a cluster, which may take a kubeconfig."""
    return source.partition(":")[0] in _OF_CLUSTERS and ":" in source


def check(source: str) -> None:
    """Check how a source is written, without asking anybody.

    Raises
    ------
    ParameterError
        If it is not as it has to be.
    """
    import_module(f"{__name__}.{source.partition(':')[0]}").check(source)


def address(source: str, *, credentials: Credentials) -> tuple[str, Access]:
    """Give the address that is asked first, and the way to it; nobody is asked.

    Parameters
    ----------
    source, credentials
        As for `reach`.

    Raises
    ------
    ParameterError, SourceError
        If the source, or what it names, cannot be read.
    """
    module = import_module(f"{__name__}.{source.partition(':')[0]}")
    found: tuple[str, Access] = module.address(source, credentials=credentials)
    return found


def reach(
    source: str, *, credentials: Credentials, timeout: float, deadline: Deadline
) -> Prometheus:
    """Connect to the server that a source stands for.

    Parameters
    ----------
    source
        For which `is_way` holds.
    credentials, timeout, deadline
        As of `cilium_analysis.Prometheus`.

    Raises
    ------
    ParameterError
        If the source is not as it has to be.
    SourceError
        If there is no such server.
    """
    module = import_module(f"{__name__}.{source.partition(':')[0]}")
    found: Prometheus = module.reach(
        source, credentials=credentials, timeout=timeout, deadline=deadline
    )
    return found
