"""The functions that a worker runs. They take and give plain values, and read credentials here.

They answer with errors instead of raising them: Dask would try again what fails every time, and
log the arguments.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.bundle import remote
from cilium_analysis.connection import connect, is_stored
from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.fleet.engine import memory_of_this_worker
from cilium_analysis.fleet.file import is_url
from cilium_analysis.prometheus import Credentials, Deadline, Prometheus
from cilium_analysis.question import ask_source
from cilium_analysis.report.run import report
from cilium_analysis.report.verdict import is_unknown
from cilium_analysis.storage import Address, located, place
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.report.run import Run

#: A server that does not answer within this is down [s].
PATIENCE = 20.0
_REASON = 600
#: papermill changes the working directory of the process that it runs in.
_ONE_AT_A_TIME = threading.Lock()


def ask(task: Mapping[str, Any]) -> dict[str, Any]:
    """Tell whether the source of a task answers.

    Returns
    -------
    dict
        ``error``: why it does not; empty if it does.
    """
    question = task["question"]
    try:
        if is_url(question["source"]):
            credentials = Credentials(**question["credentials"])
            with Prometheus(
                question["source"], credentials=credentials, timeout=PATIENCE, retries=1
            ) as server:
                server.instant("vector(1)", datetime.now(UTC))
        elif is_stored(question["source"]):
            remote.knock(Address.parse(question["source"]))
        else:
            connect(question["source"])
    except Exception as problem:
        return {"error": reason(problem)}
    return {"error": ""}


def make(task: Mapping[str, Any]) -> dict[str, Any]:
    """Make a report.

    A task may be started again elsewhere, when a worker has died or was taken for dead. So the
    run of an earlier attempt is taken as it is if it is complete, and removed if it is not.

    Parameters
    ----------
    task
        As of `cilium_analysis.fleet.plan.Task.plain`.

    Returns
    -------
    dict
        ``run`` (name), ``written`` (whether it exists), ``error`` (why it failed; empty if it
        did not), ``findings`` (counts by severity), ``first`` (title), ``unknown`` and ``seconds``.
    """
    from cilium_analysis.fleet.memory import limited  # psutil is there with Dask only

    began = time.monotonic()
    with _ONE_AT_A_TIME, limited(memory_of_this_worker(), task["deadline"]) as limit:
        try:
            outcome = _taken_or_made(task)
        except Exception as problem:
            outcome = {
                "run": task["run"],
                "written": False,
                "error": reason(problem),
                "findings": {},
                "first": "",
                "unknown": False,
                "seconds": round(time.monotonic() - began, 3),
            }
    if limit.reason:
        outcome["error"] = f"{limit.reason}; {outcome['error']}".removesuffix("; ")
    return outcome


def _taken_or_made(task: Mapping[str, Any]) -> dict[str, Any]:
    """Give the outcome of a run, whichever attempt has made it."""
    began = time.monotonic()
    where, name = place(located(task["output"])), task["run"]
    if (found := where.run(name)) is not None:
        return _of_run(found)
    where.clear([name])
    try:
        made = _of_run(_report(task).summary)
    except CiliumAnalysisError:  # another attempt may have been faster
        if (found := where.run(name)) is None:
            raise
        return _of_run(found)
    return made | {"seconds": round(time.monotonic() - began, 3)}


def _report(task: Mapping[str, Any]) -> Run[Path | Address]:
    question = task["question"]
    source = connect(
        question["source"],
        credentials=Credentials(**question["credentials"]),
        timeout=task["timeout"],
        deadline=Deadline.after(task["deadline"]),
    )
    # Only the Kubernetes API that the file names: the worker may run in another cluster.
    kubernetes = None
    if question["kubernetes"]:
        from cilium_analysis.kube import Kubernetes

        kubernetes = Kubernetes.at(question["kubernetes"], kubeconfig=question["kubeconfig"])
    asked = ask_source(
        source,
        start=question["start"],
        end=question["end"],
        step=question["step"],
        baseline=question["baseline"],
        match=question["match"],
        timezone=question["timezone"],
        kubernetes=kubernetes,
        cilium_namespace=question["cilium_namespace"],
        called=question["called"],
        workloads=question["workloads"],
    )
    return report(
        asked,
        topics=task["topics"],
        directory=located(task["output"]),
        notebooks=Path(task["notebooks"]) if task["notebooks"] else None,
        paper=task["paper"],
        name=task["run"],
        index=False,
    )


def _of_run(summary: Mapping[str, Any]) -> dict[str, Any]:
    errors = [
        f"{row['topic']} stopped with {row['error']}" for row in summary["topics"] if row["error"]
    ]
    errors += [f"no PDF: {summary['pdf_error']}"] if summary.get("pdf_error") else []
    return {
        "run": summary["name"],
        "written": True,
        "error": clipped(line("; ".join(errors)), _REASON),
        "findings": dict(summary["findings"]),
        "first": summary["first"],
        "unknown": is_unknown(summary),
        "seconds": summary["seconds"],
    }


def reason(problem: Exception) -> str:
    """Say in one line why something failed. Only errors of ours never hold a credential."""
    if isinstance(problem, CiliumAnalysisError):
        return clipped(line(str(problem)), _REASON)
    return f"unexpected {type(problem).__name__}"
