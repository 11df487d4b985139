"""The last attempt as one text, of a real one: all of the conversation is in it, and no secret."""

import base64
import json
import re
from collections.abc import Iterator

import pytest
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed, assert_mode, files_below

from certbotless.base.log_context import quoted
from certbotless.sandbox.alidns import AlidnsEmulator

TOKEN = "CAISplanted+of/a=temporary key"
MAC_KEY = base64.urlsafe_b64encode(b"planted MAC key of the account..").decode().rstrip("=")


@pytest.fixture
def dns() -> Iterator[AlidnsEmulator]:
    """A DNS service that wants the token of a temporary key."""
    with AlidnsEmulator(
        [ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET, security_token=TOKEN
    ) as dns:
        yield dns


@pytest.fixture
def secretive(bare: Bed) -> Bed:
    """A bed with every kind of secret."""
    bare.config["aliyun"]["security_token"] = TOKEN
    bare.config["acme"] |= {"eab": {"kid": "kid-1", "hmac_key": MAC_KEY}, "email": "planted@example.com"}
    return bare


def transcript(bed: Bed) -> str:
    return (bed.state / "sites" / f"{DOMAIN}.log").read_text()


def secrets_of(bed: Bed) -> list[str]:
    """Return every line of every key that is on the disk now, and what the configuration keeps."""
    files = [*bed.state.glob("accounts/*/key.pem"), *bed.certs.glob(".certbotless/*/*/privkey.pem")]
    assert len(files) >= 2
    lines = [line for file in files for line in file.read_text().splitlines() if not line.startswith("-")]
    return [*lines, KEY_ID, KEY_SECRET, TOKEN, MAC_KEY, "planted"]


@pytest.mark.parametrize("ca", [{"eab_keys": {"kid-1": MAC_KEY}}], indirect=True)
def test_every_request_and_call_is_in_it_and_no_secret(secretive: Bed) -> None:
    bed = secretive
    bed.ok("--once")
    text = transcript(bed)
    assert_mode(bed.state / "sites" / f"{DOMAIN}.log", 0o600)
    asked = re.findall(r"acme\.request method=(\S+) url=https://[^/]+(/[\w-]+/?)", text)
    assert [" ".join(request) for request in asked] == bed.ca.requests()
    called = re.findall(r"api\.call action=(\w+) status=200 code=none request_id=\S+", text)
    assert called == [call.action for call in bed.dns.calls]
    assert "INFO    certificate.published" in text
    assert text.splitlines()[-1].endswith(f'run.ended result="{DOMAIN}: ok"')
    for secret in secrets_of(bed):
        assert secret not in text
    assert "eyJ" not in text
    for value in [call.parameters["Value"] for call in bed.dns.calls if call.parameters.get("Type") == "TXT"]:
        assert f".{value}" not in text

    # A run that finds nothing to do leaves the last attempt.
    bed.ok("--once")
    before = files_below(bed.state)
    bed.ok("--once")
    assert (files_below(bed.state), transcript(bed)) == (before, text)

    # A failure has a story too; what the run says elsewhere stays as it was.
    # At all of them: one that a busy machine answers for too late is left out.
    bed.dns.set_delay(0, 3600)
    bed.dns.set_delay(1, 3600)
    bed.forget_account()
    bed.config["dns"]["propagation_timeout"] = "1s"
    done = bed.run("--renew-now")
    assert done.returncode == 1
    assert "DEBUG" not in done.stderr
    text = transcript(bed)
    assert "asked for: --renew-now\n" in text
    assert f"sites:\n- domain: {DOMAIN}\n" in text
    assert "propagation_timeout: 1s\n" in text
    assert "(domain=" not in text
    assert "WARNING order.failed" in text
    assert text.splitlines()[-1].endswith(f"run.ended result={quoted(done.stdout.rstrip())}")
    shown = bed.run("status", DOMAIN).stdout
    assert text in shown
    for secret in secrets_of(bed):
        assert secret not in shown
    assert json.loads(bed.run("status", DOMAIN, "--json").stdout)["sites"][0]["domain"] == DOMAIN
