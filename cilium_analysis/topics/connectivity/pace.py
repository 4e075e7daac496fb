"""How often paths are probed and scraped, and so how well the times of an outage are known.

Up to Cilium 1.17 cilium-health probes every 60 s. Later versions probe more rarely, by the number
of addresses and a setting (``connectivityProbeFrequencyRatio``), so that it is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from cilium_analysis.topics.connectivity.asking import PROBE, QUERIES

if TYPE_CHECKING:
    from cilium_analysis.topics.connectivity.asking import Asker
    from cilium_analysis.window import Window

#: The pace is measured over at least, and at most, so much time up to the end of the window.
LEAST, MOST = timedelta(hours=1), timedelta(days=1)
#: Scrapes that are so much more frequent than probes are not mentioned.
OFTEN = 4


@dataclass(frozen=True)
class Pace:
    """How often paths are probed, and agents scraped.

    Parameters
    ----------
    probe
        Time from one probe of a path to the next.
    scrape
        Time between two scrapes of most agents, or a longer one.
    known
        How the time between probes is known: ``measured`` from the number of latency samples,
        ``fixed`` in the code of these versions, or ``at most`` this long.
    """

    probe: timedelta = PROBE
    scrape: timedelta = timedelta(seconds=30)
    known: Literal["measured", "fixed", "at most"] = "fixed"

    @property
    def shown(self) -> timedelta:
        """How long the metrics show one result of a probe at least."""
        return max(self.probe, self.scrape)

    @property
    def round(self) -> timedelta:
        """Time within which all observers have probed once more, and shown it."""
        return self.probe + self.shown

    @property
    def rare(self) -> bool:
        """Whether scrapes are so rare that they count beside the probes."""
        return self.scrape * OFTEN > self.probe

    @property
    def within(self) -> timedelta:
        """Time to within which the start and the end of an outage are known."""
        return self.probe + self.scrape if self.rare else self.probe

    @property
    def alone(self) -> timedelta:
        """Time to within which that is known where only one agent saw it.

        Where addresses are probed one after another, at any moment of a round, up to two rounds
        pass before all have been probed again; of many agents some are earlier.
        """
        return self.within if self.known == "fixed" else self.within + self.probe

    def told(self, within: timedelta) -> str:
        """Write to within what a time is known."""
        if within > self.alone:
            return f"to within one step ({short(within)})"
        at_most = "at most " if self.known == "at most" else ""
        probes = "two probes" if within > self.within else "one probe"
        scrape = " and one scrape" if self.rare else ""
        return f"to within {probes}{scrape} ({at_most}{short(within)})"


def short(time: timedelta) -> str:
    """Write a duration in seconds, or minutes from two on."""
    seconds = time.total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def measure(asker: Asker, window: Window) -> Pace:
    """Learn how often agents probe, and are scraped.

    Parameters
    ----------
    asker
        Of the connectivity metrics.
    window
        What is looked at.
    """
    length = min(max(window.length, LEAST), MOST)
    before = replace(window, start=window.end - length)

    def ask(name: str) -> float:
        found = asker.at_end(QUERIES[name], before)
        return float(found.iloc[0]) if len(found) else math.nan

    # Where no metric tells how often agents are scraped, only a bound is known.
    scrape = asker.known.interval("agent") or asker.known.recent
    rounds = ask("rounds")
    if rounds > 0:
        return Pace(timedelta(seconds=round(1 / rounds)), scrape, "measured")
    # Only metrics that name no target are of versions in which this is not always the same.
    addresses = ask("addresses")
    if not addresses > 0:
        return Pace(scrape=scrape)
    longest = PROBE * max(math.log1p(addresses), 1.0)
    return Pace(timedelta(seconds=round(longest.total_seconds())), scrape, "at most")
