"""How sites take the certificate that they share: in turn, and not what a service before them has refused."""

from datetime import timedelta

import pytest
from support.scenes import DOMAIN, HOUR, MINUTE, OTHER_DOMAIN, ZONE, Scene

from certbotless.base.errors import DnsRefused
from certbotless.base.names import file_name
from certbotless.model.situation import Goal
from certbotless.observe.record_answers import ask_servers
from certbotless.observe.views import Looking, look
from certbotless.world.containers import Container
from certbotless.world.tls import served_leaf

WILDCARD = f"*.{ZONE}"
FIRST, LAST = f"alpha.{ZONE}", OTHER_DOMAIN


@pytest.fixture
def shared(scene: Scene) -> Scene:
    """Three sites with one certificate, which they have; the second one has a service."""
    scene.domains = [FIRST, DOMAIN, LAST]
    scene.keys_of = {
        domain: {"certificate": WILDCARD, "deploy": [] if domain != DOMAIN else scene.keys["deploy"]}
        for domain in scene.domains
    }
    for domain in scene.domains:
        scene.point(domain)
    scene.publish(domain=WILDCARD)
    assert {outcome.state for outcome in scene.run_all()} == {"ok"}
    return scene


def served(scene: Scene) -> str | None:
    return served_leaf("127.0.0.1", scene.tls.port, DOMAIN)


def refuse(scene: Scene, sha256: str) -> None:
    """Let the service end as soon as it is started with this leaf."""

    def come_up(_: Container) -> None:
        if leaf(scene, DOMAIN) == sha256:
            scene.tls.unload()
            scene.put_container(status="exited")
        else:
            scene.start()

    scene.engine.on_restart = come_up


def leaf(scene: Scene, domain: str) -> str:
    facts = scene.published_of(domain).facts
    assert facts is not None
    return facts.sha256


def leaves(scene: Scene) -> list[str]:
    return [leaf(scene, domain) for domain in (FIRST, DOMAIN, LAST)]


def test_all_have_the_shared_certificate_and_nothing_was_ordered(shared: Scene) -> None:
    assert set(leaves(shared)) == {leaf(shared, WILDCARD)}
    assert not shared.asked_the_ca
    assert served(shared) == leaf(shared, WILDCARD)


def test_a_new_one_is_taken_by_all(shared: Scene) -> None:
    shared.publish(domain=WILDCARD)
    assert {outcome.state for outcome in shared.run_all()} == {"ok"}
    assert set(leaves(shared)) == {leaf(shared, WILDCARD)}


def test_a_service_that_refuses_it_keeps_later_sites_from_it_until_it_takes_it(shared: Scene) -> None:
    old = leaf(shared, WILDCARD)
    shared.clock.advance(HOUR.total_seconds())
    shared.publish(domain=WILDCARD, age=timedelta())
    new = leaf(shared, WILDCARD)
    refuse(shared, new)
    _, first, second, last = shared.run_all()
    assert [first.state, second.state, last.state] == ["ok", "failing", "pending"]
    assert f"{DOMAIN} did not come up with it" in last.reason
    assert leaves(shared) == [new, old, old]
    assert served(shared) == old

    shared.engine.on_restart = lambda _: shared.start()
    shared.clock.advance(2 * MINUTE.total_seconds())
    assert {outcome.state for outcome in shared.run_all()} == {"ok"}
    assert leaves(shared) == [new, new, new]


def test_a_site_remembers_since_when_its_own_certificates_have_shown_its_name(scene: Scene) -> None:
    """They are deleted a day later, and the logs keep them."""
    scene.make_well()
    own = scene.published.facts
    assert own is not None
    scene.keys["certificate"] = WILDCARD
    scene.publish(domain=WILDCARD)
    scene.run_all()
    for _ in range(2):
        scene.clock.advance(timedelta(days=2).total_seconds())
        scene.publish(domain=WILDCARD)
        scene.run_all()
    assert scene.published.facts is not None
    assert scene.published.facts.names == (WILDCARD,)
    assert scene.state.logged == {DOMAIN: own.not_before}


def test_it_is_taken_all_the_same_where_the_one_in_use_ends(shared: Scene) -> None:
    shared.publish(domain=WILDCARD, left=timedelta(days=30))
    shared.run_all()
    shared.publish(domain=WILDCARD)
    refuse(shared, leaf(shared, WILDCARD))
    shared.run_all()
    shared.clock.advance(timedelta(days=29.5).total_seconds())
    shared.run_all()
    assert leaf(shared, LAST) == leaf(shared, WILDCARD)


def test_a_site_waits_for_a_certificate_that_is_not_issued_yet(scene: Scene) -> None:
    scene.keys["certificate"] = WILDCARD
    scene.point()
    unit, site = scene.run_all()
    assert unit.domain == WILDCARD
    assert unit.state == "failing"  # nobody listens where the CA should be
    assert site.state == "pending"
    assert site.reason == f"waits for {WILDCARD}"
    assert (scene.state_dir / "sites" / f"{file_name(WILDCARD)}.json").exists()
    # The daemon makes no check for it between its own.
    (step,) = scene.look().decision.steps
    assert step.wait_until is not None
    assert step.wait_until > scene.clock.now() + scene.config.check_every


def test_files_in_the_place_of_a_shared_certificate_are_not_taken_over(scene: Scene) -> None:
    """No other tool writes there."""
    scene.keys["certificate"] = WILDCARD
    config = scene.config
    config.shared_dir.mkdir(parents=True)
    for end in ("pem", "key"):
        (config.shared_dir / f"{file_name(WILDCARD)}.{end}").write_text("of somebody")
    looking = Looking(ask_servers(scene.edges().servers))
    unit = look(Goal(config.shared[0], config), looking, scene.clock.now())
    assert unit.seen.published.plain
    assert [step.action for step in unit.decision.steps] == ["order"]


def test_the_first_order_follows_the_first_record_and_needs_no_further_proof_of_the_key(scene: Scene) -> None:
    scene.domains, scene.keys = [FIRST, LAST], {"certificate": WILDCARD, "deploy": []}
    scene.run_all()
    assert scene.asked_the_ca
    assert sorted(str(call.subject) for call in scene.zone.calls if call.method == "records") == [FIRST, LAST]


def test_a_key_that_may_not_use_the_zone_costs_no_order(scene: Scene) -> None:
    scene.domains, scene.keys = [FIRST, LAST], {"certificate": WILDCARD, "deploy": []}
    for _ in range(3):
        scene.zone.fail("records", DnsRefused("the key has no rights there"))
    unit, first, last = scene.run_all()
    assert [unit.state, first.state, last.state] == ["failing"] * 3
    assert "no rights" in unit.reason
    assert not scene.asked_the_ca
