"""The account at a CA: made once, bound to the CA's own account, and made again where the CA has lost it."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.fakes import Reply
from support.scripted_ca import CHAIN, DOMAIN, Bench, lose_account, problem

from certbotless.base.errors import AccountRefused, CaUnavailable, StoreError
from certbotless.config.secret import Secret
from certbotless.config.settings import Eab


def test_the_account_is_kept_for_the_next_issuance(bench: Bench) -> None:
    first = bench.issue((DOMAIN,))
    bench.pending.drop()
    second = bench.issue(("other.sweetlove.test",))
    assert (bench.ca.asked.count("account"), bench.ca.asked.count("order")) == (1, 2)
    assert second.account == first.account
    assert bench.accounts_made == 1


# --- an account that the CA binds to one of its own -------------------------------------------------------


@pytest.mark.parametrize("hmac_key", ["", "A", "ABCDE", "not base64url", "AAAA\u00e4AAA", "AAAA=AAA", "AA A"])
def test_a_mac_key_that_is_not_base64url_is_told_before_anything_is_asked_for(
    bench: Bench, hmac_key: str
) -> None:
    """The library would skip what is none, and the CA only say that the MAC is wrong."""
    eab = Eab(kid="kid-1", hmac_key=Secret("literal", hmac_key))
    bench.introduction = replace(bench.introduction, eab=eab)
    with pytest.raises(AccountRefused, match=r"^acme\.eab\.hmac_key is not base64url"):
        bench.issue((DOMAIN,))
    assert bench.ca.asked == ["directory"]


@pytest.mark.parametrize("hmac_key", ["AAAAAA==", "AAAAAA", "AAAAAAA=", "_-AA", "/+AA"])
def test_a_mac_key_may_be_padded_or_not_and_of_either_alphabet(bench: Bench, hmac_key: str) -> None:
    eab = Eab(kid="kid-1", hmac_key=Secret("literal", hmac_key))
    bench.introduction = replace(bench.introduction, eab=eab)
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN


def test_an_account_that_is_there_needs_no_binding_any_more(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    bench.pending.drop()
    bench.ca.meta = {"externalAccountRequired": True}
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN


def test_a_ca_that_wants_the_binding_to_find_an_account_gets_it(bench: Bench) -> None:
    """Though it ties an account only when that is made."""
    bench.issue((DOMAIN,))
    bench.pending.drop()
    bench.accounts.save_url("")
    eab = Eab(kid="kid-1", hmac_key=Secret("literal", "AAAAAA"))
    bench.introduction = replace(bench.introduction, eab=eab)
    bench.ca.instead["account"].append(problem("externalAccountRequired"))
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.ca.sent["account"]["onlyReturnExisting"]
    assert bench.ca.sent["account"]["externalAccountBinding"]
    assert bench.accounts_made == 1


def test_an_account_is_looked_for_with_the_address_of_its_owner(bench: Bench) -> None:
    """Where it is absent ZeroSSL asks for a binding, also for an account that has one."""
    bench.issue((DOMAIN,))
    bench.pending.drop()
    bench.accounts.save_url("")
    bench.issue((DOMAIN,))
    assert bench.ca.sent["account"] == {"onlyReturnExisting": True, "contact": ["mailto:you@example.com"]}


# --- an account that is lost ------------------------------------------------------------------------------


@pytest.mark.row(49)
@pytest.mark.parametrize("damaged", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_an_account_whose_key_is_damaged_is_made_anew_and_the_damaged_one_is_kept(
    bench: Bench, tmp_path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bench.issue((DOMAIN,))
    [key] = (tmp_path / "accounts").glob("*/key.pem")
    key.write_bytes(damaged)
    bench.pending.drop()
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.accounts_made == 2
    assert key.with_suffix(".pem.old").read_bytes() == damaged
    assert "account.key_lost" in caplog.text


def test_a_key_is_there_at_each_moment_while_another_one_takes_its_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed then costs no account."""
    bench.issue((DOMAIN,))
    key, _ = bench.accounts.load()
    real = os.replace
    for before_it in range(2):
        left = [before_it]

        def fail(source: Path, target: Path, left: list[int] = left) -> None:
            if not left[0]:
                raise OSError(errno.EIO, "Input/output error")
            left[0] -= 1
            real(source, target)

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(StoreError):
            bench.accounts.save_key(b"another")
        assert bench.accounts.load()[0] == key


def test_a_ca_that_has_lost_our_account_refuses_us_where_its_binding_is_gone_too(bench: Bench) -> None:
    """That is a fault of this CA: another one of the list may be asked."""
    bench.issue((DOMAIN,))
    lose_account(bench)
    bench.introduction = replace(
        bench.introduction, eab=Eab(kid="kid-1", hmac_key=Secret("file", "/nowhere"))
    )
    with pytest.raises(AccountRefused, match="cannot read the secret '/nowhere'") as refused:
        bench.issue((DOMAIN,))
    assert refused.value.is_fault_of_ca


def test_an_account_that_was_never_made_is_made_with_the_key_that_was_kept_for_it(bench: Bench) -> None:
    """As after a run that was killed in between."""
    bench.ca.instead["account"].append(Reply(500, b""))
    with pytest.raises(CaUnavailable):
        bench.issue((DOMAIN,))
    key, url = bench.accounts.load()
    assert (key is not None, url) == (True, "")
    bench.issue((DOMAIN,))
    assert bench.accounts.load() == (key, bench.ca.url("account/1"))


@pytest.mark.parametrize(
    "told", [[], [problem("unauthorized", 403)]], ids=["by its status", "by a refusal, as of Let's Encrypt"]
)
def test_an_account_that_is_closed_for_good_gives_way_to_one_with_a_new_key(
    bench: Bench, told: list[Reply], caplog: pytest.LogCaptureFixture
) -> None:
    """The CA would refuse the old key for ever."""
    bench.issue((DOMAIN,))
    key, _ = bench.accounts.load()
    lose_account(bench, "deactivated")
    bench.ca.instead["account"] += told
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.accounts.load()[0] != key
    assert (bench.accounts_made, bench.reserved) == (2, 2)
    assert "account.closed" in caplog.text


def test_an_account_that_another_run_has_made_anew_meanwhile_is_taken(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    lose_account(bench)
    other = bench.ca.url("account/2")
    bench.ca.on["order"] = lambda: bench.accounts.save_url(other)
    assert bench.issue((DOMAIN,)).account == other
    assert bench.accounts_made == 1


def test_an_account_that_is_as_good_as_before_is_not_what_was_refused(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    before = bench.accounts.load()
    lose_account(bench, "valid")
    with pytest.raises(AccountRefused, match="unauthorized"):
        bench.issue((DOMAIN,))
    assert bench.accounts.load() == before
    assert bench.accounts_made == 1


def test_an_account_that_is_forgotten_and_cannot_be_made_anew_is_not_used_again(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    key, _ = bench.accounts.load()
    lose_account(bench)
    bench.ca.instead["account"].append(problem("serverInternal", 500))
    with pytest.raises(CaUnavailable):
        bench.issue((DOMAIN,))
    assert bench.accounts.load() == (key, "")


def test_a_ca_that_forgets_us_again_at_once_is_left(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    lose_account(bench)
    bench.ca.instead["order"].append(problem("accountDoesNotExist"))
    bench.ca.asked.clear()
    with pytest.raises(AccountRefused):
        bench.issue((DOMAIN,))
    assert bench.ca.asked.count("order") == 2
    assert bench.accounts_made == 2
