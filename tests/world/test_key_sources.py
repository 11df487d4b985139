"""From the file to the key that signs: each way of it, each role on top."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.alidns import KEY_ID, SECRET, ZONE
from support.configs import parse

from certbotless.base.clock import SystemClock
from certbotless.base.errors import DnsRefused, SecretUnreadable
from certbotless.config import checks
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.metadata import MetadataService
from certbotless.sandbox.ram import ACCOUNT_ID
from certbotless.sandbox.sts import Role
from certbotless.world.credentials.access import Key
from certbotless.world.credentials.way import way_to_dns
from certbotless.world.dns.alidns import AlidnsAccount

pytestmark = pytest.mark.process

ARN = f"acs:ram::{ACCOUNT_ID}:role/certbotless"
OTHER = "other.test"


@pytest.fixture
def dns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE, OTHER], access_key_id=KEY_ID, access_key_secret=SECRET) as dns:
        dns.sts.roles |= {"certbotless": Role(), "another": Role()}
        with MetadataService(dns.sts, "certbotless"):
            yield dns


def account(dns: AlidnsEmulator, **aliyun: Any) -> AlidnsAccount:
    """Return the account of a file with this section."""
    section = {"endpoint": dns.endpoint, "sts_endpoint": dns.endpoint, **aliyun}
    config = parse(json.dumps({"aliyun": section, "sites": [{"domain": f"a.{ZONE}", "zone": ZONE}]}))
    checks.prove_readable(config)
    clock = SystemClock()
    return AlidnsAccount(way_to_dns(config, clock), clock)


def assumed(dns: AlidnsEmulator) -> list[str]:
    """Return the roles that were assumed, each with whether it was limited to the zones of the file."""
    calls = [call.parameters for call in dns.calls if call.action == "AssumeRole"]
    return [f"{call['RoleArn'].rpartition('/')[2]}{' limited' if 'Policy' in call else ''}" for call in calls]


def profile(folder: Path, mode: str, **keys: str) -> dict[str, Any]:
    file = folder / "aliyun.json"
    key = {"access_key_id": KEY_ID, "access_key_secret": SECRET}
    file.write_text(json.dumps({"profiles": [{"name": "default", "mode": mode, **key, **keys}]}))
    return {"credentials": {"file": str(file)}}


def test_a_key_of_the_file_is_its_own_source(dns: AlidnsEmulator) -> None:
    """Nothing of all this is made for it."""
    written = {"access_key_id": KEY_ID, "access_key_secret": SECRET}
    config = parse(json.dumps({"aliyun": written, "sites": [{"domain": f"a.{ZONE}"}]}))
    assert way_to_dns(config, SystemClock()).source == Key(KEY_ID, SECRET)
    assert account(dns, **written).find(f"a.{ZONE}") == ZONE
    assert assumed(dns) == []


@pytest.mark.parametrize("mode", ["AK", "StsToken", "EcsRamRole", "RamRoleArn"])
def test_each_mode_of_a_profile_signs_calls(dns: AlidnsEmulator, tmp_path: Path, mode: str) -> None:
    keys = {"ram_role_arn": ARN}
    if mode == "StsToken":
        made = dns.sts.issue("certbotless", "cli", 3600)
        keys = {"access_key_id": made.id, "access_key_secret": made.secret, "sts_token": made.token}
    assert account(dns, **profile(tmp_path, mode, **keys)).find(f"a.{ZONE}") == ZONE
    assert assumed(dns) == (["certbotless limited"] if mode == "RamRoleArn" else [])


@pytest.mark.parametrize("way", ["ecs", "profile", "file"])
def test_a_role_is_assumed_with_any_of_them(dns: AlidnsEmulator, tmp_path: Path, way: str) -> None:
    """Only the last key is limited: the ones before it do nothing but assume."""
    aliyun: dict[str, Any] = {"access_key_id": KEY_ID, "access_key_secret": SECRET}
    if way == "ecs":
        aliyun = {"credentials": "ecs"}
    elif way == "profile":
        aliyun = profile(tmp_path, "RamRoleArn", ram_role_arn=ARN)
    mine = account(dns, **aliyun, role=f"{ARN.rpartition('/')[0]}/another")
    assert mine.open(ZONE).records(f"a.{ZONE}") == []
    assert assumed(dns) == [*(["certbotless"] if way == "profile" else []), "another limited"]


def test_a_key_that_the_api_refuses_leads_to_where_it_comes_from(dns: AlidnsEmulator, tmp_path: Path) -> None:
    wrong = profile(tmp_path, "AK", access_key_secret="another")
    with pytest.raises(DnsRefused, match=r"SignatureDoesNotMatch.*; correct the profile in '.*aliyun\.json'"):
        account(dns, **wrong).find(f"a.{ZONE}")


def test_a_profile_that_cannot_be_used_is_told_before_anything_else(
    dns: AlidnsEmulator, tmp_path: Path
) -> None:
    with pytest.raises(SecretUnreadable, match="has the mode 'OIDC'"):
        account(dns, **profile(tmp_path, "OIDC"))
    assert dns.calls == []


def test_a_program_gets_no_secret_of_the_file_by_its_environment(
    dns: AlidnsEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a variable that the file names, nor the way to the credentials of systemd."""
    seen, program = tmp_path / "seen", tmp_path / "aliyun-key"
    printed = json.dumps({"AccessKeyId": KEY_ID, "AccessKeySecret": SECRET})
    program.write_text(f"#!/bin/sh\nenv >{seen}\necho '{printed}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("RECEIVER", "json://planted.example.com")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "planted"))
    aliyun = {"credentials": {"command": [str(program)]}}
    config = parse(
        json.dumps({"aliyun": aliyun, "notify": ["${RECEIVER}"], "sites": [{"domain": f"a.{ZONE}"}]})
    )
    assert way_to_dns(config, SystemClock()).source.key() == Key(KEY_ID, SECRET)
    assert "PATH=" in seen.read_text()
    assert "planted" not in seen.read_text()
