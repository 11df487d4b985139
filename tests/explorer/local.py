"""A machine that certifies its own site: an address that moves, a clock that jumps, a CA that is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certbotless.act import local_rotation
from certbotless.base.errors import StoreError
from certbotless.model.authority import names_of as wanted_names
from certbotless.model.local_ca import PREFIX, CaFiles
from certbotless.model.view import View
from certbotless.state.local_ca import LocalCaFolder
from certbotless.state.pair import generations
from certbotless.world import local_ca

from .checks import Killed, Violation, names_of
from .happenings import Happenings
from .world import DAY, HOUR, World

# LocalOrders keeps to them.
_MOST, _WITHIN = 6, HOUR
# All that may befall this machine too. What concerns DNS, the API and an ACME CA may not.
_ALSO = (
    *("lan_moves", "lan_goes", "clock_jumps", "kills_begin", "command_is_stopped", "command_goes_on"),
    *("person_renews", "file_is_deleted", "file_is_edited", "file_is_written_by_another"),
    *("pair_is_dropped_in", "meta_is_planted", "certs_are_lost", "state_is_damaged", "state_cannot_be_read"),
    *("ledger_cannot_be_read", "service_stops", "service_starts", "service_is_made_anew", "service_goes"),
    *("service_refuses_what_is_new", "engine_goes_or_comes", "targets_are_edited"),
)


class LocalWorld(World):
    """One machine with one local site.

    Attributes:
        signed: when a certificate was signed, in seconds that never go back, since the count began.
        may_make: whether a new CA was asked for.
        made: how many CAs were made.
    """

    def __init__(self, seed: int, home: Path) -> None:
        self.signed: list[float] = []
        self.may_make = False
        self.made = 0
        self._asked_for = 0
        super().__init__(seed, home)

    def drawn_settings(self, label: str, zones: Sequence[str], is_lets_encrypt: bool) -> dict[str, Any]:
        r = self.random
        site = {
            "domain": "box",
            "ca": "local",
            "names": r.choice([[], ["box.lan", "*.box.lan"], ["fd12::5", "10.79.40.213"]]),
            "with_address": r.random() < 0.8,
            "address": "auto",
            "deploy": self.draw_targets(),
        }
        return {
            "local_ca": {"lifetime": r.choice(["1d", "7d", "90d", "397d"])},
            "certs_dir": str(self.certs_dir),
            "state_dir": str(self.state_dir),
            "sites": [site],
        }

    @property
    def folder(self) -> LocalCaFolder:
        return LocalCaFolder(self.state_dir)

    # What the program is given.

    def patches(self) -> list[AbstractContextManager[object]]:
        make, sign = local_ca.make, local_ca.sign

        def watched_make(host: str, permit: Sequence[str], now: datetime) -> CaFiles:
            self.may_die("makes a CA")
            if not self.may_make and self.is_lost():
                raise Violation("a CA that is gone was made again, and nobody had asked for it")
            self.made += 1
            made = make("box", permit, now)
            self.may_die("has made a CA")
            return made

        def watched_sign(*arguments: Any) -> bytes:
            self.may_die("signs")
            chain = sign(*arguments)
            self.may_die("has signed")
            self._count()
            return chain

        certified = x509.CertificateBuilder.sign

        def as_the_seed_has_it(builder: x509.CertificateBuilder, *given: Any, **_: Any) -> x509.Certificate:
            return certified(builder, *given, ecdsa_deterministic=True)

        return [
            patch.object(local_ca, "make", watched_make),
            patch.object(local_ca, "sign", watched_sign),
            patch.object(x509, "random_serial_number", lambda: self.random.getrandbits(120) | 1),
            patch.object(x509.CertificateBuilder, "sign", as_the_seed_has_it),
        ]

    def is_lost(self) -> bool:
        """Whether there is no CA, or none that can be used, and a certificate of one."""
        try:
            if self.folder.load() is not None:
                return False
        except StoreError:
            pass
        held = [told.origin for _, _, told in generations([self.certs_dir])]
        return any(origin is not None and origin.directory.startswith(PREFIX) for origin in held)

    def _count(self) -> None:
        self._asked_for += 1
        if self.intent.ignore_ledger:
            return
        now = self.clock.monotonic()
        self.signed = [at for at in self.signed if at > now - _WITHIN.total_seconds()] + [now]
        if len(self.signed) > _MOST:
            raise Violation(f"{len(self.signed)} certificates within an hour")

    # What is known of it.

    @property
    def lifetime(self) -> timedelta:
        return self.config.local_ca.lifetime

    @property
    def wanted_names(self) -> tuple[str, ...]:
        return wanted_names(self.site, self.lan or "")

    @property
    def watched_for(self) -> int:
        """Longer than a root lives, where that does not take too long."""
        return 12 if self.lifetime > 100 * DAY else 3

    @property
    def certificates_asked_for(self) -> int:
        return self._asked_for

    @property
    def rests_late(self) -> bool:
        return False

    def usable_leaf(self) -> x509.Certificate | None:
        leaf = super().usable_leaf()
        return leaf if leaf and names_of(leaf) == {*self.wanted_names} else None

    def wrong_records(self, view: View) -> Iterator[str]:
        yield from ()

    def wrong_names(self, leaf: x509.Certificate) -> Iterator[str]:
        if names_of(leaf) != set(self.wanted_names):
            yield f"it is for {sorted(names_of(leaf))}, and the LAN address is {self.lan}"
        if leaf.not_valid_before_utc > self.clock.now():
            yield f"it is valid from {leaf.not_valid_before_utc} only"
        try:
            held = self.folder.load()
        except StoreError as exc:
            yield exc.message
            return
        if held is None:
            yield "there is no CA"
            return
        try:
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(held.issuing_pem))
        except (ValueError, InvalidSignature):
            yield "it is not from the CA of this machine"


class LocalHappenings(Happenings):
    """What may happen to such a machine."""

    def __init__(self, world: LocalWorld) -> None:
        self._local = world
        self._copy: Path | None = None
        super().__init__(world)

    def _named(self) -> list[str]:
        return sorted({*super()._named(), *_ALSO})

    def heal(self) -> None:
        self._local.signed.clear()
        super().heal()

    def _heal_certification(self) -> None:
        """Do what the hints say: put the copy back, and where that does not help, make a new CA."""
        world = self._local
        if self._is_useless() and self._copy is not None:
            self.copy_is_put_back()
        if self._is_useless():
            world.may_make = True
            local_rotation.rotate_now(world.config, world.clock)
            world.may_make = False

    def _is_useless(self) -> bool:
        """Whether there is no CA that signs for the site now."""
        world = self._local
        try:
            ca = world.folder.load()
        except StoreError:
            return True
        if ca is None:
            # The first one is made by itself.
            return world.made > 0
        is_valid = ca.facts.is_valid(world.clock.now())
        return not is_valid or bool(ca.facts.forbids(world.wanted_names))

    # The machine.

    def clock_jumps(self) -> str:
        """Nobody can say what was within an hour."""
        self._local.signed.clear()
        return super().clock_jumps()

    def state_is_damaged(self) -> None:
        """The count of certificates is in it."""
        self._local.signed.clear()
        super().state_is_damaged()

    def state_cannot_be_read(self) -> None:
        self._local.signed.clear()
        super().state_cannot_be_read()

    def lan_flaps(self) -> str:
        """A bad cable, or two DHCP servers: up to 20 other addresses in half an hour."""
        world, moves = self._local, self._local.random.randrange(2, 21)
        for _ in range(moves):
            world.lan = f"10.0.0.{world.random.randrange(5, 9)}"
            world.look()
            world.clock.advance(90)
        return f"{moves} times"

    # The CA.

    def copy_is_made(self) -> None:
        """As docs/local-ca.md advises."""
        world = self._local
        if world.folder.path.is_dir():
            self._copy = self._copy or world.state_dir.with_name("copy")
            shutil.rmtree(self._copy, ignore_errors=True)
            shutil.copytree(world.folder.path, self._copy)

    def copy_is_put_back(self) -> str:
        world = self._local
        if self._copy is None:
            return "there is none"
        shutil.rmtree(world.folder.path, ignore_errors=True)
        world.state_dir.mkdir(mode=0o700, exist_ok=True)
        shutil.copytree(self._copy, world.folder.path)
        return ""

    def ca_is_lost(self) -> None:
        shutil.rmtree(self._local.folder.path, ignore_errors=True)

    def ca_is_damaged(self) -> str:
        path = self._local.folder.path
        name = self._local.random.choice(["ca.json", "root.pem", "issuing.pem", "issuing.key"])
        if (path / name).is_file():
            (path / name).write_bytes(b"{")
        return name

    def all_state_is_lost(self) -> None:
        """With the CA in it."""
        if not self._locks:
            self._local.signed.clear()
            shutil.rmtree(self._local.state_dir, ignore_errors=True)
            self._local.pauses.forget()

    def root_is_rotated(self) -> str:
        return self._typed(lambda: local_rotation.rotate(self._local.config, self._local.clock))

    def next_root_takes_over(self) -> str:
        return self._typed(lambda: local_rotation.switch(self._local.config, self._local.clock))

    def root_is_replaced_at_once(self) -> str:
        return self._typed(lambda: local_rotation.rotate_now(self._local.config, self._local.clock))

    def _typed(self, command: Callable[[], object]) -> str:
        """Have a command of a person run, and say what came of it."""
        world = self._local
        world.may_make, world.is_dead = True, False
        try:
            command()
        except StoreError as exc:
            return f"refused: {exc.message}"
        except Killed:
            return "killed"
        finally:
            world.may_make, world.is_dead = False, False
        return ""

    # The configuration.

    def local_names_are_edited(self) -> str:
        """The root may not vouch for each of them."""
        names = self._local.random.choice([[], ["box.lan"], ["*.box.lan"], ["git"], ["fd12::6"]])
        self._local.settings["sites"][0]["names"] = names
        self._local.edit()
        return ", ".join(names)

    def local_key_type_is_edited(self) -> None:
        self._local.settings["local_ca"]["key_type"] = self._local.random.choice(["ec256", "ec384"])
        self._local.edit()
