"""What people read: nothing in it is obeyed by a terminal, and who stops reading stops nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_analysis.show import Notes, Table, definition_list
from cilium_analysis.texts import bare_address, escaped, line, visible

#: C0, C1, direction, no width, line and paragraph separators.
UNSEEN = [
    *map(chr, (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0))),
    *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)),
    *map(chr, (0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x00AD, 0x2028, 0x2029, 0xE0041)),
]
COMMAND = [
    sys.executable,
    "-c",
    "import sys; from cilium_analysis.cli import main; sys.exit(main())",
]


@pytest.mark.parametrize("char", UNSEEN, ids=[f"U+{ord(char):04X}" for char in UNSEEN])
def test_no_character_that_nobody_sees_is_shown(char: str) -> None:
    text = f"a{char}[31mb"
    frame = pd.DataFrame({f"name{char}": [text], "number": [1]})
    table, notes = Table(frame, empty=text, folded=text), Notes([text], empty=text)
    shown = [line(text), visible(text), escaped(text), repr(table), table._repr_html_()]
    shown += [repr(notes), notes._repr_html_(), definition_list({text: text})]
    shown += [repr(Table(frame[:0], empty=text)), repr(Notes([], empty=text))]
    assert not [each for each in shown if char in each]


@given(st.text())
def test_what_can_be_seen_stays(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert len(visible(text)) == len(text)
    assert all(char.isprintable() or char == "\n" for char in visible(text))
    if text.isprintable():
        assert visible(text) == text


def test_a_row_of_a_table_stays_one_line() -> None:
    assert len(repr(Table(pd.DataFrame({"a": ["x\ny"], "b": ["z\r\nw"]}))).splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--source", "sample"],
        ["check", "--cluster-role"],
        ["schedule", "cron", "--source", "http://prometheus:9090"],
        ["--help"],
    ],
)
def test_who_stops_reading_is_told_nothing_more(arguments: list[str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert [each for each in said.splitlines() if not each.startswith("cilium-analysis: ")] == []
    assert "unexpected" not in said


def test_a_closed_output_is_no_error() -> None:
    script = 'exec "$@" check --cluster-role >&-'
    done = subprocess.run(["sh", "-c", script, "sh", *COMMAND], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_an_error_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "check", "--cluster-role"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "cilium-analysis: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    ("address", "bare"),
    [
        ("http://prometheus:9090/prom", "http://prometheus:9090/prom"),
        ("kubernetes:monitoring/prometheus:9090", "kubernetes:monitoring/prometheus:9090"),
        ("reports/run/bundle", "reports/run/bundle"),
        ("http://me:SECRET@prometheus:9090", "http://…@prometheus:9090"),
        ("http://me:SE@C//R?E#T@prometheus:9090", "http://…@prometheus:9090"),
        ("me:SECRET@prometheus:9090", "…@prometheus:9090"),
        ("me:/SECRET//@prometheus:9090", "me:/…@prometheus:9090"),
        (" http:/me:SECRET@[prometheus", " http:/…@[prometheus"),
        ("grafana:https://me:SECRET@grafana/", "grafana:https://…@grafana/"),
        ("HTTP:///\nme:SECRET@h", "HTTP:///…@h"),
        ("https://h/?token=SECRET", "https://h/"),
        ("h:9090#SECRET?SECRET", "h:9090"),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_credential(address: str, bare: str) -> None:
    assert bare_address(address) == bare
