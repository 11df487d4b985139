"""What `plan` shows: for each site what would be done and why, and how much that is. Pure: views -> text."""

from collections.abc import Iterator, Mapping, Sequence

from ..base.errors import printable
from ..base.times import counted, rfc3339
from ..config.settings import Target
from ..model.decision import CONFIRM_OF, WRITES, Step
from ..model.reason import Why
from ..model.view import View
from .status_json import by_api

# As a line of the log.
_MOST_OF_A_LINE = 4000
# The actions that change nothing: they ask or wait, or come in place of an order that is planned as well.
_READING = {"list", "adopt", *CONFIRM_OF.values()}
_SAID = {
    "clean-up": "delete the TXT record of an earlier run",
    "list": "ask the API for the records",
    "confirm": "wait until the name servers show the A record",
    "confirm6": "wait until the name servers show the AAAA record",
    "adopt": "check whether the certificate of another tool can be used",
    "order": "request a certificate",
    "collect": "fetch the certificate of an earlier request",
    "restore": "restore the files",
    "rebuild": "write the copy of the certificate again",
    "redeploy": "try the certificate again that the service refused",
}
# Shorter than in a line of its own.
_SHORT = {Why.NO_CERTIFICATE: "there is none"}


def text_of(views: Sequence[View], verdicts: Mapping[str, str] | None = None) -> str:
    """Return a line for each site, and a line that counts the changes.

    Args:
        verdicts: on certificates of other tools, by domain.
    """
    lines, changes = list[str](), 0
    for view in views:
        domain, steps = view.site.domain, view.decision.steps
        lines += [f"{domain}: cannot be checked: {problem.advice}" for problem in view.decision.problems]
        follow = [*_following(view)]
        said = [_would(step, view, (verdicts or {}).get(domain)) for step in steps]
        said += [f"then {_doing(target)}" for target in follow]
        if said:
            lines.append(f"{domain}: {'; '.join(said)}")
        elif not view.decision.problems:
            lines.append(f"{domain}: nothing to do")
        changes += sum(step.action not in _READING for step in steps) + len(follow)
    lines.append(f"{counted(len(views), 'site')}, {counted(changes, 'change') if changes else 'no changes'}")
    return "\n".join(printable(line, _MOST_OF_A_LINE) for line in lines)


def warnings_of(views: Sequence[View]) -> list[str]:
    """Return what a person should know of the sites beside the plan."""
    return [f"{view.site.domain}: {note}" for view in views if (note := by_api(view))]


def _following(view: View) -> Iterator[Target]:
    """Yield the targets that get the certificate which is to be requested."""
    if any(step.action == "order" for step in view.decision.steps):
        planned = {step.target for step in view.decision.steps}
        yield from (target for target in view.site.deploy if target.name not in planned)


def _would(step: Step, view: View, verdict: str | None) -> str:
    """Return one step as a part of a sentence: what, why, and when if not now."""
    if step.action == "adopt" and verdict:
        return verdict
    silent = {Why.TXT_LEFT, Why.ORDER_LEFT, Why.ADOPTABLE}
    if step.action in WRITES:
        what = _writing(step, view)
        if what.startswith("add"):
            silent.add(Why.OTHER_VALUES)
    elif step.action == "deploy":
        what = next(_doing(target) for target in view.site.deploy if target.name == step.target)
    else:
        what = _SAID.get(step.action, step.key)
    why = ", ".join(_SHORT.get(each.kind, each.words) for each in step.why if each.kind not in silent)
    when = f", not before {rfc3339(step.wait_until)}: {step.wait_reason}" if step.wait_until else ""
    return f"would {what}{f' ({why})' if why else ''}{when}"


def _writing(step: Step, view: View) -> str:
    """Return what is done to a record: that is the site's own, or the one of a further name."""
    type_ = WRITES[step.action]
    of = f" of {step.target}" if step.target else ""
    shown = view.seen.shown(step.target or view.site.domain, type_)
    verb = "change" if any(shown) else "add" if shown else "write"
    to = "to " if any(shown) else ""
    return f"{verb} the {type_} record{of} {to}{view.seen.wanted(type_)}"


def _doing(target: Target) -> str:
    """Return what makes a target serve another certificate."""
    if target.command is not None:
        return f"run {target.name}"
    match target.action.kind:
        case "signal":
            return f"send {target.action.signal} to {target.name}"
        case "exec":
            return f"run {target.action.argv[0]} in {target.name}"
        case _:
            return f"restart {target.name}"
