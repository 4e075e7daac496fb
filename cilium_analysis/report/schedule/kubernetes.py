"""A CronJob for Kubernetes, and what it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from cilium_analysis.errors import ParameterError
from cilium_analysis.kube import cluster_role
from cilium_analysis.objectstore.address import EXTRAS
from cilium_analysis.report.schedule import checks
from cilium_analysis.report.schedule.credentials import (
    NOTIFY,
    TENANT_VARIABLE,
    USERNAME,
    USERNAME_VARIABLE,
    check_keys,
)
from cilium_analysis.report.schedule.fleets import SECRETS, FleetPlan, InPod, in_pod
from cilium_analysis.report.schedule.plan import DEADLINE
from cilium_analysis.report.schedule.quoting import for_container

if TYPE_CHECKING:
    from cilium_analysis.report.schedule.cronjob import CronJob, Manifest
    from cilium_analysis.report.schedule.plan import Plan

_HOME = "/home/cilium-analysis"
_FLEET = "/etc/cilium-analysis/fleet"
_CONTAINER = "report"
#: As in the Containerfile. Any number will do, but root's.
_USER = 10001
#: Usage errors and findings: running again would not change them.
_FINAL = [2, 10, 20, 30]


def manifests(plan: Plan | FleetPlan, job: CronJob) -> str:
    """Give the manifests as YAML, for ``kubectl apply``.

    Parameters
    ----------
    plan
        What to run, and when.
    job
        How the CronJob is set up.

    Raises
    ------
    ParameterError
        If the plan is none for a pod.
    """
    if plan.kubernetes not in ("", "in-cluster"):
        raise ParameterError(
            "a pod has no kubeconfig: write --kubernetes in-cluster, or leave it out"
        )
    keys = job.secret.keys if job.secret else ()
    if plan.username and USERNAME in keys:
        raise ParameterError("the user name is given twice: leave out --username")
    check_keys(keys, username=bool(plan.username) or USERNAME in keys)
    plan.check_whom(NOTIFY in keys, hint="add the key notify to --secret, as NAME:token,notify")
    if isinstance(plan, FleetPlan):
        job = replace(job, fleet=in_pod(plan, secret=job.secret is not None))
    parts = [] if job.service_account else [_yaml(_service_account(job))]
    parts += [_yaml(_config_map(job, job.fleet))] if job.fleet else []
    if plan.kubernetes:
        parts += [cluster_role(), _yaml(_cluster_role_binding(job))]
    parts += [] if job.claim or job.store else [_yaml(_claim(job))]
    parts += [_yaml(_cron_job(plan, job))]
    return _head(plan, job) + "".join(f"---\n{part}" for part in parts)


def _head(plan: Plan | FleetPlan, job: CronJob) -> str:
    where = f"--namespace {job.namespace}"
    secret = f"# The Secret {job.secret.name} has to be there.\n" if job.secret else ""
    if job.secret and NOTIFY in job.secret.keys:
        secret += "# Its key notify holds the addresses of services to notify, one per line.\n"
    return (
        f"# cilium-analysis: {plan.summary}\n"
        "#\n"
        "# The image is built in a checkout, and pushed to where the cluster finds it:\n"
        f"#   podman build --tag {job.image} --file Containerfile .\n"
        f"# The namespace {job.namespace} has to be there. Then:\n"
        "#   kubectl apply --filename THIS_FILE\n"
        f"#   kubectl {where} create job --from=cronjob/{job.name} {job.name}-now\n"
        f"#   kubectl {where} logs --follow job/{job.name}-now\n"
        f"# {_where(job)}\n"
        f"{secret}"
    )


def _where(job: CronJob) -> str:
    if not job.store:
        return f"Reports are in the claim {_claim_name(job)}; show it with any web server."
    if job.service_account:
        return f"Reports are in {job.store}, which {job.service_account} may list, read and write."
    return (
        f"Reports are in {job.store}: --secret NAME:aws-credentials, or a --service-account that"
        " may list, read and write there."
    )


def _config_map(job: CronJob, fleet: InPod) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": job.meta | {"name": f"{job.name}-fleet"},
        "data": {fleet.name: fleet.text},
    }


def _service_account(job: CronJob) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": job.meta,
        "automountServiceAccountToken": False,
    }


def _cluster_role_binding(job: CronJob) -> Manifest:
    role = yaml.safe_load(cluster_role())
    subject = {"kind": "ServiceAccount", "name": job.account, "namespace": job.namespace}
    group = str(role["apiVersion"]).partition("/")[0]
    return {
        "apiVersion": role["apiVersion"],
        "kind": "ClusterRoleBinding",
        # No namespace parts the bindings of two schedules, so their names have to.
        "metadata": {"name": f"{job.namespace}-{job.name}", "labels": job.labels},
        "roleRef": {"apiGroup": group, "kind": role["kind"], "name": role["metadata"]["name"]},
        "subjects": [subject],
    }


def _claim_name(job: CronJob) -> str:
    return job.claim or f"{job.name}-reports"


def _claim(job: CronJob) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": job.meta | {"name": _claim_name(job)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": job.volume_size}},
        },
    }


def _cron_job(plan: Plan | FleetPlan, job: CronJob) -> Manifest:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": job.meta,
        "spec": {
            "schedule": plan.timing.cron,
            "timeZone": plan.timezone,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"metadata": {"labels": job.labels}, "spec": _job(plan, job)},
        },
    }


def _job(plan: Plan | FleetPlan, job: CronJob) -> Manifest:
    final = {"containerName": _CONTAINER, "operator": "In", "values": _FINAL}
    return {
        "backoffLimit": 2,
        "activeDeadlineSeconds": DEADLINE,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": final}]},
        "template": {"metadata": {"labels": _pod_labels(job)}, "spec": _pod(plan, job)},
    }


def _pod_labels(job: CronJob) -> dict[str, str]:
    """Give the labels of a pod; Azure hands its identity only to pods that ask for it."""
    azure = job.store is not None and EXTRAS[job.store.scheme] == "azure"
    wanted = azure and job.service_account
    return job.labels | ({"azure.workload.identity/use": "true"} if wanted else {})


def _pod(plan: Plan | FleetPlan, job: CronJob) -> Manifest:
    return {
        "serviceAccountName": job.account,
        "automountServiceAccountToken": bool(plan.kubernetes),
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
    return {
        "name": _CONTAINER,
        "image": job.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["cilium-analysis"],
        "args": [for_container(word) for word in _arguments(plan, job)],
        "env": _environment(plan, job),
        "resources": _resources(job),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(job),
    }


def _arguments(plan: Plan | FleetPlan, job: CronJob) -> list[str]:
    if isinstance(plan, FleetPlan) and job.fleet:
        return plan.arguments(output=job.output, file=f"{_FLEET}/{job.fleet.name}")
    return plan.arguments(output=job.output)


def _resources(job: CronJob) -> Manifest:
    """Ask for all the memory, as a run out of it is killed, and for half of the processor time."""
    half = max(1, int(checks.quantity(job.cpu, "--cpu") * 500))
    return {
        "requests": {"cpu": f"{half}m", "memory": job.memory},
        "limits": {"cpu": job.cpu, "memory": job.memory},
    }


def _environment(plan: Plan | FleetPlan, job: CronJob) -> list[Manifest]:
    """Give where to write, as the root is read-only, and where the credentials are."""
    values = {"HOME": _HOME, "MPLCONFIGDIR": f"{_HOME}/matplotlib"}
    files = job.secret.files if job.secret else {}
    values |= {variable: f"{SECRETS}/{key}" for key, variable in files.items()}
    values |= {USERNAME_VARIABLE: plan.username, TENANT_VARIABLE: plan.tenant}
    found: list[Manifest] = [
        {"name": name, "value": for_container(value)} for name, value in values.items() if value
    ]
    if job.secret and USERNAME in job.secret.keys:
        key = {"name": job.secret.name, "key": USERNAME}
        found.append({"name": USERNAME_VARIABLE, "valueFrom": {"secretKeyRef": key}})
    if job.secret and job.fleet:
        for name in job.fleet.variables:
            key = {"name": job.secret.name, "key": name}
            found.append({"name": name, "valueFrom": {"secretKeyRef": key}})
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
        {"name": "reports", "persistentVolumeClaim": {"claimName": _claim_name(job)}},
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
