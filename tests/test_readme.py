"""What README prints of Python runs as it is printed, on the sample in place of a server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The blocks of Python, in their order; each may use what those before it have made."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block.replace("http://prometheus:9090", "sample") for block in found]


def test_python_runs_from_a_range_to_what_explains_it_and_to_spreadsheets(
    blocks: list[str], shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openpyxl")
    monkeypatch.chdir(tmp_path)
    results: list[Any] = []
    for block in blocks:
        # The sample ends long ago.
        result = shell.run_cell(block.replace("--start -6h", ""))
        result.raise_error()
        results.append(result.result)
    tables = [one for one in results if isinstance(one, pd.DataFrame)]
    explained = next(one for one in tables if {"change", "share"} <= set(one.columns))
    assert explained.index.names == [*("reason", "source_workload", "destination_workload", "node")]
    assert explained.index[0][2] == "web"
    assert explained["share"].iloc[0] > 0.9
    assert set(explained.index[-1]) == {"*"}
    gained = shell.user_ns["gained"]
    levels = [*range(gained.columns.nlevels)]
    for written in (
        pd.read_csv("drops.csv", header=levels, index_col=0),
        pd.read_excel("drops.xlsx", header=levels, index_col=0),
    ):
        assert written.shape == gained.shape
        pd.testing.assert_index_equal(
            pd.DatetimeIndex(written.index).tz_localize(None).as_unit("ms"),
            pd.DatetimeIndex(gained.index).tz_localize(None).as_unit("ms"),
            check_names=False,
        )
        assert written.sum().sum() == pytest.approx(gained.sum().sum())
