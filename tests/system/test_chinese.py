"""Names in Chinese, from the configuration to the certificate: the real program, API, DNS and CA.

The API has them in their own script and refuses a zone in A-labels; DNS and the CA have A-labels.
"""

import re

import pytest
from cryptography import x509
from support.bed import ZONE, Bed

from certbotless.sandbox.alidns import Fault

CHINESE_ZONE = "例子.com"
# What the configuration says, what the program calls it, and its place at the API.
SITES = [
    ("registry.例子.com", "registry.xn--fsqu00a.com", "registry"),
    (f"仓库.{ZONE}", f"xn--5mqv79a.{ZONE}", "xn--5mqv79a"),
]


@pytest.mark.row(78, 82)
@pytest.mark.parametrize("dns", [[CHINESE_ZONE]], indirect=True)
@pytest.mark.parametrize(("written", "domain", "rr"), SITES, ids=["zone", "label"])
def test_a_name_in_chinese_is_found_issued_moved_and_cleaned_up(
    bare: Bed, written: str, domain: str, rr: str
) -> None:
    """Without `zone`. One A record is ever added; a challenge that could not be deleted is swept."""
    dns = bare.dns
    site = {"domain": written, "names": [f"*.{written}"], "address": "10.79.40.7", "deploy": []}
    bare.config["sites"] = [site]
    dns.fail("DeleteDomainRecord", Fault("error", "Forbidden.RAM"))
    done = bare.run("--once")
    assert f"txt.removed fqdn=_acme-challenge.{domain}" in done.stderr, done.stderr
    assert [record.value for record in dns.records(rr, "A")] == ["10.79.40.7"]
    bare.assert_no_txt()
    leaf = x509.load_pem_x509_certificate((bare.certs / f"{domain}.pem").read_bytes())
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(alternative.get_values_for_type(x509.DNSName)) == [f"*.{domain}", domain]

    site["address"] = "10.79.40.8"
    bare.ok("--once")
    assert [record.value for record in dns.records(rr, "A")] == ["10.79.40.8"]
    bare.assert_no_txt()
    bare.ok("--renew-now")
    bare.assert_no_txt()
    added = [call for call in dns.calls if call.parameters.get("Type") == "A" and call.code == "OK"]
    assert [call.action for call in added] == ["AddDomainRecord", "UpdateDomainRecord"]
    assert re.search(f"in Unicode +{written}\n", bare.ok("status", written))
    [shown] = bare.status()["sites"]
    assert (shown["domain"], shown["address"]["published"]) == (domain, ["10.79.40.8"])

    checks = {(found["check"], found["level"]) for found in bare.checks()}
    assert {("permission", "ok"), ("A record", "ok"), ("CAA", "ok")} <= checks
    assert not checks & {("permission", "fail"), ("zone", "fail"), ("API", "fail")}
    assert [record.rr for record in dns.records()] == [rr]
