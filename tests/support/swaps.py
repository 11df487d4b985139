"""A pair that is swapped again and again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from certbotless.model.certificate import LeafFacts, Origin
from certbotless.state.pair import Store

DOMAIN = "devbox.sweetlove.test"

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)

FACTS = LeafFacts((DOMAIN,), "ab" * 32, "CN=Example CA", NOW, NOW + timedelta(days=90), "")

ORIGIN = Origin("https://ca.test/directory", "https://ca.test/account/1", "ec256", NOW)


def publish(certs_dir: Path, number: int) -> None:
    """Publish a pair whose two files say the same; one every five minutes, so that 288 of them are kept."""
    now = NOW + timedelta(minutes=5 * number)
    Store(certs_dir, DOMAIN).publish(b"%d" % number, b"%d" % number, FACTS, ORIGIN, now)
