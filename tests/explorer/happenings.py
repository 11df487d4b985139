"""What happens to a site and its world, and how all of it is mended."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from certbotless.model.decision import Intent
from certbotless.model.records import DEFAULT_LINE, Record
from certbotless.state.pair import META, with_digest

from .authority import FOREIGN_NET, NAME_SERVERS
from .checks import leaf_on_disk, sha256_of
from .engine import Service
from .world import DAY, HOUR, MINUTE, OTHER_CAS, PARENT, World


class Happenings:
    """Everything that may happen, each a method whose name says what.

    Attributes:
        story: what has happened so far, with its moment.
        has_rival: whether another machine keeps the record as well.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.story: list[str] = []
        self.has_rival = False
        self._locks: list[int] = []
        self._tokens = 0
        self._dropped_in: set[str] = set()
        self._kinds: list[Callable[[], object]] = [getattr(self, name) for name in self._named()]

    def _named(self) -> list[str]:
        """Return the names of what may happen."""
        named = (name for name, member in sorted(vars(type(self)).items()) if callable(member))
        return [name for name in named if not name.startswith("_") and name not in ("happen", "heal")]

    def happen(self) -> None:
        """Let one thing happen."""
        kind = self._world.random.choice(self._kinds)
        self.story.append(f"{self._world.clock.true_now():%m-%d %H:%M:%S} {kind.__name__}")
        told = kind()
        if told is not None:
            self.story[-1] += f" {told}"

    def heal(self) -> None:
        """Lift every fault; what is left of it is the program's to put right."""
        world = self._world
        world.kill_rate, world.is_dead, world.clock.offset = 0.0, False, timedelta()
        world.account.is_down = world.account.refuses = world.engine.is_down = False
        world.ca.mood, world.dns.port53, world.dns.dead = "", "free", set()
        world.dns.are_resolvers_dead = self.has_rival = False
        world.lan = world.lan or "10.0.0.5"
        self.command_goes_on()
        for path in (world.state_dir / "ledger.jsonl", self._state_file):
            if path.is_dir():
                path.rmdir()
        self._heal_certification()
        for service in world.engine.services.values():
            service.known = None
            # Who dropped a pair in restarts what has loaded it: we act at most twice for one certificate.
            if service.is_absent or service.status != "running" or service.loaded in self._dropped_in:
                service.is_absent = False
                world.engine.boot(service)
        world.pauses.forget()
        if world.lifetime < HOUR:
            # Once a record was set back three times, nobody writes it for a day unless a command asks: more
            # than a thousand renewals. That it is written then by itself is seen with longer lifetimes.
            self.person_renews()

    def _heal_certification(self) -> None:
        """Remove what others have put at the site's names."""
        world = self._world
        world.zone.remove(
            record
            for record in world.zone.held()
            if record.fqdn == world.domain
            and (
                record.value.startswith(FOREIGN_NET)
                or record.type == "CNAME"
                or not record.is_enabled
                or record.line != DEFAULT_LINE
            )
        )

    @property
    def _state_file(self) -> Path:
        return self._world.state_dir / "sites" / f"{self._world.domain}.json"

    def _service(self) -> Service:
        return self._world.random.choice(list(self._world.engine.services.values()))

    # The machine.

    def lan_moves(self) -> str:
        self._world.lan = self._world.random.choice(["10.0.0.5", "10.0.0.6", "192.168.1.7"])
        return self._world.lan

    def lan_goes(self) -> None:
        self._world.lan = None

    def clock_jumps(self) -> str:
        offsets = [-MINUTE, -4 * MINUTE, -30 * MINUTE, MINUTE, 59 * MINUTE, -59 * MINUTE]
        offsets += [8 * HOUR, -8 * HOUR, 90 * DAY, -400 * DAY]
        self._world.clock.offset = self._world.random.choice([timedelta()] * 5 + offsets)
        self._world.pauses.forget()
        return str(self._world.clock.offset)

    def kills_begin(self) -> str:
        self._world.kill_rate = self._world.random.choice([0, 0, 0.01, 0.1])
        return str(self._world.kill_rate)

    def command_is_stopped(self) -> None:
        """A command was stopped (Ctrl-Z) while it held the site's lock."""
        if self._locks:
            return
        folder = self._world.state_dir / "sites"
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / f"{self._world.domain}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self._locks.append(fd)

    def command_goes_on(self) -> None:
        for fd in self._locks:
            os.close(fd)
        self._locks.clear()

    def person_renews(self) -> None:
        if not self._locks:
            self._world.run(Intent(self._world.clock.now(), ignore_backoff=True))

    # The zone.

    def record_is_tampered_with(self) -> None:
        world = self._world
        for record in world.zone.held("A"):
            is_plain = record.is_enabled and record.line == DEFAULT_LINE
            if record.fqdn == world.domain and is_plain and not record.value.startswith(FOREIGN_NET):
                world.zone.replace_value(record, "10.9.9.9")

    def public_record_appears(self) -> None:
        """Older than ours, or the newest."""
        world = self._world
        value = f"{FOREIGN_NET}{world.random.randrange(2, 250)}"
        if world.random.random() < 0.5:
            world.zone.put_first(Record(world.domain, "A", value, 600))
        else:
            world.zone.put(Record(world.domain, "A", value, 600))
            world.zone.changed()

    def cname_appears(self) -> None:
        world = self._world
        if not any(record.fqdn == world.domain for record in world.zone.held()):
            world.zone.put(Record(world.domain, "CNAME", "elsewhere.test", 600))
            world.zone.changed()

    def records_are_deleted(self) -> None:
        world = self._world
        world.zone.remove(record for record in world.zone.held() if record.fqdn == world.domain)

    def records_of_others_appear(self) -> None:
        world = self._world
        world.zone.put(Record(world.domain, "A", "10.0.0.5", 600, is_enabled=False))
        world.zone.put(Record(world.domain, "A", f"{FOREIGN_NET}99", 600, line="telecom"))
        world.zone.put(Record(f"_acme-challenge.{world.domain}", "TXT", "v" * 43, 600))
        world.zone.changed()

    def rival_begins(self) -> None:
        """Another machine, or a DDNS client, keeps the record as well."""
        self.has_rival = True

    def rival_ends(self) -> None:
        self.has_rival = False

    def sub_zone_is_merged(self) -> str:
        name = self._world.zone.name
        if name != PARENT:
            self._world.account.merge(name, PARENT)
        return name

    # The way to the name servers, and the API.

    def port53_changes(self) -> str:
        self._world.dns.port53 = self._world.random.choice(
            ["free", "free", "free", "cache", "fake-ip", "refused", "blocked"]
        )
        return self._world.dns.port53

    def name_servers_die(self) -> str:
        first = {addresses[0] for addresses in NAME_SERVERS.values()}
        every = {address for addresses in NAME_SERVERS.values() for address in addresses}
        one = set(NAME_SERVERS["ns1.dns.test"])
        self._world.dns.dead = self._world.random.choice([set(), set(), first, one, every])
        return f"{len(self._world.dns.dead)} addresses"

    def resolvers_die(self) -> None:
        self._world.dns.are_resolvers_dead = not self._world.dns.are_resolvers_dead

    def api_goes_or_comes(self) -> None:
        self._world.account.is_down = not self._world.account.is_down

    def api_refuses_or_not(self) -> None:
        self._world.account.refuses = not self._world.account.refuses

    def ca_changes(self) -> str:
        self._world.ca.mood = self._world.random.choice(
            ["", "", "down", "503", "refuses", "limits", "invalid", "slow", "later", "lost", "forgets"]
        )
        cas = self._world.config.cas
        if len(cas) > 1:
            self._world.ca.moody = self._world.random.choice(["", cas[0].url, cas[0].url])
            self._world.first_has_failed |= self._world.ca.mood != ""
        return f"{self._world.ca.mood} {self._world.ca.moody}".strip()

    # Files.

    def file_is_deleted(self) -> None:
        kind = self._world.random.choice(["pem", "key"])
        (self._world.certs_dir / f"{self._world.domain}.{kind}").unlink(missing_ok=True)

    def file_is_edited(self) -> None:
        path = self._world.certs_dir / f"{self._world.domain}.pem"
        if path.exists():
            path.resolve().write_bytes(b"edited")

    def file_is_written_by_another(self) -> None:
        path = self._world.certs_dir / f"{self._world.domain}.key"
        if path.parent.exists():
            path.unlink(missing_ok=True)
            path.write_bytes(b"theirs")

    def pair_is_dropped_in(self) -> str:
        """Another tool's: of this CA, or of one that no client trusts; and the service is restarted."""
        world = self._world
        if not world.certs_dir.is_dir():
            return "nowhere"
        directory = world.random.choice([world.config.cas[0].url, "https://house.test/"])
        key = world.new_key()
        start = world.clock.true_now().replace(microsecond=0) - HOUR
        chain = world.ca.sign(directory, key.public_key(), world.wanted_names, start)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for suffix, data in (("pem", chain), ("key", pem)):
            path = world.certs_dir / f"{world.domain}.{suffix}"
            path.unlink(missing_ok=True)
            path.write_bytes(data)
        for service in world.engine.services.values():
            if service.status == "running":
                world.engine.boot(service)
        if leaf := leaf_on_disk(world.certs_dir, world.domain):
            self._dropped_in.add(sha256_of(leaf))
        return directory

    def meta_is_planted(self) -> str:
        """Somebody who may write to certs_dir writes facts of his own, with a digest that fits."""
        world = self._world
        home = world.certs_dir / ".certbotless" / world.domain
        path = home / "current" / META
        if not path.is_file():
            return "nowhere"
        planted: dict[str, object] = world.random.choice(
            [
                {"not_after": "2126-01-01T00:00:00Z"},
                {"sha256": "zz" * 32},
                {"issued_at": "9999-12-31T23:59:59Z"},
                {"names": ["\x1b]0;planted\x07"]},
            ]
        )
        try:
            meta = json.loads(path.read_bytes())
        except ValueError:
            return "nowhere"
        meta.pop("digest", None)
        path.write_bytes(with_digest(meta | planted))
        return next(iter(planted))

    def certs_are_lost(self) -> None:
        shutil.rmtree(self._world.certs_dir, ignore_errors=True)

    def state_is_lost(self) -> None:
        if not self._locks:
            shutil.rmtree(self._world.state_dir, ignore_errors=True)
            self._world.pauses.forget()

    def state_is_damaged(self) -> None:
        if self._state_file.is_file():
            self._state_file.write_bytes(b"{")

    def state_cannot_be_read(self) -> None:
        self._put_folder(self._state_file)

    def ledger_cannot_be_read(self) -> None:
        self._put_folder(self._world.state_dir / "ledger.jsonl")

    def _put_folder(self, path: Path) -> None:
        """Put a folder in the place of a file: root cannot read it either."""
        if path.is_file():
            path.unlink()
            path.mkdir()

    # Containers.

    def service_stops(self) -> str:
        service = self._service()
        service.status, service.loaded = self._world.random.choice(["exited", "paused"]), ""
        return service.name

    def service_starts(self) -> str:
        service = self._service()
        service.is_absent = False
        self._world.engine.boot(service)
        return service.name

    def service_is_made_anew(self) -> str:
        service = self._service()
        service.generation += 1
        service.is_absent = False
        self._world.engine.boot(service)
        return service.name

    def service_goes(self) -> str:
        service = self._service()
        service.is_absent, service.loaded = True, ""
        return service.name

    def service_refuses_what_is_new(self) -> str:
        """It ends with every certificate but that which it serves now."""
        service = self._service()
        service.known = frozenset({service.loaded} - {""})
        return service.name

    def engine_goes_or_comes(self) -> None:
        self._world.engine.is_down = not self._world.engine.is_down

    # The configuration.

    def names_are_edited(self) -> None:
        domain = self._world.settings["sites"][0]["domain"]
        names = self._world.random.choice([[], [f"*.{domain}"], [f"a.{domain}"]])
        self._world.settings["sites"][0]["names"] = names
        self._world.edit()

    def targets_are_edited(self) -> None:
        self._world.settings["sites"][0]["deploy"] = self._world.draw_targets()
        self._world.edit()

    def directory_is_edited(self) -> None:
        acme = self._world.settings["acme"]
        if isinstance(acme, list):
            # The other way round; only the first one says which kind of key is wanted.
            first, other = acme
            kind = {"key_type": first.pop("key_type")} if "key_type" in first else {}
            self._world.settings["acme"] = [other | kind, first]
            self._world.first_has_failed = True
            self._world.edit()
        elif acme["directory"] in OTHER_CAS:
            acme["directory"] = self._world.random.choice(OTHER_CAS)
            self._world.edit()

    def key_type_is_edited(self) -> None:
        acme = self._world.settings["acme"]
        first = acme[0] if isinstance(acme, list) else acme
        first["key_type"] = self._world.random.choice(["ec256", "ec384"])
        self._world.edit()

    def secret_rotates(self) -> None:
        """As a temporary key does every 15 minutes; nothing that waits may be let go by it."""
        self._tokens += 1
        self._world.settings["aliyun"]["security_token"] = f"token {self._tokens}"
        self._world.edit()
