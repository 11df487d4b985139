"""Would the CA issue the certificates? Its directory, our account, its profiles, CAA, and our own limits.

Source: RFC 8555 sections 7.1.1 (directory meta) and 7.3.1; RFC 8659 (CAA), RFC 8657 (accounturi).
"""

import re
from collections.abc import Sequence

from ...base.errors import CertbotlessError, StoreError, printable
from ...base.names import is_in_zone
from ...base.times import moment
from ...base.words import _
from ...config.settings import Site
from ...model.ledger import Entry, limit_on, next_order, orders_left
from ...model.view import View
from ...state.site import Accounts
from ...world.acme.account import CaView, look_at_ca
from ...world.dns.nameservers import system_resolvers
from ...world.dns.query import Server, ask_all
from .finding import Case, wrong_time

_CAA = re.compile(r'(\d+) ([a-z]+) "(.*)"', re.IGNORECASE)


def examine(case: Case) -> CaView | None:
    """Ask the CA for its directory and for our account; None where it cannot be asked."""
    acme = case.config.acme
    try:
        seen = look_at_ca(acme, Accounts(case.config.state_dir, acme.url), case.clock)
    except CertbotlessError as exc:
        if wrong_time(exc):
            case.clock_is_in_doubt = True
        else:
            case.fail_by("state" if isinstance(exc, StoreError) else "CA", acme.url, exc)
        return None
    case.ok("CA", acme.url, _("answers"))
    account(case, seen)
    profile(case, seen)
    return seen


def account(case: Case, seen: CaView) -> None:
    """Report whether the CA has our account."""
    acme = case.config.acme
    match seen.standing:
        case "valid":
            case.ok("account", acme.url, seen.account_url)
        case "gone" | "closed" as standing:
            what = {
                "gone": _("the CA does not know our account any more"),
                "closed": _("the CA has closed our account"),
            }
            cure = _("ignore it: the next order makes a new one")
            case.warn("account", acme.url, what[standing], cure)
        case "none" if seen.needs_binding and acme.eab is None:
            text = _("the CA requires external account binding, and acme.eab is not set")
            case.fail(
                "account", acme.url, text, _("set acme.eab to the kid and hmac_key of your account there")
            )
        case "none":
            case.ok("account", acme.url, _("none yet: the first order makes it"))


def profile(case: Case, seen: CaView) -> None:
    """Report whether the CA lists the profile of the configuration, if there is one."""
    wanted = case.config.acme.profile
    if wanted is None or seen.profiles is None:
        return
    if wanted in seen.profiles:
        case.ok("profile", wanted, _("the CA lists it"))
    else:
        listed = printable(", ".join(seen.profiles) or "(none)", 200)
        case.fail(
            "profile",
            wanted,
            _("the CA does not list it"),
            _("set acme.profile to one of: {}").format(listed),
        )


def caa(case: Case, site: Site, zone: str, servers: Sequence[Server], seen: CaView) -> None:
    """Report whether the CAA records let this CA, and this account, issue the certificate."""
    for name in site.all_names:
        owner, records = _caa_of(name.removeprefix("*."), zone, servers)
        rows = [(match[2].lower(), match[3]) for record in records if (match := _CAA.fullmatch(record))]
        tags = {tag for tag, _ in rows}
        # Where no record says which CA may issue, any CA may.
        tag = "issuewild" if name.startswith("*.") and "issuewild" in tags else "issue"
        if tag not in tags or any(_names_us(value, seen) for of, value in rows if of == tag):
            continue
        said = printable(" | ".join(records), 300)
        text = _("the CAA records of {} do not let this CA or account give {}: {}").format(owner, name, said)
        if not seen.caa_identities:
            cure = _("check that they name the CA: it does not publish its name for CAA records")
            case.warn("CAA", site.domain, text, cure)
        else:
            case.fail(
                "CAA", site.domain, text, _("add in the Alidns console: {}").format(_pin(owner, tag, seen))
            )
        return
    pin = (
        _("; to allow only this account: {}").format(_pin(site.domain, "issue", seen))
        if seen.caa_identities
        else ""
    )
    case.ok("CAA", site.domain, _("permits the CA{}").format(pin))


def _pin(owner: str, tag: str, seen: CaView) -> str:
    uri = f"; accounturi={seen.account_url}" if seen.account_url else ""
    return f'{owner} CAA 0 {tag} "{seen.caa_identities[0]}; validationmethods=dns-01{uri}"'


def _caa_of(name: str, zone: str, servers: Sequence[Server]) -> tuple[str, list[str]]:
    """Return the nearest name from `name` upwards that has CAA records, and these; they count for `name`."""
    resolvers = [Server(at, at, is_resolver=True, timeout_s=1) for at in system_resolvers()[:1]]
    while "." in name:
        asked = servers if is_in_zone(name, zone) else resolvers
        for answer in ask_all(asked, name, "CAA"):
            if answer.values:
                return name, sorted(answer.values)
        name = name.partition(".")[2]
    return name, []


def _names_us(value: str, seen: CaView) -> bool:
    issuer, *parameters = (part.strip() for part in value.split(";"))
    said = dict(parameter.partition("=")[::2] for parameter in parameters if parameter)
    methods = said.get("validationmethods")
    return (
        issuer.lower() in seen.caa_identities
        and ("accounturi" not in said or said["accounturi"] == seen.account_url)
        and (methods is None or "dns-01" in methods.split(","))
    )


def limits(case: Case, view: View, entries: Sequence[Entry]) -> None:
    """Report how many orders our own limits still allow for the names of the site."""
    now, url, site = case.clock.now(), case.config.acme.url, view.site
    order = next_order(now, url, site.all_names, view.seen.in_hand, view.remembered)
    limit = limit_on(entries, *order)
    if limit is not None:
        cure = _("wait until {}, or certbotless --renew-now {} --force").format(
            moment(limit.until), site.domain
        )
        case.warn("limits", site.domain, _("no order is made now: {}").format(_(limit.reason)), cure)
    else:
        left = orders_left(entries, *order)
        text = _("{} more order may be made now") if left == 1 else _("{} more orders may be made now")
        case.ok("limits", site.domain, text.format(left))
