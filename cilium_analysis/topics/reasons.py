"""Drop reasons in words: what each means, how bad it is, and what to look at next.

From Cilium's pkg/monitor/api/drop.go (the text in ``cilium_drop_count_total``) and
api/v1/flow/flow.proto (the name in ``hubble_drop_total``), releases 1.13 to 1.20. The two
disagree in meaning for the codes 136 and 161: the text is trusted.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Harm = Literal["loss", "noise", "none"]


@dataclass(frozen=True)
class Reason:
    """Why packets are dropped.

    Parameters
    ----------
    text
        As in ``cilium_drop_count_total``.
    category
        Such as ``policy``, ``conntrack`` or ``routing``.
    harm
        ``loss`` where somebody misses the packets, ``noise`` where a few of them are ordinary,
        ``none`` where nothing is lost.
    meaning, next_step
        For people.
    """

    text: str
    category: str
    harm: Harm
    meaning: str
    next_step: str


@cache
def _rows() -> tuple[Mapping[str, str], ...]:
    text = files("cilium_analysis.topics").joinpath("drop_reasons.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@cache
def _reasons() -> Mapping[str, Reason]:
    harms: Mapping[str, Harm] = {"loss": "loss", "noise": "noise", "none": "none"}
    found = [
        Reason(row["reason"], row["category"], harms[row["harm"]], row["meaning"], row["next_step"])
        for row in _rows()
    ]
    # Code 2 shares its text with 134, whose meaning is the usual one: the later row wins.
    return {reason.text: reason for reason in found}


@cache
def _from_hubble() -> Mapping[str, str]:
    return {row["hubble_reason"]: row["reason"] for row in _rows() if row["hubble_reason"]}


def explain(text: str) -> Reason:
    """Explain a drop reason; one that is not known is said to be so."""
    unknown = Reason(
        text,
        "other",
        "loss",
        "Not a reason of Cilium 1.13 to 1.20",
        "Look the reason up in the release notes of your Cilium version (pkg/monitor/api/drop.go).",
    )
    return _reasons().get(text, unknown)


def from_hubble(name: str) -> str:
    """Translate a reason of ``hubble_drop_total`` to the text of the datapath counter.

    Parameters
    ----------
    name
        Such as ``POLICY_DENIED``; up to Cilium 1.12 already the text. A name that is not known
        is given back as it is.
    """
    return _from_hubble().get(name, name)
