"""Install Chromium from Debian, where that can be done and it is not there.

Run ``python tests/browser/install.py``. Elsewhere it says what to do; the tests that need a browser
are skipped then, except where ``CI=true`` says that it must be there. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess

#: Debian's name first; others have the same program under theirs.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Install it."""
    if any(map(shutil.which, PROGRAMS)):
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        print("No Chromium: install it (as root: apt-get install chromium) to test pages.")
        return
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in ("update", "install --yes --no-install-recommends chromium fonts-dejavu-core"):
        subprocess.run([apt, "-qq", *command.split()], check=True, env=quiet)


if __name__ == "__main__":
    main()
