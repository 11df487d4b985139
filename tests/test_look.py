"""One look at a site: its state in a word, the failure behind it, and what of the past still stands."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import EPOCH, FakeClock, TlsServer

from certbotless import configfile
from certbotless.address import AddressSource
from certbotless.config import Config
from certbotless.decide import Intent
from certbotless.errors import StoreError
from certbotless.leaf import LeafFacts
from certbotless.ledger import Entry, Ledger
from certbotless.look import NOTHING_ASKED, Crashes, View, look, look_at
from certbotless.nameservers import NameServers
from certbotless.state import Failure, SavedPair, SiteFile
from certbotless.store import Origin, Store
from certbotless.values import AddressRule

DOMAIN, OTHER_DOMAIN = "devbox.sweetlove.test", "other.sweetlove.test"
DIRECTORY = "https://ca.test/directory"
MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))


class Scene:
    """Two sites that want no record; `devbox` has these containers, each with its port."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.certs_dir, self.state_dir = home / "certs", home / "state"
        self.state_file = self.state_dir / "sites" / f"{DOMAIN}.json"
        self.containers: dict[str, int] = {}

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        targets = [{"container": name, "port": port} for name, port in self.containers.items()]
        fields = {
            "acme": {"directory": DIRECTORY},
            "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
            "certs_dir": str(self.certs_dir),
            "state_dir": str(self.state_dir),
            "sites": [
                {"domain": DOMAIN, "address": "none", "deploy": targets},
                {"domain": OTHER_DOMAIN, "address": "none"},
            ],
        }
        return configfile.parse(json.dumps(fields).encode(), "test.json")

    def publish(self, domain: str = DOMAIN) -> None:
        """Let a good pair be published."""
        facts = LeafFacts((domain,), "ab" * 32, "CN=CA", EPOCH - DAY, EPOCH + 89 * DAY)
        origin = Origin(DIRECTORY, f"{DIRECTORY}/account/1", "ec256", EPOCH - DAY)
        note = SiteFile(self.state_dir, domain).note_generation
        Store(self.certs_dir, domain).publish(b"chain", b"key", facts, origin, EPOCH - DAY, note)
        SiteFile(self.state_dir, domain).save_pair(SavedPair.of(b"chain", b"key", origin))

    def remember(self, failures: dict[str, Failure]) -> None:
        """Let a run for `devbox` with this configuration have left these failures."""
        config = self.config
        SiteFile(self.state_dir, DOMAIN).change(digest=config.digest(config.sites[0]), failures=failures)

    def look(self, intent: Intent = NOTHING_ASKED) -> View:
        """Look at `devbox`."""
        return self.look_at_both(intent)[0]

    def look_at_both(self, intent: Intent = NOTHING_ASKED, ledger: Ledger = ()) -> list[View]:
        """Look at both sites."""
        config, servers = self.config, NameServers([], FakeClock())
        return [look(site, config, servers, ledger, EPOCH, intent) for site in config.sites]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody listens who hangs up on everybody."""
    with TlsServer() as server:
        yield server.port


def a_failure(what: str = "it failed", *, age: timedelta = MINUTE, is_waiting: bool = False) -> Failure:
    at, retry_at = EPOCH - age, EPOCH + HOUR
    return Failure(at=at, what=what, hint="", retry_at=retry_at, count=1, is_waiting=is_waiting)


def said(view: View) -> tuple[str, str]:
    """State and reason."""
    return view.state, view.reason


# --- the state in a word ----------------------------------------------------------------------------------


def test_a_site_whose_facts_are_true_is_ok_without_a_reason(scene: Scene) -> None:
    scene.publish()
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
    scene: Scene, silent: int, failures: dict[str, Failure], state: tuple[str, str], last: Failure | None
) -> None:
    """What fails weighs more than what waits, and what is not true more than what is by now."""
    scene.containers = {"mirror": silent, "registry": silent}
    scene.publish()
    scene.remember(failures)
    view = scene.look()
    assert (said(view), view.last_failure) == (state, last)
    assert view.standing_failures == failures


# --- what of the past still stands ------------------------------------------------------------------------


def test_a_failure_at_what_is_true_by_now_does_not_stand(scene: Scene) -> None:
    scene.publish()
    scene.remember({key: a_failure() for key in ("record", "restore", "deploy:registry")})
    view = scene.look()
    assert said(view) == ("ok", "")
    assert (view.standing_failures, view.last_failure) == ({}, None)


def test_a_failed_order_stands_until_one_succeeds(scene: Scene) -> None:
    """True facts, and a renewal that was asked for in vain: ok, and told of."""
    scene.publish()
    failure = a_failure("the CA is closed")
    scene.remember({"order": failure})
    view = scene.look()
    assert said(view) == ("ok", "")
    assert view.last_failure == failure


def test_a_container_that_keeps_an_order_from_being_placed_stands_with_it(scene: Scene, silent: int) -> None:
    """Nothing can be deployed yet, but it is the container that is missing."""
    scene.containers = {"registry": silent}
    failure = a_failure("there is no container 'registry'")
    scene.remember({"order": failure, "deploy:registry": failure})
    view = scene.look()
    assert said(view) == ("failing", "there is no container 'registry'")
    assert set(view.standing_failures) == {"order", "deploy:registry"}


def test_what_failed_under_another_configuration_says_nothing_about_this_one(
    scene: Scene, silent: int
) -> None:
    """It is due at once, whatever its retry time was."""
    scene.containers = {"registry": silent}
    scene.publish()
    scene.remember({"deploy:registry": a_failure()})
    assert scene.look().decision.due(EPOCH) == ()
    scene.containers["mirror"] = silent
    view = scene.look()
    assert (view.state, view.standing_failures) == ("pending", {})
    assert [step.key for step in view.decision.due(EPOCH)] == ["deploy:registry", "deploy:mirror"]


# --- what it is told, and what it cannot read -------------------------------------------------------------


def test_what_a_command_asks_for_is_decided_upon(scene: Scene) -> None:
    scene.publish()
    assert said(scene.look(Intent(renew_since=EPOCH))) == ("pending", "order: asked for")


def test_the_ledger_is_decided_upon(scene: Scene) -> None:
    ledger = [Entry(EPOCH - HOUR, "order", DIRECTORY, (DOMAIN,))] * 3
    view, other = scene.look_at_both(ledger=ledger)
    assert view.decision.due(EPOCH) == ()
    assert [step.key for step in other.decision.due(EPOCH)] == ["order"]


def test_a_state_that_cannot_be_read_is_a_problem_of_its_site_alone(scene: Scene) -> None:
    """Nothing is decided without it; what can be seen is told all the same."""
    scene.publish()
    scene.publish(OTHER_DOMAIN)
    scene.state_file.unlink()
    scene.state_file.mkdir()
    view, other = scene.look_at_both(Intent(renew_since=EPOCH))
    assert view.state == "failing"
    assert str(scene.state_file) in view.reason
    assert (told := view.last_failure) is not None
    assert (told.what, told.retry_at) == (view.reason, EPOCH + timedelta(minutes=1))
    assert view.decision.steps == ()
    assert view.seen.published.is_intact
    assert said(other) == ("pending", "order: asked for")


def test_a_state_that_makes_no_sense_counts_as_none(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.publish()
    scene.remember({"order": a_failure()})
    scene.state_file.write_text("{")
    view = scene.look()
    assert (view.state, view.last_failure) == ("ok", None)
    warnings = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert [str(scene.state_file) in warning for warning in warnings] == [True]


def test_a_ledger_that_cannot_be_read_is_told_where_an_order_is_due_and_nowhere_else(scene: Scene) -> None:
    scene.publish()
    ledger = StoreError("'ledger.jsonl' could not be read", hint="see who owns it")
    well, ill = scene.look_at_both(ledger=ledger)
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
    scene.publish()
    config, servers, crashes = scene.config, NameServers([], FakeClock()), Crashes()

    def looked(address_of: AddressSource) -> View:
        return look(config.sites[0], config, servers, (), EPOCH, address_of=address_of, crashes=crashes)

    for times in (1, 2):
        for _ in range(3):
            view = looked(crashing)
            assert said(view) == ("failing", "internal error: ZeroDivisionError")
            assert view.last_failure is not None
            assert view.last_failure.hint == "please report it with the log"
            assert view.decision.due(EPOCH) == ()
            assert view.seen.at == EPOCH
        crashed = [r for r in caplog.records if r.message == f"look.crashed domain={DOMAIN}"]
        assert [r.exc_info is not None for r in crashed] == [True] * times
        assert said(looked(lambda _: "")) == ("ok", "")


@pytest.mark.process
@pytest.mark.parametrize(("age", "state"), [(69 * MINUTE, "ok"), (71 * MINUTE, "failing")])
def test_a_run_that_holds_a_site_longer_than_any_may_take_is_reported(
    scene: Scene, age: timedelta, state: str
) -> None:
    """As one that was stopped at a terminal (Ctrl-Z): no other run may work on the site."""
    scene.publish()
    began = EPOCH - age
    code = (
        "import sys; from fakes import FakeClock; from datetime import datetime; from pathlib import Path\n"
        "from certbotless.state import SiteFile\n"
        "clock = FakeClock(datetime.fromisoformat(sys.argv[3]))\n"
        "with SiteFile(Path(sys.argv[1]), sys.argv[2]).locked(clock, 1):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(scene.state_dir), DOMAIN, began.isoformat()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent
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
        config = configfile.parse(json.dumps(fields).encode(), "test.json")
        before, most = threading.active_count(), 0
        looks = threading.Thread(target=look_at, args=(config, config.sites))
        looks.start()
        while looks.is_alive():
            most = max(most, threading.active_count() - before)
            looks.join(0.02)
    assert 100 < most <= 700


def test_a_look_writes_nothing(scene: Scene) -> None:
    """Not where there is nothing yet, and not where failures are over."""

    def found() -> dict[Path, tuple[Any, ...]]:
        seen = {path: path.lstat() for path in scene.home.rglob("*")}
        return {path: (stat.st_ino, stat.st_size, stat.st_ctime_ns) for path, stat in seen.items()}

    scene.look()
    assert found() == {}
    scene.publish()
    scene.remember({"order": a_failure(), "record": a_failure()})
    before = found()
    scene.look()
    assert found() == before
