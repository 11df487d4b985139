"""The four facts of a site, as seen now. Reads the world and changes nothing; light enough for a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import datetime
from typing import TYPE_CHECKING

from ..base.clock import is_believable
from ..base.concurrent import together
from ..base.errors import AddressError, CertbotlessError, StoreError, ZoneOnHold
from ..base.words import Text
from ..config.addresses import AddressRule
from ..config.settings import Site
from ..decide.decide import without_abandoned
from ..model.certificate import Published
from ..model.memory import Listed, SiteState
from ..model.observation import Answers, Observation, endpoints_of, unseen
from ..model.situation import Goal
from ..state.pair import Store
from ..state.site import Accounts, SiteFile
from ..world.dns.query import Question
from ..world.lan.address import AddressSource
from ..world.tls import served_leaf
from .record_answers import AnswerSource, SeenAnswers

if TYPE_CHECKING:
    from ..model.local_ca import LocalCa
    from ..model.shared import Shared


def observe(
    goal: Goal,
    state: SiteState,
    shown_by: AnswerSource,
    now: datetime,
    address_of: AddressSource,
    shared: dict[str, Shared | None],
) -> Observation:
    """Look at everything that concerns the site, at once. Takes at most about 6 s.

    `shared` is what this check has seen of certificates that sites share, by their name; it is added to.
    """
    site, config = goal.site, goal.config
    problems: list[CertbotlessError] = []
    addresses = {type_: _wanted(type_, rule, address_of, problems) for type_, rule in site.rules.items()}
    store = Store(config.certs_dir_of(site), site.domain, key_mode=config.key_mode_of(site))
    host = _own_of(site) or host_of(goal, state, addresses["A"])
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked = pool.submit(copy_context().run, shown_by, goal, state, now)
        published = store.look(state.generations)
        file = SiteFile(config.state_dir, site.domain)
        copy = file.copy() if published.facts is None else None
        served = _leaves(site, state, host)
        local_ca, next_ca = _local_cas(goal, now, problems)
        shown = asked.result()
    listed = {fqdn: _listed(fqdn, state, now) for fqdn in sorted(shown.unanswered)}
    if shown.fault is not None and (isinstance(shown.fault, ZoneOnHold) or not any(listed.values())):
        problems.append(shown.fault)
    seen = Observation(
        at=now,
        addresses=addresses,
        answers=_answers(shown, listed),
        published=published,
        has_copy=file.has_pair,
        served=served,
        problems=tuple(unseen(problem, now, config.check_every) for problem in problems),
        refused=_refused(store, state, published),
        copy_ends=copy.not_after if copy else None,
        listed_at={fqdn: each.at if each else None for fqdn, each in listed.items()},
        unreachable=unseen(shown.fault, now, config.check_every) if shown.fault else None,
        shown_at=shown.at,
        host=host,
        local_ca=local_ca,
        next_ca=next_ca,
        shared=_shared(goal, shared) or (None if published.facts or copy else _spare(goal, now)),
        accountless=_accountless(goal),
        ca_before=_ca_before(goal, store, state, published),
    )
    return _with_addresses(goal, state, without_abandoned(goal, seen), store)


def _with_addresses(goal: Goal, state: SiteState, seen: Observation, store: Store) -> Observation:
    if not goal.site.address.others:
        return seen
    from .addresses import with_addresses  # noqa: PLC0415  (nothing of it is loaded for other sites)

    return with_addresses(goal, state, seen, store)


def _accountless(goal: Goal) -> tuple[str, ...]:
    """Return the CAs of a list where we have no account, if this is the first site that needs them."""
    config = goal.config
    if not config.has_stand_ins or goal.site.domain != config.account_keeper:
        return ()
    return tuple(ca.directory for ca in config.cas if not Accounts(config.state_dir, ca.url).is_known)


def _ca_before(goal: Goal, store: Store, state: SiteState, published: Published) -> str:
    """Return what gave the certificate before the published one, where the file has several CAs."""
    if not goal.config.has_stand_ins or goal.site.is_local or not published.previous:
        return ""
    origin = store.look_at(published.previous, state.generations).origin
    return origin.directory if origin else ""


def _local_cas(
    goal: Goal, now: datetime, problems: list[CertbotlessError]
) -> tuple[LocalCa | None, LocalCa | None]:
    """Return the CA of this machine and the one that takes its place, if the site needs them.

    Of each every file is read: one that is damaged is a problem now, not at the next order.
    """
    if not goal.site.is_local:
        return None, None
    from ..state.local_ca import LocalCaFolder  # noqa: PLC0415  (nothing of it is loaded for other sites)

    folder = LocalCaFolder(goal.config.state_dir)
    found: list[LocalCa | None] = []
    for load, read in ((folder.load, folder.seen), (folder.load_next, folder.next)):
        facts: LocalCa | None = None
        try:
            facts = ca.facts if (ca := load()) else None
        except StoreError as exc:
            problems.append(exc)
            with suppress(StoreError):
                facts = read()
        found.append(facts)
    now_ca, next_ca = found
    if now_ca is not None and not now_ca.is_valid(now):
        problems.append(now_ca.not_valid_now())
    return now_ca, next_ca


def _shared(goal: Goal, known: dict[str, Shared | None]) -> Shared | None:
    """Return the certificate that the site shares; None for none, and where it cannot be read.

    That it cannot be read is a problem of its own, not one of each site.
    """
    name = goal.site.certificate
    if name is not None and name not in known:
        from ..state.shared import SharedCertificate  # noqa: PLC0415  (nothing of it is loaded for other sites)

        # Other sites are checked at the same time: none of them may meet half of an answer.
        try:
            known[name] = SharedCertificate(goal.config, name).seen()
        except StoreError:
            known[name] = None
    return known[name] if name is not None else None


def _spare(goal: Goal, now: datetime) -> Shared | None:
    """Return what a site has of a shared certificate that is lost; None for nothing, and for a site."""
    if not goal.site.is_shared:
        return None
    from ..model.shared import Shared  # noqa: PLC0415  (as above)
    from ..state.shared import spares  # noqa: PLC0415  (as above)

    found = spares(goal.config, goal.site.domain, now)
    return Shared(found[0].facts) if found else None


def host_of(goal: Goal, state: SiteState, address: str) -> str:
    """Return `Observation.host`, empty where it is not known."""
    last = state.records.get("A", {}).get(goal.site.domain)
    return "127.0.0.1" if goal.site.address.kind == "none" else address or (last.value if last else "")


def _own_of(site: Site) -> str:
    """Return the address of a list at which this machine's containers serve; empty without a list."""
    if not site.address.others:
        return ""
    from .addresses import own_of  # noqa: PLC0415  (as above)

    return own_of(site.address.several)


def _wanted(
    type_: str, rule: AddressRule, address_of: AddressSource, problems: list[CertbotlessError]
) -> str:
    try:
        return address_of(rule)
    except AddressError as exc:
        problems.append(
            AddressError(Text("the {} record stays as it is: {}", type_, exc.message), hint=exc.hint)
        )
        return ""


def _listed(fqdn: str, state: SiteState, now: datetime) -> Listed | None:
    """Return what the API last listed of a name; what was noted in the future is not believed."""
    listed = state.listed.get(fqdn)
    return listed if listed is not None and is_believable(listed.at, now) else None


def _answers(shown: SeenAnswers, listed: Mapping[str, Listed | None]) -> Mapping[Question, Answers] | None:
    """Return the answers of the name servers, or for a name that none speaks for the API's."""
    if shown.answers is None:
        return None
    return {
        (fqdn, type_): (frozenset(by_api.values.get(type_, ())),) if (by_api := listed.get(fqdn)) else answers
        for (fqdn, type_), answers in shown.answers.items()
    }


def _refused(store: Store, state: SiteState, published: Published) -> Published | None:
    if state.trial is None or published.generation != state.trial.previous:
        return None
    found = store.look_at(state.trial.generation, state.generations)
    return found if found.facts is not None else None


def _leaves(site: Site, state: SiteState, host: str) -> dict[str, str]:
    several = site.address.several
    places = [place for target in site.deploy for place in endpoints_of(target, state, host, several)]
    known = {place.key: place.where for place in places if place.where}
    leaves = together(lambda where: served_leaf(*where, site.domain), list(known.values()))
    return dict(zip(known, leaves, strict=True))
