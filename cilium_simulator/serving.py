"""Serve a simulated cluster: starts a real Prometheus and sends it what it would have scraped.

It is fed by remote write, as blocks made from OpenMetrics cannot say when a series ended.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from cilium_simulator import remote_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from cilium_simulator.scrape import Series

HOW_TO_GET: Final = (
    "install it (apt install prometheus, brew install prometheus, or"
    " https://prometheus.io/download/), and name the directory of the program with --prometheus DIR"
    " if it is not on PATH"
)
LISTEN: Final = "127.0.0.1:9090"
#: a simulation may lie long ago
_RETENTION: Final = "100y"
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_WRITE: Final = "/api/v1/write"
_CONFIG: Final = "global: {scrape_interval: 1m}\n"


class ServingFailed(Exception):
    """A server is missing, did not start, or refused the samples; the message says why."""


def program(directory: str = "") -> Path:
    """Find Prometheus.

    Parameters
    ----------
    directory
        Where it is; otherwise it is looked for on PATH.

    Raises
    ------
    ServingFailed
        If it is not there, with how to get it.
    """
    found = shutil.which("prometheus", path=directory or None)
    if found is None:
        where = f"in {directory}" if directory else "on PATH"
        raise ServingFailed(f"there is no program prometheus {where}: {HOW_TO_GET}")
    return Path(found).absolute()


def send(series: Iterable[Series], url: str, *, float_le: bool = False) -> None:
    """Send samples by remote write 1.0, in the order of their times.

    Parameters
    ----------
    series
        What is sent.
    url
        The whole address, such as ``http://victoria:8428/api/v1/write``.
    float_le
        Whether buckets are called as Prometheus 3 does, ``le="1.0"``.

    Raises
    ------
    ServingFailed
        If the server cannot be reached or refuses them, with its reason.
    """
    # Who refuses a large request may break the connection before it says why.
    _ask(url, remote_write.snappy(b""), remote_write.HEADERS)
    for body in remote_write.requests(series, float_le=float_le):
        _ask(url, body, remote_write.HEADERS)


def _ask(url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise ServingFailed(f"{url} is no address: it begins with http:// or https://")
    request = urllib.request.Request(url, data=data, headers=dict(headers or {}))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        said = " ".join(error.read(2000).decode(errors="replace").split())[:300]
        raise ServingFailed(f"{url} refused it with {error.code} {error.reason}: {said}") from None
    except (OSError, ValueError) as error:
        raise ServingFailed(f"{url} cannot be reached: {error}") from None


class Prometheus:
    """A Prometheus of one's own, until `stop`; its data are in a temporary directory.

    Parameters
    ----------
    file
        The program.
    listen
        Address to listen on, ``HOST:PORT``; port 0 takes a free one.

    Raises
    ------
    ServingFailed
        If it does not start, with the end of its log.
    """

    def __init__(self, file: Path, *, listen: str = LISTEN) -> None:
        host, port = address(listen)
        self.url = f"http://{'127.0.0.1' if host in ('', '0.0.0.0', '[::]') else host}:{port}"  # noqa: S104
        self.folder = Path(tempfile.mkdtemp(prefix="cilium-simulator-"))
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self._start(file, f"{host}:{port}")
            self.version = str(json.loads(self._get("/api/v1/status/buildinfo"))["data"]["version"])
        except BaseException:
            self.stop()
            raise

    def _start(self, file: Path, listen: str) -> None:
        (self.folder / "prometheus.yml").write_text(_CONFIG, encoding="utf-8")
        command = [
            str(file),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--storage.tsdb.retention.time={_RETENTION}",
            f"--web.listen-address={listen}",
            "--web.enable-remote-write-receiver",
        ]
        with (self.folder / "log").open("wb") as log:
            try:
                self.process = subprocess.Popen(  # noqa: S603
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
                )
            except OSError as error:
                raise ServingFailed(f"{file} does not run: {error.strerror}") from None
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ServingFailed(f"{file} does not serve {listen}: {self.complaint()}")
            try:
                self._get("/-/ready")
            except ServingFailed:
                time.sleep(0.1)
            else:
                return

    def _get(self, path: str) -> bytes:
        return _ask(self.url + path)

    def complaint(self) -> str:
        """Return the last line of its log that tells of an error, or the last one."""
        text = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip()] or ["it says nothing"]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines)[-1][:300]

    def feed(self, series: Iterable[Series]) -> None:
        """Send samples to it.

        Raises
        ------
        ServingFailed
            If it refuses them.
        """
        send(series, self.url + _WRITE, float_le=int(self.version.partition(".")[0]) >= 3)

    def wait(self) -> None:
        """Return when it ends.

        Raises
        ------
        ServingFailed
            As nobody has stopped it.
        """
        if self.process is not None:
            code = self.process.wait()
            raise ServingFailed(f"Prometheus ended with {code}: {self.complaint()}")

    def stop(self) -> None:
        """End it, and remove its data; may be called twice."""
        process, self.process = self.process, None
        try:
            if process is not None:
                process.terminate()
                try:
                    process.wait(_STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it however the block ended."""
        self.stop()


def address(listen: str) -> tuple[str, int]:
    """Split ``HOST:PORT`` and check that nobody listens there; port 0 becomes a free one.

    Raises
    ------
    ServingFailed
        If it is no address, or taken.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ServingFailed(f"{listen} is no address to listen on: write it as {LISTEN}")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ServingFailed(
                f"cannot listen on {listen} ({reason}): give another --listen HOST:PORT, or port 0"
            ) from None
        return host, int(probe.getsockname()[1])
