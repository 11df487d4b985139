"""A thousand planted or damaged files: what is planted is put back, and no other site waits for it.

Three sites. The meta.json of the first is planted, as whoever may write to certs_dir can. The state of the
second is damaged, and so are the ledger, the messages and the visits, which are of all. The third is looked
after all the same.
"""

import json
import random
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from support.fakes import EPOCH
from support.scenes import DAY, DIRECTORY, DOMAIN, HOUR, OTHER_DOMAIN, ZONE, Scene

from certbotless.base import saved
from certbotless.cli.main import main
from certbotless.model.deployed import Trial
from certbotless.model.ledger import Entry
from certbotless.model.memory import Failure, RenewalInfo, WrittenRecord
from certbotless.model.view import ClientFacts
from certbotless.notify import outbox
from certbotless.notify.alerts import Sent, SentProblem
from certbotless.notify.outbox import History
from certbotless.observe import client_visit
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.pair import with_digest
from certbotless.state.site import SiteFile

THIRD = f"third.{ZONE}"
# Five files each.
ROUNDS = [20, pytest.param(200, marks=pytest.mark.soak)]
WILD: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1e308,
    "",
    [],
    {},
    [[]] * 40,
    {"a": {"b": [None]}},
    "zz" * 32,
    "0" * 64,
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "1970-01-01T00:00:00Z",
    "2126-11-24T05:30:00Z",
    "2026-11-24T05:30:00",
    "\x1b]0;pwned\x07\x1b[2J\nb.example.com: nothing to do",
    "../../../etc/shadow",
    "x" * 5000,
    "\ud800",
    ["\x00"],
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value inside a JSON value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def changed(value: Any, draw: random.Random) -> Any:
    """Return the JSON value with one to three values in it replaced, removed or doubled."""
    value = json.loads(json.dumps(value))
    for _ in range(draw.randint(1, 3)):
        ways = places(value)
        if not ways:
            return deepcopy(draw.choice(WILD))
        *way, last = draw.choice(ways)
        inside = value
        for key in way:
            inside = inside[key]
        if draw.random() < 0.2:
            del inside[last]
        else:
            inside[last] = deepcopy(draw.choice(WILD))
    return value


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return the file as a disk, an editor or a killed writer may leave it."""
    kind = draw.randrange(6)
    if kind == 0:
        return data[: draw.randrange(len(data))]
    if kind == 1:
        spot = draw.randrange(len(data))
        return data[:spot] + bytes([data[spot] ^ 1 << draw.randrange(8)]) + data[spot + 1 :]
    if kind == 2:
        return draw.randbytes(200)
    try:
        return json.dumps(changed(json.loads(data), draw)).encode()
    except ValueError:
        lines = data.splitlines()
        spot = draw.randrange(len(lines))
        lines[spot] = json.dumps(changed(json.loads(lines[spot]), draw)).encode()
        return b"\n".join(lines) + b"\n"


def planted(data: bytes, draw: random.Random) -> bytes:
    """Return another meta.json, mostly with a digest of its own that fits."""
    if draw.random() < 0.2:
        return damaged(data, draw)
    meta = changed(json.loads(data), draw)
    if isinstance(meta, dict):
        meta.pop("digest", None)
        return with_digest(meta)
    return json.dumps(meta).encode()


@pytest.fixture
def three(scene: Scene) -> Scene:
    """Three sites that are well, each with a folder of its own, and all that is kept of them."""
    scene.domains = [DOMAIN, OTHER_DOMAIN, THIRD]
    for domain in scene.domains:
        folder = str(scene.certs_dir / domain.partition(".")[0])
        scene.keys_of[domain] = {"deploy": [], "certs_dir": folder}
        scene.point(domain)
        scene.publish(domain=domain)
    scene.settings = {"notify": ["jsons://hook.test"]}
    scene.run_all()
    failure = Failure(at=EPOCH - HOUR, what="it failed", hint="wait", retry_at=EPOCH, count=1)
    SiteFile(scene.state_dir, OTHER_DOMAIN).change(
        records={
            "A": {OTHER_DOMAIN: WrittenRecord(value="127.0.0.1", ttl_s=600, at=EPOCH - DAY, is_seen=True)}
        },
        our_values={"A": {OTHER_DOMAIN: ("127.0.0.1",)}},
        failures={"deploy:registry": failure, "order": failure},
        renewal=RenewalInfo(
            sha256="ab" * 32, next_look=EPOCH, start=EPOCH, end=EPOCH + DAY, moment=EPOCH + HOUR
        ),
        trial=Trial(generation="20261124T053000Z-00000001", previous="", at=EPOCH),
        deploy_by=EPOCH + DAY,
        restored=(EPOCH - HOUR,),
    )
    ledger = LedgerFile(scene.state_dir)
    for kind in ("order", "failure", "account"):
        ledger.append(Entry(EPOCH - DAY, kind, DIRECTORY, (DOMAIN,)))
    sent = Sent(
        tries=(EPOCH - HOUR,),
        last_at=EPOCH - HOUR,
        problems={f"{OTHER_DOMAIN} order": SentProblem(began_at=EPOCH - DAY, is_on=True, at=(EPOCH - HOUR,))},
        certificates={f"{OTHER_DOMAIN} {'ab' * 32}": EPOCH - HOUR},
        failure=failure,
    )
    saved.save(scene.state_dir / "notify.json", History(receivers={"jsons-0123456789ab": sent}))
    visit = ClientFacts(EPOCH - HOUR, True, True, True, "200", "about")
    saved.save(scene.state_dir / "clients.json", {domain: visit for domain in scene.domains})
    return scene


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_thousand_planted_or_damaged_files_stop_nothing(
    three: Scene,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    rounds: int,
) -> None:
    kept, folders = tmp_path / "kept", (three.certs_dir, three.state_dir)
    for folder in folders:
        shutil.copytree(folder, kept / folder.name, symlinks=True)
    meta = (three.certs_dir / "devbox" / f"{DOMAIN}.pem").resolve().with_name("meta.json")
    of_all = [three.state_dir / name for name in ("ledger.jsonl", "notify.json", "clients.json")]
    of_second = three.state_dir / "sites" / f"{OTHER_DOMAIN}.json"
    link = three.certs_dir / "third" / f"{THIRD}.pem"
    facts, config = three.published_of(DOMAIN).facts, three.config
    config_file = tmp_path / "config.json"
    config_file.write_text(json.dumps(three.fields))
    count = 0
    for number in range(rounds):
        draw = random.Random(number)  # noqa: S311  (the same files at each run of the test)
        for path, change in [(meta, planted), *((path, damaged) for path in (*of_all, of_second))]:
            before = path.read_bytes()
            path.write_bytes(change(before, draw))
            count += path.read_bytes() != before
        link.unlink()

        assert main(["--config", str(config_file), "status"]) in (0, 1), number
        outcomes = {outcome.domain: outcome for outcome in three.run_all()}

        assert outcomes[DOMAIN].state == "ok", (number, outcomes[DOMAIN])
        assert three.published_of(DOMAIN).facts == facts, number
        assert outcomes[THIRD].state == "ok", (number, outcomes[THIRD])
        assert link.is_symlink(), number
        assert OTHER_DOMAIN in outcomes, number
        assert not three.asked_the_ca, number
        outbox.history_of(config)
        client_visit.remembered(three.state_dir)
        assert not [record for record in caplog.records if record.exc_info], number
        assert not [record for record in caplog.records if "crashed" in record.getMessage()], number
        caplog.clear()
        for folder in folders:
            shutil.rmtree(folder)
            shutil.copytree(kept / folder.name, folder, symlinks=True)
    assert count > rounds * 5 * 0.95
