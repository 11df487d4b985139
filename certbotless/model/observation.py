"""What was seen of one site at one moment: values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..base.errors import CertbotlessError
from ..config.targets import Target
from .certificate import Published
from .memory import Failure, SiteState
from .records import address_type

if TYPE_CHECKING:
    from .local_ca import LocalCa
    from .shared import Shared

# By server: the values, or None for one that does not speak for the zone.
Answers = tuple[frozenset[str] | None, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one site.

    Attributes:
        at: when, aware UTC.
        addresses: the wanted ones, by the type of the records that carry them; empty where the site wants
            none or it could not be found.
        answers: for each record that the site wants, its values by authoritative server, None for one that
            does not speak for the zone; what the API listed for a name in `listed_at`. None as a whole where
            the zone is not known yet.
        published: what the store holds.
        has_copy: whether the pair last issued can be restored.
        served: SHA-256 of the leaf that is served at each place, by its key, empty for no TLS answer; one
            whose port is not known yet, or that cannot be proved, is absent.
        problems: what could not be seen; the next check tries again.
        refused: the newer generation that the service did not come up with; None where there is none.
        copy_ends: when the certificate of the copy ends; None where that is not known, or does not matter.
        listed_at: when the API listed what is known of a name that no name server speaks for, None for never.
        unreachable: why none does; None where every name has one that does.
        shown_at: when the name servers were asked; None for now.
        host: where the ports of this machine are met: the wanted IPv4 address, while it is not known the one
            that was written last; 127.0.0.1 for a site that wants none.
        local_ca: the CA of this machine; None where there is none, or the site does not need one.
        next_ca: the one that takes its place; None without a rotation.
        shared: the certificate that the site shares; None for one with a certificate of its own. Of a shared
            certificate that is lost: what a site still has of it.
        accountless: the CAs of a list where we have no account; given to the first site that needs them.
        ca_before: what gave the certificate before the published one (Origin.directory), where the file has
            several CAs; empty for none.
        several: of a list of addresses, those that the A record shall carry now; else empty.
        proved: by address of a list, whether a valid certificate was seen there; absent for one where nothing
            is to be seen.
    """

    at: datetime
    addresses: Mapping[str, str]
    answers: Mapping[tuple[str, str], Answers] | None
    published: Published
    has_copy: bool
    served: Mapping[str, str]
    problems: tuple[Failure, ...] = field(default=())
    refused: Published | None = None
    copy_ends: datetime | None = None
    listed_at: Mapping[str, datetime | None] = field(default_factory=dict)
    unreachable: Failure | None = None
    shown_at: datetime | None = None
    host: str = ""
    local_ca: LocalCa | None = None
    next_ca: LocalCa | None = None
    shared: Shared | None = None
    accountless: tuple[str, ...] = ()
    ca_before: str = ""
    several: tuple[str, ...] = ()
    proved: Mapping[str, bool] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The wanted IPv4 address, at which containers serve; of a list, the one of this machine."""
        return self.host if self.several else self.addresses.get("A", "")

    def wanted(self, type_: str) -> tuple[str, ...]:
        """Return the addresses that the records of a type shall carry: one, those of a list, or none."""
        one = self.addresses.get(type_, "")
        return (self.several if type_ == "A" else ()) or ((one,) if one else ())

    @property
    def in_hand(self) -> Published:
        """The newest certificate, published or refused: it decides whether one must be ordered."""
        return self.refused or self.published

    @property
    def generations(self) -> frozenset[str]:
        """The names of the pairs that may be published: this one, the one before, and a refused one."""
        refused = self.refused.generation if self.refused else ""
        return frozenset({self.published.generation, self.published.previous, refused} - {""})

    def is_shown(self, fqdn: str, *addresses: str) -> bool:
        """Whether every server that answers shows these addresses, and no other one."""
        shown = self.shown(fqdn, address_type(*addresses))
        return bool(shown) and all(values == {*addresses} for values in shown)

    def is_partly_shown(self, fqdn: str, *addresses: str) -> bool:
        """Whether every server that answers shows some of these addresses, and no other one.

        With weights the name servers of Aliyun answer with one of several records.
        """
        shown = self.shown(fqdn, address_type(*addresses))
        return bool(shown) and all(values and values <= {*addresses} for values in shown)

    def shown(self, fqdn: str, type_: str = "A") -> list[frozenset[str]]:
        """The answers for a name by the servers that gave one."""
        return [values for values in (self.answers or {}).get((fqdn, type_), ()) if values is not None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a target serves: one for a container or a command; for each match of a label, node or address.

    `name` is the container's, or what the target is called; `where` is None as long as its port is not known,
    and for a target that cannot be proved. `node` is that of a service, and `down_at` when it was last seen
    to have no task.
    """

    name: str
    where: tuple[str, int] | None
    target: str
    node: str = field(default="", kw_only=True)
    down_at: datetime | None = field(default=None, kw_only=True)

    @property
    def key(self) -> str:
        """Unique within the site: two targets may be one container at two ports."""
        return self.name if self.name == self.target else f"{self.target} {self.name}"


def unseen(error: CertbotlessError, now: datetime, check_every: timedelta) -> Failure:
    """Return what could not be seen as a failure that lasts until the next check."""
    return Failure(at=now, what=error.message, hint=error.hint, retry_at=now + check_every, count=1)


def endpoints_of(target: Target, state: SiteState, host: str, several: Sequence[str] = ()) -> list[Endpoint]:
    """Return every place where `target` serves, as far as it is known.

    Args:
        host: `Observation.host`.
        several: the addresses of the site's list. What is no container serves at each of them, where the file
            names only the port.
    """
    port = target.port
    if (
        several
        and port is not None
        and port.kind == "number"
        and not (target.has_containers or target.service)
    ):
        return [Endpoint(f"{target.name}@{at}", (at, port.number), target.name) for at in several]
    if target.service is not None and (nodes := state.nodes.get(target.service)):
        number = port.number if port else 0
        return [
            Endpoint(
                f"{target.service}@{name}",
                (node.address, number) if node.address else None,
                target.name,
                node=name,
                down_at=node.down_at,
            )
            for name, node in nodes.items()
        ]
    names = [target.name] if target.label is None else state.matched.get(target.label) or (target.name,)
    return [
        Endpoint(name, where_of(target, host, state.ports.get(name), state.bound.get(name, {})), target.name)
        for name in names
    ]


def where_of(
    target: Target, host: str, found_port: int | None, bound: Mapping[int, Sequence[str]]
) -> tuple[str, int] | None:
    """Return where one place of `target` serves, if the port that it publishes is known; see `Endpoint`.

    `bound` are the addresses at which a container publishes a port, of those that it does not publish at all.
    """
    if target.port is not None and target.port.kind == "none":
        return None
    if target.port is not None and target.port.kind == "elsewhere":
        return target.port.host, target.port.number
    port = target.port.number if target.port else found_port
    if port is not None and port in bound and host not in bound[port]:
        host = bound[port][0]
    return (host, port) if port and host else None
