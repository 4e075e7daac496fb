"""What a scheduled run reports on, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilium_analysis.capture import check_topics
from cilium_analysis.errors import ParameterError
from cilium_analysis.queries import parse_matchers
from cilium_analysis.report import notify
from cilium_analysis.report.schedule import checks
from cilium_analysis.report.schedule.credentials import KUBECONFIG, NOTIFY, check_keys
from cilium_analysis.window import Window, format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from cilium_analysis.report.schedule.credentials import Credential
    from cilium_analysis.report.schedule.fleets import FleetPlan
    from cilium_analysis.report.schedule.times import Timing

#: Longest that a run may take [s]: one that hangs must not keep the next from starting.
DEADLINE = 3600
_DEFAULT_WINDOW = "1h"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A report to make again and again.

    Parameters
    ----------
    source
        URL of a server.
    timing
        When.
    window
        Length of what each report looks at, up to the moment it is made; empty is as long as
        the interval, so that the reports leave nothing out, or else an hour.
    topics
        Names of notebooks; none means all.
    baseline, step, match, timezone
        As for `cilium_analysis.question.ask`.
    fail_on
        ``warning`` or ``critical``; empty if findings are no failure.
    jobs
        Notebooks to run at a time; 0 leaves it to the command.
    kubernetes, cilium_namespace
        As for `cilium_analysis.question.ask`.
    username, tenant
        To sign in with, and to ask for. No secrets, so they are written out.
    pdf
        Whether each report is a PDF too.
    keep
        How long reports are kept; None is for ever.
    notify_on, link
        Least severity to notify of, and where the reports are served; empty leaves it to the
        command.

    Raises
    ------
    UsageError
        If anything in it cannot be.
    """

    source: str
    timing: Timing
    window: str = ""
    topics: tuple[str, ...] = ()
    baseline: str = ""
    step: str = ""
    match: str = ""
    timezone: str = "UTC"
    fail_on: str = ""
    jobs: int = 0
    kubernetes: str = ""
    cilium_namespace: str = "kube-system"
    username: str = ""
    tenant: str = ""
    pdf: bool = False
    keep: timedelta | None = None
    notify_on: str = ""
    link: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", checks.url(self.source))
        object.__setattr__(self, "window", self.window.strip() or self._default_window())
        for what in ("baseline", "step", "match", "kubernetes", "username", "tenant", "link"):
            checks.one_line(getattr(self, what), f"--{what}")
        checks.name(self.cilium_namespace, "--cilium-namespace")
        check_topics(self.topics)
        parse_matchers(self.match)
        self._check_times()

    def _default_window(self) -> str:
        interval = self.timing.interval
        return format_duration(interval) if interval else _DEFAULT_WINDOW

    def _check_times(self) -> None:
        """Ask now what each run will ask: it must not fail for the first time at night."""
        if not parse_duration(self.window):
            raise ParameterError("a window of zero has nothing to report on: write it as 1h")
        window = Window.parse(f"-{self.window}", "now", step=self.step, timezone=self.timezone)
        window.baseline(self.baseline or "previous")

    @property
    def gap(self) -> str:
        """Time between two reports that none of them looks at; empty if there is none."""
        return self.timing.gap(self.window)

    @property
    def summary(self) -> str:
        """What it does, in words."""
        topics = ", ".join(self.topics) or "all topics"
        return f"report on the last {self.window} of {self.source} {self.timing.often}: {topics}"

    def check_whom(self, whom: bool, *, hint: str) -> None:
        """Refuse to be told how to notify, but not whom.

        Parameters
        ----------
        whom
            Whether there is anybody to notify.
        hint
            How to name somebody.

        Raises
        ------
        ParameterError
            If it is so.
        """
        notify.check_whom(whom, notify_on=self.notify_on, link=self.link, hint=hint)

    def arguments(self, *, output: str) -> list[str]:
        """Give the command line of a run, behind the name of the program.

        Parameters
        ----------
        output
            Directory of all runs.
        """
        # With = in between, as no value can be taken for an option then.
        options = {
            "source": self.source,
            "start": f"-{self.window}",
            "end": "now",
            "baseline": self.baseline,
            "step": self.step,
            "timezone": self.timezone,
            "match": self.match,
            "kubernetes": self.kubernetes,
            "cilium-namespace": self.cilium_namespace if self.kubernetes else "",
            "output": output,
            "jobs": str(self.jobs or ""),
            "fail-on": self.fail_on,
            "keep": format_duration(self.keep) if self.keep else "",
            "notify-on": self.notify_on,
            "link": self.link,
        }
        given = [f"--{name}={value}" for name, value in options.items() if value]
        return ["report", *self.topics, *given, *(["--pdf"] if self.pdf else [])]


def check_files(plan: Plan | FleetPlan, credentials: Sequence[Credential], *, home: bool) -> None:
    """Refuse files, or a lack of them, with which a run on a machine could not do what is planned.

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
        If there are such.
    """
    keys = tuple(one.key for one in credentials)
    check_keys(keys, username=bool(plan.username))
    plan.check_whom(NOTIFY in keys, hint="add --notify file:/PATH")
    if plan.kubernetes == "in-cluster":
        raise ParameterError("this is for a machine, no pod: name a context, or current")
    if KUBECONFIG in keys and not plan.kubernetes:
        raise ParameterError("--kubeconfig needs a context: add --kubernetes current, or its name")
    if plan.kubernetes and KUBECONFIG not in keys and not home:
        raise ParameterError("a service has no kubeconfig of its own: add --kubeconfig FILE")
