"""The command `lab`: notebooks in a directory of one's own, and JupyterLab there."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.cli.options import add_kubernetes, add_source
from cilium_analysis.cli.words import say
from cilium_analysis.connection import SAMPLES
from cilium_analysis.errors import CiliumAnalysisError

if TYPE_CHECKING:
    from cilium_analysis.config import Config
    from cilium_analysis.lab import Placed
    from cilium_analysis.question import Question

DIRECTORY = "cilium-analysis-lab"
#: A server that does not answer a first question within this may still be there [s].
_PATIENCE = 5.0


def add_lab(parser: argparse.ArgumentParser) -> None:
    """Add where the notebooks lie, what they ask, and how JupyterLab is reached."""
    add = parser.add_argument
    text = f"where the notebooks lie, or are put (default: {DIRECTORY})"
    add("directory", nargs="?", default=DIRECTORY, metavar="DIR", help=text)
    add_source(parser, default=" (default: as DIR says, or sample)")
    add_kubernetes(parser)
    parser.set_defaults(cilium_namespace="")  # that of the directory, if it says one
    add("--no-browser", action="store_true", help="print the address, open no browser")
    add("--port", type=_port, metavar="N", help="port (default: the first free one from 8888 on)")
    add("--ip", default="", metavar="IP", help="address to listen on (default: this machine only)")
    add("--allow-root", action="store_true", help="run as root all the same")
    add("--no-start", action="store_true", help="put the notebooks there, and leave it at that")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: use 1 to 65535")
    return int(text)


def lab(options: argparse.Namespace) -> int:
    """Put the notebooks there, and start JupyterLab."""
    from cilium_analysis import lab as notebooks

    if not options.no_start:
        notebooks.check_start(allow_root=options.allow_root, ip=options.ip, port=options.port)
    directory = Path(options.directory)
    config, asked = _asked(options, directory)
    notebooks.write_config(directory, config)
    placed = notebooks.put_notebooks(directory)
    _tell(placed, directory)
    say(f"The notebooks ask {asked.reading}: {directory / 'cilium-analysis.toml'} says so")
    _try(asked)
    if options.no_start:
        return 0
    return notebooks.run(
        notebooks.command(
            directory,
            start=notebooks.START,
            ip=options.ip,
            port=options.port,
            browser=not options.no_browser,
            allow_root=options.allow_root,
        )
    )


def _asked(options: argparse.Namespace, directory: Path) -> tuple[Config, Question]:
    """Give what the notebooks are to ask: what is said now, or else what the directory says."""
    from cilium_analysis.config import Config, read_config
    from cilium_analysis.question import KUBERNETES_VARIABLE, ask

    config = Config(source=_whole(options.source)) if options.source else read_config(directory)
    config = config or Config()
    said = {
        "kubernetes": options.kubernetes,
        "kubeconfig": str(Path(options.kubeconfig).absolute()) if options.kubeconfig else "",
        "cilium_namespace": options.cilium_namespace,
    }
    config = replace(config, **{name: text for name, text in said.items() if text})
    asked = ask(
        source=config.source,
        kubernetes=config.kubernetes,
        kubeconfig=config.kubeconfig,
        cilium_namespace=config.cilium_namespace,
    )
    if asked.kubernetes and not config.kubernetes:
        config = replace(config, kubernetes=os.environ[KUBERNETES_VARIABLE])
    return config, asked


def _whole(source: str) -> str:
    """Give a bundle's whole path: the notebooks run elsewhere."""
    path = Path(source)
    return str(path.absolute()) if source not in SAMPLES and path.is_dir() else source


def _tell(placed: Placed, directory: Path) -> None:
    """Say what was put there, and what was left as it is."""
    if placed.new:
        say(f"Put {_counted(len(placed.new))} into {directory}")
    if placed.updated:
        say(f"Replaced by their newer version: {', '.join(placed.updated)}")
    if placed.beside:
        say(
            f"Kept as you left them: {', '.join(placed.kept)};"
            f" their newer versions lie beside them: {', '.join(placed.beside)}"
        )


def _counted(number: int) -> str:
    return "1 notebook" if number == 1 else f"{number} notebooks"


def _try(asked: Question) -> None:
    """Say so if a server does not answer; it may do so later, and notebooks can name another."""
    from cilium_analysis.prometheus import Prometheus

    if not isinstance(asked.source, Prometheus):
        return
    try:
        with Prometheus(asked.source.api_url) as server:
            server.transport = replace(asked.source.transport, timeout=_PATIENCE, retries=0)
            server.instant("vector(1)", asked.window.end)
    except CiliumAnalysisError as problem:
        say(f"{problem} (the notebooks are there all the same)")
