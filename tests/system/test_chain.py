"""The main job, from nothing to an image pulled by name, and its renewal."""

import json

import pytest
from cryptography import x509
from support.bed import DOMAIN, ZONE, Bed, assert_mode, files_below

from certbotless.base.times import parse_rfc3339
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import RefusedByEngine


def test_an_untrusted_registry_becomes_one_that_every_client_trusts_and_stays_so(bed: Bed) -> None:
    """A push is refused before, accepted after, and after a renewal; record, files and served leaf agree."""
    with pytest.raises(RefusedByEngine, match="certificate signed by unknown authority"):
        bed.registry.push("hello:1")
    self_signed = bed.served()

    bed.ok("--once")

    assert bed.a_values() == [LAN_ADDRESS]
    assert bed.served() == bed.published() != self_signed
    pushed = bed.registry.push("hello:1")
    assert bed.registry.pull("hello:1") == pushed
    bed.assert_no_txt()
    assert_mode(bed.certs / f"{DOMAIN}.key", 0o600)
    assert_mode(bed.certs / f"{DOMAIN}.pem", 0o644)

    old = bed.served()
    assert "renewed and served" in bed.ok("--renew-now", DOMAIN)
    assert bed.served() == bed.published() != old
    pushed = bed.registry.push("hello:2")
    assert bed.registry.pull("hello:2") == pushed
    bed.assert_no_txt()


def test_a_wildcard_and_its_base_are_proved_together(bare: Bed) -> None:
    """Both values stand at one challenge name at the same time, and both are gone afterwards."""
    bare.config["sites"] = [bare.site(names=[f"*.{DOMAIN}", f"git.{ZONE}"], deploy=[])]
    bare.ok("--once")
    chain = x509.load_pem_x509_certificates((bare.certs / f"{DOMAIN}.pem").read_bytes())
    sans = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(sans.get_values_for_type(x509.DNSName)) == {DOMAIN, f"*.{DOMAIN}", f"git.{ZONE}"}
    assert len(chain) == 2
    bare.assert_no_txt()


def test_every_name_gets_its_record_where_all_are_wanted(bare: Bed) -> None:
    """But for wildcards; and a name whose record a person must decide about holds up nobody else."""
    names = [f"git.{ZONE}", f"www.{ZONE}", f"*.lan.{ZONE}"]
    bare.dns.add("www", "CNAME", "elsewhere.test")
    bare.config["sites"] = [bare.site(names=names, records="all", deploy=[])]
    assert f"'www.{ZONE}' is a CNAME" in bare.refused("--once")
    assert (bare.a_values(), bare.a_values("git"), bare.a_values("www")) == ([LAN_ADDRESS], [LAN_ADDRESS], [])
    assert set(bare.status()["sites"][0]["certificate"]["names"]) == {DOMAIN, *names}

    (alias,) = bare.dns.records("www", "CNAME")
    bare.dns.delete(alias.record_id)
    bare.config["sites"][0]["ttl"] = 1200
    bare.ok("--once")
    assert {r.rr: (r.value, r.ttl_s) for r in bare.dns.records(type="A")} == dict.fromkeys(
        ["devbox", "git", "www"], (LAN_ADDRESS, 1200)
    )
    assert bare.orders() == 1


@pytest.mark.parametrize("ca", [{}], indirect=True, ids=["its own"])
def test_a_first_issuance_and_a_renewal_stay_within_their_requests(bed: Bed) -> None:
    """10 ACME requests and 4 Alidns calls, then 9 and 2; polls that found it in progress count apart."""
    bed.ok("--once")
    assert bed.ca.requests()[:8] == [
        "GET /dir",
        "HEAD /nonce-plz",
        "POST /sign-me-up",
        "POST /order-plz",
        "POST /authZ/",
        "POST /chalZ/",
        "POST /authZ/",
        "POST /finalize-order/",
    ]
    first = [request for request in bed.ca.requests() if request != "POST /my-order/"]
    polls = len(bed.ca.requests()) - len(first)
    assert len(first) <= 10
    assert polls <= 2
    record_and_txt = ["DescribeSubDomainRecords", "AddDomainRecord", "AddDomainRecord", "DeleteDomainRecord"]
    assert [call.action for call in bed.dns.calls] == record_and_txt

    before = len(bed.ca.requests())
    bed.ok("--renew-now")
    renewal = [request for request in bed.ca.requests()[before:] if request != "POST /my-order/"]
    assert len(renewal) <= 9
    # Once in a hundred times Pebble uses a valid authorization again, although told never to: no TXT then.
    assert [call.action for call in bed.dns.calls[4:]] in ([], ["AddDomainRecord", "DeleteDomainRecord"])


def test_a_look_at_a_healthy_site_asks_nobody_and_writes_nothing(bed: Bed) -> None:
    bed.ok("--once")
    bed.ok("--once")
    before = (len(bed.dns.calls), len(bed.ca.requests()), files_below(bed.certs, bed.state))
    for args in (["--once"], ["plan"], ["status"], ["status", "--json"], ["check"]):
        bed.ok(*args)
    assert (len(bed.dns.calls), len(bed.ca.requests()), files_below(bed.certs, bed.state)) == before


def test_status_json_is_the_contract(bed: Bed) -> None:
    """Keys, types and formats of docs/files.md, before and after."""
    before = bed.status()["sites"][0]
    assert (before["state"], before["certificate"], before["next_renewal"]) == ("pending", None, None)
    bed.ok("--once")
    status = json.loads(bed.ok("status", "--json"))
    assert status.keys() == bed.status().keys()
    site = status["sites"][0]
    leaf = x509.load_pem_x509_certificates((bed.certs / f"{DOMAIN}.pem").read_bytes())[0]
    rfc3339 = "%Y-%m-%dT%H:%M:%SZ"
    assert status["daemon"] == {"running": False, "pid": None}
    assert status["config"] == {"path": str(bed.file), "error": None}
    assert (site["domain"], site["state"], site["reason"]) == (DOMAIN, "ok", "")
    assert parse_rfc3339(site["address"].pop("observed_at"))
    assert site["address"] == {
        "wanted": LAN_ADDRESS,
        "wanted_all": [LAN_ADDRESS],
        "published": [LAN_ADDRESS],
        "source": "dns",
    }
    assert site["certificate"] == {
        "names": [DOMAIN],
        "sha256": bed.published(),
        "issuer": leaf.issuer.rfc4514_string(),
        "ca": bed.ca.directory_url,
        "shared": None,
        "not_before": leaf.not_valid_before_utc.strftime(rfc3339),
        "not_after": leaf.not_valid_after_utc.strftime(rfc3339),
    }
    assert site["deploy"] == [
        {
            "container": "registry",
            "state": "serving",
            "served_sha256": bed.published(),
            "at": f"{LAN_ADDRESS}:{bed.registry.port}",
            "service": None,
            "node": None,
        }
    ]
    assert site["last_error"] is None
    assert site["certificate"]["not_before"] < site["next_renewal"] < site["certificate"]["not_after"]


def test_a_site_that_wants_no_address_gets_no_record(bed: Bed) -> None:
    bed.config["sites"] = [bed.site(address="none")]
    bed.ok("--once")
    assert bed.a_values() == []
    assert bed.served() == bed.published()
    address = bed.status()["sites"][0]["address"]
    assert (address["wanted"], address["wanted_all"], address["published"]) == (None, [], [])


def test_one_failing_site_does_not_hold_up_the_others(bed: Bed) -> None:
    """Exit 1 names the site that failed; the other one is whole."""
    lost = bed.site(f"lost.{ZONE}", deploy=[{"container": "absent", "port": 1}])
    plain = bed.site(f"plain.{ZONE}", deploy=[])
    bed.config["sites"] = [lost, bed.site(), plain]
    done = bed.run("--once")
    assert done.returncode == 1
    assert f"{DOMAIN}: ok" in done.stdout
    assert f"plain.{ZONE}: ok" in done.stdout
    assert f"lost.{ZONE}: failing: there is no container 'absent'" in done.stdout
    assert bed.a_values("lost") == [LAN_ADDRESS]
    bed.assert_no_txt()
