"""The recordings of real Cilium, served by a real Prometheus; see tests/data/real-cilium."""

from __future__ import annotations

import tarfile
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.servers.prometheus import PrometheusServer

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[1] / "data" / "real-cilium"
#: Three agents with a datapath; four processes with Cilium's handlers of Hubble's metrics.
AGENTS, HUBBLE = "agents", "hubble"
DAY = "2026-11-29T"
#: Windows and baselines that show all of a recording.
WHOLE = {
    AGENTS: ("12:13:00", "12:41:00", "11:54:35", "12:13:00"),
    HUBBLE: ("11:45:00", "12:03:30", "11:33:35", "11:45:00"),
}


def at(clock: str) -> str:
    """Write a time of the day of the recordings as the command line takes it."""
    return f"{DAY}{clock}Z"


def between(first: str, last: str) -> str:
    """Write a baseline as the command line takes it."""
    return f"{at(first)}/{at(last)}"


@contextmanager
def recording(name: str) -> Iterator[str]:
    """Serve a recording; gives its address."""
    with TemporaryDirectory(prefix="cilium-analysis-real-") as folder:
        with tarfile.open(FOLDER / f"{name}-tsdb.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        with PrometheusServer("prometheus-3", data=Path(folder)) as server:
            yield server.url
