from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cilium_analysis.topics import reasons

LISTED = Path(reasons.__file__).with_name("drop_reasons.csv")


def test_reasons_are_explained() -> None:
    denied = reasons.explain("Policy denied")
    assert (denied.category, denied.harm) == ("policy", "loss")
    assert "policies" in denied.next_step
    assert reasons.explain("Invalid packet").meaning == "Headers could not be parsed"
    assert reasons.explain("IGMP handled").harm == "none"


def test_an_unknown_reason_is_said_to_be_unknown() -> None:
    unknown = reasons.explain("Fell off the table")
    assert unknown.text == "Fell off the table"
    assert "Not a reason" in unknown.meaning


@pytest.mark.parametrize(
    ("hubble", "text"),
    [
        ("POLICY_DENIED", "Policy denied"),
        ("POLICY_DENY", "Policy denied by denylist"),
        # The text of the datapath is trusted where the two disagree.
        ("CT_MISSING_TCP_ACK_FLAG", "Fragmentation needed"),
        ("FAILED_TO_INSERT_INTO_PROXYMAP", "NAT 46/64 not enabled"),
        ("159", "159, 0"),
        ("Policy denied", "Policy denied"),
        ("DROP_REASON_UNKNOWN", "DROP_REASON_UNKNOWN"),
    ],
)
def test_hubbles_names_are_translated(hubble: str, text: str) -> None:
    assert reasons.from_hubble(hubble) == text


def test_every_reason_has_words_and_a_next_step() -> None:
    with LISTED.open(encoding="utf-8", newline="") as file:
        listed = [row["reason"] for row in csv.DictReader(file)]
    assert len(listed) == 79
    for reason in map(reasons.explain, listed):
        assert reason.meaning
        assert "Not a reason" not in reason.meaning
        assert reason.next_step.endswith((".", ")"))
        assert reason.harm in ("loss", "noise", "none")
