"""At which addresses of a list is a valid certificate seen? Only for a site with a list.

What proves an address is in docs/addresses.md: a place of a target there, or the port of a target that is
no container of this machine.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from ..base.concurrent import together
from ..base.errors import StoreError
from ..decide.addresses import wanted_of
from ..model.memory import SiteState
from ..model.observation import Observation, endpoints_of
from ..model.situation import Goal
from ..state.pair import Store
from ..world.lan.address import local_addresses
from ..world.tls import served_leaf, serves_valid

Where = tuple[str, int]


def own_of(listed: tuple[str, ...]) -> str:
    """Return the address of a list that this machine has, else the first: another machine forwards it."""
    with suppress(OSError):
        ours = {str(each.ip) for each in local_addresses(4)}
        return next((address for address in listed if address in ours), listed[0])
    return listed[0]


def with_addresses(goal: Goal, state: SiteState, seen: Observation, store: Store) -> Observation:
    """Return what was seen, with the addresses of the list. Takes at most 8 s."""
    places = [*_places(goal, state, seen.host)]
    known = {where: seen.served[key] for where, key in places if key in seen.served}
    unknown = [*dict.fromkeys(where for where, _ in places if where not in known)]
    domain = goal.site.domain
    leaves = known | dict(
        zip(unknown, together(lambda where: served_leaf(*where, domain), unknown), strict=True)
    )
    valid = _valid(domain, leaves, seen, [*_chains(store, state, seen)])
    listed = goal.site.address.several
    proved = {
        address: any(valid[where] for where in leaves if where[0] == address)
        for address in listed
        if any(where[0] == address for where in leaves)
    }
    return replace(seen, proved=proved, several=wanted_of(listed, proved, state.silences))


def _places(goal: Goal, state: SiteState, host: str) -> Iterator[tuple[Where, str]]:
    """Yield where an address of the list is proved, and the key of the place if it is one of a target."""
    listed = goal.site.address.several
    for target in goal.site.deploy:
        if target.port is not None and target.port.kind == "none":
            continue
        for place in endpoints_of(target, state, host, listed):
            if place.where is not None and place.where[0] in listed:
                yield place.where, place.key
        # A node that has left the Swarm, or was drained, serves nothing any more.
        if target.service is not None and target.port is not None:
            yield from (((address, target.port.number), "") for address in listed)


def _chains(store: Store, state: SiteState, seen: Observation) -> Iterator[bytes]:
    """Yield the chains of the certificates that are published, and were before, as far as they are there."""
    for generation in seen.generations:
        with suppress(StoreError):
            yield store.pair(state.generations, generation)[0]


def _valid(
    domain: str, leaves: Mapping[Where, str], seen: Observation, chains: list[bytes]
) -> dict[Where, bool]:
    facts = seen.published.facts
    is_ours = facts is not None and facts.not_before <= seen.at < facts.not_after
    ours = facts.sha256 if facts is not None and is_ours else None
    others = [where for where, leaf in leaves.items() if leaf and leaf != ours]
    found = dict(
        zip(others, together(lambda where: serves_valid(*where, domain, chains), others), strict=True)
    )
    return {where: found.get(where, bool(leaf)) for where, leaf in leaves.items()}
