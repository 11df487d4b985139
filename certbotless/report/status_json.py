"""Facts -> the JSON of `status`, and the last lines of a one-shot run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ..base.times import distance, rfc3339
from ..base.words import Text, _
from ..config.settings import Config
from ..config.values import WORDS
from ..model.certificate import LeafFacts, Origin
from ..model.ledger import Ledger
from ..model.memory import Failure
from ..model.observation import endpoints_of
from ..model.view import ClientFacts, View

if TYPE_CHECKING:
    from ..model.local_ca import LocalCa

_NO_ADDRESS: dict[str, Any] = {
    "wanted": None,
    "wanted_all": [],
    "published": [],
    "source": None,
    "observed_at": None,
}


def unseen_site_json(domain: str, reason: str, facts: LeafFacts | None = None) -> dict[str, Any]:
    """Return the entry of a site that was not checked, for this reason."""
    return {
        "domain": domain,
        "state": "pending",
        "reason": reason,
        "address": dict(_NO_ADDRESS),
        "address6": dict(_NO_ADDRESS),
        "certificate": _certificate_json(facts, None) if facts else None,
        "next_renewal": None,
        "deploy": [],
        "client": None,
        "last_error": None,
    }


def _certificate_json(facts: LeafFacts, origin: Origin | None) -> dict[str, Any]:
    """Return what a certificate says, and which CA gave it where that is known: its word, URL or id."""
    told = {key: value for key, value in facts.to_plain().items() if key != "ari_id"}
    return told | {"ca": WORDS.get(origin.directory, origin.directory) if origin else None, "shared": None}


def local_ca_json(ca: LocalCa, coming: LocalCa | None) -> dict[str, Any]:
    """Return the entry of the local CA; `coming` is the one that takes its place, during a rotation."""
    next_ = _ca_json(coming) | {"signs_from": rfc3339(coming.switches_at)} if coming else None
    return _ca_json(ca) | {"next": next_}


def _ca_json(ca: LocalCa) -> dict[str, Any]:
    return {"root_sha256": ca.root_sha256, "not_after": rfc3339(ca.not_after), "permit": [*ca.permit]}


def by_api(view: View) -> str:
    """Say that the records are known from the API alone, why, and as of when; empty where they are not."""
    seen = view.seen
    known = [at for at in seen.listed_at.values() if at is not None]
    if seen.unreachable is None or not known:
        return ""
    text = _("{}; the record is known from the API, as of {}")
    return text.format(_(seen.unreachable.what), distance(min(known) - seen.at))


def headline(views: Sequence[View], busy: int) -> str:
    """Return one line about all sites; a run is at work on `busy` more.

    A certificate that sites share is none of them: it is named where it is not well.
    """
    counts = Counter("renewing" if v.is_renewing else v.state for v in views if not v.site.is_shared)
    parts = [f"{counts[name]} {name}" for name in ("ok", "renewing", "pending", "failing") if counts[name]]
    parts += [f"{busy} running"] if busy else []
    parts += [f"{v.site.domain} {v.state}" for v in views if v.site.is_shared and not v.is_well]
    coming = [(at, v.site.domain) for v in views if (at := v.decision.next_renewal) is not None]
    if coming:
        at, domain = min(coming)
        parts[-1] += f"; next renewal {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {domain}"
    return f"sites: {', '.join(parts)}"


def failure_text(failure: Failure) -> str:
    """Return a failure as one line: what, what to do, when it is tried again."""
    return Text("{}; next try {}", failure.advice, rfc3339(failure.retry_at))


@dataclass(frozen=True, slots=True)
class Seen:
    """What the checks have found: the last view of each site, in the order of the file, and the ledger.

    Attributes:
        well_at: when a site was last seen well; absent where it was not since the daemon started.
    """

    config: Config
    views: Mapping[str, View] = field(default_factory=dict)
    ledger: Ledger = ()
    well_at: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def unseen(self) -> list[str]:
        """Sites that were not checked yet, because a run is at work on them."""
        return [site.domain for site in self.config.kept if site.domain not in self.views]


@dataclass(frozen=True, slots=True)
class Served:
    """What is served at one place of a site, by the name of its container or target.

    `sha256` is that of the leaf seen there, empty for no TLS answer, None if it was not checked.
    `where` is the address and port, None where they are not known or nothing is to be proved. `service` and
    `node` are those of a Swarm, None for another target; the node is None too while none is known.
    """

    name: str
    state: Literal["serving", "pending", "failing", "unproved"]
    sha256: str | None
    where: tuple[str, int] | None = None
    service: str | None = None
    node: str | None = None

    @property
    def at(self) -> str | None:
        """Where it serves, as ``host:port``."""
        if self.where is None:
            return None
        host, port = self.where
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def served_of(view: View) -> Iterator[Served]:
    """Yield what every target of the site serves."""
    facts = view.seen.published.facts
    for target in view.site.deploy:
        failure = view.standing_failures.get(f"deploy:{target.name}")
        for place in endpoints_of(target, view.remembered, view.seen.host, view.site.address.several):
            leaf = view.seen.served.get(place.key)
            acted = view.remembered.acted.get(place.name)
            state: Literal["serving", "pending", "failing", "unproved"] = "pending"
            if facts is not None and leaf == facts.sha256:
                state = "serving"
            elif place.down_at and not leaf:
                state = "pending"  # the others of the service may serve all the same
            elif failure is not None and not failure.is_waiting:
                state = "failing"
            elif target.port is not None and target.port.kind == "none" and facts and acted:
                state = "unproved" if acted.sha256 == facts.sha256 else "pending"
            yield Served(place.name, state, leaf, place.where, target.service, place.node or None)


def site_json(view: View, met: ClientFacts | None, shared: View | None = None) -> dict[str, Any]:
    """Return the entry of a site.

    Args:
        met: what a client met there.
        shared: of the certificate that it shares: that no other one comes is an error of its sites too.
    """
    failure, renewal = (
        view.last_failure or (shared.last_failure if shared else None),
        view.decision.next_renewal,
    )
    published = view.seen.published
    facts = published.facts
    return unseen_site_json(view.site.domain, view.reason) | {
        "certificate": (
            _certificate_json(facts, published.origin) | {"shared": view.site.certificate} if facts else None
        ),
        "state": view.state,
        "address": _address_json(view, "A"),
        "address6": _address_json(view, "AAAA"),
        "next_renewal": rfc3339(renewal) if renewal else None,
        "deploy": [
            {
                "container": served.name,
                "state": served.state,
                "served_sha256": served.sha256 or None,
                "at": served.at,
                "service": served.service,
                "node": served.node,
            }
            for served in served_of(view)
        ],
        "client": met.to_json() if met else None,
        "last_error": failure.to_json() if failure and not failure.is_waiting else None,
        **({"cas": [*_cas_json(view)]} if view.authorities else {}),
    }


def _cas_json(view: View) -> Iterator[dict[str, Any]]:
    """Yield an object for each CA of a list: what the file calls it, how it stands, and its last failure."""
    origin = view.seen.published.origin
    for each in view.authorities:
        trouble = view.remembered.troubles.get(each.name)
        is_used = origin is not None and origin.directory == each.id
        yield {
            "directory": each.name,
            "standing": "failing" if trouble else "used" if is_used else "ready",
            "last_error": trouble.to_json() if trouble else None,
        }


def shared_json(entry: Mapping[str, Any], used_by: Sequence[str]) -> dict[str, Any]:
    """Return the entry of a certificate that these sites share, from what it would be as a site."""
    facts = {key: None for key in ("names", "sha256", "issuer", "not_before", "not_after")}
    facts |= {key: (entry["certificate"] or {}).get(key) for key in facts}
    keys = ("state", "reason", "next_renewal", "last_error", "cas")
    others = {key: entry[key] for key in keys if key in entry}
    return {"name": entry["domain"], **others, **facts, "used_by": [*used_by]}


def _address_json(view: View, type_: str) -> dict[str, Any]:
    """Return what is published for the site's domain, from where it is known, and since when."""
    seen, domain = view.seen, view.site.domain
    has_no_record = view.site.rules[type_].kind != "none" and not view.site.names_with(type_)
    shown = seen.shown(domain, type_)
    listed_at = seen.listed_at.get(domain)
    at = listed_at or seen.shown_at or seen.at
    wanted = () if has_no_record else seen.wanted(type_)
    told: dict[str, Any] = {
        "wanted": wanted[0] if wanted else None,
        "wanted_all": [*wanted],
        "published": sorted(set().union(*shown)),
        "source": ("api" if listed_at else "dns") if shown else None,
        "observed_at": rfc3339(at) if shown else None,
    }
    if type_ == "A" and seen.several:
        found = withdrawn_of(view).items()
        told["withdrawn"] = [{"address": address, "since": rfc3339(since)} for address, since in found]
    return told


def withdrawn_of(view: View) -> dict[str, datetime]:
    """Return each address of a list that has no record now, and since when no certificate is seen there."""
    silences = view.remembered.silences
    out = (a for a in view.site.address.several if a not in view.seen.several and a in silences)
    return {address: silences[address].since for address in out}
