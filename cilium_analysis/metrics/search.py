"""Find metrics by name or by meaning, and explain one. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis.errors import ParameterError, suggest
from cilium_analysis.metrics.defects import traps
from cilium_analysis.metrics.known import HISTOGRAM_SERIES, Metric, find, known

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

COLUMNS = ("metric", "type", "component", "labels", "help", "since", "until", "there")
#: Words of people, and the words of metrics and their descriptions for the same.
_OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "ban": ("deny", "policy"),
    "block": ("deny", "drop", "policy"),
    "broken": ("error", "fail"),
    "conntrack": ("ct", "connection"),
    "crash": ("restart", "bootstrap"),
    "deny": ("drop", "policy"),
    "failure": ("fail", "error"),
    "firewall": ("policy", "drop"),
    "forbidden": ("deny", "http"),
    "health": ("connectivity", "unreachable"),
    "latency": ("duration", "delay", "rtt", "time"),
    "lookup": ("dns",),
    "loss": ("drop", "lost"),
    "lost": ("drop",),
    "nat": ("masquerade", "snat"),
    "node": ("connectivity",),
    "ping": ("connectivity", "icmp"),
    "pod": ("endpoint",),
    "reachable": ("connectivity", "unreachable"),
    "request": ("http",),
    "slow": ("duration", "delay", "latency"),
    "status": ("code", "state"),
    "web": ("http",),
}
#: Metrics that an engineer needs first; among equals these come first.
_FIRST = (
    "cilium_endpoint",
    "cilium_node_connectivity_status",
    "cilium_node_health_connectivity_status",
    "cilium_drop_count_total",
    "hubble_drop_total",
    "hubble_http_requests_total",
)
_SERIES = re.compile(r"_(bucket|sum|count)$")


@dataclass(frozen=True)
class Exported:
    """Type and help of a metric that a source has; empty if it does not say."""

    kind: str = ""
    help: str = ""


@dataclass(frozen=True)
class Help:
    """The explanation of one metric.

    Parameters
    ----------
    metric
        Its name, type, labels and versions.
    traps
        What to know before reading it, in sentences.
    there
        Whether the source has it.
    """

    metric: Metric
    traps: tuple[str, ...]
    there: bool

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {text}" for name, text in self.rows().items())

    def rows(self) -> dict[str, str]:
        """Return it as names and texts, for people."""
        one = self.metric
        last = one.until and (one.until[0], one.until[1] - 1)
        until = f" up to {_version(last)}" if last else " and later"
        rows = {
            "Metric": one.name,
            "Type": one.kind,
            "Says": one.meaning,
            "Labels": ", ".join(sorted(one.labels)) or "none of its own",
            "Exported by": one.component,
            "Switched on": one.enabled,
            "There in": f"Cilium {_version(one.since)}{until}",
            "Remark": one.remark,
            "In this source": "yes" if self.there else "no",
        }
        rows |= {f"Mind {n}": text for n, text in enumerate(self.traps, start=1)}
        return {name: text for name, text in rows.items() if text}


def search(about: str, *, there: Mapping[str, Exported]) -> pd.DataFrame:
    """Find metrics whose name, description or labels fit some words.

    Parameters
    ----------
    about
        Part of a name, or words such as ``dropped packets``; empty for all metrics.
    there
        Metrics of the source, by name of the series.

    Returns
    -------
    pandas.DataFrame
        One row per metric, the one that fits best first: ``metric``, ``type``, ``component``,
        ``labels`` (with commas), ``help``, ``since`` and ``until`` (versions of Cilium, ``until``
        the first without it; empty if not known), and ``there`` [bool]. Metrics of other programs
        are among them if the source has them.

    Examples
    --------
    >>> search("dropped packets", there={})["metric"].head(2).tolist()
    ['cilium_drop_count_total', 'hubble_drop_total']
    """
    names = frozenset(_base(name, there) for name in there)
    rows = [_row(metric, names) for metric in known().values()]
    rows += [_foreign(name, there) for name in sorted(names - set(known()))]
    wanted = _stems(about)
    fits = [(_fit(row, about.strip().lower(), wanted), row) for row in rows]
    chosen = [(fit, row) for fit, row in fits if fit or not wanted]
    chosen.sort(key=lambda one: (-one[0], not one[1]["there"], _place(one[1]), one[1]["metric"]))
    return pd.DataFrame([row for _, row in chosen], columns=list(COLUMNS)).astype({"there": bool})


def help_on(name: str, *, there: Collection[str]) -> Help:
    """Explain a metric of Cilium.

    Parameters
    ----------
    name
        Of the metric, or of a series of a histogram.
    there
        Names of the series that the source has.

    Raises
    ------
    ParameterError
        If it is not known; names the nearest.
    """
    metric = find(name)
    if metric is None:
        near = search(name.replace("_", " "), there={})["metric"]
        hint = suggest(name, near.head(5)) if len(near) else 'look for it with metrics("…")'
        raise ParameterError(f"no metric of Cilium is known as {name!r}: {hint}")
    series = {metric.name, *(f"{metric.name}{end}" for end in HISTOGRAM_SERIES)}
    return Help(metric, traps(metric), bool(series & set(there)))


def _base(name: str, there: Mapping[str, Exported]) -> str:
    """Return the metric that a series belongs to: a histogram has several series."""
    metric = find(name)
    if metric is not None:
        return metric.name
    short = _SERIES.sub("", name)
    return short if f"{short}_bucket" in there else name


def _row(metric: Metric, names: Collection[str]) -> dict[str, object]:
    return {
        "metric": metric.name,
        "type": metric.kind,
        "component": metric.component,
        "labels": ", ".join(sorted(metric.labels)),
        "help": metric.meaning,
        "since": _version(metric.since),
        "until": _version(metric.until) if metric.until else "",
        "there": metric.name in names,
    }


def _foreign(name: str, there: Mapping[str, Exported]) -> dict[str, object]:
    said = there.get(name) or there.get(f"{name}_bucket") or Exported()
    texts = dict.fromkeys(COLUMNS, "")
    return texts | {"metric": name, "type": said.kind, "help": said.help, "there": True}


def _fit(row: Mapping[str, object], about: str, wanted: tuple[str, ...]) -> float:
    """Return how well a metric fits: 0 if fewer than half of the words do."""
    if row["metric"] == about:
        return 100.0
    name, text, labels = (_stems(str(row[part])) for part in ("metric", "help", "labels"))
    weights = []
    for word in wanted:
        direct = _weight(word, name, text, labels)
        other = [_weight(one, name, text, labels) / 2 for one in _others(word)]
        weights.append(max([direct, *other]))
    if 2 * sum(weight > 0 for weight in weights) <= len(wanted) - 1:
        return 0.0
    # Of names that say the same, the shorter one says it best; what is there is of more use.
    said = len(set(wanted) & set(name)) / len(name) / 2
    usual = (len(_FIRST) - _place(row)) / 10
    return sum(weights) / len(wanted) + said + usual + bool(row["there"]) if any(weights) else 0.0


def _weight(
    word: str, name: tuple[str, ...], text: tuple[str, ...], labels: tuple[str, ...]
) -> float:
    for weight, words in ((4.0, name), (2.0, text), (1.0, labels)):
        if word in words:
            return weight
        if len(word) > 2 and any(one.startswith(word) for one in words):
            return weight * 0.75
    return 0.0


@cache
def _others(word: str) -> tuple[str, ...]:
    near = {key: words for key, words in _OTHER_WORDS.items() if _stem(key) == word}
    return tuple(_stem(one) for words in near.values() for one in words)


def _stems(text: str) -> tuple[str, ...]:
    return tuple(_stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()))


@cache
def _stem(word: str) -> str:
    """Take the ending off: ``dropped`` is ``drop``, ``policies`` is ``policy``."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) > 2 and not word.endswith("ss"):
            short = word.removesuffix(ending)
            doubled = short[-1] == short[-2] and short[-1] not in "ls"
            return short[:-1] if doubled and ending != "s" else short
    return word


def _place(row: Mapping[str, object]) -> int:
    name = str(row["metric"])
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
