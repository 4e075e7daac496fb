"""Notification: reads the addresses of services, and has apprise send messages to them.

The address of a service holds its credentials. So it is never given on the command line, and
messages name the file or variable that holds it, never the address.
"""

from __future__ import annotations

import contextvars
import logging
import os
import re
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import ParameterError
from cilium_analysis.findings import Severity
from cilium_analysis.prometheus.credentials import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cilium_analysis.report.messages import Message

#: Variable that names a file of addresses, if ``--notify`` is not given.
NOTIFY_VARIABLE = "CILIUM_ANALYSIS_NOTIFY_FILE"
#: Time limit of all services together [s]: two attempts, with apprise's own pauses between.
PATIENCE = 60.0
_PAUSE = 1.0
_HOW = "write it into a file and give file:PATH, or into a variable and give env:CILIUM_ANALYSIS_…"
_TYPES = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


@dataclass(frozen=True)
class Receiver:
    """A service to notify.

    Parameters
    ----------
    where
        File or variable that holds its address, for people.
    service
        As apprise makes it from the address.
    """

    where: str
    service: Any = field(repr=False)


def receivers(
    given: Sequence[str], *, environment: Mapping[str, str] | None = None
) -> tuple[Receiver, ...]:
    """Give the services to notify.

    Parameters
    ----------
    given
        ``env:NAME`` or ``file:PATH`` each. If there is none, the environment variable
        ``CILIUM_ANALYSIS_NOTIFY_FILE`` names a file; without it no service is notified.
    environment
        Instead of that of the process.

    Raises
    ------
    ParameterError
        If one cannot be read or understood, or apprise is not installed. The message names
        the file or variable, and never holds the address.
    """
    found = os.environ if environment is None else environment
    named = [f"file:{found[NOTIFY_VARIABLE]}"] if found.get(NOTIFY_VARIABLE) else []
    places = {url: where for text in (given or named) for where, url in _addresses(text, found)}
    return tuple(Receiver(where, _service(url, where)) for url, where in places.items())


def check_receivers(receivers: bool, *, notify_on: str | None, link: str | None, hint: str) -> None:
    """Check that there is a service to notify, if it is said how to notify.

    Parameters
    ----------
    receivers
        Whether there is any.
    notify_on, link
        As the options are given; empty or None if they are not.
    hint
        How to name one.
    """
    if not receivers and (notify_on or link):
        raise ParameterError(f"--notify-on and --link need a service to notify: {hint}")


def _addresses(text: str, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Give the addresses that a value of ``--notify`` names, each with its file or variable."""
    kind, _, name = text.partition(":")
    if kind == "file" and name and "://" not in name:
        return _from_file(name)
    if kind != "env" or not name:
        raise ParameterError(f"--notify takes no address, which others could see: {_HOW}")
    # Notebooks get few variables, and none of this name ever.
    if not re.fullmatch(rf"{PREFIX}\w+", name):
        raise ParameterError(
            f"--notify env:… takes the name of a variable that begins with {PREFIX}:"
            " notebooks do not see those"
        )
    if not (address := environment.get(name, "").strip()):
        raise ParameterError(f"--notify env:{name}: there is no such variable, or it is empty")
    return [(text, address)]


def _from_file(name: str) -> list[tuple[str, str]]:
    try:
        lines = Path(name).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, RuntimeError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "not a text file"
        raise ParameterError(f"cannot read the addresses to notify in {name}: {reason}") from None
    rows = [(f"file:{name}:{number}", row.strip()) for number, row in enumerate(lines, start=1)]
    kept = [(where, row) for where, row in rows if row and not row.startswith("#")]
    if not kept:
        raise ParameterError(f"no address to notify in {name}: write one per line")
    return kept


def _service(url: str, where: str) -> Any:
    try:
        import apprise
    except ImportError:
        raise ParameterError(
            "to notify, the package apprise is needed: pip install 'cilium-analysis[notify]'"
        ) from None
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_FILTER)
    asset = apprise.AppriseAsset(
        app_id="cilium-analysis",
        async_mode=False,
        default_service_retry=1,
        default_service_wait=_PAUSE,
        http_redirects=False,
        secure_logging=True,
        service_timeout=0,  # we have our own: apprise's would keep the process from ending
        storage_mode="memory",
    )

    def made() -> Any:
        _WITHHELD.set([])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of all the services that apprise loads then
            try:
                return apprise.Apprise.instantiate(url, asset=asset)
            except Exception:  # of any kind; it may quote the address
                return None

    service = contextvars.copy_context().run(made)
    if service is None:
        raise ParameterError(
            f"{where} is no address that apprise understands (it is not shown here, as it may"
            " hold a password): see https://appriseit.com/services/"
        )
    return service


#: Log messages of apprise and its HTTP client while they work for us; None outside of that.
_WITHHELD: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar(
    "withheld", default=None
)


class _Withhold(logging.Filter):
    """Keeps log messages of apprise out of all logs while it works for us: they quote addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        withheld = _WITHHELD.get()
        if withheld is not None:
            withheld.append(record.getMessage())
        return withheld is None


_FILTER = _Withhold()


def send(
    receivers: Iterable[Receiver],
    message: Message,
    *,
    tell: Callable[[str], None],
    patience: float = PATIENCE,
) -> int:
    """Send a message to all, at the same time.

    Parameters
    ----------
    receivers
        Each gets a second attempt if the first one fails.
    message
        The message.
    tell
        Takes a line on each that did not get it; never with its address.
    patience
        How long to wait for all of them [s].

    Returns
    -------
    int
        How many got it.
    """
    deliveries = [_Delivery(receiver, message) for receiver in receivers]
    for delivery in deliveries:
        delivery.start()
    until = time.monotonic() + patience
    for delivery in deliveries:
        delivery.join(max(0.0, until - time.monotonic()))
        if delivery.problem:
            tell(f"{delivery.where} was not notified: {delivery.problem}")
    return sum(not delivery.problem for delivery in deliveries)


class _Delivery(threading.Thread):
    """Sends one message. A thread of its own, so that the process can end without it."""

    def __init__(self, receiver: Receiver, message: Message) -> None:
        super().__init__(daemon=True)
        self.where = receiver.where
        self.problem = "no answer in time"
        self._service = receiver.service
        self._message = message

    def run(self) -> None:
        import apprise

        said: list[str] = []
        _WITHHELD.set(said)
        severity = self._message.severity
        try:
            outbox = apprise.Apprise(asset=self._service.asset)
            outbox.add(self._service)
            sent = outbox.notify(
                title=self._message.title,
                body=self._message.body,
                body_format=apprise.NotifyFormat.TEXT,
                notify_type="failure" if severity is None else _TYPES[severity],
            )
            self.problem = "" if sent else _reason(said)
        except Exception as problem:  # of a plugin; its text may quote the address
            self.problem = f"unexpected {type(problem).__name__}"


def _reason(said: Sequence[str]) -> str:
    """Say why a message was not taken, from apprise's log messages, but without quoting them."""
    text = "\n".join(said)
    if code := re.search(r"\berror=(\d{3})\b", text):
        return f"the service answered {code[1]}"
    if "onnection error" in text:
        return "the service cannot be reached, or is too slow"
    return "the service did not take it"
