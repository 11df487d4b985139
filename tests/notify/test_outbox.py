"""What each receiver is sent, where receivers fail, processes are killed, and files are damaged."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.conditions import BROKEN, DOMAIN, OVER, broken
from support.fakes import FakeClock
from support.views import view

from certbotless.base.checked import dump, of_json
from certbotless.base.clock import Clock
from certbotless.base.errors import Interrupted, NotifyError, StoreError
from certbotless.config import load
from certbotless.config.redact import Redactor
from certbotless.config.settings import Config
from certbotless.model.view import View
from certbotless.notify import alerts, outbox
from certbotless.notify.alerts import Steady
from certbotless.notify.message import Message
from certbotless.notify.outbox import Post, Receiver

FIRST, SECOND = "json://first.example.com/PlantedCanary1", "json://second.example.com/PlantedCanary2"
DAY = timedelta(days=1)


class Killed(BaseException):
    """Ends the process, as far as the code under test can see."""


@dataclass
class Mail:
    """A configuration with two receivers, the time, and what arrives.

    Attributes:
        down: the URLs that take nothing.
        got: URL and subject of each message that arrived; `tries` is when one was sent.
        on_sent: called when one has arrived.
    """

    home: Path
    clock: FakeClock = field(default_factory=FakeClock)
    urls: list[str] = field(default_factory=lambda: [FIRST, SECOND])
    down: set[str] = field(default_factory=set)
    got: list[tuple[str, str]] = field(default_factory=list)
    tries: list[datetime] = field(default_factory=list)
    on_sent: Callable[[], object] = lambda: None

    @property
    def config(self) -> Config:
        text = {
            "aliyun": {"access_key_id": "id", "access_key_secret": "PlantedCanarySecret"},
            "state_dir": str(self.home / "state"),
            "notify": self.urls,
            "sites": [{"domain": DOMAIN}],
        }
        return load.parse(json.dumps(text).encode(), "c.yaml")

    @property
    def file(self) -> Path:
        return self.home / "state" / "notify.json"

    @property
    def status(self) -> dict[str, object]:
        history = outbox.history_of(self.config)
        assert history is not None
        return history.to_json()

    def due(self, shown: View, to: list[Receiver] | None = None, redact: Redactor | None = None) -> Post:
        """Look once, as a run without a daemon does, and return what is to be sent."""
        found = alerts.conditions(self.clock.now(), [DOMAIN], [shown], {})
        return outbox.due(self.config, found, Steady(), timedelta(), to, redact)

    def look(self, shown: View) -> list[tuple[str, str]]:
        """Look once, send what is due as another process does, and return what arrived."""
        self.got.clear()
        post = self.due(shown)
        if post.letters:
            outbox.deliver(of_json(Post, dump(post)), self.send, self.clock)
        return sorted(self.got)

    def send(self, url: str, message: Message, _: Clock) -> None:
        self.tries.append(self.clock.now())
        if url in self.down:
            raise NotifyError("the service is down", hint="look there")
        self.got.append((url, message.subject.partition(": ")[2]))
        self.on_sent()

    def advance(self, **span: float) -> None:
        self.clock.advance(timedelta(**span).total_seconds())


@pytest.fixture
def mail(tmp_path: Path) -> Mail:
    (tmp_path / "state").mkdir()
    return Mail(tmp_path)


# --- who is sent what ---------------------------------------------------------------------------------------


def test_each_receiver_is_told_once_and_looks_at_the_same_write_nothing(mail: Mail) -> None:
    assert mail.look(broken()) == [(FIRST, BROKEN), (SECOND, BROKEN)]
    before = mail.file.stat()
    for _ in range(3):
        mail.advance(minutes=1)
        assert mail.look(broken()) == []
    assert mail.file.stat().st_ino == before.st_ino
    assert mail.look(view()) == [(FIRST, OVER), (SECOND, OVER)]


def test_a_url_that_is_named_twice_is_one_receiver(mail: Mail) -> None:
    mail.urls = [FIRST, FIRST]
    assert mail.look(broken()) == [(FIRST, BROKEN)]
    assert mail.look(broken()) == []


def test_a_receiver_that_is_down_holds_nobody_up_and_is_told_when_it_is_back(mail: Mail) -> None:
    mail.down = {FIRST}
    assert mail.look(broken()) == [(SECOND, BROKEN)]
    assert mail.look(broken()) == []
    mail.down = set()
    assert mail.look(broken()) == []
    mail.advance(minutes=1)
    assert mail.look(broken()) == [(FIRST, BROKEN)]
    assert mail.look(view()) == [(FIRST, OVER), (SECOND, OVER)]


def test_what_is_over_before_a_receiver_is_back_is_no_message_to_it(mail: Mail) -> None:
    """And status has the failure for a day, not for ever."""
    mail.down = {FIRST}
    mail.look(broken())
    assert mail.look(view()) == [(SECOND, OVER)]
    assert mail.status["unsent"] == 1
    mail.down = set()
    mail.advance(days=1)
    assert mail.look(view()) == []
    assert (mail.status["unsent"], mail.status["last_error"]) == (0, None)


def test_a_problem_that_comes_and_goes_does_not_use_up_the_tries_of_a_receiver_that_is_down(
    mail: Mail,
) -> None:
    mail.urls, mail.down = [FIRST], {FIRST}
    for _ in range(12 * 60):
        mail.look(broken())
        mail.look(view())
        mail.advance(minutes=1)
    assert len(mail.tries) == 14
    mail.down = set()
    mail.advance(hours=1)
    assert mail.look(broken()) == [(FIRST, BROKEN)]


@pytest.mark.long
def test_a_receiver_that_is_down_is_tried_24_times_a_day(mail: Mail) -> None:
    """After 1 and 10 minutes, then hourly; and when it is back, it is told what still holds."""
    mail.urls, mail.down = [FIRST], {FIRST}
    for _ in range(3 * 24 * 60):
        mail.look(broken())
        mail.advance(minutes=1)
    waits = [b - a for a, b in zip(mail.tries, mail.tries[1:], strict=False)]
    assert waits[:6] == [timedelta(minutes=n) for n in (1, 10, 60, 60, 60, 60)]
    assert max(sum(timedelta() <= b - a < DAY for b in mail.tries) for a in mail.tries) == 24
    assert mail.status["unsent"] == 1
    mail.down = set()
    mail.advance(hours=2)
    assert mail.look(broken()) == [(FIRST, BROKEN)]


def test_who_is_killed_after_each_message_sends_24_a_day_at_most(mail: Mail) -> None:
    """It cannot know what arrived, so it sends again; what still holds is not lost."""

    def kill() -> None:
        raise Killed

    mail.urls, mail.on_sent = [FIRST], kill
    for _ in range(60):
        with suppress(Killed):
            mail.look(broken())
        mail.advance(minutes=1)
    assert len(mail.tries) == 24
    mail.on_sent = lambda: None
    mail.advance(days=1)
    assert mail.look(broken()) == [(FIRST, BROKEN)]
    assert mail.look(broken()) == []


def test_who_is_asked_to_stop_while_it_sends_sends_at_the_next_look(mail: Mail) -> None:
    def stop() -> None:
        raise Interrupted("stop")

    mail.urls, mail.on_sent = [FIRST], stop
    mail.look(broken())
    assert mail.status == {"unsent": 0, "last_sent": None, "last_error": None}
    mail.on_sent = lambda: None
    assert mail.look(broken()) == [(FIRST, BROKEN)]


def test_a_receiver_that_is_gone_is_forgotten_and_a_new_one_is_told_what_holds(mail: Mail) -> None:
    mail.down = {FIRST}
    mail.look(broken())
    third = "json://third.example.com"
    mail.urls = [SECOND, third]
    assert mail.look(broken()) == [(third, BROKEN)]
    assert (mail.status["unsent"], mail.status["last_error"]) == (0, None)


def test_a_url_that_cannot_be_read_for_a_moment_loses_nothing(mail: Mail) -> None:
    """As while a token is replaced."""
    url, away = mail.home / "url", mail.home / "away"
    url.write_text(FIRST)
    mail.urls = [f"file:{url}", SECOND]
    mail.look(broken())
    url.rename(away)
    mail.urls = [f"file:{url}"]
    before = mail.file.read_bytes()
    assert mail.look(view()) == []
    assert mail.file.read_bytes() == before
    mail.urls = [f"file:{url}", SECOND]
    assert mail.look(view()) == [(SECOND, OVER)]
    away.rename(url)
    assert mail.look(view()) == [(FIRST, OVER)]


def test_a_caller_that_could_read_the_secrets_hands_them_in(mail: Mail) -> None:
    """As a command that root has started, and which is another user by then."""
    url, secret = mail.home / "url", "PlantedCanaryOfRoot"
    url.write_text(FIRST)
    mail.urls = [f"file:{url}"]
    to, redact = outbox.receivers(mail.config), Redactor([secret])
    url.unlink()
    (letter,) = mail.due(broken(f"it says {secret}"), to, redact).letters
    assert letter.receiver.url == FIRST
    assert "it says ***" in letter.message.body


@pytest.mark.parametrize("jump", [timedelta(days=60), -timedelta(hours=2), -timedelta(days=56 * 365)])
def test_a_clock_that_jumps_loses_nothing_and_makes_no_flood(jump: timedelta, mail: Mail) -> None:
    mail.urls = [FIRST]
    mail.look(broken())
    for span in (jump, -jump):
        mail.clock.advance(span.total_seconds())
        told = [each for _ in range(30) for each in mail.look(broken())]
        assert told in ([], [(FIRST, f"{DOMAIN}: still: deploy failed")])
    assert mail.look(view()) == [(FIRST, OVER)]


# --- the file -----------------------------------------------------------------------------------------------


def test_no_secret_is_in_the_file_nor_in_a_text_of_what_is_sent(mail: Mail) -> None:
    mail.down = {FIRST}
    shown = broken(f"it was refused: PlantedCanarySecret {SECOND}")
    post = mail.due(shown)
    assert all("PlantedCanary" not in letter.message.body for letter in post.letters)
    assert "PlantedCanary" not in repr(post)
    mail.look(shown)
    text = mail.file.read_text()
    assert "PlantedCanary" not in text
    assert "example.com" not in text
    assert "notify[0] (json): the service is down" in text
    assert f"{mail.file.stat().st_mode & 0o7777:04o}" == "0600"


DAMAGED = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":' * 100_000, b'{"receivers": 7}']
KEYS = (b"tries", b"last_at", b"problems", b"certificates", b"failure")
DAMAGED += [
    b'{"receivers": {"x": {"%b": %b}}}' % (key, value)
    for key in KEYS
    for value in (b'"x"', b"[1e999]", b"7e7")
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_file_that_makes_no_sense_begins_anew(damage: bytes, mail: Mail) -> None:
    """What still holds is told once more, and nothing else."""
    mail.look(broken())
    mail.file.write_bytes(damage)
    assert mail.look(broken()) == [(FIRST, BROKEN), (SECOND, BROKEN)]
    assert mail.look(broken()) == []


def test_a_file_with_content_that_nobody_wrote_is_read_as_far_as_it_makes_sense(mail: Mail) -> None:
    mail.urls = [FIRST]
    mail.look(broken())
    history = json.loads(mail.file.read_text())
    (sent,) = history["receivers"].values()
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
    odd: dict[str, object] = {"began_at": first, "is_on": True, "at": [last]}
    names = ["", " ", "x", "a b c", f"{DOMAIN} nothing", f"{DOMAIN} order", " config"]
    sent["problems"] |= dict.fromkeys(names, odd) | {f"{DOMAIN} record": {**odd, "at": []}}
    sent["certificates"] = {"": first, DOMAIN: last}
    mail.file.write_text(json.dumps(history))
    assert mail.look(broken()) == [(FIRST, "solved: an edit of the configuration is refused (and 2 more)")]
    assert mail.look(broken()) == []
    assert mail.look(view()) == [(FIRST, OVER)]


def test_a_file_that_makes_no_sense_is_logged_once(mail: Mail, caplog: pytest.LogCaptureFixture) -> None:
    """Not by status, which the page asks for again and again."""
    mail.look(view())
    mail.file.write_bytes(b"{")
    assert outbox.history_of(mail.config) is None
    assert caplog.records == []
    mail.look(view())
    mail.look(view())
    assert [record.message.split()[0] for record in caplog.records] == ["notify.unreadable"]


def test_a_file_that_cannot_be_read_is_left_as_it_is(mail: Mail) -> None:
    """Nobody knows what it holds."""
    mail.look(broken())
    held = mail.file.rename(mail.file.with_suffix(".held"))
    mail.file.mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        mail.look(broken())
    assert outbox.history_of(mail.config) is None
    mail.file.rmdir()
    held.rename(mail.file)
    assert mail.look(broken()) == []


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file of this process grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_cannot_be_written_down_is_not_sent_but_when_there_is_room_again(mail: Mail) -> None:
    """Else it would be sent at every look. Where the disk is full after the sending, it is sent twice."""
    mail.urls = [FIRST]
    for _ in range(3):
        with no_room(), pytest.raises(StoreError, match="cannot write"):
            mail.look(broken())
    assert mail.tries == []
    with ExitStack() as full:
        mail.on_sent = lambda: full.enter_context(no_room())
        for _ in range(3):
            with pytest.raises(StoreError, match="cannot write"):
                mail.look(broken())
        assert len(mail.tries) == 1
    mail.on_sent = lambda: None
    assert mail.look(broken()) == [(FIRST, BROKEN)]
    assert mail.look(broken()) == []


def test_status_has_how_many_tries_failed_last_and_why(mail: Mail) -> None:
    assert mail.status == {"unsent": 0, "last_sent": None, "last_error": None}
    mail.down = {FIRST}
    mail.look(broken())
    assert mail.status == {
        "unsent": 1,
        "last_sent": "2026-11-24T05:30:00Z",
        "last_error": {
            "at": "2026-11-24T05:30:00Z",
            "what": "notify[0] (json): the service is down",
            "hint": "look there",
            "retry_at": "2026-11-24T05:31:00Z",
        },
    }
    mail.urls = []
    assert outbox.history_of(mail.config) is None
