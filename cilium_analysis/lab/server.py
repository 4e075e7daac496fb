"""JupyterLab of this environment, in a directory of notebooks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cilium_analysis.config import SOURCE_VARIABLE
from cilium_analysis.errors import ParameterError
from cilium_analysis.question import KUBERNETES_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def check_installed() -> None:
    """Tell whether JupyterLab is there.

    Raises
    ------
    ParameterError
        If it is not.
    """
    if find_spec("jupyterlab") is None:
        raise ParameterError(
            "for notebooks, the package jupyterlab is needed: pip install 'cilium-analysis[lab]'"
        )


def check_allowed(*, allow_root: bool) -> None:
    """Refuse what JupyterLab itself refuses only after it has started.

    Raises
    ------
    ParameterError
        If root did not say that it is meant.
    """
    if not allow_root and getattr(os, "geteuid", lambda: 1)() == 0:
        raise ParameterError(
            "as root, whoever opens JupyterLab is root: use another account, or --allow-root"
        )


def check_port(ip: str, port: int) -> None:
    """Tell whether JupyterLab can listen there.

    Raises
    ------
    ParameterError
        If it cannot.
    """
    host = None if ip == "*" else ip
    try:
        # An IPv4 address, if there is one: IPv6 may be switched off.
        family, kind, protocol, _, address = min(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )
        with socket.socket(family, kind, protocol) as listener:
            if os.name == "posix":  # as JupyterLab does; elsewhere it would share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except (OSError, UnicodeError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ParameterError(
            f"cannot listen on port {port} of {ip}: {reason}; give another --port or --ip"
        ) from None


def command(
    directory: Path,
    *,
    start: str,
    ip: str = "",
    port: int | None = None,
    browser: bool = True,
    allow_root: bool = False,
) -> list[str]:
    """Give the command that starts JupyterLab.

    It asks nothing of the network: no news, no newer version.

    Parameters
    ----------
    directory
        Of the notebooks; nothing above it can be opened.
    start
        Name of the notebook to open.
    ip, port
        Where to listen. Left out, JupyterLab chooses: this machine only, the first free port
        from 8888 on.
    browser
        Whether to open one.
    allow_root
        Whether root may.
    """
    options = [
        f"--ServerApp.root_dir={directory.absolute()}",
        f"--LabApp.default_url=/lab/tree/{start}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--log-level=WARN",
        "--LabApp.log_level=WARN",
    ]
    options += [f"--ip={ip}"] if ip else []
    options += [f"--port={port}", "--ServerApp.port_retries=0"] if port is not None else []
    options += [] if browser else ["--no-browser"]
    options += ["--allow-root"] if allow_root else []
    return [sys.executable, "-m", "jupyterlab", *options]


def environment(found: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of JupyterLab and its kernels.

    The directory's file says what is asked, so that who edits it there is obeyed; kernels are
    those of this environment before any of the user's.

    Parameters
    ----------
    found
        Environment of this process; credentials stay.
    """
    written = (SOURCE_VARIABLE, KUBERNETES_VARIABLE)
    kept = {name: value for name, value in found.items() if name not in written}
    return {"JUPYTER_PREFER_ENV_PATH": "1"} | kept


def run(arguments: list[str]) -> int:
    """Become JupyterLab; where a process cannot become another, wait for it.

    Parameters
    ----------
    arguments
        Of `command`.
    """
    variables = environment(os.environ)
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(arguments[0], arguments, variables)  # noqa: S606 – no shell is meant
    return subprocess.run(arguments, env=variables, check=False).returncode  # noqa: S603
