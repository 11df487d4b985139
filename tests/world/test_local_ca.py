"""The local CA, by what OpenSSL says of its certificates."""

import ipaddress
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
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


def issued(ca: CaFiles, name: str, sans: Sequence[x509.GeneralName] = (), use: str = "SERVER_AUTH") -> bytes:
    """Return what a thief of the issuing key would sign: with this common name, if any, and these names."""
    issuer, signer = certificates(ca.issuing_pem)[0], keys.key_from_pem(ca.issuing_key)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])
    made = x509.CertificateBuilder(
        issuer.subject, subject, keys.new_key().public_key(), 1, NOW, NOW + DAYS_90
    ).add_extension(x509.ExtendedKeyUsage([getattr(ExtendedKeyUsageOID, use)]), critical=False)
    if sans:
        made = made.add_extension(x509.SubjectAlternativeName(sans), critical=not name)
    return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def refusals(ca: CaFiles, leaf: bytes, folder: Path, *options: str) -> str:
    """Return why OpenSSL refuses a certificate, empty where it does not."""
    for name, pem in {"root": ca.root_pem, "issuing": ca.issuing_pem, "leaf": leaf}.items():
        (folder / name).write_bytes(pem)
    done = subprocess.run(
        [*_VERIFY, *options, "-CAfile", "root", "-untrusted", "issuing", "leaf"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


_WWW, _DNS = "www.example.com", x509.DNSName
# The common name and the names of a certificate, and where it would be good without limits.
_FORMS: tuple[tuple[str, tuple[x509.GeneralName, ...], str], ...] = (
    ("", (_DNS("*.example.com"),), _WWW),
    ("", (_DNS("WWW.EXAMPLE.COM"),), _WWW),
    ("", (_DNS("www.example.com."),), "www.example.com."),
    ("", (_DNS("xn--bcher-kva.example.com"),), "xn--bcher-kva.example.com"),
    ("", (_DNS("evillan"),), "evillan"),
    # A client looks at the common name where there is no other name, or none that it knows.
    (_WWW, (), _WWW),
    (_WWW, (x509.IPAddress(ipaddress.ip_address("10.1.2.3")),), _WWW),
    (_WWW, (x509.RFC822Name("a@devbox.lan"),), _WWW),
    (_WWW, (x509.UniformResourceIdentifier("https://devbox.lan"),), _WWW),
    (_WWW, (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),), _WWW),
    ("", (x509.IPAddress(ipaddress.ip_address("::ffff:8.8.8.8")),), "::ffff:8.8.8.8"),
    ("", (x509.IPAddress(ipaddress.ip_address("::ffff:10.1.2.3")),), "::ffff:10.1.2.3"),
)


@pytest.mark.process
@pytest.mark.parametrize(("name", "sans", "where"), _FORMS)
def test_no_form_of_a_name_gets_around_the_limits(
    ca: CaFiles, name: str, sans: tuple[x509.GeneralName, ...], where: str, tmp_path: Path
) -> None:
    """Each is taken from a CA without limits; so it is they that keep a thief of the issuing key from it."""
    asked = ("-verify_ip" if ":" in where else "-verify_hostname", where)
    free = unlimited(ca)
    assert refusals(free, issued(free, name, sans), tmp_path, *asked) == ""
    assert "permitted subtree violation" in refusals(ca, issued(ca, name, sans), tmp_path, *asked)


def unlimited(ca: CaFiles) -> CaFiles:
    """Return a CA without name constraints and with the same issuing key."""
    key, (root, issuing) = keys.new_key(), map(certificates, (ca.root_pem, ca.issuing_pem))

    def again(certificate: x509.Certificate, public_key: keys.CertificateKey) -> bytes:
        of = (certificate.issuer, certificate.subject, public_key.public_key(), 1)
        times = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        made = x509.CertificateBuilder(*of, *times)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    signer = keys.key_from_pem(ca.issuing_key)
    return replace(ca, root_pem=again(root[0], key), issuing_pem=again(issuing[0], signer))


@pytest.mark.process
@pytest.mark.parametrize(
    ("purpose", "use", "sans"),
    [
        ("smimesign", "EMAIL_PROTECTION", (x509.RFC822Name("someone@example.com"),)),
        ("sslclient", "CLIENT_AUTH", ()),
    ],
)
def test_the_issuing_key_vouches_for_servers_alone(
    ca: CaFiles, purpose: str, use: str, sans: tuple[x509.GeneralName, ...], tmp_path: Path
) -> None:
    """Names limit no mail and no person. What holds for the root: tests/cli/test_trust_planted.py."""
    free = unlimited(ca)
    assert refusals(free, issued(free, "someone", sans, use), tmp_path, "-purpose", purpose) == ""
    leaf = issued(ca, "someone", sans, use)
    assert "unsuitable certificate purpose" in refusals(ca, leaf, tmp_path, "-purpose", purpose)


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
