"""The command line. Everything heavy is imported when a command needs it."""

from cilium_analysis.cli.parser import main

__all__ = ["main"]
