"""What an older version left is gone on with: no order and no flood of messages follows an upgrade.

The vector holds state_dir as commit b2c28ab left it: its run for a certificate that was due, at a CA where
nobody listens, and its messages. The pair is made for each test, and written as that commit wrote it.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.scenes import DOMAIN, HOUR, Scene

from certbotless.base.times import rfc3339
from certbotless.notify import alerts, outbox
from certbotless.state.history import Events
from certbotless.state.pair import with_digest
from certbotless.world.acme import keys

VECTOR = Path(__file__).parents[1] / "vectors" / "state_of_b2c28ab.json"
DIRECTORY = "https://127.0.0.1:1/dir"
BEGIN, END = datetime(2026, 11, 23, 5, 30, tzinfo=UTC), datetime(2026, 11, 25, 1, 30, tzinfo=UTC)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def old_pair() -> tuple[dict[str, Any], str]:
    """Return the files of a pair and of its copy as that commit wrote them, and the SHA-256 of the leaf."""
    made = trustme.CA().issue_cert(DOMAIN, not_before=BEGIN, not_after=END)
    chain, key = made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()
    facts = keys.matching_facts(chain, keys.key_from_pem(key)).to_plain()
    origin = {"directory": DIRECTORY, "account": f"{DIRECTORY}/account/1", "key_type": "ec256"}
    issued_at = BEGIN + 23 * HOUR
    meta = facts | {"not_before": rfc3339(BEGIN), "not_after": rfc3339(END)} | origin
    meta |= {"issued_at": issued_at.isoformat(), "previous": ""}
    meta["files"] = {"fullchain.pem": sha256(chain), "privkey.pem": sha256(key)}
    copy = {"chain": chain.decode(), "key": key.decode(), **origin, "issued_at": rfc3339(issued_at)}
    line = json.dumps(copy, separators=(",", ":")).encode()
    generation = "20261124T053000Z-15bc203f"
    home = f"certs/.certbotless/{DOMAIN}"
    return {
        f"{home}/{generation}/fullchain.pem": chain,
        f"{home}/{generation}/privkey.pem": key,
        f"{home}/{generation}/meta.json": with_digest(meta),
        f"{home}/current": generation,
        f"certs/{DOMAIN}.pem": f".certbotless/{DOMAIN}/current/fullchain.pem",
        f"certs/{DOMAIN}.key": f".certbotless/{DOMAIN}/current/privkey.pem",
        f"state/sites/{DOMAIN}.pair": line + b"\n" + sha256(line).encode() + b"\n",
        "state/accounts/127.0.0.1-1f384493/key.pem": keys.key_to_pem(keys.new_key()),
    }, facts["sha256"]


@pytest.fixture
def upgraded(scene: Scene) -> Scene:
    """The machine after an upgrade, right after that run; its configuration is the same."""
    scene.settings = {"notify": ["json://127.0.0.1:1/hook"]}
    files, leaf = old_pair()
    for name, text in json.loads(VECTOR.read_text())["files"].items():
        files[name] = text.replace("SHA256", leaf).encode()
    for name, content in files.items():
        path = scene.state_dir.parent / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
            path.chmod(0o600)
        else:
            path.symlink_to(content)
    scene.date_links(scene.clock.now() - HOUR)
    scene.point()
    scene.start()
    return scene


def test_an_upgrade_orders_nothing_before_the_time_that_the_older_version_noted(upgraded: Scene) -> None:
    failed = upgraded.state.failures
    outcome = upgraded.run()
    assert outcome.reason.startswith("order not before 2026-11-24T05:31:")
    assert upgraded.state.failures == failed
    assert (upgraded.writes, upgraded.engine.restarts) == ([], [])
    assert not (upgraded.state_dir / "ledger.jsonl").exists()
    # It is of the configuration of now, and so is what an edit makes of it.
    again = upgraded.run()
    assert (again.reason, upgraded.state.failures) == (outcome.reason, failed)
    upgraded.settings |= {"acme": {"directory": "https://127.0.0.1:2/dir"}}
    assert "127.0.0.1:2" in upgraded.run().reason


def test_an_upgrade_tells_what_is_wrong_once_and_nothing_else(upgraded: Scene) -> None:
    upgraded.run()
    config, now = upgraded.config, upgraded.clock.now()
    found = alerts.conditions(now, [DOMAIN], [upgraded.look()], {})
    post = outbox.due(config, found, alerts.Steady(), timedelta())
    subjects = [letter.message.subject for letter in post.letters]
    assert len(subjects) == 1
    assert DOMAIN in subjects[0]


def test_an_event_of_the_older_version_is_shown_as_it_was(upgraded: Scene) -> None:
    first, *_ = Events(upgraded.state_dir).last(DOMAIN, 9)
    assert first.words.startswith("order.failed no connection to the CA at https://127.0.0.1:1/dir (")
