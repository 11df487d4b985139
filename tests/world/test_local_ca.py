"""The local CA, by what OpenSSL says of its certificates."""

import ipaddress
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certbotless.base.errors import IssueError, StoreError
from certbotless.model.local_ca import CaFiles
from certbotless.world import local_ca
from certbotless.world.acme import keys

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAYS_90 = timedelta(days=90)
PERMIT = ("lan", "home.arpa", "devbox", "10.0.0.0/8", "fc00::/7")
_VERIFY = ("openssl", "verify", "-attime", f"{NOW.timestamp():.0f}")
NAMES = ("*.devbox.lan", "10.79.40.213", "devbox", "fd12::5")


@pytest.fixture(scope="module")
def ca() -> CaFiles:
    return local_ca.make("devbox", PERMIT, NOW)


def leaf_of(ca: CaFiles, names: tuple[str, ...] = NAMES, now: datetime = NOW) -> bytes:
    key = keys.new_key()
    return local_ca.sign(ca, key, names, now, DAYS_90)


def certificates(pem: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem)


@pytest.mark.process
@pytest.mark.parametrize(
    ("names", "is_good"),
    [
        (NAMES, True),
        (("registry.lan",), True),
        (("www.example.com",), False),
        (("8.8.8.8",), False),
        (("2001:db8::1",), False),
        (("devbox", "www.example.com"), False),
    ],
)
def test_openssl_takes_what_the_root_permits_alone(
    ca: CaFiles, names: tuple[str, ...], is_good: bool, tmp_path: Path
) -> None:
    """Whatever the issuing key signs: strict checks of RFC 5280."""
    chain = certificates(leaf_of(ca, names))
    for name, pem in {"root": ca.root_pem, "issuing": ca.issuing_pem}.items():
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "leaf").write_bytes(leaf_of(ca, names))
    done = subprocess.run(
        [*_VERIFY, "-x509_strict", "-CAfile", "root", "-untrusted", "issuing", "leaf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is is_good, done.stderr
    assert is_good or "permitted subtree violation" in done.stderr
    assert len(chain) == 2


@pytest.mark.process
def test_a_root_for_addresses_alone_vouches_for_no_name(tmp_path: Path) -> None:
    ca = local_ca.make("devbox", ("10.0.0.0/8",), NOW)
    for name, is_good in {"10.0.0.1": True, "www.example.com": False, "fd12::5": False}.items():
        (tmp_path / "root").write_bytes(ca.root_pem)
        (tmp_path / "chain").write_bytes(leaf_of(ca, (name,)))
        done = subprocess.run(
            [*_VERIFY, "-CAfile", "root", "-untrusted", "chain", "chain"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert (done.returncode == 0) is is_good, (name, done.stderr)


def test_the_root_and_the_issuing_certificate_are_limited_alike(ca: CaFiles) -> None:
    (root,), (issuing,) = map(certificates, (ca.root_pem, ca.issuing_pem))
    for certificate, length in ((root, 1), (issuing, 0)):
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
        assert constraints.critical
        permitted = [str(each.value) for each in constraints.value.permitted_subtrees or ()]
        assert permitted == list(PERMIT)
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, length)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.key_cert_sign
        assert certificate.not_valid_after_utc == ca.facts.not_after
    issuing.verify_directly_issued_by(root)
    assert root.issuer.rfc4514_string().startswith("CN=certbotless devbox 2026-11-28 ")
    assert timedelta(days=3650) < root.not_valid_after_utc - NOW < timedelta(days=3654)


def test_a_leaf_is_for_a_server_and_nobody_else(ca: CaFiles) -> None:
    leaf, issuing = certificates(leaf_of(ca))
    assert issuing == certificates(ca.issuing_pem)[0]
    assert not leaf.subject.rdns
    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert sans.critical
    assert sans.value.get_values_for_type(x509.DNSName) == ["*.devbox.lan", "devbox"]
    found = sans.value.get_values_for_type(x509.IPAddress)
    assert found == [ipaddress.ip_address("10.79.40.213"), ipaddress.ip_address("fd12::5")]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert leaf.not_valid_before_utc == NOW - timedelta(hours=1)
    assert leaf.not_valid_after_utc == NOW + DAYS_90


def test_a_leaf_never_outlives_its_ca(ca: CaFiles) -> None:
    late = ca.facts.not_after - timedelta(days=10)
    leaf, _ = certificates(leaf_of(ca, now=late))
    assert leaf.not_valid_after_utc == ca.facts.not_after


@pytest.mark.parametrize("days", [-3, 4000])
def test_by_a_clock_outside_the_life_of_the_ca_nothing_is_signed(ca: CaFiles, days: int) -> None:
    with pytest.raises(IssueError, match="the local CA is valid from 2026-11-28 to 2036-"):
        leaf_of(ca, now=NOW + timedelta(days=days))


def test_files_of_two_cas_sign_nothing(ca: CaFiles) -> None:
    mixed = replace(ca, issuing_key=local_ca.make("devbox", PERMIT, NOW).issuing_key)
    with pytest.raises(StoreError, match="not that of its certificate"):
        local_ca.sign(mixed, keys.new_key(), NAMES, NOW, DAYS_90)
