"""The object of `status --json` -> the status page, one HTML document for a browser without scripts. Pure.

It needs nothing else: its style is in it, and no picture, font or script is fetched. Texts of a CA, the API
or a container may hold anything; `_tag` escapes all that is no HTML of ours.

Source: HTML Living Standard; WCAG 2.2, 1.4.1 (no state by colour alone) and 1.4.3 (contrast).
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import printable
from .leaf import parse_rfc3339
from .report import distance, span

_STYLE = Path(__file__).with_name("page.css").read_text()
# The one thing that may style the page (CSP Level 3, section 2.3.1).
STYLE_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"

_RELOAD_S = 60
_STATES = ("failing", "pending", "ok")
_MARKS = {"ok": "✓", "pending": "…", "failing": "✕"}
_SERVED = {"serving": "✓", "pending": "…", "failing": "✕", "unproved": "?"}
_LONGEST = 1000
# The bar is drawn in parts of a thousand; what is narrower could not be seen.
_WIDTH, _HEIGHT, _LEAST = 1000, 22, 4
# The module `html` brings a table of 2,000 entities, which would be a megabyte in the memory of the daemon.
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_VOID = ("meta",)


class _Html(str):
    """Text that is HTML already."""


def _tag(name: str, /, *content: str, **attributes: str) -> _Html:
    """Return an element; content and attributes are escaped but where they are HTML."""
    # `class` and `for` are words of Python, and a name with a dash is none.
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"' for key, value in attributes.items()
    )
    end = "" if name in _VOID else f"</{name}>"
    return _Html(f"<{name}{written}>{''.join(map(_escaped, content))}{end}")


def _escaped(text: str) -> str:
    return text if isinstance(text, _Html) else printable(text, _LONGEST).translate(_ESCAPED)


def page(status: Mapping[str, Any], now: datetime, stale: Sequence[str] = ()) -> str:
    """Return the page.

    Args:
        status: the object of `status --json`, with at least one site.
        stale: why what it says may not be so any more, a line each.
    """
    sites = sorted(status["sites"], key=lambda site: _STATES.index(site["state"]))
    amiss = [*(["an edit is refused"] if status["config"]["error"] else []), *stale]
    title = _title(sites, amiss)
    mark = _MARKS["failing" if amiss else sites[0]["state"]]
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _tag("meta", name="color-scheme", content="light dark"),
        _tag("meta", http_equiv="refresh", content=str(_RELOAD_S)),
        _tag("title", f"{mark} {title} · certbotless"),
        _tag("style", _Html(_STYLE)),
    )
    body = _tag(
        "body",
        _tag("header", _tag("h1", title), _tag("p", "certbotless", class_="name")),
        _meta(status, now),
        *_notices(status, stale, now),
        _tag("main", *(_site(site, number, now) for number, site in enumerate(sites))),
        _footer(),
    )
    return f"<!doctype html>\n{_tag('html', head, body, lang='en')}\n"


def _title(sites: Sequence[Mapping[str, Any]], amiss: Sequence[str]) -> str:
    """Return how all stands; what is amiss beside the sites comes first, without its details."""
    counts = Counter(site["state"] for site in sites)
    if counts["ok"] == len(sites) and not amiss:
        return "All is well" if len(sites) == 1 else f"All {len(sites)} sites are well"
    counted = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    if not amiss:
        return counted
    first = amiss[0].partition(":")[0]
    return f"{first[:1].upper()}{first[1:]}; {counted}"


def _meta(status: Mapping[str, Any], now: datetime) -> _Html:
    return _tag(
        "p",
        _tag("span", "looked at ", _moment(status["observed_at"], now, seconds=True)),
        _tag("span", f"daemon runs, pid {status['daemon']['pid']}"),
        _tag("span", f"version {status['version']}"),
        _tag("span", _tag("code", status["config"]["path"])),
        *([_tag("span", *_messages(status["notify"], now))] if status["notify"] else []),
        class_="meta",
    )


def _messages(notify: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    unsent, last = notify["unsent"], notify["last_sent"]
    waiting = f"messages not sent yet: {unsent}; " if unsent else ""
    return (waiting, "last message ", _moment(last, now)) if last else (waiting, "no message sent yet")


def _notices(status: Mapping[str, Any], stale: Sequence[str], now: datetime) -> Iterator[_Html]:
    if error := status["config"]["error"]:
        lines = [_tag("p", line) for line in error.splitlines()]
        title = "An edit of the configuration is refused; what was in force before stays"
        yield _tag("section", _tag("h2", title, class_="failing"), *lines, class_="notice failing more")
    if stale:
        lines = [_tag("p", line) for line in stale]
        title = "What stands here may not be so any more"
        yield _tag("section", _tag("h2", title, class_="failing"), *lines, class_="notice failing more")
    if status["notify"] and (error := status["notify"]["last_error"]):
        yield _error(
            {**error, "what": f"A message could not be sent: {error['what']}"}, "pending", now, title="h2"
        )


def _site(site: Mapping[str, Any], number: int, now: datetime) -> _Html:
    state, heading = site["state"], f"site-{number}"
    error = site["last_error"]
    # The error below says the same, and more.
    reason = site["reason"] if error is None or error["what"] != site["reason"] else ""
    return _tag(
        "article",
        _tag(
            "div",
            _tag("h2", site["domain"], id=heading),
            _tag("p", _shown(_MARKS, state), class_=f"state {state}"),
            class_="head",
        ),
        _tag("p", reason, class_="reason") if reason else _Html(),
        _error(error, state, now) if error else _Html(),
        _life(site["certificate"], site["next_renewal"], now) if site["certificate"] else _Html(),
        _facts(site, now),
        aria_labelledby=heading,
    )


def _shown(marks: Mapping[str, str], state: str) -> _Html:
    """Return a state as a sign and a word; the sign is for the eye alone."""
    return _Html(_tag("span", marks[state], aria_hidden="true") + f" {_escaped(state)}")


def _error(error: Mapping[str, Any], state: str, now: datetime, *, title: str = "h3") -> _Html:
    tone = "failing" if state == "failing" else "pending"
    hint = _tag("p", "To do: ", error["hint"], class_="more") if error["hint"] else _Html()
    times = _tag(
        "p",
        "Failed ",
        _moment(error["at"], now),
        "; next try ",
        _moment(error["retry_at"], now),
        class_="more",
    )
    return _tag("section", _tag(title, error["what"], class_=tone), hint, times, class_=f"notice {tone}")


def _life(certificate: Mapping[str, Any], next_renewal: str | None, now: datetime) -> _Html:
    """Return the life of a certificate as a bar, with its three moments below."""
    begin, end = (parse_rfc3339(certificate[key]) for key in ("not_before", "not_after"))
    renewal = parse_rfc3339(next_renewal) if next_renewal else end

    def share(at: datetime) -> float:
        return max(0.0, min(1.0, (at - begin) / (end - begin))) if end > begin else 1.0

    passed, due = share(now) * _WIDTH, share(renewal) * _WIDTH
    parts = [(0.0, due, "ahead"), (due, _WIDTH, "reserve"), (0.0, passed, "past" if now < end else "over")]
    rects = [_rect(left, right - left, kind, 5, _HEIGHT - 10) for left, right, kind in parts if right > left]
    if now < end:
        rects.append(_rect(min(passed, _WIDTH - _LEAST), _LEAST, "now", 0, _HEIGHT))
    left = f"{span(end - now)} left" if now < end else "expired"
    label = f"Certificate of {span(end - begin)}: {passed / _WIDTH:.0%} of its life has passed, {left}"
    if next_renewal:
        label += f"; renewal {distance(renewal - now)}, at {due / _WIDTH:.0%}"
    bar = _tag(
        "svg",
        *rects,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    moments = {
        "Valid from": certificate["not_before"],
        "Renewal": next_renewal,
        "Ends": certificate["not_after"],
    }
    return _tag(
        "div",
        bar,
        _tag("dl", *(_pair(term, _moment(at, now) if at else "none") for term, at in moments.items())),
        class_="life",
    )


def _rect(x: float, width: float, kind: str, y: int, height: int) -> _Html:
    return _tag("rect", x=f"{x:.1f}", y=str(y), width=f"{width:.1f}", height=str(height), class_=kind)


def _facts(site: Mapping[str, Any], now: datetime) -> _Html:
    certificate, met = site["certificate"], site["client"]
    rows = [_pair("A record", *_address(site["address"], now))]
    if site["address6"]["wanted"] or site["address6"]["published"]:
        rows.append(_pair("AAAA record", *_address(site["address6"], now)))
    rows.append(_pair("Served by", _list([_target(target, certificate) for target in site["deploy"]])))
    rows.append(_pair("As a client", *(_client(met, now) if met else ("not tried yet",))))
    if certificate is None:
        rows.append(_pair("Certificate", "none yet"))
    else:
        names = _list([_Html(_escaped(name)) for name in certificate["names"]])
        rows.append(_pair("Certificate", names, " ", _tag("small", "by ", certificate["issuer"])))
        rows.append(_pair("SHA-256", _tag("code", certificate["sha256"]), class_="wide"))
    return _tag("dl", *rows, class_="facts")


def _pair(term: str, *description: str, **attributes: str) -> _Html:
    return _tag("div", _tag("dt", term), _tag("dd", *description), **attributes)


def _list(items: Sequence[_Html]) -> _Html:
    return _tag("ul", *(_tag("li", item) for item in items)) if items else _Html("nobody")


def _address(address: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    wanted, published = address["wanted"], address["published"]
    by_api = ""
    if address.get("source") == "api":
        by_api = f" (by the API, {distance(parse_rfc3339(address['observed_at']) - now)})"
    if wanted is None and not published:
        return ("none is kept, or no address is found",)
    if [wanted] == published:
        return _tag("span", "✓", aria_hidden="true", class_="ok"), f" {wanted}, as published{by_api}"
    shown = ", ".join(published) or "nothing"
    return _tag(
        "span", "≠", aria_hidden="true", class_="pending"
    ), f" {wanted or 'none'} wanted; published: {shown}{by_api}"


def _target(target: Mapping[str, Any], certificate: Mapping[str, Any] | None) -> _Html:
    state, sha256 = target["state"], target["served_sha256"]
    tone = {"serving": "ok", "failing": "failing"}.get(state, "pending")
    text = _escaped(f"{target['container']}: ") + _tag("span", _shown(_SERVED, state), class_=tone)
    if sha256 is not None and (certificate is None or sha256 != certificate["sha256"]):
        text += " " + _tag("small", "serves another certificate: ", _tag("code", sha256))
    return _Html(text)


def _client(met: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    said = []
    # What is trusted and was asked for no answer speaks no HTTP, as the text says.
    is_silent = met["trusted"] and met["answered"] is None
    for check in ("resolved", "trusted", *(() if is_silent else ("answered",))):
        mark, word, tone = {
            True: ("✓", "", "ok"),
            False: ("✕", "not ", "failing"),
            None: ("○", "not tried: ", "pending"),
        }[met[check]]
        said.append(_tag("span", _tag("span", mark, aria_hidden="true"), f" {word}{check}", class_=tone))
    return (
        _Html(", ".join(said)),
        " ",
        _tag("small", met["text"]),
        " ",
        _tag("small", _moment(met["at"], now)),
    )


def _moment(text: str, now: datetime, *, seconds: bool = False) -> _Html:
    """Return a moment for a person, and for a program."""
    at = parse_rfc3339(text).astimezone(UTC)
    shown = f"{at:%Y-%m-%d %H:%M:%S} UTC" if seconds else f"{at:%Y-%m-%d %H:%M} UTC"
    return _Html(_tag("time", shown, datetime=text) + " " + _tag("small", distance(at - now)))


def _footer() -> _Html:
    keys = {"past": "past", "ahead": "ahead", "reserve": "from its renewal to the end"}
    key = [
        _tag(
            "span",
            _tag("svg", _rect(0, 10, kind, 0, 10), viewBox="0 0 10 10", aria_hidden="true"),
            f"{word} ",
        )
        for kind, word in keys.items()
    ]
    links = {"status.json": "/status.json", "metrics": "/metrics", "healthz": "/healthz"}
    linked = _Html(", ".join(_tag("a", text, href=target) for text, target in links.items()))
    return _tag(
        "footer",
        _tag("p", "The life of a certificate: ", *key),
        _tag(
            "p",
            f"This is what the last looks found; the page is loaded anew every {_RELOAD_S} s. For programs: ",
            linked,
        ),
    )
