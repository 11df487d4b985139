"""May the key do at the DNS API what the program does there?

The service does not say which rights a key has. So each right is tried on a TXT record of our own, with a
fixed name and value, which is deleted afterwards. A record that a killed run has left is deleted by the next.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from ...act.challenge_zones import Aliases
from ...act.context import Zones
from ...base.errors import DnsError, DnsUnavailable, KeyRefused, ZoneNotFound
from ...base.names import challenge_name, likely_zone
from ...base.words import _
from ...config.settings import Site
from ...model.memory import SiteState
from ...model.records import Record, Zone
from ...world.credentials.errors import ABOUT_THE_KEY, ApiRefusal
from ...world.dns.alidns_errors import NOT_ALLOWED, ZoneForbidden
from .finding import Case, wrong_time

# A name that nobody asks for.
_LABEL, _VALUE, _TTL_S = "_certbotless-doctor", "made and deleted by certbotless doctor", 600
_ABOUT_TIME = "InvalidTimeStamp"


class _NoUse(Exception):
    """No further call can succeed."""


def examine(case: Case, zones: Zones, sites: Sequence[tuple[Site, SiteState]]) -> None:
    """Find the zones of each site, and try each right once on every zone that needs it."""
    needed: dict[str, bool] = {}
    with suppress(_NoUse):
        for site, state in sites:
            for zone, has_records in _zones_of(case, zones, site, state).items():
                needed[zone] = needed.get(zone, False) or has_records
        for zone, has_records in sorted(needed.items()):
            _try_rights(case, zones.open(zone), has_records=has_records)


def _zones_of(case: Case, zones: Zones, site: Site, state: SiteState) -> dict[str, bool]:
    """Return the zones that the key must change for a site, and whether for address records too."""
    domain = site.domain.removeprefix("*.")
    try:
        own = site.zone or state.zone or zones.find(domain)
    except DnsError as exc:
        if isinstance(exc, ZoneForbidden):
            case.lacking.add(likely_zone(domain))
        _tell(case, exc, "zone", domain)
        return {}
    case.zones[site.domain] = own
    needed = {own: True} if any(map(site.names_with, site.rules)) else {}
    if site.is_local or site.certificate:
        return needed
    aliases = Aliases(
        case.servers, lambda alias, _: state.alias_zones.get(alias) or zones.find(alias), zones.open
    )
    for name in sorted({challenge_name(name) for name in site.all_names}):
        try:
            zone = aliases.follow(name, own)[1]
        except DnsUnavailable:
            continue  # the name servers have a test of their own
        except DnsError as exc:
            _tell(case, exc, "delegation", name)
            continue
        needed.setdefault(zone, False)
    return needed


def _tell(case: Case, exc: DnsError, check: str, about: str) -> None:
    """Report a call that failed. Raises `_NoUse` where every other call would fail too."""
    code = exc.code if isinstance(exc, ApiRefusal) else ""
    if code.startswith(_ABOUT_TIME):
        case.clock_is_refused = True
        raise _NoUse
    if wrong_time(exc):
        case.clock_is_in_doubt = True
        raise _NoUse
    if code.startswith(tuple(ABOUT_THE_KEY)) or isinstance(exc, DnsUnavailable | KeyRefused):
        case.fail_by("API", case.config.account.endpoint, exc)
        raise _NoUse
    case.fail_by(check, about, exc)


def _try_rights(case: Case, zone: Zone, *, has_records: bool) -> None:
    """Try every right that is needed on this zone."""
    probe = Record(f"{_LABEL}.{zone.name}", "TXT", _VALUE, _TTL_S)
    made: list[str] = []
    rights: dict[str, Callable[[], object]] = {
        "DescribeSubDomainRecords": lambda: zone.records(probe.fqdn),
        "AddDomainRecord": lambda: made.append(zone.add(probe)),
        # An update that changes nothing is refused by the service.
        "UpdateDomainRecord": lambda: zone.update(replace(probe, record_id=made[0], ttl_s=2 * _TTL_S)),
        "DeleteDomainRecord": lambda: zone.delete(made.pop()),
    }
    if not has_records:
        del rights["UpdateDomainRecord"]  # a TXT record is never changed
    refused: dict[str, DnsError] = {}
    allowed = []
    try:
        for action, attempt in rights.items():
            if action in ("UpdateDomainRecord", "DeleteDomainRecord") and not made:
                continue  # there is no record, since none could be added
            try:
                attempt()
                allowed.append(action)
            except DnsError as exc:
                if isinstance(exc, ApiRefusal) and exc.code in NOT_ALLOWED:
                    refused[action] = exc
                    case.lacking.add(zone.name)
                    continue
                _tell(case, exc, "zone", zone.name)
                if isinstance(exc, ZoneNotFound):
                    _forget(case, zone.name)
                return
    finally:
        _take_away(case, zone, probe, made)
    if not allowed:
        text = _("the AccessKey has no rights there: {}").format(next(iter(refused.values())).message)
        cure = _("attach the policy of docs/ram-policy.md for this zone to the RAM user or role")
        case.fail("permission", zone.name, text, _("{}, or correct sites[].zone").format(cure))
        _forget(case, zone.name)
        return
    for action, error in refused.items():
        left = (
            _(", and delete the TXT record {}").format(probe.fqdn) if action == "DeleteDomainRecord" else ""
        )
        case.fail("permission", f"{action} {zone.name}", error.message, f"{error.hint}{left}")
    if "DescribeSubDomainRecords" in allowed:
        case.readable[zone.name] = zone
    case.ok("permission", zone.name, _("the AccessKey may {}").format(", ".join(allowed)))


def _take_away(case: Case, zone: Zone, probe: Record, made: Sequence[str]) -> None:
    for record_id in made:
        try:
            zone.delete(record_id)
        except DnsError as exc:
            text = _("the TXT record {} could not be deleted: {}").format(probe.fqdn, exc.message)
            case.warn("zone", zone.name, text, _("run doctor again, or delete it in the Alidns console"))


def _forget(case: Case, zone: str) -> None:
    """Let nothing be tested that depends on this zone."""
    case.zones = {domain: name for domain, name in case.zones.items() if name != zone}
