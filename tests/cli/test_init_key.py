"""The test of the key before the first configuration is written: what is wrong, and what cures it."""

from pathlib import Path

import pytest
from support.boxes import CANARY
from support.newcomer import DOMAIN, KEY_ID, World, keys

from certbotless.base.errors import DnsUnavailable, ZoneNotFound
from certbotless.cli.init.key import Key, Tried, try_key
from certbotless.config import load
from certbotless.sandbox.alidns import ACCOUNT_ID, AlidnsEmulator
from certbotless.world.credentials.errors import ApiRefusal

WRONG = ApiRefusal("refused with SignatureDoesNotMatch", code="SignatureDoesNotMatch", hint="correct it")


def test_a_key_that_fails_is_asked_for_again(file: Path) -> None:
    """Enter is as before, so that a policy may be attached meanwhile."""
    world = World(tried=[Tried(error=WRONG), Tried(error=WRONG)])
    _, said = world.run(file, keys({"AccessKey ID": [KEY_ID], "AccessKey secret": ["typo", "", CANARY]}))
    assert [(key.id, key.secret) for key in world.keys] == [
        (KEY_ID, "typo"),
        (KEY_ID, "typo"),
        (KEY_ID, CANARY),
    ]
    assert said.count("  the key does not work: refused with SignatureDoesNotMatch; correct it\n") == 2
    assert "  the key works, sweetlove.top found\n" in said
    assert load.load(file).account.key[1].read() == CANARY
    assert "# zone: sweetlove.top " in file.read_text()


def test_a_key_may_be_left_untested(file: Path) -> None:
    """Where this machine is to be made ready without a network."""
    world = World(tried=[Tried(error=DnsUnavailable("no connection"))])
    world.run(file, keys({"AccessKey ID": [KEY_ID, "skip"]}))
    assert len(world.keys) == 1
    assert load.load(file).account.key[1].read() == CANARY


def test_a_zone_that_is_not_found_is_asked_for(file: Path) -> None:
    world = World(tried=[Tried(error=ZoneNotFound("no zone holds it"))] * 2)
    asked = {"console lists it": ["example.com", "", "sweetlove.top"]}
    _, said = world.run(file, keys(asked))
    assert f"'{DOMAIN}' is not in the zone 'example.com'" in said
    assert "  the domain is not found: no zone holds it\n  Is it mistyped?" in said
    assert "Is your domain elsewhere?" in said
    assert "the key does not work" not in said
    assert [key.zone for key in world.keys] == ["", "", "sweetlove.top"]
    assert load.load(file).sites[0].zone == "sweetlove.top"


def test_a_key_without_its_policy_gets_the_policy_with_the_digits_of_its_account(file: Path) -> None:
    """They are in the refusal."""
    account = "1234567890123456"
    error = ZoneNotFound("no zone holds it; DescribeDomainRecords is forbidden")
    _, said = World(tried=[Tried(error=error, account=account)]).run(file, keys())
    assert f'"acs:alidns:*:{account}:domain/sweetlove.top"' in said


def test_a_key_of_the_account_itself_is_named_and_taken(file: Path) -> None:
    account = "1234567890123456"
    tried = Tried("sweetlove.top", account=account, is_of_account=True)
    is_good, said = World(tried=[tried]).run(file, keys())
    assert is_good
    assert "It is the key of the account itself, which no policy limits." in said
    assert f'"acs:alidns:*:{account}:domain/sweetlove.top"' in said


@pytest.mark.parametrize("zones", [["sweetlove.top"], ["example.com"]])
def test_the_test_is_made_by_the_first_calls_of_doctor(zones: list[str]) -> None:
    with AlidnsEmulator(zones, access_key_id=KEY_ID, access_key_secret=CANARY) as emulator:
        tried = try_key(Key(KEY_ID, CANARY, endpoint=emulator.endpoint), DOMAIN)
        actions = [call.action for call in emulator.calls]
        if zones == ["sweetlove.top"]:
            assert tried == Tried("sweetlove.top")
            assert actions == ["DescribeDomainRecords", "DescribeDomainRecords", "DescribeSubDomainRecords"]
        else:
            assert isinstance(tried.error, ZoneNotFound)
        wrong = try_key(Key(KEY_ID, "other", endpoint=emulator.endpoint), DOMAIN)
        assert isinstance(wrong.error, ApiRefusal)
        assert wrong.error.code == "SignatureDoesNotMatch"
        emulator.attach_policy(lambda action, zone: False)
        assert try_key(Key(KEY_ID, CANARY, endpoint=emulator.endpoint), DOMAIN).account == ACCOUNT_ID
    unset = try_key(Key("${SURELY_NOT_SET}", CANARY), DOMAIN)
    assert "'SURELY_NOT_SET' is not set" in str(unset.error)
