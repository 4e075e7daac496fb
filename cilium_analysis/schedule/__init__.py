"""Schedules: the report command for cron, systemd or Kubernetes, as text that works as it is.

A `Plan` says what to report on and how often. Each platform has a function that writes it, with
the quoting that the platform needs. Credentials are named, as files or keys of a Secret, and never
written. Whatever is not valid raises a `UsageError` that names the option.
"""

from cilium_analysis.schedule.credentials import Credential, Secret
from cilium_analysis.schedule.cron import crontab
from cilium_analysis.schedule.fleets import FleetPlan
from cilium_analysis.schedule.kubernetes import CronJob, manifests
from cilium_analysis.schedule.plan import Plan
from cilium_analysis.schedule.systemd import Service, units
from cilium_analysis.schedule.times import Timing

__all__ = [
    "Credential",
    "CronJob",
    "FleetPlan",
    "Plan",
    "Secret",
    "Service",
    "Timing",
    "crontab",
    "manifests",
    "units",
]
