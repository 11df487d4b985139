"""Files that somebody edits, deletes, damages or plants: made good without an order, and never a crash."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from support.bed import DOMAIN, Bed, wait_until
from support.children import start_child, wait_for
from support.files import plant
from support.invariants import assert_invariants
from support.pairs import publish_alike
from support.scenes import DIRECTORY, ZONE, Scene

from certbotless.base import files
from certbotless.base.errors import StoreError
from certbotless.base.log_context import Event
from certbotless.model.deployed import Acted, Restarting
from certbotless.model.ledger import Entry
from certbotless.model.memory import WrittenRecord
from certbotless.state.history import Events
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.pair import Store
from certbotless.state.site import Accounts
from certbotless.world.acme import keys

counts = pytest.mark.parametrize(
    "count", [100, pytest.param(1000, marks=pytest.mark.soak)], ids=["some", "many"]
)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes cut off anywhere, or with up to three bits flipped, or with a block of zeros."""
    match chance.randrange(4):
        case 0:
            return data[: chance.randrange(len(data))]
        case 1:
            start = chance.randrange(len(data))
            return data[:start] + b"\0" * min(512, len(data) - start) + data[start + 512 :]
        case _:
            changed = bytearray(data)
            for _ in range(chance.randint(1, 3)):
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            return bytes(changed)


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """A machine with one site that is well, and has a past."""
    now = scene.clock.now()
    record = WrittenRecord(value="127.0.0.1", ttl_s=600, at=now - timedelta(days=1), is_seen=True)
    scene.remember(
        zone=ZONE,
        records={"A": {DOMAIN: record}},
        our_values={"A": {DOMAIN: ("127.0.0.1", "10.0.0.7")}},
        ports={"registry": 5000},
        acted={"registry": Acted(sha256="ab" * 32, count=1)},
        restarting={"registry": Restarting(id="ab", started_at=now)},
        restored=(now - timedelta(days=2),),
    )
    scene.point()
    scene.file.save_pair(scene.publish())
    scene.start()
    ledger = LedgerFile(scene.state_dir)
    for age in (9, 10):
        ledger.append(Entry(now - timedelta(days=age), "order", DIRECTORY, (DOMAIN,)))
    Events(scene.state_dir).append(now, DOMAIN, Event("certificate.served", {"at": "127.0.0.1:5000"}))
    assert scene.run().state == "ok"
    return scene


# --- damaged anywhere ---------------------------------------------------------------------------------------


@pytest.mark.row(20)
@counts
@pytest.mark.parametrize(
    "name",
    [f"sites/{DOMAIN}.json", f"sites/{DOMAIN}.pair", f"sites/{DOMAIN}.log", "ledger.jsonl", "events.jsonl"],
)
def test_a_state_file_that_is_damaged_is_no_crash_and_costs_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture, name: str, count: int
) -> None:
    """What makes no sense is kept aside; the site stays as well as it is."""
    path, chance = scene.state_dir / name, random.Random(name)  # noqa: S311
    whole = path.read_bytes() if path.exists() else b"a line of a log\n" * 100
    kept = path.with_name(f"{path.name}.unreadable")
    for _ in range(count):
        kept.unlink(missing_ok=True)
        path.write_bytes(damaged(whole, chance))
        written, makes_sense = path.read_bytes(), not scene.state.is_lost
        assert scene.run().state == "ok"
        assert "crashed" not in caplog.text
        if not makes_sense:
            assert kept.read_bytes() == written
        Events(scene.state_dir).last(DOMAIN, 10)
        LedgerFile(scene.state_dir).settle(scene.clock.now())
        caplog.clear()
    assert (scene.writes, scene.engine.restarts, scene.asked_the_ca) == ([], [], False)


@pytest.mark.row(20)
@counts
@pytest.mark.parametrize("name", ["meta.json", "fullchain.pem", "privkey.pem"])
def test_a_published_file_that_is_damaged_is_restored_from_the_copy(
    scene: Scene, name: str, count: int
) -> None:
    pair, chance = scene.file.saved_pair(), random.Random(name)  # noqa: S311
    store, current = Store(scene.certs_dir, DOMAIN), scene.certs_dir / ".certbotless" / DOMAIN / "current"
    whole = store.look()
    for _ in range(count):
        (current / name).write_bytes(damaged((current / name).read_bytes(), chance))
        found = store.look()
        # What was cut off, or flipped, may be white space between facts.
        assert not found.is_intact or (found.facts, found.origin) == (whole.facts, whole.origin)
        assert scene.run().state == "ok"
        assert store.pair() == (pair.chain.encode(), pair.key.encode())
        scene.file.change(restored=())  # this is about no second writer
    assert (scene.writes, scene.engine.restarts, scene.asked_the_ca) == ([], [], False)


@pytest.mark.row(20)
@counts
def test_a_copy_that_is_damaged_is_never_published(scene: Scene, count: int) -> None:
    """Not even where it still looks like a certificate and its key."""
    path, chance = scene.state_dir / "sites" / f"{DOMAIN}.pair", random.Random(20)  # noqa: S311
    whole, pair = path.read_bytes(), scene.file.saved_pair()
    refused = 0
    for _ in range(count):
        path.write_bytes(damaged(whole, chance))
        try:
            assert scene.file.saved_pair() == pair  # only the white space at its end was cut off
        except StoreError:
            refused += 1
    assert refused > count / 2


@pytest.mark.row(20)
@counts
def test_a_key_that_is_damaged_is_an_error_or_another_key(tmp_path: Path, count: int) -> None:
    """Of an account, or of an order; whoever uses it makes a new one."""
    whole, chance = keys.key_to_pem(keys.new_key()), random.Random(20)  # noqa: S311
    accounts = Accounts(tmp_path, DIRECTORY)
    (tmp_path / "accounts").mkdir()
    home: Path = vars(accounts)["_home"]
    home.mkdir()
    for _ in range(count):
        (home / "key.pem").write_bytes(damaged(whole, chance))
        (home / "account.json").write_bytes(damaged(b'{"url": "https://ca.test/account/1"}', chance))
        key, url = accounts.load()
        assert isinstance(url, str)
        with suppress(StoreError):
            keys.key_from_pem(key or b"")


# --- edited, deleted, taken ---------------------------------------------------------------------------------


def delete_name(bed: Bed) -> None:
    """Delete one of the two names."""
    (bed.certs / f"{DOMAIN}.pem").unlink()


def delete_all(bed: Bed) -> None:
    """Delete all that was published, and one of the two names."""
    shutil.rmtree(bed.certs / ".certbotless")
    delete_name(bed)


def delete_key(bed: Bed) -> None:
    """Delete the key in the published generation, to which its name leads."""
    (bed.certs / f"{DOMAIN}.key").resolve().unlink()


def empty_file(bed: Bed) -> None:
    """Empty the key, as a disk that is full leaves what is edited in place."""
    (bed.certs / f"{DOMAIN}.key").write_bytes(b"")


def lead_elsewhere(bed: Bed) -> None:
    """Let the name of the key lead to another file."""
    files.link(bed.certs / f"{DOMAIN}.key", "/etc/hostname")


def swap_files(bed: Bed) -> None:
    """Let the name of the chain lead to the key, and that of the key to the chain."""
    chain, key = (bed.certs / f"{DOMAIN}{suffix}" for suffix in (".pem", ".key"))
    to_chain, to_key = str(chain.readlink()), str(key.readlink())
    files.link(chain, to_key)
    files.link(key, to_chain)


def put_other_pair(bed: Bed) -> None:
    """Let another tool put a pair of its own in place of the names."""
    for suffix in (".pem", ".key"):
        (bed.certs / f"{DOMAIN}{suffix}").unlink()
    bed.registry.write_self_signed()


@pytest.mark.row(19)
@pytest.mark.parametrize(
    "edit",
    [delete_name, delete_all, delete_key, empty_file, lead_elsewhere, swap_files, put_other_pair],
)
def test_files_that_somebody_changed_are_put_back_by_the_daemon_without_an_order(
    bed: Bed, edit: Callable[[Bed], object]
) -> None:
    bed.config["check_every"] = "1s"
    bed.ok("--once")
    leaf, started_at = bed.published(), bed.started_at()
    with bed.daemon() as daemon:
        edit(bed)
        wait_until(lambda: "files.restored" in daemon.log_text(), "the files are restored")
        wait_until(lambda: bed.status()["sites"][0]["state"] == "ok", "the site is well")
    assert bed.served() == bed.published() == leaf
    assert bed.started_at() == started_at
    assert bed.orders() == 1
    assert_invariants(bed)


@pytest.mark.row(19)
def test_a_daemon_gives_way_to_a_second_writer_and_tells_of_it(bed: Bed) -> None:
    """It replaces what that writes three times a day, then it says what to do; no restart, no order."""
    bed.config["check_every"] = "1s"
    bed.ok("--once")
    started_at = bed.started_at()
    with bed.daemon() as daemon:
        restored = "files.restored"
        for number in range(1, 4):
            put_other_pair(bed)
            wait_until(lambda n=number: daemon.log_text().count(restored) == n, "they are put back")  # type: ignore[misc]
        put_other_pair(bed)
        wait_until(lambda: "restore.failed" in daemon.log_text(), "it is given way to")
        queries = len(bed.dns.queries)
        wait_until(lambda: len(bed.dns.queries) > queries + 6, "it was looked at again")
        assert daemon.log_text().count(restored) == 3
        assert daemon.log_text().count("restore.failed") == 1
        site = bed.status()["sites"][0]
    assert site["state"] == "failing"
    assert (
        "a file of another tool, again: certbotless restored it 3 times within a day"
        in site["last_error"]["what"]
    )
    assert "find the program that writes there" in site["last_error"]["hint"]
    assert bed.started_at() == started_at
    assert bed.orders() == 1
    # What was there at first, and the three pairs that were replaced.
    assert len(list((bed.certs / ".certbotless" / DOMAIN).glob("aside-*"))) == 4
    bed.ok("--renew-now")
    assert bed.served() == bed.published()
    assert bed.orders() == 2
    assert_invariants(bed)


# --- lost ---------------------------------------------------------------------------------------------------


@pytest.mark.row(19, 20)
def test_a_lost_state_dir_is_rebuilt_from_what_is_published(bed: Bed) -> None:
    """No order; and what is lost after it is restored from the copy that was saved again."""
    bed.ok("--once")
    leaf, started_at = bed.published(), bed.started_at()
    shutil.rmtree(bed.state)
    bed.ok("--once")
    shutil.rmtree(bed.certs / ".certbotless")
    bed.ok("--once")
    assert bed.served() == bed.published() == leaf
    assert bed.started_at() == started_at
    assert bed.orders() == 1


# --- planted ------------------------------------------------------------------------------------------------


@pytest.mark.row(71)
@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device", "a symbolic link"])
def test_what_is_planted_under_our_names_is_set_aside_and_holds_nobody_up(bed: Bed, kind: str) -> None:
    """The site is looked at, issued and served as ever; nothing is read through a link."""
    for suffix in (".pem", ".key"):
        (bed.certs / f"{DOMAIN}{suffix}").unlink()
        plant(kind, bed.certs / f"{DOMAIN}{suffix}")
    assert bed.status()["sites"][0]["certificate"] is None
    bed.ok("--once")
    assert bed.served() == bed.published()
    [aside] = (bed.certs / ".certbotless" / DOMAIN).glob("aside-*")
    assert {files.kind_of(path.lstat().st_mode) for path in aside.iterdir()} == {kind}
    assert bed.orders() == 1
    assert_invariants(bed)


@pytest.mark.row(71)
def test_no_write_goes_through_a_link_that_is_planted_meanwhile(tmp_path: Path) -> None:
    """Somebody plants links to a file of ours as fast as he can, while pairs are published."""
    certs_dir, victim = tmp_path / "certs", tmp_path / "account.key"
    certs_dir.mkdir()
    victim.write_bytes(b"secret")

    def plant_links() -> None:
        beside = certs_dir / ".planted"
        while True:
            for suffix in (".pem", ".key"):
                with suppress(OSError):
                    beside.symlink_to(victim)
                    beside.replace(certs_dir / f"{DOMAIN}{suffix}")

    pid = start_child(plant_links)
    try:
        published = 0
        while published < 100:
            # A link that is planted between two steps may make them fail, and nothing else.
            with suppress(StoreError):
                publish_alike(certs_dir, published)
                published += 1
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_for(pid)
    assert victim.read_bytes() == b"secret"
    copies = [path for path in certs_dir.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in copies if b"secret" in path.read_bytes()] == []
    publish_alike(certs_dir, published)
    assert (certs_dir / f"{DOMAIN}.key").read_bytes() == b"%d" % published
