"""Makes a report for a tool: the command ``report`` in a process of its own.

Kernels of notebooks are forked there, where no other threads run, and end with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from cilium_analysis.config import SOURCE_VARIABLE
from cilium_analysis.errors import OutputError, ParameterError
from cilium_analysis.mcp import results
from cilium_analysis.mcp.results import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Event

    from cilium_analysis.mcp.asking import Fixed, When

_PROGRAM = "import sys; from cilium_analysis.cli import main; sys.exit(main(sys.argv[1:]))"
_PAGE = "Report: "
#: How long a process may take to end its kernels and to keep what it has [s].
_PATIENCE = 20.0
#: How often a process is asked whether its call was given up [s].
_LOOK = 0.5


@dataclass
class Reporter:
    """Makes reports on the source of the command line, into its directory."""

    fixed: Fixed
    output: str
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _told: list[subprocess.Popen[str]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _closed: bool = False

    def command(self, when: When, topics: Sequence[str]) -> list[str]:
        """Give the words of the command; what a caller gave is only ever a value."""
        from cilium_analysis.capture import check_topics  # slow to import

        check_topics(topics)
        fixed = self.fixed
        ends = dict(zip(("from", "to"), when.workloads.split(" to ", 1), strict=False))
        narrowed = ends if len(ends) == 2 else {"workload": when.workloads}
        words = {
            "start": when.start,
            "end": when.end,
            "around": when.around,
            "alert": when.alert,
            "step": when.step,
            "baseline": when.baseline,
            "match": ",".join(filter(None, (fixed.match, when.match))),
            "timezone": fixed.timezone,
            "kubernetes": fixed.kubernetes,
            "kubeconfig": fixed.kubeconfig,
            "cilium-namespace": fixed.cilium_namespace,
            "timeout": fixed.timeout,
            "deadline": fixed.deadline,
            "output": self.output,
            **narrowed,
        }
        given = [f"--{name}={value}" for name, value in words.items() if value]
        if any("\0" in word for word in given):
            raise ParameterError("a text with a null character is not valid")
        return [sys.executable, "-c", _PROGRAM, "report", *topics, *given]

    def make(self, when: When, topics: Sequence[str], given_up: Event) -> results.Report:
        """Make a report; its process is ended when the call is given up.

        Raises
        ------
        OutputError
            If it could not be made, with what the command said.
        """
        command = self.command(when, topics)
        # Not as a word: a source may be a URL with a password, and others list processes.
        environment = os.environ | {SOURCE_VARIABLE: self.fixed.source}
        with self._lock:
            if self._closed or given_up.is_set():
                raise OutputError("given up before it began")
            process = subprocess.Popen(  # noqa: S603 - no shell, and our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
                start_new_session=True,
            )
            self._running.append(process)
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return _made(*process.communicate(timeout=_LOOK))
                if given_up.is_set():
                    raise OutputError("given up after the deadline: ask for a shorter window")
        finally:
            self._end(process)
            self._running.remove(process)
            if process in self._told:
                self._told.remove(process)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def close(self) -> None:
        """End all that is being made, and make nothing more."""
        with self._lock:
            self._closed = True
        for process in list(self._running):
            self._end(process)

    def _end(self, process: subprocess.Popen[str]) -> None:
        """See that a process has ended: it cleans up after SIGTERM, or else is killed.

        A second SIGTERM would cut short what it does after the first.
        """
        with self._lock:
            if process not in self._told and process.poll() is None:
                self._told.append(process)
                process.terminate()
        try:
            process.wait(_PATIENCE)
        except BaseException as problem:  # a second Ctrl-C, too
            process.kill()
            process.wait()
            if not isinstance(problem, subprocess.TimeoutExpired):
                raise


def _made(out: str, err: str) -> results.Report:
    """Read what was made, by the last line that the command prints."""
    from cilium_analysis.storage.runs import read_run

    pages = [row.removeprefix(_PAGE) for row in out.splitlines() if row.startswith(_PAGE)]
    if not pages:
        lines = [row.removeprefix("cilium-analysis: ") for row in err.splitlines() if row.strip()]
        raise OutputError(text(lines[-1] if lines else "the report could not be made"))
    page = Path(pages[-1])
    run = read_run(page.parent / "run.json") or {}
    stopped = {row["topic"]: text(row["error"]) for row in run.get("topics", ()) if row["error"]}
    return results.Report(
        page=text(page.absolute()),
        directory=text(page.parent.absolute()),
        verdict=text(run.get("verdict", "")),
        first=text(run.get("first", "")),
        findings=dict(run.get("findings", {})),
        failures=stopped,
    )
