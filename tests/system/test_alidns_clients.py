"""The Alidns stand-in serves clients that others wrote: the official SDK, and acme.sh with a real CA.

What these understand, and what they make of its errors, is the check that it behaves like the service.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from aliyunsdkalidns.request.v20150109.AddDomainRecordRequest import AddDomainRecordRequest
from aliyunsdkalidns.request.v20150109.DeleteDomainRecordRequest import DeleteDomainRecordRequest
from aliyunsdkalidns.request.v20150109.DeleteSubDomainRecordsRequest import DeleteSubDomainRecordsRequest
from aliyunsdkalidns.request.v20150109.DescribeDomainRecordInfoRequest import DescribeDomainRecordInfoRequest
from aliyunsdkalidns.request.v20150109.DescribeDomainRecordsRequest import DescribeDomainRecordsRequest
from aliyunsdkalidns.request.v20150109.DescribeDomainsRequest import DescribeDomainsRequest
from aliyunsdkalidns.request.v20150109.DescribeSubDomainRecordsRequest import DescribeSubDomainRecordsRequest
from aliyunsdkalidns.request.v20150109.SetDomainRecordStatusRequest import SetDomainRecordStatusRequest
from aliyunsdkalidns.request.v20150109.UpdateDomainRecordRequest import UpdateDomainRecordRequest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import AccessKeyCredential
from aliyunsdkcore.client import AcsClient
from cryptography import x509
from support.alidns_caller import KEY_ID, KEY_SECRET, ZONE, emulator
from support.commands import completed

from certbotless.sandbox.alidns import AlidnsEmulator, HttpsListener
from certbotless.sandbox.pebble import Pebble


class Sdk:
    """The SDK's own client, over its own transport; keywords become the setters of its request classes."""

    def __init__(self, endpoint: str, credential: Any) -> None:
        self.endpoint = endpoint
        self.client = AcsClient(region_id="cn-hangzhou", credential=credential)

    def do(self, request: Any, **parameters: str | int) -> dict[str, Any]:
        for name, value in parameters.items():
            getattr(request, f"set_{name}")(value)
        request.set_endpoint(self.endpoint)
        try:
            answer = json.loads(self.client.do_action_with_exception(request))
        finally:
            self.client.session.close()  # it is left to the collector, which may come to its sockets first
        assert answer.pop("RequestId")
        assert isinstance(answer, dict)
        return answer

    def refusal(self, request: Any, **parameters: str | int) -> tuple[int, str]:
        with pytest.raises(ServerException) as caught:
            self.do(request, **parameters)
        assert caught.value.get_request_id()
        return caught.value.get_http_status(), caught.value.get_error_code()


@pytest.fixture
def alidns() -> Iterator[AlidnsEmulator]:
    with emulator() as running:
        yield running


@pytest.fixture
def sdk(alidns: AlidnsEmulator) -> Sdk:
    return Sdk(alidns.endpoint, AccessKeyCredential(KEY_ID, KEY_SECRET))


def test_the_sdk_drives_every_action_on_records(sdk: Sdk, alidns: AlidnsEmulator) -> None:
    """Added, found, changed, disabled and deleted, with what the SDK reads compared to what is there."""
    value = "a*b ~+%'/@ 私有仓库"
    record_id = sdk.do(AddDomainRecordRequest(), DomainName=ZONE, RR="t", Type="TXT", Value=value)["RecordId"]
    assert [(record.record_id, record.value) for record in alidns.records()] == [(record_id, value)]

    (listed,) = sdk.do(DescribeDomainRecordsRequest(), DomainName=ZONE, RRKeyWord="t")["DomainRecords"][
        "Record"
    ]
    (named,) = sdk.do(DescribeSubDomainRecordsRequest(), SubDomain=f"t.{ZONE}")["DomainRecords"]["Record"]
    assert listed == named == sdk.do(DescribeDomainRecordInfoRequest(), RecordId=record_id)
    assert (listed["RR"], listed["Value"], listed["Status"]) == ("t", value, "ENABLE")

    change = {"RecordId": record_id, "RR": "t", "Type": "TXT", "Value": "new", "TTL": 900}
    assert sdk.do(UpdateDomainRecordRequest(), **change) == {"RecordId": record_id}
    sdk.do(SetDomainRecordStatusRequest(), RecordId=record_id, Status="Disable")
    (record,) = alidns.records()
    assert (record.value, record.ttl_s, record.status) == ("new", 900, "DISABLE")

    assert sdk.do(DeleteDomainRecordRequest(), RecordId=record_id) == {"RecordId": record_id}
    alidns.add("t", "TXT", "1")
    alidns.add("t", "TXT", "2")
    assert sdk.do(DeleteSubDomainRecordsRequest(), DomainName=ZONE, RR="t")["TotalCount"] == "2"
    assert alidns.records() == []


def test_the_sdk_understands_the_errors(sdk: Sdk, alidns: AlidnsEmulator) -> None:
    """Each as its ServerException with status, code and request id."""
    box = {"DomainName": ZONE, "RR": "box", "Type": "A", "Value": "10.0.0.1"}
    alidns.add("box", "A", "10.0.0.1")
    locked = alidns.add("locked", "A", "10.0.0.1", locked=True).record_id
    cname = box | {"Type": "CNAME", "Value": "other.test"}
    assert [
        sdk.refusal(AddDomainRecordRequest(), **box),
        sdk.refusal(AddDomainRecordRequest(), **cname),
        sdk.refusal(AddDomainRecordRequest(), **(box | {"Value": "10.0.0.2"}), TTL=60),
        sdk.refusal(AddDomainRecordRequest(), **(box | {"DomainName": "other.test"})),
        sdk.refusal(AddDomainRecordRequest(), DomainName=ZONE),
        sdk.refusal(DeleteDomainRecordRequest(), RecordId=locked),
        sdk.refusal(DeleteDomainRecordRequest(), RecordId="1"),
    ] == [
        (400, "DomainRecordDuplicate"),
        (400, "DomainRecordConflict"),
        (400, "QuotaExceeded.TTL"),
        (400, "InvalidDomainName.NoExist"),
        (400, "MissingRR"),
        (400, "DomainRecordLocked"),
        (400, "DomainRecordNotBelongToUser"),
    ]


def test_the_sdk_recognises_a_wrong_secret(alidns: AlidnsEmulator) -> None:
    """It finds its own string to sign in the error, and so knows that only the secret differs."""
    wrong = Sdk(alidns.endpoint, AccessKeyCredential(KEY_ID, "wrong"))
    assert wrong.refusal(DescribeDomainsRequest()) == (400, "InvalidAccessKeySecret")
    assert [call.code for call in alidns.calls] == ["SignatureDoesNotMatch"]


def test_acme_sh_issues_a_certificate_through_the_stand_in(tmp_path: Path) -> None:
    """For a name and its wildcard: two values at one name, validated by Pebble through the emulator's DNS.

    The API's host is fixed in its `dns_ali`, so it runs with an own /etc/hosts, and HTTPS stands on port 443.
    Its clean-up leaves nothing of its own and nothing of others'.
    """
    authority = trustme.CA()
    chain = tmp_path / "alidns.pem"
    authority.issue_cert("alidns.aliyuncs.com").private_key_and_cert_chain_pem.write_to_path(chain)
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost alidns.aliyuncs.com\n")
    home = tmp_path / "acme.sh"
    home.mkdir()
    names = ["box.sweetlove.test", "*.box.sweetlove.test"]

    with (
        emulator(https=HttpsListener(443, chain, chain)) as alidns,
        Pebble(tmp_path, alidns.nameservers[0]) as pebble,
    ):
        foreign = alidns.add("_acme-challenge.box", "TXT", "of another client")
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(authority.cert_pem.bytes() + pebble.ca_bundle.read_bytes())
        done = completed(
            [
                *("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)),
                *("acme.sh", "--issue", "--server", pebble.directory_url, "--dns", "dns_ali"),
                # Otherwise it asks public DoH servers whether the record has spread.
                *("--dnssleep", "0", "--home", str(home), "--config-home", str(home)),
                *(argument for name in names for argument in ("-d", name)),
            ],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "Ali_Key": KEY_ID,
                "Ali_Secret": KEY_SECRET,
                "CURL_CA_BUNDLE": str(bundle),
            },
        )
        root = x509.load_pem_x509_certificate(pebble.root_pem().encode())
    assert done.returncode == 0, done.stdout + done.stderr

    (fullchain,) = home.glob("*/fullchain.cer")
    leaf, intermediate = x509.load_pem_x509_certificates(fullchain.read_bytes())
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(alternative.get_values_for_type(x509.DNSName)) == sorted(names)

    assert alidns.records() == [foreign]
    changes = [call.action for call in alidns.calls if not call.action.startswith("Describe")]
    assert changes == ["AddDomainRecord"] * 2 + ["DeleteDomainRecord"] * 2
    validated = {query.name for query in alidns.queries if query.type == "TXT"}
    assert validated == {"_acme-challenge.box.sweetlove.test"}
