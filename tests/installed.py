"""Install a wheel where nothing else is, and make the sample's report with it.

``python tests/installed.py dist/*.whl``; standard library only. The environment and the working
directory are new, so that neither the checkout nor what developers have can help.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "locks" / "run.txt"


def main(wheel: Path) -> None:
    """Try a wheel."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        place = Path(name)
        venv.create(place / "env", with_pip=True)
        programs = place / "env" / ("Scripts" if os.name == "nt" else "bin")
        pip = [str(programs / "python"), "-m", "pip", "install", "--quiet"]
        pip.append("--disable-pip-version-check")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

        def run(*command: str) -> str:
            done = subprocess.run(
                command, cwd=place, env=clean, check=True, stdout=subprocess.PIPE, text=True
            )
            return done.stdout

        run(*pip, "--require-hashes", "--requirement", str(LOCK))
        run(*pip, "--no-deps", str(wheel.resolve()))
        said = run(str(programs / "cilium-analysis"), "demo", "--output", str(place / "reports"))
        listed = run(str(programs / "cilium-analysis"), "simulate", "--list")
        pages = [*place.glob("reports/*/index.html")]
        if "Policy denied" not in said or len(pages) != 1:
            sys.exit(f"the installed wheel does not tell the sample's story:\n{said}")
        if "http_errors: " not in listed:
            sys.exit(f"the installed wheel has no scenarios:\n{listed}")
        sys.stdout.write(f"{wheel.name} works in an empty environment\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
