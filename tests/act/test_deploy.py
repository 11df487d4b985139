"""The step `deploy`: when a container or a command is acted upon, and what proves it.

The engine is in memory; what is served is served in real TLS on loopback.
"""

import hashlib
import os
import pwd
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from support.bed import wait_until
from support.fakes import EPOCH, FakeClock, FakeContainers, TlsServer
from support.scenes import site_context

from certbotless.act.context import Zones
from certbotless.act.deploy import DeploySteps
from certbotless.act.proof import PROOF_TIMEOUT_S
from certbotless.base.checked import dump
from certbotless.base.errors import DeployError, DeployWaits, NotActedUpon, StoreError
from certbotless.base.locks import ActionLock
from certbotless.base.times import rfc3339
from certbotless.config.values import Reload
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.deployed import Acted, Restarting
from certbotless.model.memory import SiteState
from certbotless.model.observation import Observation
from certbotless.state.site import SiteFile
from certbotless.world.containers import Container

DOMAIN = "devbox.sweetlove.test"
MINUTE = timedelta(minutes=1)
DAY_S = 86_400
LABEL = "certbotless.reload=devbox"
CA = trustme.CA()


@dataclass(frozen=True)
class Leaf:
    """A certificate that a `Service` can show."""

    certificate: trustme.LeafCert = field(default_factory=lambda: CA.issue_cert(DOMAIN))

    @property
    def sha256(self) -> str:
        pem = self.certificate.cert_chain_pems[0].bytes().decode()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


OLD, NEW = Leaf(), Leaf()


class Service(TlsServer):
    """A port of loopback that serves the leaf `shows` in TLS, or gives no TLS answer for None.

    Attributes:
        next: what it shows at the next connections instead, one each.
    """

    def __init__(self, shows: Leaf | None = OLD) -> None:
        super().__init__()
        self.shows = shows
        self.next: list[Leaf] = []

    def context(self) -> ssl.SSLContext | None:
        leaf = self.next.pop(0) if self.next else self.shows
        if leaf is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.certificate.configure_cert(context)
        return context


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        yield service


def container(
    name: str = "registry", *ports: int, status: str = "running", age: timedelta = MINUTE
) -> Container:
    """A container that was started this long before the files were issued."""
    return Container(hashlib.sha256(name.encode()).hexdigest(), name, status, ports, EPOCH - age)


SEEN = Observation(
    at=EPOCH,
    addresses={"A": "127.0.0.1"},
    host="127.0.0.1",
    answers={},
    published=Published(
        LeafFacts((DOMAIN,), NEW.sha256, "CN=Example CA", EPOCH, EPOCH + timedelta(days=90)),
        Origin("https://ca.test/directory", "", "ec256", EPOCH),
    ),
    has_copy=True,
    served={},
)

# The same site with another certificate.
OTHER_SEEN = replace(
    SEEN,
    published=replace(
        SEEN.published,
        facts=LeafFacts((DOMAIN,), OLD.sha256, "CN=Example CA", EPOCH, EPOCH + timedelta(days=90)),
    ),
)


class Bench:
    """A site with one target, on an engine in memory, a minute after the files were issued."""

    def __init__(
        self, home: Path, *containers: Container, labels: dict[str, list[str]] | None = None
    ) -> None:
        self.clock = FakeClock(EPOCH + MINUTE)
        self.containers = FakeContainers(*containers, labels=labels, clock=self.clock)
        self._home = home
        self.aliyun = {"access_key_id": "id", "access_key_secret": "secret"}
        self.state_dir = home / "state"

    def deploy(self, *, seen: Observation = SEEN, **target: Any) -> None:
        """Take the step for a target with these keys, by default the container `registry`."""
        if not {"container", "label", "command"} & target.keys():
            target["container"] = "registry"
        self.ctx = site_context(
            self._home,
            {"address": "none", "deploy": [target]},
            lambda _: cast(Zones, None),
            clock=self.clock,
            containers=self.containers,
            aliyun=self.aliyun,
        )
        DeploySteps(self.ctx, seen).deploy(self.ctx.site.deploy[0])

    @property
    def state(self) -> SiteState:
        """What is remembered of the site."""
        return self.ctx.file.load()

    def remember(self, **fields: Any) -> None:
        """Put this into the site's state, before or between deploys."""
        SiteFile(self._home / "state", DOMAIN).change(**fields)


@pytest.fixture
def ctx(tmp_path: Path) -> Bench:
    return Bench(tmp_path, container())


def shows(service: Service, leaf: Leaf | None = NEW) -> Any:
    """What makes the service show the leaf from now on; for a container's hooks."""

    def show(_: Container) -> None:
        service.shows = leaf

    return show


# --- what is done ---------------------------------------------------------------------------------------


def test_a_container_that_serves_it_by_now_is_left_alone(ctx: Bench, service: Service) -> None:
    service.shows = NEW
    ctx.deploy(port=service.port)
    assert ctx.containers.restarts == []


def test_a_restart_gives_the_container_its_time_to_stop_and_is_proved(ctx: Bench, service: Service) -> None:
    ctx.containers.on_restart = shows(service)
    ctx.deploy(port=service.port, stop_timeout="25s")
    assert ctx.containers.restarts == [(container().id, 25)]
    assert ctx.state.restarting == {}
    assert ctx.state.acted == {"registry": Acted(sha256=NEW.sha256, count=1, has_helped=True)}


def test_a_signal_is_no_restart(ctx: Bench, service: Service) -> None:
    ctx.containers.on_reload = shows(service)
    ctx.deploy(port=service.port, action={"signal": "SIGHUP"})
    assert ctx.containers.reloads == [(container().id, Reload("signal", "HUP"))]
    assert ctx.containers.restarts == []


def test_a_program_is_no_restart(ctx: Bench, service: Service) -> None:
    ctx.containers.on_reload = shows(service)
    ctx.deploy(port=service.port, action={"exec": ["nginx", "-s", "reload"]})
    assert ctx.containers.reloads == [(container().id, Reload("exec", argv=("nginx", "-s", "reload")))]
    assert ctx.containers.restarts == []


def test_a_program_that_fails_did_not_act(ctx: Bench, service: Service) -> None:
    ctx.containers.exit_code = 3
    with pytest.raises(DeployError, match="ended with 3"):
        ctx.deploy(port=service.port, action={"exec": ["nginx"]})
    assert ctx.state.acted == {}


def test_a_reload_is_proved_when_the_old_workers_are_gone(ctx: Bench, service: Service) -> None:
    """New and old workers answer by turns for a moment; a look in between must not be the last."""

    def reload(_: Container) -> None:
        service.next, service.shows = [NEW, OLD, NEW, OLD], NEW

    ctx.containers.on_reload = reload
    ctx.deploy(port=service.port, action={"signal": "HUP"})
    assert service.next == []
    assert sum(ctx.clock.sleeps) < 2


def test_a_reload_that_is_seen_at_the_last_moment_is_no_silence(ctx: Bench, service: Service) -> None:
    """Its old workers might answer once more, but that is no reason to go back."""

    def reload_at_last() -> None:
        if len(ctx.clock.sleeps) > 1 and ctx.clock.sleeps[-1] < 0.5 < ctx.clock.sleeps[-2]:
            service.shows = NEW

    ctx.clock.on_sleep = reload_at_last
    ctx.deploy(port=service.port, action={"signal": "HUP"})
    assert service.shows is NEW
    assert sum(ctx.clock.sleeps) == pytest.approx(PROOF_TIMEOUT_S)


def test_a_container_that_goes_on_serving_another_leaf_is_told_after_half_a_minute(
    ctx: Bench, service: Service
) -> None:
    ctx.clock.least_sleep_s = 5
    text = f"127.0.0.1:{service.port} serves another certificate .{OLD.sha256[:16]}.*30 s after the action"
    with pytest.raises(DeployError, match=text) as failed:
        ctx.deploy(port=service.port)
    assert "mount" in failed.value.hint
    assert sum(ctx.clock.sleeps) <= PROOF_TIMEOUT_S


def test_a_container_that_does_not_come_up_is_told(ctx: Bench, service: Service) -> None:
    ctx.clock.least_sleep_s = 5
    ctx.containers.on_restart = shows(service, None)
    with pytest.raises(DeployError, match=r"no TLS answer .*; 30 s after the action"):
        ctx.deploy(port=service.port)


@pytest.mark.parametrize("reads_all", [True, False])
def test_a_container_that_may_be_unable_to_read_the_key_is_told_how_to_let_it(
    ctx: Bench, service: Service, reads_all: bool
) -> None:
    """At the failure itself, and at those of later runs that do not act any more."""
    ctx.clock.least_sleep_s = 5
    ctx.containers.put(replace(container(), reads_all=reads_all))
    ctx.containers.on_restart = shows(service, None)
    for text in ("30 s after the action", "'registry' was already reloaded for it"):
        with pytest.raises(DeployError, match=f"no TLS answer .*; {text}") as failed:
            ctx.deploy(port=service.port)
        assert ('key_mode "0640"' in failed.value.hint) is not reads_all
        assert "see its log" in failed.value.hint


def test_nothing_can_be_served_that_is_not_published(ctx: Bench, service: Service) -> None:
    with pytest.raises(StoreError, match="no certificate is published"):
        ctx.deploy(port=service.port, seen=replace(SEEN, published=Published(None, None)))


# --- whether an action may help ---------------------------------------------------------------------------


def test_a_container_that_was_started_since_and_does_not_answer_is_not_restarted_for_ever(
    ctx: Bench, service: Service
) -> None:
    """Nor waited for: it was started too long ago."""
    service.shows = None
    ctx.containers.put(container(age=-MINUTE / 6))
    with pytest.raises(DeployError, match="'registry' was started after the files, at 2026-11-24T05:30:10Z"):
        ctx.deploy(port=service.port)
    assert (ctx.containers.restarts, ctx.clock.sleeps) == ([], [])


def test_a_container_that_was_started_a_moment_ago_is_given_time_to_answer(
    ctx: Bench, service: Service
) -> None:
    """As one whose engine tried again just when the files were there; it is neither restarted nor told of."""

    def come_up() -> None:
        service.shows = NEW

    service.shows, ctx.clock.on_sleep = None, come_up
    a_moment_ago = ctx.clock.now() - timedelta(seconds=1)
    ctx.containers.put(replace(container(), started_at=a_moment_ago))
    ctx.deploy(port=service.port)
    assert ctx.containers.restarts == []
    service.shows, ctx.clock.on_sleep, ctx.clock.least_sleep_s = None, lambda: None, 5
    with pytest.raises(DeployError, match=f"started after the files, at {rfc3339(a_moment_ago)}"):
        ctx.deploy(port=service.port)
    assert sum(ctx.clock.sleeps) <= PROOF_TIMEOUT_S + 1


@pytest.mark.parametrize("age", [MINUTE, -MINUTE], ids=["before the files", "after the files"])
def test_a_container_that_serves_another_leaf_is_acted_upon_twice(
    ctx: Bench, service: Service, age: timedelta
) -> None:
    """It may have read the files a moment before they were there; a third action cures nothing."""
    ctx.clock.least_sleep_s = 5
    ctx.containers.put(container(age=age))
    late, done = "30 s after the action", "'registry' was already reloaded for it"
    for restarts, text in ((1, late), (2, late), (2, done)):
        with pytest.raises(DeployError, match=f"serves another certificate .*; {text}"):
            ctx.deploy(port=service.port)
        assert len(ctx.containers.restarts) == restarts


def test_what_was_done_for_another_leaf_does_not_count(ctx: Bench, service: Service) -> None:
    ctx.remember(acted={"registry": Acted(sha256=OLD.sha256, count=2)})
    ctx.containers.put(container(age=-MINUTE))
    ctx.containers.on_restart = shows(service)
    ctx.deploy(port=service.port)
    assert ctx.state.acted == {"registry": Acted(sha256=NEW.sha256, count=1, has_helped=True)}


def test_where_an_action_has_helped_another_one_may_a_day_later(ctx: Bench, service: Service) -> None:
    """Another tool puts its certificate there now and then, all through the life of ours."""
    ctx.clock.least_sleep_s = 5
    ctx.containers.put(container(age=-MINUTE))
    ctx.containers.on_restart = shows(service)
    for restarts in (1, 2):
        service.shows = OLD
        ctx.deploy(port=service.port)
        assert len(ctx.containers.restarts) == restarts
    service.shows = OLD
    with pytest.raises(DeployError, match="'registry' was already reloaded for it"):
        ctx.deploy(port=service.port)
    ctx.clock.advance(DAY_S)
    ctx.deploy(port=service.port)
    assert len(ctx.containers.restarts) == 3


# --- the admin wins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["restart", {"signal": "HUP"}])
@pytest.mark.parametrize("status", ["exited", "paused", "created", "dead", "removing"])
def test_a_container_that_its_admin_stopped_is_left_alone(
    ctx: Bench, service: Service, status: str, action: object
) -> None:
    ctx.containers.put(container(status=status))
    with pytest.raises(DeployWaits, match=f"'registry' is {status}") as waits:
        ctx.deploy(port=service.port, action=action)
    assert f"docker {'unpause' if status == 'paused' else 'start'} registry" in waits.value.hint
    assert (ctx.containers.restarts, ctx.containers.reloads) == ([], [])


@pytest.mark.parametrize("age", [MINUTE, -MINUTE], ids=["before the files", "after the files"])
@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "the engine is gone"])
def test_a_restart_that_was_cut_short_is_finished(
    ctx: Bench, service: Service, age: timedelta, is_killed: bool
) -> None:
    """Stopped by us, and not started: nobody else would."""
    stopped = container(status="exited", age=age)
    noted = {"registry": Restarting(id=stopped.id, started_at=stopped.started_at)}

    def die(_: Container) -> None:
        ctx.containers.put(stopped)
        raise DeployError("the engine is gone")

    if is_killed:
        ctx.containers.put(stopped)
        ctx.remember(restarting=noted)
    else:
        ctx.containers.put(replace(stopped, status="running"))
        ctx.containers.on_restart = die
        with pytest.raises(DeployError, match="the engine is gone"):
            ctx.deploy(port=service.port)
        assert ctx.state.restarting == noted
    service.shows = None
    ctx.containers.on_restart = shows(service)
    ctx.deploy(port=service.port)
    assert ctx.containers.find("registry").is_up
    assert ctx.state.restarting == {}


def test_a_stop_after_a_restart_that_the_engine_refused_is_its_admins(ctx: Bench, service: Service) -> None:
    running = container()

    def refuse(_: Container) -> None:
        ctx.containers.put(running)
        raise DeployError("the engine refused")

    ctx.containers.on_restart = refuse
    with pytest.raises(DeployError, match="the engine refused"):
        ctx.deploy(port=service.port)
    ctx.containers.put(container(status="exited"))
    with pytest.raises(DeployWaits, match="is exited"):
        ctx.deploy(port=service.port)


def test_a_container_that_was_paused_while_we_restarted_it_is_its_admins(
    ctx: Bench, service: Service
) -> None:
    paused = container(status="paused")
    ctx.containers.put(paused)
    ctx.remember(restarting={"registry": Restarting(id=paused.id, started_at=paused.started_at)})
    with pytest.raises(DeployWaits, match="is paused"):
        ctx.deploy(port=service.port)
    assert ctx.containers.restarts == []


@pytest.mark.parametrize(
    "other", [{"started_at": EPOCH - 2 * MINUTE}, {"id": "another"}], ids=["ran since", "was made anew"]
)
def test_a_container_that_our_restart_did_not_stop_was_stopped_by_its_admin(
    ctx: Bench, service: Service, other: dict[str, Any]
) -> None:
    stopped = container(status="exited")
    ctx.containers.put(stopped)
    ours: dict[str, Any] = {"id": stopped.id, "started_at": stopped.started_at} | other
    ctx.remember(restarting={"registry": Restarting(**ours)})
    with pytest.raises(DeployWaits):
        ctx.deploy(port=service.port)


def test_a_container_that_another_site_has_restarted_meanwhile_is_not_restarted_again(
    ctx: Bench, service: Service
) -> None:
    """Sites may share it; the one that waited for the other looks again before it acts."""
    other = ExitStack()
    other.enter_context(ActionLock(ctx.state_dir, container().id, FakeClock(), 0))

    def finish() -> None:
        service.shows = NEW
        other.close()

    ctx.clock.on_sleep = finish
    ctx.deploy(port=service.port)
    assert ctx.containers.restarts == []


def test_a_container_that_is_gone_is_told(ctx: Bench, service: Service) -> None:
    ctx.containers.remove("registry")
    with pytest.raises(DeployError, match="there is no container 'registry'"):
        ctx.deploy(port=service.port)


# --- the port ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ports", [{}, {"registry": 1, "mirror": 2}], ids=["first", "no longer published"])
def test_the_published_port_is_found_and_remembered(
    ctx: Bench, service: Service, ports: dict[str, int]
) -> None:
    ctx.remember(ports=ports)
    ctx.containers.put(container("registry", service.port))
    ctx.containers.on_restart = shows(service)
    ctx.deploy()
    assert ctx.state.ports == ports | {"registry": service.port}


@pytest.mark.parametrize(("ports", "listed"), [((), "none"), ((443, 5000), "443, 5000")])
def test_none_or_several_published_ports_wait_for_the_file_before_anything_is_done(
    ctx: Bench, ports: tuple[int, ...], listed: str
) -> None:
    ctx.containers.put(container("registry", *ports))
    with pytest.raises(DeployWaits, match=f"{len(ports)} TCP ports .{listed}.: set port"):
        ctx.deploy()
    assert ctx.containers.restarts == []


def test_a_service_may_be_proved_elsewhere(ctx: Bench, service: Service) -> None:
    ctx.containers.on_restart = shows(service)
    ctx.deploy(port=f"localhost:{service.port}")
    assert len(ctx.containers.restarts) == 1


@pytest.mark.parametrize("age", [MINUTE, -MINUTE], ids=["before", "after"])
def test_what_cannot_be_proved_is_acted_upon_once_whenever_it_was_started(ctx: Bench, age: timedelta) -> None:
    ctx.containers.put(container(age=age))
    for _ in range(2):
        ctx.deploy(port="none")
    assert len(ctx.containers.restarts) == 1
    assert ctx.state.acted == {"registry": Acted(sha256=NEW.sha256, count=1)}
    assert ctx.clock.sleeps == []


def test_what_another_site_did_after_the_files_were_in_place_counts_where_nothing_is_proved(
    ctx: Bench,
) -> None:
    """And what it did before does not: the files were not there."""
    with ActionLock(ctx.state_dir, container().id, ctx.clock, 1) as lock:
        lock.note_action(ctx.clock.now(), dump(Reload("restart")).decode())
    ctx.deploy(port="none", seen=replace(SEEN, at=ctx.clock.now() + MINUTE))
    assert len(ctx.containers.restarts) == 1

    ctx.deploy(port="none", seen=replace(OTHER_SEEN, at=ctx.clock.now() - MINUTE))
    assert len(ctx.containers.restarts) == 1
    assert ctx.state.acted == {"registry": Acted(sha256=OLD.sha256, count=1)}


def test_a_container_that_is_made_again_has_the_lock_of_its_name(ctx: Bench) -> None:
    """One file for each name, and none that is left of each container ever made."""
    for number in range(3):
        ctx.containers.put(replace(container(), id=f"{number:064}"))
        seen = replace((SEEN, OTHER_SEEN)[number % 2], at=ctx.clock.now() + MINUTE)
        ctx.deploy(port="none", seen=seen)
    assert len(ctx.containers.restarts) == 3
    assert len(list((ctx.state_dir / "containers").iterdir())) == 1


# --- labels -----------------------------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> Bench:
    """Three containers with the label, and one without."""
    names = ["web1", "web2", "web3"]
    labels = {name: [LABEL] for name in names}
    return Bench(tmp_path, *map(container, [*names, "other"]), labels=labels)


def acted_upon(ctx: Bench) -> list[str]:
    """The names of the containers that were restarted, in order."""
    names = {container(name).id: name for name in ("web1", "web2", "web3", "other")}
    return [names[id_] for id_, _ in ctx.containers.restarts]


def test_every_container_with_the_label_is_acted_upon_and_remembered(shared: Bench) -> None:
    shared.deploy(label=LABEL, port="none")
    assert acted_upon(shared) == ["web1", "web2", "web3"]
    assert shared.state.matched == {LABEL: ("web1", "web2", "web3")}


def test_the_first_of_a_label_is_the_canary(shared: Bench) -> None:
    shared.containers.put(container("web1", status="restarting"))
    with pytest.raises(DeployError, match="'web1' is restarting"):
        shared.deploy(label=LABEL, port="none", action={"signal": "HUP"})
    assert shared.containers.reloads == []


def test_a_later_failure_leaves_none_out(shared: Bench) -> None:
    shared.containers.put(container("web2", status="restarting"))
    with pytest.raises(DeployError, match="'web2' is restarting"):
        shared.deploy(label=LABEL, port="none", action={"signal": "HUP"})
    assert [id_ for id_, _ in shared.containers.reloads] == [container("web1").id, container("web3").id]


def test_one_that_its_admin_stopped_keeps_none_of_the_others(shared: Bench) -> None:
    shared.containers.put(container("web1", status="exited"))
    with pytest.raises(DeployWaits, match="'web1' is exited"):
        shared.deploy(label=LABEL, port="none")
    assert acted_upon(shared) == ["web2", "web3"]


def test_a_failure_is_told_before_what_waits(shared: Bench) -> None:
    shared.containers.put(container("web1", status="exited"))
    shared.containers.put(container("web3", status="restarting"))
    with pytest.raises(DeployError, match="'web3' is restarting"):
        shared.deploy(label=LABEL, port="none", action={"signal": "HUP"})


def test_a_new_match_is_acted_upon_and_the_old_ones_are_not_again(tmp_path: Path) -> None:
    ctx = Bench(tmp_path, container("web1"), labels={"web1": [LABEL], "web2": [LABEL]})
    ctx.deploy(label=LABEL, port="none")
    ctx.containers.put(container("web2"))
    ctx.deploy(label=LABEL, port="none")
    assert acted_upon(ctx) == ["web1", "web2"]
    assert ctx.state.matched == {LABEL: ("web1", "web2")}


def test_a_label_that_nobody_has_is_told_and_remembered(shared: Bench) -> None:
    shared.remember(matched={"nobody=has": ("gone",), LABEL: ("web1",)})
    with pytest.raises(DeployError, match="there is no container with the label 'nobody=has'") as failed:
        shared.deploy(label="nobody=has")
    assert not isinstance(failed.value, DeployWaits)
    assert shared.state.matched == {"nobody=has": (), LABEL: ("web1",)}


# --- commands ---------------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_command_is_run_once_where_nothing_is_proved(ctx: Bench, tmp_path: Path) -> None:
    command = ["mkdir", str(tmp_path / "made")]
    ctx.deploy(command=command, port="none")
    assert (tmp_path / "made").is_dir()
    assert ctx.state.acted == {f"mkdir {tmp_path}/made": Acted(sha256=NEW.sha256, count=1)}


@pytest.mark.process
def test_a_command_learns_nothing_of_our_secrets(
    ctx: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the variables that the file names nor by where systemd has put them."""
    for name in ("ALIYUN_ID", "ALIYUN_SECRET", "CREDENTIALS_DIRECTORY", "PASSED_ON"):
        monkeypatch.setenv(name, "canary")
    ctx.aliyun = {"access_key_id": "${ALIYUN_ID}", "access_key_secret": "${ALIYUN_SECRET}"}
    ctx.deploy(command=["sh", "-c", f"env >{tmp_path}/seen"], port="none")
    seen = (tmp_path / "seen").read_text().splitlines()
    assert [line for line in seen if "canary" in line] == ["PASSED_ON=canary"]


@pytest.mark.process
def test_a_command_has_the_home_of_the_user_that_runs_it(
    ctx: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of root has root's in its environment also after it has become the service's user."""
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.setenv(name, "/of/another")
    ctx.deploy(command=["sh", "-c", f'printf "%s " "$HOME" "$USER" "$LOGNAME" >{tmp_path}/seen'], port="none")
    user = pwd.getpwuid(os.geteuid())
    assert (tmp_path / "seen").read_text().split() == [user.pw_dir, user.pw_name, user.pw_name]


def test_a_command_is_not_run_where_the_leaf_is_served_by_now(
    ctx: Bench, service: Service, tmp_path: Path
) -> None:
    service.shows = NEW
    ctx.deploy(command=["mkdir", str(tmp_path / "made")], port=service.port)
    assert not (tmp_path / "made").exists()


@pytest.mark.process
def test_a_command_is_proved(ctx: Bench, service: Service) -> None:
    service.next, service.shows = [OLD, OLD], NEW
    ctx.deploy(command=["true"], port=service.port)
    assert service.next == []


@pytest.mark.process
def test_a_command_that_changes_nothing_is_not_run_for_ever(
    ctx: Bench, service: Service, tmp_path: Path
) -> None:
    ctx.clock.least_sleep_s = 5
    log = tmp_path / "log"
    for text in ("30 s after the action", "30 s after the action", "was run for it 2 times"):
        with pytest.raises(DeployError, match=text):
            ctx.deploy(command=["sh", "-c", f"echo run >> {log}"], port=service.port)
    assert log.read_text() == "run\n" * 2


@pytest.mark.process
def test_a_command_is_run_again_a_day_later(ctx: Bench, service: Service, tmp_path: Path) -> None:
    """Its machine may have been restored from an old backup, or its admin has mended it."""
    ctx.clock.least_sleep_s = 5
    log = tmp_path / "log"
    for _ in range(3):
        with pytest.raises(DeployError):
            ctx.deploy(command=["sh", "-c", f"echo run >> {log}"], port=service.port)
    ctx.clock.advance(DAY_S)
    with pytest.raises(DeployError, match="30 s after the action"):
        ctx.deploy(command=["sh", "-c", f"echo run >> {log}"], port=service.port)
    with pytest.raises(DeployError, match="was run for it 2 times"):
        ctx.deploy(command=["sh", "-c", f"echo run >> {log}"], port=service.port)
    assert log.read_text() == "run\n" * 3


@pytest.mark.process
def test_the_domain_takes_its_place_in_an_argument(ctx: Bench, tmp_path: Path) -> None:
    """No shell reads it, and other braces are the program's own."""
    command = ["sh", "-c", 'printf "%s\\n" "$@" >"$0"', f"{tmp_path}/seen"]
    ctx.deploy(command=[*command, "{domain}", "a={domain}:{domain}", "{}"], port="none")
    assert (tmp_path / "seen").read_text().splitlines() == [DOMAIN, f"a={DOMAIN}:{DOMAIN}", "{}"]


@pytest.mark.row(126)
@pytest.mark.process
def test_a_command_that_hangs_is_ended_with_what_it_said(
    ctx: Bench, service: Service, tmp_path: Path
) -> None:
    """With all that it has started."""
    script = f"echo waits for an answer; sleep 300 & echo $! >{tmp_path}/pid; wait"
    with pytest.raises(NotActedUpon, match="did not end in 1 s: waits for an answer"):
        ctx.deploy(command=["sh", "-c", script], port=service.port, timeout="1s")
    stat = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")

    def has_ended() -> bool:
        try:
            return stat.read_text().split()[2] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(has_ended, "it has ended")
    assert ctx.state.acted == {}


@pytest.mark.row(126)
@pytest.mark.process
def test_a_command_that_cannot_be_run_is_no_fault_of_the_certificate(ctx: Bench, service: Service) -> None:
    with pytest.raises(NotActedUpon, match="cannot be run: No such file"):
        ctx.deploy(command=["/no/such/program"], port=service.port)
    with pytest.raises(NotActedUpon, match="ended with 255: no route"):
        ctx.deploy(command=["sh", "-c", "echo no route >&2; exit 255"], port=service.port)


@pytest.mark.process
def test_a_command_that_fails_may_be_run_again(ctx: Bench, service: Service) -> None:
    for _ in range(3):
        with pytest.raises(DeployError, match="ended with 1"):
            ctx.deploy(command=["false"], port=service.port)
    assert ctx.state.acted == {}


# --- what reads its files by itself -----------------------------------------------------------------------


def by_itself(kind: str, service: Service) -> dict[str, Any]:
    """Return the target of a container, or of a port alone."""
    if kind == "container":
        return {"container": "registry", "action": "none", "port": service.port}
    return {"container": None, "port": f"127.0.0.1:{service.port}"}


@pytest.mark.parametrize("kind", ["container", "port"])
def test_what_reads_its_files_by_itself_is_waited_for_and_proved(
    ctx: Bench, service: Service, kind: str
) -> None:
    service.next, service.shows = [OLD, NEW, OLD], NEW
    ctx.deploy(**by_itself(kind, service))
    assert service.next == []  # its old workers answer for a moment, too
    assert (ctx.containers.restarts, ctx.containers.reloads) == ([], [])


@pytest.mark.row(125)
@pytest.mark.parametrize("kind", ["container", "port"])
def test_what_reads_its_files_by_itself_has_a_day(ctx: Bench, service: Service, kind: str) -> None:
    """After half a minute it is left to the checks, which is no failure; after a day it is one."""
    ctx.clock.least_sleep_s = 5
    ctx.deploy(**by_itself(kind, service))
    slept = len(ctx.clock.sleeps)
    assert slept
    ctx.clock.advance(DAY_S - 120)
    ctx.deploy(**by_itself(kind, service))
    ctx.clock.advance(120)
    text = f"127.0.0.1:{service.port} serves another certificate .{OLD.sha256[:16]}.*it had time until"
    for _ in range(2):
        with pytest.raises(NotActedUpon, match=text) as failed:
            ctx.deploy(**by_itself(kind, service))
    assert "by itself" in failed.value.hint
    assert len(ctx.clock.sleeps) == slept
    service.shows = NEW
    ctx.deploy(**by_itself(kind, service))


@pytest.mark.row(125)
def test_what_reads_its_files_by_itself_has_less_than_a_day_where_the_old_certificate_ends(
    ctx: Bench, service: Service
) -> None:
    ctx.clock.least_sleep_s = 5
    ctx.remember(deploy_by=EPOCH + 10 * MINUTE)
    ctx.deploy(**by_itself("port", service))
    ctx.clock.advance(600)
    with pytest.raises(NotActedUpon, match="it had time until"):
        ctx.deploy(**by_itself("port", service))


@pytest.mark.row(125)
@pytest.mark.parametrize("kind", ["container", "port"])
def test_silence_of_what_reads_its_files_by_itself_is_no_reason_to_go_back(
    ctx: Bench, service: Service, kind: str
) -> None:
    """Its machine may be off: nothing was done there, so nothing is known."""
    ctx.clock.least_sleep_s = 5
    service.shows = None
    seen = replace(SEEN, served={f"port:127.0.0.1:{service.port}": OLD.sha256, "registry": OLD.sha256})
    with pytest.raises(NotActedUpon, match=f"no TLS answer at 127.0.0.1:{service.port}"):
        ctx.deploy(seen=seen, **by_itself(kind, service))
    assert ctx.state.trial is None
    assert ctx.containers.restarts == []


def test_a_stopped_container_that_reads_its_files_by_itself_is_told(ctx: Bench, service: Service) -> None:
    ctx.containers.put(container(status="exited"))
    with pytest.raises(DeployWaits, match="'registry' is exited"):
        ctx.deploy(**by_itself("container", service))
