"""How DNS lookups end: response codes as Hubble writes them, or no response. Pure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cilium_analysis import frames

FINE = "No Error"
ABSENT = "Non-Existent Domain"
#: What Hubble calls a query that a policy denied.
DENIED = "Policy denied"
#: Stands for the code of lookups without a response,
NO_RESPONSE = "no response"
#: and for the code of responses whose code no label gives: neither fine nor failed.
UNKNOWN = "unknown"
#: Labels of what Hubble counts beside the response code.
OTHERS = ("type", "qtypes", "ips_returned")
#: Words for the codes (google/gopacket layers/dns.go), and Hubble's own.
WORDS = frozenset(
    {
        FINE,
        ABSENT,
        DENIED,
        "Format Error",
        "Server Failure",
        "Not Implemented",
        "Query Refused",
        "Name Exists when it should not",
        "RR Set Exists when it should not",
        "RR Set that should exist does not",
        "Server Not Authoritative for zone",
        "Name not contained in zone",
        "Bad OPT Version",
        "Key not recognized",
        "Signature out of time window",
        "Bad TKEY Mode",
        "Duplicate key name",
        "Algorithm not supported",
        "Bad Truncation",
        "Bad/missing Server Cookie",
    }
)


def under(*counted: pd.DataFrame) -> str:
    """Name the label that holds the response codes.

    With some numbers of context labels Hubble exports them under the name of another label:
    slices of label names share their memory, and the last one written wins. The values are in
    the right order, so that they show which label it is.

    Parameters
    ----------
    counted
        Label frames of queries and responses.

    Returns
    -------
    str
        ``rcode`` unless series without it have words for codes under another name.
    """
    for name in OTHERS:
        for frame in counted:
            pairs = zip(frames.values(frame, "rcode"), frames.values(frame, name), strict=True)
            if any(not own and other in WORDS for own, other in pairs):
                return name
    return "rcode"


def coded(frame: pd.DataFrame, label: str, *, missing: str = "") -> pd.DataFrame:
    """Give a frame with its response codes under ``rcode``.

    Parameters
    ----------
    frame
        Label frame of queries or responses.
    label
        Where the codes are, as from `under`.
    missing
        What stands for a code that no label gives.
    """
    pairs = zip(frames.values(frame, "rcode"), frames.values(frame, label), strict=True)
    found = [own or other or missing for own, other in pairs]
    return frames.relabel(frame, "rcode", found)


def unanswered(asked: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Give the queries without a response per step, by client, name, node and server asked.

    Missing responses are counted over all servers of a client and name, as a response may come
    from a server under another name. They belong to the servers that left queries open.

    Parameters
    ----------
    asked, counts
        As in `topics.dns.data.Lookups`, of the same steps.
    """
    by = ["node", "query", "source"]
    answers = counts.loc[:, counts.columns.get_level_values("rcode") != DENIED]
    gone = _open_queries(frames.group(asked, by), frames.group(answers, by))
    sent = frames.group(asked, [*by, "destination"])
    each = _open_queries(sent, frames.group(answers, [*by, "destination"]))
    # Late answers of one server may hide what another one left open: then all share it.
    wholes = [frames.group(part, by).to_numpy(na_value=0.0) for part in (each, sent)]
    place = gone.columns.get_indexer(pd.MultiIndex.from_frame(frames.labels(sent)[by]))
    own, all_own = each.to_numpy(na_value=0.0), wholes[0][:, place]
    some, all_some = sent.to_numpy(na_value=0.0), wholes[1][:, place]
    parts, whole = np.where(all_own > 0, own, some), np.where(all_own > 0, all_own, all_some)
    shares = np.divide(parts, whole, out=np.zeros_like(parts), where=whole > 0)
    missed = sent * 0.0 + shares * gone.to_numpy()[:, place]
    return frames.relabel(missed, "rcode", [NO_RESPONSE] * missed.shape[1])


def _open_queries(queries: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """Give the queries that no response of this step or the next one belongs to."""
    responses = responses.reindex(columns=queries.columns)
    left = queries - responses.fillna(0.0)
    # Answers beyond the queries of a step belong to the queries of the step before.
    late = left.shift(-1).clip(upper=0.0).fillna(0.0)
    return (left + late).clip(lower=0.0)


def ended(asked: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Give all lookups by how they ended, those without a response included.

    Parameters
    ----------
    asked, counts
        As in `topics.dns.data.Lookups`, of the same steps.
    """
    return pd.concat([counts, unanswered(asked, counts)], axis=1)
