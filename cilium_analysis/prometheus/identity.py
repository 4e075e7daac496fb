"""What a server is, and what of its answers is not to be trusted for that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cilium_analysis.errors import AccessDenied, NotPrometheus, QueryRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.prometheus.transport import Transport
    from cilium_analysis.window import Window

#: VictoriaMetrics repeats earlier values in its newest points (-search.latencyOffset).
_LATENCY = timedelta(seconds=30)


def introduce(transport: Transport) -> dict[str, str]:
    """Ask a server what it is: ``application``, ``version``, …; empty if it does not say.

    Parameters
    ----------
    transport
        To the server.
    """
    try:
        data = transport.ask("api/v1/status/buildinfo", {}, form=False).data
    except (QueryRejected, NotPrometheus, AccessDenied):
        data = {}
    info = {key: str(value) for key, value in data.items() if isinstance(value, str) and value}
    if transport.is_victoria and "revision" not in info:
        # The version it gives there is that of the Prometheus whose API it offers.
        return {"application": "VictoriaMetrics"}
    return {"application": "Prometheus", **info} if info else {}


def doubts(transport: Transport, window: Window) -> Iterator[str]:
    """Say what of a window's answer is not real, for the server that gave it.

    Parameters
    ----------
    transport
        That has had answers from the server.
    window
        That was asked for.
    """
    if transport.is_victoria and datetime.now(UTC) - window.end < _LATENCY:
        yield "the newest 30 s are not real: VictoriaMetrics repeats earlier values there"
