"""Wires what several test modules use.

The real parts of system/ and faults/: one engine and one CA, an emulator and a registry for each test.
"""

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.artefacts import assert_no_secret_is_told
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, NAME_SERVER_PORT, ZONE, Bed
from support.boxes import Box
from support.daemons import Machine
from support.fakes import FakeClock, FakeZone, TlsServer, ZoneServer
from support.hooks import Hook
from support.pages import Reading
from support.scenes import Scene

from certbotless.base import systemd, words
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS, hosts_entry, require_private_host
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry

# With how many examples `make quick`, `make test` and `make soak` try a property; --hypothesis-profile names
# another one. No property depends on the machine's speed.
for _profile, _examples in {"quick": 25, "test": 100, "soak": 2_000}.items():
    settings.register_profile(
        _profile, max_examples=_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("test")

# Programs of tests speak English, whatever the developer's own language is.
os.environ.pop("LANGUAGE", None)
os.environ["LC_MESSAGES"] = "C"

# A shell's background job, and nohup, ignore some of these, and every program of a test would inherit that.
for _signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, signal.default_int_handler if _signum is signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let a worker have its files on its private host, not where the process that gives out the tests has."""
    if hasattr(config, "workerinput"):
        config.option.basetemp = None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark all of system/ and faults/."""
    if {"system", "faults"} & set(item.path.parts):
        item.add_marker("process")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the long ones.

    A worker has so many tests in a row, and at the end takes some from another one: a long test that is left
    then is waited for by all. Those of a module stay together, for what they share. It is the last to choose,
    since what is not run counts for no worker.
    """
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    modules: dict[Path, list[pytest.Item]] = {}
    others: list[pytest.Item] = []
    for item in items:
        (modules.setdefault(item.path, []) if item.get_closest_marker("long") else others).append(item)
    count = len(items)
    items.clear()
    for worker in range(workers):
        long = [item for module in list(modules.values())[worker::workers] for item in module]
        # So many has pytest-xdist for each.
        more = max((count - len(items)) // (workers - worker) - len(long), 0)
        items += [*long, *others[:more]]
        del others[:more]


_may_start_programs = True


def _refuse_programs(event: str, _arguments: object) -> None:
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn") and not _may_start_programs:
        pytest.fail("a test that starts a program has the mark `process`")


sys.addaudithook(_refuse_programs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let only those that are marked start a program: the others are run without root and a private host."""
    global _may_start_programs  # noqa: PLW0603  (an audit hook has no other way to learn of it)
    _may_start_programs = item.get_closest_marker("process") is not None
    try:
        return (yield)
    finally:
        _may_start_programs = True


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What people read has local time: here it is UTC, wherever the test runs."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True)
def _english() -> None:
    """A test that speaks another language does so for itself alone."""
    words.speak("en")


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """After the last test all that was there for others ends too, as an engine does."""
    global _may_start_programs  # noqa: PLW0603  (as above)
    _may_start_programs = _may_start_programs or nextitem is None


@pytest.fixture
def promised(request: pytest.FixtureRequest) -> Callable[[float, float], None]:
    """Hold a time that was taken against a promise, in `make soak` alone: else much runs beside the test."""
    is_alone = request.node.get_closest_marker("soak") is not None

    def check(took_s: float, promised_s: float) -> None:
        assert not is_alone or took_s <= promised_s

    return check


@pytest.fixture
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)


@pytest.fixture
def box(tmp_path: Path, _no_proxies: None) -> Box:
    """A configuration that is good."""
    return Box(tmp_path)


@pytest.fixture
def paper(request: pytest.FixtureRequest) -> Iterator[Reading]:
    """The blocks of pages that the test's marks name, all of which it must read."""
    reading = Reading(mark.args for mark in request.node.iter_markers("page"))
    yield reading
    reading.assert_all_read()


@pytest.fixture
def hook(_no_proxies: None) -> Iterator[Hook]:
    """A receiver of messages, not behind a proxy."""
    with Hook() as hook:
        yield hook


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A machine with one site, where time passes only when somebody waits."""
    zone = FakeZone(ZONE)
    with ZoneServer(zone) as server, TlsServer() as tls:
        yield Scene(tmp_path, zone, server, tls, FakeClock())


@pytest.fixture
def user() -> Iterator[int]:
    """The uid of the service's user, made in the private host's own copy of /etc."""
    require_private_host()
    subprocess.run(["useradd", "--system", "--no-create-home", systemd.USER], check=True)
    try:
        yield pwd.getpwnam(systemd.USER).pw_uid
    finally:
        subprocess.run(["userdel", systemd.USER], check=True)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine for the real daemon, where all is well."""
    with AlidnsEmulator([ZONE], access_key_id="id", access_key_secret="secret") as dns:
        yield Machine(tmp_path, dns)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with hosts_entry(DOMAIN, LAN_ADDRESS), Engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
def dns(request: pytest.FixtureRequest) -> Iterator[AlidnsEmulator]:
    """The DNS service; an indirect parameter gives zones beside the first."""
    zones = [ZONE, *getattr(request, "param", [])]
    with AlidnsEmulator(
        zones, access_key_id=KEY_ID, access_key_secret=KEY_SECRET, dns_ports=[NAME_SERVER_PORT]
    ) as dns:
        yield dns


@pytest.fixture(scope="session")
def shared_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """A CA that asks for no pause between looks; one for all, since making its keys takes half a second."""
    name_server = f"127.0.0.1:{NAME_SERVER_PORT}"
    with Pebble(tmp_path_factory.mktemp("pebble"), name_server, retry_after_s=0) as ca:
        yield ca


@pytest.fixture
def ca(
    request: pytest.FixtureRequest, tmp_path: Path, dns: AlidnsEmulator, shared_ca: Pebble
) -> Iterator[Pebble]:
    """The CA, not to be stopped; an indirect parameter gives keyword arguments for one of the test's own."""
    if not hasattr(request, "param"):
        shared_ca.forget_requests()
        yield shared_ca
        return
    folder = tmp_path / "pebble"
    folder.mkdir()
    with Pebble(folder, dns.nameservers[0], **request.param) as ca:
        yield ca


@pytest.fixture
def bare(tmp_path: Path, dns: AlidnsEmulator, ca: Pebble, engine: Engine) -> Iterator[Bed]:
    """A bed without a container, and a site that nobody serves."""
    (tmp_path / "certs").mkdir()
    bed = Bed(tmp_path, dns, ca, engine, Registry(engine, DOMAIN, certs=tmp_path / "certs"))
    bed.config["sites"] = [bed.site(deploy=[])]
    yield bed
    assert_no_secret_is_told(bed)


@pytest.fixture
def bed(tmp_path: Path, dns: AlidnsEmulator, ca: Pebble, engine: Engine) -> Iterator[Bed]:
    certs = tmp_path / "certs"
    certs.mkdir()
    registry = Registry(engine, DOMAIN, certs=certs)
    registry.write_self_signed()
    registry.create()
    engine.trust(registry.where, ca.root_pem())
    bed = Bed(tmp_path, dns, ca, engine, registry)
    try:
        yield bed
        assert_no_secret_is_told(bed)
    finally:
        engine.distrust(registry.where)
        for container in engine.client().containers.list(all=True):
            container.remove(force=True, v=True)
