"""A service and a timer for systemd, quoted as it reads its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cilium_analysis.errors import ParameterError
from cilium_analysis.schedule import checks
from cilium_analysis.schedule.credentials import TENANT_VARIABLE, USERNAME_VARIABLE
from cilium_analysis.schedule.fleets import FleetPlan
from cilium_analysis.schedule.plan import DEADLINE, Plan, check_files
from cilium_analysis.storage import Address, located

if TYPE_CHECKING:
    from cilium_analysis.schedule.credentials import Credential

_UNITS = "/etc/systemd/system"
_STATE = "/var/lib/"
_FOR_A_FLEET = """\
# The user of the service reads the fleet file and the files that it names: see --user.
#
"""
_PLAIN = re.compile(r"[\w./:@,=+-]+", re.ASCII)
_HOMES = ("/home/", "/root/", "/run/user/")
# A run only reads from the network and writes its state.
_SANDBOX = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0027
"""


@dataclass(frozen=True, kw_only=True)
class Service:
    """How the units are set up.

    Parameters
    ----------
    name
        Of both units.
    program
        Path of the command, which any user can run.
    output
        Directory of all runs, below ``/var/lib``; empty is that of the name.
    user
        Owner of the reports; empty is a user of the service's own, whose files only root can read.
    credentials
        Files to read credentials from. systemd reads them as root.

    Raises
    ------
    ParameterError
        If anything in it cannot be.
    """

    program: str
    name: str = "cilium-analysis"
    output: str = ""
    user: str = ""
    credentials: tuple[Credential, ...] = ()

    def __post_init__(self) -> None:
        checks.name(self.name, "--name")
        checks.one_line(self.program, "--program")
        if not self.program.startswith("/") or re.search(r"[$\\\"']", self.program):
            hint = "it has to be absolute, without quotes, backslashes and dollar signs"
            raise ParameterError(f"--program {self.program!r} is no path for a unit: {hint}")
        if self.user:
            checks.user(self.user)
        object.__setattr__(self, "output", self.output.rstrip("/") or f"{_STATE}{self.name}")
        if isinstance(located(self.output), Address):
            return
        checks.file(self.output, "--output")
        if not self.state or self.state.startswith("private/"):
            hint = f"use {_STATE}{self.name}"
            raise ParameterError(f"--output {self.output!r} is not where services write: {hint}")

    @property
    def state(self) -> str:
        """The output as systemd names it; empty if it is elsewhere, as in an object store."""
        return self.output.removeprefix(_STATE) if self.output.startswith(_STATE) else ""

    @property
    def in_a_home(self) -> bool:
        """Whether the program is where other users cannot read, as a rule."""
        return self.program.startswith(_HOMES)


def units(plan: Plan | FleetPlan, service: Service) -> str:
    """Give both units as one text.

    Parameters
    ----------
    plan
        What to run, and when.
    service
        How the units are set up.

    Raises
    ------
    ParameterError
        If the credentials do not go together, or the plan is none for a service.
    """
    check_files(plan, service.credentials, home=False)
    name, readers = service.name, service.user or "root"
    failing = " A finding makes the unit fail: OnFailure= can tell someone.\n#" * bool(plan.fail_on)
    return (
        f"# cilium-analysis: {plan.summary}\n"
        f"#{failing} Reports, for {readers} to read: {service.output}/index.html\n"
        "#\n"
        f"{_FOR_A_FLEET * isinstance(plan, FleetPlan)}"
        "# Put each part into the file that it names, then:\n"
        f"#   systemctl daemon-reload && systemctl enable --now {name}.timer\n"
        f"#   systemctl start {name}.service    # one report now\n"
        f"#   journalctl --unit {name}.service  # what was found\n"
        "\n"
        f"# {_UNITS}/{name}.service\n{_service(plan, service)}\n"
        f"# {_UNITS}/{name}.timer\n{_timer(plan, service)}"
    )


def _service(plan: Plan | FleetPlan, service: Service) -> str:
    arguments = [
        _setting(word.replace("$", "$$")) for word in plan.arguments(output=service.output)
    ]
    first = 1 + len(plan.topics)
    start = " ".join([_setting(service.program), *arguments[:first]])
    command = " \\\n    ".join([start, *arguments[first:]])
    return (
        "[Unit]\n"
        f"Description={_escaped(f'Report on Cilium, the last {plan.window}')}\n"
        "Wants=network-online.target\n"
        "After=network-online.target\n"
        "\n"
        "[Service]\n"
        "Type=oneshot\n"
        f"ExecStart={command}\n"
        f"TimeoutStartSec={DEADLINE}\n"
        "Nice=10\n"
        f"{_files(plan, service)}"
        f"{_SANDBOX.format(home='read-only' if service.in_a_home else 'yes')}"
    )


def _files(plan: Plan | FleetPlan, service: Service) -> str:
    """Say which user runs it, what it may write, and where its credentials are."""
    lines = [f"User={service.user}" if service.user else "DynamicUser=yes"]
    if service.state:
        lines += [f"StateDirectory={_escaped(service.state)}", "StateDirectoryMode=0750"]
    if isinstance(plan, Plan) and plan.textfile:
        lines.append(f"ReadWritePaths={_escaped(str(PurePosixPath(plan.textfile).parent))}")
    lines += [
        # What matplotlib and IPython keep for themselves.
        f"CacheDirectory={service.name}",
        f"WorkingDirectory=%C/{service.name}",
        f"Environment=HOME=%C/{service.name}",
        f"Environment=MPLCONFIGDIR=%C/{service.name}/matplotlib",
    ]
    for one in service.credentials:
        lines.append(f"LoadCredential={one.key}:{_escaped(one.file)}")
        lines.append(f"Environment={one.variable}=%d/{one.key}")
    for name, value in {USERNAME_VARIABLE: plan.username, TENANT_VARIABLE: plan.tenant}.items():
        lines += [f"Environment={_setting(f'{name}={value}')}"] if value else []
    return "\n".join(lines) + "\n"


def _timer(plan: Plan | FleetPlan, service: Service) -> str:
    times = "".join(f"OnCalendar={text}\n" for text in plan.timing.calendars(plan.timezone))
    return (
        "[Unit]\n"
        f"Description=When to run {service.name}.service\n"
        "\n"
        "[Timer]\n"
        f"{times}"
        # To the minute by default, which would leave gaps between windows, or make them overlap.
        "AccuracySec=1s\n"
        # One report on starting up, if the machine was off when it was due.
        "Persistent=yes\n"
        "\n"
        "[Install]\n"
        "WantedBy=timers.target\n"
    )


def _setting(text: str) -> str:
    """Quote a word of a setting (systemd.syntax(7), "Quoting")."""
    escaped = _escaped(text)
    if _PLAIN.fullmatch(escaped.replace("%", "").replace("$", "")):
        return escaped
    mark = "'" if '"' in escaped and "'" not in escaped else '"'
    return mark + escaped.replace("\\", "\\\\").replace(mark, f"\\{mark}") + mark


def _escaped(text: str) -> str:
    """Write a text where systemd expands ``%`` and its letters."""
    return text.replace("%", "%%")
