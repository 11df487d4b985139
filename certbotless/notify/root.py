"""What there is to say of the root of the local CA. Pure and light.

A rotation is reported as a problem is: it begins, there are two reminders, and it is over when the next root
signs. A root that is near its end, or that cannot be replaced, is a problem.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..base.clock import is_believable
from ..base.times import moment
from ..base.words import N_, _
from ..model.view import View
from .problem import NEW, Key, Problem

if TYPE_CHECKING:
    from ..model.local_ca import LocalCa

# So long before the next root signs, there is a reminder.
_BEFORE_SWITCH = timedelta(days=30), timedelta(days=7)
# The facts: the root is near its end or cannot be replaced; a rotation, with the short digits of its root.
ROOT, ROTATION = "root", "rotation:"
_GIVE_IT = N_("give it to every client: certbotless trust export")


@dataclass(frozen=True, slots=True)
class Root:
    """How the root is.

    Attributes:
        problems, right: as in `Conditions`.
        rotations: the keys of a rotation to the root that signs now, and to the next; empty if none was seen.
        made: the short digits of a root that signs and was made lately, and what to say of it.
    """

    problems: Mapping[Key, Problem] = field(default_factory=dict)
    right: Collection[Key] = ()
    rotations: Collection[Key] = ()
    made: tuple[str, Problem] | None = None


def root_of(views: Sequence[View], now: datetime) -> Root:
    """Return how the root is; nothing where no site needs it, or it cannot be seen or used."""
    local = [view for view in views if view.seen.local_ca is not None and not view.decision.problems]
    if not local or (ca := local[0].seen.local_ca) is None:
        return Root()
    coming, root = local[0].seen.next_ca, f" {ROOT}"
    problems, rotations = dict[Key, Problem](), [f" {ROTATION}{ca.short}"]
    if coming is not None and coming.is_valid(now):
        rotations.append(f" {ROTATION}{coming.short}")
        problems[rotations[1]] = _rotation(coming)
    failed = [failure for view in local if (failure := view.standing_failures.get("rotate"))]
    if failed:
        problems[root] = Problem(_(failed[0].what), _(failed[0].hint), failed[0].retry_at)
    elif ca.ends_soon(coming, now):
        what = _("the root {} ends at {}").format(ca.short, moment(ca.not_after))
        hint = _("when every client has the next root: certbotless trust switch")
        problems[root] = Problem(what, hint if coming else "certbotless trust rotate")
    made = None
    if now - ca.not_before < NEW and is_believable(ca.not_before, now):
        what = _("the root {} is valid until {}; a client without it refuses the local sites")
        made = ca.short, Problem(what.format(ca.short, moment(ca.not_after)), _(_GIVE_IT))
    return Root(problems, {rotations[0], root} - problems.keys(), rotations, made)


def _rotation(coming: LocalCa) -> Problem:
    at = coming.switches_at
    what = _("the root {} signs from {} on; then a client without it refuses the local sites")
    remind_at = tuple(at - before for before in _BEFORE_SWITCH)
    return Problem(what.format(coming.short, moment(at)), _(_GIVE_IT), remind_at=remind_at)
