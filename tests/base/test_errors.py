"""A failure says what happened and what to do now, in printable lines."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.base import errors
from certbotless.base.errors import MAX_FOREIGN_TEXT, StoreError, printable

# By its indent, what each error is a kind of; a star where trying again can help.
TREE = """\
CertbotlessError
  UsageError
  Interrupted
  ConfigError
  ValueFault
  ProgramUnreadable
  SecretUnreadable
  AlreadyRunning
  AddressError *
  ClockWrong *
  DnsError
    ZoneNotFound
    DnsRefused
      RecordConflict
    KeyRefused
    DnsUnavailable *
      KeyUnavailable *
      ZoneOnHold *
    PropagationTimeout *
  IssueError
    RequestRefused
    AccountRefused
    AuthorizationFailed *
    RateLimited *
      AccountPaused
    CaUnavailable *
    NotOffered
    OrderTimeout *
  StoreError
  DeployError *
    NotActedUpon *
    CertificateRefused *
    DeployWaits *
      SwarmWaits *
  NotifyError *
"""


def lines_of(kind: type, depth: int = 0) -> Iterator[str]:
    """Yield the lines of the tree for an error and for those that are a kind of it."""
    yield "  " * depth + kind.__name__ + (" *" if getattr(kind, "retryable", False) else "")
    for child in vars(errors).values():
        if isinstance(child, type) and child.__base__ is kind:
            yield from lines_of(child, depth + 1)


def test_every_error_has_its_place_in_the_tree() -> None:
    """A new one must be put into the tree, with the question whether trying again can help."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    (root,) = (kind for kind in kinds if kind.__base__ is Exception)
    assert "\n".join(lines_of(root)) + "\n" == TREE


def test_the_text_is_what_happened_and_then_what_to_do() -> None:
    assert str(StoreError("no room")) == "no room"
    error = StoreError("no room", hint="make some")
    assert str(error) == "no room; make some"
    assert (error.message, error.hint, error.retry_after) == ("no room", "make some", None)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain text", "plain text"),
        ("例子, ümläut", "例子, ümläut"),
        ("one\r\ntwo", r"one\r\ntwo"),
        ("\x1b[2J\x07\x00", r"\x1b[2J\x07\x00"),
        ("right\u202eleft\u2028", r"right\u202eleft\u2028"),
        ("\ud800", r"\ud800"),
        (b"bytes", "b'bytes'"),
        (404, "404"),
    ],
)
def test_foreign_text_cannot_act_upon_a_terminal(text: object, line: str) -> None:
    assert printable(text) == line


@given(st.text(), st.integers(min_value=3, max_value=60))
def test_foreign_text_is_one_line_within_its_limit(text: str, limit: int) -> None:
    line = printable(text, limit)
    assert line.isprintable()
    assert len(line) <= limit


def test_foreign_text_that_was_cut_shows_it() -> None:
    line = printable("x" * 1_000_000)
    assert len(line) == MAX_FOREIGN_TEXT
    assert line.endswith("x...")
