"""A resolver on port 53 that answers whatever a test wants, without authority. Needs a private host."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class ScriptedResolver:
    """The machine's resolver for as long as a ``with`` block runs.

    Args:
        told: from a name and a type to the values; None for no such name.
        at: its address.
        resolv_conf: the file that names it.

    Attributes:
        asked: each question so far, as ``NAME TYPE``.
    """

    def __init__(
        self,
        told: Callable[[str, str], list[str] | None],
        *,
        at: str = "127.0.0.53",
        resolv_conf: str = "nameserver 127.0.0.53\n",
    ) -> None:
        self._told = told
        self._at = (at, 53)
        self._text = resolv_conf
        self.asked: list[str] = []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve)
        self._resolv_conf = Path("/etc/resolv.conf")
        self._before = self._resolv_conf.read_text()

    def __enter__(self) -> ScriptedResolver:
        self._udp.bind(self._at)
        self._resolv_conf.write_text(self._text)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._resolv_conf.write_text(self._before)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._at)
        self._thread.join()
        self._udp.close()

    def _serve(self) -> None:
        while True:
            wire, client = self._udp.recvfrom(65535)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
            self.asked.append(f"{name.to_text(True)} {kind}")
            reply = dns.message.make_response(query)
            values = self._told(name.to_text(True), kind)
            if values is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            elif values:
                reply.answer.append(dns.rrset.from_text(name, 600, "IN", kind, *values))
            self._udp.sendto(reply.to_wire(), client)
