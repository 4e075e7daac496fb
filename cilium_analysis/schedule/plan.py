"""Plans: what a scheduled run reports on, and how often. For one server; `fleets` has fleets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_analysis.capture import check_topics, check_workloads
from cilium_analysis.errors import ParameterError
from cilium_analysis.queries import parse_matchers
from cilium_analysis.report.grafana import Annotations, Explore
from cilium_analysis.report.notify import check_receivers
from cilium_analysis.schedule import checks
from cilium_analysis.schedule.clusters import found_by_api
from cilium_analysis.schedule.credentials import KUBECONFIG, NOTIFY, check_keys
from cilium_analysis.times import format_duration, parse_duration
from cilium_analysis.topics.workloads import Workloads
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from cilium_analysis.schedule.credentials import Credential
    from cilium_analysis.schedule.fleets import FleetPlan
    from cilium_analysis.schedule.times import Timing

#: Longest that a run may take [s]: one that hangs must not keep the next from starting.
DEADLINE = 3600
_DEFAULT_WINDOW = "1h"


@dataclass(frozen=True, kw_only=True)
class Routine:
    """What a schedule has, whether it is for one server or for a fleet.

    Parameters
    ----------
    timing
        When it runs.
    timezone
        Of the timing, and of the times on pages.
    fail_on
        ``warning`` or ``critical``; empty if findings are no failure.
    keep
        How long reports are kept; None keeps all.
    pdf
        Whether each report is a PDF too.
    notify_on, link
        Least severity to notify of, and where the reports are served; empty leaves it to the
        command.
    username, tenant
        To sign in with, and to ask for. They are no secrets, so they are written out.
    annotate
        Grafana that gets the findings of one server as annotations.
    """

    timing: Timing
    timezone: str = "UTC"
    fail_on: str = ""
    keep: timedelta | None = None
    pdf: bool = False
    notify_on: str = ""
    link: str = ""
    username: str = ""
    tenant: str = ""
    annotate: str = ""

    def check_receivers(self, receivers: bool, *, hint: str) -> None:
        """As of `cilium_analysis.report.notify.check_receivers`; a Grafana is such a service."""
        receivers = receivers or bool(self.annotate)
        check_receivers(receivers, notify_on=self.notify_on, link=self.link, hint=hint)

    def _words(self, **options: str) -> list[str]:
        """Write options, those of every schedule behind them, as words of a command line."""
        options |= {
            "fail_on": self.fail_on,
            "keep": format_duration(self.keep) if self.keep else "",
            "notify_on": self.notify_on,
            "link": self.link,
        }
        # With = in between, as no value can be taken for an option then.
        given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value]
        return [*given, *(["--pdf"] if self.pdf else [])]


@dataclass(frozen=True, kw_only=True)
class Plan(Routine):
    """A schedule of reports on one server.

    Parameters
    ----------
    source
        URL of the server.
    window
        Length of the window of each report, which ends when the report is made. Empty is as long
        as the interval, so that the reports leave nothing out, or an hour if there is none.
    topics
        Names of notebooks; none means all.
    baseline, step, match
        As for `cilium_analysis.question.ask`.
    jobs
        Notebooks to run at a time; 0 leaves it to the command.
    kubernetes, cilium_namespace, workloads
        As for `cilium_analysis.question.ask`.
    textfile
        File that a node exporter's textfile collector reads, for the metrics of each report.
    grafana
        Grafana that pages link to.
    """

    source: str
    window: str = ""
    topics: tuple[str, ...] = ()
    baseline: str = ""
    step: str = ""
    match: str = ""
    jobs: int = 0
    kubernetes: str = ""
    cilium_namespace: str = "kube-system"
    workloads: str = ""
    textfile: str = ""
    grafana: str = ""

    def __post_init__(self) -> None:
        interval = self.timing.interval
        default = format_duration(interval) if interval else _DEFAULT_WINDOW
        object.__setattr__(self, "source", checks.url(self.source))
        object.__setattr__(self, "window", self.window.strip() or default)
        texts = ("baseline", "step", "match", "kubernetes", "username", "tenant", "link")
        for what in (*texts, "grafana", "annotate"):
            checks.one_line(getattr(self, what), f"--{what}")
        if self.textfile:
            checks.textfile(self.textfile)
        if self.grafana:
            Explore.parse(self.grafana)
        if self.annotate:
            Annotations.address(self.annotate)
        checks.name(self.cilium_namespace, "--cilium-namespace")
        check_topics(self.topics)
        parse_matchers(self.match)
        check_workloads(self.topics, self.workloads)
        # What each run will ask is checked now: it must not fail for the first time at night.
        if not parse_duration(self.window):
            raise ParameterError("a window of zero has nothing to report on: write it as 1h")
        window = Window.parse(f"-{self.window}", "now", step=self.step, timezone=self.timezone)
        window.baseline(self.baseline or "previous")

    @property
    def sources(self) -> tuple[str, ...]:
        """All that is reported on."""
        return (self.source,)

    @property
    def summary(self) -> str:
        """What it does, in words."""
        topics = ", ".join(self.topics) or "all topics"
        return f"report on the last {self.window} of {self.source} {self.timing.often}: {topics}"

    def arguments(self, *, output: str) -> list[str]:
        """Give the command line of a run, after the name of the program.

        Parameters
        ----------
        output
            Directory of all runs.
        """
        narrowed = {}
        if self.workloads:
            asked = Workloads.parse(self.workloads)
            ends = {"from": asked.source, "to": asked.destination}
            narrowed = ends if asked.destination else {"workload": asked.source}
        words = self._words(
            source=self.source,
            start=f"-{self.window}",
            end="now",
            baseline=self.baseline,
            step=self.step,
            timezone=self.timezone,
            match=self.match,
            kubernetes=self.kubernetes,
            cilium_namespace=self.cilium_namespace if self.kubernetes else "",
            **narrowed,
            output=output,
            jobs=str(self.jobs or ""),
            textfile=self.textfile,
            grafana=self.grafana,
            annotate=self.annotate,
        )
        return ["report", *self.topics, *words]


def check_files(plan: Plan | FleetPlan, credentials: Sequence[Credential], *, home: bool) -> None:
    """Check that a run on a machine has the files that it needs.

    Parameters
    ----------
    plan
        What to run.
    credentials
        Files to read credentials from.
    home
        Whether the run has the home of a person, and so perhaps a kubeconfig.

    Raises
    ------
    ParameterError
        If files are missing, or do not go together.
    """
    keys = tuple(one.key for one in credentials)
    check_keys(keys, username=bool(plan.username), annotate=plan.annotate)
    plan.check_receivers(NOTIFY in keys, hint="add --notify file:/PATH")
    if plan.kubernetes == "in-cluster":
        raise ParameterError("in-cluster works only in a pod: name a context, or current")
    found = found_by_api(plan.source)
    if KUBECONFIG in keys and not (plan.kubernetes or found):
        raise ParameterError("--kubeconfig needs a context: add --kubernetes current, or its name")
    if home:
        return
    if found and found.kubeconfig:
        raise ParameterError("a service cannot read your files: give --kubeconfig, not kubeconfig=")
    if (plan.kubernetes or found) and KUBECONFIG not in keys:
        raise ParameterError("a service has no kubeconfig of its own: add --kubeconfig FILE")
