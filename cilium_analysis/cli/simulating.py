"""The command `simulate`: a simulated cluster as files, or as a Prometheus that serves it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from cilium_analysis.cli.options import add_text
from cilium_analysis.cli.words import NAME, put, say
from cilium_analysis.errors import CiliumAnalysisError, OutputError, ParameterError, UsageError
from cilium_analysis.times import parse_time, zone

if TYPE_CHECKING:
    import argparse

    from cilium_simulator.scenario import Scenario
    from cilium_simulator.simulation import Cluster

_LISTEN = "127.0.0.1:9090"
EPILOG = f"""\
examples:
  {NAME} simulate --list
  {NAME} simulate http_errors --serve
  {NAME} simulate mine.toml --serve --end now
  {NAME} simulate http_errors files && promtool tsdb create-blocks-from openmetrics \\
      files/metrics.om data

The documentation lists what a scenario's file may hold. Exit codes: 0 fine, 1 the run failed,
2 usage.
"""


def add_simulate(parser: argparse.ArgumentParser) -> None:
    """Add what is simulated, and where it goes."""
    add, text = parser.add_argument, partial(add_text, parser)
    parser.epilog = EPILOG
    add("scenario", nargs="?", default="", metavar="SCENARIO", help="name, or a file.toml")
    add(
        "directory",
        nargs="?",
        default="",
        metavar="DIR",
        help="new directory for metrics.om (OpenMetrics), truth.json and kubernetes.json",
    )
    add("--list", action="store_true", help="list the scenarios")
    add("--serve", action="store_true", help="start a Prometheus that holds it, until Ctrl-C")
    add("--truth", action="store_true", help="also print what happens in it")
    text(
        "--end",
        "T",
        "move it in time so that it ends then: ISO time, now, or -2h (default: as the file says)",
    )
    text("--timezone", "Z", "time zone of --end without an offset (default: UTC)", default="UTC")
    text("--listen", "HOST:PORT", f"address of --serve (default: {_LISTEN})", default=_LISTEN)
    text("--prometheus", "DIR", "directory of the program prometheus (default: PATH)")
    text("--remote-write", "URL", "send it to a server, such as http://victoria:8428/api/v1/write")


def simulate(options: argparse.Namespace) -> int:
    """Simulate a cluster, and write, send or serve it."""
    from cilium_simulator.fields import ScenarioError
    from cilium_simulator.serving import ServingFailed

    try:
        return _list() if options.list else _simulate(options)
    except ScenarioError as problem:
        raise UsageError(str(problem)) from None
    except ServingFailed as problem:
        raise CiliumAnalysisError(str(problem)) from None


def _list() -> int:
    """List the scenarios, each with what happens in it."""
    from cilium_simulator.scenario import load, names

    for name in names():
        put(f"{name}: {load(name).description}")
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from cilium_simulator import simulation
    from cilium_simulator.serving import program, send

    scenario = _scenario(options)
    # What can be refused is refused before the work.
    directory = Path(options.directory) if options.directory else None
    if directory and directory.exists():
        raise OutputError(f"{directory} exists already: choose another directory")
    file = program(options.prometheus) if options.serve else None
    made = simulation.simulate(scenario)
    put(_what(made))
    if directory:
        try:
            made.write(directory)
        except OSError as problem:
            raise OutputError(f"cannot write {directory}: {problem.strerror}") from None
        put(f"Written: {directory}")
    if options.truth:
        for text in made.truth.lines():
            put(text)
    if options.remote_write:
        send(made.series, options.remote_write)
        put(f"Sent to {options.remote_write}")
    if file:
        _serve(made, file, options)
    return 0


def _scenario(options: argparse.Namespace) -> Scenario:
    """Read the scenario, and move it in time."""
    from cilium_simulator.scenario import load

    if not options.scenario:
        raise ParameterError(f"no scenario: give its name, as {NAME} simulate --list shows them")
    if not (options.directory or options.serve or options.truth or options.remote_write):
        raise ParameterError("nothing to do with it: give DIR, --serve, --remote-write or --truth")
    zone(options.timezone)
    scenario = load(options.scenario)
    if not options.end:
        return scenario
    return scenario.ending(parse_time(options.end, timezone=options.timezone))


def _what(made: Cluster) -> str:
    """Say what was simulated, and not what happens in it."""
    told = made.scenario
    return (
        f"{told.name}: {told.start:%Y-%m-%d %H:%M:%S} to {told.end:%Y-%m-%d %H:%M:%S} UTC,"
        f" {len(told.nodes)} nodes, Cilium {'.'.join(map(str, told.version))}, scraped every"
        f" {told.interval} s: {len(made.series):,} series, {made.samples:,} samples"
    )


def _serve(made: Cluster, file: Path, options: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from cilium_simulator.serving import Prometheus

    if not options.listen.startswith(("127.", "localhost:", "[::1]:")):
        say("whoever reaches this address can ask this Prometheus: it asks for no password")
    with Prometheus(file, listen=options.listen) as server:
        server.feed(made.series)
        put(f"Prometheus {server.version} serves it at {server.url}")
        put(f"Try: {_report(made.scenario, server.url)}")
        if not options.truth:
            put(f"What happens in it: {_truth(made.scenario, options)}")
        say("Ctrl-C stops the server, and removes its data")
        try:
            server.wait()
        except KeyboardInterrupt:
            say("stopped; nothing was left behind")


def _truth(scenario: Scenario, options: argparse.Namespace) -> str:
    """Give the command that says what happens in it."""
    end = f" --end {scenario.end:%Y-%m-%dT%H:%M:%SZ}" if options.end else ""
    return f"{NAME} simulate {quote(options.scenario)}{end} --truth"


def _report(scenario: Scenario, url: str) -> str:
    """Give the command that makes a report of it."""
    start, end = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in scenario.window)
    given = scenario.truth.baseline if scenario.truth else "previous"
    baseline = "" if given == "previous" else f" --baseline {given}"
    return f"{NAME} report --source {url} --start {start} --end {end}{baseline}"
