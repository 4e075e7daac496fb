"""The rotation of slow tests: each runs on one of any seven days in a row, none is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.slow import TURNS, turn_of_day, turns

ROOT = Path(__file__).parent.parent
CONFTEST = """
from tests import slow
def pytest_addoption(pluginmanager):
    pluginmanager.register(slow)
"""
SETTINGS = """
[pytest]
testpaths = tests
addopts = --strict-markers -p no:cacheprovider
markers = slow
"""
TESTS = """
import pytest
def test_quick(): pass
@pytest.mark.slow
def test_long(): pass
@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
def test_many(number): pass
@pytest.mark.slow(group="dear")
@pytest.mark.parametrize("number", range(3))
def test_dear(number): pass
@pytest.mark.slow(group="dear")
def test_dear_as_well(): pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "tests" / "test_some.py").write_text(TESTS)
    return tmp_path


def said(project: Path, *arguments: str) -> str:
    # The test run that this one is a part of has workers, and says so to its children.
    outer = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**outer, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 5), done.stdout + done.stderr
    return done.stdout


def run(project: Path, *arguments: str) -> set[str]:
    lines = said(project, *arguments).splitlines()
    passed = (word for line in lines if "PASSED" in line for word in line.split() if "::" in word)
    return {name.rpartition("::")[2] for name in passed}


QUICK = {"test_quick"}
MANY = {f"test_many[{number}]" for number in range(8)}
DEAR = {"test_dear[0]", "test_dear[1]", "test_dear[2]", "test_dear_as_well"}
WORKERS = ("-p", "xdist", "-n", "2")
ALL = QUICK | {"test_long"} | MANY | DEAR


def test_each_slow_test_is_in_one_turn(project: Path) -> None:
    parts = [run(project, "--turn", str(number)) for number in range(TURNS)]
    assert all(part >= QUICK for part in parts)
    slow = [name for part in parts for name in part - QUICK]
    assert sorted(slow) == sorted(ALL - QUICK)
    assert all(part & MANY for part in parts)
    assert all(part >= DEAR or not part & DEAR for part in parts)
    assert run(project) in parts


def test_workers_choose_the_same(project: Path) -> None:
    asked = "--turn", "1"
    assert run(project, *asked, *WORKERS) == run(project, *asked)


def test_all_run_when_asked_or_named(project: Path) -> None:
    assert run(project, "--slow") == ALL
    assert run(project, "tests/test_some.py") == ALL
    assert run(project, "tests/test_some.py", *WORKERS) == ALL
    assert run(project, "tests/test_some.py::test_many") == MANY
    assert run(project, "tests") < ALL


def test_a_choice_by_name_leaves_the_turns_as_they_are(project: Path) -> None:
    asked = "--turn", "0"
    whole = run(project, *asked)
    assert run(project, *asked, "-k", "not 0 and not 1") == {n for n in whole if n[-2] not in "01"}
    assert run(project, *asked, "-m", "slow") == whole - QUICK


def test_the_choice_is_told(project: Path) -> None:
    told = said(project, "--turn", "2", "--collect-only")
    assert "slow tests: turn 2 of 0 to 6" in told
    assert "another: pytest -m slow --turn N; all: pytest --slow" in told
    assert "deselected" in told
    assert "skipped" not in told
    assert "slow tests: all" in said(project, "--slow", "--collect-only")


def test_seven_days_in_a_row_have_all_turns() -> None:
    # The end of a leap year too, which no calendar's day of the year would get over.
    first = date(2028, 12, 25)
    chosen = [turn_of_day(first + timedelta(days=number)) for number in range(30)]
    for day in range(30 - TURNS):
        assert sorted(chosen[day : day + TURNS]) == list(range(TURNS))


def test_turns_are_the_same_in_every_process() -> None:
    tests = [("tests/test_a.py::test_one", None), *((f"a::test_two[{n}]", None) for n in range(5))]
    assert turns(tests) == turns(tests) == [4, 6, 0, 1, 2, 3]
