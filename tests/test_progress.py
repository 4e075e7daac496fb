"""What takes longer than a second shows a bar, and nothing else does."""

from __future__ import annotations

import threading

import pytest

from cilium_analysis import Prometheus, Window, connect
from cilium_analysis import progress as bars
from cilium_analysis.bundle import Bundle
from cilium_analysis.progress import progress, watched
from cilium_analysis.topics import drops
from tests.faults import Reply, Request, Stub, counted, matrix

#: Of so many points that it is asked in two requests.
LONG = Window.parse("2026-03-01", "2026-03-06", step="30s")


def asked(stub: Stub) -> None:
    with Prometheus(stub.url, concurrency=1) as source, progress(source):
        source.range("up", LONG)


def test_a_slow_query_tells_its_requests_and_is_gone_when_it_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "DELAY", 0.0)
    monkeypatch.setattr(bars, "PERIOD", 0.01)
    gate = threading.Event()
    seen: list[str] = []

    def answer(request: Request) -> Reply:
        if request.counts:
            return counted(request, 1)
        seen.append(request.path)
        if len(seen) == 2:
            # The bar has long been drawn when the second half comes.
            threading.Timer(0.3, gate.set).start()
            return Reply(matrix().body, gate=gate)
        return matrix()

    with Stub(answer) as stub:
        asked(stub)
    shown = capsys.readouterr().err
    assert f"{stub.url}:  50%" in shown
    assert "1/2" in shown
    assert shown.split("\r")[-1].strip() == ""


def test_a_quick_query_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: Request) -> Reply:
        return counted(request, 1) if request.counts else matrix()

    with Stub(answer) as stub:
        asked(stub)
    assert capsys.readouterr().err.strip() == ""


def test_the_queries_of_a_topic_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = connect("sample")
    assert isinstance(bundle, Bundle)
    baseline = bundle.baseline
    assert baseline is not None
    plain = drops.load(bundle, bundle.window, baseline)
    monkeypatch.setattr(bars, "DELAY", 0.0)
    with watched(bundle) as source:
        data = drops.load(source, bundle.window, baseline)
    assert data.now.counts.equals(plain.now.counts)
    assert "query" in capsys.readouterr().err


def test_of_a_source_that_is_no_server_there_is_nothing_to_tell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress(connect("sample")):
        pass
    assert capsys.readouterr().err == ""
