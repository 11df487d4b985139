"""`trust rotate` and `trust switch`: a new root, with overlap or without."""

from collections.abc import Callable, Mapping
from typing import Any

from ...act import local_rotation
from ...base.clock import SystemClock
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
        _say_of(local_rotation.rotate_now(config, clock), say)
        say(_("It signs from now on. A client refuses the new certificates until it has this root."))
        say(_("Remove the root before it from every client."))
        return _say_who_is_due(say)
    ca, is_new = local_rotation.rotate(config, clock)
    _say_of(ca, say)
    if not is_new:
        say(_("It is the next root already; it was not made again."))
    say(_("Give it to every client: certbotless trust export"))
    say(_("It signs from {} on, or at once after: certbotless trust switch").format(_day(ca.switches_at)))
    say(_("Make a new copy of the folder: it has the next root too"))
    return 0


def switch(config: Config, _args: Mapping[str, Any], say: Say) -> int:
    """Let the next root sign from now on. Raises `CertbotlessError`."""
    become_owner(config.state_dir, config.certs_dirs)
    _say_of(local_rotation.switch(config, SystemClock()), say)
    say(_("It signs from now on. A client refuses the new certificates until it has this root."))
    return _say_who_is_due(say)


def _say_who_is_due(say: Say) -> int:
    say(_("Each local site gets a new certificate at its next check: the daemon's, or certbotless --once"))
    return 0


def _say_of(ca: LocalCa, say: Say) -> None:
    digits = ca.root_sha256.upper()
    say("SHA-256: " + ":".join(digits[i : i + 2] for i in range(0, len(digits), 2)))
    say(_("Valid until: {}").format(_day(ca.not_after)))
    say(_("May vouch for: {}").format(", ".join(ca.permit)))


def _day(at: Any) -> str:
    return moment(at, "%Y-%m-%d")
