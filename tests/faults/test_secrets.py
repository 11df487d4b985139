"""No secret is told: values planted as every secret are looked for in all that runs of every kind leave."""

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from support.bed import NAME_SERVER_PORT, ZONE, Bed, wait_until, write_secret
from support.fakes import Reply
from support.fault_proxy import Exchange, Fault, FaultProxy, answer, down, dropped, problem
from support.invariants import plant_foreign
from support.private_host import mounted

import certbotless
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.process import free_port

KEY_ID = "LTAI5tPlantedCanaryId"
SECRETS = {
    "access_key_id": KEY_ID,
    "access_key_secret": "planted-canary/of+the=secret",
    "security_token": "planted-canary/of+the=token",
}
EAB = {"kid-1": base64.urlsafe_b64encode(b"planted canary, the EAB MAC key.").decode().rstrip("=")}
# A secret that is wrong must be told no more than one that is right.
WRONG = "planted-canary/of+another=secret"


@pytest.fixture
def dns() -> Iterator[AlidnsEmulator]:
    """The DNS service, for a temporary AccessKey."""
    ports = [NAME_SERVER_PORT]
    with AlidnsEmulator([ZONE], dns_ports=ports, **SECRETS) as dns:  # type: ignore[arg-type]
        plant_foreign(dns)
        yield dns


class Everywhere:
    """A bed whose secrets come by every way there is, and all that its runs leave."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.secret = bed.home / "secret"
        write_secret(self.secret, SECRETS["access_key_secret"])
        credentials = bed.home / "credentials"
        credentials.mkdir()
        (credentials / "token").write_text(SECRETS["security_token"])
        os.environ.update(CREDENTIALS_DIRECTORY=str(credentials), PLANTED_KEY_ID=KEY_ID)
        bed.config["aliyun"] |= {
            "access_key_id": "${PLANTED_KEY_ID}",
            "access_key_secret": f"file:{self.secret}",
            "security_token": "credential:token",
        }
        [[kid, mac]] = EAB.items()
        bed.config["acme"]["eab"] = {"kid": kid, "hmac_key": mac}
        self.seen = bed.home / "seen-by-the-command"
        command = ["sh", "-c", f"(env; cat /proc/$PPID/cmdline) >>{self.seen}"]
        bed.config["sites"][0]["deploy"].append({"command": command, "port": "none"})

    def artefacts(self) -> dict[str, str]:
        """Return all text that was left, by where."""
        bed = self.bed
        texts = {f"output {number}": said for number, said in enumerate(bed.said)}
        for path in [*bed.home.glob("*.log"), *bed.state.rglob("*"), *bed.certs.rglob("*"), self.seen]:
            if path.is_file():
                texts[str(path)] = path.read_text(errors="replace")
        return texts


@pytest.fixture
def everywhere(bed: Bed) -> Iterator[Everywhere]:
    before = dict(os.environ)
    yield Everywhere(bed)
    os.environ.clear()
    os.environ.update(before)


def forms_of(secret: str) -> set[str]:
    """Return the secret as it stands in a text, a URL, a form, a header, and a dump."""
    raw = secret.encode()
    encoded = base64.b64encode(raw).decode()
    return {secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe=""), encoded, raw.hex()}


def keys_in(texts: dict[str, str]) -> dict[str, set[str]]:
    """Return the places of each private key, told by its first line: further on stands the public key too."""
    found: dict[str, set[str]] = {}
    for text in texts.values():
        # Where it stands in JSON, the end of a line is escaped.
        for line in re.findall(r"PRIVATE KEY-----(?:\n|\\n)([A-Za-z0-9+/]+)", text):
            found[line] = {where for where, other in texts.items() if line in other}
    return found


def echoed(code: str) -> Fault:
    """Refuse a call, and tell all that it said: as the service does with what it was to sign."""

    def fault(exchange: Exchange) -> None:
        said = parse_qs(urlsplit(exchange.target).query + "&" + exchange.asked.body.decode())
        secret = " ".join(said[name][0] for name in ("SecurityToken", "AccessKeyId", "Signature"))
        message = f"{secret}; server string to sign is:POST&%2F&{quote(urlencode(said, doseq=True), safe='')}"
        body = json.dumps({"Code": code, "Message": message, "RequestId": "1"}).encode()
        exchange.send(Reply(400, body, {"Content-Type": "application/json"}))

    return fault


# --- the runs -----------------------------------------------------------------------------------------------


def runs_that_succeed(everywhere: Everywhere) -> None:
    """After one whose key for the account is wrong."""
    bed = everywhere.bed
    eab = bed.config["acme"]["eab"]
    for mac in (EAB["kid-1"] + "*", EAB["kid-1"][::-1]):
        bed.config["acme"]["eab"] = eab | {"hmac_key": mac}
        assert bed.run("--once").returncode == 1
    bed.config["acme"]["eab"] = eab
    for arguments in (["check"], ["plan"], ["--once"], ["status"], ["status", "--json"], ["--renew-now"]):
        bed.ok(*arguments)


def runs_that_fail(everywhere: Everywhere, ca_proxy: FaultProxy, api_proxy: FaultProxy) -> None:
    """At the CA, at the API, at the engine, on the disk, and in the file itself."""
    bed = everywhere.bed

    def fails(*arguments: str) -> None:
        done = bed.run(*(arguments or ("--renew-now", "--force")))
        assert done.returncode in (1, 2), done.stdout

    for fault in (answer(500, b"<html>"), answer(200, b"[]"), problem("unauthorized", 403), dropped()):
        ca_proxy.at("POST", "/order-plz", fault)
        fails()
        ca_proxy.forget()
    for fault in (echoed("SignatureDoesNotMatch"), echoed("InvalidParameter")):
        api_proxy.at("POST", "AddDomainRecord", fault, times=100)
        bed.forget_account()
        fails()
        api_proxy.forget()
    everywhere.secret.write_text(WRONG)
    fails()
    everywhere.secret.write_text(SECRETS["access_key_secret"])
    bed.registry.container.stop(timeout=1)
    fails()
    bed.registry.container.start()
    bed.config["sites"][0]["ttl"] = 0
    fails("check")
    fails("status", "--json")
    bed.config["sites"][0]["ttl"] = 600
    ca_proxy.at("GET", "/dir", down())
    fails()
    ca_proxy.come_back()


def daemon_with_a_child_and_a_traceback(everywhere: Everywhere) -> list[str]:
    """Return the command lines of all that the daemon started."""
    bed, argvs = everywhere.bed, []
    bed.config["check_every"] = "1s"
    bed.config["acme"]["key_type"] = "ec384"
    with bed.daemon() as daemon:
        wait_until(lambda: bool(daemon.children()), "it has a child")
        for pid in daemon.children():
            argvs.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode())
        wait_until(lambda: "certificate.served" in daemon.log_text(), "the new certificate is served")
        # As in the middle of an upgrade, which has taken the page away.
        page = Path(certbotless.__file__).parent / "service" / "http_paths.py"
        with mounted(page, "--bind", "/dev/null"):
            bed.config["http"] = {"listen": f"127.0.0.1:{free_port()}"}
            bed.write()
            wait_until(lambda: "Traceback" in daemon.log_text(), "the page could not be made")
        del bed.config["http"]
    return argvs


@pytest.mark.parametrize("ca", [{"retry_after_s": 0, "eab_keys": EAB}], indirect=True, ids=["binds accounts"])
def test_values_planted_as_every_secret_appear_in_nothing_that_runs_leave(
    everywhere: Everywhere, ca_proxy: FaultProxy, api_proxy: FaultProxy
) -> None:
    """Logs, state, status, events, arguments, environments, tracebacks; of success and of failure."""
    runs_that_succeed(everywhere)
    arguments = daemon_with_a_child_and_a_traceback(everywhere)
    everywhere.bed.ok("--once")  # what the daemon may have begun at its end
    before = everywhere.artefacts()
    runs_that_fail(everywhere, ca_proxy, api_proxy)
    texts = before | everywhere.artefacts() | {"arguments": "\n".join(arguments)}
    assert len(texts) > 50
    for secret in (*SECRETS.values(), *EAB.values(), WRONG):
        for form in forms_of(secret):
            assert [where for where, text in texts.items() if form in text] == [], form
    # Keys stay in the files that are there to keep them.
    allowed = re.compile(r".*/(key\.pem|privkey\.pem|[^/]+\.(order\.key|pair|key))")
    keys = keys_in(texts)
    assert len(keys) > 2
    for places in keys.values():
        assert [where for where in places if not allowed.fullmatch(where)] == []
    assert "PATH=" in everywhere.seen.read_text()
