"""What a run leaves for the next one: the states of sites, and the accounts."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.children import DONE, REFUSED, limit_file_size, run_in_child
from support.fakes import FakeClock
from support.files import KINDS, in_time, mode_of, plant
from support.languages import chinese
from support.pairs import DOMAIN, NOW, ORIGIN

from certbotless.base import errors
from certbotless.base.errors import (
    AccountRefused,
    CertbotlessError,
    DnsRefused,
    SecretUnreadable,
    StoreError,
    ZoneNotFound,
)
from certbotless.base.times import rfc3339
from certbotless.base.words import Text, _
from certbotless.model.deployed import Acted, Restarting
from certbotless.model.memory import (
    CaTrouble,
    Failure,
    OrderInFlight,
    SavedPair,
    SiteState,
    TxtValue,
    WrittenRecord,
)
from certbotless.state.site import Accounts, SiteFile, known_sites

DIRECTORY = ORIGIN.directory
RECORDS = {"devbox.sweetlove.test": WrittenRecord(value="10.79.40.213", ttl_s=600, at=NOW)}
RECORDS6 = {DOMAIN: WrittenRecord(value="fd00::5", ttl_s=600, at=NOW)}
WHOLE = SiteState(
    zone="sweetlove.test",
    digest="ab" * 32,
    records={"A": RECORDS, "AAAA": RECORDS6},
    our_values={"A": {DOMAIN: ("10.79.40.7", "10.79.40.213")}, "AAAA": {DOMAIN: ("fd00::5",)}},
    order=OrderInFlight(url="https://ca.test/order/1", directory=DIRECTORY, names=(DOMAIN,)),
    txt=(TxtValue(fqdn=f"_acme-challenge.{DOMAIN}", value="gfj9Xq", zone="sweetlove.test", record_id="1"),),
    ports={"registry": 5000},
    restarting={"registry": Restarting(id="0123456789ab", started_at=NOW)},
    failures={"order": Failure(at=NOW, what="refused", hint="wait", retry_at=NOW, count=2)},
)
PAIR = SavedPair.of(b"chain", b"-----BEGIN PRIVATE KEY-----", ORIGIN, NOW)


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
    fields = WHOLE.to_dict()
    assert site.change(**fields) == WHOLE
    assert SiteFile(tmp_path, DOMAIN).load() == WHOLE


def test_a_file_has_the_fields_that_older_versions_read(site: SiteFile, tmp_path: Path) -> None:
    """Those of each type of record for themselves."""
    site.change(**WHOLE.to_dict())
    saved = json.loads(path_of(tmp_path).read_bytes())
    assert saved["records"][DOMAIN]["value"] == "10.79.40.213"
    assert saved["records6"][DOMAIN]["value"] == "fd00::5"
    assert saved["our_values"] == {DOMAIN: ["10.79.40.7", "10.79.40.213"]}
    assert saved["our_values6"] == {DOMAIN: ["fd00::5"]}
    site.change(records={}, our_values={})
    saved = json.loads(path_of(tmp_path).read_bytes())
    assert [saved[f"{name}{six}"] for name in ("records", "our_values") for six in ("", "6")] == [{}] * 4
    assert "is_lost" not in saved


def test_a_failure_is_spoken_by_another_process_in_the_language_of_its_reader(
    site: SiteFile, tmp_path: Path
) -> None:
    """Its English is in the file as before, so that an older version reads it, and one from that is read."""
    what = Text("{}: {}", "a.example.com", Text("{} days", 3))
    failed = Failure(at=NOW, what=what, hint=Text("try again"), retry_at=NOW, count=1)
    site.change(failures={"order": failed})
    kept = json.loads(path_of(tmp_path).read_text())["failures"]["order"]
    assert (kept["what"], kept["hint"]) == ("a.example.com: 3 days", "try again")
    (read,) = SiteFile(tmp_path, DOMAIN).load().failures.values()
    assert read == failed
    with chinese():
        assert (_(read.what), _(read.advice)) == ("a.example.com：3 天", "a.example.com：3 天；请重试")
        # What has taken its place is told, not what it was made of.
        assert _(replace(read, what="a full disk").what) == "a full disk"
        assert _(Failure.validate({**kept, "parts": {}}).what) == "a.example.com: 3 days"


def test_a_change_leaves_the_other_fields_alone(site: SiteFile) -> None:
    site.change(zone="sweetlove.test")
    after = site.change(records={"A": RECORDS})
    assert after == SiteState(zone="sweetlove.test", records={"A": RECORDS})
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
    tmp_path: Path, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """By a run before all else, or by a change."""
    path_of(tmp_path).parent.mkdir()
    kept = path_of(tmp_path).with_suffix(".json.unreadable")
    for zone in ("", "sweetlove.test"):
        site = SiteFile(tmp_path, DOMAIN)
        path_of(tmp_path).write_bytes(broken)
        assert site.load() == SiteState(is_lost=True)
        assert "state.unreadable" in caplog.text
        if zone:
            site.change(zone=zone)
        else:
            site.tidy()
        assert site.load() == site.state == SiteState(zone=zone)
        assert kept.read_bytes() == broken
        kept.unlink()


@pytest.mark.parametrize("broken", [*BROKEN, None])
def test_a_state_that_is_damaged_or_lost_while_a_run_has_it_in_hand_is_whole_after_the_next_change(
    site: SiteFile, tmp_path: Path, broken: bytes | None
) -> None:
    site.change(**WHOLE.to_dict())
    if broken is None:
        path_of(tmp_path).unlink()
    else:
        path_of(tmp_path).write_bytes(broken)
    assert site.put("ports", "mirror", 5001) == site.state
    assert site.load() == replace(WHOLE, ports={"registry": 5000, "mirror": 5001})


def test_what_could_not_be_written_is_not_in_hand_either(site: SiteFile, tmp_path: Path) -> None:
    """What the disk has then is read again: a write may also fail after its rename."""
    site.change(**WHOLE.to_dict())
    sites, kept = tmp_path / "sites", tmp_path / "kept"
    sites.rename(kept)
    sites.write_text("in the way")
    with pytest.raises(StoreError, match="Not a directory"):
        site.change(zone="another.test")
    sites.unlink()
    kept.rename(sites)
    assert site.state == WHOLE


def test_what_a_newer_version_wrote_is_kept_before_we_write_over_it(site: SiteFile, tmp_path: Path) -> None:
    newer = json.dumps({"zone": "sweetlove.test", "of_tomorrow": [1, 2]})
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_text(newer)
    assert site.load() == SiteState(zone="sweetlove.test")
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


@pytest.mark.parametrize("date", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_date_beyond_the_calendar_costs_neither_the_state_nor_a_sum(
    site: SiteFile, tmp_path: Path, date: str
) -> None:
    site.change(**WHOLE.to_dict())
    path = tmp_path / "sites" / f"{DOMAIN}.json"
    path.write_text(path.read_text().replace("2026-11-24T05:30:00Z", date))
    state = site.load()
    assert not state.is_lost
    for moment in (
        state.records["A"][DOMAIN].at,
        state.failures["order"].at,
        state.failures["order"].retry_at,
    ):
        assert abs(moment - NOW) < timedelta(days=200 * 366)
        assert rfc3339(moment + timedelta(days=3650)) > rfc3339(moment - timedelta(days=3650))


def test_a_number_that_nothing_counts_to_is_the_nearest_possible_one(site: SiteFile, tmp_path: Path) -> None:
    site.change(**WHOLE.to_dict())
    path = path_of(tmp_path)
    text = path.read_text()
    assert '"count": 2' in text
    for number, found in ((-5, 0), (10**400, 1_000_000)):
        path.write_text(text.replace('"count": 2', f'"count": {number}'))
        assert site.load().failures["order"].count == found


@pytest.mark.process
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_in_place_of_a_state_is_told(site: SiteFile, tmp_path: Path, kind: str) -> None:
    path_of(tmp_path).parent.mkdir()
    plant(kind, path_of(tmp_path))

    def load() -> None:
        with pytest.raises(StoreError, match=f"it is {kind}"):
            site.load()
        site.tidy()

    assert in_time(load) == DONE


@pytest.mark.process
def test_an_order_needs_room_for_its_state(site: SiteFile, tmp_path: Path) -> None:
    def probe() -> None:
        limit_file_size(32 * 1024)
        site.probe_writable()

    assert run_in_child(probe) == REFUSED
    assert list((tmp_path / "sites").iterdir()) == []
    site.probe_writable()
    assert list((tmp_path / "sites").iterdir()) == []


def test_a_state_cut_off_anywhere_is_read_whole_or_not_at_all(site: SiteFile, tmp_path: Path) -> None:
    site.change(**WHOLE.to_dict())
    whole = path_of(tmp_path).read_bytes()
    for length in range(len(whole)):
        path_of(tmp_path).write_bytes(whole[:length])
        assert site.load() == SiteState(is_lost=True)


def test_an_entry_is_put_in_place_of_its_own_and_taken_out(site: SiteFile) -> None:
    for name, port in (("a", 1), ("b", 2), ("a", 3), ("b", None)):
        site.put("ports", name, port)
    assert site.load().ports == {"a": 3}


def test_a_copy_knows_where_its_pair_came_from() -> None:
    assert (PAIR.chain, PAIR.key[:10], PAIR.origin, PAIR.not_after) == ("chain", "-----BEGIN", ORIGIN, NOW)


def test_half_a_character_of_anybody_elses_is_told_and_crashes_nothing(site: SiteFile) -> None:
    """A name of a file in an error has become an escape; an id of the API's cannot be kept as it is."""
    error = CertbotlessError("/certs/caf\udce9", hint="\udce9")
    site.put("failures", "order", Failure(at=NOW, what=error.message, hint=error.hint, retry_at=NOW, count=1))
    assert site.load().failures["order"].what == r"/certs/caf\udce9"
    with pytest.raises(StoreError, match="cannot be written"):
        site.change(zone="\ud800")


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


def test_orders_in_flight_at_several_cas_share_a_key(site: SiteFile) -> None:
    """It goes with the last of them. An order at a CA that is not asked any more goes at once."""
    a, b, c = (OrderInFlight(url=f"https://{n}/1", directory=f"https://{n}", names=(DOMAIN,)) for n in "abc")
    site.begin_order(a, {b.directory})
    site.save_order_key(b"key")
    site.begin_order(b, {a.directory})
    assert site.load().in_flight == (a, b)
    assert (site.load().order_at(b.directory), site.load().order_at(c.directory)) == (b, None)
    site.drop_order({b.directory})
    site.tidy()
    assert (site.load().in_flight, site.order_key()) == ((b,), b"key")
    site.begin_order(c)
    assert (site.load().in_flight, site.order_key()) == ((c,), None)
    site.drop_order()
    assert site.load().in_flight == ()


def test_the_file_has_nothing_of_lists_where_there_is_none(site: SiteFile, tmp_path: Path) -> None:
    """So an older version reads it, and nothing changes with an upgrade."""
    site.change(order=WHOLE.order)
    path = tmp_path / "sites" / f"{DOMAIN}.json"
    assert {"orders", "troubles"}.isdisjoint(json.loads(path.read_bytes()))
    trouble = CaTrouble(at=NOW, what="no", since=NOW, faults=2)
    site.change(troubles={"letsencrypt": trouble})
    assert site.load().troubles == {"letsencrypt": trouble}
    site.change(troubles={})
    assert {"orders", "troubles"}.isdisjoint(json.loads(path.read_bytes()))


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
    with pytest.raises(StoreError, match="is damaged, and was moved aside"):
        site.saved_pair()
    assert (tmp_path / "sites" / f"{DOMAIN}.pair.unusable").read_bytes() == broken
    assert not site.has_pair


def test_a_copy_that_cannot_be_read_is_told_and_stays(site: SiteFile, tmp_path: Path) -> None:
    path = tmp_path / "sites" / f"{DOMAIN}.pair"
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot read"):
        site.saved_pair()
    assert path.exists()


def test_a_copy_that_cannot_be_seen_is_none(tmp_path: Path) -> None:
    """As for a user who may not enter the folder: `status` is for all, and says what it cannot read."""
    assert SiteFile(tmp_path, "x" * 300).has_pair is False


def test_a_copy_that_is_gone_is_told(site: SiteFile) -> None:
    with pytest.raises(StoreError, match="is missing"):
        site.saved_pair()


def test_a_key_is_in_no_repr() -> None:
    assert "PRIVATE KEY" not in repr(PAIR)


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
    accounts.save_url("")
    assert accounts.load() == (b"key", "")


def test_a_change_of_the_key_that_is_made_again_keeps_the_key_before_it(
    accounts: Accounts, tmp_path: Path
) -> None:
    """As where its URL could not be kept the first time."""
    for key in (b"old", b"new", b"new"):
        accounts.save_key(key)
    [kept] = tmp_path.glob("accounts/*/key.pem.old")
    assert kept.read_bytes() == b"old"


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


def test_tidying_a_site_of_which_nothing_is_remembered_leaves_nothing(tmp_path: Path) -> None:
    SiteFile(tmp_path, DOMAIN).tidy()
    assert list(tmp_path.rglob("*")) == []


def test_a_failure_blocks_until_its_retry_time_unless_it_lies_in_the_future() -> None:
    hour = timedelta(hours=1)
    failure = Failure(at=NOW, what="refused", hint="", retry_at=NOW + hour, count=1)
    moments = [NOW, NOW + hour - timedelta(seconds=1), NOW + hour, NOW + 9 * hour]
    assert [failure.blocks_at(moment) for moment in moments] == [True, True, False, False]
    # Noted by a clock that was ahead by two hours.
    assert not failure.blocks_at(NOW - 2 * hour)


def test_a_copy_is_told_without_being_touched(tmp_path: Path) -> None:
    site = SiteFile(tmp_path, DOMAIN)
    assert site.copy() is None
    site.save_pair(PAIR)
    assert site.copy() == PAIR
    path = tmp_path / "sites" / f"{DOMAIN}.pair"
    path.write_bytes(b"{")
    assert site.copy() is None
    assert path.read_bytes() == b"{"


@pytest.mark.parametrize(
    "kind",
    [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
        and issubclass(kind, DnsRefused | ZoneNotFound | AccountRefused | SecretUnreadable)
    ],
)
def test_another_secret_lets_go_what_a_secret_can_cure_and_nothing_else(kind: str) -> None:
    of_secret = Failure(at=NOW, what="refused", hint="", retry_at=NOW, count=2, kind=kind)
    other = replace(of_secret, kind="DnsUnavailable")
    state = SiteState(
        digest="2:a",
        file_digest="2:f",
        failures={"record": of_secret, "deploy:web": other},
        acted={"web": Acted(sha256="ab", count=2)},
        restored=(NOW,),
    )
    assert state.under("2:a", "2:f") == state
    rotated = state.under("2:b", "2:f")
    assert (rotated.failures, rotated.acted, rotated.restored) == (
        {"deploy:web": other},
        state.acted,
        (NOW,),
    )
    edited = state.under("2:b", "2:g")
    assert (edited.failures, edited.restored, edited.acted["web"].count) == ({}, (), 0)


def test_what_an_older_version_noted_counts_under_the_configuration_of_now() -> None:
    """Its digests were made in another way. No order may follow an upgrade."""
    failure = Failure(at=NOW, what="refused", hint="", retry_at=NOW, count=2, kind="DnsRefused")
    state = SiteState(
        digest="ab" * 32, failures={"order": failure}, acted={"web": Acted(sha256="ab", count=2)}
    )
    assert state.under("2:a", "2:f") == replace(state, digest="2:a", file_digest="2:f")
