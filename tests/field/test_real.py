"""What is told of real agents, and of Cilium's own Hubble handlers, against what happened.

The truth is in tests/data/real-cilium. The recordings as a whole go through the command; windows
around each event are asked of the same topic within this process, which is cheaper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import installed_or_skip
from tests.field.asking import Told, command, topic, when
from tests.field.checks import near
from tests.field.recordings import AGENTS, HUBBLE, WHOLE, at, between, recording
from tests.servers.prometheus import NotInstalled

if TYPE_CHECKING:
    from pathlib import Path

#: The longest that the default step may be for windows of half an hour [s].
STEP = 30
SCRAPE = 5
#: How often cilium-health probes here [s].
PROBE = 110
QUIET = ("11:54:35", "12:13:00")
#: Where a window has one event only.
DENIED = ("12:13:00", "12:21:00")
REFUSED = ("12:20:00", "12:26:30")
CUT = ("12:25:30", "12:33:00")
RESTARTED = ("12:33:00", "12:36:20")
ALLOWED = ("12:36:20", "12:41:00")

Tell = Callable[..., Told]


def served(name: str) -> Iterator[str]:
    try:
        with recording(name) as url:
            yield url
    except NotInstalled as error:
        installed_or_skip(error)


@pytest.fixture(scope="module")
def agents() -> Iterator[str]:
    yield from served(AGENTS)


@pytest.fixture(scope="module")
def hubble() -> Iterator[str]:
    yield from served(HUBBLE)


@pytest.fixture(scope="module")
def told(agents: str) -> Tell:
    """Ask the agents' recording once about a window."""

    @cache
    def tell(
        window: tuple[str, str],
        *,
        about: str = "incident",
        step: str = "",
        usual: tuple[str, str] = QUIET,
    ) -> Told:
        start, end = map(at, window)
        return topic(agents, about, start=start, end=end, step=step, baseline=between(*usual))

    return tell


@pytest.fixture(scope="module")
def whole(agents: str, hubble: str, tmp_path_factory: pytest.TempPathFactory) -> Tell:
    """Run the command once on a whole recording."""

    @cache
    def tell(name: str) -> Told:
        output: Path = tmp_path_factory.mktemp(name)
        first, last, *usual = WHOLE[name]
        url = {AGENTS: agents, HUBBLE: hubble}[name]
        said = command(
            url,
            ["incident"],
            *("--baseline", between(*usual)),
            output=output,
            start=at(first),
            end=at(last),
            process=False,
        )
        assert said.code == 0, said.printed
        return said

    return tell


def lasts(finding: dict[str, Any], first: str, last: str, *, within: float) -> None:
    assert abs(when(finding["start"]) - when(at(first))) <= within, finding["start"]
    assert abs(when(finding["end"]) - when(at(last))) <= within, finding["end"]


def story(told: Told, kind: str, **labels: str) -> dict[str, Any]:
    """Give the story that a finding heads."""
    return next(
        each
        for each in told.findings
        if each["kind"] == kind and labels.items() <= each["labels"].items()
    )


def beneath(finding: dict[str, Any]) -> str:
    return "\n".join(each["title"] for each in finding.get("evidence", ()))


def alarming(told: Told) -> list[str]:
    """Give warnings, but for those that say that something is unknown."""
    return [
        each["title"]
        for each in told.findings
        if each["severity"] != "info" and each["kind"] != "missing_metrics"
    ]


# Three agents


def denied(told: Told) -> None:
    found = told.findings[0]
    assert found["kind"] == "drop_spike"
    assert found["total"] == 9960
    assert found["labels"]["reason"] == "Policy denied"
    assert "default/frontend" in found["title"]
    assert "default/web" in found["title"]
    assert "n2, n3" in found["title"]
    lasts(found, "12:15:00.6", "12:19:01", within=STEP)


@pytest.mark.slow
def test_denied_packets_are_counted_to_the_last(told: Tell) -> None:
    denied(told(DENIED))
    assert not alarming(told(DENIED))[1:]


def test_denied_packets_are_timed_to_a_scrape(told: Tell) -> None:
    found = told(DENIED, about="drop_reasons", step="5s").one("drop_spike")
    lasts(found, "12:15:00.6", "12:19:01", within=SCRAPE)


def refused(told: Told) -> dict[str, Any]:
    found = story(told, "dns_failures")
    assert found["total"] == near(243)
    assert "www.example.com" in found["title"]
    assert "default/frontend" in found["title"]
    assert "coredns" in found["title"]
    lasts(found, "12:22:00", "12:25:00.4", within=STEP)
    return found


@pytest.mark.slow
def test_refused_lookups_are_counted(told: Tell) -> None:
    assert refused(told(REFUSED)) == told(REFUSED).findings[0]


def test_refused_lookups_are_timed_to_a_scrape(told: Tell) -> None:
    found = told(REFUSED, about="dns", step="5s").one("dns_failures")
    assert found["total"] == near(243)
    lasts(found, "12:22:00", "12:25:00.4", within=SCRAPE)


def cut_off(told: Told) -> dict[str, Any]:
    found = story(told, "node_unreachable")
    assert found["labels"]["node"] == "n3"
    lasts(found, "12:27:30.7", "12:31:30.2", within=PROBE)
    assert "operator" not in beneath(found)
    return found


@pytest.mark.slow
def test_a_node_cut_off_is_timed_to_a_probe(told: Tell) -> None:
    found = cut_off(told(CUT))
    assert found == told(CUT).findings[0]
    assert "probe" in found["title"] + " ".join(found["trust_reasons"])


def test_connections_that_fail_for_a_node_cut_off_stand_beneath_it(told: Tell) -> None:
    failed = [each["title"] for each in told(CUT).of("tcp_failures")]
    assert [title for title in failed if "default/frontend" in title and "default/web" in title]
    assert [title for title in failed if "default/web" in title and "data/db" in title]
    assert len(alarming(told(CUT))) == 1


def restarted(told: Told) -> dict[str, Any]:
    found = story(told, "agent_restart", node="n2")
    assert "T12:33:3" in found["end"]  # when the new process began
    return found


@pytest.mark.slow
def test_what_follows_from_a_restart_stands_beneath_it(told: Tell) -> None:
    found = restarted(told(RESTARTED))
    assert found == told(RESTARTED).findings[0]
    assert all(each in beneath(found) for each in ("Stale or unroutable IP",))
    assert not [title for title in alarming(told(RESTARTED)) if title != found["title"]]


@pytest.mark.slow
def test_a_policy_that_allows_everything_is_no_warning(told: Tell) -> None:
    assert not told(ALLOWED).of("tcp_failures")
    assert not alarming(told(ALLOWED))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "usual"),
    [
        (("12:05:00", "12:14:30"), ("11:54:35", "12:05:00")),
        (("12:00:00", "12:10:00"), ("11:55:00", "12:00:00")),
    ],
)
def test_a_quiet_window_warns_of_nothing(
    told: Tell, window: tuple[str, str], usual: tuple[str, str]
) -> None:
    assert not alarming(told(window, usual=usual))


@pytest.mark.slow
def test_a_report_on_all_tells_each_event(whole: Tell) -> None:
    said = whole(AGENTS)
    denied(said)
    assert "Policy" not in beneath(refused(said))
    cut_off(said)
    restarted(said)
    assert "Stale or unroutable IP" not in "".join(each["title"] for each in said.findings)
    # The policy that allows everything.
    assert not [
        each for each in said.of("tcp_failures") if when(each["end"]) > when(at("12:36:30"))
    ]


def test_a_report_on_all_warns_of_nothing_else(whole: Tell) -> None:
    kinds = {"drop_spike", "dns_failures", "node_unreachable", "agent_restart"}
    said = whole(AGENTS)
    assert {each["kind"] for each in said.findings if each["severity"] != "info"} <= kinds
    assert len(alarming(said)) <= 4


# Hubble alone


@pytest.mark.slow
def test_hubble_alone_shows_dropped_packets_as_the_root(whole: Tell) -> None:
    found = whole(HUBBLE).findings[0]
    assert found["kind"] == "drop_spike"
    assert found["total"] == near(12_048)
    # So say the recording's own labels; the words of its truth name default/web, who asks the API.
    assert "from default/api to data/db" in found["title"]
    lasts(found, "11:48:32", "11:58:32", within=STEP)
    assert "503" in beneath(found)


def test_hubble_alone_is_no_reason_to_know_nothing_of_drops(whole: Tell) -> None:
    titles = [each["title"] for each in whole(HUBBLE).of("missing_metrics")]
    assert [title for title in titles if "drops are known from Hubble alone" in title]
    assert not [title for title in titles if "nothing can be said about drops" in title]


def test_hubble_alone_counts_failed_requests(whole: Tell) -> None:
    found = whole(HUBBLE).one("http_errors", status="503")
    assert found["total"] == near(3012)
    lasts(found, "11:48:32", "11:58:32", within=STEP)


def test_hubble_alone_counts_denied_requests(whole: Tell) -> None:
    found = whole(HUBBLE).one("http_denied")
    assert found["total"] == near(691)
    assert "from default/frontend to default/web" in found["title"]
    lasts(found, "11:53:32", "11:57:32", within=STEP)


def test_lookups_fail_under_the_name_type_too(whole: Tell) -> None:
    found = whole(HUBBLE).of("dns_failures")
    failed = [each for each in found if each["labels"].get("rcode") == "Server Failure"]
    lost = [each for each in found if each not in failed]
    assert [each["total"] for each in failed] == [near(247)]
    assert [each["total"] for each in lost] == [near(86)]
    for each in found:
        assert "batch/crawler" in each["title"]
        lasts(each, "11:50:32", "11:55:32", within=STEP)


def test_lookups_that_fail_are_a_story_of_their_own(whole: Tell) -> None:
    stories = [each for each in whole(HUBBLE).findings if each["kind"] != "missing_metrics"]
    heads = [each["kind"] for each in stories if each["severity"] != "info"]
    assert heads[0] == "drop_spike"
    assert sorted(set(heads)) == ["dns_failures", "drop_spike", "http_denied"]
    dns = next(each for each in stories if each["kind"] == "dns_failures")
    assert "503" not in beneath(dns)


@pytest.mark.slow
def test_hubble_alone_is_quiet_where_nothing_happens(hubble: str) -> None:
    window = {"start": at("11:40:30"), "end": at("11:48:30")}
    said = topic(hubble, "incident", **window, baseline=between("11:33:35", "11:40:30"))
    assert not alarming(said)
    assert "Nothing unusual" not in said.said()
