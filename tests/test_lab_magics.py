"""The magics in a real IPython, against real servers and the sample."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import cilium_analysis
from cilium_analysis import Prometheus, Window, connect, counters, frames
from cilium_analysis.bundle import Bundle
from cilium_analysis.connection import sample_directory
from cilium_analysis.errors import Interrupted
from cilium_analysis.magics.commands import ALONE, WITH_VALUE, CiliumMagics
from cilium_analysis.magics.extension import zooming
from cilium_analysis.magics.session import Session, Vocabulary
from cilium_analysis.memory import Remembering
from tests.faults import Reply, Request, Stub, matrix, refusal, success, vector
from tests.servers.served import ClusterServer
from tests.waiting import until

#: Of the scenario.
START, END = "2026-03-13T08:00Z", "2026-03-13T10:00Z"
SCENARIO = "restart_1_15"


def run(shell: InteractiveShell, code: str) -> Any:
    """Run a cell that must not fail; give its value."""
    result = shell.run_cell(code, store_history=True)
    result.raise_error()
    return result.result


def failing(shell: InteractiveShell, code: str) -> str:
    """Run a cell that must fail; give what is shown."""
    with capture_output() as shown:
        assert not shell.run_cell(code).success
    return str(shown.stdout) + str(shown.stderr)


def first_query(source: object) -> str:
    """Give one that the sample holds for its whole window: when each agent started."""
    assert isinstance(source, Bundle)
    return next(query for query in source.queries if "start_time_seconds{}[30s]" in query)


def completed(shell: InteractiveShell, code: str) -> list[str]:
    """Give what Tab would offer at the end of a cell, as the cell would be then."""
    with provisionalcompleter():
        offered = list(shell.Completer.completions(code, len(code)))
    return [code[: one.start] + one.text for one in offered]


@pytest.fixture
def served(
    shell: InteractiveShell, cluster_server: Callable[..., ClusterServer], server_kind: str
) -> InteractiveShell:
    url = cluster_server(SCENARIO, server_kind).url
    run(shell, f"%promql --source {url} --start {START} --end {END} --step 30s")
    return shell


# Asking


def test_a_line_is_a_label_frame(served: InteractiveShell) -> None:
    frame = run(served, "%promql --as ends max by (node) (cilium_endpoint)")
    assert type(frame) is pd.DataFrame
    assert frame.shape == (240, 4)
    assert frame.columns.names == ["node"]
    assert served.user_ns["ends"] is frame
    assert run(served, "x = %promql max by (node) (cilium_endpoint)\nx").equals(frame)


def test_a_cell_takes_lines_and_comments(served: InteractiveShell) -> None:
    text = "%%promql --as y --step 60s\n# of all nodes\nsum(\n  cilium_endpoint  # now\n)\n"
    assert run(served, text).shape == (120, 1)
    assert run(served, text + ";") is None
    assert served.user_ns["y"].shape == (120, 1)


def test_braces_and_dollars_are_left_to_promql(served: InteractiveShell) -> None:
    served.user_ns["node"] = "wrong"
    one = run(served, '%promql cilium_endpoint{node="worker-1"}')
    assert set(one.columns.get_level_values("node")) == {"worker-1"}
    assert run(served, '%promql cilium_endpoint{node=~"worker-1$"}').equals(one)


def test_the_same_is_asked_once(served: InteractiveShell) -> None:
    run(served, "%promql count(up)")
    run(served, "frame = %promql count(up)\nframe.iloc[:] = 0.0")
    assert run(served, "%promql count(up)").iloc[0, 0] > 0
    session: Session = vars(served)["_cilium_analysis_session"]
    journal = session.source(session.choice.source, {}).journal
    assert [record.bytes > 0 for record in journal] == [True, False, False]


def test_the_mistake_is_marked(served: InteractiveShell) -> None:
    shown = failing(served, "%promql sum by (reason (rate(up[5m])))")
    lines = shown.splitlines()
    at = next(n for n, text in enumerate(lines) if text.strip() == "^")
    assert lines[at - 1][lines[at].index("^") :].startswith("(rate")
    assert "QueryRejected" in shown
    assert "Traceback" not in shown
    assert len(lines) <= 5


# Options


def test_defaults_hold_until_they_are_changed(shell: InteractiveShell) -> None:
    told = run(shell, "%promql --source sample --timezone Asia/Tokyo")
    assert "17:00:00 to 19:00:00 Asia/Tokyo, every 30s" in repr(told)
    told = run(shell, "%promql --start 2026-03-21T08:30Z --end 2026-03-21T09:00Z")
    assert "17:30:00 to 18:00:00 Asia/Tokyo" in repr(told)
    assert repr(run(shell, "%promql")) == repr(told)


def test_the_environment_may_name_the_source(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_SOURCE", "sample")
    assert "simulated" in repr(run(shell, "%promql"))


def test_a_variable_may_hold_the_source(shell: InteractiveShell) -> None:
    shell.user_ns["mine"] = connect("sample")
    query = first_query(shell.user_ns["mine"])
    run(shell, f"%promql --source mine {query}")
    assert [record.promql for record in shell.user_ns["mine"].journal] == [query]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("up", "no source is chosen"),
        ("--sourse sample up", "did you mean --source?"),
        ("--start", "--start needs a value, as in --start -6h"),
        ("--as class up", "--as class: the result needs a name"),
        ("--as a.b up", "--as a.b: the result needs a name"),
        ("--as x", "need a query"),
        ("up --start -1h", "--start stands after the query"),
        ("--source sample --start tomorrow up", "is not a time"),
        ("--source nowhere up", "give the URL of a server"),
        ("--source http://ann:hunter2@[ up", "not a URL of a server"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(shell: InteractiveShell, line: str, said: str) -> None:
    shown = failing(shell, f"%promql {line}")
    assert said in shown
    assert "Traceback" not in shown
    assert "hunter2" not in shown
    # Nothing of it is kept.
    assert "no source is chosen" in failing(shell, "%promql up")


def test_a_bundle_says_which_queries_it_answers(shell: InteractiveShell) -> None:
    run(shell, "%promql --source sample")
    shown = failing(shell, "%promql topk(3, cilium_endpoint)")
    assert "last_over_time(cilium_endpoint{}[30s])" in shown
    shown = failing(shell, "%promql sum by (pod) (rate(cilium_forward_count_total[5m]))")
    works = shown.rpartition("this works: ")[2].strip()
    assert works == "sum by (direction, instance) (rate(cilium_forward_count_total[5m]))"
    assert run(shell, f"%promql {works}").shape[1] > 1


def test_the_example_in_the_help_runs(shell: InteractiveShell) -> None:
    with capture_output() as shown:
        shell.run_line_magic("pinfo", "%promql")
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(shown.stdout) + str(shown.outputs))
    assert "source.range(" in text
    help_ = inspect.cleandoc(CiliumMagics.promql.__doc__ or "")
    example = help_.rpartition("::")[2]
    frame = run(shell, inspect.cleandoc(example))
    assert frames.values(frame, "node") == ["worker-2"]


def test_what_a_bundle_computed_says_so_wherever_it_is_shown(shell: InteractiveShell) -> None:
    run(shell, "%promql --source sample")
    mark = "Computed from the recorded cilium_drop_count_total, one sample per 30s"
    query = "sum by (node) (rate(cilium_drop_count_total[5m]))"
    with capture_output() as shown:
        run(shell, f"%promql --as rates {query}")
    assert mark in str(shown.outputs[0].data)
    rates = shell.user_ns["rates"]
    for frame in (rates, rates.tail(3), rates.iloc[:, :0]):
        for mime in ("text/html", "text/plain"):
            assert shell.display_formatter is not None
            assert mark in shell.display_formatter.format(frame)[0][mime]


def test_what_the_server_warns_of_is_shown(shell: InteractiveShell) -> None:
    with Stub(matrix(({"a": "b"}, {1774080000: "1"}), warnings=["too <b>old</b>"])) as stub:
        with capture_output() as shown:
            run(shell, f"%promql --source {stub.url} --start 2026-03-21 --end 2026-03-22 up")
    assert "too <b>old</b>" in shown.outputs[0].data["text/plain"]
    assert "too &lt;b&gt;old" in shown.outputs[0].data["text/html"]


def test_a_plot_names_series_by_what_differs(shell: InteractiveShell) -> None:
    import matplotlib.pyplot as plt

    query = first_query(connect("sample"))
    run(shell, f"%promql --source sample --plot --as up {query}")
    legend = plt.gca().get_legend()
    assert legend is not None
    assert any("10.10.0.11" in text.get_text() for text in legend.get_texts())
    plt.close("all")


# Stop


@pytest.mark.parametrize("path", ["/api/v1/query", "/api/v1/query_range"])
def test_stop_ends_a_slow_query_and_leaves_the_source_usable(
    shell: InteractiveShell, path: str, request: pytest.FixtureRequest
) -> None:
    """In the main thread it counts series, and waits for several requests at the same time."""
    gate, asked = threading.Event(), threading.Event()
    main = threading.main_thread().ident
    assert main is not None
    # As in a kernel; what ran in this process before may have left another handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def stall(sent: Request) -> Reply:
        if sent.path != path:
            return vector(({}, 1772323200, "1"))
        asked.set()
        return Reply(success([]).body, gate=gate)

    def stop() -> None:
        assert asked.wait(20)
        signal.pthread_kill(main, signal.SIGINT)

    with Stub(stall) as stub:
        run(shell, f"%promql --source {stub.url} --start 2026-03-01 --end 2026-03-21 --step 30s")
        stopping = threading.Thread(target=stop)
        stopping.start()
        result = shell.run_cell("%promql up")
        stopping.join()
        assert isinstance(result.error_in_exec, Interrupted)
        assert "can be asked again" in str(result.error_in_exec)
        stub.play(matrix(({"a": "b"}, {1772323200: "1"})))
        assert run(shell, "%promql up").shape[1] == 1
        gate.set()


# Completion


def test_names_come_from_the_server(served: InteractiveShell) -> None:
    offered = completed(served, "%promql sum(cilium_drop_c")
    assert offered[0] == "%promql sum(cilium_drop_count_total"
    assert "%promql sum by (reason" in completed(served, "%promql sum by (rea")
    held = 'cilium_drop_count_total{reason="'
    assert f"%promql {held}Invalid source ip" in completed(served, f"%promql {held}Inv")
    assert "%promql cilium_drop_count_total{direction" in completed(
        served, "%promql cilium_drop_count_total{dir"
    )
    assert completed(served, "%%promql\nsum(\n  cilium_endpoint_st") == [
        "%%promql\nsum(\n  cilium_endpoint_state"
    ]


def test_without_a_source_what_is_known_of_cilium_is_offered(shell: InteractiveShell) -> None:
    assert "%promql cilium_drop_count_total" in completed(shell, "%promql cilium_drop")
    assert "%promql cilium_drop_count_total{reason" in completed(
        shell, "%promql cilium_drop_count_total{re"
    )
    assert "%metric hubble_drop_total" in completed(shell, "%metric hubble_dr")


def test_options_and_their_values_are_offered(shell: InteractiveShell) -> None:
    shell.user_ns["mine"] = connect("sample")
    assert completed(shell, "%promql --st") == ["%promql --start", "%promql --step"]
    assert "%promql --source mine" in completed(shell, "%promql --source m")
    assert "%promql --timezone Europe/Berlin" in completed(shell, "%promql --timezone Europe/Be")
    assert "%promql --end now" in completed(shell, "%promql --end n")
    assert set(completed(shell, "%promql --")) == {
        f"%promql {option}" for option in (*WITH_VALUE, *ALONE)
    }
    docs = type(shell.magics_manager.magics["line"]["promql"].__self__).promql.__doc__
    assert all(option in docs for option in (*WITH_VALUE, *ALONE))


def test_a_bundle_offers_the_queries_that_it_answers(shell: InteractiveShell) -> None:
    query = first_query(connect("sample"))
    typed = "%promql --source sample "
    assert f"{typed}{query}" in completed(shell, typed + query[:9])


def test_python_is_completed_as_before(shell: InteractiveShell) -> None:
    shell.user_ns["cilium_things"] = 1
    shell.Completer.use_jedi = False
    assert "cilium_things" in completed(shell, "cilium_th")


def test_completion_waits_for_nobody() -> None:
    gate = threading.Event()
    with Stub(lambda _: Reply(success(["x_total"]).body, gate=gate)) as stub:
        with Prometheus(stub.url) as source:
            words = Vocabulary(source)
            assert "cilium_endpoint" in words.metrics()
            gate.set()
            until(lambda: words.metrics() == ["x_total"])
            assert len(stub.requests) == 1


def test_a_server_that_fails_is_left_alone_for_a_while() -> None:
    now = [0.0]
    with Stub(refusal(400, "bad_data", "no")) as stub, Prometheus(stub.url) as source:
        words = Vocabulary(source, clock=lambda: now[0])
        for _ in range(3):
            assert words.values("reason", "x") == []
        assert len(stub.requests) == 1
        now[0] += 60
        words.values("reason", "x")
        assert len(stub.requests) == 2


# Loading


def test_loaded_twice_nothing_is_there_twice(shell: InteractiveShell) -> None:
    usual = run(shell, "%promql --source sample")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            run(shell, "%reload_ext cilium_analysis")
    assert repr(run(shell, "%promql")) == repr(usual)
    matchers = [one.matcher_identifier for one in shell.Completer.custom_matchers]
    assert matchers.count("cilium_analysis.promql") == 1


#: What somebody does who works on the package and explores with it at once.
_EDITS = """
import os, sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
import cilium_analysis

shell = InteractiveShell.instance()
package = Path(cilium_analysis.__file__).parent
assert package.parent == Path.cwd()

def run(code):
    done = shell.run_cell(code)
    done.raise_error()
    return done.result

run("%load_ext autoreload")
run("%autoreload 2")
run("%load_ext cilium_analysis")
run("%promql --source " + sys.argv[1])
query = run("from cilium_analysis import connect; bundle = connect(" + repr(sys.argv[1]) + ")"
            "; next(q for q in bundle.queries if 'process_start_time_seconds{}[30s]' in q)")
before = run("%promql " + query)
for name in ("frames", "magics/displays", "magics/commands", "window", "bundle/replay"):
    file = package / (name + ".py")
    file.write_text(file.read_text() + "EDITED = True" + os.linesep)
    os.utime(file, (2e9, 2e9))
assert run("from cilium_analysis import frames; frames.EDITED")
after = run("%promql " + query)
assert before.equals(after)
for frame in (before, after):
    shown, _ = shell.display_formatter.format(frame)
    assert "ca-table" in shown["text/html"], shown
run("bundle.range(" + repr(query) + ", bundle.window)")
print("all is well")
"""


def test_the_package_may_be_edited_while_it_is_used(tmp_path: Path) -> None:
    shutil.copytree(Path(cilium_analysis.__file__).parent, tmp_path / "cilium_analysis")
    done = subprocess.run(
        [sys.executable, "-c", _EDITS, str(sample_directory())],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == ["all is well"], done.stdout + done.stderr


def test_unloaded_all_is_as_before() -> None:
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    known: Any = shell.display_formatter
    formatters = [known.formatters[mime] for mime in ("text/html", "text/plain")]
    before = [dict(one.type_printers) for one in formatters]
    run(shell, "%load_ext cilium_analysis")
    assert [dict(one.type_printers) for one in formatters] != before
    run(shell, "%unload_ext cilium_analysis")
    assert [dict(one.type_printers) for one in formatters] == before
    assert "promql" not in shell.magics_manager.magics["line"]
    assert shell.Completer.custom_matchers == []
    InteractiveShell.clear_instance()


# Displays


def shown(shell: InteractiveShell, thing: object) -> tuple[str, str]:
    formatter: Any = shell.display_formatter
    data, _ = formatter.format(thing)
    return data.get("text/plain", ""), data.get("text/html", "")


HOSTILE = '<img src=x onerror=alert(1)>"</script>'


def test_a_frame_shows_what_it_holds_and_its_series(shell: InteractiveShell) -> None:
    bundle = connect("sample")
    assert isinstance(bundle, Bundle)
    frame = bundle.range(first_query(bundle), bundle.window)
    plain, rich = shown(shell, frame)
    assert plain.startswith("6 series × 241 steps, 2026-03-21 08:00:00 to 10:00:00 UTC, every 30s")
    assert "10.10.0.15" in plain
    assert "6 series × 241 steps" in rich
    assert rich.count("<tr>") == 7
    other = pd.DataFrame({"a": [1]})
    assert shown(shell, other) == (repr(other), cast("Any", other)._repr_html_())


def test_hostile_labels_are_text(shell: InteractiveShell) -> None:
    with Stub(
        matrix(
            ({"a": HOSTILE, "b": "\x1b[31m", HOSTILE: "c"}, {1774080000: "1"}),
            ({"a": "x", "b": "\x1b[31m", HOSTILE: "c"}, {1774080000: "1"}),
        )
    ) as stub:
        with Prometheus(stub.url) as source:
            frame = source.range("x", Window.parse("2026-03-21", "2026-03-22"))
            source.range(HOSTILE, Window.parse("2026-03-21", "2026-03-22"))
    for thing in (frame, source.journal):
        plain, rich = shown(shell, thing)
        assert "<img" not in rich
        assert rich.count("</script>") == 1
        assert "\x1b" not in plain


def test_the_rest_is_told_too(shell: InteractiveShell) -> None:
    bundle = connect("sample")
    assert isinstance(bundle, Bundle)
    assert "every 30s" in shown(shell, bundle.window)[1]
    assert f"{len(bundle.queries)} range queries" in shown(shell, bundle)[0]
    source = Prometheus("http://ann:hunter2@127.0.0.1:9")
    for thing in (source, Remembering(source)):
        plain, rich = shown(shell, thing)
        assert "hunter2" not in plain + rich
        assert "http://127.0.0.1:9" in plain
    plain, rich = shown(shell, bundle.metric("cilium_drop_count_total"))
    assert "pinned BPF map" in plain
    assert "pinned BPF map" in rich
    assert "cilium_drop_count_total" in shown(shell, bundle.metrics("drop"))[1]
    assert shown(shell, [1, 2]) == ("[1, 2]", "")
    assert shown(shell, []) == ("[]", "")
    bundle.range(first_query(bundle), bundle.window)
    plain, rich = shown(shell, bundle.journal)
    assert "1 query, 1,445 samples" in plain
    assert "<table" in rich


def test_a_frame_that_was_worked_on_is_shown_too(shell: InteractiveShell) -> None:
    bundle = connect("sample")
    assert isinstance(bundle, Bundle)
    frame = bundle.range(first_query(bundle), bundle.window)
    for thing in (counters.increase(frame), frame.iloc[:0], frame.iloc[:, :0], frame.iloc[:1]):
        plain, rich = shown(shell, thing)
        assert "series" in plain
        assert "series" in rich


def test_outside_of_jupyterlab_figures_stay_pictures(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib as mpl

    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    before = mpl.get_backend()
    assert not zooming(shell)
    assert mpl.get_backend() == before
