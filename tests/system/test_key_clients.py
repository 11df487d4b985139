"""The stand-ins of the metadata service and of STS serve clients that others wrote: Aliyun's own.

alibabacloud-credentials is that of today; the core of the SDK has an older one, for metadata without a token.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from aliyunsdkalidns.request.v20150109.DescribeDomainsRequest import DescribeDomainsRequest
from aliyunsdkcore.auth.credentials import EcsRamRoleCredential
from aliyunsdkcore.client import AcsClient
from support.bed import KEY_ID, KEY_SECRET, ZONE
from support.commands import completed

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.host import hosts_entry
from certbotless.sandbox.httpapi import HttpsListener
from certbotless.sandbox.metadata import MetadataService
from certbotless.sandbox.ram import ACCOUNT_ID
from certbotless.sandbox.sts import Role

# In a process of its own: it is large. It trusts what certifi names, whatever the environment says.
ASK = """
import certifi, json, os, sys
if root := os.environ.get("ROOT"):
    certifi.where = lambda: root
from alibabacloud_credentials import provider

key = getattr(provider, sys.argv[1])(**json.loads(sys.argv[2])).get_credentials()
print(json.dumps([key.get_access_key_id(), key.get_access_key_secret(), key.get_security_token()]))
"""


@pytest.fixture
def dns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET) as dns:
        yield dns


def taken(provider: str, settings: dict[str, object], **environment: str) -> list[str]:
    """Return the key that alibabacloud-credentials gets by this provider of its own."""
    command = [sys.executable, "-c", ASK, provider, json.dumps(settings)]
    done = completed(command, env={"PATH": os.environ["PATH"], **environment})
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.fixture
def service(dns: AlidnsEmulator) -> Iterator[MetadataService]:
    with MetadataService(dns.sts, "certbotless") as service:
        yield service


def test_the_sdk_takes_the_key_of_the_instance(dns: AlidnsEmulator, service: MetadataService) -> None:
    """Without a token, as it does; a service that wants one gives it nothing."""
    service.needs_token = False
    client = AcsClient(region_id="cn-hangzhou", credential=EcsRamRoleCredential("certbotless"))
    request = DescribeDomainsRequest()
    request.set_endpoint(dns.endpoint)
    try:
        assert json.loads(client.do_action_with_exception(request))["TotalCount"] == 1
    finally:
        client.session.close()
    assert [asked.token for asked in service.asked] == [False]


@pytest.mark.parametrize("role", ["certbotless", ""])
def test_the_library_takes_the_key_of_the_instance_in_its_hardened_mode(
    dns: AlidnsEmulator, service: MetadataService, role: str
) -> None:
    """It asks for a token before each of its requests."""
    settings = {"role_name": role, "disable_imds_v1": True, "async_update_enabled": False}
    found = taken("EcsRamRoleCredentialsProvider", settings)
    [key] = dns.sts.issued
    assert found == [key.id, key.secret, key.token]
    assert [asked.token for asked in service.asked] == [False, True] * (1 if role else 2)


def test_the_library_assumes_a_role(tmp_path: Path) -> None:
    """At the name of Aliyun's own STS, with what the role asks for."""
    authority, chain, root = trustme.CA(), tmp_path / "sts.pem", tmp_path / "root.pem"
    authority.issue_cert("sts.aliyuncs.com").private_key_and_cert_chain_pem.write_to_path(chain)
    authority.cert_pem.write_to_path(root)
    settings: dict[str, object] = {
        "access_key_id": KEY_ID,
        "access_key_secret": KEY_SECRET,
        "role_arn": f"acs:ram::{ACCOUNT_ID}:role/certbotless",
        "role_session_name": "the-library",
        "duration_seconds": 900,
        "external_id": "7f3a",
    }
    with (
        AlidnsEmulator(
            [ZONE],
            access_key_id=KEY_ID,
            access_key_secret=KEY_SECRET,
            https=HttpsListener(443, chain, chain),
        ) as dns,
        hosts_entry("sts.aliyuncs.com", "127.0.0.1"),
    ):
        dns.sts.roles["certbotless"] = Role(external_id="7f3a")
        found = taken("RamRoleArnCredentialsProvider", settings, ROOT=str(root))
        [key] = dns.sts.issued
        assert found == [key.id, key.secret, key.token]
        assert key.arn.endswith("/certbotless/the-library")
        [call] = dns.calls
        assert (call.action, call.code, call.parameters["DurationSeconds"]) == ("AssumeRole", "OK", "900")
