"""Keys that are not in the file: from a program, the metadata service, a role, a profile of `aliyun`."""

from collections.abc import Iterator

import pytest
from support.bed import Bed
from support.brokers import Broker

from certbotless.sandbox.host import LAN_ADDRESS


@pytest.fixture
def broker(bare: Bed) -> Iterator[Broker]:
    """A bed whose keys come from a program that asks a broker for each."""
    broker = Broker(bare.dns, bare.home)
    with broker.running() as argv:
        for key in ("access_key_id", "access_key_secret"):
            del bare.config["aliyun"][key]
        bare.config["aliyun"]["credentials"] = {"command": argv}
        yield broker


def assert_is_well(bed: Bed) -> None:
    """The record is right, there is a certificate, and no challenge is left."""
    assert bed.a_values() == [LAN_ADDRESS]
    assert bed.published()
    bed.assert_no_txt()


def test_a_program_gives_one_key_for_a_whole_run(broker: Broker, bare: Bed) -> None:
    bare.ok("--once")
    assert broker.given == 1
    bare.forget_account()
    bare.ok("--renew-now")
    assert broker.given == 2
    assert_is_well(bare)
    assert {call.code for call in bare.dns.calls} == {"OK"}
    bare.ok("--once")
    assert broker.given == 2  # nothing was due
