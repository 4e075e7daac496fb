"""The image of JupyterLab, as far as it can be tried without an engine for containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "Containerfile.lab"
OWN = "import sys; from cilium_analysis.cli import main; sys.exit(main())"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    text = RECIPE.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(index for index, (name, _) in enumerate(found) if name == "FROM") :]


def test_it_copies_what_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".containerignore").read_text().splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        word
        for name, text in instructions()
        if name == "COPY" and not text.startswith("--from")
        for word in text.split()[:-1]
    }
    # Each of the two recipes takes its own lock file.
    assert {"locks" if word.startswith("locks/") else word for word in copied} == kept
    assert all((ROOT / source).exists() for source in copied)


def test_it_installs_what_binder_and_hubs_start() -> None:
    installs = [text for name, text in instructions() if name == "RUN" and "pip" in text]
    assert 'pip install --no-cache-dir "$JUPYTERHUB"' in installs[0]
    assert "\nnotebook==" in (ROOT / "locks" / "lab.txt").read_text()
    assert ("ARG", 'JUPYTERHUB="jupyterhub>=5,<6"') in instructions()


def test_it_runs_as_the_user_that_binder_names() -> None:
    stage = last_stage()
    assert ("ARG", "NB_USER=jovyan") in stage
    assert ("ARG", "NB_UID=1000") in stage
    said = dict(stage)
    assert said["USER"] == "$NB_UID"
    assert said["EXPOSE"] == "8888"
    names = [name for name, _ in stage]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")


def test_binder_finds_it() -> None:
    assert (ROOT / ".binder" / "Dockerfile").resolve() == RECIPE


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [None, ["jupyterhub-singleuser", "--port=8888", "a b"]])
def test_whatever_is_started_finds_the_notebooks(chosen: list[str] | None, tmp_path: Path) -> None:
    """The entry point itself, with programs in the place of those of the image."""
    programs, home = tmp_path / "bin", tmp_path / "a home"
    programs.mkdir()
    home.mkdir()
    code = "import json, sys; print(json.dumps(sys.argv[1:])); print(*__import__('os').listdir())"
    own = f'case "$*" in *--no-start*) exec {sys.executable} -c "{OWN}" "$@";; esac\n'
    for name in ("cilium-analysis", "jupyterhub-singleuser"):
        file = programs / name
        start = own if name == "cilium-analysis" else ""
        file.write_text(f'#!/bin/sh\n{start}exec {sys.executable} -c "{code}" "$@"\n')
        file.chmod(0o755)
    said = dict(last_stage())
    words = json.loads(said["ENTRYPOINT"]) + (chosen or json.loads(said["CMD"]))
    variables = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}
    variables["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(words, cwd=home, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    arguments, files = done.stdout.splitlines()
    assert json.loads(arguments) == words[words.index("sh", 1) + 2 :]
    assert files == "cilium-analysis-lab"
    assert (home / "cilium-analysis-lab" / "START_HERE.ipynb").exists()
