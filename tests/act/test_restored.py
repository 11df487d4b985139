"""What a run restores: files that are gone, that another program writes, or whose mode is another one."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.fakes import EPOCH
from support.scenes import DAY, DOMAIN, HOUR, NOTHING_ASKED, RENEW_NOW, Scene, failed_with


def overwrite(scene: Scene) -> None:
    """Let another program write its own key where ours is."""
    path = scene.certs_dir / f"{DOMAIN}.key"
    path.unlink(missing_ok=True)
    path.write_text("of another tool")


def edit(scene: Scene) -> None:
    """Let somebody edit the published pair itself."""
    (scene.certs_dir / f"{DOMAIN}.pem").resolve().write_text("edited")


@pytest.mark.parametrize("write", [overwrite, edit])
def test_a_second_writer_is_given_way_to_after_three_times_a_day(
    scene: Scene, write: Callable[[Scene], None]
) -> None:
    """It is told of with a hint; nothing is ordered, nothing restarted, and a day later it is tried again."""
    scene.remember()
    scene.point()
    scene.file.save_pair(scene.publish())
    scene.start()
    for _ in range(3):
        write(scene)
        assert scene.run().state == "ok"
        scene.clock.advance(HOUR.total_seconds())
    restarts = list(scene.engine.restarts)
    write(scene)
    outcome = scene.run()
    assert outcome.state == "failing"
    assert "again: certbotless restored it 3 times within a day" in failed_with(outcome)
    failure = scene.state.failures["restore"]
    assert "find the program that writes there" in failure.hint
    assert failure.retry_at == EPOCH + DAY
    assert scene.run().state == "failing"
    assert (scene.engine.restarts, scene.asked_the_ca) == (restarts, False)
    scene.wait_for_retry("restore")
    assert scene.run().state == "ok"
    assert scene.state.failures == {}


@pytest.mark.parametrize("is_edited", [True, False], ids=["an edit of the file", "a command"])
def test_a_person_lets_a_second_writer_be_replaced_at_once(scene: Scene, is_edited: bool) -> None:
    scene.make_well()
    scene.remember(restored=(EPOCH, EPOCH, EPOCH))
    overwrite(scene)
    assert scene.run().state == "failing"
    scene.keys["ttl"] = 700 if is_edited else 600
    outcome = scene.run(NOTHING_ASKED if is_edited else replace(RENEW_NOW, ignore_backoff=True))
    assert (scene.certs_dir / f"{DOMAIN}.key").is_symlink()
    assert (outcome.state == "ok") == is_edited


def test_what_is_merely_gone_is_put_back_each_time(scene: Scene) -> None:
    """There is nobody to fight with, and a folder that is empty after each reboot must be filled."""
    scene.make_well()
    scene.remember()
    for _ in range(5):
        (scene.certs_dir / f"{DOMAIN}.key").unlink()
        assert scene.run().state == "ok"
    assert scene.state.restored == ()


def test_a_run_begins_with_what_a_killed_one_has_left(scene: Scene) -> None:
    scene.make_well()
    scene.remember()
    scene.file.save_order_key(b"key")
    left = [
        scene.state_dir / "sites" / f".{DOMAIN}.json.0123456789abcdef",
        scene.certs_dir / f".{DOMAIN}.pem.0123456789abcdef",
        scene.certs_dir / ".certbotless" / DOMAIN / ".current.trial.0123456789abcdef",
    ]
    for path in left:
        path.write_bytes(b"left")
    half = scene.certs_dir / ".certbotless" / DOMAIN / "20261124T053000Z-01234567"
    half.mkdir()
    (half / "privkey.pem").write_bytes(b"left")
    assert scene.run().state == "ok"
    assert [path for path in (*left, half) if path.exists()] == []
    assert scene.file.order_key() is None


# --- the mode of the key ----------------------------------------------------------------------------------


def mode_of_key(scene: Scene) -> str:
    return oct((scene.certs_dir / f"{DOMAIN}.key").stat().st_mode & 0o7777)


def test_an_edit_of_key_mode_takes_effect_by_itself(scene: Scene) -> None:
    """Of the key that is there already: no certificate is published, restarted or ordered for it."""
    scene.make_well()
    scene.run()
    before, done = scene.published.generation, len(scene.engine.restarts)
    for mode in ("0640", "0600"):
        scene.settings = {"key_mode": mode}
        assert scene.run().state == "ok"
        assert mode_of_key(scene) == f"0o{mode[1:]}"
    assert (scene.published.generation, len(scene.engine.restarts)) == (before, done)
    assert scene.state.restored == ()
    assert not scene.asked_the_ca


def test_a_key_whose_mode_cannot_be_set_is_reported_and_still_served(scene: Scene) -> None:
    """One with a second name is not ours alone."""
    scene.make_well()
    scene.run()
    (scene.certs_dir / "second").hardlink_to((scene.certs_dir / f"{DOMAIN}.key").resolve())
    scene.settings = {"key_mode": "0640"}
    outcome = scene.run()
    assert outcome.state == "failing"
    assert "this user may not set its mode" in failed_with(outcome)
    assert mode_of_key(scene) == "0o600"
    assert not [step for step in scene.state.failures if step.startswith("deploy")]
