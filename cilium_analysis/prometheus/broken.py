"""What went wrong on the way to a server and back, in words for people.

Not in those of the libraries in between, whose messages name their own classes, and may quote the
address of a proxy with its password.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3

from cilium_analysis.errors import (
    AccessDenied,
    AnswerIncomplete,
    BudgetExceeded,
    NotPrometheus,
    PrometheusError,
    ServerUnavailable,
)
from cilium_analysis.prometheus.decode import TooLargeError
from cilium_analysis.prometheus.document import BrokenBodyError, OddBodyError
from cilium_analysis.prometheus.masking import masked
from cilium_analysis.prometheus.replies import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What may be raised on the way, beside the errors of this package.
RAISED = (OSError, ValueError, MemoryError, RecursionError, urllib3.exceptions.HTTPError)
_BROKEN_OFF = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    BrokenBodyError,
)
#: What OpenSSL calls an answer that is not TLS.
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_OWN_CERTIFICATE = re.compile("CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|PEM|KEY")
#: How libraries write their own things: ``SomeError(…)``, ``<… object at 0x…>``, ``module.Name``.
_INTERNAL = re.compile(r"[A-Za-z]\w*\(|object at 0x|\b(urllib3|requests|http|ssl|socket)\.|Errno")
_LOST = (requests.ConnectionError, urllib3.exceptions.HTTPError)
_WAITING = (TimeoutError, requests.Timeout, urllib3.exceptions.ReadTimeoutError)
_THERE = "is it running, and reachable from here?"
_NOT_HTTP = "what it sends is not HTTP"
_WHERE = "is this the address of a Prometheus, with its path prefix?"
_LESS = "ask for less: a longer step, a shorter window"


@dataclass(frozen=True)
class Broken:
    """Put what went wrong into an error.

    Parameters
    ----------
    server
        Its address, for people.
    timeout
        Of a request [s].
    headers
        Names of headers that the caller gave.
    secrets
        What a message never holds.
    """

    server: str
    timeout: float
    headers: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    def error(self, problem: BaseException, asked: str) -> tuple[PrometheusError, float | None]:
        """Give the error for a problem, and how long to wait [s]; None if it is for good.

        Parameters
        ----------
        problem
            One of `RAISED`.
        asked
            The end of the message, which names the query.
        """
        if isinstance(problem, TooLargeError | MemoryError):
            allowed = f" ({problem})" if isinstance(problem, TooLargeError) else ""
            text = f"the answer of {self.server} is larger than the memory allowed for it{allowed}"
            return BudgetExceeded(f"{text}; {_LESS}, or allow more (max_bytes){asked}"), None
        if isinstance(problem, OddBodyError | RecursionError):
            why = str(problem) if isinstance(problem, OddBodyError) else "nested too deeply"
            return self._foreign(shortened(masked(why, self.secrets)) + asked), None
        chain = list(_chain(problem))
        if isinstance(problem, requests.ConnectTimeout):
            why = f"no connection within {self.timeout:g} s; {_THERE}"
            return ServerUnavailable(f"cannot reach {self.server}: {why}{asked}"), 0.0
        if any(isinstance(each, _WAITING) for each in chain):
            return self.late(asked), 0.0
        if isinstance(problem, _BROKEN_OFF):
            text = f"the answer of {self.server} broke off ({self._said(chain)})"
            return AnswerIncomplete(f"{text}; try again, or {_LESS}{asked}"), 0.0
        if isinstance(problem, requests.exceptions.SSLError):
            return ServerUnavailable(f"no TLS with {self.server}: {self._tls(chain)}{asked}"), None
        if isinstance(problem, _LOST) or isinstance(chain[-1], urllib3.exceptions.InvalidHeader):
            if _said(chain) == _NOT_HTTP and not _is_tls(chain):
                return self._foreign(f"{_NOT_HTTP}; {_WHERE}{asked}"), 0.0
            through = " through the proxy" * isinstance(problem, requests.exceptions.ProxyError)
            why = f"{self._unreached(chain, through)}{asked}"
            return ServerUnavailable(f"cannot reach {self.server}{through}: {why}"), 0.0
        return self._unsent(problem, chain, asked), None

    def _foreign(self, why: str) -> NotPrometheus:
        return NotPrometheus(f"{self.server} did not answer like Prometheus: {why}")

    def late(self, asked: str) -> ServerUnavailable:
        """Give the error for an answer that does not come in time."""
        why = f"no whole answer within {self.timeout:g} s"
        hint = f"ask for less, or allow more than the timeout of {self.timeout:g} s"
        return ServerUnavailable(f"{self.server} is too slow: {why}; {hint}{asked}")

    def _said(self, chain: list[BaseException]) -> str:
        return shortened(masked(_said(chain), self.secrets))

    def _tls(self, chain: list[BaseException]) -> str:
        known = next((each for each in chain if isinstance(each, ssl.SSLError)), None)
        why = str(getattr(known, "reason", None) or "")
        if why in _PLAIN:
            plain = self.server.replace("https://", "http://", 1)
            return f"it answers without TLS; write {plain} if that is meant"
        hint = "check the certificate, or name its authority (ca_file) in CILIUM_ANALYSIS_CA_FILE"
        if _OWN_CERTIFICATE.search(why):
            own = "CILIUM_ANALYSIS_CLIENT_CERT and CILIUM_ANALYSIS_CLIENT_KEY"
            hint = f"look at your own certificate, in {own}"
        return f"{self._said(chain)}; {hint}"

    def _unreached(self, chain: list[BaseException], through: str) -> str:
        kinds = tuple(type(each) for each in chain)
        if any(issubclass(kind, socket.gaierror) for kind in kinds):
            host = "its name" if through else f"the name {urlsplit(self.server).hostname}"
            return f"{host} does not resolve; is it spelt right, and known to the DNS here?"
        closed = any(issubclass(kind, ConnectionResetError | BrokenPipeError) for kind in kinds)
        hint = _THERE
        if self.server.startswith("http://") and (_is_tls(chain) or closed):
            hint += f" If it speaks TLS, write {self.server.replace('http', 'https', 1)}"
        return f"{self._said(chain)}; {hint}"

    def _unsent(
        self, problem: BaseException, chain: list[BaseException], asked: str
    ) -> PrometheusError:
        invalid = (requests.exceptions.InvalidHeader, UnicodeError)
        if isinstance(problem, invalid) or "header" in str(chain[-1]).lower():
            # Not the cause: it quotes the value, which may be a secret.
            names = ", ".join([*self.headers, "X-Scope-OrgID"])
            hint = f"a header holds what HTTP does not allow; look at {names}"
            return AccessDenied(f"cannot ask {self.server}: {hint}")
        if not isinstance(problem, requests.RequestException | ValueError):
            hint = "mend CILIUM_ANALYSIS_CA_FILE, …_CLIENT_CERT or …_CLIENT_KEY"
            return AccessDenied(f"cannot ask {self.server}: {self._said(chain)}; {hint}")
        return ServerUnavailable(f"cannot ask {self.server}: {self._said(chain)}{asked}")


def _chain(problem: BaseException) -> Iterator[BaseException]:
    """Give a problem and its causes, the innermost last; libraries wrap them in several ways."""
    seen: list[BaseException] = []
    found: BaseException | None = problem
    while found is not None and found not in seen:
        seen.append(found)
        yield found
        inner = (*found.args, getattr(found, "reason", None), found.__cause__, found.__context__)
        found = next((each for each in inner if isinstance(each, BaseException)), None)


def _is_tls(chain: list[BaseException]) -> bool:
    """Tell the alert of TLS, where the beginning of HTTP is expected."""
    return any("\x15\x03" in str(each) for each in chain)


def _said(chain: list[BaseException]) -> str:
    """Name a cause as the system does, or else in our own words."""
    for each in reversed(chain):
        if isinstance(each, BrokenBodyError):
            return str(each)
        if isinstance(each, ssl.SSLCertVerificationError):
            return each.verify_message
        if isinstance(each, ssl.SSLError):
            return str(each.reason or "the handshake failed").replace("_", " ").lower()
        if isinstance(each, http.client.RemoteDisconnected):
            return "it closed the connection without an answer"
        if isinstance(each, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
            return "less came than was announced"
        if isinstance(each, urllib3.exceptions.DecodeError):
            return "it is not packed as it says"
        if isinstance(each, http.client.HTTPException):
            return _NOT_HTTP
        if isinstance(each, OSError) and each.strerror:
            return str(each.strerror)
    text = " ".join(str(chain[-1]).split())
    return text if text and not _INTERNAL.search(text) else _NOT_HTTP
