"""The documentation: examples in docstrings run, and what is generated is of the code."""

from __future__ import annotations

import csv
import doctest
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from cilium_analysis import counters
from cilium_analysis.cli.parser import build_parser
from cilium_analysis.incident.links import DEPTH
from cilium_analysis.metrics import known
from cilium_simulator.events import KINDS, Event
from docs import figures, generated
from tests.commandline import options_of

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cilium_analysis"
#: Modules with examples that run; one that needs a server marks it with "+SKIP".
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings_give_what_they_show(name: str) -> None:
    options = doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testmod(import_module(name), optionflags=options, report=False)
    assert tried
    assert not failed, "the report above says which"


def test_the_diagram_has_every_module_in_the_order_of_the_contract() -> None:
    diagram = generated.layer_diagram(ROOT)
    drawn = re.findall(r"<b>(\w+)</b><span>([^<]*)", diagram)
    layers = generated.layers((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert [name for name, _ in drawn] == [name for layer in layers for name in layer]
    assert diagram.count('class="layer"') == len(layers)
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name, _ in drawn} == modules | packages
    assert all("<code>" in diagram or said for _, said in drawn)


def test_every_command_and_option_is_described() -> None:
    text = generated.commands(build_parser())
    found = dict(generated.subcommands(build_parser()))
    assert {"report", "capture", "schedule kubernetes", "schedule systemd"} <= set(found)
    sections = dict(re.findall(r"^## ([a-z -]+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(sections) == set(found)
    for name, parser in found.items():
        for option in options_of(parser) - {"-h", "--help"}:
            assert option in sections[name], (name, option)
    assert "%(" not in text


def test_markdown_shows_plain_text_as_it_is() -> None:
    assert generated.escaped('a|b <c> *d* `e` {x=~"y"}') == (r'a\|b \<c\> \*d\* \`e\` \{x=\~"y"\}')


def test_the_table_of_metrics_has_each_once_and_who_asks_for_it() -> None:
    table = generated.metrics_table(known())
    rows = re.findall(r"<tr><td><code>(.*?)</code></td>(.*)</tr>", table)
    listed = (PACKAGE / "metrics" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    names = {row["name"] for row in csv.DictReader(listed)}
    assert [name.replace("<wbr>", "") for name, _ in rows] == list(known())
    assert {name.replace("<wbr>", "") for name, _ in rows} == names
    (drops,) = [rest for name, rest in rows if name.endswith("drop_<wbr>count_<wbr>total")]
    assert "drop_reasons" in drops
    assert "direction, reason" in drops
    (latency,) = [
        r for n, r in rows if n.replace("<wbr>", "") == "hubble_http_request_duration_seconds"
    ]
    assert "http_status" in latency, "asked for by the names of a histogram's series"


def test_a_schema_becomes_a_table_for_each_kind_of_object() -> None:
    text = generated.schema_tables(
        {
            "description": "All | of it.",
            "required": ["rows"],
            "properties": {
                "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}, "description": "each"},
                "when": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
            },
            "$defs": {"row": {"properties": {"kind": {"enum": ["a", "b"]}}}},
        }
    )
    assert r"All \| of it." in text
    assert "| `rows` | list of `row` | each |" in text
    assert "| `when` | string (date-time) or null | (may be absent) |" in text
    assert "| `kind` | `a`, `b` |" in text


def test_every_field_of_a_scenario_is_described() -> None:
    text = generated.scenario_tables()
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^### |\Z)", text, re.DOTALL | re.MULTILINE))
    assert list(sections) == list(KINDS)
    for name, kind in KINDS.items():
        own = {field.name for field in fields(kind)} - {field.name for field in fields(Event)}
        assert set(re.findall(r"^\| `(\w+)` \|", sections[name], re.MULTILINE)) == own
    assert "| `rate` | number (1/s per node) | how many packets |" in sections["drops"]
    assert "as `cilium_drop_count_total` spells it: `Invalid source mac`, " in sections["drops"]
    assert "`node` or `nodes` is needed." in sections["unreachable"]
    assert '| `scrape_interval` | time | how often a target is scraped (default: `"30s"`) |' in text
    assert '(default: `{"200" = 1.0}`)' in text


def test_a_page_that_loads_from_elsewhere_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<a href="https://cilium.io">a link</a><img src="a.png"><script src="x.js">')
    generated.refuse_foreign(tmp_path)
    page.write_text('<link rel="stylesheet" href="//cdn.example.org/x.css">')
    with pytest.raises(ValueError, match=r"page.html loads //cdn.example.org/x.css"):
        generated.refuse_foreign(tmp_path)


def test_links_lead_to_notebooks_of_the_gallery_only() -> None:
    text = "[`dns`](dns.ipynb), [incident](incident.ipynb), [site](https://cilium.io)"
    assert generated.within_gallery(text) == (
        "`dns`, [incident](incident.ipynb), [site](https://cilium.io)"
    )


def test_the_figures_show_what_is_counted(tmp_path: Path) -> None:
    figures.draw(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("birth.svg", "pinned.svg", "onset.svg", "stories.svg", "links.md")
    }
    birth = (tmp_path / "birth.svg").read_text(encoding="utf-8")
    assert "increase between samples: 2,060 in all" in birth
    assert "counters.increase: 3,000 in all" in birth
    pinned = (tmp_path / "pinned.svg").read_text(encoding="utf-8")
    assert "read as a reset: 5,420 in all" in pinned
    assert "counters.increase: 300 in all" in pinned
    linked = re.findall(r">(\d)  ([\w ]+)<", (tmp_path / "stories.svg").read_text("utf-8"))
    assert [story for story, _ in linked] == ["1", "1", "1", "1", "2"]
    assert linked[-1][1] == "agent restart"
    assert all(f"`{kind}`" in (tmp_path / "links.md").read_text() for kind in DEPTH)


def test_the_example_of_a_birth_is_proven_by_its_sibling() -> None:
    alone = figures.values(reasons={"Policy denied": np.array([np.nan, 940.0, 1920.0])})
    assert counters.increase(alone).sum().sum() == 980.0
