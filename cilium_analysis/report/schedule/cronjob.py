"""How a CronJob is set up: what may be chosen of it, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cilium_analysis import __version__
from cilium_analysis.errors import ParameterError
from cilium_analysis.objectstore import Address, located
from cilium_analysis.report.schedule import checks

if TYPE_CHECKING:
    from cilium_analysis.report.schedule.credentials import Secret
    from cilium_analysis.report.schedule.fleets import InPod

Manifest = dict[str, Any]

IMAGE = f"cilium-analysis:{__version__}"
REPORTS = "/reports"
#: What the image or the pod has there, a volume would hide.
_TAKEN = tuple(
    f"/{top}/"
    for top in (
        "bin",
        "dev",
        "etc",
        "home",
        "lib",
        "opt",
        "proc",
        "run",
        "sys",
        "tmp",
        "usr",
        "var",
    )
)
# CronJobs append a time of 11 characters to their name.
_LONGEST_NAME = 52


@dataclass(frozen=True, kw_only=True)
class CronJob:
    """How the CronJob is set up.

    Parameters
    ----------
    name, namespace
        Of everything; the namespace has to be there.
    image
        Made from the Containerfile.
    secret
        Where the credentials are.
    claim
        A PersistentVolumeClaim that is there, for the reports; empty makes one.
    volume_size
        Of the claim to make.
    output
        Where the claim is mounted, or an address in an object store, which needs no claim.
    service_account
        One that is there, which may write to the store; empty makes one.
    cpu, memory
        What a run may use at most.
    fleet
        What a fleet needs, as of `cilium_analysis.report.schedule.fleets.in_pod`.

    Raises
    ------
    ParameterError
        If anything in it cannot be.
    """

    name: str = "cilium-analysis"
    namespace: str = "monitoring"
    image: str = IMAGE
    secret: Secret | None = None
    claim: str = ""
    volume_size: str = "10Gi"
    output: str = REPORTS
    service_account: str = ""
    cpu: str = "2"
    memory: str = "2Gi"
    fleet: InPod | None = None

    def __post_init__(self) -> None:
        checks.name(self.name, "--name", longest=_LONGEST_NAME)
        checks.name(self.namespace, "--namespace")
        checks.image(self.image)
        if self.claim:
            checks.dotted_name(self.claim, "--claim")
        checks.memory(self.volume_size, "--volume-size")
        checks.memory(self.memory, "--memory")
        if checks.quantity(self.cpu, "--cpu") * 1000 < 1:
            raise ParameterError(f"--cpu {self.cpu!r} is too little: write it as 2 or 500m")
        if self.service_account:
            checks.dotted_name(self.service_account, "--service-account")
        if self.store:
            if self.claim:
                raise ParameterError("reports in an object store need no volume: leave out --claim")
            return
        checks.file(self.output, "--output")
        if f"{self.output}/".startswith(_TAKEN):
            raise ParameterError(
                f"--output {self.output!r} is taken in the container: use /reports"
            )

    @property
    def store(self) -> Address | None:
        """The object store that reports go to; None if they go to a volume."""
        where = located(self.output)
        return where if isinstance(where, Address) else None

    @property
    def account(self) -> str:
        """Name of the ServiceAccount."""
        return self.service_account or self.name

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the Secret that are files in the pod."""
        own = self.secret.files if self.secret else {}
        return (*own, *(self.fleet.keys if self.fleet else ()))

    @property
    def meta(self) -> Manifest:
        """Name, namespace and labels."""
        return {"name": self.name, "namespace": self.namespace, "labels": self.labels}

    @property
    def labels(self) -> dict[str, str]:
        """The labels that Kubernetes recommends."""
        return {
            "app.kubernetes.io/name": "cilium-analysis",
            "app.kubernetes.io/instance": self.name,
        }
