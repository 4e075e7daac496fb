"""A server program that runs as a child process for as long as a test needs it."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

READY_SECONDS = 30.0
STOP_SECONDS = 10.0


class ServerFailed(Exception):
    """A server did not come up, or refused what it was given; the message ends with its log."""


def free_port() -> int:
    """Ask the kernel for a loopback port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ServerProcess(ABC):
    """Start, wait until ready, stop; a subclass says how the command looks and what ready means.

    `patience` is how long it may take to be ready [s].

    It starts on creation. Use it as a context manager, or call `stop`. The child is told to die
    with the thread that started it, so create it in the main thread of the test run.
    """

    patience = READY_SECONDS

    def __init__(self, *, scheme: str = "http", prefix: str = "", auth: str = "") -> None:
        """Start; `auth` is "user:password" for servers that ask for it."""
        self.folder = Path(tempfile.mkdtemp(prefix="cilium-analysis-"))
        self.log = self.folder / "server.log"
        self.scheme = scheme
        self.prefix = prefix
        self.auth = auth
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.prepare()
            self.port = self._start_anywhere()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The base URL without a final slash, as `connect` wants it."""
        return f"{self.scheme}://127.0.0.1:{self.port}{self.prefix}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self.process is None:
            raise ServerFailed("the server is stopped")
        return self.process.pid

    @abstractmethod
    def prepare(self) -> None:
        """Write the files the server needs below `folder`."""

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """Build the command line."""

    @abstractmethod
    def ready_path(self) -> str:
        """Name the path that answers 200 once the server is ready."""

    def environment(self) -> dict[str, str]:
        """Give the environment of the child."""
        # Go programs that live for seconds should spend their time on other things than memory.
        return {**os.environ, "GOGC": "400"}

    def _start_anywhere(self) -> int:
        # Another process may take the port between asking for it and listening on it.
        for attempt in range(3):
            port = free_port()
            try:
                self._start(port)
            except ServerFailed:
                if attempt == 2 or "address already in use" not in self.tail():
                    raise
            else:
                return port
        raise ServerFailed("no free port")

    def _start(self, port: int) -> None:
        self.port = port
        # setpriv (util-linux) keeps the child from outliving a test run that was killed.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*guard, *self.command(port)],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise ServerFailed(f"the server ended while starting\n{self.tail()}")
            if self._is_ready():
                return
            time.sleep(0.05)
        self._end()
        raise ServerFailed(f"not ready after {self.patience:.0f} s\n{self.tail()}")

    def _is_ready(self) -> bool:
        try:
            self.get(self.ready_path())
        except urllib.error.HTTPError as error:
            # With a password the server is up as soon as it refuses us.
            return error.code == 401
        except OSError:
            return False
        return True

    def get(
        self, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Ask the server; POST when there is data. Its own certificate is trusted."""
        request = urllib.request.Request(self.url + path, data=data, headers=dict(headers or {}))
        if self.auth:
            word = base64.b64encode(self.auth.encode()).decode()
            request.add_header("Authorization", f"Basic {word}")
        trust = ssl._create_unverified_context() if self.scheme == "https" else None
        with urllib.request.urlopen(request, timeout=60, context=trust) as answer:
            return bytes(answer.read())

    def tail(self, lines: int = 15) -> str:
        """Return the end of the server's log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _end(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def halt(self) -> None:
        """End the process but keep its data and its port, for `restart`."""
        self._end()

    def restart(self) -> None:
        """End the process if it runs and start it again on the same port and data."""
        self._end()
        self._start(self.port)

    def stop(self) -> None:
        """End the process and remove its folder; may be called twice."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Hand out the running server."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it however the block ended."""
        self.stop()
