"""Keys that end: in the middle of a run, while their source is away, and when they are stolen."""

import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from support import strace
from support.bed import DOMAIN, ZONE, Bed, wait_until
from support.brokers import Broker
from support.ground import Ground
from support.hooks import Hook
from support.invariants import assert_invariants
from support.kills import make_due, txt_of_ours, watched

from certbotless.base.errors import DnsUnavailable
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.ram import ACCOUNT_ID
from certbotless.sandbox.sts import Role
from certbotless.world.credentials.access import Key
from certbotless.world.credentials.fetched import FetchedKey

ARN = f"acs:ram::{ACCOUNT_ID}:role/certbotless"


@pytest.fixture
def broker(bare: Bed) -> Iterator[Broker]:
    """A bed whose keys come from a program that asks a broker for each."""
    broker = Broker(bare.dns, bare.home)
    with broker.running() as argv:
        take_the_key_away(bare, argv)
        yield broker


def take_the_key_away(bed: Bed, argv: list[str]) -> None:
    """Leave no key in the file, but the program that prints one."""
    for key in ("access_key_id", "access_key_secret"):
        del bed.config["aliyun"][key]
    bed.config["aliyun"]["credentials"] = {"command": argv}


def with_sites(bed: Bed, count: int) -> None:
    """Let the file have so many sites, each with an order of its own."""
    bed.config["sites"] = [bed.site(f"host-{number}.{ZONE}", deploy=[]) for number in range(count)]


# --- in the middle of a run ---------------------------------------------------------------------------------


def live_through(bed: Bed, lives_s: float, sites: int) -> int:
    """Issue, renew, and change the records of so many sites, by keys of a role that live so long.

    The values show later than that, so each order outlives its key. Returns how many keys there were.
    """
    bed.dns.sts.roles["certbotless"] = Role(lives_s=lives_s)
    bed.config["aliyun"] |= {"role": ARN, "sts_endpoint": bed.dns.endpoint}
    bed.dns.set_delay(0, lives_s * 1.4)
    with_sites(bed, sites)
    bed.ok("--once")
    bed.forget_account()
    bed.ok("--renew-now", "--force")
    for site in bed.config["sites"]:
        site["address"] = "10.79.40.7"
    bed.ok("--once")
    assert {record.value for record in bed.dns.records(type="A") if record.rr.startswith("host-")} == {
        "10.79.40.7"
    }
    assert all((bed.certs / f"{site['domain']}.pem").exists() for site in bed.config["sites"])
    assert txt_of_ours(bed) == []
    # A key that has ended is not used: another one is there before.
    assert {call.code for call in bed.dns.calls} <= {"OK"}
    return len(bed.dns.sts.issued)


@pytest.mark.row(112)
def test_an_order_outlives_its_keys(bare: Bed) -> None:
    assert live_through(bare, lives_s=2, sites=2) >= 5
    assert_invariants(bare)


@pytest.mark.soak
@pytest.mark.row(112)
def test_twenty_sites_outlive_keys_of_twenty_seconds(bare: Bed) -> None:
    print(f"\n20 sites, keys of 20 s: {live_through(bare, lives_s=20, sites=20)} keys, no TXT record left")
    assert_invariants(bare)


@pytest.mark.row(114)
def test_where_no_other_key_comes_what_was_reached_stays(broker: Broker, bare: Bed) -> None:
    """The certificate is published; the TXT record is deleted by the next run that has a key."""
    broker.lives_s = 4
    bare.dns.set_delay(0, 6)
    bare.write()
    with (bare.home / "once.log").open("wb") as log:
        process = subprocess.Popen(bare.command("--once"), stdout=log, stderr=log)
        wait_until(lambda: bool(txt_of_ours(bare)), "the challenge is there")
        broker.is_down = True
        assert process.wait(120) in (0, 1)
    assert bare.published()
    assert len(txt_of_ours(bare)) == 1
    assert bare.orders() == 1
    broker.is_down, broker.lives_s = False, 3600
    bare.config["sites"][0]["ttl"] = 601  # an edit: what has failed is not waited for
    bare.ok("--once")
    assert txt_of_ours(bare) == []
    assert bare.orders() == 1
    assert_invariants(bare)


# --- while the source is away -------------------------------------------------------------------------------


@pytest.mark.row(113)
def test_an_hour_without_a_source_costs_no_order_and_heals_itself(ground: Ground, tmp_path: Path) -> None:
    """By the times at which the program itself tries again."""
    clock, asked, is_down = ground.restart_clock(), 0, True

    def fetch() -> Key:
        nonlocal asked
        asked += 1
        if is_down:
            raise DnsUnavailable("the command 'aliyun-key' ended with 22: Vault is sealed", hint="run it")
        key = ground.dns.sts.issue("certbotless", "vault", 3600)
        return Key(key.id, key.secret, key.token, key.ends_at)

    before, orders = ground.source, ground.ca.orders_made()
    ground.source = FetchedKey(fetch, clock, "", lambda key: None)
    try:
        end = clock.now() + timedelta(hours=1)
        runs = 0
        while clock.now() < end:
            outcome = ground.run(tmp_path)
            runs += 1
            assert outcome.failure is not None
            assert "Vault is sealed" in outcome.failure.what
            clock.advance(max((outcome.failure.retry_at - clock.now()).total_seconds(), 1))
        assert ground.ca.orders_made() == orders
        assert runs < 40
        is_down = False
        # The CA's clock has not moved with ours, and nothing is ordered by one that is an hour ahead.
        ground.source = FetchedKey(fetch, ground.restart_clock(), "", lambda key: None)
        assert ground.run(tmp_path, asks_again=True).state == "ok"
        assert ground.ca.orders_made() == orders + 1
        print(f"\nan hour without a source: {runs} runs, {asked} fetches, no order; then one run, one order")
    finally:
        ground.source = before
    ground.assert_zone_is_as_left()


@pytest.mark.row(113)
def test_a_source_that_is_away_is_one_line_and_one_message(broker: Broker, bare: Bed, hook: Hook) -> None:
    """What is served stays; it heals itself when the source is back."""
    bare.ok("--once")
    before = bare.published()
    broker.is_down = True
    bare.config |= {"check_every": "1s", "notify": [hook.url]}
    make_due(bare)
    with bare.daemon() as daemon:
        wait_until(lambda: hook.times(f"{DOMAIN}: no new certificate") == 1, "it is told")
        given = len(hook.bodies)
        tries = daemon.log_text().count("order.failed")
        wait_until(lambda: daemon.log_text().count("order.failed") > tries, "it is tried again")
        assert len(hook.bodies) == given
        # Nothing was ordered, and no other step fails.
        assert bare.orders() == 1
        assert daemon.log_text().count("failed domain") == daemon.log_text().count("order.failed")
        assert bare.published() == before
        [error] = [site["last_error"] for site in bare.status()["sites"]]
        assert "aliyun-key' ended with 22: curl: " in error["what"]
        assert error["hint"].startswith("run it by hand as user ")
        broker.is_down = False
        wait_until(
            lambda: hook.times(f"{DOMAIN}: solved: no new certificate") == 1, "that it is over is told"
        )
        assert bare.published() != before
    assert bare.orders() == 2
    # The daemon itself has fetched none, as often as it has checked the site.
    assert broker.given == 2


@pytest.mark.row(113)
def test_what_needs_no_key_is_done_without_one(bed: Bed) -> None:
    """A record that others have changed waits for a key; a restart does not."""
    broker = Broker(bed.dns, bed.home)
    with broker.running() as argv:
        take_the_key_away(bed, argv)
        [site] = bed.config["sites"]
        deploy = site.pop("deploy")
        bed.ok("--once")
        broker.is_down, site["deploy"] = True, deploy
        bed.dns.update(bed.dns.records("devbox", "A")[0].record_id, value="10.0.0.1")
        assert bed.served() != bed.published()
        assert "aliyun-key' ended with 22: curl: " in bed.refused("--once")
        assert bed.served() == bed.published()
        assert bed.a_values() == ["10.0.0.1"]
        broker.is_down, site["ttl"] = False, 601  # an edit: what has failed is not waited for
        bed.ok("--once")
    assert bed.a_values() == [LAN_ADDRESS]
    assert bed.orders() == 1
    assert_invariants(bed)


# --- killed -------------------------------------------------------------------------------------------------


def written_since(began_s: float, *folders: Path) -> dict[str, bytes]:
    """Return the plain files that were written since, each by its path, with its first MiB."""
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        with suppress(OSError):
            seen = path.lstat()
            if stat.S_ISREG(seen.st_mode) and seen.st_mtime >= began_s:
                with path.open("rb") as file:
                    found[str(path)] = file.read(1 << 20)
    return found


def killed_without_a_trace(bed: Bed, count: int | None, monkeypatch: pytest.MonkeyPatch) -> int:
    """Kill a renewal with a temporary key at so many of its changes; no part of a key is left anywhere.

    In no file of state_dir, certs_dir, the folders for temporary files and /run, and in nothing that it has
    printed or logged. `assert_no_secret_is_told` looks once more at the end, with all that the fixture knows.
    """
    began_s, temporary = time.time() - 2, bed.home / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    places = [bed.state, bed.certs, temporary, *map(Path, ("/run", "/dev/shm", "/var/tmp"))]  # noqa: S108
    bed.ok("--once")
    make_due(bed)
    calls = watched(bed)
    chosen = calls if count is None else [calls[i * len(calls) // count] for i in range(count)]
    for call in chosen:
        make_due(bed)
        run = strace.killed(bed.command("--once"), call)
        texts = written_since(began_s, *places) | {"said": run.said.encode()}
        assert len(texts) > 5
        for key in bed.dns.sts.issued:
            for part in (key.id, key.secret, key.token):
                assert [path for path, text in texts.items() if part.encode() in text] == [], call
    bed.ok("--once")
    assert txt_of_ours(bed) == []
    return len(chosen)


@pytest.mark.row(117)
def test_no_part_of_a_key_is_left_by_a_run_that_is_killed(
    broker: Broker, bare: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert killed_without_a_trace(bare, 4, monkeypatch) == 4


@pytest.mark.soak
@pytest.mark.row(117)
def test_no_part_of_a_key_is_left_wherever_a_run_is_killed(
    broker: Broker, bare: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = killed_without_a_trace(bare, None, monkeypatch)
    print(f"\nkilled at {count} system calls, no part of a key in any file")
