"""A record of the log: one line that no foreign text can forge, for a terminal and for the journal."""

import logging
import os
import re
import subprocess
import sys

import pytest
from support.boxes import DOMAIN, Box

from certbotless.cli.log import Formatter


def format_of(text: str, *arguments: object, for_journal: bool = False, level: int = logging.INFO) -> str:
    """Return how a record looks; of the exception that is being handled, too, if there is one."""
    info = sys.exc_info() if sys.exc_info()[0] else None
    record = logging.LogRecord("certbotless.x", level, "x.py", 1, text, arguments, info)
    return Formatter(for_journal=for_journal).format(record)


def test_a_record_is_a_line_with_its_moment_and_level() -> None:
    line = format_of("record.updated fqdn=%s ttl_s=%d", DOMAIN, 600)
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO record\.updated fqdn={DOMAIN} ttl_s=600", line
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("it is full", '"it is full"'),
        ('say "no"', r'"say \"no\""'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("C:\\x", "C:\\x"),
        ("C:\\x y", r'"C:\\x y"'),
    ],
)
def test_a_value_is_quoted_as_logfmt_needs_it(value: str, shown: str) -> None:
    assert format_of("x.y a=%s n=%d %s", value, 7, "b=c d").endswith(f" x.y a={shown} n=7 b=c d")


def test_what_another_library_logs_stays_as_it_is() -> None:
    record = logging.LogRecord("urllib3.pool", logging.INFO, "x.py", 1, "a=%s", ("b c",), None)
    assert Formatter(for_journal=False).format(record).endswith(" INFO a=b c")


@pytest.mark.parametrize(
    "hostile",
    ["a\n2026-11-24T05:30:00Z ERROR forged", "a\r\x1b[2J", "a\0\x07", "\u202egnp\u2028", "\x85\x9b31m"],
)
def test_foreign_text_cannot_forge_a_record_act_upon_a_terminal_or_fill_the_log(hostile: str) -> None:
    line = format_of("order.failed detail=%s", hostile + "x" * 10**6)
    assert line.isprintable()
    assert line.split(" ", 2)[1] == "INFO"
    assert len(line) < 5000


def test_the_text_of_an_exception_is_escaped_and_indented() -> None:
    """Its lines cannot pass for records, in the journal neither."""
    for for_journal in (False, True):
        try:
            raise RuntimeError("a\x1b[2J\n<3>2026-11-24T05:30:00Z ERROR forged")
        except RuntimeError:
            first, *rest = format_of("site.crashed", for_journal=for_journal, level=logging.ERROR).split("\n")
        assert first.endswith("site.crashed")
        assert all(line.isprintable() for line in rest)
        prefix = "<3>  " if for_journal else "  "
        assert all(line.startswith(prefix) for line in rest)
        assert any("forged" in line for line in rest)


@pytest.mark.parametrize(
    ("level", "priority"),
    {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 3}.items(),
)
def test_the_journal_gets_the_priority_of_each_line(level: int, priority: int) -> None:
    """And no moment, which it has itself (sd-daemon(3))."""
    assert format_of("check.crashed", for_journal=True, level=level) == f"<{priority}>check.crashed"


@pytest.mark.process
def test_the_journal_is_found_by_its_stream(box: Box) -> None:
    box.publish()
    box.secret.chmod(0o644)
    with (box.home / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        box.run("--once", capture_output=False, stdout=subprocess.PIPE, stderr=stream, env=environment)
        stream.seek(0)
        assert stream.read().startswith('<4>config.warning text="aliyun.access_key_secret: ')
