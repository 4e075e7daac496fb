"""A process that has imported and loaded what notebooks need, and forks a kernel for each.

To import it takes longer than most notebooks run, and what one topic loads two notebooks need. The
process is started with the environment of a kernel, so that no credential is in its memory, and
runs no thread, so that a fork is safe.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.source import share
from cilium_analysis.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cilium_analysis.question import Question

#: Where kernels can be forked: elsewhere they are started, as Jupyter does it.
SUPPORTED = sys.platform == "linux" and hasattr(os, "pidfd_open")
_MODULES = (
    *("ipykernel.kernelapp", "ipykernel.debugger", "pandas", "pyarrow.parquet"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_agg"),
    *("cilium_analysis.plots", "cilium_analysis.show", "cilium_analysis.progress"),
    *("cilium_analysis.question", "cilium_analysis.incident"),
)
#: A process that has not answered for so long, or not ended, never will [s].
PATIENCE = 60.0
_PATIENCE_AT_THE_END = 5.0
#: Between two looks at whether a kernel's parent lives [s].
_PAUSE = 0.25
#: Longest message [bytes].
_MOST = 2**16


class Forked:
    """A kernel that another process forked: as much of `subprocess.Popen` as Jupyter uses.

    Parameters
    ----------
    pid
        Of the kernel.
    handle
        File descriptor of the process, which stands for it also when it is gone.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int, handle: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle = handle
        # Not when it ends: several threads look at it.
        weakref.finalize(self, os.close, handle)

    def poll(self) -> int | None:
        """Tell whether it has ended: None while it runs; how it ended only its parent knows."""
        if self._has_ended(0.0):
            self.returncode = 1
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""
        if not self._has_ended(timeout):
            raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
        return self.poll() or 1

    def _has_ended(self, within: float | None) -> bool:
        waiting = select.poll()  # of any number of descriptors
        waiting.register(self._handle, select.POLLIN)
        return bool(waiting.poll(None if within is None else 1000 * within))

    def send_signal(self, number: int) -> None:
        """Send it a signal, and nobody else who may have its number by now."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.Signals(number))

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Forkserver:
    """Starts the process, and asks it for kernels.

    Parameters
    ----------
    environment
        Of the process: that of a kernel.
    patience
        A fork that takes longer is given up, and kernels are not forked from then on [s].

    Raises
    ------
    OSError
        If no process can be started.
    """

    def __init__(self, environment: Mapping[str, str], *, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._lock = threading.Lock()
        self._lost = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "-c", _SERVE, str(theirs.fileno())],
                env=dict(environment),
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(
        self, arguments: Sequence[str], *, environment: Mapping[str, str], directory: Path | str
    ) -> Forked | None:
        """Have a kernel forked; None if the process cannot, or does not answer.

        Parameters
        ----------
        arguments
            Of ipykernel.
        environment
            Of the kernel.
        directory
            Where it runs.
        """
        asked = ["fork", str(directory), list(arguments), dict(environment)]
        said, handles = self._ask(asked, patience=self.patience)
        return Forked(int(said), handles[0]) if handles else None

    def load(self, topic: str, parameters: Mapping[str, str], *, directory: Path | str) -> None:
        """Have a topic loaded, and its findings found, for the kernels that are forked later.

        Parameters
        ----------
        topic
            One of `cilium_analysis.topics.TOPICS`.
        parameters
            Those of its notebook.
        directory
            Where the notebook runs.
        """
        # It takes as long as it takes; `stop` ends it.
        self._ask(["load", str(directory), topic, dict(parameters)], patience=None)

    def _ask(self, asked: Sequence[object], *, patience: float | None) -> tuple[bytes, list[int]]:
        with self._lock:
            if self._lost:
                return b"", []
            try:
                self._socket.settimeout(patience)
                self._socket.sendall(json.dumps(asked).encode())
                said, handles, *_ = socket.recv_fds(self._socket, _MOST, 1)
            except OSError:
                said, handles = b"", []
            # An answer that comes late would be taken for that to the next question.
            self._lost = not said
            return said, handles

    def stop(self) -> None:
        """End the process, and with it the kernels that still run."""
        with suppress(OSError):  # it has been stopped, or is gone
            self._socket.shutdown(socket.SHUT_RDWR)  # also for whoever waits for an answer
        self._socket.close()
        if self._lock.locked():  # it is busy, and would look up too late
            self._process.kill()
        try:
            self._process.wait(_PATIENCE_AT_THE_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


#: Not from the directory that it happens to be in.
_SERVE = (
    "import sys; sys.path = [path for path in sys.path if path];"
    " from cilium_analysis.forkserver import serve; serve()"
)


def serve() -> None:
    """Be the process: import, then fork for as long as somebody is there who may ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as asking:
        topics = [f"cilium_analysis.topics.{topic.package}" for topic in TOPICS.values()]
        for module in (*_MODULES, *topics):
            waits = select.select([asking], [], [], 0)[0]
            if waits and not asking.recv(1, socket.MSG_PEEK):
                break  # whoever may ask is gone
            try:
                import_module(module)
            except Exception:  # kernels that are started instead say what is wrong
                return
        gc.collect()
        share()
        kernels: set[int] = set()
        while asked := asking.recv(_MOST):
            what, directory, *rest = json.loads(asked)
            if what == "load":
                _load(directory, *rest)
                with suppress(OSError):  # whoever asked is gone: nobody asks any more
                    asking.sendall(b"1")
                continue
            gc.freeze()  # what is never looked through stays shared
            try:
                kernels.add(_fork(asking, directory, *rest))
            except OSError:  # too many processes, or too little memory
                with suppress(OSError):
                    asking.sendall(b"0")
            kernels -= {pid for pid in kernels if os.waitpid(pid, os.WNOHANG)[0]}
        for pid in kernels:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _load(directory: str, topic: str, parameters: dict[str, str]) -> None:
    """Load a topic of a recording, and find what it finds; what fails, its notebook tells."""
    from cilium_analysis.bundle import Bundle

    with suppress(Exception):
        os.chdir(directory)
        manifest = Path(parameters["source"], "manifest.json").stat()
        stamp = (directory, manifest.st_mtime_ns, manifest.st_size)
        question = _question(stamp, tuple(parameters.items()))
        if isinstance(question.source, Bundle):
            window, baseline = question.window, question.baseline
            known = TOPICS[topic]
            known.findings(known.load(question.answers, window, baseline, match=question.match))


@lru_cache(maxsize=1)
def _question(stamp: object, parameters: tuple[tuple[str, str], ...]) -> Question:
    """Read a recording once, as long as it does not change."""
    from cilium_analysis.question import ask

    return ask(**dict(parameters))


def _fork(
    asking: socket.socket, directory: str, arguments: list[str], environment: dict[str, str]
) -> int:
    """Fork a kernel, and give its number."""
    server = os.getpid()
    pid = os.fork()
    if pid:
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        with suppress(OSError):  # whoever asked is gone: nobody asks any more
            socket.send_fds(asking, [str(pid).encode()], [handle])
        os.close(handle)
        return pid
    code = 1
    try:
        asking.close()
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
        threading.Thread(target=_watch, args=[server], daemon=True).start()
        # Else it takes itself for one that somebody started by hand, and prints advice.
        argv = [*arguments, f"--IPKernelApp.parent_handle={server}"]
        sys.argv = ["ipykernel_launcher", *argv]
        kernelapp: Any = import_module("ipykernel.kernelapp")
        kernelapp.launch_new_instance(argv=argv)
        code = 0
    finally:
        os._exit(code)


def _watch(parent: int) -> None:
    """End with the parent, however it ends."""
    while os.getppid() == parent:
        time.sleep(_PAUSE)
    os._exit(1)
