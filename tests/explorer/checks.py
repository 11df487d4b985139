"""What must hold at every moment of an episode; what breaks it is a `Violation`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from certbotless.base.clock import RELEASED
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile

if TYPE_CHECKING:
    from certbotless.model.view import View

    from .ca import Order
    from .world import World


class Killed(BaseException):
    """SIGKILL: what is on disk stays, and nothing else. No guard takes it for an Exception."""


class Violation(BaseException):
    """Something that must never happen. No Exception, for the same reason."""


def leaf_on_disk(certs_dir: Path, domain: str) -> x509.Certificate | None:
    """Return the certificate that a service would load now, None where there is no pair that it could."""
    try:
        chain = (certs_dir / f"{domain}.pem").read_bytes()
        key = serialization.load_pem_private_key((certs_dir / f"{domain}.key").read_bytes(), None)
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except (OSError, ValueError):
        return None
    if leaf.public_key() != key.public_key():
        raise Violation("the pair is mixed")
    return leaf


def sha256_of(leaf: x509.Certificate) -> str:
    return leaf.fingerprint(hashes.SHA256()).hex()


def names_of(leaf: x509.Certificate) -> set[str]:
    extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    names = {*extension.value.get_values_for_type(x509.DNSName)}
    return names | {*map(str, extension.value.get_values_for_type(x509.IPAddress))}


def check_state(world: World, view: View) -> None:
    """Whoever is called ok is ok."""
    if view.state == "ok" and (found := list(_what_is_wrong(world, view))):
        raise Violation(f"the site is called ok, but: {'; '.join(found)}")


def _what_is_wrong(world: World, view: View) -> Iterator[str]:
    yield from world.wrong_records(view)
    leaf, now = leaf_on_disk(world.certs_dir, world.domain), world.clock.now()
    if leaf is None:
        yield "there is no pair on disk"
        return
    if leaf.not_valid_after_utc <= now:
        yield f"the certificate on disk expired at {leaf.not_valid_after_utc}"
    yield from world.wrong_names(leaf)
    for target in world.site.deploy:
        if target.port is not None and target.port.kind == "none":
            continue  # nobody can see what it serves
        names = list(world.engine.services) if target.label else [target.name]
        for service in (world.engine.services[name] for name in names):
            if service.is_absent and target.label:
                continue
            if service.loaded != sha256_of(leaf):
                yield f"{service.name} serves {service.loaded[:8] or 'nothing'}, not {sha256_of(leaf)[:8]}"


def check_order(world: World, replaces: str) -> None:
    """An order is placed only where no usable certificate is in hand."""
    if world.intent.renew_since is not None:
        return
    published = Store(world.certs_dir, world.domain).look()
    facts, origin, now = published.facts, published.origin, world.clock.now()
    if facts is None or origin is None or not published.is_intact:
        return
    wanted = (world.site.all_names, world.config.cas[0].key_type)
    if (facts.names, origin.key_type) != wanted:
        return
    if origin.directory not in {ca.url for ca in world.config.cas}:
        return
    state = SiteFile(world.state_dir, world.domain).load()
    left = facts.not_after - now
    drawn = state.renewal.moment if state.renewal else None
    is_drawn = drawn is not None and drawn <= now + timedelta(minutes=1)
    if left > facts.lifetime * 0.51 and not is_drawn:
        raise Violation(f"an order with {left} of {facts.lifetime} left{' (replaces)' if replaces else ''}")


def check_stand_in(world: World, directory: str) -> None:
    """A CA that stands in is asked only after the first one, and late where a certificate is in hand."""
    first, *others = (ca.url for ca in world.config.cas)
    if directory not in others or world.intent.ca:
        return
    known = SiteFile(world.state_dir, world.domain).load().generations
    facts, now = Store(world.certs_dir, world.domain).look(known).facts, world.clock.now()
    if facts is None or facts.names != world.site.all_names:
        if not world.first_has_failed:
            raise Violation(f"{directory} was asked, and {first} never had a fault")
    elif facts.not_before <= now < facts.not_after and facts.not_after - now > facts.lifetime / 6:
        raise Violation(f"{directory} was asked with {facts.not_after - now} of {facts.lifetime} left")


def check_signed(world: World, order: Order, not_before: datetime) -> None:
    """No certificate is asked for that the clock of the machine would take for one of the future."""
    slack = timedelta(minutes=5)
    if not_before > world.clock.now() + slack and world.clock.now() > RELEASED:
        raise Violation(f"a certificate from {not_before} by a clock that says {world.clock.now()}")


def check_window(world: World, name: str) -> None:
    """Nothing is done to a container outside its window that answers, before its deadline."""
    service, now = world.engine.services[name], world.clock.now()
    if world.intent.renew_since is not None or service.status != "running" or not service.loaded:
        return
    if world.lan is None:
        return  # nothing can be proved: it may be down
    deadline = SiteFile(world.state_dir, world.domain).load().deploy_by
    for target in world.site.deploy:
        if target.when is None or target.container not in (None, name):
            continue
        opens = world.next_opening(target.when, now)
        if opens > now and deadline is not None and deadline > now:
            raise Violation(f"{name} was acted upon at {now}; its window opens {opens}, deadline {deadline}")


def check_not_worse(before: x509.Certificate | None, after: x509.Certificate | None, now: datetime) -> None:
    """No expired pair is put over a valid one."""
    if before is None or after is None:
        return
    if before.not_valid_after_utc > now >= after.not_valid_after_utc:
        raise Violation(f"a pair that expired at {after.not_valid_after_utc}, over a valid one")
