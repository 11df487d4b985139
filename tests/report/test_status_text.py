"""What `status` shows a person: facts -> text, at any width, in any encoding, with and without colours."""

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from support.languages import chinese
from support.terminals import written
from support.views import (
    FACTS,
    IN_WINDOW,
    LISTED,
    NOTHING,
    NOW,
    SITE,
    failure,
    on_three,
    pair,
    said,
    site,
    view,
)

from certbotless.model.decision import Step
from certbotless.model.memory import KeptEvent
from certbotless.model.view import View
from certbotless.report import status_text
from certbotless.report.found import Found, Story

pytestmark = pytest.mark.usefixtures("in_utc")

NARROW = 40
LEGEND = "█ past  ◆ now  ░ ahead  │ renewal  ▒ to the end"
WELL = view()
UNBORN = view(
    Step("order", said("there is no certificate yet")),
    published=NOTHING,
    served={"registry": "ab" * 32},
)
FAILING = view(Step("order", said("due")), failures={"order": failure()})
STORY = Story((), (), True, False)
WAITING = view(IN_WINDOW, served={"registry": "cd" * 32, "web": ""})


def text_of(*views: View, width: int = 80, encoding: str = "utf-8", **found: Any) -> str:
    """Return what `status` prints."""
    facts = Found(NOW, "c.yaml", **{"error": "", "daemon_pid": 4711, "views": views, **found})
    return written(lambda screen: status_text.draw(facts, screen), width, encoding=encoding)


def lines_of(*views: View, width: int = 80, encoding: str = "utf-8", in_chinese: bool = False) -> list[str]:
    """Return the lines of the table, without the legend of the bar and what is said of the daemon."""
    *lines, daemon = text_of(*views, width=width, encoding=encoding).splitlines()
    assert daemon == ("守护进程：运行中，pid 4711" if in_chinese else "daemon: running, pid 4711")
    has_legend = any(view.seen.published.facts for view in views)
    return "\n".join(lines).rpartition("\n\n")[0].split("\n") if has_legend else lines


def lines_of_one(shown: View, *events: KeptEvent) -> list[str]:
    """Return the lines of `status DOMAIN`."""
    return text_of(shown, story=Story(events, (), True, False)).splitlines()


def bar_of(shown: View, encoding: str = "utf-8") -> str:
    """Return the bar below the one row."""
    return lines_of(shown, encoding=encoding)[2].strip().split("  ")[0]


# --- the table ----------------------------------------------------------------------------------------------


def test_a_site_that_is_well_is_a_row_and_a_bar() -> None:
    assert lines_of(WELL) == [
        "SITE                  STATE  ADDRESS       ENDS        LEFT     RENEWAL",
        "devbox.sweetlove.top  ok     10.79.40.213  2027-02-12  80 days  2027-01-13",
        "  ███◆░░░░░░░░░░░░░░░░│▒▒▒▒▒▒▒▒▒  registry serving, web serving",
    ]


def test_a_legend_says_what_the_bar_means_where_there_is_one() -> None:
    assert text_of(WELL).splitlines()[-3:-1] == ["", LEGEND]
    assert "past" not in text_of(UNBORN)


def test_the_table_is_in_the_language_of_people() -> None:
    """Its columns are as wide as the letters; days and moments are of the local time."""
    with chinese():
        shown = lines_of(WELL, in_chinese=True)
        assert shown == [
            "站点                  状态  地址          到期        剩余   续期",
            "devbox.sweetlove.top  正常  10.79.40.213  2027-02-12  80 天  2027-01-13",
            "  ███◆░░░░░░░░░░░░░░░░│▒▒▒▒▒▒▒▒▒  registry 已在使用，web 已在使用",
        ]
        assert lines_of(FAILING, in_chinese=True)[3:] == [
            "  ! the CA is closed",
            "    处理办法：try later",
            "    下次尝试：2026-11-24 13:40 +08:00，10 分钟后",
        ]
        assert lines_of(UNBORN, in_chinese=True)[3:] == ["  - 申请证书：还没有证书"]
        one = text_of(
            FAILING,
            story=Story((KeptEvent(NOW, SITE.domain, "record.updated", {"a": "b"}),), (), True, False),
        )
    assert "证书         2026-11-14 至 2027-02-12，剩余 80 天" in one
    assert "2026-11-24 13:30:00 +08:00 record.updated a=b" in " ".join(one.split())
    known = set(re.findall("[A-Za-z]+", text_of(FAILING, story=STORY) + "certbotless pid record.updated a=b"))
    assert set(re.findall("[A-Za-z]+", one)) <= known


def test_a_site_without_a_certificate_says_why() -> None:
    assert lines_of(UNBORN)[1:] == [
        "devbox.sweetlove.top  pending  10.79.40.213  -     -     -",
        "  no certificate                  registry pending, web pending",
        "  - order: there is no certificate yet",
    ]


def test_a_failure_stands_below_with_what_to_do_and_when_it_is_tried_again() -> None:
    assert " failing " in lines_of(FAILING)[1]
    assert lines_of(FAILING)[3:] == [
        "  ! the CA is closed",
        "    to do: try later",
        "    next try 2026-11-24 05:40 UTC, in 10 min",
    ]


def test_a_failure_whose_retry_has_come_is_due() -> None:
    old = failure(at=NOW - timedelta(hours=1), hint="")
    shown = view(Step("order", said("due")), failures={"order": old})
    assert lines_of(shown)[3:] == ["  ! the CA is closed", "    next try: due"]


def test_a_failed_forced_renewal_over_four_true_facts_is_told_of_a_site_that_is_ok() -> None:
    well = lines_of(view(failures={"order": failure()}))
    assert well[1].split()[1] == "ok"
    assert well[3] == "  - the CA is closed"


def test_a_site_that_waits_for_its_window_says_until_when() -> None:
    assert lines_of(WAITING)[2:] == [
        "  ███◆░░░░░░░░░░░░░░░░│▒▒▒▒▒▒▒▒▒  registry pending: another certificate",
        "                                  web pending: no TLS answer",
        "  - deploy:registry: another certificate; waits until 2026-11-24 17:30 UTC, in",
        "    12 h: its window 02:00-05:00",
    ]


def test_a_window_is_told_behind_what_is_worse() -> None:
    shown = view(Step("record", said("none -> 10.0.0.1")), IN_WINDOW, failures={"record": failure()})
    text = " ".join(" ".join(lines_of(shown)[3:]).split())
    assert text.startswith("! the CA is closed to do: try later")
    assert text.endswith("waits until 2026-11-24 17:30 UTC, in 12 h: its window 02:00-05:00")


@pytest.mark.parametrize(
    ("answers", "values"),
    [
        ((frozenset({"10.0.0.1"}), None), "10.0.0.1"),
        ((frozenset({"10.79.40.213"}), frozenset({"10.0.0.1"})), "10.0.0.1, 10.79.40.213"),
        ((frozenset[str](),), "nothing"),
    ],
)
def test_another_published_address_is_told(answers: tuple[frozenset[str] | None, ...], values: str) -> None:
    shown = view(Step("record", said("...")), answers={(SITE.domain, "A"): answers})
    told = f"published for {SITE.domain}: {values}; wanted: 10.79.40.213"
    assert told in " ".join(" ".join(lines_of(shown)).split())


@pytest.mark.parametrize("answers", [(frozenset({"10.79.40.213"}),), (None,), None])
def test_no_other_address_is_told_of_where_none_is_seen(
    answers: tuple[frozenset[str] | None, ...] | None,
) -> None:
    assert "published" not in "".join(lines_of(view(answers=answers and {(SITE.domain, "A"): answers})))


def test_of_several_addresses_the_first_is_in_the_row_and_each_in_the_card() -> None:
    assert f"{LISTED[0]} + 2  " in lines_of(on_three())[1]
    assert "withdrawn" not in "".join(lines_of(on_three()))
    lines = lines_of_one(on_three())
    at = next(i for i, line in enumerate(lines) if "address" in line)
    assert [line.split()[-1] for line in lines[at : at + 3]] == [*LISTED]


def test_an_address_that_is_withdrawn_is_told_with_the_time() -> None:
    one_out = on_three(out=LISTED[:1])
    assert f"{LISTED[1]} + 1  " in lines_of(one_out)[1]
    assert f"  ! {LISTED[0]} is withdrawn: no valid certificate there, 12 min ago" in lines_of(one_out)
    two_out = on_three(out=LISTED[1:])
    assert f"{LISTED[0]}  " in lines_of(two_out)[1]
    assert sum("is withdrawn" in line for line in lines_of(two_out)) == 2


def test_some_of_several_addresses_are_told_with_all() -> None:
    shown = on_three(answers={(SITE.domain, "A"): (frozenset(LISTED[:1]),)})
    told = f"published for {SITE.domain}: {LISTED[0]}; wanted: {', '.join(LISTED)}"
    assert told in " ".join(" ".join(lines_of(shown)).split())


def test_a_site_without_a_record_and_one_without_an_address_differ() -> None:
    assert "no record" in lines_of(view(of=site(address="none"), addresses={}, answers={}))[1]
    answers = {(SITE.domain, "AAAA"): (frozenset[str](),)}
    both = view(of=site(address6="auto"), addresses={"A": "10.79.40.213", "AAAA": "fd00::5"}, answers=answers)
    assert "10.79.40.213, fd00::5" in "\n".join(lines_of(both))
    assert f"published for {SITE.domain}: nothing; wanted: fd00::5" in "\n".join(lines_of(both))
    alone = view(of=site(address="none", address6="auto"), addresses={"AAAA": "fd00::5"})
    assert "fd00::5" in lines_of(alone)[1]
    lost = view(addresses={}, problems=(failure("the cable is out"),))
    assert "not found" in lines_of(lost)[1]
    assert "  ! the cable is out" in lines_of(lost)
    assert "    to do: try later" in lines_of(lost)


def test_what_is_not_proved_is_told() -> None:
    unproved = site(deploy="[{container: web, port: none}]")
    shown = view(of=unproved, served={})
    assert lines_of(shown)[2].endswith("  web pending: not checked")


@pytest.mark.parametrize(
    ("left", "said"),
    [(timedelta(days=2000), "2000 days"), (timedelta(seconds=59), "59 s"), (timedelta(), "expired")],
)
def test_what_is_left_has_a_unit_that_fits(left: timedelta, said: str) -> None:
    shown = view(published=pair(timedelta(days=-10), left))
    assert re.split(r"  +", lines_of(shown)[1])[4] == said


def test_a_renewal_moment_that_has_passed_is_due() -> None:
    assert lines_of(view(renewal=NOW - timedelta(hours=1)))[1].endswith("  due")


def test_a_long_domain_stands_whole_on_a_line_of_its_own() -> None:
    """It is not cut: it is what a person types or copies."""
    name = f"{'a' * 30}.sweetlove.top"
    assert lines_of(view(of=site(name)), view())[1:3] == [
        name,
        "                            ok     10.79.40.213  2027-02-12  80 days  2027-01-13",
    ]


def test_many_sites_are_under_one_head_and_one_legend() -> None:
    text = text_of(*(view(of=site(f"s{i}.sweetlove.top")) for i in range(50)))
    assert len(text.splitlines()) == 1 + 2 * 50 + 3


# --- the bar ------------------------------------------------------------------------------------------------


def test_the_bar_goes_from_issue_to_end() -> None:
    published = pair(timedelta(days=-30), timedelta(days=60))
    bar = bar_of(view(published=published, renewal=NOW + timedelta(days=30)))
    assert bar == "██████████◆░░░░░░░░░│▒▒▒▒▒▒▒▒▒"


@pytest.mark.parametrize(
    ("begin", "end", "renewal", "bar"),
    [
        (timedelta(days=-90), timedelta(days=-1), timedelta(days=-30), "████████████████████│████████◆"),
        (timedelta(minutes=5), timedelta(days=90), timedelta(days=58), "◆░░░░░░░░░░░░░░░░░░│▒▒▒▒▒▒▒▒▒▒"),
        (timedelta(days=-80), timedelta(days=10), timedelta(days=-20), "████████████████████│█████◆▒▒▒"),
        (timedelta(), timedelta(), timedelta(), "◆▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒"),
    ],
)
def test_the_bar_of_a_certificate_that_is_expired_or_not_valid_yet_or_overdue(
    begin: timedelta, end: timedelta, renewal: timedelta, bar: str
) -> None:
    assert bar_of(view(published=pair(begin, end), renewal=NOW + renewal)) == bar


def test_an_encoding_without_blocks_has_a_bar_too() -> None:
    assert bar_of(WELL, "ascii") == "###*----------------|........."
    assert text_of(WELL, encoding="ascii").isascii()


@settings(deadline=None)
@given(*[st.integers(-(10**9), 10**9)] * 3)
def test_a_bar_has_one_now_and_its_width(begin_s: int, end_s: int, renewal_s: int) -> None:
    """Whatever the clock and the CA say."""
    published = pair(timedelta(seconds=begin_s), timedelta(seconds=end_s))
    bar = bar_of(view(published=published, renewal=NOW + timedelta(seconds=renewal_s)))
    assert (len(bar), bar.count("◆")) == (30, 1)
    assert set(bar) <= set("█◆░│▒")


# --- colours ------------------------------------------------------------------------------------------------


def test_colours_change_no_letter_and_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = Found(NOW, "c.yaml", "", 4711, [WELL, UNBORN, FAILING, WAITING])
    for width in (40, 80):
        plain, coloured = (
            written(lambda screen: status_text.draw(found, screen), width, is_terminal=is_terminal)
            for is_terminal in (False, True)
        )
        assert "\x1b[31mfailing" in coloured
        assert "\x1b[32mok" in coloured
        uncoloured = re.sub(r"\x1b\[[\d;]+m", "", coloured)
        assert [line.rstrip() for line in uncoloured.splitlines()] == plain.splitlines()


# --- narrow -------------------------------------------------------------------------------------------------


def test_a_narrow_terminal_gets_a_list() -> None:
    assert lines_of(WAITING, width=NARROW) == [
        "devbox.sweetlove.top pending",
        "  address      10.79.40.213",
        "  certificate  2026-11-14 to 2027-02-12,",
        "               80 days left",
        "               ██◆░░░░░░░░░░░░░│▒▒▒▒▒▒▒▒",
        "  renewal      2027-01-13 05:30 UTC, in",
        "               50 days",
        "  served by    registry pending: another",
        "               certificate",
        "               web pending: no TLS",
        "               answer",
        "  - deploy:registry: another",
        "    certificate; waits until 2026-11-24",
        "    17:30 UTC, in 12 h: its window",
        "    02:00-05:00",
    ]


def test_sites_of_a_list_are_apart_by_a_line() -> None:
    assert lines_of(WELL, UNBORN, width=NARROW)[6:10] == [
        "               50 days",
        "  served by    registry serving",
        "               web serving",
        "",
    ]


LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
DOMAINS = st.builds(".".join, st.lists(LABEL, min_size=1, max_size=4)).map(lambda name: f"{name}.example.com")


@settings(deadline=None)
@given(DOMAINS, st.text(max_size=300), st.integers(1, 120), st.sampled_from(["utf-8", "ascii", "gbk"]))
def test_no_line_is_wider_than_the_screen(domain: str, text: str, width: int, encoding: str) -> None:
    """Whatever a CA says, and however long a name is. With less than 20 columns nothing can be laid out."""
    shown = view(
        IN_WINDOW,
        Step("order", said(text)),
        of=site(domain),
        served={"registry": "cd" * 32},
        failures={"order": failure(text, hint=text)},
        answers={(domain, "A"): (frozenset({"10.0.0.1", "10.0.0.2", "10.0.0.3"}),)},
    )
    story = Story([KeptEvent(NOW, "", "record.updated", {"old": text}, text)], (), True, False)
    drawn = [
        text_of(shown, WELL, UNBORN, width=width, encoding=encoding),
        text_of(shown, width=width, encoding=encoding, story=story),
        text_of(width=width, encoding=encoding, error=text, known=[(domain, FACTS), (text, None)]),
    ]
    for line in "".join(drawn).split("\n"):
        assert width < 20 or cell_len(line) <= width, line
        assert line.isprintable()


# --- one site, and a broken file ----------------------------------------------------------------------------


def test_one_site_is_shown_whole() -> None:
    event = KeptEvent(NOW, "", "record.added", {"value": "10.79.40.213", "ttl_s": 600})
    assert lines_of_one(view(Step("record", said("...")), IN_WINDOW), event) == [
        "devbox.sweetlove.top pending",
        "  address      10.79.40.213",
        "  certificate  2026-11-14 to 2027-02-12, 80 days left",
        "               ███◆░░░░░░░░░░░░░░░░│▒▒▒▒▒▒▒▒▒",
        "  renewal      2027-01-13 05:30 UTC, in 50 days",
        "  served by    registry serving",
        "               web serving",
        "  - record: ...",
        "    deploy:registry: another certificate; waits until 2026-11-24 17:30 UTC, in",
        "    12 h: its window 02:00-05:00",
        "  names        *.devbox.sweetlove.top, devbox.sweetlove.top",
        "  issuer       CN=YE1,O=Example CA,C=XX",
        f"  sha256       {'ab' * 32}",
        "  events       2026-11-24 05:30:00 UTC record.added value=10.79.40.213 ttl_s=600",
        "",
        LEGEND,
        "daemon: running, pid 4711",
        "",
        "The last attempt",
        "no attempt yet",
    ]


def test_steps_that_nothing_else_told_of_are_listed() -> None:
    shown = view(Step("record", said("...")), Step("deploy", said("another certificate"), "registry"))
    assert "  steps        deploy:registry: another certificate" in lines_of_one(shown)


def test_an_overdue_renewal_says_since_when() -> None:
    assert "  renewal      due since 2026-11-21 05:30 UTC, 3 days ago" in lines_of_one(
        view(renewal=NOW - timedelta(days=3))
    )


def test_of_a_broken_file_the_certificates_are_known() -> None:
    known = [("a.example.com", FACTS), ("b.example.com", None)]
    assert text_of(error="it is broken", known=known).splitlines() == [
        "SITE           STATE    ADDRESS  ENDS        LEFT     RENEWAL",
        "a.example.com  pending  -        2027-02-12  80 days  -",
        "  ███◆░░░░░░░░░░░░░░░░░░░░░░░░░░",
        "  - the configuration is broken",
        "b.example.com  pending  -        -           -        -",
        "  no certificate",
        "  - the configuration is broken",
        "",
        LEGEND,
        "daemon: running, pid 4711",
    ]
    assert text_of(error="it is broken") == ""


def test_without_a_daemon_the_first_line_says_so_and_nothing_is_promised() -> None:
    shown = text_of(FAILING, daemon_pid=None)
    assert shown.startswith("daemon: not running: only a timer would try again; start it: systemctl start")
    assert "next try" in text_of(FAILING)
    assert "next try" not in shown
    assert "daemon" not in shown.partition("\n\n")[2]
