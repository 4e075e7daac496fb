"""Response codes of DNS, as Hubble writes them, and under which label they are. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis import frames

if TYPE_CHECKING:
    import pandas as pd

FINE = "No Error"
ABSENT = "Non-Existent Domain"
#: What Hubble calls a query that a policy denied.
DENIED = "Policy denied"
#: How lookups without an answer stand among the response codes.
NO_RESPONSE = "no response"
#: How responses stand whose code no label tells: neither fine nor failed.
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
    slices of label names share their memory, and the last one written wins. The values stay in
    order, so that they tell.

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
        What stands for a code that is not told.
    """
    pairs = zip(frames.values(frame, "rcode"), frames.values(frame, label), strict=True)
    found = [own or other or missing for own, other in pairs]
    return frames.relabel(frame, "rcode", found)
