"""Schedules: the report command for cron, systemd or Kubernetes, as text that works as it is.

A `Plan` says what to report on and how often; each platform writes it in its own language, with
the quoting that it needs. Credentials are named, never written: as files, or keys of a Secret.
"""

from cilium_analysis.report.schedule.credentials import Credential, Secret
from cilium_analysis.report.schedule.cron import crontab
from cilium_analysis.report.schedule.cronjob import CronJob
from cilium_analysis.report.schedule.fleets import FleetPlan
from cilium_analysis.report.schedule.kubernetes import manifests
from cilium_analysis.report.schedule.plan import Plan
from cilium_analysis.report.schedule.systemd import Service, units
from cilium_analysis.report.schedule.times import Timing

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
