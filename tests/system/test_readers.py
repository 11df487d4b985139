"""A service that is not root reads the key through the group of certs_dir, as does a root without its rights.

The program runs as a user who is a member of neither: what gives each file the group is the setgid bit.
"""

import grp
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import DOMAIN, Bed, assert_mode
from support.programs import within_reach

from certbotless.sandbox.registry import Registry

OWNER, READER, GROUP = 4711, 4712, 4713
CHAIN, KEY = f"{DOMAIN}.pem", f"{DOMAIN}.key"


@pytest.fixture
def shared(bare: Bed) -> Iterator[Bed]:
    """A bed of the service's user, where a test starts the registry that it is about."""
    bare.state.mkdir(0o700)
    os.chown(bare.state, OWNER, grp.getgrnam("docker").gr_gid)
    bare.config["sites"] = [bare.site()]
    with within_reach(bare):
        yield bare
    for container in bare.engine.client().containers.list(all=True):
        container.remove(force=True, v=True)


def start(bed: Bed, registry: Registry, group: int, mode: int) -> None:
    """Start the registry on a self-signed pair that it may read, in a certs_dir of this group and mode."""
    bed.registry = registry
    registry.write_self_signed()
    for path in (bed.certs, bed.certs / CHAIN, bed.certs / KEY):
        os.chown(path, OWNER, group)
    (bed.certs / KEY).chmod(0o640)
    bed.certs.chmod(mode)
    registry.create()


def group_of(path: Path) -> int:
    return path.stat().st_gid


@pytest.mark.parametrize(
    ("user", "cap_drop", "group", "mode"),
    [
        (f"{READER}:{GROUP}", [], GROUP, 0o2750),
        ("", ["ALL"], 0, 0o2755),
    ],
    ids=["another user, and nobody else", "root without its rights"],
)
def test_a_registry_that_cannot_read_everything_reads_the_key_through_the_group(
    shared: Bed, user: str, cap_drop: list[str], group: int, mode: int
) -> None:
    """After the first issuance and after a renewal; the group never writes, and the world reads no key."""
    registry = Registry(shared.engine, DOMAIN, certs=shared.certs, user=user, cap_drop=cap_drop)
    start(shared, registry, group, mode)
    shared.config["key_mode"] = "0640"
    before = shared.served()
    for command in ("--once", "--renew-now"):
        shared.ok(command)
        assert shared.served() == shared.published() != before
        before = shared.served()
        assert_mode(shared.certs / KEY, 0o640)
        assert_mode(shared.certs / CHAIN, 0o644)
        assert [group_of(shared.certs / name) for name in (KEY, CHAIN)] == [group, group]
        assert (shared.certs / KEY).stat().st_uid == OWNER
    assert shared.orders() == 2


def test_a_registry_that_cannot_read_the_key_leads_to_its_mode_and_group(shared: Bed) -> None:
    """And the hint is the cure: nothing is ordered anew for it."""
    registry = Registry(shared.engine, DOMAIN, certs=shared.certs, user=f"{READER}:{GROUP}")
    start(shared, registry, GROUP, 0o2750)
    shared.config["key_mode"] = "0600"
    done = shared.run("--once")
    assert done.returncode == 1
    site = shared.status()["sites"][0]
    assert site["state"] == "failing"
    assert [entry["state"] for entry in site["deploy"]] == ["failing"]
    assert "no TLS answer" in site["last_error"]["what"]
    for word in (
        "it may not be able to read the key",
        'key_mode "0640"',
        "group of certs_dir",
        "docs/configuration.md",
    ):
        assert word in site["last_error"]["hint"]
        assert word in done.stdout
    assert "permission denied" in shared.registry.container.logs(tail=3).decode()

    shared.config["key_mode"] = "0640"
    shared.run("--once")
    assert_mode(shared.certs / KEY, 0o640)
    shared.registry.container.restart()
    shared.ok("--once")
    assert shared.served() == shared.published()
    assert shared.orders() == 1
    shared.ok("--renew-now")
    assert shared.served() == shared.published()
