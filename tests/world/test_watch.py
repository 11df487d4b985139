"""Which LAN addresses have lasted: with time and machine given, and for any history of a machine."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.base.errors import AddressError
from certbotless.config.addresses import AddressRule
from certbotless.world.lan.address import AddressSource
from certbotless.world.lan.watch import RESTLESS_S, SETTLE_S, Lan, settled_before

AUTO, ETH1 = AddressRule("auto"), AddressRule("interface", "eth1")
LITERAL, NONE = AddressRule("literal", "10.9.9.9"), AddressRule("none")
OLD, NEW, THIRD = "10.79.40.7", "10.79.40.213", "10.79.40.5"


class Machine:
    """A machine on which a rule finds what a test says, nothing by default, at a time that a test moves."""

    def __init__(self, **found: str) -> None:
        self.found = {AUTO: found.get("auto", ""), ETH1: found.get("eth1", "")}
        self.now_s = 1000.0
        self.lan = Lan(self.address_of, lambda: self.now_s)

    def address_of(self, rule: AddressRule) -> str:
        if rule in (LITERAL, NONE):
            return rule.value
        if not self.found[rule]:
            raise AddressError("the cable is out", hint="plug it in")
        return self.found[rule]

    def after(self, seconds: float, auto: str | None = None) -> bool:
        """Let time pass, then let the address be another; return whether the look sees that one settled."""
        self.now_s += seconds
        if auto is not None:
            self.found[AUTO] = auto
        return self.lan.look()


@pytest.fixture
def machine() -> Machine:
    """One whose address has settled."""
    made = Machine(auto=OLD)
    made.lan.follow([AUTO])
    assert made.after(SETTLE_S)
    return made


def test_the_address_at_the_start_must_last_as_any_other() -> None:
    made = Machine(auto=OLD)
    made.lan.follow([AUTO])
    assert not made.after(SETTLE_S - 0.1)
    assert not made.lan.is_settled(AUTO)
    assert made.after(0.1)
    assert made.lan.is_settled(AUTO)
    assert made.lan.settled(AUTO) == OLD


def test_a_new_address_is_known_at_once_and_settles_when_it_has_lasted(machine: Machine) -> None:
    assert not machine.after(1, NEW)
    assert (machine.lan.address(AUTO), machine.lan.is_settled(AUTO)) == (NEW, False)
    assert machine.lan.wait_s() == SETTLE_S
    machine.now_s += SETTLE_S
    assert machine.lan.wait_s() == 0
    assert machine.lan.look()
    assert machine.lan.settled(AUTO) == NEW
    assert machine.lan.wait_s() == math.inf


def test_each_change_starts_the_wait_anew(machine: Machine) -> None:
    for address in (NEW, THIRD, OLD, NEW):
        assert not machine.after(SETTLE_S - 0.1, address)
        assert machine.lan.settled(AUTO) == ""
    assert machine.after(SETTLE_S)


def test_no_address_is_waited_for_as_well_and_is_told_with_its_reason(machine: Machine) -> None:
    machine.after(1, "")
    assert machine.after(SETTLE_S)
    assert (machine.lan.is_settled(AUTO), machine.lan.settled(AUTO)) == (True, "")
    for _ in range(2):
        with pytest.raises(AddressError, match="the cable is out") as caught:
            machine.lan.address(AUTO)
        assert caught.value.hint == "plug it in"


def test_what_never_settles_is_none_after_a_minute(machine: Machine) -> None:
    """So that a certificate of the site waits no longer for it."""
    for i in range(int(RESTLESS_S)):
        machine.after(1, (NEW, OLD)[i % 2])
        assert machine.lan.address(AUTO)
    machine.after(1, THIRD)
    with pytest.raises(AddressError, match=f"keeps changing, and is '{THIRD}' at the moment"):
        machine.lan.address(AUTO)
    assert machine.after(SETTLE_S)
    assert machine.lan.address(AUTO) == THIRD


def test_what_is_written_in_the_file_needs_no_time() -> None:
    made = Machine()
    made.lan.follow([LITERAL, NONE])
    assert made.lan.is_settled(LITERAL)
    assert made.lan.is_settled(NONE)
    assert (made.lan.settled(LITERAL), made.lan.settled(NONE)) == ("10.9.9.9", "")
    assert made.lan.address(LITERAL) == "10.9.9.9"
    assert made.lan.wait_s() == math.inf


def test_an_edit_keeps_what_has_settled_and_waits_for_what_is_new(machine: Machine) -> None:
    machine.found[ETH1] = THIRD
    machine.lan.follow([AUTO, ETH1])
    assert (machine.lan.is_settled(AUTO), machine.lan.is_settled(ETH1)) == (True, False)
    machine.lan.follow([ETH1])
    assert not machine.lan.is_settled(AUTO)
    # Whoever still goes by the file of before is told what is there.
    assert machine.lan.address(AUTO) == OLD


def test_the_earliest_that_may_settle_is_waited_for(machine: Machine) -> None:
    machine.found[ETH1] = THIRD
    machine.after(0, NEW)
    machine.now_s += 1.5
    machine.lan.follow([AUTO, ETH1])
    assert machine.lan.wait_s() == pytest.approx(0.5)
    assert machine.after(0.5)
    assert machine.lan.wait_s() == pytest.approx(1.5)


@given(st.lists(st.tuples(st.sampled_from([0.05, 0.5, 1.0, 2.0, 3.0]), st.sampled_from([OLD, NEW, ""]))))
def test_an_address_has_settled_exactly_if_it_was_found_all_the_time_for_2_s(
    history: list[tuple[float, str]],
) -> None:
    made = Machine()
    made.lan.follow([AUTO])
    found, since_s, has_settled = "", made.now_s, False
    for pause_s, address in history:
        told = made.after(pause_s, address)
        if address != found:
            found, since_s, has_settled = address, made.now_s, False
        was_settled, has_settled = has_settled, has_settled or made.now_s - since_s >= SETTLE_S
        assert made.lan.is_settled(AUTO) == has_settled
        assert made.lan.settled(AUTO) == (found if has_settled else "")
        assert told == (has_settled and not was_settled)


# --- who starts with what had settled -----------------------------------------------------------------------


def source_of(address: str) -> AddressSource:
    return Machine(auto=address, eth1=THIRD).address_of


def test_who_starts_with_a_settled_address_takes_no_other() -> None:
    assert settled_before({AUTO: NEW}, source_of(NEW))(AUTO) == NEW
    for settled in ({AUTO: OLD}, {AUTO: ""}):
        with pytest.raises(AddressError, match="has changed a moment ago"):
            settled_before(settled, source_of(NEW))(AUTO)

    # Who starts without takes what is there.
    assert settled_before({}, source_of(NEW))(AUTO) == NEW
    assert settled_before({AUTO: OLD}, source_of(NEW))(ETH1) == THIRD
    assert settled_before({AUTO: OLD}, source_of(NEW))(LITERAL) == "10.9.9.9"
