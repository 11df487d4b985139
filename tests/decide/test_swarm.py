"""What is due at a service of a Swarm: each row of the table, as a pure function of what is seen."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.fakes import EPOCH

from certbotless.decide.swarm import Sight, next_doing
from certbotless.model.deployed import Roll
from certbotless.model.swarm import NodeSeen, Secret, ServiceSeen

NEW, OLD, OTHER = "b" * 64, "a" * 64, "c" * 64
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NODES = tuple(NodeSeen(f"node{n}", f"10.79.41.1{n}", "ready", index=5) for n in (1, 2, 3))
# Our update to NEW, half a minute ago, when the Swarm's history was at 20.
OURS = Roll(
    sha256=NEW,
    at=EPOCH - MINUTE / 2,
    index=20,
    before={"tls.pem": ("1", "a"), "tls.key": ("2", "b")},
    leaves=(OLD,),
)
OURS = replace(OURS, count=1)
LONG_AGO = replace(OURS, at=EPOCH - 60 * MINUTE)


def sight(*leaves: str, **fields: Any) -> Sight:
    """Three ready nodes that serve these leaves, the last for all others, long after the last change."""
    seen = (*leaves, *leaves[-1:] * 3)[:3]
    of_service = {
        name: fields.pop(name)
        for name in ("secrets", "nodes", "rolling", "rolling_since", "unplaced", "wants", "pause")
        if name in fields
    }
    usual: dict[str, Any] = {"secrets": {"tls.pem": Secret("1", "a")}, "nodes": NODES}
    service = ServiceSeen("s1", "registry", 20, {}, **(usual | of_service))
    given = {"names_wanted": True, "ours": OURS, "steady_for": MINUTE * 5, **fields}
    served = {node.name: leaf for node, leaf in zip(NODES, seen, strict=True)}
    return Sight(service, NEW, leaves=served, now=EPOCH, **given)


def node(number: int, **fields: Any) -> tuple[NodeSeen, ...]:
    """The three nodes, one of which is otherwise."""
    return tuple(replace(each, **fields) if each.name == f"node{number}" else each for each in NODES)


def kind(*leaves: str, **fields: Any) -> str:
    return next_doing(sight(*leaves, **fields)).kind


def test_nothing_is_due_where_every_node_serves_it() -> None:
    """Whatever secrets the service names: an admin may have given it the same certificate."""
    assert kind(NEW) == "done"
    assert kind(NEW, names_wanted=False, ours=None) == "done"
    # The Swarm watches the last node for a while, and may yet go back.
    assert kind(NEW, rolling="on") == "look"


def test_a_service_with_other_secrets_is_updated() -> None:
    assert kind(OLD, names_wanted=False, ours=None) == "update"
    assert kind(OLD, names_wanted=False, ours=replace(OURS, sha256=OLD)) == "update"
    # Another one has put the old file in force since it was seen on every node.
    assert kind(OLD, names_wanted=False, ours=replace(OURS, is_done=True), rolling="over") == "update"
    assert kind(OLD, names_wanted=False, ours=replace(OURS, is_done=True), rolling="back") == "update"


def test_another_program_that_replaces_the_secrets_is_answered_three_times_and_then_named() -> None:
    """A second certbotless, or a job that deploys a stack file each minute: two must not roll for ever."""
    done = replace(OURS, is_done=True, again=3)
    doing = next_doing(sight(OTHER, names_wanted=False, ours=done))
    assert (doing.kind, "again and again" in doing.why, "one certbotless" in doing.hint) == (
        "fails",
        True,
        True,
    )
    other = {"names_wanted": False, "rolling": "over"}
    assert kind(OTHER, ours=replace(done, again=2), **other) == "update"
    assert kind(OTHER, ours=replace(done, sha256=OLD), **other) == "update"
    assert kind(OTHER, ours=replace(done, at=EPOCH - 60 * MINUTE), **other) == "update"
    assert kind(OTHER, ours=done, is_retry=True, **other) == "update"
    # Also one that cuts our update short.
    assert kind(OTHER, ours=replace(OURS, again=3), **other) == "fails"


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({}, 2),
        ({"is_done": True}, 2),
        ({"is_back": True}, 1),
        ({"sha256": OLD}, 0),
        ({"at": EPOCH - 60 * MINUTE}, 0),
    ],
    ids=["cut short", "done", "taken back", "another certificate", "of this morning"],
)
def test_only_what_another_program_replaces_of_late_is_counted(changed: dict[str, Any], again: int) -> None:
    """A person who deploys the stack file once a week never reaches the limit."""
    ours = replace(OURS, again=1, **changed)
    assert sight(OTHER, names_wanted=False, ours=ours, rolling="over").again == again


@pytest.mark.parametrize(
    ("count", "minutes"), [(0, 1), (1, 1), (2, 10), (3, 100), (4, 24 * 60), (99, 24 * 60)]
)
def test_a_certificate_is_refused_that_the_swarm_has_taken_back(count: int, minutes: int) -> None:
    """It is tried again after 1, 10 and 100 minutes, then daily; no new one is ordered for it."""
    at = EPOCH - minutes * MINUTE
    early, due = (replace(OURS, at=each, count=count) for each in (at + SECOND, at))
    assert kind(OLD, names_wanted=False, rolling="back", ours=early) == "refused"
    assert kind(OLD, names_wanted=False, rolling="back", ours=due) == "update"
    assert kind(OLD, names_wanted=False, rolling="back", ours=early, is_retry=True) == "update"


def test_the_reason_is_what_the_swarm_says() -> None:
    failed = "node2: task: non-zero exit (1)"
    doing = next_doing(sight(OLD, names_wanted=False, rolling="back", failed=failed))
    assert "node2: task: non-zero exit (1)" in doing.why
    assert "docker service ps" in doing.hint


def test_a_power_cut_says_nothing_of_a_certificate() -> None:
    """A node that changed after the update was lost, or came back: the update is made again in quiet."""
    back = {"names_wanted": False, "rolling": "back", "nodes": node(2, index=21)}
    assert kind(OLD, **back) == "update"
    assert kind(OLD, **back, steady_for=9 * SECOND) == "look"
    lost = node(2, index=21, state="down", task=None)
    assert kind(OLD, **back | {"nodes": lost}) == "update"


def test_a_node_that_was_dead_before_excuses_nothing() -> None:
    dead = node(2, state="down", task=None)
    assert kind(OLD, names_wanted=False, rolling="back", nodes=dead) == "refused"


def test_a_roll_is_waited_for_and_reported_after_five_minutes() -> None:
    on = {"rolling": "on", "nodes": node(2, task="starts", why="preparing"), "ours": LONG_AGO}
    assert kind(OLD, **on, rolling_since=EPOCH - 299 * SECOND) == "look"
    doing = next_doing(sight(NEW, OLD, **on, rolling_since=EPOCH - 301 * SECOND))
    assert doing.kind == "fails"
    assert "node2: preparing" in doing.why


LOST = {"rolling": "on", "nodes": node(3, index=21, state="down", task=None)}


def test_an_update_that_waits_for_a_lost_node_begins_again_without_it() -> None:
    """Once nothing has changed for as long as the Swarm may wait after a node, and 10 seconds more."""
    wait = {"pause": 5 * SECOND, "rolling_since": EPOCH - MINUTE / 2}
    assert kind(NEW, OLD, **LOST, **wait, steady_for=14 * SECOND) == "look"
    assert kind(NEW, OLD, **LOST, **wait, steady_for=15 * SECOND) == "force"
    assert kind(NEW, OLD, **wait, rolling="on", steady_for=15 * SECOND) == "look"
    # Once in ten minutes; after five of them it is a failure.
    forced = replace(LONG_AGO, forced=1, forced_at=EPOCH - 7 * MINUTE)
    assert kind(NEW, OLD, **LOST, **wait, ours=forced) == "look"
    doing = next_doing(sight(NEW, OLD, **LOST, ours=forced, rolling_since=EPOCH - 6 * MINUTE))
    assert (doing.kind, doing.why[-28:]) == ("fails", "waits for it, and it is down")
    # To remove the node would not do: the Swarm waits on for its task (swarmkit, global.go: EventDeleteNode).
    end = "update without it: docker service update --force registry"
    assert doing.hint == f"bring node node3 back, or {end}"


def test_a_node_that_starts_slowly_is_not_begun_again_for_one_that_is_lost() -> None:
    """An engine without a route to its hub takes 20 s to start: the update goes on all the same."""
    down, slow = node(3, index=21, state="down", task=None), node(2, task="starts")
    wait = {"rolling": "on", "nodes": (NODES[0], slow[1], down[2]), "pause": 5 * SECOND}
    assert kind(NEW, "", **wait, steady_for=64 * SECOND) == "look"
    assert kind(NEW, "", **wait, steady_for=65 * SECOND) == "force"


@pytest.mark.parametrize("others", [OLD, NEW])
def test_a_node_that_serves_before_its_health_check_is_not_begun_again_for_one_that_is_lost(
    others: str,
) -> None:
    """The Swarm goes on only after the check, by default 30 s later."""
    down, slow = node(3, index=21, state="down", task=None), node(2, task="starts")
    wait = {"rolling": "on", "nodes": (NODES[0], slow[1], down[2]), "pause": 5 * SECOND}
    assert kind(others, NEW, **wait, steady_for=64 * SECOND) == "look"
    assert kind(others, NEW, **wait, steady_for=65 * SECOND) == "force"


def test_an_update_does_not_begin_again_for_a_node_that_was_off_or_drained_before_it() -> None:
    """The Swarm does not wait for that one; something else takes its time."""
    for off in ({"state": "down", "task": None}, {"is_active": False, "task": None}):
        on = {"rolling": "on", "nodes": node(3, index=19, **off)}
        assert kind(NEW, OLD, **on) == "look"
        assert kind(NEW, NEW, "", **on) == "look"


@pytest.mark.parametrize("nodes", [LOST["nodes"], NODES], ids=["lost", "removed"])
def test_an_update_that_was_met_only_when_it_was_stuck_begins_again_too(nodes: Any) -> None:
    """The program was off meanwhile, or a person removed the node; `pause` may be longer than a run."""
    wait = {"rolling": "on", "nodes": nodes, "pause": 2 * MINUTE, "rolling_since": EPOCH - 12 * MINUTE}
    wait["ours"] = LONG_AGO
    assert kind(NEW, OLD, **wait, steady_for=9 * SECOND) == "look"
    assert kind(NEW, OLD, **wait, steady_for=10 * SECOND) == "force"
    assert kind(NEW, OLD, **wait | {"ours": None}) == "fails"
    assert kind(NEW, OLD, **wait | {"nodes": node(2, task="starts")}) == "fails"
    assert kind(NEW, OLD, **wait | {"ours": replace(LONG_AGO, forced=3)}) == "fails"


def test_a_task_that_no_node_can_take_is_named_and_nothing_begins_again_for_it() -> None:
    """Of a service with a number of tasks: an update waits for it, and another one would as well."""
    said = "no suitable node (insufficient resources on 3 nodes)"
    on = {"rolling": "on", "rolling_since": EPOCH - 12 * MINUTE, "ours": LONG_AGO, "unplaced": said}
    doing = next_doing(sight(NEW, OLD, **on, wants=4))
    assert (doing.kind, doing.why[-len(said) :]) == ("fails", said)


def test_the_clock_of_the_leader_may_be_behind() -> None:
    """An update is not long by it that was asked for a moment ago."""
    begun = EPOCH - 60 * MINUTE
    assert kind(NEW, OLD, rolling="on", rolling_since=begun) == "look"
    assert kind(NEW, OLD, rolling="on", rolling_since=begun, ours=None) == "fails"


def test_a_clock_that_has_gone_back_since_puts_nothing_off() -> None:
    """A machine without a battery for its clock may have been a year ahead at the last update."""
    later = EPOCH + 365 * 24 * 60 * MINUTE
    ahead = replace(OURS, at=later, forced=1, forced_at=later)
    assert kind(NEW, "", rolling="over", ours=ahead) == "force"
    assert kind(OLD, names_wanted=False, rolling="back", ours=ahead) == "update"
    assert kind(OTHER, names_wanted=False, rolling="over", ours=replace(ahead, again=3)) == "update"
    on = {"rolling": "on", "nodes": node(2, task="starts")}
    assert kind(NEW, OLD, **on, rolling_since=EPOCH - 6 * MINUTE, ours=ahead) == "fails"


def test_an_update_that_waits_for_a_drained_node_begins_again_without_it() -> None:
    """It was drained before its turn: its task waits there for ever (swarmkit, filter.go: ReadyFilter)."""
    drained = node(3, index=21, is_active=False, task="stuck", why="1 node not available for new tasks")
    assert kind(NEW, OLD, rolling="on", nodes=drained, steady_for=9 * SECOND) == "look"
    assert kind(NEW, OLD, rolling="on", nodes=drained, steady_for=10 * SECOND) == "force"
    assert kind(NEW, NEW, "", rolling="over", nodes=drained) == "done"


def test_a_node_that_a_new_leader_has_not_met_yet_is_not_lost() -> None:
    """It stays in the Swarm's updates until it is down."""
    for state in ("unknown", "disconnected"):
        assert kind(NEW, OLD, rolling="on", nodes=node(3, index=21, state=state)) == "look"


def test_so_does_the_way_back_that_waits_for_a_lost_node() -> None:
    """Not the update of another one."""
    back = {"names_wanted": False, "secrets": {"tls.pem": Secret("1", "a"), "tls.key": Secret("2", "b")}}
    assert kind("", OLD, **LOST, **back) == "force"
    assert kind("", OLD, **LOST, names_wanted=False) == "look"
    assert kind("", OLD, **LOST, **back, ours=None) == "look"
    assert kind("", OLD, **LOST, **back, ours=replace(OURS, before={})) == "look"


def test_all_that_are_met_serve_it_though_the_update_waits_for_a_lost_node() -> None:
    """The update is made again all the same: the return of the node would count as a failure of it."""
    assert kind(NEW, NEW, "", **LOST, steady_for=9 * SECOND) == "look"
    assert kind(NEW, NEW, "", **LOST, steady_for=10 * SECOND) == "force"
    assert kind(NEW, NEW, "", **LOST, ours=replace(OURS, forced=1, forced_at=EPOCH)) == "done"
    assert kind(NEW, NEW, "", **LOST, ours=None) == "done"
    unknown = {**LOST, "nodes": node(3, index=21, state="unknown")}
    assert kind(NEW, NEW, "", **unknown) == "look"


@pytest.mark.parametrize("names_wanted", [True, False])
def test_the_roll_of_another_one_is_left_alone(names_wanted: bool) -> None:
    assert kind(OTHER, rolling="on", names_wanted=names_wanted, ours=None) == "look"


@pytest.mark.parametrize(
    ("leaf", "task", "seconds"),
    [(OLD, "runs", 10), (OLD, "starts", 60), ("", "runs", 30), ("", "stuck", 10), ("", "starts", 60)],
)
def test_a_ready_node_that_does_not_serve_it_begins_again(leaf: str, task: str, seconds: int) -> None:
    """One that was lost since, and for which the roll is over."""
    wrong = {"rolling": "over", "nodes": node(3, task=task, index=21)}
    assert kind(NEW, NEW, leaf, **wrong, steady_for=(seconds - 1) * SECOND) == "look"
    assert kind(NEW, NEW, leaf, **wrong, steady_for=seconds * SECOND) == "force"


@pytest.mark.row(139)
def test_it_begins_again_at_most_three_times_ten_minutes_apart() -> None:
    def forced(count: int, minutes: int) -> Any:
        ours = replace(OURS, forced=count, forced_at=EPOCH - minutes * MINUTE)
        return next_doing(sight(NEW, NEW, "", rolling="over", ours=ours))

    assert forced(1, 9).kind == "fails"
    assert forced(2, 10).kind == "force"
    assert forced(3, 60).kind == "fails"
    assert forced(3, 60).hint == "bring node node3 back or remove it; use the host network"


def test_a_third_certificate_is_no_reason_to_begin_again() -> None:
    """The secrets before are put back, at once and before the next node gets them.

    The old one is a reason: then no task has begun yet.
    """
    assert kind(OTHER, OLD, rolling="on", steady_for=timedelta()) == "put back"
    assert kind(OTHER, OLD, rolling="on", nodes=node(1, index=21)) == "look"
    assert kind(OTHER, OLD, rolling="on", names_wanted=False) == "look"
    assert kind(OTHER, rolling="over") == "put back"
    assert kind(OTHER, OLD, rolling="over") == "put back"
    assert kind(OLD, rolling="over") == "force"
    assert kind(OTHER, rolling="over", ours=replace(OURS, before={})) == "force"
    assert kind(OTHER, rolling="over", nodes=node(1, index=21)) == "force"
    assert kind(OTHER, rolling="over", ours=replace(OURS, is_done=True)) == "force"


def test_a_service_that_stops_at_a_failure_is_put_back_by_us() -> None:
    """Its admin asked for a pause, or to go on: the Swarm does not go back by itself."""
    ended = node(1, task="ended", why="task: non-zero exit (1)")
    doing = next_doing(sight("", OLD, rolling="over", nodes=ended))
    assert doing.kind == "put back"
    assert "non-zero exit" in doing.why
    assert kind("", OLD, rolling="over", nodes=ended, steady_for=9 * SECOND) == "look"
    # After one that was made again the Swarm goes back to the same secrets: its previous ones are ours.
    assert kind("", OLD, rolling="back", nodes=ended, ours=replace(OURS, forced=1)) == "put back"


def test_what_was_put_back_waits_as_what_the_swarm_took_back() -> None:
    back = replace(OURS, is_back=True)
    assert kind(OLD, names_wanted=False, rolling="over", ours=replace(back, at=EPOCH)) == "refused"
    assert kind(OLD, names_wanted=False, rolling="over", ours=replace(back, at=EPOCH - MINUTE)) == "update"


def test_a_node_that_is_down_or_drained_is_no_matter_for_the_others() -> None:
    assert kind(NEW, NEW, "", nodes=node(3, state="down", task=None)) == "done"
    assert kind(NEW, NEW, "", nodes=node(3, is_active=False, task=None)) == "done"
    # A leader that is new does not know of a node yet.
    assert kind(NEW, NEW, "", nodes=node(3, state="unknown")) == "done"


def test_a_paused_node_is_waited_for_and_no_other_begins_again_for_it() -> None:
    """The Swarm updates no task of a service in mode global there (swarmkit, global.go)."""
    paused = {"rolling": "over", "nodes": node(3, is_active=False)}
    doing = next_doing(sight(NEW, NEW, OLD, **paused))
    assert (doing.kind, doing.why[:21]) == ("waits", "node node3 is paused,")
    assert doing.hint == "to allow it: docker node update --availability active node3"
    # For another one they begin again all the same.
    assert kind(NEW, OLD, OLD, **paused) == "force"


def test_a_service_without_tasks_waits_for_its_admin() -> None:
    assert kind("", wants=0) == "waits"
    nobody = tuple(replace(each, task=None) for each in NODES)
    assert kind("", nodes=nobody) == "waits"
    assert kind("", nodes=()) == "waits"
