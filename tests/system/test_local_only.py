"""Every command with a file that has only sites of the local CA: nothing is asked of an API or an ACME CA."""

import re
import shutil
import urllib.request
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from support.bed import DOMAIN, LAN_NAME, ZONE, Bed, files_below, wait_until

from certbotless.base.times import rfc3339
from certbotless.sandbox.host import LAN_ADDRESS, hosts_entry


def found(bed: Bed, check: str) -> list[tuple[str, str]]:
    """Return level and text of each finding of doctor by this test."""
    return [(each["level"], each["text"]) for each in bed.checks() if each["check"] == check]


def without_traces(bed: Bed) -> None:
    """Nothing that was said is of a crash, or of what such a file does not have."""
    for text in bed.said:
        assert "Traceback" not in text
        assert not any(word in text for word in ("ACME", "CAA", "AccessKey"))


def test_each_command_before_and_after_the_first_certificate(local: Bed) -> None:
    for _ in range(2):
        local.ok("check")
        for args in (["plan"], ["status"], ["status", LAN_NAME], ["status", "--json"], ["doctor"]):
            local.run(*args)
        assert "there is nothing to ask" in local.run("doctor", "--probe").stderr
        local.ok("--renew-now", "--dry-run")
        local.ok("--once")
    local.ok("--renew-now")
    local.ok("status")
    without_traces(local)
    assert local.dns.calls == []


def test_status_has_the_root_and_each_certificate_its_ca(local: Bed) -> None:
    assert local.status()["local_ca"] is None
    local.ok("--once")
    found = local.status()
    root = x509.load_pem_x509_certificate((local.state / "local-ca/root.pem").read_bytes())
    sha256 = root.fingerprint(hashes.SHA256()).hex()
    assert found["local_ca"]["root_sha256"] == sha256
    assert found["local_ca"]["not_after"] == rfc3339(root.not_valid_after_utc)
    assert {"lan", "10.0.0.0/8", LAN_NAME} <= {*found["local_ca"]["permit"]}
    assert found["local_ca"]["next"] is None
    (site,) = found["sites"]
    assert site["certificate"]["ca"] == f"local:{sha256[:16]}"
    assert site["address"]["wanted"] is None  # there is no record of it
    line = f"local CA: root {sha256[:8]}, ends {root.not_valid_after_utc:%Y-%m-%d}"
    assert line in local.ok("status")
    assert line in local.ok("status", LAN_NAME)


def test_doctor_examines_the_local_ca_and_nothing_of_an_acme_ca(local: Bed) -> None:
    local.state.mkdir()
    assert found(local, "local CA") == [("ok", "none yet: the first certificate makes it")]
    local.ok("--once")
    checks = {each["check"]: each for each in local.checks()}
    assert not {"CA", "account", "API", "zone", "CAA", "limits", "clock", "trusted"} & set(checks)
    [(level, text)] = found(local, "local CA")
    assert (level, text.startswith("whole; its root ends on ")) == ("ok", True)
    assert (checks["backup"]["level"], "keep a copy" in checks["backup"]["text"]) == ("ok", True)
    assert (checks["root"]["level"], checks["root"]["cure"]) == ("warn", "certbotless trust install")
    local.environment["SSL_CERT_FILE"] = str(local.state / "local-ca/root.pem")
    checks = {each["check"]: each for each in local.checks()}
    assert (checks["root"]["level"], checks["trusted"]["level"]) == ("ok", "ok")
    local.config["sites"][0]["names"] = ["elsewhere"]
    assert ("fail", "the root may not vouch for elsewhere") in found(local, "local CA")
    local.config["sites"][0]["names"] = []
    local.config["local_ca"] = {"permit": [LAN_NAME, "192.168.0.0/16"]}
    local.ok("trust", "rotate")
    texts = [text for level, text in found(local, "local CA") if level == "warn"]
    assert texts[0].startswith("local_ca.permit is another one than when the root was made")
    assert texts[1] == f"the next root may not vouch for {LAN_ADDRESS}, so it will not sign"
    assert [level for level, _ in found(local, "root")] == ["ok", "warn"]
    key = local.state / "local-ca/issuing.key"
    key.write_bytes(key.read_bytes() + b"\n")
    [(level, text)] = found(local, "local CA")
    assert level == "fail"
    assert text.endswith("is damaged")
    shutil.rmtree(local.state / "local-ca")
    assert found(local, "local CA") == [("fail", "it is gone, and there are certificates that it signed")]
    assert found(local, "trusted") == []


def test_a_client_of_a_name_that_no_resolver_knows_asks_the_lan_address(local: Bed) -> None:
    def met() -> dict[str, Any]:
        wait_until(lambda: local.status()["sites"][0]["client"] is not None, "a client has visited")
        client: dict[str, Any] = local.status()["sites"][0]["client"]
        return client

    local.config["http"] = {"listen": "127.0.0.1:9109"}
    with local.daemon() as daemon:
        client = met()
        assert (client["resolved"], client["trusted"]) == (None, False)
        assert client["text"].endswith("; to trust it on this machine: certbotless trust install")
        for path in ("", "metrics", "status.json"):
            with urllib.request.urlopen(f"http://127.0.0.1:9109/{path}") as answer:
                text = answer.read().decode()
                assert LAN_NAME in text
                assert "Traceback" not in text
                assert path or "local CA: root" in text
        assert "Traceback" not in daemon.log_text()
    (local.state / "clients.json").unlink()
    with local.daemon(SSL_CERT_FILE=str(local.state / "local-ca/root.pem")):
        client = met()
        assert (client["resolved"], client["trusted"], client["answered"]) == (None, True, True)


def test_a_site_of_an_address_is_not_resolved(local: Bed) -> None:
    local.config["sites"][0] |= {"domain": LAN_ADDRESS, "with_address": False, "deploy": []}
    local.ok("--once")
    local.config["sites"][0]["deploy"] = [{"command": ["true"], "port": local.registry.port}]
    local.ok("check")
    for args in (["plan"], ["status"], ["status", LAN_ADDRESS], ["doctor"]):
        local.run(*args)
    without_traces(local)


def test_beside_a_public_site_each_is_examined_by_its_own_ca(bed: Bed) -> None:
    """One of a public name may have a record, and no public log shows its certificate."""
    unlogged = {"domain": f"nas.{ZONE}", "ca": "local", "records": "domain", "address": LAN_ADDRESS}
    bed.config["sites"] += [{"domain": LAN_NAME, "ca": "local", "with_address": True}, unlogged]
    bed.once_until_ok()
    (record,) = [each for each in bed.dns.records(type="A") if each.rr == "nas"]
    assert record.value == LAN_ADDRESS
    checks = bed.checks()
    about = {kind: {each["about"] for each in checks if each["check"] == kind} for kind in ("CAA", "limits")}
    assert about == {"CAA": {DOMAIN}, "limits": {DOMAIN}}
    assert [each["level"] for each in checks if each["check"] == "local CA"] == ["ok"]
    assert not [each for each in checks if each["level"] == "fail" and each["about"] == LAN_NAME]
    public, *local = bed.status()["sites"]
    assert public["certificate"]["ca"] == bed.ca.directory_url
    assert [each["certificate"]["ca"].partition(":")[0] for each in local] == ["local"] * 2


@pytest.mark.parametrize(("address", "resolved"), [(LAN_ADDRESS, True), ("127.0.1.1", None)])
def test_what_the_hosts_file_says_of_a_local_name_is_no_fault(
    local: Bed, address: str, resolved: bool | None
) -> None:
    local.ok("--once")
    with hosts_entry(LAN_NAME, address), local.daemon(SSL_CERT_FILE=str(local.state / "local-ca/root.pem")):
        wait_until(lambda: local.status()["sites"][0]["client"] is not None, "a client has visited")
        client = local.status()["sites"][0]["client"]
    assert (client["resolved"], client["trusted"], client["answered"]) == (resolved, True, True)


def test_looks_at_a_healthy_local_site_ask_nobody_but_its_service_and_write_nothing(local: Bed) -> None:
    """strace follows the daemon and what it starts: no connection but to the service, which is proved."""
    local.config["check_every"] = "1s"
    local.ok("--once")
    local.ok("--once")
    calls, port = local.home / "calls", local.registry.port
    where = f'sin_port=htons({port}), sin_addr=inet_addr("{LAN_ADDRESS}")'
    tracer = ["strace", "-D", "-f", "-qq", "-yy", "-o", str(calls)]
    tracer += ["-e", "trace=connect,sendto,sendmsg,sendmmsg,write"]
    with local.daemon(*tracer) as daemon:
        wait_until((local.state / "clients.json").exists, "the visit of this hour is over")
        wait_until(lambda: not daemon.children(), "and its process has ended")

        def asked() -> list[str]:
            lines = calls.read_text().rpartition("\n")[0].splitlines()
            return [line for line in lines if re.search(r"\(\d+<(TCP|UDP|UNIX)", line)]

        def is_of_service(line: str) -> bool:
            return f"{LAN_ADDRESS}:{port}]" in line or where in line

        def is_route(line: str) -> bool:
            """To connect a socket of UDP sends nothing: it looks the default route up."""
            return " connect(" in line and "<UDP" in line

        before, settled, log = len(asked()), files_below(local.certs, local.state), daemon.log_text()
        wait_until(lambda: sum(where in line for line in asked()[before:]) >= 3, "three more looks")
        assert [line for line in asked()[before:] if not is_of_service(line) and not is_route(line)] == []
        assert files_below(local.certs, local.state) == settled
        assert daemon.log_text() == log


def test_without_a_local_site_no_module_of_the_local_ca_is_loaded(bed: Bed) -> None:
    """Python writes each import of the daemon into the log."""
    bed.config["http"] = {"listen": "127.0.0.1:9109"}
    with bed.daemon(PYTHONPROFILEIMPORTTIME="1") as daemon:
        wait_until(lambda: bed.status()["sites"][0]["client"] is not None, "the daemon has done all once")
        with urllib.request.urlopen("http://127.0.0.1:9109/") as answer:
            assert answer.status == 200
        loaded = {line.rpartition("|")[2].strip() for line in daemon.log_text().splitlines()}
    assert {"certbotless.service.daemon", "certbotless.observe.site"} <= loaded
    assert not any("local_ca" in name or "local_orders" in name for name in loaded)
