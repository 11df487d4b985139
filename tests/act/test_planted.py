"""Whoever may write to certs_dir puts a pair there, with a meta.json that fits: it does not pass for ours."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.children import DONE, at_each_step, kill
from support.fakes import EPOCH
from support.scenes import DAY, DOMAIN, Scene

from certbotless.model.certificate import Published
from certbotless.state.pair import Store, with_digest
from certbotless.state.site import SiteFile


@pytest.fixture
def well(scene: Scene) -> Scene:
    """A site that is well, with a copy of its pair to restore from, as after its first run."""
    scene.make_well()
    scene.run()
    return scene


def meta_of(scene: Scene) -> Path:
    return (scene.certs_dir / f"{DOMAIN}.pem").resolve().with_name("meta.json")


def plant(scene: Scene, **fields: Any) -> None:
    """Edit meta.json, and let its own digest fit again."""
    plant_in(meta_of(scene), **fields)


def plant_in(path: Path, **fields: Any) -> None:
    meta = json.loads(path.read_text()) | fields
    del meta["digest"]
    path.write_bytes(with_digest(meta))


def plant_other_pair(scene: Scene) -> None:
    """Put another pair into the folder of the published one, with facts and digests that fit."""
    plant(scene, sha256="cd" * 32, files={"fullchain.pem": digest(b"theirs"), "privkey.pem": digest(b"key")})
    meta_of(scene).with_name("fullchain.pem").write_bytes(b"theirs")
    meta_of(scene).with_name("privkey.pem").write_bytes(b"key")


def plant_other_generation(scene: Scene) -> None:
    """Lead to a folder of their own, which is as one of ours."""
    home = scene.certs_dir / ".certbotless" / DOMAIN
    theirs = home / "20261124T053000Z-deadbeef"
    shutil.copytree(home / "current", theirs)
    (home / "current").unlink()
    (home / "current").symlink_to(theirs.name)
    plant_other_pair(scene)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.process
@pytest.mark.parametrize(
    "plant_it",
    [
        lambda scene: plant(scene, not_after="2126-11-24T05:30:00Z"),
        lambda scene: plant(scene, issued_at="2030-01-01T00:00:00+00:00"),
        lambda scene: plant(scene, previous="20261124T053000Z-deadbeef"),
        plant_other_pair,
        plant_other_generation,
    ],
    ids=["its end", "when it was issued", "the one before", "the pair", "a generation"],
)
def test_what_was_not_published_by_us_is_replaced_from_the_copy_without_an_order(
    well: Scene, plant_it: Callable[[Scene], None]
) -> None:
    before = well.published
    chain = (well.certs_dir / f"{DOMAIN}.pem").read_bytes()
    plant_it(well)
    assert well.published.facts is None
    assert well.published.is_contested
    well.clock.advance(60)
    outcome = well.run()
    assert outcome.state == "ok", outcome
    assert well.published.facts == before.facts
    assert well.published.origin == before.origin
    assert (well.certs_dir / f"{DOMAIN}.pem").read_bytes() == chain
    assert len(well.state.restored) == 1
    assert not well.asked_the_ca


def test_after_three_plants_in_a_day_the_site_fails_and_says_so(well: Scene) -> None:
    for _ in range(3):
        plant(well, not_after="2126-11-24T05:30:00Z")
        assert well.run().state == "ok"
        well.clock.advance(60)
    plant(well, not_after="2126-11-24T05:30:00Z")
    outcome = well.run()
    assert outcome.state == "failing"
    assert "3 times within a day" in outcome.reason


@pytest.mark.parametrize("how", ["the file is gone", "an older version wrote it", "it makes no sense"])
def test_where_nothing_says_which_pair_is_ours_it_is_believed_and_noted(well: Scene, how: str) -> None:
    """After an upgrade, or a loss of state_dir: nothing is restored or ordered; the next one is told."""
    path, before = well.state_dir / "sites" / f"{DOMAIN}.json", well.published
    state = json.loads(path.read_text())
    known = state["generations"]
    if how == "the file is gone":
        path.unlink()
    elif how == "it makes no sense":
        path.write_text("{")
    else:
        del state["generations"]
        path.write_text(json.dumps(state))
    assert well.run().state == "ok"
    assert well.published == before
    assert well.state.restored == ()
    assert well.state.generations == known
    plant(well, not_after="2126-11-24T05:30:00Z")
    assert well.published.is_contested


def test_what_is_not_true_of_its_certificate_is_not_believed_even_where_nothing_is_known(well: Scene) -> None:
    """Planted, then the state is lost: the certificate beside the facts says when it ends."""
    before = well.published
    plant(well, not_after="2126-11-24T05:30:00Z")
    (well.state_dir / "sites" / f"{DOMAIN}.json").write_text("{")
    assert well.run().state == "ok"
    assert well.published.facts == before.facts
    assert not well.asked_the_ca


def test_where_neither_a_state_nor_a_copy_is_left_planted_facts_lead_to_an_order(well: Scene) -> None:
    plant(well, not_after="2126-11-24T05:30:00Z")
    shutil.rmtree(well.state_dir)
    assert well.run().state == "failing"  # nobody listens where the CA should be
    assert well.published.facts is None
    assert well.asked_the_ca
    assert not well.file.has_pair


def test_an_upgrade_makes_no_noise(well: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    well.file.change(generations={})
    caplog.set_level("INFO")
    well.run()
    assert well.state.generations
    assert caplog.records == []


def test_only_what_may_be_published_is_noted(well: Scene) -> None:
    """The pair in place and the one before: an older one of ours cannot be put back by others either."""
    first = well.published.generation
    for _ in range(3):
        well.clock.advance(3600)
        well.publish()
        well.start()
        well.run()
    assert set(well.state.generations) == {well.published.generation, well.published.previous}
    current = well.certs_dir / ".certbotless" / DOMAIN / "current"
    assert (current.parent / first).is_dir()
    current.unlink()
    current.symlink_to(first)
    assert well.published.is_contested


def publish_refused(scene: Scene) -> tuple[Published, Published]:
    """Let another pair be published, with which the service ends; return the one before, and that one."""
    before = scene.published
    scene.publish()
    scene.put_container(started_at=EPOCH - DAY)
    scene.refuse(scene.published)
    return before, scene.published


def test_a_refused_certificate_and_the_one_before_stay_known(well: Scene) -> None:
    """A rollback, and the other try after it, are no theft."""
    before, refused = publish_refused(well)
    assert well.run().state == "failing"
    assert well.published.generation == before.generation
    assert set(well.state.generations) == {before.generation, refused.generation}
    assert well.state.restored == ()
    well.engine.on_restart = lambda _: well.start()
    well.wait_for_retry("redeploy")
    assert well.run().state == "ok"
    assert well.published.generation == refused.generation
    assert well.state.restored == ()


def test_the_one_before_is_not_gone_back_to_where_others_have_changed_it(well: Scene) -> None:
    before, refused = publish_refused(well)
    home = well.certs_dir / ".certbotless" / DOMAIN / before.generation
    plant_in(home / "meta.json", not_after="2126-11-24T05:30:00Z")
    well.run()
    assert well.published.generation == refused.generation


def test_where_nothing_is_known_the_one_before_is_ours_only_if_it_is_true_of_its_certificate(
    well: Scene,
) -> None:
    well.clock.advance(3600)
    well.publish()
    well.start()
    found = well.published
    plant_in(meta_of(well).parents[1] / found.previous / "meta.json", not_after="2126-11-24T05:30:00Z")
    well.file.change(generations={})
    assert well.run().state == "ok"
    assert well.state.generations == {found.generation: found.digest, found.previous: ""}


def test_a_copy_is_made_of_nothing_that_others_have_changed(well: Scene) -> None:
    well.file.set_pair_aside()
    plant_other_pair(well)
    well.keys["deploy"] = []
    well.run()
    assert not well.file.has_pair
    assert well.asked_the_ca  # nothing is left to restore from


@pytest.mark.process
def test_a_publication_that_is_killed_at_any_step_is_known_before_and_after(
    tmp_path: Path, scene: Scene
) -> None:
    """What `current` leads to is always in the state: the digest is written before the swap."""
    scene.publish()
    facts, origin = scene.published.facts, scene.published.origin
    assert facts is not None
    assert origin is not None

    def publish(home: Path) -> None:
        file = SiteFile(home / "state", DOMAIN)
        later = replace(facts, sha256="cd" * 32)
        now = EPOCH + timedelta(hours=1)
        Store(home / "certs", DOMAIN).publish(b"chain", b"key", later, origin, now, file.note_generation)

    def home_of(step: int) -> Path:
        return tmp_path / f"home{step}"

    def prepare(step: int) -> Callable[[], None]:
        home = home_of(step)
        for folder in (scene.certs_dir, scene.state_dir):
            shutil.copytree(folder, home / folder.name, symlinks=True)
        return lambda: publish(home)

    seen = set()
    for step, code in enumerate(at_each_step(prepare, kill), 1):
        home = home_of(step)
        published = Store(home / "certs", DOMAIN).look(SiteFile(home / "state", DOMAIN).load().generations)
        assert (code == DONE, published.is_intact, published.fault) == (False, True, "")
        seen.add(published.facts == facts)
    assert seen == {True, False}
