"""One key for all sites of a run: when it is fetched, and when another one is."""

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from support.fakes import FakeClock

from certbotless.base.clock import SystemClock
from certbotless.base.errors import DnsError, DnsUnavailable, Interrupted, KeyRefused
from certbotless.world.credentials.access import Key
from certbotless.world.credentials.fetched import FetchedKey

MINUTE = timedelta(minutes=1)


class Source:
    """A source whose next keys a test decides; without an answer it makes one that lives so long."""

    def __init__(self, lives: timedelta | None = timedelta(hours=1), *, is_temporary: bool = True) -> None:
        self.clock = FakeClock()
        self.lives, self.token = lives, "a token" if is_temporary else None
        self.fault: DnsError | Interrupted | None = None
        self.given: list[Key] = []
        self.asked = 0

    def __call__(self) -> Key:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        ends_at = None if self.lives is None else self.clock.now() + self.lives
        self.given.append(Key(f"STS.{self.asked}", "secret", self.token, ends_at))
        return self.given[-1]

    def kept(self, learn: Callable[[Key], None] = lambda key: None) -> FetchedKey:
        return FetchedKey(self, self.clock, "see the source", learn)


def test_it_is_fetched_when_it_is_first_needed_and_once() -> None:
    source = Source()
    learnt: list[Key] = []
    kept = source.kept(learnt.append)
    assert source.asked == 0
    assert kept.key() is kept.key() is source.given[0]
    assert (source.asked, learnt) == (1, source.given)


@pytest.mark.parametrize(
    ("lives", "used"),
    [
        (timedelta(hours=6), timedelta(hours=5, minutes=55)),
        (timedelta(minutes=15), timedelta(minutes=10)),
        (timedelta(minutes=10), timedelta(minutes=5)),
        (timedelta(minutes=4), timedelta(minutes=2)),
        (timedelta(seconds=20), timedelta(seconds=10)),
    ],
)
def test_it_is_used_until_five_minutes_or_half_of_its_life_are_left(
    lives: timedelta, used: timedelta
) -> None:
    source = Source(lives)
    kept = source.kept()
    kept.key()
    source.clock.advance(used.total_seconds() - 1)
    assert kept.key() is source.given[0]
    source.clock.advance(1)
    assert kept.key() is source.given[1]


def test_one_without_an_end_is_used_for_the_whole_run() -> None:
    source = Source(lives=None)
    kept = source.kept()
    kept.key()
    source.clock.advance(1e6)
    assert kept.key() is source.given[0]


@pytest.mark.row(114)
@pytest.mark.parametrize(
    "fault", [DnsUnavailable("down"), KeyRefused("gone"), Interrupted("asked to stop")], ids=lambda f: f.kind
)
def test_where_no_other_comes_it_is_used_until_its_end(
    fault: DnsError | Interrupted, caplog: pytest.LogCaptureFixture
) -> None:
    """What is begun can be ended: a TXT record is deleted also while the source is away."""
    source = Source(10 * MINUTE)
    kept = source.kept()
    kept.key()
    source.fault = fault
    source.clock.advance(9.9 * 60)
    assert kept.key() is source.given[0]
    assert "key.not_renewed" in caplog.text
    source.clock.advance(0.2 * 60)
    with pytest.raises(type(fault)):
        kept.key()
    source.fault = None
    source.clock.advance(60)
    assert kept.key() is source.given[1]


def test_the_same_key_once_more_is_asked_for_again_ever_sooner() -> None:
    """A metadata service gives the same one until shortly before its end."""
    source = Source(10 * MINUTE)
    kept = source.kept()
    first = kept.key()
    source.clock.advance(5 * 60)
    source.lives = 5 * MINUTE
    assert kept.key().ends_at == first.ends_at
    asked = 0
    while source.clock.now() < (first.ends_at or source.clock.now()):
        source.lives = (first.ends_at or source.clock.now()) - source.clock.now()
        kept.key()
        source.clock.advance(1)
        asked += 1
    assert asked == 300
    assert source.asked < 15


@pytest.mark.row(113)
def test_a_source_that_fails_is_asked_once_for_all_sites() -> None:
    """Each may take half a minute, and twenty sites would wait one after another."""
    source = Source()
    source.fault = DnsUnavailable("down", hint="see the source")
    kept = source.kept()
    for _ in range(20):
        with pytest.raises(DnsUnavailable, match="down"):
            kept.key()
    assert source.asked == 1
    source.clock.advance(15)
    source.fault = None
    assert kept.key() is source.given[0]


def test_where_a_stop_has_ended_a_fetch_no_other_site_begins_one() -> None:
    """Each would notice the stop only after 2 s, and all sites wait one after another."""
    source = Source()
    source.fault = Interrupted("asked to stop")
    kept = source.kept()
    for _ in range(8):
        with pytest.raises(Interrupted):
            kept.key()
    assert source.asked == 1


def test_after_a_stop_a_quick_source_still_gives_a_key() -> None:
    """What was made is deleted, also with a key that has ended meanwhile."""
    clock = SystemClock()
    clock.stop()
    key = Key("STS.1", "secret", "token", clock.now() + MINUTE)
    assert FetchedKey(lambda: key, clock, "", lambda key: None).key() is key


def test_many_threads_share_one_key() -> None:
    source = Source()
    kept, found = source.kept(), []
    threads = [threading.Thread(target=lambda: found.append(kept.key())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.asked == 1
    assert set(map(id, found)) == {id(source.given[0])}


# --- a key that the API refuses -----------------------------------------------------------------------------


def test_one_that_the_api_does_not_know_any_more_is_replaced_once_for_all_sites() -> None:
    source = Source()
    kept = source.kept()
    first = kept.key()
    other = kept.instead_of(first)
    assert other is source.given[1]
    assert kept.instead_of(first) is other  # another site, with the same old one
    assert kept.key() is other
    assert source.asked == 2


def test_the_same_key_again_is_no_other() -> None:
    source = Source()
    kept = source.kept()
    first = kept.key()
    source.asked -= 1  # it makes the same once more
    assert kept.instead_of(first) is None


def test_a_key_that_is_not_temporary_is_not_replaced() -> None:
    """To fetch one may be to make one, as Vault does; the API's no is the answer."""
    source = Source(lives=None, is_temporary=False)
    kept = source.kept()
    assert kept.instead_of(kept.key()) is None
    assert source.asked == 1


# --- what a key may do --------------------------------------------------------------------------------------


class Limits:
    def __init__(self) -> None:
        self.zones: set[str] = set()

    def allow(self, zones: Iterable[str]) -> bool:
        before = set(self.zones)
        self.zones |= set(zones)
        return self.zones != before


def test_a_zone_that_comes_to_the_others_is_for_the_next_key() -> None:
    source = Source()
    kept = FetchedKey(source, source.clock, "", lambda key: None, Limits())
    kept.allow(["example.com"])
    assert kept.key() is source.given[0]
    kept.allow(["example.com"])
    assert kept.key() is source.given[0]
    kept.allow(["throwaway.test"])
    assert kept.key() is source.given[1]
