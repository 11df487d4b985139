"""What a run remembers of a step that failed, when it tries that again, and what it forgets."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.fakes import EPOCH
from support.scenes import ADDRESS, DOMAIN, FAILURE, HOUR, ID, MINUTE, NOTHING_ASKED, ZONE, Scene, failed_with

from certbotless.act.run import Outcome, run
from certbotless.base.errors import DnsError, DnsRefused, DnsUnavailable
from certbotless.model.decision import Intent
from certbotless.model.memory import Foreign
from certbotless.model.records import Zone
from certbotless.world.containers import DockerContainers
from certbotless.world.dns.nameservers import NameServers
from certbotless.world.dns.query import Server


class _BrokenAccount:
    """A DNS account whose library has a bug."""

    def find(self, fqdn: str) -> str:
        raise ZeroDivisionError

    def open(self, name: str) -> Zone:
        raise ZeroDivisionError

    def prove(self, zones: Iterable[str]) -> None:
        raise ZeroDivisionError


def test_a_step_that_crashes_is_a_failure_and_the_other_steps_go_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """What it was is in the log, with its traceback; the container is restarted all the same."""
    scene.publish()
    scene.zones = lambda _: _BrokenAccount()
    outcome = scene.run()
    failure = scene.state.failures["record"]
    assert (outcome.state, outcome.failure) == ("failing", failure)
    assert failure.what == "internal error: ZeroDivisionError"
    assert "report it" in failure.hint
    assert (failure.retry_at - failure.at, failure.count) == (MINUTE, 1)
    assert [container_id for container_id, _ in scene.engine.restarts] == [ID]
    (crash,) = [record.exc_info for record in caplog.records if record.exc_info]
    assert crash[0] is ZeroDivisionError


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_step_that_failed_is_not_tried_again_before_its_time_but_by_a_command(
    unpointed: Scene, is_forced: bool
) -> None:
    unpointed.zone.fail("records", DnsUnavailable("busy"))
    unpointed.run()
    calls = list(unpointed.zone.calls)
    outcome = unpointed.run()
    assert unpointed.zone.calls == calls
    assert (outcome.state, outcome.failure) == ("failing", unpointed.state.failures["record"])
    assert outcome.reason == "record not before 2026-11-24T05:31:00Z: busy"
    if not is_forced:
        unpointed.wait_for_retry("record")
    assert unpointed.run(Intent(ignore_backoff=is_forced)).state == "ok"
    assert unpointed.state.failures == {}


@pytest.mark.parametrize(
    ("fault", "is_ordered"), [(DnsRefused("forbidden", hint="ask"), False), (DnsUnavailable("busy"), True)]
)
def test_no_order_is_tried_where_the_record_is_refused(
    scene: Scene, fault: DnsError, is_ordered: bool
) -> None:
    """Whoever may not write the one may not write the other; a record that may yet be written holds none."""
    scene.zone.fail("add", fault)
    scene.run()
    failures = scene.state.failures
    assert failures["record"].what == fault.message
    assert set(failures) == ({"record", "order"} if is_ordered else {"record"})
    assert scene.asked_the_ca == is_ordered


def test_a_zone_that_was_found_and_is_gone_is_looked_for_again(unpointed: Scene) -> None:
    """A zone of its own has become a part of its parent. One that the file names is a person's to correct."""
    unpointed.keys["zone"] = None
    unpointed.remember(zone=DOMAIN, alias_zones={f"x.{DOMAIN}": DOMAIN})
    assert f"no zone {DOMAIN!r}" in failed_with(unpointed.run())
    assert (unpointed.state.zone, unpointed.state.alias_zones) == ("", {})
    unpointed.wait_for_retry("record")
    assert unpointed.run().state == "ok"
    assert unpointed.state.zone == ZONE


class NobodyNames(NameServers):
    """No resolver names the servers of a zone that is no more."""

    @property
    def need_zone(self) -> bool:
        return True

    def of(self, zone: str) -> tuple[Server, ...]:
        if zone != ZONE:
            raise DnsUnavailable(f"no resolver names the authoritative servers of {zone!r}")
        return super().of(zone)


@pytest.mark.process
def test_a_gone_zone_whose_servers_no_resolver_names_is_looked_for_again(unpointed: Scene) -> None:
    """Then nothing is shown of the record: the API is asked, and has not the zone."""
    unpointed.keys["zone"] = None
    unpointed.remember(zone=DOMAIN)
    servers = NobodyNames([unpointed.server.place], unpointed.clock)
    outcomes: list[str] = []
    for _ in range(2):
        config = unpointed.config
        [outcome] = run(config, config.sites, replace(unpointed.edges(), servers=servers), NOTHING_ASKED)
        outcomes.append(outcome.state)
        unpointed.clock.advance(HOUR.total_seconds())
    assert outcomes == ["failing", "ok"]
    assert unpointed.state.zone == ZONE


def test_the_wait_that_the_service_asks_for_is_the_least(unpointed: Scene) -> None:
    unpointed.zone.fail("records", DnsUnavailable("busy", retry_after=HOUR))
    unpointed.run()
    failure = unpointed.state.failures["record"]
    assert failure.retry_at - failure.at == HOUR
    assert failure.limited_until is None


def test_the_wait_of_an_order_grows_as_the_ca_wants_it(scene: Scene) -> None:
    """1, 10, 100 minutes, and at most a quarter more."""
    scene.point()
    scene.keys["deploy"] = []
    for count, least in enumerate([MINUTE, 10 * MINUTE, 100 * MINUTE], 1):
        scene.run()
        failure = scene.wait_for_retry("order")
        assert failure.count == count
        assert least <= failure.retry_at - failure.at <= least * 5 / 4


def test_what_keeps_an_order_from_being_placed_here_is_tried_again_soon(scene: Scene) -> None:
    """A name that cannot be published, so no CA was asked."""
    scene.point()
    (scene.certs_dir / f"{DOMAIN}.pem").mkdir(parents=True)
    for minutes in (1, 2):
        assert "is a directory" in failed_with(scene.run())
        failure = scene.wait_for_retry("order")
        assert failure.retry_at - failure.at == minutes * MINUTE
    assert not scene.asked_the_ca


def test_an_absent_container_that_keeps_an_order_from_being_placed_is_told_as_its_own(scene: Scene) -> None:
    scene.engine.remove("registry")
    assert failed_with(scene.run()) == "there is no container 'registry'"
    assert [record.value for record in scene.zone.held("A")] == [ADDRESS]  # that does not wait for it
    failures = scene.state.failures
    assert set(failures) == {"order", "deploy:registry"}
    assert failures["order"] == failures["deploy:registry"]
    assert not scene.asked_the_ca


def test_an_engine_that_is_not_there_is_told_of_no_container_without_a_name(scene: Scene) -> None:
    scene.point()
    scene.containers = DockerContainers("unix:///nowhere/docker.sock")
    assert "no Docker engine" in failed_with(scene.run())
    assert set(scene.state.failures) <= {"order", "deploy:registry"}
    assert not scene.asked_the_ca


def test_a_failure_is_forgotten_when_its_fact_came_true_by_itself(scene: Scene) -> None:
    scene.make_well()
    scene.remember(failures=dict.fromkeys(("record", "restore", "deploy:registry"), FAILURE))
    assert scene.run() == Outcome(DOMAIN, "ok", "", is_renewed=False, failure=None)
    assert scene.state.failures == {}


def test_a_failed_order_is_remembered_until_one_succeeds(scene: Scene) -> None:
    """All is well, and the certificate that was asked for in vain is told of all the same."""
    scene.make_well()
    scene.remember(failures={"order": FAILURE})
    outcome = scene.run()
    assert outcome.state == "ok"
    assert outcome.failure == scene.state.failures["order"] == FAILURE


def test_a_failure_counts_only_for_the_configuration_that_it_happened_with(unserved: Scene) -> None:
    """After an edit everything is tried at once."""
    unserved.remember(failures={"deploy:registry": FAILURE})
    assert unserved.run().state == "failing"
    assert unserved.engine.restarts == []
    unserved.keys["deploy"][0]["stop_timeout"] = "3s"
    assert unserved.run().state == "ok"
    assert unserved.engine.restarts == [(ID, 3)]
    assert unserved.state.failures == {}


# --- another key of the API -------------------------------------------------------------------------------

TOKENS = 8


def token_of(scene: Scene) -> Path:
    """Let the key be a temporary one, and return the file of its token."""
    token = scene.state_dir.parent / "token"
    token.write_text("the first one")
    keys = {"access_key_id": "id", "access_key_secret": "secret", "security_token": f"file:{token}"}
    scene.settings = {"aliyun": keys}
    return token


def rotate(scene: Scene) -> Iterator[int]:
    """Let the key be a temporary one, and yield once for each token, a quarter of an hour apart."""
    token = token_of(scene)
    for number in range(TOKENS):
        token.write_text(str(number))
        yield number
        scene.clock.advance(15 * 60)


def test_a_temporary_key_restarts_no_container_that_restarts_do_not_cure(scene: Scene) -> None:
    """As one that mounts the two files: twice, however often the token is another one."""
    scene.make_well()
    scene.publish()
    scene.engine.on_restart = lambda _: None
    for _ in rotate(scene):
        for _ in range(3):
            scene.run()
            scene.clock.advance(60)
    assert len(scene.engine.restarts) == 2
    scene.keys["deploy"][0]["stop_timeout"] = "3s"
    scene.run()
    assert len(scene.engine.restarts) == 3


def test_a_temporary_key_gives_a_refused_certificate_no_further_try(scene: Scene) -> None:
    """1, 10, 100 minutes: within two hours four tries, each of which restarts twice."""
    rotation = rotate(scene)
    next(rotation)
    scene.make_well()
    scene.publish()
    scene.refuse(scene.published)
    for _ in rotation:
        for _ in range(3):
            scene.run()
            scene.clock.advance(60)
    assert scene.state.failures["redeploy"].count in (3, 4)
    assert len(scene.engine.restarts) == 2 * scene.state.failures["redeploy"].count


def test_a_temporary_key_asks_no_ca_before_its_time(scene: Scene) -> None:
    """Nor does it forget how often another program has written our files, or what it has put there."""
    rotation = rotate(scene)
    next(rotation)
    scene.point()
    scene.keys["deploy"] = []
    limited = replace(FAILURE, retry_at=EPOCH + 34 * HOUR, limited_until=EPOCH + 34 * HOUR)
    foreign = Foreign(files="1:2:3", why="it is self-signed")
    kept = {"failures": {"order": limited}, "restored": (EPOCH,), "foreign": foreign}
    scene.remember(**kept)
    for _ in rotation:
        scene.run()
        assert {field: getattr(scene.state, field) for field in kept} == kept
    assert not scene.asked_the_ca


@pytest.mark.row(27)
@pytest.mark.parametrize(
    ("refusal", "is_cured"), [(DnsRefused("the key may not"), True), (DnsUnavailable("busy"), False)]
)
def test_another_secret_gives_another_try_to_what_a_secret_can_cure(
    scene: Scene, refusal: DnsError, is_cured: bool
) -> None:
    """At once; and to nothing else."""
    token = token_of(scene)
    scene.publish()
    scene.start()
    scene.zone.fail("records", refusal)
    for _ in range(2):
        assert scene.run().state == "failing"
    token.write_text("right")
    assert (scene.run().state == "ok") == is_cured
