"""The command `lab`: notebooks in a directory of the user's, and JupyterLab there.

A notebook that the user has changed is never overwritten. A hidden file keeps which version of
each notebook the directory was given. One that is still as it was given is replaced by a newer
version; beside one that was edited or run, the newer version gets a name of its own. One that was
deleted or renamed is there again the next time.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOTDIR
from importlib.util import find_spec
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis import __version__
from cilium_analysis.config import FILE, SOURCE_VARIABLE, read_config
from cilium_analysis.errors import OutputError, ParameterError
from cilium_analysis.question import KUBERNETES_VARIABLE
from cilium_analysis.report.notebooks import notebook_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cilium_analysis.config import Config

START = "START_HERE.ipynb"
GIVEN = ".cilium-analysis-lab.json"
_SCHEMA = "cilium-analysis/lab/1"


@dataclass(frozen=True)
class Placed:
    """What was done with the notebooks, by their names.

    Parameters
    ----------
    new, updated
        Put there; put in the place of an older version that nobody had changed.
    kept
        Edited, and so left as they are.
    beside
        Newer versions of some of those, under names of their own.
    """

    new: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def put_notebooks(
    directory: Path, *, notebooks: Path | None = None, version: str = __version__
) -> Placed:
    """Put the notebooks of this package into a directory.

    Parameters
    ----------
    directory
        Made if it is not there.
    notebooks
        Where they are taken from; those of this package if None.
    version
        Of the notebooks: part of the name of one that is put beside another.

    Raises
    ------
    OutputError
        If the directory cannot be written.
    """
    sources = sorted((notebooks or notebook_directory()).glob("*.ipynb"))
    with _written(directory):
        given = _given(directory)
        fates = {file.name: _put(file, directory, given, version) for file in sources}
        state = {"schema": _SCHEMA, "given": given}
        _write(directory / GIVEN, json.dumps(state, indent=1, sort_keys=True).encode())
    beside = [fate for fate in fates.values() if fate not in (_NEW, _UPDATED, _KEPT, _SAME)]
    return Placed(
        new=tuple(name for name, fate in fates.items() if fate == _NEW),
        updated=tuple(name for name, fate in fates.items() if fate == _UPDATED),
        kept=tuple(name for name, fate in fates.items() if fate == _KEPT or fate in beside),
        beside=tuple(beside),
    )


def write_config(directory: Path, config: Config) -> None:
    """Write what the notebooks of a directory ask; a file that says so already stays as it is.

    Raises
    ------
    OutputError
        If it cannot be written.
    ParameterError
        If there are credentials in it.
    """
    content = config.text().encode()
    if read_config(directory) == config:
        return
    with _written(directory):
        _write(directory / FILE, content)


_NEW, _UPDATED, _KEPT, _SAME = "new", "updated", "kept", "same"


def _put(source: Path, directory: Path, given: dict[str, str], version: str) -> str:
    """Put one notebook there; say what was done, or the name it got beside an edited one."""
    content = source.read_bytes()
    ours, known, target = digest(content), given.get(source.name), directory / source.name
    given[source.name] = ours
    there = digest(target.read_bytes()) if os.path.lexists(target) else None
    if there is None or (there == known and there != ours):
        _write(target, content)
        return _NEW if there is None else _UPDATED
    if there == ours:
        return _SAME
    if known == ours:  # it has our newest version already, here or beside
        return _KEPT
    beside = directory / f"{source.stem}-{version}.ipynb"
    allowed = (ours, given.get(beside.name))
    if os.path.lexists(beside) and digest(beside.read_bytes()) not in allowed:
        return _KEPT
    _write(beside, content)
    given[beside.name] = ours
    return beside.name


def digest(content: bytes) -> str:
    """Give a hash of what a person sees in a notebook: text, tags and outputs.

    JupyterLab rewrites a notebook that is only opened: its metadata and spaces do not count.

    Parameters
    ----------
    content
        Of the file. Of one that is no notebook every byte counts.
    """
    try:
        seen = [_seen(cell) for cell in json.loads(content)["cells"]]
        content = json.dumps(seen, sort_keys=True).encode()
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    return hashlib.sha256(content).hexdigest()


def _seen(cell: Mapping[str, Any]) -> list[Any]:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    tags = cell.get("metadata", {}).get("tags", [])
    return [cell["cell_type"], text, tags, cell.get("outputs", []), cell.get("attachments", {})]


def _given(directory: Path) -> dict[str, str]:
    """Read which versions the directory was given; if unknown, each file counts as the user's."""
    try:
        state = json.loads((directory / GIVEN).read_bytes())
        if state["schema"] == _SCHEMA:
            return {str(name): str(text) for name, text in state["given"].items()}
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        pass
    return {}


@contextmanager
def _written(directory: Path) -> Iterator[None]:
    """Make a directory that the block writes to, and say in one line if that cannot be done."""
    try:
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(ENOTDIR, "it is no directory")
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise OutputError(f"cannot write to {directory}: {reason}") from None


def _write(target: Path, content: bytes) -> None:
    """Write a file as a whole, or not at all."""
    temporary = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


# JupyterLab


def check_start(*, allow_root: bool, ip: str = "", port: int | None = None) -> None:
    """Refuse what JupyterLab itself would refuse, before anything is written.

    Parameters
    ----------
    allow_root
        Whether root may start it.
    ip, port
        Where it is to listen; a port that JupyterLab chooses needs no check.

    Raises
    ------
    ParameterError
        If JupyterLab is missing, root did not say that it is meant, or the port is taken.
    """
    if find_spec("jupyterlab") is None:
        raise ParameterError(
            "for notebooks, the package jupyterlab is needed: pip install 'cilium-analysis[lab]'"
        )
    if not allow_root and getattr(os, "geteuid", lambda: 1)() == 0:
        raise ParameterError(
            "as root, whoever opens JupyterLab is root: use another account, or --allow-root"
        )
    if port is not None:
        _check_port(ip or "localhost", port)


def _check_port(ip: str, port: int) -> None:
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

    The file in the directory decides what is asked, not this process; the kernels of this
    environment come before the user's.

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
        As from `command`.
    """
    variables = environment(os.environ)
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(arguments[0], arguments, variables)  # noqa: S606 – no shell is meant
    return subprocess.run(arguments, env=variables, check=False).returncode  # noqa: S603
