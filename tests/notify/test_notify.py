"""The commands, the daemon and a real receiver: what a run, the daemon and notify-test send it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.boxes import CANARY, DIRECTORY, DOMAIN, Box
from support.daemons import PATIENCE_S, Machine
from support.fakes import HttpServer, Reply, Request
from support.hooks import TOKEN, Hook
from support.pages import Reading, exchanged, yaml_after
from support.programs import readable_program

from certbotless.base.clock import SystemClock
from certbotless.cli.doctor import run as doctor
from certbotless.cli.doctor.finding import Case
from certbotless.cli.main import main
from certbotless.config import diff, load
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.redact import Redactor
from certbotless.model.certificate import LeafFacts, Origin
from certbotless.notify import outbox
from certbotless.service import oneshot
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile

NOBODY = 65534
Run = Callable[..., tuple[int, str]]
REFUSED = "an edit of the configuration is refused"
NEAR_ITS_END = f"{DOMAIN}: its certificate ends soon (and 1 more)"


@pytest.fixture
def run(box: Box, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command in this process, and returns its exit code and all that it printed."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: str) -> tuple[int, str]:
        code = main(["--config", str(box.file), *arguments])
        said = capfd.readouterr()
        return code, said.out + said.err

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def api() -> Iterator[str]:
    """The endpoint of an API that refuses our key at once, so that no new certificate can be had."""
    refusal = json.dumps(
        {"RequestId": "1", "Code": "InvalidAccessKeyId.NotFound", "Message": "none"}
    ).encode()
    with HttpServer(lambda _: Reply(404, refusal)) as server:
        yield server.url


def prepare(box: Box, api: str, url: str) -> str:
    """Name a receiver, and let a certificate be near its end; return the text of the configuration."""
    box.endpoint = api
    now = datetime.now(UTC)
    facts = LeafFacts((DOMAIN,), "ab" * 32, "CN=CA", now - timedelta(days=85), now + timedelta(days=5))
    origin = Origin(DIRECTORY, "", "ec256", facts.not_before)
    note = SiteFile(box.state_dir, DOMAIN).note_generation
    Store(box.certs_dir, DOMAIN).publish(b"chain", b"key", facts, origin, now, note)
    return box.write(f"notify: ['{url}']", "dns: {nameservers: ['127.0.0.1:1']}")


# --- a run by hand, or by a timer ---------------------------------------------------------------------------


@pytest.mark.process
def test_a_run_tells_what_is_amiss_at_once_and_only_once(box: Box, hook: Hook, api: str, run: Run) -> None:
    """The daemon's own run, with its configuration on standard input, and a rehearsal tell nobody."""
    text = prepare(box, api, hook.url)
    command = [sys.executable, "-m", "certbotless", "--config", "-", "--once"]
    subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=60)
    run("--renew-now", "--dry-run")
    assert hook.told == []
    code, said = run("--once")
    assert (code, hook.told) == (1, [NEAR_ITS_END])
    assert f"{DOMAIN}: no new certificate" in hook.bodies[0]
    assert "will expire in 4 days" in hook.bodies[0]
    assert run("--once")[0] == 1
    assert len(hook.told) == 1
    assert TOKEN not in said


def test_two_commands_that_end_at_once_send_each_message_once(box: Box, hook: Hook, api: str) -> None:
    """The second one ends while the first one's message is on its way; it waits for the lock."""
    prepare(box, api, hook.url)
    config, waits = load.load(box.file), threading.Event()

    class Clock(SystemClock):
        def sleep(self, seconds: float) -> None:
            waits.set()
            super().sleep(seconds)

    def send(clock: SystemClock) -> None:
        to, redact, prints = outbox.receivers(config), Redactor.of(config), Fingerprints.of(config)
        oneshot.send_messages(config, to, redact, clock, prints)

    def end_as_well() -> None:
        if len(hook.told) == 1:
            pool.submit(send, Clock())
            waits.wait(PATIENCE_S)

    hook.on_message = end_as_well
    with ThreadPoolExecutor() as pool:
        send(SystemClock())
    assert hook.told == [f"{DOMAIN}: its certificate ends soon"]


def test_a_message_that_cannot_be_sent_shows_and_makes_no_difference_to_the_exit_code(
    box: Box, hook: Hook, api: str, run: Run
) -> None:
    """All is well again, and the receiver is not."""
    prepare(box, api, hook.url)
    assert run("--once")[0] == 1
    box.publish()
    hook.status = 503
    assert run("--once")[0] == 0
    assert hook.told[1] == f"{DOMAIN}: solved: its certificate ends soon (and 2 more)"
    shown = json.loads(run("status", "--json")[1])["notify"]
    assert shown["unsent"] == 1
    assert shown["last_error"]["what"].startswith("notify[0] (json): Failed to send JSON POST notification")
    table = run("status")[1]
    assert "\nnotify: notify[0] (json): Failed to send" in table
    case = Case(load.load(box.file), SystemClock(), lambda _: None)
    doctor.receivers(case)
    (finding,) = case.findings
    assert (finding.level, finding.about) == ("warn", "notify[0] (json)")
    assert "the last message was not sent: " in finding.text
    for text in (table, json.dumps(shown), finding.text, finding.cure):
        assert TOKEN not in text


@pytest.mark.process
def test_root_tells_by_a_url_that_the_owner_of_the_state_cannot_read(hook: Hook, api: str) -> None:
    """As `sudo certbotless --once` does for the service's user."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        box = Box(Path(home))
        prepare(box, api, f"file:{home}/url")
        Path(home, "url").touch(0o600)
        Path(home, "url").write_text(hook.url)
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
        assert hook.told == [NEAR_ITS_END]
        assert (box.state_dir / "notify.json").stat().st_uid == NOBODY


def test_a_url_that_cannot_be_read_holds_up_no_certificate(box: Box, tmp_path: Path, run: Run) -> None:
    """It is warned of; only notify-test, which would try it, is refused."""
    box.publish()
    box.write(f"notify: ['file:{tmp_path / 'none'}']")
    assert "notify[0]: cannot read the secret" in run("check")[1]
    assert run("--once")[0] == 0
    assert not (box.state_dir / "notify.json").exists()
    code, said = run("notify-test")
    assert (code, "cannot read the secret" in said) == (1, True)


# --- the daemon ---------------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_daemon_tells_of_a_refused_edit_and_of_its_end_once_each(
    machine: Machine, hook: Hook, tmp_path: Path
) -> None:
    """A URL that cannot be read holds up neither its start nor an edit; a slow receiver holds up no look."""
    url, may_answer = tmp_path / "url", threading.Event()
    hook.on_message = lambda: may_answer.wait(PATIENCE_S)
    keys: dict[str, Any] = {"notify": [f"file:{url}"], "check_every": "2s"}
    machine.write(notify=keys["notify"])
    with machine.daemon():
        machine.wait_for_log("notify[0]: cannot read the secret")
        machine.write(**keys)
        machine.wait_for_log("config.accepted")
        machine.file.write_text(machine.text(**keys).replace('"sites"', '"sits"'))
        machine.wait_for_log("config.refused")
        url.write_text(hook.url)
        machine.wait_until(lambda: hook.times(REFUSED) == 1)
        machine.wait_for_looks(2)
        assert "notify.sent" not in machine.log.read_text()
        may_answer.set()
        machine.write(**keys)
        machine.wait_until(lambda: hook.times(f"solved: {REFUSED}") == 1)
        machine.wait_for_log("notify.sent", 2)
        shown = machine.status()["notify"]
        # Asked to end while coverage writes at its exit, the errand would have coverage write once more.
        machine.wait_for_errands()
    assert hook.times(REFUSED) == 1
    assert (shown["unsent"], shown["last_error"]) == (0, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["last_sent"])
    for word in (TOKEN, "Traceback"):
        assert word not in machine.log.read_text()


# --- notify-test --------------------------------------------------------------------------------------------


@pytest.mark.process
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
    assert hook.told == ["a test"]


def test_a_url_that_does_not_work_is_named_with_the_reason_and_without_its_token(
    box: Box, hook: Hook, run: Run
) -> None:
    """The others are sent the test all the same."""
    urls = [hook.url, f"jsons://127.0.0.1:1/{TOKEN}", f"nosuch://{TOKEN}", f"{hook.url}/second"]
    box.write(f"notify: {urls}")
    code, said = run("notify-test")
    assert (code, hook.told) == (1, ["a test", "a test"])
    assert said.splitlines() == [
        "notify[0] (json): ok",
        "notify[1] (jsons): failed: no connection (Connection refused); check the URL, the network, and the"
        " settings of the service, then: certbotless notify-test",
        "notify[2] (nosuch): failed: apprise does not know a service for this URL here; see"
        " docs/notifications.md for its form",
        "notify[3] (json): ok",
    ]
    assert TOKEN not in said


def test_a_test_without_a_receiver_says_so(run: Run) -> None:
    assert run("notify-test") == (
        1,
        "certbotless: notify is empty: there is no receiver; see docs/notifications.md\n",
    )


def test_the_proxy_of_the_environment_is_used(
    box: Box, run: Run, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook on the Internet may be behind one."""
    asked: list[str] = []

    def answer(request: Request) -> Reply:
        asked.append(request.path)
        return Reply(200, b"")

    box.write("notify: ['json://hooks.example.com/x']")
    with HttpServer(answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert run("notify-test")[0] == 0
    assert asked == ["http://hooks.example.com/x"]


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
def test_what_is_no_url_is_a_fault_that_does_not_tell_it(value: str, fault: str, box: Box, run: Run) -> None:
    box.write(f"notify: {value}")
    code, said = run("check")
    assert (code, fault in said, TOKEN in said) == (2, True, False)


def test_check_needs_no_library_and_warns_where_there_is_none(
    box: Box, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write("notify: ['json://127.0.0.1/x']")
    assert "notify" not in run("check")[1]
    monkeypatch.setitem(sys.modules, "apprise", None)
    code, said = run("check")
    assert (code, "warning: notify: " in said, "pip install '.[notify]'" in said) == (0, True, True)


def test_another_receiver_is_no_other_configuration_for_a_site(box: Box) -> None:
    """A retry time that counts for one counts for the other."""

    def parsed(*further: str) -> Any:
        return load.parse(box.write(*further).encode(), "c.yaml")

    none, one = parsed(), parsed("notify: ['json://a.example.com/PlantedCanary']")
    two = parsed("notify: ['json://b.example.com/PlantedCanary']")
    digests = {Fingerprints.of(each).digests(each, each.sites[0]) for each in (none, one, two)}
    assert len(digests) == 1
    assert diff.changes(none, one) == ["notify added"]
    assert diff.changes(one, two) == ["notify changed"]
    assert diff.changes(two, none) == ["notify removed"]
    assert CANARY not in repr(one)
