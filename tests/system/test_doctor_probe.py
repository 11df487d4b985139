"""`certbotless doctor --probe` as a person runs it, and as one ends it."""

import os
import signal
import subprocess

import pytest
from support.bed import KEY_ID, KEY_SECRET, ZONE, Bed, wait_until, write_secret
from support.programs import within_reach

from certbotless.sandbox.host import LAN_ADDRESS

NAME = f"_certbotless-probe.{ZONE}"


def test_the_report_is_on_standard_output_and_names_are_on_the_other(bare: Bed) -> None:
    done = bare.run("doctor", "--probe")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[:2] for line in done.stdout.splitlines()[-5:]] == ["1.", "2.", "3.", "4.", "5."]
    for word in (ZONE, KEY_ID, KEY_SECRET, LAN_ADDRESS):
        assert word not in done.stdout
    assert done.stderr == f"certbotless: the TXT record {NAME!r} is made, and deleted at the end\n"
    assert bare.dns.records() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_that_is_ended_takes_its_record_away(bare: Bed, number: signal.Signals) -> None:
    bare.dns.set_delay(0, 3600)
    bare.write()
    command = bare.command("doctor", "--probe")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: bool(bare.dns.records("_certbotless-probe")), "the record is made")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    bare.said += [out, err]
    assert process.returncode == 1, err
    assert out.splitlines()[-1] == "ended: Interrupted"
    assert bare.dns.records() == []


def test_root_may_read_secrets_that_the_owner_of_the_state_may_not(bare: Bed, user: int) -> None:
    """As those of /etc/credstore are."""
    secret = bare.home / "secret"
    write_secret(secret, KEY_SECRET)
    bare.config["aliyun"]["access_key_secret"] = f"file:{secret}"
    bare.state.mkdir(mode=0o700, exist_ok=True)
    os.chown(bare.state, user, user)
    with within_reach(bare):
        done = bare.run("doctor", "--probe")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bare.dns.records() == []
