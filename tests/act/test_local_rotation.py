"""The rotation of the local CA: by a command, by itself, and at once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.fakes import FakeClock, FakeZones
from support.scenes import ZONE, site_context

from certbotless.act import local_rotation
from certbotless.base.errors import AddressError, StoreError
from certbotless.config.settings import Config, LocalCaSettings, Site
from certbotless.state.local_ca import LocalCaFolder

DAY_S = 86400
YEARS_8 = 8 * 365.25 * DAY_S
# A network that no root permits by itself.
SHARED = "100.64.7.9"
GoOn = Callable[[], str | None]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    sites = Site(domain="devbox", ca="local"), Site(domain=f"devbox.{ZONE}", ca="local")
    return Config(sites=sites, state_dir=tmp_path)


@pytest.fixture
def folder(config: Config, clock: FakeClock) -> LocalCaFolder:
    folder = LocalCaFolder(config.state_dir)
    with folder.locked(clock):
        folder.make(local_rotation.made(config, clock.now()))
    return folder


@pytest.fixture
def go_on(folder: LocalCaFolder, clock: FakeClock, tmp_path: Path) -> GoOn:
    """Take the step that a check finds due, and return which one it was."""
    site = {"domain": f"devbox.{ZONE}", "ca": "local"}
    ctx = site_context(tmp_path, site, lambda _: FakeZones(), clock=clock, state_dir=str(tmp_path))

    def go_on() -> str | None:
        before = folder.seen(), folder.next()
        local_rotation.go_on(ctx)
        if folder.seen() != before[0]:
            return "switched"
        return "began" if folder.next() != before[1] else None

    return go_on


def test_the_next_root_is_made_once_and_signs_after_the_switch(
    folder: LocalCaFolder, config: Config, clock: FakeClock
) -> None:
    first = folder.seen()
    made, is_new = local_rotation.rotate(config, clock)
    assert is_new
    assert (folder.seen(), folder.next()) == (first, made)
    assert local_rotation.rotate(config, clock) == (made, False)
    assert local_rotation.switch(config, clock) == made
    assert (folder.seen(), folder.next()) == (made, None)
    with pytest.raises(StoreError, match="no next root"):
        local_rotation.switch(config, clock)


def test_the_next_root_permits_what_the_file_says_by_now(config: Config, clock: FakeClock) -> None:
    with pytest.raises(StoreError, match="no local CA"):
        local_rotation.rotate(config, clock)
    assert local_rotation.rotate_now(config, clock).forbids(["git"]) == ["git"]
    config = replace(config, sites=(*config.sites, Site(domain="git", ca="local")))
    made, _ = local_rotation.rotate(config, clock)
    assert made.forbids(["git", "devbox"]) == []
    config = replace(config, local_ca=LocalCaSettings(permit=("devbox", "10.79.40.0/24")))
    assert local_rotation.rotate_now(config, clock).permit == ("devbox", "10.79.40.0/24")


def test_at_four_fifths_of_its_life_the_next_root_is_made_and_90_days_later_it_signs(
    folder: LocalCaFolder, clock: FakeClock, go_on: GoOn
) -> None:
    first = folder.seen()
    clock.advance(YEARS_8 - DAY_S)
    assert go_on() is None
    clock.advance(DAY_S)
    assert go_on() == "began"
    assert folder.seen() == first
    clock.advance(89 * DAY_S)
    assert go_on() is None
    clock.advance(DAY_S)
    made = folder.next()
    assert go_on() == "switched"
    assert [root.facts for root in folder.roots() if root.role == "old"] == [first]
    assert (folder.seen(), folder.next(), go_on()) == (made, None, None)


def test_a_rotation_that_a_person_began_ends_by_itself(config: Config, clock: FakeClock, go_on: GoOn) -> None:
    made, _ = local_rotation.rotate(config, clock)
    clock.advance(90 * DAY_S)
    assert go_on() == "switched"
    assert LocalCaFolder(config.state_dir).seen() == made


def test_the_life_of_a_root_leaves_time_for_a_rotation_between_the_rarest_renewals(
    folder: LocalCaFolder, clock: FakeClock, go_on: GoOn
) -> None:
    """A site with certificates of 397 days renews after 265 days."""
    first = folder.seen()
    assert first is not None
    while folder.seen() == first:
        clock.advance(265 * DAY_S)
        go_on()
    assert clock.now() < first.not_after - timedelta(days=90)


def test_a_next_root_that_a_site_needs_more_than_does_not_take_over_and_is_made_again_on_demand(
    folder: LocalCaFolder, config: Config, clock: FakeClock
) -> None:
    """It is said which sites would fail, and by which names."""
    first = folder.seen()
    refused, _ = local_rotation.rotate(config, clock)
    more = Site(domain="git", ca="local", names=("git", "git.box")), Site(domain="ok.lan", ca="local")
    config = replace(config, sites=(*config.sites, *more))
    with pytest.raises(StoreError, match=r"^git would fail: .* for git, git\.box;") as caught:
        local_rotation.switch(config, clock)
    assert "trust rotate" in caught.value.hint
    assert "--now" not in caught.value.hint
    assert (folder.seen(), folder.next()) == (first, refused)
    made, is_new = local_rotation.rotate(config, clock)
    assert is_new
    assert local_rotation.rotate(config, clock) == (made, False)
    assert local_rotation.switch(config, clock) == made


@pytest.mark.row(107)
def test_the_lan_address_of_a_site_is_compared_too_and_a_new_root_permits_it(
    folder: LocalCaFolder, config: Config, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is not known, the names are enough; no root permits one of the Internet by itself."""
    local_rotation.rotate(config, clock)
    config = replace(config, sites=(*config.sites, Site(domain="nas.lan", ca="local", with_address=True)))
    address = {"now": SHARED}

    def address_of(_: object) -> str:
        if not address["now"]:
            raise AddressError("there is none")
        return address["now"]

    monkeypatch.setattr(local_rotation, "address_now", address_of)
    with pytest.raises(StoreError, match=rf"^nas\.lan would fail: .* for {SHARED};"):
        local_rotation.switch(config, clock)
    made, is_new = local_rotation.rotate(config, clock)
    assert is_new
    assert f"{SHARED}/32" in made.permit
    narrow = replace(config, local_ca=LocalCaSettings(permit=("lan", "devbox", "sweetlove.test")))
    local_rotation.rotate_now(narrow, clock)
    local_rotation.rotate(narrow, clock)
    with pytest.raises(StoreError, match=r"add that to local_ca\.permit"):
        local_rotation.switch(narrow, clock)
    made, _ = local_rotation.rotate(config, clock)
    address["now"] = ""
    assert local_rotation.switch(config, clock) == made
    address["now"] = "8.8.8.8"
    assert local_rotation.rotate_now(config, clock).forbids(["8.8.8.8"]) == ["8.8.8.8"]


@pytest.mark.row(107)
def test_a_damaged_next_root_is_made_again(
    folder: LocalCaFolder, config: Config, clock: FakeClock, go_on: GoOn
) -> None:
    """On demand, or by itself once the root is old: it has signed nothing."""
    first = folder.seen()
    for is_old in (False, True):
        local_rotation.rotate(config, clock)
        (folder.path / "next/issuing.key").write_bytes(b"")
        with pytest.raises(StoreError, match=r"next local CA .* is damaged") as caught:
            local_rotation.switch(config, clock)
        assert caught.value.hint == "make another one: certbotless trust rotate"
        if is_old:
            clock.advance(YEARS_8)
            assert go_on() == "began"
        else:
            clock.advance(91 * DAY_S)
            with pytest.raises(StoreError, match=r"next local CA .* is damaged"):
                go_on()
            assert local_rotation.rotate(config, clock)[1]
    assert folder.load_next() is not None
    assert folder.seen() == first


@pytest.mark.parametrize("days", [-2, 3700])
def test_a_root_that_is_not_valid_now_is_not_rotated_by_itself(
    clock: FakeClock, go_on: GoOn, days: int
) -> None:
    """The clock may be wrong."""
    clock.advance(days * DAY_S)
    assert go_on() is None


def test_a_next_root_of_a_wrong_clock_is_made_again(
    folder: LocalCaFolder, config: Config, clock: FakeClock
) -> None:
    first, wrong = folder.seen(), FakeClock(clock.now() + timedelta(days=400))
    dropped, _ = local_rotation.rotate(config, wrong)
    with pytest.raises(StoreError, match="not valid now"):
        local_rotation.switch(config, clock)
    made, is_new = local_rotation.rotate(config, clock)
    assert is_new
    assert local_rotation.switch(config, clock) == made
    assert [root.facts for root in folder.roots() if root.role == "old"] == [first, dropped]


@pytest.mark.row(103)
@pytest.mark.parametrize("is_gone", [True, False])
def test_a_ca_that_is_gone_or_damaged_is_made_again_when_that_is_asked_for(
    folder: LocalCaFolder, config: Config, clock: FakeClock, is_gone: bool
) -> None:
    path = folder.path / "issuing.key"
    path.unlink()
    if is_gone:
        folder.path.rename(config.state_dir / "elsewhere")
    with pytest.raises(StoreError, match=r"no local CA|is damaged"):
        local_rotation.rotate(config, clock)
    made = local_rotation.rotate_now(config, clock)
    loaded = folder.load()
    assert loaded is not None
    assert loaded.facts == made
