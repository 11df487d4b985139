"""What our names resolve to: at the authoritative servers, at this machine's resolver, and at public ones.

Three faults of a resolver have different cures. It may leave out addresses of the LAN (protection against DNS
rebinding, on by default in many routers), have a zone of its own (split horizon), or be broken.
"""

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...base.errors import DnsError, printable
from ...base.words import _
from ...config.settings import Site
from ...model.records import DEFAULT_LINE, Record, Zone, address_type, plan_changes
from ...world.dns import hijack
from ...world.dns.nameservers import PUBLIC_RESOLVERS, system_resolvers
from ...world.dns.query import Server, ask_all, speaks
from ...world.resolve import addresses_of
from .finding import Case
from .machine import text_of

_HOSTS = Path("/etc/hosts")


def name_servers(case: Case, zone: str, domain: str) -> list[Server]:
    """Test each authoritative server of the zone; return those that speak for it."""
    try:
        servers = case.servers.of(zone)
    except DnsError as exc:
        case.fail_by("name servers", zone, exc)
        return []
    answers = dict(zip(servers, ask_all(servers, domain, "A"), strict=True))
    answering = [server for server, answer in answers.items() if answer.values is not None]
    true = [server for server, answer in answers.items() if speaks(server, answer)]
    if not answering:
        listed = ", ".join(f"{server.name} ({answers[server].fault})" for server in servers)
        text = _("none of them answers: {}").format(listed)
        case.fail("name servers", zone, text, _("allow this machine to reach their port 53, by UDP and TCP"))
    elif not true:
        told = [value for answer in answers.values() for value in answer.values or ()]
        names = dict.fromkeys(server.name for server in answering)
        text = _("another server answers instead of {}").format(", ".join(names))
        cure = _(
            "configure the router, provider or proxy to pass port 53 unchanged; until then"
            " certbotless uses the list of the API"
        )
        if hijack.is_made_up([*told, *(server.address for server in servers)]):
            text, cure = _("{}: {}").format(text, _(hijack.MADE_UP)), _(hijack.CURE).format(zone)
        case.fail("name servers", zone, text, cure)
    for server in servers if true else ():
        about = _("{} of {}").format(server.name, zone)
        if server in true:
            case.ok("name server", about, _("answers at {}").format(server.address))
        else:
            fault = answers[server].fault or _("another server answers instead")
            cure = _("ignore it if it is temporary: the other name servers answer")
            case.warn("name server", about, _("does not answer ({})").format(fault), cure)
    return true


def record(
    case: Case, site: Site, fqdn: str, wanted: tuple[str, ...], servers: Sequence[Server], zone: Zone | None
) -> bool:
    """Whether every server that answers shows the address or addresses, and no other one.

    Of several it may show some, with weights: that is warned of, if the API lists all of them.
    """
    type_ = address_type(*wanted)
    check, every = f"{type_} record", ", ".join(wanted)
    shown = [a.values for a in ask_all(servers, fqdn, type_) if a.values is not None]
    if not shown:
        return False  # that no server answers is a finding of its own
    if all(values == {*wanted} for values in shown):
        case.ok(check, fqdn, _("every server shows {}").format(every))
        return True
    text = _("the servers show {}, not {}").format(_listed(frozenset().union(*shown)), every)
    cure = f"certbotless --once {site.domain}"
    if zone is not None:
        try:
            existing = zone.records(fqdn)
            records = [Record(fqdn, type_, address, site.ttl) for address in wanted]
            if not plan_changes(existing, *records, ours={*wanted}):
                if all(values and values < {*wanted} for values in shown):
                    return _warn_of_weights(case, check, fqdn)
                cure = _(
                    "Aliyun has the right record: if it has just changed, wait for its TTL to pass;"
                    " otherwise set the zone's name servers to those of Aliyun at its registrar"
                )
        except DnsError as exc:
            text, cure = _("{}: {}").format(text, exc.message), exc.hint
    case.fail(check, fqdn, text, cure)
    return False


def _warn_of_weights(case: Case, check: str, fqdn: str) -> bool:
    text = _("each answer has some of the addresses only: a client that fails at one has no other to try")
    cure = _("switch the weights of this name off in the Alidns console; a change just made takes a moment")
    case.warn(check, fqdn, text, cure)
    return True


def listed_record(case: Case, site: Site, fqdn: str, wanted: tuple[str, ...], zone: Zone) -> bool:
    """Whether the API lists the addresses, and no other one: for a zone that no name server speaks for."""
    type_ = address_type(*wanted)
    check, every = f"{type_} record", ", ".join(wanted)
    try:
        records = [r for r in zone.records(fqdn) if r.type == type_ and r.is_enabled]
    except DnsError as exc:
        case.fail_by(check, fqdn, exc)
        return False
    values = frozenset(record.value for record in records if record.line == DEFAULT_LINE)
    if values == {*wanted}:
        text = _("the API lists {}; it is used while no authoritative name server can be reached").format(
            every
        )
        case.ok(check, fqdn, text)
        return True
    text = _("the API lists {}, not {}").format(_listed(values), every)
    case.fail(check, fqdn, text, f"certbotless --once {site.domain}")
    return False


class Resolvers:
    """This machine's resolver and public ones, for names that their name servers show as they should.

    A resolver that does not answer is reported once, and not asked again.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        # Those that are still asked.
        self._public = [Server(at, at, is_resolver=True) for at in PUBLIC_RESOLVERS]
        self._system = [Server(at, at, is_resolver=True) for at in system_resolvers()]

    def ask(self, fqdn: str, wanted: tuple[str, ...], zone: str, *, is_private: bool = False) -> None:
        """Test what each resolver gives for a name; a public one is not asked for a private name."""
        if self._system:
            self._ask_system(fqdn, wanted, zone)
        if is_private:
            return
        check, asked = "public resolver", tuple(self._public)
        for server, answer in zip(asked, ask_all(asked, fqdn, "A"), strict=True):
            about = _("{} of {}").format(server.name, fqdn)
            if answer.values is None:
                self._public.remove(server)
                text = _("does not answer ({})").format(answer.fault)
                self._case.warn(check, server.name, text, _("ignore it if this LAN blocks that resolver"))
            elif answer.values and answer.values <= {*wanted}:
                self._case.ok(check, about, _("gives {}").format(_listed(answer.values)))
            else:
                text = _("gives {}, not {}").format(_listed(answer.values), ", ".join(wanted))
                cure = _(
                    "wait for the TTL to pass; if it stays so, check the zone's name servers at its registrar"
                )
                if hijack.is_made_up(answer.values, but=wanted[0]):
                    text, cure = _("{}: {}").format(text, _(hijack.MADE_UP)), _(hijack.CURE).format(zone)
                self._case.fail(check, about, text, cure)

    def _ask_system(self, fqdn: str, wanted: tuple[str, ...], zone: str) -> None:
        found = _addresses(fqdn)
        if found and found <= {*wanted}:
            self._case.ok("system resolver", fqdn, _("gives {}").format(_listed(found)))
        else:
            self._case.fail("system resolver", fqdn, *self._why_not(found, fqdn, wanted, zone))

    def _why_not(
        self, found: frozenset[str], fqdn: str, every: tuple[str, ...], zone: str
    ) -> tuple[str, str]:
        """Return why the system gives other addresses, or none, and the cure."""
        wanted = ", ".join(every)
        if said := _in_hosts_file(fqdn):
            cure = _("correct the line of {} in {}, or delete it").format(fqdn, _HOSTS)
            return _("{!r} says {}, not {}").format(str(_HOSTS), said, wanted), cure
        if found:
            text = _("{} gives {}, not {}").format(
                ", ".join(server.name for server in self._system), _listed(found), wanted
            )
            if hijack.is_made_up(found, but=every[0]):
                return _("{}: {}").format(text, _(hijack.MADE_UP)), _(hijack.CURE).format(zone)
            return _("{}: split horizon, or an old answer").format(text), _entry_of_its_own(fqdn)
        answers = dict(zip(self._system, ask_all(self._system, fqdn, "A"), strict=True))
        known = {server: answer for server, answer in answers.items() if answer.values is not None}
        if not known:
            self._system.clear()
            faults = ", ".join(f"{server.name}: {answer.fault}" for server, answer in answers.items())
            cure = _("write a resolver that answers into /etc/resolv.conf, or repair the one there")
            return _("does not answer ({})").format(faults), cure
        server, answer = next(iter(known.items()))
        if not answer.exists:
            text = _("{} says that there is no such name: split horizon, or an old answer").format(
                server.name
            )
            return text, _entry_of_its_own(fqdn)
        # The resolver reaches the zone if it answers for the zone itself.
        is_private = ipaddress.IPv4Address(every[0]).is_private
        if not answer.values and is_private and ask_all([server], zone, "SOA")[0].values:
            self._system.clear()
            text = _(
                "{} gives no address, though the zone shows {}: protection against DNS rebinding, which"
                " leaves out addresses of the LAN"
            ).format(server.name, wanted)
            return text, _rebinding_cure(zone, fqdn, every[0])
        text = _("gives {}, not {} ({})").format(_listed(frozenset(answer.values or ())), wanted, server.name)
        return text, _("check the hosts line of /etc/nsswitch.conf, and that resolver")


def _addresses(fqdn: str) -> frozenset[str]:
    """Return the IPv4 addresses that programs of this machine get, be it by the hosts file or a resolver."""
    with suppress(OSError, ValueError):
        return frozenset(at for at in addresses_of(fqdn) if ipaddress.ip_address(at).version == 4)
    return frozenset()


def _in_hosts_file(fqdn: str) -> str:
    rows = [line.partition("#")[0].split() for line in text_of(_HOSTS).splitlines()]
    found = [row[0] for row in rows if fqdn in map(str.lower, row[1:]) and ":" not in row[0]]
    return printable(", ".join(found), 100)


def _rebinding_cure(zone: str, fqdn: str, wanted: str) -> str:
    """Return how a resolver is made to give LAN addresses, those first that are common in China."""
    return _(
        "let the router or resolver make an exception for {zone}. AdGuard Home: Filters > Custom filtering"
        " rules: @@||{zone}^; RouterOS: /ip dns static add name={fqdn} address={wanted}; iKuai: a static DNS"
        " entry, {fqdn} {wanted}; OpenWrt: uci add_list dhcp.@dnsmasq[0].rebind_domain='{zone}' && uci"
        " commit dhcp && service dnsmasq restart; dnsmasq: rebind-domain-ok=/{zone}/; unbound:"
        ' private-domain: "{zone}"; FRITZ!Box: Home Network > Network > Network Settings > DNS Rebind'
        " Protection: {fqdn}"
    ).format(zone=zone, fqdn=fqdn, wanted=wanted)


def _entry_of_its_own(fqdn: str) -> str:
    return _(
        "delete the entry or zone of {} at that resolver (in a router: local DNS, host names, static DNS); if"
        " the record is new, wait as long as its TTL"
    ).format(fqdn)


def _listed(values: frozenset[str]) -> str:
    return printable(", ".join(sorted(values)) or _("no address"), 200)
