"""`status --watch`: one picture over the other, on a real terminal."""

import os
import re
import signal
from pathlib import Path

import pytest
from support.boxes import DOMAIN, Box
from support.terminals import Terminal, cells


@pytest.mark.process
def test_it_follows_what_happens_until_ctrl_c_and_ends_with_the_last_state(box: Box) -> None:
    """A broken file is shown, and watching goes on. A terminal that is made narrow gets a list.

    What anybody has planted among the files of the state is only text.
    """
    planted = box.state_dir / "sites" / "[red]x[bold] \x1b]0;title\a.json"
    planted.parent.mkdir(parents=True)
    planted.touch()
    with Terminal(box.command("status", "--watch")) as terminal:
        terminal.wait_until(lambda: f"{DOMAIN}  pending" in terminal.text(), "it is pending")
        good = box.file.read_text()
        box.file.write_text(f"{good}nonsense: 1\n")
        terminal.wait_until(lambda: "unknown key 'nonsense'" in terminal.text(), "the fault is shown")
        name = "\n[red]x[bold] \\x1b]0;title\\x07  pending  "
        terminal.wait_until(lambda: name in terminal.text(), "what was planted is text")
        box.publish()
        box.file.write_text(good)
        terminal.wait_until(lambda: f"{DOMAIN}  ok" in terminal.text(), "it is ok")
        assert "nonsense" not in terminal.text()
        terminal.resize(40, 20)
        terminal.wait_until(lambda: "\n  address  " in terminal.text(), "it is a list")
        terminal.resize(100, 20)
        terminal.wait_until(lambda: "\nSITE  " in terminal.text(), "it is a table")
        terminal.type("\x03")
        assert terminal.wait() == 0
        assert terminal.text().startswith("daemon: not running: only a timer would try again; start it: ")
    assert not re.search(r"\x1b\]|\a", terminal.raw)
    # Nothing is erased before it is drawn.
    assert not re.search(r"\x1b\[\d?[JK]", terminal.raw)


@pytest.mark.process
@pytest.mark.parametrize("is_killed", [False, True])
def test_what_was_there_before_is_there_again(is_killed: bool, box: Box) -> None:
    """However it ends. While it draws, lines that do not fit are counted; the last picture is whole."""
    names = [f"s{number}.sweetlove.top" for number in range(9)]
    box.write(*(f"  - {{domain: {name}, address: none, zone: sweetlove.top}}" for name in names))
    script = 'trap : INT; echo before; "$@"; echo "after $?"'
    with Terminal(["sh", "-c", script, "sh", *box.command("status", "--watch")], height=10) as terminal:
        last = "(24 more lines; a higher terminal shows them)"
        terminal.wait_until(lambda: terminal.lines()[-1] == last, "it is full")
        assert len(terminal.lines()) == 10
        assert "before" not in terminal.text()
        if is_killed:
            children = Path(f"/proc/{terminal.process.pid}/task/{terminal.process.pid}/children")
            os.kill(int(children.read_text()), signal.SIGTERM)
        else:
            terminal.type("\x03")
        terminal.wait()
        assert (terminal.lines()[0], terminal.lines()[-2:]) == ("before", ["after 1", ""])
        assert all(f"{name}  " in terminal.text() for name in names)


@pytest.mark.process
def test_of_an_attempt_the_last_lines_are_shown(box: Box) -> None:
    """As many as there is room for, and each cut; who is not well makes the code."""
    log = box.state_dir / "sites" / f"{DOMAIN}.log.unfinished"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number} {'域名' * 50}\n" for number in range(100)))
    with Terminal(box.command("status", "--watch", DOMAIN), height=30) as terminal:
        terminal.wait_until(lambda: "(it was killed)" in terminal.text(), "the attempt is shown")
        *_, line, last = terminal.lines()
        assert (len(terminal.lines()), last) == (30, "(it was killed)")
        assert (line, cells(line)) == (f"line 99 {'域名' * 17}域 …", 80)
        terminal.type("\x03")
        assert terminal.wait() == 1


@pytest.mark.process
def test_a_dumb_terminal_is_none(box: Box) -> None:
    with Terminal(box.command("status", "--watch"), environment={"TERM": "dumb"}) as terminal:
        assert terminal.wait() == 2
        assert "--watch needs a terminal" in terminal.text()
