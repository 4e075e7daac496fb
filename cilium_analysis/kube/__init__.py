"""Objects of the Kubernetes API: events, nodes, pods, services, policies.

`load` reads them once into a `Cluster`: plain tables in UTC, and notes on what could not be read.
Only ``get`` and ``list`` are ever sent, never for Secrets; `cluster_role` is the smallest role
that allows them.
"""

from cilium_analysis.kube.access import Kubernetes, cluster_role
from cilium_analysis.kube.cluster import Cluster, during, load

__all__ = ["Cluster", "Kubernetes", "cluster_role", "during", "load"]
