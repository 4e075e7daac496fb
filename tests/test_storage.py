"""Reports in an object store, against a real server that speaks S3."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cilium_analysis import connect
from cilium_analysis.bundle import manifest
from cilium_analysis.bundle.remote import fetch
from cilium_analysis.capture import capture
from cilium_analysis.cli import main
from cilium_analysis.errors import (
    BundleError,
    OutputError,
    ParameterError,
    StoreRefused,
    StoreUnavailable,
    UsageError,
)
from cilium_analysis.figures import AS_PAGE
from cilium_analysis.fleet import How, engine, read_fleet, run_fleet
from cilium_analysis.fleet.plan import tasks
from cilium_analysis.fleet.run import existing
from cilium_analysis.question import ask
from cilium_analysis.report import report, resume
from cilium_analysis.report.html import runs_page
from cilium_analysis.report.kernel import environment
from cilium_analysis.report.summary import write
from cilium_analysis.source import iso
from cilium_analysis.storage import MARK, Address, Store, located, place, publication
from cilium_analysis.storage.runs import run_name
from tests.runs import notebook
from tests.servers.stored import KEY, SECRET, TOKEN, ObjectServer
from tests.test_report import WINDOW, Elements
from tests.test_retention import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

DAY = timedelta(days=1)
SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
    "FSSPEC_S3_SECRET",
    "GOOGLE_APPLICATION_CREDENTIALS",
)


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    server = ObjectServer()
    yield server
    server.stop()


@pytest.fixture
def store(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    object_server.use(monkeypatch)
    return object_server


@pytest.fixture(scope="module")
def made(object_server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a run of the sample, with a real notebook, in the bucket ``shared``."""
    with pytest.MonkeyPatch.context() as patch:
        object_server.use(patch)
        object_server.bucket("shared")
        folder = tmp_path_factory.mktemp("tmp")
        patch.setattr("tempfile.tempdir", str(folder))
        run = report(
            ask(source="sample", baseline=""),
            topics=["drop_reasons"],
            directory=Address.parse("s3://shared/team/reports"),
        )
        assert [path.name for path in folder.iterdir()] == []
        yield str(run.directory)


def files(server: ObjectServer, bucket: str, below: str = "") -> set[str]:
    return {key.removeprefix(below) for key in server.contents(bucket) if key.startswith(below)}


def listed(server: ObjectServer, bucket: str, prefix: str = "") -> set[str]:
    page = server.contents(bucket)[f"{prefix}index.html"].decode()
    links = [a["href"] for a in Elements(page).named("a")]
    return {link.split("/")[0] for link in links if not link.startswith("#")}


def small(directory: Path, *code: str, topic: str = "drop_reasons") -> Path:
    return notebook(directory, *(code or ("print('fine')",)), topic=topic)


def quick(where: Path | Address, notebooks: Path, **options: Any) -> Any:
    return report(
        ask(source="sample", baseline=""),
        topics=options.pop("topics", ["drop_reasons"]),
        directory=where,
        notebooks=notebooks,
        **options,
    )


def published(address: str, *, then: Callable[[], None]) -> None:
    """Publish two files, and have something happen before they are."""
    with publication(Address.parse(address), last="run.json") as directory:
        directory.mkdir()
        (directory / "run.json").write_text("{}")
        (directory / "index.html").write_text("a page")
        then()


def put(server: ObjectServer, bucket: str, age: timedelta, *, name: str = "") -> str:
    """A run of this age."""
    name = name or run_name(WINDOW)
    summary = SUMMARY | {"began": iso(datetime.now(UTC) - age)}
    for file, text in {"run.json": json.dumps(summary), "bundle/manifest.json": "{}"}.items():
        server.client.put_object(Bucket=bucket, Key=f"{name}/{file}", Body=text.encode())
    return name


# A report in a store


@pytest.mark.slow
def test_a_report_is_there_whole_and_in_the_index(store: ObjectServer, made: str) -> None:
    name = made.rpartition("/")[2]
    assert listed(store, "shared", "team/reports/") == {name}
    there = files(store, "shared", f"team/reports/{name}/")
    assert {"run.json", "index.html", "drop_reasons.html", "findings.json"} <= there
    assert MARK not in there
    head = store.client.head_object(Bucket="shared", Key=f"team/reports/{name}/index.html")
    assert head["ContentType"] == "text/html"


@pytest.mark.slow
def test_its_bundle_is_read_again_with_the_same_findings(
    store: ObjectServer, made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    out = tmp_path / "out"
    arguments = ["report", "drop_reasons", "--source", f"{made}/bundle", "--output", str(out)]
    assert main([*arguments, "--compare", made]) == 0
    (run,) = [path for path in out.iterdir() if path.is_dir()]
    name = made.rpartition("/")[2]
    then = json.loads(store.contents("shared")[f"team/reports/{name}/findings.json"])
    assert then["findings"]
    assert json.loads((run / "findings.json").read_text())["findings"] == then["findings"]
    changes = json.loads((run / "run.json").read_text())["compared"]["findings"]
    assert {row["change"] for row in changes} == {"same"}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_no_secret_is_in_anything_that_was_written(store: ObjectServer, made: str) -> None:
    assert made
    for key, content in store.contents("shared").items():
        for secret in (KEY, SECRET, TOKEN, store.url):
            assert secret.encode() not in content, key


def test_a_changed_answer_is_refused(store: ObjectServer, made: str) -> None:
    name = made.rpartition("/")[2]
    store.bucket("changed")
    for key, content in store.contents("shared").items():
        if f"{name}/bundle/" in key:
            changed = b"PAR1" if key.endswith(".parquet") else content
            store.client.put_object(Bucket="changed", Key=key.partition(name)[2][1:], Body=changed)
    bundle = fetch(Address.parse("s3://changed/bundle"))
    asked = next(row for row in bundle.manifest["answers"] if row["window"])
    with pytest.raises(BundleError, match=r"s3://changed/bundle/answers/\d+.parquet has changed"):
        bundle.range(asked["promql"], manifest.window(asked["window"]))


@pytest.mark.slow
def test_two_runs_at_once_are_both_in_the_index(store: ObjectServer, tmp_path: Path) -> None:
    where, mine = located(store.bucket("twice")), small(tmp_path / "mine")
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: quick(where, mine), range(2)))
    assert listed(store, "twice") == {run.directory.name for run in runs}


@pytest.mark.slow
def test_what_stopped_is_resumed_from_the_store(store: ObjectServer, tmp_path: Path) -> None:
    where, mine = located(store.bucket("resumed")), small(tmp_path / "mine")
    small(mine, "raise ValueError('not today')", topic="setup_check")
    run = quick(where, mine, topics=["drop_reasons", "setup_check"])
    assert run.failures == {"setup_check": "ValueError: not today"}
    first = store.contents("resumed")[f"{run.directory.name}/drop_reasons.ipynb"]
    small(mine, "print('now it is done')", topic="setup_check")
    lines: list[str] = []
    again = resume(run.directory, notebooks=mine, tell=lines.append)
    assert lines == ["Running setup_check"]
    assert again.directory == run.directory
    contents = store.contents("resumed")
    assert contents[f"{run.directory.name}/drop_reasons.ipynb"] == first
    assert b"now it is done" in contents[f"{run.directory.name}/setup_check.html"]
    assert json.loads(contents[f"{run.directory.name}/run.json"])["status"] == "complete"
    assert listed(store, "resumed") == {run.directory.name}
    with pytest.raises(ParameterError, match=r"s3://resumed/none is no run"):
        resume(where / "none")


# What is kept


def test_old_runs_go_and_nothing_else(store: ObjectServer) -> None:
    where = located(store.bucket("kept"))
    old, young, just = (put(store, "kept", age * DAY) for age in (31, 29, 99))
    named = put(store, "kept", 99 * DAY, name="incident-of-march")
    strange = run_name(WINDOW)
    store.client.put_object(Bucket="kept", Key=f"{strange}/notes.txt", Body=b"not ours")
    store.client.put_object(Bucket="kept", Key=f"{run_name(WINDOW)}/{MARK}", Body=b"still made")
    said: list[str] = []
    place(where).keep_in_order(index=runs_page, keep=30 * DAY, made={just}, tell=said.append)
    assert said == ["removed 1 run older than 30d"]
    folders = {key.split("/")[0] for key in files(store, "kept") if "/" in key}
    assert old not in folders
    assert {young, just, named, strange} < folders
    assert len(folders) == 5
    assert listed(store, "kept") == {young, just, named}


def test_what_was_cut_short_goes_after_a_day(
    store: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name = located(store.bucket("short")), run_name(WINDOW)
    for file in (MARK, "index.html"):
        store.client.put_object(Bucket="short", Key=f"{name}/{file}", Body=b"")
    monkeypatch.setattr("cilium_analysis.storage.runs.LONGEST_RUN", timedelta(0))
    said: list[str] = []
    place(where).keep_in_order(index=runs_page, keep=30 * DAY, made=(), tell=said.append)
    assert said == ["cleared 1 run that had been cut short"]
    assert files(store, "short") == {"index.html"}


# What cannot be


def test_a_bucket_that_goes_in_the_middle_leaves_the_work_here(
    store: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store.bucket("lost")
    with pytest.raises(StoreUnavailable, match="what was made is kept in") as raised:
        published("s3://lost/run", then=lambda: store.drop("lost"))
    assert "s3://lost/run was not written: cannot write" in str(raised.value)
    assert raised.value.exit_code == 1
    (kept,) = tmp_path.glob("*/run/index.html")
    assert str(kept.parent) in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ObjectServer()
    server.use(monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server.bucket("bucket")

    def lose(*given: Any, **named: Any) -> Any:
        server.stop()
        return write(*given, **named)

    monkeypatch.setattr("cilium_analysis.report.run.write", lose)
    arguments = ["report", "setup_check", "--source", "sample", "--output", "s3://bucket/reports"]
    assert main(arguments) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "was not written: cannot write s3://bucket/reports/" in last
    assert "it cannot be reached; what was made is kept in" in last
    assert len(list(tmp_path.glob("cilium-analysis-*/*/run.json"))) == 1


def test_what_another_has_begun_to_write_too_is_left_to_it(
    store: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store.bucket("claimed")
    address = Address.parse("s3://claimed/run")
    with pytest.raises(StoreUnavailable, match="another process has begun to write the same"):
        published("s3://claimed/run", then=lambda: Store(address).write(MARK, b"another"))
    assert "run/run.json" not in files(store, "claimed")


def test_a_report_that_fails_leaves_nothing(store: ObjectServer, tmp_path: Path) -> None:
    where = located(store.bucket("nothing"))
    with pytest.raises(UsageError, match="unknown topic"):
        quick(where, small(tmp_path / "mine"), topics=["nonsense"])
    with pytest.raises(ZeroDivisionError):
        with publication(Address.parse("s3://nothing/run"), last="run.json"):
            raise ZeroDivisionError
    assert files(store, "nothing") == set()


@pytest.mark.parametrize("option", ["--output", "--compare"])
def test_a_bucket_that_is_not_there_is_told_at_once(
    option: str, store: ObjectServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert store
    assert main(["report", "dns", "--source", "sample", option, "s3://missing/reports"]) == 2
    said = capsys.readouterr().err
    assert "s3://missing/reports" in said
    assert "Reading" not in said or option == "--output"
    assert "Running" not in said


def test_what_there_is_no_right_to_is_told_at_once(
    store: ObjectServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server asks every caller for rights now, and the planted keys have none."""
    import requests

    store.bucket("denied")
    requests.post(f"{store.url}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        code = main(["report", "dns", "--source", "sample", "--output", "s3://denied/reports"])
    finally:
        requests.post(f"{store.url}/moto-api/reset-auth", data=b"inf", timeout=10)
    said = capsys.readouterr().err
    assert code == 2
    assert "access denied" in said
    assert "Running" not in said
    assert not any(secret in said for secret in (KEY, SECRET, TOKEN))
    assert files(store, "denied") == set()


def test_a_store_that_cannot_be_reached_is_told_at_once(
    store: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match=r"s3://bucket/x/.*: it cannot be reached"):
        place(Address.parse("s3://bucket/x")).prepare()


def test_without_credentials_that_is_said(
    store: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/none")
    with pytest.raises(StoreRefused, match="no credentials for it were found"):
        Store(Address.parse("s3://bucket/x")).write("a", b"")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://host/x", "unknown scheme 'ftp'"),
        ("http://host/x", "give a directory, or an address that begins with s3://"),
        ("s3:/bucket/x", "two slashes"),
        ("s3://", "names no bucket"),
        ("s3://KEY:planted@bucket/x", "holds no credentials"),
        ("s3://planted@bucket/x", "holds no credentials"),
        ("az://planted@reports/x", "holds no credentials"),
        ("s3://KEY:planted/x", "names no bucket"),
        ("az://reports/x?sig=planted", r"no \? and no #"),
        ("s3://bucket/../x", "prefix of the address is not valid"),
        ("s3://bucket/a//x", "prefix of the address is not valid"),
        ("s3://bucket/a*", "prefix of the address is not valid"),
    ],
)
def test_an_address_that_cannot_be_is_refused(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ParameterError, match=said):
        located(text)
    assert main(["report", "--source", "sample", "--output", text]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "planted" not in told


def test_addresses_are_read_and_written_again() -> None:
    for text in ("s3://bucket", "gs://bucket/a/b", "az://reports/a", "abfs://reports/a"):
        assert str(located(text)) == text
    named = located("abfss://reports@account1.dfs.core.windows.net/a/b/")
    assert isinstance(named, Address)
    assert (named.bucket, named.account, named.path) == ("reports", "account1", "reports/a/b")
    assert str(named / "c") == "abfss://reports@account1.dfs.core.windows.net/a/b/c"
    assert (named.name, named.parent.name) == ("b", "a")
    assert located("reports/s3") == Path("reports/s3")


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure")],
)
def test_an_extra_that_is_not_installed_is_named(
    scheme: str,
    module: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry = import_module("fsspec.registry")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(registry._registry, scheme, raising=False)
    address = f"{scheme}://bucket/x"
    assert main(["report", "dns", "--source", "sample", "--output", address]) == 2
    assert f"pip install 'cilium-analysis[{extra}]'" in capsys.readouterr().err


def test_kernels_get_no_secret_of_a_store(tmp_path: Path) -> None:
    found = environment(dict.fromkeys([*SECRETS, "AWS_REGION", "PATH"], "x"), home=tmp_path)
    ours = {"IPYTHONDIR", "MPLBACKEND", "PYDEVD_DISABLE_FILE_VALIDATION", "TQDM_DISABLE", AS_PAGE}
    assert set(found) == {"PATH", *ours}


# Bundles alone


@pytest.mark.slow
def test_a_bundle_is_captured_into_a_store(store: ObjectServer, made: str) -> None:
    store.bucket("bundles")
    source = fetch(Address.parse(f"{made}/bundle"))
    assert source.baseline is not None
    address = Address.parse("s3://bundles/march")
    record = partial(
        capture, source, source.window, source.baseline, topics=["drop_reasons"], match=""
    )
    record(directory=address)
    assert MARK not in files(store, "bundles", "march/")
    digests = [row.get("sha256") for row in source.manifest["answers"]]
    again = fetch(address)
    assert [row.get("sha256") for row in again.manifest["answers"]] == digests
    with pytest.raises(OutputError, match="exists already"):
        record(directory=address)
    with pytest.raises(BundleError, match="s3://bundles/none is no bundle"):
        connect("s3://bundles/none")


# A fleet


@pytest.mark.slow
def test_workers_of_a_fleet_publish_what_they_make(
    store: ObjectServer, made: str, tmp_path: Path
) -> None:
    where, mine = located(store.bucket("fleet")) / "reports", small(tmp_path / "mine")
    file = tmp_path / "fleet.yaml"
    window = "{start: 2026-03-21T08:00Z, end: 2026-03-21T10:00Z}"
    file.write_text(
        f"defaults: {{topics: [drop_reasons]}}\nwindow: {window}\nclusters:\n"
        f"  - {{name: a, source: sample}}\n  - {{name: b, source: '{made}/bundle'}}\n"
        "  - {name: c, source: 's3://fleet/none'}\n"
    )
    workers = partial(local_workers, 2)
    result = run_fleet(read_fleet(file), workers, directory=where, how=How(notebooks=str(mine)))
    assert str(result.page) == "s3://fleet/reports/fleet.html"
    assert {o.task.cluster.name: o.error for o in result.outcomes} == {
        "a": "",
        "b": "",
        "c": "s3://fleet/none is no bundle: it has no manifest.json, or there is no such bucket",
    }
    names = {outcome.task.run for outcome in result.outcomes}
    assert listed(store, "fleet", "reports/") - {"fleet.html"} == names
    contents = store.contents("fleet")
    assert {f"reports/{name}/index.html" for name in names} < set(contents)
    assert json.loads(contents["reports/fleet.json"])["clusters"] == ["a", "b", "c"]
    assert not [key for key in contents if MARK in key or "probe" in key]
    assert not [key for key, text in contents.items() if SECRET.encode() in text]
    there = existing(tasks(read_fleet(file), now=datetime.now(UTC)), place(where))
    assert {(o.task.cluster.name, o.task.run in names) for o in there} == {("a", True), ("b", True)}


def local_workers(most: int, reports: int) -> AbstractContextManager[engine.Engine]:
    return engine.local(workers=min(most, reports), memory_limit="2GiB")
