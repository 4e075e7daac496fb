"""Pages: an executed notebook, a run, all runs. Self-contained files.

Tables in a notebook's page are made by `cilium_analysis.findings` and `cilium_analysis.show`, its
sections by `cilium_analysis.report.sections`. What keeps runs calls `runs_page` whenever their list
changes (``index=`` in `cilium_analysis.storage`).
A page loads nothing from elsewhere, and runs only our script: its content security policy forbids
all else. Texts from metrics, labels and servers are escaped by Jinja2 or by `cilium_analysis.show`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cilium_analysis import cards, texts
from cilium_analysis.figures import FIGURE, picture
from cilium_analysis.findings import MIME, Findings
from cilium_analysis.report.finished import sanitized
from cilium_analysis.report.grafana import Explore
from cilium_analysis.report.sections import details_of, folded, linked, plain
from cilium_analysis.report.verdict import PITCH, bars, called, clock, weight, worst
from cilium_analysis.show import MISSING
from cilium_analysis.texts import escaped, spoken, unknown_lines, visible
from cilium_analysis.topics import INCIDENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nbconvert import HTMLExporter
    from nbformat import NotebookNode

    from cilium_analysis.report.execute import Executed

#: Where a page links to the page of a finding's topic, and to its story.
_SEE = re.compile(r"<!--see ([a-z0-9_]+) (finding-[0-9a-f]+--?[0-9]+)-->")
_EXPLORE = re.compile(r"<!--explore ([A-Za-z0-9%._~-]+)-->")
_STORY = re.compile(r"<!--story (finding-[0-9a-f]+--?[0-9]+)-->")
#: What stands for a drawn figure, and its content.
_STANDS = re.compile(r'<img[^<>]* src="data:image/png;base64,([A-Za-z0-9]{12})"[^<>]*>')


def notebook_page(executed: Executed, *, run: Mapping[str, Any], show_code: bool = False) -> str:
    """Give the page of an executed notebook.

    Parameters
    ----------
    executed
        The notebook. If it stopped with an error, the page begins with that.
    run
        As `run.json` holds it.
    show_code
        Whether to show the code cells too.
    """
    shown, drawn = _described(executed.notebook)
    details = details_of(shown)
    if not show_code:
        shown.cells = _answer_first(shown.cells)
    body = _body(shown, show_code=show_code)
    body = _to_pages(body, executed.topic, run) if executed.trusted else sanitized(body)
    body, sections = linked(body)
    body = folded(body, details)
    sections = [each for each in sections if f'<h2 id="{each[0]}">' in body]
    body = _STANDS.sub(lambda found: drawn.get(found[1], found[0]), body)
    return _page(
        "notebook.html.j2",
        title=executed.title,
        topic=executed.topic,
        error=executed.error,
        body=Markup(body),  # noqa: S704  escaped by nbconvert, and sanitized if it is not ours
        sections=sections,
        caveats=[text for text in run.get("caveats", ()) if text not in executed.caveats],
        code_style=_code_style() if show_code else "",
        run=run,
    )


def run_page(run: Mapping[str, Any], findings: Mapping[str, Any]) -> str:
    """Give the first page of a run: its findings, its reports, and the queries behind them.

    Parameters
    ----------
    run, findings
        As ``run.json`` and ``findings.json`` hold them.
    """
    found, timezone = Findings.from_json(findings), run["parameters"]["timezone"]
    return _page(
        "run.html.j2",
        run=run,
        findings=findings,
        told=Markup(cards.told(found, timezone)),  # noqa: S704  escaped there
        stories=Markup(_to_pages(cards.stories(found, timezone), "", run)),  # noqa: S704
    )


def title(run: Mapping[str, Any]) -> str:
    """Name a run in a line, by its cluster and window."""
    window, zone = run["window"], run["parameters"]["timezone"]
    return f"{called(run)}, {clock(window['start'], zone)} to {clock(window['end'], zone)} {zone}"


def unmade_page(run: Mapping[str, Any]) -> str:
    """Give the page of a run that is not complete, as its ``run.json`` has it."""
    return _page("unmade.html.j2", run=run)


def fleet_page(fleet: Mapping[str, Any], *, name: str) -> str:
    """Give the page that compares the clusters of a fleet.

    Parameters
    ----------
    fleet
        As of `cilium_analysis.fleet.result.comparison`.
    name
        Of the file, without its suffix.
    """
    return _page("fleet.html.j2", fleet=fleet, name=name)


def runs_page(runs: Sequence[Mapping[str, Any]], *, fleets: Sequence[str] = ()) -> str:
    """Give the list of all runs.

    Parameters
    ----------
    runs
        Each as its ``run.json`` has it.
    fleets
        Names of the pages that compare the clusters of a fleet.
    """
    drawn = bars(runs)
    return _page(
        "runs.html.j2",
        runs=runs,
        fleets=fleets,
        bars=drawn,
        width=PITCH * len(drawn),
        sources=sorted({called(run) for run in runs}),
        topics=sorted({str(row["topic"]) for run in runs for row in run["topics"]}),
    )


def _page(template: str, **values: Any) -> str:  # as Jinja2 takes values
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cilium_analysis.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = files("cilium_analysis.report").joinpath("templates")
    style, script = (folder.joinpath(n).read_text("utf-8") for n in ("style.css", "site.js"))
    environment.globals["style"] = Markup(style)  # noqa: S704  our own file
    environment.globals["script"] = Markup(script)  # noqa: S704  our own file
    environment.globals["script_hash"] = _hash(script)
    environment.filters |= {
        "called": called,
        "clock": clock,
        "number": number,
        "worst": worst,
        "weight": weight,
        "unknown_lines": unknown_lines,
    }
    return environment


def _shown(value: object) -> object:
    """Give a value as a template writes it: no text of others has invisible characters."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return visible(str(value)) if plain else value


def _hash(script: str) -> str:
    """Name a script as a content security policy does (W3C, CSP level 3, section 2.3.1)."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def number(value: float | None) -> str:
    """Write a number, or a dash for none."""
    return MISSING if value is None else texts.number(value)


def _body(notebook: NotebookNode, *, show_code: bool) -> str:
    """Convert the cells to HTML."""
    from nbconvert import TemplateExporter

    # HTMLExporter's own method parses the page once more, which takes seconds: to describe figures,
    # which are described, and for what scrolls in a page of JupyterLab, which this is not.
    body, _ = TemplateExporter.from_notebook_node(_exporter(show_code=show_code), notebook)
    return visible(str(body))


@cache
def _exporter(*, show_code: bool) -> HTMLExporter:
    from nbconvert import HTMLExporter
    from nbconvert.filters import Highlight2HTML

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=not show_code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        # Once, after all its preprocessors, and not after each of them.
        optimistic_validation=True,
    )
    highlight = Highlight2HTML(pygments_lexer="ipython3", parent=exporter)
    exporter.register_filter("highlight_code", highlight)
    return exporter


def _to_pages(body: str, topic: str, run: Mapping[str, Any]) -> str:
    """Link findings to the page of their topic and to Grafana, and topics to the stories.

    Each where there is such a page.

    Parameters
    ----------
    body
        HTML of ours.
    topic
        Of the page; empty for the first page of the run.
    run
        As `run.json` holds it.
    """
    pages = {str(row["topic"]) for row in run["topics"]} - {topic}

    def see(found: re.Match[str]) -> str:
        name = spoken(found[1])
        link = f' <a class="ca-see" href="{found[1]}.html#{found[2]}">{name}</a>'
        return link if found[1] in pages else ""

    def story(found: re.Match[str]) -> str:
        link = f' <a class="ca-see" href="{INCIDENT}.html#{found[1]}">what else happened then</a>'
        return link if INCIDENT in pages else ""

    grafana = Explore(**run["grafana"]) if "grafana" in run else None

    def explore(found: re.Match[str]) -> str:
        if grafana is None:
            return ""
        link = escaped(grafana.link(unquote(found[1]), run["window"]))
        return f' <a class="ca-see" href="{link}">Explore</a>'

    return _EXPLORE.sub(explore, _STORY.sub(story, _SEE.sub(see, body)))


def _code_style() -> Markup:
    from pygments.formatters import HtmlFormatter

    rules = HtmlFormatter(style="default").get_style_defs(".highlight")
    return Markup(rules)  # noqa: S704  pygments' own rules


def _described(notebook: NotebookNode) -> tuple[NotebookNode, dict[str, str]]:
    """Give every figure the text before it as its description, for people who cannot see it.

    Figures that are drawn for pages are given apart, by the content of the image that stands for
    each in the notebook: what makes a page of it need not look through all of them.
    """
    drawn: dict[str, str] = {}
    described = deepcopy(notebook)
    # Papermill adds cells because of an error; the page shows that by itself.
    described.cells = [
        cell
        for cell in described.cells
        if "papermill-error-cell-tag" not in cell.metadata.get("tags", ())
    ]
    text = ""
    for cell in described.cells:
        text = plain(cell.source) if cell.cell_type == "markdown" else text
        for output in cell.get("outputs", ()):
            data, alt = output.get("data", {}), f"Figure. {text}"
            if FIGURE in data:
                data["image/png"] = base64.b64encode(f"{len(drawn):09}".encode()).decode()
                drawn[data["image/png"]] = picture(data.pop(FIGURE), alt=alt)
            if "image/png" in data:
                output.metadata["image/png"] = {"alt": alt}
    return described, drawn


def _answer_first(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Move what stands between the title and the first section, such as the source, behind it.

    Not if that has the findings: then it is the answer.
    """
    places = [
        place
        for place, cell in enumerate(cells)
        if cell.cell_type == "markdown" and cell.source.startswith("## ")
    ]
    if len(places) < 2:
        return cells
    first, second = places[:2]
    outputs = [output for cell in cells[:first] for output in cell.get("outputs", ())]
    if any(MIME in output.get("data", {}) for output in outputs):
        return cells
    return [*cells[:1], *cells[first:second], *cells[1:first], *cells[second:]]
