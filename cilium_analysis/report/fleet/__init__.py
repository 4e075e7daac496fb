"""Fleets: the same reports on many clusters and windows, side by side on a distributed engine.

A fleet file says which; `tasks` makes a plan of it, an `Engine` carries it out where there is
room, and the results of all are compared on one page. What goes to a worker are plain values and
references to credentials.
"""

from cilium_analysis.report.fleet.file import Cluster, Fleet, Span, read_fleet
from cilium_analysis.report.fleet.plan import How
from cilium_analysis.report.fleet.result import Outcome, Result
from cilium_analysis.report.fleet.run import run_fleet

__all__ = ["Cluster", "Fleet", "How", "Outcome", "Result", "Span", "read_fleet", "run_fleet"]
