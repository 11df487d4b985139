"""The name servers of the stand-in: what they answer, when they show a change, and how they fail."""

import math
import socket
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bed import wait_until

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.dnsserver import NameServer, answer, infrastructure
from certbotless.sandbox.zonedata import Change, Record, ZoneData, replay, visible

ZONE = "sweetlove.test"


def record(rr: str, type_: str, value: str, zone: str = ZONE, **fields: object) -> Record:
    return Record("1", zone, rr, type_, value, **fields)  # type: ignore[arg-type]


RECORDS = [
    *infrastructure([ZONE, "lan.sweetlove.test"], ["127.0.0.1", "127.0.0.2"], serial=7),
    record("@", "A", "10.0.0.1"),
    record("@", "TXT", "apex"),
    record("two", "TXT", "first"),
    record("two", "TXT", "second", ttl_s=60),
    record("deep.er", "A", "10.0.0.2"),
    record("*", "A", "10.0.0.3"),
    record("*.wild", "TXT", "any"),
    record("known.wild", "A", "10.0.0.4"),
    record("alias", "CNAME", "two.sweetlove.test"),
    record("away", "CNAME", "example.org."),
    record("dangling", "CNAME", "gone.lan.sweetlove.test"),
    record("round", "CNAME", "about.sweetlove.test"),
    record("about", "CNAME", "round.sweetlove.test"),
    record("off", "TXT", "off", status="DISABLE"),
    record("on", "TXT", "on"),
    record("on", "TXT", "elsewhere", line="telecom"),
    record("box", "A", "10.0.0.5", zone="lan.sweetlove.test"),
]


def ask(name: str, type_: str, records: list[Record] = RECORDS) -> dns.message.Message:
    response = answer(dns.message.make_query(name, type_), records)
    assert response.flags & dns.flags.QR
    return response


def answers(response: dns.message.Message) -> list[str]:
    return [
        f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} {' '.join(sorted(map(str, rrset)))}"
        for rrset in response.answer
    ]


def told(response: dns.message.Message) -> tuple[str, list[str], list[str]]:
    """Return code, answers, and whose SOA stands in the authority section."""
    assert bool(response.flags & dns.flags.AA) == (response.rcode() != dns.rcode.REFUSED)
    authority = [f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)}" for rrset in response.authority]
    return dns.rcode.to_text(response.rcode()), answers(response), authority


SOA = ["sweetlove.test. SOA"]
LAN_SOA = ["lan.sweetlove.test. SOA"]


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("sweetlove.test", "A", ("NOERROR", ["sweetlove.test. A 10.0.0.1"], [])),
        ("two.sweetlove.test", "TXT", ("NOERROR", ['two.sweetlove.test. TXT "first" "second"'], [])),
        ("two.sweetlove.test", "A", ("NOERROR", [], SOA)),
        # Something stands below it, so the name exists, and no wildcard applies.
        ("er.sweetlove.test", "A", ("NOERROR", [], SOA)),
        ("any.er.sweetlove.test", "A", ("NXDOMAIN", [], SOA)),
        ("any.sweetlove.test", "A", ("NOERROR", ["any.sweetlove.test. A 10.0.0.3"], [])),
        ("a.b.c.sweetlove.test", "A", ("NOERROR", ["a.b.c.sweetlove.test. A 10.0.0.3"], [])),
        ("any.sweetlove.test", "TXT", ("NOERROR", [], SOA)),
        ("x.wild.sweetlove.test", "TXT", ("NOERROR", ['x.wild.sweetlove.test. TXT "any"'], [])),
        ("known.wild.sweetlove.test", "TXT", ("NOERROR", [], SOA)),
        ("x.known.wild.sweetlove.test", "TXT", ("NXDOMAIN", [], SOA)),
        ("*.wild.sweetlove.test", "TXT", ("NOERROR", ['*.wild.sweetlove.test. TXT "any"'], [])),
        (
            "alias.sweetlove.test",
            "TXT",
            (
                "NOERROR",
                [
                    "alias.sweetlove.test. CNAME two.sweetlove.test.",
                    'two.sweetlove.test. TXT "first" "second"',
                ],
                [],
            ),
        ),
        (
            "alias.sweetlove.test",
            "CNAME",
            ("NOERROR", ["alias.sweetlove.test. CNAME two.sweetlove.test."], []),
        ),
        ("away.sweetlove.test", "A", ("NOERROR", ["away.sweetlove.test. CNAME example.org."], [])),
        (
            "dangling.sweetlove.test",
            "A",
            ("NXDOMAIN", ["dangling.sweetlove.test. CNAME gone.lan.sweetlove.test."], LAN_SOA),
        ),
        ("off.sweetlove.test", "TXT", ("NOERROR", [], SOA)),
        ("on.sweetlove.test", "TXT", ("NOERROR", ['on.sweetlove.test. TXT "on"'], [])),
        ("box.lan.sweetlove.test", "A", ("NOERROR", ["box.lan.sweetlove.test. A 10.0.0.5"], [])),
        ("no.lan.sweetlove.test", "A", ("NXDOMAIN", [], LAN_SOA)),
        ("sweetlove.test", "NS", ("NOERROR", ["sweetlove.test. NS ns1.alidns.test. ns2.alidns.test."], [])),
        ("ns2.alidns.test", "A", ("NOERROR", ["ns2.alidns.test. A 127.0.0.2"], [])),
        ("ns3.alidns.test", "A", ("NXDOMAIN", [], ["alidns.test. SOA"])),
        ("example.org", "A", ("REFUSED", [], [])),
        ("test", "A", ("REFUSED", [], [])),
        (".", "NS", ("REFUSED", [], [])),
    ],
)
def test_a_question_is_answered_as_the_zones_say(
    name: str, type_: str, expected: tuple[str, list[str], list[str]]
) -> None:
    assert told(ask(name, type_)) == expected


def test_an_alias_that_leads_in_a_circle_ends() -> None:
    response = ask("round.sweetlove.test", "A")
    assert response.rcode() == dns.rcode.NOERROR
    assert {rrset.rdtype for rrset in response.answer} == {dns.rdatatype.CNAME}


def test_the_soa_counts_the_changes() -> None:
    (soa,) = ask("sweetlove.test", "SOA").answer[0]
    assert str(soa) == "ns1.alidns.test. hostmaster.alidns.test. 7 3600 1200 86400 600"


def test_values_at_one_name_have_one_ttl() -> None:
    """An RRset has a single TTL (RFC 2181 section 5.2): the least."""
    assert ask("two.sweetlove.test", "TXT").answer[0].ttl == 60


def test_names_are_compared_without_case_and_answered_as_asked() -> None:
    response = ask("TwO.sWeetlove.TEST", "TXT")
    assert response.question[0].name.to_text() == "TwO.sWeetlove.TEST."
    assert answers(response) == ['TwO.sWeetlove.TEST. TXT "first" "second"']


def test_a_long_text_is_split_into_strings() -> None:
    value = "".join(map(str, range(200)))
    response = ask("long.sweetlove.test", "TXT", [*RECORDS, record("long", "TXT", value)])
    (text,) = response.answer[0]
    assert [len(string) for string in text.strings] == [255, 235]
    assert b"".join(text.strings).decode() == value


def test_what_is_no_plain_question_is_refused_with_its_code() -> None:
    update = dns.message.make_query(ZONE, "A")
    update.set_opcode(dns.opcode.UPDATE)
    double = dns.message.make_query(ZONE, "A")
    double.question *= 2
    chaos = dns.message.make_query(ZONE, "TXT", dns.rdataclass.CH)
    cases = [
        (update, "NOTIMP"),
        (double, "FORMERR"),
        (chaos, "REFUSED"),
        (dns.message.make_query(ZONE, "ANY"), "NOTIMP"),
        (dns.message.make_query(ZONE, "AXFR"), "NOTIMP"),
    ]
    for query, code in cases:
        response = answer(query, RECORDS)
        assert (dns.rcode.to_text(response.rcode()), response.answer) == (code, [])


# When a change shows.

changes = st.lists(
    st.builds(
        lambda number, value, at: Change(
            str(number), value and Record(str(number), ZONE, "a", "TXT", value), (at, at + 1)
        ),
        number=st.integers(0, 3),
        value=st.sampled_from([None, "x", "y"]),
        at=st.integers(0, 20),
    ),
    max_size=12,
)


@given(changes=changes, now_s=st.integers(0, 21), later_s=st.integers(0, 21))
def test_what_is_visible_stays_visible(changes: list[Change], now_s: int, later_s: int) -> None:
    """As time goes on, changes only come in, each in its place; in the end all are there."""
    seen = visible(changes, 0, now_s)
    assert [change for change in visible(changes, 0, max(now_s, later_s)) if change in seen] == seen
    assert visible(changes, 0, math.inf) == changes
    assert all(change.visible_at_s[0] <= now_s for change in seen)
    # The second server is always one second behind the first.
    assert visible(changes, 1, now_s + 1) == seen


@given(changes=changes)
def test_the_last_change_of_a_record_counts(changes: list[Change]) -> None:
    last = {change.record_id: change.record for change in changes}
    assert sorted(map(repr, replay(changes))) == sorted(map(repr, filter(None, last.values())))


def test_each_server_shows_a_change_after_its_own_delay() -> None:
    """A delay counts for the changes made under it, so none is ever taken back."""
    now_s = 1000.0
    data = ZoneData([ZONE], 2, clock=lambda: now_s)
    data.set_delay(1, 5)
    data.put(record("a", "A", "10.0.0.1"))
    data.set_delay(1, 60)
    assert (len(data.seen_by(0)), len(data.seen_by(1)), len(data.records())) == (1, 0, 1)
    now_s += 5
    assert replay(data.seen_by(1)) == data.records()
    data.remove("1")
    assert (replay(data.seen_by(0)), replay(data.seen_by(1)), data.records()) == (
        [],
        [record("a", "A", "10.0.0.1")],
        [],
    )
    now_s += 60
    assert replay(data.seen_by(1)) == []


# On the network.


@pytest.fixture
def alidns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE], access_key_id="id", access_key_secret="secret") as running:
        yield running


Transport = Callable[..., dns.message.Message]
by_each_transport = pytest.mark.parametrize("transport", [dns.query.udp, dns.query.tcp])


def place_of(alidns: AlidnsEmulator, server: int = 0) -> tuple[str, int]:
    host, _, port = alidns.nameservers[server].rpartition(":")
    return host, int(port)


def asked(
    alidns: AlidnsEmulator,
    server: int,
    query: dns.message.Message,
    transport: Transport = dns.query.udp,
    timeout_s: float = 30,
) -> dns.message.Message:
    host, port = place_of(alidns, server)
    return transport(query, host, timeout=timeout_s, port=port)


@by_each_transport
def test_every_server_answers_over_udp_and_tcp(alidns: AlidnsEmulator, transport: Transport) -> None:
    alidns.add("box", "A", "10.0.0.1")
    for server in (0, 1):
        response = asked(alidns, server, dns.message.make_query("Box.sweetlove.test", "A"), transport)
        assert told(response) == ("NOERROR", ["Box.sweetlove.test. A 10.0.0.1"], [])
    seen = [(query.server, query.name, query.type, query.tcp) for query in alidns.queries]
    assert seen == [(server, "box.sweetlove.test", "A", transport is dns.query.tcp) for server in (0, 1)]


def test_a_resolver_finds_its_way(alidns: AlidnsEmulator) -> None:
    """dnspython's stub resolver, which others wrote, understands what it gets, also that there is nothing."""
    alidns.add("alias", "CNAME", "box.sweetlove.test")
    alidns.add("box", "A", "10.0.0.1")
    host, port = place_of(alidns)
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = [host], port, 30
    assert [str(address) for address in resolver.resolve("alias.sweetlove.test", "A")] == ["10.0.0.1"]
    with pytest.raises(dns.resolver.NXDOMAIN):
        resolver.resolve("none.sweetlove.test", "A")
    with pytest.raises(dns.resolver.NoAnswer):
        resolver.resolve("box.sweetlove.test", "TXT")


@pytest.mark.parametrize(("payload", "limit"), [(None, 512), (900, 900), (100, 512), (4096, 1232)])
def test_a_datagram_holds_what_the_client_can_take(
    alidns: AlidnsEmulator, payload: int | None, limit: int
) -> None:
    """The rest is cut off, with TC set; over TCP all of it comes."""
    for number in range(40):
        alidns.add("many", "TXT", f"value number {number:2} of a good many")
    query = dns.message.make_query(
        "many.sweetlove.test", "TXT", use_edns=payload is not None, payload=payload
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.sendto(query.to_wire(), place_of(alidns))
        wire = client.recv(65535)
    response = dns.message.from_wire(wire)
    assert len(wire) <= limit
    assert response.flags & dns.flags.TC
    whole = asked(alidns, 0, query, dns.query.tcp)
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 40


def test_a_small_answer_is_not_cut(alidns: AlidnsEmulator) -> None:
    alidns.add("box", "A", "10.0.0.1")
    response = asked(alidns, 0, dns.message.make_query("box.sweetlove.test", "A", use_edns=True))
    assert not response.flags & dns.flags.TC
    assert response.payload == 1232


def test_several_questions_share_a_connection(alidns: AlidnsEmulator) -> None:
    alidns.add("box", "A", "10.0.0.1")
    with socket.create_connection(place_of(alidns), timeout=30) as connection:
        for _ in range(3):
            query = dns.message.make_query("box.sweetlove.test", "A")
            dns.query.send_tcp(connection, query)
            response, _ = dns.query.receive_tcp(connection)
            assert query.is_response(response)


@by_each_transport
def test_a_silent_server_answers_nothing_and_then_again(alidns: AlidnsEmulator, transport: Transport) -> None:
    """The other one goes on; the questions are noted all the same."""
    query = dns.message.make_query(ZONE, "SOA")
    alidns.set_silent(1, True)
    with pytest.raises(dns.exception.Timeout):
        asked(alidns, 1, query, transport, 0.2)
    wait_until(lambda: len(alidns.queries) == 1, "it has come")
    assert asked(alidns, 0, query, transport).rcode() == dns.rcode.NOERROR
    alidns.set_silent(1, False)
    assert asked(alidns, 1, query, transport).rcode() == dns.rcode.NOERROR
    assert [seen.server for seen in alidns.queries] == [1, 0, 1]


def test_a_changed_and_a_deleted_record_are_answered_so(alidns: AlidnsEmulator) -> None:
    query = dns.message.make_query("box.sweetlove.test", "A")
    made = alidns.add("box", "A", "10.0.0.1")
    alidns.update(made.record_id, value="10.0.0.2", ttl_s=60)
    response = asked(alidns, 0, query)
    assert (answers(response), response.answer[0].ttl) == (["box.sweetlove.test. A 10.0.0.2"], 60)
    alidns.delete(made.record_id)
    assert asked(alidns, 0, query).rcode() == dns.rcode.NXDOMAIN


# Packets that are no questions.


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    data = ZoneData([ZONE], 1)
    data.put(record("a", "TXT", "x"))
    server = NameServer(0, data, ["127.0.0.1"], 0, lambda query: None)
    server.start()
    yield server
    server.stop()


QUERY = dns.message.make_query("a.sweetlove.test", "TXT", use_edns=True).to_wire()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A question in which some octets are others, and the end is missing."""
    wire = bytearray(QUERY)
    for at, octet in draw(
        st.lists(st.tuples(st.integers(0, len(QUERY) - 1), st.integers(0, 255)), max_size=4)
    ):
        wire[at] = octet
    return bytes(wire[: draw(st.integers(0, len(QUERY)))])


@pytest.mark.parametrize("wires", [st.binary(max_size=80), damaged()], ids=["garbage", "damaged"])
@given(data=st.data())
def test_what_is_no_question_gets_an_error_or_nothing(
    name_server: NameServer, wires: st.SearchStrategy[bytes], data: st.DataObject
) -> None:
    wire = data.draw(wires)
    response = name_server.respond(wire, tcp=False)
    if response is not None:
        assert response[:2] == wire[:2]
        assert dns.message.from_wire(response).flags & dns.flags.QR


def test_a_broken_query_gets_a_format_error_and_a_response_nothing(name_server: NameServer) -> None:
    """Answering responses would let two servers talk to each other for ever."""
    response = name_server.respond(QUERY[:-1], tcp=False)
    assert response is not None
    assert dns.message.from_wire(response).rcode() == dns.rcode.FORMERR
    as_response = bytes([*QUERY[:2], QUERY[2] | 0x80, *QUERY[3:]])
    assert name_server.respond(as_response, tcp=False) is None
    assert name_server.respond(as_response[:-1], tcp=False) is None
    assert name_server.respond(b"", tcp=True) is None


def test_a_server_outlives_garbage_on_the_network(alidns: AlidnsEmulator) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for wire in (b"", b"\x00", b"\xff" * 600, QUERY[:20]):
            client.sendto(wire, place_of(alidns))
    with socket.create_connection(place_of(alidns), timeout=30) as connection:
        connection.sendall(b"\x00\x05abc")
    assert asked(alidns, 0, dns.message.make_query(ZONE, "SOA")).rcode() == dns.rcode.NOERROR
    assert asked(alidns, 0, dns.message.make_query(ZONE, "SOA"), dns.query.tcp).rcode() == dns.rcode.NOERROR


def test_with_weights_an_answer_has_one_of_the_records() -> None:
    data = ZoneData([ZONE], 1)
    values = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    for value in values:
        data.put(Record(data.new_id(), ZONE, "box", "A", value))
    data.put(Record(data.new_id(), ZONE, "other", "A", "10.0.0.9"))

    def given() -> list[list[str]]:
        records = [*infrastructure([ZONE], ["127.0.0.1"], serial=1), *data.by_weight(data.records())]
        assert answers(ask(f"other.{ZONE}", "A", records))
        return [line.split()[2:] for line in answers(ask(f"box.{ZONE}", "A", records))]

    assert given() == [values]
    data.set_weights(ZONE, "box", "A", {values[2]: 0})
    found = [given() for _ in range(64)]
    assert all(len(each) == 1 for (each,) in found)
    # That one of two never comes in 64 is as good as impossible.
    assert {each[0] for (each,) in found} == {*values[:2]}
    data.set_weights(ZONE, "box", "A", dict.fromkeys(values, 0))
    assert given() == [values]
    data.set_weights(ZONE, "box", "A", None)
    assert given() == [values]
