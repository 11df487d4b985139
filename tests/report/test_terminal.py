"""What reaches a terminal, and what a file or a pipe gets in its place."""

import pytest
from rich.columns import Columns
from rich.console import Group
from rich.styled import Styled
from rich.table import Column, Table
from support.terminals import cells, written

from certbotless.report.terminal import Drawing, Terminal

HOSTILE = "[red]x[/] \x1b]0;title\a\r\n\x9b2J :bomb: \u202e[/nothing]"
LEGIBLE = "[red]x[/] \\x1b]0;title\\x07\\r\\n\\x9b2J :bomb: \\u202e[/nothing]"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that forbids nothing."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def red(screen: Terminal) -> Drawing:
    return Styled("failing", "red")


def of(*texts: str) -> Group:
    """Return texts in every kind of drawing that there is."""
    grid = Table.grid(Column(width=200, no_wrap=True), Column(overflow="fold"))
    for text in texts:
        grid.add_row(Styled(text, "dim"), text, style="red")
    return Group(*texts, grid, Columns(texts))


# --- where it goes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "has_colours"), [("", True), ("0", False), ("1", False)])
def test_no_color_counts_unless_it_is_empty(
    value: str, has_colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its value."""
    monkeypatch.setenv("NO_COLOR", value)
    assert ("\x1b[31mfailing\x1b[0m" in written(red, is_terminal=True)) == has_colours
    assert ("\x1b[" in written(red, is_terminal=True)) == has_colours


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_what_is_no_terminal_has_80_columns_and_no_colours(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment asks for: what reads it is a program, or a file."""
    monkeypatch.setenv(name, "1")
    monkeypatch.setenv("COLUMNS", "200")
    assert written(red) == "failing\n"
    assert written(lambda screen: "word " * 20) == f"{'word ' * 16}".rstrip() + "\nword word word word\n"


def test_a_dumb_terminal_gets_no_control_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert written(red, is_terminal=True) == "failing\n"


# --- text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_terminal", [False, True])
def test_foreign_text_is_no_markup_and_acts_on_no_terminal(is_terminal: bool) -> None:
    """A name, an error or a planted file may say anything."""
    lines = written(lambda screen: of(HOSTILE), 300, is_terminal=is_terminal).splitlines()
    text = "\n".join(lines).replace("\x1b[2;31m", "").replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert text.split("\n") == [LEGIBLE, f"{LEGIBLE:<200}{LEGIBLE}", LEGIBLE]


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_line_that_is_never_broken_is_as_plain(is_cut: bool) -> None:
    text = written(lambda screen: screen.one_line(HOSTILE, is_cut=is_cut), 20)
    assert text == (f"{LEGIBLE[:19]}…\n" if is_cut else f"{LEGIBLE}\n")


def test_letters_that_the_stream_lacks_are_written_as_their_codes() -> None:
    for encoding, said in (("utf-8", "域ø"), ("gbk", "域\\xf8"), ("latin-1", "\\u57dfø")):
        assert written(lambda screen: of("域ø"), encoding=encoding).splitlines()[0] == said


def test_a_cut_is_marked_where_the_stream_has_the_mark() -> None:
    for encoding, said in (("utf-8", "devb…"), ("gbk", "devb…"), ("ascii", "devbo")):
        assert written(lambda s: s.one_line("devbox", is_cut=True), 5, encoding=encoding) == f"{said}\n"


def test_wide_letters_take_two_cells() -> None:
    """What stands behind them is in line with what stands behind others."""
    table = Table.grid(Column(width=12, no_wrap=True), Column(overflow="fold"))
    table.add_row("域名", "证书还没有签发正等待名称服务器显示它")
    table.add_row("domain", "the certificate")
    first, second, third = written(lambda screen: table, 30).splitlines()
    assert (first, second) == ("域名        证书还没有签发正等", "            待名称服务器显示它")
    assert third == "domain      the certificate"
    assert (cells(first), cells(second)) == (30, 30)
    assert written(lambda screen: screen.one_line("域名域名", is_cut=True), 6) == "域名 …\n"
