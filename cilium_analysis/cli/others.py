"""The commands beside the reports: record a bundle, check the monitoring itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cilium_analysis.cli.options import question, source_of
from cilium_analysis.cli.reports import refuse_with_resume
from cilium_analysis.cli.words import put, put_file, say

_MARKS = {"ok": "✓", "missing": "–", "failed": "✗"}

if TYPE_CHECKING:
    import argparse

    from cilium_analysis.bundle import Bundle
    from cilium_analysis.question import Question


def capture(options: argparse.Namespace) -> int:
    """Record what a report needs."""
    from cilium_analysis.bundle import Bundle
    from cilium_analysis.capture import capture as record
    from cilium_analysis.errors import CiliumAnalysisError, OutputError
    from cilium_analysis.report import unfinished
    from cilium_analysis.storage import located
    from cilium_analysis.storage.runs import run_name

    located(options.output or "")  # checked before anything is asked
    earlier = _cut_short(options) if options.resume else None
    asked = _asked_again(earlier, options) if earlier else question(options)
    directory = located(options.resume or options.output or f"bundle-{run_name(asked.window)}")
    # An object store has a bundle only when it is complete.
    kept = (
        None if isinstance(asked.source, Bundle) or not isinstance(directory, Path) else directory
    )
    if kept and not earlier and kept.exists():
        raise OutputError(f"{kept} exists already: choose another directory")
    say(f"Reading {asked.reading}")
    try:
        record(
            asked.source,
            asked.window,
            asked.baseline,
            topics=earlier.topics if earlier else options.topics,
            match=asked.match,
            directory=directory,
            cluster=asked.cluster,
            kept=bool(kept),
            any_workloads=True,
        )
    except (CiliumAnalysisError, KeyboardInterrupt, MemoryError) as problem:
        if kept and kept.exists():
            raise unfinished.with_hint(problem, kept, by="capture") from None
        raise
    put(f"Bundle: {directory}")
    return 0


def _cut_short(options: argparse.Namespace) -> Bundle:
    """Read the bundle to resume, which knows what was asked."""
    from cilium_analysis.bundle import Bundle
    from cilium_analysis.errors import ParameterError

    names = ("output", "start", "end", "around", "alert", "step", "baseline", "match", "kubernetes")
    refuse_with_resume(options, names, of="bundle")
    bundle = Bundle(Path(options.resume))
    if bundle.whole:
        raise ParameterError(f"{bundle.called} is complete: there is nothing to resume")
    bundle.verify(deeply=True)
    return bundle


def _asked_again(bundle: Bundle, options: argparse.Namespace) -> Question:
    from cilium_analysis.question import ask_again
    from cilium_analysis.source import iso
    from cilium_analysis.times import format_duration

    window, baseline = bundle.window, bundle.baseline or bundle.window.baseline()
    given = {
        "start": iso(window.start),
        "end": iso(window.end),
        "step": format_duration(window.step),
        "baseline": f"{iso(baseline.start)}/{iso(baseline.end)}",
        "match": bundle.match or "",
        "timezone": window.timezone,
    }
    return ask_again(
        bundle.name,
        given,
        source=source_of(options),
        shown=bundle.called,
        timeout=options.timeout.total_seconds(),
    )


def doctor(options: argparse.Namespace) -> int:
    """Try the way to a source, and print how far it leads."""
    from cilium_analysis.doctor import examine
    from cilium_analysis.errors import UsageError
    from cilium_analysis.kube import Kubernetes

    if not options.source:
        raise UsageError("no source: give --source http://…, kubernetes: or grafana:…")
    kubernetes = None
    if options.kubernetes:
        kubernetes = Kubernetes.at(options.kubernetes, kubeconfig=options.kubeconfig)
    steps = examine(
        source_of(options), match=options.match, timezone=options.timezone, kubernetes=kubernetes
    )
    failed = False
    for step in steps:
        put(f"{_MARKS[step.state]} {step.name}: {step.said}")
        failed |= step.state == "failed"
    return int(failed)


def check(options: argparse.Namespace) -> int:
    """Print which metrics exist, which are missing, and how to switch them on."""
    from cilium_analysis.absence import setup_of, without_metrics
    from cilium_analysis.kube import cluster_role
    from cilium_analysis.topics import setup

    if options.cluster_role:
        put_file(cluster_role())
        return 0
    asked = question(options)
    cluster = asked.cluster  # what is wrong with its address is said before anything is asked
    data = setup_of(asked).with_cluster(cluster)
    put(without_metrics(asked, data) or setup.sentence(data))
    put(f"Verdict: {setup.judge(data)}")
    for row in setup.checks(data).to_dict("records"):
        hint = f" – Helm: {row['how to switch it on']}" if row["how to switch it on"] else ""
        put(f"{row['what']}: {row['state']}{hint}")
    for row in setup.kubernetes(data).to_dict("records"):
        told = [text for text in (row["state"], row["seen"], row["what to do"]) if text]
        put(f"Kubernetes, {row['what']}: {' – '.join(told)}")
    for row in setup.configurations(data).to_dict("records"):
        put(f"{row['configuration']}: {row['here']}")
        put(f"costs: {row['costs']}")
        put(f"mended by: {row['mended by']}")
    found = [finding.title for finding in setup.findings(data)]
    for text in [*found, *setup.notes(data)]:
        put(f"- {text}")
    return 0
