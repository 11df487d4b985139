"""The command line: what each command prints where, and with which code it ends."""

import itertools
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.boxes import CANARY, DOMAIN, Box

from certbotless import __version__
from certbotless.base import words
from certbotless.base.clock import SystemClock
from certbotless.base.locks import DaemonLock
from certbotless.base.log_context import Event
from certbotless.base.times import rfc3339
from certbotless.base.words import Text
from certbotless.cli.arguments import parse
from certbotless.cli.log import Formatter
from certbotless.cli.main import main
from certbotless.config import load
from certbotless.config.fingerprints import Fingerprints
from certbotless.model.memory import Failure
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.state.history import Events
from certbotless.state.site import SiteFile

HEAVY = {
    *("acme", "aliyunsdkalidns", "aliyunsdkcore", "cryptography", "docker", "josepy"),
    *("pydantic", "requests"),
}


NO_DAEMON = "daemon: not running: nothing is tried again; start it: systemctl start certbotless"

Told = Callable[..., tuple[int, str, str]]


def ended(*arguments: str) -> int:
    """Return the code with which a command ends that argparse itself answers."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def told(box: Box, capfd: pytest.CaptureFixture[str]) -> Told:
    """Runs a command in this process; returns its code and what it printed to both streams."""
    return lambda *arguments: (main(["--config", str(box.file), *arguments]), *capfd.readouterr())


def assert_refused(box: Box, told: Told, arguments: list[str], code: int, said: str) -> None:
    """A command ends with this code and one line that begins so, and nothing is done."""
    before = sorted(box.home.iterdir())
    found, out, line = told(*arguments)
    assert (found, out, line.count("\n")) == (code, "", 1)
    assert line.startswith(said)
    assert sorted(box.home.iterdir()) == before


# --- help and usage -----------------------------------------------------------------------------------------


def test_help_names_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    """What each has of its own is on the page of the manual, which is made from the parser."""
    assert ended("--help") == 0
    text = capfd.readouterr().out
    options = ("--config", "--once", "--renew-now", "--force", "/etc/certbotless/config.yaml")
    commands = ("check", "plan", "status", "doctor", "notify-test", "init", "sandbox")
    assert [word for word in (*options, *commands) if word not in text] == []


def test_help_is_told_in_the_language_of_the_reader(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert ended("--help") == 0
    help_ = capfd.readouterr().out
    assert "检查配置文件，无需网络" in help_
    for command in ([], ["add"], ["trust"], ["trust", "export"]):
        assert ended(*command, "--help") == 0
        help_ = capfd.readouterr().out
        assert help_.startswith("用法：certbotless ")
        assert "\n选项:\n" in help_
        assert not re.search("usage|options|positional", help_)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc"], "没有命令 'chekc'；最接近的是 'check'"),
        (["--config"], "参数 -c/--config：缺少一个值；参见 certbotless --help"),
        (["check", "extra"], "无法识别的参数：extra；参见 certbotless --help"),
        (["--once", "--forc"], "无法识别的参数：--forc；参见 certbotless --help"),
        (["--once", "--renew-now"], "参数 --renew-now：不能与 --once 同时使用；参见 certbotless --help"),
        (["check", "--strict=x"], "参数 --strict：不接受值 'x'；参见 certbotless check --help"),
        (["account", "import"], "缺少必需的参数：PATH；参见 certbotless account import --help"),
        # How the choices are quoted depends on the version of Python.
        (["trust", "export", "--format", "p7b"], "参数 --format：无效的值 'p7b'（可选："),
    ],
)
def test_every_slip_of_the_command_line_is_told_in_the_language_of_the_reader(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that argparse words."""
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert main(arguments) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"certbotless: {said}")
    assert not re.search("argument|invalid|choose", line)


def test_the_version_is_that_of_the_package(capfd: pytest.CaptureFixture[str]) -> None:
    for option in ("--version", "-V"):
        assert ended(option) == 0
        assert capfd.readouterr().out == f"certbotless {__version__}\n"


@pytest.mark.process
def test_the_installed_command_is_the_module() -> None:
    """Both ways to start it print the same."""
    script = Path(sys.executable).with_name("certbotless")
    for command in ([script], [sys.executable, "-m", "certbotless"]):
        run = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert run.stdout == f"certbotless {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "there is no command 'nonsense'; the commands are check, plan, status, "),
        (["renew"], "there is no command 'renew'; use: certbotless --renew-now [DOMAIN ...]"),
        (["run", DOMAIN], "there is no command 'run'; use: certbotless --once [DOMAIN ...]"),
        (["issue"], "there is no command 'issue'; use: certbotless --once [DOMAIN ...]"),
        (["list"], "there is no command 'list'; use: certbotless status"),
        (["ad", DOMAIN], "there is no command 'ad'; the nearest one is 'add'"),
        (["version"], "there is no command 'version'; use: certbotless --version"),
        (["help"], "there is no command 'help'; use: certbotless --help"),
        (["chek"], "there is no command 'chek'; the nearest one is 'check'"),
        (["--force", "statsu", "--json"], "there is no command 'statsu'; the nearest one is 'status'"),
        (["--config", "plan", "paln"], "there is no command 'paln'; the nearest one is 'plan'"),
        ([DOMAIN], f"there is no command '{DOMAIN}'; a DOMAIN goes with --once, --renew-now, status or plan"),
        (["--dry-run", DOMAIN], f"there is no command '{DOMAIN}'; a DOMAIN goes with "),
        (["x\x1b[2J"], "there is no command 'x\\\\x1b[2J'; the commands are "),
        (["--nonsense"], "there is no option '--nonsense'; see certbotless --help"),
        (["--renew", DOMAIN], "there is no option '--renew'; see certbotless --help"),
        (["-x", "c.yaml", "check"], "there is no option '-x'; see certbotless --help"),
        (["--once", "--forc"], "unrecognized arguments: --forc; see certbotless --help"),
        (["--config"], "argument -c/--config: expected one argument"),
        (["check", "extra"], "unrecognized arguments: extra"),
        (["status", DOMAIN, "extra"], "unrecognized arguments: extra"),
        (["status", "--jsn"], "unrecognized arguments: --jsn"),
        (["--once", "--renew-now"], "argument --renew-now: not allowed with argument --once"),
        (["--renew-now", "--once", DOMAIN], "argument --once: not allowed with argument --renew-now"),
        (["--force"], "--force goes with --renew-now"),
        (["--force", "check"], "--force goes with --renew-now"),
        (["--dry-run", "plan"], "--dry-run goes with --renew-now"),
        (["--once", "--force"], "--force goes with --renew-now"),
        (["--once", "--dry-run"], "--dry-run goes with --renew-now"),
        (["--dry-run"], "--dry-run goes with --renew-now"),
        (["--once", "check"], "check does not go with --once or --renew-now"),
        (["check", "--once"], "check does not go with --once or --renew-now"),
        (["--config", "c", "--renew-now", DOMAIN, "status"], "status does not go with --once or --renew-now"),
        (["plan", "--renew-now", "--force"], "plan does not go with --once or --renew-now"),
        (["--once", "--config", "c", "sandbox"], "sandbox does not go with --once or --renew-now"),
        (["doctor", "--probe", "--json"], "--probe prints one text; leave --json out"),
        (["status", "--watch"], "--watch needs a terminal, and standard output is not one; leave it out"),
        (
            ["status", "--watch", "--json"],
            "--watch does not go with --json; use: watch certbotless status --json",
        ),
        (["status", "--watch", "--config", "-"], "--watch reads the file again and again"),
    ],
)
def test_bad_usage_is_2_and_one_line(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"certbotless: {said}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--renew-now", "nobody.example.com"],
        ["--renew-now", DOMAIN, "nobody.example.com"],
        ["--renew-now", "--force", "nobody.example.com"],
        ["--renew-now", "--dry-run", "nobody.example.com"],
        ["--renew-now", "--force", f"*.{DOMAIN}"],
        ["--renew-now", DOMAIN.upper()],
        ["--renew-now", f"{DOMAIN}."],
        ["--renew-now", ""],
        ["--once", "nobody.example.com"],
        ["plan", "nobody.example.com"],
        ["status", "nobody.example.com"],
        ["status", "nobody.example.com", "--json"],
    ],
)
def test_what_does_not_exist_is_bad_usage_and_nothing_is_done(
    arguments: list[str], box: Box, told: Told
) -> None:
    """A DOMAIN must equal the domain of a site."""
    assert_refused(box, told, arguments, 2, "certbotless: no site has the domain ")


@pytest.mark.parametrize("flags", [["--once"], ["--renew-now", "--force"], ["--renew-now", "--dry-run"]])
def test_domains_stand_in_any_order_with_options(flags: list[str]) -> None:
    """In front, between and behind; what is not asked for is not set."""
    parts = [*([flag] for flag in flags), ["a.example.com"], ["b.example.com"], ["--config", "c.yaml"]]
    for order in itertools.permutations(parts):
        args = parse([word for part in order for word in part])
        assert sorted(args.domains) == ["a.example.com", "b.example.com"]
        assert (args.config, args.command) == ("c.yaml", None)
        asked = {name for name in ("once", "renew_now", "force", "dry_run") if getattr(args, name)}
        assert asked == {flag.strip("-").replace("-", "_") for flag in flags}


def test_a_ca_that_is_asked_alone_is_one_of_the_file(box: Box, told: Told) -> None:
    asked = ["--renew-now", "--ca", "litessl"]
    assert_refused(
        box, told, asked, 2, "certbotless: acme has no CA 'litessl'; there is https://127.0.0.1:1/dir"
    )
    assert_refused(box, told, ["--ca", "litessl", "--once"], 2, "certbotless: --ca goes with --renew-now")
    args = parse(["--renew-now", "a.example.com", "--ca", "litessl", "--dry-run"])
    assert (args.only_ca, args.domains, args.dry_run) == ("litessl", ["a.example.com"], True)


# --- the configuration --------------------------------------------------------------------------------------


def test_a_good_file_is_ok_and_its_sites_are_counted(box: Box, told: Told) -> None:
    box.write("  - domain: b.example.com")
    assert told("check") == (0, f"{box.file}: ok (2 sites)\n", "")


def test_the_file_is_named_before_or_after_the_command(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    """The last one counts."""
    good, other = str(box.file), str(box.home / "other.yaml")
    for arguments in (
        ["--config", good, "check"],
        ["check", "--config", good],
        [f"--config={good}", "check"],
        ["--config", other, "check", "--config", good],
        ["--config", other, "--config", good, "check"],
        ["-c", good, "check"],
        ["check", "-c", good],
    ):
        assert main(arguments) == 0
    assert main(["--config", good, "check", "--config", other]) == 2
    made = f"no configuration yet at {other}; make one: certbotless init\n"
    assert capfd.readouterr().err == made


def test_without_a_name_it_is_the_file_in_etc_and_without_a_domain_all_of_them() -> None:
    for arguments in (["check"], ["--once"], ["--renew-now", "--force"], []):
        args = parse(arguments)
        assert args.config == "/etc/certbotless/config.yaml"
        assert getattr(args, "domains", []) == []


@pytest.mark.row(24)
def test_every_fault_is_a_line_and_the_code_is_2(box: Box, told: Told) -> None:
    """Nothing else is said."""
    box.write("    tll: 5", "    ttl: 010", "    ttl: 20", "check_every: 5")
    code, out, err = told("check")
    assert (code, out) == (2, "")
    assert [line.removeprefix(f"{box.file}:").split(": ")[:2] for line in err.splitlines()] == [
        ["12:5", "sites[0].tll"],
        ["13:10", "sites[0].ttl"],
        ["14:5", "sites[0].ttl"],
        ["15:14", "check_every"],
    ]


@pytest.mark.parametrize(
    "arguments", [[], ["--once"], ["--renew-now"], ["--renew-now", DOMAIN], ["check"], ["plan"], ["status"]]
)
def test_a_bad_file_is_2_everywhere_and_nothing_is_done(arguments: list[str], box: Box, told: Told) -> None:
    box.write("nonsense: 1")
    said = f"{box.file}:12:1: nonsense: unknown key 'nonsense'; the keys here are "
    assert_refused(box, told, arguments, 2, said)


@pytest.mark.process
def test_standard_input_is_named_by_a_dash(box: Box) -> None:
    good = box.write()
    run = box.run("check", "--config", "-", input=good)
    assert (run.returncode, run.stdout, run.stderr) == (0, "-: ok (1 site)\n", "")
    run = box.run("check", "--config", "-", input=f"{good}nonsense: 1\n")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("-:12:1: nonsense: ")


@pytest.mark.process
def test_standard_input_that_is_closed_cannot_be_read(box: Box) -> None:
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "certbotless", "--config", "-", "check"]
    run = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "-:1:1: the file: cannot be read: Bad file descriptor\n"


@pytest.mark.process
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_output_that_is_closed_does_not_change_the_exit_code(box: Box, closed: str) -> None:
    """As cron jobs and wrappers start a command whose output nobody wants."""
    codes = []
    for text in (box.write(), "nonsense: 1\n"):
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *box.command("check", "--config", "-")]
        run = subprocess.run(shell, input=text, capture_output=True, text=True, timeout=60, check=False)
        codes.append(run.returncode)
        assert "Traceback" not in run.stdout + run.stderr
    assert codes == [0, 2]


@pytest.mark.process
@pytest.mark.parametrize(("sites", "arguments"), [(1, ["check"]), (40, ["status", "--json"])])
def test_a_full_disk_or_a_reader_that_has_gone_is_no_trace(
    sites: int, arguments: list[str], box: Box
) -> None:
    """Both where all of the output fits in the buffer of standard output, and where it does not."""
    box.write(*(f"  - {{domain: n{number}.example.com, address: none}}" for number in range(sites - 1)))
    shell = ["sh", "-c", 'exec "$@" >/dev/full', "sh", *box.command(*arguments)]
    run = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stderr == "certbotless: standard output cannot be written: No space left on device\n"

    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        run = subprocess.run(
            box.command(*arguments), stdout=gone, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (run.returncode, run.stderr) == (128 + signal.SIGPIPE, "")


def test_a_bad_file_is_told_of_in_the_language_of_the_reader(
    box: Box, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the environment, or that of the file, though it is bad."""
    box.write("parallel: 0")
    _code, _out, english = told("check")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    chinese = english.replace(": parallel: 0 is outside 1..64", ": parallel：0 超出范围 1..64")
    assert told("check") == (2, "", chinese)
    assert chinese != english
    box.write("parallel: 0", "language: en")
    assert told("check") == (2, "", english)


# --- secrets ------------------------------------------------------------------------------------------------


def test_a_secret_that_is_not_there_is_a_warning_of_check(box: Box, told: Told) -> None:
    """It may be there when systemd starts the daemon."""
    box.secret.unlink()
    code, out, err = told("check")
    said = "ok (1 site), but 1 secret cannot be read: nothing can be issued yet"
    assert (code, out, err.count("\n")) == (0, f"{box.file}: {said}\n", 1)
    unread = f"cannot read the secret {str(box.secret)!r}: No such"
    assert err.startswith(f"warning: aliyun.access_key_secret: {unread}")
    assert told("check", "--strict") == (1, out, err)
    assert told("plan")[::2] == (1, err)
    assert told("status")[2] == told("status", "--json")[2] == err
    with DaemonLock(box.state_dir, SystemClock()):
        # It has read the secret, which systemd may have given to it alone.
        assert (told("plan")[::2], told("status")[2]) == ((0, ""), "")


@pytest.mark.parametrize("arguments", [[], ["--once"], ["--renew-now"], ["--once", DOMAIN]])
def test_a_secret_that_is_not_there_ends_what_acts(arguments: list[str], box: Box, told: Told) -> None:
    """At the start, with one line and code 1, before anything is touched."""
    box.secret.unlink()
    said = f"certbotless: cannot read the secret {str(box.secret)!r}: No such file"
    assert_refused(box, told, arguments, 1, said)


@pytest.mark.process
def test_a_secret_open_to_others_is_warned_of_and_used(box: Box, told: Told) -> None:
    """By `check`, and in the log of what acts; not by a run of the daemon, which has said so itself.

    That one has its configuration from standard input.
    """
    box.publish()
    box.secret.chmod(0o644)
    text = f"aliyun.access_key_secret: {str(box.secret)!r} has mode 0644"
    code, _, err = told("check")
    assert (code, err.startswith(f"warning: {text}")) == (0, True)
    run = box.run("--once")
    assert (run.returncode, run.stdout) == (0, f"{DOMAIN}: ok\n")
    assert re.fullmatch(rf"\S+Z WARNING config\.warning text=\"{re.escape(text)}.*\n", run.stderr)
    run = box.run("--config", "-", "--once", input=box.file.read_text())
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{DOMAIN}: ok\n", "")


# --- looking ------------------------------------------------------------------------------------------------


def test_a_site_that_is_well_is_0_and_nothing_is_written(box: Box, told: Told) -> None:
    facts = box.publish()
    before = sorted(box.home.rglob("*"))
    assert told("check", "--strict")[0] == 0
    assert told("plan", "--exit-code") == (0, f"{DOMAIN}: nothing to do\n1 site, no changes\n", "")
    code, out, err = told("status")
    assert (code, out.splitlines()[0], err) == (0, NO_DAEMON, "")
    assert out.splitlines()[3].startswith(f"{DOMAIN}  ok ")
    code, out, _ = told("status", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["config"] == {"path": str(box.file), "error": None}
    assert (found["daemon"], found["version"]) == ({"running": False, "pid": None}, __version__)
    assert [site["state"] for site in found["sites"]] == ["ok"]
    assert found["sites"][0]["certificate"]["not_after"] == rfc3339(facts.not_after)
    assert sorted(box.home.rglob("*")) == before


@pytest.mark.parametrize("is_valid", [True, False])
def test_the_json_of_status_is_the_same_in_each_language(
    box: Box, told: Told, is_valid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for when it was asked for; a site that waits has its reason in English there."""
    box.write("  - {domain: b.example.com, address: none}" if is_valid else "typo: 1")
    box.publish("b.example.com")
    found = []
    for language in ("zh_CN.UTF-8", "C"):
        monkeypatch.setenv("LC_ALL", language)
        shown = json.loads(told("status", "--json")[1])
        assert words.language() == ("zh" if language != "C" else "en")
        for site in shown["sites"]:
            site["address"]["observed_at"] = ""
        found.append(shown | {"observed_at": ""})
    assert found[0] == found[1]
    assert len(found[0]["sites"]) == (2 if is_valid else 1)


def test_a_failure_is_told_in_the_language_of_the_reader_and_in_english_in_json(
    box: Box, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has kept it."""
    what, hint = Text("no connection to the CA at {} ({})", "https://ca.test/dir", "x"), Text("set the clock")
    now = datetime.now(UTC)
    failed = Failure(at=now, what=what, hint=hint, retry_at=now + timedelta(hours=1), count=1)
    config = load.load(box.file)
    digests = Fingerprints.of(config).digests(config, config.sites[0])
    state = {"digest": digests[0], "file_digest": digests[1], "failures": {"order": failed}}
    SiteFile(box.state_dir, DOMAIN).change(**state)
    shown, errors = {}, []
    for language in ("zh_CN.UTF-8", "C"):
        monkeypatch.setenv("LC_ALL", language)
        shown[language] = told("status")[1]
        errors.append(json.loads(told("status", "--json")[1])["sites"][0]["last_error"])
    assert "无法连接 CA https://ca.test/dir（x）" in shown["zh_CN.UTF-8"]
    assert "处理办法：请校准时钟" in shown["zh_CN.UTF-8"]
    assert "no connection to the CA at https://ca.test/dir (x)" in shown["C"]
    assert errors[0] == errors[1]
    assert errors[0]["what"] == what


def test_what_is_due_is_planned_and_not_done(box: Box, told: Told) -> None:
    """3 only where it was asked for."""
    before = sorted(box.home.iterdir())
    for arguments, code in ((["plan"], 0), (["plan", "--exit-code"], 3)):
        assert told(*arguments) == (
            code,
            f"{DOMAIN}: would request a certificate (there is none)\n1 site, 1 change\n",
            "",
        )
    code, out, _ = told("status", "--json")
    (site,) = json.loads(out)["sites"]
    assert (code, site["state"], site["certificate"]) == (1, "pending", None)
    assert sorted(box.home.iterdir()) == before


def test_what_cannot_be_seen_is_1_also_where_3_was_asked_for(box: Box, told: Told) -> None:
    box.write('dns: {nameservers: ["127.0.0.1:1"]}', address="10.79.40.213")
    code, out, _ = told("plan", "--exit-code")
    assert code == 1
    assert f"{DOMAIN}: cannot be checked: no authoritative name server answers" in out


def test_one_site_can_be_asked_for(box: Box, told: Told) -> None:
    """Its state alone makes the code."""
    box.write("  - {domain: b.example.com, address: none}")
    box.publish("b.example.com")
    code, out, _ = told("status", "b.example.com", "--json")
    assert (code, [site["domain"] for site in json.loads(out)["sites"]]) == (0, ["b.example.com"])
    assert told("plan", "b.example.com")[1] == "b.example.com: nothing to do\n1 site, no changes\n"
    code, out, _ = told("status", "--json")
    assert (code, [site["state"] for site in json.loads(out)["sites"]]) == (1, ["pending", "ok"])


@pytest.mark.process
def test_the_daemon_warns_at_its_start_and_ends_well_by_a_signal(box: Box) -> None:
    """It has nothing to do here."""
    box.publish()
    box.secret.chmod(0o644)
    with subprocess.Popen(box.command(), stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        said = [daemon.stderr.readline(), daemon.stderr.readline()]
        daemon.send_signal(signal.SIGTERM)
        said += daemon.stderr.readlines()
    assert [line.split()[2] for line in said] == ["config.warning", "daemon.started", "daemon.stopped"]
    assert daemon.returncode == 0


@pytest.mark.process
def test_looks_that_take_longer_than_the_interval_are_no_news(box: Box) -> None:
    """As where a name server is silent: the daemon says that once, and the scheduler nothing.

    A command has the site, so no child speaks in between that asks the API in the name server's place.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(30)
        nameserver = f"127.0.0.1:{silent.getsockname()[1]}"
        box.write("check_every: 1s", f"dns: {{nameservers: ['{nameserver}']}}", address="10.79.40.213")
        box.publish()
        lock = SiteFile(box.state_dir, DOMAIN).locked(SystemClock(), 1)
        with lock, subprocess.Popen(box.command(), stderr=subprocess.PIPE, text=True) as daemon:
            for _ in range(3):
                silent.recv(512)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.stderr is not None
            events = [line.split()[2] for line in daemon.stderr]
    assert events == ["daemon.started", "check.incomplete", "daemon.stopped"]


def test_a_running_daemon_is_known_by_its_lock(box: Box, told: Told) -> None:
    box.publish()
    with DaemonLock(box.state_dir, SystemClock()):
        _, out, _ = told("status", "--json")
        assert json.loads(out)["daemon"] == {"running": True, "pid": os.getpid()}


@pytest.mark.process
def test_a_state_that_cannot_be_read_is_told_as_any_problem(box: Box, told: Told) -> None:
    """What, where, and what to do; no traceback, and what can be seen is shown all the same."""
    box.publish()
    shutil.rmtree(box.state_dir)
    box.state_dir.write_text("a file")
    run = box.run("--once")
    found = [told(*arguments) for arguments in (["status"], ["status", "--json"], ["plan"])]
    for code, out, err in ((run.returncode, run.stdout, run.stderr), *found):
        assert (code, "Traceback" in err) == (1, False)
        assert str(box.state_dir) in "".join((out + err).split())


# --- status of a broken file --------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["nonsense: 1\n", "sites: [\n", "certs_dir: /other\n", "\t"])
def test_the_status_of_a_broken_file_is_printed_all_the_same(broken: str, box: Box, told: Told) -> None:
    """With the faults in it and on stderr, and the sites that the state knows; the code is 2."""
    facts = box.publish()
    SiteFile(box.state_dir, DOMAIN).change(zone="sweetlove.top")
    SiteFile(box.state_dir, "gone.example.com").change(zone="example.com")
    with box.file.open("a") as file:
        file.write(broken)
    code, out, err = told("status", "--json")
    found = json.loads(out)
    assert code == 2
    assert found["config"] == {"path": str(box.file), "error": err.rstrip("\n")}
    assert all(re.match(rf"{re.escape(str(box.file))}:\d+:\d+: ", line) for line in err.splitlines())
    sites = {site["domain"]: site for site in found["sites"]}
    assert sorted(sites) == [DOMAIN, "gone.example.com"]
    assert sites[DOMAIN]["certificate"]["sha256"] == facts.sha256
    assert sites["gone.example.com"]["certificate"] is None
    code, out, faults = told("status")
    assert (code, out.splitlines()[0], faults) == (2, NO_DAEMON, err)
    assert [line.split()[0] for line in out.splitlines() if "pending" in line] == [DOMAIN, "gone.example.com"]


def test_the_status_without_a_file_is_printed_all_the_same(box: Box, told: Told) -> None:
    absent = str(box.home / "none.yaml")
    code, out, _ = told("status", "--json", "--config", absent)
    found = json.loads(out)
    assert code == 2
    assert found["config"]["path"] == absent
    assert found["config"]["error"].startswith(f"no configuration yet at {absent}; ")
    assert found.keys() == {
        "version",
        "observed_at",
        "daemon",
        "config",
        "notify",
        "local_ca",
        "certificates",
        "sites",
    }


# --- acting -------------------------------------------------------------------------------------------------


@pytest.fixture
def dns_lines(box: Box) -> Iterator[list[str]]:
    """What leads to a DNS account and its name servers that are well, so that only the CA does not answer."""
    emulator = AlidnsEmulator(["sweetlove.top"], access_key_id=CANARY, access_key_secret=CANARY)
    with emulator as dns:
        box.endpoint = dns.endpoint
        yield [f"dns: {{nameservers: {json.dumps(dns.nameservers)}}}"]


@pytest.mark.process
def test_every_site_is_tried_and_one_that_fails_makes_the_code(box: Box, dns_lines: list[str]) -> None:
    """Here nobody answers for the first; the second is well, and told all the same."""
    box.write("  - {domain: b.example.com, address: none}", *dns_lines)
    box.publish("b.example.com")
    run = box.run("--once")
    assert run.returncode == 1
    well, failing = sorted(run.stdout.splitlines())
    assert well == "b.example.com: ok"
    assert re.fullmatch(rf"{DOMAIN}: failing: .*127\.0\.0\.1:1.*; next try \S+Z", failing)
    assert "Traceback" not in run.stderr


@pytest.mark.process
def test_a_renewal_that_was_asked_for_and_not_made_is_1(box: Box, dns_lines: list[str], told: Told) -> None:
    """Though all four facts are true: the site serves no new leaf."""
    box.write(*dns_lines)
    box.publish()
    run = box.run("--renew-now", DOMAIN)
    assert run.returncode == 1
    (line,) = run.stdout.splitlines()
    assert re.fullmatch(rf"{DOMAIN}: .*127\.0\.0\.1:1.*; next try \S+Z", line)
    code, status, _ = told("status", "--json")
    (site,) = json.loads(status)["sites"]
    assert (code, site["state"]) == (0, "ok")
    assert "127.0.0.1:1" in site["last_error"]["what"]


# --- the last attempt ---------------------------------------------------------------------------------------


def test_one_site_is_shown_with_its_last_events(box: Box, told: Told) -> None:
    """And without an attempt, where there was none."""
    box.publish()
    for i in range(12):
        event = Event("record.updated", {"new": f"10.0.0.{i}"})
        Events(box.state_dir).append(datetime.now(UTC), DOMAIN, event)
    code, out, _ = told("status", DOMAIN)
    lines = out.splitlines()
    assert (code, lines[-2:]) == (0, ["The last attempt", "no attempt yet"])
    new = [line.rpartition("new=")[2] for line in lines if "record.updated" in line]
    assert new == [f"10.0.0.{i}" for i in range(2, 12)]
    assert lines[0] == NO_DAEMON


def test_an_attempt_that_did_not_end_was_killed_or_goes_on(box: Box, told: Told) -> None:
    box.publish()
    SiteFile(box.state_dir, DOMAIN).change(zone="sweetlove.top")
    path = box.state_dir / "sites" / f"{DOMAIN}.log.unfinished"
    path.write_text("   0.000 INFO    order.due\x1b[2J\n")
    _, out, _ = told("status", DOMAIN)
    assert out.splitlines()[-2:] == ["   0.000 INFO    order.due\\x1b[2J", "(it was killed)"]
    with SiteFile(box.state_dir, DOMAIN).locked(SystemClock(), 1):
        _, out, _ = told("status", DOMAIN)
    assert out.splitlines()[-1] == "(it is running)"


# --- logging ------------------------------------------------------------------------------------------------


def format_of(text: str, *arguments: object, for_journal: bool = False, level: int = logging.INFO) -> str:
    """Return how a record looks; of the exception that is being handled, too, if there is one."""
    info = sys.exc_info() if sys.exc_info()[0] else None
    record = logging.LogRecord("certbotless.x", level, "x.py", 1, text, arguments, info)
    return Formatter(for_journal=for_journal).format(record)


def test_a_record_is_a_line_with_its_moment_and_level() -> None:
    line = format_of("record.updated fqdn=%s ttl_s=%d", DOMAIN, 600)
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO record\.updated fqdn={DOMAIN} ttl_s=600", line
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("it is full", '"it is full"'),
        ('say "no"', r'"say \"no\""'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("C:\\x", "C:\\x"),
        ("C:\\x y", r'"C:\\x y"'),
    ],
)
def test_a_value_is_quoted_as_logfmt_needs_it(value: str, shown: str) -> None:
    assert format_of("x.y a=%s n=%d %s", value, 7, "b=c d").endswith(f" x.y a={shown} n=7 b=c d")


def test_what_another_library_logs_stays_as_it_is() -> None:
    record = logging.LogRecord("urllib3.pool", logging.INFO, "x.py", 1, "a=%s", ("b c",), None)
    assert Formatter(for_journal=False).format(record).endswith(" INFO a=b c")


@pytest.mark.parametrize(
    "hostile",
    ["a\n2026-11-24T05:30:00Z ERROR forged", "a\r\x1b[2J", "a\0\x07", "\u202egnp\u2028", "\x85\x9b31m"],
)
def test_foreign_text_cannot_forge_a_record_act_upon_a_terminal_or_fill_the_log(hostile: str) -> None:
    line = format_of("order.failed detail=%s", hostile + "x" * 10**6)
    assert line.isprintable()
    assert line.split(" ", 2)[1] == "INFO"
    assert len(line) < 5000


def test_the_text_of_an_exception_is_escaped_and_indented() -> None:
    """Its lines cannot pass for records, in the journal neither."""
    for for_journal in (False, True):
        try:
            raise RuntimeError("a\x1b[2J\n<3>2026-11-24T05:30:00Z ERROR forged")
        except RuntimeError:
            first, *rest = format_of("site.crashed", for_journal=for_journal, level=logging.ERROR).split("\n")
        assert first.endswith("site.crashed")
        assert all(line.isprintable() for line in rest)
        prefix = "<3>  " if for_journal else "  "
        assert all(line.startswith(prefix) for line in rest)
        assert any("forged" in line for line in rest)


@pytest.mark.parametrize(
    ("level", "priority"),
    {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 3}.items(),
)
def test_the_journal_gets_the_priority_of_each_line(level: int, priority: int) -> None:
    """And no moment, which it has itself (sd-daemon(3))."""
    assert format_of("check.crashed", for_journal=True, level=level) == f"<{priority}>check.crashed"


@pytest.mark.process
def test_the_journal_is_found_by_its_stream(box: Box) -> None:
    box.publish()
    box.secret.chmod(0o644)
    with (box.home / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        box.run("--once", capture_output=False, stdout=subprocess.PIPE, stderr=stream, env=environment)
        stream.seek(0)
        assert stream.read().startswith('<4>config.warning text="aliyun.access_key_secret: ')


# --- weight -------------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("--help", {*HEAVY, "rich", "yaml"}),
        ("check", {*HEAVY, "dns", "hashlib", "rich", "ssl"}),
        ("plan", {*HEAVY, "rich"}),
        ("status", HEAVY),
        ("status --json", {*HEAVY, "rich"}),
        ("--once", {*HEAVY, "rich"}),
    ],
)
def test_what_is_not_used_is_not_loaded(command: str, unused: set[str], box: Box) -> None:
    """Where all is well. It is most of the CPU of a start; what measures coverage loads more."""
    box.publish()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment["PYTHONPROFILEIMPORTTIME"] = "1"
    done = box.run(*command.split(), env=environment)
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in loaded
    assert ("rich" in loaded) == (command == "status")
    assert loaded & unused == set()
