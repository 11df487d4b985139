"""What a person at a terminal sees of a run: made of the log and the events that go with its lines."""

import logging
import os
import pty
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from support.fakes import FakeClock
from support.languages import chinese
from support.terminals import cells, resize, shown, written

from certbotless.base import log_context
from certbotless.base.errors import StoreError
from certbotless.base.locks import Lock
from certbotless.base.log_context import Event, waits_for
from certbotless.base.times import elapsed
from certbotless.model.reason import Reason, Why
from certbotless.report.progress import Board, Ended, Progress, line_of

DEVBOX, GIT = "devbox.sweetlove.top", "git.sweetlove.top"
_MARK = "\x1e"
LOGGER = logging.getLogger("certbotless.test")
# The event of a line that has none.
NOTHING = Event()


class Told:
    """A board, and a clock that a test sets."""

    def __init__(self) -> None:
        self.board = Board()
        self.now_s = 100.0

    def __call__(self, event: Event = NOTHING, domain: str = DEVBOX) -> Ended | None:
        return self.board.take(domain, event, self.now_s)

    def begin(self, step: str, reason: str = "asked for", domain: str = DEVBOX) -> None:
        assert self(Event("begins", {"step": step, "reason": reason}), domain) is None

    def wait(self, what: str, detail: str = "", domain: str = DEVBOX) -> None:
        assert self(Event("waits", {"what": what, "detail": detail}), domain) is None

    def change(self) -> None:
        """Let something change."""
        assert self(Event("record.added", {"value": "10.0.0.1"})) is None

    def doing(self) -> str:
        return self.board.doing(self.now_s)


@pytest.fixture
def told() -> Told:
    return Told()


# --- the board ----------------------------------------------------------------------------------------------


def test_a_step_ends_with_its_time(told: Told) -> None:
    told.begin("order", "there is no certificate yet")
    told.now_s += 4.25
    ended = told(Event("done", {"step": "order"}))
    assert ended == Ended(DEVBOX, "order", "there is no certificate yet", True, 4.25)
    assert told.doing() == ""


def test_progress_is_told_in_the_language_of_the_reader(told: Told) -> None:
    reason = Reason(Why.OTHER_VALUES, ("10.0.0.1", "10.0.0.2")).words
    told.begin("deploy:registry", reason)
    told.wait("the container to restart")
    with chinese():
        assert told.doing() == f"{DEVBOX} 部署:registry 0 秒，等待：容器重启"
        told.begin("order", domain=GIT)
        assert told.doing() == "2 个站点，0 秒：1 个等待：容器重启；1 个正在运行"
        ended = told(Event("done", {"step": "deploy:registry"}))
        assert ended is not None
        assert ended.text == "部署:registry：10.0.0.1 -> 10.0.0.2"
        assert elapsed(75) == "1 分 15 秒"


def test_a_step_that_was_not_done_ends_too(told: Told) -> None:
    told.begin("deploy:systemctl reload nginx")
    ended = told(Event("not done", {"step": "deploy:systemctl reload nginx"}))
    assert ended == Ended(DEVBOX, "deploy:systemctl reload nginx", "asked for", False, 0.0)


def test_what_is_waited_for_is_seen_until_it_has_happened(told: Told) -> None:
    """Requests and answers in between change nothing."""
    told.begin("order")
    assert told.doing() == f"{DEVBOX} order 0 s"
    told.wait("the name servers to show it", "ns1.alidns.com,ns2.alidns.com")
    told.now_s += 75
    told()
    waits = "waits for the name servers to show it (ns1.alidns.com,ns2.alidns.com)"
    assert told.doing() == f"{DEVBOX} order 1 min 15 s, {waits}"
    told.wait("the CA to validate")
    told()
    assert told.doing() == f"{DEVBOX} order 1 min 15 s, waits for the CA to validate"
    told.change()
    assert told.doing() == f"{DEVBOX} order 1 min 15 s"


def test_a_wait_before_the_first_step_is_seen(told: Told) -> None:
    """As for another run, which holds the site's lock."""
    told.wait("another run")
    told.now_s += 3
    assert told.doing() == f"{DEVBOX} 3 s, waits for another run"
    told(Event("run ended"))
    assert told.doing() == ""


def test_upkeep_and_lines_between_steps_are_no_steps(told: Told) -> None:
    """The line with which upkeep begins has no event."""
    told()
    assert told(Event("done", {"step": "renewal-info"})) is None
    told.change()
    assert told.doing() == ""


def test_several_sites_are_one_line_that_counts_what_is_waited_for(told: Told) -> None:
    """The most frequent wait comes first. The time is that of the site that is at work longest."""
    told.begin("order", domain=GIT)
    told.now_s += 5
    told.begin("deploy:registry", domain=DEVBOX)
    assert told.doing() == "2 sites, 5 s: 2 running"
    told.wait("the CA to issue", domain=GIT)
    told.begin("order", domain="a.sweetlove.top")
    told.wait("the name servers to show it", "ns1", "a.sweetlove.top")
    told.wait("the name servers to show it", "ns2")
    assert told.doing() == (
        "3 sites, 5 s: 2 wait for the name servers to show it; 1 waits for the CA to issue"
    )
    assert told(Event("done", {"step": "order"}), GIT) == Ended(GIT, "order", "asked for", True, 5.0)
    told(Event("run ended"), "a.sweetlove.top")
    assert told.doing() == f"{DEVBOX} deploy:registry 0 s, waits for the name servers to show it (ns2)"


# --- the line that stays ------------------------------------------------------------------------------------


def line(ended: Ended, width: int = 80, *, is_terminal: bool = False) -> str:
    return written(lambda screen: line_of(ended, screen), width, is_terminal=is_terminal).rstrip("\n")


def test_the_time_stands_at_the_end_of_the_line() -> None:
    done = Ended(DEVBOX, "order", "there is no certificate yet", True, 4.25)
    text = "devbox.sweetlove.top  order: there is no certificate yet"
    assert line(done) == f"ok        {text:<59}      4.2 s"
    late = line(Ended(DEVBOX, "order", "域" * 300, False, 75))
    assert late.startswith("not done  devbox.sweetlove.top  order: 域域域")
    assert late.endswith("域 … 1 min 15 s")
    assert cells(late) == 80


def test_a_wide_terminal_does_not_put_the_time_far_away() -> None:
    assert len(line(Ended(DEVBOX, "order", "x", True, 1), 300)) == 100


def test_how_it_ended_is_a_word_and_a_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for is_done, code in ((True, 32), (False, 33)):
        ended = Ended(DEVBOX, "order", "[red]x[/]", is_done, 1)
        coloured = line(ended, is_terminal=True)
        assert coloured.startswith(f"\x1b[{code}m")
        assert re.sub(r"\x1b\[\d+m", "", coloured) == line(ended)


# --- on a terminal ------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, TextIO]]:
    """Both sides of a terminal of 80 columns: what a person reads, and what the program writes to."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    leader, follower = pty.openpty()
    resize(follower, 80, 24)
    with open(follower, "w", encoding="utf-8") as stream:
        yield leader, stream
        stream.close()
    os.close(leader)


def begin(step: str, reason: str = "x", domain: str = DEVBOX) -> None:
    """Log that a step begins."""
    extra = Event("begins", {"step": step, "reason": reason}).extra
    LOGGER.info("%s.due domain=%s reason=%s", step, domain, reason, extra=extra)


def end(step: str, domain: str = DEVBOX) -> None:
    """Log that a step is done."""
    LOGGER.debug("%s.done domain=%s", step, domain, extra=Event("done", {"step": step}).extra)


def validate() -> None:
    """Log that the CA is waited for."""
    LOGGER.debug("ca.validating names=%s", "a", extra=waits_for("the CA to validate"))


@contextmanager
def progress_on(stream: TextIO) -> Iterator[Progress]:
    """Show what is logged."""
    handler = Progress(stream, logging.Formatter("%(levelname)s %(message)s"))
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.addHandler(handler)
    try:
        with handler:
            yield handler
    finally:
        LOGGER.removeHandler(handler)


def seen(terminal: tuple[int, TextIO]) -> list[str]:
    """Return what the terminal shows of all that was written since this was last asked."""
    leader, stream = terminal
    stream.write(_MARK)  # all that was written before is here when this is
    stream.flush()
    raw = ""
    while _MARK not in raw:
        raw += os.read(leader, 65536).decode()
    return shown(raw.partition(_MARK)[0], 24)


def test_finished_steps_and_warnings_stand_above_what_is_at_work(terminal: tuple[int, TextIO]) -> None:
    """No text of theirs is taken for markup, and a warning is whole, however long it is."""
    url = f"https://ca.example.org/{'x' * 100}"
    with progress_on(terminal[1]), log_context.about(DEVBOX):
        begin("record", "[red]x[/] -> 10.0.0.1")
        LOGGER.info("record.added domain=%s", DEVBOX)
        end("record")
        begin("order", "asked for")
        LOGGER.warning("txt.left fqdn=%s url=%s error=[red]x[/] \x1b]0;title", "a", url)
        validate()
        step, warning, doing = seen(terminal)
    assert re.fullmatch(
        r"ok        devbox\.sweetlove\.top  record: \[red\]x\[/\] -> 10\.0\.0\.1 +\d\.\d s", step
    )
    assert warning == f"WARNING txt.left fqdn=a url={url} error=[red]x[/] \\x1b]0;title"
    assert re.fullmatch(rf"{DEVBOX} order \d+ s, waits for the CA to validate", doing)
    assert seen(terminal)[-1] == ""  # what was at work leaves a clean line


def test_what_is_at_work_is_one_line(terminal: tuple[int, TextIO]) -> None:
    with progress_on(terminal[1]), log_context.about("a" * 90):
        begin("order", domain="a" * 90)
        assert seen(terminal) == [f"{'a' * 79}…"]


def test_a_line_of_the_command_stands_above_too(
    terminal: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output may be the same terminal."""
    monkeypatch.setattr("sys.stdout", terminal[1])
    with progress_on(terminal[1]) as progress:
        with log_context.about(DEVBOX):
            begin("order")
        progress.say("git.sweetlove.top: ok")
        LOGGER.warning("y")
        line, warning, doing = seen(terminal)
    assert (line, warning) == ("git.sweetlove.top: ok", "WARNING y")
    assert re.fullmatch(rf"{DEVBOX} order \d+ s", doing)


def test_the_time_goes_on_while_nothing_is_said(terminal: tuple[int, TextIO]) -> None:
    with progress_on(terminal[1]):
        with log_context.about(DEVBOX):
            begin("order")
        text = ""
        while "order 1 s" not in text:
            text += os.read(terminal[0], 65536).decode()


def test_a_dumb_terminal_gets_the_lines_that_stay(
    terminal: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with progress_on(terminal[1]), log_context.about(DEVBOX):
        begin("order")
        validate()
        end("order")
        begin("deploy:registry")
    (line, rest) = seen(terminal)
    assert (line.split()[0], rest) == ("ok", "")


def test_many_sites_at_a_time_stay_readable(terminal: tuple[int, TextIO]) -> None:
    """Each line is whole, whatever thread it is from."""

    def work(domain: str) -> None:
        with log_context.about(domain):
            for step in ("record", "order", "deploy:registry"):
                begin(step, domain=domain)
                end(step, domain)
            LOGGER.debug("run.ended %s: ok", domain, extra=Event("run ended").extra)

    threads = [threading.Thread(target=work, args=(f"s{i}.sweetlove.top",)) for i in range(4)]
    with progress_on(terminal[1]):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    *lines, last = seen(terminal)
    assert (len(lines), last) == (12, "")
    assert all(re.fullmatch(r"ok        s\d\.sweetlove\.top  \S+: x +0\.\d s", line) for line in lines)


def test_a_terminal_that_is_gone_breaks_no_run(
    terminal: tuple[int, TextIO], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command prints is printed, wherever that goes."""
    full = open("/dev/full", "w")  # noqa: SIM115  (closed below)
    with progress_on(full) as progress, log_context.about(DEVBOX):
        LOGGER.error("order.failed error=%s", "y")
        LOGGER.error("order.failed error=%s", "z")
        progress.say("git.sweetlove.top: ok")
    assert capsys.readouterr().out == "git.sweetlove.top: ok\n"
    with pytest.raises(OSError, match="No space"):
        full.close()


def test_only_an_event_ends_a_wait(terminal: tuple[int, TextIO]) -> None:
    """No text of a line does, whatever it says."""
    with progress_on(terminal[1]), log_context.about(DEVBOX):
        begin("order")
        validate()
        LOGGER.warning("order.done domain=%s", DEVBOX)
        LOGGER.info("run.ended %s: ok", DEVBOX)
        (_, doing) = seen(terminal)
        assert doing.endswith("waits for the CA to validate")
        LOGGER.info("anything", extra=Event("certificate.published", {"sha256": "ab"}).extra)
        assert re.fullmatch(rf"{DEVBOX} order \d+ s", seen(terminal)[-1])


def test_a_lock_that_another_run_holds_is_told_as_a_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the lock itself."""
    clock = FakeClock()
    caplog.set_level(logging.DEBUG, "certbotless")
    with (
        Lock(tmp_path / "a.lock", clock, 0),
        pytest.raises(StoreError),
        Lock(tmp_path / "a.lock", clock, 5),
    ):
        pass
    wait = Event("waits", {"what": "another run", "detail": ""})
    assert [log_context.event_of(record) for record in caplog.records] == [wait]
