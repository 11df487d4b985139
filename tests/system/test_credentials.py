"""Keys that are not in the file: from a program, the metadata service, a role, a profile of `aliyun`."""

import json
import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed, wait_until, write_secret
from support.brokers import Broker
from support.pages import Reading
from support.ram import pasted

from certbotless.base.errors import ZoneNotFound
from certbotless.cli.init.key import Key, try_key
from certbotless.sandbox.alidns import AlidnsEmulator, Fault
from certbotless.sandbox.host import LAN_ADDRESS, hosts_entry
from certbotless.sandbox.httpapi import HttpsListener
from certbotless.sandbox.metadata import MetadataService
from certbotless.sandbox.ram import ACCOUNT_ID, parse
from certbotless.sandbox.sts import Role

ARN = f"acs:ram::{ACCOUNT_ID}:role/certbotless"


def take_the_key_away(bed: Bed) -> None:
    """Leave no key in the file."""
    for key in ("access_key_id", "access_key_secret"):
        del bed.config["aliyun"][key]


@pytest.fixture
def broker(bare: Bed) -> Iterator[Broker]:
    """A bed whose keys come from a program that asks a broker for each."""
    broker = Broker(bare.dns, bare.home)
    with broker.running() as argv:
        take_the_key_away(bare)
        bare.config["aliyun"]["credentials"] = {"command": argv}
        yield broker


@pytest.fixture
def instance(bare: Bed) -> Iterator[MetadataService]:
    """A bed on an ECS instance with a role."""
    take_the_key_away(bare)
    bare.config["aliyun"]["credentials"] = "ecs"
    with MetadataService(bare.dns.sts, "certbotless") as service:
        yield service


def renew(bed: Bed) -> None:
    """Order once more, with challenges: the CA does not know us."""
    bed.forget_account()
    bed.ok("--renew-now", "--force")


def assert_is_well(bed: Bed) -> None:
    """The record is right, there is a certificate, and no challenge is left."""
    assert bed.a_values() == [LAN_ADDRESS]
    assert bed.published()
    bed.assert_no_txt()


# What the API is asked for a first certificate, for a renewal, and for another address.
FIRST = ["DescribeSubDomainRecords", "AddDomainRecord", "AddDomainRecord", "DeleteDomainRecord"]
RENEWAL = ["AddDomainRecord", "DeleteDomainRecord"]
ANOTHER_ADDRESS = ["DescribeSubDomainRecords", "UpdateDomainRecord"]


def assert_each_run_asks(bed: Bed, asked: Callable[[], int], more: int) -> None:
    """The API is asked as for a key of the file; the source of keys so much `more` in each run that asks it.

    Args:
        asked: returns how often the source was asked so far.
    """
    bed.ok("--once")
    assert [call.action for call in bed.dns.calls] == FIRST
    assert asked() == more
    assert_is_well(bed)
    renew(bed)
    assert [call.action for call in bed.dns.calls[4:]] == RENEWAL
    bed.config["sites"][0]["address"] = "10.79.40.7"
    bed.ok("--once")
    assert [call.action for call in bed.dns.calls[6:]] == ANOTHER_ADDRESS
    assert asked() == 3 * more
    for command in (["--once"], ["plan"], ["check"], ["status"], ["status", "--json"]):
        bed.ok(*command)
    assert (len(bed.dns.calls), asked()) == (8, 3 * more)
    assert {call.code for call in bed.dns.calls} == {"OK"}


def test_a_key_of_the_file_costs_no_request_more(bare: Bed) -> None:
    """Neither of the metadata service, nor of STS."""
    bare.config["aliyun"]["sts_endpoint"] = bare.dns.endpoint
    with MetadataService(bare.dns.sts, "certbotless") as service:
        assert_each_run_asks(bare, lambda: len(service.asked), 0)


def test_a_program_gives_one_key_for_a_whole_run(broker: Broker, bare: Bed) -> None:
    """No part of it is in the environment of a command, or of the run that has started it."""
    seen = bare.home / "seen"
    script = f"(env; cat /proc/$PPID/environ /proc/$PPID/cmdline) >>{seen}"
    bare.config["sites"][0]["deploy"] = [{"command": ["sh", "-c", script], "port": "none"}]
    assert_each_run_asks(bare, lambda: broker.given, 1)
    text = seen.read_text()
    assert "PATH=" in text
    given = [part for key in bare.dns.sts.issued for part in (key.id, key.secret, key.token)]
    assert len(given) == 9
    assert [part for part in given if part in text] == []


def test_an_instance_needs_no_key_at_all(instance: MetadataService, bare: Bed) -> None:
    """Three requests a run, the first of them for a token, which the others have."""
    assert_each_run_asks(bare, lambda: len(instance.asked), 3)
    assert [asked.token for asked in instance.asked] == 3 * [False, True, True]


@pytest.mark.page("docs/credentials.md", "metadata firewall")
def test_only_root_and_the_service_reach_the_metadata(bare: Bed, paper: Reading, user: int) -> None:
    """By the lines of the page; any other user of the machine would have the role, too."""
    url = "http://100.100.100.200/latest/api/token"
    ask = ["curl", "--silent", "--fail", "--request", "PUT", "--max-time", "5", url]
    ask += ["--header", "X-aliyun-ecs-metadata-token-ttl-seconds: 60"]
    with MetadataService(bare.dns.sts, "certbotless"):
        for line in paper.commands("docs/credentials.md", "metadata firewall"):
            subprocess.run(["sh", "-c", line], check=True)
        try:
            codes = [subprocess.run(ask, user=uid, check=False).returncode for uid in (0, user, 65534)]
        finally:
            subprocess.run(["iptables", "--flush"], check=True)
    assert [code == 0 for code in codes] == [True, True, False]


@pytest.mark.parametrize("dns", [["throwaway.test"]], indirect=True)
def test_a_role_is_assumed_for_the_zones_of_the_file_and_that_of_a_delegation(bare: Bed) -> None:
    """It asks for an external id. One key is enough: the alias is followed before the first call."""
    bare.dns.sts.roles["certbotless"] = Role(external_id="7f3a")
    bare.config["aliyun"] |= {"role": ARN, "sts_endpoint": bare.dns.endpoint}
    assert "NoPermission" in bare.refused("--once")
    bare.config["aliyun"]["external_id"] = "7f3a"
    bare.ok("--once")
    assert_is_well(bare)
    assumed = [call.parameters for call in bare.dns.calls if call.action == "AssumeRole"]
    assert [json.loads(call["Policy"])["Statement"][0]["Resource"][0] for call in assumed[-1:]] == [
        f"acs:alidns:*:{ACCOUNT_ID}:domain/{ZONE}"
    ]
    before = len(assumed)
    bare.dns.add(f"_acme-challenge.{DOMAIN.removesuffix(f'.{ZONE}')}", "CNAME", "devbox.throwaway.test.")
    renew(bare)
    bare.assert_no_txt()
    assumed = [call.parameters for call in bare.dns.calls if call.action == "AssumeRole"][before:]
    assert len(assumed) == 1
    assert "throwaway.test" in assumed[0]["Policy"]


@pytest.mark.parametrize("mode", ["StsToken", "RamRoleArn"])
def test_a_profile_of_the_aliyun_command_is_enough(bare: Bed, mode: str) -> None:
    """In each mode; a corrected file is used by the next run."""
    take_the_key_away(bare)
    file = bare.home / "aliyun.json"
    write_secret(file, json.dumps({"profiles": []}))
    bare.config["aliyun"] |= {
        "credentials": {"profile": "home", "file": str(file)},
        "sts_endpoint": bare.dns.endpoint,
    }
    done = bare.run("--once")
    assert (done.returncode, "has no profile 'home'" in done.stderr) == (1, True)
    bare.dns.sts.roles["certbotless"] = Role()
    key = {"access_key_id": KEY_ID, "access_key_secret": KEY_SECRET, "ram_role_arn": ARN}
    if mode == "StsToken":
        made = bare.dns.sts.issue("certbotless", "cli", 3600)
        key = {"access_key_id": made.id, "access_key_secret": made.secret, "sts_token": made.token}
    file.write_text(json.dumps({"profiles": [{"name": "home", "mode": mode, **key}]}))
    with MetadataService(bare.dns.sts, "certbotless"):
        bare.ok("--once")
    assert_is_well(bare)


def test_root_runs_the_program_as_the_user_of_the_service(bare: Bed, user: int) -> None:
    """Also before the first run, when there is no state_dir to which root's command could belong."""
    take_the_key_away(bare)
    program, seen = Path("/etc/certbotless/aliyun-key"), Path("/var/lib/certbotless/seen")
    seen.touch()
    os.chown(seen, user, user)
    program.write_text(f"#!/bin/sh\n(id -u; id -un; id -G; echo $HOME $USER) >{seen}; exit 1\n")
    program.chmod(0o755)
    bare.config["aliyun"]["credentials"] = {"command": [str(program)]}
    [(_, _, text)] = findings(bare)
    assert text == f"the command {str(program)!r} ended with 1"
    home = pwd.getpwuid(user).pw_dir
    assert seen.read_text().split() == [str(user), "certbotless", str(user), home, "certbotless"]
    assert not bare.state.exists()


def test_a_doctor_that_is_stopped_ends_the_program(bare: Bed) -> None:
    """As by `timeout`, which sends SIGTERM; where the terminal is closed; and at Ctrl-C."""
    take_the_key_away(bare)
    program, pid = bare.home / "aliyun-key", bare.home / "pid"
    program.write_text(f"#!/bin/sh\necho $$ >{pid}.new; mv {pid}.new {pid}; exec sleep 300\n")
    program.chmod(0o755)
    bare.config["aliyun"]["credentials"] = {"command": [str(program)]}
    bare.write()
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        doctor = subprocess.Popen(bare.command("doctor"), stdout=subprocess.DEVNULL)
        wait_until(pid.exists, "the program runs")
        doctor.send_signal(signum)
        assert doctor.wait(60) == 130
        wait_until(lambda: not Path("/proc", pid.read_text().strip()).exists(), "it has ended")
        pid.unlink()


# --- what doctor and init say of it -------------------------------------------------------------------------


def findings(bed: Bed, check: str = "credentials") -> list[tuple[str, str, str]]:
    """Return level, subject and text of what doctor has found of this kind."""
    return [(f["level"], f["about"], f["text"]) for f in bed.checks() if f["check"] == check]


def test_doctor_says_where_the_key_comes_from_until_when_and_whose_it_is(
    instance: MetadataService, bare: Bed
) -> None:
    bare.config["aliyun"]["sts_endpoint"] = bare.dns.endpoint
    [(level, about, text)] = findings(bare)
    assert (level, about) == ("ok", "ecs")
    arn = f"acs:ram::{ACCOUNT_ID}:assumed-role/certbotless/i-bp13znx0m0me8cquu"
    assert re.fullmatch(rf"valid until 2\d\d\d-.*; it is that of {arn}", text), text
    # STS is not asked where the API is a server of our own, and nobody has named it.
    del bare.config["aliyun"]["sts_endpoint"]
    [(level, _, text)] = findings(bare)
    assert level == "ok"
    assert re.match(r"valid until 2\d\d\d-.*; STS does not say whose it is: STS is not asked", text), text
    # Where the API does not take the key, that is said of the API.
    bare.dns.fail("DescribeSubDomainRecords", Fault("error", "InvalidAccessKeyId.Inactive"), times=2)
    [(level, _, text)] = findings(bare)
    assert (level, re.sub("2.*", "2", text)) == ("ok", "valid until 2")
    bare.dns.forget_faults()
    instance.roles = []
    assert findings(bare) == [("fail", "ecs", "the instance has no RAM role")]
    assert findings(bare, "API") == []  # which would be the same once more


def test_doctor_prints_the_policy_that_the_key_lacks_with_the_digits_of_the_account(bare: Bed) -> None:
    """To be pasted as it is; also where the refusal does not name the account."""
    bare.config["aliyun"]["sts_endpoint"] = bare.dns.endpoint
    bare.dns.attach_policy(pasted(ZONE, without="UpdateDomainRecord"))
    said = bare.run("doctor").stdout
    before, _, after = said.partition("The RAM user or role of the key needs this policy:\n")
    whose = f"valid until it is deleted; it is that of acs:ram::{ACCOUNT_ID}:user/certbotless"
    assert f"ok    credentials aliyun.access_key_id: {whose}" in before
    policy = parse(after[: after.rindex("}") + 1])
    bare.dns.attach_policy(policy.permits)
    said = bare.run("doctor").stdout
    assert "needs this policy" not in said
    assert "the AccessKey may DescribeSubDomainRecords, AddDomainRecord, UpdateDomainRecord" in said


def test_doctor_warns_of_the_key_of_the_account_itself(bare: Bed) -> None:
    """And prints the policy for the user that is to be made."""
    bare.config["aliyun"]["sts_endpoint"] = bare.dns.endpoint
    bare.dns.sts.is_root = True
    said = bare.run("doctor").stdout
    whose = f"it is that of the account itself ({ACCOUNT_ID}), which no policy limits; fix: create a RAM user"
    assert f"warn  credentials aliyun.access_key_id: valid until it is deleted; {whose}" in said
    assert f'"acs:alidns:*:{ACCOUNT_ID}:domain/{ZONE}"' in said.partition("needs this policy:\n")[2]


@pytest.mark.parametrize("by", ["file", "systemd"])
def test_doctor_warns_of_a_key_whose_file_is_old(bare: Bed, by: str) -> None:
    """Also of one that systemd has copied when the service was started. STS is not needed for it."""
    secret, given = bare.home / "secret", bare.home / "given"
    bare.config["aliyun"]["access_key_secret"] = f"file:{secret}"
    if by == "systemd":
        secret = Path("/etc/credstore/certbotless.old")
        secret.parent.mkdir(exist_ok=True)
        given.mkdir()
        write_secret(given / secret.name, KEY_SECRET)
        bare.environment["CREDENTIALS_DIRECTORY"] = str(given)
        bare.config["aliyun"]["access_key_secret"] = f"credential:{secret.name}"
    write_secret(secret, KEY_SECRET)
    half_a_year_ago = time.time() - 181 * 86400
    os.utime(secret, (half_a_year_ago, half_a_year_ago))
    [(level, about, text), (other, key, said)] = findings(bare)
    assert (level, about) == ("warn", "aliyun.access_key_secret")
    assert text == f"{str(secret)!r} was last written 181 days ago: the key in it may be as old"
    assert (other, key) == ("ok", "aliyun.access_key_id")
    assert said.startswith("valid until it is deleted; STS does not say whose it is: STS is not asked")


def test_init_prints_the_policy_with_the_digits_that_sts_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the names of Aliyun. The domain is none of the account, so that no refusal names the account."""
    authority, chain, root = trustme.CA(), tmp_path / "api.pem", tmp_path / "root.pem"
    issued = authority.issue_cert("alidns.aliyuncs.com", "sts.aliyuncs.com")
    issued.private_key_and_cert_chain_pem.write_to_path(chain)
    authority.cert_pem.write_to_path(root)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(root))
    with (
        AlidnsEmulator(
            [ZONE],
            access_key_id=KEY_ID,
            access_key_secret=KEY_SECRET,
            https=HttpsListener(443, chain, chain),
        ) as dns,
        hosts_entry("alidns.aliyuncs.com", "127.0.0.1"),
        hosts_entry("sts.aliyuncs.com", "127.0.0.1"),
    ):
        tried = try_key(Key(KEY_ID, KEY_SECRET), "registry.example.com")
        assert isinstance(tried.error, ZoneNotFound)
        assert tried.account == ACCOUNT_ID
        assert [call.action for call in dns.calls][-1] == "GetCallerIdentity"
        works = try_key(Key(KEY_ID, KEY_SECRET), f"registry.{ZONE}")
        assert (works.zone, works.account, works.is_of_account) == (ZONE, ACCOUNT_ID, False)
        dns.sts.is_root = True
        assert try_key(Key(KEY_ID, KEY_SECRET), f"registry.{ZONE}").is_of_account
        # A key that is wrong is not shown to anybody else.
        wrong = try_key(Key(KEY_ID, "another"), "registry.example.com")
        assert (wrong.account, dns.calls[-1].code) == ("", "SignatureDoesNotMatch")
