"""The commands beside the reports: record a bundle, check the monitoring itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.cli.options import question
from cilium_analysis.cli.words import put, put_file, say

if TYPE_CHECKING:
    import argparse


def capture(options: argparse.Namespace) -> int:
    """Record what a report needs."""
    from cilium_analysis.capture import capture as record
    from cilium_analysis.objectstore import located
    from cilium_analysis.report.output import run_name

    located(options.output or "")  # a mistake in it is told before anything is asked
    asked = question(options)
    directory = located(options.output or f"bundle-{run_name(asked.window)}")
    say(f"Reading {asked.reading}")
    record(
        asked.source,
        asked.window,
        asked.baseline,
        topics=options.topics,
        match=asked.match,
        directory=directory,
        cluster=asked.cluster,
    )
    put(f"Bundle: {directory}")
    return 0


def check(options: argparse.Namespace) -> int:
    """Print what there is, what is missing, and how to switch it on."""
    from cilium_analysis.topics import setup

    if options.cluster_role:
        return _print_cluster_role()
    asked = question(options)
    data = setup.load(
        asked.source,
        asked.window,
        asked.baseline,
        match=asked.match,
        cluster=asked.cluster,
    )
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


def _print_cluster_role() -> int:
    from cilium_analysis.kube import cluster_role

    put_file(cluster_role())
    return 0
