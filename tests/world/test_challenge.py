"""TXT records come, are journalled, and go again, whatever happens in between."""

import json
from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path

import josepy as jose
import pytest
from acme import challenges
from support.fakes import FakeZone, FakeZones
from support.scripted_ca import base64url

from certbotless.base.errors import DnsRefused, DnsUnavailable, Interrupted, StoreError
from certbotless.model.memory import TxtValue
from certbotless.model.records import Record
from certbotless.state.site import SiteFile
from certbotless.world.acme.challenge import TXT_TTL_S, OpenZone, presented, sweep

ZONE = "sweetlove.test"
FQDN = f"_acme-challenge.devbox.{ZONE}"
TXT = TxtValue(FQDN, "gfj9Xq1111111111111111111111111111111Rg85nM", ZONE)
OTHER = TxtValue(FQDN, "wildcard2222222222222222222222222222222Rg8n", ZONE)


@pytest.fixture
def zone() -> FakeZone:
    return FakeZone(ZONE, [Record(FQDN, "TXT", "of another host", 600)])


@pytest.fixture
def journal(tmp_path: Path) -> SiteFile:
    return SiteFile(tmp_path, f"devbox.{ZONE}")


def opened(*zones: FakeZone) -> OpenZone:
    """Return what opens these zones by their names, and no other."""
    return {zone.name: zone for zone in zones}.__getitem__


def values(zone: FakeZone) -> set[str]:
    """The TXT values of ours that are in the zone; the other host's must be there too."""
    held = {record.value for record in zone.held("TXT")}
    assert "of another host" in held
    return held - {"of another host"}


def test_values_are_there_while_the_block_runs_and_gone_after_it(zone: FakeZone, journal: SiteFile) -> None:
    with presented(opened(zone), journal, [TXT, OTHER]):
        assert values(zone) == {TXT.value, OTHER.value}
        assert {record.ttl_s for record in zone.held("TXT")} == {TXT_TTL_S}
    assert values(zone) == set()
    assert journal.load().txt == ()


def test_the_journal_holds_each_record_by_its_id_and_clean_up_looks_for_nothing(
    zone: FakeZone, journal: SiteFile
) -> None:
    with presented(opened(zone), journal, [TXT]):
        [noted] = journal.load().txt
        assert replace(noted, record_id="") == TXT
        assert [r.value for r in zone.held() if r.record_id == noted.record_id] == [TXT.value]
    assert [call.method for call in zone.calls] == ["add", "delete"]


def test_without_values_and_with_an_empty_journal_no_call_is_made(zone: FakeZone, journal: SiteFile) -> None:
    with presented(opened(zone), journal, []):
        pass
    sweep(opened(zone), journal)
    assert zone.calls == []


@pytest.mark.parametrize("error", [ZeroDivisionError(), Interrupted("asked to stop"), KeyboardInterrupt()])
def test_values_are_gone_however_the_block_ends(
    zone: FakeZone, journal: SiteFile, error: BaseException
) -> None:
    with pytest.raises(type(error)), presented(opened(zone), journal, [TXT, OTHER]):
        raise error
    assert values(zone) == set()
    assert journal.load().txt == ()


def test_when_one_cannot_be_made_the_others_go_again(zone: FakeZone, journal: SiteFile) -> None:
    # The zone has the second value already, disabled: not ours to enable.
    zone.put(Record(FQDN, "TXT", OTHER.value, 600, is_enabled=False))
    with pytest.raises(DnsRefused, match="disabled"), presented(opened(zone), journal, [TXT, OTHER]):
        pytest.fail("the block must not run")
    assert values(zone) == {OTHER.value}
    # A clear no: what stands there is not ours to sweep.
    assert journal.load().txt == ()


@pytest.mark.row(38)
def test_the_error_of_the_block_is_not_hidden_by_one_of_the_clean_up(
    zone: FakeZone, journal: SiteFile, caplog: pytest.LogCaptureFixture
) -> None:
    zone.fail("delete", DnsUnavailable("no connection"))
    with pytest.raises(ZeroDivisionError), presented(opened(zone), journal, [TXT, OTHER]):
        raise ZeroDivisionError
    assert "txt.left" in caplog.text
    # The second one was cleaned up all the same.
    assert values(zone) == {TXT.value}
    assert [txt.value for txt in journal.load().txt] == [TXT.value]
    sweep(opened(zone), journal)
    assert values(zone) == set()
    assert journal.load().txt == ()


@pytest.mark.parametrize("is_made", [True, False])
def test_what_an_answer_that_never_came_left_is_found_by_its_value(
    zone: FakeZone, journal: SiteFile, is_made: bool
) -> None:
    zone.fail("add", DnsUnavailable("no connection"), after_change=is_made)
    with pytest.raises(DnsUnavailable), presented(opened(zone), journal, [TXT]):
        pytest.fail("the block must not run")
    assert values(zone) == ({TXT.value} if is_made else set())
    assert journal.load().txt == (TXT,)
    sweep(opened(zone), journal)
    assert values(zone) == set()
    assert journal.load().txt == ()


class NoRoomForIds(SiteFile):
    """A journal that takes the intent, but cannot keep the id."""

    def note(self, txt: TxtValue) -> None:
        if txt.record_id:
            raise StoreError("no space left on device")
        super().note(txt)


class NoRoomToForget(SiteFile):
    """A journal that cannot be made shorter."""

    def forget(self, txt: TxtValue) -> None:
        raise StoreError("no space left on device")


def test_a_journal_that_fails_at_the_end_hides_no_error_and_leaves_no_record(
    zone: FakeZone, tmp_path: Path
) -> None:
    journal = NoRoomToForget(tmp_path, "devbox")
    with pytest.raises(ZeroDivisionError), presented(opened(zone), journal, [TXT, OTHER]):
        raise ZeroDivisionError
    assert values(zone) == set()


def test_a_record_whose_id_cannot_be_journalled_goes_again(zone: FakeZone, tmp_path: Path) -> None:
    journal = NoRoomForIds(tmp_path, "devbox")
    with pytest.raises(StoreError), presented(opened(zone), journal, [TXT]):
        pytest.fail("the block must not run")
    assert values(zone) == set()
    assert journal.load().txt == ()


def test_nothing_is_added_before_its_intent_is_on_disk(zone: FakeZone, tmp_path: Path) -> None:
    (tmp_path / "sites").write_text("in the way")
    with pytest.raises(StoreError), presented(opened(zone), SiteFile(tmp_path, "devbox"), [TXT]):
        pytest.fail("the block must not run")
    assert zone.calls == []


@pytest.mark.row(37)
def test_a_sweep_deletes_exactly_what_the_journal_says(zone: FakeZone, journal: SiteFile) -> None:
    ours = zone.put(Record(FQDN, "TXT", TXT.value, 600))
    beside = [
        Record(FQDN, "TXT", TXT.value + "x", 600),
        Record(FQDN, "CNAME", TXT.value, 600, line="telecom"),
        Record(f"a.{FQDN}", "TXT", TXT.value, 600),
    ]
    for record in beside:
        zone.put(record)
    journal.note(replace(TXT, record_id=ours))
    sweep(opened(zone), journal)
    assert [(r.fqdn, r.type, r.value) for r in zone.held()] == [
        *((r.fqdn, r.type, r.value) for r in reversed(beside)),
        (FQDN, "TXT", "of another host"),
    ]
    assert journal.load().txt == ()


@pytest.mark.row(37)
def test_an_id_that_now_holds_something_else_is_left_alone(zone: FakeZone, journal: SiteFile) -> None:
    journal.note(replace(TXT, record_id=zone.put(Record(FQDN, "TXT", "written by somebody else", 600))))
    sweep(opened(zone), journal)
    assert "written by somebody else" in values(zone)
    assert journal.load().txt == ()


def test_a_sweep_that_fails_has_tried_all_and_is_left_to_the_next_one(
    zone: FakeZone, journal: SiteFile
) -> None:
    journal.note(replace(TXT, record_id=zone.put(Record(FQDN, "TXT", TXT.value, 600))))
    journal.note(replace(OTHER, record_id=zone.put(Record(FQDN, "TXT", OTHER.value, 600))))
    zone.fail("records", DnsUnavailable("no connection"))
    with pytest.raises(DnsUnavailable, match="no connection"):
        sweep(opened(zone), journal)
    assert values(zone) == {TXT.value}
    sweep(opened(zone), journal)
    assert values(zone) == set()


def test_what_is_left_in_a_zone_that_is_gone_is_forgotten_with_a_warning(
    zone: FakeZone, journal: SiteFile, caplog: pytest.LogCaptureFixture
) -> None:
    gone = TxtValue("_acme-challenge.devbox.gone.test", OTHER.value, "gone.test")
    journal.note(replace(gone, record_id="1"))
    journal.note(replace(TXT, record_id=zone.put(Record(FQDN, "TXT", TXT.value, 600))))

    sweep(FakeZones(zone).open, journal)
    assert (values(zone), journal.load().txt) == (set(), ())
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warning.startswith(f"txt.forgotten fqdn={gone.fqdn} zone=gone.test value={OTHER.value}")


def test_each_value_goes_to_its_own_zone(zone: FakeZone, journal: SiteFile) -> None:
    other_zone = FakeZone("other.test")
    elsewhere = TxtValue("_acme-challenge.other.test", OTHER.value, "other.test")
    with presented(opened(zone, other_zone), journal, [TXT, elsewhere]):
        assert values(zone) == {TXT.value}
        assert [record.value for record in other_zone.held()] == [OTHER.value]
    assert other_zone.held() == []
    journal.note(
        replace(elsewhere, record_id=other_zone.put(Record(elsewhere.fqdn, "TXT", OTHER.value, 600)))
    )
    sweep(opened(zone, other_zone), journal)
    assert other_zone.held() == []


def test_the_txt_value_is_that_of_the_rfc() -> None:
    vector = json.loads((Path(__file__).parents[1] / "vectors" / "txt_value.json").read_text())
    key = jose.JWK.from_json(vector["account_key"])
    assert isinstance(key, jose.JWKRSA)
    token = urlsafe_b64decode(vector["token"] + "=")
    assert base64url(key.thumbprint()) == vector["thumbprint"]
    assert challenges.DNS01(token=token).validation(key) == vector["txt_value"]
