"""Cases served by a real Prometheus, and asked by the command or a topic at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import installed_or_skip
from tests.field.asking import Told, command, served, topic
from tests.servers.prometheus import NotInstalled

if TYPE_CHECKING:
    from pathlib import Path

Serve = Callable[[str], tuple[str, dict[str, Any]]]
Reported = Callable[[str], Told]
Asked = Callable[..., Told]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve cases for the time of a test."""
    with ExitStack() as stack:

        def start(name: str) -> tuple[str, dict[str, Any]]:
            try:
                return stack.enter_context(served(name))
            except NotInstalled as error:
                installed_or_skip(error)

        yield start


@pytest.fixture
def reported(serve: Serve, tmp_path: Path) -> Callable[[str], Told]:
    """Run the command on a case as its truth says."""

    def run(name: str) -> Told:
        url, truth = serve(name)
        told = command(url, truth["topics"], *truth["arguments"], output=tmp_path, process=False)
        assert told.code == 0, told.printed
        return told

    return run


@pytest.fixture
def asked(serve: Serve) -> Callable[..., Told]:
    """Ask one topic about a case."""

    def run(name: str, about: str, **more: str) -> Told:
        return topic(serve(name)[0], about, **more)

    return run
