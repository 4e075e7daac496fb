"""Tables about requests and their answers: TCP handshakes and echo requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.frames import totals
from cilium_analysis.topics.telling import total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_analysis.topics.flows.data import Counts, Flows

_BY = ["source", "destination"]


def of_flag(counts: Counts, flag: str) -> pd.DataFrame:
    """Give what was counted of one TCP flag."""
    return counts.flags.loc[:, [text == flag for text in frames.values(counts.flags, "flag")]]


def handshakes(data: Flows, *, most: int = 15) -> pd.DataFrame:
    """Compare SYNs with SYN-ACKs, per source and destination; most missing first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``syn`` (events), ``verdicts`` (those of them that are
        verdicts of a policy, no packets; NA where that is not known), ``syn-ack``, ``missing``,
        ``expected`` (missing in the baseline, for a window of this length; NA without one),
        ``share`` missing of the SYNs that are packets. Where verdicts are not known, what is
        missing is not either.
    """
    now, usual = data.now.handshakes, data.usual.handshakes
    scale = data.window.length / data.baseline.length
    table = pd.DataFrame({"syn": totals(now.asked, _BY), "opened": totals(now.opened, _BY)})
    nothing = pd.Series(np.nan, index=table.index)
    table["verdicts"] = nothing if now.told is None else totals(now.told, _BY)
    table["syn-ack"] = totals(now.answered, _BY)
    table["missing"] = nothing if now.told is None else totals(now.missing, _BY)
    known = usual.told is not None and usual.asked.shape[1] > 0
    table["expected"] = totals(usual.missing, _BY) * scale if known else nothing
    filled = ["verdicts", "syn-ack", "missing"] if now.told is not None else ["syn-ack"]
    filled += ["expected"] if known else []
    table[filled] = table[filled].fillna(0.0)
    table["share"] = (table["missing"] / table["opened"]).where(table["opened"] > 0)
    order = ["missing", "syn"]
    table = table.sort_values(order, ascending=False, kind="stable").head(most)
    amounts = ["syn", "verdicts", "syn-ack", "missing", "expected"]
    return _whole(table.drop(columns="opened").reset_index(), amounts)


def _whole(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Write amounts as whole numbers, and what is not known as NA."""
    return table.assign(**{name: table[name].round().astype("Int64") for name in names})


def echoes(data: Flows) -> pd.DataFrame:
    """Compare echo requests with echo replies, in the window and in the baseline.

    Returns
    -------
    pandas.DataFrame
        Index ``when``; ``requests`` (without the verdicts of policies about them, as far as these
        are known), ``replies``, ``missing``, ``share`` of the requests; the last two NA where
        the verdicts are not known.
    """
    rows = {}
    for when, counts in (("window", data.now), ("baseline", data.usual)):
        requests, replies = total(counts.echoes.opened), total(counts.echoes.answered)
        missing = max(requests - replies, 0.0) if counts.echoes.told is not None else np.nan
        # A window in which nothing was counted says nothing about echo requests.
        if requests or replies:
            rows[when] = (requests, replies, missing, missing / requests if requests else np.nan)
    columns = ["requests", "replies", "missing", "share"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("when")
    return _whole(table, columns[:3])


_SWITCH = " (Helm: hubble.metrics.enabled with flow, and the same context options as tcp)."


def handshake_notes(data: Flows) -> list[str]:
    """Say what the handshakes cannot show."""
    now, said = data.now.handshakes, []
    if not now.asked.shape[1]:
        return []
    if now.reason:
        which = "namespaces" if now.naming == "namespaces" else "all SYNs and SYN-ACKs of a node"
        said.append(
            f"SYNs and SYN-ACKs name the same ends differently ({now.reason}), so that single"
            f" workloads cannot be judged: {which} are compared (Helm: the same context options"
            " for source and destination)."
        )
    if now.told is None:
        said.append(
            "How many of the SYNs are verdicts of policies is not known (a policy that selects a"
            " workload lets one SYN count two or three times): missing SYN-ACKs are not counted,"
            " and an outage is seen by SYN-ACKs that fall away" + ("." if data.refused else _SWITCH)
        )
    return said
