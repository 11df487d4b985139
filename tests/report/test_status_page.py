"""The status page: what it says of each site, whatever stands in the texts of others."""

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.languages import chinese
from support.showing import PATH, views_at
from support.views import FACTS, NOTHING, NOW, failure, pair, said, view

from certbotless.model.decision import Step
from certbotless.model.view import View
from certbotless.report import html, status_page
from certbotless.report.found import Found

pytestmark = pytest.mark.usefixtures("in_utc")

VOID = {"meta"}
# Where a browser begins a new line.
BLOCKS = {"title", "h1", "h2", "h3", "p", "dt", "dd", "li", "section"}
WELL = view()
UNBORN = view(Step("order", said("there is no certificate yet")), published=NOTHING, served={})
FAILING = view(Step("order", said("due")), failures={"order": failure()})
MET = dict(at="2026-11-24T05:00:00Z", resolved=True, trusted=False, answered=None, text="no root")


class Reader(HTMLParser):
    """Reads a page as a browser does, and complains of what does not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in BLOCKS:
            self.texts.append(" ")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is to be read, a blank for any space."""
        return " ".join("".join(self.texts).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of each element with this name."""
        return [attributes for found, attributes in self.tags if found == tag]


def status_of(*views: View, error: str = "", **changes: Any) -> dict[str, Any]:
    """Return the object of `status --json`, with these changes in its first site."""
    found = Found(at=NOW, path=PATH, error=error, daemon_pid=4711, views=views).to_plain()
    found["sites"][0] |= changes
    return found


def read(status: dict[str, Any], *stale: str) -> Reader:
    return Reader(status_page.page(status, NOW, stale))


def title_of(status: dict[str, Any], *stale: str) -> str:
    text = status_page.page(status, NOW, stale)
    match = re.search("<title>. (.*) · certbotless</title>", text)
    assert match is not None
    assert f"<h1>{match[1]}</h1>" in text
    return match[0].removeprefix("<title>").removesuffix("</title>")


# --- what it says -------------------------------------------------------------------------------------------


def test_the_title_says_how_all_stands() -> None:
    """A tab shows little more than its first letter, which is that of the worst."""
    assert title_of(status_of(WELL)) == "✓ Everything is OK · certbotless"
    assert title_of(status_of(WELL, WELL)) == "✓ All 2 sites are OK · certbotless"
    assert title_of(status_of(WELL, FAILING, UNBORN)) == "✕ 1 failing, 1 pending, 1 ok · certbotless"


def test_the_title_does_not_say_that_all_is_well_while_nobody_looks_or_an_edit_is_refused() -> None:
    """Its details stand below it."""
    stopped = "the daemon has stopped checking"
    late = "the last check of a.example.com was at 2026-11-24 05:30 UTC: a run has it"
    refused = status_of(WELL, error="c.yaml:1:1: a")
    assert title_of(refused) == "✕ An edit is refused; 1 ok · certbotless"
    assert title_of(refused, stopped) == "✕ An edit is refused; 1 ok · certbotless"
    assert title_of(status_of(WELL), stopped) == "✕ The daemon has stopped checking; 1 ok · certbotless"
    late_title = (
        "✕ The last check of a.example.com was at 2026-11-24 05:30 UTC; 1 pending, 1 ok · certbotless"
    )
    assert title_of(status_of(WELL, UNBORN), late) == late_title


def test_what_needs_somebody_stands_first() -> None:
    headings = re.findall("<h2 id=.*?>(.*?)</h2>", status_page.page(status_of(*views_at(NOW)), NOW))
    assert headings == ["wiki.example.com", "git.example.com", "registry.example.com"]


def test_each_state_is_a_word() -> None:
    """The sign before it, and its colour, say it once more."""
    for shown, mark in ((WELL, "✓ ok"), (UNBORN, "… pending"), (FAILING, "✕ failing")):
        assert mark in read(status_of(shown)).text


def test_a_failure_says_what_to_do_and_when_it_is_tried_again() -> None:
    text = read(status_of(FAILING)).text
    assert "the CA is closed Fix: try later" in text
    assert "Failed at 2026-11-24 05:30 UTC 0 s ago; next try at 2026-11-24 05:40 UTC in 10 min" in text
    assert text.count("the CA is closed") == 1


def test_a_site_without_a_certificate_says_why() -> None:
    text = read(status_of(UNBORN)).text
    assert "order: there is no certificate yet" in text
    assert "Certificate none yet" in text


def test_the_root_of_the_local_ca_is_shown_with_its_limits_and_the_next_one() -> None:
    """The fingerprint is in the form that other programs print; a link leads to what clients get."""
    root = {"root_sha256": "ab" * 32, "not_after": "2036-11-24T05:30:00Z", "permit": ["lan", "10.0.0.0/8"]}
    coming = root | {"root_sha256": "cd" * 32, "permit": ["git"], "signs_from": "2026-12-01T05:30:00Z"}
    assert "local CA" not in read(status_of(WELL)).text
    status = status_of(WELL) | {"local_ca": root | {"next": coming}}
    text = read(status).text
    assert f"Fingerprint (SHA-256) {':'.join(['AB'] * 32)} Ends 2036-11-24 05:30 UTC" in text
    assert "nothing else lan, 10.0.0.0/8 The next root Fingerprint" in text
    assert f"{':'.join(['CD'] * 32)} Ends" in text
    share = "http://10.79.40.213:9110"
    links = Reader(status_page.page(status, NOW, share=share)).of("a")
    assert {"href": f"{share}/"} in links
    assert "Clients get it" not in text


def test_an_address_is_compared_with_what_is_published() -> None:
    for address, words in (
        ({"wanted": "10.0.0.5", "published": ["10.0.0.5"]}, "✓ 10.0.0.5, as published"),
        ({"wanted": "10.0.0.5", "published": ["10.0.0.6"]}, "≠ 10.0.0.5 wanted; published: 10.0.0.6"),
        ({"wanted": "10.0.0.5", "published": []}, "≠ 10.0.0.5 wanted; published: nothing"),
        ({"wanted": None, "published": ["10.0.0.6"]}, "≠ none wanted; published: 10.0.0.6"),
        ({"wanted": None, "published": []}, "none is kept, or no address is found"),
        (
            {"wanted": "10.0.0.5", "wanted_all": ["10.0.0.5"], "published": ["10.0.0.5"]},
            "✓ 10.0.0.5, as published",
        ),
        (
            {
                "wanted": "10.0.0.9",
                "wanted_all": ["10.0.0.9", "10.0.0.10"],
                "published": ["10.0.0.10", "10.0.0.9"],
                "withdrawn": [{"address": "10.0.0.11", "since": "2026-11-24T05:18:00Z"}],
            },
            "✓ 10.0.0.9, 10.0.0.10, as published"
            " 10.0.0.11 is withdrawn: no valid certificate there, 12 min ago",
        ),
        (
            {"wanted": "10.0.0.5", "wanted_all": ["10.0.0.5", "10.0.0.6"], "published": ["10.0.0.5"]},
            "≠ 10.0.0.5, 10.0.0.6 wanted; published: 10.0.0.5",
        ),
        (
            {
                "wanted": "10.0.0.5",
                "published": ["10.0.0.5"],
                "source": "api",
                "observed_at": "2026-11-24T05:25:00Z",
            },
            "✓ 10.0.0.5, as published (by the API, 5 min ago)",
        ),
    ):
        known = {"source": "dns", "observed_at": "2026-11-24T05:30:00Z", **address}
        assert f"A record {words}" in read(status_of(WELL, address=known)).text
    assert "AAAA" not in read(status_of(WELL)).text
    both = status_of(WELL, address6={"wanted": "fd00::5", "published": ["fd00::5"], "source": "dns"})
    assert "AAAA record ✓ fd00::5, as published" in read(both).text


def test_another_certificate_is_named() -> None:
    other = view(
        Step("deploy", said("another certificate"), "web"),
        served={"registry": FACTS.sha256, "web": "cd" * 32},
    )
    text = read(status_of(other)).text
    assert "registry: ✓ serving web: … pending serves another certificate: " + "cd" * 32 in text
    assert "Served by nothing" in read(status_of(WELL, deploy=[])).text


def test_what_a_client_met_is_three_words() -> None:
    text = read(status_of(WELL, client=MET)).text
    assert "✓ resolved, ✕ not trusted, ○ not tried: answered no root 2026-11-24 05:00 UTC 30 min ago" in text
    silent = read(status_of(WELL, client=MET | {"trusted": True, "text": "it does not use HTTP"})).text
    assert "✓ resolved, ✓ trusted it does not use HTTP 2026-11-24 05:00 UTC" in silent
    assert "Tested as a client not yet" in read(status_of(WELL)).text


def test_a_refused_edit_stands_above_all_sites() -> None:
    text = read(status_of(WELL, error="c.yaml:1:1: a\nc.yaml:2:1: b")).text
    assert text.index("An edit of the configuration is refused") < text.index("c.yaml:2:1: b")
    assert text.index("c.yaml:2:1: b") < text.index("devbox.sweetlove.top")
    assert "refused" not in read(status_of(WELL)).text


def test_that_the_page_may_be_out_of_date_is_said_above_all_sites() -> None:
    text = read(status_of(WELL), "the last check was: one", "another").text
    assert "This page may be out of date the last check was: one another" in text
    assert text.index("another") < text.index("devbox.sweetlove.top")
    assert "out of date" not in read(status_of(WELL)).text


def test_messages_that_could_not_be_sent_are_told_with_the_reason() -> None:
    """Where somebody is to be told; of what was sent, in a quiet line."""
    sent = {"unsent": 0, "last_sent": "2026-11-24T05:00:00Z", "last_error": None}
    error = status_of(FAILING)["sites"][0]["last_error"]
    unsent = {"unsent": 2, "last_sent": None, "last_error": error}
    assert "message" not in read(status_of(WELL)).text
    assert "last message at 2026-11-24 05:00 UTC 30 min ago" in read(status_of(WELL) | {"notify": sent}).text
    text = read(status_of(WELL) | {"notify": unsent}).text
    assert "messages not sent yet: 2; no message sent yet" in text
    assert "A message could not be sent: the CA is closed Fix: try later Failed" in text


# --- in Chinese ---------------------------------------------------------------------------------------------


def test_the_page_is_in_the_language_of_people() -> None:
    """What is not Chinese on it is the text of a program, and all of that is in the JSON."""
    error = status_of(FAILING)["sites"][0]["last_error"]
    status = status_of(WELL, UNBORN, FAILING, error="c.yaml:1:1: a", client=MET)
    status["notify"] = {"unsent": 2, "last_sent": "2026-11-24T05:00:00Z", "last_error": error}
    stale = "已停止检查"
    with chinese():
        text = status_page.page(status, NOW, [stale], {UNBORN.site.domain: UNBORN.spoken_reason})
        assert status["sites"][1:] == status_of(UNBORN, FAILING)["sites"]
    reader = Reader(text)
    assert reader.of("html") == [{"lang": "zh"}]
    known = {"certbotless", "pid", "A", "SHA", "metrics", "healthz", "json", "status"}
    known |= set(re.findall("[A-Za-z]+", str(status)))
    assert set(re.findall("[A-Za-z]+", reader.text)) <= known
    for shown in (
        "配置修改未被接受；1 个失败，1 个等待中，1 个正常",
        "检查于 2026-11-24 13:30 +08:00",
        "申请证书：还没有证书",
        "✕ 证书不受信任，○ 未检查应答",
        "失败于 2026-11-24 13:30 +08:00 0 秒前；下次尝试：2026-11-24 13:40 +08:00 10 分钟后",
    ):
        assert shown in reader.text
    assert '<time datetime="2026-11-24T05:30:00Z">2026-11-24 13:30 +08:00</time>' in text
    bar = next(attributes for attributes in reader.of("svg") if attributes.get("role") == "img")
    assert str(bar["aria-label"]).startswith("证书有效期 ")


# --- the bar ------------------------------------------------------------------------------------------------


def bar_of(
    begin: timedelta, end: timedelta, renewal: timedelta
) -> tuple[dict[str, tuple[float, float]], str]:
    """Return from where to where each part goes, of a thousand, and what is said to who does not see it."""
    reader = read(status_of(view(published=pair(begin, end), renewal=NOW + renewal)))
    bar = next(attributes for attributes in reader.of("svg") if attributes.get("role") == "img")
    rects = [rect for rect in reader.of("rect") if rect["class"] and rect["width"] != "10.0"]
    parts = {
        str(r["class"]): (float(str(r["x"])), float(str(r["x"])) + float(str(r["width"]))) for r in rects
    }
    return parts, str(bar["aria-label"])


def test_the_bar_shows_what_has_passed_and_what_is_left() -> None:
    parts, label = bar_of(*(timedelta(days=n) for n in (-10, 80, 50)))
    ahead = {"ahead": (0, 666.7), "reserve": (666.7, 1000)}
    assert parts == ahead | {"past": (0, 111.1), "now": (111.1, 115.1)}
    passed = "Certificate of 90 days: 11% of its life has passed, 80 days left"
    assert label == f"{passed}; renewal in 50 days, at 67%"


def test_the_bar_of_an_expired_certificate_is_over() -> None:
    parts, label = bar_of(timedelta(days=-100), timedelta(days=-10), timedelta(days=-40))
    assert parts["over"] == (0.0, 1000.0)
    assert "now" not in parts
    assert "100% of its life has passed, expired; renewal 40 days ago" in label


@given(*(st.integers(-(10**7), 10**7).map(lambda s: timedelta(seconds=s)) for _ in range(3)))
def test_no_bar_leaves_its_frame(begin: timedelta, end: timedelta, renewal: timedelta) -> None:
    """Whatever a CA says: an end before the beginning, a renewal beyond the end."""
    parts, _ = bar_of(begin, end, renewal)
    assert all(0 <= left <= right <= 1000.1 for left, right in parts.values())


# --- texts of others ----------------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>\"'&\0\x1b[31m\u202e\n</style>" + "x" * 5000


def test_no_text_of_others_becomes_part_of_the_page() -> None:
    """Of the CA, the API, a container, or the file; and each is cut, and readable."""
    bad = status_of(
        WELL,
        error=HOSTILE,
        domain=HOSTILE,
        reason=HOSTILE,
        address={"wanted": HOSTILE, "published": [HOSTILE, HOSTILE], "source": HOSTILE},
        address6={"wanted": HOSTILE, "published": [], "source": None},
        certificate=status_of(WELL)["sites"][0]["certificate"] | {"names": [HOSTILE], "issuer": HOSTILE},
        deploy=[{"container": HOSTILE, "state": "serving", "served_sha256": HOSTILE}],
        client=MET | {"text": HOSTILE},
        last_error={"at": MET["at"], "what": "w" + HOSTILE, "hint": HOSTILE, "retry_at": MET["at"]},
    )
    text = status_page.page(bad, NOW)
    reader = Reader(text)
    assert {tag for tag, _ in reader.tags} <= {tag for tag, _ in read(status_of(FAILING, error="x")).tags} | {
        "small",
        "code",
        "li",
    }
    assert all(letter.isprintable() for letter in reader.text)
    assert max(map(len, reader.texts)) < 2050  # two may stand side by side
    assert reader.text.count("<script>alert(1)</script>\"'&\\x00\\x1b[31m\\u202e") >= 9


def test_the_page_needs_nothing_from_anywhere() -> None:
    """No script, no picture, no address but its own three; and its style is the one that it may have."""
    text = status_page.page(status_of(FAILING), NOW)
    reader = Reader(text)
    assert [link["href"] for link in reader.of("a")] == ["/status.json", "/metrics", "/healthz"]
    assert {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in reader.tags} == set()
    assert not any(name.startswith("on") or name == "style" for _, found in reader.tags for name in found)
    assert "://" not in text
    assert "url(" not in text
    assert re.fullmatch("'sha256-[A-Za-z0-9+/]{43}='", html.STYLE_SOURCE)


@pytest.mark.parametrize("shown", [WELL, UNBORN, FAILING])
def test_every_card_has_a_name_and_every_sign_is_for_the_eye_alone(shown: View) -> None:
    reader = read(status_of(shown))
    headings = {attributes["id"] for attributes in reader.of("h2") if "id" in attributes}
    assert {article["aria-labelledby"] for article in reader.of("article")} == headings
    assert reader.of("html") == [{"lang": "en"}]
    assert len(reader.of("h1")) == 1
    signs = re.findall(r"<span([^>]*)>[✓✕…≠○?]</span>", status_page.page(status_of(shown), NOW))
    assert signs
    assert all('aria-hidden="true"' in attributes for attributes in signs)
