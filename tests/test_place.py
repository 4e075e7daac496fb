"""Notebooks in a directory of one's own: put there, made newer, never written over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from cilium_analysis.errors import OutputError
from cilium_analysis.lab import GIVEN, Placed, digest, put_notebooks
from cilium_analysis.report.notebooks import notebook_directory

if TYPE_CHECKING:
    from pathlib import Path


def notebook(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(text) for text in sources]
    made: nbformat.NotebookNode = nbformat.v4.new_notebook(cells=cells)
    return made


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The notebooks of some version of the package."""
    directory = tmp_path / "package"
    directory.mkdir()
    for name in ("a", "b"):
        nbformat.write(notebook(f"'{name} 1'"), directory / f"{name}.ipynb")
    return directory


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "some" / "where"


def text(file: Path) -> str:
    return str(nbformat.read(file, as_version=4).cells[0].source)


def change(file: Path, source: str = "", **fields: Any) -> None:
    found = nbformat.read(file, as_version=4)
    found.cells[0].update(fields | ({"source": source} if source else {}))
    nbformat.write(found, file)


def visible(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}


def test_the_notebooks_of_the_package_are_put_there(mine: Path) -> None:
    names = {path.name for path in notebook_directory().glob("*.ipynb")}
    assert set(put_notebooks(mine).new) == names == visible(mine)
    assert "START_HERE.ipynb" in names
    for name in names:
        assert (mine / name).read_bytes() == (notebook_directory() / name).read_bytes()
    assert put_notebooks(mine) == Placed()


def test_what_nobody_changed_is_made_newer(package: Path, mine: Path) -> None:
    put_notebooks(mine, notebooks=package)
    change(package / "a.ipynb", "'a 2'")
    assert put_notebooks(mine, notebooks=package) == Placed(updated=("a.ipynb",))
    assert text(mine / "a.ipynb") == "'a 2'"


def test_what_was_only_opened_is_made_newer(package: Path, mine: Path) -> None:
    """JupyterLab writes its own metadata and spaces when it saves what was only opened."""
    put_notebooks(mine, notebooks=package)
    opened = nbformat.read(mine / "a.ipynb", as_version=4)
    opened.metadata["language_info"] = {"name": "python", "version": "3.12.1"}
    (mine / "a.ipynb").write_text(json.dumps(opened, indent=4))
    change(package / "a.ipynb", "'a 2'")
    assert put_notebooks(mine, notebooks=package).updated == ("a.ipynb",)


OUTPUT = nbformat.v4.new_output("stream", text="what the incident showed")
TOUCHED: dict[str, dict[str, Any]] = {
    "edited": {"source": "'mine'"},
    "run": {"execution_count": 1, "outputs": [OUTPUT]},
    "tagged": {"metadata": {"tags": ["parameters"]}},
}


@pytest.mark.parametrize("how", TOUCHED)
def test_what_was_touched_stays_and_the_newer_lies_beside(
    how: str, package: Path, mine: Path
) -> None:
    put_notebooks(mine, notebooks=package, version="1")
    change(mine / "a.ipynb", **TOUCHED[how])
    before = (mine / "a.ipynb").read_bytes()
    assert put_notebooks(mine, notebooks=package, version="1") == Placed(kept=("a.ipynb",))
    change(package / "a.ipynb", "'a 2'")
    told = Placed(kept=("a.ipynb",), beside=("a-2.ipynb",))
    assert put_notebooks(mine, notebooks=package, version="2") == told
    assert (mine / "a.ipynb").read_bytes() == before
    assert text(mine / "a-2.ipynb") == "'a 2'"
    # Told once: who throws the newer one away is not given it again.
    (mine / "a-2.ipynb").unlink()
    assert put_notebooks(mine, notebooks=package, version="2") == Placed(kept=("a.ipynb",))
    assert visible(mine) == {"a.ipynb", "b.ipynb"}


def test_what_lies_beside_is_not_written_over_either(package: Path, mine: Path) -> None:
    put_notebooks(mine, notebooks=package, version="1")
    change(mine / "a.ipynb", "'mine'")
    change(package / "a.ipynb", "'a 2'")
    put_notebooks(mine, notebooks=package, version="2")
    change(mine / "a-2.ipynb", "'mine too'")
    change(package / "a.ipynb", "'a 2, mended'")
    assert put_notebooks(mine, notebooks=package, version="2") == Placed(kept=("a.ipynb",))
    assert text(mine / "a-2.ipynb") == "'mine too'"


def test_who_takes_the_newer_one_gets_the_next_one_too(package: Path, mine: Path) -> None:
    put_notebooks(mine, notebooks=package, version="1")
    change(mine / "a.ipynb", "'mine'")
    change(package / "a.ipynb", "'a 2'")
    put_notebooks(mine, notebooks=package, version="2")
    (mine / "a-2.ipynb").replace(mine / "a.ipynb")
    change(package / "a.ipynb", "'a 3'")
    assert put_notebooks(mine, notebooks=package, version="3") == Placed(updated=("a.ipynb",))


def test_what_was_deleted_is_there_again(package: Path, mine: Path) -> None:
    put_notebooks(mine, notebooks=package)
    (mine / "a.ipynb").rename(mine / "my a.ipynb")
    assert put_notebooks(mine, notebooks=package) == Placed(new=("a.ipynb",))
    assert visible(mine) == {"a.ipynb", "b.ipynb", "my a.ipynb"}


@pytest.mark.parametrize("state", ["", "[]", '{"schema": "another/1", "given": {}}', "{"])
def test_without_a_record_everything_there_is_somebodys_own(
    state: str, package: Path, mine: Path
) -> None:
    mine.mkdir(parents=True)
    (mine / "a.ipynb").write_text("no notebook at all")
    (mine / GIVEN).write_text(state)
    told = Placed(new=("b.ipynb",), kept=("a.ipynb",), beside=("a-1.ipynb",))
    assert put_notebooks(mine, notebooks=package, version="1") == told
    assert (mine / "a.ipynb").read_text() == "no notebook at all"


def test_where_nothing_can_be_written_is_said(package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot write to"):
            put_notebooks(directory, notebooks=package)


def test_digests_see_what_people_see() -> None:
    one = nbformat.writes(notebook("1"))
    assert digest(one.encode()) == digest(json.dumps(json.loads(one)).encode())
    assert digest(one.encode()) != digest(nbformat.writes(notebook("2")).encode())
    assert digest(b"{}") != digest(b"{} ")
