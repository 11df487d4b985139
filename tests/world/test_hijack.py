"""A proxy that takes port 53 over and claims authority, as mihomo does, before real questions over UDP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rdatatype
import pytest
from support.resolvers import DnsServer, with_values

from certbotless.world.dns.query import Server, ask_all, speaks

NAME, ADDRESS, MADE_UP = "devbox.sweetlove.test", "10.79.40.213", "198.18.0.77"
AUTHORITY, RECURSION = dns.flags.AA, dns.flags.RA

# From a question to the values of the answer, and its flags.
Told = Callable[[str, str], tuple[list[str], int]]


@contextmanager
def answering(told: Told) -> Iterator[tuple[Server, list[str]]]:
    """Give a name server, found and not given, that answers so, and what it was asked."""
    asked: list[str] = []

    def answered(query: dns.message.Message) -> dns.message.Message:
        name, kind = query.question[0].name.to_text(), dns.rdatatype.to_text(query.question[0].rdtype)
        asked.append(f"{name.rstrip('.')} {kind}")
        values, flags = told(name, kind)
        reply = with_values(query, values)
        reply.flags |= flags
        return reply

    with DnsServer(answered) as server:
        host, port = server.place.split(":")
        yield Server("ns1", host, int(port)), asked


def of_a_name_server(name: str, kind: str) -> tuple[list[str], int]:
    return ([ADDRESS] if (name, kind) == (f"{NAME}.", "A") else []), AUTHORITY


def with_recursion(name: str, kind: str) -> tuple[list[str], int]:
    """A server of the zone that is a resolver as well: it has the root's names, without authority."""
    if name == ".":
        return ["a.root-servers.net."], RECURSION
    values, flags = of_a_name_server(name, kind)
    return values, flags | RECURSION


def of_mihomo(name: str, kind: str) -> tuple[list[str], int]:
    """`redir-host`: what a resolver said, with authority."""
    if name == ".":
        return (["a.root-servers.net."] if kind == "NS" else []), AUTHORITY | RECURSION
    return (["10.0.0.9"] if kind == "A" else []), AUTHORITY | RECURSION


def of_fake_ip(name: str, kind: str) -> tuple[list[str], int]:
    """`fake-ip`, where nothing else is reached: each name has a made-up address, and no other record."""
    return ([MADE_UP] if kind == "A" and name != "." else []), AUTHORITY | RECURSION


@pytest.mark.row(80)
@pytest.mark.parametrize("told", [of_mihomo, of_fake_ip], ids=["redir-host", "fake-ip"])
@pytest.mark.parametrize("kind", ["A", "AAAA", "TXT", "CNAME"])
def test_a_proxy_that_claims_authority_does_not_speak_for_the_zone(told: Told, kind: str) -> None:
    with answering(told) as (server, _):
        [answer] = ask_all([server], NAME, kind)
        assert answer.values is not None
        assert not speaks(server, answer)


@pytest.mark.row(80)
@pytest.mark.parametrize("told", [of_a_name_server, with_recursion], ids=["alone", "and a resolver"])
@pytest.mark.parametrize("kind", ["A", "TXT"])
def test_a_server_of_the_zone_speaks_for_it(told: Told, kind: str) -> None:
    with answering(told) as (server, _):
        [answer] = ask_all([server], NAME, kind)
        assert speaks(server, answer)
        assert answer.values == (frozenset({ADDRESS}) if kind == "A" else frozenset())


@pytest.mark.parametrize(
    ("told", "is_believed"), [(of_a_name_server, True), (lambda name, kind: ([MADE_UP], AUTHORITY), False)]
)
def test_where_no_recursion_is_offered_nothing_more_is_asked(told: Told, is_believed: bool) -> None:
    """A made-up address has no authority whatever is offered."""
    with answering(told) as (server, asked):
        [answer] = ask_all([server], NAME, "A")
        assert speaks(server, answer) is is_believed
        assert set(asked) == {f"{NAME} A"}
        assert len(asked) == 1 or not is_believed
