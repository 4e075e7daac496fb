"""Reports: notebooks run headlessly on a recording, and the pages made of them."""

from cilium_analysis.report import light  # noqa: F401 - before anything imports nbformat
from cilium_analysis.report.run import Run, report, resume

__all__ = ["Run", "report", "resume"]
