"""A CronJob for Kubernetes, and what it needs: its settings, and the manifests made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from cilium_analysis import __version__
from cilium_analysis.errors import ParameterError
from cilium_analysis.kube import cluster_role
from cilium_analysis.schedule import checks
from cilium_analysis.schedule.clusters import rules, unfit_for_pod
from cilium_analysis.schedule.credentials import (
    NOTIFY,
    SIGNING,
    TENANT_VARIABLE,
    USERNAME,
    USERNAME_VARIABLE,
    check_keys,
)
from cilium_analysis.schedule.fleets import SECRETS, FleetPlan, InPod, in_pod
from cilium_analysis.schedule.plan import DEADLINE, Plan
from cilium_analysis.storage import Address, located
from cilium_analysis.storage.address import EXTRAS

if TYPE_CHECKING:
    from cilium_analysis.schedule.credentials import Secret

Manifest = dict[str, Any]

IMAGE = f"cilium-analysis:{__version__}"
REPORTS = "/reports"
_HOME = "/home/cilium-analysis"
_FLEET = "/etc/cilium-analysis/fleet"
_CONTAINER = "report"
#: As in the Containerfile. Any number will do, but root's.
_USER = 10001
#: Usage errors and findings: running again would not change them.
_FINAL = [2, 10, 20, 30]
#: Directories of the image or the pod, which a volume would hide.
_TAKEN = (
    *("/bin/", "/dev/", "/etc/", "/home/", "/lib/", "/opt/", "/proc/", "/run/", "/sys/"),
    *("/tmp/", "/usr/", "/var/"),  # noqa: S108
)
#: CronJobs append a time of 11 characters to their name.
_LONGEST_NAME = 52


@dataclass(frozen=True, kw_only=True)
class CronJob:
    """How the CronJob is set up.

    Parameters
    ----------
    name, namespace
        Of everything; the namespace has to exist.
    image
        Made from the Containerfile.
    secret
        Where the credentials are.
    claim
        An existing PersistentVolumeClaim for the reports; empty makes one.
    volume_size
        Of the claim to make.
    output
        Where the claim is mounted, or an address in an object store, which needs no claim.
    service_account
        An existing one, which may write to the store; empty makes one.
    cpu, memory
        What a run may use at most.
    fleet
        What a fleet needs, as of `cilium_analysis.schedule.fleets.in_pod`.
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
    def claim_name(self) -> str:
        """Name of the PersistentVolumeClaim."""
        return self.claim or f"{self.name}-reports"

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the Secret that are files in the pod."""
        own = self.secret.files if self.secret else {}
        return (*own, *(self.fleet.keys if self.fleet else ()))

    @property
    def labels(self) -> dict[str, str]:
        """The labels that Kubernetes recommends."""
        return {
            "app.kubernetes.io/name": "cilium-analysis",
            "app.kubernetes.io/instance": self.name,
        }

    def manifest(
        self, kind: str, *, version: str = "v1", name: str = "", **content: Any
    ) -> Manifest:
        """Give a manifest in the namespace, with the labels."""
        meta = {"name": name or self.name, "namespace": self.namespace, "labels": self.labels}
        return {"apiVersion": version, "kind": kind, "metadata": meta, **content}


def manifests(plan: Plan | FleetPlan, job: CronJob) -> str:
    """Give the manifests as YAML, for ``kubectl apply``.

    Parameters
    ----------
    plan
        What to run, and when.
    job
        How the CronJob is set up.
    """
    if plan.kubernetes not in ("", "in-cluster"):
        raise ParameterError(
            "a pod has no kubeconfig: write --kubernetes in-cluster, or leave it out"
        )
    keys = job.secret.keys if job.secret else ()
    signs = not SIGNING.isdisjoint(keys)
    if isinstance(plan, Plan) and (why := unfit_for_pod(plan.source, signs=signs)):
        raise ParameterError(why)
    if plan.username and USERNAME in keys:
        raise ParameterError("the user name is given twice: leave out --username")
    username = bool(plan.username) or USERNAME in keys
    check_keys(keys, username=username, annotate=plan.annotate)
    plan.check_receivers(
        NOTIFY in keys, hint="add the key notify to --secret, as NAME:token,notify"
    )
    if isinstance(plan, FleetPlan):
        job = replace(job, fleet=in_pod(plan, secret=job.secret is not None))
    parts = []
    if not job.service_account:
        parts.append(_yaml(job.manifest("ServiceAccount", automountServiceAccountToken=False)))
    if fleet := job.fleet:
        data = {fleet.name: fleet.text}
        parts.append(_yaml(job.manifest("ConfigMap", name=f"{job.name}-fleet", data=data)))
    if plan.kubernetes:
        role = yaml.safe_load(cluster_role())
        parts += [cluster_role(), _yaml(_cluster_role_binding(job, role))]
    if found_by := rules(plan.sources):
        role = _source_role(job, found_by)
        parts += [_yaml(role), _yaml(_cluster_role_binding(job, role, "-source"))]
    if not (job.claim or job.store):
        size = {"requests": {"storage": job.volume_size}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": size}
        parts.append(_yaml(job.manifest("PersistentVolumeClaim", name=job.claim_name, spec=spec)))
    parts.append(_yaml(_cron_job(plan, job)))
    return _head(plan, job) + "".join(f"---\n{part}" for part in parts)


def _head(plan: Plan | FleetPlan, job: CronJob) -> str:
    where = f"--namespace {job.namespace}"
    secret = f"# The Secret {job.secret.name} has to exist.\n" if job.secret else ""
    if job.secret and NOTIFY in job.secret.keys:
        secret += "# Its key notify holds the addresses of services to notify, one per line.\n"
    if not job.store:
        reports = f"the claim {job.claim_name}; show it with any web server."
    elif job.service_account:
        reports = f"{job.store}, which {job.service_account} may list, read and write."
    else:
        reports = (
            f"{job.store}: --secret NAME:aws-credentials, or a --service-account that"
            " may list, read and write there."
        )
    return (
        f"# cilium-analysis: {plan.summary}\n"
        "#\n"
        "# The image is built in a checkout, and pushed to where the cluster finds it:\n"
        f"#   podman build --tag {job.image} --file Containerfile .\n"
        f"# The namespace {job.namespace} has to exist. Then:\n"
        "#   kubectl apply --filename THIS_FILE\n"
        f"#   kubectl {where} create job --from=cronjob/{job.name} {job.name}-now\n"
        f"#   kubectl {where} logs --follow job/{job.name}-now\n"
        f"# Reports are in {reports}\n"
        f"{secret}"
    )


def _source_role(job: CronJob, found_by: list[Manifest]) -> Manifest:
    """Give the right to find the Prometheus, which is of one schedule only."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"{job.namespace}-{job.name}-source", "labels": job.labels},
        "rules": found_by,
    }


def _cluster_role_binding(job: CronJob, role: Manifest, suffix: str = "") -> Manifest:
    subject = {"kind": "ServiceAccount", "name": job.account, "namespace": job.namespace}
    group = str(role["apiVersion"]).partition("/")[0]
    return {
        "apiVersion": role["apiVersion"],
        "kind": "ClusterRoleBinding",
        # It has no namespace, so its name has to tell the bindings of two schedules apart.
        "metadata": {"name": f"{job.namespace}-{job.name}{suffix}", "labels": job.labels},
        "roleRef": {"apiGroup": group, "kind": role["kind"], "name": role["metadata"]["name"]},
        "subjects": [subject],
    }


def _cron_job(plan: Plan | FleetPlan, job: CronJob) -> Manifest:
    final = {"containerName": _CONTAINER, "operator": "In", "values": _FINAL}
    # Azure hands its identity only to pods that ask for it.
    azure = job.store is not None and EXTRAS[job.store.scheme] == "azure" and job.service_account
    pod_labels = job.labels | ({"azure.workload.identity/use": "true"} if azure else {})
    one_run = {
        "backoffLimit": 2,
        "activeDeadlineSeconds": DEADLINE,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": final}]},
        "template": {"metadata": {"labels": pod_labels}, "spec": _pod(plan, job)},
    }
    spec = {
        "schedule": plan.timing.cron,
        "timeZone": plan.timezone,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 600,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"metadata": {"labels": job.labels}, "spec": one_run},
    }
    return job.manifest("CronJob", version="batch/v1", spec=spec)


def _pod(plan: Plan | FleetPlan, job: CronJob) -> Manifest:
    return {
        "serviceAccountName": job.account,
        "automountServiceAccountToken": bool(plan.kubernetes or rules(plan.sources)),
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(plan, job)],
        "volumes": _volumes(job),
    }


def _container(plan: Plan | FleetPlan, job: CronJob) -> Manifest:
    if isinstance(plan, FleetPlan) and job.fleet:
        words = plan.arguments(output=job.output, file=f"{_FLEET}/{job.fleet.name}")
    else:
        words = plan.arguments(output=job.output)
    return {
        "name": _CONTAINER,
        "image": job.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["cilium-analysis"],
        "args": [_escaped(word) for word in words],
        "env": _environment(plan, job),
        # All the memory, as a run that has too little is killed, and half of the processor time.
        "resources": {
            "requests": {
                "cpu": f"{max(1, int(checks.quantity(job.cpu, '--cpu') * 500))}m",
                "memory": job.memory,
            },
            "limits": {"cpu": job.cpu, "memory": job.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(job),
    }


def _environment(plan: Plan | FleetPlan, job: CronJob) -> list[Manifest]:
    """Give where to write, as the root is read-only, and where the credentials are."""
    values = {"HOME": _HOME, "MPLCONFIGDIR": f"{_HOME}/matplotlib"}
    files = job.secret.files if job.secret else {}
    values |= {variable: f"{SECRETS}/{key}" for key, variable in files.items()}
    values |= {USERNAME_VARIABLE: plan.username, TENANT_VARIABLE: plan.tenant}
    found: list[Manifest] = [
        {"name": name, "value": _escaped(value)} for name, value in values.items() if value
    ]
    if job.secret:
        keys = {USERNAME_VARIABLE: USERNAME} if USERNAME in job.secret.keys else {}
        keys |= {name: name for name in job.fleet.variables} if job.fleet else {}
        for name, key in keys.items():
            reference = {"name": job.secret.name, "key": key}
            found.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
    return found


def _mounts(job: CronJob) -> list[Manifest]:
    places = {"reports": job.output, "home": _HOME, "tmp": "/tmp"}  # noqa: S108
    if job.store:  # reports are made in /tmp
        del places["reports"]
    mounts: list[Manifest] = [{"name": name, "mountPath": path} for name, path in places.items()]
    if job.keys:
        mounts.append({"name": "secrets", "mountPath": SECRETS, "readOnly": True})
    if job.fleet:
        mounts.append({"name": "fleet", "mountPath": _FLEET, "readOnly": True})
    return mounts


def _volumes(job: CronJob) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "reports", "persistentVolumeClaim": {"claimName": job.claim_name}},
        {"name": "home", "emptyDir": {"sizeLimit": "256Mi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi" if job.store else "1Gi"}},
    ]
    if job.store:
        del volumes[0]
    if job.fleet:
        volumes.append({"name": "fleet", "configMap": {"name": f"{job.name}-fleet"}})
    if job.secret and job.keys:
        items = [{"key": key, "path": key} for key in job.keys]
        secret = {"secretName": job.secret.name, "defaultMode": 0o440, "items": items}
        volumes.append({"name": "secrets", "secret": secret})
    return volumes


def _escaped(text: str) -> str:
    """Write an argument or variable of a container, where Kubernetes expands ``$(NAME)``.

    It reads ``$$`` as one dollar sign wherever that stands.
    """
    return text.replace("$", "$$")


class _Dumper(yaml.SafeDumper):
    """Quotes what another reader of YAML could take for a number, as Go's does ``1e3``."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write out what occurs twice."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if "\n" in value:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|")
    style = None if value[:1].isalpha() or value[:1] == "/" else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _yaml(manifest: Manifest) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
