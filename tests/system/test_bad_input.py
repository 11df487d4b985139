"""What goes wrong ends with one clear line, the right exit code, and nothing lost."""

import subprocess

from support.bed import Bed

from certbotless.sandbox.host import LAN_ADDRESS


def test_an_unknown_zone_and_a_name_in_none_say_so_before_any_order(bare: Bed) -> None:
    bare.config["sites"] = [bare.site("devbox.elsewhere.test", zone="elsewhere.test", deploy=[])]
    assert "the account has no such zone; add the zone in the Alidns console" in bare.refused("--once")
    del bare.config["sites"][0]["zone"]
    assert "no zone of this Aliyun account holds 'devbox.elsewhere.test'" in bare.refused("--once")
    assert bare.orders() == 0


def test_an_api_that_is_down_is_named_without_its_signed_url(bare: Bed) -> None:
    """The record cannot be written; what stands stays."""
    bare.ok("--once")
    bare.config["aliyun"]["endpoint"] = "http://127.0.0.1:1"
    bare.config["sites"] = [bare.site(address="10.79.40.99", deploy=[])]
    bare.write()
    # The API is tried for a minute; SIGTERM ends the wait at once.
    process = subprocess.Popen(bare.command("--once"), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        first = next(line for line in process.stderr if "record.due" in line)
        process.terminate()
        stderr = first + process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 1
    assert "Signature" not in stderr
    assert bare.a_values() == [LAN_ADDRESS]
