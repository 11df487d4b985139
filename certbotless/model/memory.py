"""What is remembered of one site from run to run: values alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..base.checked import Model, Told
from ..base.clock import is_believable
from ..base.log_context import Event
from ..base.times import BoundedMoment, Moment, rfc3339
from ..base.words import Text
from ..config.fingerprints import FORM
from .certificate import LeafFacts, Origin
from .deployed import Acted, Count, Restarting, Roll, SwarmNode, Trial

# The kinds of failures that another secret may cure.
_OF_SECRET = {
    *("DnsRefused", "KeyRefused", "RecordConflict", "ZoneNotFound", "AccountRefused", "SecretUnreadable"),
}

# The longest wait is for our own limit on orders, 7 days.
_LONGEST_WAIT = timedelta(days=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Told):
    """The last attempt at something did not succeed; times are aware UTC.

    `kind`: that of the error (base.errors), empty if an older version wrote it. `is_waiting`: no error,
    something else must come first. `limited_until`: the moment that a CA named which counts our requests;
    None where none did. Until then it is of no use to ask, whoever wants it. `address`: the one that could
    not be written, which keeps no other one from being written; empty for another failure.
    """

    at: BoundedMoment
    what: str
    hint: str
    retry_at: BoundedMoment
    count: Count
    is_waiting: bool = False
    limited_until: BoundedMoment | None = None
    kind: str = ""
    address: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the object that `status --json` has of it."""
        at, retry_at = rfc3339(self.at), rfc3339(self.retry_at)
        return {"at": at, "what": self.what, "hint": self.hint, "retry_at": retry_at}

    @property
    def advice(self) -> str:
        """What happened, and what to do now."""
        return Text("{}; {}", self.what, self.hint) if self.hint else self.what

    def __post_init__(self) -> None:
        Told.__post_init__(self)
        # A damaged file must not keep anything from being tried again.
        last = self.at + _LONGEST_WAIT
        object.__setattr__(self, "retry_at", min(self.retry_at, last))
        if self.limited_until is not None:
            object.__setattr__(self, "limited_until", min(self.limited_until, last))

    def blocks_at(self, now: datetime) -> bool:
        """Whether it is too early to try again. What failed in the future blocks nothing."""
        return now < self.retry_at and is_believable(self.at, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRecord(Model):
    """The record that we last wrote at a name, and whether the authoritative servers have shown it.

    `value`: its address; those of several records with commas between them.
    """

    value: str
    ttl_s: Count
    at: BoundedMoment
    is_seen: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """Its address, or the addresses of several records."""
        return tuple(self.value.split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence(Model):
    """An address of a list at which no valid certificate was seen: since when, by how many checks, the last.

    `is_withdrawn`: there is no record of it until a certificate is seen there.
    """

    since: BoundedMoment
    checks: Count
    last: BoundedMoment
    is_withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten(Model):
    """When a value that the name servers had shown was written again after a change that we did not make.

    `value` as in `WrittenRecord`.
    """

    value: str
    at: tuple[BoundedMoment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Model):
    """What the API listed of one name, by type (A, AAAA): enabled, of the default line; and when."""

    at: BoundedMoment
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderInFlight(Model):
    """An order that may yet give its certificate."""

    url: str
    directory: str
    names: tuple[str, ...]
    key_type: str = "ec256"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaTrouble(Told):
    """The last try at one CA of several did not succeed; `kind` as in `Failure`.

    `faults` counts the tries in a row that failed by the CA's own fault, since another CA gave a certificate;
    `since` is when the first of all failed.
    """

    at: BoundedMoment
    what: str
    hint: str = ""
    kind: str = ""
    since: BoundedMoment
    faults: Count = 0

    def to_json(self) -> dict[str, Any]:
        """Return the object that `status --json` has of it."""
        since, at = rfc3339(self.since), rfc3339(self.at)
        return {"since": since, "at": at, "what": self.what, "hint": self.hint}


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPair(Model):
    """The pair last issued, PEM, where it came from (certificate.Origin), and when its certificate ends."""

    chain: str
    key: str = field(repr=False)
    directory: str
    account: str
    key_type: str
    issued_at: BoundedMoment
    not_after: BoundedMoment | None = None

    @classmethod
    def of(cls, chain: bytes, key: bytes, origin: Origin, not_after: datetime | None = None) -> SavedPair:
        """Return the copy of this pair, PEM."""
        return cls(chain=chain.decode(), key=key.decode(), not_after=not_after, **asdict(origin))

    @property
    def origin(self) -> Origin:
        """Where it came from."""
        return Origin(self.directory, self.account, self.key_type, self.issued_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign(Told):
    """The pair of another tool at our names that was not taken over, and why.

    `files` tells it from any other (certificate.Published.plain); `valid_until` is None for what is no valid
    pair for our names.
    """

    files: str
    why: str
    valid_until: BoundedMoment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalInfo(Model):
    """What the CA suggests for the leaf with this SHA-256, the moment drawn in it, and when to ask again."""

    sha256: str
    next_look: BoundedMoment
    start: BoundedMoment | None = None
    end: BoundedMoment | None = None
    moment: BoundedMoment | None = None

    def is_of(self, facts: LeafFacts | None) -> bool:
        """Whether it is about this certificate."""
        return facts is not None and facts.sha256 == self.sha256

    def suggests(self, facts: LeafFacts | None, now: datetime) -> bool:
        """Whether the CA suggests to renew this certificate just now."""
        return self.is_of(facts) and bool(self.start and self.end and self.start <= now < self.end)


@dataclass(frozen=True, slots=True)
class TxtValue(Model):
    """A txt value (43 characters), the challenge name where the CA looks for it, and the zone of that.

    `record_id` is the DNS service's id of its record, empty until the service has given it.
    """

    fqdn: str
    value: str
    zone: str
    record_id: str = ""


# A file has these once for each type of record: the name of the field, with this behind it.
_BY_TYPE = ("records", "our_values")
_SUFFIXES = {"A": "", "AAAA": "6"}
# A file has these only where the configuration has several CAs, or addresses.
_OF_A_LIST = ("orders", "troubles", "silences")
# And these only where it has services.
_OF_SERVICES = ("nodes", "nodes_at", "rolls")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState(Model):
    """All that is remembered of one site.

    Attributes:
        digest, file_digest: of the configuration at the time of the failures; the latter without secrets.
        records: the record that we last wrote, by its type and name.
        our_values: all that we wrote there lately.
        rewritten: by type and name (``A devbox.example.com``), for the value that is wanted now.
        listed: what the API last listed of a name, for as long as no name server speaks for the zone.
        order: in flight.
        orders: in flight at further CAs, by directory; one key is for all orders in flight.
        troubles: at CAs of a list, by their names.
        silences: of addresses of a list, by the address.
        unseen_failures: how many validations in a row have failed whose value no name server had shown.
        alias_zones: the zone of each name that a challenge name is an alias of.
        ports: the port that each container publishes, where the file names none.
        bound: of each container that publishes a port at some addresses alone, these by port.
        matched: the names of the containers with each label.
        nodes: of each service, by its name: the nodes by theirs.
        nodes_at: when the Swarm was asked for them last.
        rolls: our last update of each service.
        deploy_by: when the certificate that was replaced last must be out of use.
        foreign: what another tool has at our names, as it was judged when it was looked into last.
        restored: when what another program had written in place of our files was replaced, in the last day.
        generations: SHA-256 of the meta.json of each generation that may be the published one, by its name.
        signed: when the local CA gave certificates lately.
        logged: since when a name is in public logs, of the certificates that a shared one has replaced.
        unkept_modes: a `wrong_mode` (certificate.Published) that stays, as the file system keeps no modes.
        is_lost: there is a file, but it makes no sense; all else is empty then.
    """

    zone: str = ""
    alias_zones: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    file_digest: str = ""
    records: dict[str, dict[str, WrittenRecord]] = field(default_factory=dict)
    our_values: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    rewritten: dict[str, Rewritten] = field(default_factory=dict)
    listed: dict[str, Listed] = field(default_factory=dict)
    unseen_failures: Count = 0
    order: OrderInFlight | None = None
    orders: dict[str, OrderInFlight] = field(default_factory=dict)
    troubles: dict[str, CaTrouble] = field(default_factory=dict)
    silences: dict[str, Silence] = field(default_factory=dict)
    renewal: RenewalInfo | None = None
    txt: tuple[TxtValue, ...] = ()
    ports: dict[str, int] = field(default_factory=dict)
    bound: dict[str, dict[int, tuple[str, ...]]] = field(default_factory=dict)
    matched: dict[str, tuple[str, ...]] = field(default_factory=dict)
    acted: dict[str, Acted] = field(default_factory=dict)
    nodes: dict[str, dict[str, SwarmNode]] = field(default_factory=dict)
    nodes_at: dict[str, BoundedMoment] = field(default_factory=dict)
    rolls: dict[str, Roll] = field(default_factory=dict)
    deploy_by: BoundedMoment | None = None
    trial: Trial | None = None
    restarting: dict[str, Restarting] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    restored: tuple[BoundedMoment, ...] = ()
    foreign: Foreign | None = None
    generations: dict[str, str] = field(default_factory=dict)
    unkept_modes: tuple[str, ...] = ()
    signed: tuple[BoundedMoment, ...] = ()
    logged: dict[str, BoundedMoment] = field(default_factory=dict)
    is_lost: bool = False

    @classmethod
    def of_saved(cls, saved: dict[str, Any]) -> SiteState:
        """Return the state that a file holds, by its keys. Raises ValidationError."""
        for name in _BY_TYPE:
            found = {type_: saved.pop(name + suffix, {}) for type_, suffix in _SUFFIXES.items()}
            saved[name] = {type_: each for type_, each in found.items() if each != {}}
        return cls.validate(saved)

    def to_saved(self) -> dict[str, Any]:
        """Return what a file holds, by field."""
        saved = self.to_dict()
        del saved["is_lost"]
        for name in (*_OF_A_LIST, *_OF_SERVICES):
            if not saved[name]:
                del saved[name]
        for name in _BY_TYPE:
            by_type = saved.pop(name)
            saved |= {name + suffix: by_type.get(type_, {}) for type_, suffix in _SUFFIXES.items()}
        return saved

    @property
    def in_flight(self) -> tuple[OrderInFlight, ...]:
        """Every order in flight; at most one at each CA."""
        return (*((self.order,) if self.order else ()), *self.orders.values())

    def order_at(self, directory: str) -> OrderInFlight | None:
        """Return the order in flight at the CA with this directory URL."""
        return next((order for order in self.in_flight if order.directory == directory), None)

    @property
    def has_old_digest(self) -> bool:
        """Whether an older version wrote the digest, so that it tells no configuration from another."""
        return bool(self.digest) and not self.digest.startswith(FORM)

    def under(self, digest: str, file_digest: str) -> SiteState:
        """Return what counts under a configuration with these digests; what failed under another does not.

        Where only a secret is another one, only that is forgotten which a secret can cure: a temporary key
        changes each hour, and cures neither a container nor the limit of a CA.
        """
        if self.digest == digest:
            return replace(self, file_digest=file_digest)
        if self.has_old_digest:
            # No order may follow an upgrade, so this counts as the same configuration.
            return replace(self, digest=digest, file_digest=file_digest)
        if self.file_digest == file_digest:
            failures = {key: failed for key, failed in self.failures.items() if failed.kind not in _OF_SECRET}
            troubles = {name: each for name, each in self.troubles.items() if each.kind not in _OF_SECRET}
            return replace(self, digest=digest, failures=failures, troubles=troubles)
        # What actions could not cure under the old one may be cured under this one.
        acted = {name: replace(done, count=0) for name, done in self.acted.items()}
        rolls = {name: replace(roll, count=0, forced=0) for name, roll in self.rolls.items()}
        return replace(
            self,
            digest=digest,
            file_digest=file_digest,
            acted=acted,
            rolls=rolls,
            failures={},
            troubles={},
            restored=(),
            rewritten={},
            foreign=None,
            unkept_modes=(),
        )


@dataclass(frozen=True, slots=True)
class KeptEvent(Model):
    """A line of `events.jsonl`: an event of a site (base.log_context).

    `text` has the words of an error. Of an older version it has the words of the values, in their place.
    """

    at: Moment
    site: str
    event: str
    values: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def words(self) -> str:
        """The event as it is shown."""
        return f"{self.event} {self.text or Event(self.event, self.values).words}"
