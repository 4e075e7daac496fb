"""Statuses of HTTP, and what Hubble counts where there is none. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames

if TYPE_CHECKING:
    import pandas as pd

#: What the proxy answers when a layer 7 policy denies a request (pkg/envoy, ``403``).
DENIED_STATUS = "403"
#: How httpV2 counts a request that got no response.
UNANSWERED = "0"
#: The class of those.
NO_RESPONSE = "no response"
CLASSES = {"1": "1xx", "2": "2xx", "3": "3xx", "4": "4xx", "5": "5xx"}
#: Classes of requests that did not get what they were for.
BAD = ("4xx", "5xx", NO_RESPONSE)
#: Of those, what is no fault of the client.
FAILED = ("5xx", NO_RESPONSE)


def status_class(status: str) -> str:
    """Give ``5xx`` for ``503``; what is no HTTP status stays as it is."""
    if status.isdecimal() and not int(status):
        return NO_RESPONSE
    known = len(status) == 3 and status.isdecimal()
    return CLASSES.get(status[0], status) if known else status or "unknown"


def with_status(requests: pd.DataFrame, old: set[str]) -> tuple[pd.DataFrame, float]:
    """Keep the requests of which Hubble tells how they ended.

    Where it counts statuses (httpV2), a request without one got no response, like one with status
    0. Where it counts none, they are with the responses (http, v1), or nobody knows them.

    Parameters
    ----------
    requests
        Label frame of requests per step, with ``node``.
    old
        Nodes whose Hubble counts responses apart.

    Returns
    -------
    tuple
        The requests with a status, `UNANSWERED` if there is none; and the number of those whose
        status is unknown.
    """
    statuses, nodes = frames.values(requests, "status"), frames.values(requests, "node")
    knowing = {node for node, status in zip(nodes, statuses, strict=True) if status} - old
    known = [bool(s) or node in knowing for s, node in zip(statuses, nodes, strict=True)]
    lost = [not k and node not in old for k, node in zip(known, nodes, strict=True)]
    plain = [UNANSWERED if not s or status_class(s) == NO_RESPONSE else s for s in statuses]
    found = frames.relabel(requests, "status", plain)
    return found.loc[:, known], float(requests.loc[:, lost].sum().sum())
