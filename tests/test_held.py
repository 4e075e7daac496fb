"""A recording is loaded once by a process that holds what it loads, and told of each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from dataclasses import replace
from datetime import timedelta
from cilium_analysis.bundle import Bundle
from cilium_analysis.connection import sample_directory
from cilium_analysis.errors import BundleError
from cilium_analysis.progress import watched
from cilium_analysis.source import followed, share
from cilium_analysis.topics import dns, drops

def bundle():
    return Bundle(sample_directory("sample"))

def promql(records):
    return sorted(record.promql for record in records)

first, plain = bundle(), bundle()
window, baseline = first.window, first.baseline
not_held = drops.load(plain, window, baseline)
assert drops.load(plain, window, baseline) is not not_held
share()
with followed() as said:
    data = drops.load(first, window, baseline)
second = bundle()
with watched(second) as relay, followed() as again:
    assert drops.load(relay, window, baseline) is data
assert promql(second.journal) == promql(said.records) == promql(again.records) != []
assert len(second.journal) == len(set(second.journal))
assert drops.findings(data) is drops.findings(data)
assert drops.findings(data).as_json() == drops.findings(not_held).as_json()
later = replace(window, start=window.start + timedelta(minutes=30))
assert drops.load(second, later, baseline) is not data
try:
    drops.load(second, window, baseline, match='node="worker-1"')
except BundleError:
    pass  # it was not recorded
else:
    raise AssertionError("other matchers, the same answer")
assert type(dns.load(second, window, baseline)) is not type(data)
print("done")
"""


@pytest.mark.slow
def test_what_is_held_is_loaded_once_and_told_each_time() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300
    )
    assert (ran.stdout, ran.returncode) == ("done\n", 0), ran.stderr
