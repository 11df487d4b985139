"""A site at one moment: what is remembered, seen and decided, and what a client met."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..base.checked import Told
from ..base.times import Moment, rfc3339
from ..base.words import Text, _
from ..config.settings import Site
from .authority import Authority
from .decision import RENEWAL, Decision, Step, failures_of, is_order
from .memory import Failure, SiteState
from .observation import Endpoint, Observation, endpoints_of
from .reason import Reason, Why


@dataclass(frozen=True, slots=True)
class View:
    """A site at one moment.

    Attributes:
        state: as `status` says it.
        cause: the failure or the step that is the reason of the state; None where all is well.
        standing_failures: what has not come true since it failed; that of an order stays until one succeeds,
            or the copy of a local CA that was gone is back.
        authorities: the CAs, where the file has several: the first is wanted, the others stand in for it.
    """

    site: Site
    remembered: SiteState
    seen: Observation
    decision: Decision
    state: Literal["ok", "pending", "failing"]
    cause: Failure | Step | None
    standing_failures: Mapping[str, Failure]
    authorities: tuple[Authority, ...] = ()

    @property
    def reason(self) -> str:
        """The reason of the state for programs, in English; empty where all is well."""
        if isinstance(self.cause, Step):
            return self.cause.wait_text or Text("{}: {}", self.cause.named, self.cause.reason)
        return self.cause.what if self.cause else ""

    @property
    def spoken_reason(self) -> str:
        """The reason of the state for people; empty where all is well."""
        if isinstance(self.cause, Step):
            step = self.cause
            return step.spoken_wait or _("{}: {}").format(step.spoken_key, step.spoken_reason)
        return _(self.cause.what) if self.cause else ""

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to act: all is true, a target's window is waited for, or a renewal runs."""
        if self.state != "pending":
            return self.state == "ok"
        return self._only_waits_for_window or self.is_renewing

    @property
    def _only_waits_for_window(self) -> bool:
        return all(step.waits_for_window for step in self.decision.steps)

    @property
    def is_renewing(self) -> bool:
        """Whether a renewal is due or runs, and nothing else, while the certificate in use is valid.

        In use is the published certificate, or the one before it where the new one is to be deployed. A
        failure, a limit that is waited for, a refused certificate, and one that ends soon are no such thing.
        """
        seen, facts, now = self.seen, self.seen.published.facts, self.seen.at
        if self.state != "pending" or self._only_waits_for_window or self.standing_failures:
            return False
        if facts is None or seen.refused is not None:
            return False
        is_valid = facts.not_before <= now and not facts.ends_soon(now)
        if not is_valid or not set(self.site.certified_names) <= set(facts.names):
            return False
        is_on_time = all(
            step.waits_for_window or (step.action in RENEWAL and step.is_due(now))
            for step in self.decision.steps
        )
        places = [
            place
            for each in self.site.deploy
            for place in endpoints_of(each, self.remembered, seen.host, self.site.address.several)
        ]
        return is_on_time and all(place.down_at or self._serves_ours(place) for place in places)

    def _serves_ours(self, place: Endpoint) -> bool:
        """Whether a place serves the published certificate, or the one before it, which is still valid.

        What cannot be proved serves what it was last acted upon for.
        """
        facts, acted = self.seen.published.facts, self.remembered.acted.get(place.name)
        last, deploy_by = acted.sha256 if acted else None, self.remembered.deploy_by
        leaf = self.seen.served.get(place.key, last)
        if leaf is None or facts is None:
            return False
        return leaf == facts.sha256 or (leaf == last and deploy_by is not None and self.seen.at < deploy_by)

    @property
    def stand_in(self) -> Reason | None:
        """Say which CA has issued in place of the first one, or that this one is back; None for neither."""
        seen, origin = self.seen, self.seen.published.origin
        names = {each.id: each.name for each in self.authorities}
        if origin is None or origin.directory not in names:
            return None
        first = self.authorities[0]
        if origin.directory == first.id:
            before = names.get(seen.ca_before, first.name)
            return Reason(Why.BACK, (first.name, before)) if before != first.name else None
        name, trouble = names[origin.directory], self.remembered.troubles.get(first.name)
        if trouble is None:
            return Reason(Why.ISSUED_IN_PLACE, (name, first.name))
        return Reason(Why.ISSUED_INSTEAD, (first.name, trouble.what, trouble.since, name))

    @property
    def last_failure(self) -> Failure | None:
        """The failure behind the state, or what could not be seen; else the newest, as of a forced renewal.

        One that only waits is none, unless there is no other. Its retry time is when its step may be taken:
        there may be other reasons to wait. Of orders at several CAs it is the soonest one's.
        """
        asked = {step.key for step in self.decision.steps}
        known = {key: each for key, each in self.standing_failures.items() if key not in asked}
        known |= failures_of(self.decision.steps, self.standing_failures)
        found = [*known.items(), *(("", problem) for problem in self.decision.problems)]
        if not found:
            return None
        key, failure = max(
            found, key=lambda item: (not item[1].is_waiting, item[0] in asked, not item[0], item[1].at)
        )
        waits = [
            step.wait_until
            for step in self.decision.steps
            if step.key == key or (is_order(key) and is_order(step.key))
        ]
        until = min((wait for wait in waits if wait), default=None) if all(waits) else None
        if until is None or until <= failure.retry_at:
            return failure
        return replace(failure, retry_at=until)


@dataclass(frozen=True, slots=True)
class ClientFacts(Told):
    """What a client met.

    Attributes:
        resolved: the system's resolver gives the wanted address of every name, and no other of its kind.
            None while it may remember what was before our record, which is younger than its TTL.
        trusted: a client that trusts what this machine trusts accepts what is served there.
        answered: GET /v2/ had an answer, and no error of the server. A registry says 200, or 401 where a
            login is needed. None for a service that has never answered in HTTP. The last two are None where
            they were not tried: what comes before it did not pass, or nothing is known to serve.
        text: what is wrong, or what the answer was.
        about: a digest of what was tried; if the site has changed since, the visit counts no more.
    """

    at: Moment
    resolved: bool | None
    trusted: bool | None
    answered: bool | None
    text: str
    about: str

    @property
    def is_well(self) -> bool:
        """Whether nothing failed."""
        return False not in (self.resolved, self.trusted, self.answered)

    def to_json(self) -> dict[str, Any]:
        """Return the object `client` of `status --json`."""
        told = self.to_plain() | {"at": rfc3339(self.at)}
        del told["about"], told["parts"]
        return told


# What a client met last, by domain.
Visits = Mapping[str, ClientFacts]


def facts_of(view: View, known: Visits) -> ClientFacts | None:
    """Return what a client met, if that was at the site as it is now."""
    facts = known.get(view.site.domain)
    return facts if facts is not None and facts.about == digest_of_visit(view) else None


def digest_of_visit(view: View) -> str:
    """Return a digest of what a client would meet if all were well."""
    published = view.seen.published.facts
    addresses = (*view.seen.addresses.values(), *view.seen.several[1:])
    sha256 = published.sha256 if published else ""
    parts = [view.site.names_with("A"), addresses, sha256, ports_of(view)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def ports_of(view: View) -> list[tuple[str, int]]:
    """Return host and port of each place that serves the site; the host is empty for the site's own name."""
    found = []
    for target in view.site.deploy:
        is_elsewhere = target.port is not None and target.port.kind == "elsewhere"
        for place in endpoints_of(target, view.remembered, view.seen.host, view.site.address.several):
            if place.where is not None:
                host, port = place.where
                # One that is published at another address alone is not met at the site's name.
                is_hidden = port in view.remembered.bound.get(place.name, {}) and host != view.seen.address
                found.append((host if is_elsewhere or is_hidden else "", port))
    return list(dict.fromkeys(found))
