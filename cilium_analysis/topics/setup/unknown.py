"""When not even the monitoring can be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics import verdict

if TYPE_CHECKING:
    from cilium_analysis.topics.setup.data import Setup


def unknown(data: Setup) -> tuple[str, ...]:
    """Give the reasons why it is not known what the cluster exports; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if len(data.present) or len(data.targets) or len(data.versions):
        return ()
    return ("no metric and no scrape target of Cilium or Hubble in this window",)
