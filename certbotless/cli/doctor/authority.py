"""Would each CA issue the certificates? Its directory, our account, its profiles, CAA, and our own limits.

Source: RFC 8555 sections 7.1.1 (directory meta) and 7.3.1; RFC 8659 (CAA), RFC 8657 (accounturi).
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial

from ...base.concurrent import together
from ...base.errors import CertbotlessError, StoreError, printable
from ...base.names import is_in_zone
from ...base.times import moment
from ...base.words import _
from ...config.settings import Acme, Site
from ...model.ledger import Entry, limit_on, next_order, orders_left
from ...model.memory import CaTrouble, Failure
from ...model.view import View
from ...state.site import Accounts
from ...world.acme.account import CaView, look_at_ca
from ...world.dns.nameservers import system_resolvers
from ...world.dns.query import Server, ask_all
from .finding import Case, wrong_time

_CAA = re.compile(r'(\d+) ([a-z]+) "(.*)"', re.IGNORECASE)


def examine(case: Case, troubles: Mapping[str, CaTrouble | Failure]) -> list[tuple[Acme, CaView]]:
    """Ask each CA for its directory and for our account; return those that can be asked.

    `troubles` are remembered of the CAs, by their names.
    """
    cas = case.config.cas
    answers = together(partial(_asked, case), cas)
    found = [(acme, seen) for acme, seen in zip(cas, answers, strict=True) if isinstance(seen, CaView)]
    for acme, seen in zip(cas, answers, strict=True):
        if isinstance(seen, CaView):
            case.ok("CA", acme.url, _("answers"))
            account(case, acme, seen, troubles.get(acme.directory))
            profile(case, acme, seen)
        elif wrong_time(seen):
            case.clock_is_in_doubt = True
        elif isinstance(seen, StoreError) or not case.config.has_stand_ins:
            case.fail_by("state" if isinstance(seen, StoreError) else "CA", acme.url, seen)
        else:
            case.fail("CA", acme.url, _(seen.message), _(seen.hint) + _others(case, acme, found))
    return found


def _asked(case: Case, acme: Acme) -> CaView | CertbotlessError:
    try:
        return look_at_ca(acme, Accounts(case.config.state_dir, acme.url), case.clock)
    except CertbotlessError as exc:
        return exc


def _others(case: Case, acme: Acme, found: Sequence[tuple[Acme, CaView]]) -> str:
    """Return which CAs of the list this machine reaches, as the end of a cure."""
    if not found:
        return _("; this machine reaches none of the CAs in acme")
    reached, cas = [each for each, _ in found], case.config.cas
    names = ", ".join(each.directory for each in reached)
    if cas.index(reached[0]) < cas.index(acme):
        return _("; this machine reaches {}").format(names)
    return _("; this machine reaches {}: put it before {} in acme").format(names, acme.directory)


def account(case: Case, acme: Acme, seen: CaView, trouble: CaTrouble | Failure | None = None) -> None:
    """Report whether the CA has our account; `trouble` is why none could be made, if that is known."""
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
        case "none" if trouble is not None:
            form = _("there is none, and none can be made: {}")
            case.fail("account", acme.url, form.format(_(trouble.what)), _(trouble.hint))
        case "none" if case.config.has_stand_ins:
            case.ok("account", acme.url, _("none yet: the daemon makes it with its next run"))
        case "none":
            case.ok("account", acme.url, _("none yet: the first order makes it"))


def profile(case: Case, acme: Acme, seen: CaView) -> None:
    """Report whether the CA lists the profile of the configuration, if there is one."""
    wanted = acme.profile
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


def caa(case: Case, site: Site, zone: str, servers: Sequence[Server]) -> None:
    """Report for each CA whether the CAA records let it, and our account there, issue the certificate."""
    found = {name: _caa_of(name.removeprefix("*."), zone, servers) for name in site.all_names}
    if unheard := [owner for owner, records in found.values() if records is None]:
        text = _("no name server answers the question for the CAA records of {}").format(unheard[0])
        cure = _("ask who runs them: without that answer no CA gives a certificate")
        # What answers here may not be what the CA asks.
        case.warn("CAA", site.domain, text, cure)
        return
    heard = {name: (owner, records or []) for name, (owner, records) in found.items()}
    for acme, seen in case.cas:
        _caa_at(case, site, _about(case, site, acme), seen, heard)


def _about(case: Case, site: Site, acme: Acme) -> str:
    return _("{} at {}").format(site.domain, acme.directory) if case.config.has_stand_ins else site.domain


def _caa_at(
    case: Case, site: Site, about: str, seen: CaView, found: Mapping[str, tuple[str, list[str]]]
) -> None:
    for name, (owner, records) in found.items():
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
            case.warn("CAA", about, text, cure)
        else:
            # What names the CA has the account or the method of somebody else.
            is_named = any(_issuer_of(value) in seen.caa_identities for of, value in rows if of == tag)
            record = _pin(owner, tag, seen) if is_named else f'{owner} CAA 0 {tag} "{seen.caa_identities[0]}"'
            case.fail("CAA", about, text, _("add in the Alidns console: {}").format(record))
        return
    pin = (
        _("; to allow only this account: {}").format(
            _pin(site.domain.removeprefix("*."), "issuewild" if site.is_shared else "issue", seen)
        )
        if seen.caa_identities
        else ""
    )
    case.ok("CAA", about, _("permits the CA{}").format(pin))


def _pin(owner: str, tag: str, seen: CaView) -> str:
    uri = f"; accounturi={seen.account_url}" if seen.account_url else ""
    return f'{owner} CAA 0 {tag} "{seen.caa_identities[0]}; validationmethods=dns-01{uri}"'


def _caa_of(name: str, zone: str, servers: Sequence[Server]) -> tuple[str, list[str] | None]:
    """Return the nearest name from `name` upwards that has CAA records, and these; they count for `name`.

    None in place of them where no server of the zone says whether a name has any.
    """
    resolvers = [Server(at, at, is_resolver=True, timeout_s=1) for at in system_resolvers()[:1]]
    while "." in name:
        asked = servers if is_in_zone(name, zone) else resolvers
        answers = ask_all(asked, name, "CAA")
        for answer in answers:
            if answer.values:
                return name, sorted(answer.values)
        if asked is servers and all(answer.values is None for answer in answers):
            return name, None
        name = name.partition(".")[2]
    return name, []


def _issuer_of(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _names_us(value: str, seen: CaView) -> bool:
    parameters = [part.strip() for part in value.split(";")[1:]]
    said = dict(parameter.partition("=")[::2] for parameter in parameters if parameter)
    methods = said.get("validationmethods")
    return (
        _issuer_of(value) in seen.caa_identities
        and ("accounturi" not in said or said["accounturi"] == seen.account_url)
        and (methods is None or "dns-01" in methods.split(","))
    )


def limits(case: Case, view: View, entries: Sequence[Entry]) -> None:
    """Report for each CA how many orders our own limits still allow for the names of the site."""
    for acme in case.config.cas:
        _limits_at(case, view, entries, acme)


def _limits_at(case: Case, view: View, entries: Sequence[Entry], acme: Acme) -> None:
    now, site, about = case.clock.now(), view.site, _about(case, view.site, acme)
    order = next_order(now, acme.url, site.all_names, view.seen.in_hand, view.remembered)
    limit = limit_on(entries, *order)
    if limit is not None:
        cure = _("wait until {}, or certbotless --renew-now {} --force").format(
            moment(limit.until), site.domain
        )
        case.warn("limits", about, _("no order is made now: {}").format(_(limit.reason)), cure)
    else:
        left = orders_left(entries, *order)
        text = _("{} more order may be made now") if left == 1 else _("{} more orders may be made now")
        case.ok("limits", about, text.format(left))
