"""What people install: the conda environment, and the wheel with notebooks and sample in it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from cilium_analysis import __version__
from cilium_analysis.connection import SAMPLES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOR_DEVELOPERS = {"dev", "bench", "docs"}


def test_the_version_is_one(wheel: ZipFile) -> None:
    assert "version" not in PROJECT
    assert Path(str(wheel.filename)).name.split("-")[1] == __version__


def test_the_conda_environment_is_in_step() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (nested,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert environment["name"] == PROJECT["name"]
    # Pango is no Python package: PDFs are drawn with it.
    assert plain == [f"python{PROJECT['requires-python']}", "pango", "pip"]
    (line,) = nested
    extras = re.fullmatch(r"--editable \.\[([a-z0-9,-]+)\]", line)
    assert extras is not None, line
    assert set(extras[1].split(",")) == set(PROJECT["optional-dependencies"]) - FOR_DEVELOPERS


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return ZipFile(built)


def test_the_wheel_has_notebooks_sample_pages_and_license(wheel: ZipFile) -> None:
    names = set(wheel.namelist())
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"cilium_analysis/_notebooks/{notebook.name}" in names
    for sample in (ROOT / "data" / name for name in SAMPLES):
        place = f"cilium_analysis/_{sample.name.replace('-', '_')}"
        for path in (path for path in sample.rglob("*") if path.is_file()):
            assert f"{place}/{path.relative_to(sample)}" in names
    data = ("report/templates/style.css", "topics/drop_reasons.csv", "schemas/findings.schema.json")
    for file in (*data, "py.typed"):
        assert f"cilium_analysis/{file}" in names
    for scenario in (ROOT / "cilium_simulator" / "scenarios").glob("*.toml"):
        assert f"cilium_simulator/scenarios/{scenario.name}" in names
    assert "cilium_simulator/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    wheel.close()


@pytest.mark.slow
def test_the_installed_package_reports_without_the_checkout(wheel: ZipFile, tmp_path: Path) -> None:
    """As ``pip install`` leaves it: the same dependencies, none of the checkout's files."""
    wheel_file = Path(str(wheel.filename))
    site = tmp_path / "site"
    with ZipFile(wheel_file) as archive:
        archive.extractall(site)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import cilium_analysis\n"
        f"assert cilium_analysis.__file__.startswith({str(site)!r})\n"
        "from cilium_analysis.cli import main\n"
        "from cilium_analysis.connection import sample_directory\n"
        "from cilium_analysis.report.notebooks import notebook_directory\n"
        "assert sample_directory().name == '_sample'\n"
        "assert sample_directory('sample-real').name == '_sample_real'\n"
        "assert notebook_directory().name == '_notebooks'\n"
        "assert main(['lab', 'place', '--no-start']) == 0\n"
        "assert main(['simulate', 'burst_between_scrapes', 'simulated']) == 0\n"
        "sys.exit(main(['capture', '--source', 'sample']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Bundle: " in done.stdout
    placed = {path.name for path in (tmp_path / "place").glob("*.ipynb")}
    assert placed == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("name", ["ci.yml", "release.yml"])
def test_workflows_call_what_there_is(name: str) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    made = [line.split()[-1] for line in lines if line.startswith("make ")]
    assert made
    assert set(made) <= targets
    assert all((ROOT / line).is_file() for line in lines if line.startswith(".ci/"))
    # What may write is only the job that releases.
    assert workflow["permissions"] == {"contents": "read"}
    # Names of branches and the like are data, never a part of a script.
    assert not [line for line in lines if "${{ github.event" in line]


def test_the_hooks_are_the_checks_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = (ROOT / "Makefile").read_text().partition("\nlint: ")[2].partition("\n\n")[0]
    checks = [line.strip().removeprefix("$(BIN)/") for line in recipe.splitlines()[1:]]
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks]
    assert entries == [check.removesuffix(" .") for check in checks]


def test_a_file_is_one_story_of_at_most_450_lines() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text().splitlines())
        for package in ("cilium_analysis", "cilium_simulator")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length > 450} == {}
