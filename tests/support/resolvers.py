"""Servers of DNS, over UDP, that answer whatever a test wants."""

import socketserver
from collections.abc import Callable
from pathlib import Path
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from support.listeners import Served


class DnsServer(Served):
    """A server that answers for as long as a ``with`` block runs.

    Args:
        answered: from a question to its answer.
        place: its address and port; any free one of loopback if none is given.
    """

    def __init__(
        self,
        answered: Callable[[dns.message.Message], dns.message.Message],
        place: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                wire, udp = self.request
                udp.sendto(answered(dns.message.from_wire(wire)).to_wire(), self.client_address)

        super().__init__(socketserver.ThreadingUDPServer(place, Handler))

    @property
    def place(self) -> str:
        """``ADDRESS:PORT``."""
        host, port = self._server.server_address
        return f"{host}:{port}"


def asked_for(query: dns.message.Message) -> tuple[str, str]:
    """Return the name of a question, without the last dot, and its type."""
    question = query.question[0]
    return question.name.to_text(True).lower(), dns.rdatatype.to_text(question.rdtype)


def with_values(query: dns.message.Message, values: list[str]) -> dns.message.Message:
    """Return an answer with these values of what is asked for, without authority."""
    reply, (question,) = dns.message.make_response(query), query.question
    if values:
        reply.answer.append(dns.rrset.from_text(question.name, 600, "IN", question.rdtype, *values))
    return reply


class ScriptedResolver(DnsServer):
    """The machine's resolver on port 53, without authority. Needs a private host.

    Args:
        told: from a name and a type to the values; None for no such name.
        at: its address.
        resolv_conf: the file that names it.

    Attributes:
        asked: each question so far, as ``NAME TYPE``, and whether it was without recursion.
    """

    def __init__(
        self,
        told: Callable[[str, str], list[str] | None],
        *,
        at: str = "127.0.0.53",
        resolv_conf: str = "nameserver 127.0.0.53\n",
    ) -> None:
        self._told = told
        self.asked: list[str] = []
        self._file, self._text = Path("/etc/resolv.conf"), resolv_conf
        super().__init__(self._answer, (at, 53))

    def __enter__(self) -> Self:
        self._before = self._file.read_text()
        self._file.write_text(self._text)
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        self._file.write_text(self._before)
        super().__exit__(*exc)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        name, kind = asked_for(query)
        self.asked.append(f"{name} {kind}" + ("" if query.flags & dns.flags.RD else " without recursion"))
        values = self._told(name, kind)
        reply = with_values(query, values or [])
        if values is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply
