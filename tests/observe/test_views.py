"""One look at a site: its state in a word, the failure behind it, and what of the past still stands."""

import json
import logging
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fakes import EPOCH
from support.scenes import DIRECTORY, DOMAIN, HOUR, MINUTE, OTHER_DOMAIN, Scene

from certbotless.base.errors import StoreError
from certbotless.config import load
from certbotless.config.addresses import AddressRule
from certbotless.model.decision import Intent
from certbotless.model.ledger import Entry
from certbotless.model.memory import Failure
from certbotless.model.situation import Goal
from certbotless.model.view import View
from certbotless.observe.record_answers import ask_servers
from certbotless.observe.views import Looking, look, look_at
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.site import SiteFile


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """Two sites that want no record; nobody serves them."""
    scene.domains, scene.keys = [DOMAIN, OTHER_DOMAIN], {"address": "none", "deploy": []}
    return scene


def silent(scene: Scene, *containers: str) -> None:
    """Let `devbox` have these containers, each of which hangs up on everybody."""
    targets = [{"container": name, "port": scene.tls.port} for name in containers]
    scene.keys_of = {DOMAIN: {"address": "none", "deploy": targets}}


def publish(scene: Scene, domain: str = DOMAIN) -> None:
    """Let a good pair be published, and a copy of it be there."""
    SiteFile(scene.state_dir, domain).save_pair(scene.publish(domain=domain))


def state_file(scene: Scene) -> Path:
    return scene.state_dir / "sites" / f"{DOMAIN}.json"


def a_failure(what: str = "it failed", *, age: timedelta = MINUTE, is_waiting: bool = False) -> Failure:
    at, retry_at = EPOCH - age, EPOCH + HOUR
    return Failure(at=at, what=what, hint="", retry_at=retry_at, count=1, is_waiting=is_waiting)


def said(view: View) -> tuple[str, str]:
    """State and reason."""
    return view.state, view.reason


# --- the state in a word ----------------------------------------------------------------------------------


def test_a_site_whose_facts_are_true_is_ok_without_a_reason(scene: Scene) -> None:
    publish(scene)
    view = scene.look()
    assert said(view) == ("ok", "")
    assert (view.standing_failures, view.last_failure) == ({}, None)


PAUSED, BROKEN = a_failure("paused", is_waiting=True), a_failure("broken", age=HOUR)
NEWEST = a_failure("newest")


@pytest.mark.parametrize(
    ("failures", "state", "last"),
    [
        ({}, ("pending", "deploy:mirror: no TLS answer"), None),
        ({"deploy:registry": NEWEST}, ("failing", "newest"), NEWEST),
        ({"deploy:registry": PAUSED}, ("pending", "paused"), PAUSED),
        ({"deploy:mirror": PAUSED, "deploy:registry": BROKEN}, ("failing", "broken"), BROKEN),
        ({"deploy:registry": BROKEN, "order": NEWEST}, ("failing", "broken"), BROKEN),
        ({"deploy:mirror": BROKEN, "deploy:registry": NEWEST}, ("failing", "broken"), NEWEST),
    ],
    ids=["not tried yet", "failed", "it waits", "one waits", "one is true by now", "the newest is the last"],
)
def test_the_failure_behind_the_state_is_told(
    scene: Scene, failures: dict[str, Failure], state: tuple[str, str], last: Failure | None
) -> None:
    """What fails weighs more than what waits, and what is not true more than what is by now."""
    silent(scene, "mirror", "registry")
    publish(scene)
    scene.remember(failures=failures)
    view = scene.look()
    assert (said(view), view.last_failure) == (state, last)
    assert view.standing_failures == failures


# --- what of the past still stands ------------------------------------------------------------------------


def test_a_container_that_keeps_an_order_from_being_placed_stands_with_it(scene: Scene) -> None:
    """Nothing can be deployed yet, but it is the container that is missing."""
    silent(scene, "registry")
    failure = a_failure("there is no container 'registry'")
    scene.remember(failures={"order": failure, "deploy:registry": failure})
    view = scene.look()
    assert said(view) == ("failing", "there is no container 'registry'")
    assert set(view.standing_failures) == {"order", "deploy:registry"}


def test_what_failed_under_another_configuration_says_nothing_about_this_one(scene: Scene) -> None:
    """It is due at once, whatever its retry time was."""
    silent(scene, "registry")
    publish(scene)
    scene.remember(failures={"deploy:registry": a_failure()})
    assert scene.look().decision.due(EPOCH) == ()
    silent(scene, "registry", "mirror")
    view = scene.look()
    assert (view.state, view.standing_failures) == ("pending", {})
    assert [step.key for step in view.decision.due(EPOCH)] == ["deploy:registry", "deploy:mirror"]


# --- what it is told, and what it cannot read -------------------------------------------------------------


def test_what_a_command_asks_for_is_decided_upon(scene: Scene) -> None:
    publish(scene)
    assert said(scene.look(intent=Intent(renew_since=EPOCH))) == ("pending", "order: asked for")


def test_the_ledger_is_decided_upon(scene: Scene) -> None:
    ledger = [Entry(EPOCH - HOUR, "order", DIRECTORY, (DOMAIN,))] * 3
    view, other = (scene.look(at, ledger=ledger) for at in (0, 1))
    assert view.decision.due(EPOCH) == ()
    assert [step.key for step in other.decision.due(EPOCH)] == ["order"]


def test_a_state_that_cannot_be_read_is_a_problem_of_its_site_alone(scene: Scene) -> None:
    """Nothing is decided without it; what can be seen is told all the same."""
    publish(scene)
    publish(scene, OTHER_DOMAIN)
    state_file(scene).unlink()
    state_file(scene).mkdir()
    view, other = (scene.look(at, intent=Intent(renew_since=EPOCH)) for at in (0, 1))
    assert view.state == "failing"
    assert str(state_file(scene)) in view.reason
    assert (told := view.last_failure) is not None
    assert (told.what, told.retry_at) == (view.reason, EPOCH + timedelta(minutes=1))
    assert view.decision.steps == ()
    assert view.seen.published.is_intact
    assert said(other) == ("pending", "order: asked for")


def test_a_certificate_that_is_published_while_a_check_looks_is_seen(scene: Scene) -> None:
    """The state was read before, and does not know the new one: it is not taken for an edited one."""
    publish(scene)
    before = SiteFile(scene.state_dir, DOMAIN).load()
    publish(scene)
    goal = Goal(scene.config.sites[0], scene.config)
    looking = Looking(ask_servers(scene.edges().servers), LedgerFile(scene.state_dir).entries())
    view = look(goal, looking, scene.clock.now(), before)
    assert view.seen.published == scene.published
    assert view.remembered.generations != before.generations


def test_a_state_that_makes_no_sense_counts_as_none(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    publish(scene)
    scene.remember(failures={"order": a_failure()})
    state_file(scene).write_text("{")
    view = scene.look()
    # What is published is compared with its certificate first, as for a state that was lost.
    assert ([step.action for step in view.decision.steps], view.last_failure) == (["verify"], None)
    warnings = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert [str(state_file(scene)) in warning for warning in warnings] == [True]


def test_a_ledger_that_cannot_be_read_is_told_where_an_order_is_due_and_nowhere_else(scene: Scene) -> None:
    publish(scene)
    ledger = StoreError("'ledger.jsonl' could not be read", hint="see who owns it")
    well, ill = (scene.look(at, ledger=ledger) for at in (0, 1))
    assert said(well) == ("ok", "")
    assert said(ill) == ("failing", ledger.message)
    assert ill.last_failure is not None
    assert ill.last_failure.hint == ledger.hint
    assert ill.decision.due(EPOCH) == ()


def crashing(rule: AddressRule) -> str:
    """Where the LAN address is asked for, a fault of the program that nobody thought of."""
    raise ZeroDivisionError(f"for {rule}")


def test_a_fault_of_the_program_in_a_look_is_a_problem_of_its_site(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once with its traceback, and once more where it came back."""
    publish(scene)
    crashes: dict[str, str] = {}
    for times in (1, 2):
        for _ in range(3):
            view = scene.look(address_of=crashing, crashes=crashes)
            assert said(view) == ("failing", "internal error: ZeroDivisionError")
            assert view.last_failure is not None
            assert view.last_failure.hint == "please report it with the log"
            assert view.decision.due(EPOCH) == ()
            assert view.seen.at == EPOCH
        crashed = [r for r in caplog.records if r.message == f"check.crashed domain={DOMAIN}"]
        assert [r.exc_info is not None for r in crashed] == [True] * times
        assert said(scene.look(address_of=lambda _: "", crashes=crashes)) == ("ok", "")


@pytest.mark.process
@pytest.mark.parametrize(("age", "state"), [(69 * MINUTE, "ok"), (71 * MINUTE, "failing")])
def test_a_run_that_holds_a_site_longer_than_any_may_take_is_reported(
    scene: Scene, age: timedelta, state: str
) -> None:
    """As one that was stopped at a terminal (Ctrl-Z): no other run may work on the site."""
    publish(scene)
    began = EPOCH - age
    code = (
        "import sys; from datetime import datetime; from pathlib import Path\n"
        "from support.fakes import FakeClock\n"
        "from certbotless.state.site import SiteFile\n"
        "clock = FakeClock(datetime.fromisoformat(sys.argv[3]))\n"
        "with SiteFile(Path(sys.argv[1]), sys.argv[2]).locked(clock, 1):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(scene.state_dir), DOMAIN, began.isoformat()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        view = scene.look()
        other.communicate()
    assert view.state == state
    assert (f"process {other.pid} has held the lock of this site since" in view.reason) == (
        state == "failing"
    )
    assert said(scene.look()) == ("ok", "")


@pytest.mark.long
def test_looks_at_many_sites_stay_below_the_bound_of_the_units(tmp_path: Path) -> None:
    """TasksMax is 1024, also where sites have many records and six addresses of name servers are silent."""
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(6)]
        for each in silent:
            each.bind(("127.0.0.1", 0))
        fields = {
            "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
            "dns": {"nameservers": [f"127.0.0.1:{each.getsockname()[1]}" for each in silent]},
            "certs_dir": str(tmp_path / "certs"),
            "state_dir": str(tmp_path / "state"),
            "sites": [
                {
                    "domain": f"box{number}.sweetlove.test",
                    "names": [f"{name}.box{number}.sweetlove.test" for name in ("a", "b")],
                    "records": "all",
                    "zone": "sweetlove.test",
                    "address": "10.79.40.213",
                    "address6": "fd00::5",
                    "deploy": [],
                }
                for number in range(30)
            ],
        }
        config = load.parse(json.dumps(fields).encode(), "test.json")
        before, most = threading.active_count(), 0
        looks = threading.Thread(target=look_at, args=(config, config.sites))
        looks.start()
        while looks.is_alive():
            most = max(most, threading.active_count() - before)
            looks.join(0.02)
    assert 100 < most <= 700


def test_a_look_writes_nothing(scene: Scene, tmp_path: Path) -> None:
    """Not where there is nothing yet, and not where failures are over."""

    def found() -> dict[Path, tuple[Any, ...]]:
        seen = {path: path.lstat() for path in tmp_path.rglob("*")}
        return {path: (stat.st_ino, stat.st_size, stat.st_ctime_ns) for path, stat in seen.items()}

    scene.look()
    assert found() == {}
    publish(scene)
    scene.remember(failures={"order": a_failure(), "record": a_failure()})
    before = found()
    scene.look()
    assert found() == before
