"""What a worker does. Plain values go in and come out; credentials are read here, and stay here.

Errors are answers, not exceptions: what failed once because of what was asked fails again, and
Dask would log the arguments of it.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.bundle.remote import knock as knock_at_bundle
from cilium_analysis.connection import connect, is_stored
from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.objectstore import Address, located
from cilium_analysis.prometheus import Credentials, Deadline, Prometheus
from cilium_analysis.question import ask_source
from cilium_analysis.report.fleet.engine import memory_of_this_worker
from cilium_analysis.report.fleet.file import is_url
from cilium_analysis.report.places import place
from cilium_analysis.report.run import report
from cilium_analysis.report.verdict import is_unknown
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.kube import Kubernetes
    from cilium_analysis.report.run import Run

#: A server that keeps silent for so long is down [s].
PATIENCE = 20.0
_REASON = 600
#: papermill changes the working directory of the process that it runs in.
_ONE_AT_A_TIME = threading.Lock()


def knock(task: Mapping[str, Any]) -> dict[str, Any]:
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
            knock_at_bundle(Address.parse(question["source"]))
        else:
            connect(question["source"])
    except Exception as problem:
        return {"error": reason(problem)}
    return {"error": ""}


def make(task: Mapping[str, Any]) -> dict[str, Any]:
    """Make a report.

    A task may be begun again elsewhere, when a worker has died or was taken for dead. So what
    an earlier try has finished is taken as it is, and what it has left behind is removed.

    Parameters
    ----------
    task
        As of `cilium_analysis.report.fleet.plan.Task.plain`.

    Returns
    -------
    dict
        ``run`` (name), ``written`` (whether it is there), ``error`` (why it failed; empty if it
        did not), ``findings`` (counts by severity), ``first`` (title), ``unknown`` and ``seconds``.
    """
    from cilium_analysis.report.fleet.memory import limited  # psutil is there with Dask only

    began = time.monotonic()
    with _ONE_AT_A_TIME, limited(memory_of_this_worker(), task["deadline"]) as limit:
        try:
            outcome = _taken_or_made(task)
        except Exception as problem:
            seconds = round(time.monotonic() - began, 3)
            outcome = _failed(task["run"], reason(problem)) | {"seconds": seconds}
    if limit.reason:
        outcome["error"] = f"{limit.reason}; {outcome['error']}".removesuffix("; ")
    return outcome


def _taken_or_made(task: Mapping[str, Any]) -> dict[str, Any]:
    """Give the outcome of a run, whichever try has made it."""
    began = time.monotonic()
    where, name = place(located(task["output"])), task["run"]
    if (found := where.run(name)) is not None:
        return _of_run(found)
    where.clear([name])
    try:
        made = _of_run(_report(task).summary)
    except CiliumAnalysisError:  # another try may have been faster
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
    asked = ask_source(
        source,
        start=question["start"],
        end=question["end"],
        step=question["step"],
        baseline=question["baseline"],
        match=question["match"],
        timezone=question["timezone"],
        kubernetes=_access(question["kubernetes"], question["kubeconfig"]),
        cilium_namespace=question["cilium_namespace"],
        called=question["called"],
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


def _access(where: str, kubeconfig: str) -> Kubernetes | None:
    """Give the Kubernetes API that the file names; that of the worker may be another cluster's."""
    if not where:
        return None
    from cilium_analysis.kube import Kubernetes

    return Kubernetes.at(where, kubeconfig=kubeconfig)


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


def _failed(name: str, error: str) -> dict[str, Any]:
    return {
        "run": name,
        "written": False,
        "error": error,
        "findings": {},
        "first": "",
        "unknown": False,
        "seconds": 0.0,
    }


def reason(problem: Exception) -> str:
    """Say in one line why something failed. Only errors of ours never hold a credential."""
    if isinstance(problem, CiliumAnalysisError):
        return clipped(line(str(problem)), _REASON)
    return f"unexpected {type(problem).__name__}"
