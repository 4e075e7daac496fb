"""The kernel that runs a report's notebook: ours, whatever the machine has configured."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from jupyter_client.manager import AsyncKernelManager

from cilium_analysis.figures import AS_PAGE
from cilium_analysis.forkserver import SUPPORTED, Forkserver
from cilium_analysis.topics import INCIDENT, PATH, TOPICS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_INLINE = "module://matplotlib_inline.backend_inline"
#: What Python and the system need to start a program, to find files, and to write texts and times.
_NEEDED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TZDIR"),
        *("TMPDIR", "TMP", "TEMP", "VIRTUAL_ENV", "CONDA_PREFIX"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE"),
        *("APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "NUMBER_OF_PROCESSORS"),
    }
)
#: Of the same, and of the libraries that compute and draw.
_NEEDED_BY = (
    *("LC_", "PYTHON", "LD_", "DYLD_", "XDG_", "FONTCONFIG_", "MPL"),
    *("OMP_", "OPENBLAS_", "MKL_", "VECLIB_", "ARROW_", "MALLOC_", "COVERAGE_"),
)
#: ipykernel too looks whether its parent lives, but late: a run that is killed in the first second
#: would leave a kernel behind. Not PR_SET_PDEATHSIG, which is about the thread that started it.
_LAUNCH = """
import os, runpy, sys, threading, time
parent = int(sys.argv.pop(1))
def watch():
    while os.getppid() == parent:
        time.sleep(0.25)
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
"""


class Kernels:
    """The kernels of a run, so that all of them can be stopped when the run is."""

    def __init__(self) -> None:
        self._managers: list[AsyncKernelManager] = []
        self._stopped = False
        self._server: Forkserver | None = None
        self._loaded: set[str] = set()

    def prepare(self) -> None:
        """Import what kernels need, in a process of its own, while others have something to do."""
        if SUPPORTED and not self._stopped:
            with suppress(OSError):  # then kernels are started, or cannot be either
                self._server = Forkserver(environment(os.environ))

    def load(self, topic: str, parameters: Mapping[str, str], directory: Path) -> None:
        """Load what a notebook needs, once for all kernels that are forked from now on.

        Parameters
        ----------
        topic
            Name of the notebook.
        parameters, directory
            With which it runs, and where.
        """
        needed = [each for each in TOPICS if topic in (each, INCIDENT, PATH)]
        for each in needed:
            if self._server and each not in self._loaded:
                self._loaded.add(each)
                self._server.load(each, parameters, directory=directory)

    def manager_class(self, home: Path) -> type[AsyncKernelManager]:
        """Give a kernel manager class for papermill to make its one manager from.

        Parameters
        ----------
        home
            Empty directory with a short path, for what the kernel writes for itself.
        """
        return type("ReportKernel", (_ReportKernel,), {"home": home, "kernels": self})

    def stop(self) -> None:
        """Kill every kernel that still runs; none can be started from now on."""
        self._stopped = True
        for manager in self._managers:
            process = getattr(manager.provisioner, "process", None)
            if process is not None and process.poll() is None:
                process.kill()
        if self._server:
            self._server.stop()


class _ReportKernel(AsyncKernelManager):
    """Runs the Python that runs the report, without the user's profile and history."""

    home: ClassVar[Path]
    kernels: ClassVar[Kernels]

    def __init__(self, **settings: Any) -> None:  # traitlets' own signature
        super().__init__(**settings)
        self.connection_file = str(self.home / "kernel.json")
        if sys.platform != "win32":
            self.transport = "ipc"
            self.ip = str(self.home / "kernel")
        self.kernels._managers.append(self)

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        launch = [sys.executable, "-m", "ipykernel_launcher"]
        if sys.platform != "win32":
            launch = [sys.executable, "-c", _LAUNCH, str(os.getpid())]
        quiet = "--HistoryManager.enabled=False"
        return [*launch, "-f", self.connection_file, quiet, *(extra_arguments or [])]

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        server = self.kernels._server
        arguments = kernel_cmd[kernel_cmd.index("-f") :]
        forked = server and server.fork(
            arguments, environment=options["env"], directory=options["cwd"]
        )
        if not forked:
            await super()._async_launch_kernel(kernel_cmd, **options)
            return
        local: Any = self.provisioner
        local.process, local.pid, local.pgid = forked, forked.pid, forked.pid
        self._reconcile_connection_info(local.connection_info)

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        options["env"] = environment(os.environ, home=self.home)
        if not self.kernels._stopped:
            await super().start_kernel(**options)
        if self.kernels._stopped:  # also while it was being started
            self.kernels.stop()
            raise RuntimeError("the run is stopped")


def environment(found: Mapping[str, str], *, home: Path | None = None) -> dict[str, str]:
    """Give a kernel's environment: no credentials, no profile of the user, figures inline.

    Any program's variables may hold a credential, and a notebook can print them: so it gets those
    that are known to be needed, and no others.
    """
    kept = {
        name: value
        for name, value in found.items()
        if name.upper() in _NEEDED or name.upper().startswith(_NEEDED_BY)
    }
    # Nobody watches bars there.
    profile = {"IPYTHONDIR": str(home)} if home else {}
    quiet = {"TQDM_DISABLE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return kept | profile | quiet | {"MPLBACKEND": _INLINE, AS_PAGE: "1"}
