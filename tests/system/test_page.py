"""The status page in Chromium: anybody can read it, on any screen, and it says what `status --json` says."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from support.bed import ZONE, Bed, wait_until
from support.browser import Browser, Scheme, browser
from support.languages import chinese
from support.local_cas import put_ca, put_next
from support.showing import remember_messages, remember_visit, showing, views_at

from certbotless.config import load
from certbotless.config.secret import Secret
from certbotless.model.view import View
from certbotless.sandbox.process import free_port
from certbotless.service.root_share import Share

NARROW, WIDE = 360, 1280
# WCAG 2.2, success criterion 1.4.3.
LEAST_CONTRAST = 4.5
# The moments that stand above the cards.
TIMES = "return [...document.querySelectorAll('time:not(article time)')].map((time) => time.dateTime)"
# How the page says what is no text in JSON.
WORDS: dict[object, str] = {True: "", False: "not ", None: "not tried: "}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A page with a site in each state, an edit that is refused, an unsent message, and long names."""
    now = datetime.now(UTC)
    views = views_at(now)
    remember_visit(tmp_path / "state", views[0])
    remember_messages(tmp_path / "state", now)
    notify = (Secret.parse("json://127.0.0.1"),)
    refused = (f"/etc/certbotless/{'config' * 20}.yaml:3:1: " + "x" * 300, "another")
    with showing(tmp_path, [*views, *map(with_a_long_name, views)], refused, notify=notify) as url:
        yield url


def with_a_long_name(view: View) -> View:
    """Return the view of a site whose name is as long as a name may be."""
    domain = ".".join(["a" * 63, "b" * 63, "c" * 63, "example"])
    return View(
        replace(view.site, domain=f"{view.state[:3]}.{domain}"),
        view.remembered,
        view.seen,
        view.decision,
        view.state,
        view.cause,
        view.standing_failures,
    )


def facts_of(site: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Return what a page must say of a site: its texts, and its moments."""
    certificate, met, error = site["certificate"], site["client"], site["last_error"]
    texts = {site["domain"], site["state"], *site["address"]["published"], *site["address6"]["published"]}
    texts |= {site[key]["wanted"] for key in ("address", "address6") if site[key]["wanted"]}
    texts |= {f"{target['container']}: " for target in site["deploy"]} | {t["state"] for t in site["deploy"]}
    moments = {site["next_renewal"]}
    if certificate is not None:
        texts |= {*certificate["names"], certificate["sha256"], certificate["issuer"]}
        moments |= {certificate["not_before"], certificate["not_after"]}
    if met is not None:
        # What speaks no HTTP was asked, and its text says so.
        checks = ["resolved", "trusted"]
        checks += ["answered"] if met["answered"] is not None or not met["trusted"] else []
        texts |= {f"{WORDS[met[check]]}{check}" for check in checks}
        texts.add(met["text"])
        moments.add(met["at"])
    if error is not None:
        texts |= {error["what"], error["hint"]}
        moments |= {error["at"], error["retry_at"]}
    else:
        texts.add(site["reason"])
    return texts, moments - {None}


def assert_shows(window: Browser, status: dict[str, Any]) -> None:
    """The page that is open says every fact of `status --json`, each in the card of its site."""
    cards = {
        domain: (text, set(moments))
        for domain, text, moments in window.run(
            "return [...document.querySelectorAll('article')].map((card) => ["
            "card.querySelector('h2').innerText, card.innerText,"
            " [...card.querySelectorAll('time')].map((time) => time.dateTime)])"
        )
    }
    assert cards.keys() == {site["domain"] for site in status["sites"]}
    for site in status["sites"]:
        (text, moments), (texts, wanted) = cards[site["domain"]], facts_of(site)
        assert {each for each in texts if each not in text} == set()
        assert moments == wanted
    page = window.run("return document.body.innerText")
    for fact in (status["version"], f"pid {status['daemon']['pid']}", status["config"]["path"]):
        assert fact in page
    assert all(line in page for line in (status["config"]["error"] or "").splitlines())
    assert ("message" in page) == (status["notify"] is not None)
    if status["notify"] is not None:
        assert_shows_messages(page, window.run(TIMES), status["notify"])


def assert_shows_messages(page: str, moments: list[str], notify: dict[str, Any]) -> None:
    """What waits, when the last one went, and why one did not."""
    error = notify["last_error"]
    assert (f"messages not sent yet: {notify['unsent']};" in page) == (notify["unsent"] > 0)
    assert ("no message sent yet" in page) == (notify["last_sent"] is None)
    assert ("A message could not be sent" in page) == (error is not None)
    wanted = {notify["last_sent"]} - {None}
    if error is not None:
        assert error["what"] in page
        assert error["hint"] in page
        wanted |= {error["at"], error["retry_at"]}
    assert wanted <= {*moments}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize(("language", "spoken"), [("en", nullcontext), ("zh", chinese)])
def test_everything_can_be_read_on_any_screen(
    language: str,
    spoken: Callable[[], AbstractContextManager[None]],
    width: int,
    scheme: Scheme,
    window: Browser,
    url: str,
) -> None:
    """Nothing reaches beyond the edge, and each text has contrast: by day and night, in each language."""
    with spoken():
        window.open(url, width, scheme)
    assert window.run("return document.documentElement.lang") == language
    assert window.run("return document.documentElement.scrollWidth") == width
    beyond = window.run(
        "return [...document.querySelectorAll('body *')]"
        ".filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert beyond == []
    contrasts = window.contrasts()
    assert len(contrasts) > 100
    assert {text: ratio for text, ratio in contrasts if ratio < LEAST_CONTRAST} == {}
    ground = window.run("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(17, 19, 21)") == (scheme == "dark")


def test_the_page_of_the_root_can_be_read_on_any_screen(window: Browser, tmp_path: Path) -> None:
    """With two roots, in each language."""
    put_ca(tmp_path / "state")
    put_next(tmp_path / "state")
    listen = f"127.0.0.1:{free_port()}"
    text = f"{{local_ca: {{share: '{listen}'}}, sites: [{{domain: devbox, ca: local}}]}}"
    config = replace(load.parse(text.encode(), "config.yaml"), state_dir=tmp_path / "state")
    with closing(Share(config)) as share:
        assert share.follow(config)
        shown: list[tuple[str, int, Scheme]] = [("en", NARROW, "dark"), ("zh", NARROW, "light")]
        for language, width, scheme in [*shown, ("zh", WIDE, "dark")]:
            window.open(f"http://{listen}/?lang={language}", width, scheme)
            assert window.run("return document.documentElement.lang") == language
            assert window.run("return document.documentElement.scrollWidth") == width
            assert {text: ratio for text, ratio in window.contrasts() if ratio < LEAST_CONTRAST} == {}


def test_the_page_says_what_status_says_in_every_state(window: Browser, url: str) -> None:
    window.open(url, WIDE)
    assert_shows(window, requests.get(f"{url}status.json", timeout=30).json())


def test_who_does_not_see_it_is_told_the_same(window: Browser, url: str) -> None:
    """As the browser tells an aid: a language, a title with the state, cards with names, bars in words."""
    window.open(url, WIDE)
    window.devtools("Accessibility.enable")
    nodes = window.devtools("Accessibility.getFullAXTree")["nodes"]
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    assert window.run("return document.documentElement.lang") == "en"
    assert window.run("return document.title") == (
        "✕ An edit is refused; 2 failing, 2 pending, 2 ok · certbotless"
    )
    names = [name for role, name in found if role == "article"]
    assert names[0] == "wiki.example.com"
    assert len(names) == len(set(names)) == 6
    bars = [name for role, name in found if role in ("image", "img")]
    assert len(bars) == 4
    assert all(name.startswith("Certificate of 90 days: ") for name in bars)
    assert not any(mark in name for _, name in found for mark in "✓✕≠" if "certbotless" not in name)


def test_nothing_but_its_own_style_is_let_into_the_page(window: Browser, url: str) -> None:
    """A script that got in would not run, and the browser has nothing to complain of."""
    window.open(url, WIDE)
    window.run(
        "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        "document.body.append(script); const style = document.createElement('style');"
        "style.textContent = 'h1 { color: rgb(1, 2, 3) }'; document.body.append(style)"
    )
    assert window.run(
        "return [window.ran === undefined, getComputedStyle(document.querySelector('h1')).color]"
    ) == [
        True,
        "rgb(27, 29, 32)",
    ]


def test_the_daemons_own_page_says_what_status_says(bed: Bed, window: Browser) -> None:
    """With a real certificate that a real registry serves, beside a site that nothing can be done for."""
    lost = f"lost.{ZONE}"
    listen = f"127.0.0.1:{free_port()}"
    bed.config["http"] = {"listen": listen}
    bed.config["sites"] = [
        bed.site(),
        bed.site(lost, address="none", deploy=[{"container": "nobody", "port": 1}]),
    ]

    def both() -> tuple[dict[str, Any], dict[str, Any]]:
        shown = requests.get(f"http://{listen}/status.json", timeout=30).json()
        status = json.loads(bed.run("status", "--json").stdout)
        for each in (shown, status):
            each["observed_at"] = ""
            for site in each["sites"]:
                site["address"]["observed_at"] = ""
        return shown, status

    with bed.daemon():

        def is_settled() -> bool:
            shown, status = both()
            well, stuck = status["sites"]
            return shown == status and well["client"] is not None and stuck["state"] == "failing"

        wait_until(is_settled, "the page says what status says")
        window.open(f"http://{listen}/", NARROW)
        assert_shows(window, both()[1])
        title = window.run("return document.title")
    assert title == "✕ 1 failing, 1 ok · certbotless"
