"""Parts of the site that the code itself tells: layers, commands, metrics, schemas, scenarios.

`write` puts them into ``docs/_generated``, from where the pages include them. Nothing here is kept
by hand, so that nothing here can be out of step.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from ast import get_docstring, parse
from dataclasses import MISSING, Field, fields
from datetime import datetime
from html import escape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from cilium_analysis.cli.parser import build_parser
from cilium_analysis.metrics import Metric, known
from cilium_analysis.queries import selected
from cilium_analysis.report.notebooks import notebook_directory
from cilium_analysis.topics import TOPICS
from cilium_simulator.events import KINDS, Event
from cilium_simulator.fields import WORKLOAD, about, key
from cilium_simulator.scenario import Scenario, Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

#: Notebooks of the gallery, in its order.
GALLERY = (
    "START_HERE",
    "incident",
    "drop_reasons",
    "node_connectivity",
    "endpoint_growth",
    "http_status",
)
SCHEMAS = {"findings": "findings.schema.json", "bundle": "bundle.schema.json"}
#: Characters that Markdown would take for its own.
_MARKS = re.compile(r"([\\`*_{}\[\]<>|$#~])")
#: A link to a notebook, in Markdown.
_TO_NOTEBOOK = re.compile(r"\[`?(\w+)`?\]\((\w+)\.ipynb\)")
_CONTRACT = "Imports run downward only, and every module has its layer"


def write(docs: Path) -> None:
    """Write all parts.

    Parameters
    ----------
    docs
        Directory of the pages, in the root of the checkout.
    """
    root, place = docs.parent, docs / "_generated"
    place.mkdir(exist_ok=True)
    texts = {
        "layers": as_html(layer_diagram(root)),
        "commands": commands(build_parser()),
        "metrics": as_html(metrics_table(known())),
        "scenarios": scenario_tables(),
        "panels": within_gallery((root / "notebooks" / "README.md").read_text(encoding="utf-8")),
    }
    for name, file in SCHEMAS.items():
        document = (root / "cilium_analysis" / "schemas" / file).read_text(encoding="utf-8")
        texts[f"schema-{name}"] = schema_tables(json.loads(document))
    for name, text in texts.items():
        (place / f"{name}.md").write_text(text, encoding="utf-8")
    for name in GALLERY:
        text = (notebook_directory() / f"{name}.ipynb").read_text(encoding="utf-8")
        (docs / "gallery" / f"{name}.ipynb").write_text(within_gallery(text), encoding="utf-8")


def within_gallery(text: str) -> str:
    """Keep the links to notebooks of the gallery; others become their names."""
    return _TO_NOTEBOOK.sub(
        lambda found: found[0] if found[2] in GALLERY else f"`{found[2]}`", text
    )


def as_html(text: str) -> str:
    """Give HTML as a page in Markdown takes it, whole."""
    return f"```{{raw}} html\n{text}\n```\n"


def layers(pyproject: str) -> list[list[str]]:
    """Read the layers of the import contract, the uppermost first.

    Parameters
    ----------
    pyproject
        Text of ``pyproject.toml``.
    """
    contracts = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"] == _CONTRACT]
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def layer_diagram(root: Path) -> str:
    """Draw the layers, each module with the first sentence of its docstring.

    Parameters
    ----------
    root
        Of the checkout.
    """
    rows = []
    for layer in layers((root / "pyproject.toml").read_text(encoding="utf-8")):
        boxes = "".join(
            f"<div><b>{name}</b><span>{_sentence(_docstring(root, name))}</span></div>"
            for name in layer
        )
        rows.append(f'<div class="layer">{boxes}</div>')
    return f'<div class="layers">{"".join(rows)}</div>'


def _docstring(root: Path, name: str) -> str:
    package = root / "cilium_analysis" / name
    file = package / "__init__.py" if package.is_dir() else package.with_suffix(".py")
    return get_docstring(parse(file.read_text(encoding="utf-8"))) or ""


def _sentence(text: str) -> str:
    """Give the first paragraph of a docstring as HTML, names in code font."""
    first = escape(" ".join(text.split("\n\n")[0].split()))
    return re.sub(r"`{1,2}([^`]+)`{1,2}", r"<code>\1</code>", first)


def commands(parser: argparse.ArgumentParser) -> str:
    """Describe all commands and their options in Markdown.

    Parameters
    ----------
    parser
        Of the whole command line.
    """
    return "\n".join(
        f"## {name}\n\n{escaped(one.description or '')}\n\n{_options(one)}\n"
        for name, one in subcommands(parser)
    )


def subcommands(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Walk the commands that do something, with their full names."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield name, parser
    for action in below:
        for word, one in action.choices.items():
            yield from subcommands(one, f"{name} {word}".strip())


def _options(parser: argparse.ArgumentParser) -> str:
    """List arguments and options, group by group."""
    parts = []
    for group in parser._action_groups:
        listed = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
        listed = [a for a in listed if "--help" not in a.option_strings]
        if not listed:
            continue
        if group.description:
            parts.append(f"*{escaped(group.title or '')}*: {escaped(group.description)}.\n")
        parts += [f"`{_spelled(a)}`\n: {escaped(_help(a))}\n" for a in listed]
    return "\n".join(parts)


def _spelled(action: argparse.Action) -> str:
    """Write an option with its value, as a person types it."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    value = "|".join(map(str, action.choices)) if action.choices else metavar
    if not action.option_strings:
        return f"[{value} …]" if action.nargs == "*" else value
    takes = f" {value}" if action.nargs != 0 else ""
    return ", ".join(f"{option}{takes}" for option in action.option_strings)


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%") % vars(action)


def escaped(text: str) -> str:
    """Write plain text so that Markdown shows it as it is."""
    return _MARKS.sub(r"\\\1", text)


def asked_by() -> Mapping[str, list[str]]:
    """List the topics that ask for each metric."""
    found: dict[str, list[str]] = {}
    for topic in TOPICS.values():
        names = {name for query in topic.module.QUERIES.values() for name in selected(query.promql)}
        for name in sorted(names):
            bases = {name, *(name.removesuffix(e) for e in ("_bucket", "_sum", "_count"))}
            for base in bases:
                found.setdefault(base, []).append(topic.name)
    return {name: list(dict.fromkeys(topics)) for name, topics in found.items()}


def metrics_table(metrics: Mapping[str, Metric]) -> str:
    """Make a table of metrics that a script on the page searches; without it, it is whole.

    Parameters
    ----------
    metrics
        By name.
    """
    asked = asked_by()
    heads = ("metric", "type", "from", "labels", "Cilium", "switched on", "says", "asked by")
    rows = []
    for name, one in metrics.items():
        last = f"{one.until[0]}.{one.until[1] - 1}" if one.until else ""
        cells = (
            f"<code>{escape(name).replace('_', '_<wbr>')}</code>",
            one.kind,
            one.component,
            ", ".join(sorted(one.labels)),
            f"{one.since[0]}.{one.since[1]} to {last or 'now'}",
            one.enabled,
            f"{one.meaning}; {one.remark}" if one.remark else one.meaning,
            ", ".join(asked.get(name, ())),
        )
        first, *rest = cells
        others = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        rows.append(f"<tr><td>{first}</td>{others}</tr>")
    head, body = "".join(f"<th>{name}</th>" for name in heads), "\n".join(rows)
    return (
        '<p class="searched">'
        '<label>Search <input type="search" data-searches="all-metrics"></label>'
        f' <output aria-live="polite">{len(rows):,} metrics</output></p>'
        '<div class="wide" tabindex="0"><table class="table" id="all-metrics">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def schema_tables(schema: Mapping[str, Any]) -> str:
    """Describe a JSON Schema in Markdown: a table for the document and for each kind of object.

    Parameters
    ----------
    schema
        With its kinds of objects in ``$defs``.
    """
    parts = [_fields("The document", schema)]
    parts += [_fields(f"`{name}`", one) for name, one in schema.get("$defs", {}).items()]
    return "\n".join(parts)


def _fields(title: str, one: Mapping[str, Any]) -> str:
    rows = [f"## {title}", "", escaped(one.get("description", "")), ""]
    if "properties" in one:
        rows += ["| field | type | meaning |", "|---|---|---|"]
    required = one.get("required", ())
    for name, field in one.get("properties", {}).items():
        about = field.get("description", "")
        about += "" if name in required else " (may be absent)"
        rows.append(f"| `{name}` | {_type(field)} | {escaped(about.strip())} |")
    return "\n".join([*rows, ""])


def _type(field: Mapping[str, Any]) -> str:
    """Write the type of a field in a few words."""
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"object of {_type(field['additionalProperties'])}"
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return " or ".join(kinds) + (f" ({field['format']})" if "format" in field else "")


def scenario_tables() -> str:
    """Describe in Markdown what a scenario's file may hold: cluster, services, each kind."""
    parts = ["## `[cluster]`", "", "Every field may be left out.", "", _described(Scenario), ""]
    parts += ["## `[[service]]`", "", _plain(Service), "", _described(Service), ""]
    parts += ["## `[[event]]`", "", _TIMES, "", "| kind | what happens |", "|---|---|"]
    parts += [f"| [`{name}`](#{name}) | {_plain(kind)} |" for name, kind in KINDS.items()]
    common = {f.name for f in fields(Event)}
    for name, kind in KINDS.items():
        nodes = {
            "named": " `node` or `nodes` is needed.",
            "cluster": " It concerns the whole cluster.",
        }
        end = " It has no end." if kind.is_moment else ""
        parts += ["", f"### `{name}`", "", f"{_plain(kind)}{nodes.get(kind.on, '')}{end}", ""]
        parts += [_described(kind, without=common)]
    return "\n".join(parts)


_TIMES = """\
Something that happens. `kind` names one of the kinds below, and the fields are those of the kind,
beside these:

| field | type | meaning |
|---|---|---|
| `start` | time | when it begins |
| `end` | time | when it ends (default: the end of the simulation) |
| `duration` | time | instead of `end`: how long it lasts |
| `nodes` | list of nodes | where it happens (default: on all nodes) |
| `node` | node | instead of `nodes`: the only one |

A time is counted from the start of the simulation, such as `"1h30m"` or `"45s"`, or a date with its
zone, such as `2026-03-21T09:00:00Z`. A node is a name, `"#0"` for the first worker, `"#-1"` for the
last, `"!#0"` for all other workers, or `"30%"` for that share of the workers."""


def _plain(kind: type) -> str:
    return _marked(" ".join((kind.__doc__ or "").split()))


def _marked(text: str) -> str:
    """Write plain text in Markdown; what is in backticks stays in code font."""
    parts = enumerate(text.split("`"))
    return "".join(f"`{part}`" if number % 2 else escaped(part) for number, part in parts)


def _described(kind: type, *, without: AbstractSet[str] = frozenset()) -> str:
    """Make a table of the fields of a dataclass of the simulator."""
    listed = [one for one in fields(kind) if one.metadata and one.name not in without]
    rows = ["| field | type | meaning |", "|---|---|---|"] if listed else []
    for one in listed:
        known = about(one)
        unit = f" ({known.unit})" if known.unit and "time" not in known.written else ""
        choices = f": {', '.join(f'`{each}`' for each in known.choices)}" if known.choices else ""
        rows.append(
            f"| `{key(one)}` | {_written(one)}{escaped(unit)} |"
            f" {_marked(known.meaning)}{choices}{_default(one)} |"
        )
    return "\n".join(rows)


def _written(one: Field[Any]) -> str:
    """Say how a file writes a field."""
    words = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "`true` or `false`",
        "tuple[str, ...]": "list of texts",
        "Mapping[str, float]": "table of numbers",
    }
    kind = "workload" if about(one).written == WORKLOAD else about(one).written
    return escaped(kind) or words[str(one.type)]


def _default(one: Field[Any]) -> str:
    if one.default is MISSING and one.default_factory is MISSING:
        return " (needed)"
    value = one.default if one.default_factory is MISSING else one.default_factory()
    if value in ("", (), 0) and value is not False:
        return ""
    return f" (default: {_as_toml(value, one)})"


def _as_toml(value: Any, one: Field[Any]) -> str:
    """Write a default as a file has it."""
    if one.name == "version":
        return f'`"{".".join(map(str, value))}"`'
    if about(one).written == "time":
        hours, seconds = divmod(value, 3600)
        return f'`"{hours}h"`' if not seconds else f'`"{value}s"`'
    if isinstance(value, datetime):
        return f"`{value:%Y-%m-%dT%H:%M:%SZ}`"
    if isinstance(value, dict):
        return "`{" + ", ".join(f'"{k}" = {v}' for k, v in value.items()) + "}`"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def refuse_foreign(site: Path) -> None:
    """Fail if a page would load anything from another server.

    Parameters
    ----------
    site
        Directory of the built pages.

    Raises
    ------
    ValueError
        With the page and the address.
    """
    for page in sorted(site.rglob("*.html")):
        reader = _Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        for address in reader.addresses:
            if re.match(r"(https?:)?//", address):
                raise ValueError(f"{page.relative_to(site)} loads {address} from elsewhere")


class _Loaded(HTMLParser):
    """Collects the addresses that a page loads; a link is followed by a person only."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what ``src`` of anything, and ``href`` of a ``link``, names."""
        found = dict(attrs)
        name = "href" if tag == "link" else "src"
        self.addresses += [found[name] or ""] if name in found else []
