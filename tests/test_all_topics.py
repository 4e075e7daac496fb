"""All notebooks together: on a server that holds nothing, and on a cluster that is quiet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cilium_analysis import incident
from cilium_analysis.capture import TOPICS
from cilium_analysis.errors import ParameterError
from cilium_analysis.question import ask
from cilium_analysis.report import report
from cilium_analysis.report.notebooks import check_parameters, notebook_directory
from tests.servers.process import ServerProcess
from tests.servers.served import ClusterServer


@pytest.mark.slow
def test_a_server_that_holds_nothing_is_said_to(prometheus2: ServerProcess, tmp_path: Path) -> None:
    times = {"start": "2026-03-21T08:00Z", "end": "2026-03-21T10:00Z", "step": "30s"}
    run = report(ask(source=prometheus2.url, **times), directory=tmp_path, jobs=2)
    assert run.failures == {}
    assert [row["topic"] for row in run.summary["topics"]] == list(TOPICS)
    assert {row["kind"] for row in run.findings["findings"]} == {"missing_metrics"}
    for topic in TOPICS:
        page = (run.directory / f"{topic}.html").read_text()
        assert "Traceback" not in page
        assert "stopped with an error" not in page


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prometheus-3", "victoria"])
def test_a_quiet_cluster_gives_no_finding_at_all(
    kind: str, cluster_server: Callable[..., ClusterServer]
) -> None:
    served = cluster_server("quiet", kind)
    told = served.scenario
    middle = told.start + (told.end - told.start) / 2
    times = {"start": middle.isoformat(), "end": told.end.isoformat(), "step": "30s"}
    question = ask(source=served.url, **times)
    data = incident.load(question.source, question.window, question.baseline)
    assert list(incident.findings(data)) == []
    assert set(data.topics) == set(TOPICS) - {"incident"}


@pytest.mark.parametrize("topic", TOPICS)
def test_every_notebook_refuses_a_mistyped_parameter(topic: str) -> None:
    with pytest.raises(ParameterError, match="did you mean timezone"):
        check_parameters(notebook_directory() / f"{topic}.ipynb", {"timezon": "UTC"})
