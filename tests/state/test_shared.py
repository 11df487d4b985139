"""A shared certificate, as the sites read it: without its lock, and yet never half of one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.children import DONE, at_each_step, run_in_child
from support.pairs import FACTS, NOW, ORIGIN, pair

from certbotless.config import load
from certbotless.config.settings import Config
from certbotless.state.pair import Store
from certbotless.state.shared import SharedCertificate
from certbotless.state.site import SiteFile

WILDCARD = "*.sweetlove.test"


def config(home: Path) -> Config:
    fields = {
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "certs_dir": f"{home}/certs",
        "state_dir": f"{home}/state",
        "sites": [{"domain": "devbox.sweetlove.test", "certificate": WILDCARD}],
    }
    return load.parse(json.dumps(fields).encode(), "test.json")


def publish(of: Config, name: str) -> None:
    note = SiteFile(of.state_dir, WILDCARD).note_generation
    Store(of.shared_dir, WILDCARD).publish(*pair(name), FACTS, replace(ORIGIN, account=name), NOW, note)


def read(of: Config) -> str:
    """Return the name of the pair, whose key and account are of the same one."""
    found = SharedCertificate(of, WILDCARD).pair()
    chain, _, name = found.chain.partition(" ")
    assert (chain, found.key, found.origin.account) == ("chain", f"key {name}", name)
    return name


@pytest.mark.process
def test_a_renewal_at_any_step_of_reading_it_leaves_it_whole(tmp_path: Path) -> None:
    count, homes = 0, list[Config]()

    def prepare(step: int) -> Callable[[], object]:
        homes.append(config(tmp_path / str(step)))
        publish(homes[-1], "old")
        return lambda: read(homes[-1])

    def reads_new() -> None:
        assert read(homes[-1]) == "new"

    for code in at_each_step(prepare, lambda: publish(homes[-1], "new")):
        count += 1
        assert code == DONE, f"renewed at step {count}"
        assert run_in_child(reads_new) == DONE
    assert count > 3
