"""The object of `status --json` -> the status page, by the template page.html (jinja2). Pure.

The page needs nothing else: its style is in it, and no picture, font or script is fetched. Texts of a CA, the
API or a container may hold anything: the template escapes each, and `printable` cuts it.

Source: HTML Living Standard; WCAG 2.2, 1.4.1 (no state by colour alone) and 1.4.3 (contrast).
"""

import base64
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..base import words
from ..base.errors import printable
from ..base.times import distance, moment, parse_rfc3339, span
from ..base.words import N_, _

_STYLE = Path(__file__).with_name("page.css").read_text()
# The one thing that may style the page (CSP Level 3, section 2.3.1).
STYLE_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"

# The worst state is first.
_STATES = {"failing": N_("{} failing"), "pending": N_("{} pending"), "ok": N_("{} ok")}
_LONGEST = 1000


def page(
    status: Mapping[str, Any],
    now: datetime,
    stale: Sequence[str] = (),
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the page, in the language of people.

    Args:
        status: the object of `status --json`, with at least one site.
        stale: why the page may be out of date, a line each.
        reasons: of the states, for people, by domain; without one the page has that of `status`.
    """
    sites = sorted(status["sites"], key=lambda site: [*_STATES].index(site["state"]))
    faults = [*([_("an edit is refused")] if status["config"]["error"] else []), *stale]
    return _TEMPLATE.render(
        status=status,
        sites=sites,
        title=_title(sites, faults),
        worst="failing" if faults else sites[0]["state"],
        stale=stale,
        reasons=defaultdict(str, reasons),
        language=words.language(),
        now=now,
    )


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


def _shown(value: object) -> object:
    """Return what the template shows of a value: HTML of its own as it is, any text cut and printable."""
    return value if hasattr(value, "__html__") else printable(value, _LONGEST)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
    finalize=_shown,
)
_ENVIRONMENT.filters |= {"moment": parse_rfc3339, "local": moment, "distance": distance, "span": span}
_ENVIRONMENT.globals |= {"bar_of": _bar_of, "style": _STYLE, "_": _}
_TEMPLATE = _ENVIRONMENT.get_template("page.html")
