"""Real servers and simulated clusters for all tests.

The servers come from ``python tests/servers/install.py``. Without them the tests that need one are
skipped, except where ``CI=true`` says that they must be there.
"""

from __future__ import annotations

import gc
import os
import warnings
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import settings

from tests import kinds, slow

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from IPython.core.interactiveshell import InteractiveShell
    from playwright.sync_api import Browser, BrowserContext

    from cilium_simulator.scenario import Scenario
    from cilium_simulator.simulation import Cluster
    from tests.jupyterlab import JupyterLab
    from tests.servers.process import ServerProcess
    from tests.servers.served import ClusterServer, ClusterServers

# How long an example takes is a matter of the machine.
settings.register_profile("untimed", deadline=None)
settings.register_profile("quick", parent=settings.get_profile("untimed"), max_examples=20)

#: what takes longest comes first, so that no worker is left alone with it at the end;
#: what is slow on some days only is here as well
LONGEST = (
    "test_matrix.py",
    "test_field.py",
    "test_siblings.py",
    "test_runs.py",
    "test_connectivity.py",
    "test_health.py",
    "test_endpoints.py",
    "test_cli.py",
    "test_cost.py",
    "test_fleet.py",
    "test_notify.py",
    "test_dns.py",
    "test_explorer_lab.py",
    "test_explorer_order.py",
    "test_kubernetes_reports.py",
    "test_lab.py",
    "test_report.py",
    "test_secrets.py",
    "test_storage.py",
    "test_sweep.py",
)


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let slow tests take turns, and mark what each test needs."""
    pluginmanager.register(slow)
    pluginmanager.register(kinds)


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples while somebody works; `make test` and a test by its name try all."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("quick" if config.option.markexpr == "unit" else "untimed")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are imported: all of it stays, and there is a lot."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


SERVER_KINDS = ("prometheus-2", "prometheus-3", "victoria")


def installed_or_skip(error: Exception) -> NoReturn:
    """Skip a test for want of a server or browser, or fail where there is no excuse."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


def started(kind: str) -> Iterator[ServerProcess]:
    """Run an empty server for as long as the generator lives."""
    from tests.servers.prometheus import NotInstalled
    from tests.servers.served import start

    try:
        server = start(kind)
    except NotInstalled as error:
        installed_or_skip(error)
        return
    with server:
        yield server


@pytest.fixture(scope="session")
def prometheus2() -> Iterator[ServerProcess]:
    """An empty Prometheus 2 that accepts remote writes and keeps exemplars."""
    yield from started("prometheus-2")


@pytest.fixture(scope="session")
def prometheus3() -> Iterator[ServerProcess]:
    """An empty Prometheus 3 that accepts remote writes and keeps exemplars."""
    yield from started("prometheus-3")


@pytest.fixture(scope="session")
def victoria() -> Iterator[ServerProcess]:
    """An empty VictoriaMetrics."""
    yield from started("victoria")


@pytest.fixture(params=SERVER_KINDS)
def server_kind(request: pytest.FixtureRequest) -> str:
    """Run a test once for each kind of server."""
    return str(request.param)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of one run of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def cluster_servers(shared_folder: Path) -> Iterator[ClusterServers]:
    """All servers with clusters in them that this process has started."""
    from tests.servers.served import ClusterServers

    servers = ClusterServers(shared_folder / "clusters")
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def cluster_server(cluster_servers: ClusterServers) -> Callable[..., ClusterServer]:
    """Give a running server that holds a scenario: ``cluster_server("sample", "prometheus-3")``.

    The same scenario and kind give the same server, as long as few others are asked for between;
    ``fresh=True`` gives a new one.
    """
    from tests.servers.prometheus import NotInstalled

    def serve(
        scenario: str | Scenario, kind: str = "prometheus-2", *, fresh: bool = False
    ) -> ClusterServer:
        try:
            return cluster_servers(scenario, kind, fresh=fresh)
        except NotInstalled as error:
            installed_or_skip(error)
            raise

    return serve


@pytest.fixture(scope="session")
def cluster() -> Callable[[str | Scenario], Cluster]:
    """Give the simulated cluster of a scenario without any server: ``cluster("quiet")``."""
    from cilium_simulator.simulation import simulate

    made: dict[str, Cluster] = {}

    def make(scenario: str | Scenario) -> Cluster:
        key = repr(scenario)
        if key not in made:
            made[key] = simulate(scenario)
        return made[key]

    return make


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real browser; of one module, as it occupies the event loop of its thread."""
    from tests.browser import NoBrowser, browser

    try:
        with browser() as running:
            yield running
    except NoBrowser as error:
        installed_or_skip(error)


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """IPython with our magics."""
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shell.run_cell("%load_ext cilium_analysis").success
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture(scope="module")
def jupyterlab() -> Iterator[JupyterLab]:
    """JupyterLab in an empty directory, with a configuration of its own."""
    from tests.jupyterlab import JupyterLab

    with JupyterLab() as server:
        yield server


@pytest.fixture
def lab_context(chromium: Browser) -> Iterator[BrowserContext]:
    """For pages of JupyterLab, which must not fail, nor ask for anything elsewhere."""
    complaints: list[str] = []
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
            else complaints.append(request.url)
        ),
    )
    yield context
    context.close()
    assert complaints == []
