"""The first configuration of a person without a domain: the local CA signs for names of the LAN."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.newcomer import World, dialogue, keys, outside_of, person
from support.pages import Reading

from certbotless.base.errors import UsageError
from certbotless.cli.found import Lan, names_of
from certbotless.cli.init.run import run
from certbotless.config import load


def local(file: Path, answers: dict[str, list[str]] | None = None, **options: Any) -> str:
    """Return all that is said to a person without a domain, who takes what is found."""
    said: list[str] = []
    lan = Lan("10.79.40.213", "eth0", names=("devbox", "devbox.lan"))
    outside = replace(outside_of(World()), lan=lambda: lan)
    asked: list[str] = []
    assert run(file, options, person({"Domain": ["no"]} | (answers or {}), asked), said.append, outside)
    # Those at the end are offers.
    assert len({each for each in asked if not each.endswith("[y/N]: ")}) <= 7
    return "\n".join(said)


def test_who_has_no_domain_gets_a_file_for_the_local_ca(file: Path) -> None:
    """Nothing of Aliyun or ACME is in it, and nobody is asked for that."""
    said = local(file)
    text = file.read_text()
    config = load.parse(text.encode(), "text")
    (site,) = config.sites
    assert (site.domain, site.names, site.is_local, site.with_address) == (
        "devbox",
        ("devbox.lan",),
        True,
        True,
    )
    assert (site.address.kind, site.deploy[0].container) == ("auto", "registry")
    assert not re.search("(?i)aliyun|acme|email", text)
    assert config.needed_secrets() == {}
    assert [path.name for path in file.parent.iterdir()] == ["config.yaml"]
    ways, _, rest = said.partition("\nwritten: ")
    assert "A public name is better where you can have one: it needs nothing on the clients." in ways
    assert "or only the validation (docs/delegation.md)" in ways
    assert "terms of service" not in said
    assert f"certbotless --config {file} trust commands    # what to type on each client" in rest
    assert "docker login 10.79.40.213:5000    # from a client that has the root" in rest


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        (
            {"Names": ["git.home.arpa，*.git.home.arpa 192.168.1.2"], "LAN address": ["none"]},
            {"domain": "git.home.arpa", "names": ["*.git.home.arpa", "192.168.1.2"], "address": "none"},
        ),
        (
            {"Names": ["com", "de v_box", "a.lan *.lan", "devbox"], "LAN address": ["8.8.8.8", "10.0.0.9"]},
            {"domain": "devbox", "with_address": True, "address": "10.0.0.9"},
        ),
        ({"Names": ["10.79.40.213"]}, {"domain": "10.79.40.213", "address": "auto"}),
    ],
)
def test_names_and_address_of_the_local_ca_are_those_that_are_typed(
    answers: dict[str, list[str]], wanted: dict[str, Any], file: Path
) -> None:
    said = local(file, answers, container="none")
    assert yaml.safe_load(file.read_text())["sites"] == [{"ca": "local", "deploy": []} | wanted]
    for refused in ("'com' is too much to vouch for", "'8.8.8.8' is not an address of a LAN"):
        assert (refused in said) == ("with_address" in wanted)
    assert all(texts == [] for texts in answers.values())


def test_a_name_of_the_lan_is_no_domain_at_aliyun_and_the_way_is_named(file: Path) -> None:
    said = local(file, {"Domain": ["devbox", "git.lan", "10.0.0.5", "yes", "没有"]})
    assert said.count("; for a CA on this machine answer no") == 4
    file.unlink()
    _, said = World().run(file, keys())
    assert "CA on this machine signs" not in said


def test_options_alone_make_a_file_for_the_local_ca(file: Path) -> None:
    said: list[str] = []
    outside = replace(outside_of(World()), lan=lambda: Lan("10.0.0.5", "eth0", names=("devbox",)))
    assert run(file, {"yes": True, "ca": "local"}, None, said.append, outside)
    site = yaml.safe_load(file.read_text())["sites"][0]
    assert (site["domain"], site["with_address"], site["address"]) == ("devbox", True, "auto")
    file.unlink()
    options = {"domain": "nas.lan", "names": "nas,nas.lan", "address": "none", "container": "none"}
    assert run(file, {"yes": True, "ca": "local", **options}, None, said.append, outside)
    site = yaml.safe_load(file.read_text())["sites"][0]
    assert site == {"domain": "nas.lan", "ca": "local", "names": ["nas"], "address": "none", "deploy": []}
    assert "AccessKey" not in "\n".join(said)
    file.unlink()
    with pytest.raises(UsageError, match="--names is needed: init has found no value for it"):
        run(file, {"yes": True, "ca": "local"}, None, said.append, replace(outside, lan=Lan))


@pytest.mark.parametrize(
    ("hostname", "resolver", "names"),
    [
        ("devbox", "", ("devbox", "devbox.lan")),
        (
            "DevBox.example.com",
            "nameserver 10.0.0.1\nsearch example.com home.arpa\n",
            ("devbox", "devbox.home.arpa"),
        ),
        ("nas", "search .\ndomain localdomain\n", ("nas", "nas.localdomain")),
        ("nl", "# search home.arpa\n", ("nl.lan",)),
        ("my_box", "search lan", ()),
        ("localhost", "search lan", ()),
    ],
)
def test_the_names_that_are_found_are_those_that_a_router_gives(
    hostname: str, resolver: str, names: tuple[str, ...]
) -> None:
    """A name of two letters is a country's domain, and one with an underscore is no DNS name."""
    assert names_of(hostname, resolver) == names


@pytest.mark.page("docs/commands.md", "init without a domain")
def test_the_page_has_the_dialogue_without_a_domain_too(file: Path, paper: Reading) -> None:
    said = dialogue(file, ["no", "", "", "", "y", "y"], World())
    assert paper.text("docs/commands.md", "init without a domain").rstrip() == said
