"""Faults of the engine, the container and the registry.

What is published is served in the end, and nobody is without service for longer than a restart takes.
"""

import io
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import pytest
from support.bed import DOMAIN, Bed, wait_until
from support.invariants import assert_invariants
from support.private_host import mounted
from support.readers import GROUP, give_new_keys_to, serve_as_a_user

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS, SandboxError
from certbotless.sandbox.registry import Registry
from certbotless.world.containers import DockerContainers


@contextmanager
def engine_away(bed: Bed) -> Iterator[None]:
    """Take the engine's socket away for as long as the block runs; its containers go on."""
    hidden = bed.engine.socket.with_name("hidden.sock")
    bed.engine.socket.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(bed.engine.socket)


# --- the engine ---------------------------------------------------------------------------------------------


@pytest.mark.row(57)
def test_an_engine_that_is_away_costs_no_order_and_is_waited_for(bed: Bed) -> None:
    """The new certificate is published, and what serves the old one is said to fail."""
    bed.config["check_every"] = "1s"
    bed.ok("--once")
    old = bed.published()
    with engine_away(bed):
        line = bed.refused("--renew-now")
        assert f"no Docker engine at {bed.engine.docker_host!r}: No such file or directory" in line
        assert "group docker" in line
        new = bed.published()
        assert new != old == bed.served()
        (target,) = bed.status()["sites"][0]["deploy"]
        assert (target["state"], target["served_sha256"]) == ("failing", old)
    bed.once_until_ok()
    assert bed.served() == bed.published() == new
    assert bed.orders() == 2
    assert_invariants(bed)


@pytest.mark.row(85)
def test_the_root_of_an_engine_that_remaps_users_is_told_what_it_needs_to_read_the_key(
    bare: Bed, tmp_path: Path
) -> None:
    """The registry ends for want of its key; the doctor's cure, done as it is written, lets it run."""
    with remapping(tmp_path) as engine:
        registry = Registry(engine, DOMAIN, certs=bare.certs)
        bare.config["docker"] = {"host": engine.docker_host}
        bare.config["sites"] = [bare.site(deploy=[])]
        bare.ok("--once")
        with pytest.raises(SandboxError, match="permission denied"):
            registry.create()
        bare.config["sites"] = [bare.site()]
        done = bare.run("--renew-now")
        assert "It has a user namespace of its own: set key_mode" in done.stdout
        told = bare.run("doctor").stdout
        assert f"uid {REMAPPED} (groups {REMAPPED}), in its own user namespace, may not read" in told

        (cure,) = re.findall(r"then (chgrp -R \d+ .+)", told)
        subprocess.run(["sh", "-euc", cure], check=True)
        wait_until(lambda: b"listening on" in registry.container.logs(), "it has read its key")
        bare.config["key_mode"] = "0640"
        assert [found["level"] for found in bare.checks() if found["check"] == "key"] == ["ok"]
        # One with the ids of the machine needs nothing.
        registry.remove()
        engine.client().containers.run(
            "registry:2", ["/bin/registry"], name="registry", detach=True, userns_mode="host"
        )
        assert DockerContainers(engine.docker_host).find("registry").reads_all


REMAPPED = 200000


@contextmanager
def remapping(tmp_path: Path) -> Iterator[Engine]:
    """Run a second engine, without networks, whose containers have users of their own."""
    (folder := tmp_path / "remapping").mkdir()
    ids = folder / "subuid"
    ids.write_text(f"daemon:{REMAPPED}:65536\n")
    for folder_above in (folder, *folder.parents[:-1]):
        folder_above.chmod(folder_above.stat().st_mode | 0o011)
    options = ["--userns-remap=daemon:daemon", "--bridge=none", "--iptables=false"]
    with (
        mounted("/etc/subuid", "--bind", ids),
        mounted("/etc/subgid", "--bind", ids),
        # Without networks an engine removes the bridge of the one beside it.
        Engine(folder, options, through=["unshare", "--net"]) as engine,
    ):
        yield engine


# --- the container ------------------------------------------------------------------------------------------


@pytest.mark.row(59)
def test_a_container_that_its_admin_paused_stays_paused(bed: Bed) -> None:
    """A restart would start it; what was published waits for it."""
    bed.config["check_every"] = "1s"
    bed.ok("--once")
    bed.registry.container.pause()
    try:
        assert "docker unpause registry" in bed.refused("--renew-now")
        site = bed.status()["sites"][0]
        assert (site["state"], site["last_error"]) == ("pending", None)
        assert bed.registry.container.status == "paused"
    finally:
        bed.registry.container.unpause()
    bed.once_until_ok()
    assert bed.served() == bed.published()
    assert bed.orders() == 2
    assert_invariants(bed)


@pytest.mark.row(59)
def test_a_container_is_resolved_by_its_name_each_time(bed: Bed) -> None:
    """A new one of the same name has another id; between the two there is none, and none is created.

    The certificate is renewed and published meanwhile; only the deploy fails, and says so.
    """
    bed.config["check_every"] = "1s"
    bed.ok("--once")
    old = bed.published()
    bed.registry.remove()
    assert "there is no container 'registry'" in bed.refused("--renew-now")
    assert bed.published() != old
    (target,) = bed.status()["sites"][0]["deploy"]
    assert (target["container"], target["state"], target["served_sha256"]) == ("registry", "failing", None)
    assert bed.engine.client().containers.list(all=True) == []
    bed.registry.create()
    bed.once_until_ok()
    assert bed.served() == bed.published()
    assert bed.orders() == 2
    assert_invariants(bed)


@pytest.mark.row(86)
@pytest.mark.parametrize("port", [None, 5000])
def test_a_port_that_is_published_at_one_address_alone_is_proved_there(bed: Bed, port: int | None) -> None:
    """As for a proxy on this machine; when it is published at every address, it is proved as ever."""
    bed.config["check_every"] = "1s"
    bed.registry.remove()
    bed.registry.publish = "127.0.0.1"
    bed.registry.create()
    bed.config["sites"] = [bed.site(deploy=[{"container": "registry"} | ({"port": port} if port else {})])]
    log = bed.run("--once").stderr
    assert log.count("container.restarted") == 1
    (target,) = bed.status()["sites"][0]["deploy"]
    assert (target["state"], target["at"]) == ("serving", f"127.0.0.1:{bed.registry.port}")
    assert f"registry serving at 127.0.0.1:{bed.registry.port}" in bed.ok("status")
    bed.ok("doctor")
    assert_invariants(bed)

    bed.registry.remove()
    bed.registry.publish = ""
    bed.registry.create()
    bed.ok("--renew-now")
    (target,) = bed.status()["sites"][0]["deploy"]
    assert (target["state"], target["at"]) == ("serving", f"{LAN_ADDRESS}:{bed.registry.port}")
    assert_invariants(bed)


@pytest.mark.row(60)
def test_a_container_that_mounts_the_two_files_alone_serves_the_new_ones_after_its_restart(bed: Bed) -> None:
    """The engine looks where the names lead when it starts a container, and not again while it runs."""
    bed.config["sites"] = [bed.site(deploy=[])]
    bed.ok("--once")
    bed.registry.remove()
    names = [f"{DOMAIN}.pem", f"{DOMAIN}.key"]
    bed.registry.create({str(bed.certs / name): {"bind": f"/certs/{name}", "mode": "ro"} for name in names})
    bed.config["sites"] = [bed.site()]
    old = bed.served()
    bed.ok("--renew-now")
    assert old != bed.served() == bed.published()
    assert_invariants(bed)


# --- a registry that refuses its certificate ----------------------------------------------------------------

WITHIN_S = 15


@pytest.mark.row(61)
@pytest.mark.parametrize("tries", [3, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.parametrize("restarts", [True, False], ids=["starts again", "stays down"])
def test_a_registry_that_refuses_the_new_pair_has_the_old_one_again(
    bed: Bed, restarts: bool, tries: int, promised: Callable[[float, float], None]
) -> None:
    """It may not read the new key; without a restart policy it stays down, else it restarts for ever."""
    serve_as_a_user(bed, restarts=restarts)
    old, slowest_s = bed.published(), 0.0
    give_new_keys_to(bed, 0)
    for _ in range(tries):
        bed.write()
        process = subprocess.Popen(
            bed.command("--renew-now", "--force"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "deploy:registry.due" in line:
                break
        began = time.monotonic()
        out, _ = process.communicate(timeout=300)
        slowest_s = max(slowest_s, time.monotonic() - began)
        assert process.returncode == 1
        assert "the previous certificate is in use again" in out
        assert bed.served() == bed.published() == old
    print(f"refused {tries} times, the old pair served again {tries} times, at most {slowest_s:.1f} s later")
    promised(slowest_s, WITHIN_S)
    assert "'registry' has ended; the previous certificate is in use again" in out
    assert 'set key_mode "0640"' in out
    site = bed.status()["sites"][0]
    assert (site["state"], site["last_error"]["what"]) == ("failing", site["reason"])
    assert [entry["state"] for entry in site["deploy"]] == ["serving"]
    orders = bed.orders()
    assert bed.run("--once").returncode == 1
    assert bed.orders() == orders

    # The refused pair stays as it was made; a new one is readable again.
    give_new_keys_to(bed, GROUP)
    bed.ok("--renew-now", "--force")
    assert bed.served() == bed.published() != old
    assert_invariants(bed, forced_orders=tries + 1)


# --- pushes -------------------------------------------------------------------------------------------------


@pytest.mark.row(62)
@pytest.mark.parametrize("renewals", [2, pytest.param(25, marks=pytest.mark.soak)])
def test_a_push_that_a_restart_has_cut_short_succeeds_when_it_is_given_again(bed: Bed, renewals: int) -> None:
    """A registry that drains finishes what it has begun; what comes while it is away is refused."""
    bed.registry.remove()
    bed.registry = Registry(bed.engine, DOMAIN, certs=bed.certs, drain="30s")
    bed.registry.create()
    bed.config["sites"][0]["deploy"][0]["stop_timeout"] = "35s"
    bed.ok("--once")
    images = [f"{DOMAIN}:{bed.registry.port}/large{i}" for i in range(4)]

    def push(image: str) -> int:
        """Push until it succeeds, and return how often it was refused."""
        client = docker.DockerClient(bed.engine.docker_host, timeout=120)
        tries: list[bool] = []

        def succeeds() -> bool:
            lines = list(client.api.push(f"{image}:1", stream=True, decode=True))
            tries.append(not any("error" in line for line in lines))
            return tries[-1]

        with closing(client):
            wait_until(succeeds, f"{image} is pushed")
        return tries.count(False)

    refused = 0
    for _ in range(renewals):
        for image in images:
            bed.engine.client().api.import_image_from_data(layer_of(16 << 20), repository=image, tag="1")
        with ThreadPoolExecutor(max_workers=len(images)) as pool:
            pushes = [pool.submit(push, image) for image in images]
            bed.ok("--renew-now", "--force")
            refused += sum(push.result() for push in pushes)
        assert bed.served() == bed.published()
    total = renewals * len(images)
    print(f"{renewals} renewals under {total} pushes: {refused} refusals, {total} succeeded")
    assert_invariants(bed, forced_orders=renewals)


def layer_of(size: int) -> bytes:
    """Return an image's one layer, of this many random bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("random")
        entry.size = size
        archive.addfile(entry, io.BytesIO(os.urandom(size)))
    return buffer.getvalue()
