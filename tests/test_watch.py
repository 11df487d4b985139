"""`status --watch`: one picture over the other, on a real terminal."""

from __future__ import annotations

import sys

import pytest
from boxes import DOMAIN, Box
from terminals import Terminal, shown

from certbotless.cli import main
from certbotless.terminal import Screen
from certbotless.watch import drawn

SMALL = Screen(20, 4, moves=True)


def test_a_picture_is_drawn_over_the_last_one() -> None:
    """Shorter lines and fewer of them leave nothing of the old ones; nothing is erased before it is drawn."""
    first, second = drawn("one line\nanother line", SMALL), drawn("short", SMALL)
    assert shown(first, 4) == ["one line", "another line", ""]
    assert shown(first + second, 4) == ["short", ""]
    assert first.startswith("\x1b[Hone line")


def test_lines_that_do_not_fit_are_counted() -> None:
    """The last line of the terminal is left for the cursor, so that nothing scrolls."""
    assert shown(drawn("1\n2\n3", SMALL) * 2, 4) == ["1", "2", "3", ""]
    assert shown(drawn("1\n2\n3\n4", SMALL) * 2, 4) == ["1", "2", "(2 more lines; a hi…", ""]


def command(box: Box, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "certbotless", "--config", str(box.file), "status", *arguments]


def test_it_follows_what_happens_until_ctrl_c_and_ends_with_the_last_state(box: Box) -> None:
    """A broken file is shown, and watching goes on."""
    with Terminal(command(box, "--watch")) as terminal:
        terminal.wait_until(lambda: f"{DOMAIN}  pending" in terminal.text(), "it is pending")
        good = box.file.read_text()
        box.file.write_text(f"{good}nonsense: 1\n")
        terminal.wait_until(lambda: "unknown key 'nonsense'" in terminal.text(), "the fault is shown")
        box.publish()
        box.file.write_text(good)
        terminal.wait_until(lambda: f"{DOMAIN}  ok" in terminal.text(), "it is ok")
        assert "nonsense" not in terminal.text()
        assert terminal.lines()[-2:] == ["daemon: not running", ""]
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert terminal.lines()[-2:] == ["daemon: not running", ""]
    assert "\x1b[2J" not in terminal.raw


def test_a_site_that_is_not_well_makes_the_code(box: Box) -> None:
    with Terminal(command(box, "--watch", DOMAIN)) as terminal:
        terminal.wait_until(lambda: "pending" in terminal.text(), "it is pending")
        terminal.type("\x03")
        assert terminal.wait() == 1


def test_a_state_that_cannot_be_read_is_shown_and_watching_goes_on(box: Box) -> None:
    kept = box.state_dir.with_name("kept")
    box.publish()
    box.state_dir.rename(kept)
    box.state_dir.write_text("a file")
    with Terminal(command(box, "--watch")) as terminal:
        terminal.wait_until(lambda: "! cannot read" in terminal.text(), "it is said, as the site's fault")
        box.state_dir.unlink()
        kept.rename(box.state_dir)
        terminal.wait_until(lambda: f"{DOMAIN}  ok" in terminal.text(), "it is ok")
        terminal.type("\x03")
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--watch"], "certbotless: --watch draws on a terminal, and standard output is none; leave it out"),
        (["--watch", "--json"], "certbotless: --watch does not go with --json; ask for --json as often"),
        (["--watch", "--config", "-"], "certbotless: --watch reads the file again and again"),
    ],
)
def test_it_needs_a_terminal(
    arguments: list[str],
    said: str,
    box: Box,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["--config", str(box.file), "status", *arguments]) == 2
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(said)


def test_a_dumb_terminal_is_none(box: Box) -> None:
    with Terminal(command(box, "--watch"), environment={"TERM": "dumb"}) as terminal:
        assert terminal.wait() == 2
        assert "--watch draws on a terminal" in terminal.text()
