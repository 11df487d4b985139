"""What is on its way to people: who lacks what; what a full disk, damage and a dead receiver make of it."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from fakes import EPOCH, FakeClock
from test_news import broken
from views import site, view

from certbotless import configfile, delivery, outbox
from certbotless.clock import Clock
from certbotless.config import Config
from certbotless.errors import NotifyError, StoreError
from certbotless.locks import Lock
from certbotless.look import View
from certbotless.news import Facts, Message
from certbotless.outbox import load
from certbotless.redact import Redactor

DOMAIN = "devbox.sweetlove.top"
FIRST, SECOND = "json://first.example.com/PlantedCanary1", "json://second.example.com/PlantedCanary2"


@dataclass
class Post:
    """An outbox on disk, the time, and receivers that fail as long as they are dead.

    Attributes:
        got: URL and subject of each message that arrived, in order.
        on_sent: called when one has arrived.
    """

    home: Path
    clock: FakeClock = field(default_factory=FakeClock)
    dead: set[str] = field(default_factory=set)
    got: list[tuple[str, str]] = field(default_factory=list)
    on_sent: Callable[[], object] = lambda: None
    urls: list[str] = field(default_factory=lambda: [FIRST, SECOND])

    @property
    def config(self) -> Config:
        text = {
            "aliyun": {"access_key_id": "id", "access_key_secret": "PlantedCanarySecret"},
            "state_dir": str(self.home / "state"),
            "notify": self.urls,
            "sites": [{"domain": DOMAIN}],
        }
        return configfile.parse(json.dumps(text).encode(), "c.yaml")

    @property
    def file(self) -> Path:
        return self.home / "state" / "notify.json"

    def look(self, shown: View, **fields: object) -> bool:
        """Look once, as a run without a daemon does, and return whether something is to be sent."""
        facts = Facts(self.clock.now(), frozenset({DOMAIN, shown.site.domain}), [shown], {}, **fields)  # type: ignore[arg-type]
        return outbox.look(self.config, facts, timedelta())

    def deliver(self) -> None:
        delivery.deliver(self.config, outbox.receivers(self.config), self.send, self.clock)

    def send(self, url: str, message: Message, _: Clock) -> None:
        if url in self.dead:
            raise NotifyError("the service is down", hint="look there")
        self.got.append((url, message.subject.partition(": ")[2]))
        self.on_sent()

    def advance(self, **span: float) -> None:
        self.clock.advance(timedelta(**span).total_seconds())


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path)


BROKEN, OVER = f"{DOMAIN}: deploy failed", f"{DOMAIN}: over: deploy failed"


# --- who lacks what -----------------------------------------------------------------------------------------


def test_each_receiver_is_told_once(post: Post) -> None:
    assert post.look(broken())
    post.deliver()
    assert sorted(post.got) == [(FIRST, BROKEN), (SECOND, BROKEN)]
    assert not post.look(broken())
    post.deliver()
    assert len(post.got) == 2


def test_looks_at_what_stands_write_nothing(post: Post) -> None:
    post.look(broken())
    post.deliver()
    before = post.file.stat()
    for _ in range(3):
        post.advance(minutes=1)
        assert not post.look(broken())
    assert post.file.stat().st_ino == before.st_ino


def test_a_dead_receiver_holds_nobody_up_and_nobody_is_told_twice_for_it(post: Post) -> None:
    post.dead = {FIRST}
    post.look(broken())
    post.deliver()
    assert post.got == [(SECOND, BROKEN)]
    post.look(view())
    post.deliver()
    assert post.got == [(SECOND, BROKEN), (SECOND, OVER)]
    post.dead = set()
    post.advance(minutes=2)
    assert post.look(view())
    post.deliver()
    assert post.got[2:] == [(FIRST, BROKEN), (FIRST, OVER)]
    assert not post.look(view())


def test_what_is_new_is_tried_at_once_however_long_a_receiver_has_been_dead(post: Post) -> None:
    """The Internet may be back since, and this is what nobody has heard of yet."""
    post.dead = {FIRST, SECOND}
    post.look(broken())
    for _ in range(3):
        post.deliver()
        post.advance(minutes=10)
    assert not post.look(broken())
    post.dead = set()
    assert post.look(view())
    post.deliver()
    assert [subject for url, subject in post.got if url == FIRST] == [BROKEN, OVER]


def test_a_dead_receiver_is_tried_after_1_and_10_minutes_then_hourly(post: Post) -> None:
    post.dead = {FIRST, SECOND}
    post.look(broken())
    waits = []
    for _ in range(6):
        post.deliver()
        kept = load(post.home / "state", post.clock.now())
        assert not kept.due(post.clock.now())
        failure = kept.last_failure
        assert failure is not None
        waits.append(failure.retry_at - failure.at)
        post.clock.advance(waits[-1].total_seconds())
        assert kept.due(post.clock.now())
    assert waits == [timedelta(minutes=n) for n in (1, 10, 60, 60, 60, 60)]


def test_what_nobody_took_for_a_week_is_dropped(post: Post) -> None:
    post.dead = {FIRST, SECOND}
    post.look(view())
    post.look(broken())
    post.deliver()
    post.advance(days=7)
    post.look(broken())
    (left,) = load(post.home / "state", post.clock.now()).unsent
    assert left.message.subject.endswith("still: deploy failed")


def test_a_hundred_are_kept_at_most(post: Post) -> None:
    post.dead = {FIRST, SECOND}
    for i in range(120):
        post.look(broken(of=site(f"box{i}.sweetlove.top")))
        post.advance(hours=1)
    kept = load(post.home / "state", post.clock.now()).unsent
    assert len(kept) == 100
    assert "box119" in kept[-1].message.subject
    assert post.file.stat().st_size < 100_000


def test_a_receiver_that_the_file_names_no_more_is_forgotten(post: Post) -> None:
    post.dead = {FIRST}
    post.look(broken())
    post.deliver()
    post.urls = [SECOND]
    assert not post.look(broken())
    kept = load(post.home / "state", post.clock.now())
    assert (kept.unsent, dict(kept.failures)) == ((), {})


def test_a_url_that_cannot_be_read_for_a_moment_loses_nothing(post: Post) -> None:
    """As while a token is replaced: what waits for it, and the book where it is the only one."""
    url = post.home / "url"
    url.write_text(FIRST)
    post.urls = [f"file:{url}", SECOND]
    post.look(broken())
    url.rename(post.home / "away")
    assert post.look(broken())
    post.deliver()
    assert post.got == [(SECOND, BROKEN)]
    assert not post.look(broken())
    (post.home / "away").rename(url)
    assert post.look(broken())
    post.deliver()
    assert post.got == [(SECOND, BROKEN), (FIRST, BROKEN)]
    url.rename(post.home / "away")
    post.urls = [f"file:{url}"]
    before = post.file.read_bytes()
    assert not post.look(view())
    assert post.file.read_bytes() == before
    (post.home / "away").rename(url)
    assert post.look(view())


def test_who_could_read_the_secrets_before_says_whom_to_tell(post: Post) -> None:
    """As a command that root has started, and which is another user by then."""
    url, secret = post.home / "url", "PlantedCanaryOfRoot"
    url.write_text(FIRST)
    post.urls = [f"file:{url}"]
    config = post.config
    whom, redact = outbox.receivers(config), Redactor([secret])
    url.unlink()
    facts = Facts(post.clock.now(), frozenset({DOMAIN}), [broken(f"it says {secret}")], {})
    assert outbox.look(config, facts, timedelta(), whom, redact)
    delivery.deliver(config, whom, post.send, post.clock)
    assert post.got == [(FIRST, BROKEN)]
    assert secret not in post.file.read_text()


def test_no_book_is_begun_by_a_clock_that_is_wrong(post: Post) -> None:
    """One without a battery starts in 1970, and all that was ever issued is later."""
    post.clock.advance(-timedelta(days=56 * 365).total_seconds())
    assert not post.look(view())
    assert not post.file.exists()
    post.clock.advance(timedelta(days=56 * 365).total_seconds())
    assert not post.look(view())
    assert post.file.exists()


def test_a_new_receiver_is_told_what_comes(post: Post) -> None:
    post.urls = [FIRST]
    post.look(broken())
    post.deliver()
    post.urls = [FIRST, SECOND]
    assert not post.look(broken())
    post.look(view())
    post.deliver()
    assert sorted(post.got) == [(FIRST, BROKEN), (FIRST, OVER), (SECOND, OVER)]


def test_who_finds_another_at_it_leaves_it_to_him(post: Post) -> None:
    post.look(broken())
    with Lock(post.home / "state" / "notify.lock", post.clock, 0):
        with pytest.raises(StoreError, match="still locked"):
            post.deliver()
        with pytest.raises(StoreError, match="still locked"):
            post.look(view())
    assert post.got == []
    post.look(view())
    post.deliver()
    assert [subject for url, subject in post.got if url == FIRST] == [BROKEN, OVER]


# --- the file -----------------------------------------------------------------------------------------------


def test_no_secret_stands_in_the_file_and_only_its_owner_reads_it(post: Post) -> None:
    post.dead = {FIRST}
    post.look(broken(f"it was refused: PlantedCanarySecret {SECOND}"))
    post.deliver()
    text = post.file.read_text()
    assert "PlantedCanary" not in text
    assert "example.com" not in text
    assert "notify[0] (json): the service is down" in text
    assert f"{post.file.stat().st_mode & 0o7777:04o}" == "0600"


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b'{"begun_at": 1}', b"\xff\xfe", b'{"a":' * 100_000],
    ids=["empty", "cut off", "a list", "null", "a number", "no text", "deep"],
)
def test_a_damaged_file_begins_anew_and_makes_nothing_old_news(damage: bytes, post: Post) -> None:
    post.look(view())
    post.file.write_bytes(damage)
    assert not post.look(view())
    assert post.look(broken())
    post.deliver()
    assert len(post.got) == 2


@pytest.mark.parametrize("key", ["begun_at", "certificates", "matters", "unsent", "failures", "last_sent"])
@pytest.mark.parametrize("value", [7, "x", [1], {"a": 1}])
def test_a_file_of_which_a_part_makes_no_sense_begins_anew(key: str, value: object, post: Post) -> None:
    post.look(broken())
    post.file.write_text(json.dumps(json.loads(post.file.read_text()) | {key: value}))
    assert load(post.home / "state", EPOCH).unsent == ()
    assert post.look(broken())


def test_a_number_beyond_all_measure_begins_anew(post: Post) -> None:
    post.look(broken())
    post.file.write_text(post.file.read_text().replace('"count": 1', '"count": 1e999'))
    assert "1e999" in post.file.read_text()
    assert post.look(broken())


def test_a_file_that_cannot_be_read_is_left_as_it_is(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody knows what it holds; status, which the page asks for again and again, is silent about it."""
    post.look(broken())
    held = post.file.rename(post.file.with_suffix(".held"))
    post.file.mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        post.look(broken())
    with pytest.raises(StoreError, match="cannot read"):
        post.deliver()
    assert outbox.kept(post.config) is None
    post.file.rmdir()
    held.rename(post.file)
    assert post.look(broken())
    post.file.write_bytes(b"{")
    caplog.clear()
    assert outbox.kept(post.config) is None
    assert caplog.records == []


def test_what_is_written_is_read_as_it_was(post: Post) -> None:
    post.dead = {FIRST}
    post.look(view())
    post.look(broken())
    post.deliver()
    kept = load(post.home / "state", post.clock.now())
    outbox.save(post.home / "state", kept)
    assert load(post.home / "state", post.clock.now()) == kept
    assert kept.book.matters
    assert kept.book.certificates
    assert kept.failures
    assert kept.unsent


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file of this process grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_cannot_be_written_down_is_not_sent_but_when_there_is_room_again(post: Post) -> None:
    """Else it would be sent at every look."""
    post.look(view())
    with no_room(), pytest.raises(StoreError, match="cannot write"):
        post.look(broken())
    assert post.look(broken())
    post.deliver()
    assert len(post.got) == 2


def test_what_could_not_be_crossed_out_is_not_sent_as_long_as_there_is_no_room(post: Post) -> None:
    """The disk is full by the time that the message is there: it is sent once more, when that is over."""
    post.urls = [FIRST]
    post.look(broken())
    with ExitStack() as full:
        post.on_sent = lambda: full.enter_context(no_room())
        with pytest.raises(StoreError):
            post.deliver()
        for _ in range(3):
            with pytest.raises(StoreError):
                post.deliver()
        assert post.got == [(FIRST, BROKEN)]
        for _ in range(3):
            with pytest.raises(StoreError):
                post.look(broken())  # so nobody is started to send
    post.on_sent = lambda: None
    post.deliver()
    post.deliver()
    assert post.got == [(FIRST, BROKEN)] * 2


# --- status -------------------------------------------------------------------------------------------------


def test_status_has_how_many_lack_something_and_why(post: Post) -> None:
    assert outbox.kept(post.config) is not None
    post.look(view())
    shown = load(post.home / "state", EPOCH).to_json()
    assert shown == {"unsent": 0, "last_sent": None, "last_error": None}
    post.dead = {FIRST}
    post.look(broken())
    post.deliver()
    assert load(post.home / "state", EPOCH).to_json() == {
        "unsent": 1,
        "last_sent": "2026-11-24T05:30:00Z",
        "last_error": {
            "at": "2026-11-24T05:30:00Z",
            "what": "notify[0] (json): the service is down",
            "hint": "look there",
            "retry_at": "2026-11-24T05:31:00Z",
        },
    }
    post.urls = []
    assert outbox.kept(post.config) is None
