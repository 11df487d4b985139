"""What holds after every fault, whatever else a test is about.

`plant_foreign` before, `assert_invariants` after; the fixtures of conftest.py see to the first.
"""

from collections import Counter
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certbotless.model.limits import FAILED_VALIDATIONS, SAME_NAMES
from certbotless.sandbox.alidns import AlidnsEmulator
from support.artefacts import assert_no_secret_is_told
from support.bed import DOMAIN, Bed, sha256_of

# Records of somebody else (rr, type, value); one of them stands where our own challenges do.
FOREIGN = frozenset(
    {
        ("@", "TXT", "v=spf1 -all"),
        ("www", "A", "10.79.40.7"),
        ("_acme-challenge.www", "TXT", "the-value-of-another-machine"),
        ("_acme-challenge.devbox", "TXT", "the-value-of-another-tool"),
    }
)


def plant_foreign(dns: AlidnsEmulator) -> None:
    """Let somebody else have records in the zone."""
    for rr, type_, value in sorted(FOREIGN):
        dns.add(rr, type_, value)


def assert_invariants(bed: Bed, *, forced_orders: int = 0) -> None:
    """Check I1 to I6; for the end of a test, when no run is at work.

    Args:
        forced_orders: how many orders the test has placed with `--force`.
    """
    _assert_pair_is_whole(bed)
    _assert_limits_hold(bed, forced_orders)
    _assert_zone_is_as_left(bed)
    assert_no_secret_is_told(bed)  # I5
    _assert_status_is_honest(bed)


def _assert_pair_is_whole(bed: Bed) -> None:
    """I1: both files or none, and a pair; what is served was published once."""
    chain, key = (bed.certs / f"{DOMAIN}{suffix}" for suffix in (".pem", ".key"))
    assert chain.exists() == key.exists()
    if not chain.exists():
        return
    assert is_pair(bed.certs)
    if bed.engine.client().containers.list(filters={"name": "^/registry$"}):
        chains = (bed.certs / ".certbotless" / DOMAIN).glob("*/fullchain.pem")
        plain = (path for path in chains if path.is_file() and not path.is_symlink())
        assert bed.served() in {bed.published(), *map(sha256_of, plain)}


def is_pair(folder: Path, domain: str = DOMAIN) -> bool:
    """Whether the two files of the site are certificate and key of each other."""
    leaf = x509.load_pem_x509_certificate((folder / f"{domain}.pem").read_bytes())
    key = load_pem_private_key((folder / f"{domain}.key").read_bytes(), None)
    return leaf.public_key() == key.public_key()


def _assert_limits_hold(bed: Bed, forced_orders: int) -> None:
    """I2: by our ledger, and every order that the CA knows of stands there.

    An order whose validation failed gave no certificate, and one of a dry run was to give none.
    """
    orders = bed.rows("order")
    may_have_given = [row for row in orders if row.get("outcome") != "failed" and not row.get("rehearsal")]
    certificates = Counter(tuple(sorted(row["names"])) for row in may_have_given)
    failures = Counter(name for row in bed.rows("failure") for name in row["names"])
    assert max(certificates.values(), default=0) <= SAME_NAMES.count + forced_orders
    assert max(failures.values(), default=0) <= FAILED_VALIDATIONS.count + forced_orders
    assert bed.orders() <= len(orders)


def _assert_zone_is_as_left(bed: Bed) -> None:
    """I3 and I4: no TXT record but those of others, and every record of theirs as it was."""
    records = {(record.rr, record.type, record.value) for record in bed.dns.records()}
    assert records >= FOREIGN
    assert {record for record in records if record[1] == "TXT"} <= FOREIGN


def _assert_status_is_honest(bed: Bed) -> None:
    """I6: serving is said of the leaf that a handshake shows, and what fails says how it goes on."""
    for site in bed.status()["sites"]:
        for target in site["deploy"]:
            if target["state"] == "serving":
                assert target["served_sha256"] == bed.served() == bed.published()
        if site["state"] == "failing":
            assert all(site["last_error"][key] for key in ("at", "what", "hint", "retry_at")), site
