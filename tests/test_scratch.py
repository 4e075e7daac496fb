"""Temporary directories of processes that are gone do not stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cilium_analysis.scratch import clear, scratch

LEAVES = """
import os
from cilium_analysis.scratch import scratch
(scratch() / "kernel").touch()
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    subprocess.run([sys.executable, "-c", LEAVES], env=os.environ)
    (left,) = tmp_path.iterdir()
    mine = scratch()
    others = [tmp_path / "ca-x", tmp_path / "ca-1-of-another", tmp_path / "cilium-analysis-1"]
    for other in others:
        other.mkdir()
    (tmp_path / "ca-999999999-link").symlink_to(mine)
    clear()
    assert not left.exists()
    assert mine.is_dir()
    assert all(other.is_dir() for other in others)
