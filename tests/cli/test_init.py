"""The first configuration: its text, its questions, and that nothing is overwritten or told."""

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.bed import assert_mode
from support.boxes import CANARY
from support.languages import chinese
from support.pages import Reading

from certbotless.base.errors import DnsUnavailable, StoreError, UsageError, ZoneNotFound
from certbotless.base.names import likely_zone, normalise
from certbotless.cli.found import Engine, Lan, Running, names_of
from certbotless.cli.init.key import Key, Tried, try_key
from certbotless.cli.init.outside import Outside
from certbotless.cli.init.run import run
from certbotless.cli.init.text import Answers, config_text, run_text
from certbotless.cli.main import main
from certbotless.cli.names import names_of_local
from certbotless.cli.questions import Ask
from certbotless.config import checks, load
from certbotless.config.diagnostics import check
from certbotless.config.secret import Secret
from certbotless.config.targets import Target
from certbotless.config.values import Port
from certbotless.sandbox.alidns import ACCOUNT_ID, AlidnsEmulator
from certbotless.world.containers import Container, Settings
from certbotless.world.credentials.errors import ApiRefusal
from certbotless.world.dns.alidns_errors import HINTS

DOMAIN = "devbox.sweetlove.top"
KEY_ID = "LTAI5tPlantedInATest0000"
ANSWERS = Answers(DOMAIN, "file:/etc/id", "credential:certbotless.config.secret")
# Enough for a whole file, with nothing asked.
FLAGS = {
    "domain": DOMAIN,
    "access_key_id": "${ID}",
    "access_key_secret": "file:/a",
    "address": "10.0.0.5",
    "yes": True,
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the configuration shall be, on a machine without a Docker engine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "config.yaml"


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


# --- text ---------------------------------------------------------------------------------------------------


def test_the_text_says_what_was_answered() -> None:
    config = load.parse(config_text(ANSWERS).encode(), "text")
    (site,) = config.sites
    assert (site.domain, site.zone, site.deploy, config.cas[0].email) == (DOMAIN, None, (), None)
    full = replace(
        ANSWERS,
        zone="sweetlove.top",
        address="auto:eth0",
        directory="https://ca.example.com/dir",
        email="a@b.com",
        docker_host="tcp://127.0.0.1:2375",
        certs_dir=Path("/srv/my certs"),
        key_mode="0640",
        container="null",
        port=443,
        stop_timeout_s=35,
        names=(f"*.{DOMAIN}",),
        endpoint="https://alidns.example.com",
    )
    config = load.parse(config_text(full).encode(), "text")
    (site,) = config.sites
    (target,) = site.deploy
    assert (config.certs_dir, config.key_mode) == (Path("/srv/my certs"), "0640")
    assert (config.docker.host, config.cas[0].directory) == (full.docker_host, full.directory)
    assert (site.names, config.account.endpoint) == (full.names, full.endpoint)
    assert (site.zone, site.address.value, config.cas[0].email) == ("sweetlove.top", "eth0", "a@b.com")
    assert (target.container, target.port, target.stop_timeout.seconds) == ("null", Port("number", 443), 35)


def accepted(takes: Callable[[str], object]) -> Callable[[str], bool]:
    def is_accepted(text: str) -> bool:
        try:
            takes(text)
        except ValueError:
            return False
        return True

    return is_accepted


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABEL, min_size=2, max_size=4).map(".".join).filter(accepted(normalise))
# Printable, as all of them must be: a filter that most words fail ends the test itself now and then.
WORDS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=12)
REFERENCES = (
    st.one_of(
        st.from_regex(r"\$\{[A-Za-z_][A-Za-z0-9_]{0,8}\}", fullmatch=True),
        WORDS.map("file:/{}".format),
        st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True).map("credential:{}".format),
    )
    .map(str.strip)
    .filter(accepted(Secret.parse))
)
LOCAL_FORMS = ("{}.lan", "*.{}.home.arpa", "{}.example.com", "10.0.0.{}", "fd00::{}")
CONTAINERS = st.one_of(
    st.sampled_from(["null", "true", "no", "0x1f", "1e3", "12"]),
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,9}", fullmatch=True).filter(
        accepted(check(Target, "container"))
    ),
)


@given(
    DOMAINS,
    REFERENCES,
    REFERENCES,
    CONTAINERS,
    WORDS.filter(lambda word: ".." not in Path(word).parts),
)
def test_whatever_is_accepted_as_an_answer_the_text_holds_it(
    domain: str, key_id: str, key_secret: str, container: str, folder: str
) -> None:
    answers = Answers(domain, key_id, key_secret, container=container, certs_dir=Path("/", folder))
    config = load.parse(config_text(answers).encode(), "text")
    assert (config.sites[0].domain, config.certs_dir) == (normalise(domain), Path("/", folder))
    assert config.account.access_key_id == Secret.parse(key_id)
    assert config.account.access_key_secret == Secret.parse(key_secret)
    assert config.sites[0].deploy[0].container == container


@given(st.lists(st.one_of(LABEL, *(LABEL.map(form.format) for form in LOCAL_FORMS)), min_size=1, max_size=5))
def test_whatever_names_a_local_site_is_given_the_text_holds_them(names: list[str]) -> None:
    try:
        domain, *further = names_of_local("，".join(names))
    except ValueError:
        return
    answers = Answers(domain, names=tuple(further), is_local=True, with_address=True)
    (site,) = load.parse(config_text(answers).encode(), "text").sites
    assert (site.domain, site.names, site.ca) == (domain, tuple(further), "local")


def test_what_starts_a_registry_serves_tls_and_drains_and_asks_for_a_password() -> None:
    answers = replace(ANSWERS, container="hub", certs_dir=Path("/srv/my certs"), port=443)
    text = run_text(answers)
    assert "htpasswd -Bc /etc/registry/htpasswd USER\n" in text
    words = shlex.split(text.partition("docker run ")[2].replace("\\\n", " "))
    assert words[:8] == ["-d", "--name", "hub", "--restart=always", "--stop-timeout", "35", "-p", "443:5000"]
    volumes = [after for word, after in pairwise(words) if word == "-v"]
    assert volumes == ["hub-data:/var/lib/registry", "/srv/my certs:/certs:ro", "/etc/registry:/auth"]
    assert dict(after.split("=") for word, after in pairwise(words) if word == "-e") == {
        "REGISTRY_HTTP_TLS_CERTIFICATE": f"/certs/{DOMAIN}.pem",
        "REGISTRY_HTTP_TLS_KEY": f"/certs/{DOMAIN}.key",
        "REGISTRY_HTTP_DRAINTIMEOUT": "30s",
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "registry",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
    }
    assert max(map(len, text.splitlines())) <= 100


def test_clients_name_the_port_of_a_service_unless_it_is_that_of_https() -> None:
    assert [ANSWERS.at(port) for port in (None, 5001, 443)] == [f"{DOMAIN}:5000", f"{DOMAIN}:5001", DOMAIN]


@pytest.mark.parametrize(
    ("domain", "zone"),
    [("a.b.example.com", "example.com"), ("a.example.com.cn", "example.com.cn"), ("a.qq.cn", "qq.cn")],
)
def test_the_policy_before_the_key_names_what_is_most_likely_the_zone(domain: str, zone: str) -> None:
    assert likely_zone(domain) == zone


# --- what a container tells ---------------------------------------------------------------------------------


def running(mounts: dict[str, str], **environment: str) -> Running:
    variables = {f"REGISTRY_HTTP_{name}": value for name, value in environment.items()}
    paths = {Path(inside): Path(source) for inside, source in mounts.items()}
    settings = Settings("registry:2", variables, paths, 0, frozenset({0}))
    return Running(Container("ab", "registry", "running", (5000,), datetime.now(UTC)), settings)


@pytest.mark.parametrize(
    ("mounts", "certificate", "certs_dir"),
    [
        ({"/certs": "/certs"}, None, "/certs"),
        ({"/certs": "/srv/c"}, None, "/srv/c"),
        ({"/etc/ssl": "/srv/ssl", "/certs": "/c"}, f"/etc/ssl/hub/{DOMAIN}.pem", "/srv/ssl/hub"),
        ({"/a": "/x", "/a/b": "/y"}, f"/a/b/{DOMAIN}.pem", "/y"),
        ({"/a/c.pem": "/srv/one/c.pem"}, "/a/c.pem", "/srv/one"),
        ({"/var/lib/registry": "/data"}, f"/certs/{DOMAIN}.pem", None),
        ({"/certs": "/certs"}, f"/certs/../../../etc/{DOMAIN}.pem", None),
        ({"/certs": "/certs"}, f"/certs/\x1b[2J/{DOMAIN}.pem", None),
    ],
)
def test_certs_dir_is_what_the_container_mounts_at_its_certificate(
    mounts: dict[str, str], certificate: str | None, certs_dir: str | None
) -> None:
    environment = {"TLS_CERTIFICATE": certificate} if certificate else {}
    found = running(mounts, **environment)
    assert found.certs_dir == (Path(certs_dir) if certs_dir else None)


def test_a_container_serves_a_domain_when_it_reads_exactly_its_files() -> None:
    pair = {"TLS_CERTIFICATE": f"/certs/{DOMAIN}.pem", "TLS_KEY": f"/certs/{DOMAIN}.key"}
    found = running({"/certs": "/certs"}, **pair, DRAINTIMEOUT="20s")
    assert (found.domain, found.stop_timeout_s, found.serves(DOMAIN)) == (DOMAIN, 25, True)
    written = ("", "0s", "1m30s", "2h")
    assert [running({}, DRAINTIMEOUT=text).stop_timeout_s for text in written] == [0, 0, 95, 600]
    assert not found.serves("other.sweetlove.top")
    assert not running({"/data": "/data"}, **pair).serves(DOMAIN)
    assert running({"/certs": "/certs"}).serves(DOMAIN)
    assert not running({}).serves(DOMAIN)
    assert running({"/certs": "/certs"}).domain == ""
    single = {f"/certs/{DOMAIN}.pem": "/c/a.pem", f"/certs/{DOMAIN}.key": "/c/a.key"}
    assert not running(single, **pair).serves(DOMAIN)


# --- questions ----------------------------------------------------------------------------------------------


def test_a_bad_answer_is_told_in_a_line_and_asked_again(file: Path) -> None:
    said: list[str] = []
    answers = {
        "Domain": ["", "nonsense", "*.a.b", DOMAIN],
        "every name below": ["maybe", "Y"],
        "AccessKey ID": ["file:relative", "", KEY_ID],
        "AccessKey secret": ["", "a\x00b", CANARY],
        "LAN address": ["10.0.0", "auto:10.0.0.0/8"],
        "Container": ["a b", "hub"],
        "Port": ["5000:5000", "5001"],
        "terms": ["perhaps", "yes"],
    }
    asked: list[str] = []
    outside = outside_of(World())
    assert run(file, {}, person(answers, asked), said.append, outside)
    assert len(asked) == 4 + 2 + 3 + 3 + 2 + 2 + 2 + 2 + 1
    for text in (
        "write the full name, like nonsense.example.com; for a CA on this machine answer no",
        "is a wildcard",
        "written file:/absolute/path",
        "'10.0.0' is not",
        "'a b' is not a container name",
        "'5000:5000' is not a port number, 1..65535, like 5000",
        "not taken: type y or n",
        "this needs an answer",
        "hub does not exist yet",
    ):
        assert [line for line in said if text in line and "\n" not in line], text
    assert CANARY not in "".join([*said, *asked])
    site = yaml.safe_load(file.read_text())["sites"][0]
    assert (site["address"], site["names"]) == ("auto:10.0.0.0/8", [f"*.{DOMAIN}"])
    assert site["deploy"] == [{"container": "hub", "action": "restart", "port": 5001, "stop_timeout": "35s"}]


def test_the_greeting_counts_what_is_asked(file: Path) -> None:
    """The policy comes before the key."""
    _, said = World().run(file, keys())
    assert said.startswith("About 7 questions, 2 minutes. Enter takes the value in [brackets].\n")
    assert "Ctrl-C leaves nothing behind" in said
    assert '"acs:alidns:*:ACCOUNT:domain/sweetlove.top"' in said.partition("testing the key")[0]
    file.unlink()
    for name in ("access_key_id", "access_key_secret"):
        (file.parent / name).unlink()
    _, said = World().run(file, keys(), domain=DOMAIN, container="none")
    assert said.startswith("About 5 questions")


def test_a_name_in_its_own_script_is_shown_as_it_is_written_elsewhere(file: Path) -> None:
    _, said = World().run(file, keys() | {"Domain": ["仓库.例子.com"]})
    assert "  仓库.例子.com -> xn--5mqv79a.xn--fsqu00a.com\n" in said
    assert yaml.safe_load(file.read_text())["sites"][0]["domain"] == "xn--5mqv79a.xn--fsqu00a.com"


def test_secrets_that_are_typed_get_files_of_their_own(file: Path) -> None:
    _, said = World().run(file, keys())
    folder = file.parent
    config = load.load(file)
    assert config.account.access_key_id == Secret("file", str(folder / "access_key_id"))
    assert [part.read() for part in config.account.key] == [KEY_ID, CANARY]
    assert checks.warnings(config) == []
    assert f"  LTAI…0000, {len(CANARY)} characters\n" in said
    assert CANARY not in said + file.read_text()
    for name in ("access_key_id", "access_key_secret", "config.yaml"):
        assert_mode(folder / name, 0o600)
    assert len(list(folder.iterdir())) == 3


def test_a_secret_that_lies_there_is_the_default_and_never_replaced(file: Path) -> None:
    (file.parent / "access_key_id").write_text("old\n")
    _, said = World().run(file, keys({"AccessKey ID": ["new", ""]}))
    assert (file.parent / "access_key_id").read_text() == "old\n"
    assert "access_key_id' exists already" in said
    assert load.load(file).account.key[0].read() == "old"


def test_no_to_the_terms_of_the_ca_writes_nothing(file: Path) -> None:
    with pytest.raises(UsageError, match="nothing is written"):
        World().run(file, {**keys(), "terms": ["n"]})
    assert list(file.parent.iterdir()) == []


# --- without a domain ---------------------------------------------------------------------------------------


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


# --- the test of the key ------------------------------------------------------------------------------------

WRONG = ApiRefusal("refused with SignatureDoesNotMatch", code="SignatureDoesNotMatch", hint="correct it")


def test_a_key_that_fails_is_asked_for_again(file: Path) -> None:
    """Enter is as before, so that a policy may be attached meanwhile."""
    world = World(tried=[Tried(error=WRONG), Tried(error=WRONG)])
    _, said = world.run(file, keys({"AccessKey ID": [KEY_ID], "AccessKey secret": ["typo", "", CANARY]}))
    assert [(key.id, key.secret) for key in world.keys] == [
        (KEY_ID, "typo"),
        (KEY_ID, "typo"),
        (KEY_ID, CANARY),
    ]
    assert said.count("  the key does not work: refused with SignatureDoesNotMatch; correct it\n") == 2
    assert "  the key works, sweetlove.top found\n" in said
    assert load.load(file).account.key[1].read() == CANARY
    assert "# zone: sweetlove.top " in file.read_text()


def test_a_key_may_be_left_untested(file: Path) -> None:
    """Where this machine is to be made ready without a network."""
    world = World(tried=[Tried(error=DnsUnavailable("no connection"))])
    world.run(file, keys({"AccessKey ID": [KEY_ID, "skip"]}))
    assert len(world.keys) == 1
    assert load.load(file).account.key[1].read() == CANARY


def test_a_zone_that_is_not_found_is_asked_for(file: Path) -> None:
    world = World(tried=[Tried(error=ZoneNotFound("no zone holds it"))] * 2)
    asked = {"console lists it": ["example.com", "", "sweetlove.top"]}
    _, said = world.run(file, keys(asked))
    assert f"'{DOMAIN}' is not in the zone 'example.com'" in said
    assert "Is your domain elsewhere?" in said
    assert [key.zone for key in world.keys] == ["", "", "sweetlove.top"]
    assert load.load(file).sites[0].zone == "sweetlove.top"


def test_a_key_without_its_policy_gets_the_policy_with_the_digits_of_its_account(file: Path) -> None:
    """They are in the refusal."""
    account = "1234567890123456"
    error = ZoneNotFound("no zone holds it; DescribeDomainRecords is forbidden")
    _, said = World(tried=[Tried(error=error, account=account)]).run(file, keys())
    assert f'"acs:alidns:*:{account}:domain/sweetlove.top"' in said


def test_a_key_of_the_account_itself_is_named_and_taken(file: Path) -> None:
    account = "1234567890123456"
    tried = Tried("sweetlove.top", account=account, is_of_account=True)
    is_good, said = World(tried=[tried]).run(file, keys())
    assert is_good
    assert "It is the key of the account itself, which no policy limits." in said
    assert f'"acs:alidns:*:{account}:domain/sweetlove.top"' in said


@pytest.mark.parametrize("zones", [["sweetlove.top"], ["example.com"]])
def test_the_test_is_made_by_the_first_calls_of_doctor(zones: list[str]) -> None:
    with AlidnsEmulator(zones, access_key_id=KEY_ID, access_key_secret=CANARY) as emulator:
        tried = try_key(Key(KEY_ID, CANARY, endpoint=emulator.endpoint), DOMAIN)
        actions = [call.action for call in emulator.calls]
        if zones == ["sweetlove.top"]:
            assert tried == Tried("sweetlove.top")
            assert actions == ["DescribeDomainRecords", "DescribeDomainRecords", "DescribeSubDomainRecords"]
        else:
            assert isinstance(tried.error, ZoneNotFound)
        wrong = try_key(Key(KEY_ID, "other", endpoint=emulator.endpoint), DOMAIN)
        assert isinstance(wrong.error, ApiRefusal)
        assert wrong.error.code == "SignatureDoesNotMatch"
        emulator.attach_policy(lambda action, zone: False)
        assert try_key(Key(KEY_ID, CANARY, endpoint=emulator.endpoint), DOMAIN).account == ACCOUNT_ID
    unset = try_key(Key("${SURELY_NOT_SET}", CANARY), DOMAIN)
    assert "'SURELY_NOT_SET' is not set" in str(unset.error)


# --- the end ------------------------------------------------------------------------------------------------


def test_the_dry_run_is_offered_and_what_comes_next_is_last(file: Path) -> None:
    world = World(codes=[1])
    is_good, said = world.run(file, keys({"test server": ["y"]}), container="none")
    assert not is_good
    assert [call[1:] for call in world.called] == [
        ["-P", "-m", "certbotless", "--config", str(file), "--renew-now", "--dry-run"]
    ]
    last = said.partition("\nNext:\n")[2].splitlines()
    assert 3 <= len(last) <= 5
    assert last[0].startswith(f"  certbotless --config {file} --renew-now --dry-run ")
    assert last[-1].startswith(f"  certbotless --config {file} add DOMAIN ")
    assert "systemctl" not in said


@pytest.mark.page("docs/commands.md", "init")
def test_the_page_has_a_whole_dialogue(file: Path, paper: Reading) -> None:
    """Word for word, but for the policy and the folder. A test types the answers that it shows."""
    typed = ["registry.example.com", "", "LTAI5tExampleExample0000", "a" * 29, "", "a" * 30]
    typed += ["", "", "y", "y", "y"]
    code = "SignatureDoesNotMatch"
    text = f"DescribeDomainRecords refused with {code}, request id 7A0E..."
    refusal = ApiRefusal(text, code=code, hint=HINTS[code].partition(";")[0])
    said = dialogue(file, typed, World([Tried(error=refusal), Tried("example.com")]))
    said = re.sub(r"\{\n.*?\n\}\n", "(the policy)\n", said, flags=re.DOTALL)
    assert paper.text("docs/commands.md", "init").rstrip() == said


@pytest.mark.parametrize("code", [0, 1])
def test_the_start_is_offered_where_the_service_reads_this_file(file: Path, code: int) -> None:
    world = World(codes=[code], service=file)
    is_good, said = world.run(file, keys({"Start the service": ["y"]}))
    assert world.called == [
        ["systemctl", "enable", "--now", "certbotless.service", "certbotless-check.timer"]
    ]
    assert is_good == (code == 0)
    assert ("has not started" in said) == (code == 1)


def test_a_terminal_that_ends_after_the_files_are_written_is_no(file: Path) -> None:
    def ask(question: str, is_secret: bool) -> str:
        if "test server" in question:
            raise EOFError
        return answers(question, is_secret)

    answers = person(keys())
    said: list[str] = []
    assert run(file, {}, ask, said.append, outside_of(World()))
    assert "certbotless --config" in said[-1]


def test_what_it_says_is_chinese_too(file: Path) -> None:
    """The same lines; the file's comments as well."""
    with chinese():
        said: list[str] = []
        typed = [DOMAIN, "", KEY_ID, CANARY, "none", "是"]
        outside = outside_of(World())
        options = {"container": "none"}
        assert run(file, options, lambda *_: typed.pop(0) if typed else "", said.append, outside)
        assert re.findall(r"[A-Za-z]{3,} [a-z]{3,} [a-z]{3,}", "\n".join(said)) == []
        assert "执行 `certbotless check`" in file.read_text()


# --- flags --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domain": None}, "--domain is needed: init has found no value for it"),
        ({"access_key_id": None}, "--access-key-id is needed"),
        (
            {"domain": "a"},
            "--domain: 'a' has no domain: write the full name, like a.example.com; for a CA on",
        ),
        ({"domain": "no"}, "--domain: 'no' has no domain: write the full name, like no.example.com"),
        ({"domain": "a.lan"}, "--domain: no public CA gives a certificate for a name in .lan"),
        ({"names": "b.lan"}, "--names: no public CA gives a certificate for a name in .lan"),
        ({"ca": "local"}, "--access-key-id does not go with --ca local"),
        ({"zone": "b.top"}, "--zone: 'devbox.sweetlove.top' is not in the zone 'b.top'"),
        ({"access_key_secret": CANARY}, "--access-key-secret: must be a reference"),
        ({"access_key_secret": "file:a"}, "--access-key-secret: a file reference is written"),
        ({"container": "a b"}, "--container: 'a b' is not a container name"),
        ({"directory": "zerossl"}, "--directory: zerossl needs acme.eab"),
        ({"directory": "http://a"}, "--directory: 'http://a' is neither"),
        ({"address": "1.2.3"}, "--address: '1.2.3' is not"),
        ({"container": "none", "port": "443"}, "--port goes with a container"),
        ({"port": "70000"}, "--port: '70000' is not a port number"),
        ({"email": "a"}, "--email: 'a' is not an e-mail address"),
        ({"yes": False}, "standard input is not a terminal: give --container, or --yes"),
    ],
)
def test_a_flag_that_is_bad_or_missing_is_one_line_and_nothing_is_written(
    change: dict[str, Any], said: str, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = {f"--{name.replace('_', '-')}": value for name, value in (FLAGS | change).items() if value}
    words = [name if value is True else f"{name}={value}" for name, value in flags.items()]
    assert main(["init", "--config", str(file), *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"certbotless: {said}")
    assert err.count("\n") == 1
    assert CANARY not in err
    assert list(file.parent.iterdir()) == []


def test_the_file_is_none_on_standard_input(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--config", "-"]) == 2
    assert "give its name with --config FILE" in capfd.readouterr().err


def test_where_all_is_given_nobody_is_needed(file: Path) -> None:
    said: list[str] = []
    further = {"directory": "letsencrypt-staging", "container": "hub", "wildcard": True}
    assert run(file, FLAGS | {"yes": False, "port": "5000"} | further, None, said.append)
    written = yaml.safe_load(file.read_text())
    assert written["sites"][0]["deploy"] == [
        {"container": "hub", "action": "restart", "port": 5000, "stop_timeout": "35s"}
    ]
    assert written["sites"][0]["names"] == [f"*.{DOMAIN}"]
    assert_mode(file, 0o600)
    text = "\n".join(said)
    for word in ("terms of service", "docker run -d --name hub", f"docker login {DOMAIN}:5000", "--dry-run"):
        assert word in text


# --- nothing is overwritten, nothing is left ----------------------------------------------------------------


def test_what_is_there_stays(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file, a folder, and a link that leads nowhere just now."""
    for make in (lambda: file.write_text("mine"), file.mkdir, lambda: file.symlink_to("/nowhere/else")):
        make()
        before = file.lstat()
        assert main(["init", "--yes", "--config", str(file)]) == 1
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "is there already, and init overwrites nothing" in err
        assert (file.lstat().st_ino, file.lstat().st_size) == (before.st_ino, before.st_size)
        file.rmdir() if file.is_dir() else file.unlink()
    assert not Path("/nowhere/else").exists()


@pytest.mark.parametrize("last", ["access_key_secret", "config.yaml"])
def test_what_comes_while_we_ask_stays_and_we_leave_nothing(file: Path, last: str) -> None:
    def ask(question: str, is_secret: bool) -> str:
        if "terms" in question:
            (file.parent / last).symlink_to("/nowhere/else")
        return answers(question, is_secret)

    answers = person(keys())
    with pytest.raises(StoreError, match="File exists"):
        run(file, {}, ask, list[str]().append, outside_of(World()))
    assert [path.name for path in file.parent.iterdir()] == [last]
    assert os.readlink(file.parent / last) == "/nowhere/else"


def test_ctrl_c_while_we_write_leaves_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each of the three files, and in a folder that was made for them."""
    sync, left = os.fsync, 0

    def interrupted(fd: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        sync(fd)

    inside = file.parent / "new" / "config.yaml"
    monkeypatch.setattr(os, "fsync", interrupted)
    for count in range(4):
        left = count
        with pytest.raises(KeyboardInterrupt):
            World().run(inside, keys())
        assert list(file.parent.iterdir()) == []


def test_an_untouched_copy_of_the_example_gives_way_and_an_edited_one_stays(file: Path) -> None:
    """As `make install` leaves it."""
    example = file.with_name("config.example.yaml")
    for path in (example, file):
        path.write_text("# the example\n")
    run(file, FLAGS, None, lambda _: None)
    assert load.load(file).sites[0].domain == DOMAIN
    assert example.read_text() == "# the example\n"
    file.write_text("# the example, edited\n")
    with pytest.raises(StoreError, match="is there already"):
        run(file, FLAGS, None, lambda _: None)
    assert file.read_text() == "# the example, edited\n"


def test_an_end_of_the_input_is_one_line(file: Path) -> None:
    def ask(question: str, is_secret: bool) -> str:
        raise EOFError

    with pytest.raises(UsageError, match="nothing is written"):
        run(file, {}, ask, list[str]().append)
    assert list(file.parent.iterdir()) == []


def test_a_folder_is_made_and_taken_away_again_where_that_fails(file: Path) -> None:
    inside = file.parent / "new" / "config.yaml"
    run(inside, FLAGS, None, list[str]().append)
    assert_mode(inside.parent, 0o755)
    with pytest.raises(StoreError, match="nothing can be written to"):
        run(file.parent / "a" / "b" / "config.yaml", FLAGS, None, list[str]().append)
