"""Accounts of what happened: what a person pastes into a chat or a ticket."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cilium_analysis import accounts, cards
from cilium_analysis.findings import Finding, Findings, Severity, Unknown
from cilium_analysis.texts import lasting
from cilium_analysis.times import clock
from cilium_analysis.topics.commands import complete, workload
from cilium_analysis.window import Window

START = datetime(2026, 3, 21, 8, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=2), timedelta(seconds=30))
HOSTILE = (
    "</li><script>alert(1)</script>|*_{code}[x](http://y) <!channel> @here `rm -rf` \\ \x1b[31m"
)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def finding(**changes: object) -> Finding:
    given = {
        "kind": "drop_spike",
        "severity": Severity.CRITICAL,
        "title": "Drops “Policy denied”: 34.3 packets/s instead of 0",
        "start": at(60),
        "end": at(102),
        "value": 34.3,
        "baseline_value": 0.0,
        "unit": "packets/s",
        "query": "sum(x)",
        "next_step": "Look: `kubectl get pods`.",
        "brief": "86,444 packets from a/b to c/d denied by policy",
        "topic": "drop_reasons",
    }
    return Finding(**{**given, **changes})  # type: ignore[arg-type]


def changed(minutes: float) -> Finding:
    when = {"start": at(minutes), "end": at(minutes + 0.5)}
    return finding(
        kind="policy_change", severity=Severity.INFO, title="Policies changed", topic="", **when
    )


def found(*items: Finding, **more: object) -> Findings:
    return Findings("x", WINDOW, None, items, **more)  # type: ignore[arg-type]


def test_a_story_is_told_with_its_time_its_amount_and_what_began_and_ended_it() -> None:
    also = finding(kind="http_denied", brief="26,463 requests got 403", start=at(61))
    story = finding(evidence=(changed(60), also, changed(101.5)))
    assert accounts.account(found(story), "UTC") == [
        "2026-03-21 09:00–09:42 UTC (42 min, over): 86,444 packets from a/b to c/d denied by"
        " policy; 26,463 requests got 403. It began with a change of policies (09:00), and ended"
        " with one (09:41:30)."
    ]


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (60, 102, "2026-03-21 09:00–09:42 UTC (42 min, over)"),
        (60, 120, "since 2026-03-21 09:00 UTC (1 h, ongoing)"),
        (0, 120, "since before 2026-03-21 08:00 UTC (more than 2 h, ongoing)"),
        (0, 30, "before 2026-03-21 08:00 to 08:30 UTC (more than 30 min, over)"),
        (60, 60.5, "2026-03-21 09:00–09:00:30 UTC (30 s)"),
        (60, 60, "2026-03-21 09:00 UTC"),
    ],
)
def test_it_says_whether_something_is_over_or_had_begun_before(
    start: float, end: float, said: str
) -> None:
    assert accounts.when(finding(start=at(start), end=at(end)), WINDOW, "UTC") == said


def test_what_reaches_as_far_as_the_data_is_not_over() -> None:
    lasting = finding(ongoing=True, known_until=at(103))
    assert accounts.when(lasting, WINDOW, "UTC") == (
        "since 2026-03-21 09:00 UTC (42 min, ongoing when the data end at 09:43)"
    )
    # The newest sample is a scrape interval old.
    assert accounts.when(finding(ongoing=True), WINDOW, "UTC").endswith("(42 min, ongoing)")
    early = finding(begun_before=True)
    assert accounts.when(early, WINDOW, "UTC").startswith("before 2026-03-21 09:00 to 09:42 UTC")
    read = Findings.from_json(found(lasting).as_json())[0]
    assert (read.ongoing, read.known_until) == (True, at(103))


def test_a_change_of_policies_has_a_time_between_two_scrapes() -> None:
    said = accounts.when(changed(60), WINDOW, "UTC", day=False)
    assert said == "between 09:00 and 09:00:30 UTC"


def test_times_have_their_offset_on_the_day_of_a_clock_change() -> None:
    moment = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    twice = [clock(moment + timedelta(hours=n), "Europe/Berlin") for n in range(2)]
    assert twice == ["02:30+02:00", "02:30+01:00"]
    assert clock(moment + timedelta(days=1), "Europe/Berlin") == "01:30"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (35, "35 s"),
        (119, "119 s"),
        (120, "2 min"),
        (570, "9 min 30 s"),
        (4200, "1 h 10 min"),
        (3600 * 50, "2 d 2 h"),
    ],
)
def test_durations_are_written_as_people_say_them(seconds: int, said: str) -> None:
    assert lasting(timedelta(seconds=seconds)) == said


def test_nothing_unusual_is_said_only_of_what_was_judged() -> None:
    quiet = ["2026-03-21 08:00 to 10:00 UTC: nothing unusual."]
    assert accounts.account(found(checked=("dns",)), "UTC") == quiet
    unknown = (Unknown("http_status", ("no request is visible",)),)
    partly = accounts.account(found(checked=("dns",), unknown=unknown), "UTC")
    assert partly == [
        "2026-03-21 08:00 to 10:00 UTC: nothing unusual in what can be judged.",
        "Unknown: HTTP status (no request is visible).",
    ]
    # That the monitoring itself was looked at says nothing about the cluster.
    nothing = accounts.account(found(checked=("setup_check",), unknown=unknown), "UTC")
    assert nothing == partly[1:]
    stopped = accounts.account(found(incomplete=("dns",)), "UTC")
    assert stopped == ["Not complete: DNS stopped with an error."]


def test_notes_are_no_incident() -> None:
    note = finding(severity=Severity.INFO)
    assert accounts.account(found(note), "UTC") == [
        "2026-03-21 08:00 to 10:00 UTC: nothing unusual; 1 note below."
    ]


def test_many_stories_are_told_in_a_few_sentences() -> None:
    many = [finding(labels={"n": str(n)}, start=at(n)) for n in range(1, 8)]
    told = accounts.account(found(*many), "UTC")
    assert len(told) == accounts.TOLD + 1
    assert told[-1] == "4 more findings below."


@pytest.mark.parametrize("notation", accounts.FORMATS)
def test_texts_of_others_are_no_markup(notation: str) -> None:
    hostile = finding(title=HOSTILE, brief=HOSTILE, next_step="Look.")
    text = accounts.FORMATS[notation](found(hostile), "UTC", name=HOSTILE, page="https://x/y")
    assert "\x1b" not in text
    assert "@here" not in text
    assert {"markdown": "<script", "slack": "<!channel", "jira": "{code"}[notation] not in (
        text.replace("\\<", "").replace("\\{", "")
    )
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    if notation == "markdown":
        assert [row.replace("\\|", "").count("|") for row in rows] == [6, 6, 6]
    if notation == "jira":
        assert rows[1].replace("\\|", "").count("|") == 6
    assert "https://x/y".replace("/", "") in lines[-1].replace("\\", "").replace("/", "")


def test_commands_stay_code() -> None:
    one = found(finding())
    assert "`kubectl get pods`" in accounts.markdown(one, "UTC", name="x")
    assert "`kubectl get pods`" in accounts.slack(one, "UTC", name="x")
    assert "{{kubectl get pods}}" in accounts.jira(one, "UTC", name="x")
    assert '<code class="ca-command">kubectl get pods</code>' in cards.stories(one, "UTC")


def test_cards_hold_no_html_of_others() -> None:
    hostile = finding(
        title=HOSTILE,
        brief=HOSTILE,
        next_step="Look.",
        query=HOSTILE,
        topic=HOSTILE,
        labels={HOSTILE: HOSTILE},
        trust_reasons=(HOSTILE,),
    )
    whole = found(replace(hostile, evidence=(hostile,)), unknown=(Unknown("dns", (HOSTILE,)),))
    html = cards.told(whole, "UTC") + cards.stories(whole, "UTC")
    assert "<script" not in html
    assert "<!channel" not in html
    assert "\x1b" not in html
    # No link to a page of that name; of a query only what stands for its characters.
    marks = re.findall(r"<!--(.*?)-->", html, re.DOTALL)
    assert all(re.fullmatch(r"explore [A-Za-z0-9%._~-]+", mark) for mark in marks), marks
    assert html.count("<!--") == len(marks)
    assert "ca-command" not in html  # nothing of theirs is offered to be copied


def test_a_signal_is_drawn_where_it_is_known() -> None:
    times = [at(n / 2) for n in range(1, 241)]
    values = [float("nan") if 40 <= n < 50 else 34.0 if 120 <= n < 204 else 0.0 for n in range(240)]
    drawn = cards.Signal(times, values, 0.5, "packets/s")
    html = cards.stories(found(finding()), "UTC", signals={1: drawn})
    assert html.count("M") == 3  # the line is broken once; the baseline is a line of its own
    said = "UTC: 0 to 34 packets/s; shaded: 09:00 to 09:42; dashed: the baseline, 0.5 packets/s"
    assert said in html
    unknown = cards.Signal(times, [float("nan")] * 240, float("nan"), "packets/s")
    assert "<svg" not in cards.stories(found(finding()), "UTC", signals={1: unknown})


def test_a_change_of_policies_begins_or_ends_a_story_on_its_card() -> None:
    html = cards.stories(found(finding(evidence=(changed(60), changed(101.5)))), "UTC")
    assert html.index("Began with:") < html.index("Ended with:")


def test_commands_are_complete() -> None:
    text = "See `cilium-dbg bpf nat list` and `kubectl -n kube-system logs POD --previous`."
    assert complete(text) == (
        "See `kubectl -n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg bpf nat list` and"
        " `kubectl -n kube-system logs ds/cilium --previous`."
    )
    there = complete(text, node="prod/worker-3")
    assert there.count("--field-selector spec.nodeName=worker-3 -o name)") == 2


def test_commands_about_what_is_over_ask_about_that_time() -> None:
    past = (at(60), at(102))
    since, until = "2026-03-21T09:00:00Z", "2026-03-21T09:42:00Z"
    assert complete("`hubble observe --verdict DROPPED`", past=past) == (
        f"`hubble observe --verdict DROPPED --since {since} --until {until}`"
    )
    assert complete("`kubectl -n kube-system logs -l a=b --tail=200`", past=past) == (
        f"`kubectl -n kube-system logs -l a=b --tail=-1 --since-time={since}`"
    )
    # A log of the run before ends at that time, and these take none.
    for command in ("kubectl logs POD --previous", "kubectl get cnp -A", "hubble status"):
        assert complete(f"`{command}`", past=past) == complete(f"`{command}`")
    assert complete("`hubble observe`") == "`hubble observe`"


@pytest.mark.parametrize("node", ["x; rm -rf /", "$(id)", "10.0.0.1", "a`b", "", "x" * 300, "A"])
def test_only_names_of_nodes_go_into_commands(node: str) -> None:
    assert "exec ds/cilium -c" in complete("`cilium-dbg status`", node=node)


@pytest.mark.parametrize(
    ("versions", "program"),
    [
        (("1.14.5",), "-- cilium status"),
        (("1.13.4", "1.14.5"), "-- cilium status"),
        (("1.14.5", "1.15.2"), "-- cilium-dbg status"),
        (("1.20.0-dev",), "-- cilium-dbg status"),
        ((), "-- cilium-dbg status"),
    ],
)
def test_the_program_is_called_as_in_the_version(versions: tuple[str, ...], program: str) -> None:
    assert program in complete("`cilium-dbg status`", versions=versions)


def test_only_names_of_workloads_go_into_commands() -> None:
    assert workload("shop/cart-api") == "shop/cart-api"
    assert not workload("shop/cart;id")
    assert not workload("a/b/c")
    assert not workload("--help")


def test_a_story_lasts_as_long_as_its_signs_and_each_has_its_own_time() -> None:
    later = replace(finding(), kind="http_errors", title="Requests failed", brief="Requests failed")
    later = replace(later, start=at(65), end=at(110), severity=Severity.WARNING)
    story = finding(evidence=(later,))
    said = accounts.told(story, WINDOW, "UTC")
    assert said.startswith("2026-03-21 09:00–09:50 UTC (50 min, over): ")
    assert ", 09:00–09:42; requests failed, 09:05–09:50." in said
    going_on = replace(story, evidence=(replace(later, end=WINDOW.end),))
    assert accounts.told(going_on, WINDOW, "UTC").startswith("since 2026-03-21 09:00 UTC (1 h, ong")
    # What is no warning is not told, and does not count.
    info = replace(story, evidence=(replace(later, severity=Severity.INFO),))
    assert accounts.told(info, WINDOW, "UTC").startswith("2026-03-21 09:00–09:42 UTC (42 min")


def test_a_card_and_a_table_tell_the_time_of_the_story() -> None:
    sign = replace(
        finding(), kind="http_errors", title="Requests failed", start=at(65), end=at(110)
    )
    story = finding(evidence=(replace(sign, severity=Severity.WARNING),))
    page = cards.stories(found(story), "UTC")
    whole = "2026-03-21 09:00–09:50 UTC (50 min, over)"
    assert f'<p class="ca-when">{whole} · the finding itself 09:00–09:42' in page
    assert "· 09:05–09:50 UTC (45 min, over)</span>" in page
    (row,) = [
        line
        for line in accounts.markdown(found(story), "UTC", name="c").splitlines()
        if line.startswith("| 1 ")
    ]
    assert f"| {whole} |" in row
    alone = cards.stories(found(finding()), "UTC")
    assert '<p class="ca-when">2026-03-21 09:00–09:42 UTC (42 min, over)' in alone
    assert "itself" not in alone
