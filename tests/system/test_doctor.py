"""`certbotless doctor` on real parts: what is well is called well, and what is broken by its name, alone.

Each breakage is planted on a machine that is well, and taken away again.
"""

import json
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from support.bed import DOMAIN, ZONE, Bed, wait_until
from support.commands import completed
from support.lan_resolver import dnsmasq, named_in_resolv_conf
from support.listeners import listening
from support.pages import exchanged
from support.private_host import HOSTS, mounted, with_address, written_over
from support.ram import pasted

from certbotless.cli.doctor.finding import as_json
from certbotless.cli.doctor.run import examine
from certbotless.config import load
from certbotless.sandbox.alidns import Fault
from certbotless.sandbox.host import LAN_ADDRESS, LAN_INTERFACE
from certbotless.sandbox.registry import Registry

Planted = Callable[[Bed], AbstractContextManager[None]]
ROUTER, PUBLIC = "10.79.40.99", "119.29.29.29"


@dataclass(frozen=True)
class Breakage:
    """What is planted, and what the doctor must say of it: the check, and words of its text and its cure."""

    plant: Planted
    level: str
    check: str
    text: str
    cure: str


BREAKAGES: dict[str, Breakage] = {}


def breakage(
    check: str, text: str, cure: str, level: str = "fail"
) -> Callable[[Callable[[Bed], Iterator[None]]], None]:
    """Note what a plant breaks."""

    def note(plant: Callable[[Bed], Iterator[None]]) -> None:
        BREAKAGES[plant.__name__] = Breakage(contextmanager(plant), level, check, text, cure)

    return note


def doctor(bed: Bed, *through: str) -> tuple[int, list[dict[str, str]]]:
    """Return the exit code and the findings of `doctor --json`.

    Args:
        through: a command that starts the program; without one this process examines.
    """
    bed.write()
    if not through:
        raw = load.read(bed.file)
        findings = examine(load.parse(raw, str(bed.file)), raw, str(bed.file), lambda _: None)
        found: dict[str, Any] = json.loads(as_json(findings))
        return (0 if found["ok"] else 1), found["checks"]
    command = [*through, *bed.command("doctor", "--json")]
    done = completed(command)
    bed.said += [done.stdout, done.stderr]
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 1)
    return done.returncode, found["checks"]


def of_level(level: str, found: list[dict[str, str]]) -> list[dict[str, str]]:
    return [finding for finding in found if finding["level"] == level]


@pytest.fixture
def well(bed: Bed) -> Iterator[Bed]:
    """A machine where all is well; public resolvers are out of its reach, as on many a LAN."""
    bed.registry.remove()
    registry = Registry(bed.engine, DOMAIN, certs=bed.certs, drain="20s")
    registry.create()
    bed.registry = registry
    bed.config["sites"][0]["deploy"][0]["stop_timeout"] = "30s"
    rejected = ("OUTPUT", "-d", "223.5.5.5,119.29.29.29", "-o", LAN_INTERFACE, "-j", "REJECT")
    subprocess.run(["iptables", "-I", *rejected], check=True)
    try:
        bed.ok("--once")
        yield bed
    finally:
        subprocess.run(["iptables", "-D", *rejected], check=True)


# --- what the file says -------------------------------------------------------------------------------------

SITE, TARGET = ("sites", 0), ("sites", 0, "deploy", 0)


def edited(where: Sequence[str | int], key: str, value: str | int) -> Callable[[Bed], Iterator[None]]:
    """Return a plant that writes this value into the configuration, which the test restores."""

    def plant(bed: Bed) -> Iterator[None]:
        found: Any = bed.config
        for step in where:
            found = found[step]
        found[key] = value
        yield

    plant.__name__ = f"{key}: {value}"
    return plant


breakage("secret", "cannot read the secret '/nowhere/key'", "create it")(
    edited(("aliyun",), "access_key_id", "file:/nowhere/key")
)
breakage("API", "SignatureDoesNotMatch", "correct aliyun.access_key_secret")(
    edited(("aliyun",), "access_key_secret", "another")
)
breakage("API", "InvalidAccessKeyId", "correct aliyun.access_key_id")(
    edited(("aliyun",), "access_key_id", "LTAIunknown")
)
breakage("API", "no connection", "check the network")(edited(("aliyun",), "endpoint", "http://127.0.0.1:1"))
breakage("permission", "the AccessKey has no rights there", "attach the policy")(edited(SITE, "zone", DOMAIN))
breakage("address", "no-such0", "auto:INTERFACE")(edited(SITE, "address", "auto:no-such0"))
breakage("CA", "no connection to the CA", "check the network and acme.directory")(
    edited(("acme",), "directory", "https://127.0.0.1:1/dir")
)
breakage("container", "there is no container 'nobody'", "create it")(edited(TARGET, "container", "nobody"))
breakage("engine", "no Docker engine at", "group docker")(
    edited(("docker",), "host", "unix:///nowhere/docker.sock")
)
breakage("served", "no TLS answer", "check that this is its TLS port")(edited(TARGET, "port", 5001))
breakage("drain", "before its drain time of 20 s", "set stop_timeout: 25s", "warn")(
    edited(TARGET, "stop_timeout", "10s")
)


# --- the machine --------------------------------------------------------------------------------------------


@breakage("address", f"{LAN_ADDRESS} is inside WSL2", "networkingMode=mirrored", "warn")
def a_machine_inside_wsl2(bed: Bed) -> Iterator[None]:
    bed.config["sites"][0]["address"] = "auto"
    version = bed.home / "version"
    version.write_text("Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f)\n")
    with mounted("/proc/version", "--bind", version):
        yield


# --- the key and the API ------------------------------------------------------------------------------------


@breakage("configuration", "open to others", "docs/configuration.md", "warn")
def a_secret_that_others_may_read(bed: Bed) -> Iterator[None]:
    path = bed.home / "secret"
    path.write_text(bed.config["aliyun"]["access_key_secret"])
    path.chmod(0o644)
    bed.config["aliyun"]["access_key_secret"] = f"file:{path}"
    yield


def without(action: str) -> Callable[[Bed], Iterator[None]]:
    def plant(bed: Bed) -> Iterator[None]:
        bed.dns.attach_policy(pasted(ZONE, without=action))
        try:
            yield
        finally:
            bed.dns.attach_policy(pasted(ZONE))
            for record in bed.dns.records(type="TXT"):
                bed.dns.delete(record.record_id)

    plant.__name__ = f"a_policy_without_{action}"
    return plant


for _action in ("AddDomainRecord", "UpdateDomainRecord", "DeleteDomainRecord", "DescribeSubDomainRecords"):
    breakage("permission", "Forbidden.RAM", f"alidns:{_action}")(without(_action))


@breakage("zone", "the account has no such zone", "add the zone in the Alidns console")
def a_zone_that_is_not_in_the_account(bed: Bed) -> Iterator[None]:
    bed.dns.attach_policy(pasted(ZONE, DOMAIN))
    bed.config["sites"][0]["zone"] = DOMAIN
    yield
    bed.dns.attach_policy(pasted(ZONE))


# --- names --------------------------------------------------------------------------------------------------


@breakage("name server", "does not answer", "ignore it if it is temporary", "warn")
def one_name_server_that_is_silent(bed: Bed) -> Iterator[None]:
    bed.dns.set_silent(1, True)
    yield
    bed.dns.set_silent(1, False)


@breakage("name servers", "none of them answers", "port 53")
def name_servers_that_are_silent(bed: Bed) -> Iterator[None]:
    for server in (0, 1):
        bed.dns.set_silent(server, True)
    yield
    for server in (0, 1):
        bed.dns.set_silent(server, False)


@breakage("A record", f"show 10.79.40.7, not {LAN_ADDRESS}", f"certbotless --once {DOMAIN}")
def a_record_that_leads_elsewhere(bed: Bed) -> Iterator[None]:
    [record] = bed.dns.records("devbox", "A")
    bed.dns.update(record.record_id, value="10.79.40.7")
    yield
    bed.dns.update(record.record_id, value=LAN_ADDRESS)


@breakage("A record", "is a CNAME to", "delete the CNAME in the Alidns console")
def an_alias_in_place_of_the_record(bed: Bed) -> Iterator[None]:
    [record] = bed.dns.records("devbox", "A")
    bed.dns.delete(record.record_id)
    alias = bed.dns.add("devbox", "CNAME", f"www.{ZONE}")
    yield
    bed.dns.delete(alias.record_id)
    bed.dns.add("devbox", "A", LAN_ADDRESS)


@breakage("system resolver", "'/etc/hosts' says 10.79.40.7", "correct the line of devbox")
def a_hosts_file_that_leads_elsewhere(bed: Bed) -> Iterator[None]:
    hosts = exchanged(HOSTS.read_text(), {f"{LAN_ADDRESS} {DOMAIN}": f"10.79.40.7 {DOMAIN}"})
    with written_over(HOSTS, hosts):
        yield


@contextmanager
def resolver(bed: Bed, address: str, *options: str) -> Iterator[None]:
    """A dnsmasq at this address that passes on what the zone's servers say."""
    upstream = bed.dns.nameservers[0].replace(":", "#")
    with with_address(address), dnsmasq(address, upstream, *options):
        yield


@contextmanager
def router(bed: Bed, *options: str) -> Iterator[None]:
    """The resolver of the LAN, which this machine asks, and no line of /etc/hosts."""
    hosts = exchanged(HOSTS.read_text(), {f"{LAN_ADDRESS} {DOMAIN}\n": ""})
    with resolver(bed, ROUTER, *options), written_over(HOSTS, hosts), named_in_resolv_conf(ROUTER):
        yield


@breakage(
    "system resolver",
    "protection against DNS rebinding",
    f"rules: @@||{ZONE}^; RouterOS: ",
)
def a_router_that_leaves_lan_addresses_out(bed: Bed) -> Iterator[None]:
    with router(bed, "--stop-dns-rebind"):
        yield


@breakage("system resolver", "gives 10.79.40.7, not", "delete the entry")
def a_router_with_an_answer_of_its_own(bed: Bed) -> Iterator[None]:
    with router(bed, f"--address=/{DOMAIN}/10.79.40.7"):
        yield


@breakage("system resolver", "there is no such name", "static DNS")
def a_router_with_a_zone_of_its_own(bed: Bed) -> Iterator[None]:
    with router(bed, f"--address=/{DOMAIN}/"):
        yield


@breakage("system resolver", "does not answer", "/etc/resolv.conf")
def a_resolver_that_is_not_there(bed: Bed) -> Iterator[None]:
    with router(bed), named_in_resolv_conf("127.0.0.1"):
        yield


@breakage("public resolver", "gives 10.79.40.7, not", "at its registrar")
def a_public_resolver_that_is_led_elsewhere(bed: Bed) -> Iterator[None]:
    with resolver(bed, PUBLIC, f"--address=/{DOMAIN}/10.79.40.7"):
        yield


# --- the CA -------------------------------------------------------------------------------------------------


@breakage("CA", "is not trusted", "set acme.ca_bundle")
def a_ca_whose_root_is_unknown(bed: Bed) -> Iterator[None]:
    del bed.config["acme"]["ca_bundle"]
    yield


@breakage("CAA", "do not let this CA", "check that they name the CA", "warn")
def a_caa_record_for_another_ca(bed: Bed) -> Iterator[None]:
    record = bed.dns.add("@", "CAA", '0 issue "other.test"')
    yield
    bed.dns.delete(record.record_id)


@breakage("limits", "no order is made now: 3 orders for these names", "--force", "warn")
def a_limit_that_is_reached(bed: Bed) -> Iterator[None]:
    ledger = bed.state / "ledger.jsonl"
    before = ledger.read_bytes()
    row = next(line for line in before.splitlines() if b'"order"' in line)
    ledger.write_bytes(before + b"\n".join([row, row, b""]))
    yield
    ledger.write_bytes(before)


# --- files --------------------------------------------------------------------------------------------------


def read_only(folder: str) -> Callable[[Bed], Iterator[None]]:
    """Return a plant that mounts this folder of the bed read-only."""

    def plant(bed: Bed) -> Iterator[None]:
        path = getattr(bed, folder)
        with mounted(path, "--bind", path):
            subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
            yield

    plant.__name__ = f"{folder} that is read-only"
    return plant


breakage("certs_dir", "may not write to", "ReadWritePaths=")(read_only("certs"))
breakage("state_dir", "may not write to", "chown")(read_only("state"))


@breakage("certs_dir", "is not a folder", "mkdir")
def a_folder_that_is_not_there(bed: Bed) -> Iterator[None]:
    bed.config["certs_dir"] = str(bed.home / "nowhere")
    yield


@breakage("certificate", "was edited by hand", f"certbotless --once {DOMAIN}")
def a_chain_that_was_edited(bed: Bed) -> Iterator[None]:
    chain = (bed.certs / f"{DOMAIN}.pem").resolve()
    before = chain.read_bytes()
    chain.write_bytes(before + b"\n")
    yield
    chain.write_bytes(before)


@breakage("certificate", "is missing", f"certbotless --once {DOMAIN}")
def a_name_that_was_deleted(bed: Bed) -> Iterator[None]:
    name = bed.certs / f"{DOMAIN}.pem"
    target = os.readlink(name)
    name.unlink()
    yield
    name.symlink_to(target)


@breakage("certificate", "has mode 0644", f"certbotless --once {DOMAIN}", "warn")
def a_key_with_another_mode(bed: Bed) -> Iterator[None]:
    key = bed.certs / f"{DOMAIN}.key"
    key.chmod(0o644)
    yield
    key.chmod(0o600)


@breakage("state", "it is a directory", "is readable by this user")
def a_state_that_cannot_be_read(bed: Bed) -> Iterator[None]:
    path = bed.state / "sites" / f"{DOMAIN}.json"
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    yield
    path.rmdir()
    path.with_suffix(".away").rename(path)


# --- containers ---------------------------------------------------------------------------------------------


@breakage("container", "no container has the label", "start one with --label")
def a_label_that_nobody_has(bed: Bed) -> Iterator[None]:
    target = bed.config["sites"][0]["deploy"][0]
    del target["container"]
    target["label"] = "certbotless.reload=devbox"
    yield


@breakage("container", "is exited", "docker start registry")
def a_container_that_was_stopped(bed: Bed) -> Iterator[None]:
    bed.registry.container.stop(timeout=1)
    yield
    bed.registry.container.start()
    bed.registry.wait_serving()


@breakage("container", "is paused", "docker unpause registry")
def a_container_that_was_paused(bed: Bed) -> Iterator[None]:
    bed.registry.container.pause()
    yield
    bed.registry.container.unpause()


@breakage("answer", "HTTP 502 to GET /v2/", "the fault is in the service itself")
def a_service_behind_a_proxy_that_is_down(bed: Bed) -> Iterator[None]:
    """It serves the certificate, which this machine trusts, and nothing else."""
    root = bed.home / "root.pem"
    root.write_text(bed.ca.root_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bed.certs / f"{DOMAIN}.pem", bed.certs / f"{DOMAIN}.key")

    def refuse(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")

    os.environ["SSL_CERT_FILE"] = str(root)
    try:
        with listening(refuse) as port:
            proxy = {"command": ["true"], "port": f"127.0.0.1:{port}"}
            bed.config["sites"][0]["deploy"].append(proxy)
            yield
    finally:
        del os.environ["SSL_CERT_FILE"]


@breakage("command", "cannot be run here", "give its full path")
def a_command_that_is_not_there(bed: Bed) -> Iterator[None]:
    bed.config["sites"][0]["deploy"].append({"command": ["reload-it"], "port": "none"})
    yield


@contextmanager
def instead(bed: Bed, registry: Registry, mounts: dict[str, dict[str, str]] | None = None) -> Iterator[None]:
    """Another registry in place of the one that is well; it need not come up."""
    bed.registry.remove()
    with suppress(Exception):
        registry.create(mounts)
    yield
    registry.remove()
    bed.registry.create()


@breakage("mount", "does not see", "create it with the folder mounted: -v")
def a_mount_that_was_forgotten(bed: Bed) -> Iterator[None]:
    with instead(bed, Registry(bed.engine, DOMAIN), {"/srv": {"bind": "/certs", "mode": "ro"}}):
        yield


@breakage("mount", "REGISTRY_HTTP_TLS_CERTIFICATE is '/certs/other.test.pem'", f"/certs/{DOMAIN}.pem")
def an_environment_that_names_other_files(bed: Bed) -> Iterator[None]:
    other = Registry(bed.engine, "other.test", certs=bed.certs)
    other.write_self_signed()
    with instead(bed, other):
        yield


@breakage("mount", "still sees the old file", "with the folder mounted")
def a_mount_of_single_files_that_a_signal_does_not_renew(bed: Bed) -> Iterator[None]:
    bed.config["sites"][0]["deploy"][0]["action"] = {"signal": "HUP"}
    files = {
        str(bed.certs / f"{DOMAIN}.{ending}"): {"bind": f"/certs/{DOMAIN}.{ending}", "mode": "ro"}
        for ending in ("pem", "key")
    }
    with instead(bed, Registry(bed.engine, DOMAIN), files):
        yield


@breakage("key", "uid 4242 (groups 4242) may not read", 'set key_mode: "0640"')
def a_user_who_may_not_read_the_key(bed: Bed) -> Iterator[None]:
    with instead(bed, Registry(bed.engine, DOMAIN, certs=bed.certs, user="4242:4242")):
        yield


@breakage("key", "may not enter", "chmod o+x")
def a_folder_that_the_user_may_not_enter(bed: Bed) -> Iterator[None]:
    bed.certs.chmod(0o750)
    try:
        with instead(bed, Registry(bed.engine, DOMAIN, certs=bed.certs, user="4242:4242")):
            yield
    finally:
        bed.certs.chmod(0o755)


@breakage("served", "is not the published one", f"certbotless --once {DOMAIN}")
def a_container_that_was_not_told_of_the_renewal(bed: Bed) -> Iterator[None]:
    targets = bed.config["sites"][0]["deploy"]
    bed.config["sites"][0]["deploy"] = []
    bed.ok("--renew-now", "--force")
    bed.config["sites"][0]["deploy"] = targets
    yield
    bed.ok("--once")


# --- the tests ----------------------------------------------------------------------------------------------


def test_what_is_well_is_called_well_and_leaves_no_trace(well: Bed) -> None:
    """Nothing is changed at the service, in our files, or at the container."""
    well.dns.attach_policy(pasted(ZONE))
    records, started = well.dns.records(), well.started_at()
    state = sorted((path, path.stat().st_mtime) for path in well.state.rglob("*"))
    with well.daemon():
        code, found = doctor(well, "env")
    assert code == 0
    # Whoever runs these tests inside WSL2 is warned of its address too.
    warned = {finding["check"] for finding in of_level("warn", found)} - {"address"}
    assert warned == {"public resolver", "trusted"}
    assert len(of_level("ok", found)) >= 17
    assert well.dns.records() == records
    assert well.started_at() == started
    kept = sorted((path, path.stat().st_mtime) for path in well.state.rglob("*"))
    of_daemon = ("daemon.json", "daemon.lock", "clients.json")
    assert [path for path, _ in kept if path.name not in of_daemon] == [path for path, _ in state]
    text = well.run("doctor").stdout.splitlines()
    assert text[-1].endswith(" 0 failed")
    assert all(line.split()[0] in ("ok", "warn") for line in text[:-1])


@pytest.mark.row(67, 98)
@pytest.mark.long
def test_each_breakage_is_named_with_its_cure_and_nothing_else(well: Bed) -> None:
    assert len(BREAKAGES) >= 25
    well.dns.attach_policy(pasted(ZONE))
    _, healthy = doctor(well)
    wrong = {}
    for name, broken in BREAKAGES.items():
        before = deepcopy(well.config)
        with broken.plant(well):
            _, found = doctor(well)
        well.config = before
        told = of_level("fail", found)
        if broken.level == "warn":
            told += [finding for finding in of_level("warn", found) if finding not in healthy]
        is_right = (
            len(told) == 1
            and (told[0]["level"], told[0]["check"]) == (broken.level, broken.check)
            and broken.text in told[0]["text"]
            and broken.cure in told[0]["cure"]
        )
        if not is_right:
            wrong[name] = told
    assert wrong == {}, yaml.safe_dump(wrong)
    print(f"\n{len(BREAKAGES)} breakages, each named alone")


def test_a_clock_that_is_wrong_is_named_alone(well: Bed) -> None:
    _, found = doctor(well, "faketime", "-f", "+2h")
    (told,) = of_level("fail", found)
    assert told["check"] == "clock"
    assert "ahead of the CA's" in told["text"]
    assert told["cure"] == "timedatectl set-ntp true"


def test_an_edit_that_the_daemon_refuses_is_named(well: Bed) -> None:
    with well.daemon() as daemon:
        well.config["state_dir"] = str(well.state)
        well.config["aliyun"]["access_key_secret"] = f"file:{well.home}/later"
        well.write()
        wait_until(lambda: "config.refused" in daemon.log_text(), "it is refused")
        wait_until(lambda: well.status()["config"]["error"], "the daemon has told other programs")
        (well.home / "later").touch()
        _, found = doctor(well)
    assert "daemon" in {finding["check"] for finding in of_level("fail", found)}


@pytest.mark.parametrize(
    "ca", [{"retry_after_s": 0, "certificate_validity_s": 30}], indirect=True, ids=["short"]
)
def test_a_certificate_that_has_expired_is_named(well: Bed) -> None:
    end = well.status()["sites"][0]["certificate"]["not_after"]
    wait_until(lambda: datetime.now(UTC) > datetime.fromisoformat(end), "it has expired")
    _, found = doctor(well)
    assert [f["check"] for f in of_level("fail", found)] == ["certificate"]


THROWAWAY = "throwaway.test"


@pytest.mark.parametrize("dns", [[THROWAWAY]], indirect=True)
def test_a_delegated_challenge_needs_a_right_to_its_own_zone_alone(bare: Bed) -> None:
    """docs/delegation.md, "Only the second zone"; the record is somebody else's."""
    bare.dns.attach_policy(pasted(THROWAWAY))
    bare.config["sites"] = [bare.site(address="none", deploy=[])]
    bare.dns.add("_acme-challenge.devbox", "CNAME", f"devbox.{THROWAWAY}")
    bare.ok("--once")
    _, found = doctor(bare)
    assert of_level("fail", found) == []
    (right,) = [finding for finding in found if finding["check"] == "permission"]
    assert right["about"] == THROWAWAY
    bare.dns.attach_policy(pasted(THROWAWAY, without="DeleteDomainRecord"))
    _, found = doctor(bare)
    (told,) = of_level("fail", found)
    assert (told["check"], told["about"]) == ("permission", f"DeleteDomainRecord {THROWAWAY}")


@pytest.mark.long
def test_what_was_tried_is_taken_away_also_where_a_try_fails(bare: Bed) -> None:
    bare.ok("--once")
    bare.dns.fail("UpdateDomainRecord", Fault("error", "Throttling.User"), times=100)
    _, found = doctor(bare)
    (told,) = of_level("fail", found)
    assert told["check"] == "API"
    assert "Throttling.User" in told["text"]
    bare.assert_no_txt()


def test_what_two_sites_share_is_told_of_once(well: Bed) -> None:
    well.config["sites"].append(
        well.site(f"mirror.{ZONE}", address="none", deploy=[{"container": "registry"}])
    )
    well.registry.container.stop(timeout=1)
    well.run("--once")
    _, found = doctor(well)
    assert [(f["check"], f["about"]) for f in of_level("fail", found)] == [("container", "registry")]


def test_public_resolvers_learn_no_name_of_sites_that_share_unless_they_are_asked(bare: Bed) -> None:
    names = [f"{name}.{ZONE}" for name in ("git", "nas")]
    bare.config["sites"] = [bare.site(name, certificate=f"*.{ZONE}", deploy=[]) for name in names]
    bare.ok("--once")
    log = bare.home / "queries.log"
    log.touch(0o666)
    with resolver(bare, PUBLIC, "--log-queries", f"--log-facility={log}"):
        found = bare.checks()
        assert not [name for name in names if name in log.read_text()]
        asked = json.loads(bare.run("doctor", "--json", "--public").stdout)["checks"]
        assert all(name in log.read_text() for name in names)
    about = [each["about"] for each in found if each["check"] == "public resolver"]
    assert about == [""]
    told = [each["text"] for each in asked if (each["check"], each["level"]) == ("public resolver", "ok")]
    assert told == [f"gives {LAN_ADDRESS}"] * 2


def test_a_lost_state_hides_nothing(well: Bed) -> None:
    """The port is that of the container as it is now."""
    del well.config["sites"][0]["deploy"][0]["port"]
    for path in (well.state / "sites").iterdir():
        path.unlink()
    _, found = doctor(well)
    assert of_level("fail", found) == []
    assert "served" in {finding["check"] for finding in of_level("ok", found)}


def test_who_reads_the_first_line_alone_gets_no_traceback(bare: Bed) -> None:
    bare.write()
    with subprocess.Popen(bare.command("doctor"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
