"""`certbotless add` beside a running daemon: the new site gets its record, its certificate, its container."""

import json
import os
from typing import Any

import pytest
from support.bed import DOMAIN, LAN_NAME, ZONE, Bed, sha256_of, wait_until
from support.terminals import ENTER, Terminal, answer

from certbotless.cli.status import find
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import Registry, served_sha256

SECOND = f"registry2.{ZONE}"


@pytest.fixture
def second(bed: Bed) -> Registry:
    """Another registry, which waits for its certificate."""
    registry = Registry(bed.engine, SECOND, certs=bed.certs, port=5001, name="registry2")
    registry.write_self_signed()
    registry.create()
    return registry


def states(bed: Bed) -> dict[str, Any]:
    """Return the state of each site of the file as it is."""
    return {site["domain"]: site["state"] for site in json.loads(find(bed.file).to_json())["sites"]}


@pytest.mark.usefixtures("second")
def test_a_running_daemon_takes_the_site_that_is_added_and_gets_its_certificate(bed: Bed) -> None:
    """Then a name of the LAN, for which the command offers the local CA."""
    with bed.daemon() as daemon:
        wait_until(lambda: states(bed) == {DOMAIN: "ok"}, "the first site is ok")
        first, started = bed.published(), bed.started_at()
        lines = f"# The first line of a person.\n{bed.file.read_text()}# The last one.\n"
        bed.file.write_text(lines)
        inode = bed.file.stat().st_ino
        with Terminal(bed.command("add", SECOND), width=200) as terminal:
            answer(terminal, ("its number, another name, or none [registry2]", ENTER))
            assert terminal.wait() == 0
            text = terminal.text()
        assert "  1  registry (registry:2), published ports: 5000" in text
        assert f"{bed.file}: site {SECOND} added" in text
        assert f"the daemon (pid {daemon.process.pid}) reads the file by itself" in text
        written = iter(bed.file.read_text().splitlines())
        assert all(line in written for line in lines.splitlines())  # each behind the one before it
        assert bed.file.stat().st_ino != inode
        assert (bed.file.stat().st_mode & 0o777, bed.file.stat().st_uid) == (bed.file_mode, os.geteuid())
        wait_until(lambda: states(bed) == {DOMAIN: "ok", SECOND: "ok"}, "both sites are ok")
        assert f"what=site {SECOND} added" in daemon.log_text().replace('"', "")
        with Terminal(bed.command("add", LAN_NAME), width=200) as terminal:
            answer(
                terminal, ("Use it? [y/N]", "y"), ("Also for the LAN address", "y"), ("or none [none]", ENTER)
            )
            assert terminal.wait() == 0
            assert "Then each client needs the root. What to type there: certbotless" in terminal.text()
        wait_until(lambda: states(bed).get(LAN_NAME) == "ok", "the local site is ok")
        site = json.loads(find(bed.file).to_json())["sites"][-1]
        assert site["certificate"]["names"] == [LAN_ADDRESS, LAN_NAME]
    assert bed.a_values("registry2") == [LAN_ADDRESS]
    assert served_sha256(LAN_ADDRESS, 5001, SECOND) == sha256_of(bed.certs / f"{SECOND}.pem")
    assert (bed.published(), bed.started_at()) == (first, started)
