"""Which scrape targets exist, which are the same one, and on which node each is.

A run asks once, before anything else, and every topic reads its answers by it. Any label that
Prometheus attached may be what tells two targets apart, and two targets may be one agent that was
stored twice (HA pairs, two scrape jobs, federation).
"""

from cilium_analysis.targets.asking import of
from cilium_analysis.targets.model import Targets
from cilium_analysis.targets.stored import host
from cilium_analysis.targets.words import listed

__all__ = ["Targets", "host", "listed", "of"]
