"""The pair of another tool: when it is taken over, when it stays, and that nothing worse takes its place."""

import json
import os
import pty
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from support.fakes import FakeClock, FakeZone, TlsServer, ZoneServer
from support.scenes import ADDRESS, DAY, DIRECTORY, DOMAIN, HOUR, ZONE, Scene

from certbotless.act.adopt import judge
from certbotless.cli import main
from certbotless.config.values import DIRECTORIES
from certbotless.model.ledger import Entry, limit_on, next_order
from certbotless.model.situation import Goal
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.pair import with_digest
from certbotless.world import verify
from certbotless.world.acme import keys
from certbotless.world.tls import served_leaf

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A site whose record is right, without a certificate; OpenSSL knows no time but the real one."""
    clock = FakeClock(NOW)
    zone = FakeZone(ZONE)
    with ZoneServer(zone) as server, TlsServer() as tls:
        scene = Scene(tmp_path_factory.mktemp("scene"), zone, server, tls, clock)
        scene.point()
        scene.certs_dir.mkdir()
        yield scene


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A CA that this machine trusts."""
    ca = trustme.CA()
    bundle = tmp_path_factory.mktemp("trust") / "roots.pem"
    ca.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return ca


def pair_of(
    ca: trustme.CA, age: timedelta = DAY, left: timedelta = 89 * DAY, name: str = DOMAIN
) -> tuple[bytes, bytes]:
    """Return a chain, with its root, and its key."""
    made = ca.issue_cert(name, not_before=NOW - age, not_after=NOW + left)
    chain = b"".join(pem.bytes() for pem in [*made.cert_chain_pems, ca.cert_pem])
    return chain, made.private_key_pem.bytes()


def put(scene: Scene, chain: bytes, key: bytes) -> str:
    """Let another tool write this pair under the two names, and return the digest of its leaf."""
    for suffix, data in ((".pem", chain), (".key", key)):
        path = scene.certs_dir / f"{DOMAIN}{suffix}"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
    return keys.leaf_sha256(chain)


def due(scene: Scene) -> list[str]:
    """Return the keys of the steps that a daemon would start a child for."""
    view = scene.look()
    return [step.key for step in view.decision.due(view.seen.at)]


def at(scene: Scene, directory: str) -> None:
    """Let the file ask for this CA, from which nobody may order for now."""
    eab = {"eab": {"kid": "k", "hmac_key": "aGVsbG8"}} if directory in ("google", "zerossl") else {}
    scene.settings = {"acme": {"directory": directory, **eab}}
    for hours in (1, 2, 3):
        url = scene.config.cas[0].url
        LedgerFile(scene.state_dir).append(Entry(NOW - hours * HOUR, "order", url, (DOMAIN,)))


def restarts(scene: Scene) -> int:
    return len(scene.engine.restarts)


# --- what is taken over -------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", ["letsencrypt", "google", "zerossl"])
def test_what_this_machine_trusts_is_taken_over_at_a_public_ca(
    directory: str, scene: Scene, root: trustme.CA
) -> None:
    """The same bytes are published; nothing is ordered, and nothing restarted."""
    at(scene, directory)
    leaf = put(scene, *pair_of(root))
    chain = (scene.certs_dir / f"{DOMAIN}.pem").read_bytes()
    scene.start()
    assert scene.run().state == "ok"
    facts, origin = scene.published.facts, scene.published.origin
    assert facts is not None
    assert origin is not None
    assert (facts.sha256, origin.directory) == (leaf, DIRECTORIES[directory])
    assert (scene.certs_dir / f"{DOMAIN}.pem").read_bytes() == chain
    assert (scene.asked_the_ca, restarts(scene), scene.state.foreign) == (False, 0, None)


def test_the_first_order_after_it_is_no_renewal_for_the_ledger(scene: Scene, root: trustme.CA) -> None:
    """Which CA has counted it is not known: all limits hold, in their whole window."""
    at(scene, "letsencrypt")
    put(scene, *pair_of(root))
    scene.run()
    directory, names = DIRECTORIES["letsencrypt"], (DOMAIN,)
    planned, in_hand = next_order(NOW, directory, names, scene.published, scene.state)
    assert (planned.purpose, in_hand) == ("new", scene.published.facts)
    rows = [Entry(NOW - timedelta(hours=2), "order", directory, (f"{n}.{DOMAIN}",)) for n in range(300)]
    assert limit_on(rows, planned, in_hand) is not None


def test_what_the_issuer_of_the_certificate_before_has_signed_is_taken_over_at_another_ca(
    scene: Scene,
) -> None:
    """The house CA of the file, whose last certificate has expired, and a hand that got a new one from it."""
    house = trustme.CA()
    publish(scene, *pair_of(house, age=90 * DAY, left=-HOUR))
    put(scene, *pair_of(trustme.CA()))
    assert "is not known to be the CA at" in verdict(scene)
    leaf = put(scene, *pair_of(house))
    scene.start()
    assert scene.run().state == "ok"
    assert scene.published.facts is not None
    assert (scene.published.facts.sha256, restarts(scene)) == (leaf, 0)


def publish(scene: Scene, chain: bytes, key: bytes) -> None:
    """Let this pair be ours, and the copy of it too."""
    scene.remember()
    scene.file.save_pair(scene.publish_pair(chain, key))


def publish_expired(scene: Scene, *, is_folder_lost: bool = False) -> None:
    """Let a pair be ours that has expired, and the copy too, which may be all that is left of it."""
    publish(scene, *pair_of(trustme.CA(), age=90 * DAY, left=-HOUR))
    if is_folder_lost:
        shutil.rmtree(scene.certs_dir)
        scene.certs_dir.mkdir()


def verdict(scene: Scene) -> str:
    view = scene.look()
    return judge(Goal(view.site, scene.config), view.seen, view.remembered.generations).why


# --- what is not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", ["letsencrypt", "google", "letsencrypt-staging", DIRECTORY])
def test_the_pair_of_a_house_ca_is_named_and_a_certificate_ordered(
    directory: str, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Its root is known to nobody here; `status` and `plan` name it as long as no order can be placed."""
    at(scene, directory)
    put(scene, *pair_of(trustme.CA()))
    caplog.set_level("INFO")
    for _ in range(3):
        scene.run()
    assert scene.published.facts is None
    steps = scene.look().decision.steps
    assert [step.key for step in steps] == ["adopt", "order"]
    logged = [r.message for r in caplog.records if r.message.startswith("certificate.not_adopted")]
    assert len(logged) == 1
    for text in (logged[0], steps[0].reason):
        assert "O=trustme" in text


def test_plan_says_what_becomes_of_the_pair_before_anything_is_done(
    scene: Scene, root: trustme.CA, capfd: pytest.CaptureFixture[str]
) -> None:
    scene.settings = {"acme": {"directory": "letsencrypt"}}
    file = scene.certs_dir.parent / "config.json"
    file.write_text(json.dumps(scene.fields))
    for ca, words in (
        (trustme.CA(), "not taken over: this machine does not trust"),
        (root, "can be taken over"),
    ):
        put(scene, *pair_of(ca))
        assert main.main(["--config", str(file), "plan"]) == 0
        (said,) = (line for line in capfd.readouterr().out.splitlines() if "another tool" in line)
        assert words in said
    assert not scene.state_dir.exists()


@pytest.mark.parametrize("days", [397, 400])
def test_no_public_ca_gives_a_certificate_for_more_than_398_days(
    days: int, scene: Scene, root: trustme.CA
) -> None:
    """mkcert puts its root into the trust store, and lets its leaves live for 825 days."""
    at(scene, "letsencrypt")
    put(scene, *pair_of(root, left=(days - 1) * DAY))
    assert ("is not a public CA" in verdict(scene)) == (days > 398)


def test_without_a_trust_store_nothing_is_taken_for_a_public_one(
    scene: Scene, root: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container without ca-certificates."""
    at(scene, "letsencrypt")
    put(scene, *pair_of(root))
    assert verdict(scene) == ""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    assert "this machine does not trust its issuer" in verdict(scene)


def test_a_pair_that_no_handshake_is_possible_with_is_not_trusted(root: trustme.CA) -> None:
    chain, key = pair_of(root)
    assert verify.why_untrusted(chain, key, DOMAIN) == ""
    assert verify.why_untrusted(chain, key, f"other.{ZONE}") != ""
    assert verify.why_untrusted(*pair_of(root, age=90 * DAY, left=-HOUR), DOMAIN) == "certificate has expired"
    assert verify.why_untrusted(chain, b"no key", DOMAIN) != ""
    assert verify.why_untrusted(b"", b"", DOMAIN) != ""


@pytest.mark.process
def test_no_terminal_is_asked_for_the_password_of_a_certificate(root: trustme.CA) -> None:
    """Whoever may write to certs_dir can put a block there that calls itself encrypted."""
    chain, key = pair_of(root)
    begin = b"-----BEGIN CERTIFICATE-----\n"
    encrypted = begin + b"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
    chain += root.cert_pem.bytes().replace(begin, encrypted)
    pid, terminal = pty.fork()
    if not pid:
        os.write(1, verify.why_untrusted(chain, key, DOMAIN).encode())
        os._exit(0)
    said = b""
    with suppress(OSError):  # its end, on Linux
        while b"phrase" not in said and (part := os.read(terminal, 1000)):
            said += part
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    assert said.strip() == b"no TLS is possible with it (SSLError)"


# --- an expired certificate replaces none -------------------------------------------------------------------


@pytest.mark.parametrize("is_whole_folder", [False, True], ids=["the names", "the folder"])
@pytest.mark.parametrize("is_trusted", [False, True], ids=["untrusted", "trusted"])
def test_a_valid_pair_is_never_replaced_by_one_that_has_expired(
    is_whole_folder: bool, is_trusted: bool, scene: Scene, root: trustme.CA
) -> None:
    """The CA cannot be asked, and the admin helps himself; nothing of his is moved or restarted for days."""
    at(scene, "letsencrypt")
    publish_expired(scene, is_folder_lost=is_whole_folder)
    leaf = put(scene, *pair_of(root if is_trusted else trustme.CA()))
    scene.start()
    scene.put_container(started_at=NOW)
    for _ in range(12):
        scene.run()
        assert served_leaf(ADDRESS, scene.tls.port, DOMAIN) == leaf
        assert keys.leaf_sha256((scene.certs_dir / f"{DOMAIN}.pem").read_bytes()) == leaf
        scene.clock.advance(3600)
    assert restarts(scene) == 0
    is_ours = scene.published.is_intact and scene.published.facts is not None
    assert is_ours == is_trusted


def test_a_valid_pair_that_is_not_taken_over_keeps_no_order_back(scene: Scene) -> None:
    """What lies there may be self-signed for ten years; ours has expired, and only its copy is left."""
    at(scene, "letsencrypt")
    publish_expired(scene, is_folder_lost=True)
    put(scene, *pair_of(trustme.CA(), left=3650 * DAY))
    scene.run()
    assert due(scene) == []
    order = scene.look().decision.steps[-1]
    assert (order.key, order.reason) == ("order", "the certificate has expired; there is only a copy of it")
    assert "3 orders" in order.wait_reason
    scene.clock.advance(8 * 24 * 3600)
    assert due(scene) == ["adopt", "order"]


@pytest.mark.parametrize("is_damaged", [False, True], ids=["whole", "damaged"])
def test_a_copy_of_an_older_version_is_looked_into_before_it_takes_the_place_of_another_pair(
    is_damaged: bool, scene: Scene, root: trustme.CA
) -> None:
    """It has not noted when its certificate ends; here it has ended, or the copy makes no sense."""
    at(scene, "letsencrypt")
    chain, key = pair_of(trustme.CA(), age=90 * DAY, left=-HOUR)
    scene.remember()
    copy = replace(scene.publish_pair(chain, key), not_after=None)
    scene.file.save_pair(replace(copy, key="no key") if is_damaged else copy)
    shutil.rmtree(scene.certs_dir)
    scene.certs_dir.mkdir()
    leaf = put(scene, *pair_of(root))
    scene.start()
    assert due(scene) == ["rebuild"]
    assert scene.run().state == "ok"
    assert scene.published.facts is not None
    assert scene.published.facts.sha256 == leaf
    assert restarts(scene) == 0


def test_planted_facts_and_a_lost_state_let_no_expired_certificate_take_the_place_of_a_valid_one(
    scene: Scene, root: trustme.CA
) -> None:
    """The facts beside it say that it is valid; only the certificate itself says that it is not."""
    at(scene, "letsencrypt")
    publish_expired(scene)
    (path,) = scene.certs_dir.glob(f".certbotless/{DOMAIN}/*Z-*/meta.json")
    meta = json.loads(path.read_text()) | {"not_after": "2126-11-24T05:30:00Z"}
    del meta["digest"]
    path.write_bytes(with_digest(meta))
    shutil.rmtree(scene.state_dir)
    leaf = put(scene, *pair_of(root))
    scene.start()
    view = scene.look()
    assert (due(scene), view.state, view.decision.next_renewal) == (["verify"], "pending", None)
    assert scene.run().state == "ok"
    assert keys.leaf_sha256((scene.certs_dir / f"{DOMAIN}.pem").read_bytes()) == leaf
    assert (scene.asked_the_ca, restarts(scene)) == (False, 0)


def test_what_is_no_valid_pair_is_replaced_by_the_one_that_has_expired(scene: Scene) -> None:
    """With it the service comes up at least."""
    publish_expired(scene)
    for suffix in (".pem", ".key"):
        (scene.certs_dir / f"{DOMAIN}{suffix}").unlink()
        (scene.certs_dir / f"{DOMAIN}{suffix}").write_text("nothing of use")
    scene.run()
    assert scene.published.is_intact


def test_what_has_not_expired_is_put_back_over_any_other_pair(scene: Scene) -> None:
    publish(scene, *pair_of(trustme.CA()))
    scene.start()
    put(scene, *pair_of(trustme.CA()))
    assert due(scene) == ["restore"]
    assert scene.run().state == "ok"
    assert restarts(scene) == 0


def test_another_certificate_is_no_reason_to_restart_a_service_onto_one_that_has_expired(
    scene: Scene,
) -> None:
    """A service that answers nothing is started all the same."""
    publish_expired(scene)
    mine = scene.certs_dir.parent / "mine"
    mine.mkdir()
    chain, key = pair_of(trustme.CA())
    (mine / "pem").write_bytes(chain)
    (mine / "key").write_bytes(key)
    scene.tls.load(mine / "pem", mine / "key")
    assert [key for key in due(scene) if "deploy" in key] == []
    scene.run()
    assert restarts(scene) == 0
    scene.tls.unload()
    scene.run()
    assert restarts(scene) == 1


# --- when it is looked into ---------------------------------------------------------------------------------


def test_what_cannot_be_taken_over_is_looked_into_once(scene: Scene) -> None:
    """And again where an order is tried; one that comes later at once, whatever the order waits for."""
    at(scene, DIRECTORY)
    put(scene, *pair_of(trustme.CA(), name="another.name"))
    assert due(scene) == ["adopt"]
    scene.run()
    assert due(scene) == []
    view = scene.look()
    assert "3 orders" in view.reason
    put(scene, *pair_of(trustme.CA(), name="yet.another.name"))
    assert due(scene) == ["adopt"]
    scene.run()
    scene.clock.advance(8 * 24 * 3600)
    assert due(scene) == ["adopt", "order"]


def test_a_rescue_pair_does_not_wait_for_the_orders_retry_time(scene: Scene, root: trustme.CA) -> None:
    at(scene, "letsencrypt")
    scene.keys["deploy"] = []
    scene.run()
    assert due(scene) == []
    put(scene, *pair_of(root))
    assert due(scene) == ["adopt"]
    assert scene.run().state == "ok"


def test_a_chain_of_a_public_ca_that_this_machine_does_not_trust_is_doubted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Something may answer in the CA's place. A staging directory or a private CA need not be known here."""
    chain, key = pair_of(trustme.CA())
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    public, staging = DIRECTORIES["letsencrypt"], DIRECTORIES["letsencrypt-staging"]
    assert verify.doubt(public, chain, key, DOMAIN) != ""
    assert verify.doubt(staging, chain, key, DOMAIN) == ""
    assert verify.doubt("https://ca.test/directory", chain, key, DOMAIN) == ""
