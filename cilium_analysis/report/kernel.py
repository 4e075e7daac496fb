"""The kernel that runs a report's notebook: ours, whatever the machine has configured."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import AsyncKernelManager

from cilium_analysis.prometheus.credentials import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: What the libraries of object stores and fsspec read secrets from; places of files among it.
_STORE_SECRETS = re.compile(
    r"(AWS|AZURE|FSSPEC|GOOGLE|GCSFS|GCS)_.*(SECRET|TOKEN|KEY|PASSWORD|CREDENTIAL|CONNECTION|SAS)",
    re.IGNORECASE,
)
_INLINE = "module://matplotlib_inline.backend_inline"


class Kernels:
    """The kernels of a run, so that all of them can be stopped when the run is."""

    def __init__(self) -> None:
        self._managers: list[AsyncKernelManager] = []
        self._stopped = False

    def manager_class(self, home: Path) -> type[AsyncKernelManager]:
        """Give a kernel manager class for papermill to make its one manager from.

        Parameters
        ----------
        home
            Empty directory with a short path, for what the kernel writes for itself.
        """
        kernels = self

        class ReportKernel(AsyncKernelManager):
            """Runs the Python that runs the report, without the user's profile and history."""

            def __init__(self, **settings: Any) -> None:  # traitlets' own signature
                super().__init__(**settings)
                self.connection_file = str(home / "kernel.json")
                if sys.platform != "win32":
                    self.transport = "ipc"
                    self.ip = str(home / "kernel")
                kernels._managers.append(self)

            def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
                launch = [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file]
                return [*launch, "--HistoryManager.enabled=False", *(extra_arguments or [])]

            async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
                options["env"] = environment(os.environ, home=home)
                if not kernels._stopped:
                    await super().start_kernel(**options)
                if kernels._stopped:  # also while it was being started
                    kernels.stop()
                    raise RuntimeError("the run is stopped")

        return ReportKernel

    def stop(self) -> None:
        """Kill every kernel that still runs; none can be started from now on."""
        self._stopped = True
        for manager in self._managers:
            process = getattr(manager.provisioner, "process", None)
            if process is not None and process.poll() is None:
                process.kill()


def environment(found: Mapping[str, str], *, home: Path) -> dict[str, str]:
    """Give a kernel's environment: no credentials, no profile of the user, figures inline."""
    kept = {name: value for name, value in found.items() if not _is_secret(name)}
    return kept | {"IPYTHONDIR": str(home), "MPLBACKEND": _INLINE}


def _is_secret(name: str) -> bool:
    """Tell whether a variable is for what speaks to servers and stores, which no kernel does."""
    return name.startswith(PREFIX) or _STORE_SECRETS.match(name) is not None
