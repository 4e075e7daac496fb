"""Writes to the terminal: one line at a time, without characters that a terminal would obey.

The reader may stop before the output ends, as ``head`` does. The command then goes on to its end
and its exit code, and writes nothing more there.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

from cilium_analysis.errors import OutputError
from cilium_analysis.texts import bare, line

NAME = "cilium-analysis"


def say(text: str) -> None:
    """Write a line for people to the standard error."""
    _write(f"{NAME}: {line(bare(text))}\n", sys.stderr)


def put(text: str) -> None:
    """Write a line of the output."""
    indent = text[: len(text) - len(text.lstrip(" "))]
    _write(f"{indent}{line(text)}\n", sys.stdout)


def put_file(text: str) -> None:
    """Write a text as it is."""
    _write(text, sys.stdout)


def flush() -> None:
    """Write what is still buffered, unless nobody reads it any more."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OutputError):
            _write("", stream)


def _write(text: str, stream: TextIO | None) -> None:
    if stream is None:  # closed when the command began
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError as problem:
        # Otherwise Python tries once more when it ends, and complains.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if stream is sys.stdout and not isinstance(problem, BrokenPipeError):
            raise OutputError(f"cannot write the output: {problem.strerror}") from None
