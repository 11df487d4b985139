"""Plans of changes at a name, and what every `Zone` does: the one in memory and the one at the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fakes import FakeClock, FakeZone
from hypothesis import given
from hypothesis import strategies as st

from certbotless.alidns import Account, AlidnsAccount
from certbotless.errors import DnsRefused, RecordConflict
from certbotless.names import rr_of
from certbotless.records import Add, Delete, Record, Update, Zone, apply_changes, plan_changes
from certbotless.sandbox.alidns import AlidnsEmulator

ZONE = "sweetlove.test"
NAME = "devbox.sweetlove.test"
LAN, OLD_LAN, OTHER_LAN = "10.79.40.213", "10.79.40.7", "192.168.1.9"
PUBLIC, OTHER_PUBLIC = "47.96.12.34", "8.8.4.4"


def a_record(value: str = LAN, **fields: Any) -> Record:
    return Record(NAME, "A", value, **({"ttl_s": 600} | fields))


# --- plans ----------------------------------------------------------------------------------------------


def test_a_name_without_an_address_gets_one() -> None:
    assert plan_changes([], a_record()) == [Add(a_record())]


def test_a_record_that_is_right_is_left_alone() -> None:
    assert plan_changes([a_record(record_id="1")], a_record()) == []


@pytest.mark.parametrize("value", [OLD_LAN, PUBLIC])
def test_one_record_is_updated_whatever_it_held(value: str) -> None:
    old = a_record(value, record_id="1")
    assert plan_changes([old], a_record()) == [Update(a_record(record_id="1"), old)]


def test_a_ttl_that_differs_is_written() -> None:
    old = a_record(ttl_s=3600, record_id="1")
    assert plan_changes([old], a_record()) == [Update(a_record(record_id="1"), old)]


@pytest.mark.row(35)
def test_of_several_the_wanted_one_stays_and_private_ones_go() -> None:
    newest, wanted = a_record(OLD_LAN, record_id="2"), a_record(record_id="1")
    assert plan_changes([newest, wanted], a_record()) == [Delete(newest)]


def test_of_several_without_the_wanted_one_the_newest_is_updated() -> None:
    newest, oldest = a_record(OLD_LAN, record_id="2"), a_record(OTHER_LAN, record_id="1")
    assert plan_changes([newest, oldest], a_record()) == [
        Update(a_record(record_id="2"), newest),
        Delete(oldest),
    ]


@pytest.mark.row(35)
def test_another_public_address_is_for_a_person_to_decide() -> None:
    beside = [a_record(record_id="2"), a_record(PUBLIC, record_id="1")]
    with pytest.raises(DnsRefused) as refused:
        plan_changes(beside, a_record())
    assert repr(NAME) in refused.value.message
    assert repr(PUBLIC) in refused.value.message
    assert "delete" in refused.value.hint


def test_an_address_behind_a_providers_nat_is_not_taken_for_a_private_one() -> None:
    """100.64.0.0/10 (RFC 6598) is neither private nor global: it may be somebody else's."""
    with pytest.raises(RecordConflict):
        plan_changes([a_record(record_id="2"), a_record("100.64.0.7", record_id="1")], a_record())


@pytest.mark.row(35)
@pytest.mark.parametrize("is_newest", [True, False])
@pytest.mark.parametrize("ours", [[OLD_LAN], []], ids=["recorded as ours", "private"])
def test_another_public_address_is_never_overwritten_beside_one_that_may_be(
    is_newest: bool, ours: list[str]
) -> None:
    """Our address has changed: whichever of the two is the newer one, a person must decide."""
    theirs, old = a_record(PUBLIC, record_id="2"), a_record(OLD_LAN, record_id="1")
    with pytest.raises(RecordConflict, match=repr(PUBLIC)):
        plan_changes([theirs, old] if is_newest else [old, theirs], a_record(), ours=ours)


def test_another_public_address_that_we_once_wrote_goes() -> None:
    stale = a_record(PUBLIC, record_id="1")
    assert plan_changes([a_record(record_id="2"), stale], a_record(), ours=[PUBLIC]) == [Delete(stale)]


@pytest.mark.row(35)
def test_a_cname_at_the_name_is_for_a_person_to_decide() -> None:
    alias = Record(NAME, "CNAME", "elsewhere.test", 600, "1")
    with pytest.raises(DnsRefused, match=r"CNAME to 'elsewhere\.test'") as refused:
        plan_changes([alias], a_record())
    assert "delete the CNAME" in refused.value.hint


def test_a_disabled_cname_is_no_cname() -> None:
    alias = Record(NAME, "CNAME", "elsewhere.test", 600, "1", is_enabled=False)
    assert plan_changes([alias], a_record()) == [Add(a_record())]


VALUES = [LAN, OLD_LAN, OTHER_LAN, PUBLIC, OTHER_PUBLIC]


def stands_for_itself(record: Record) -> tuple[str, str, str]:
    """What makes a record one of its own at the service."""
    return record.type, record.value, record.line


address_records = st.builds(
    a_record,
    st.sampled_from(VALUES),
    ttl_s=st.sampled_from([600, 3600]),
    line=st.sampled_from(["default", "telecom"]),
    is_enabled=st.booleans(),
)
other_records = st.sampled_from(
    [
        Record(NAME, "TXT", "of somebody else", 600),
        Record(NAME, "AAAA", "fd00::1", 600),
        Record(NAME, "CNAME", "elsewhere.test", 600, is_enabled=False),
        Record(NAME, "CNAME", "elsewhere.test", 600),
        Record(f"a.{NAME}", "A", PUBLIC, 600),
        Record(ZONE, "A", OLD_LAN, 600),
    ]
)


@pytest.mark.row(35)
@given(
    st.lists(address_records | other_records, max_size=8, unique_by=lambda r: (r.fqdn, stands_for_itself(r))),
    st.sampled_from(VALUES),
    st.sets(st.sampled_from(VALUES)),
)
def test_a_plan_applied_leaves_an_empty_plan_and_touches_nothing_foreign(
    before: list[Record], value: str, ours: set[str]
) -> None:
    zone, wanted = FakeZone(ZONE, before), a_record(value)
    held = zone.held()

    def is_ours(record: Record) -> bool:
        at_name = (record.fqdn, record.type, record.line) == (NAME, "A", "default")
        return at_name and record.is_enabled

    try:
        changes = plan_changes(zone.records(NAME), wanted, ours=ours)
        apply_changes(zone, changes)
    except DnsRefused:
        assert zone.held() == held
        return
    assert plan_changes(zone.records(NAME), wanted, ours=ours) == []
    assert [r.value for r in zone.held() if is_ours(r)] == [value]
    assert [r for r in zone.held() if not is_ours(r)] == [r for r in held if not is_ours(r)]
    for change in changes:
        if isinstance(change, Delete):
            assert change.record.value in ours or change.record.value not in (PUBLIC, OTHER_PUBLIC)


@given(st.lists(st.sampled_from(VALUES[:3]), min_size=1, max_size=3, unique=True), st.sampled_from(VALUES))
def test_a_name_that_has_an_address_has_one_after_each_change(values: list[str], value: str) -> None:
    zone = FakeZone(ZONE, map(a_record, values))
    for change in plan_changes(zone.records(NAME), a_record(value)):
        apply_changes(zone, [change])
        assert zone.held("A")


# --- the contract of a zone -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bench:
    """A zone, and a hand in its console."""

    zone: Zone
    put: Callable[[Record], str]


@pytest.fixture(params=["in memory", "stand-in of Alidns"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "in memory":
        zone = FakeZone(ZONE)
        yield Bench(zone, zone.put)
        return
    with AlidnsEmulator([ZONE], access_key_id="id", access_key_secret="secret") as emulator:

        def put(record: Record) -> str:
            made = emulator.add(
                rr_of(record.fqdn, ZONE),
                record.type,
                record.value,
                ttl_s=record.ttl_s,
                line=record.line,
                status="ENABLE" if record.is_enabled else "DISABLE",
            )
            return made.record_id

        account = AlidnsAccount(Account(emulator.endpoint, "id", "secret"), FakeClock())
        yield Bench(account.open(ZONE), put)


def test_a_record_that_was_added_is_read_back_with_its_id(bench: Bench) -> None:
    record_id = bench.zone.add(a_record())
    assert record_id
    assert bench.zone.records(NAME) == [a_record(record_id=record_id)]


def test_the_apex_of_the_zone_is_a_name_like_others(bench: Bench) -> None:
    apex = replace(a_record(), fqdn=ZONE)
    record_id = bench.zone.add(apex)
    assert bench.zone.records(ZONE) == [replace(apex, record_id=record_id)]


def test_a_wildcard_is_a_name_like_others(bench: Bench) -> None:
    wildcard = replace(a_record(), fqdn=f"*.{NAME}")
    record_id = bench.zone.add(wildcard)
    assert bench.zone.records(f"*.{NAME}") == [replace(wildcard, record_id=record_id)]
    assert bench.zone.records(NAME) == []


def test_records_are_those_of_exactly_this_name(bench: Bench) -> None:
    bench.put(replace(a_record(), fqdn=f"a.{NAME}"))
    bench.put(replace(a_record(), fqdn=f"my-{NAME}"))
    bench.put(replace(a_record(), fqdn=ZONE))
    assert bench.zone.records(NAME) == []


def test_records_come_newest_first_of_every_type_line_and_status(bench: Bench) -> None:
    oldest = bench.put(a_record(OLD_LAN))
    middle = bench.put(Record(NAME, "TXT", "text", 600, line="telecom"))
    newest = bench.put(a_record(is_enabled=False))
    assert bench.zone.records(NAME) == [
        a_record(record_id=newest, is_enabled=False),
        Record(NAME, "TXT", "text", 600, middle, "telecom"),
        a_record(OLD_LAN, record_id=oldest),
    ]


def test_two_values_at_one_name_are_two_records(bench: Bench) -> None:
    first, second = bench.zone.add(a_record()), bench.zone.add(a_record(OLD_LAN))
    assert first != second
    assert {r.value for r in bench.zone.records(NAME)} == {LAN, OLD_LAN}


def test_a_record_that_is_there_already_is_adopted(bench: Bench) -> None:
    first = bench.put(a_record())
    assert bench.zone.add(a_record()) == first
    assert len(bench.zone.records(NAME)) == 1


def test_the_same_value_on_another_line_is_another_record(bench: Bench) -> None:
    other = bench.put(a_record(line="telecom"))
    assert bench.zone.add(a_record()) != other
    assert len(bench.zone.records(NAME)) == 2


def test_a_record_that_is_there_but_disabled_is_refused_and_left_as_it_is(bench: Bench) -> None:
    disabled = bench.put(a_record(is_enabled=False))
    with pytest.raises(DnsRefused, match="disabled"):
        bench.zone.add(a_record())
    assert bench.zone.records(NAME) == [a_record(record_id=disabled, is_enabled=False)]


def test_an_address_beside_a_cname_is_refused(bench: Bench) -> None:
    bench.put(Record(NAME, "CNAME", "elsewhere.test", 600))
    with pytest.raises(DnsRefused):
        bench.zone.add(a_record())
    assert [r.type for r in bench.zone.records(NAME)] == ["CNAME"]


@pytest.mark.row(36)
def test_a_ttl_below_the_least_of_the_plan_becomes_the_least(bench: Bench) -> None:
    bench.zone.add(a_record(ttl_s=60))
    [added] = bench.zone.records(NAME)
    assert added.ttl_s == 600
    bench.zone.update(replace(added, value=OLD_LAN, ttl_s=1))
    assert bench.zone.records(NAME) == [replace(added, value=OLD_LAN)]


def test_an_update_changes_the_record_with_this_id_alone(bench: Bench) -> None:
    beside, record_id = bench.put(a_record(OTHER_LAN)), bench.put(a_record(OLD_LAN))
    bench.zone.update(a_record(record_id=record_id, ttl_s=1200))
    assert bench.zone.records(NAME) == [
        a_record(record_id=record_id, ttl_s=1200),
        a_record(OTHER_LAN, record_id=beside),
    ]


def test_an_update_that_changes_nothing_is_no_error(bench: Bench) -> None:
    record_id = bench.put(a_record())
    bench.zone.update(a_record(record_id=record_id))
    assert bench.zone.records(NAME) == [a_record(record_id=record_id)]


def test_an_update_that_makes_two_records_the_same_is_refused(bench: Bench) -> None:
    first, second = bench.put(a_record()), bench.put(a_record(OLD_LAN))
    with pytest.raises(DnsRefused):
        bench.zone.update(a_record(record_id=second))
    assert bench.zone.records(NAME) == [a_record(OLD_LAN, record_id=second), a_record(record_id=first)]


def test_an_update_that_meets_a_disabled_record_is_refused(bench: Bench) -> None:
    bench.put(a_record(is_enabled=False))
    record_id = bench.put(a_record(OLD_LAN))
    with pytest.raises(DnsRefused):
        bench.zone.update(a_record(record_id=record_id))
    assert bench.zone.records(NAME)[0] == a_record(OLD_LAN, record_id=record_id)


def test_an_update_of_a_record_that_is_gone_is_refused(bench: Bench) -> None:
    record_id = bench.put(a_record())
    bench.zone.delete(record_id)
    with pytest.raises(DnsRefused):
        bench.zone.update(a_record(OLD_LAN, record_id=record_id))
    assert bench.zone.records(NAME) == []


def test_delete_takes_the_record_with_this_id_alone(bench: Bench) -> None:
    doomed, stays = bench.put(a_record()), bench.put(a_record(OLD_LAN))
    bench.zone.delete(doomed)
    assert bench.zone.records(NAME) == [a_record(OLD_LAN, record_id=stays)]


def test_deleting_what_is_gone_already_is_no_error(bench: Bench) -> None:
    record_id = bench.put(a_record())
    bench.zone.delete(record_id)
    bench.zone.delete(record_id)
    assert bench.zone.records(NAME) == []
