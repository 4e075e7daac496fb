"""The command that serves the analysis as tools, over standard input or HTTP on this machine."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from cilium_analysis.cli.lab import port
from cilium_analysis.cli.options import (
    add_kubernetes,
    add_patience,
    add_source,
    add_text,
    source_of,
)
from cilium_analysis.cli.words import say
from cilium_analysis.config import SOURCE_VARIABLE
from cilium_analysis.errors import ParameterError, UsageError

if TYPE_CHECKING:
    import argparse

_HOST = "127.0.0.1"


def add_mcp(parser: argparse.ArgumentParser) -> None:
    """Add what is asked, and how the server is reached."""
    add, text = parser.add_argument, partial(add_text, parser)
    add_source(parser)
    text("--match", "M", "label matchers to add to every query but those of the tool promql")
    text("--timezone", "Z", "time zone of times without an offset (default: UTC)", default="UTC")
    add_patience(parser, of="each call", dest="deadline_of_each")
    parser.set_defaults(deadline_of_each=timedelta(minutes=5))
    add_kubernetes(parser)
    text("--output", "DIR", "directory for the tool report (default: there is no such tool)")
    add("--http", type=port, metavar="PORT", help="serve HTTP at /mcp, instead of standard input")
    text("--host", "IP", f"address to listen on (default: {_HOST})", default=_HOST)
    add(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name by which clients on other machines reach it; may be repeated",
    )


def mcp(options: argparse.Namespace) -> int:
    """Serve until the client goes, or Ctrl-C."""
    if not options.source:
        raise UsageError(f"no source: give --source http://…, or set {SOURCE_VARIABLE}")
    try:
        from cilium_analysis.mcp import server, serving
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "cilium_analysis":
            raise
        raise UsageError(
            f"for this, the package {missing.name} is needed: pip install 'cilium-analysis[mcp]'"
        ) from None
    from cilium_analysis.mcp.asking import Fixed, When, ask
    from cilium_analysis.queries import parse_matchers
    from cilium_analysis.storage import Address, located
    from cilium_analysis.times import format_duration, zone
    from cilium_analysis.ways import is_way

    parse_matchers(options.match)
    zone(options.timezone)
    if options.output and isinstance(located(options.output), Address):
        raise ParameterError("--output of mcp is a directory of this machine")
    _check_reach(options)
    fixed = Fixed(
        source=source_of(options),
        match=options.match,
        timezone=options.timezone,
        kubernetes=options.kubernetes,
        kubeconfig=options.kubeconfig if options.kubernetes else "",
        cilium_namespace=options.cilium_namespace,
        timeout=format_duration(options.timeout),
        deadline=format_duration(options.deadline_of_each),
    )
    if not (is_way(fixed.source) or "://" in fixed.source):
        ask(fixed, When())  # of a recording, what is wrong is known now
    made = server.make(fixed, output=options.output, debug=options.debug)
    if not options.http:
        serving.serve_stdio(made)
        return 0
    serving.serve_http(
        made,
        host=options.host,
        port=options.http,
        allowed=tuple(options.allowed_host),
        tell=say,
    )
    return 0


def _check_reach(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, and a server that anybody could reach unnoticed."""
    from cilium_analysis.mcp.serving import is_loopback

    if not options.http:
        if options.host != _HOST or options.allowed_host:
            raise ParameterError("--host and --allowed-host go with --http PORT")
        return
    if is_loopback(options.host):
        return
    if not options.allowed_host:
        raise ParameterError(
            f"--host {options.host} is not this machine only: name it with --allowed-host as"
            " clients do, and let only people you trust reach it, as it asks for no password"
        )
    say("whoever reaches this address can ask the source: it asks for no password")
