"""What is installed is written down: each lock file holds what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
IMAGE = re.findall(r"^IMAGE := (.*)$", MAKEFILE, re.M)[0].split()
EXTRAS = {"run": [], "dev": ["dev", "bench", "docs"], "image": IMAGE, "lab": ["lab", "kubernetes"]}
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[.*\])?==(?P<version>[^ ;\\]+)", re.M)


def locked(name: str) -> dict[str, list[str]]:
    """The versions of each package; some differ between Pythons."""
    found: dict[str, list[str]] = {}
    for each in _PINNED.finditer((ROOT / "locks" / f"{name}.txt").read_text()):
        found.setdefault(canonicalize_name(each["name"]), []).append(each["version"])
    return found


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_holds_what_is_asked_for(name: str) -> None:
    versions, extras = locked(name), PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(w for extra in EXTRAS[name] for w in extras[extra])]
    for requirement in map(Requirement, wanted):
        held = versions.get(canonicalize_name(requirement.name), [])
        assert held, f"{requirement.name} is not in locks/{name}.txt: run make lock"
        assert all(each in requirement.specifier for each in held), f"{requirement}: run make lock"


def test_the_image_can_do_what_pods_are_told_to_do() -> None:
    assert {"kubernetes", "notify"} <= set(IMAGE) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("name", EXTRAS)
def test_each_file_has_its_hash_and_names_no_place(name: str) -> None:
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == sum(map(len, locked(name).values()))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


@pytest.mark.parametrize(
    ("recipe", "name"), [("Containerfile", "image"), ("Containerfile.lab", "lab")]
)
def test_the_images_install_from_their_lock(recipe: str, name: str) -> None:
    text = (ROOT / recipe).read_text()
    assert f"pip install --no-cache-dir --require-hashes -r locks/{name}.txt" in text
    assert "pip install --no-deps --no-build-isolation ." in text
