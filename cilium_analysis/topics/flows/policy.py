"""Verdicts of policies: how many, and whose packets were denied.

A denied packet is one verdict here, while `hubble_drop_total` counts it twice, as a drop and as a
verdict. Verdicts about what is allowed are one per connection, those about what is denied one per
packet. Denials of layer 7 rules have a match that begins with ``l7``, and are requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.topics.flows.tables import compare

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.topics.flows.data import Flows

DENIED = "dropped"


def policy(data: Flows) -> pd.DataFrame:
    """Give policy verdicts per direction, match and action; most first.

    Returns
    -------
    pandas.DataFrame
        ``direction``, ``match``, ``action``, ``verdicts``, ``expected``, ``change``, ``share``.
    """
    by = ["direction", "match", "action"]
    return compare(data, "policy", by, column="verdicts").reset_index()


def denied(data: Flows, *, most: int = 15) -> pd.DataFrame:
    """Give the denials of policies per source and destination; most first.

    Parameters
    ----------
    most
        Number of rows.

    Returns
    -------
    pandas.DataFrame
        ``source``, ``destination``, ``direction``, ``match``, ``verdicts`` (one per denied
        packet, or request where ``match`` begins with ``l7``), ``expected``, ``change``,
        ``share`` of all denials.
    """
    by = ["source", "destination", "direction", "match"]
    chosen = compare(data, "policy", by, chosen=denials, column="verdicts", most=most)
    return chosen.reset_index()


def denials(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Keep the verdicts that deny.

    Parameters
    ----------
    verdicts
        Label frame (``action``, …) of increases of ``hubble_policy_verdicts_total``.
    """
    return verdicts.loc[:, [action == DENIED for action in frames.values(verdicts, "action")]]
