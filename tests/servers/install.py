"""Fetch the servers that the tests run against into a cache, without installing anything.

Run ``python tests/servers/install.py [--cache DIR]``. The servers are Debian packages, taken with
apt from the mirror this machine already uses, but from the suites named below, and only unpacked.
Standard library only, so that it runs before any other dependency is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HOW_TO_GET = "python tests/servers/install.py"
CACHE_VARIABLE = "CILIUM_ANALYSIS_SERVERS"
ROOT = Path(__file__).resolve().parents[2]


class InstallError(Exception):
    """A server could not be fetched."""


@dataclass(frozen=True)
class Package:
    """One server: where Debian keeps it and which programs of it the tests use."""

    name: str
    suite: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]


@dataclass(frozen=True)
class Mirror:
    """The Debian archive that this machine is set up to use."""

    uri: str
    signed_by: str = ""

    def line(self, suite: str) -> str:
        """Write the entry of a sources list for a suite, see sources.list(5)."""
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {suite} main\n"


# monitoring-example.yaml of Cilium runs Prometheus 2.42. Since 3.0 ranges are left-open and `le`
# is normalised, so both majors are needed; from 3.x on promtool is a package of its own.
PACKAGES = (
    Package("prometheus-2", "bookworm", ("prometheus",), ("prometheus", "promtool")),
    Package("prometheus-3", "forky", ("prometheus", "promtool"), ("prometheus", "promtool")),
    Package("victoria-1", "forky", ("victoria-metrics",), ("victoria-metrics",)),
    Package("victoria-1.79", "bookworm", ("victoria-metrics",), ("victoria-metrics",)),
    # A gateway before them: TLS, client certificates, GET alone, and whatever else it asks for.
    Package("nginx", "bookworm", ("nginx",), ("nginx",)),
)


def cache_folder() -> Path:
    """Tell where the servers are kept."""
    return Path(os.environ.get(CACHE_VARIABLE) or ROOT / ".cache" / "servers")


def program(server: str, name: str, cache: Path | None = None) -> Path | None:
    """Find a program of a server in the cache, None if it has not been fetched."""
    path = (cache or cache_folder()) / server / name
    return path if path.is_file() else None


def missing(cache: Path) -> list[Package]:
    """List the servers that the cache lacks."""
    return [p for p in PACKAGES if not all(program(p.name, x, cache) for x in p.programs)]


def mirrors(apt: Path = Path("/etc/apt")) -> Iterator[Mirror]:
    """Read the archives that the machine's own sources name, both file formats."""
    parts = apt / "sources.list.d"
    for path in [apt / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            yield from _one_line_mirrors(path.read_text())
    for path in sorted(parts.glob("*.sources")):
        yield from _stanza_mirrors(path.read_text())


def _one_line_mirrors(text: str) -> Iterator[Mirror]:
    for line in text.splitlines():
        words = line.split("#")[0].replace("[", " [ ").replace("]", " ] ").split()
        if not words or words[0] != "deb":
            continue
        end = words.index("]") + 1 if "]" in words else 1
        options = dict(x.split("=", 1) for x in words[1:end] if "=" in x)
        if len(words) > end:
            yield Mirror(words[end], options.get("signed-by", ""))


def _stanza_mirrors(text: str) -> Iterator[Mirror]:
    for stanza in text.split("\n\n"):
        lines = [x for x in stanza.splitlines() if ":" in x and not x.startswith(("#", " "))]
        fields = {k.strip().lower(): v.strip() for k, v in (x.split(":", 1) for x in lines)}
        if fields.get("enabled", "yes") != "no" and "deb" in fields.get("types", "").split():
            for uri in fields.get("uris", "").split():
                yield Mirror(uri, fields.get("signed-by", ""))


def debian_mirror() -> Mirror:
    """Pick the main Debian archive among the machine's sources."""
    for mirror in mirrors():
        # The security archive lives beside it as "debian-security" and has other suites.
        if mirror.uri.rstrip("/").endswith("/debian"):
            return mirror
    raise InstallError("no Debian archive among the apt sources of this machine")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise InstallError(f"{' '.join(command[:1] + command[-2:])}: {lines[-1]}")


def _apt(work: Path, suite: str, mirror: Mirror) -> list[str]:
    """Write an apt set-up of its own below `work` and return the command that uses it."""
    for folder in ("lists/partial", "cache/archives/partial", "state"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    (work / "sources.list").write_text(mirror.line(suite))
    (work / "status").touch()
    options = {
        "Dir::Etc::sourcelist": str(work / "sources.list"),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": str(work / "state"),
        "Dir::State::Lists": str(work / "lists"),
        "Dir::State::status": str(work / "status"),
        "Dir::Cache": str(work / "cache"),
        "Acquire::Languages": "none",
    }
    if os.geteuid() == 0:
        # apt would otherwise drop to a user who may not write here, and warn about it.
        options["APT::Sandbox::User"] = "root"
    return ["apt-get", "-q", *(x for k, v in options.items() for x in ("-o", f"{k}={v}"))]


def fetch(wanted: list[Package], suite: str, mirror: Mirror, cache: Path) -> None:
    """Download and unpack the servers of one suite."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as name:
        work = Path(name)
        apt = _apt(work, suite, mirror)
        _run([*apt, "update"], work)
        for package in wanted:
            debs = work / "debs" / package.name
            debs.mkdir(parents=True)
            _run([*apt, "download", *package.packages], debs)
            _unpack(package, debs, work / "files" / package.name, cache)


def _unpack(package: Package, debs: Path, files: Path, cache: Path) -> None:
    files.mkdir(parents=True)
    for deb in sorted(debs.glob("*.deb")):
        _run(["dpkg", "-x", str(deb), str(files)], debs)
    ready = debs / "ready"
    ready.mkdir()
    for name in package.programs:
        found = next(
            files / "usr" / each / name
            for each in ("bin", "sbin")
            if (files / "usr" / each / name).is_file()
        )
        shutil.move(found, ready / name)
    (ready / "VERSION").write_text("".join(f"{x.stem}\n" for x in sorted(debs.glob("*.deb"))))
    target = cache / package.name
    # A second installer that was quicker has put a whole one there; a broken one is in the way.
    shutil.rmtree(target, ignore_errors=True)
    ready.rename(target)


def install(cache: Path) -> list[str]:
    """Fetch every server that is missing and name what was fetched."""
    wanted = missing(cache)
    if wanted and not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise InstallError(
            "apt-get is needed; elsewhere put the programs into "
            f"{cache}/{{{','.join(p.name for p in wanted)}}}/ by hand"
        )
    for suite in sorted({p.suite for p in wanted}):
        fetch([p for p in wanted if p.suite == suite], suite, debian_mirror(), cache)
    return [p.name for p in wanted]


def main(arguments: list[str] | None = None) -> int:
    """Install from the command line; a failure is fatal only where CI must have the servers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=cache_folder())
    cache = parser.parse_args(arguments).cache.resolve()
    try:
        fetched = install(cache)
    except (InstallError, OSError) as error:
        print(f"servers not fetched: {error}", file=sys.stderr)  # noqa: T201
        return 1 if os.environ.get("CI") == "true" else 0
    print(f"{', '.join(fetched) or 'nothing'} fetched, all in {cache}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
