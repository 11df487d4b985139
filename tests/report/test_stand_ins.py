"""What people and programs see of the CAs of a list: who issued, why not the first, and who is back."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.languages import chinese
from support.terminals import written
from support.views import FACTS, NOW, ORIGIN, failure, pair, said, view

from certbotless.config.values import DIRECTORIES
from certbotless.model.authority import Authority
from certbotless.model.certificate import Published
from certbotless.model.decision import Step
from certbotless.model.memory import CaTrouble, SiteState
from certbotless.model.view import View
from certbotless.report import plan_text, status_text
from certbotless.report.found import Found
from certbotless.report.status_json import site_json

pytestmark = pytest.mark.usefixtures("in_utc")

FIRST, OTHER = (Authority(f"https://{n}.test/dir", "ec256", name=n) for n in ("letsencrypt", "litessl"))
TROUBLE = CaTrouble(
    at=NOW, what="no connection", hint="check it", since=NOW - timedelta(hours=3), kind="CaUnavailable"
)
LINE = "! letsencrypt: no connection since 2026-11-24 02:30 UTC; litessl issued instead"


def with_cas(shown: View, by: Authority, before: str = "", trouble: CaTrouble | None = None) -> View:
    """The same site, with a list of two CAs and a certificate of one of them."""
    published = Published(FACTS, replace(ORIGIN, directory=by.id), previous="the one before")
    remembered = replace(shown.remembered, troubles={"letsencrypt": trouble} if trouble else {})
    seen = replace(shown.seen, published=published, ca_before=before)
    return replace(shown, seen=seen, remembered=remembered, authorities=(FIRST, OTHER))


def lines_of(shown: View) -> list[str]:
    found = Found(NOW, "c.yaml", "", 4711, [shown])
    text = written(lambda screen: status_text.draw(found, screen), 120)
    return [line.strip() for line in text.splitlines()]


def test_a_stand_in_is_said_of_a_site_that_is_ok() -> None:
    shown = with_cas(view(), OTHER, trouble=TROUBLE)
    assert shown.state == "ok"
    assert LINE in lines_of(shown)
    with chinese():
        assert any("litessl" in line and line.startswith("! letsencrypt") for line in lines_of(shown))


def test_without_a_known_cause_the_line_says_who_issued() -> None:
    assert "! litessl issued instead of letsencrypt" in lines_of(with_cas(view(), OTHER))


def test_nothing_is_said_of_a_certificate_of_the_first_ca() -> None:
    for before in ("", FIRST.id, OTHER.id):
        shown = with_cas(view(), FIRST, before)
        assert not any(line.startswith(("!", "-")) for line in lines_of(shown))


def test_the_json_says_how_each_ca_is() -> None:
    shown = with_cas(view(), OTHER, trouble=TROUBLE)
    told = site_json(shown, None)
    assert told["certificate"]["ca"] == OTHER.id
    assert (told["state"], told["last_error"]) == ("ok", None)
    error = {
        "since": "2026-11-24T02:30:00Z",
        "at": "2026-11-24T05:30:00Z",
        "what": "no connection",
        "hint": "check it",
    }
    assert told["cas"] == [
        {"directory": "letsencrypt", "standing": "failing", "last_error": error},
        {"directory": "litessl", "standing": "used", "last_error": None},
    ]
    assert [each["standing"] for each in site_json(with_cas(view(), FIRST), None)["cas"]] == ["used", "ready"]
    assert "cas" not in site_json(view(), None)


def test_a_ca_with_a_word_is_told_by_it() -> None:
    for word, url in DIRECTORIES.items():
        told = site_json(with_cas(view(), replace(FIRST, id=url)), None)
        assert told["certificate"]["ca"] == word


def test_the_plan_names_the_ca_that_is_asked() -> None:
    shown = with_cas(view(Step("order", said("due"), "litessl")), FIRST)
    assert "would request a certificate from litessl (due)" in plan_text.text_of([shown])


def test_the_first_of_two_failures_does_not_speak_for_both() -> None:
    steps = [Step("order", said("due"), name) for name in ("letsencrypt", "litessl")]
    failures = {step.key: failure("no connection") for step in steps}
    shown = view(*steps, failures=failures, published=pair(-timedelta(days=89), timedelta(days=1)))
    told = "no CA of the list gave a certificate: letsencrypt: no connection; litessl: no connection"
    assert shown.reason == told
    assert site_json(shown, None)["last_error"]["what"] == told
    alone = view(*steps, failures={steps[0].key: failure("no connection")})
    assert alone.reason == "no connection"
    assert SiteState().troubles == {}


def test_of_two_failures_the_sooner_try_is_the_next_one() -> None:
    """The first CA asks for seven hours; the second is tried again in two minutes."""
    waits = {"letsencrypt": timedelta(hours=7), "litessl": timedelta(minutes=2)}
    steps = [Step("order", said("due"), name, wait_until=NOW + wait) for name, wait in waits.items()]
    failures = {
        step.key: replace(failure("no connection"), retry_at=NOW + waits[step.target]) for step in steps
    }
    shown = view(*steps, failures=failures)
    assert shown.last_failure is not None
    assert shown.last_failure.retry_at == NOW + timedelta(minutes=2)
    ready = view(steps[0], replace(steps[1], wait_until=None), failures=failures)
    assert ready.last_failure is not None
    assert ready.last_failure.retry_at == NOW + timedelta(minutes=2)
