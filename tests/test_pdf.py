"""PDFs: what is in them, that it is whole and on the page, and that nothing is fetched for them."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from pypdf import PdfReader
from pypdf.generic import Destination, StreamObject

from cilium_analysis.cli import main
from cilium_analysis.errors import ParameterError
from cilium_analysis.question import ask
from cilium_analysis.report import report
from cilium_analysis.report.pdf import NotDrawn, check_renderer, drawn, write_pdf
from tests.conftest import installed_or_skip
from tests.runs import notebook
from tests.test_report import Elements

REPORT = ["report", "drop_reasons", "--source", "sample"]
#: Of paper.css, in points: what is printed ends before it.
MARGIN = 15 / 25.4 * 72


@pytest.fixture(scope="module", autouse=True)
def renderer() -> None:
    try:
        check_renderer()
    except ParameterError as error:
        installed_or_skip(error)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real report, with its PDF."""
    output = tmp_path_factory.mktemp("pdf")
    assert main([*REPORT, "--pdf", "--output", str(output)]) == 0
    (found,) = output.glob("*/run.json")
    return found.parent


def text_of(reader: PdfReader) -> str:
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split())


def bookmarks(outline: list[Any], level: int = 0) -> Iterator[tuple[int, str]]:
    for each in outline:
        if isinstance(each, list):
            yield from bookmarks(each, level + 1)
        else:
            assert isinstance(each, Destination)
            yield level, str(each.title)


def outside(path: Path) -> list[str]:
    """Texts that do not end where the margin of their page begins."""
    found = []
    with pypdfium2.PdfDocument(path) as document:
        for page in document:
            text = page.get_textpage()
            for number in range(text.count_rects()):
                left, bottom, right, top = text.get_rect(number)
                if right > page.get_width() - MARGIN + 1 or left < MARGIN - 1:
                    found.append(text.get_text_bounded(left, bottom, right, top))
    return found


@pytest.mark.slow(group="pdf")
def test_it_has_the_summary_and_each_report(run: Path) -> None:
    reader = PdfReader(run / "report.pdf")
    text = text_of(reader)
    # Lines break within names too, after a hyphen.
    solid = "".join(text.split())
    for finding in json.loads((run / "findings.json").read_text())["findings"]:
        assert "".join(finding["title"].split()) in solid
    marks = list(bookmarks(reader.outline))
    tops = [title for level, title in marks if level == 0]
    assert tops == ["sample (a simulated cluster, Cilium 1.15.2)", "Why are packets dropped?"]
    assert (1, "Findings") in marks
    assert (1, "Compared with the baseline") in marks
    assert 4 <= len(reader.pages) <= 12
    for number, page in enumerate(reader.pages, start=1):
        assert f"{number} of {len(reader.pages)}" in page.extract_text()
    # Figures are drawn, and their texts are texts.
    for name in ("Time (UTC)", "baseline, for the same length", "bytes/s"):
        assert name in text


@pytest.mark.slow(group="pdf")
def test_it_can_be_read_by_everyone(run: Path) -> None:
    reader = PdfReader(run / "report.pdf")
    assert reader.metadata is not None
    title = "sample (a simulated cluster, Cilium 1.15.2), 2026-03-21 08:00:00 to"
    assert str(reader.metadata.title).startswith(title)
    assert reader.metadata.author == "cilium_analysis"
    root = reader.root_object
    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    metadata = root["/Metadata"].get_object()
    assert isinstance(metadata, StreamObject)
    assert b"pdfuaid:part" in metadata.get_data()


@pytest.mark.slow(group="pdf")
def test_nothing_runs_over_the_edge(run: Path) -> None:
    assert not outside(run / "report.pdf")


@pytest.mark.slow(group="pdf")
def test_its_links_stay_in_it(run: Path) -> None:
    reader = PdfReader(run / "report.pdf")
    links = [a.get_object() for page in reader.pages for a in page.get("/Annots", ())]
    assert len(links) >= 2  # to the report, from the list of reports and from the contents
    assert not [link for link in links if "/A" in link and "/URI" in link["/A"]]


@pytest.mark.slow(group="pdf")
def test_the_run_names_it(run: Path) -> None:
    assert json.loads((run / "run.json").read_text())["pdf"] == "report.pdf"
    page = Elements((run / "index.html").read_text())
    assert "report.pdf" in [link["href"] for link in page.named("a")]


def page(body: str) -> str:
    return f"<html><body><main id=main><h1>A page</h1>{body}</main></body></html>"


def made(folder: Path, **bodies: str) -> Path:
    target = folder / "report.pdf"
    write_pdf(target, {name: page(body) for name, body in bodies.items()}, title="A title")
    return target


@pytest.mark.slow
@pytest.mark.parametrize("columns", [4, 16])
def test_wide_tables_are_not_cut_off(columns: int, tmp_path: Path) -> None:
    head = "".join(f"<th>Heading{n}</th>" for n in range(columns))
    cells = "".join(f"<td>label-{n}-{'x' * 60}-end{n}</td>" for n in range(columns))
    table = f"<table class=ca-table><thead><tr>{head}</tr></thead><tr>{cells}</tr></table>"
    path = made(tmp_path, index=f"<div class=ca-scroll>{table}</div><p>{'y' * 400}</p>")
    assert not outside(path)
    text = "".join(PdfReader(path).pages[0].extract_text().split())
    assert "end0" in text


@pytest.mark.slow
@pytest.mark.parametrize("text", ["x" * 10_000, "word " * 2_000], ids=["a word", "words"])
def test_a_long_cell_is_cut_and_stays_on_the_page(text: str, tmp_path: Path) -> None:
    """A renderer takes minutes to find the width of a column for one that is not."""
    cells = f"<tr><td>{text}</td><td>beside</td></tr>"
    path = made(tmp_path, index=f"<table class=ca-table>{cells}</table><pre>{text[:3000]}</pre>")
    assert not outside(path)
    reader = PdfReader(path)
    assert len(reader.pages) <= 3
    assert "beside" in text_of(reader)
    assert "…" in text_of(reader)


@pytest.mark.slow
def test_one_that_takes_too_long_is_given_up() -> None:
    rows = "".join(f"<tr><td>{n}</td><td>{'z' * 20}</td></tr>" for n in range(9_000))
    with pytest.raises(NotDrawn, match="it was not done within 2 s"):
        drawn({"index": page(f"<table>{rows}</table>")}, title="A title", deadline=2)


def test_what_no_renderer_can_draw_is_said(tmp_path: Path) -> None:
    target = tmp_path / "report.pdf"
    error = write_pdf(target, {"index": page("<div>" * 3_000)}, title="A title")
    assert error.startswith("RecursionError: ")
    assert not target.exists()


def test_text_over_the_edge_would_be_seen(tmp_path: Path) -> None:
    path = made(tmp_path, index=f"<p style='white-space: nowrap'>{'far ' * 80}</p>")
    assert outside(path)


def test_folded_parts_are_shown_and_long_tables_are_named(tmp_path: Path) -> None:
    query = "<details><summary>Query</summary><p><code>up == 0</code></p></details>"
    table = "<table><tbody><tr><td>a row</td></tr></tbody></table>"
    folded = (
        f"<details class='ca-folded ca-unprinted'><summary>9 queries</summary>{table}</details>"
    )
    rows = f"<details><summary>More</summary>{table.replace('a row', 'one more')}</details>"
    text = text_of(PdfReader(made(tmp_path, index=query + folded + rows)))
    assert "up == 0" in text
    assert "9 queries (listed on the page only)" in text
    assert "a row" not in text
    assert "one more" in text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile = "&lt;img src=file:///etc/passwd&gt;&lt;/main&gt;&lt;h1&gt;Mine&lt;/h1&gt;"
    reader = PdfReader(made(tmp_path, index=f"<h2>{hostile}</h2>", dns=f"<p>{hostile}</p>"))
    assert text_of(reader).count("<img src=file:///etc/passwd></main><h1>Mine</h1>") == 2
    assert [title for level, title in bookmarks(reader.outline) if level == 0] == ["A page"] * 2


def test_nothing_is_fetched(tmp_path: Path) -> None:
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    secret = tmp_path / "secret.txt"
    secret.write_text("planted in a file")
    picture = tmp_path / "secret.svg"
    picture.write_text('<svg xmlns="http://www.w3.org/2000/svg"><text y="9">planted</text></svg>')
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    web = f"http://127.0.0.1:{server.server_port}"
    hostile = (
        f"<img src='{picture.as_uri()}'><img src='{web}/a.png'><object data='{secret.as_uri()}'>"
        f"</object><embed src='{web}/b'><p style='background: url({web}/c)'>text</p>"
        f"<link rel=stylesheet href='{web}/d.css'><link rel=attachment href='{secret.as_uri()}'>"
        f"<a rel=attachment href='{secret.as_uri()}'>e</a><iframe src='{web}/f'></iframe>"
        f"<svg><image href='{web}/g'/></svg><base href='{web}/'><img src='h.png'>"
    )
    try:
        reader = PdfReader(made(tmp_path, index=hostile))
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []
    assert "planted" not in text_of(reader)
    assert not reader.attachments


@pytest.mark.slow
def test_the_pages_are_kept_where_no_pdf_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pages: object, *, title: str) -> bytes:
        raise RecursionError(f"too <deep> for {title}")

    monkeypatch.setattr("cilium_analysis.report.pdf.drawn", broken)
    mine = notebook(tmp_path / "mine", "print('here it is')")
    question = ask(source="sample", baseline="")
    made = report(
        question, topics=["drop_reasons"], directory=tmp_path / "out", notebooks=mine, paper=True
    )
    assert made.failures.keys() == {"report.pdf"}
    assert made.failures["report.pdf"].startswith("RecursionError: too <deep> for ")
    assert made.summary["status"] == "failed"
    assert not (made.directory / "report.pdf").exists()
    assert "here it is" in (made.directory / "drop_reasons.html").read_text()
    first = (made.directory / "index.html").read_text()
    assert "too &lt;deep&gt; for" in first
    assert "PDF of all reports" not in first
    assert json.loads((made.directory / "run.json").read_text()) == made.summary


def test_without_the_package_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    output = tmp_path / "reports"
    assert main([*REPORT, "--pdf", "--output", str(output)]) == 2
    assert capsys.readouterr().err == (
        "cilium-analysis: a PDF needs the package weasyprint: pip install 'cilium-analysis[pdf]'\n"
    )
    assert not output.exists()


def test_without_pango_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weasyprint.py").write_text("raise OSError('cannot load library pango')")
    monkeypatch.delitem(sys.modules, "weasyprint")
    monkeypatch.syspath_prepend(tmp_path)
    output = tmp_path / "reports"
    assert main([*REPORT, "--pdf", "--output", str(output)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "apt-get install libpango-1.0-0" in said
    assert not output.exists()
