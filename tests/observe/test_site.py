"""What a look sees of a site: what was answered, where each target serves, and what was refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fakes import EPOCH, FakeClock, FakeZone, TlsServer, ZoneServer

from certbotless.base.errors import AddressError
from certbotless.config import load
from certbotless.config.addresses import AddressRule
from certbotless.config.settings import Config
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.deployed import Trial
from certbotless.model.memory import SiteState, WrittenRecord
from certbotless.model.observation import Observation, endpoints_of, unseen
from certbotless.model.records import Record
from certbotless.model.situation import Goal
from certbotless.observe.record_answers import ask_servers
from certbotless.observe.site import host_of, observe
from certbotless.state.pair import Store
from certbotless.world.dns.nameservers import NameServers

ZONE, DOMAIN = "sweetlove.test", "devbox.sweetlove.test"
LAN, LAN6 = "10.79.40.213", "fd00::213"
DAY = timedelta(days=1)
NOTHING = Published(None, None)
FACTS = LeafFacts((DOMAIN,), "ab" * 32, "CN=CA", EPOCH - DAY, EPOCH + 89 * DAY)
ORIGIN = Origin("https://ca.test/dir", "https://ca.test/account/1", "ec256", EPOCH - DAY)


def config_of(home: Path, servers: list[str] | None = None, **site: Any) -> Config:
    fields = {
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "dns": {"nameservers": servers or ["127.0.0.1:1"]},
        "certs_dir": str(home / "certs"),
        "state_dir": str(home / "state"),
        "sites": [{"domain": DOMAIN, "zone": ZONE, "address": LAN, **site}],
    }
    return load.parse(json.dumps(fields).encode(), "test.json")


def told(rule: AddressRule) -> str:
    """The address that a rule of the file gives."""
    if rule.kind == "none":
        return ""
    return LAN if rule.version == 4 else LAN6


def seen(config: Config, state: SiteState | None = None, **fields: Any) -> Observation:
    clock = FakeClock()
    address_of: Callable[[AddressRule], str] = fields.get("address_of", told)
    shown_by = ask_servers(NameServers(config.dns.nameservers, clock))
    return observe(Goal(config.sites[0], config), state or SiteState(), shown_by, EPOCH, address_of, {})


# --- what was answered ------------------------------------------------------------------------------------


def answered(*answers: set[str] | None, **fields: Any) -> Observation:
    found = tuple(None if a is None else frozenset(a) for a in answers)
    shown = {(DOMAIN, "A"): found}
    return Observation(EPOCH, {"A": LAN}, shown, NOTHING, has_copy=False, served={}, **fields)


@pytest.mark.parametrize(
    ("answers", "is_shown"),
    [
        ([{LAN}, {LAN}], True),
        ([{LAN}, None], True),
        ([{LAN}, {"10.79.40.7"}], False),
        ([{LAN, "10.79.40.7"}], False),
        ([set()], False),
        ([None, None], False),
        ([], False),
    ],
)
def test_an_address_is_shown_where_all_that_answer_show_it_alone(
    answers: list[set[str] | None], is_shown: bool
) -> None:
    assert answered(*answers).is_shown(DOMAIN, LAN) is is_shown


def test_an_address_is_looked_for_among_those_of_its_own_kind() -> None:
    answers = {(DOMAIN, "A"): (frozenset({LAN}),), (DOMAIN, "AAAA"): (frozenset({LAN6}),)}
    found = replace(answered(), answers=answers)
    assert found.is_shown(DOMAIN, LAN6)
    assert found.shown(DOMAIN) == [{LAN}]
    assert found.shown(DOMAIN, "AAAA") == [{LAN6}]
    assert not answered({LAN}).is_shown(DOMAIN, LAN6)


def test_a_refused_certificate_is_the_one_in_hand() -> None:
    refused = Published(FACTS, ORIGIN, generation="20261124T053000Z-01234567")
    assert answered({LAN}).in_hand == NOTHING
    assert replace(answered({LAN}), refused=refused).in_hand == refused


def test_a_look_sees_what_each_server_answers(tmp_path: Path) -> None:
    zone = FakeZone(ZONE, [Record(DOMAIN, "A", LAN, 600)])
    with ZoneServer(zone) as server:
        found = seen(config_of(tmp_path, [server.place]))
    assert found.answers == {(DOMAIN, "A"): (frozenset({LAN}),)}
    assert (found.addresses, found.problems) == ({"A": LAN, "AAAA": ""}, ())


def test_a_zone_that_shows_nothing_is_no_silent_server(tmp_path: Path) -> None:
    with ZoneServer(FakeZone(ZONE)) as server:
        found = seen(config_of(tmp_path, [server.place]))
    assert found.answers == {(DOMAIN, "A"): (frozenset(),)}
    assert found.problems == ()


def test_silent_servers_are_a_problem(tmp_path: Path) -> None:
    found = seen(config_of(tmp_path))
    assert found.shown(DOMAIN) == []
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("version", "site"),
    [("A", {"address": "auto"}), ("AAAA", {"address": "none", "address6": "auto"})],
)
def test_an_address_that_is_not_known_is_a_problem_of_its_own_record(
    tmp_path: Path, version: str, site: dict[str, str]
) -> None:
    def none(rule: AddressRule) -> str:
        if rule.kind == "none":
            return ""
        raise AddressError("no interface has one", hint="plug it in")

    with ZoneServer(FakeZone(ZONE)) as server:
        found = seen(config_of(tmp_path, [server.place], **site), address_of=none)
    [problem] = found.problems
    assert problem.what == f"the {version} record stays as it is: no interface has one"
    assert problem.hint == "plug it in"
    assert found.addresses == {"A": "", "AAAA": ""}


def test_what_could_not_be_seen_is_tried_again_at_the_next_look(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    problem = unseen(AddressError("no interface has one"), EPOCH, config.check_every)
    assert (problem.at, problem.retry_at, problem.count) == (EPOCH, EPOCH + config.check_every, 1)


# --- where a target serves --------------------------------------------------------------------------------


def where(home: Path, target: dict[str, Any], state: SiteState, found: str = LAN, **site: Any) -> Any:
    """Where the one place of a target is."""
    config = config_of(home, **site, deploy=[target])
    goal = Goal(config.sites[0], config)
    [place] = endpoints_of(goal.site.deploy[0], state, host_of(goal, state, found))
    return place.where


REGISTRY = {"container": "registry", "port": 5000}
FOUND = SiteState(ports={"registry": 5001})
WRITTEN = SiteState(records={"A": {DOMAIN: WrittenRecord(value="10.79.40.7", ttl_s=600, at=EPOCH)}})


@pytest.mark.parametrize(
    ("target", "state", "address", "at"),
    [
        (REGISTRY, SiteState(), LAN, (LAN, 5000)),
        (REGISTRY, WRITTEN, LAN, (LAN, 5000)),
        (REGISTRY, WRITTEN, "", ("10.79.40.7", 5000)),
        (REGISTRY, SiteState(), "", None),
        ({"container": "registry"}, FOUND, LAN, (LAN, 5001)),
        ({"container": "registry"}, FOUND, "", None),
        ({"container": "registry"}, SiteState(), LAN, None),
        ({"container": "registry", "port": "none"}, FOUND, LAN, None),
        ({"container": "registry", "port": "192.0.2.7:443"}, FOUND, LAN, ("192.0.2.7", 443)),
    ],
)
def test_a_target_serves_at_the_lan_address_and_its_port(
    tmp_path: Path, target: dict[str, Any], state: SiteState, address: str, at: tuple[str, int] | None
) -> None:
    assert where(tmp_path, target, state, address) == at


def test_a_site_without_a_record_serves_on_the_machine_itself(tmp_path: Path) -> None:
    assert where(tmp_path, REGISTRY, SiteState(), "", address="none") == ("127.0.0.1", 5000)


@pytest.mark.parametrize(
    ("bound", "host"),
    [
        ({}, LAN),
        ({5000: ("127.0.0.1",)}, "127.0.0.1"),
        ({5000: ("127.0.0.1", LAN)}, LAN),
        ({1: ("::1",)}, LAN),
    ],
)
def test_a_port_that_is_published_at_one_address_is_proved_there(
    tmp_path: Path, bound: dict[int, tuple[str, ...]], host: str
) -> None:
    assert where(tmp_path, REGISTRY, SiteState(bound={"registry": bound})) == (host, 5000)


def test_a_label_has_a_place_for_each_match(tmp_path: Path) -> None:
    config = config_of(tmp_path, deploy=[{"label": "tls=x"}])
    state = SiteState(matched={"tls=x": ("web1", "web2")}, ports={"web1": 5000, "web2": 5001})
    places = endpoints_of(config.sites[0].deploy[0], state, LAN)
    assert {place.name: place.where for place in places} == {"web1": (LAN, 5000), "web2": (LAN, 5001)}
    assert len({place.key for place in places}) == 2
    # Before anybody looked for them there is one, which is not known yet.
    [place] = endpoints_of(config.sites[0].deploy[0], SiteState(), LAN)
    assert place.where is None


def test_what_does_not_answer_is_seen_as_that(tmp_path: Path) -> None:
    with TlsServer() as tls:
        config = config_of(
            tmp_path,
            address="none",
            deploy=[{"container": "registry", "port": tls.port}, {"container": "mirror", "port": "none"}],
        )
        assert seen(config).served == {"registry": ""}


# --- what was refused -------------------------------------------------------------------------------------


def published(home: Path) -> tuple[Store, Published, Published]:
    """A store with two generations, and what a look saw of each."""
    store = Store(home / "certs", DOMAIN)
    store.publish(b"chain", b"key", FACTS, ORIGIN, EPOCH - DAY)
    first = store.look()
    store.publish(b"chain2", b"key2", replace(FACTS, sha256="cd" * 32), ORIGIN, EPOCH)
    return store, first, store.look()


def test_after_a_rollback_the_generation_on_trial_is_the_refused_one(tmp_path: Path) -> None:
    store, first, second = published(tmp_path)
    trial = Trial(generation=second.generation, previous=first.generation, at=EPOCH)
    config = config_of(tmp_path, address="none")
    assert seen(config, SiteState(trial=trial)).refused is None
    store.select(first.generation)
    found = seen(config, SiteState(trial=trial))
    assert found.refused is not None
    assert (found.published.facts, found.refused.facts) == (first.facts, second.facts)
    assert seen(config).refused is None
    # Nor one that cannot be read.
    (tmp_path / "certs" / ".certbotless" / DOMAIN / second.generation / "meta.json").unlink()
    assert seen(config, SiteState(trial=trial)).refused is None


def test_the_pairs_that_may_be_published_are_this_one_the_one_before_and_a_refused_one() -> None:
    assert answered({LAN}).generations == frozenset()
    two = Published(FACTS, ORIGIN, generation="two", previous="one")
    found = replace(answered({LAN}), published=two)
    assert found.generations == {"one", "two"}
    assert replace(found, refused=Published(FACTS, ORIGIN, generation="three")).generations == {
        "one",
        "two",
        "three",
    }


def test_a_container_that_two_targets_are_about_has_two_places(tmp_path: Path) -> None:
    config = config_of(tmp_path, deploy=[{"container": "web"}, {"label": "tls=x"}])
    state = SiteState(matched={"tls=x": ("web",)}, ports={"web": 5000})
    keys = [place.key for target in config.sites[0].deploy for place in endpoints_of(target, state, LAN)]
    assert keys == ["web", "label:tls=x web"]
