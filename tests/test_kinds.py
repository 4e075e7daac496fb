"""Which files are not even imported where only unit tests are wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kinds import needs_all

SERVED = "def test_it(prometheus3): pass\n"


@pytest.mark.parametrize(
    ("text", "all_need"),
    [
        (SERVED, True),
        (f"{SERVED}def test_more(): pass\n", False),
        ("from tests.faults import Stub\ndef test_it(): Stub()\n", True),
        ("from tests.faults import Stub as S\ndef make(): S()\ndef test_it(): make()\n", True),
        ("from tests.faults import PATIENCE\ndef test_it(): print(PATIENCE)\n", False),
        ("from tests.faults import Stub\ndef test_it(stub: Stub): pass\n", False),
        ("import subprocess as s\ndef test_it(): [s.run(x) for x in ()]\n", True),
        ("import pytest\n@pytest.mark.slow\ndef test_it(): pass\n", True),
        ("def one(): two()\ndef two(): one()\ndef test_it(): one()\n", False),
        ("import playwright\n", True),
    ],
)
def test_a_file_is_left_out_if_each_test_needs_something(
    text: str, all_need: bool, tmp_path: Path
) -> None:
    path = tmp_path / "test_some.py"
    path.write_text(f"from __future__ import annotations\n{text}")
    assert needs_all(path) is all_need


def test_only_files_of_tests_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(SERVED)
    assert not needs_all(tmp_path / "conftest.py")
    assert not needs_all(tmp_path)


def test_no_unit_test_is_left_out(request: pytest.FixtureRequest) -> None:
    """Of those that run beside this one: with all tests, this is about all."""
    files = {item.path for item in request.session.items if item.get_closest_marker("unit")}
    assert [path for path in files if needs_all(path)] == []
