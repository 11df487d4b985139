"""The object of `status --json` -> the status page, by the template page.html. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from ..base import words
from ..base.times import parse_rfc3339
from ..base.words import N_, _
from .html import ENVIRONMENT

# The worst state is first.
_STATES = {"failing": N_("{} failing"), "pending": N_("{} pending"), "ok": N_("{} ok")}


def page(
    status: Mapping[str, Any],
    now: datetime,
    stale: Sequence[str] = (),
    reasons: Mapping[str, str] = MappingProxyType({}),
    share: str = "",
) -> str:
    """Return the page, in the language of people.

    Args:
        status: the object of `status --json`, with at least one site.
        stale: why the page may be out of date, a line each.
        reasons: of the states, for people, by domain; without one the page has that of `status`.
        share: the URL where clients get the root of the local CA; empty where there is none.
    """
    sites = sorted(status["sites"], key=_gravity)
    faults = [*([_("an edit is refused")] if status["config"]["error"] else []), *stale]
    shared = sorted(status["certificates"], key=_gravity)
    troubled = [f"{each['name']} {_(each['state'])}" for each in shared if each["state"] != "ok"]
    return _TEMPLATE.render(
        status=status,
        sites=sites,
        shared=shared,
        errors={each["name"]: each["last_error"] for each in shared},
        title=_title(sites, [*faults, *troubled]),
        worst="failing" if faults else min([sites[0], *shared], key=_gravity)["state"],
        stale=stale,
        reasons=defaultdict(str, reasons),
        share=share,
        language=words.language(),
        now=now,
    )


def _gravity(entry: Mapping[str, Any]) -> int:
    return [*_STATES].index(entry["state"])


def _title(sites: Sequence[Mapping[str, Any]], faults: Sequence[str]) -> str:
    """Return the state of all sites in a few words; the first other fault comes first, without details."""
    counts = Counter(site["state"] for site in sites)
    if counts["ok"] == len(sites) and not faults:
        return _("Everything is OK") if len(sites) == 1 else _("All {} sites are OK").format(len(sites))
    counted = _(", ").join(_(text).format(counts[state]) for state, text in _STATES.items() if counts[state])
    if not faults:
        return counted
    first = re.split(": |\uff1a", faults[0])[0]
    return _("{}; {}").format(f"{first[:1].upper()}{first[1:]}", counted)


def _bar_of(certificate: Mapping[str, Any], next_renewal: str | None, now: datetime) -> dict[str, Any]:
    """Return the life of a certificate as a bar that is 1000 long, for the template.

    `begin` and `end` are moments; `passed` and `due` are where now and the renewal are on the bar. Each of
    `parts` is a rectangle: its left end, its width and its kind; those in the back come first.
    """
    begin, end = (parse_rfc3339(certificate[key]) for key in ("not_before", "not_after"))

    def place(at: datetime) -> float:
        return 1000 * max(0.0, min(1.0, (at - begin) / (end - begin))) if end > begin else 1000.0

    passed, due = place(now), place(parse_rfc3339(next_renewal) if next_renewal else end)
    parts = [
        (0.0, due, "ahead"),
        (due, 1000 - due, "reserve"),
        (0.0, passed, "past" if now < end else "over"),
    ]
    shown = [part for part in parts if part[1] > 0]
    return {"begin": begin, "end": end, "passed": passed, "due": due, "parts": shown}


_TEMPLATE = ENVIRONMENT.get_template("page.html", globals={"bar_of": _bar_of})
