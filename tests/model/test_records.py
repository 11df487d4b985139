"""Plans of changes at a name, and what every `Zone` does: the one in memory and the one at the service."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeClock, FakeZone

from certbotless.base.errors import DnsRefused, RecordConflict
from certbotless.base.names import rr_of
from certbotless.model.records import Change, Record, Zone, apply_changes, plan_changes
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.world.credentials.access import ApiAccess, Key
from certbotless.world.dns.alidns import AlidnsAccount

ZONE = "sweetlove.test"
NAME = "devbox.sweetlove.test"
LAN, OLD_LAN, OTHER_LAN = "10.79.40.213", "10.79.40.7", "192.168.1.9"
PUBLIC, OTHER_PUBLIC = "47.96.12.34", "8.8.4.4"


def a_record(value: str = LAN, **fields: Any) -> Record:
    return Record(NAME, "A", value, **({"ttl_s": 600} | fields))


# --- plans ----------------------------------------------------------------------------------------------


def alias(**fields: Any) -> Record:
    return Record(NAME, "CNAME", "elsewhere.test", 600, "0", **fields)


WANTED, OLD, OTHER = (
    a_record(record_id="1"),
    a_record(OLD_LAN, record_id="2"),
    a_record(OTHER_LAN, record_id="3"),
)
THEIRS, LONG = a_record(PUBLIC, record_id="4"), a_record(ttl_s=3600, record_id="1")
PLANS: dict[str, tuple[list[Record], list[str], list[Change]]] = {
    "a name without an address gets one": ([], [], [Change(None, a_record())]),
    "a record that is right is left alone": ([WANTED], [], []),
    "one record is updated": ([OLD], [], [Change(OLD, a_record(record_id="2"))]),
    "one record is updated whatever it held": ([THEIRS], [], [Change(THEIRS, a_record(record_id="4"))]),
    "a TTL that differs is written": ([LONG], [], [Change(LONG, WANTED)]),
    "of several the wanted one stays and private ones go": ([OLD, WANTED], [], [Change(OLD, None)]),
    "without the wanted one the newest is updated": (
        [OLD, OTHER],
        [],
        [Change(OLD, a_record(record_id="2")), Change(OTHER, None)],
    ),
    "a public address that we once wrote goes": ([WANTED, THEIRS], [PUBLIC], [Change(THEIRS, None)]),
    "a disabled CNAME is no CNAME": ([alias(is_enabled=False)], [], [Change(None, a_record())]),
}


@pytest.mark.row(35)
@pytest.mark.parametrize(("existing", "ours", "changes"), PLANS.values(), ids=PLANS.keys())
def test_a_plan_is_what_is_wanted_and_no_more(
    existing: list[Record], ours: list[str], changes: list[Change]
) -> None:
    """`existing` is newest first."""
    assert plan_changes(existing, a_record(), ours=ours) == changes


CGNAT = "100.64.0.7"
CONFLICTS: dict[str, tuple[list[Record], list[str], str, str]] = {
    "another public address": ([WANTED, THEIRS], [], repr(PUBLIC), "delete that record"),
    # 100.64.0.0/10 (RFC 6598) is neither private nor global: it may be somebody else's.
    "one behind a provider's NAT": ([WANTED, a_record(CGNAT)], [], repr(CGNAT), "delete that record"),
    # Our address has changed: whichever of the two is the newer one, a person must decide.
    "a public one, newer than ours": ([THEIRS, OLD], [OLD_LAN], repr(PUBLIC), "delete that record"),
    "a public one, older than ours": ([OLD, THEIRS], [OLD_LAN], repr(PUBLIC), "delete that record"),
    "a public one, newer than a private one": ([THEIRS, OLD], [], repr(PUBLIC), "delete that record"),
    "a public one, older than a private one": ([OLD, THEIRS], [], repr(PUBLIC), "delete that record"),
    "a CNAME": ([alias()], [], "CNAME to 'elsewhere.test'", "delete the CNAME"),
}


@pytest.mark.row(35)
@pytest.mark.parametrize(("existing", "ours", "text", "hint"), CONFLICTS.values(), ids=CONFLICTS.keys())
def test_a_conflict_is_for_a_person_to_decide(
    existing: list[Record], ours: list[str], text: str, hint: str
) -> None:
    with pytest.raises(RecordConflict) as refused:
        plan_changes(existing, a_record(), ours=ours)
    assert isinstance(refused.value, DnsRefused)
    assert repr(NAME) in refused.value.message
    assert text in refused.value.message
    assert hint in refused.value.hint


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
    for gone in (old for old, new in changes if old and not new):
        assert gone.value in ours or gone.value not in (PUBLIC, OTHER_PUBLIC)


TWO_WANTED = [a_record(), a_record(OLD_LAN)]
PLANS_OF_TWO: dict[str, tuple[list[Record], list[str], list[Change]]] = {
    "a name without an address gets both": ([], [], [Change(None, each) for each in TWO_WANTED]),
    "what is right is left alone, whatever its order": ([OLD, WANTED], [], []),
    "the missing one is added": ([OLD], [], [Change(None, a_record())]),
    "the missing one takes the place of another": (
        [OTHER, OLD],
        [],
        [Change(OTHER, a_record(record_id="3"))],
    ),
    "one too many goes": ([OTHER, WANTED, OLD], [], [Change(OTHER, None)]),
    "a public one that we once wrote goes": ([THEIRS, WANTED, OLD], [PUBLIC], [Change(THEIRS, None)]),
    "the only record is updated whatever it held": (
        [THEIRS],
        [],
        [Change(THEIRS, a_record(record_id="4")), Change(None, a_record(OLD_LAN))],
    ),
    "what is deleted comes last": (
        [OTHER, replace(OTHER, value="192.168.1.10", record_id="5"), LONG, OLD],
        [],
        [
            Change(LONG, WANTED),
            Change(OTHER, None),
            Change(replace(OTHER, value="192.168.1.10", record_id="5"), None),
        ],
    ),
}


@pytest.mark.row(35)
@pytest.mark.parametrize(("existing", "ours", "changes"), PLANS_OF_TWO.values(), ids=PLANS_OF_TWO.keys())
def test_a_plan_for_two_addresses_is_what_is_wanted_and_no_more(
    existing: list[Record], ours: list[str], changes: list[Change]
) -> None:
    assert plan_changes(existing, *TWO_WANTED, ours=ours) == changes


@pytest.mark.row(35)
def test_a_public_address_beside_several_is_for_a_person_to_decide() -> None:
    for existing in ([WANTED, OLD, THEIRS], [THEIRS, WANTED], [THEIRS, OTHER]):
        with pytest.raises(RecordConflict, match=PUBLIC):
            plan_changes(existing, *TWO_WANTED)


@given(
    st.lists(st.sampled_from(VALUES), max_size=5, unique=True),
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=4, unique=True),
)
def test_a_plan_for_several_takes_no_more_calls_than_there_are_changes(
    before: list[str], after: list[str]
) -> None:
    """A value in another's place is one call; and a name that has an address has one after each call."""
    zone = FakeZone(ZONE, map(a_record, before))
    wanted = [a_record(value) for value in after]
    changes = plan_changes(zone.records(NAME), *wanted, ours=VALUES)
    assert len(changes) == max(len({*after} - {*before}), len({*before} - {*after}))
    for change in changes:
        apply_changes(zone, [change])
        held = {record.value for record in zone.held("A")}
        assert held
        assert held <= {*before, *after}
    assert {record.value for record in zone.held("A")} == {*after}
    assert plan_changes(zone.records(NAME), *wanted, ours=VALUES) == []


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

        account = AlidnsAccount(ApiAccess(emulator.endpoint, Key("id", "secret")), FakeClock())
        yield Bench(account.open(ZONE), put)


def test_a_record_that_was_added_is_read_back_with_its_id(bench: Bench) -> None:
    record_id = bench.zone.add(a_record())
    assert record_id
    assert bench.zone.records(NAME) == [a_record(record_id=record_id)]


@pytest.mark.parametrize("fqdn", [ZONE, f"*.{NAME}"], ids=["apex", "wildcard"])
def test_the_apex_of_the_zone_and_a_wildcard_are_names_like_others(bench: Bench, fqdn: str) -> None:
    record = replace(a_record(), fqdn=fqdn)
    record_id = bench.zone.add(record)
    assert bench.zone.records(fqdn) == [replace(record, record_id=record_id)]
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


def test_delete_takes_the_record_with_this_id_alone_and_one_that_is_gone_is_no_error(bench: Bench) -> None:
    doomed, stays = bench.put(a_record()), bench.put(a_record(OLD_LAN))
    for _ in range(2):
        bench.zone.delete(doomed)
        assert bench.zone.records(NAME) == [a_record(OLD_LAN, record_id=stays)]
