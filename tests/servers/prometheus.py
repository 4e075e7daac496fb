"""A real Prometheus: scraping, receiving, or serving blocks made by promtool."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.servers.install import HOW_TO_GET, program
from tests.servers.process import ServerFailed, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Test data is old on purpose, and a range of 100 years is what Prometheus can still count in ms.
RETENTION = "100y"
NO_TARGETS = "global: {scrape_interval: 1h}\n"


class NotInstalled(Exception):
    """A server's program is not in the cache."""


def find(server: str, name: str) -> Path:
    """Find a program in the cache or say how to get it."""
    path = program(server, name)
    if path is None:
        raise NotInstalled(f"{server} is not installed, get it with: {HOW_TO_GET}")
    return path


def blocks_from_openmetrics(source: Path, target: Path, *, kind: str = "prometheus-2") -> None:
    """Turn an OpenMetrics file with timestamps into blocks, by the kind's own promtool."""
    command = [str(find(kind, "promtool")), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    done = subprocess.run(
        [*command, str(source), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServerFailed(f"promtool refused {source}: {done.stderr[-2000:]}")


class PrometheusServer(ServerProcess):
    """A Prometheus server of the given kind on a free loopback port.

    Parameters
    ----------
    kind
        "prometheus-2" or "prometheus-3".
    data
        A folder of blocks; it is hard-linked, so that the original stays as it is.
    config
        The text of prometheus.yml.
    web_config
        The text of the file for ``--web.config.file`` (TLS, passwords); paths in it should be
        absolute. With ``tls_server_config`` in it the URL starts with https.
    route_prefix
        As ``--web.route-prefix``, e.g. "/prometheus".
    auth
        "user:password" that the readiness test and `get` should use.
    remote_write
        Accept samples on /api/v1/write.
    flags
        More command-line flags.
    """

    def __init__(
        self,
        kind: str = "prometheus-2",
        *,
        data: Path | None = None,
        config: str = NO_TARGETS,
        web_config: str = "",
        route_prefix: str = "",
        auth: str = "",
        exemplars: bool = False,
        remote_write: bool = False,
        flags: Sequence[str] = (),
    ) -> None:
        """Start the server."""
        self.kind = kind
        self.program = find(kind, "prometheus")
        self.data = data
        self.config = config
        self.web_config = web_config
        self.flags = list(flags)
        if exemplars:
            self.flags.append("--enable-feature=exemplar-storage")
        if remote_write:
            self.flags.append("--web.enable-remote-write-receiver")
        prefix = "/" + route_prefix.strip("/") if route_prefix.strip("/") else ""
        scheme = "https" if "tls_server_config" in web_config else "http"
        super().__init__(scheme=scheme, prefix=prefix, auth=auth)

    def prepare(self) -> None:
        """Write the configuration and link the blocks."""
        (self.folder / "prometheus.yml").write_text(self.config)
        (self.folder / "web.yml").write_text(self.web_config)
        storage = self.folder / "data"
        storage.mkdir()
        for block in sorted(self.data.iterdir()) if self.data else []:
            _link(block, storage / block.name)

    def command(self, port: int) -> list[str]:
        """Build the command line."""
        web = [f"--web.config.file={self.folder / 'web.yml'}"] if self.web_config else []
        prefix = [f"--web.route-prefix={self.prefix}"] if self.prefix else []
        return [
            str(self.program),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--storage.tsdb.retention.time={RETENTION}",
            # Equal sizes mean that no block is ever merged: a test server has better things to do.
            "--storage.tsdb.min-block-duration=2h",
            "--storage.tsdb.max-block-duration=2h",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            *web,
            *prefix,
            *self.flags,
        ]

    def ready_path(self) -> str:
        """Name the readiness path."""
        return "/-/ready"

    def reload(self, config: str) -> None:
        """Replace prometheus.yml while the server runs."""
        self.config = config
        (self.folder / "prometheus.yml").write_text(config)
        self.get("/-/reload", b"")


def _link(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir()
        for child in source.iterdir():
            _link(child, target / child.name)
        return
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
