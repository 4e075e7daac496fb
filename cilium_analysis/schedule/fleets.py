"""Plans for a fleet: its file, and what a machine or a pod needs to report on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_analysis.connection import SAMPLES
from cilium_analysis.errors import ParameterError
from cilium_analysis.fleet.file import is_url, read_fleet
from cilium_analysis.schedule import checks
from cilium_analysis.schedule.clusters import found_by_api, unfit_for_pod
from cilium_analysis.schedule.plan import Routine
from cilium_analysis.texts import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cilium_analysis.fleet import Fleet
    from cilium_analysis.fleet.file import Cluster

#: Where a pod has the keys of its Secret.
SECRETS = "/etc/cilium-analysis/secrets"
_FILES = ("bearer_token_file", "password_file", "client_cert", "client_key", "ca_file")
_VARIABLES = ("bearer_token_env", "password_env")
_KEY = re.compile(r"[\w.-]{1,253}", re.ASCII)
_LIMIT = re.compile(r"([1-9]\d{0,5})([MG]i)B", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class FleetPlan(Routine):
    """A schedule of reports on a fleet.

    Parameters
    ----------
    file
        Of the fleet, on this machine.
    workers, memory_limit
        Reports at a time, and what each may use, as ``2GiB``.
    """

    file: Path
    workers: int = 2
    memory_limit: str = "2GiB"

    def __post_init__(self) -> None:
        checks.one_line(str(self.file), "--fleet")
        if not self.fleet.span.last:
            raise ParameterError(
                f"{self.fleet.span.place}: a schedule would report on the same time again and"
                " again: write `window: {last: …}`"
            )
        if not _LIMIT.fullmatch(self.memory_limit):
            raise ParameterError(
                f"--memory-limit {self.memory_limit!r} is not an amount: write it as 512MiB or 2GiB"
            )

    @property
    def fleet(self) -> Fleet:
        """The fleet, as its file says."""
        return read_fleet(self.file)

    @property
    def source(self) -> str:
        """What is reported on, for people."""
        return f"the clusters in {self.file.name}"

    @property
    def sources(self) -> tuple[str, ...]:
        """All that is reported on."""
        return tuple(cluster.source for cluster in self.fleet.clusters)

    @property
    def window(self) -> str:
        """Length of the window of each run."""
        return self.fleet.span.last

    @property
    def kubernetes(self) -> str:
        """``in-cluster`` if a cluster of the fleet is the one that the run is in."""
        found = {cluster.kubernetes for cluster in self.fleet.clusters}
        return "in-cluster" if "in-cluster" in found else ""

    @property
    def topics(self) -> tuple[str, ...]:
        """None: each cluster has its own."""
        return ()

    @property
    def summary(self) -> str:
        """What it does, in words."""
        clusters = counted(len(self.fleet.clusters), "cluster")
        return f"report on the last {self.window} of {self.source} {self.timing.often}: {clusters}"

    @property
    def memory(self) -> str:
        """What all workers use at most, and the command beside them, as Kubernetes writes it."""
        number, unit = _LIMIT.fullmatch(self.memory_limit).groups()  # type: ignore[union-attr]
        each = int(number) * (1024 if unit == "Gi" else 1)
        return f"{self.workers * each + 512}Mi"

    def arguments(self, *, output: str, file: str = "") -> list[str]:
        """Give the command line of a run, after the name of the program.

        Parameters
        ----------
        output
            Directory of all runs.
        file
            Path of the fleet file where it runs; that of this machine if empty.
        """
        words = self._words(
            output=output, workers=str(self.workers), memory_limit=self.memory_limit
        )
        return ["fleet", file or str(self.file.absolute()), *words]


def check_machine(plan: FleetPlan, *, home: bool) -> None:
    """Check that a scheduled run on this machine can find the credentials of a fleet.

    Parameters
    ----------
    plan
        Of the fleet.
    home
        Whether the run has the home of a person, and so perhaps a kubeconfig.

    Raises
    ------
    ParameterError
        If it cannot.
    """
    for cluster in plan.fleet.clusters:
        for name in _VARIABLES:
            if getattr(cluster.credentials, name):
                instead = name.replace("_env", "_file")
                raise ParameterError(
                    f"{cluster.place}: scheduled runs get nothing from your environment:"
                    f" write {instead} in place of {name}"
                )
        if cluster.kubernetes == "in-cluster":
            raise ParameterError(f"{cluster.place}: in-cluster works only in a pod: name a context")
        found = found_by_api(cluster.source)
        lacking = (cluster.kubernetes and not cluster.kubeconfig, found and not found.kubeconfig)
        if any(lacking) and not home:
            how = "kubeconfig: /…" if lacking[0] else "?kubeconfig=/… in the source"
            raise ParameterError(
                f"{cluster.place}: a service has no kubeconfig of its own: name one, as {how}"
            )


@dataclass(frozen=True)
class InPod:
    """What a pod needs to report on a fleet.

    Parameters
    ----------
    name, text
        Of the fleet file, and what is in it: it holds no credentials.
    keys
        Keys of the Secret that become files.
    variables
        Environment variables that come from keys of the Secret of the same name.
    """

    name: str
    text: str
    keys: tuple[str, ...]
    variables: tuple[str, ...]


def in_pod(plan: FleetPlan, *, secret: bool) -> InPod:
    """Give what a pod needs to report on a fleet.

    Parameters
    ----------
    plan
        Of the fleet.
    secret
        Whether there is a Secret for the pod.

    Raises
    ------
    ParameterError
        If the fleet names what a pod cannot have.
    """
    clusters = plan.fleet.clusters
    keys = sorted({key for cluster in clusters for key in _keys(cluster)})
    named = {getattr(cluster.credentials, name) for cluster in clusters for name in _VARIABLES}
    variables = sorted(named - {""})
    if (keys or variables) and not secret:
        needed = ", ".join([*keys, *variables])
        raise ParameterError(f"the fleet names credentials: give --secret NAME, which has {needed}")
    text = plan.file.read_text(encoding="utf-8-sig")
    return InPod(f"{plan.fleet.name}.yaml", text, tuple(keys), tuple(variables))


def _keys(cluster: Cluster) -> Iterator[str]:
    """Give the keys whose files a cluster names; refuse files that no volume has."""
    if not is_url(cluster.source) and cluster.source not in SAMPLES:
        raise ParameterError(f"{cluster.place}: a pod cannot see the bundle {cluster.source}")
    if cluster.kubernetes not in ("", "in-cluster") and not cluster.kubeconfig:
        raise ParameterError(
            f"{cluster.place}: a pod has no kubeconfig: name one in {SECRETS}, or in-cluster"
        )
    found = found_by_api(cluster.source)
    of_source = found.kubeconfig if found else ""
    if not of_source and (why := unfit_for_pod(cluster.source, signs=cluster.credentials.signs)):
        raise ParameterError(f"{cluster.place}: {why}")
    files = {name: getattr(cluster.credentials, name) for name in _FILES}
    files |= {"kubeconfig": cluster.kubeconfig, "kubeconfig of the source": of_source}
    for name, path in files.items():
        folder, _, key = path.rpartition("/")
        if path and (folder != SECRETS or not _KEY.fullmatch(key) or key.startswith("..")):
            raise ParameterError(
                f"{cluster.place}: {name} is in no volume of the pod: write it as {SECRETS}/KEY,"
                " with a key of the Secret"
            )
        if path:
            yield key
