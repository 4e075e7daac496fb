"""Cilium's metrics: labels, versions, known defects and traps, and a search for them."""

from cilium_analysis.metrics.known import Metric, find, known
from cilium_analysis.metrics.search import COLUMNS, Exported, Help, help_on, search

__all__ = ["COLUMNS", "Exported", "Help", "Metric", "find", "help_on", "known", "search"]
