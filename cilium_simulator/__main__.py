"""Write a simulated cluster to a folder: ``python -m cilium_simulator SCENARIO OUTDIR``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from cilium_simulator.scenario import names
from cilium_simulator.simulation import Cluster, simulate


def summary(cluster: Cluster) -> str:
    """Say what was simulated."""
    scenario = cluster.scenario
    lines = [
        f"{scenario.name}: {len(scenario.nodes)} nodes, Cilium {scenario.version}, "
        f"{len(cluster.series)} series, {cluster.samples} samples"
    ]
    lines += [
        f"  {i.start:%d %H:%M:%S} to {i.end:%H:%M:%S} {i.kind} {','.join(i.nodes)} "
        f"{i.labels} total {i.total}"
        for i in cluster.truth.incidents
    ]
    return "\n".join(lines)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m cilium_simulator", description=__doc__)
    parser.add_argument("scenario", help=f"a .toml file or one of: {', '.join(names())}")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    began = time.monotonic()
    cluster = simulate(arguments.scenario)
    cluster.write(arguments.folder)
    print(f"{summary(cluster)}\n  {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
