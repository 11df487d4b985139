"""What a stream can take, and text that is made to fit."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals import resize

from certbotless.terminal import Screen, cells


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """A pseudo-terminal of 100 columns and 30 lines, in an environment that forbids nothing."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    leader, follower = pty.openpty()
    resize(follower, 100, 30)
    with open(follower, "w", encoding="utf-8") as stream:
        yield stream
    os.close(leader)


# --- Screen.of ----------------------------------------------------------------------------------------------


def test_a_terminal_says_its_size_each_time(terminal: TextIO) -> None:
    """It may be resized while it is looked at."""
    assert Screen.of(terminal) == Screen(100, 30, "utf-8", has_colours=True, moves=True)
    resize(terminal.fileno(), 40, 10)
    assert Screen.of(terminal) == Screen(40, 10, "utf-8", has_colours=True, moves=True)


def test_a_terminal_that_does_not_say_its_size_has_80_columns(terminal: TextIO) -> None:
    """As over a serial line."""
    resize(terminal.fileno(), 0, 0)
    assert (Screen.of(terminal).width, Screen.of(terminal).height) == (80, 24)


def test_a_terminal_too_narrow_for_anything_breaks_the_lines_itself(terminal: TextIO) -> None:
    resize(terminal.fileno(), 3, 3)
    assert Screen.of(terminal).width == 20


def test_what_is_no_terminal_has_80_columns_and_no_colours() -> None:
    with io.TextIOWrapper(io.BytesIO(), "latin-1") as stream:
        assert Screen.of(stream) == Screen(80, 24, "latin-1", has_colours=False, moves=False)


@pytest.mark.parametrize(("value", "has_colours"), [("", True), ("0", False), ("1", False)])
def test_no_color_counts_unless_it_is_empty(
    value: str, has_colours: bool, terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its value; the cursor may be moved all the same."""
    monkeypatch.setenv("NO_COLOR", value)
    screen = Screen.of(terminal)
    assert (screen.has_colours, screen.moves) == (has_colours, True)


def test_a_dumb_terminal_has_no_colours_and_does_not_move(
    terminal: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert Screen.of(terminal) == Screen(100, 30, "utf-8", has_colours=False, moves=False)


# --- text ---------------------------------------------------------------------------------------------------


def test_paint_is_for_those_with_colours() -> None:
    assert Screen().paint("failing", "red") == "failing"
    coloured = Screen(has_colours=True)
    assert coloured.paint("failing", "red") == "\x1b[31mfailing\x1b[0m"
    assert (coloured.paint("", "red"), coloured.paint("ok", "")) == ("", "ok")


def test_letters_that_it_lacks_are_written_as_their_codes() -> None:
    """And nothing acts on a terminal."""
    assert Screen().legible("域名 \x1b[2J") == "域名 \\x1b[2J"
    assert Screen(encoding="ascii").legible("域") == "\\u57df"
    assert Screen(encoding="gbk").legible("域") == "域"
    assert not Screen(encoding="nonsense").has("a")


def test_wide_letters_take_two_cells_and_marks_none() -> None:
    assert (cells("abc"), cells("域名"), cells("e\u0301")) == (3, 4, 1)


def test_words_stay_whole_where_they_fit() -> None:
    assert Screen().wrap("the CA is closed", 9) == ["the CA is", "closed"]
    assert Screen().wrap("a certificate-of-a-kind b", 8) == ["a", "certific", "ate-of-a", "-kind b"]
    assert Screen().wrap("域名域名 x", 4) == ["域名", "域名", "x"]
    assert Screen().wrap("", 10) == [""]


def test_what_is_cut_is_marked() -> None:
    assert Screen().cut("devbox", 6) == "devbox"
    assert Screen().cut("devbox", 5) == "devb…"
    assert Screen(encoding="ascii").cut("devbox", 5) == "de..."
    assert Screen().cut("域名域名", 6) == "域名…"


@given(st.text(), st.integers(2, 100), st.sampled_from(["utf-8", "ascii", "gbk"]))
def test_no_line_is_wider_than_it_may_be_and_no_letter_is_lost(text: str, width: int, encoding: str) -> None:
    screen = Screen(encoding=encoding)
    lines = screen.wrap(text, width)
    assert all(cells(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == screen.legible(text).replace(" ", "")
    assert cells(screen.cut(text, width)) <= width
    assert all(line.isprintable() for line in lines)
    for line in lines:
        line.encode(encoding)
