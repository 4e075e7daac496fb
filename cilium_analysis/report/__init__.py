"""Reports: runs notebooks headlessly on a recording, and makes pages of them."""

from cilium_analysis.report import notebooks  # noqa: F401 - before anything imports nbformat
from cilium_analysis.report.run import Run, report, resume

__all__ = ["Run", "report", "resume"]
