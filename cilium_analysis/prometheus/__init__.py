"""Everything that speaks HTTP to a Prometheus-compatible server, and nothing else."""

from cilium_analysis.prometheus.client import Prometheus
from cilium_analysis.prometheus.credentials import Credentials
from cilium_analysis.prometheus.limits import Deadline
from cilium_analysis.prometheus.planning import Plan

__all__ = ["Credentials", "Deadline", "Plan", "Prometheus"]
