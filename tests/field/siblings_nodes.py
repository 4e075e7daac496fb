"""Cases of the same kinds as those of `cases`: nodes and clusters that reach each other or do not,
clocks that are wrong, pods and leaders that move.

Probes are those of Cilium up to 1.17, which name their targets (`named`), or of later versions,
which count paths (`counted`). Each agent probes at another second of the minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.field.make import (
    DAY,
    MINUTE,
    START,
    Labels,
    Metrics,
    agent,
    burst,
    case,
    constant,
    counter,
    minutes,
    scrapes,
    steady,
    truth,
    vitals,
)

#: From observer, target and time: whether a probe fails.
Cut = Callable[[int, int, float], bool]
#: When the agent starts anew.
RESTART = START + 25 * MINUTE
#: Cluster of the nodes from so many on, which another Prometheus scrapes.
FAR, REMOTE = 10, "west"


def probes(
    m: Metrics,
    variant: str,
    number: int,
    targets: Sequence[int],
    cut: Cut,
    *,
    at: list[int] | None = None,
    known: Callable[[int, float], bool] = lambda target, time: True,
    cluster: str = "",
) -> None:
    """Add what an agent says of its probes, to itself too."""
    times = scrapes() if at is None else at
    own = agent(number) | ({"cluster": cluster} if cluster else {})
    vitals(m, own, born=START - (9 if cluster == "us" else 3) * DAY, at=times)

    def lost(target: int, time: int) -> bool:
        return target != number and cut(number, target, time - (time - 17 * number) % 60)

    seen = {time: [n for n in targets if known(n, time)] for time in times}
    constant_of = {time: float(len(mine)) for time, mine in seen.items()}
    m.add("cilium_nodes_all_num", own, constant_of.items())
    for kind in ("node", "endpoint"):
        if variant == "counted":
            for status in ("reachable", "unreachable"):
                values = [
                    (time, sum(lost(n, time) is (status == "unreachable") for n in mine))
                    for time, mine in seen.items()
                ]
                labels = own | {"type": kind, "status": status}
                m.add("cilium_node_health_connectivity_status", labels, values)
            continue
        for n in targets:
            there = [time for time in times if n in seen[time]]
            path = own | _ends(number, n) | {"type": kind}
            answers = [(time, float(not lost(n, time))) for time in there]
            m.add("cilium_node_connectivity_status", path, answers)


def _ends(source: int, target: int) -> dict[str, str]:
    far = target >= FAR
    return {
        "source_cluster": "default",
        "source_node_name": f"worker-{source}",
        "target_cluster": REMOTE if far else "default",
        "target_node_name": f"worker-{target}",
        "target_node_type": "remote_inter_cluster"
        if far
        else "local_node"
        if source == target
        else "remote_intra_cluster",
    }


@case("named", "counted", topics=("node_connectivity",))
def s36_two_nodes(m: Metrics, variant: str) -> dict[str, Any]:
    """A cluster of two nodes, which do not reach each other from 10:40 to 11:00."""
    for n in (1, 2):
        probes(m, variant, n, (1, 2), lambda a, b, time: minutes(time, 40, 60))
    return truth("worker-1 and worker-2 do not reach each other, 10:40 to 11:00.")


@case("named", "counted", topics=("node_connectivity",))
def s37_mesh(m: Metrics, variant: str) -> dict[str, Any]:
    """A cluster of three nodes in a mesh with another one of three, which another Prometheus
    scrapes. None of the other cluster's nodes is reached from 10:40 to 11:00."""
    for n in (1, 2, 3):
        nodes = (1, 2, 3, 11, 12, 13)
        probes(m, variant, n, nodes, lambda a, b, time: b >= FAR and minutes(time, 40, 60))
    return truth(
        """Three nodes of west are not reached by all three nodes here, which reach each other.
        Where targets are not named, three nodes are missed by each."""
    )


@case("named", "counted", topics=("node_connectivity",))
def s38_two_clusters(m: Metrics, variant: str) -> dict[str, Any]:
    """One Prometheus scrapes two clusters of three nodes that know nothing of each other. In eu no
    node reaches another from 10:20 to 10:30, and worker-3 reaches none from 11:00 to 11:20."""
    for cluster in ("eu", "us"):

        def cut(a: int, b: int, time: float, *, hit: bool = cluster == "eu") -> bool:
            return hit and (minutes(time, 20, 30) or (3 in (a, b) and minutes(time, 60, 80)))

        for n in (1, 2, 3):
            probes(m, variant, n, (1, 2, 3), cut, cluster=cluster)
    return truth("All three nodes of eu, 10:20 to 10:30; its worker-3, 11:00 to 11:20.")


@case("named", "counted", topics=("node_connectivity",))
def s30_server_down(m: Metrics, variant: str) -> dict[str, Any]:
    """worker-3 is cut off from 10:40 to 11:10. Prometheus does not run from 10:50 to 11:20."""
    at = [time for time in scrapes() if not minutes(time, 50, 80)]

    def cut(a: int, b: int, time: float) -> bool:
        return 3 in (a, b) and minutes(time, 40, 70)

    for n in (1, 2, 3, 4):
        probes(m, variant, n, (1, 2, 3, 4), cut, at=at)
    return truth("worker-3 from 10:40 on, for 10 minutes or up to 40: nothing was scraped then.")


@case("named", "counted", topics=("node_connectivity",))
def s31_leaves(m: Metrics, variant: str) -> dict[str, Any]:
    """The cluster shrinks: worker-4 is switched off at 10:30, and the others probe it until its
    node object is deleted, three minutes later."""

    def known(target: int, time: float) -> bool:
        return target != 4 or time < START + 33 * MINUTE

    def cut(a: int, b: int, time: float) -> bool:
        return b == 4 and time >= START + 30 * MINUTE

    for n in (1, 2, 3, 4):
        at = [time for time in scrapes() if n != 4 or time < START + 30 * MINUTE]
        probes(m, variant, n, (1, 2, 3, 4), cut, at=at, known=known)
    return truth("worker-4 left the cluster. Nobody needs to be woken.")


@case("slow", "fast", topics=("agent_health",))
def s32_clock(m: Metrics, variant: str) -> dict[str, Any]:
    """The clock of worker-2 is two minutes slow, or ten minutes fast. Its agent restarts at 10:25,
    between two scrapes."""
    off = {"slow": -2, "fast": 10}[variant] * MINUTE
    for n in (1, 2, 3):
        target, born = agent(n, pod=f"cilium-{n}"), START - 9 * DAY
        constant(m, "up", target, 1, scrapes())
        begun = {time: RESTART if n == 2 and time > RESTART else born for time in scrapes()}
        starts = [(time, begin + off * (n == 2)) for time, begin in begun.items()]
        m.add("cilium_process_start_time_seconds", target, starts)
        used = [(time, 0.1 * (time - begin)) for time, begin in begun.items()]
        m.add("cilium_process_cpu_seconds_total", target, used)
    return truth("One restart of the agent on worker-2, at 10:25.", node="worker-2")


@case("window", "before", topics=("agent_health",))
def s33_failover(m: Metrics, variant: str) -> dict[str, Any]:
    """Two operators, one of which leads and logs six warnings a minute. At 10:30 (`before`: at
    09:00) its pod is gone for good, and the other one leads and logs as many. From 11:10 to 11:20
    it logs 300 errors beside."""
    change = START + (30 if variant == "window" else -60) * MINUTE
    for n in (1, 2, 3):
        vitals(m, agent(n))
    for n in (1, 2):
        target = {"job": "cilium-operator", "instance": f"10.0.0.{n}:9963", "node": f"worker-{n}"}
        at = [time for time in scrapes() if n == 2 or time < change]
        constant(m, "cilium_operator_process_start_time_seconds", target, START - 9 * DAY, at)
        constant(m, "up", target, 1, at)
        leading = [time for time in at if n == 1 or time >= change]
        _log(m, target, "warning", leading, 0.1)
        if n == 2:
            name, labels = "cilium_operator_errors_warnings_total", {"level": "error"}
            logged = target | labels | {"subsystem": "operator"}
            counter(m, name, logged, burst(0.5, 70, 80), at=leading)
    return truth("300 errors of the operator, 11:10 to 11:20; a change of leaders is no news.")


def _log(m: Metrics, target: Labels, level: str, at: list[int], rate: float) -> None:
    """Add lines of a log from the first scrape on, since when the process logs."""
    labels = {**target, "level": level, "subsystem": "operator"}
    name = "cilium_operator_errors_warnings_total"
    m.add(name, labels, [(time, float(int(rate * (time - at[0])))) for time in at])


@case(topics=("endpoint_growth",))
def s34_drained(m: Metrics, variant: str) -> dict[str, Any]:
    """worker-3 is drained at 10:30: 30 of its 34 pods go to the two other nodes."""
    for n in (1, 2, 3):
        vitals(m, agent(n))
        before, after = (34, 4) if n == 3 else (30, 45)
        levels = [(t, after if t >= START + 30 * MINUTE else before) for t in scrapes()]
        m.add("cilium_endpoint", agent(n), levels)
        m.add("cilium_endpoint_state", agent(n) | {"endpoint_state": "ready"}, levels)
        regenerated = agent(n) | {"outcome": "success"}
        counter(m, "cilium_endpoint_regenerations_total", regenerated, steady(0.1), base=5)
    return truth("The cluster has as many endpoints as before; 30 moved.", endpoints=94)


@case(topics=("endpoint_growth",))
def s35_hidden_end(m: Metrics, variant: str) -> dict[str, Any]:
    """On worker-2, a map is nearly full and 6 of 20 endpoints wait, from 10:40 on. From 10:55 to
    11:25 nothing is scraped, and then all is well."""
    at = [time for time in scrapes() if not minutes(time, 55, 85)]
    for n in (1, 2, 3):
        target = agent(n)
        vitals(m, target, at=at)
        constant(m, "cilium_endpoint", target, 20, at)
        bad = {time: n == 2 and minutes(time, 40, 60) for time in at}
        fill = [(time, 0.96 if hit else 0.3) for time, hit in bad.items()]
        m.add("cilium_bpf_map_pressure", target | {"map_name": "ct4_global"}, fill)
        for state, number in (("ready", 14), ("waiting-for-identity", 6)):
            other = 20 if state == "ready" else 0
            values = [(time, number if hit else other) for time, hit in bad.items()]
            m.add("cilium_endpoint_state", target | {"endpoint_state": state}, values)
    return truth("Both from 10:40 on, and as far as is known until 10:55.", node="worker-2")
