"""What `plan` shows: for each site what would be done and why, and how much that is. Pure: views -> text."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from ..base.errors import printable
from ..base.times import moment
from ..base.words import N_, _
from ..config.targets import Target
from ..config.values import Reload
from ..model.decision import CONFIRM_OF, WRITES, Step, is_order
from ..model.reason import Why
from ..model.view import View
from .status_json import by_api

# As a line of the log.
_MOST_OF_A_LINE = 4000
# The actions that change nothing: they ask or wait, or come in place of an order that is planned as well.
_READING = {"list", "verify", "adopt", *CONFIRM_OF.values()}
_SAID = {
    "clean-up": N_("delete the TXT record of an earlier run"),
    "list": N_("ask the API for the records"),
    "confirm": N_("wait until the name servers show the A record"),
    "confirm6": N_("wait until the name servers show the AAAA record"),
    "rotate": N_("let the rotation of the local CA go on"),
    "adopt": N_("check whether the certificate of another tool can be used"),
    "order": N_("request a certificate"),
    "take": N_("use the certificate that it shares"),
    "collect": N_("fetch the certificate of an earlier request"),
    "restore": N_("restore the files"),
    "verify": N_("check the published certificate"),
    "rebuild": N_("write the copy of the certificate again"),
    "redeploy": N_("try the certificate again that the service refused"),
}
# Shorter than in a line of its own.
_SHORT = {Why.NO_CERTIFICATE: N_("there is none")}


def text_of(views: Sequence[View], verdicts: Mapping[str, str] | None = None) -> str:
    """Return a line for each site, and a line that counts the changes.

    Args:
        verdicts: on certificates of other tools, by domain.
    """
    lines, changes = list[str](), 0
    coming = {v.site.domain for v in views if v.site.is_shared and any(map(is_order, _due(v)))}
    for view in views:
        domain, steps = view.site.domain, view.decision.steps
        lines += [
            _("{}: cannot be checked: {}").format(domain, _(problem.advice))
            for problem in view.decision.problems
        ]
        follow = [*_following(view, coming)]
        said = [_would(step, view, (verdicts or {}).get(domain)) for step in steps]
        if is_next := _takes_next(view, coming):
            said.append(_("would use the next {} when it is issued").format(view.site.certificate))
        said += [_("then {}").format(_doing(target, view)) for target in follow]
        if said:
            lines.append(_("{}: {}").format(domain, _("; ").join(said)))
        elif not view.decision.problems:
            lines.append(_("{}: nothing to do").format(domain))
        changes += sum(step.action not in _READING for step in steps) + is_next + len(follow)
    count = sum(not view.site.is_shared for view in views)
    sites = _("{} site") if count == 1 else _("{} sites")
    counted = {0: _("no changes"), 1: _("{} change")}.get(changes, _("{} changes"))
    lines.append(_("{}, {}").format(sites.format(count), counted.format(changes)))
    return "\n".join(printable(line, _MOST_OF_A_LINE) for line in lines)


def warnings_of(views: Sequence[View]) -> list[str]:
    """Return what a person should know of the sites beside the plan."""
    return [f"{view.site.domain}: {note}" for view in views if (note := by_api(view))]


def _due(view: View) -> list[str]:
    return [step.action for step in view.decision.steps if step.is_due(view.seen.at)]


def _takes_next(view: View, coming: Collection[str]) -> bool:
    """Whether the site has what it shares, and another one is to be requested, which it will take."""
    return view.site.certificate in coming and all(step.action != "take" for step in view.decision.steps)


def _following(view: View, coming: Collection[str]) -> Iterator[Target]:
    """Yield the targets that get the certificate which is to be requested."""
    if _takes_next(view, coming) or any(step.action in ("order", "take") for step in view.decision.steps):
        planned = {step.target for step in view.decision.steps}
        yield from (target for target in view.site.deploy if target.name not in planned)


def _would(step: Step, view: View, verdict: str | None) -> str:
    """Return one step as a part of a sentence: what, why, and when if not now."""
    if step.action == "adopt" and verdict:
        return _(verdict)
    silent = {Why.TXT_LEFT, Why.ORDER_LEFT, Why.ADOPTABLE}
    if step.action in WRITES:
        what, is_new = _writing(step, view)
        if is_new:
            silent.add(Why.OTHER_VALUES)
    elif step.action == "deploy":
        what = next(_doing(target, view) for target in view.site.deploy if target.name == step.target)
    else:
        what = _(_SAID[step.action]) if step.action in _SAID else step.spoken_key
        if step.action == "order" and step.target:
            what = _("request a certificate from {}").format(step.target)
    reasons = [each for each in step.why if each.kind not in silent]
    why = _(", ").join(_(_SHORT[each.kind]) if each.kind in _SHORT else each.spoken for each in reasons)
    text = _("would {}").format(what) + (_(" ({})").format(why) if why else "")
    if step.wait_until is None or step.waits_for_another:
        return text
    return text + _(", not before {}: {}").format(moment(step.wait_until), step.spoken_wait_reason)


def _writing(step: Step, view: View) -> tuple[str, bool]:
    """Return what is done to a record, and whether there is none yet.

    The record is the site's own, or the one of a further name.
    """
    type_ = WRITES[step.action]
    of = _(" of {}").format(step.target) if step.target else ""
    shown = view.seen.shown(step.target or view.site.domain, type_)
    form = _("write the {} record{} {}")
    if shown:
        form = _("change the {} record{} to {}") if any(shown) else _("add the {} record{} {}")
    wanted = ", ".join(view.seen.wanted(type_))
    return form.format(type_, of, wanted), bool(shown) and not any(shown)


def _doing(target: Target, view: View) -> str:
    """Return what makes a target serve another certificate."""
    if target.command is not None:
        return _("run {}").format(target.name)
    if target.service is not None:
        return _rolling(target.service, view)
    if target.reads_by_itself:
        return Reload("none").spoken(target.name)
    return target.action.spoken(target.name)


def _rolling(service: str, view: View) -> str:
    """Return what an update of a service of a Swarm is: its nodes, and how long the last one took."""
    nodes = [name for name, node in view.remembered.nodes.get(service, {}).items() if node.down_at is None]
    text = _("update the secrets of the service {}").format(service)
    if nodes:
        text += _(" on {}").format(_(", ").join(nodes))
    roll = view.remembered.rolls.get(service)
    return text + (_(", about {} s").format(roll.took_s) if roll and roll.took_s else "")
