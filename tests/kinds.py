"""What a test needs, found by what it uses: a server, a browser, a whole run, a source, or nothing.

``pytest -m unit`` runs those that need nothing, in seconds; ``-m "not browser"`` leaves a browser
out. The marks are not written by hand, so that none is forgotten.
"""

from __future__ import annotations

import ast
from functools import cache
from inspect import unwrap
from pathlib import Path
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
    "run": {"shell"},
}
MODULES: Final = {
    "server": ("tests.servers", "tests.field.asking", "moto", "distributed"),
    "browser": ("tests.browser", "tests.jupyterlab", "playwright"),
    "run": (
        *("cilium_analysis.cli", "cilium_analysis.report.run", "cilium_analysis.report.execute"),
        *("cilium_analysis.fleet", "cilium_analysis.forkserver", "papermill", "nbclient"),
        *("cilium_analysis.mcp", "cilium_analysis.lab", "subprocess", "cilium_simulator"),
        *("cilium_analysis.report.pdf", "builtins.exec", "doctest", "IPython"),
    ),
    "source": (
        *("cilium_analysis.connection", "cilium_analysis.bundle", "cilium_analysis.incident"),
        *("cilium_analysis.question", "cilium_analysis.explorer", "cilium_analysis.kube"),
        *("cilium_analysis.prometheus.client", "tests.faults", "tests.kube_api"),
        *("tests.data.real-handshakes", "tests.data.prom-json", "tests.data.hubble-flows"),
    ),
}
#: Recordings and answers of others.
_DATA: Final = Path(__file__).parent / "data"
#: Of what Python always has, what runs code.
_BUILTINS: Final = {"exec": exec}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a file without unit tests, if no others are wanted."""
    return True if config.option.markexpr == "unit" and needs_all(collection_path) else None


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
    # Hypothesis wraps what it calls.
    test = getattr(getattr(item.function, "hypothesis", None), "inner_test", item.function)
    for function in {test, *_functions_of(item)}:
        found |= _kinds_of(function)
    if item.get_closest_marker("slow"):
        found.add("run")
    return found


def needs_all(path: Path) -> bool:
    """Tell whether certainly each test of a file needs something, without importing it.

    A test for which that cannot be seen from the names in its file may need nothing.
    """
    if path.suffix != ".py" or not path.name.startswith("test_"):
        return False
    text = path.read_text(encoding="utf-8")
    tree, whole = ast.parse(text), compile(text, str(path), "exec", dont_inherit=True)
    functions = {each.co_name: each for each in whole.co_consts if isinstance(each, CodeType)}
    slow = {
        each.name
        for each in tree.body
        if isinstance(each, ast.FunctionDef)
        and any("mark.slow" in ast.unparse(decorator) for decorator in each.decorator_list)
    }
    imported = {
        alias.asname or alias.name: f"{getattr(node, 'module', '')}.{alias.name}".lstrip(".")
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        # Of a constant it does not matter where it is from.
        if not alias.name.isupper()
    }
    fixtures = frozenset().union(*FIXTURES.values())

    def needs_something(name: str, seen: frozenset[str]) -> bool:
        if name in fixtures | slow or _kinds_below(imported.get(name, name if "." in name else "")):
            return True
        if name not in functions or name in seen:
            return False
        return any(needs_something(each, seen | {name}) for each in _mentioned(functions[name]))

    tests = [name for name in functions if name.startswith(("test", "Test"))]
    return all(needs_something(name, frozenset()) for name in tests)


def _mentioned(code: CodeType) -> set[str]:
    """Give the parameters of a function, and the names that it and functions within it use."""
    found = {*code.co_names, *code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}
    return found.union(*(_mentioned(each) for each in code.co_consts if isinstance(each, CodeType)))


def _functions_of(item: pytest.Function) -> Iterator[FunctionType]:
    """Give the functions of the fixtures that a test uses, but for those of pytest itself."""
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        for each in definitions:
            function = getattr(each.func, "__func__", each.func)
            if isinstance(function, FunctionType) and function.__module__.startswith("tests"):
                yield function


@cache
def _kinds_of(function: FunctionType) -> frozenset[str]:
    return frozenset().union(*map(_kinds_below, set(_names(function))))


@cache
def _kinds_below(name: str) -> frozenset[str]:
    parts = name.split(".")
    above = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    return frozenset(kind for kind, known in MODULES.items() if above.intersection(known))


def _names(function: FunctionType) -> Iterator[str]:
    """Name all that a function uses, and what the functions of tests use that it calls."""
    waiting, seen = [function], set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        # What is imported where it is used has its whole name there.
        yield from (name for name in function.__code__.co_names if "." in name)
        for used in _used(function.__code__, function.__globals__ | _BUILTINS):
            if isinstance(used, ModuleType):
                yield used.__name__
                continue
            if isinstance(used, Path) and _DATA in used.parents:
                yield f"tests.data.{used.relative_to(_DATA).parts[0]}"
                continue
            module = getattr(used, "__module__", None) or ""
            yield f"{module}.{getattr(used, '__qualname__', '')}"
            # What is behind a decorator, such as that of a context manager.
            real = unwrap(used) if callable(used) else used
            if isinstance(real, FunctionType) and module.startswith("tests"):
                waiting.append(real)
            elif isinstance(used, type) and module.startswith("tests"):
                waiting += [each for each in vars(used).values() if isinstance(each, FunctionType)]


def _used(code: CodeType, known: Mapping[str, object]) -> Iterator[object]:
    """Give what the names in some code stand for, also in functions within it."""
    yield from (known[name] for name in code.co_names if name in known)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _used(constant, known)
