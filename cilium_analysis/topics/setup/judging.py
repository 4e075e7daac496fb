"""Whether the monitoring is set up right, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.findings import Severity
from cilium_analysis.topics.setup.checks import CHECKS
from cilium_analysis.topics.setup.findings import findings
from cilium_analysis.topics.setup.tables import configurations, there
from cilium_analysis.topics.setup.unknown import unknown

if TYPE_CHECKING:
    from cilium_analysis.topics.setup.data import Setup


def judge(data: Setup) -> str:
    """Say whether the monitoring is set up right.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    str
        Begins with ``ok``, ``wrong``, or ``unknown``.
    """
    if reasons := unknown(data):
        return f"unknown: {'; '.join(reasons)}"
    wrong = [each.title for each in findings(data) if each.severity >= Severity.WARNING]
    if wrong:
        return f"wrong: {'; '.join(wrong)}"
    if data.scraping.caveats:
        return f"unknown in part: {' '.join(data.scraping.caveats)}"
    lacking = [check.name for check in CHECKS if not check.of and not there(data, check)]
    but = [f"without {name}" for name in lacking]
    but += list(configurations(data)["configuration"])
    return f"ok, but: {', '.join(but)}" if but else "ok"
