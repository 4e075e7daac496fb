"""What one cilium-agent exposes on port 9962."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator import counting
from cilium_simulator.events import (
    MAPS,
    NAT_MAP,
    AgentErrors,
    Endpoints,
    MapPressure,
    NotReady,
    Policy,
    RegenerationFailures,
)
from cilium_simulator.traffic import Drops, intensity, pattern, swell
from cilium_simulator.vitals import Vitals
from cilium_simulator.watching import timed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cilium_simulator.events import Shaped
    from cilium_simulator.nodes import Node
    from cilium_simulator.proxy import Proxies
    from cilium_simulator.scenario import E, Scenario
    from cilium_simulator.scrape import Labels, Series, Target
    from cilium_simulator.watching import Watch

PIN_READ_SINCE = (1, 15, 0)  # pkg/maps/metricsmap/metricsmap.go
FORWARD_SUMMED_SINCE = (1, 15, 4)
#: since when the pressure of a map is shown, where that is not always (pkg/bpf/map_linux.go)
SHOWN_SINCE = {"ct4_global": (1, 16, 0), NAT_MAP: (1, 15, 0)}
POOL = 254  # addresses of a /24, the default size of a node's pool in cluster-pool mode
FORGOTTEN_WITHIN = 4 * 3600  # seconds after which a node's pods are about as many as before
RESTORED_WITHIN = 45  # seconds in which a restarted agent brings its endpoints back
FILLED_WITHIN = 600  # seconds in which a new or rebooted node gets its pods
CALCULATION_SECONDS = 0.008
REGENERATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Agent:
    """The agent of one node; every number is drawn once and then only read at scrapes."""

    def __init__(
        self,
        scenario: Scenario,
        node: Node,
        drops: list[Drops],
        proxies: Proxies,
        watch: Watch,
        rng: np.random.Generator,
    ) -> None:
        """Draw what is peculiar to this node."""
        self.scenario, self.node = scenario, node
        self.vitals = Vitals(scenario, node)
        self.watch, self.proxies = watch, proxies
        self.drops = [d for d in drops if d.node == node.name]
        self.endpoints = self._endpoints(rng)
        self.restoring = self._restoring()
        self.not_ready = self._not_ready()
        up = node.up(scenario.seconds)
        rate = rng.uniform(300, 1500)
        factor = swell(scenario, node.name)
        self.forward = {
            way: rng.poisson(rate * share * pattern(scenario, rng) * factor) * up
            for way, share in (("INGRESS", 1.0), ("EGRESS", 0.8))
        }
        self.pressure = {name: rng.uniform(0.02, 0.4) for name in MAPS}
        self.pressure[NAT_MAP] = self.pressure["ct4_global"] / 2
        self.warnings = rng.poisson(0.002, scenario.seconds)
        self.errors = self._errors(rng)
        self.regenerations = {"success": rng.poisson(0.01, scenario.seconds)}
        if failing := self._mine(RegenerationFailures):
            self.regenerations["fail"] = _sum(
                rng.poisson(intensity(event, scenario.seconds)) for event in failing
            )
        self.revision = int(rng.integers(20, 60))

    def _mine(self, kind: type[E]) -> list[E]:
        return [e for e in self.scenario.of(kind) if e.hits(self.node.name)]

    def _endpoints(self, rng: np.random.Generator) -> np.ndarray:
        seconds = self.scenario.seconds
        # Pods come and go a few times an hour; deployments bring their number back.
        steps = rng.choice([-1, 1], seconds) * (rng.random(seconds) < 1 / 1800)
        count = np.clip(int(rng.integers(8, 30)) + _forgotten(steps), 3, 110)
        for event in self._mine(Endpoints):
            count += _ramp(event, seconds) * event.count
        for begin in self._boots():
            share = np.clip((np.arange(seconds) - begin) / FILLED_WITHIN, 0.1, 1.0)
            count[begin:] *= share[begin:]
        whole: np.ndarray = np.floor(count)
        return whole

    def _boots(self) -> list[int]:
        """List when the node began without any pod."""
        inside = [r.boot for r in self.node.runs if 0 <= r.boot < self.scenario.seconds]
        return sorted(set(inside))

    def _restoring(self) -> np.ndarray:
        """Tell how many endpoints a restarted agent has not yet brought back; others stay."""
        behind = np.zeros(self.scenario.seconds)
        for run in self.node.runs:
            if run.start <= 0 or run.start >= self.scenario.seconds or run.boot in self._boots():
                continue
            span = slice(run.start, min(run.start + RESTORED_WITHIN, self.scenario.seconds))
            left = 1 - np.arange(span.stop - span.start) / RESTORED_WITHIN
            behind[span] = np.floor(self.endpoints[span] * left)
        return behind

    def _not_ready(self) -> np.ndarray:
        stuck = np.zeros(self.scenario.seconds)
        for event in self._mine(NotReady):
            stuck[event.start : event.end] += event.count
        limited: np.ndarray = np.minimum(stuck, self.endpoints)
        return limited

    def _errors(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw the errors by subsystem."""
        found: dict[str, np.ndarray] = {}
        for event in self._mine(AgentErrors):
            arrivals = rng.poisson(intensity(event, self.scenario.seconds))
            found[event.subsystem] = found.get(event.subsystem, 0) + arrivals
        return found

    def series(self, target: Target) -> Iterator[Series]:
        """Yield everything this agent exposes."""
        yield from target.up_series()
        yield from self._packets(target)
        yield from self._process(target)
        yield from self._endpoint_gauges(target)
        yield from self._policies(target)
        yield from self.proxies.series(target)
        yield from self._health(target)
        yield from self.vitals.series(target)
        yield from self.watch.series(target, self._managed(target))

    def _packets(self, target: Target) -> Iterator[Series]:
        pairs = sorted({(d.reason, d.direction) for d in self.drops})
        for reason, direction in pairs:
            own = {"reason": reason, "direction": direction}
            mine = [d for d in self.drops if (d.reason, d.direction) == (reason, direction)]
            for name, weigh in (("count", False), ("bytes", True)):
                arrivals = _sum(d.arrivals * (d.size if weigh else 1) for d in mine)
                prior = sum(d.prior * (d.size if weigh else 1) for d in mine)
                yield from self._from_map(target, f"cilium_drop_{name}", own, arrivals, prior)
        # Older agents showed one of several forward reasons instead of their sum.
        share = 1.0 if self.scenario.version >= FORWARD_SUMMED_SINCE else 0.7
        for way, packets in self.forward.items():
            for name, weight in (("count", share), ("bytes", share * 640)):
                arrivals = np.floor(packets * weight)
                prior = int(arrivals.mean() * max(-self.node.joined, 0))
                own = {"direction": way}
                yield from self._from_map(target, f"cilium_forward_{name}", own, arrivals, prior)

    def _from_map(
        self, target: Target, name: str, own: Labels, arrivals: np.ndarray, prior: int
    ) -> Iterator[Series]:
        if self.scenario.version >= PIN_READ_SINCE:
            values = counting.pinned(arrivals, self.node, target.seconds, prior=prior)
            present = values > 0
        else:
            values, present = counting.copied(arrivals, self.node, target.seconds, prior=prior)
        yield from target.series(f"{name}_total", "counter", own, values, present)

    def _process(self, target: Target) -> Iterator[Series]:
        started = np.zeros(len(target.seconds))
        for run in self.node.runs:
            since = self.scenario.epoch + run.start + 0.31
            started[(target.seconds >= run.start) & (target.seconds < run.end)] = since
        age = self.scenario.epoch + target.seconds - started
        yield from target.series("cilium_process_start_time_seconds", "gauge", {}, started)
        yield from target.series("cilium_process_cpu_seconds_total", "counter", {}, age * 0.04)
        own = {"version": ".".join(map(str, self.scenario.version)), "arch": "amd64"}
        ones = np.ones(len(target.seconds))
        yield from target.series("cilium_version", "gauge", {**own, "revision": "a1b2c3d4"}, ones)

    def _managed(self, target: Target) -> np.ndarray:
        managed: np.ndarray = _at(self.endpoints, target) - _at(self.restoring, target)
        return managed

    def _endpoint_gauges(self, target: Target) -> Iterator[Series]:
        behind, total = _at(self.restoring, target), self._managed(target)
        stuck = np.minimum(_at(self.not_ready, target), total)
        yield from target.series("cilium_endpoint", "gauge", {}, total)
        fresh = np.where(behind > 0, np.minimum(total - stuck, 3), 0)
        for state, number, always in (
            ("ready", total - stuck - fresh, True),
            ("regenerating", fresh, True),
            ("waiting-for-identity", stuck, False),
        ):
            own = {"endpoint_state": state}
            present = None if always else number > 0
            yield from target.series("cilium_endpoint_state", "gauge", own, number, present)
        yield from self._addresses(target, total)
        yield from self._regenerations(target)
        if self.scenario.version >= (1, 19, 0):
            yield from self._restored(target)

    def _restored(self, target: Target) -> Iterator[Series]:
        """Yield what became of the endpoints that were there when this agent started."""
        had = np.zeros(self.scenario.seconds)
        for run in self.node.runs:
            if 0 < run.start < self.scenario.seconds and run.boot not in self._boots():
                had[run.start : run.end] = self.endpoints[run.start]
        total = _at(had, target)
        done = np.clip(total - _at(self.restoring, target), 0, None)
        for phase in ("read_from_disk", "restoration", "regeneration"):
            for outcome, number in (("total", total), ("successful", done), ("failed", 0 * done)):
                own = {"phase": phase, "outcome": outcome}
                name = "cilium_endpoint_restoration_endpoints"
                yield from target.series(name, "gauge", own, number)
            took = np.where(total > 0, RESTORED_WITHIN / 3, 0.0)
            name = "cilium_endpoint_restoration_duration_seconds"
            yield from target.series(name, "gauge", {"phase": phase}, took)

    def _addresses(self, target: Target, endpoints: np.ndarray) -> Iterator[Series]:
        """Yield the pool: the host's endpoint takes no address from it, the router does."""
        used = np.minimum(endpoints, POOL)
        for family, number, pool in (("ipv4", used, POOL), ("ipv6", 0 * used, 0)):
            own = {"family": family}
            yield from target.series("cilium_ip_addresses", "gauge", own, number)
            if self.scenario.version >= (1, 15, 0) and pool:
                if self.scenario.version >= (1, 20, 0):
                    own |= {"cidr": f"10.0.{self.node.ip.rsplit('.', 1)[1]}.0/24"}
                size = np.full(len(used), float(pool))
                yield from target.series("cilium_ipam_capacity", "gauge", own, size)
        kinds = {"cluster_local": 60.0, "reserved": 9.0, "node_local": 0.0}
        for kind, count in kinds.items():
            number = np.full(len(used), count)
            yield from target.series("cilium_identity", "gauge", {"type": kind}, number)

    def _regenerations(self, target: Target) -> Iterator[Series]:
        for outcome, arrivals in self.regenerations.items():
            values = counting.in_process(arrivals, self.node, target.seconds)
            own = {"outcome": outcome}
            if self.scenario.version >= (1, 20, 0):
                own |= {"reason": "policy update", "error": ""}
            name = "cilium_endpoint_regenerations_total"
            yield from target.series(name, "counter", own, values, values > 0)
        # Half of the successful ones take 50 ms, the others 250 ms.
        done = counting.in_process(self.regenerations["success"], self.node, target.seconds)
        name = "cilium_endpoint_regeneration_time_stats_seconds"
        own = {"scope": "policyCalculation", "status": "success"}
        yield from timed(target, name, own, done, CALCULATION_SECONDS, REGENERATION_BOUNDS)
        own = {"scope": "total", "status": "success"}
        yield from target.series(f"{name}_count", "histogram", own, done, done > 0)
        quick = np.ceil(done / 2)
        took = quick * 0.05 + (done - quick) * 0.25
        yield from target.series(f"{name}_sum", "histogram", own, took, done > 0)
        for bound in REGENERATION_BOUNDS:
            within = np.where(bound >= 0.25, done, np.where(bound >= 0.05, quick, 0.0))
            labels = own | {"le": f"{bound:g}"}
            yield from target.series(f"{name}_bucket", "histogram", labels, within, done > 0)
        labels = own | {"le": "+Inf"}
        yield from target.series(f"{name}_bucket", "histogram", labels, done, done > 0)

    def _policies(self, target: Target) -> Iterator[Series]:
        events, version = self.scenario.of(Policy), self.scenario.version
        t = target.seconds
        live = _sum([((t >= e.start) & (t < e.end)).astype(int) for e in events], len(t))
        yield from target.series("cilium_policy", "gauge", {}, 7 + live)
        moments = sorted([e.start for e in events] + [e.end for e in events])
        changes = np.zeros(self.scenario.seconds)
        changes[[m for m in moments if m < self.scenario.seconds]] += 1
        shown = counting.in_process(changes, self.node, t, prior=self.revision)
        # After a restart every policy is read anew, so neither starts from nothing.
        shown = np.where(shown < 7, 7 + shown, shown)
        yield from target.series("cilium_policy_max_revision", "gauge", {}, shown + 1)
        if version >= (1, 14, 0):
            own = {"outcome": "success"}
            if version >= (1, 20, 0):
                own |= {"source": "k8s", "operation": "update"}
            yield from target.series("cilium_policy_change_total", "counter", own, shown)
        if version < (1, 15, 0):
            none = np.zeros(len(t))
            yield from target.series("cilium_policy_import_errors_total", "counter", {}, none)

    def _health(self, target: Target) -> Iterator[Series]:
        for subsystem, level, arrivals in (
            ("daemon", "warning", self.warnings),
            *((name, "error", arrivals) for name, arrivals in self.errors.items()),
        ):
            own = {"subsystem": subsystem, "level": level}
            values = counting.in_process(arrivals, self.node, target.seconds)
            name = "cilium_errors_warnings_total"
            yield from target.series(name, "counter", own, values, values > 0)
        for name, base in self._pressures():
            values = _at(base, target)
            for shown, share, least in self._shown(name):
                own = {"map_name": shown}
                present = values * share > least
                metric = "cilium_bpf_map_pressure"
                yield from target.series(metric, "gauge", own, values * share, present)

    def _shown(self, name: str) -> list[tuple[str, float, float]]:
        """Spell a map as its version does: label, share of the fill, and what is not shown."""
        if name != "cilium_policy_*":
            return [(name, 1.0, 0.0)]
        if self.scenario.version < (1, 15, 0):
            return [("policy_1023", 1.0, 0.1), ("policy_401", 0.6, 0.1)]
        kind = "v2_" if self.scenario.version < (1, 20, 0) else "v3_"
        kind = "" if self.scenario.version < (1, 17, 0) else kind
        return [(f"cilium_policy_{kind}*", 1.0, 0.1)]

    def _pressures(self) -> Iterator[tuple[str, np.ndarray]]:
        for name, base in self.pressure.items():
            if self.scenario.version < SHOWN_SINCE.get(name, (0, 0, 0)):
                continue
            curve = np.full(self.scenario.seconds, base)
            for event in self._mine(MapPressure):
                if event.map_name == name:
                    curve += _ramp(event, self.scenario.seconds) * (event.fill - base)
            yield name, np.round(np.clip(curve, 0, 1), 4)


def _ramp(event: Shaped, seconds: int) -> np.ndarray:
    """Rise from 0 to 1 during an event, or jump; and stay there."""
    curve = np.zeros(seconds)
    curve[event.start :] = 1
    if event.shape == "ramp":
        curve[event.start : event.end] = np.linspace(0, 1, event.end - event.start)
    return curve


def _sum(arrays: Iterable[np.ndarray], size: int = 0) -> np.ndarray:
    total: np.ndarray = np.sum(list(arrays) or [np.zeros(size)], axis=0)
    return total


def _forgotten(steps: np.ndarray) -> np.ndarray:
    """Add steps up, each fading with `FORGOTTEN_WITHIN`."""
    total, seconds = np.zeros(len(steps)), np.arange(len(steps))
    for at in np.flatnonzero(steps):
        total[at:] += steps[at] * np.exp(-(seconds[at:] - at) / FORGOTTEN_WITHIN)
    return total


def _at(curve: np.ndarray, target: Target) -> np.ndarray:
    """Read a gauge at the moments of a target's scrapes."""
    shown: np.ndarray = curve[np.floor(target.seconds).astype(np.int64)]
    return shown
