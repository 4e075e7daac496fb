"""What is read from the API, and the rights that this takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cilium_analysis.kube import policies, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubernetes.client import ApiClient

    from cilium_analysis.kube.rows import Row

CILIUM_CONFIG = "cilium-config"


@dataclass(frozen=True)
class Resource:
    """One kind of object in the API.

    Parameters
    ----------
    table
        Where its objects go.
    plural, group, version
        As the API's paths and roles name it; the group ``""`` is the core.
    row
        Reads one object.
    method
        Of `kubernetes.client.CoreV1Api`, which lists it in all namespaces; "" for other groups.
    may_be_absent
        Whether a cluster can do without this kind.
    verb
        What is done with it, for a role.
    """

    table: str
    plural: str
    row: Callable[[Mapping[str, object]], Row]
    method: str = ""
    group: str = ""
    version: str = "v1"
    may_be_absent: bool = False
    verb: str = "list"

    @property
    def name(self) -> str:
        """As ``kubectl get`` takes it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def absent(self) -> str:
        """What it means that the API does not know this kind."""
        if self.verb == "get":
            return "there is no such ConfigMap (404); name the namespace in which Cilium runs"
        if self.may_be_absent:
            return "the cluster does not have this kind of object (404)"
        return "the server does not know them (404); is it the Kubernetes API?"

    def missing_right(self, said: str) -> str:
        """Say which right is missing."""
        group = f"the API group {self.group}" if self.group else 'the core API group ""'
        return (
            f"cannot {self.verb} {self.name} (403): ask for {self.verb} on {self.plural} of {group}"
            f" in the ClusterRole; the server says: {said}"
        )

    def lister(self, api: ApiClient) -> Callable[..., Any]:
        """Give what lists it, page by page."""
        from kubernetes import client

        if self.method:
            method: Callable[..., Any] = getattr(client.CoreV1Api(api), self.method)
            return method
        custom = client.CustomObjectsApi(api)
        return partial(custom.list_cluster_custom_object, self.group, self.version, self.plural)


#: Small ones first, so that a server which is none is soon found out.
RESOURCES = (
    Resource("namespaces", "namespaces", rows.namespace, "list_namespace"),
    Resource("nodes", "nodes", rows.node, "list_node"),
    Resource("services", "services", rows.service, "list_service_for_all_namespaces"),
    Resource(
        "cilium_policies",
        "ciliumnetworkpolicies",
        policies.cilium_policy("CiliumNetworkPolicy"),
        group="cilium.io",
        version="v2",
        may_be_absent=True,
    ),
    Resource(
        "cilium_clusterwide_policies",
        "ciliumclusterwidenetworkpolicies",
        policies.cilium_policy("CiliumClusterwideNetworkPolicy"),
        group="cilium.io",
        version="v2",
        may_be_absent=True,
    ),
    Resource(
        "network_policies",
        "networkpolicies",
        policies.network_policy,
        group="networking.k8s.io",
    ),
    Resource("pods", "pods", rows.pod, "list_pod_for_all_namespaces"),
    Resource("events", "events", rows.event, "list_event_for_all_namespaces"),
)

CONFIGURATION = Resource(
    "cilium_config",
    "configmaps",
    rows.configuration,
    "read_namespaced_config_map",
    may_be_absent=True,
    verb="get",
)
