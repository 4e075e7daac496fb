"""What a schedule needs where its Prometheus is found by the API of a cluster.

Such are the sources ``kubernetes:…`` and ``openshift:``. How they are found is in
`cilium_analysis.ways`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cilium_analysis.ways import is_of_a_cluster
from cilium_analysis.ways.kubernetes import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

_QUERIER = "https://thanos-querier.openshift-monitoring.svc:9091"


def found_by_api(source: str) -> Source | None:
    """Give what a source says of its cluster; None if no API of a cluster is asked for it."""
    if not is_of_a_cluster(source):
        return None
    return Source.parse(f"kubernetes:{source.partition(':')[2]}")


def unfit_for_pod(source: str, *, signs: bool) -> str:
    """Say why a pod, which has a service account and no kubeconfig, cannot ask a source.

    Parameters
    ----------
    source
        To ask.
    signs
        Whether the pod has credentials for it.
    """
    asked = found_by_api(source)
    if asked is None:
        return ""
    if signs and not asked.service:
        named = "--source kubernetes:NAMESPACE/SERVICE:PORT"
        return f"a Service that is only found gets no credentials: name it, as {named}"
    for name in ("context", "kubeconfig", "via"):
        if getattr(asked, name):
            return f"a pod has no kubeconfig and asks the Service: leave {name}= out of the source"
    if source.startswith("openshift"):
        return f"a pod has no user of OpenShift: write {_QUERIER}, with a token and its ca.crt"
    return ""


def rules(sources: Iterable[str]) -> list[dict[str, Any]]:
    """Give the rights that a pod needs to find these sources in its own cluster.

    A Service that is named is looked at, for its port and its kind; else all are listed. Pods tell
    whether it leads to several servers, of which each knows a part.
    """
    asked = [found for source in sources if (found := found_by_api(source))]
    own = [each for each in asked if not each.kubeconfig]
    named = sorted({each.service for each in own if each.service})
    of_services: dict[str, Any] = {"apiGroups": [""], "resources": ["services"]}
    given = []
    if named:
        given.append(of_services | {"resourceNames": named, "verbs": ["get"]})
    if not all(each.service for each in own):
        given.append(of_services | {"verbs": ["list"]})
    if given:
        given.append({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    return given
