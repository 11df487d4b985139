"""`trust rotate` and `trust switch`: a new root, with overlap or without."""

from collections.abc import Callable, Mapping
from typing import Any

from ...act import local_rotation
from ...base.clock import SystemClock
from ...base.errors import printable
from ...base.privileges import become_owner
from ...base.times import moment
from ...base.words import _
from ...config.settings import Config
from ...model.local_ca import LocalCa

Say = Callable[[str], None]


def rotate(config: Config, args: Mapping[str, Any], say: Say) -> int:
    """Make the next root, or with `now` one that signs at once. Raises `CertbotlessError`."""
    become_owner(config.state_dir, config.certs_dirs)
    clock = SystemClock()
    if args["now"]:
        say_of(local_rotation.rotate_now(config, clock), say)
        say(_("It signs from now on. A client refuses the new certificates until it has this root."))
        say(_("Give it to every client: certbotless trust export"))
        say(_("Remove the root before it from every client."))
        return _say_who_is_due(say)
    ca, is_new = local_rotation.rotate(config, clock)
    say_of(ca, say)
    if not is_new:
        say(_("It is the next root already; it was not made again."))
    say(_("Give it to every client: certbotless trust export"))
    say_switch(ca, say)
    say(_("Make a new copy of the folder: it has the next root too"))
    return 0


def switch(config: Config, _args: Mapping[str, Any], say: Say) -> int:
    """Let the next root sign from now on. Raises `CertbotlessError`."""
    become_owner(config.state_dir, config.certs_dirs)
    say_of(local_rotation.switch(config, SystemClock()), say)
    say(_("It signs from now on. A client refuses the new certificates until it has this root."))
    return _say_who_is_due(say)


def _say_who_is_due(say: Say) -> int:
    say(_("Make a new copy of the folder: an older one lets the root before it sign again"))
    say(_("Each local site gets a new certificate at its next check: the daemon's, or certbotless --once"))
    return 0


def say_of(ca: LocalCa, say: Say) -> None:
    """Say what a root is."""
    say(f"SHA-256: {ca.fingerprint}")
    say(_("Valid until: {}").format(moment(ca.not_after, "%Y-%m-%d")))
    say(_("May vouch for: {}").format(", ".join(map(printable, ca.permit))))


def say_switch(ca: LocalCa, say: Say) -> None:
    """Say when the next root signs."""
    signs_from = moment(ca.switches_at, "%Y-%m-%d")
    say(_("It signs from {} on, or at once after: certbotless trust switch").format(signs_from))
