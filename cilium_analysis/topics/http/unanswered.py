"""Requests without a response, where requests and responses are counted apart (http, v1). Pure.

Hubble's httpV2 counts a request by its response, and has status 0 for none: see `statuses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics.http.statuses import UNANSWERED
from cilium_analysis.topics.parties import name_parties, swapped

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

#: Responses of other pairs, beside the requests of pairs without any: from this share on, both
#: are taken for the same under other names.
RENAMED_FROM = 0.1
_KEEP = ("method", "node", "reporter")


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
    responses belong to other requests, is one that nobody answers.
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
