"""Which scrape targets exist, which are replicas, and the node of each.

A run asks once, before anything else, and every topic uses the result. Any target label may tell
two targets apart, and two targets may be one agent that is stored twice (HA pairs, two scrape
jobs, federation).
"""

from cilium_analysis.targets.asking import of
from cilium_analysis.targets.model import Targets
from cilium_analysis.targets.stored import host
from cilium_analysis.targets.words import listed

__all__ = ["Targets", "host", "listed", "of"]
