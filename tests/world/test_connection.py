"""The connection to a CA: nonces, waits that it asks for, and every error that can come of it."""

import inspect
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import acme.errors
import josepy as jose
import pytest
import requests
import trustme
from acme import messages
from acme.client import ClientNetwork
from support.fakes import FakeClock, HttpServer, Reply
from support.scripted_ca import CHAIN, DOMAIN, NOW, PROBLEM, Bench, json_reply, problem

from certbotless.base.errors import (
    AccountPaused,
    AccountRefused,
    CaUnavailable,
    DnsRefused,
    IssueError,
    RateLimited,
    RequestRefused,
)
from certbotless.config.settings import Acme
from certbotless.world.acme import keys
from certbotless.world.acme.connection import Network

# --- nonces -------------------------------------------------------------------------------------------------


@pytest.mark.row(44)
@pytest.mark.parametrize("kind", ["account", "order", "finalize", "certificate"])
def test_a_nonce_that_the_ca_does_not_like_is_no_failure(bench: Bench, kind: str) -> None:
    bench.ca.instead[kind] += [problem("badNonce")] * 9
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.ca.asked.count(kind) == 10
    assert bench.reserved == 1


@pytest.mark.row(44)
def test_a_ca_that_likes_no_nonce_at_all_is_unavailable(bench: Bench) -> None:
    bench.ca.instead["account"] += [problem("badNonce")] * 20
    with pytest.raises(CaUnavailable, match="badNonce"):
        bench.issue((DOMAIN,))
    assert bench.ca.asked.count("account") == 10


def test_the_library_has_the_private_names_that_our_network_relies_on() -> None:
    """All requests go through `_send_request`, and `_nonces` is the pool that `_post_once` draws from.

    pyproject.toml keeps the next major version of acme out until this has been looked at.
    """
    sent: list[str] = []

    class Watched(ClientNetwork):
        def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
            sent.append(f"{method} {url}")
            response = requests.Response()
            response.status_code, response._content = 200, b"{}"
            response.headers["Replay-Nonce"] = f"fresh{len(sent)}00"
            return response

    network = Watched(jose.JWK.load(keys.key_to_pem(keys.new_key("ec256"))), alg=jose.ES256)
    network.get("directory")
    network._post_once("order", messages.Registration(), new_nonce_url="nonce")
    assert sent == ["GET directory", "HEAD nonce", "POST order"]
    assert len(network._nonces) == 1
    network._post_once("order", messages.Registration(), new_nonce_url="nonce")
    network._nonces.clear()
    network._post_once("order", messages.Registration(), new_nonce_url="nonce")
    assert sent[3:] == ["POST order", "HEAD nonce", "POST order"]


# --- Retry-After --------------------------------------------------------------------------------------------


@pytest.mark.row(46)
def test_a_date_to_wait_for_is_obeyed(bench: Bench) -> None:
    bench.ca.pending_looks = bench.ca.processing_looks = 2
    bench.ca.retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=29), usegmt=True)
    bench.issue((DOMAIN,))
    first, *obeyed, first_of_order, last = bench.waits
    assert first == first_of_order == 0.2
    assert all(15 < sleep <= 29 for sleep in (*obeyed, last))  # what is asked for beyond 30 s is not
    assert len(obeyed) == 2


@pytest.mark.row(46)
def test_the_wait_that_the_ca_asked_for_comes_with_the_error(bench: Bench) -> None:
    """The slowest limit of Let's Encrypt gives one order back in 34 hours."""
    for asked, wait in (("3600", timedelta(hours=1)), ("999999", timedelta(hours=34))):
        limited = problem("rateLimited", 429, "too many certificates")
        bench.ca.instead["order"].append(replace(limited, headers={"Retry-After": asked}))
        with pytest.raises(RateLimited, match="too many certificates") as refused:
            bench.issue((DOMAIN,))
        assert refused.value.retry_after == wait


@pytest.mark.parametrize("reply", [problem("about:blank", 503), Reply(503, b"overloaded")])
def test_the_wait_of_an_overloaded_ca_comes_with_the_error_whatever_its_form(
    bench: Bench, reply: Reply
) -> None:
    bench.ca.instead["order"].append(replace(reply, headers={"Retry-After": "90"}))
    with pytest.raises(IssueError) as refused:
        bench.issue((DOMAIN,))
    assert refused.value.retry_after == timedelta(seconds=90)


# --- errors -------------------------------------------------------------------------------------------------

DIRECTORY = "https://ca.test/directory"


def mapped(exc: Exception) -> IssueError:
    """Return what `exc` becomes, after a reply that asked to wait 5 s."""
    network = Network(None, Acme(directory=DIRECTORY), FakeClock())
    network.retry_after = timedelta(seconds=5)
    with pytest.raises(IssueError) as caught, network.errors():
        raise exc
    assert DIRECTORY in caught.value.message
    assert caught.value.message.isprintable()
    return caught.value


def classes(module: Any) -> list[type[Exception]]:
    """Return the exceptions that a module defines."""
    found = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    own = [kind for kind in found if kind.__module__ == module.__name__]
    return [kind for kind in own if issubclass(kind, Exception) and not issubclass(kind, Warning)]


RESPONSE = requests.Response()
RESPONSE.status_code = 503
RESPONSE.request = requests.Request("POST", DIRECTORY).prepare()
# What their constructors take, where it is not one text.
ARGUMENTS: dict[type[Exception], tuple[Any, ...]] = {
    acme.errors.BadNonce: ("nonce", ValueError()),
    acme.errors.MissingNonce: (RESPONSE,),
    acme.errors.PollError: (set(), {}),
    acme.errors.ValidationError: ([],),
    acme.errors.TimeoutError: (),
    acme.errors.IssuanceError: (messages.Error.with_code("caa", detail="no"),),
    acme.errors.ARIError: ("text", NOW),
    jose.errors.UnrecognizedTypeError: ("typ", {}),
    requests.exceptions.JSONDecodeError: ("text", "doc", 0),
}
LIBRARY_ERRORS = [*classes(acme.errors), *classes(jose.errors), *classes(requests.exceptions)]


@pytest.mark.parametrize("kind", LIBRARY_ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_error_of_the_libraries_is_mapped(kind: type[Exception]) -> None:
    error = mapped(kind(*ARGUMENTS.get(kind, ("text",))))
    assert isinstance(error, CaUnavailable)
    assert error.retryable
    assert error.hint
    assert isinstance(error.__cause__, kind)


def test_a_proxy_that_gives_no_connection_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is away, and one of a kind that needs another library."""
    for proxy in ("http://127.0.0.1:1", "socks5h://127.0.0.1:1"):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        network = Network(None, Acme(directory=DIRECTORY), FakeClock())
        with pytest.raises(CaUnavailable, match="the proxy gave no connection") as refused, network.errors():
            network.read_directory()
        assert "NO_PROXY" in refused.value.hint


def test_there_are_errors_of_each_library_to_map() -> None:
    assert all(len(classes(module)) > 3 for module in (acme.errors, jose.errors, requests.exceptions))


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("no JSON"),
        KeyError("Location"),
        TypeError("null"),
        AttributeError("name"),
        ConnectionResetError(104, "reset"),
        TimeoutError("timed out"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    ],
)
def test_what_an_answer_without_sense_raises_is_mapped(exc: Exception) -> None:
    assert isinstance(mapped(exc), CaUnavailable)


OF_THE_ACCOUNT = (
    *("accountDoesNotExist", "badSignatureAlgorithm", "externalAccountRequired", "invalidContact"),
    *("unauthorized", "unsupportedContact", "userActionRequired"),
)
KINDS: dict[str, type[IssueError]] = {
    "rateLimited": RateLimited,
    **dict.fromkeys(OF_THE_ACCOUNT, AccountRefused),
    **dict.fromkeys(("serverInternal", "badNonce"), CaUnavailable),
}


@pytest.mark.parametrize("code", sorted({*messages.ERROR_CODES, *KINDS, "alreadyReplaced", "ofTomorrow"}))
def test_every_problem_that_a_ca_may_name_is_mapped_with_its_name_and_words(code: str) -> None:
    error = mapped(messages.Error(typ=f"{PROBLEM}{code}", detail="because\nof this"))
    assert type(error) is KINDS.get(code, RequestRefused)
    assert f"refused with {code}: because\\nof this" in error.message


@pytest.mark.row(72)
def test_the_words_of_a_ca_are_escaped_and_cut() -> None:
    hostile = "\x1b[2J\r\n" + "\u202e" + "x" * 1_000_000
    error = mapped(messages.Error(typ=hostile, detail=hostile))
    assert len(error.message) < 1000
    assert r"\x1b[2J\r\n\u202e" in error.message


def test_a_problem_without_words_and_an_answer_that_is_none_are_told_all_the_same() -> None:
    for error, words in (
        (messages.Error.with_code("malformed"), "refused with malformed: no reason given"),
        (messages.Error(), "about:blank"),
        (acme.errors.ClientError(RESPONSE), "HTTP 503"),
    ):
        assert words in mapped(error).message


@pytest.mark.parametrize("error", [ZeroDivisionError("no"), DnsRefused("no")])
def test_an_error_that_is_none_of_these_or_our_own_goes_through_as_it_is(error: Exception) -> None:
    network = Network(None, Acme(directory=DIRECTORY), FakeClock())
    with pytest.raises(type(error), match=r"^no$"), network.errors():
        raise error


# --- what a person must do ----------------------------------------------------------------------------------

LINK = "https://unpause.ca.test/sfe/v1/unpause?jwt=" + "eyJh.bGci-" * 100
PAUSED = (
    f"Your account is prevented from requesting certificates for {DOMAIN} and others. Please visit: {LINK}"
)


def refused_by(bench: Bench, kind: str, reply: Reply) -> IssueError:
    """Return how an issuance ends to which the CA says this."""
    bench.ca.instead[kind].append(reply)
    with pytest.raises(IssueError) as refused:
        bench.issue((DOMAIN,))
    return refused.value


@pytest.mark.parametrize(("asked", "days"), [("", 1), ("60", 1), ("122400", 34 / 24)])
def test_an_account_that_the_ca_has_paused_is_told_with_the_whole_link(
    bench: Bench, asked: str, days: float
) -> None:
    """It may be longer than other words of a CA, and nothing helps before it is opened."""
    limited = problem("rateLimited", 429, PAUSED)
    error = refused_by(bench, "order", replace(limited, headers={"Retry-After": asked} if asked else {}))
    assert isinstance(error, AccountPaused)
    assert not error.retryable
    assert error.message.endswith(
        f"paused us: Your account is prevented from requesting certificates for {DOMAIN} and others"
    )
    assert f"open {LINK} to be let in again" in error.hint
    assert error.retry_after == timedelta(days=days)


@pytest.mark.parametrize(
    "detail",
    [
        "too many certificates already issued: see https://ca.test/docs/rate-limits",
        "unpause at http://ca.test/unpause",
        "unpause at https://\x1b/unpause",
        "",
    ],
)
def test_any_other_limit_is_no_pause(bench: Bench, detail: str) -> None:
    assert type(refused_by(bench, "order", problem("rateLimited", 429, detail))) is RateLimited


def with_instance(instance: object) -> Reply:
    body = {"type": f"{PROBLEM}userActionRequired", "detail": "new terms", "instance": instance}
    return json_reply(body, 403)


@pytest.mark.parametrize(
    "instance", [None, 7, [], {}, "", "/agree", "http://ca.test/", "https://ca.test/ a", "https://\x1b[2J"]
)
def test_no_other_text_passes_for_where_to_do_it(bench: Bench, instance: object) -> None:
    error = refused_by(bench, "account", with_instance(instance))
    assert error.hint == "ask the CA what it wants agreed to, then run certbotless --renew-now"


def test_where_to_go_is_forgotten_with_the_next_reply(bench: Bench) -> None:
    refused_by(bench, "account", with_instance("https://ca.test/agree"))
    error = refused_by(bench, "account", problem("userActionRequired", 403))
    assert "https://" not in error.hint


@pytest.mark.parametrize(
    ("kind", "key"),
    [("externalAccountRequired", "acme.eab"), ("invalidContact", "acme.email"), ("unauthorized", "acme.")],
)
def test_an_account_that_is_refused_is_told_with_the_key_to_set(bench: Bench, kind: str, key: str) -> None:
    error = refused_by(bench, "account", problem(kind, 403))
    assert isinstance(error, AccountRefused)
    assert key in error.hint
    assert not error.retryable


# --- who answers --------------------------------------------------------------------------------------------


def get_directory(url: str, ca_bundle: Path | None = None) -> None:
    """Ask for a directory, as the first step of a conversation does."""
    network = Network(jose.JWKEC(key=keys.new_key()), Acme(directory=url, ca_bundle=ca_bundle), FakeClock())
    with network.errors():
        network.get(url)


def test_a_port_where_nobody_listens_is_told() -> None:
    with HttpServer(lambda _: None) as server:
        url = server.url
    with pytest.raises(CaUnavailable, match="no connection to the CA") as unavailable:
        get_directory(url)
    assert url in unavailable.value.message


@pytest.mark.parametrize(
    "reply",
    [Reply(200, b"<html>Please sign in</html>"), json_reply({"newNonce": "http://127.0.0.1:1/nonce"})],
    ids=["a portal", "a directory that lacks what we need"],
)
def test_what_is_no_ca_is_told(bench: Bench, reply: Reply) -> None:
    bench.ca.instead["directory"].append(reply)
    with pytest.raises(CaUnavailable, match="does not answer as an ACME server"):
        bench.issue()
    assert bench.reserved == 0


def test_a_certificate_that_is_not_trusted_is_told(https: tuple[str, Path]) -> None:
    """By a server that is no ACME server, and has a certificate of a private root."""
    with pytest.raises(CaUnavailable, match="is not trusted") as untrusted:
        get_directory(https[0])
    assert "acme.ca_bundle" in untrusted.value.hint
    # Before 2026 none of them is valid.
    assert "this machine's clock" in untrusted.value.hint


def test_a_private_root_is_trusted_where_it_is_given_whatever_the_environment_says(
    https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "another.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "another.pem"))
    with pytest.raises(IssueError, match="refused with"):
        get_directory(*https)


def test_a_missing_root_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CaUnavailable, match=r"none\.pem") as missing:
        get_directory("https://127.0.0.1:1/directory", tmp_path / "none.pem")
    assert "acme.ca_bundle" in missing.value.hint
