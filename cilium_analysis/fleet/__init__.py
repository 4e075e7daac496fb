"""Fleets: the same reports on many clusters and windows, made side by side by workers of Dask.

The fleet file names clusters and windows, `tasks` lists the reports to make, an `Engine` has
workers make them, and one page compares the clusters. A worker gets plain values and references
to credentials.
"""

from cilium_analysis.fleet.file import Cluster, Fleet, Span, read_fleet
from cilium_analysis.fleet.plan import How
from cilium_analysis.fleet.result import Outcome, Result
from cilium_analysis.fleet.run import run_fleet

__all__ = ["Cluster", "Fleet", "How", "Outcome", "Result", "Span", "read_fleet", "run_fleet"]
