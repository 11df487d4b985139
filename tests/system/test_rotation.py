"""A rotation of the local CA as clients meet it, at a real registry beside the daemon: handshakes count."""

import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from support.bed import LAN_NAME, PATIENCE_S, Bed
from support.hooks import Hook
from support.local_cas import put_ca, put_next

from certbotless.sandbox.host import LAN_ADDRESS

DAY = timedelta(days=1)
# Four fifths of a root's life.
ROTATES_AFTER = 3652 * DAY * 4 / 5


class Clients:
    """Clients that trust different roots, and shake hands with one service in turn.

    Attributes:
        accepted, refused: how often each client did, by stage and client.
        met: what became of each handshake, by client, in order.
    """

    def __init__(self, port: int) -> None:
        self._where = LAN_ADDRESS, port
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.accepted: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self.met: dict[str, list[bool]] = {}

    def add(self, who: str, roots: str) -> None:
        self._contexts[who] = ssl.create_default_context(cadata=roots)
        self.met[who] = []

    def turn(self, stage: str) -> None:
        """Let each client try once. While the service restarts nobody answers, which is no handshake."""
        for who, context in self._contexts.items():
            try:
                with (
                    socket.create_connection(self._where, 10) as raw,
                    context.wrap_socket(raw, server_hostname=LAN_NAME),
                ):
                    self.accepted[stage, who] += 1
                    self.met[who].append(True)
            except ssl.SSLCertVerificationError:
                self.refused[stage, who] += 1
                self.met[who].append(False)
            except OSError:
                continue

    def until(self, stage: str, holds: Callable[[], bool]) -> None:
        """Let them take turns until something holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"{stage}: {self}"
            self.turn(stage)
            # The daemon and the service need the CPU too.
            time.sleep(0.05)

    def handshakes(self, stage: str, who: str = "") -> int:
        both = self.accepted + self.refused
        return sum(n for (of, client), n in both.items() if of == stage and who in ("", client))

    def __str__(self) -> str:
        return f"accepted {dict(self.accepted)}, refused {dict(self.refused)}"


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.soak)])
def test_in_a_rotation_no_client_with_both_roots_is_refused_at_any_moment(local: Bed, count: int) -> None:
    """One with the old root alone is accepted until the switch, one with the new root from it on.

    The rotation begins by itself, between two checks of the daemon that are a day apart.
    """
    root, coming = (local.state / "local-ca" / name for name in ("root.pem", "next/root.pem"))
    local.config["check_every"] = "1d"
    local.ok("check")
    put_ca(local.state, ROTATES_AFTER - timedelta(seconds=10))
    clients, old = Clients(local.registry.port), root.read_text()
    clients.add("old", old)
    with local.daemon() as daemon:
        clients.until("start", lambda: clients.met["old"][-1:] == [True])
        clients.until("before", lambda: coming.exists() and clients.handshakes("before") >= count // 10)
        assert "local_ca.rotation_began" in daemon.log_text()
        new = coming.read_text()
        exported = local.home / "both.pem"
        local.ok("trust", "export", "--out", str(exported))
        assert exported.read_text() == old + new
        clients.add("both", old + new)
        clients.add("new", new)
        clients.until("overlap", lambda: clients.handshakes("overlap") >= count * 4 // 10)
        switch = subprocess.Popen(local.command("trust", "switch"), stdout=subprocess.DEVNULL)
        clients.until("switch", lambda: switch.poll() is not None)
        assert switch.returncode == 0
        # The daemon checks at once.
        local.config["check_every"] = "2h"
        local.write()
        clients.until("switch", lambda: clients.met["new"][-1:] == [True])
        clients.until("after", lambda: clients.handshakes("after") >= count // 2)
    assert sum(map(len, clients.met.values())) >= count
    print(f"\n{clients}")
    stages = "start", "before", "overlap", "switch", "after"
    assert [clients.refused[stage, "both"] for stage in stages] == [0] * 5
    assert clients.accepted["overlap", "both"] > 10 < clients.accepted["after", "both"]
    assert [clients.refused[stage, "old"] for stage in stages[1:3]] == [0, 0]
    assert clients.accepted["overlap", "new"] == 0
    assert (clients.accepted["after", "old"], clients.refused["after", "new"]) == (0, 0)
    # Each changes its mind once.
    assert clients.met["new"] == sorted(clients.met["new"])
    since = clients.met["old"].index(True)
    assert clients.met["old"][since:] == sorted(clients.met["old"][since:], reverse=True)


def test_a_run_takes_each_step_when_it_is_due_and_no_other_one(local: Bed, hook: Hook) -> None:
    """Of a root that is eight years old, and of a rotation that began 90 days ago; for all sites at once.

    Each step is reported once, in the reader's language.
    """
    local.config |= {"notify": [hook.url], "language": "zh"}
    local.config["sites"].append({"domain": "git.lan", "ca": "local"})
    local.write()
    first = put_ca(local.state, 2900 * DAY)
    local.ok("--once")
    hook.bodies.clear()
    assert local.status()["local_ca"]["next"] is None
    first = put_ca(local.state, 2950 * DAY)
    local.ok("--once")
    found = local.status()["local_ca"]
    assert found["root_sha256"] == first.root_sha256
    assert found["next"]["root_sha256"][:8] in local.ok("status")
    served = local.served(LAN_NAME)
    local.ok("--once")
    assert (local.status()["local_ca"], local.served(LAN_NAME)) == (found, served)
    assert hook.times("本地 CA 的根证书将被更换") == 1
    assert hook.times("  处理办法：请装到每个客户端：certbotless trust export") == 1
    second = put_next(local.state, 90 * DAY)
    said = local.ok("plan")
    assert said.count("继续更换本地 CA 的根证书（下一个根证书从 ") == 2
    local.ok("--once")
    found = local.status()
    assert (found["local_ca"]["root_sha256"], found["local_ca"]["next"]) == (second.root_sha256, None)
    assert [site["certificate"]["ca"] for site in found["sites"]] == [second.id] * 2
    assert local.served(LAN_NAME) == local.published(LAN_NAME) != served


@pytest.mark.row(107)
def test_a_switch_after_which_a_site_would_fail_is_refused_with_its_name(local: Bed) -> None:
    """The LAN address counts as a name. The old root goes on; what to do is one command."""
    local.ok("--once")
    put_next(local.state, 90 * DAY, ("lan", LAN_NAME, "192.168.0.0/16"))
    done = local.run("trust", "switch")
    assert done.returncode == 1
    text = f"{LAN_NAME} would fail: the next root may not vouch for {LAN_ADDRESS}"
    assert text in done.stderr
    assert text in local.refused("--once")
    assert local.served(LAN_NAME) == local.published(LAN_NAME)
    assert "certbotless trust rotate makes another one" in local.run("status").stdout
    local.ok("trust", "rotate")
    local.ok("--once")
    local.ok("trust", "switch")
    local.ok("--once")
