"""A program of its own that draws one PDF: reads HTML and styles as JSON, writes the file.

A process can be stopped if it takes too long, a function cannot. It fetches nothing, neither from
the network nor from this machine; figures are in the page.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress


def main() -> None:
    """Draw the page on standard input; say why if that cannot be done."""
    asked = json.load(sys.stdin.buffer)
    with suppress(ImportError):
        import resource  # not on Windows

        # Also if the process that would stop it is gone.
        resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"], asked["seconds"]))
    try:
        content = drawn(asked["page"], asked["style"])
    except Exception as problem:  # any error of the renderer
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
