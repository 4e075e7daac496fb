"""Which slow tests run today: a seventh of them, so that each runs once a week.

``@pytest.mark.slow`` marks a test whose variants take longer than three seconds together.
``pytest`` runs one variant in seven of it, ``pytest --slow`` all, and so does ``pytest`` with the
name of a file, a folder or a test.
"""

from __future__ import annotations

import zlib
from collections import Counter
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TURNS: Final = 7


def turn_of_day(day: date) -> int:
    """Return the turn that runs on a day."""
    return day.toordinal() % TURNS


def turns(tests: Iterable[tuple[str, str | None]]) -> list[int]:
    """Return the turn of each slow test, which is given as its node id and its group.

    The hash of a test's name says where its variants begin, and they take turns from there: every
    turn has some of a test with many variants. A group shares something that takes long to
    make, so that all of it is in one turn.
    """
    variants: Counter[str] = Counter()
    found = []
    for node_id, group in tests:
        name = group or node_id.partition("[")[0]
        found.append((zlib.crc32(name.encode()) + variants[name]) % TURNS)
        variants[name] += group is None
    return found


def group_of(item: pytest.Item) -> tuple[str, str | None] | None:
    """Return what `turns` asks of a slow test, None of any other."""
    mark = item.get_closest_marker("slow")
    return None if mark is None else (item.nodeid, mark.kwargs.get("group"))


def runs_all(config: pytest.Config) -> bool:
    """Tell whether all slow tests run: it is asked for, or the tests are named."""
    tests = config.rootpath / "tests"
    folder = config.invocation_params.dir
    paths = [(folder / name.partition("::")[0]).resolve() for name in config.args]
    return bool(config.option.slow) or any(tests in path.parents for path in paths)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let people choose."""
    group = parser.getgroup("slow tests")
    group.addoption("--slow", action="store_true", help="run all slow tests")
    group.addoption(
        "--turn",
        type=int,
        choices=range(TURNS),
        help="run this turn of the slow tests (default: that of the day)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the turn once: workers get the options of the process that starts them."""
    if config.option.turn is None:
        config.option.turn = turn_of_day(datetime.now(UTC).date())


def pytest_report_header(config: pytest.Config) -> str:
    """Say what is chosen, and how to run the others."""
    if runs_all(config):
        return "slow tests: all"
    chosen = config.option.turn
    return (
        f"slow tests: turn {chosen} of 0 to {TURNS - 1}; "
        f"another: pytest -m slow --turn N; all: pytest --slow"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests of other turns, before -k and -m choose among the tests."""
    if runs_all(config):
        return
    left_out = others(items, config.option.turn)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def others(items: Sequence[pytest.Item], turn: int) -> set[pytest.Item]:
    """Return the slow tests that are not of a turn."""
    slow = [(item, asked) for item in items if (asked := group_of(item)) is not None]
    chosen = turns(asked for _, asked in slow)
    return {item for (item, _), mine in zip(slow, chosen, strict=True) if mine != turn}
