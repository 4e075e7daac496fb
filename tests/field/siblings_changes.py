"""Cases of the same kinds as those of `cases`: what changes in the window, and who is called how.

Unless a case says otherwise, the incident is that of `siblings`.
"""

from __future__ import annotations

from typing import Any

from tests.field.make import (
    DAY,
    START,
    Metrics,
    agent,
    case,
    drops,
    scrapes,
    steady,
    truth,
    vitals,
)
from tests.field.siblings import ALWAYS, INCIDENT, LOST


@case()
def s19_pairs_of_clusters(m: Metrics, variant: str) -> dict[str, Any]:
    """Two clusters with the same nodes, each scraped by a pair of servers of its own: `env` tells
    the clusters apart, and all four servers have another `prometheus_replica`."""
    for place, born in (("blue", 9), ("green", 4)):
        for n in (1, 2, 3):
            for number, offset in enumerate((7, 22)):
                server = {"env": place, "prometheus_replica": f"{place}-{number}"}
                target = agent(n) | server
                hit = (place, n) == ("green", 2)
                at = scrapes(offset=offset)
                vitals(m, target, born=START - born * DAY, at=at)
                rate = INCIDENT if hit else steady(ALWAYS)
                drops(m, target, rate, base=born * 1000 * n, at=at)
    return truth(
        "24,060 packets on worker-2 of green, each once, and without any doubt.",
        packets_in_incident=LOST,
        where={"env": "green", "node": "worker-2"},
    )
