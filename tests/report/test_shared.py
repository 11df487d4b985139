"""What is shown of a certificate that sites share: once, and its failure is an error of its sites."""

import json
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import sharing
from support.languages import chinese
from support.sharing import DUE, NAMES, WILDCARD, failing, sharers, unit
from support.terminals import written
from support.views import NOW, said

from certbotless.model.decision import Step
from certbotless.model.reason import Why, because
from certbotless.model.view import View
from certbotless.report import metrics, plan_text, status_json, status_page, status_text
from certbotless.report.found import Found, Story
from certbotless.report.status_json import Seen

pytestmark = pytest.mark.usefixtures("in_utc")

USERS = sharing.config().users
REFUSED = Step(
    "take", because(Why.SHARED, WILDCARD), wait_until=NOW, wait_why=because(Why.SHARED_REFUSED, NAMES[0])[0]
)


def found(*views: View, **fields: Any) -> Found:
    given = {"error": "", "daemon_pid": 4711, "users": USERS, **fields}
    return Found(NOW, "c.yaml", views=views, **given)


def text_of(*views: View, **fields: Any) -> str:
    """Return what `status` prints."""
    return written(lambda screen: status_text.draw(found(*views, **fields), screen), 100)


def test_the_json_has_it_apart_from_the_sites() -> None:
    status = json.loads(found(unit(), *sharers()).to_json())
    (certificate,) = status["certificates"]
    assert list(certificate) == [
        *("name", "state", "reason", "next_renewal", "last_error"),
        *("names", "sha256", "issuer", "not_before", "not_after", "used_by"),
    ]
    assert (certificate["name"], certificate["used_by"]) == (WILDCARD, NAMES)
    assert [site["domain"] for site in status["sites"]] == NAMES
    assert {site["certificate"]["shared"] for site in status["sites"]} == {WILDCARD}


# What a site had in `status --json` before certificates were shared: the kinds of its values by their keys.
_ADDRESS = {"wanted": str, "published": list, "source": str, "observed_at": str}
_BEFORE: dict[str, Any] = {
    "domain": str,
    "state": str,
    "reason": str,
    "address": _ADDRESS,
    "address6": _ADDRESS,
    "certificate": {
        **dict.fromkeys(("sha256", "issuer", "not_before", "not_after", "ca"), str),
        "names": list,
    },
    "next_renewal": str,
    "deploy": [dict.fromkeys(("container", "state", "served_sha256", "at"), str)],
    "client": dict,
    "last_error": dict.fromkeys(("at", "what", "hint", "retry_at"), str),
}


def assert_is_known(found: Any, before: Any) -> None:
    """A reader of before finds each key that it knows, with a value of the kind that it knows, or null."""
    if found is None:
        return
    if isinstance(before, type):
        assert isinstance(found, before)
    elif isinstance(before, list):
        for each in found:
            assert_is_known(each, before[0])
    else:
        assert before.keys() <= found.keys()
        for key, kind in before.items():
            assert_is_known(found[key], kind)


@pytest.mark.parametrize("shared", [unit(), failing(), None])
def test_a_reader_of_before_finds_each_key_of_a_site_with_its_meaning(shared: View | None) -> None:
    """Also where nothing was checked, and the certificate alone is known."""
    if shared is None:
        status = found(known=[(name, sharing.FACTS_OF_ALL) for name in NAMES], why_unseen="no").to_plain()
    else:
        status = found(shared, *sharers()).to_plain()
    assert {"version", "observed_at", "daemon", "config", "notify", "local_ca", "sites"} <= status.keys()
    for name, site in zip(NAMES, status["sites"], strict=True):
        assert_is_known(site, _BEFORE)
        assert site["domain"] == name
        # The certificate that is published for the site, and what its own services serve.
        assert site["certificate"]["sha256"] == sharing.FACTS_OF_ALL.sha256
        assert [each["state"] for each in site["deploy"]] == ["serving"] * (shared is not None)
        assert (site["next_renewal"] is None) == (shared is None)


def test_its_failure_is_the_last_error_of_sites_that_are_ok() -> None:
    shown = found(failing(), *sharers())
    status = shown.to_plain()
    (certificate,) = status["certificates"]
    assert certificate["state"] == "failing"
    for site in status["sites"]:
        assert site["state"] == "ok"
        assert site["last_error"] == certificate["last_error"]
        assert site["last_error"]["what"] == "the CA is closed"
    assert shown.code == 1


def test_what_is_not_checked_is_where_it_belongs() -> None:
    """With a broken file too: no reader of `sites` meets a wildcard."""
    shown = found(known=[(WILDCARD, sharing.FACTS_OF_ALL), (NAMES[0], None)], why_unseen="a run is at work")
    status = shown.to_plain()
    assert [site["domain"] for site in status["sites"]] == NAMES[:1]
    (certificate,) = status["certificates"]
    assert (certificate["state"], certificate["reason"]) == ("pending", "a run is at work")
    assert (certificate["names"], certificate["used_by"]) == ([WILDCARD], NAMES)


def test_a_line_counts_the_sites_and_names_a_certificate_that_fails() -> None:
    assert status_json.headline([unit(), *sharers()], 0) == (
        f"sites: 3 ok; next renewal 2027-01-13 05:30 UTC, {WILDCARD}"
    )
    line = status_json.headline([failing(), *sharers()], 0)
    assert line.startswith(f"sites: 3 ok, {WILDCARD} failing")


def test_the_table_has_it_below_its_sites_with_its_failure_once() -> None:
    text = text_of(failing(), *sharers())
    rows = [
        line.split()[0] for line in text.splitlines() if "lan.example.com " in f"{line} " and line[0] != " "
    ]
    assert rows == [*NAMES, WILDCARD]
    assert f"of {WILDCARD}" in text
    assert "3 sites" in text
    assert text.count("the CA is closed") == 1


def test_a_site_without_a_service_has_no_line_below_its_row() -> None:
    """The life of its certificate is drawn once for all, below the row of that."""
    first, *others = sharers()
    unserved = replace(first, site=replace(first.site, deploy=()))
    lines = text_of(unit(), unserved, *others).splitlines()
    number = next(i for i, line in enumerate(lines) if line.startswith(NAMES[0]))
    assert lines[number + 1].startswith(NAMES[1])


def test_one_site_is_shown_with_what_it_shares() -> None:
    text = text_of(sharers()[1], failing(), story=Story((), (), True, False))
    assert text.index(NAMES[1]) < text.index(f"{WILDCARD} failing")
    assert "the CA is closed" in text


def test_the_page_has_one_card_for_it_and_its_failure_once() -> None:
    page = status_page.page(found(failing(), *sharers()).to_plain(), NOW)
    assert page.count('aria-labelledby="certificate-') == 1
    assert page.count('aria-labelledby="site-') == 3
    assert page.count("the CA is closed") == 1
    assert page.index("certificate-0") < page.index("site-0")
    assert page.count(f"of {WILDCARD}") == 3
    assert f"<title>✕ {WILDCARD} failing; 3 ok" in page
    well = status_page.page(found(unit(), *sharers()).to_plain(), NOW)
    assert "<title>✓ All 3 sites are OK" in well
    assert well.index("site-2") < well.index("certificate-")
    unborn = unit(DUE, facts=None)
    assert "none yet" in status_page.page(found(unborn, *sharers()).to_plain(), NOW)


def test_it_is_shown_in_chinese_too() -> None:
    with chinese():
        assert f"随 {WILDCARD}" in text_of(unit(), *sharers())


def test_its_metrics_have_its_name_as_the_label() -> None:
    views = [failing(), *sharers()]
    seen = Seen(sharing.config(), {view.site.domain: view for view in views})
    text = metrics.text(seen, {}, NOW, is_looking=True, is_refused=False)
    samples = {
        (sample.name.removeprefix("certbotless_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    end = sharing.FACTS_OF_ALL.not_after.timestamp()
    assert samples["shared_certificate_not_after_timestamp_seconds", WILDCARD] == end
    assert samples["shared_well", WILDCARD] == 0
    assert samples["shared_orders_left", WILDCARD] > 0
    assert samples["shared_failed_attempts", WILDCARD, "certificate"] == 1
    assert samples["certificate_not_after_timestamp_seconds", NAMES[0]] == end
    assert not [key for key in samples if key[0] == "orders_left"]
    assert not [key for key in samples if key[1:2] == (WILDCARD,) and not key[0].startswith("shared_")]
    unseen = metrics.text(Seen(sharing.config()), {}, NOW, is_looking=True, is_refused=False)
    assert f'certbotless_shared_well{{certificate="{WILDCARD}"}} 0.0' in unseen


def test_a_plan_has_the_order_and_what_each_site_does_after_it() -> None:
    text = plan_text.text_of([unit(DUE), *sharers()])
    assert text.splitlines() == [
        f"{WILDCARD}: would request a certificate (due since Monday)",
        *(
            f"{name}: would use the next {WILDCARD} when it is issued; then restart {name.partition('.')[0]}"
            for name in NAMES
        ),
        "3 sites, 7 changes",
    ]
    held = plan_text.text_of([unit(), *sharers(REFUSED)[1:]])
    assert f"{NAMES[0]} did not come up with it" in held
    later = Step("order", said("due"), wait_until=NOW.replace(year=2027), wait_why=said("its limit")[0])
    assert "next" not in plan_text.text_of([unit(later), *sharers()])
