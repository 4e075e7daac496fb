"""What README and documentation print works as it is printed: Python, commands, files, links."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from cilium_analysis.cli import main
from cilium_analysis.cli.options import joined_times
from cilium_analysis.cli.parser import build_parser
from cilium_analysis.config import Config
from cilium_analysis.fleet.file import read_fleet
from cilium_simulator.scenario import parse
from docs.generated import GALLERY, subcommands
from tests.benchmarks.__main__ import HEADLINES, README, TABLE, with_headlines, written
from tests.commandline import options_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *(README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"),
    *(ROOT / "data" / "README.md", ROOT / "notebooks" / "README.md"),
    *(page for page in sorted(DOCS.rglob("*.md")) if not page.is_relative_to(DOCS / "_generated")),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHON = DOCS / "how-to" / "python.md"
#: Programs of others that pages call.
OTHERS = {"conda", "crontab", "curl", "export", "kubectl", "podman", "promtool"}
#: Options of other programs, and of our tests, that pages name.
OTHER_OPTIONS = {"--hypothesis-profile", "--slow", "--web"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


def run(shell: InteractiveShell, page: Path) -> list[Any]:
    """Run the blocks of a page in their order; each may use what those before it have made."""
    results = []
    for block in blocks(page, "python"):
        on_sample = block.replace("http://prometheus:9090", "sample")
        # The sample ends long ago.
        result = shell.run_cell(on_sample.replace("--start -6h", ""))
        result.raise_error()
        results.append(result.result)
    return results


@pytest.mark.parametrize("page", with_blocks("python"), ids=named)
def test_python_runs(
    page: Path, shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openpyxl")
    monkeypatch.chdir(tmp_path)
    shell.reset(new_session=True)
    run(shell, page)


def test_python_runs_from_a_range_to_what_explains_it_and_to_spreadsheets(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openpyxl")
    monkeypatch.chdir(tmp_path)
    tables = [one for one in run(shell, PYTHON) if isinstance(one, pd.DataFrame)]
    explained = next(one for one in tables if {"change", "share"} <= set(one.columns))
    assert explained.index.names == [*("reason", "source_workload", "destination_workload", "node")]
    assert explained.index[0][2] == "web"
    assert explained["share"].iloc[0] > 0.9
    assert set(explained.index[-1]) == {"*"}
    gained = shell.user_ns["gained"]
    levels = [*range(gained.columns.nlevels)]
    for written_as in (
        pd.read_csv("drops.csv", header=levels, index_col=0),
        pd.read_excel("drops.xlsx", header=levels, index_col=0),
    ):
        assert written_as.shape == gained.shape
        pd.testing.assert_index_equal(
            pd.DatetimeIndex(written_as.index).tz_localize(None).as_unit("ms"),
            pd.DatetimeIndex(gained.index).tz_localize(None).as_unit("ms"),
            check_names=False,
        )
        assert written_as.sum().sum() == pytest.approx(gained.sum().sum())


def commands(page: Path) -> list[list[str]]:
    """The commands of a page as words, without variables before them; of a pipe each one."""
    found: list[list[str]] = []
    for block in blocks(page, "console"):
        typed = re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE)
        for text in typed:
            lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("();|&"):
                    found += [words] if words else []
                    words = []
                elif words or not re.match(r"[A-Z_]+=", word):
                    words.append(word)
    return found


@pytest.mark.parametrize("page", with_blocks("console"), ids=named)
def test_commands_are_such_that_exist(page: Path) -> None:
    for program, *rest in commands(page):
        name = Path(program).name
        if name == "cilium-analysis":
            build_parser().parse_args(joined_times(rest))
        elif name == "make":
            assert f"\n{rest[0]}:" in (ROOT / "Makefile").read_text(), rest
        elif name == "pip":
            extras = re.fullmatch(r"cilium-analysis\[([a-z0-9,-]+)\]", rest[1])
            assert extras is not None, rest
            assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
        elif name == "papermill":
            check_papermill(rest)
        elif name == "python":
            assert rest[0] == "-m"
            assert find_spec(rest[1]), rest
        elif name == "pytest":
            assert all((ROOT / word).exists() for word in rest if word.startswith("tests/"))
        else:
            assert name in OTHERS, program


def check_papermill(words: list[str]) -> None:
    """What papermill is given are parameters of our notebooks, and of a reader's own."""
    notebook = ROOT / words[0]
    if not notebook.exists():
        notebook = ROOT / "notebooks" / "drop_reasons.ipynb"
    text = "".join(json.loads(notebook.read_text())["cells"][1]["source"])
    given = [words[at + 1] for at, word in enumerate(words) if word in ("-p", "-r")]
    assert given
    assert all(re.search(rf"^{name}: str", text, re.MULTILINE) for name in given)


def test_options_in_sentences_are_such_that_exist() -> None:
    known = set().union(*(options_of(parser) for _, parser in subcommands(build_parser())))
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", prose(page)):
            options = re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)
            assert set(options) <= known | OTHER_OPTIONS, (named(page), code)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if "://" in link or target.is_relative_to(DOCS / "_generated"):
            continue
        if target.parent == DOCS / "gallery" and target.suffix == ".ipynb":
            assert target.stem in GALLERY, link
            target = ROOT / "notebooks" / target.name
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            known = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
            assert anchor in known, link


def test_files_that_pages_print_are_valid(tmp_path: Path) -> None:
    for page in PAGES:
        for text in blocks(page, "yaml"):
            file = tmp_path / "fleet.yaml"
            file.write_text(text, encoding="utf-8")
            assert read_fleet(file).clusters
        for text in blocks(page, "json"):
            json.loads(text)
        for text in blocks(page, "toml"):
            document = tomllib.loads(text)
            if "event" in document:
                assert parse(document, named(page)).events
            else:
                assert set(document) == {field.name for field in fields(Config)}


def test_the_readme_shows_rows_of_the_table_of_benchmarks() -> None:
    readme, table = README.read_text("utf-8"), TABLE.read_text("utf-8")
    assert with_headlines(readme, table) == readme
    assert len(HEADLINES) == 5
    row = f"| {HEADLINES[0]} | 1.00 s |  | ≤ 15 s | yes |"
    changed = written(table, {HEADLINES[0]: row}, whole=False)
    assert len(changed.splitlines()) == len(table.splitlines())
    assert row in with_headlines(readme, changed).splitlines()


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) < 100


@pytest.mark.slow
def test_the_demo_says_what_pages_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--output", str(tmp_path)]) == 0
    *said, place = capsys.readouterr().out.splitlines()
    assert place.startswith("Report: ")
    for page in (README, DOCS / "tutorial.md"):
        block = page.read_text().partition("$ make demo\n")[2].partition("```")[0]
        *shown, shown_place = block.splitlines()
        assert said == shown
        assert shown_place.startswith("Report: reports/20260321T080000Z-20260321T100000Z-")


def test_what_the_tutorial_simulates_is_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (scenario,) = blocks(DOCS / "tutorial.md", "toml")
    Path("mine.toml").write_text(scenario, encoding="utf-8")
    assert main(["simulate", "mine.toml", "--truth"]) == 0
    shown = (
        (DOCS / "tutorial.md")
        .read_text()
        .partition("$ cilium-analysis simulate mine.toml --truth\n")
    )
    assert capsys.readouterr().out == shown[2].partition("```")[0]
