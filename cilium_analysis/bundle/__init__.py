"""Bundles: every answer that a report used, recorded to a directory, and replayed from it.

A bundle is a directory with ``manifest.json`` and one Parquet file per answer, one row per
sample: ``time``, the labels, ``value`` and the number of the ``series``, so that any tool can
read it; and ``kubernetes.json``, if a cluster's objects were read too. It answers the queries
that it holds, for the recorded window or a part of it at the same step; and people, not reports,
simple ones that it computes from these, see `cilium_analysis.bundle.computed`.
"""

from cilium_analysis.bundle.recorder import Recorder
from cilium_analysis.bundle.replay import Bundle, metrics_of

__all__ = ["Bundle", "Recorder", "metrics_of"]
