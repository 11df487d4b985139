"""The whole examination. Each test comes after those that it depends on."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from ...base import locks, privileges
from ...base.clock import START_SLACK, TRUSTED_SKEW, SystemClock, is_possible
from ...base.errors import AccountRefused, AddressError, NotifyError, SecretUnreadable, StoreError
from ...base.times import moment
from ...base.words import _
from ...config import checks, environment
from ...config.addresses import AddressRule
from ...config.fingerprints import Fingerprints
from ...config.settings import Config, Site
from ...model.ledger import Ledger
from ...model.memory import CaTrouble, Failure, SiteState
from ...model.view import View
from ...notify import apprise_sender, outbox
from ...observe.views import look_at
from ...state.daemon_file import refusal
from ...state.ledger_file import LedgerFile
from ...state.site import Accounts, SiteFile
from ...world.credentials.access import ApiAccess
from ...world.credentials.way import way_to_dns
from ...world.dns import ram_policy
from ...world.dns.alidns import AlidnsAccount
from ...world.lan.address import address_now
from . import api, authority, credentials, local, machine, naming, private, service
from .finding import Case, Finding

# The API refuses a call whose time is about so far off.
_API_SKEW = timedelta(minutes=15)
_SET_THE_CLOCK = "timedatectl set-ntp true"


def examine(
    config: Config,
    raw: bytes,
    path: str,
    say: Callable[[Finding], None],
    tell: Callable[[str], object] = str,
    *,
    asks_public: bool = False,
) -> list[Finding]:
    """Test everything that can break, and return what was found.

    Args:
        raw: the text of the configuration.
        path: its file.
        say: is given each finding at once.
        tell: is given what a person pastes elsewhere, at the end.
        asks_public: whether public resolvers may learn the names of sites that share a certificate.
    """
    case = Case(config, SystemClock(), say)
    access = _configuration(case, path)
    fingerprints = Fingerprints.of(config)
    if os.path.isdir(config.state_dir):
        privileges.become_owner(config.state_dir, ())
    writable = service.folders(case)
    _daemon(case, raw)
    sites = _sites(case, fingerprints)
    _outside(case, access, sites)
    local.examine(case, [site for site, _ in sites])
    for zone, domain in {zone: domain for domain, zone in case.zones.items()}.items():
        case.speaking[zone] = naming.name_servers(case, zone, domain)
    views = look_at(config, [site for site, _ in sites], fingerprints)
    entries = LedgerFile(config.state_dir, config.certs_dirs).seen()
    if isinstance(entries, StoreError):
        case.fail_by("state", "ledger", entries)
    resolvers, targets = naming.Resolvers(case), service.Targets(case)
    for view in views:
        _names(case, view, resolvers, is_private=view.site.certificate is not None and not asks_public)
        if not view.site.is_local and not view.site.certificate:
            _certificate(case, view, entries)
        if config.certs_dir_of(view.site) in writable and service.certificate(case, view):
            for target in view.site.deploy:
                targets.examine(view, target)
    if config.users:
        private.examine(case, () if isinstance(entries, StoreError) else entries, asks_public=asks_public)
    if text := credentials.policy(case):
        tell(text)
    return case.findings


def receivers(case: Case) -> None:
    """Test the URL of each receiver, and whether its last message was sent; nothing is sent."""
    history = outbox.history_of(case.config)
    for receiver in outbox.receivers(case.config):
        try:
            apprise_sender.service_of(receiver.url)
        except NotifyError as exc:
            case.fail_by("notify", receiver.label, exc)
            continue
        failure = history.failures.get(receiver.name) if history else None
        if failure is not None:
            text = _("the last message was not sent: {}").format(_(failure.what))
            case.warn("notify", receiver.label, text, failure.hint)
        else:
            case.ok("notify", receiver.label, _("its URL is one that apprise knows"))


def _configuration(case: Case, path: str) -> ApiAccess | None:
    """Report unreadable secrets and what is careless; return the way to the API, if its keys can be read."""
    lost, used_up = False, _used_bindings(case.config)
    for key, secret in case.config.secrets().items():
        if key in used_up:
            continue
        try:
            secret.read()
        except SecretUnreadable as exc:
            case.fail_by("secret", key, exc)
            lost = True
    receivers(case)
    source = Path(path) if path != "-" else None
    warnings = [] if lost else checks.warnings(case.config, source)
    for text in warnings:
        key, words = text.partition(": ")[::2]
        case.warn("configuration", key, words, _("see docs/configuration.md"))
    if not lost and not warnings:
        text = _("every secret can be read; sites: {}").format(len(case.config.sites))
        case.ok("configuration", environment.name_of(source), text)
    if case.config.aliyun is None:
        return None
    with suppress(SecretUnreadable):
        return way_to_dns(case.config, case.clock)
    return None


def _used_bindings(config: Config) -> set[str]:
    """Return the keys of the bindings, of a list of CAs, whose accounts are there: none is needed again."""
    if not config.has_stand_ins:
        return set()
    state_dir = config.state_dir
    known = [i for i, ca in enumerate(config.cas) if Accounts(state_dir, ca.url).is_known]
    return {f"acme[{i}].eab.hmac_key" for i in known}


def _daemon(case: Case, raw: bytes) -> None:
    pid, refused = locks.running_daemon(case.config.state_dir), refusal(case.config.state_dir, raw)
    if pid is None:
        text = _("not running: no site is checked or repaired")
        case.warn("daemon", "", text, _("systemctl enable --now certbotless, or a timer with --once"))
    elif refused:
        case.fail(
            "daemon", "", _("refuses the file: {}").format(" | ".join(map(_, refused))), _("correct the file")
        )
    else:
        case.ok("daemon", "", _("runs, pid {}").format(pid))


def _sites(case: Case, fingerprints: Fingerprints) -> list[tuple[Site, SiteState]]:
    """Return what has a certificate, sites and what they share, where its state can be read.

    What failed under another configuration counts no more.
    """
    found = []
    for site in case.config.kept:
        try:
            state = SiteFile(case.config.state_dir, site.domain).load()
            found.append((site, state.under(*fingerprints.digests(case.config, site))))
        except StoreError as exc:
            case.fail_by("state", site.domain, exc)
    return found


def _outside(case: Case, access: ApiAccess | None, sites: Sequence[tuple[Site, SiteState]]) -> None:
    """Ask the CA and the API, and compare their clocks with ours."""
    if not is_possible(case.clock.now()):
        text = _("shows {}, which is before this program was made").format(moment(case.clock.now()))
        case.fail("clock", "", text, _SET_THE_CLOCK)
        return
    ahead: dict[str, timedelta] = {}
    if not all(site.is_local for site in case.config.sites):
        keeper = next((s for site, s in sites if site.domain == case.config.account_keeper), SiteState())
        troubles: dict[str, CaTrouble | Failure] = {**keeper.troubles}
        if (failed := keeper.failures.get("order")) and failed.kind == AccountRefused.__name__:
            # Of the only CA, which has no troubles of its own.
            troubles[case.config.cas[0].directory] = failed
        case.cas = authority.examine(case, troubles)
    for _acme, seen in case.cas:
        if seen.time is not None:
            ahead.setdefault(_("the CA's"), case.clock.now() - seen.time)
    if access is not None and credentials.fetched(case, access):
        account = AlidnsAccount(access, case.clock, lambda *reply: _hear(case, reply[2]))
        api.examine(case, account, [(site, state) for site, state in sites if site.needs_zone])
        if account.clock_ahead is not None:
            ahead[_("the API's")] = account.clock_ahead
        credentials.examine(case, access)
    text = ", ".join(_difference(by, who) for who, by in ahead.items())
    if case.clock_is_refused or any(not -START_SLACK <= by <= TRUSTED_SKEW for by in ahead.values()):
        case.fail("clock", "", text or _("the API refuses our time"), _SET_THE_CLOCK)
    elif case.clock_is_in_doubt:
        text = _("shows {}, when the certificate of the CA or the API is not valid").format(
            moment(case.clock.now())
        )
        case.fail(
            "clock", "", text, _("{}; if the clock is right, theirs has expired").format(_SET_THE_CLOCK)
        )
    elif any(abs(by) > _API_SKEW / 3 for by in ahead.values()):
        case.warn(
            "clock", "", _("{}: the API refuses more than about 15 minutes").format(text), _SET_THE_CLOCK
        )
    elif ahead:
        case.ok("clock", "", text)


def _hear(case: Case, reply: Mapping[str, Any]) -> None:
    """Take the digits of the account from a refusal, which may name them."""
    case.digits = ram_policy.account_of(reply) or case.digits


def _difference(ahead: timedelta, whose: str) -> str:
    form = _("{:.0f} s behind {}") if ahead < timedelta() else _("{:.0f} s ahead of {}")
    return form.format(abs(ahead.total_seconds()), whose)


def _names(case: Case, view: View, resolvers: naming.Resolvers, *, is_private: bool) -> None:
    """Test the address, and the records: at name servers, or in the API's list where none speaks for it.

    Args:
        is_private: whether no public resolver may learn the names.
    """
    site = view.site
    zone = case.zones.get(site.domain, "")
    servers, listed = case.speaking.get(zone), case.readable.get(zone)
    for type_, rule in site.rules.items():
        names = site.names_with(type_)
        # The certificate of the local CA, and its proof, need the address without a record too.
        if not names and not (site.is_local and rule.version == 4 and rule.kind != "none"):
            continue
        try:
            wanted = address_now(rule)
        except AddressError as exc:
            case.fail_by("address", site.domain, exc)
            continue
        _reach(case, site, rule, wanted)
        every = view.seen.wanted(type_) if rule.others else (wanted,)
        if rule.others:
            from . import addresses  # noqa: PLC0415  (only a list of addresses needs it)

            addresses.examine(case, view)
        for fqdn in names:
            if servers:
                is_shown = naming.record(case, site, fqdn, every, servers, listed)
            else:
                is_shown = listed is not None and naming.listed_record(case, site, fqdn, every, listed)
            if is_shown and rule.version == 4:
                resolvers.ask(fqdn, every, zone, is_private=is_private)


def _reach(case: Case, site: Site, rule: AddressRule, address: str) -> None:
    """Warn of an address that was found and that no other machine reaches."""
    between, cure = machine.nat_around(address) if rule.kind != "literal" else ("", "")
    if between:
        text = _("{} is inside {}: no other machine of the LAN reaches it").format(address, between)
        case.warn(
            "address",
            site.domain,
            text,
            _("{} in sites[].address, with the port forwarded there").format(cure),
        )


def _certificate(case: Case, view: View, entries: Ledger) -> None:
    """Test whether another certificate could be ordered."""
    site, zone = view.site, case.zones.get(view.site.domain, "")
    if case.cas and (servers := case.speaking.get(zone)):
        authority.caa(case, site, zone, servers)
    if not isinstance(entries, StoreError):
        authority.limits(case, view, entries)
