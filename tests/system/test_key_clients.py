"""The stand-in of the metadata service serves a client that others wrote: the official SDK.

alibabacloud-credentials 1.0.12 took keys of it and of the stand-in of STS when it was tried by hand.
"""

import json
from collections.abc import Iterator

import pytest
from aliyunsdkalidns.request.v20150109.DescribeDomainsRequest import DescribeDomainsRequest
from aliyunsdkcore.auth.credentials import EcsRamRoleCredential
from aliyunsdkcore.client import AcsClient
from support.bed import KEY_ID, KEY_SECRET, ZONE

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.metadata import MetadataService


@pytest.fixture
def dns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET) as dns:
        yield dns


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
