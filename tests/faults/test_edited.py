"""Files that nobody meant: cut off, mangled; and edits at the worst moment.

The good one stays in force, and each fault is told with its place.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.authors import STYLES, Author
from support.bed import DOMAIN, KEY_SECRET, ZONE, Bed, wait_until, write_secret
from support.configs import CANARY, FULL
from support.daemons import Machine
from support.invariants import assert_invariants

from certbotless.base.log_context import quoted
from certbotless.config import load
from certbotless.sandbox.pebble import Pebble


@pytest.fixture
def author(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Author:
    """Somebody with the file that has all keys."""
    return Author(tmp_path, FULL, caplog)


@pytest.mark.row(22)
@pytest.mark.parametrize("files", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_file_that_is_cut_off_anywhere_is_refused_with_its_place_or_good_in_itself(
    files: int, author: Author
) -> None:
    refused = _refuse_or_take(author, [FULL.encode()[: len(FULL) * n // files] for n in range(files)])
    print(f"\n{files} files cut off: {refused} refused, {files - refused} good in themselves")
    assert refused > files / 2


@pytest.mark.row(22, 24)
@pytest.mark.parametrize("files", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_no_fuzzed_file_does_harm(files: int, author: Author) -> None:
    """No crash; the last good one stays in force; every refusal has its lines, each with a place."""
    random = Random(20261125)  # noqa: S311
    refused = _refuse_or_take(author, [fuzzed(random) for _ in range(files)])
    print(f"\n{files} fuzzed files: {refused} refused, {files - refused} good in themselves")
    assert 0 < refused < files


def _refuse_or_take(author: Author, files: list[bytes]) -> int:
    refused = 0
    for raw in files:
        good = author.source.config
        author.file.write_bytes(raw)
        taken = author.ask()
        lines = author.said()
        assert all(CANARY not in line for line in lines)
        if taken is not None:
            assert author.source.raw == raw
            assert taken == load.parse(raw, "c.yaml")
            continue
        refused += 1
        assert author.source.config is good
        assert author.source.refused
        assert lines == [f"config.refused fault={line}" for line in author.source.refused]
        for line in author.source.refused:
            place = line.removeprefix(f"{author.file}:").split(": ", 1)[0]
            is_whole = line.startswith(
                ("state_dir cannot change", "cannot read the secret", "the environment")
            )
            assert is_whole or all(number.isdigit() for number in place.split(":")), line
    return refused


def fuzzed(random: Random) -> bytes:
    """Return the full file with a few accidents: of bytes, of lines, of words."""
    raw = FULL.encode()
    for _ in range(random.randint(1, 4)):
        lines = raw.split(b"\n")
        at, line = random.randrange(len(raw) + 1), random.randrange(len(lines))
        match random.randrange(8):
            case 0:
                raw = raw[:at]
            case 1:
                raw = raw[:at] + random.randbytes(random.randint(1, 8)) + raw[at:]
            case 2:
                raw = raw[:at] + raw[at + random.randint(1, 40) :]
            case 3:
                raw = b"\n".join([*lines[:line], *lines[line + 1 :]])
            case 4:
                raw = b"\n".join([*lines[:line], lines[random.randrange(len(lines))], *lines[line:]])
            case 5:
                indented = b" " * random.randint(1, 3) + lines[line]
                raw = b"\n".join([*lines[:line], indented, *lines[line + 1 :]])
            case 6:
                word = random.choice(
                    [b": ", b"- ", b"{", b"[", b'"', b"&a ", b"*a", b"!!python/object ", b"\t", b"#"]
                )
                raw = raw[:at] + word + raw[at:]
            case 7:
                number = random.choice([b"0", b"-1", b"99999999999999999999", b"1e9", b"null", b"~", b"yes"])
                head, colon, _ = lines[line].partition(b": ")
                raw = b"\n".join([*lines[:line], head + colon + number, *lines[line + 1 :]])
    return raw


# --- the real daemon ----------------------------------------------------------------------------------------


@pytest.mark.row(23)
@pytest.mark.parametrize("edits", [2, pytest.param(25, marks=pytest.mark.soak)])
@pytest.mark.parametrize("save", STYLES)
def test_an_edit_is_in_force_within_two_seconds(
    save: Callable[[Path, str], None],
    edits: int,
    machine: Machine,
    promised: Callable[[float, float], None],
) -> None:
    """Whatever the editor does; the daemon would look by itself once a day only."""
    save(machine.file, machine.text(check_every="1d"))
    seconds = []
    with machine.daemon():
        for ttl in range(100, 100 + edits):
            looks = len(machine.dns.queries)
            began = time.monotonic()
            save(machine.file, machine.text(check_every="1d", sites=[machine.site(ttl=ttl)]))
            machine.wait_for_log(
                f'config.changed what="site {DOMAIN}: ttl {ttl - 1 if ttl > 100 else 600} -> {ttl}"'
            )
            seconds.append(time.monotonic() - began)
            machine.wait_until(lambda looks=looks: len(machine.dns.queries) > looks)  # type: ignore[misc]
            # To come at another moment of its second; right after an edit it looks more often.
            time.sleep(Random(ttl).random() + (3 if edits > 5 else 0))  # noqa: S311
    print(f"\n{edits} edits, {save.__name__}: in force within {max(seconds):.2f} s")
    promised(max(seconds), 2)
    assert "config.refused" not in machine.log.read_text()


@pytest.mark.row(22, 24)
def test_twenty_fuzzed_files_leave_the_last_good_one_in_force(machine: Machine) -> None:
    """Each is refused, if only because it names another state_dir; `status` says so, and the looks go on."""
    random = Random(20261126)  # noqa: S311
    with machine.daemon():
        for n in range(20):
            said = machine.log.read_text()
            machine.file.write_bytes(fuzzed(random))
            machine.reload()
            machine.wait_until(lambda said=said: machine.log.read_text() != said)  # type: ignore[misc]
            if n % 5 == 0:
                machine.wait_for_looks(2)
        machine.write(acme={"directory": "http://127.0.0.1"})
        machine.wait_for_log("is neither letsencrypt")
        (error,) = machine.status()["config"]["error"].splitlines()
        assert f"config.refused fault={quoted(error)}" in machine.log.read_text()
        machine.write()
        machine.wait_for_log("config.accepted")
        assert machine.status()["config"]["error"] is None
    said = machine.log.read_text()
    assert said.count("config.accepted") == 1
    assert "Traceback" not in said
    places = rf"{re.escape(str(machine.file))}:\d+:\d+: |state_dir cannot change"
    lines = [line for line in said.splitlines() if "config.refused" in line]
    assert all(re.search(f'config.refused fault="?({places})', line) for line in lines)


# --- while an order is in flight ----------------------------------------------------------------------------

INNER = f"inner.{ZONE}"
# What is edited of the site and of acme, and the domain that it is about.
IN_FLIGHT: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "name": (f"box.{ZONE}", {"names": [f"www.box.{ZONE}"]}, {}),
    "zone": (f"box.{INNER}", {"zone": INNER}, {}),
    "CA": (f"box.{ZONE}", {}, {}),
    "key": (f"box.{ZONE}", {}, {"key_type": "ec384"}),
}
OTHERWISE = [pytest.param(moment, marks=pytest.mark.soak) for moment in (0.5, 1.0, 2.0, 3.0)]


@pytest.mark.row(25)
@pytest.mark.parametrize("dns", [[INNER]], indirect=True, ids=["two zones"])
@pytest.mark.parametrize("after_s", [1.5, *OTHERWISE])
@pytest.mark.parametrize("what", IN_FLIGHT)
def test_an_edit_in_the_middle_of_an_order_leads_to_what_it_asks_for(
    what: str, after_s: float, bare: Bed, ca: Pebble
) -> None:
    """The order is gone on with or dropped, its TXT record removed, and the limits are kept."""
    domain, site, acme = IN_FLIGHT[what]
    bare.dns.set_delay(1, 2)
    bare.config["check_every"] = "1s"
    bare.config["sites"] = [bare.site(domain, deploy=[], address="none", zone=ZONE)]
    with bare.daemon() as daemon:
        time.sleep(after_s)
        bare.config["sites"][0] |= site
        bare.config["acme"] |= acme
        if what == "CA":
            bare.config["acme"] |= {"directory": ca.directory_url, "ca_bundle": str(ca.ca_bundle)}
        bare.write()
        wait_until(lambda: "config.accepted" in daemon.log_text(), "the edit is taken")
        wait_until(lambda: is_as_asked(bare, domain), "the certificate is the one asked for")
        wait_until(lambda: not daemon.children(), "nothing is at work")
        assert bare.status()["sites"][0]["state"] == "ok", daemon.log_text()
    assert bare.orders() <= 2
    assert_invariants(bare)


def is_as_asked(bed: Bed, domain: str) -> bool:
    """Whether what is published is what the configuration asks for."""
    try:
        meta = json.loads((bed.certs / ".certbotless" / domain / "current" / "meta.json").read_text())
    except FileNotFoundError:
        return False
    (site,), acme = bed.config["sites"], bed.config["acme"]
    found = (set(meta["names"]), meta["directory"], meta["key_type"])
    return found == ({domain, *site.get("names", [])}, acme["directory"], acme.get("key_type", "ec256"))


# --- the container ------------------------------------------------------------------------------------------


@pytest.mark.row(26)
def test_a_container_under_another_name_is_made_to_serve_what_is_published_without_an_order(bed: Bed) -> None:
    """One that has it already, since it has just been made, is left to run."""
    bed.config["check_every"] = "1s"
    bed.config["sites"] = [bed.site(deploy=[])]
    bed.ok("--once")
    old = bed.registry.container
    with bed.daemon() as daemon:
        old.rename("hub")
        bed.config["sites"] = [bed.site(deploy=[{"container": "hub", "port": bed.registry.port}])]
        bed.write()
        wait_until(lambda: "deploy [] -> [hub]" in daemon.log_text(), "the edit is taken")
        wait_until(lambda: bed.status()["sites"][0]["state"] == "ok", "the new target serves it")
        assert bed.served() == bed.published()
        assert daemon.log_text().count("container.restarted") == 1
        began = old.attrs["State"]["StartedAt"]
        old.reload()
        assert old.attrs["State"]["StartedAt"] > began
        old.rename("registry")
        bed.config["sites"] = [bed.site()]
        bed.write()
        wait_until(lambda: "deploy [hub] -> [registry]" in daemon.log_text(), "the edit is taken")
        wait_until(lambda: bed.status()["sites"][0]["state"] == "ok", "all is well")
        assert daemon.log_text().count("container.restarted") == 1
    assert bed.orders() == 1
    assert_invariants(bed)


# --- sites and secrets --------------------------------------------------------------------------------------


@pytest.mark.row(27)
def test_a_corrected_secret_file_is_used_at_once(bare: Bed) -> None:
    """The daemon looks once a day, and the attempt before has failed a moment ago."""
    secret = bare.home / "secret"
    write_secret(secret, "wrong")
    bare.config["check_every"] = "1d"
    bare.config["aliyun"]["access_key_secret"] = f"file:{secret}"
    with bare.daemon() as daemon:
        wait_until(lambda: "record.failed" in daemon.log_text(), "the wrong one is refused")
        wait_until(lambda: not daemon.children(), "the child has ended")
        secret.write_text(KEY_SECRET)
        wait_until(lambda: "secret.changed key=aliyun.access_key_secret" in daemon.log_text(), "it is seen")
        wait_until(lambda: bare.status()["sites"][0]["state"] == "ok", "all is well")
    assert_invariants(bare)


def test_a_site_that_is_added_is_served_at_once_and_one_that_is_removed_left_alone(bare: Bed) -> None:
    bare.config["check_every"] = "1d"
    bare.ok("--once")
    with bare.daemon() as daemon:
        bare.config["sites"] = [bare.site(f"second.{ZONE}", deploy=[])]
        bare.write()
        wait_until(lambda: bare.status()["sites"][0]["state"] == "ok", "the added one is well")
        assert f'config.changed what="site second.{ZONE} added' in daemon.log_text()
        assert f'config.changed what="site {DOMAIN} removed; its record, files and' in daemon.log_text()
    assert bare.a_values() == bare.a_values("second") != []
    assert (bare.certs / f"{DOMAIN}.pem").exists()
    assert_invariants(bare)
