"""A program of its own that draws one PDF: HTML and styles as JSON come in, the file goes out.

It can be stopped when it takes too long, as nothing within a process can. Nothing is fetched,
neither from the network nor from this machine; figures are in the page.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress


def main() -> None:
    """Draw what stands on the standard input; says why if that cannot be done."""
    asked = json.load(sys.stdin.buffer)
    with suppress(ImportError):
        import resource  # not on Windows

        # Also where nobody is left to stop it.
        resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"], asked["seconds"]))
    try:
        content = drawn(asked["page"], asked["style"])
    except Exception as problem:  # whatever the renderer stumbles over
        sys.exit(f"{type(problem).__name__}: {problem}")
    sys.stdout.buffer.write(content)


def drawn(page: str, style: str) -> bytes:
    """Give the PDF of a page."""
    from weasyprint import CSS, HTML
    from weasyprint.urls import URLFetcher

    fetcher = URLFetcher(allowed_protocols=("data",), allow_redirects=False)
    # In memory and without a base, no reference leads anywhere.
    document = HTML(string=page, url_fetcher=fetcher)
    styles = [CSS(string=style, url_fetcher=fetcher)]
    return bytes(document.write_pdf(stylesheets=styles, pdf_variant="pdf/ua-1"))


if __name__ == "__main__":
    main()
