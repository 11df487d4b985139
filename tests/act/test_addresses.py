"""A list of addresses in a run: the set of records, a machine that is off, restarts, a run that is cut short.

Name server, TLS, files and state are real; time passes only when a test says so.
"""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from support.fakes import EPOCH, FakeClock, FakeZone, FakeZones, TlsServer, ZoneServer
from support.scenes import DOMAIN, MINUTE, ZONE, Scene, site_context

from certbotless.act.record import RecordSteps
from certbotless.base.errors import DnsUnavailable, RecordConflict
from certbotless.model.records import Record
from certbotless.report.status_json import site_json, withdrawn_of

# The command of a target is a program.
pytestmark = pytest.mark.process

ONE, TWO, THREE = LISTED = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@dataclass
class Fleet:
    """A site on three machines, each with its server, which takes what is published when it is told to."""

    scene: Scene
    servers: dict[str, TlsServer]

    def start(self, *addresses: str) -> None:
        chain, key = (self.scene.certs_dir / f"{DOMAIN}.{end}" for end in ("pem", "key"))
        for address in addresses:
            self.servers[address].load(chain, key)

    def stop(self, *addresses: str) -> None:
        for address in addresses:
            self.servers[address].unload()

    @property
    def values(self) -> set[str]:
        """What the name has at the service."""
        return {record.value for record in self.scene.zone.held("A")}

    def minutes(self, count: int) -> None:
        """Check each minute, and run where something is due, as the daemon does."""
        for _ in range(count):
            self.scene.clock.advance(60)
            view = self.scene.look()
            if view.decision.due(view.seen.at):
                self.scene.run()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    zone = FakeZone(ZONE)
    with ExitStack() as running:
        server, tls = running.enter_context(ZoneServer(zone)), running.enter_context(TlsServer())
        scene = Scene(tmp_path, zone, server, tls, FakeClock())
        others = {at: running.enter_context(TlsServer(at, tls.port)) for at in (TWO, THREE)}
        scene.keys = {
            "address": LISTED,
            "deploy": [
                {"container": "registry", "port": tls.port},
                *({"command": ["true", at], "port": f"{at}:{tls.port}"} for at in (TWO, THREE)),
            ],
        }
        scene.publish()
        made = Fleet(scene, {ONE: tls, **others})
        made.start(*LISTED)
        yield made


def test_a_name_gets_a_record_for_each_address_with_one_call_each(fleet: Fleet) -> None:
    scene = fleet.scene
    assert scene.run().state == "ok"
    assert (fleet.values, scene.writes) == ({*LISTED}, ["add"] * 3)
    written = scene.state.records["A"][DOMAIN]
    assert (written.values, written.is_seen) == (LISTED, True)
    assert scene.run().state == "ok"
    assert scene.writes == ["add"] * 3
    found = site_json(scene.look(), None)["address"]
    assert (found["wanted"], found["wanted_all"], found["withdrawn"]) == (ONE, [*LISTED], [])


@pytest.mark.row(131)
def test_the_record_of_a_machine_that_is_off_is_deleted_and_is_back_with_its_certificate(
    fleet: Fleet,
) -> None:
    scene = fleet.scene
    scene.run()
    fleet.stop(THREE)
    fleet.minutes(3)
    assert fleet.values == {*LISTED}
    fleet.minutes(9)
    assert (fleet.values, scene.writes) == ({ONE, TWO}, ["add"] * 3 + ["delete"])
    view = scene.look()
    found = site_json(view, None)["address"]
    assert (found["wanted_all"], [each["address"] for each in found["withdrawn"]]) == ([ONE, TWO], [THREE])
    assert withdrawn_of(view)[THREE] - EPOCH <= 2 * MINUTE
    fleet.start(THREE)
    scene.run()
    assert (fleet.values, scene.writes) == ({*LISTED}, ["add"] * 3 + ["delete", "add"])
    assert scene.state.silences == {}


@pytest.mark.row(131)
def test_the_first_address_may_be_the_one_that_is_withdrawn(fleet: Fleet) -> None:
    scene = fleet.scene
    scene.run()
    fleet.stop(ONE)
    scene.put_container(status="exited")
    fleet.minutes(6)
    assert fleet.values == {TWO, THREE}
    assert site_json(scene.look(), None)["address"]["wanted"] == TWO


@pytest.mark.row(131)
def test_a_hundred_restarts_change_no_record(fleet: Fleet) -> None:
    """Each machine in turn, at a check, and for as long as a restart takes."""
    scene = fleet.scene
    scene.run()
    before = len(scene.zone.calls)
    for n in range(100):
        address = LISTED[n % 3]
        if address != ONE:
            fleet.stop(address)
        view = scene.look()
        if any(step.action == "watch" for step in view.decision.optional):
            scene.run()
        fleet.start(address)
        fleet.minutes(1)
    assert scene.zone.calls[before:] == []
    assert fleet.values == {*LISTED}


@pytest.mark.row(131)
def test_when_every_machine_is_off_every_record_stays(fleet: Fleet) -> None:
    scene = fleet.scene
    scene.run()
    fleet.stop(*LISTED)
    scene.put_container(status="exited")
    fleet.minutes(15)
    assert (fleet.values, scene.writes) == ({*LISTED}, ["add"] * 3)


def test_a_command_with_a_port_alone_is_proved_at_each_address(fleet: Fleet, tmp_path: Path) -> None:
    """One run is for all; the one at which it does not show alone fails, and holds none back."""
    scene, done = fleet.scene, tmp_path / "runs"
    command = ["sh", "-c", f"echo run >> {done}"]
    scene.keys["deploy"] = [{"command": command, "port": scene.tls.port}]
    assert scene.run().state == "ok"
    assert not done.exists()
    found = site_json(scene.look(), None)["deploy"]
    assert [(each["container"].rpartition("@")[2], each["state"]) for each in found] == [
        (address, "serving") for address in LISTED
    ]
    fleet.stop(TWO)
    outcome = scene.run()
    assert outcome.failure is not None
    assert f"no TLS answer at {TWO}:{scene.tls.port}" in outcome.failure.what
    states = [each["state"] for each in site_json(scene.look(), None)["deploy"]]
    assert states == ["serving", "failing", "serving"]


def test_a_value_of_another_tool_goes_and_a_public_one_is_for_a_person(fleet: Fleet) -> None:
    scene = fleet.scene
    scene.run()
    scene.zone.put(Record(DOMAIN, "A", "10.9.9.9", 600))
    assert scene.run().state == "ok"
    assert (fleet.values, scene.writes[3:]) == ({*LISTED}, ["delete"])
    scene.zone.put(Record(DOMAIN, "A", "8.8.8.8", 600))
    outcome = scene.run()
    assert (outcome.state, fleet.values) == ("failing", {*LISTED, "8.8.8.8"})
    assert outcome.failure is not None
    assert "public address '8.8.8.8'" in outcome.failure.what


def test_another_program_that_keeps_the_set_is_set_right_three_times(fleet: Fleet) -> None:
    scene = fleet.scene
    scene.run()
    for _ in range(5):
        scene.zone.delete(scene.zone.held("A")[0].record_id)
        scene.clock.advance(600)
        outcome = scene.run()
    assert outcome.state == "failing"
    assert outcome.failure is not None
    assert "127.0.0.1, 127.0.0.2, 127.0.0.3" in outcome.failure.what
    assert [write for write in scene.writes[3:] if write == "add"] == ["add"] * 3


def test_an_edit_of_the_list_changes_as_few_records_as_can_be(fleet: Fleet) -> None:
    scene = fleet.scene
    scene.run()
    scene.keys["address"] = (THREE, ONE, "127.0.0.4")
    scene.run()
    assert (fleet.values, scene.writes[3:]) == ({THREE, ONE, "127.0.0.4"}, ["update"])
    scene.keys["address"] = ONE
    scene.run()
    assert (fleet.values, scene.writes[4:]) == ({ONE}, ["delete", "delete"])
    scene.keys["address"] = LISTED
    scene.run()
    assert (fleet.values, scene.writes[6:]) == ({*LISTED}, ["add", "add"])


class _Cut(FakeZone):
    """A zone at which the power is gone at one of the calls that change something, before or after it."""

    def __init__(self, values: list[str], at_call: int, *, is_made: bool) -> None:
        super().__init__(ZONE, [Record(DOMAIN, "A", value, 600) for value in values])
        self._cut, self._changes = (at_call, is_made), -1

    def _called(self, method: Literal["records", "add", "update", "delete"], subject: Record | str) -> None:
        super()._called(method, subject)
        self._changes += method != "records"
        self._end(method, is_made=False)

    def _answer_may_be_lost(self, method: str) -> None:
        self._end(method, is_made=True)

    def _end(self, method: str, *, is_made: bool) -> None:
        if method != "records" and (self._changes, is_made) == self._cut:
            raise DnsUnavailable("the power is gone")


@pytest.mark.row(132)
@pytest.mark.parametrize("is_made", [False, True], ids=["not made", "made"])
@pytest.mark.parametrize("at_call", range(4))
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["127.0.0.7", "127.0.0.8", "127.0.0.9", ONE], [ONE, TWO]),  # one call of update, two of delete
        (["127.0.0.7"], [ONE, TWO, THREE]),
        ([ONE, TWO, THREE], ["127.0.0.7", "127.0.0.8"]),
        ([ONE, TWO, THREE], [TWO]),
        ([TWO], [ONE, TWO, THREE]),
    ],
)
def test_a_change_that_is_cut_short_at_any_call_leaves_addresses_and_the_next_run_ends_it(
    tmp_path: Path, before: list[str], after: list[str], at_call: int, *, is_made: bool
) -> None:
    zone = _Cut(before, at_call, is_made=is_made)
    site = {"address": after if len(after) > 1 else after[0]}
    ctx = site_context(tmp_path, site, lambda _: FakeZones(zone), clock=FakeClock())
    cuts = 0
    for _ in range(2):
        with suppress(DnsUnavailable):
            RecordSteps(ctx, DOMAIN, *after).write()
            break
        cuts += 1
        held = {record.value for record in zone.held("A")}
        assert held
        assert held <= {*before, *after}
    assert {record.value for record in zone.held("A")} == {*after}
    changes = sum(call.method != "records" for call in zone.calls)
    least = max(len({*after} - {*before}), len({*before} - {*after}))
    assert changes == least + (cuts and not is_made)


def test_a_public_value_beside_the_set_is_a_conflict(tmp_path: Path) -> None:
    zone = FakeZone(ZONE, [Record(DOMAIN, "A", value, 600) for value in (ONE, "8.8.8.8")])
    ctx = site_context(tmp_path, {"address": LISTED}, lambda _: FakeZones(zone), clock=FakeClock())
    with pytest.raises(RecordConflict):
        RecordSteps(ctx, DOMAIN, *LISTED).write()
    assert [call.method for call in zone.calls] == ["records"]
