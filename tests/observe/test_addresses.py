"""At which addresses of a list a certificate is seen: what counts as one, and what proves which address."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.fakes import TlsServer

import certbotless
from certbotless.config import load
from certbotless.model.certificate import Origin
from certbotless.model.deployed import SwarmNode
from certbotless.model.memory import Silence
from certbotless.model.observation import Observation
from certbotless.model.situation import Goal
from certbotless.observe.addresses import own_of
from certbotless.observe.record_answers import SeenAnswers
from certbotless.observe.site import observe
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile
from certbotless.world.acme import keys
from certbotless.world.lan.address import address_now

DOMAIN = "devbox.sweetlove.test"
ONE, TWO, THREE = LISTED = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
DAY = timedelta(days=1)
# OpenSSL knows no time but the real one.
NOW = datetime.now(UTC)


@dataclass
class Fleet:
    """Three addresses, at each a server; and the store of the site."""

    home: Path
    servers: dict[str, TlsServer]
    ca: trustme.CA = field(default_factory=trustme.CA)
    made: int = 0

    @property
    def port(self) -> int:
        return self.servers[ONE].port

    def pair(self, name: str = DOMAIN, ca: trustme.CA | None = None, left: timedelta = 60 * DAY) -> Path:
        """Make a pair, and return the path of its chain; that of the key ends with .key."""
        self.made += 1
        leaf = (ca or self.ca).issue_cert(name, not_before=NOW - 30 * DAY, not_after=NOW + left)
        chain = self.home / f"{self.made}.pem"
        chain.write_bytes(leaf.cert_chain_pems[0].bytes() + (ca or self.ca).cert_pem.bytes())
        chain.with_suffix(".key").write_bytes(leaf.private_key_pem.bytes())
        return chain

    def publish(self, chain: Path) -> None:
        pem, key = chain.read_bytes(), chain.with_suffix(".key").read_bytes()
        facts = keys.matching_facts(pem, keys.key_from_pem(key))
        origin = Origin("https://ca.test/dir", "https://ca.test/account/1", "ec256", NOW - DAY)
        note = SiteFile(self.home / "state", DOMAIN).note_generation
        Store(self.home / "certs", DOMAIN).publish(pem, key, facts, origin, NOW + self.made * DAY / 9, note)

    def serve(self, address: str, chain: Path) -> None:
        self.servers[address].load(chain, chain.with_suffix(".key"))

    def seen(self, *deploy: dict[str, Any], listed: tuple[str, ...] = LISTED, **state: Any) -> Observation:
        fields = {
            "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
            "certs_dir": f"{self.home}/certs",
            "state_dir": f"{self.home}/state",
            "sites": [{"domain": DOMAIN, "zone": "sweetlove.test", "address": listed, "deploy": deploy}],
        }
        config = load.parse(json.dumps(fields).encode(), "test.json")
        SiteFile(self.home / "state", DOMAIN).change(**state)
        remembered = SiteFile(self.home / "state", DOMAIN).load()

        def nothing_shown(*_: object) -> SeenAnswers:
            return SeenAnswers(NOW, {})

        return observe(Goal(config.sites[0], config), remembered, nothing_shown, NOW, address_now, {})


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as running:
        first = running.enter_context(TlsServer())
        others = {at: running.enter_context(TlsServer(at, first.port)) for at in (TWO, THREE)}
        yield Fleet(tmp_path, {ONE: first, **others})


def at(address: str, port: int) -> dict[str, Any]:
    return {"command": ["true", address], "port": f"{address}:{port}"}


# --- what is a valid certificate ----------------------------------------------------------------------------


def test_the_published_certificate_and_an_older_one_of_the_same_issuer_are_valid(fleet: Fleet) -> None:
    oldest, old, new = (fleet.pair() for _ in range(3))
    for chain in (oldest, old, new):
        fleet.publish(chain)
    for address, chain in zip(LISTED, (new, old, oldest), strict=True):
        fleet.serve(address, chain)
    found = fleet.seen(*(at(address, fleet.port) for address in LISTED))
    assert found.proved == dict.fromkeys(LISTED, True)


def test_one_of_the_issuer_before_is_valid_too(fleet: Fleet) -> None:
    """As after a change of the CA, or of the root of a local one: a machine that is late still serves."""
    old = fleet.pair(ca=trustme.CA())
    fleet.publish(old)
    fleet.publish(new := fleet.pair())
    fleet.serve(ONE, new)
    fleet.serve(TWO, old)
    assert fleet.seen(at(ONE, fleet.port), at(TWO, fleet.port)).proved == {ONE: True, TWO: True}


@pytest.mark.parametrize("fault", ["expired", "name", "issuer", "silent"])
def test_a_certificate_that_no_client_takes_is_none(fleet: Fleet, fault: str) -> None:
    fleet.publish(new := fleet.pair())
    fleet.serve(ONE, new)
    if fault == "expired":
        fleet.serve(TWO, fleet.pair(left=-DAY))
    elif fault == "name":
        fleet.serve(TWO, fleet.pair("other.sweetlove.test"))
    elif fault == "issuer":
        fleet.serve(TWO, fleet.pair(ca=trustme.CA()))
    found = fleet.seen(at(ONE, fleet.port), at(TWO, fleet.port))
    assert (found.proved, found.several) == ({ONE: True, TWO: False}, LISTED)


def test_the_published_certificate_itself_may_have_expired(fleet: Fleet) -> None:
    fleet.publish(old := fleet.pair(left=-DAY))
    fleet.serve(ONE, old)
    assert fleet.seen(at(ONE, fleet.port)).proved == {ONE: False}


def test_before_there_is_a_certificate_none_is_seen(fleet: Fleet) -> None:
    fleet.serve(ONE, fleet.pair())
    assert fleet.seen(at(ONE, fleet.port)).proved == {ONE: False}


# --- what proves which address ------------------------------------------------------------------------------


def test_a_container_proves_the_address_of_this_machine(fleet: Fleet) -> None:
    """The other machines have containers of their own, of which this machine knows nothing."""
    fleet.publish(new := fleet.pair())
    for address in LISTED:
        fleet.serve(address, new)
    registry = {"container": "registry", "port": fleet.port}
    assert fleet.seen(registry).proved == {ONE: True}
    # In whatever place it is in the list.
    found = fleet.seen(registry, listed=(THREE, ONE))
    assert (found.proved, found.host, found.address) == ({ONE: True}, ONE, ONE)
    label = {"label": "tls=x", "port": fleet.port}
    assert fleet.seen(label, matched={"tls=x": ("a", "b")}).proved == {ONE: True}


def test_a_command_with_a_port_proves_every_address_there(fleet: Fleet) -> None:
    fleet.publish(new := fleet.pair())
    fleet.serve(ONE, new)
    fleet.serve(THREE, new)
    command = {"command": ["true"], "port": fleet.port}
    assert fleet.seen(command).proved == {ONE: True, TWO: False, THREE: True}


def test_a_target_elsewhere_proves_the_address_that_it_names(fleet: Fleet) -> None:
    fleet.publish(new := fleet.pair())
    fleet.serve(TWO, new)
    assert fleet.seen(at(TWO, fleet.port)).proved == {TWO: True}
    assert fleet.seen({"command": ["true"], "port": f"localhost:{fleet.port}"}).proved == {}
    assert fleet.seen({"command": ["true"], "port": "none"}).proved == {}
    assert fleet.seen().proved == {}


def test_a_service_proves_the_address_of_each_node_and_those_that_have_none(fleet: Fleet) -> None:
    """A node that was drained, or has left the Swarm, serves nothing at its address any more."""
    fleet.publish(new := fleet.pair())
    fleet.serve(ONE, new)
    fleet.serve(TWO, new)
    service = {"service": "registry", "port": fleet.port}
    nodes = {"node1": SwarmNode(address=ONE), "node2": SwarmNode(address=TWO)}
    found = fleet.seen(service, nodes={"registry": nodes})
    assert found.proved == {ONE: True, TWO: True, THREE: False}
    assert {*found.served} == {"service:registry registry@node1", "service:registry registry@node2"}


def test_one_of_several_ports_at_an_address_is_enough(fleet: Fleet) -> None:
    fleet.publish(new := fleet.pair())
    fleet.serve(TWO, new)
    with TlsServer(TWO) as silent:
        other = {"command": ["true", "other"], "port": f"{TWO}:{silent.port}"}
        assert fleet.seen(other, at(TWO, fleet.port)).proved == {TWO: True}
        assert fleet.seen(other).proved == {TWO: False}


def test_what_is_remembered_takes_an_address_out(fleet: Fleet) -> None:
    fleet.publish(new := fleet.pair())
    fleet.serve(ONE, new)
    silence = Silence(since=NOW - DAY, checks=3, last=NOW - DAY, is_withdrawn=True)
    deploy = [at(ONE, fleet.port), at(TWO, fleet.port)]
    found = fleet.seen(*deploy, silences={TWO: silence})
    assert (found.several, found.wanted("A"), found.addresses["A"]) == ((ONE, THREE), (ONE, THREE), ONE)
    fleet.serve(TWO, new)
    assert fleet.seen(*deploy).several == LISTED


def test_a_machine_that_has_no_address_of_the_list_takes_the_first() -> None:
    """Another machine forwards it, as a router does."""
    assert own_of(("10.255.255.1", "10.255.255.2")) == "10.255.255.1"
    assert own_of(("10.255.255.1", ONE)) == ONE


def test_for_a_site_with_one_address_nothing_of_it_is_loaded() -> None:
    """Its modules know each other; all else imports them within the function that needs them."""
    package = Path(certbotless.__file__).parent
    rooms = ("act", "decide", "observe", "cli/doctor")
    own = {package / room / "addresses.py" for room in rooms}
    assert all(path.is_file() for path in own)
    imports = re.compile(r"^from [.\w]*(\baddresses import| import .*\baddresses\b)", re.MULTILINE)
    files = {path for path in package.rglob("*.py") if path.parent.name != "config"} - own
    found = {path: re.sub(r"config\.addresses", "", path.read_text()) for path in files}
    assert [path.name for path, text in sorted(found.items()) if imports.search(text)] == []
