"""Install Chromium and Pango from Debian, where that can be done and they are not there.

Run ``python tests/browser/install.py``. Elsewhere it says what to do; the tests that need a browser
or a PDF are skipped then, except where ``CI=true`` says that they must be there. Standard library
only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from ctypes.util import find_library

#: Debian's name first; others have the same program under theirs.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
#: What PDFs are drawn with.
LIBRARIES = ("pango-1.0", "pangoft2-1.0", "harfbuzz-subset")
_BROWSER = ("chromium", "fonts-dejavu-core")
_PANGO = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core")


def missing() -> list[str]:
    """Name the packages that are not there."""
    browser = () if any(map(shutil.which, PROGRAMS)) else _BROWSER
    pango = () if all(map(find_library, LIBRARIES)) else _PANGO
    return sorted({*browser, *pango})


def main() -> None:
    """Install them."""
    wanted = missing()
    if not wanted:
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        what = f"(as root: apt-get install {' '.join(wanted)})"
        print(f"To test pages and PDFs install Chromium and Pango {what}.")
        return
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in ("update", "install --yes --no-install-recommends " + " ".join(wanted)):
        subprocess.run([apt, "-qq", *command.split()], check=True, env=quiet)


if __name__ == "__main__":
    main()
