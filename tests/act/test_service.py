"""A service of a Swarm is updated, followed and proved on every node.

The manager is in memory; what the nodes serve is served in real TLS.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.fakes import FakeClock, FakeZone, TlsServer, ZoneServer
from support.scenes import DAY, DOMAIN, MINUTE, ZONE, Scene
from support.swarm_engine import SwarmEngine, swarm_of

from certbotless.base.errors import SwarmWaits
from certbotless.model.decision import Step
from certbotless.model.reason import Why, because
from certbotless.report import plan_text
from certbotless.report.status_json import served_of, site_json
from certbotless.world.swarm import DockerServices


class Fleet(Scene):
    """A site that three nodes serve; it has a certificate, which they serve from secrets of ours."""

    swarm: SwarmEngine

    def renew(self) -> str:
        """Publish another certificate, and return its SHA-256."""
        self.clock.advance(60)
        self.publish(age=MINUTE / 60)
        return self.sha256

    @property
    def sha256(self) -> str:
        facts = self.published.facts
        assert facts is not None
        return facts.sha256

    @property
    def served(self) -> dict[str, str]:
        """What each node serves, by the name of its place."""
        view = self.look()
        return {key.rpartition(" ")[2]: leaf for key, leaf in view.seen.served.items()}

    @property
    def ours(self) -> list[str]:
        """The names of the secrets that certbotless made."""
        return [s["Spec"]["Name"] for s in self.swarm.held.values() if s["Spec"]["Labels"]]

    def is_bad(self, sha256: str) -> bool:
        """Whether the service names the secrets of this certificate now."""
        named = self.swarm.names_of()
        found = [s["Spec"] for s in self.swarm.held.values() if s["Spec"]["Name"] in named]
        return any(each["Labels"].get("certbotless.sha256") == sha256 for each in found)

    def hand_made(self) -> dict[str, Any]:
        """Return the part of the service's specification with the secrets that its admin made."""
        by_hand = [
            {"File": {"Name": f"tls.{end}", "UID": "0", "GID": "0", "Mode": 0o400}}
            | self.swarm.named(f"hand.{end}")
            for end in ("pem", "key")
        ]
        return {"Image": "registry", "Secrets": by_hand}

    def assert_all_serve(self, sha256: str) -> None:
        assert self.served == {f"registry@node{n}": sha256 for n in (1, 2, 3)}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    clock, zone = FakeClock(), FakeZone(ZONE)
    with (
        ZoneServer(zone) as server,
        TlsServer() as tls,
        swarm_of(3, tmp_path / "swarm", clock) as swarm,
    ):
        fleet = Fleet(tmp_path, zone, server, tls, clock)
        fleet.swarm, fleet.services = swarm, DockerServices(swarm)
        fleet.keys = {"deploy": [{"service": "registry", "port": swarm.port}]}
        made = trustme.CA().issue_cert(DOMAIN)
        swarm.create(made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes())
        fleet.publish()
        fleet.point()
        yield fleet


@pytest.fixture
def well(fleet: Fleet) -> Fleet:
    """The same once all its nodes serve its first certificate."""
    assert fleet.run().state == "ok"
    fleet.swarm.updates.clear()
    return fleet


def test_secrets_by_hand_are_replaced_in_one_update_and_every_node_is_proved(fleet: Fleet) -> None:
    fleet.run()
    fleet.assert_all_serve(fleet.sha256)
    ((names, forced),) = fleet.swarm.updates
    assert forced == 0
    assert sorted(name.rpartition(".")[2] for name in names) == ["key", "pem"]
    assert all(name.startswith("cb-") and len(name) <= 64 for name in names)
    # All else of the service is its admin's.
    spec = fleet.swarm.service["Spec"]
    assert spec["Labels"] == {"admin": "1"}
    assert spec["TaskTemplate"]["ContainerSpec"]["Image"] == "registry"
    assert spec["TaskTemplate"]["ContainerSpec"]["Secrets"][0]["File"]["Mode"] == 0o400
    assert fleet.look().state == "ok"


def test_the_secrets_say_what_they_are(well: Fleet) -> None:
    labels = [s["Spec"]["Labels"] for s in well.swarm.held.values() if s["Spec"]["Labels"]]
    assert {each["certbotless.domain"] for each in labels} == {DOMAIN}
    assert {each["certbotless.sha256"] for each in labels} == {well.sha256}
    assert sorted(each["certbotless.file"] for each in labels) == ["cert", "key"]
    assert all(each["certbotless.not_after"].endswith("Z") for each in labels)


def test_the_files_of_a_service_may_have_other_names(fleet: Fleet) -> None:
    names = {"cert": "/certs/a.pem", "key": "a.key"}
    (target,) = fleet.keys["deploy"]
    target["secrets"] = names
    used = fleet.swarm.service["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"]
    for each, name in zip(used, names.values(), strict=True):
        each["File"]["Name"] = name
    assert fleet.run().state == "ok"
    fleet.assert_all_serve(fleet.sha256)


def test_a_second_run_does_nothing(well: Fleet) -> None:
    well.run()
    assert well.swarm.updates == []
    assert well.look().decision.steps == ()


def test_the_last_two_generations_are_kept(well: Fleet) -> None:
    for _ in range(4):
        well.renew()
        assert well.run().state == "ok"
        well.assert_all_serve(well.sha256)
        assert len(well.ours) == 4
    assert len(well.swarm.updates) == 4


def test_each_node_has_its_place(well: Fleet) -> None:
    places = {place: at.address for place, at in well.state.nodes["registry"].items()}
    assert places == {"node1": "127.0.0.11", "node2": "127.0.0.12", "node3": "127.0.0.13"}
    assert well.state.rolls["registry"].is_done
    assert well.state.trial is None


@pytest.mark.row(135)
def test_a_certificate_that_no_node_takes_is_refused_and_the_one_before_published(well: Fleet) -> None:
    before, bad = well.sha256, well.renew()
    for node in well.swarm.by_name.values():
        node.breaks = lambda: well.is_bad(bad)
    outcome = well.run()
    assert outcome.state == "failing"
    assert well.sha256 == before
    well.assert_all_serve(before)
    assert "non-zero exit" in well.state.failures["redeploy"].what
    assert not well.asked_the_ca
    # It is tried again, and refused again, later and later.
    first = well.wait_for_retry("redeploy")
    well.run()
    second = well.state.failures["redeploy"]
    assert (first.count, second.count) == (1, 2)
    assert second.retry_at - second.at > 5 * (first.retry_at - first.at)
    assert len(well.swarm.updates) == 2
    # Without a leader it is not even published.
    well.wait_for_retry("redeploy")
    well.swarm.says = "The swarm does not have a leader."
    assert well.run().state == "pending"
    assert well.sha256 == before
    well.swarm.says = ""
    # Once it comes up, it is in use.
    for node in well.swarm.by_name.values():
        node.breaks = lambda: False
    well.wait_for_retry("redeploy")
    assert well.run().state == "ok"
    well.assert_all_serve(bad)


@pytest.mark.row(140)
def test_a_pause_at_a_failure_is_ended_by_the_secrets_before(well: Fleet) -> None:
    well.swarm.failure_action = "pause"
    before, bad = well.sha256, well.renew()
    for node in well.swarm.by_name.values():
        node.breaks = lambda: well.is_bad(bad)
    assert well.run().state == "failing"
    well.assert_all_serve(before)
    assert well.sha256 == before
    assert len(well.swarm.updates) == 2
    # What it could not be used with is made again at the next try.
    assert len(well.ours) == 2


@pytest.mark.row(140)
def test_a_program_that_is_started_no_more_is_put_back_as_well(well: Fleet) -> None:
    """The Swarm wants no task there then: without it the node would be one without the service."""
    well.swarm.failure_action = "pause"
    template = well.swarm.service["Spec"]["TaskTemplate"]
    template["RestartPolicy"] = {"Condition": "on-failure", "MaxAttempts": 3}
    before, bad = well.sha256, well.renew()

    def give_up() -> None:
        well.swarm.tick()
        for node in well.swarm.by_name.values():
            if node.task["Status"]["State"] == "failed":
                node.task["DesiredState"] = "shutdown"

    well.clock.on_sleep = give_up
    for node in well.swarm.by_name.values():
        node.breaks = lambda: well.is_bad(bad)
    assert well.run().state == "failing"
    well.assert_all_serve(before)
    assert [forced for _, forced in well.swarm.updates] == [0, 0]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 5),
        ({"UpdateConfig": {"Delay": 2_000_000_000}}, 7),
        ({"UpdateConfig": {"Delay": 10_000_000_000, "Monitor": 5_000_000_000}}, 21),
        ({"RollbackConfig": {"Delay": 60_000_000_000, "Monitor": 0}}, 121),
    ],
)
def test_how_long_an_update_may_change_nothing(well: Fleet, given: Any, seconds: int) -> None:
    """Also on the way back, and at the end: there is the delay after the last node, and then it watches."""
    well.swarm.service["Spec"].update(given)
    assert DockerServices(well.swarm).find("registry").pause.total_seconds() == seconds


def test_a_task_without_a_node_is_seen(well: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where one is wanted; the engine leaves `NodeID` out."""
    said = {"State": "pending", "Err": "no suitable node"}
    task = {"CreatedAt": "1", "DesiredState": "running", "Status": said, "Spec": {}}
    listed = well.swarm.tasks({})
    monkeypatch.setattr(well.swarm, "tasks", lambda **_: [*listed, task])
    assert DockerServices(well.swarm).find("registry").unplaced == "no suitable node"
    task["DesiredState"] = "shutdown"
    assert DockerServices(well.swarm).find("registry").unplaced == ""


@pytest.mark.row(136)
def test_a_power_cut_during_a_roll_costs_no_certificate(well: Fleet) -> None:
    """The Swarm may take the update back for it; it is made again, without an order."""
    new = well.renew()

    def cut() -> None:
        if well.swarm.status == "updating" and well.swarm.by_name["node2"].state == "ready":
            well.swarm.power_off(2)
            well.swarm.go_back()
        well.swarm.tick()

    well.clock.on_sleep = cut
    assert well.run().state == "ok"
    assert well.served == {"registry@node1": new, "registry@node2": "", "registry@node3": new}
    assert well.sha256 == new
    assert len(well.swarm.updates) == 2
    assert not well.asked_the_ca
    well.swarm.power_on(2)
    well.assert_all_serve(new)
    assert well.look().state == "ok"


@pytest.mark.row(136)
def test_an_update_that_waits_for_a_node_without_power_is_made_again_and_names_that_node(
    well: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """The Swarm waits for it until the other update; the others may serve the certificate by then."""
    new = well.renew()

    def wait_for_it() -> None:
        updates = len(well.swarm.updates)
        if updates == 1 and well.swarm.by_name["node3"].state == "ready":
            well.swarm.power_off(3)
        if updates != 1 or leaves() != [new, new]:
            well.swarm.tick()

    def leaves() -> list[str]:
        served = well.served
        return [served[f"registry@node{n}"] for n in (1, 2)]

    well.clock.on_sleep = wait_for_it
    with caplog.at_level("INFO"):
        assert well.run().state == "ok"
    assert leaves() == [new, new]
    assert [forced for _, forced in well.swarm.updates] == [0, 1]
    assert next(line for line in caplog.messages if "service.forced" in line).endswith(" nodes=node3")


@pytest.mark.row(136)
def test_a_node_without_power_is_pending_and_asked_for_every_ten_minutes(well: Fleet) -> None:
    node = well.swarm.power_off(2)
    well.run()
    view = well.look()
    assert (view.state, view.decision.steps) == ("ok", ())
    well.clock.advance(601)
    assert [step.key for step in well.look().decision.steps] == ["deploy:service:registry"]
    assert well.run().state == "ok"
    assert well.look().decision.steps == ()
    # With another certificate it is a matter of now.
    made = trustme.CA().issue_cert(DOMAIN)
    chain, key = well.certs_dir / "x.pem", well.certs_dir / "x.key"
    chain.write_bytes(made.cert_chain_pems[0].bytes())
    key.write_bytes(made.private_key_pem.bytes())
    node.server.load(chain, key)
    assert [step.key for step in well.look().decision.steps] == ["deploy:service:registry"]


def test_every_node_has_its_own_line_in_status_plan_and_metrics(well: Fleet) -> None:
    well.swarm.power_off(2)
    well.run()
    view = well.look()
    entries = [(each.name, each.state, each.service, each.node) for each in served_of(view)]
    assert entries == [
        ("registry@node1", "serving", "registry", "node1"),
        ("registry@node2", "pending", "registry", "node2"),
        ("registry@node3", "serving", "registry", "node3"),
    ]
    told = site_json(view, None)["deploy"][1]
    assert (told["container"], told["service"], told["node"]) == ("registry@node2", "registry", "node2")
    assert told["served_sha256"] is None
    target = view.site.deploy[0].name
    order = replace(view.decision, steps=(Step("order", because(Why.NO_CERTIFICATE)),))
    plan = plan_text.text_of([replace(view, decision=order)])
    assert "then update the secrets of the service registry on node1, node3, about " in plan
    assert target == "service:registry"


def test_a_node_that_joins_is_found_within_an_hour(well: Fleet) -> None:
    well.swarm.by_name["node3"].ended, well.swarm.by_name["node3"].task = [], {}
    well.remember(nodes_at={})
    assert [step.key for step in well.look().decision.optional if step.action == "nodes"] == []
    well.remember(nodes_at={"registry": well.clock.now()})
    well.clock.advance(3601)
    assert "nodes:service:registry" in [step.key for step in well.look().decision.optional]
    well.run()
    assert [*well.state.nodes["registry"]] == ["node1", "node2"]
    well.swarm.begin(3)
    well.clock.advance(3601)
    well.run()
    well.assert_all_serve(well.sha256)


def test_a_node_that_has_joined_and_was_never_met_keeps_no_other_from_the_certificate(
    well: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Swarm knows it from its join on, and its host name from its first words."""
    listed, new = well.swarm.nodes, well.renew()
    joined = {
        "ID": "w4z9k2m1x8c7",
        "Version": {"Index": 1},
        "Spec": {"Labels": {}, "Role": "manager", "Availability": "active"},
        "Description": {"Platform": {}, "Resources": {}, "Engine": {}, "TLSInfo": {}},
        "Status": {"State": "unknown"},
    }
    monkeypatch.setattr(well.swarm, "nodes", lambda: [*listed(), joined])
    assert well.run().state == "ok"
    well.assert_all_serve(new)


def test_what_a_node_says_that_it_is_called_is_one_line_of_text(
    well: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the terminal and to the log, and only managers are to be trusted."""
    listed = well.swarm.nodes()
    listed[1]["Description"]["Hostname"] = "node2\x1b[2J\n2026-11-24 all is right"
    monkeypatch.setattr(well.swarm, "nodes", lambda: listed)
    names = [node.name for node in DockerServices(well.swarm).find("registry").nodes]
    assert names == ["node1", r"node2\x1b[2J\n2026-11-24 all is right", "node3"]


@pytest.mark.row(139)
def test_a_node_that_came_back_without_its_service_begins_again(well: Fleet) -> None:
    node = well.swarm.by_name["node3"]
    node.server.unload()
    node.task["Status"] = {"State": "pending", "Err": "host-mode port already in use on 1 node"}
    well.swarm.power_off(3, "ready")
    node.task["DesiredState"] = "running"
    assert well.run().state == "ok"
    assert [forced for _, forced in well.swarm.updates] == [1]
    well.assert_all_serve(well.sha256)


@pytest.mark.row(139)
def test_a_node_that_falls_silent_each_hour_restarts_the_others_three_times_a_day_at_most(
    well: Fleet,
) -> None:
    node = well.swarm.by_name["node3"]
    states = []
    for _ in range(10):
        well.clock.advance(3600)
        node.server.unload()
        node.task["Status"] = {"State": "pending", "Err": "host-mode port already in use on 1 node"}
        states.append(well.run().state)
    assert (states[0], states.count("ok"), states.count("failing")) == ("ok", 2, 8)
    assert len(well.swarm.updates) == 2


def test_an_update_of_another_one_at_the_same_time_is_no_harm(well: Fleet) -> None:
    new = well.renew()

    def once() -> None:
        well.swarm.on_update = lambda: None
        well.swarm.update(well.swarm.service["Spec"] | {"Labels": {"admin": "2"}})

    well.swarm.on_update = once
    assert well.run().state == "ok"
    well.assert_all_serve(new)
    assert well.swarm.service["Spec"]["Labels"] == {"admin": "2"}


@pytest.mark.row(138)
def test_the_old_stack_file_is_followed_by_our_update(well: Fleet) -> None:
    spec = well.swarm.service["Spec"]
    by_hand = {**spec, "TaskTemplate": {**spec["TaskTemplate"], "ContainerSpec": well.hand_made()}}
    well.swarm.update(by_hand)
    for _ in range(8):
        well.swarm.tick()
    assert well.look().state == "pending"
    assert well.run().state == "ok"
    well.assert_all_serve(well.sha256)


@pytest.mark.row(138)
def test_a_job_that_deploys_the_old_stack_file_for_ever_is_named(well: Fleet) -> None:
    spec = well.swarm.service["Spec"]
    by_hand = {**spec, "TaskTemplate": {**spec["TaskTemplate"], "ContainerSpec": well.hand_made()}}
    states = []
    for _ in range(6):
        well.clock.advance(600)
        well.swarm.update(by_hand)
        for _ in range(8):
            well.swarm.tick()
        states.append(well.run().state)
    assert states == ["ok", "ok", "ok", "failing", "failing", "failing"]
    well.clock.advance(3600)
    assert well.run().state == "ok"


@pytest.mark.row(138)
def test_a_job_that_cuts_each_of_our_updates_short_is_named_as_well(well: Fleet) -> None:
    """No node may ever have served the certificate between two of its turns."""
    spec = well.swarm.service["Spec"]
    by_hand = {**spec, "TaskTemplate": {**spec["TaskTemplate"], "ContainerSpec": well.hand_made()}}

    def deploy_early() -> None:
        well.swarm.tick()
        if well.is_bad(well.sha256):
            well.swarm.update(by_hand)

    well.swarm.update(by_hand)
    well.clock.on_sleep = deploy_early
    states = []
    for _ in range(6):
        well.clock.advance(600)
        states.append(well.run().state)
    assert states[-1] == "failing"
    made = len(well.swarm.updates)
    well.clock.advance(600)
    assert well.run().state == "failing"
    assert len(well.swarm.updates) == made


@pytest.mark.row(137)
@pytest.mark.parametrize(
    "said",
    ["The swarm does not have a leader. It's possible that too few managers are online.", "raft: no leader"],
)
def test_without_a_leader_nothing_is_ordered_and_it_is_tried_at_each_check(well: Fleet, said: str) -> None:
    well.swarm.says = said
    well.clock.advance((80 * DAY).total_seconds())
    outcome = well.run()
    assert outcome.state == "pending"
    assert "no leader" in outcome.reason
    assert not well.asked_the_ca
    failure = well.state.failures["order"]
    assert failure.retry_at - failure.at == MINUTE
    for _ in range(5):
        well.wait_for_retry("order")
        well.run()
    failure = well.state.failures["order"]
    assert failure.retry_at - failure.at == MINUTE


@pytest.mark.parametrize(
    ("said", "words", "hint"),
    [
        (
            "This node is not a swarm manager. Manager is being prepared or has trouble connecting.",
            "the Swarm has no leader now",
            "docker node ls",
        ),
        ("rpc error: code = Unavailable desc = transport is closing", "no leader now", "node ls"),
        (
            "Swarm is encrypted and needs to be unlocked before it can be used.",
            "this manager cannot use the Swarm: Swarm is encrypted",
            "docker swarm unlock",
        ),
        ("Swarm certificates have expired. To replace them, leave the swarm and join.", "expired", "join"),
    ],
    ids=["boots", "leader-ends", "locked", "expired"],
)
def test_a_manager_that_cannot_use_the_swarm_is_waited_for(
    well: Fleet, said: str, words: str, hint: str
) -> None:
    """Words of daemon/cluster/errors.go and of gRPC. Nothing is ordered that could not be rolled out."""
    well.swarm.says = said
    with pytest.raises(SwarmWaits) as raised:
        DockerServices(well.swarm).find("registry")
    assert words in raised.value.message
    assert hint in str(raised.value.hint)


def test_a_certificate_that_ends_today_is_ordered_without_a_leader(well: Fleet) -> None:
    well.swarm.says = "The swarm does not have a leader."
    well.clock.advance((89 * DAY - MINUTE * 10).total_seconds())
    well.run()
    assert well.asked_the_ca


@pytest.mark.parametrize(
    ("hurt", "state", "what"),
    [
        (lambda s: s.service.clear(), "failing", "there is no service 'registry'"),
        (
            lambda s: s.service["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"].pop(),
            "failing",
            "'tls.key'",
        ),
        (lambda s: s.service["Spec"].update(Mode={"Replicated": {"Replicas": 0}}), "pending", "scaled to 0"),
    ],
    ids=["absent", "other-files", "scaled-to-0"],
)
def test_what_its_admin_must_do_is_said(well: Fleet, hurt: Any, state: str, what: str) -> None:
    well.renew()
    hurt(well.swarm)
    outcome = well.run()
    assert outcome.state == state
    assert what in str(outcome.reason) + str(outcome.failure)
    assert well.swarm.updates == []


@pytest.mark.process
def test_nothing_of_it_is_loaded_for_a_file_without_a_service() -> None:
    """Neither where the edges are built, nor with all that a run and a daemon load."""
    script = """
import sys
from certbotless.act import certificate, deploy, run
from certbotless.base.clock import SystemClock
from certbotless.cli import main, status
from certbotless.cli.doctor import service
from certbotless.config import load
from certbotless.service import daemon, oneshot, wiring
from certbotless.world.lan.address import address_now
raw = b"sites: [{domain: nas.lan, ca: local, deploy: [{container: web, port: 443}]}]"
wiring.build(load.parse(raw, "c.yaml"), SystemClock(), address_now)
ours = [name for name in sys.modules if name.startswith("certbotless.")]
print(*[name for name in ours if "swarm" in name or name == "certbotless.act.service"])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "\n"
