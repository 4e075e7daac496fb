"""Statuses of HTTP requests, and requests without a response. Pure.

Hubble's httpV2 counts a request by its response, and has status 0 for none. Its metric http (v1)
counts requests and responses apart: `unanswered` finds the requests that no response belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics.parties import name_parties, swapped
from cilium_analysis.topics.telling import only

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from cilium_analysis.topics.http.data import Requests

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
#: Responses of other pairs, beside the requests of pairs without any: from this share on, both
#: are taken for the same under other names.
RENAMED_FROM = 0.1
_KEEP = ("method", "node", "reporter")


def status_class(status: str) -> str:
    """Give ``5xx`` for ``503``; what is no HTTP status stays as it is."""
    if status.isdecimal() and not int(status):
        return NO_RESPONSE
    known = len(status) == 3 and status.isdecimal()
    return CLASSES.get(status[0], status) if known else status or "unknown"


def with_status(requests: pd.DataFrame, old: set[str]) -> tuple[pd.DataFrame, float]:
    """Give the requests of which a label tells how they ended.

    Where Hubble counts statuses (httpV2), a request without one got no response, like one with
    status 0. Where it counts none, they are with the responses (http, v1), or unknown.

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


def unanswered(
    requests: pd.DataFrame,
    responses: pd.DataFrame,
    old: Collection[str],
    *,
    spelled: Mapping[str, str],
) -> tuple[pd.DataFrame, float]:
    """Give the requests that no response belongs to, of the nodes that count both apart.

    Parameters
    ----------
    requests, responses
        Label frames per step, as Hubble counts them: responses go from server to client.
    old
        Nodes whose Hubble counts responses apart.
    spelled
        As for `name_parties`.

    Returns
    -------
    tuple
        Label frame (``destination``, ``method``, ``node``, ``reporter``, ``source``, ``status``)
        of requests without a response; and the number of requests of which that is not known, as
        the parties of their responses have other names, or one of both has none.
    """
    pairs = zip(frames.values(requests, "node"), frames.values(requests, "status"), strict=True)
    mine = requests.loc[:, [node in old and not status for node, status in pairs]]
    if not mine.shape[1]:
        return frames.empty(), 0.0
    asked = name_parties(mine, _KEEP, spelled=spelled)
    answered = name_parties(swapped(responses), _KEEP, spelled=spelled)
    renamed = _renamed(asked, answered)
    unknown = float(asked.loc[:, renamed].sum().sum())
    asked = asked.loc[:, [not each for each in renamed]]
    left = asked.fillna(0.0) - answered.reindex(columns=asked.columns).fillna(0.0)
    gone = pd.DataFrame(_open(left.to_numpy()), left.index, left.columns).mask(asked.isna())
    gone = gone.loc[:, (gone > 0.0).any()]
    return frames.relabel(gone, "status", [UNANSWERED] * gone.shape[1]), unknown


def _renamed(asked: pd.DataFrame, answered: pd.DataFrame) -> list[bool]:
    """Tell of each series of requests whether its responses may be under other names.

    Context labels may name one end only, or each end in another way: then the exchanged parties of
    responses are not those of requests. A pair without any response, on a node all of whose
    responses belong to other requests, is one without a server that answers.
    """
    sums = [frames.group(f, ["node", "source", "destination"]).sum() for f in (asked, answered)]
    alone = [one[~one.index.isin(other.index)] for one, other in (sums, sums[::-1])]
    lone, orphans = (each.groupby(level="node").sum() for each in alone)
    strange = orphans.reindex(lone.index, fill_value=0.0) > RENAMED_FROM * lone
    nodes = set(strange[strange].index)
    table = frames.labels(asked)
    found = pd.MultiIndex.from_frame(table[list(alone[0].index.names)]).isin(alone[0].index)
    return [bool(f) and n in nodes for f, n in zip(found, table["node"], strict=True)]


def _open(left: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let responses beyond the requests of a step answer the latest open ones before.

    Parameters
    ----------
    left
        Requests minus responses, shape (T, S).
    """
    still = np.maximum(left, 0.0)
    beyond = np.maximum(-left, 0.0)
    for row in np.flatnonzero(beyond.any(axis=1)):
        # From the latest step backwards, until nothing of what is beyond is left.
        before = still[:row][::-1]
        taken = np.minimum(np.cumsum(before, axis=0), beyond[row])
        still[:row] -= np.diff(taken, axis=0, prepend=0.0)[::-1]
    return still


def made_by_policy(requests: Requests) -> pd.DataFrame:
    """Give the requests that a policy denied, per source and destination [requests per step].

    Hubble's drop events say of which pair they are. Where there are none, what the proxies
    counted is shared out over the 403s of the time around.

    Parameters
    ----------
    requests
        Of the window, or of the baseline.

    Returns
    -------
    pandas.DataFrame
        Label frame with ``destination`` and ``source``.
    """
    if requests.refused.shape[1]:
        return requests.refused
    counts, proxy = requests.counts, requests.proxy
    answered = frames.group(only(counts, {"status": DENIED_STATUS}), ["source", "destination"])
    # The proxies and Hubble are scraped at different moments.
    around = [
        part.sum(axis=1).rolling(5, center=True, min_periods=1).sum()
        for part in (only(of_http(proxy), {"rule": "denied"}), answered)
    ]
    share = (around[0] / around[1].where(around[1] > 0)).clip(upper=1.0).fillna(0.0)
    return answered.mul(share.reindex(answered.index, fill_value=0.0), axis=0)


def of_http(proxy: pd.DataFrame) -> pd.DataFrame:
    """Leave the DNS proxy out of what the proxies did, where the version tells it apart."""
    return proxy.loc[:, [kind != "fqdn" for kind in frames.values(proxy, "proxy_type")]]
