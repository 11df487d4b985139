"""The A records of a site, from what the name servers show to what is written at the service.

The DNS account is in memory, the state is real. Whatever stood at the names before, one run of the steps
leaves nothing to do, and nothing of others touched.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import EPOCH, FakeClock, FakeZone, FakeZones
from support.scenes import site_context

from certbotless.act.context import SiteContext
from certbotless.act.record import RecordSteps
from certbotless.base.errors import AddressError, DnsRefused
from certbotless.config.addresses import AddressRule
from certbotless.decide.decide import decide
from certbotless.model.certificate import Published
from certbotless.model.decision import Intent, Step
from certbotless.model.observation import Observation
from certbotless.model.records import DEFAULT_LINE, Record
from certbotless.model.situation import Situation

ZONE = "sweetlove.test"
DOMAIN, FURTHER, OF_OTHERS = f"devbox.{ZONE}", f"www.{ZONE}", f"other.{ZONE}"
LAN, OLD_LAN, PUBLIC = "10.79.40.213", "10.79.40.7", "8.8.8.8"
NAMES = [DOMAIN, FURTHER, OF_OTHERS]


@dataclass
class Bench:
    """A site whose names all have a record, at an account with one zone, on a machine with one address."""

    zone: FakeZone
    machine: list[str]
    site_context: SiteContext

    def seen(self, address: str) -> Observation:
        """What the one name server shows: enabled records of the default line."""
        shown = {
            fqdn: frozenset(
                r.value
                for r in self.zone.held("A")
                if (r.fqdn, r.line, r.is_enabled) == (fqdn, DEFAULT_LINE, True)
            )
            for fqdn in (DOMAIN, FURTHER)
        }
        answers = {(fqdn, "A"): (values,) for fqdn, values in shown.items()}
        return Observation(EPOCH, {"A": address}, answers, Published(None, None), False, {})

    def steps(self, address: str) -> list[Step]:
        """What is to be done about the records, whatever failed before."""
        ctx = self.site_context
        intent = Intent(ignore_backoff=True)
        goal = ctx.goal
        decision = decide(Situation(goal, self.seen(address), ctx.file.load(), intent=intent))
        return [step for step in decision.steps if step.action in ("record", "confirm")]

    def write(self, fqdn: str, address: str) -> None:
        """Write the record of a name, on a machine with this address."""
        self.machine[:] = [address]
        RecordSteps(self.site_context, fqdn, address).write()

    def take(self, address: str) -> set[str]:
        """Take each step once; return the names that a person must decide about."""
        refused = set()
        for step in self.steps(address):
            fqdn = step.target or DOMAIN
            try:
                self.write(fqdn, address)
            except DnsRefused:
                refused.add(fqdn)
        return refused


@contextmanager
def ctx(records: list[Record]) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as home:
        zone, clock = FakeZone(ZONE, records), FakeClock()
        machine: list[str] = []
        site = {"names": [FURTHER], "records": "all"}
        made = site_context(
            Path(home), site, lambda _: FakeZones(zone), clock=clock, address_of=lambda _: machine[0]
        )
        yield Bench(zone, machine, made)


a_record = st.builds(
    Record,
    st.sampled_from(NAMES),
    st.just("A"),
    st.sampled_from([LAN, OLD_LAN, PUBLIC]),
    st.sampled_from([600, 3600]),
    line=st.sampled_from([DEFAULT_LINE, "telecom"]),
    is_enabled=st.booleans(),
)
something_else = st.builds(
    Record,
    st.sampled_from(NAMES),
    st.sampled_from(["TXT", "AAAA", "CNAME"]),
    st.just("fd00::1"),
    st.just(600),
)


def identity(record: Record) -> tuple[str, str, str, str]:
    """What two records of a zone cannot have in common."""
    return record.fqdn, record.type, record.value, record.line


def is_ours(record: Record) -> bool:
    at_name = record.fqdn in (DOMAIN, FURTHER) and record.type == "A"
    return at_name and record.line == DEFAULT_LINE and record.is_enabled


@pytest.mark.process
@given(
    st.lists(a_record | something_else, max_size=8, unique_by=identity),
    st.sampled_from([LAN, OLD_LAN]),
)
def test_after_one_run_of_the_steps_nothing_is_to_do_and_nothing_foreign_was_touched(
    before: list[Record], wanted: str
) -> None:
    """Each name by itself: one that a person must decide about holds up none, and keeps what it had."""
    with ctx(before) as at_work:
        held = at_work.zone.held()
        refused = at_work.take(wanted)
        after = at_work.zone.held()
        assert [r for r in after if not is_ours(r)] == [r for r in held if not is_ours(r)]
        for fqdn in (DOMAIN, FURTHER):
            values = [r.value for r in after if is_ours(r) and r.fqdn == fqdn]
            if fqdn in refused:
                assert values == [r.value for r in held if is_ours(r) and r.fqdn == fqdn]
            else:
                assert values == [wanted]
        assert {step.target or DOMAIN for step in at_work.steps(wanted)} == refused


@given(st.lists(st.sampled_from([LAN, OLD_LAN]), min_size=1, max_size=4))
def test_whatever_addresses_a_site_had_the_last_one_stands_alone(addresses: list[str]) -> None:
    with ctx([]) as at_work:
        for address in addresses:
            assert at_work.take(address) == set()
        assert {(r.fqdn, r.value) for r in at_work.zone.held()} == {
            (DOMAIN, addresses[-1]),
            (FURTHER, addresses[-1]),
        }


def test_what_was_written_is_remembered_by_name(caplog: pytest.LogCaptureFixture) -> None:
    with ctx([]) as at_work, caplog.at_level(logging.INFO):
        at_work.write(FURTHER, OLD_LAN)
        at_work.write(FURTHER, LAN)
        assert [message.split()[0] for message in caplog.messages] == ["record.added", "record.updated"]
        state = at_work.site_context.file.load()
        assert state.our_values == {"A": {FURTHER: (OLD_LAN, LAN)}}
        assert {fqdn: record.value for fqdn, record in state.records["A"].items()} == {FURTHER: LAN}


def test_an_aaaa_record_is_written_beside_the_a_record_and_leaves_it_alone() -> None:
    of_others = Record(DOMAIN, "AAAA", "FD00::7", 600, line="telecom")
    stale = Record(DOMAIN, "AAAA", "fd00::7", 600)
    with ctx([of_others, stale, Record(DOMAIN, "A", LAN, 600)]) as at_work:
        at_work.write(DOMAIN, "fd00::5")
        held = {(r.type, r.value, r.line) for r in at_work.zone.held()}
        assert held == {
            ("A", LAN, DEFAULT_LINE),
            ("AAAA", "fd00::5", DEFAULT_LINE),
            ("AAAA", "FD00::7", "telecom"),
        }
        state = at_work.site_context.file.load()
        assert state.our_values == {"AAAA": {DOMAIN: ("fd00::5",)}}
        assert (set(state.records), state.records["AAAA"][DOMAIN].value) == ({"AAAA"}, "fd00::5")


def test_an_aaaa_record_is_written_also_while_there_is_no_address_for_the_a_record() -> None:
    """As with the lease of IPv4 lost."""
    with ctx([]) as at_work:

        def address_of(rule: AddressRule) -> str:
            if rule.version == 4:
                raise AddressError("there is no default route")
            return "fd00::5"

        at_work.site_context.address_of = address_of
        RecordSteps(at_work.site_context, DOMAIN, "fd00::5").write()
        assert [(record.type, record.value) for record in at_work.zone.held()] == [("AAAA", "fd00::5")]
        RecordSteps(at_work.site_context, DOMAIN, LAN).write()
        assert len(at_work.zone.held()) == 1


def test_an_address_that_the_machine_has_lost_meanwhile_is_not_written() -> None:
    """What is listed first takes its time; the step is seen again, for what is there then."""
    with ctx([]) as at_work:
        at_work.machine[:] = [OLD_LAN]
        RecordSteps(at_work.site_context, DOMAIN, LAN).write()
        assert at_work.zone.held() == []
        assert at_work.site_context.file.load().our_values == {}


def test_only_a_record_of_the_same_kind_is_told_as_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    with ctx([]) as found:
        found.zone.put(Record(DOMAIN, "TXT", "theirs", 600))
        found.zone.put(Record(DOMAIN, "A", OLD_LAN, 600))
        found.write(DOMAIN, LAN)
        assert "record.not_ours" not in caplog.text
        found.zone.put(Record(DOMAIN, "A", PUBLIC, 600, line="telecom"))
        found.write(DOMAIN, LAN)
        assert [r.args for r in caplog.records if "record.not_ours" in r.msg] == [
            (DOMAIN, PUBLIC, "telecom", True)
        ]
