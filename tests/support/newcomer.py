"""A person who makes the first configuration: what is typed, what is said, and what is outside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from certbotless.cli.found import Engine, Lan, Running
from certbotless.cli.init.key import Key, Tried
from certbotless.cli.init.outside import Outside
from certbotless.cli.init.run import run
from certbotless.cli.questions import Ask
from certbotless.world.containers import Container, Settings
from support.boxes import CANARY

DOMAIN = "devbox.sweetlove.top"
KEY_ID = "LTAI5tPlantedInATest0000"


def person(answers: dict[str, list[str]], asked: list[str] | None = None) -> Ask:
    """Return somebody who answers a question by the first of these words in it; anything else by Enter."""

    def ask(question: str, is_secret: bool) -> str:
        if asked is not None:
            asked.append(question)
        known = next((texts for word, texts in answers.items() if word in question), [])
        assert is_secret == ("AccessKey secret" in question)
        return known.pop(0) if known else ""

    return ask


def keys(further: dict[str, list[str]] | None = None) -> dict[str, list[str]]:
    usual = {"Domain": [DOMAIN], "AccessKey ID": [KEY_ID], "AccessKey secret": [CANARY]}
    return (further or {}) | {
        word: texts
        for word, texts in {**usual, "LAN address": ["none"], "terms": ["y"]}.items()
        if word not in (further or {})
    }


@dataclass
class World:
    """What is outside: what comes of each test of a key, and of each program; `service` reads this file."""

    tried: list[Tried] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    service: Path | None = None
    keys: list[Key] = field(default_factory=list)
    called: list[list[str]] = field(default_factory=list)

    def try_key(self, key: Key, domain: str) -> Tried:
        self.keys.append(key)
        return self.tried.pop(0) if self.tried else Tried("sweetlove.top")

    def call(self, argv: Sequence[str]) -> int:
        self.called.append(list(argv))
        return self.codes.pop(0) if self.codes else 0

    def run(self, file: Path, answers: dict[str, list[str]], **options: Any) -> tuple[bool, str]:
        """Return what `run` returns, and all that was said."""
        said: list[str] = []
        is_good = run(file, options, person(answers), said.append, outside_of(self))
        return is_good, "\n".join(said)


def outside_of(world: World) -> Outside:
    """Return what asks this world, of which only the network and the engine are real."""
    return Outside(try_key=world.try_key, call=world.call, service_file=lambda: world.service)


def running(mounts: dict[str, str], **environment: str) -> Running:
    variables = {f"REGISTRY_HTTP_{name}": value for name, value in environment.items()}
    paths = {Path(inside): Path(source) for inside, source in mounts.items()}
    settings = Settings("registry:2", variables, paths, 0, frozenset({0}))
    return Running(Container("ab", "registry", "running", (5000,), datetime.now(UTC)), settings)


def dialogue(file: Path, typed: list[str], world: World) -> str:
    """Return what a person sees who types all of this, as a page has it: without the folder of the test."""
    shown: list[str] = []

    def ask(question: str, is_secret: bool) -> str:
        shown.append(f"{question}{'' if is_secret else typed[0]}")
        return typed.pop(0)

    def call(argv: Sequence[str]) -> int:
        shown.append("(the steps of the dry run)" if "--dry-run" in argv else "(what systemctl prints)")
        return 0

    domain = typed[0] if "." in typed[0] else "devbox"
    pair = {"TLS_CERTIFICATE": f"/certs/{domain}.pem", "TLS_KEY": f"/certs/{domain}.key"}
    outside = Outside(
        lambda: Lan("10.0.0.5", "eth0", names=("devbox", "devbox.lan")),
        lambda: Engine("unix:///var/run/docker.sock", {"registry": running({"/certs": "/certs"}, **pair)}),
        world.try_key,
        call,
        lambda: file,
    )
    assert run(file, {}, ask, shown.append, outside)
    assert typed == []
    said = "\n".join(line.rstrip() for line in "\n".join(shown).splitlines())
    return said.replace(f" --config {file}", "").replace(str(file.parent), "/etc/certbotless")
