"""A real VictoriaMetrics, filled over its import API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.servers.process import ServerProcess
from tests.servers.prometheus import find

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHUNK = 8 * 1024 * 1024


class VictoriaServer(ServerProcess):
    """A VictoriaMetrics server ("victoria-1" or "victoria-1.79") on a free loopback port.

    It speaks the Prometheus API below `url`. The answers of the newest 30 s are not real
    (``-search.latencyOffset``); that default is left alone, as users meet it too.
    """

    def __init__(self, kind: str = "victoria-1", *, flags: Sequence[str] = ()) -> None:
        """Start the server."""
        self.kind = kind
        self.program = find(kind, "victoria-metrics")
        self.flags = list(flags)
        super().__init__()

    def prepare(self) -> None:
        """Nothing is needed: the server makes its own folder."""

    def command(self, port: int) -> list[str]:
        """Build the command line."""
        return [
            str(self.program),
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y",
            "-memory.allowedPercent=10",
            *self.flags,
        ]

    def ready_path(self) -> str:
        """Name the readiness path."""
        return "/health"

    def load_text(self, text: str) -> None:
        """Import exposition text whose timestamps are in milliseconds."""
        self.get("/api/v1/import/prometheus", text.encode())
        self.flush()

    def load_lines(self, path: Path) -> None:
        """Import a file of JSON lines as /api/v1/export writes them."""
        with path.open("rb") as lines:
            while chunk := b"".join(lines.readlines(CHUNK)):
                self.get("/api/v1/import", chunk)
        self.flush()

    def flush(self) -> None:
        """Make what was imported visible, and forget answers from before."""
        self.get("/internal/force_flush")
        self.get("/internal/resetRollupResultCache")
