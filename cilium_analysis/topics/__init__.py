"""The topics: one question each, its PromQL as data, and from frames to findings.

`TOPICS` is the only list of them. A topic is a package here and a notebook of the same question;
what is made of all topics together is `cilium_analysis.incident`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.findings import Findings
    from cilium_analysis.source import Source
    from cilium_analysis.topics.model import Compared
    from cilium_analysis.window import Window


@dataclass(frozen=True)
class Topic:
    """One question. Its package is imported when it is first used: that takes a while.

    Parameters
    ----------
    name
        Of its notebook.
    question
        That it answers: the title of its notebook.
    package
        Here, with ``load``, ``findings``, ``notes``, ``unknown``, and ``QUERIES``: all queries that
        ``load`` may ask, for those who list them.
    """

    name: str
    question: str
    package: str

    @property
    def module(self) -> Any:
        """Its package, imported."""
        return import_module(f"{__name__}.{self.package}")

    def load(
        self, source: Source, window: Window, baseline: Window, *, match: str = ""
    ) -> Compared[Any, Any]:
        """Fetch what the question needs; of a type of the package.

        Examples
        --------
        >>> from cilium_analysis.question import ask
        >>> question = ask(source="sample")
        >>> topic = TOPICS["drop_reasons"]
        >>> data = topic.load(question.source, question.window, question.baseline)
        >>> topic.findings(data)[0].kind
        'drop_spike'
        """
        loaded: Compared[Any, Any] = self.module.load(source, window, baseline, match=match)
        return loaded

    def record(
        self, source: Source, window: Window, baseline: Window, *, match: str = ""
    ) -> Compared[Any, Any]:
        """Ask what `load` asks, without a look at the answers: for a recording."""
        recorded: Compared[Any, Any] = self.module.load.record(
            source, window, baseline, match=match
        )
        return recorded

    def findings(self, data: Any) -> Findings:
        """Find what is unusual in what was loaded."""
        found: Findings = self.module.findings(data)
        return found

    def notes(self, data: Any) -> list[str]:
        """Say in sentences how far to trust what was loaded."""
        return list(self.module.notes(data))

    def unknown(self, data: Any) -> tuple[str, ...]:
        """Say why the question cannot be answered; nothing if it can."""
        reasons: tuple[str, ...] = data.remarks.silenced.explain(self.module.unknown(data))
        return reasons


#: The notebook that puts the answers of all topics together,
INCIDENT = "incident"
#: and the question that it answers.
WHAT_HAPPENED = "What happened?"
#: The notebook that looks at all that is between two workloads,
PATH = "path"
#: and its question. It runs only where it is asked for.
WAS_IT_THE_NETWORK = "Was it the network?"
#: By the names of their notebooks, in the order of a report.
TOPICS: Mapping[str, Topic] = MappingProxyType(
    {
        topic.name: topic
        for topic in (
            Topic("drop_reasons", "Why are packets dropped?", "drops"),
            Topic("node_connectivity", "Which nodes could not reach which?", "connectivity"),
            Topic("endpoint_growth", "Do endpoints grow, and does anything run out?", "endpoints"),
            Topic("http_status", "Which HTTP requests fail or are slow?", "http"),
            Topic("dns", "Which DNS lookups fail?", "dns"),
            Topic("flows", "Which flows changed, and which connections fail?", "flows"),
            Topic("agent_health", "Are agents and operator well?", "health"),
            Topic("setup_check", "Is the monitoring itself set up right?", "setup"),
        )
    }
)
