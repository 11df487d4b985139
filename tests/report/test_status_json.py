"""What `status` says of a site; the keys of the JSON are a contract with whoever reads it."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from support.views import FACTS, LISTED, NOTHING, NOW, failure, on_three, said, view

from certbotless import __version__
from certbotless.model.decision import Step
from certbotless.model.local_ca import LocalCa
from certbotless.model.memory import Failure
from certbotless.model.view import ClientFacts, View, digest_of_visit
from certbotless.report import status_json
from certbotless.report.found import Found

NO_ADDRESS: dict[str, Any] = {
    "wanted": None,
    "wanted_all": [],
    "published": [],
    "source": None,
    "observed_at": None,
}
CLOSED = {
    "at": "2026-11-24T05:30:00Z",
    "what": "the CA is closed",
    "hint": "try later",
    "retry_at": "2026-11-24T05:40:00Z",
}


def json_of(*views: View, visits: Mapping[str, ClientFacts] | None = None, **fields: Any) -> dict[str, Any]:
    """Return the object of `status --json` as a reader gets it."""
    given = {"at": NOW, "daemon_pid": 4711, "path": "/etc/certbotless/config.yaml", "error": "", **fields}
    found: dict[str, Any] = json.loads(Found(views=views, visits=visits or {}, **given).to_json())
    return found


def site_of(shown: View) -> dict[str, Any]:
    (site,) = json_of(shown)["sites"]
    assert isinstance(site, dict)
    return site


# --- in a line ----------------------------------------------------------------------------------------------


def test_how_all_stands_in_a_line() -> None:
    """Counts by state, who is at work, and the renewal that comes first."""
    order = Step("order", said("due"))
    assert status_json.headline([view()], 0) == (
        "sites: 1 ok; next renewal 2027-01-13 05:30 UTC, devbox.sweetlove.top"
    )
    blank = view(order, published=NOTHING, served={})
    assert status_json.headline([blank, blank], 3) == "sites: 2 pending, 3 running"
    assert status_json.headline([], 1) == "sites: 1 running"


# --- status --json ------------------------------------------------------------------------------------------


def test_a_site_that_asks_for_an_aaaa_record_has_its_addresses_of_both_kinds() -> None:
    domain = "devbox.sweetlove.top"
    shown = {(domain, "A"): (frozenset({"10.79.40.213"}),), (domain, "AAAA"): (frozenset({"fd00::7"}), None)}
    found = site_of(view(addresses={"A": "10.79.40.213", "AAAA": "fd00::5"}, answers=shown))
    assert found["address"] == {
        "wanted": "10.79.40.213",
        "wanted_all": ["10.79.40.213"],
        "published": ["10.79.40.213"],
        "source": "dns",
        "observed_at": "2026-11-24T05:30:00Z",
    }
    assert (found["address6"]["wanted"], found["address6"]["published"]) == ("fd00::5", ["fd00::7"])


def test_the_object_of_a_site_that_is_well() -> None:
    assert json_of(view()) == {
        "version": __version__,
        "observed_at": "2026-11-24T05:30:00Z",
        "daemon": {"running": True, "pid": 4711},
        "config": {"path": "/etc/certbotless/config.yaml", "error": None},
        "notify": None,
        "local_ca": None,
        "certificates": [],
        "sites": [
            {
                "domain": "devbox.sweetlove.top",
                "state": "ok",
                "reason": "",
                "address": {
                    "wanted": "10.79.40.213",
                    "wanted_all": ["10.79.40.213"],
                    "published": ["10.79.40.213"],
                    "source": "dns",
                    "observed_at": "2026-11-24T05:30:00Z",
                },
                "address6": NO_ADDRESS,
                "certificate": {
                    "names": ["*.devbox.sweetlove.top", "devbox.sweetlove.top"],
                    "sha256": "ab" * 32,
                    "issuer": "CN=YE1,O=Example CA,C=XX",
                    "not_before": "2026-11-14T05:30:00Z",
                    "not_after": "2027-02-12T05:30:00Z",
                    "ca": "https://ca.example.org/dir",
                    "shared": None,
                },
                "next_renewal": "2027-01-13T05:30:00Z",
                "deploy": [
                    {
                        "container": "registry",
                        "state": "serving",
                        "served_sha256": "ab" * 32,
                        "at": "10.79.40.213:5000",
                        "service": None,
                        "node": None,
                    },
                    {
                        "container": "web",
                        "state": "serving",
                        "served_sha256": "ab" * 32,
                        "at": None,
                        "service": None,
                        "node": None,
                    },
                ],
                "client": None,
                "last_error": None,
            }
        ],
    }


def test_what_a_client_met_stands_in_the_object_as_long_as_it_says_something() -> None:
    """Of a site that has changed since, nobody knows."""
    facts = ClientFacts(NOW, True, True, None, "it does not use HTTP", digest_of_visit(view()))
    known = {"devbox.sweetlove.top": facts}
    (site,) = json_of(view(), visits=known)["sites"]
    assert site["client"] == {
        "at": "2026-11-24T05:30:00Z",
        "resolved": True,
        "trusted": True,
        "answered": None,
        "text": "it does not use HTTP",
    }
    (site,) = json_of(view(addresses={"A": "10.79.40.9"}), visits=known)["sites"]
    assert site["client"] is None


def test_the_object_when_no_daemon_runs_and_the_file_is_broken() -> None:
    """The sites that the state knows have the same keys as any other."""
    found = json_of(daemon_pid=None, error="c.yaml:1:1: a: b\nc.yaml:2:1: c: d")
    assert found["daemon"] == {"running": False, "pid": None}
    assert found["config"]["error"] == "c.yaml:1:1: a: b\nc.yaml:2:1: c: d"
    site = status_json.unseen_site_json("devbox.sweetlove.top", "the configuration is broken", FACTS)
    assert site.keys() == site_of(view()).keys()
    assert site["certificate"] == site_of(view())["certificate"] | {"ca": None}  # what it says itself
    assert (site["domain"], site["state"]) == ("devbox.sweetlove.top", "pending")
    assert status_json.unseen_site_json("devbox.sweetlove.top", "")["certificate"] is None


def test_a_site_without_a_certificate_has_none_and_no_renewal() -> None:
    site = site_of(view(Step("order", said("there is no certificate yet")), published=NOTHING, served={}))
    assert (site["certificate"], site["next_renewal"]) == (None, None)
    assert (site["state"], site["reason"]) == ("pending", "order: there is no certificate yet")
    assert [entry["state"] for entry in site["deploy"]] == ["pending", "pending"]


def test_the_published_addresses_are_all_that_any_server_shows() -> None:
    """Sorted, each once; a server that is silent shows none."""
    values = [f"10.0.0.{i}" for i in range(1, 10)]
    answers = (frozenset(values[4:]), None, frozenset(values[:6]))
    assert site_of(view(answers={(FACTS.names[1], "A"): answers}))["address"]["published"] == values
    assert site_of(view(answers=None))["address"]["published"] == []
    assert site_of(view(addresses={}, answers={}))["address"] == NO_ADDRESS


def test_a_list_of_addresses_has_what_is_wanted_and_what_is_withdrawn() -> None:
    found = site_of(on_three(out=LISTED[:1]))["address"]
    assert (found["wanted"], found["wanted_all"]) == (LISTED[1], [*LISTED[1:]])
    assert found["published"] == [*LISTED[1:]]
    assert found["withdrawn"] == [{"address": LISTED[0], "since": "2026-11-24T05:18:00Z"}]
    assert site_of(on_three())["address"]["withdrawn"] == []


@pytest.mark.parametrize(
    ("leaf", "failures", "state"),
    [
        (FACTS.sha256, {}, "serving"),
        (FACTS.sha256, {"deploy:registry": failure()}, "serving"),
        ("cd" * 32, {}, "pending"),
        ("cd" * 32, {"deploy:registry": failure()}, "failing"),
        ("", {"deploy:registry": failure()}, "failing"),
        (None, {"deploy:registry": failure()}, "failing"),
        (None, {"deploy:registry": failure(is_waiting=True)}, "pending"),
        ("cd" * 32, {"deploy:web": failure()}, "pending"),
        ("cd" * 32, {"order": failure()}, "pending"),
    ],
)
def test_serving_is_said_only_of_what_was_seen(
    leaf: str | None, failures: dict[str, Failure], state: str
) -> None:
    """And failing only after an attempt at this container failed."""
    served = {} if leaf is None else {"registry": leaf}
    site = site_of(view(Step("deploy", said("x"), "registry"), served=served, failures=failures))
    entry, *_ = site["deploy"]
    told = {"container": "registry", "state": state, "served_sha256": leaf or None}
    assert entry == told | {"at": "10.79.40.213:5000", "service": None, "node": None}


@pytest.mark.parametrize(
    ("shown", "state", "what"),
    [
        (
            view(Step("order", said("due")), failures={"order": failure()}),
            ("failing", "the CA is closed"),
            CLOSED,
        ),
        (view(failures={"order": failure()}), ("ok", ""), CLOSED),
        (
            view(
                Step("deploy", said("x"), "registry"),
                failures={"deploy:registry": failure(is_waiting=True)},
            ),
            ("pending", "the CA is closed"),
            None,
        ),
    ],
    ids=["a failed order", "a failed renewal that was asked for", "what only waits is no error"],
)
def test_the_last_error_is_told_with_its_moment_and_the_next_try(
    shown: View, state: tuple[str, str], what: dict[str, str] | None
) -> None:
    found = site_of(shown)
    assert ((found["state"], found["reason"]), found["last_error"]) == (state, what)


def test_what_cannot_be_seen_is_not_well() -> None:
    blind = failure("no authoritative name server answers")
    found = site_of(view(answers={(FACTS.names[1], "A"): (None,)}, problems=(blind,)))
    assert (found["state"], found["reason"]) == ("failing", "no authoritative name server answers")
    assert found["last_error"] == CLOSED | {"what": "no authoritative name server answers"}


def test_a_rotation_has_both_roots() -> None:
    now, coming = (
        LocalCa(digit * 64, ("lan", "10.0.0.0/8"), NOW, NOW + timedelta(days=days))
        for digit, days in (("a", 1), ("b", 2))
    )
    entry = {"root_sha256": "b" * 64, "not_after": "2026-11-26T05:30:00Z", "permit": ["lan", "10.0.0.0/8"]}
    assert status_json.local_ca_json(coming, None) == entry | {"next": None}
    signs_from = {"signs_from": "2027-02-22T05:30:00Z"}
    assert status_json.local_ca_json(now, coming)["next"] == entry | signs_from
