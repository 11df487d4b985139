"""The first configuration: its questions and options, what comes after, and that nothing is overwritten."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.bed import assert_mode
from support.boxes import CANARY
from support.languages import chinese
from support.newcomer import DOMAIN, KEY_ID, World, dialogue, keys, outside_of, person
from support.pages import Reading

from certbotless.base.errors import StoreError, UsageError
from certbotless.cli.init.key import Tried
from certbotless.cli.init.run import run
from certbotless.cli.main import main
from certbotless.config import checks, load
from certbotless.config.secret import Secret
from certbotless.world.credentials.errors import ApiRefusal
from certbotless.world.dns.alidns_errors import HINTS

# Enough for a whole file, with nothing asked.
FLAGS = {
    "domain": DOMAIN,
    "access_key_id": "${ID}",
    "access_key_secret": "file:/a",
    "address": "10.0.0.5",
    "yes": True,
}


# --- questions --------------------------------------------------------------------------------------------


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
    assert len(asked) == 4 + 2 + 3 + 3 + 2 + 2 + 2 + 2
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


# --- the end ----------------------------------------------------------------------------------------------


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


def test_no_dry_run_is_offered_or_named_as_next_before_its_container_is_there(file: Path) -> None:
    """It would fail for want of the container, whose command is shown after it; the service waits for it."""
    world = World(service=file)
    is_good, said = world.run(file, keys({"test server": ["y"], "Start the service": ["y"]}))
    assert is_good
    assert [call[0] for call in world.called] == ["systemctl"]
    last = said.partition("\nNext:\n")[2]
    assert "docker run -d --name registry " in last
    assert "--dry-run" not in last


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


# --- flags ------------------------------------------------------------------------------------------------


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


# --- nothing is overwritten, nothing is left --------------------------------------------------------------


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
