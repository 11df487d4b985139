"""Keys, requests, and what a chain must be before it is published; made wrong in every way a CA could."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from certbotless.base.errors import IssueError, StoreError
from certbotless.model.certificate import LeafFacts
from certbotless.world.acme import keys

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
NAMES = ("*.devbox.sweetlove.test", "devbox.sweetlove.test")
ARI = json.loads((Path(__file__).parents[1] / "vectors" / "ari_id.json").read_text())

KEY, OTHER_KEY, ROOT_KEY, MIDDLE_KEY = (keys.new_key() for _ in range(4))


def certificate(
    key: Any = KEY,
    names: Sequence[str] | None = NAMES,
    *,
    subject: str = "",
    issuer: str = "Example CA R1",
    issuer_key: Any = MIDDLE_KEY,
    not_before: datetime = NOW - timedelta(hours=1),
    not_after: datetime = NOW + timedelta(days=90),
    is_ca: bool = False,
    serial_number: int = 0x1234,
    extensions: Sequence[x509.ExtensionType] = (),
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)] if text else [])

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(serial_number)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=True
        )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm)


MIDDLE = certificate(
    MIDDLE_KEY, None, subject="Example CA R1", issuer="Example Root", issuer_key=ROOT_KEY, is_ca=True
)
LEAF = certificate(extensions=[x509.AuthorityKeyIdentifier(b"R1", None, None)])


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def check(chain: bytes, *, key: Any = KEY, names: Sequence[str] = NAMES, now: datetime = NOW) -> str:
    return keys.checked_facts(chain, key, names, now).sha256


# --- keys and requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key_type", "kind", "bits"),
    [
        ("ec256", ec.EllipticCurvePrivateKey, 256),
        ("ec384", ec.EllipticCurvePrivateKey, 384),
        ("rsa2048", rsa.RSAPrivateKey, 2048),
        ("rsa4096", rsa.RSAPrivateKey, 4096),
    ],
)
def test_a_key_of_each_kind_serves_from_the_request_to_the_certificate(
    key_type: str, kind: type, bits: int
) -> None:
    pem_of_key = keys.key_to_pem(keys.new_key(key_type))
    key = keys.key_from_pem(pem_of_key)
    assert keys.key_to_pem(key) == pem_of_key
    assert isinstance(key, kind)
    assert vars(type(key))["key_size"].__get__(key) == bits
    assert keys.new_csr(key, NAMES).is_signature_valid
    assert check(pem(certificate(key), MIDDLE), key=key)


def test_a_new_key_is_on_p_256_and_its_own() -> None:
    one, two = keys.new_key(), keys.new_key()
    assert isinstance(one, ec.EllipticCurvePrivateKey)
    assert one.curve.name == "secp256r1"
    assert keys.key_to_pem(one) != keys.key_to_pem(two)


RSA_PEM = keys.key_to_pem(keys.new_key("rsa2048"))
ED25519_PEM = ed25519.Ed25519PrivateKey.generate().private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"garbage",
        keys.key_to_pem(KEY)[:100],
        pem(LEAF),
        ED25519_PEM,
        KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        ),
    ],
    ids=["empty", "garbage", "truncated", "a certificate", "another kind", "encrypted"],
)
def test_what_is_no_key_of_ours_is_told_without_its_bytes(stored: bytes) -> None:
    with pytest.raises(StoreError, match="stored certificate key") as broken:
        keys.key_from_pem(stored)
    assert "BEGIN" not in str(broken.value)


def test_a_request_holds_the_names_in_the_san_and_nothing_in_the_subject() -> None:
    csr = keys.new_csr(KEY, NAMES)
    san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert tuple(san.get_values_for_type(x509.DNSName)) == NAMES
    assert csr.subject == x509.Name([])
    assert csr.is_signature_valid
    assert csr.public_key() == KEY.public_key()


# --- the facts of a good chain ----------------------------------------------------------------------------


def test_a_good_chain_gives_the_facts_of_its_leaf() -> None:
    facts = keys.checked_facts(pem(LEAF, MIDDLE), KEY, tuple(reversed(NAMES)), NOW)
    assert facts.names == NAMES
    assert facts.sha256 == LEAF.fingerprint(hashes.SHA256()).hex()
    assert facts.issuer == "CN=Example CA R1"
    assert facts.not_before == NOW - timedelta(hours=1)
    assert facts.not_after == NOW + timedelta(days=90)
    assert facts.not_before.tzinfo is UTC


def test_the_digest_and_the_lifetime_of_a_leaf_are_read_without_its_key() -> None:
    assert keys.leaf_sha256(pem(LEAF, MIDDLE)) == LEAF.fingerprint(hashes.SHA256()).hex()
    assert keys.lifetime(pem(LEAF, MIDDLE)) == LEAF.not_valid_after_utc - LEAF.not_valid_before_utc
    with pytest.raises(IssueError):
        keys.leaf_sha256(b"garbage")


def test_a_chain_of_another_maker_passes() -> None:
    ca = trustme.CA()
    made = trustme.CA.issue_cert(ca.create_child_ca(), *NAMES)
    leaf = x509.load_pem_x509_certificate(made.cert_chain_pems[0].bytes())
    key = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    assert check(chain, key=key, now=leaf.not_valid_before_utc + timedelta(days=1))


def test_what_is_published_of_a_chain_is_its_certificates_alone() -> None:
    """A CA may write 500 KB of anything around them, which a server would read and a terminal act upon."""
    plain = pem(LEAF, MIDDLE)
    assert (
        keys.as_parsed(b"\x1b[2J subject: somebody\n" + pem(LEAF) + b"\n\n" + pem(MIDDLE) + b"x" * 500)
        == plain
    )


def test_a_leaf_without_an_end_and_an_issuer_of_any_text_can_be_read_again() -> None:
    """A CA of one's own signs so; what is published must be read as it is written."""
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    chain = pem(certificate(not_after=never, issuer="CN \x1b[2J\n" + "x" * 50))
    facts = keys.checked_facts(chain, KEY, NAMES, NOW)
    assert facts.issuer.isprintable()
    assert facts == LeafFacts.validate(facts.to_plain())


# --- chains that must not be published --------------------------------------------------------------------


@pytest.mark.row(54)
def test_a_certificate_for_another_key_is_refused() -> None:
    with pytest.raises(IssueError, match="another key"):
        check(pem(LEAF, MIDDLE), key=OTHER_KEY)


@pytest.mark.row(54)
@pytest.mark.parametrize(
    "names",
    [
        NAMES[:1],
        NAMES[1:],
        (*NAMES, "third.sweetlove.test"),
        ("other.sweetlove.test", NAMES[1]),
        ("DEVBOX.sweetlove.test.evil.test", NAMES[1]),
    ],
)
def test_a_certificate_for_other_names_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(IssueError, match="the certificate is for ") as refused:
        check(pem(certificate(names=names)))
    assert refused.value.message.endswith(f", not for {', '.join(sorted(NAMES))}")


@pytest.mark.row(54)
@pytest.mark.parametrize(
    ("offset", "is_good"),
    [
        (timedelta(minutes=-5), True),
        (timedelta(minutes=-5, seconds=-1), False),
        (timedelta(0), True),
        (timedelta(days=90, seconds=-1), True),
        (timedelta(days=90), False),
        (timedelta(days=-400), False),
    ],
)
def test_now_must_lie_in_the_validity_with_five_minutes_of_slack_at_its_start(
    offset: timedelta, is_good: bool
) -> None:
    chain = pem(certificate(not_before=NOW, not_after=NOW + timedelta(days=90)))
    if is_good:
        assert check(chain, now=NOW + offset)
        return
    with pytest.raises(IssueError, match="is valid from") as refused:
        check(chain, now=NOW + offset)
    assert "clock" in refused.value.hint


PLANTED = {
    "a key": keys.key_to_pem(OTHER_KEY),
    "its own key": keys.key_to_pem(KEY),
    "an RSA key": RSA_PEM,
    "a request": keys.new_csr(KEY, NAMES).public_bytes(serialization.Encoding.PEM),
    "a key by an odd name": b"-----BEGIN ODD-PRIVATE KEY-----\nAAAA\n-----END ODD-PRIVATE KEY-----\n",
    "a certificate by its old name": pem(LEAF).replace(b" CERT", b" X509 CERT"),
    "a start without an end": b"-----BEGIN PRIVATE KEY-----\n",
    "parameters": b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
}


@pytest.mark.row(75)
@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_a_chain_that_holds_anything_but_certificates_is_refused(planted: bytes, place: str) -> None:
    parts = [pem(LEAF), pem(MIDDLE)]
    parts.insert({"before": 0, "between": 1, "after": 2}[place], planted)
    with pytest.raises(IssueError) as refused:
        check(b"".join(parts))
    assert "BEGIN" not in str(refused.value)


def pem_of(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


DER = LEAF.public_bytes(serialization.Encoding.DER)
SIGNED = range(DER.index(LEAF.tbs_certificate_bytes) + len(LEAF.tbs_certificate_bytes))


def of_no_known_kind(identifier: str) -> bytes:
    """Return the leaf with the last byte of this object identifier changed."""
    known = bytes.fromhex(identifier)
    assert known in DER
    return pem_of(DER.replace(known, known[:-1] + b"\x7f"))


def issuer(key: Any, subject: str, issuer_key: Any, name: str = "Example CA R1") -> x509.Certificate:
    return certificate(key, None, subject=subject, issuer=name, issuer_key=issuer_key, is_ca=True)


ROOT = issuer(ROOT_KEY, "Example Root", ROOT_KEY, "Example Root")
NOT_SIGNED = "is not signed by the next one"
REFUSED: dict[str, tuple[bytes, str]] = {
    "without names": (pem(certificate(names=None, subject=NAMES[1])), "has no names"),
    "in the wrong order": (pem(MIDDLE, LEAF), ""),
    "issuers in the wrong order": (
        pem(LEAF, ROOT, MIDDLE),
        f"certificate 1 of the CA's chain {NOT_SIGNED}",
    ),
    "an issuer by name alone": (pem(LEAF, issuer(OTHER_KEY, "Example CA R1", OTHER_KEY)), NOT_SIGNED),
    "an issuer of another name": (pem(LEAF, issuer(MIDDLE_KEY, "Another CA", ROOT_KEY)), NOT_SIGNED),
    "a leaf that is a CA": (pem(certificate(is_ca=True), MIDDLE), "issued a CA certificate"),
    "without end": (pem(LEAF) + pem(MIDDLE) * 10, "has 11 certificates"),
    "a key of no known kind": (of_no_known_kind("06082a8648ce3d030107"), ""),  # prime256v1
    "a signature of no known kind": (of_no_known_kind("06082a8648ce3d040302") + pem(MIDDLE), ""),
    "empty": (b"", ""),
    "HTML": (b"<html>not here</html>", ""),
    "bytes before": (b"\xff\xfe" + pem(LEAF), ""),
    "truncated": (pem(LEAF)[:-40], ""),
    "no base64": (pem(LEAF).replace(b"MII", b"!!!", 1), ""),
    "DER": (DER, ""),
    "no certificate": (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
    "half of one": (pem(LEAF) + b"-----BEGIN CERTIFICATE-----\n", ""),
}


ACCEPTED = {
    "the leaf alone": pem(LEAF),
    "with its root": pem(LEAF, MIDDLE, ROOT),
    "text around it": b"subject: somebody\n" + pem(LEAF) + b"\n\n" + pem(MIDDLE).replace(b"\n", b"\r\n"),
    "names in capitals": pem(certificate(names=[name.title() for name in NAMES])),
    "an extension that nobody knows": pem(
        certificate(extensions=[x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")])
    ),
}


@pytest.mark.parametrize("chain", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_chain_that_holds_is_taken(chain: bytes) -> None:
    assert check(chain)


@pytest.mark.row(54)
@pytest.mark.parametrize(("chain", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_a_chain_that_does_not_hold_is_refused(chain: bytes, text: str) -> None:
    with pytest.raises(IssueError) as refused:
        check(chain)
    assert text in refused.value.message


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # one that the flip made negative
@given(st.integers(0, len(DER) - 1), st.integers(1, 255), st.booleans())
def test_a_leaf_with_any_signed_byte_changed_is_refused_and_nothing_else_comes_of_it(
    at: int, flip: int, in_leaf: bool
) -> None:
    whole = [DER, MIDDLE.public_bytes(serialization.Encoding.DER)]
    changed = bytearray(whole[0 if in_leaf else 1])
    changed[at % len(changed)] ^= flip
    whole[0 if in_leaf else 1] = bytes(changed)
    try:
        check(b"".join(map(pem_of, whole)))
    except IssueError:
        return
    # Of the issuer only its name and key are checked: its own signature is for who trusts the root.
    assert not (in_leaf and at in SIGNED)


@given(st.binary(max_size=400))
def test_nothing_but_an_issue_error_comes_of_any_bytes(chain: bytes) -> None:
    with pytest.raises(IssueError):
        check(chain)
    assert keys.lifetime(chain) == timedelta()


# --- the identifier for renewal information ---------------------------------------------------------------


def with_key_identifier(key_identifier: bytes | None, serial_number: int) -> x509.Certificate:
    extension = x509.AuthorityKeyIdentifier(
        key_identifier,
        None if key_identifier else [x509.DNSName("ca.test")],
        None if key_identifier else 1,
    )
    return certificate(serial_number=serial_number, extensions=[extension])


def test_the_ari_identifier_is_that_of_the_rfc() -> None:
    leaf = with_key_identifier(bytes.fromhex(ARI["authority_key_identifier"]), int(ARI["serial_number"], 16))
    assert keys.matching_facts(pem(leaf), KEY).ari_id == ARI["ari_id"]


@given(st.integers(1, 2**159 - 1))
def test_the_serial_number_in_the_ari_identifier_is_that_of_the_der(serial_number: int) -> None:
    leaf = with_key_identifier(b"k", serial_number)
    encoded = keys.matching_facts(pem(leaf), KEY).ari_id.partition(".")[2]
    octets = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    integer = bytes([2, len(octets)]) + octets
    assert integer in leaf.public_bytes(serialization.Encoding.DER)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_serial_number_that_no_ca_may_give_is_no_error_of_ours() -> None:
    der = with_key_identifier(b"k", 0x1234).public_bytes(serialization.Encoding.DER)
    negative = der.replace(b"\x02\x02\x12\x34", b"\x02\x02\x92\x34", 1)
    assert keys.matching_facts(pem_of(negative), KEY).ari_id == "aw.kjQ"


def test_without_an_authority_key_identifier_there_is_no_ari_identifier() -> None:
    assert keys.matching_facts(pem(certificate()), KEY).ari_id == ""
    assert keys.matching_facts(pem(with_key_identifier(None, 1)), KEY).ari_id == ""
