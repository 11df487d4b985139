"""The command line: what each command prints where, and with which code it ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from support.boxes import CANARY, DOMAIN, Box, Told, assert_refused

from certbotless import __version__
from certbotless.base import words
from certbotless.base.clock import SystemClock
from certbotless.base.locks import DaemonLock
from certbotless.base.log_context import Event
from certbotless.base.times import rfc3339
from certbotless.base.words import Text
from certbotless.cli.arguments import parse
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
NO_DAEMON = "daemon: not running: only a timer would try again; start it: systemctl start certbotless"


# --- the configuration ------------------------------------------------------------------------------------


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
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("command", ["--once", "plan"])
def test_a_command_with_a_log_does_its_work_where_output_is_closed(
    box: Box, command: str, closed: str
) -> None:
    box.publish()
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *box.command(command)]
    run = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


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


@pytest.mark.process
def test_what_a_command_has_printed_before_it_fails_reaches_a_pipe(box: Box) -> None:
    """The line of a question ends, too, that is answered by Ctrl-D."""
    keyboard, terminal = os.openpty()
    os.write(keyboard, b"\x04")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = box.command("init", "--config", str(box.home / "new.yaml"))
    run = subprocess.run(
        command, stdin=terminal, capture_output=True, text=True, env=buffered, timeout=60, check=False
    )
    assert (run.returncode, run.stdout[-1:]) == (2, "\n")
    os.close(terminal)
    os.close(keyboard)


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


# --- secrets ----------------------------------------------------------------------------------------------


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


# --- looking ----------------------------------------------------------------------------------------------


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


# --- status of a broken file ------------------------------------------------------------------------------


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


# --- acting -----------------------------------------------------------------------------------------------


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


# --- the last attempt -------------------------------------------------------------------------------------


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


# --- weight -----------------------------------------------------------------------------------------------


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
