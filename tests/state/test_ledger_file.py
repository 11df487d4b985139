"""The ledger on disk: no row is lost that was written, and none that is lost opens the door to an order."""

import shutil
import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.children import DONE, start_child, wait_for
from support.files import mode_of
from support.pairs import DOMAIN, FACTS, NOW, ORIGIN

from certbotless.base.clock import SystemClock
from certbotless.base.errors import StoreError
from certbotless.model.ledger import UNREADABLE, Entry, limit_on
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.pair import Store

DIRECTORY = ORIGIN.directory
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


# --- the ledger -------------------------------------------------------------------------------------------


def order(age: timedelta = timedelta()) -> Entry:
    return Entry(NOW - age, "order", DIRECTORY, (DOMAIN,))


def issued(age: timedelta) -> Entry:
    """An order that is known by its certificate alone."""
    return replace(order(age), outcome="issued", lifetime_s=90 * 86400)


def test_rows_are_read_back_in_their_order(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path)
    assert ledger.entries() == []
    rows = [order(timedelta(days=age)) for age in (3, 2, 1)]
    for row in rows:
        ledger.append(row)
    assert LedgerFile(tmp_path).entries() == rows
    assert mode_of(tmp_path / "ledger.jsonl") == "0o600"


@pytest.mark.parametrize("cut", [1, 2, 10, 50])
def test_a_last_line_that_was_cut_off_swallows_no_row(tmp_path: Path, cut: int) -> None:
    ledger = LedgerFile(tmp_path)
    ledger.append(order(timedelta(days=2)))
    ledger.append(order(timedelta(days=1)))
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    ledger.append(order())
    assert ledger.entries()[0] == order(timedelta(days=2))
    assert ledger.entries()[-1] == order()
    assert (UNREADABLE in ledger.entries()) == (cut > 1)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_bytes_between_the_rows_hide_them(before: bytes, after: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = LedgerFile(Path(folder))
        path = Path(folder) / "ledger.jsonl"
        path.write_bytes(before)
        ledger.append(order(timedelta(days=1)))
        with path.open("ab") as file:
            file.write(after)
        ledger.append(order())
        found = ledger.entries()
    assert order() in found
    assert order(timedelta(days=1)) in found or not after.startswith((b"\n", b"\r"))


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def test_rows_that_bear_on_no_limit_go(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path)
    for days in (400, 15, 13, 0):
        ledger.append(order(timedelta(days=days)))
    kept = [order(timedelta(days=13)), order()]
    assert ledger.settle(NOW) == kept
    assert ledger.entries() == kept
    assert mode_of(tmp_path / "ledger.jsonl") == "0o600"


def test_lines_that_are_no_rows_are_kept_aside_and_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And count as of when they were found: a run that was killed may have cut off an order."""
    ledger = LedgerFile(tmp_path)
    ledger.append(order(HOUR))
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b"cut \xff off\n\n[1]")
    found = [order(HOUR), replace(UNREADABLE, at=NOW), replace(UNREADABLE, at=NOW)]
    assert ledger.entries() == [order(HOUR), UNREADABLE, UNREADABLE]
    assert ledger.settle(NOW) == found
    assert ledger.settle(NOW + HOUR) == ledger.entries() == found
    aside = tmp_path / "ledger.jsonl.unreadable"
    assert lines(aside) == [b"cut \xff off", b"[1]"]
    assert mode_of(aside) == "0o600"
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"ledger.unreadable rows=2 kept_in={aside}"]
    # What is found later comes below.
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b"more")
    ledger.settle(NOW)
    assert lines(aside) == [b"cut \xff off", b"[1]", b"more"]


def test_orders_that_an_older_version_saw_fail_hold_nothing_back_after_an_upgrade(tmp_path: Path) -> None:
    """Three failed validations, each its order and its failure, as versions before 2026-11-28 wrote them."""
    ledger = LedgerFile(tmp_path)
    for minutes in (230, 220, 110):
        at = NOW - timedelta(minutes=minutes)
        ledger.append(order(NOW - at))
        ledger.append(Entry(at, "failure", DIRECTORY, (DOMAIN,)))
    planned = order()
    assert limit_on(ledger.entries(), planned) is None
    assert limit_on(ledger.settle(NOW), planned) is None
    assert [
        row.outcome for row in map(Entry.from_line, lines(tmp_path / "ledger.jsonl")) if row.kind == "order"
    ] == ["failed"] * 3


def test_rows_from_the_future_are_settled_in_the_file(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path)
    ledger.append(order(-400 * DAY))
    assert ledger.settle(NOW) == [order()]
    assert LedgerFile(tmp_path).entries() == [order()]


def test_a_ledger_where_all_is_settled_is_not_written(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path)
    assert ledger.settle(NOW) == []
    assert not (tmp_path / "ledger.jsonl").exists()
    ledger.append(order())
    before = (tmp_path / "ledger.jsonl").stat()
    ledger.settle(NOW)
    assert (tmp_path / "ledger.jsonl").stat().st_ino == before.st_ino


def test_of_rows_that_say_the_same_the_newest_is_taken_out(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path)
    other = replace(order(), kind="failure", names=("other.test",))
    for row in (order(DAY), order(HOUR), other):
        ledger.append(row)
    ledger.remove(order())
    assert ledger.entries() == [order(DAY), other]
    ledger.remove(replace(order(), directory="https://other.test/"))
    assert ledger.entries() == [order(DAY), other]


def test_a_ledger_that_is_not_ours_to_read_is_told_and_not_taken_for_empty(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        LedgerFile(tmp_path).entries()


@pytest.mark.process
def test_rows_of_many_processes_are_all_kept(tmp_path: Path) -> None:
    def append() -> None:
        for _ in range(20):
            ledger = LedgerFile(tmp_path)
            with ledger.locked(SystemClock(), 30):
                ledger.settle(NOW)
                ledger.append(order())

    pids = [start_child(append) for _ in range(4)]
    assert [wait_for(pid) for pid in pids] == [DONE] * 4
    assert LedgerFile(tmp_path).entries() == [order()] * 80


# --- a ledger that is lost --------------------------------------------------------------------------------

GENERATION = "20261124T053000Z-3f9a01c2"


def publish(
    certs_dir: Path,
    age: timedelta,
    sha256: str = "ab" * 32,
    domain: str = DOMAIN,
    *,
    published_at: datetime | None = None,
) -> None:
    """Let a pair have been issued this long ago, and published then or at another moment."""
    facts, origin = replace(FACTS, names=(domain,), sha256=sha256), replace(ORIGIN, issued_at=NOW - age)
    Store(certs_dir, domain).publish(b"chain", b"key", facts, origin, published_at or NOW - age)


def test_a_lost_ledger_is_as_far_as_the_generations_of_all_sites_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tmp_path / "certs", tmp_path / "more"
    publish(first, 2 * HOUR)
    publish(first, HOUR, "cd" * 32)
    publish(second, DAY, "ef" * 32, f"git.{DOMAIN}")
    ledger = LedgerFile(tmp_path / "state", [first, second])
    rows = [replace(issued(DAY), names=(f"git.{DOMAIN}",)), issued(2 * HOUR), issued(HOUR)]
    assert ledger.entries() == rows
    assert not (tmp_path / "state").exists()
    # From the first count on they stand in the file, and what is pruned later is not forgotten.
    assert ledger.settle(NOW) == rows
    assert "ledger.rebuilt" in caplog.text
    shutil.rmtree(first)
    ledger.append(order())
    assert ledger.settle(NOW) == ledger.entries() == [*rows, order()]
    assert caplog.text.count("ledger.rebuilt") == 1


def test_a_ledger_that_is_there_counts_no_generation_twice(tmp_path: Path) -> None:
    publish(tmp_path / "certs", HOUR)
    ledger = LedgerFile(tmp_path, [tmp_path / "certs"])
    ledger.append(order(HOUR))
    assert ledger.entries() == ledger.settle(NOW) == [order(HOUR)]


def test_a_certificate_that_was_published_twice_was_ordered_once(tmp_path: Path) -> None:
    """As after its files were restored."""
    for published_at in (NOW - HOUR, NOW):
        publish(tmp_path, HOUR, published_at=published_at)
    assert LedgerFile(tmp_path / "state", [tmp_path]).entries() == [issued(HOUR)]


@pytest.mark.parametrize("meta", [None, b"", b"[]", b"[" * 100_000, b'{"directory": 5}'])
def test_a_generation_whose_facts_are_lost_may_have_been_anything(tmp_path: Path, meta: bytes | None) -> None:
    folder = tmp_path / ".certbotless" / DOMAIN / GENERATION
    folder.mkdir(parents=True)
    if meta is not None:
        (folder / "meta.json").write_bytes(meta)
    assert LedgerFile(tmp_path / "state", [tmp_path]).entries() == [replace(UNREADABLE, at=NOW)]


def test_what_is_no_generation_is_no_order(tmp_path: Path) -> None:
    home = tmp_path / ".certbotless" / DOMAIN
    for name in ("aside-20261124T053000Z-3f9a01c2", "20261124", "current"):
        (home / name).mkdir(parents=True)
    (tmp_path / ".certbotless" / "file").write_text("")
    assert LedgerFile(tmp_path / "state", [tmp_path, tmp_path / "none"]).entries() == []
