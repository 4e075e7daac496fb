"""The Prometheus of an OpenShift cluster: the route of its Thanos Querier, and the user's token.

OpenShift keeps the metrics of the platform behind the route ``thanos-querier`` of the namespace
``openshift-monitoring``, which takes the bearer token of a user who may read them (OpenShift,
"Accessing metrics using the CLI").
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import requests

from cilium_analysis.errors import AccessDenied, ParameterError, SourceError
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.prometheus.access import Access, access_of
from cilium_analysis.prometheus.credentials import Anonymous
from cilium_analysis.prometheus.failures import RAISED, Broken
from cilium_analysis.ways import kubernetes

if TYPE_CHECKING:
    from cilium_analysis.kube.access import Kubernetes
    from cilium_analysis.prometheus import Credentials, Deadline

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
    return kubernetes.api_server(kubernetes.cluster_of(_asked(source)))


def reach(
    source: str, *, credentials: Credentials, timeout: float, deadline: Deadline
) -> Prometheus:
    """Connect to the Thanos Querier, as `cilium_analysis.ways.reach`.

    Its certificate is that of the cluster's ingress: ``CILIUM_ANALYSIS_CA_FILE`` names the
    authority, if it is a private one.
    """
    asked = _asked(source)
    cluster = kubernetes.cluster_of(asked)
    url, way = kubernetes.api_server(cluster)
    host = _route(cluster, url.rstrip("/"), way, min(timeout, 30.0))
    found = f"https://{host}"
    own = replace(access_of(credentials, found), auth=way.auth)
    text = asked.text.replace("kubernetes:", "openshift:", 1)
    server = Prometheus(found, access=own, called=text, timeout=timeout, deadline=deadline)
    server.found = f"Found the route thanos-querier at {host}"
    return server


def _route(cluster: Kubernetes, url: str, way: Access, timeout: float) -> str:
    """Read the host of the route."""
    if way.auth is None:
        raise AccessDenied(
            f"the kubeconfig ({cluster.name}) has no token, which the Thanos Querier wants: sign in"
            " (oc login)"
        )
    try:
        with requests.Session() as session:
            reply = session.get(
                f"{url}/{_ROUTE}",
                auth=way.auth or Anonymous(),
                timeout=timeout,
                allow_redirects=False,
                **way.settings(session, url),
            )
            document = reply.json() if reply.status_code == 200 else {}
    except requests.JSONDecodeError:
        document = {}
    except RAISED as problem:
        raise Broken(url, timeout).error(problem, "")[0] from None
    if reply.status_code in (401, 403):
        raise AccessDenied(
            f"{url} denies access to the route thanos-querier ({reply.status_code}): sign in (oc"
            " login) as a user with the role cluster-monitoring-view"
        )
    spec = document.get("spec") if isinstance(document, dict) else None
    host = spec.get("host") if isinstance(spec, dict) else None
    if not isinstance(host, str) or not host or any(each in host for each in "/@?# "):
        raise SourceError(
            f"{url} has no route thanos-querier in openshift-monitoring ({reply.status_code}): is"
            " it an OpenShift? Of other clusters, --source kubernetes: finds the Prometheus"
        )
    return host
