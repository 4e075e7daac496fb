"""The command `lab`: writes the notebooks into a directory, and starts JupyterLab there."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.cli.options import add_kubernetes, add_source, add_text, source_of
from cilium_analysis.cli.words import say
from cilium_analysis.connection import SAMPLES
from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.texts import counted

if TYPE_CHECKING:
    from cilium_analysis.config import Config
    from cilium_analysis.lab import Placed
    from cilium_analysis.question import Question

DIRECTORY = "cilium-analysis-lab"
#: How long to wait for a server's first answer, before saying that it does not answer [s].
_PATIENCE = 5.0


def add_lab(parser: argparse.ArgumentParser) -> None:
    """Add where the notebooks are, what they ask, and how JupyterLab is reached."""
    add = parser.add_argument
    text = f"directory of the notebooks; made if it does not exist (default: {DIRECTORY})"
    add("directory", nargs="?", default=DIRECTORY, metavar="DIR", help=text)
    add_source(parser, default=" (default: the source that DIR was set up with, or sample)")
    add_kubernetes(parser)
    parser.set_defaults(cilium_namespace="")  # that of the directory, if it says one
    add("--no-browser", action="store_true", help="print the address, do not open a browser")
    add("--port", type=port, metavar="N", help="port (default: the first free one from 8888 on)")
    add_text(parser, "--ip", "IP", "address to listen on (default: this machine only)")
    add("--allow-root", action="store_true", help="start JupyterLab even as root")
    add("--no-start", action="store_true", help="write the notebooks, do not start JupyterLab")


def port(text: str) -> int:
    """Read a port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use 1 to 65535")
    return int(text)


def lab(options: argparse.Namespace) -> int:
    """Write the notebooks, and start JupyterLab."""
    from cilium_analysis import lab as notebooks

    if not options.no_start:
        notebooks.check_start(allow_root=options.allow_root, ip=options.ip, port=options.port)
    directory = Path(options.directory)
    config, asked = _asked(options, directory)
    notebooks.write_config(directory, config)
    placed = notebooks.put_notebooks(directory)
    _tell(placed, directory)
    say(f"The notebooks ask {asked.reading}, as {directory / 'cilium-analysis.toml'} says")
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
    """Give what the notebooks ask: as the options say, otherwise as the directory says."""
    from cilium_analysis.config import Config, read_config
    from cilium_analysis.question import KUBERNETES_VARIABLE, ask

    source = source_of(options)
    if source and source not in SAMPLES and Path(source).is_dir():
        source = str(Path(source).absolute())  # the notebooks run elsewhere
    config = Config(source=source) if source else read_config(directory) or Config()
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


def _tell(placed: Placed, directory: Path) -> None:
    """Say what was written, and what was left as it is."""
    if placed.new:
        say(f"Put {counted(len(placed.new), 'notebook')} into {directory}")
    if placed.updated:
        say(f"Replaced by their newer version: {', '.join(placed.updated)}")
    if placed.beside:
        say(
            f"Kept as you changed them: {', '.join(placed.kept)};"
            f" their newer versions are beside them: {', '.join(placed.beside)}"
        )


def _try(asked: Question) -> None:
    """Say so if a server does not answer; it may answer later, and notebooks can name another."""
    from cilium_analysis.prometheus import Prometheus

    if not isinstance(asked.source, Prometheus):
        return
    try:
        with Prometheus(asked.source.api_url) as server:
            server.transport = replace(asked.source.transport, timeout=_PATIENCE, retries=0)
            server.instant("vector(1)", asked.window.end)
    except CiliumAnalysisError as problem:
        say(f"{problem} (the notebooks are written all the same)")
