"""One machine with one site, in a world of its own, and the program that runs there."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from support.fakes import EPOCH

from certbotless.act import proof
from certbotless.act import run as act
from certbotless.act.context import Edges
from certbotless.base import concurrent
from certbotless.base.errors import AddressError, StoreError
from certbotless.config import load
from certbotless.config.addresses import AddressRule
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.settings import Config, Site
from certbotless.config.values import DailyWindow
from certbotless.decide.deploy import next_opening
from certbotless.model.decision import Intent
from certbotless.model.situation import Goal
from certbotless.model.view import View
from certbotless.observe import site as observe
from certbotless.observe import views
from certbotless.observe.record_answers import ask_servers
from certbotless.service.workers import StartPauses
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.pair import generations
from certbotless.world.dns import query
from certbotless.world.dns.nameservers import NameServers

from .authority import GIVEN, Account, Port53Answers, WatchedZone
from .ca import LETS_ENCRYPT, Ari, SimulatedCa
from .checks import Killed, Violation, check_not_worse, check_state, leaf_on_disk, names_of
from .engine import LABEL, SimulatedEngine

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
PARENT = "sweetlove.test"
OTHER_CAS = ("https://ca.test/dir", "https://other.test/dir")
# How many episodes have a list of two CAs.
_SHARE_OF_LISTS = 0.4
# Where no name server answers, what the API listed is good for so long (decide.LIST_EVERY, three times).
_API_ASKED_WITHIN_S = 1860.0
# A record that is as it was wanted is written no more often than this in a day, whoever works against us.
_MOST_WRITES_A_DAY = 400


class _OneAfterTheOther(Executor):
    """Does at once what others do in threads: an episode goes the same way each time."""

    def __init__(self, max_workers: int = 1) -> None:
        pass

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as exc:  # noqa: BLE001  (also a kill)
            future.set_exception(exc)
        return future


class WorldClock:
    """Time that passes only when somebody waits; the machine's clock may be wrong by `offset`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._elapsed_s = 0.0
        self.offset = timedelta()

    def now(self) -> datetime:
        return self.true_now() + self.offset

    def true_now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return self._elapsed_s

    def sleep(self, seconds: float) -> None:
        self._world.may_die("sleeps")
        # One of 1e-15 s would be for ever.
        self.advance(max(seconds, 1e-3) if seconds > 0 else 0)

    def advance(self, seconds: float) -> None:
        self._elapsed_s += seconds


class World:
    """Everything outside of the program, and the program as the daemon runs it.

    Args:
        seed: decides everything.
        home: an empty folder.

    Attributes:
        lan: the LAN address, None without a network.
        kill_rate: how often the program is killed at a moment at which it may be.
        intent: what the run that goes on was asked for.
        settings: the configuration, as it would be in its file.
    """

    def __init__(self, seed: int, home: Path) -> None:
        self.random = r = Random(seed)  # noqa: S311
        self.certs_dir, self.state_dir = home / "certs", home / "state"
        self.clock = WorldClock(self)
        self.kill_rate, self.is_dead = 0.0, False
        self.lan: str | None = "10.0.0.5"
        self.intent = Intent()
        self.pauses = StartPauses()
        # Whether the first CA of a list ever had a fault of its own.
        self.first_has_failed = False
        self._writes: list[float] = []
        self._stamped: dict[Path, tuple[int, int]] = {}

        has_sub_zone = r.random() < 0.3
        zones = ["lan.sweetlove.test"] * has_sub_zone + [PARENT]
        label = r.choice(["box", "box", "仓库"])
        self.account = Account(*(WatchedZone(name, self) for name in zones))
        self.dns = Port53Answers(self.account, r.choice([0, 0, 0, 20, 300]))
        is_lets_encrypt = r.random() < 0.5
        lifetime = r.choice([6.67 * DAY, 47 * DAY, 64 * DAY, 90 * DAY])
        if not is_lets_encrypt:
            lifetime = r.choice([2 * MINUTE, HOUR, DAY, 6 * DAY, 47 * DAY, 90 * DAY])
        ari: Ari = r.choice(["none", "sound", "past", "wide", "late"])
        backdate = r.choice([HOUR, HOUR, MINUTE, timedelta()])
        self.ca = SimulatedCa(self, lifetime, ari, min(backdate, lifetime / 20))
        self.engine = SimulatedEngine(self)

        self.settings = self.drawn_settings(label, zones, is_lets_encrypt)
        # By a draw of its own: the other episodes stay as they are.
        if "acme" in self.settings and Random(seed + 1_000_003).random() < _SHARE_OF_LISTS:  # noqa: S311
            first = self.settings["acme"]["directory"]
            self.settings["acme"] = [{"directory": url} for url in (first, OTHER_CAS[1])]
        self._accept()

    def drawn_settings(self, label: str, zones: Sequence[str], is_lets_encrypt: bool) -> dict[str, Any]:
        """Draw what the configuration says at first."""
        r = self.random
        given = {"nameservers": list(GIVEN)} if r.random() < 0.5 else {}
        site: dict[str, Any] = {
            "domain": f"{label}.{zones[0]}",
            "names": r.choice([[], [f"*.{label}.{zones[0]}"]]),
            "address": "auto",
            "ttl": 600,
            "deploy": self.draw_targets(),
        }
        if len(zones) == 1 and r.random() < 0.5:
            site["zone"] = PARENT
        return {
            "acme": {"directory": LETS_ENCRYPT if is_lets_encrypt else OTHER_CAS[0]},
            "aliyun": {"access_key_id": "id", "access_key_secret": "secret", "security_token": "token 0"},
            "dns": given,
            "certs_dir": str(self.certs_dir),
            "state_dir": str(self.state_dir),
            "sites": [site],
        }

    @property
    def site(self) -> Site:
        return self.config.sites[0]

    @property
    def domain(self) -> str:
        return self.site.domain

    @property
    def zone(self) -> WatchedZone:
        """The zone that holds the site's name now."""
        return self.account.holder(self.domain)

    @property
    def directories(self) -> tuple[str, ...]:
        return (LETS_ENCRYPT, *OTHER_CAS)

    def draw_targets(self) -> list[dict[str, Any]]:
        mirror = {"container": "mirror", "port": 5001}
        registry = {"container": "registry", "port": 5000}
        return self.random.choice(
            [
                [],
                [registry],
                [registry, mirror],
                [{"container": "registry"}],
                [{"container": "registry", "port": "none"}],
                [{"label": LABEL}],
                [{"label": LABEL, "when": "02:00-05:00"}],
                [registry | {"action": {"signal": "HUP"}}],
                [registry | {"when": "02:00-05:00"}],
                [
                    registry | {"when": "22:00-01:30"},
                    mirror | {"when": "02:00-03:00", "action": {"exec": ["reload"]}},
                ],
            ]
        )

    def edit(self) -> None:
        """Let the file be what `settings` say now."""
        self._accept()
        self.pauses.forget()
        self._writes.clear()

    def _accept(self) -> None:
        self.config: Config = load.parse(json.dumps(self.settings).encode(), "explorer.json")
        # As the daemon, which keeps them until the file is edited.
        self._servers = NameServers(self.config.dns.nameservers, self.clock)

    # What the program is given.

    def may_die(self, where: str) -> None:
        """Kill the program here, as often as `kill_rate` says; a dead one does nothing any more."""
        if self.is_dead or (self.kill_rate and self.random.random() < self.kill_rate):
            self.is_dead = True
            raise Killed(where)

    def address_of(self, rule: AddressRule) -> str:
        if rule.kind == "none":
            return ""
        if self.lan is None:
            raise AddressError("no LAN interface has an address")
        return self.lan

    def new_key(
        self, curve: ec.EllipticCurve | None = None, backend: object = None
    ) -> ec.EllipticCurvePrivateKey:
        """Make a key as the seed has it, so that an episode can be replayed to the digit."""
        return ec.derive_private_key(self.random.getrandbits(200) + 1, curve or ec.SECP256R1())

    def stamp_files(self) -> None:
        """Let links and files be as old as the world's time says, not the machine's."""
        for path in (*self.certs_dir.glob("*"), *self.certs_dir.glob(".certbotless/*/current")):
            told = path.lstat()
            known = (told.st_ino, told.st_mtime_ns)
            if self._stamped.get(path) == known:
                continue
            stamp = int(self.clock.now().timestamp() * 1e9)
            os.utime(path, ns=(stamp, stamp), follow_symlinks=False)
            self._stamped[path] = (told.st_ino, path.lstat().st_mtime_ns)

    def patches(self) -> list[AbstractContextManager[object]]:
        """Return what makes further parts of the program those of the world."""
        return []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the program's network, entropy and time zone be those of the world inside the block."""

        def served(host: str, port: int, name: str, **_: object) -> str:
            return self.engine.served(host, port)

        def send(session: object, request: requests.PreparedRequest, **_: object) -> requests.Response:
            return self.ca.answer(request)

        drawn = random.getstate()
        random.seed(self.random.random())
        with (
            ExitStack() as further,
            patch.object(query, "exchange", self.dns.exchange),
            patch.object(observe, "served_leaf", served),
            patch.object(proof, "served_leaf", served),
            patch.object(observe, "ThreadPoolExecutor", _OneAfterTheOther),
            patch.object(concurrent, "ThreadPoolExecutor", _OneAfterTheOther),
            patch.object(requests.Session, "send", send),
            patch.object(ec, "generate_private_key", self.new_key),
            patch.dict(os.environ, {"TZ": "UTC"}),
        ):
            for each in self.patches():
                further.enter_context(each)
            time.tzset()
            try:
                yield
            finally:
                random.setstate(drawn)
        time.tzset()

    # The program.

    def view(self) -> View:
        """Look once, as the daemon does."""
        self.stamp_files()
        now = self.clock.now()
        try:
            ledger = LedgerFile(self.state_dir, self.config.certs_dirs).entries()
        except StoreError:
            ledger = []
        shown_by = ask_servers(self._servers)
        looking = views.Looking(shown_by, ledger, address_of=self.address_of)
        return views.look(Goal(self.site, self.config), looking, now)

    def look(self) -> View:
        """Look, start a run for what is due, and return what is seen after it."""
        view = self.view()
        check_state(self, view)
        if self.pauses.may_start(view, self.config.check_every):
            self.run(Intent())
            view = self.view()
            check_state(self, view)
        return view

    def run(self, intent: Intent) -> act.Outcome | None:
        """Run for the site; None where the run was killed."""
        self.intent, self.is_dead = intent, False
        servers = NameServers(self.config.dns.nameservers, self.clock)
        prints = Fingerprints.of(self.config)
        edges = Edges(self.clock, servers, lambda _: self.account, self.engine, prints, self.address_of)
        before = self.usable_leaf()
        try:
            [outcome] = act.run(self.config, self.config.sites, edges, intent)
        except Killed:
            return None
        finally:
            self.intent, self.is_dead = Intent(), False
        check_not_worse(before, leaf_on_disk(self.certs_dir, self.domain), self.clock.now())
        return outcome

    # What is known of it.

    def usable_leaf(self) -> x509.Certificate | None:
        """Return the certificate that a service would load now, if it is of any use to it."""
        return leaf_on_disk(self.certs_dir, self.domain)

    @property
    def lifetime(self) -> timedelta:
        """How long its certificates live."""
        return self.ca.lifetime

    @property
    def wanted_names(self) -> tuple[str, ...]:
        """All names of its certificate."""
        return self.site.all_names

    @property
    def watched_for(self) -> int:
        """For how many lifetimes it is seen to stay well."""
        return 3

    @property
    def certificates_asked_for(self) -> int:
        """How often a certificate was asked for."""
        return len(self.ca.orders)

    @property
    def rests_late(self) -> bool:
        """Whether the CA's own count of these names is full, so that only a week brings the next one."""
        names, week_ago = frozenset(self.site.all_names), self.clock.true_now() - 7 * DAY
        # One whose outcome nobody knows may have given a certificate, for all that the program knows.
        orders = [order for order in self.ca.orders.values() if order.at > week_ago]
        placed = sum(frozenset(order.names) == names and order.state != "invalid" for order in orders)
        unheard = sum(at > week_ago for at in self.ca.unheard)
        # A ledger that was lost is made good from what was published.
        told = sum(made > week_ago for made, _, _ in generations([self.certs_dir]))
        return max(placed + unheard, told) >= 2

    def wrong_names(self, leaf: x509.Certificate) -> Iterator[str]:
        """Say where a certificate is for other names than the site wants, or from another CA."""
        if names_of(leaf) != set(self.wanted_names):
            yield f"it is for {sorted(names_of(leaf))}"
        issuer = leaf.issuer.rfc4514_string()
        if issuer not in {self.ca.issuer_of(ca.url) for ca in self.config.cas}:
            yield f"it is from {issuer}, not from a CA of the configuration"

    def wrong_records(self, view: View) -> Iterator[str]:
        """Say what is wrong with the A record where the program looked: at name servers, or at the API."""
        if self.domain in view.seen.listed_at:
            if not self.zone.has_shown_lately(self.domain, {self.lan}, _API_ASKED_WITHIN_S):
                yield f"the account lists {sorted(self.dns.seen_by(self.domain, 'A', 0))}, not {self.lan}"
            return
        for lag_s in self.dns.lags_of_live_servers(self.config.dns.nameservers):
            values = self.dns.seen_by(self.domain, "A", lag_s)
            if values != {self.lan}:
                yield f"a name server shows {sorted(values)}, the LAN address is {self.lan}"

    def wrote_record(self) -> None:
        """Count a write of the A record."""
        now = self.clock.monotonic()
        self._writes = [at for at in self._writes if at > now - DAY.total_seconds()] + [now]
        if len(self._writes) > _MOST_WRITES_A_DAY:
            raise Violation(f"{len(self._writes)} writes of the A record in a day")

    @staticmethod
    def next_opening(window: DailyWindow, now: datetime) -> datetime:
        return next_opening(window, now.astimezone(UTC))
