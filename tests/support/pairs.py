"""Pairs that a test publishes: no certificates, but bytes that say which pair they are of."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.state.pair import Store

DOMAIN = "devbox.sweetlove.test"

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)

FACTS = LeafFacts(
    (DOMAIN,),
    "ab" * 32,
    "CN=Example CA",
    NOW,
    NOW + timedelta(days=90),
    "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
)

ORIGIN = Origin("https://ca.test/directory", "https://ca.test/account/1", "ec256", NOW)

# What a server reads at our two names: chain and key, None for no file.
Pair = tuple[bytes | None, bytes | None]


def pair(name: str) -> tuple[bytes, bytes]:
    return f"chain {name}".encode(), f"key {name}".encode()


def publish(certs_dir: Path, name: str, now: datetime = NOW) -> None:
    Store(certs_dir, DOMAIN).publish(*pair(name), FACTS, replace(ORIGIN, issued_at=now), now)


def publish_alike(certs_dir: Path, number: int) -> None:
    """Publish a pair whose two files say the same; one every five minutes, so that 288 of them are kept."""
    text, now = b"%d" % number, NOW + timedelta(minutes=5 * number)
    Store(certs_dir, DOMAIN).publish(text, text, FACTS, ORIGIN, now)


def put_foreign(certs_dir: Path, name: str = "foreign", suffixes: tuple[str, ...] = (".pem", ".key")) -> None:
    """Have another tool write plain files at our names."""
    for suffix, data in zip((".pem", ".key"), pair(name), strict=True):
        if suffix in suffixes:
            path = certs_dir / f"{DOMAIN}{suffix}"
            path.unlink(missing_ok=True)
            path.write_bytes(data)


def read_pair(certs_dir: Path) -> Pair:
    """What a server reads at our two names."""
    chain, key = (certs_dir / f"{DOMAIN}{suffix}" for suffix in (".pem", ".key"))
    return (
        chain.read_bytes() if chain.exists() else None,
        key.read_bytes() if key.exists() else None,
    )


def home(certs_dir: Path) -> Path:
    """Our own folder for the domain."""
    return certs_dir / ".certbotless" / DOMAIN


def look(certs_dir: Path) -> Published:
    """What is published for the domain."""
    return Store(certs_dir, DOMAIN).look()
