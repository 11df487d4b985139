"""What goes wrong ends with one clear line, the right exit code, and nothing lost."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from certbotless.sandbox.host import LAN_ADDRESS

from .bed import DOMAIN, Bed


@pytest.mark.row(32)
def test_a_wrong_secret_and_an_unknown_access_key_say_which_key_to_correct(bare: Bed) -> None:
    bare.config["aliyun"]["access_key_secret"] = "wrong"
    line = bare.refused("--once")
    assert "SignatureDoesNotMatch" in line
    assert "correct aliyun.access_key_secret" in line
    assert "next try" in line
    bare.config["aliyun"]["access_key_id"] = "LTAI5tUnknown"
    assert "correct aliyun.access_key_id" in bare.refused("--once")
    assert bare.orders() == 0


def test_an_unknown_zone_and_a_name_in_none_say_so_before_any_order(bare: Bed) -> None:
    bare.config["sites"] = [bare.site("devbox.elsewhere.test", zone="elsewhere.test", deploy=[])]
    assert "the account has no such zone; add the zone in the Alidns console" in bare.refused("--once")
    del bare.config["sites"][0]["zone"]
    assert "no zone of this Aliyun account holds 'devbox.elsewhere.test'" in bare.refused("--once")
    assert bare.orders() == 0


def test_an_absent_container_is_named_before_the_first_order(bare: Bed) -> None:
    bare.config["sites"] = [bare.site(deploy=[{"container": "registri", "port": 5000}])]
    assert "there is no container 'registri'; create it" in bare.refused("--once")
    assert bare.orders() == 0
    site = bare.status()["sites"][0]
    assert site["state"] == "failing"
    assert site["last_error"]["what"] == "there is no container 'registri'"
    assert set(site["last_error"]) == {"at", "what", "hint", "retry_at"}


def test_a_ca_whose_tls_is_not_trusted_is_named(bare: Bed) -> None:
    del bare.config["acme"]["ca_bundle"]
    line = bare.refused("--once")
    assert "the TLS certificate of the CA" in line
    assert "acme.ca_bundle" in line


def test_an_api_that_is_down_is_named_without_its_signed_url(bare: Bed) -> None:
    """The record cannot be written; what stands stays."""
    bare.ok("--once")
    bare.config["aliyun"]["endpoint"] = "http://127.0.0.1:1"
    bare.config["sites"] = [bare.site(address="10.79.40.99", deploy=[])]
    bare.write()
    # The API is tried for a minute; SIGTERM ends the wait at once.
    process = subprocess.Popen(bare.command("--once"), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        first = next(line for line in process.stderr if "record.due" in line)
        process.terminate()
        stderr = first + process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 1
    assert "Signature" not in stderr
    assert bare.a_values() == [LAN_ADDRESS]


def test_plain_files_of_another_tool_are_set_aside_with_the_same_bytes(bed: Bed) -> None:
    """And the swap is one rename from the first publication on."""
    chain, key = ((bed.certs / f"{DOMAIN}{suffix}").read_bytes() for suffix in (".pem", ".key"))
    bed.ok("--once")
    aside: list[Path] = list((bed.certs / ".certbotless" / DOMAIN).glob("aside-*"))
    assert len(aside) == 1
    assert (aside[0] / "fullchain.pem").read_bytes() == chain
    assert (aside[0] / "privkey.pem").read_bytes() == key
