"""Cases of the same kinds as those of `cases`: what changes in the window, and who is called how.

Unless a case says otherwise, the incident is that of `siblings`.
"""

from __future__ import annotations

from typing import Any

from tests.field.make import (
    DAY,
    MINUTE,
    START,
    Metrics,
    agent,
    burst,
    case,
    constant,
    counter,
    drops,
    hubble,
    scrapes,
    steady,
    truth,
    vitals,
)
from tests.field.siblings import ALWAYS, HTTP, INCIDENT, LOST, node_of


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


@case("longer", "shorter", topics=("drop_reasons", "endpoint_growth", "http_status"))
def s20_interval(m: Metrics, variant: str) -> dict[str, Any]:
    """The scrape interval is configured anew at 10:30, from 15 to 60 s or from 60 to 15 s."""
    change = START + 30 * MINUTE
    before, after = (15, 60) if variant == "longer" else (60, 15)
    for n in (1, 2, 3):
        at = [time for time in scrapes(every=before, offset=3 + n) if time < change]
        at += [time for time in scrapes(every=after, offset=3 + n) if time >= change]
        node_of(m, agent(n), hit=n == 2, base=1000 * n, at=at)
        count = [(time, 80 if n == 2 and time > START + 40 * MINUTE else 20) for time in at]
        m.add("cilium_endpoint", agent(n), count)
        constant(m, "up", hubble(n), 1, at)
        good, bad = (hubble(n) | HTTP | {"status": status} for status in ("200", "500"))
        counter(m, "hubble_http_requests_total", good, steady(20.0), base=7, at=at)
        failed = burst(5.0 if n == 2 else 0.0, 80, 100, beside=0.01)
        counter(m, "hubble_http_requests_total", bad, failed, base=3, at=at)
    return truth(
        """24,060 packets and 60 new endpoints on worker-2 from 10:40 on, 6,012 answers 500 from
        11:20 to 11:40. No scrape is missing.""",
        packets_in_incident=LOST,
        errors_in_incident=6012,
    )
