"""Reports: on the sample, on hostile names, on notebooks that fail, hang or are stopped."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
import subprocess
import sys
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import numpy as np
import pytest

from cilium_analysis.bundle import Bundle, Recorder
from cilium_analysis.errors import OutputError, ParameterError, ServerUnavailable
from cilium_analysis.findings import MIME, Severity
from cilium_analysis.question import Question, ask
from cilium_analysis.report import Run, html, report
from cilium_analysis.report.html import number, runs_page
from cilium_analysis.report.notebooks import check_parameters, notebook_directory
from cilium_analysis.topics import drops
from cilium_analysis.topics.drops.data import QUERIES
from cilium_analysis.window import Window
from tests.runs import REPORT, appears, notebook, runs
from tests.sources import MemorySource, grid

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TOPIC = ("drop_reasons",)
#: How the address of an image begins: it is in the page.
IMAGES = ("data:image/png;base64,", "data:image/svg+xml,")
WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")


@pytest.fixture(scope="module")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Run[Path]:
    return report(
        ask(source="sample", baseline=""),
        topics=TOPIC,
        directory=tmp_path_factory.mktemp("reports"),
    )


class Elements(HTMLParser):
    """Collects the elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


def policy(elements: Elements) -> str:
    (found,) = [
        meta["content"]
        for meta in elements.named("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    return found


def runs_only_ours(page: str) -> bool:
    """Tell whether the one script of a page is the package's, and the only one it may run."""
    script = (Path(html.__file__).parent / "templates" / "site.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    elements = Elements(page)
    allowed = re.findall(r"script-src ([^;]*)", policy(elements))
    once = page.count(f"<script>{script}</script>") == 1
    return once and elements.named("script") == [{}] and allowed == [f"'sha256-{digest}'"]


def pages(directory: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.html"))]


# What a run writes


@pytest.mark.slow
def test_a_run_has_all_that_the_contract_names(sample_run: Run[Path]) -> None:
    names = {path.name for path in sample_run.directory.iterdir()}
    pair = {"drop_reasons.ipynb", "drop_reasons.html"}
    written = {"index.html", "report.md", "findings.json", "findings.prom", "run.json", "bundle"}
    assert names == written | pair
    assert {p.name for p in sample_run.directory.parent.iterdir()} == {
        "index.html",
        sample_run.directory.name,
    }
    assert re.fullmatch(r"20260321T080000Z-20260321T100000Z-[0-9a-f]{6}", sample_run.directory.name)


def test_findings_are_those_of_the_topic_on_the_source(sample_run: Run[Path]) -> None:
    question = ask(source="sample", baseline="")
    data = drops.load(question.source, question.window, question.baseline)
    expected = json.loads(json.dumps(drops.findings(data).as_json()))
    written = json.loads((sample_run.directory / "findings.json").read_text())
    assert written == expected
    assert written == sample_run.findings
    assert sample_run.worst is Severity.CRITICAL


@pytest.mark.slow
def test_a_report_from_its_own_bundle_finds_the_same(sample_run: Run[Path], tmp_path: Path) -> None:
    again = report(
        ask(source=str(sample_run.directory / "bundle"), baseline=""), directory=tmp_path
    )
    assert again.findings == sample_run.findings


@pytest.mark.slow
def test_the_executed_notebook_runs_again_where_it_lies(
    sample_run: Run[Path], tmp_path: Path
) -> None:
    executed = sample_run.directory / "drop_reasons.ipynb"
    parameters = nbformat.read(executed, as_version=4).metadata.papermill.parameters
    assert parameters.source == "bundle"
    command = [sys.executable, "-m", "papermill", "--cwd", str(sample_run.directory)]
    target = tmp_path / "again.ipynb"
    subprocess.run([*command, str(executed), str(target)], check=True, capture_output=True)
    outputs = [o for c in nbformat.read(target, as_version=4).cells for o in c.get("outputs", ())]
    (again,) = [o.data[MIME] for o in outputs if MIME in o.get("data", {})]
    assert again["findings"] == sample_run.findings["findings"]


def test_run_json_tells_what_was_asked_and_what_it_cost(sample_run: Run[Path]) -> None:
    run = json.loads((sample_run.directory / "run.json").read_text())
    answers = Bundle(sample_run.directory / "bundle").manifest["answers"]
    assert run["schema"] == "cilium-analysis/run/1"
    assert run["status"] == "complete"
    assert run["parameters"] == {
        "topics": ["drop_reasons"],
        "source": "sample (a simulated cluster, Cilium 1.15.2)",
        "start": "2026-03-21T08:00:00Z",
        "end": "2026-03-21T10:00:00Z",
        "step": "30s",
        "baseline": "2026-03-21T06:00:00Z/2026-03-21T08:00:00Z",
        "match": "",
        "timezone": "UTC",
        "workloads": "",
    }
    assert [query["promql"] for query in run["queries"]] == [row["promql"] for row in answers]
    assert sum(query["samples"] for query in run["queries"]) == sum(r["samples"] for r in answers)
    assert run["cost"] == {
        "queries": len(answers),
        **{key: sum(row[key] for row in answers) for key in ("series", "samples", "bytes")},
        "seconds": pytest.approx(sum(row["seconds"] for row in answers), abs=0.001),
    }
    assert (
        f"{run['cost']['samples']:,} samples" in (sample_run.directory / "index.html").read_text()
    )
    assert run["findings"] == {"critical": 1, "warning": 0, "info": 0}
    assert run["server"]["application"] == "Prometheus"


def test_nothing_written_names_a_temporary_path(sample_run: Run[Path]) -> None:
    texts = [
        p.read_text() for p in sample_run.directory.glob("*") if p.suffix != "" and p.is_file()
    ]
    assert not [text for text in texts if f"/.{sample_run.directory.name}" in text]


# Pages


def test_pages_load_nothing_and_run_nothing(sample_run: Run[Path]) -> None:
    for page in [*pages(sample_run.directory), *pages(sample_run.directory.parent)]:
        elements = Elements(page)
        assert "default-src 'none'" in policy(elements)
        assert runs_only_ours(page)
        assert not elements.named("link")
        assert all(i["src"].startswith(IMAGES) for i in elements.named("img"))
        assert not any(name.startswith("on") for _, a in elements.found for name in a)
        assert not re.search(r"url\(|@import", page.split("</style>")[0])


def test_links_lead_to_files_that_are_there(sample_run: Run[Path]) -> None:
    for folder in (sample_run.directory, sample_run.directory.parent):
        for path in folder.glob("*.html"):
            links = [a["href"] for a in Elements(path.read_text()).named("a")]
            assert links
            for link in links:
                name, _, anchor = link.partition("#")
                there = folder / name if name else path
                assert there.exists(), link
                assert not anchor or f' id="{anchor}"' in there.read_text(), link


def test_figures_have_descriptions_and_code_is_left_out(sample_run: Run[Path]) -> None:
    page = (sample_run.directory / "drop_reasons.html").read_text()
    described = [image["alt"] for image in Elements(page).named("img")]
    figures = sum(
        "image/png" in output.get("data", {})
        for cell in nbformat.read(sample_run.directory / "drop_reasons.ipynb", as_version=4).cells
        for output in cell.get("outputs", ())
    )
    assert len(described) == figures > 0
    assert all(len(text) > len("Figure. ") for text in described)
    assert described[0].startswith("Figure. When Packets dropped per second, by reason.")
    assert "drops.load" not in page
    assert "Policy denied" in page


@pytest.mark.slow
def test_code_is_shown_when_asked_for(tmp_path: Path) -> None:
    mine = notebook(tmp_path / "mine", "print('seen ' + source)")
    run = report(
        ask(source="sample", baseline=""),
        topics=TOPIC,
        directory=tmp_path / "out",
        notebooks=mine,
        show_code=True,
    )
    page = (run.directory / "drop_reasons.html").read_text()
    assert "seen bundle" in page
    assert "print" in page
    assert ".highlight" in page


class Cut(MemorySource):
    """A source that answers with what lies in the window, as a server does."""

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        return super().range(promql, window).loc[window.start : window.end]

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        # There is something of Cilium, so that it is asked for the rest.
        if promql.startswith("max(cilium_"):
            return grid(WINDOW, {("a",): np.ones(WINDOW.points)}, "job").iloc[-1:]
        return super().instant(promql, moment)


@pytest.fixture
def hostile_source() -> MemorySource:
    wide = Window.parse("2026-03-21T07:55Z", "2026-03-21T10:00Z", step="30s")
    burst = np.where(np.arange(wide.points) > 100, 900.0 * np.arange(wide.points), 0.0)
    drops = grid(wide, {(HOSTILE, "INGRESS", HOSTILE, "i:1"): burst}, LABELS)
    return Cut({QUERIES["drops"].render(step=WINDOW.step): drops}, warnings=(HOSTILE,))


LABELS = "reason direction node instance"


@pytest.mark.slow
def test_names_from_the_cluster_stay_text(hostile_source: MemorySource, tmp_path: Path) -> None:
    run = report(
        Question(hostile_source, WINDOW, WINDOW.baseline()), topics=TOPIC, directory=tmp_path
    )
    assert any(HOSTILE in row["title"] for row in run.findings["findings"])
    for page in [*pages(run.directory), *pages(tmp_path)]:
        elements = Elements(page)
        assert runs_only_ours(page)
        assert all(i["src"].startswith(IMAGES) for i in elements.named("img"))
        assert not any(name.startswith("on") for _, a in elements.found for name in a)
    assert "&lt;script&gt;" in (run.directory / "index.html").read_text()


@pytest.mark.slow
def test_the_list_of_runs_escapes_and_skips_what_is_not_a_run(
    sample_run: Run[Path], tmp_path: Path
) -> None:
    for name, text in {"broken": "{", "later": '{"schema": "cilium-analysis/run/9"}'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    run = report(ask(source="sample", baseline=""), topics=TOPIC, directory=tmp_path)
    listed = Elements((tmp_path / "index.html").read_text()).named("a")
    assert {a["href"].split("/")[0] for a in listed} == {"#main", run.directory.name}
    forged = sample_run.summary | {"name": HOSTILE, "source": HOSTILE}
    assert runs_only_ours(runs_page([forged]))


def test_numbers_are_written_with_what_they_are_worth() -> None:
    texts = [number(value) for value in (0.0, 0.011523, 34.26, 86479.4, None)]
    assert texts == ["0", "0.0115", "34.3", "86,479", "–"]


# Parameters


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strat": "-2h"}, r"no parameter 'strat': did you mean start\?"),
        ({"colour": "red"}, "choose from source, start, end, step, baseline, match, timezone"),
        ({"step": 30}, "step=30 is not a string: write '30'"),
    ],
)
def test_unknown_parameters_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_parameters(notebook_directory() / "drop_reasons.ipynb", given)


def test_nothing_runs_when_a_notebook_lacks_a_parameter(tmp_path: Path) -> None:
    mine = notebook(tmp_path / "mine", "1")
    other = nbformat.read(mine / "drop_reasons.ipynb", as_version=4)
    other.cells[1].source = 'source: str = "sample"'
    nbformat.write(other, mine / "drop_reasons.ipynb")
    source = MemorySource()
    with pytest.raises(ParameterError, match="no parameter 'start'"):
        report(
            Question(source, WINDOW, WINDOW.baseline()),
            topics=TOPIC,
            directory=tmp_path / "o",
            notebooks=mine,
        )
    assert not source.journal
    assert not (tmp_path / "o").exists()


# Faults


def failing(tmp_path: Path, *code: str) -> Run[Path]:
    mine = notebook(tmp_path / "mine", *code)
    return report(
        ask(source="sample", baseline=""), topics=TOPIC, directory=tmp_path / "out", notebooks=mine
    )


@pytest.mark.slow
def test_a_notebook_that_fails_is_kept_as_evidence(tmp_path: Path) -> None:
    run = failing(tmp_path, "print('before')", "raise ValueError('no <b>such</b> thing')", "1 / 0")
    assert run.failures == {"drop_reasons": "ValueError: no <b>such</b> thing"}
    assert run.summary["status"] == "failed"
    assert run.findings["incomplete"] == ["drop_reasons"]
    kept = nbformat.read(run.directory / "drop_reasons.ipynb", as_version=4)
    assert any(o.output_type == "error" for c in kept.cells for o in c.get("outputs", ()))
    page = (run.directory / "drop_reasons.html").read_text()
    assert "stopped with an error" in page
    assert "before" in page
    assert "no &lt;b&gt;such&lt;/b&gt; thing" in page
    assert "failed" in (tmp_path / "out" / "index.html").read_text()
    assert "Nothing unusual" not in (run.directory / "index.html").read_text()


@pytest.mark.slow
def test_a_kernel_that_dies_is_an_error(tmp_path: Path) -> None:
    run = failing(tmp_path, "print('before')", "import os\nos._exit(3)")
    assert "DeadKernelError" in run.failures["drop_reasons"]
    assert "before" in (run.directory / "drop_reasons.html").read_text()


@pytest.mark.slow
def test_findings_before_the_failure_are_kept_and_marked(tmp_path: Path) -> None:
    load = (
        "from cilium_analysis.question import ask\n"
        "from cilium_analysis.topics import drops\n"
        "q = ask(source=source, start=start, end=end, step=step, baseline=baseline)\n"
        "drops.findings(drops.load(q.source, q.window, q.baseline))"
    )
    run = failing(tmp_path, load, "1 / 0")
    assert len(run.findings["findings"]) == 1
    assert run.findings["incomplete"] == ["drop_reasons"]


@pytest.mark.slow
def test_kernels_see_no_credentials_and_no_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_PASSWORD", "hunter2-planted")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    show = "import os\n[os.environ['MPLBACKEND'], 'CILIUM_ANALYSIS_PASSWORD' in os.environ]"
    run = failing(tmp_path, show)
    text = (run.directory / "drop_reasons.ipynb").read_text()
    assert "['module://matplotlib_inline.backend_inline', False]" in text
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in files if b"hunter2-planted" in path.read_bytes()]


def test_a_source_that_dies_leaves_nothing_behind(tmp_path: Path) -> None:
    source = MemorySource(error=ServerUnavailable("it went away"))
    with pytest.raises(ServerUnavailable, match="it went away"):
        report(
            Question(source, WINDOW, WINDOW.baseline()), topics=TOPIC, directory=tmp_path / "out"
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    source = MemorySource()
    with pytest.raises(OutputError, match="cannot write to"):
        report(
            Question(source, WINDOW, WINDOW.baseline()), topics=TOPIC, directory=tmp_path / "out"
        )
    assert not source.journal


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_no_files_and_no_kernel(how: signal.Signals, tmp_path: Path) -> None:
    note = tmp_path / "kernel"
    code = f"import os, time\nopen({str(note)!r}, 'w').write(f'{{os.getpid()}} ')\ntime.sleep(600)"
    mine = notebook(tmp_path / "mine", code)
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", REPORT, str(out), str(mine), *TOPIC])
    kernel = int(appears(note))
    process.send_signal(how)
    assert process.wait(30) == 130
    assert list(out.iterdir()) == []
    assert not runs(kernel)


@pytest.mark.slow
def test_runs_that_end_together_are_both_listed(tmp_path: Path) -> None:
    mine = notebook(tmp_path / "mine", "1")
    command = [sys.executable, "-c", REPORT, str(tmp_path / "out"), str(mine), *TOPIC]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    names = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    assert len(names) == 2
    assert names == _listed(tmp_path / "out" / "index.html")


def _listed(index: Path) -> set[str]:
    links: Iterable[str] = (a["href"] for a in Elements(index.read_text()).named("a"))
    return {link.split("/")[0] for link in links if not link.startswith("#")}


def test_a_recording_of_a_bundle_is_as_good_as_the_bundle(tmp_path: Path) -> None:
    question = ask(source="sample", baseline="")
    with Recorder(question.source, tmp_path / "b", window=question.window) as recorder:
        first = drops.load(recorder, question.window, question.baseline)
    again = drops.load(Bundle(tmp_path / "b"), question.window, question.baseline)
    assert drops.findings(first).as_json() == drops.findings(again).as_json()
