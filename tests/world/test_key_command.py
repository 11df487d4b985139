"""A key that a program prints: what is taken, and what is said of everything else."""

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.bed import wait_until

from certbotless.base.clock import SystemClock
from certbotless.base.errors import CertbotlessError, DnsUnavailable, Interrupted, KeyRefused
from certbotless.base.privileges import user_of
from certbotless.base.times import rfc3339
from certbotless.world.credentials import command
from certbotless.world.credentials.access import Key
from certbotless.world.credentials.command import key_from

ID, SECRET, TOKEN = (
    "STS.NTplantedCanary",
    "planted/Canary+of=the/1st/secret",
    "CAISplantedCanaryToken0123456789+/==",
)
WORDY = "secretWithoutAnyDigitInIt"
IN_AN_HOUR = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
KEY = Key(ID, SECRET, TOKEN, IN_AN_HOUR)
PLAIN = {
    "AccessKeyId": ID,
    "AccessKeySecret": SECRET,
    "SecurityToken": TOKEN,
    "Expiration": rfc3339(IN_AN_HOUR),
}

pytestmark = pytest.mark.process


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return the argument list of a program made of these lines of a shell."""

    def make(lines: str) -> list[str]:
        path = tmp_path / "aliyun-key"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return [str(path)]

    return make


def prints(data: object) -> str:
    return f"cat <<'END'\n{data if isinstance(data, str) else json.dumps(data)}\nEND"


def fetched(argv: list[str], **environment: str) -> Key:
    return key_from(argv, {"PATH": os.environ["PATH"], **environment}, user_of(os.geteuid()), SystemClock())


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def fault_of(argv: list[str], kind: type[CertbotlessError] = DnsUnavailable) -> str:
    """Return what is said of a program that gives no key; never a part of one."""
    with pytest.raises(kind) as caught:
        fetched(argv)
    assert type(caught.value) is kind
    for withheld in (SECRET, TOKEN, ID):
        assert withheld not in repr(caught.value) + str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(argv[0], "KEY")


# --- what is taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "printed",
    [
        PLAIN,
        # The `aliyun` command's own mode External (credentials-go, external.go).
        {
            "mode": "StsToken",
            "access_key_id": ID,
            "access_key_secret": SECRET,
            "sts_token": TOKEN,
            "expiration": rfc3339(IN_AN_HOUR),
        },
        # What `aliyun sts AssumeRole` prints.
        {"AssumedRoleUser": {"Arn": "acs:ram::1:role/x"}, "Credentials": PLAIN, "RequestId": "6894B13B"},
        # What `vault read -format=json alicloud/creds/NAME` prints.
        {
            "lease_duration": 3599,
            "data": {
                "access_key": ID,
                "secret_key": SECRET,
                "security_token": TOKEN,
                "expiration": rfc3339(IN_AN_HOUR),
            },
        },
    ],
    ids=["of the APIs", "mode External", "sts AssumeRole", "vault"],
)
def test_the_forms_of_programs_that_people_have_are_taken(
    program: Callable[[str], list[str]], printed: dict[str, Any]
) -> None:
    assert fetched(program(prints(json.dumps(printed, indent=2)))) == KEY


@pytest.mark.parametrize(
    "end", [{}, {"Expiration": ""}, {"Expiration": None}], ids=["absent", "empty", "null"]
)
def test_a_key_without_an_end_and_a_token_lasts(
    program: Callable[[str], list[str]], end: dict[str, Any]
) -> None:
    printed = {"AccessKeyId": ID, "AccessKeySecret": SECRET, **end}
    assert fetched(program(prints(printed))) == Key(ID, SECRET)


def test_an_end_may_have_any_offset_and_parts_of_a_second(program: Callable[[str], list[str]]) -> None:
    east = IN_AN_HOUR.astimezone(timezone(timedelta(hours=8))).isoformat()
    forms = {
        IN_AN_HOUR.isoformat().replace("+00:00", ".250+00:00"): timedelta(milliseconds=250),
        rfc3339(IN_AN_HOUR).replace("Z", ".000000001Z"): timedelta(),
        rfc3339(IN_AN_HOUR).lower(): timedelta(),
        east: timedelta(),
    }
    for form, more in forms.items():
        assert fetched(program(prints(PLAIN | {"Expiration": form}))).ends_at == IN_AN_HOUR + more, form


def test_it_runs_without_a_shell_with_its_arguments_and_the_home_of_its_user(
    program: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """That of root is of no use to the user that a command of root has become."""
    argv = [
        *program(f'printf "%s|" "$@" "$HOME" "$USER" "$OURS" >{tmp_path}/seen\n{prints(PLAIN)}'),
        "a b;$(id)",
    ]
    fetched(argv, HOME="/home/somebody", OURS="kept")
    assert (tmp_path / "seen").read_text() == "a b;$(id)|/root|root|kept|"


def test_what_it_leaves_behind_is_not_waited_for(program: Callable[[str], list[str]]) -> None:
    """As an agent that a password store starts, which holds the output open."""
    began = time.monotonic()
    assert fetched(program(f"sleep 20 &\n{prints(PLAIN)}")) == KEY
    assert time.monotonic() - began < 15


def test_words_on_its_standard_error_are_no_matter(program: Callable[[str], list[str]]) -> None:
    assert fetched(program(f"yes warning | head -c 300000 >&2\n{prints(PLAIN)}")) == KEY


# --- what is not --------------------------------------------------------------------------------------------


@pytest.mark.row(115)
@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("exit 3", "the command 'KEY' ended with 3; run it by hand as user root"),
        ("kill -9 $$", "the command 'KEY' was ended by the signal 9; run it by hand as user root"),
        ("echo 'permission denied' >&2; exit 1", "the command 'KEY' ended with 1: permission denied; run it"),
        (":", "the command 'KEY' printed no JSON object; run it by hand as user root; all other"),
        (prints("[1]"), "the command 'KEY' printed no JSON object;"),
        (prints(json.dumps(PLAIN)[:-20]), "the command 'KEY' printed no JSON object;"),
        (f"echo Loading.\n{prints(PLAIN)}", "the command 'KEY' printed something before its JSON object;"),
        (prints({"AccessKeyId": ID}), "the command 'KEY' gives no AccessKeySecret; run it by hand"),
        (prints(PLAIN | {"AccessKeyId": 5}), "the command 'KEY' gives no AccessKeyId of printable ASCII;"),
        (
            prints(PLAIN | {"SecurityToken": 5}),
            "the command 'KEY' gives no SecurityToken of printable ASCII;",
        ),
        (prints(PLAIN | {"Expiration": False}), "gives an Expiration that is not a time of RFC 3339"),
        (prints(PLAIN | {"AccessKeySecret": "a b"}), "gives no AccessKeySecret of printable ASCII;"),
        (prints(PLAIN | {"Expiration": "soon"}), "gives an Expiration that is not a time of RFC 3339"),
        (
            prints(PLAIN | {"Expiration": "2026-11-28T05:00:00"}),
            "gives an Expiration that is not a time of RFC",
        ),
        (prints(PLAIN | {"Expiration": 1791000000}), "gives an Expiration that is not a time of RFC 3339"),
        (
            prints(PLAIN | {"Expiration": "2020-01-02T03:04:05Z"}),
            "gives a key that ended at 2020-01-02T03:04:05Z, by the clock of this machine; set the clock",
        ),
        ('echo \'{"AccessKeyId": "\\\\ud800half"}\'', "the command 'KEY' gives no AccessKeyId of printable"),
        ("yes | head -c 70000", "the command 'KEY' printed more than 64 KiB; run it"),
        ("exec yes", "the command 'KEY' printed more than 64 KiB; run it"),
        # Its words are shown, however it fails.
        ("echo 'no lease' >&2", "the command 'KEY' printed no JSON object: no lease; run it by hand"),
        (f"echo stale >&2\n{prints(PLAIN | {'AccessKeyId': ''})}", "gives no AccessKeyId: stale; run it"),
    ],
)
def test_what_gives_no_key_is_told_in_one_line(
    program: Callable[[str], list[str]], lines: str, told: str
) -> None:
    assert told in fault_of(program(lines))


@pytest.mark.row(115)
def test_a_program_that_cannot_be_run_is_for_a_person(
    program: Callable[[str], list[str]], tmp_path: Path
) -> None:
    argv = program("exit 0")
    Path(argv[0]).chmod(0o644)
    told = fault_of(argv, KeyRefused)
    assert "the command 'KEY' cannot be run: Permission denied; let user root run it: chmod +x" in told
    absent = [str(tmp_path / "absent")]
    told = fault_of(absent, KeyRefused)
    assert "the command 'KEY' cannot be run: No such file or directory; correct aliyun.credentials" in told
    Path(argv[0]).chmod(0o755)
    Path(argv[0]).write_text("#!/bin/sh\r\nexit 0\r\n")
    told = fault_of(argv, KeyRefused)
    assert "No such file or directory; its first line names a program that is not there, or ends as" in told
    Path(argv[0]).write_text("echo {}\n")
    Path(argv[0]).chmod(0o755)
    assert "cannot be run: Exec format error; let it begin with the line #!/bin/sh" in fault_of(
        argv, KeyRefused
    )


@pytest.mark.row(115)
def test_a_program_that_is_just_being_written_is_run_again_later(program: Callable[[str], list[str]]) -> None:
    argv = program(prints(PLAIN))
    with Path(argv[0]).open("a"):
        assert "the command 'KEY' cannot be run: Text file busy; run it by hand" in fault_of(argv)
    assert fetched(argv) == KEY


@pytest.mark.row(115)
def test_one_that_does_not_end_is_ended_with_all_that_it_started(
    program: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "TIMEOUT_S", 1)
    argv = program(f"sleep 300 & echo $! >{tmp_path}/pid; echo waiting for a pin >&2; wait")
    assert "the command 'KEY' did not end in 1 s: waiting for a pin; run it" in fault_of(argv)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(pid), "what it started has ended")


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_one_that_has_become_roots_and_cannot_be_ended_keeps_nobody_waiting(
    program: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(command, "TIMEOUT_S", 0.5)
    argv = program(f"echo $$ >{tmp_path}/pid; exec sleep 60")
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", cannot)
        assert "the command 'KEY' did not end in 0.5 s" in fault_of(argv)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    gc.collect()  # the process that nobody has waited for


@pytest.mark.row(115)
def test_words_without_end_are_read_until_the_time_is_over(
    program: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of them are kept, and no more."""
    monkeypatch.setattr(command, "TIMEOUT_S", 0.3)
    told = fault_of(program("exec yes no >&2"))
    assert "the command 'KEY' did not end in 0.3 s: " in told
    assert told.endswith("no\\nno; run it by hand as user root")
    assert len(told) < 600


def test_a_stop_ends_it(program: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_STOP_LOOK_S", 0.1)
    clock = SystemClock()
    threading.Timer(0.2, clock.stop).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        key_from(program("exec sleep 20"), {"PATH": os.environ["PATH"]}, user_of(os.geteuid()), clock)
    assert time.monotonic() - began < 15


@pytest.mark.row(115)
@pytest.mark.parametrize(
    "lines",
    [
        f"{prints(PLAIN)}\necho 'the key is {SECRET} with {TOKEN} of {ID}' >&2; exit 1",
        f'echo \'{{"AccessKeyId": "{ID}", "AccessKeySecret": "{SECRET}"\' >&2; exit 1',
        f"set -x\nexport AccessKeySecret={SECRET} SecurityToken={TOKEN}\nexit 1",
        f"echo 'of s.{TOKEN[4:]}, hvb.{TOKEN[4:]}' >&2; exit 1",
        f"printf 'before\\033[31m\\n{TOKEN}\\n' >&2; exit 1",
        # Without digits no form tells it from a word.
        f"{prints({'Credentials': PLAIN | {'AccessKeySecret': WORDY}})}\necho 'of {WORDY}' >&2; exit 1",
        f"{prints({'data': {'secret_key': WORDY}})}\necho 'of {WORDY}' >&2; exit 1",
        # An object that is not whole, and one of a form that is not known.
        f"""printf '%s' '{{"secret": "{WORDY}", "x":'\necho 'of {WORDY}' >&2""",
        f"{prints({'auth': {'secret': WORDY}})}\necho 'of {WORDY}' >&2",
        f"printf '{WORDY} ' >&2; yes Ab3 | tr -d '\\n' | head -c {4095 - len(WORDY) // 2} >&2; exit 1",
    ],
    ids=[
        *("of its own key", "as JSON", "of a shell", "of Vault", "with control characters", "STS", "Vault"),
        *("not whole", "of another form", "cut"),
    ],
)
def test_its_last_words_are_shown_without_what_may_be_secret(
    program: Callable[[str], list[str]], lines: str
) -> None:
    told = fault_of(program(lines))
    assert "ended with 1: " in told or "printed no JSON object: " in told or "gives no " in told
    assert "***" in told
    assert WORDY[-8:] not in told
    assert TOKEN[-12:] not in told
    assert told.isprintable()


def test_long_words_are_cut_at_their_beginning(program: Callable[[str], list[str]]) -> None:
    told = fault_of(program("yes 'no good' | head -c 9000 >&2; echo 'the reason' >&2; exit 1"))
    assert told.endswith("the reason; run it by hand as user root")
    assert len(told) < 600
