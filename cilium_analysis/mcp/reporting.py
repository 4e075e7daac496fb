"""Makes a report for a tool: the command ``report`` in a process of its own.

Kernels of notebooks are forked there, where no other threads run, and end with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from cilium_analysis.config import SOURCE_VARIABLE
from cilium_analysis.errors import OutputError, ParameterError
from cilium_analysis.mcp import results
from cilium_analysis.mcp.results import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.mcp.asking import Fixed, When

_PROGRAM = "import sys; from cilium_analysis.cli import main; sys.exit(main(sys.argv[1:]))"
_PAGE = "Report: "
#: How long a process may take to end its kernels and to keep what it has [s].
_PATIENCE = 20.0


@dataclass(frozen=True)
class Reporter:
    """Makes reports on the source of the command line, into its directory."""

    fixed: Fixed
    output: str

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

    async def make(self, when: When, topics: Sequence[str], *, seconds: float) -> results.Report:
        """Make a report; a call that is given up ends the process.

        Raises
        ------
        OutputError
            If it could not be made, with what the command said.
        """
        # Not as a word: a source may be a URL with a password, and others list processes.
        environment = os.environ | {SOURCE_VARIABLE: self.fixed.source}
        process = await anyio.open_process(
            self.command(when, topics),
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        try:
            with anyio.move_on_after(seconds + _PATIENCE):
                async with anyio.create_task_group() as tasks:
                    said: dict[str, str] = {}
                    for name in ("stdout", "stderr"):
                        tasks.start_soon(_read, getattr(process, name), said, name)
                await process.wait()
                return _made(said["stdout"], said["stderr"])
            raise OutputError("given up after the deadline: ask for a shorter window")
        finally:
            await _ended(process)


async def _read(stream: anyio.abc.ByteReceiveStream, said: dict[str, str], name: str) -> None:
    said[name] = b"".join([piece async for piece in stream]).decode("utf-8", "replace")


async def _ended(process: anyio.abc.Process) -> None:
    """See that a process has ended: it cleans up after SIGTERM, or else is killed."""
    if process.returncode is not None:
        return
    process.terminate()
    with anyio.CancelScope(shield=True):
        with anyio.move_on_after(_PATIENCE):
            await process.wait()
            return
        process.kill()
        await process.wait()


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
