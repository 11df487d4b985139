"""What goes wrong ends with one clear line, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from certbotless.sandbox.host import LAN_ADDRESS

from .bed import DOMAIN, KEY_SECRET, ZONE, Bed


def failure_line(bed: Bed, *args: str) -> str:
    """Run the program, which must exit 1, and return the one line that it ends with."""
    done = bed.run(*args)
    assert done.returncode == 1, done.stderr
    assert KEY_SECRET not in done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"{DOMAIN}: ")]
    assert len(lines) == 1, done.stdout
    return lines[0]


@pytest.mark.row(24)
def test_a_broken_configuration_is_refused_with_every_fault(bed: Bed) -> None:
    bed.config["sites"][0]["tll"] = 600
    bed.config["check_every"] = "soon"
    done = bed.run("--once")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{bed.file}:") for line in lines)
    assert not bed.state.exists()


@pytest.mark.row(32)
def test_a_wrong_secret_says_which_key_to_correct(bed: Bed) -> None:
    bed.config["aliyun"]["access_key_secret"] = "wrong"
    line = failure_line(bed, "--once")
    assert "SignatureDoesNotMatch" in line
    assert "correct aliyun.access_key_secret" in line
    assert "next try" in line
    assert bed.orders() == 0


@pytest.mark.row(32)
def test_an_unknown_access_key_says_which_key_to_correct(bed: Bed) -> None:
    bed.config["aliyun"]["access_key_id"] = "LTAI5tUnknown"
    assert "correct aliyun.access_key_id" in failure_line(bed, "--once")


def test_an_unknown_zone_says_so_before_any_order(bed: Bed) -> None:
    bed.config["sites"] = [bed.site("devbox.elsewhere.test", zone="elsewhere.test")]
    done = bed.run("--once")
    assert done.returncode == 1
    assert "the account has no such zone; add the zone in the Alidns console" in done.stdout
    assert bed.orders() == 0


def test_a_name_in_no_zone_of_the_account_says_so(bed: Bed) -> None:
    site = bed.site("devbox.elsewhere.test")
    del site["zone"]
    bed.config["sites"] = [site]
    done = bed.run("--once")
    assert done.returncode == 1
    assert "no zone of this Aliyun account holds 'devbox.elsewhere.test'" in done.stdout
    assert bed.orders() == 0


def test_an_absent_container_is_named_before_the_first_order(bed: Bed) -> None:
    bed.config["sites"] = [bed.site(deploy=[{"container": "registri", "port": 5000}])]
    assert "there is no container 'registri'; create it" in failure_line(bed, "--once")
    assert bed.orders() == 0
    site = bed.status()["sites"][0]
    assert site["state"] == "failing"
    assert site["last_error"]["what"] == "there is no container 'registri'"
    assert set(site["last_error"]) == {"at", "what", "hint", "retry_at"}


def test_an_absent_container_blocks_no_renewal(bed: Bed) -> None:
    """The certificate is renewed and published; only the deploy fails, and says so."""
    bed.ok("--once")
    bed.registry.remove()
    leaf = bed.published()
    assert "there is no container 'registry'" in failure_line(bed, "--renew-now")
    assert bed.published() != leaf
    deploy = bed.status()["sites"][0]["deploy"]
    (target,) = deploy
    assert (target["container"], target["state"], target["served_sha256"]) == ("registry", "failing", None)


def test_an_engine_that_is_not_there_is_named(bed: Bed) -> None:
    bed.config["docker"]["host"] = "unix:///nowhere/docker.sock"
    line = failure_line(bed, "--once")
    assert "no Docker engine at 'unix:///nowhere/docker.sock': No such file or directory" in line


@pytest.mark.row(47)
@pytest.mark.parametrize("ca", [{}], indirect=True, ids=["its own"])
def test_an_unreachable_ca_keeps_the_old_certificate_served(bed: Bed) -> None:
    bed.ok("--once")
    leaf = bed.served()
    bed.ca.stop()
    line = failure_line(bed, "--renew-now")
    assert f"no connection to the CA at {bed.ca.directory_url}" in line
    assert bed.served() == bed.published() == leaf
    # Four true facts and a failed wish: ok, with the error kept.
    site = bed.status()["sites"][0]
    assert site["state"] == "ok"
    assert "no connection to the CA" in site["last_error"]["what"]


def test_a_ca_whose_tls_is_not_trusted_is_named(bed: Bed) -> None:
    del bed.config["acme"]["ca_bundle"]
    line = failure_line(bed, "--once")
    assert "the TLS certificate of the CA" in line
    assert "acme.ca_bundle" in line


def test_an_unwritable_certs_dir_costs_no_order_and_keeps_the_record_right(bed: Bed) -> None:
    subprocess.run(["mount", "--bind", bed.certs, bed.certs], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", bed.certs], check=True)
        line = failure_line(bed, "--once")
    finally:
        subprocess.run(["umount", bed.certs], check=True)
    assert f"cannot write '{bed.certs}" in line
    assert "Read-only file system" in line
    assert bed.orders() == 0
    assert bed.a_values() == [LAN_ADDRESS]


def test_an_api_that_is_down_is_named_without_its_signed_url(bed: Bed) -> None:
    """The record cannot be written; what stands stays."""
    bed.ok("--once")
    bed.config["aliyun"]["endpoint"] = "http://127.0.0.1:1"
    bed.config["sites"] = [bed.site(address="10.79.40.99", deploy=[])]
    bed.write()
    # The API is tried for a minute; SIGTERM ends the wait at once.
    process = subprocess.Popen(bed.command("--once"), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        first = next(line for line in process.stderr if "record.due" in line)
        process.terminate()
        stderr = first + process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 1
    assert "Signature" not in stderr
    assert bed.a_values() == [LAN_ADDRESS]


def test_status_of_a_broken_file_is_json_all_the_same(bed: Bed) -> None:
    bed.ok("--once")
    bed.config["sites"][0]["ttl"] = 0
    done = bed.run("status", "--json")
    assert done.returncode == 2
    status = json.loads(done.stdout)
    assert "sites[0].ttl: 0 is outside 1..86400" in status["config"]["error"]
    assert [site["domain"] for site in status["sites"]] == [DOMAIN]
    assert status["sites"][0]["certificate"]["sha256"] == bed.published()


def test_a_domain_that_is_no_site_is_a_usage_error(bed: Bed) -> None:
    bed.ok("--once")
    no_site, no_place = "no site has the domain", "check does not go with --once"
    for args, said in (
        (["--renew-now", f"other.{ZONE}"], no_site),
        (["--renew-now", "--force", f"*.{DOMAIN}"], no_site),
        (["--once", "check"], no_place),
    ):
        done = bed.run(*args)
        assert done.returncode == 2, args
        assert said in done.stderr
    assert bed.orders() == 1


def test_plain_files_of_another_tool_are_set_aside_with_the_same_bytes(bed: Bed) -> None:
    """And the swap is one rename from the first publication on."""
    chain, key = ((bed.certs / f"{DOMAIN}{suffix}").read_bytes() for suffix in (".pem", ".key"))
    bed.ok("--once")
    aside: list[Path] = list((bed.certs / ".certbotless" / DOMAIN).glob("aside-*"))
    assert len(aside) == 1
    assert (aside[0] / "fullchain.pem").read_bytes() == chain
    assert (aside[0] / "privkey.pem").read_bytes() == key
