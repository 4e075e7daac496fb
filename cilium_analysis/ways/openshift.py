"""The Prometheus of an OpenShift cluster: the route of its Thanos Querier, and the user's token.

OpenShift keeps the metrics of the platform behind the route ``thanos-querier`` of the namespace
``openshift-monitoring``, which takes the bearer token of a user who may read them (OpenShift,
"Accessing metrics using the CLI").
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from cilium_analysis.errors import AccessDenied, ParameterError, SourceError
from cilium_analysis.prometheus import Credentials, Prometheus
from cilium_analysis.prometheus.access import Access, access_of
from cilium_analysis.prometheus.transport import Transport
from cilium_analysis.ways import kubernetes

if TYPE_CHECKING:
    from cilium_analysis.prometheus import Deadline
    from cilium_analysis.ways.api_server import ApiServer

_ROUTE = "apis/route.openshift.io/v1/namespaces/openshift-monitoring/routes/thanos-querier"


def _asked(text: str) -> kubernetes.Source:
    """Read ``openshift:?context=…``, which names no Service."""
    found = kubernetes.Source.parse(text.strip().replace("openshift:", "kubernetes:", 1))
    if found.service:
        raise ParameterError("an openshift: source names no Service: write openshift:")
    return found


def check(source: str) -> None:
    """Check how a source is written."""
    _asked(source)


def address(source: str, *, credentials: Credentials) -> tuple[str, Access]:
    """Give the address of the API server, as `cilium_analysis.ways.address`."""
    server = kubernetes.api_server(_asked(source))
    return server.url, server.access


def reach(
    source: str, *, credentials: Credentials, timeout: float, deadline: Deadline
) -> Prometheus:
    """Connect to the Thanos Querier, as `cilium_analysis.ways.reach`.

    Its certificate is that of the cluster's ingress: ``CILIUM_ANALYSIS_CA_FILE`` names the
    authority, if it is a private one.
    """
    asked = _asked(source)
    api = kubernetes.api_server(asked, timeout=timeout)
    host = _route(api, deadline)
    found = f"https://{host}"
    own = replace(access_of(credentials, found), auth=api.access.auth)
    text = asked.text.replace("kubernetes:", "openshift:", 1)
    server = Prometheus(
        found,
        access=own,
        credentials=Credentials(tenant=credentials.tenant),
        called=text,
        timeout=timeout,
        deadline=deadline,
    )
    server.found = f"Found the route thanos-querier at {host}"
    return server


def _route(api: ApiServer, deadline: Deadline) -> str:
    """Read the host of the route."""
    if api.access.auth is None:
        raise AccessDenied(
            f"the kubeconfig ({api.cluster.name}) has no token, which the Thanos Querier wants:"
            " sign in (oc login)"
        )
    limit = api.cluster.timeout
    wire = Transport(f"{api.url}/", way=api.access, timeout=limit, deadline=deadline)
    with closing(wire):
        status, found = wire.document(_ROUTE)
    if status in (401, 403):
        raise AccessDenied(
            f"{api.url} denies access to the route thanos-querier ({status}): sign in (oc"
            " login) as a user with the role cluster-monitoring-view"
        )
    spec = found.get("spec") if isinstance(found, dict) else None
    host = spec.get("host") if isinstance(spec, dict) else None
    if not isinstance(host, str) or not host or any(each in host for each in "/@?# "):
        raise SourceError(
            f"{api.url} has no route thanos-querier in openshift-monitoring ({status}): is it an"
            " OpenShift? Of other clusters, --source kubernetes: finds the Prometheus"
        )
    return host
