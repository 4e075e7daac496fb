"""Labels of metrics that a relabeling dropped: less is known then, and nothing breaks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import datetime
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from cilium_analysis.connection import SAMPLES
from cilium_analysis.question import ask
from cilium_analysis.source import Relay
from cilium_analysis.topics import connectivity, dns, drops, endpoints, flows, health, http
from cilium_analysis.window import Window

#: The labels of each topic's metrics, without which a table or a finding could be made in vain.
OWN = [
    *((drops, label) for label in ("reason", "direction", "protocol", "source")),
    *((connectivity, label) for label in ("type", "protocol", "source_node_name", "address_type")),
    *((endpoints, label) for label in ("endpoint_state", "type", "map_name", "outcome", "scope")),
    *((http, label) for label in ("status", "method", "source", "destination", "reporter", "le")),
    *((dns, label) for label in ("rcode", "qtypes", "source", "query")),
    *((flows, label) for label in ("verdict", "protocol", "flag", "family", "type", "source")),
    *((health, label) for label in ("level", "subsys", "status", "map_name", "scope", "le")),
]
#: What the module gives for other topics, and not of its own data.
_OTHERS = ("load", "denials")


class Dropping(Relay):
    """A source without a label: what was told apart by it alone is added up."""

    def __init__(self, source: Any, label: str) -> None:
        super().__init__(source)
        self._label = label

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """As answered, without the label."""
        return self._without(self.source.range(promql, window))

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """As answered, without the label."""
        return self._without(self.source.instant(promql, moment))

    def _without(self, frame: pd.DataFrame) -> pd.DataFrame:
        kept = [name for name in frame.columns.names if name != self._label]
        if len(kept) == len(frame.columns.names) or not kept or not frame.shape[1]:
            return frame
        summed = frame.T.groupby(level=kept, sort=False).sum(min_count=1).T
        if summed.columns.nlevels == 1:
            summed.columns = pd.MultiIndex.from_arrays([summed.columns], names=kept)
        return summed


def answers_of(topic: ModuleType) -> Iterator[Callable[[Any], object]]:
    """The functions of a topic that take its data alone: findings, tables, notes."""
    for name in topic.__all__:
        found = getattr(topic, name)
        if not inspect.isfunction(found) or name in _OTHERS:
            continue
        _data, *others = inspect.signature(found).parameters.values()
        if all(each.default is not each.empty for each in others):
            yield found


@pytest.mark.slow
@pytest.mark.parametrize("source", SAMPLES)
@pytest.mark.parametrize(
    ("topic", "label"), OWN, ids=[f"{t.__name__.rpartition('.')[2]}-{name}" for t, name in OWN]
)
def test_a_label_that_is_gone_breaks_nothing(topic: ModuleType, label: str, source: str) -> None:
    question = ask(source=source, baseline="")
    asked = Dropping(question.source, label)
    data = topic.load(asked, question.window, question.baseline)
    told = [answer(data) for answer in answers_of(topic)]
    assert len(told) > 3
    assert all(each is not None for each in told)
