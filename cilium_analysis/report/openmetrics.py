"""Findings of a run as metrics, in the text format that Prometheus scrapes, and their place.

A node exporter's textfile collector or a Pushgateway takes them, so that a scheduled report can
alert. Labels that tell series apart stay the same from run to run: numbers and times are values,
and the title, which has both, is only in ``cilium_analysis_finding_info``. No series has a time
stamp, as the textfile collector takes none.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from contextlib import suppress
from datetime import datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import OutputError, ParameterError
from cilium_analysis.findings import Severity
from cilium_analysis.report.verdict import called, is_unknown
from cilium_analysis.storage.runs import why
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

#: Name in the directory of a run; the collector reads files of this ending only.
NAME, ENDING = "findings.prom", ".prom"
#: Findings at most, those of the highest rank; and length of a label's value [characters].
MOST, LONGEST = 100, 200

#: What a metric measures, by its name.
_HELP = {
    "finding": "Level of a finding during it, in the unit that its label names.",
    "finding_baseline": "Level that the finding is compared with.",
    "finding_start_timestamp_seconds": "When the finding began.",
    "finding_end_timestamp_seconds": "When the finding ended; the end of the window if it lasts.",
    "finding_info": "Title of a finding, which changes from run to run.",
    "findings": "Findings of a severity; NaN for none where the run failed or is unknown.",
    "findings_left_out": "Findings of the lowest ranks that have no series here.",
    "run_failed": "Whether the run failed: 1 if so. What was found is then unknown or incomplete.",
    "run_unknown": "Whether the run could not be judged: 1 if so.",
    "topic_unknown": "1 for each topic that could not be judged.",
    "run_timestamp_seconds": "When the run began.",
    "run_window_start_timestamp_seconds": "Start of the window of the run.",
    "run_window_end_timestamp_seconds": "End of the window of the run.",
    "run_duration_seconds": "How long the run took.",
    "run_info": "Source and name of the run.",
}
#: A metric, its labels, and its value.
_Sample = tuple[str, dict[str, str], float]


def render(
    run: Mapping[str, Any], found: Mapping[str, Any] | None, *, called_report: str = ""
) -> str:
    """Write the metrics of a run.

    Parameters
    ----------
    run
        As ``run.json`` has it.
    found
        As ``findings.json`` has it; None if the run has none, as it failed.
    called_report
        Value of the label ``report``, which tells the files of one collector apart; none if empty.
    """
    common = {"cluster": called(run), "report": called_report}
    return _written(
        [*_of_run(run, found), *_of_findings(found["findings"] if found else ())], common
    )


def render_failure(*, source: str, began: datetime, called_report: str) -> str:
    """Write the metrics of a run that could not be made, in place of those of the last one.

    Parameters
    ----------
    source
        What it would have been about.
    began
        When it was tried.
    called_report
        As for `render`.
    """
    common = {"cluster": source, "report": called_report}
    values = {"run_failed": 1.0, "run_unknown": 1.0}
    values["run_timestamp_seconds"] = float(int(began.timestamp()))
    return _written([(name, {}, value) for name, value in values.items()], common)


def _written(samples: Sequence[_Sample], common: Mapping[str, str]) -> str:
    return "".join(
        f"# HELP cilium_analysis_{name} {text}\n# TYPE cilium_analysis_{name} gauge\n{rows}"
        for name, text in _HELP.items()
        if (rows := _rows(name, samples, common))
    )


def _rows(name: str, samples: Iterable[_Sample], common: Mapping[str, str]) -> str:
    return "".join(
        f"cilium_analysis_{name}{_labels(dict(common) | labels)} {_number(value)}\n"
        for metric, labels, value in samples
        if metric == name
    )


def _of_run(run: Mapping[str, Any], found: Mapping[str, Any] | None) -> list[_Sample]:
    failed, unknown = run["status"] == "failed", found is None or is_unknown(run)
    counts = Counter(row["severity"] for row in found["findings"]) if found else Counter()
    none = math.nan if failed or unknown else 0.0
    window = run["window"]
    info = {"source": str(run["source"]), "run": str(run["name"])}
    info["version"] = str(run["versions"].get("cilium-analysis", ""))
    return [
        *(
            ("findings", {"severity": str(s)}, float(counts[str(s)]) or none)
            for s in sorted(Severity, reverse=True)
        ),
        ("findings_left_out", {}, float(max(0, counts.total() - MOST))),
        ("run_failed", {}, float(failed)),
        ("run_unknown", {}, float(unknown)),
        *(
            ("topic_unknown", {"topic": topic}, 1.0)
            for topic in dict.fromkeys(row["topic"] for row in (found or {}).get("unknown", ()))
        ),
        ("run_timestamp_seconds", {}, _seconds(run["began"])),
        ("run_window_start_timestamp_seconds", {}, _seconds(window["start"])),
        ("run_window_end_timestamp_seconds", {}, _seconds(window["end"])),
        ("run_duration_seconds", {}, float(run["seconds"])),
        ("run_info", info, 1.0),
    ]


def _of_findings(rows: Sequence[Mapping[str, Any]]) -> list[_Sample]:
    samples: list[_Sample] = []
    for row in rows[:MOST]:
        which = {name: str(row[name]) for name in ("id", "kind", "severity")}
        which |= {"topic": str(row.get("topic", "")), "node": str(row["labels"].get("node", ""))}
        value, baseline = (
            math.nan if row[name] is None else float(row[name])
            for name in ("value", "baseline_value")
        )
        where = ", ".join(f"{name}={value}" for name, value in sorted(row["labels"].items()))
        told = {"id": which["id"], "title": str(row["title"]), "where": where}
        samples += [
            ("finding", which | {"unit": str(row["unit"]), "trust": str(row["trust"])}, value),
            ("finding_baseline", which, baseline),
            ("finding_start_timestamp_seconds", which, _seconds(row["start"])),
            ("finding_end_timestamp_seconds", which, _seconds(row["end"])),
            ("finding_info", told, 1.0),
        ]
    return samples


def _seconds(stored: str) -> float:
    return datetime.fromisoformat(stored).timestamp()


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if value == int(value) else repr(value)


def _labels(labels: Mapping[str, str]) -> str:
    """Write labels, those without a value left out: to Prometheus that is the same."""
    lines = {name: line(text).encode("utf-8", "replace").decode() for name, text in labels.items()}
    given = {name: clipped(text, LONGEST) for name, text in lines.items()}
    written = ",".join(f'{name}="{_escaped(text)}"' for name, text in given.items() if text)
    return f"{{{written}}}" if written else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def check_place(path: Path) -> None:
    """Check that a file for the textfile collector can be written, before anything is made.

    Raises
    ------
    ParameterError
        If the collector would not read it, or its directory does not exist.
    """
    if path.suffix != ENDING or not path.stem.isprintable():
        raise ParameterError(f"--textfile {str(path)!r}: the collector reads FILE{ENDING} only")
    if not path.parent.is_dir():
        raise ParameterError(f"--textfile {str(path)!r}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise ParameterError(f"--textfile {str(path)!r}: {path.parent} may not be written to")


def cluster_in(path: Path) -> str:
    """Give the label ``cluster`` of a file that is there; empty if it has none."""
    try:
        with path.open(encoding="utf-8") as file:
            found = _CLUSTER.search(file.read(_MUCH))
    except (OSError, ValueError):
        return ""
    return _ESCAPED.sub(lambda one: _MEANT[one[0]], found[1]) if found else ""


_CLUSTER = re.compile(r'^cilium_analysis_\w+\{cluster="((?:[^"\\\n]|\\.)*)"', re.MULTILINE)
_MEANT = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_ESCAPED = re.compile(r"\\[\\\"n]")
#: Far more than a file of ours has [characters].
_MUCH = 10_000_000


def place(path: Path, text: str) -> None:
    """Put metrics in the place of those of the last run, in one step.

    The collector, which is another user as a rule, may read them whatever the umask is.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    # Of another ending, so that the collector does not read half a file.
    temporary = path.with_name(f".{path.name}.{token_hex(3)}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as problem:
        raise OutputError(f"cannot write {path}: {why(problem)}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
