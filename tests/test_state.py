"""What a run leaves for the next one: site states, accounts, ledger, events, and the locks around them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from children import (
    DONE,
    REFUSED,
    at_each_step,
    die_at_first_byte,
    io_error,
    kill,
    limit_file_size,
    run_in_child,
    start_child,
    wait_for,
)
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from test_files import KINDS, in_time, plant

from certbotless.clock import Clock, SystemClock
from certbotless.errors import AlreadyRunning, Interrupted, StoreError
from certbotless.leaf import LeafFacts
from certbotless.ledger import UNREADABLE, Entry
from certbotless.state import (
    Accounts,
    ActionLock,
    Events,
    Failure,
    LedgerFile,
    OrderInFlight,
    Restarting,
    SavedPair,
    SiteFile,
    SiteState,
    Txt,
    WrittenRecord,
    daemon_lock,
    known_sites,
    running_daemon,
)
from certbotless.store import Origin, Store

DOMAIN = "devbox.sweetlove.test"
DIRECTORY = "https://ca.test/directory"
NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RECORDS = {"devbox.sweetlove.test": WrittenRecord(value="10.79.40.213", ttl_s=600, at=NOW)}
WHOLE = SiteState(
    zone="sweetlove.test",
    digest="ab" * 32,
    records=RECORDS,
    our_values={"devbox.sweetlove.test": ("10.79.40.7", "10.79.40.213")},
    order=OrderInFlight(url="https://ca.test/order/1", directory=DIRECTORY, names=(DOMAIN,)),
    txt=(Txt(fqdn=f"_acme-challenge.{DOMAIN}", value="gfj9Xq", zone="sweetlove.test", record_id="1"),),
    ports={"registry": 5000},
    restarting={"registry": Restarting(id="0123456789ab", started_at=NOW)},
    failures={"order": Failure(at=NOW, what="refused", hint="wait", retry_at=NOW, count=2)},
)
PAIR = SavedPair(
    chain="chain",
    key="-----BEGIN PRIVATE KEY-----",
    directory=DIRECTORY,
    account="https://ca.test/account/1",
    key_type="ec256",
    issued_at=NOW,
)


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(path.lstat().st_mode))


@pytest.fixture
def site(tmp_path: Path) -> SiteFile:
    return SiteFile(tmp_path, DOMAIN)


def path_of(tmp_path: Path) -> Path:
    return tmp_path / "sites" / f"{DOMAIN}.json"


# --- the state of a site ----------------------------------------------------------------------------------


def test_a_site_that_was_never_seen_has_an_empty_state(site: SiteFile, tmp_path: Path) -> None:
    assert site.load() == SiteState()
    assert list(tmp_path.iterdir()) == []


def test_every_field_goes_to_the_file_and_back(site: SiteFile, tmp_path: Path) -> None:
    fields = {name: getattr(WHOLE, name) for name in SiteState.model_fields}
    assert site.change(**fields) == WHOLE
    assert SiteFile(tmp_path, DOMAIN).load() == WHOLE


def test_a_change_leaves_the_other_fields_alone(site: SiteFile) -> None:
    site.change(zone="sweetlove.test")
    after = site.change(records=RECORDS)
    assert after == SiteState(zone="sweetlove.test", records=RECORDS)
    assert site.load() == after


def test_a_change_that_changes_nothing_writes_nothing(site: SiteFile, tmp_path: Path) -> None:
    site.change(zone="sweetlove.test")
    before = path_of(tmp_path).stat()
    site.change(zone="sweetlove.test")
    after = path_of(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_state_is_for_nobody_else_to_read(site: SiteFile, tmp_path: Path) -> None:
    state_dir = tmp_path / "var" / "state"
    SiteFile(state_dir, DOMAIN).change(zone="sweetlove.test")
    assert mode_of(state_dir) == "0o700"
    assert mode_of(state_dir / "sites") == "0o700"
    assert mode_of(path_of(state_dir)) == "0o600"


BROKEN = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"\xff\xfe",
    b'{"zone": 5}',
    b'{"records": {"devbox": {"value": "10.0.0.1"}}}',
    b"\0" * 4096,
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_state_that_cannot_be_read_is_set_aside_and_starts_anew(
    site: SiteFile, tmp_path: Path, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_bytes(broken)
    assert site.load() == SiteState(is_lost=True)
    assert "state.unreadable" in caplog.text
    site.change(zone="sweetlove.test")
    assert site.load() == SiteState(zone="sweetlove.test")
    assert path_of(tmp_path).with_suffix(".json.unreadable").read_bytes() == broken


def test_a_state_of_a_newer_version_is_read_as_far_as_we_know_it(site: SiteFile, tmp_path: Path) -> None:
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_text(json.dumps({"zone": "sweetlove.test", "of_tomorrow": [1, 2]}))
    assert site.load() == SiteState(zone="sweetlove.test")


@pytest.mark.parametrize("broken", BROKEN)
def test_a_run_sets_a_state_that_makes_no_sense_aside_before_all_else(
    site: SiteFile, tmp_path: Path, broken: bytes
) -> None:
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_bytes(broken)
    site.tidy()
    assert site.load() == SiteState()
    assert path_of(tmp_path).with_suffix(".json.unreadable").read_bytes() == broken


def test_what_a_newer_version_wrote_is_kept_before_we_write_over_it(site: SiteFile, tmp_path: Path) -> None:
    newer = json.dumps({"zone": "sweetlove.test", "of_tomorrow": [1, 2]})
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_text(newer)
    site.tidy()
    site.change(digest="ab")
    site.tidy()
    assert site.load() == SiteState(zone="sweetlove.test", digest="ab")
    assert path_of(tmp_path).with_suffix(".json.newer").read_text() == newer


def test_a_time_of_another_century_keeps_nothing_from_being_tried(site: SiteFile, tmp_path: Path) -> None:
    """As one flipped bit makes of 2026."""
    site.change(failures=WHOLE.failures)
    path = path_of(tmp_path)
    path.write_text(path.read_text().replace('"retry_at": "2026', '"retry_at": "6026'))
    assert site.load().failures["order"].retry_at == NOW + timedelta(days=8)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_in_place_of_a_state_is_told(site: SiteFile, tmp_path: Path, kind: str) -> None:
    path_of(tmp_path).parent.mkdir()
    plant(kind, path_of(tmp_path))

    def load() -> None:
        with pytest.raises(StoreError, match=f"it is {kind}"):
            site.load()
        site.tidy()

    assert in_time(load) == DONE


def test_an_order_needs_room_for_its_state(site: SiteFile, tmp_path: Path) -> None:
    def probe() -> None:
        limit_file_size(32 * 1024)
        site.probe_writable()

    assert run_in_child(probe) == REFUSED
    assert list((tmp_path / "sites").iterdir()) == []
    site.probe_writable()
    assert list((tmp_path / "sites").iterdir()) == []


def test_a_state_cut_off_anywhere_is_read_whole_or_not_at_all(site: SiteFile, tmp_path: Path) -> None:
    site.change(**{name: getattr(WHOLE, name) for name in SiteState.model_fields})
    whole = path_of(tmp_path).read_bytes()
    for length in range(len(whole)):
        path_of(tmp_path).write_bytes(whole[:length])
        assert site.load() == SiteState(is_lost=True)


def test_a_state_that_cannot_be_written_is_told(site: SiteFile, tmp_path: Path) -> None:
    (tmp_path / "sites").write_text("in the way")
    with pytest.raises(StoreError, match="Not a directory"):
        site.change(zone="sweetlove.test")


@pytest.mark.parametrize("fault", [kill, io_error])
def test_a_state_is_old_or_new_wherever_a_change_ends(tmp_path: Path, fault: Callable[[], None]) -> None:
    def prepare(step: int) -> Callable[[], object]:
        site = SiteFile(tmp_path / str(step), DOMAIN)
        site.change(zone="old", records=RECORDS)
        return lambda: site.change(zone="new")

    codes = list(at_each_step(prepare, fault))
    assert len(codes) > 3
    for step, code in enumerate(codes, start=1):
        site = SiteFile(tmp_path / str(step), DOMAIN)
        assert code == (-signal.SIGKILL if fault is kill else REFUSED)
        assert site.load() in [SiteState(zone=zone, records=RECORDS) for zone in ("old", "new")]
        assert site.change(zone="next") == SiteState(zone="next", records=RECORDS)


def test_known_sites_are_those_that_have_a_state(tmp_path: Path) -> None:
    assert known_sites(tmp_path) == []
    for domain in ("b.test", "a.test"):
        SiteFile(tmp_path, domain).change(zone="test")
    SiteFile(tmp_path, "a.test").save_pair(PAIR)
    with SiteFile(tmp_path, "c.test").locked(FakeClock(), 1):
        pass
    assert known_sites(tmp_path) == ["a.test", "b.test"]


# --- the order in flight and the pair last issued ---------------------------------------------------------


def test_the_key_of_an_order_is_kept_until_the_order_is_dropped(site: SiteFile, tmp_path: Path) -> None:
    assert site.order_key() is None
    site.change(order=WHOLE.order)
    site.save_order_key(b"key")
    assert site.order_key() == b"key"
    assert mode_of(tmp_path / "sites" / f"{DOMAIN}.order.key") == "0o600"
    site.drop_order()
    assert site.order_key() is None
    assert site.load().order is None
    site.drop_order()


def test_a_key_without_its_order_goes(site: SiteFile, tmp_path: Path) -> None:
    """As a run leaves it that is killed between the two when it drops an order."""
    site.change(order=WHOLE.order)
    site.save_order_key(b"key")
    site.tidy()
    assert site.order_key() == b"key"
    site.change(order=None)
    site.tidy()
    assert site.order_key() is None


def test_the_pair_last_issued_is_kept_until_it_is_set_aside(site: SiteFile, tmp_path: Path) -> None:
    had_pair = site.has_pair
    site.change(zone="sweetlove.test")
    site.save_pair(PAIR)
    assert (had_pair, site.has_pair) == (False, True)
    assert site.saved_pair() == PAIR
    assert mode_of(tmp_path / "sites" / f"{DOMAIN}.pair") == "0o600"
    site.set_pair_aside()
    site.set_pair_aside()
    assert not SiteFile(tmp_path, DOMAIN).has_pair
    assert (tmp_path / "sites" / f"{DOMAIN}.pair.unusable").exists()


@pytest.mark.parametrize("broken", [b"", b"{}", b'{"chain": 5}', b"\xff"])
def test_a_copy_that_makes_no_sense_is_told_and_set_aside(
    site: SiteFile, tmp_path: Path, broken: bytes
) -> None:
    site.change(zone="sweetlove.test")
    (tmp_path / "sites" / f"{DOMAIN}.pair").write_bytes(broken)
    with pytest.raises(StoreError, match="makes no sense, and was set aside"):
        site.saved_pair()
    assert (tmp_path / "sites" / f"{DOMAIN}.pair.unusable").read_bytes() == broken
    assert not site.has_pair


def test_a_copy_that_cannot_be_read_is_told_and_stays(site: SiteFile, tmp_path: Path) -> None:
    path = tmp_path / "sites" / f"{DOMAIN}.pair"
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot read"):
        site.saved_pair()
    assert path.exists()


def test_a_copy_that_is_gone_is_told(site: SiteFile) -> None:
    with pytest.raises(StoreError, match="is gone"):
        site.saved_pair()


def test_a_key_is_in_no_repr() -> None:
    assert "PRIVATE KEY" not in repr(PAIR)


KEPT: dict[str, Callable[[Path], object]] = {
    "order key": lambda state_dir: SiteFile(state_dir, DOMAIN).save_order_key(b"key"),
    "pair": lambda state_dir: SiteFile(state_dir, DOMAIN).save_pair(PAIR),
    "account key": lambda state_dir: Accounts(state_dir, DIRECTORY).save_key(b"key"),
}


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT.keys())
def test_a_key_is_nobody_elses_to_read_even_before_its_first_byte(
    tmp_path: Path, keep: Callable[[Path], object]
) -> None:
    SiteFile(tmp_path, DOMAIN).change(zone="sweetlove.test")
    with Accounts(tmp_path, DIRECTORY).locked(FakeClock(), 1):
        before = set(tmp_path.rglob("*"))

    def keep_and_die() -> None:
        os.umask(0)
        die_at_first_byte()
        keep(tmp_path)

    assert run_in_child(keep_and_die) == -signal.SIGXFSZ
    [left] = set(tmp_path.rglob("*")) - before
    assert (mode_of(left), left.read_bytes()) == ("0o600", b"")


# --- accounts ---------------------------------------------------------------------------------------------


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    accounts = Accounts(tmp_path, DIRECTORY)
    with accounts.locked(FakeClock(), 1):
        yield accounts


def test_an_account_is_kept_by_key_and_url(accounts: Accounts, tmp_path: Path) -> None:
    assert accounts.load() == (None, "")
    accounts.save_key(b"key")
    assert accounts.load() == (b"key", "")
    accounts.save_url("https://ca.test/account/1")
    assert Accounts(tmp_path, DIRECTORY).load() == (b"key", "https://ca.test/account/1")


def test_an_account_whose_url_is_forgotten_keeps_its_key(accounts: Accounts) -> None:
    accounts.save_key(b"key")
    accounts.save_url("https://ca.test/account/1")
    accounts.save_url("")
    assert accounts.load() == (b"key", "")


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"{}", b'{"url": 5}', b'{"url": null}', b"\xff"])
def test_a_url_that_cannot_be_read_is_none(accounts: Accounts, tmp_path: Path, broken: bytes) -> None:
    accounts.save_key(b"key")
    accounts.save_url("https://ca.test/account/1")
    [path] = tmp_path.glob("accounts/*/account.json")
    path.write_bytes(broken)
    assert accounts.load() == (b"key", "")


def test_each_directory_of_a_host_has_its_own_account(accounts: Accounts, tmp_path: Path) -> None:
    other = Accounts(tmp_path, f"{DIRECTORY}/other")
    with other.locked(FakeClock(), 1):
        accounts.save_key(b"one")
        other.save_key(b"two")
    assert (accounts.load()[0], other.load()[0]) == (b"one", b"two")


@given(st.text(), st.sampled_from(["https://{}", "https://{}/directory", "{}", "https://user@{}:1/"]))
def test_no_directory_leads_out_of_the_folder_of_accounts(text: str, form: str) -> None:
    directory = form.format(text)
    try:
        accounts = Accounts(Path("/state"), directory)
    except ValueError:
        return  # what urlsplit refuses, the configuration refuses
    home = vars(accounts)["_home"]
    assert home.parent == Path("/state/accounts")
    assert Path(os.path.normpath(home)) == home
    assert "\0" not in str(home)


def test_a_key_that_cannot_be_read_is_told_and_no_new_one_made(accounts: Accounts, tmp_path: Path) -> None:
    accounts.save_key(b"key")
    [path] = tmp_path.glob("accounts/*/key.pem")
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="cannot read") as refused:
        accounts.load()
    assert str(path) in refused.value.message
    assert "readable" in refused.value.hint


# --- the ledger -------------------------------------------------------------------------------------------


def order(age: timedelta = timedelta()) -> Entry:
    return Entry(NOW - age, "order", DIRECTORY, (DOMAIN,))


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
    other = replace(order(), kind="failure")
    for row in (order(DAY), order(HOUR), other):
        ledger.append(row)
    ledger.remove(order())
    assert ledger.entries() == [order(DAY), other]
    ledger.remove(replace(order(), directory="https://other.test/"))
    assert ledger.entries() == [order(DAY), other]


def test_a_row_that_does_not_fit_on_the_disk_is_told(tmp_path: Path) -> None:
    LedgerFile(tmp_path).append(order(timedelta(days=1)))
    size = (tmp_path / "ledger.jsonl").stat().st_size

    def append() -> None:
        limit_file_size(size + 10)
        LedgerFile(tmp_path).append(order())

    assert run_in_child(append) == REFUSED
    LedgerFile(tmp_path).append(order())
    assert LedgerFile(tmp_path).entries() == [order(timedelta(days=1)), order()]


def test_a_ledger_that_is_not_ours_to_read_is_told_and_not_taken_for_empty(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        LedgerFile(tmp_path).entries()


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
LEAF = LeafFacts((DOMAIN,), "ab" * 32, "CN=Example CA", NOW - DAY, NOW + 89 * DAY)


def publish(certs_dir: Path, age: timedelta, sha256: str = "ab" * 32, domain: str = DOMAIN) -> None:
    """Let a pair have been issued and published this long ago."""
    facts = replace(LEAF, names=(domain,), sha256=sha256)
    origin = Origin(DIRECTORY, "https://ca.test/account/1", "ec256", NOW - age)
    Store(certs_dir, domain).publish(b"chain", b"key", facts, origin, NOW - age)


def test_a_lost_ledger_is_as_far_as_the_generations_of_all_sites_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tmp_path / "certs", tmp_path / "more"
    publish(first, 2 * HOUR)
    publish(first, HOUR, "cd" * 32)
    publish(second, DAY, "ef" * 32, f"git.{DOMAIN}")
    ledger = LedgerFile(tmp_path / "state", [first, second])
    rows = [replace(order(DAY), names=(f"git.{DOMAIN}",)), order(2 * HOUR), order(HOUR)]
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
    publish(tmp_path, HOUR)
    facts = replace(LEAF, sha256="ab" * 32)
    origin = Origin(DIRECTORY, "https://ca.test/account/1", "ec256", NOW - HOUR)
    Store(tmp_path, DOMAIN).publish(b"chain", b"key", facts, origin, NOW)
    assert LedgerFile(tmp_path / "state", [tmp_path]).entries() == [order(HOUR)]


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


# --- events -----------------------------------------------------------------------------------------------


def test_an_event_is_a_line_of_json(tmp_path: Path) -> None:
    events = Events(tmp_path / "state")
    events.append(NOW, DOMAIN, "record.updated", 'old="1"\nnew="2"')
    events.append(NOW + timedelta(seconds=1), DOMAIN, "certificate.served", "最終")
    rows = [json.loads(line) for line in (tmp_path / "state" / "events.jsonl").read_text().splitlines()]
    assert rows == [
        {"at": "2026-11-24T05:30:00Z", "site": DOMAIN, "event": "record.updated", "text": 'old="1"\nnew="2"'},
        {"at": "2026-11-24T05:30:01Z", "site": DOMAIN, "event": "certificate.served", "text": "最終"},
    ]
    assert mode_of(tmp_path / "state" / "events.jsonl") == "0o600"


def test_events_start_a_new_file_when_the_old_one_is_large(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = Events(tmp_path)
    path.write_bytes(b"x" * ((1 << 20) + 1))
    events.append(NOW, DOMAIN, "record.updated", "")
    assert len(path.read_text().splitlines()) == 1
    assert (tmp_path / "events.jsonl.old").stat().st_size == (1 << 20) + 1


def test_the_last_events_of_a_site_are_told_in_order(tmp_path: Path) -> None:
    """Those in the older file too; lines that a full disk cut off, and other sites, are passed over."""
    events = Events(tmp_path)
    assert events.last(DOMAIN, 3) == []
    for i in range(3):
        events.append(NOW, DOMAIN, "record.updated", f"new=10.0.0.{i}")
        events.append(NOW, "other.example.com", "record.updated", "")
    path = tmp_path / "events.jsonl"
    path.replace(path.with_suffix(".jsonl.old"))
    path.write_text('{"at": "2026-11-\n[]\n"text"\n{"site": "' + DOMAIN + '"}\n')
    events.append(NOW, DOMAIN, "certificate.served", "x")
    assert [(event.at, event.event, event.text) for event in events.last(DOMAIN, 3)] == [
        (NOW, "record.updated", "new=10.0.0.1"),
        (NOW, "record.updated", "new=10.0.0.2"),
        (NOW, "certificate.served", "x"),
    ]


def test_an_event_that_cannot_be_told_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "events.jsonl").mkdir()
    Events(tmp_path).append(NOW, DOMAIN, "record.updated", "")
    assert "events.not_written" in caplog.text


# --- locks ------------------------------------------------------------------------------------------------

LOCKS: dict[str, Callable[[Path, Clock, float], Any]] = {
    "site": lambda state_dir, clock, timeout_s: SiteFile(state_dir, DOMAIN).locked(clock, timeout_s),
    "ledger": lambda state_dir, clock, timeout_s: LedgerFile(state_dir).locked(clock, timeout_s),
    "account": lambda state_dir, clock, timeout_s: Accounts(state_dir, DIRECTORY).locked(clock, timeout_s),
    "container": lambda state_dir, clock, timeout_s: ActionLock(state_dir, "0123", clock, timeout_s),
}
locks = pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())


@contextmanager
def held_by_another_process(enter: Callable[[], Any]) -> Iterator[int]:
    """Have a child hold what `enter` gives, for as long as the block runs or somebody kills the child."""
    ready, say_ready = os.pipe()

    def hold() -> None:
        with enter():
            os.write(say_ready, b"!")
            signal.pause()

    pid = start_child(hold)
    os.close(say_ready)
    assert os.read(ready, 1) == b"!"
    os.close(ready)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_for(pid)


@locks
def test_a_lock_that_is_free_is_taken_at_once(tmp_path: Path, lock: Callable[..., Any]) -> None:
    clock = FakeClock()
    for _ in range(2):
        with lock(tmp_path, clock, 10) as taken:
            assert not taken.was_waited_for
    assert clock.sleeps == []


@locks
def test_a_lock_that_another_process_holds_is_waited_for_and_then_given_up(
    tmp_path: Path, lock: Callable[..., Any]
) -> None:
    clock = FakeClock()
    with held_by_another_process(lambda: lock(tmp_path, SystemClock(), 1)):
        with (
            pytest.raises(StoreError, match="still locked after 10 s") as given_up,
            lock(tmp_path, clock, 10),
        ):
            pytest.fail("the lock is held")
        assert clock.monotonic() == pytest.approx(10)
        assert "try again later" in given_up.value.hint


@locks
def test_a_lock_ends_with_its_holder_however_that_ends(tmp_path: Path, lock: Callable[..., Any]) -> None:
    clock = FakeClock()
    with held_by_another_process(lambda: lock(tmp_path, SystemClock(), 1)) as pid:

        def kill_holder() -> None:
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        clock.on_sleep = kill_holder
        with lock(tmp_path, clock, 10) as taken:
            assert taken.was_waited_for
    assert len(clock.sleeps) == 1


def test_a_lock_that_is_waited_for_is_tried_often(tmp_path: Path, site: SiteFile) -> None:
    clock = FakeClock()
    with site.locked(FakeClock(), 1), pytest.raises(StoreError), site.locked(clock, 60):
        pytest.fail("the lock is held")
    assert clock.sleeps[0] <= 0.05
    assert max(clock.sleeps) <= 1


def test_a_stop_ends_the_wait_for_a_lock_and_leaves_nothing_open(site: SiteFile) -> None:
    clock = FakeClock()
    clock.stop()
    with site.locked(FakeClock(), 1):
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(Interrupted), site.locked(clock, 60):
            pytest.fail("the lock is held")
        assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("lock", "guarded"),
    [
        ("site", f"sites/{DOMAIN}.json"),
        ("site", f"sites/{DOMAIN}.order.key"),
        ("site", f"sites/{DOMAIN}.pair"),
        ("ledger", "ledger.jsonl"),
        ("account", "key.pem"),
        ("account", "account.json"),
    ],
)
def test_who_takes_a_lock_removes_what_a_killed_writer_has_left(
    tmp_path: Path, lock: str, guarded: str
) -> None:
    taken = LOCKS[lock](tmp_path, FakeClock(), 1)
    with taken:
        home = next(path.parent for path in tmp_path.rglob("*lock"))
    path = home / Path(guarded).name
    left = path.with_name(f".{path.name}.0123456789abcdef")
    kept = [path, path.with_name(f".{path.name}.bak"), path.with_name(".other.0123456789abcdef")]
    for each in (left, *kept):
        each.write_text("key")
    with LOCKS[lock](tmp_path, FakeClock(), 1):
        assert not left.exists()
    assert [each for each in kept if not each.exists()] == []


@pytest.mark.parametrize("kind", ["a named pipe", "a symbolic link", "a directory", "a socket"])
def test_a_look_at_a_lock_never_waits(tmp_path: Path, site: SiteFile, kind: str) -> None:
    (tmp_path / "sites").mkdir()
    plant(kind, tmp_path / "sites" / f"{DOMAIN}.lock")
    plant(kind, tmp_path / "daemon.lock")

    def look() -> None:
        assert not site.is_locked
        assert running_daemon(tmp_path) is None

    assert in_time(look) == DONE


def test_whether_a_run_is_at_work_is_seen_without_waiting(tmp_path: Path, site: SiteFile) -> None:
    seen = [site.is_locked]
    with held_by_another_process(lambda: SiteFile(tmp_path, DOMAIN).locked(SystemClock(), 1)):
        seen.append(site.is_locked)
    seen.append(site.is_locked)
    assert seen == [False, True, False]


def test_the_locks_of_two_sites_are_two_locks(tmp_path: Path, site: SiteFile) -> None:
    clock = FakeClock()
    with site.locked(clock, 1), SiteFile(tmp_path, "other.test").locked(clock, 1):
        pass
    assert clock.sleeps == []


def test_a_program_that_we_start_does_not_keep_our_lock(tmp_path: Path, site: SiteFile) -> None:
    with site.locked(FakeClock(), 1):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with site.locked(FakeClock(), 1) as taken:
            assert not taken.was_waited_for
    finally:
        child.kill()
        child.wait()


def test_a_lock_is_never_taken_through_a_link_that_somebody_planted(tmp_path: Path, site: SiteFile) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / f"{DOMAIN}.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError), site.locked(FakeClock(), 1):
        pytest.fail("no lock was to be had")
    assert not (tmp_path / "elsewhere").exists()


def test_of_threads_too_only_one_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with SiteFile(tmp_path, DOMAIN).locked(SystemClock(), 60):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


# --- the daemon's lock ------------------------------------------------------------------------------------


def test_a_second_daemon_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    with held_by_another_process(lambda: daemon_lock(tmp_path, SystemClock())) as pid:
        with (
            pytest.raises(AlreadyRunning, match=f"pid {pid} ") as refused,
            daemon_lock(tmp_path, FakeClock()),
        ):
            pytest.fail("the lock is held")
        assert str(tmp_path) in refused.value.message
        assert refused.value.hint


def test_a_running_daemon_is_known_by_its_pid_and_one_that_was_killed_is_not(tmp_path: Path) -> None:
    assert running_daemon(tmp_path) is None
    with held_by_another_process(lambda: daemon_lock(tmp_path, SystemClock())) as pid:
        assert running_daemon(tmp_path) == pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert running_daemon(tmp_path) is None
    with daemon_lock(tmp_path, FakeClock()):
        assert (tmp_path / "daemon.lock").read_text() == f"{os.getpid()}\n"
        assert running_daemon(tmp_path) == os.getpid()
    assert running_daemon(tmp_path) is None


def test_a_shorter_pid_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "daemon.lock").write_text("99999999999\n")
    with daemon_lock(tmp_path, FakeClock()):
        assert running_daemon(tmp_path) == os.getpid()


def test_a_look_at_the_lock_does_not_keep_a_daemon_from_starting(tmp_path: Path) -> None:
    (tmp_path / "daemon.lock").touch()
    looker = os.open(tmp_path / "daemon.lock", os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    clock = FakeClock()
    clock.on_sleep = lambda: fcntl.flock(looker, fcntl.LOCK_UN)
    with daemon_lock(tmp_path, clock):
        assert len(clock.sleeps) == 1
    os.close(looker)


def test_a_daemon_in_another_folder_is_another_daemon(tmp_path: Path) -> None:
    clock = FakeClock()
    with daemon_lock(tmp_path / "one", clock), daemon_lock(tmp_path / "two", clock):
        pass


@pytest.mark.row(6)
def test_of_many_daemons_that_start_at_once_one_runs(tmp_path: Path) -> None:
    reports, report = os.pipe()
    end, keep_running = os.pipe()

    def daemon() -> None:
        os.close(keep_running)
        try:
            with daemon_lock(tmp_path, SystemClock()):
                os.write(report, b"+")
                os.read(end, 1)
        except AlreadyRunning:
            os.write(report, b"-")

    pids = [start_child(daemon) for _ in range(8)]
    outcomes = b"".join(os.read(reports, 1) for _ in pids)
    os.close(keep_running)
    assert sorted(outcomes) == sorted(b"+-------")
    assert [wait_for(pid) for pid in pids] == [DONE] * 8
    for fd in (reports, report, end):
        os.close(fd)
