"""The CA's side in its breadth: whom it knows, what kinds of key, a CA that is hard to please.

Mostly sites that nobody serves: what matters here ends with the files.
"""

import base64
import json
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from dns import rcode
from support.acme_client import client_of_account
from support.bed import DOMAIN, ZONE, Bed, write_secret

from certbotless.sandbox.alidns import Fault
from certbotless.state.pair import with_digest
from certbotless.state.site import SiteFile

MAC_KEY = base64.urlsafe_b64encode(b"a key of 32 bytes for the tests.").rstrip(b"=").decode()
OTHER_MAC_KEY = base64.urlsafe_b64encode(b"another key of those 32 bytes.--").rstrip(b"=").decode()


def leaf(certs: Path, domain: str = DOMAIN) -> x509.Certificate:
    """Return the published leaf, which must belong to the published key."""
    certificate = x509.load_pem_x509_certificate((certs / f"{domain}.pem").read_bytes())
    key = serialization.load_pem_private_key((certs / f"{domain}.key").read_bytes(), None)
    assert key.public_key() == certificate.public_key()
    return certificate


# --- whom the CA knows ------------------------------------------------------------------------------------


@pytest.mark.row(50)
@pytest.mark.parametrize("ca", [{"eab_keys": {"kid-1": MAC_KEY}}], indirect=True)
def test_a_ca_that_binds_accounts_is_told_who_we_are(bare: Bed) -> None:
    """Without a binding and with a wrong one: one clear line, and no order; the right one works at once."""
    assert "set acme.eab" in bare.refused("--once")
    assert bare.orders() == bare.ca.requests().count("POST /sign-me-up") == 0

    for wrong in ({"kid": "kid-1", "hmac_key": OTHER_MAC_KEY}, {"kid": "kid-2", "hmac_key": MAC_KEY}):
        bare.config["acme"]["eab"] = wrong
        line = bare.refused("--once")
        assert "refused with" in line
        assert "acme.eab" in line
        assert MAC_KEY not in line
    assert bare.orders() == 0
    [told] = [each for each in bare.checks() if each["check"] == "account"]
    assert told["level"] == "fail"
    assert told["text"].startswith("there is none, and none can be made: the CA at ")

    secret = bare.home / "hmac-key"
    write_secret(secret, f"{MAC_KEY}\n")
    bare.config["acme"]["eab"] = {"kid": "kid-1", "hmac_key": f"file:{secret}"}
    # What failed with another one counts no more.
    assert [each["level"] for each in bare.checks() if each["check"] == "account"] == ["ok"]
    bare.ok("--once")
    assert leaf(bare.certs)
    bare.assert_no_txt()


def test_a_profile_goes_to_a_ca_that_lists_none(bare: Bed) -> None:
    bare.config["acme"]["profile"] = "shortlived"
    bare.ok("--once")
    assert leaf(bare.certs)


# --- kinds of key -----------------------------------------------------------------------------------------


def test_a_registry_serves_leafs_of_every_kind_of_key(bed: Bed) -> None:
    """A change of key_type orders anew, as the plan says, and a second run finds nothing to do."""
    bits = {"ec256": 256, "rsa2048": 2048, "ec384": 384}
    for count, (key_type, size) in enumerate(bits.items(), 1):
        bed.config["acme"]["key_type"] = key_type
        bed.ok("--once")
        bed.ok("--once")
        assert bed.orders() == count
        key = leaf(bed.certs).public_key()
        assert isinstance(key, rsa.RSAPublicKey if key_type == "rsa2048" else ec.EllipticCurvePublicKey)
        assert key.key_size == size
        assert bed.served() == bed.published()
    bed.config["acme"]["key_type"] = "rsa4096"
    planned = bed.run("plan", "--exit-code")
    assert planned.returncode == 3
    assert f"{DOMAIN}: would request a certificate (the certificate's key is ec384)" in planned.stdout


# --- a CA that is hard to please --------------------------------------------------------------------------


@pytest.mark.row(44)
@pytest.mark.parametrize("ca", [{"nonce_reject_percent": 20}], indirect=True, ids=["fussy"])
@pytest.mark.parametrize("time_zone", ["Asia/Shanghai", "America/New_York"])
def test_a_ca_that_refuses_good_nonces_gives_every_certificate_in_every_time_zone(
    bare: Bed, time_zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifteen in each zone. Every other wait that Pebble asks for is a date."""
    monkeypatch.setenv("TZ", time_zone)
    domains = [f"box{number}.{ZONE}" for number in range(15)]
    bare.config["sites"] = [bare.site(domain, deploy=[]) for domain in domains]
    bare.ok("--once")
    for domain in domains:
        assert leaf(bare.certs, domain)
    bare.assert_no_txt()


# --- delegation -------------------------------------------------------------------------------------------

THROWAWAY = "throwaway.test"


@pytest.mark.parametrize("dns", [[THROWAWAY]], indirect=True)
def test_challenges_are_proved_in_the_zone_that_they_are_delegated_to(bare: Bed) -> None:
    """The CA follows the alias; the zone of the site gets its A record and nothing else."""
    bare.config["sites"] = [bare.site(deploy=[], names=[f"*.{DOMAIN}", f"git.{ZONE}"])]
    bare.dns.add("_acme-challenge.devbox", "CNAME", f"devbox.acme.{THROWAWAY}.")
    bare.ok("--once")
    assert leaf(bare.certs)
    bare.assert_no_txt()
    added = [call.parameters for call in bare.dns.calls if call.action == "AddDomainRecord"]
    txt = sorted((call["DomainName"], call["RR"]) for call in added if call["Type"] == "TXT")
    assert txt == [(ZONE, "_acme-challenge.git"), (THROWAWAY, "devbox.acme"), (THROWAWAY, "devbox.acme")]

    before = len(bare.dns.calls)
    bare.ok("--renew-now")
    again = [call.action for call in bare.dns.calls[before:]]
    # Pebble uses one valid authorization in a hundred again, even where it shall use none.
    assert again == sorted(again)
    assert set(again) == {"AddDomainRecord", "DeleteDomainRecord"}
    bare.assert_no_txt()


@pytest.mark.row(43)
def test_a_delegation_that_leads_in_a_circle_is_told_before_an_order(bare: Bed) -> None:
    bare.dns.add("_acme-challenge.devbox", "CNAME", f"round.{ZONE}.")
    bare.dns.add("round", "CNAME", f"_acme-challenge.devbox.{ZONE}.")
    assert "leads back to itself" in bare.refused("--once")
    assert bare.orders() == 0


# --- a rehearsal ------------------------------------------------------------------------------------------


def test_a_rehearsal_has_the_names_validated_and_changes_nothing(bed: Bed) -> None:
    """Up to the validation; files, container, record and what is in state stay as they were."""
    bed.ok("--once")
    bed.ok("--once")
    started = bed.started_at()
    before = (bed.published(), bed.served(), bed.state_of(), started, bed.a_values())

    assert "dry run: " in bed.ok("--renew-now", DOMAIN, "--dry-run")

    started = bed.started_at()
    assert (bed.published(), bed.served(), bed.state_of(), started, bed.a_values()) == before
    assert bed.ca.requests().count("POST /certZ/") == 1
    bed.assert_no_txt()
    assert [row["directory"] for row in bed.rows("order")] == [bed.ca.directory_url] * 2


def test_a_rehearsal_comes_before_anything_else_as_well(bare: Bed) -> None:
    assert "dry run: " in bare.ok("--renew-now", "--dry-run")
    assert [path for path in bare.certs.rglob("*") if not path.is_dir()] == []
    assert bare.a_values() == []
    bare.assert_no_txt()
    bare.ok("--once")
    assert leaf(bare.certs)


def test_a_rehearsal_that_fails_is_told_and_forgotten(bare: Bed) -> None:
    """No order is left to be resumed, and the site is as well as it was."""
    bare.ok("--once")
    remembered = bare.state_of()
    bare.forget_account()
    bare.dns.fail("AddDomainRecord", Fault("error", code="Forbidden.RAM"))
    assert "Forbidden.RAM" in bare.refused("--renew-now", DOMAIN, "--dry-run")
    assert {**bare.state_of(), "digest": ""} == {**remembered, "digest": ""}
    assert bare.status()["sites"][0]["last_error"] is None
    bare.assert_no_txt()
    bare.ok("plan", "--exit-code")


def test_a_rehearsal_leaves_what_the_site_itself_has_failed_at(bare: Bed) -> None:
    bare.dns.fail("AddDomainRecord", Fault("error", code="Forbidden.RAM"))
    bare.refused("--once")
    failed = bare.state_of()
    assert failed["failures"]
    bare.ok("--renew-now", "--dry-run")
    assert bare.state_of() == failed


@pytest.mark.row(94)
def test_dry_runs_are_counted_apart_and_six_in_an_hour_are_answered_by_the_ca(bare: Bed) -> None:
    """This CA has no staging directory: none costs a certificate, as those after them do."""
    for number in range(1, 7):
        done = bare.run("--renew-now", "--dry-run")
        assert done.returncode == 0, done.stdout
        assert (
            done.stderr.count(
                "the CA has no staging directory: the dry run places an order there, which ends when all"
            )
            == 1
        )
        assert "so it issued no certificate" in done.stdout
        assert bare.ca.orders_made() == number
    asked = bare.ca.requests()
    assert [line for line in asked if line.startswith(("POST /finalize", "POST /certZ"))] == []
    assert [(row["rehearsal"], row["outcome"]) for row in bare.rows("order")] == [(True, "unknown")] * 6
    for _ in range(3):
        bare.ok("--renew-now")
    assert "3 orders for these names in 7 days" in bare.refused("--renew-now")
    bare.ok("--renew-now", "--dry-run")


@pytest.mark.row(94)
def test_a_dry_run_that_cannot_be_validated_costs_a_failed_validation(bare: Bed) -> None:
    """The CA counts it, so we do; what it says is what to do, and it orders nothing in earnest."""
    bare.dns.set_rcode(0, rcode.SERVFAIL)
    bare.config["dns"] = {"nameservers": [bare.dns.nameservers[1]]}
    for _ in range(3):
        assert f"the CA could not validate {DOMAIN}" in bare.refused("--renew-now", "--dry-run")
    text = bare.refused("--renew-now", "--dry-run")
    assert f"already 3 failed validations of {DOMAIN} in 1 h; it may be tried again at" in text
    assert "for a dry run now: certbotless --renew-now --dry-run --force" in text
    assert bare.ca.orders_made() == 3
    bare.assert_no_txt()


# --- when the CA wants it renewed -------------------------------------------------------------------------


def revoke(bed: Bed) -> None:
    """Have the published certificate revoked; from then on the CA's window for it is in the past."""
    client_of_account(bed).revoke(leaf(bed.certs), 0)


def let_a_day_pass(bed: Bed) -> None:
    """Have the published certificate issued a day ago, as far as we are concerned."""
    meta = bed.certs / ".certbotless" / DOMAIN / "current" / "meta.json"
    known = json.loads(meta.read_text())
    known["issued_at"] = (datetime.fromisoformat(known["issued_at"]) - timedelta(days=1)).isoformat()
    del known["digest"]
    meta.write_bytes(with_digest(known))
    SiteFile(bed.state, DOMAIN).note_generation(
        meta.resolve().parent.name, sha256(meta.read_bytes()).hexdigest()
    )


def asked_for_window(bed: Bed) -> int:
    """Return how often the CA was asked when it wants the certificate renewed."""
    return sum("/renewalInfo/" in request for request in bed.ca.requests())


def test_a_moment_is_drawn_once_in_the_window_of_the_ca(bare: Bed) -> None:
    """Asked half a day after the issuance, and not again before the next look is due."""
    bare.ok("--once")
    bare.ok("--once")
    assert asked_for_window(bare) == 0
    let_a_day_pass(bare)
    bare.ok("--once")
    drawn = bare.state_of()["renewal"]
    assert drawn["start"] <= drawn["moment"] <= drawn["end"]
    assert bare.status()["sites"][0]["next_renewal"] == f"{drawn['moment'][:19]}Z"
    for args in (["--once"], ["plan", "--exit-code"], ["status"]):
        bare.ok(*args)
    assert asked_for_window(bare) == 1
    assert bare.state_of()["renewal"] == drawn


def test_a_certificate_that_was_revoked_is_renewed_at_once(bare: Bed) -> None:
    """Its window lies in the past, and that means now; the new one's does not."""
    bare.ok("--once")
    old = bare.published()
    revoke(bare)
    let_a_day_pass(bare)
    bare.ok("--once")
    assert bare.published() != old
    assert bare.orders() == 2
    bare.ok("--once")
    assert bare.orders() == 2


@pytest.mark.row(52)
def test_a_predecessor_is_named_once_and_a_refusal_costs_nothing(bare: Bed) -> None:
    """Back on the first pair, as from a backup, the CA says 409: it has been replaced already."""
    bare.ok("--once")
    current = bare.certs / ".certbotless" / DOMAIN / "current"
    first = current.readlink()
    assert "replaces_refused" not in bare.run("--renew-now").stderr
    current.unlink()
    current.symlink_to(first)
    again = bare.run("--renew-now")
    assert again.returncode == 0, again.stderr
    assert "order.replaces_refused kind=alreadyReplaced" in again.stderr
    assert current.readlink() != first
    assert [row["purpose"] for row in bare.rows("order")] == ["new", "renewal", "renewal"]
