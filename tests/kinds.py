"""What a test needs, found by what it uses: a server, a browser, a whole run, a source, or nothing.

``pytest -m unit`` runs those that need nothing, in seconds; ``-m "not browser"`` leaves a browser
out. The marks are not written by hand, so that none is forgotten.
"""

from __future__ import annotations

from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Fixtures and modules, by what who uses them needs.
FIXTURES: Final = {
    "server": {
        *("prometheus2", "prometheus3", "victoria", "cluster_server", "cluster_servers"),
        "server_kind",
    },
    "browser": {"chromium", "lab_context", "jupyterlab"},
}
MODULES: Final = {
    "server": ("tests.servers", "tests.field.asking", "moto", "distributed"),
    "browser": ("tests.browser", "tests.jupyterlab", "playwright"),
    "run": (
        *("cilium_analysis.cli", "cilium_analysis.report.run", "cilium_analysis.report.execute"),
        *("cilium_analysis.fleet", "cilium_analysis.forkserver", "papermill", "nbclient"),
        *("cilium_analysis.mcp", "cilium_analysis.lab", "subprocess", "cilium_simulator"),
    ),
    "source": (
        *("cilium_analysis.connection", "cilium_analysis.bundle", "cilium_analysis.incident"),
        *("cilium_analysis.question", "cilium_analysis.explorer", "cilium_analysis.kube"),
        *("cilium_analysis.prometheus.client", "tests.faults", "tests.kube_api"),
    ),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test, before -m chooses among them."""
    for item in items:
        found = needs(item)
        for name in found or {"unit"}:
            item.add_marker(name)


def needs(item: pytest.Item) -> set[str]:
    """Tell what a test needs: names of `FIXTURES` and `MODULES`, or nothing."""
    if not isinstance(item, pytest.Function):
        return set()
    fixtures = set(item.fixturenames)
    found = {name for name, known in FIXTURES.items() if fixtures & known}
    functions = [item.function, *_functions_of(item)]
    for module in set(_modules(functions)):
        found |= {name for name, known in MODULES.items() if _is_below(module, known)}
    if item.get_closest_marker("slow"):
        found.add("run")
    return found


def _functions_of(item: pytest.Function) -> Iterator[FunctionType]:
    """Give the functions of the fixtures that a test uses, but for those of pytest itself."""
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        for each in definitions:
            function = getattr(each.func, "__func__", each.func)
            if isinstance(function, FunctionType) and function.__module__.startswith("tests"):
                yield function


def _modules(functions: list[FunctionType]) -> Iterator[str]:
    """Name the modules of all that functions use, also the functions of tests that they call."""
    waiting, seen = list(functions), set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        for used in _used(function.__code__, function.__globals__):
            if isinstance(used, ModuleType):
                yield used.__name__
                continue
            module = getattr(used, "__module__", None) or ""
            yield module
            if isinstance(used, FunctionType) and module.startswith("tests"):
                waiting.append(used)
            elif isinstance(used, type) and module.startswith("tests"):
                waiting += [each for each in vars(used).values() if isinstance(each, FunctionType)]


def _used(code: CodeType, known: Mapping[str, object]) -> Iterator[object]:
    """Give what the names in some code stand for, also in functions within it."""
    yield from (known[name] for name in code.co_names if name in known)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _used(constant, known)


def _is_below(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)
