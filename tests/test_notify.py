"""The real program and a real receiver: who is told by a run, by the daemon, and by notify-test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from boxes import CANARY, DIRECTORY, DOMAIN, Box
from fakes import HttpServer, Reply, Request
from hooks import TOKEN, Hook
from machines import Machine
from papers import Reading, exchanged, yaml_after
from programs import readable_program

from certbotless.leaf import LeafFacts
from certbotless.state import SiteFile
from certbotless.store import Origin, Store

pytestmark = pytest.mark.process

NOBODY = 65534
REFUSED = "an edit of the configuration is refused"


def publish_old(box: Box) -> None:
    """Let a certificate be published that is near its end; there is no CA that would give another."""
    now = datetime.now(UTC)
    facts = LeafFacts((DOMAIN,), "ab" * 32, "CN=CA", now - timedelta(days=85), now + timedelta(days=5))
    origin = Origin(DIRECTORY, "", "ec256", facts.not_before)
    note = SiteFile(box.state_dir, DOMAIN).note_generation
    Store(box.certs_dir, DOMAIN).publish(b"chain", b"key", facts, origin, now, note)


# --- a run by hand, or by a timer ---------------------------------------------------------------------------


def test_a_run_tells_what_is_amiss_at_once_and_only_once(box: Box, hook: Hook) -> None:
    publish_old(box)
    box.write(f"notify: ['{hook.url}']")
    first = box.run("--once")
    assert (first.returncode, hook.told) == (1, [f"{DOMAIN}: its certificate is near its end (and 1 more)"])
    assert f"{DOMAIN}: no new certificate" in hook.bodies[0]
    assert "will expire in 4 days" in hook.bodies[0]
    assert box.run("--once").returncode == 1
    assert len(hook.told) == 1
    assert TOKEN not in first.stderr + first.stdout


def test_a_message_that_cannot_be_sent_makes_no_difference_to_the_exit_code(box: Box, hook: Hook) -> None:
    """All is well again, and the receiver is not."""
    publish_old(box)
    box.write(f"notify: ['{hook.url}']")
    assert box.run("--once").returncode == 1
    box.publish()
    hook.status = 500
    assert box.run("--once").returncode == 0
    assert hook.told[1:] == [f"{DOMAIN}: over: its certificate is near its end (and 1 more)"]
    shown = json.loads(box.run("status", "--json").stdout)["notify"]
    assert (shown["unsent"], shown["last_error"]["hint"]) == (1, "try it with: certbotless notify-test")


def test_a_run_that_is_killed_after_it_sent_tells_once_more_and_never_again(box: Box, hook: Hook) -> None:
    publish_old(box)
    box.write(f"notify: ['{hook.url}']")
    command = [sys.executable, "-m", "certbotless", "--config", str(box.file), "--once"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    hook.on_message = process.kill
    assert process.wait(60) == -signal.SIGKILL
    hook.on_message = lambda: None
    for _ in range(2):
        box.run("--once")
    assert len(hook.told) == 2


def test_neither_the_daemon_s_own_run_nor_a_rehearsal_tells_anybody(box: Box, hook: Hook) -> None:
    """It has its configuration on standard input; the daemon does the telling. A rehearsal is no news."""
    publish_old(box)
    text = box.write(f"notify: ['{hook.url}']")
    command = [sys.executable, "-m", "certbotless", "--config", "-", "--once"]
    subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=60)
    box.run("--renew-now", "--dry-run")
    assert hook.told == []
    assert not (box.state_dir / "notify.json").exists()


def test_root_tells_by_a_url_that_the_owner_of_the_state_cannot_read(hook: Hook) -> None:
    """As `sudo certbotless --once` does for the service's user."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        box = Box(Path(home))
        publish_old(box)
        Path(home, "url").touch(0o600)
        Path(home, "url").write_text(hook.url)
        box.write(f"notify: ['file:{home}/url']")
        box.state_dir.mkdir(exist_ok=True)
        for path in [*box.state_dir.rglob("*"), box.state_dir, box.certs_dir, *box.certs_dir.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        # Who measures the coverage could not write it down as another user.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        with readable_program(box.file.parent) as command:
            done = subprocess.run(
                [*command, "--config", str(box.file), "--once"],
                env=environment,
                cwd=home,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        assert hook.told == [f"{DOMAIN}: its certificate is near its end (and 1 more)"]
        assert (box.state_dir / "notify.json").stat().st_uid == NOBODY


# --- the daemon ---------------------------------------------------------------------------------------------


def test_the_daemon_tells_of_a_refused_edit_and_of_its_end_once_each(machine: Machine, hook: Hook) -> None:
    machine.write(notify=[hook.url])
    file = machine.home / "state" / "notify.json"
    with machine.daemon():
        machine.file.write_text(machine.text(notify=[hook.url]).replace('"sites"', '"sits"'))
        machine.wait_until(lambda: hook.times(REFUSED) == 1)
        machine.write(notify=[hook.url])
        machine.wait_until(lambda: hook.times(f"over: {REFUSED}") == 1)
        machine.wait_until(lambda: json.loads(file.read_text())["unsent"] == [])
        shown = machine.status()["notify"]
    assert hook.times(REFUSED) == 1
    assert shown["last_error"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["last_sent"])
    assert TOKEN not in machine.log.read_text()


def test_what_could_not_be_sent_shows_in_status_and_in_doctor(machine: Machine, hook: Hook) -> None:
    hook.status = 503
    machine.write(notify=[hook.url])
    with machine.daemon():
        machine.file.write_text(machine.text(notify=[hook.url]).replace('"sites"', '"sits"'))
        machine.wait_until(lambda: "notify.failed" in machine.log.read_text())
        machine.write(notify=[hook.url])
        shown = machine.status()["notify"]
        texts = [said_by(machine, "status"), said_by(machine, "doctor")]
    assert shown["unsent"] >= 1
    assert shown["last_error"]["what"].startswith("notify[0] (json): Failed to send JSON POST notification")
    assert "\nnotify: notify[0] (json): Failed to send" in texts[0]
    assert "warn  notify notify[0] (json): the last message was not sent" in texts[1]
    for text in (*texts, json.dumps(shown), machine.log.read_text()):
        assert TOKEN not in text


def said_by(machine: Machine, command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "certbotless", "--config", str(machine.file), command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


# --- notify-test --------------------------------------------------------------------------------------------


def test_a_test_message_goes_to_each_url(box: Box, hook: Hook) -> None:
    box.write(f"notify: ['{hook.url}', '{hook.url}/second']")
    done = box.run("notify-test")
    assert (done.returncode, done.stdout) == (0, "notify[0] (json): ok\nnotify[1] (json): ok\n")
    assert hook.told == ["a test", "a test"]


@pytest.mark.page("docs/notifications.md", "a credential", "try")
def test_a_url_is_kept_as_a_credential_and_tried_as_the_page_says(
    box: Box, hook: Hook, tmp_path: Path, paper: Reading
) -> None:
    page, folder = "docs/notifications.md", tmp_path / "credstore"
    folder.mkdir()
    (store,) = paper.commands(page, "a credential")
    line = exchanged(store, {"/etc/credstore": str(folder)})
    subprocess.run(["sh", "-euc", line], input=f"{hook.url}\n", text=True, check=True)
    box.write(yaml.safe_dump(yaml_after(page, "a credential", {})))
    (command,) = paper.commands(page, "try")
    done = box.run(*command.split()[1:], env=os.environ | {"CREDENTIALS_DIRECTORY": str(folder)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "notify[0] (json): ok\n", "")


def test_a_url_that_does_not_work_is_named_with_the_reason_and_without_its_token(
    box: Box, hook: Hook
) -> None:
    box.write(f"notify: ['{hook.url}', 'jsons://127.0.0.1:1/{TOKEN}', 'nosuch://{TOKEN}']")
    done = box.run("notify-test")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "notify[0] (json): ok",
        "notify[1] (jsons): failed: no connection (Connection refused); check the network, the proxy and the"
        " URL",
        "notify[2] (nosuch): failed: this is no URL of a service that apprise knows here; see"
        " docs/notifications.md for its form",
    ]
    assert TOKEN not in done.stdout + done.stderr


def test_a_test_without_anybody_to_tell_says_so(box: Box) -> None:
    done = box.run("notify-test")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "certbotless: notify names nobody to tell; see docs/notifications.md\n"


def test_the_proxy_of_the_environment_is_used(box: Box, hook: Hook) -> None:
    """A webhook on the Internet may be behind one."""
    asked: list[str] = []

    def answer(request: Request) -> Reply:
        asked.append(request.path)
        return Reply(200, b"")

    box.write("notify: ['json://hooks.example.com/x']")
    with HttpServer(answer) as proxy:
        done = box.run("notify-test", env=os.environ | {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url})
    assert (done.returncode, asked) == (0, ["http://hooks.example.com/x"])


# --- the configuration --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (f"[{TOKEN}]", "notify[0]: must be a URL of apprise"),
        (f"['json://x', '{TOKEN}: //']", "notify[1]: must be a URL of apprise"),
        (TOKEN, "notify: must be a list"),
        ("[7]", "notify[0]: must be text"),
    ],
)
def test_what_is_no_url_is_a_fault_that_does_not_tell_it(value: str, fault: str, box: Box) -> None:
    box.write(f"notify: {value}")
    done = box.run("check")
    assert done.returncode == 2
    assert fault in done.stderr
    assert TOKEN not in done.stderr


def test_check_needs_no_library_and_warns_where_there_is_none(box: Box) -> None:
    box.write("notify: ['json://127.0.0.1/x']")
    script = (
        "import sys; sys.modules['apprise'] = None\n"
        f"from certbotless import cli; code = cli.main(['--config', {str(box.file)!r}, 'check'])\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "warning: notify: " in done.stderr
    assert "pip install 'certbotless[notify]'" in done.stderr
    assert "notify" not in box.run("check").stderr


def test_a_url_that_cannot_be_read_holds_up_no_certificate(box: Box, tmp_path: Path) -> None:
    """It is warned of; only who wants to try it is refused."""
    box.publish()
    box.write(f"notify: ['file:{tmp_path / 'none'}']")
    for arguments in (["check"], ["--once"]):
        done = box.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert "notify[0]: cannot read the secret" in done.stderr
    assert not (box.state_dir / "notify.json").exists()
    tried = box.run("notify-test")
    assert (tried.returncode, tried.stdout) == (1, "")
    assert "cannot read the secret" in tried.stderr


def test_a_url_that_cannot_be_read_holds_up_no_daemon(machine: Machine, hook: Hook, tmp_path: Path) -> None:
    """Neither its start nor an edit; what it has to tell is told as soon as the URL is there."""
    url = tmp_path / "url"
    machine.write(notify=[f"file:{url}"])
    with machine.daemon():
        machine.wait_until(lambda: "notify[0]: cannot read the secret" in machine.log.read_text())
        machine.write(notify=[f"file:{url}"], check_every="2s")
        machine.wait_until(lambda: "config.accepted" in machine.log.read_text())
        machine.file.write_text(machine.text(notify=[f"file:{url}"]).replace('"sites"', '"sits"'))
        machine.wait_until(lambda: "config.refused" in machine.log.read_text())
        url.write_text(hook.url)
        machine.wait_until(lambda: hook.times(REFUSED) == 1)
        # Asked to end while coverage writes at its exit, the errand would have coverage write once more.
        machine.wait_for_errands()
    assert "Traceback" not in machine.log.read_text()


def test_another_receiver_is_no_other_configuration_for_a_site(box: Box) -> None:
    """A retry time that counts for one counts for the other."""
    from certbotless import configfile, edits

    def parsed(*further: str) -> Any:
        return configfile.parse(box.write(*further).encode(), "c.yaml")

    none, one = parsed(), parsed("notify: ['json://a.example.com/PlantedCanary']")
    two = parsed("notify: ['json://b.example.com/PlantedCanary']")
    assert none.digest(none.sites[0]) == one.digest(one.sites[0]) == two.digest(two.sites[0])
    assert edits.changes(none, one) == ["notify added"]
    assert edits.changes(one, two) == ["notify changed"]
    assert edits.changes(two, none) == ["notify removed"]
    assert CANARY not in repr(one)
