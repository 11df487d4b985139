"""The first configuration: its text, its questions, and that nothing is overwritten or told."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.bed import assert_mode
from support.boxes import CANARY, DIRECTORY
from support.terminals import Terminal, answer

from certbotless.base.errors import StoreError, UsageError
from certbotless.base.names import normalise
from certbotless.cli.init.found import Running
from certbotless.cli.init.questions import Ask
from certbotless.cli.init.run import run
from certbotless.cli.init.text import Answers, config_text, run_text, terms_text
from certbotless.cli.main import main
from certbotless.config import checks, load
from certbotless.config.diagnostics import check
from certbotless.config.secret import Secret
from certbotless.config.settings import Target
from certbotless.config.values import Port
from certbotless.world.containers import Container, Settings

DOMAIN = "devbox.sweetlove.top"
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
        assert is_secret == ("AccessKey" in question)
        return known.pop(0) if known else ""

    return ask


def keys(further: dict[str, list[str]] | None = None) -> dict[str, list[str]]:
    typed = {"AccessKey ID": [CANARY], "AccessKey secret": [f"{CANARY}2"]}
    return {"Domain": [DOMAIN], **typed, "Address": ["none"], **(further or {})}


# --- text ---------------------------------------------------------------------------------------------------


def test_the_text_says_what_was_answered() -> None:
    config = load.parse(config_text(ANSWERS).encode(), "text")
    (site,) = config.sites
    assert (site.domain, site.zone, site.deploy, config.acme.email) == (DOMAIN, None, (), None)
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
    )
    config = load.parse(config_text(full).encode(), "text")
    (site,) = config.sites
    (target,) = site.deploy
    assert (config.certs_dir, config.key_mode) == (Path("/srv/my certs"), "0640")
    assert (config.docker.host, config.acme.directory) == (full.docker_host, full.directory)
    assert (site.zone, site.address.value, config.acme.email) == ("sweetlove.top", "eth0", "a@b.com")
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
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
REFERENCES = (
    st.one_of(
        st.from_regex(r"\$\{[A-Za-z_][A-Za-z0-9_]{0,8}\}", fullmatch=True),
        WORDS.map("file:/{}".format),
        WORDS.map("credential:{}".format),
    )
    .map(str.strip)
    .filter(accepted(Secret.parse))
)
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
    WORDS.filter(str.isprintable).filter(lambda word: ".." not in Path(word).parts),
)
def test_whatever_is_accepted_as_an_answer_the_text_holds_it(
    domain: str, key_id: str, key_secret: str, container: str, folder: str
) -> None:
    answers = Answers(domain, key_id, key_secret, container=container, certs_dir=Path("/", folder))
    config = load.parse(config_text(answers).encode(), "text")
    assert (config.sites[0].domain, config.certs_dir) == (normalise(domain), Path("/", folder))
    assert config.aliyun.access_key_id == Secret.parse(key_id)
    assert config.aliyun.access_key_secret == Secret.parse(key_secret)
    assert config.sites[0].deploy[0].container == container


def test_what_starts_a_registry_serves_tls_and_drains() -> None:
    answers = replace(ANSWERS, container="hub", certs_dir=Path("/srv/my certs"), port=443)
    run_line, _, compose = run_text(answers).partition("\nor the same as a compose file:\n")
    assert "--name hub --restart=always --stop-timeout 35 -p 443:5000 " in run_line
    assert "-v '/srv/my certs:/certs:ro' " in run_line
    (service,) = yaml.safe_load(compose)["services"].values()
    assert service["volumes"] == ["/srv/my certs:/certs:ro", "hub-data:/var/lib/registry"]
    assert (service["stop_grace_period"], service["ports"]) == ("35s", ["443:5000"])
    assert (
        service["environment"]
        == dict(each.split("=") for each in re.findall(r"-e (\S+)", run_line))
        == {
            "REGISTRY_HTTP_TLS_CERTIFICATE": f"/certs/{DOMAIN}.pem",
            "REGISTRY_HTTP_TLS_KEY": f"/certs/{DOMAIN}.key",
            "REGISTRY_HTTP_DRAINTIMEOUT": "30s",
        }
    )


def test_the_terms_are_those_of_the_ca() -> None:
    assert "https://letsencrypt.org/repository/" in terms_text("letsencrypt-staging")
    assert "letsencrypt" not in terms_text("https://ca.example.com/dir")


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
    answers = keys(
        {
            "Domain": ["", "nonsense", "*.a.b", DOMAIN],
            "zone": ["other.top", "none"],
            "AccessKey ID": ["file:relative", "", CANARY],
            "Address": ["10.0.0", "auto:10.0.0.0/8"],
            "Container": ["a b", "none"],
            "CA:": ["google", "http://ca", ""],
            "E-mail": ["me", "a@b.com"],
        }
    )
    asked: list[str] = []
    assert not run(file, {}, person(answers, asked), said.append)
    assert len(asked) == 4 + 2 + 3 + 1 + 2 + 2 + 3 + 2 + 1
    for text in (
        "'nonsense' is not a full DNS name",
        "is a wildcard",
        f"'{DOMAIN}' is not in the zone 'other.top'",
        "written file:/absolute/path",
        "'10.0.0' is not",
        "'a b' is not a container name",
        "google needs acme.eab",
        "'me' is not an e-mail address",
    ):
        assert [line for line in said if text in line and "\n" not in line], text
    assert CANARY not in "".join([*said, *asked])
    site = yaml.safe_load(file.read_text())["sites"][0]
    assert (site["address"], site["deploy"]) == ("auto:10.0.0.0/8", [])


def test_secrets_that_are_typed_get_files_of_their_own(file: Path) -> None:
    run(file, {}, person(keys()), list[str]().append)
    folder = file.parent
    config = load.load(file)
    assert config.aliyun.access_key_id == Secret("file", str(folder / "access_key_id"))
    assert (config.aliyun.access_key_id.read(), config.aliyun.access_key_secret.read()) == (
        CANARY,
        f"{CANARY}2",
    )
    assert checks.warnings(config) == []
    assert CANARY not in file.read_text()
    for name in ("access_key_id", "access_key_secret", "config.yaml"):
        assert_mode(folder / name, 0o600)
    assert len(list(folder.iterdir())) == 3


def test_a_secret_that_lies_there_is_the_default_and_never_replaced(file: Path) -> None:
    said: list[str] = []
    (file.parent / "access_key_id").write_text("old\n")
    answers = keys({"AccessKey ID": ["new", ""]})
    run(file, {}, person(answers), said.append)
    assert (file.parent / "access_key_id").read_text() == "old\n"
    assert any("access_key_id' is there already" in line for line in said)
    assert load.load(file).aliyun.access_key_id.read() == "old"


def test_the_dry_run_is_offered_and_not_the_default(file: Path) -> None:
    answers = keys({"dry run": ["y"]})
    assert run(file, {}, person(answers), list[str]().append)
    file.unlink()
    assert not run(file, {}, person(keys({"AccessKey": []})), list[str]().append)


@pytest.mark.process
@pytest.mark.long
def test_the_dry_run_that_is_offered_shows_its_steps(file: Path) -> None:
    """As one that is started by hand; here it fails, because no API is to be reached."""
    (file.parent / "key").write_text(CANARY)
    given = FLAGS | dict.fromkeys(("access_key_id", "access_key_secret"), f"file:{file.parent}/key")
    given |= {"zone": "sweetlove.top", "container": "none", "email": "none"} | {"directory": DIRECTORY}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name != "yes"]
    command = [sys.executable, "-m", "certbotless", "init", "--config", str(file), *flags]
    with Terminal(command) as terminal:
        answer(terminal, ("dry run now? [y/N]", "y"))
        assert terminal.wait() == 1
        assert f"not done  {DOMAIN}  dry_run: " in terminal.text()


# --- flags --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"domain": None}, "--domain is needed: nothing was found that could take its place"),
        ({"access_key_id": None}, "--access-key-id is needed"),
        ({"domain": "a"}, "--domain: 'a' is not a full DNS name"),
        ({"zone": "b.top"}, "--zone: 'devbox.sweetlove.top' is not in the zone 'b.top'"),
        ({"access_key_secret": CANARY}, "--access-key-secret: must be a reference"),
        ({"access_key_secret": "file:a"}, "--access-key-secret: a file reference is written"),
        ({"container": "a b"}, "--container: 'a b' is not a container name"),
        ({"directory": "zerossl"}, "--directory: zerossl needs acme.eab"),
        ({"directory": "http://a"}, "--directory: 'http://a' is neither"),
        ({"address": "1.2.3"}, "--address: '1.2.3' is not"),
        ({"container": "none", "port": "443"}, "--port goes with a container"),
        ({"port": "70000"}, "--port: must be a port number"),
        ({"email": "a"}, "--email: 'a' is not an e-mail address"),
        ({"yes": False}, "standard input is no terminal to ask at: give --zone, or --yes"),
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
    further = {"zone": "none", "directory": "letsencrypt-staging", "email": "none", "container": "hub"}
    run(file, FLAGS | {"yes": False, "port": "5000"} | further, None, said.append)
    written = yaml.safe_load(file.read_text())
    assert written["sites"][0]["deploy"] == [
        {"container": "hub", "action": "restart", "port": 5000, "stop_timeout": "35s"}
    ]
    assert_mode(file, 0o600)
    text = "\n".join(said)
    for word in ("found no container: ", "docker run -d --name hub", "systemctl enable --now", "--dry-run"):
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
        if "E-mail" in question:
            (file.parent / last).symlink_to("/nowhere/else")
        return answers(question, is_secret)

    answers = person(keys())
    with pytest.raises(StoreError, match="File exists"):
        run(file, {}, ask, list[str]().append)
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
            run(inside, {}, person(keys()), list[str]().append)
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
