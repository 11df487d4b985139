"""What a client of a site meets: the name at this machine's resolver, its trust store, the answer. Light.

It is tried once an hour, in a process of its own, and `status` shows the result; no step depends on it. The
daemon proves that the service shows our certificate; a visit shows whether clients can use it.

Source: RFC 9112 section 4 (status line); the registry's `/v2/`: OCI distribution specification, "Determining
Support".
"""

import logging
import re
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ..base import saved
from ..base.concurrent import together
from ..base.errors import StoreError, printable, reason_of
from ..base.names import is_address
from ..base.times import rfc3339
from ..base.words import N_, Text
from ..config.settings import Config, Site
from ..model.records import address_type
from ..model.view import ClientFacts, View, Visits, digest_of_visit, facts_of, ports_of
from ..world.dns import hijack
from ..world.resolve import addresses_of, connect, left_s
from ..world.tls import shake_hands
from .views import look_at

logger = logging.getLogger(__name__)

_NAME = "clients.json"
_EVERY = timedelta(hours=1)
# After a fault it is tried again sooner: a resolver may keep an old answer for the TTL of 10 minutes.
_EVERY_WHILE_NOT_WELL = timedelta(minutes=10)
# For the connection, the handshake and the answer together, beside the 2 s that a resolver has.
_TIMEOUT_S = 8.0
_VISITORS = 32
_SERVER_ERROR = 500
# OpenSSL's numbers (x509_vfy.h) for a chain that ends at no CA of the trust store.
_UNKNOWN_CA = (18, 19, 20, 21)
# More than any status line; the rest of it is not read.
_MOST_BYTES = 4096
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})\b")


# --- what is remembered -------------------------------------------------------------------------------------


def remembered(state_dir: Path) -> dict[str, ClientFacts]:
    """Return by domain what was met last; nothing where it cannot be read, so that all is tried again."""
    try:
        return saved.load(state_dir / _NAME, dict[str, ClientFacts]) or {}
    except (ValueError, StoreError):
        return {}


def is_due(view: View, known: Visits) -> bool:
    """Whether it is time to try: once an hour, and after a change of the site; not while steps are due.

    A certificate that sites share has no address: its sites are visited.
    """
    if view.site.is_shared or view.seen.published.facts is None or view.decision.due(view.seen.at):
        return False
    facts = facts_of(view, known)
    if facts is None:
        return True
    every = _EVERY if facts.is_well and (facts.resolved or facts.trusted) else _EVERY_WHILE_NOT_WELL
    return not facts.at <= view.seen.at < facts.at + every


# --- the visit ----------------------------------------------------------------------------------------------


def visit_due(config: Config) -> None:
    """Visit every site whose time has come, and save what was met. Takes some 10 s for each 32 sites.

    Raises:
        StoreError: the state cannot be read, or written.
    """
    known = remembered(config.state_dir)
    # Where the file cannot be written no site is visited, or all would be visited again and again.
    saved.save(config.state_dir / _NAME, known)
    due = [view for view in look_at(config, config.sites) if is_due(view, known)]
    facts = together(lambda view: visit(view, known.get(view.site.domain)), due, _VISITORS)
    met = dict(zip([view.site.domain for view in due], facts, strict=True))
    domains = {site.domain for site in config.sites}
    after = {domain: each for domain, each in (known | met).items() if domain in domains}
    saved.save(config.state_dir / _NAME, after)
    for domain, each in met.items():
        before = known.get(domain)
        if before is None or before.is_well != each.is_well:
            if each.is_well:
                logger.info("client.ok domain=%s text=%s", domain, each.text)
            else:
                logger.warning("client.failed domain=%s text=%s", domain, each.text)


def visit(view: View, before: ClientFacts | None = None) -> ClientFacts:
    """Do as a client of this machine does, with each name and port of the site; the first fault counts.

    Takes at most 10 s for each of them.

    Args:
        before: what was met last; a service that has answered in HTTP once is expected to.
    """
    site = view.site

    def facts(resolved: bool | None, trusted: bool | None, answered: bool | None, text: str) -> ClientFacts:
        return ClientFacts(view.seen.at, resolved, trusted, answered, text, digest_of_visit(view))

    wanted: dict[str, list[tuple[str, ...]]] = {}
    for name, type_ in site.wanted_records:
        addresses = view.seen.wanted(type_)
        wanted.setdefault(name, []).extend([addresses] if addresses else [])
    resolved, lan_address = (True, "") if site.needs_zone else _resolved_here(view)
    if site.needs_zone:
        wanted = wanted or {site.domain: []}
    for name, sets in wanted.items():
        if text := _astray(name, sets, site.zone or view.remembered.zone or name.partition(".")[2]):
            if until := _may_remember_until(view):
                form = N_("{}; it may cache the old answer until {}")
                return facts(None, None, None, Text(form, text, rfc3339(until)))
            return facts(False, None, None, text)
    ports = ports_of(view)
    if not ports:
        return facts(resolved, None, None, Text("no service for it is known"))
    has_spoken = before is not None and before.answered is not None
    said: list[Met] = []
    for name in wanted or [site.domain]:
        for host, port in ports:
            met = knock(host or lan_address or name, port, name)
            said.append(met)
            if not met.is_trusted or met.is_error or (has_spoken and met.status is None):
                answered = False if met.is_trusted else None
                return facts(
                    resolved, met.is_trusted, answered, Text("{}:{}: {}", name, port, _said(met, site))
                )
    return facts(resolved, True, True if all(met.status for met in said) else None, said[0].text)


def _astray(name: str, wanted: Sequence[tuple[str, ...]], zone: str) -> str:
    """Say what this machine's resolver gives in place of these addresses; empty if it gives them.

    Args:
        wanted: the addresses of each type of record. Of several some are enough, as with weights.
    """
    try:
        found = addresses_of(name)
    except OSError as exc:
        return Text("{}: this machine's resolver gives no address ({})", name, _why(exc))
    for addresses in wanted:
        # A record of the other kind may belong to others.
        gives = [each for each in found if address_type(each) == address_type(*addresses)]
        if not gives or not {*gives} <= {*addresses}:
            form = N_("{}: this machine's resolver gives {}, not {}")
            text = Text(form, name, ", ".join(gives) or Text("nothing"), ", ".join(addresses))
            is_made_up = hijack.is_made_up(gives, but=addresses[0])
            return Text("{}: {}; {}", text, Text(hijack.MADE_UP), hijack.cure(zone)) if is_made_up else text
    return ""


def _resolved_here(view: View) -> tuple[bool | None, str]:
    """Whether this machine's resolver knows a name without records of ours, and the address to ask if not.

    The router may know it, or nobody: clients of the LAN may go by the address. The hosts file of a machine
    often has its own name with an address of the machine alone. So no other answer is a fault.
    """
    domain, address = view.site.domain, view.seen.address
    if is_address(domain):
        return None, domain
    try:
        found = addresses_of(domain)
    except OSError:
        found = []
    if not address:
        return True if found else None, ""
    return (True, "") if address in found else (None, address)


def _said(met: "Met", site: Site) -> str:
    """Return what was met, and for a local CA how this machine is made to trust it."""
    if not site.is_local or met.verify_code not in _UNKNOWN_CA:
        return met.text
    return Text("{}; to trust it on this machine: {}", met.text, "certbotless trust install")


def _may_remember_until(view: View) -> datetime | None:
    """Return until when a resolver may still give what was before our newest record; None if not now."""
    written = [record for records in view.remembered.records.values() for record in records.values()]
    ends = [record.at + timedelta(seconds=record.ttl_s) for record in written]
    return max((end for end in ends if end > view.seen.at), default=None)


@dataclass(frozen=True, slots=True)
class Met:
    """What was met at one port.

    Attributes:
        status: of the HTTP answer; 0 for an answer that is no HTTP, None for none.
        verify_code: OpenSSL's reason for no trust, or 0.
    """

    is_trusted: bool
    status: int | None
    text: str
    verify_code: int = 0

    @property
    def is_error(self) -> bool:
        """Whether the server says that it is at fault."""
        return (self.status or 0) >= _SERVER_ERROR


def knock(host: str, port: int, name: str, *, timeout_s: float = _TIMEOUT_S) -> Met:
    """Connect, verify by this machine's trust store, and ask for `/v2/`.

    Takes at most `timeout_s`, and 2 s where `host` is a name.
    """
    try:
        deadline_s = time.monotonic() + timeout_s
        with connect(host, port, timeout_s) as raw:
            raw.settimeout(left_s(deadline_s))
            with ssl.create_default_context().wrap_socket(
                raw, server_hostname=name, do_handshake_on_connect=False
            ) as tls:
                shake_hands(tls)
                return _ask(tls, f"{name}:{port}", deadline_s)
    except ssl.SSLCertVerificationError as exc:
        return Met(False, None, Text("not trusted: {}", printable(exc.verify_message, 300)), exc.verify_code)
    except (OSError, ValueError) as exc:
        return Met(False, None, Text("no TLS answer ({})", _why(exc)))


def _why(exc: Exception) -> str:
    return printable(reason_of(exc), 300)


def _ask(tls: ssl.SSLSocket, authority: str, deadline_s: float) -> Met:
    """Ask for `/v2/` and read the status line alone.

    `http.client` bounds the wait for each byte, and reads a line of 64 KiB: a service that sends one now and
    then would hold `doctor` for days, and keep the visits of all other sites from being written down.
    """
    received = b""
    try:
        tls.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode())
        while b"\n" not in received and len(received) < _MOST_BYTES:
            tls.settimeout(left_s(deadline_s))
            chunk = tls.recv(_MOST_BYTES)
            if not chunk:
                break
            received += chunk
    except TimeoutError:
        return Met(True, None, Text("no answer to GET /v2/ in time"))
    except OSError as exc:
        return Met(True, None, Text("no answer to GET /v2/ ({})", _why(exc)))
    found = _STATUS_LINE.match(received)
    if found is None:
        return Met(True, 0, Text("it does not use HTTP"))
    status = int(found[1])
    return Met(True, status, Text("HTTP {} to GET /v2/", status))
