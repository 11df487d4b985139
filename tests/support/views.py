"""How a site looks, for what is said of it: a site that is well, but for what a test gives."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from certbotless.config import load
from certbotless.config.settings import Site
from certbotless.decide.decide import state_of
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import Decision, Step
from certbotless.model.memory import Failure, Silence, SiteState
from certbotless.model.observation import Observation
from certbotless.model.reason import Reason, Why, because
from certbotless.model.view import View

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
FACTS = LeafFacts(
    names=("*.devbox.sweetlove.top", "devbox.sweetlove.top"),
    sha256="ab" * 32,
    issuer="CN=YE1,O=Example CA,C=XX",
    not_before=NOW - timedelta(days=10),
    not_after=NOW + timedelta(days=80),
)
ORIGIN = Origin("https://ca.example.org/dir", "https://ca.example.org/acct/1", "ec256", FACTS.not_before)
RENEWAL = NOW + timedelta(days=50)
NOTHING = Published(None, None)


def site(
    domain: str = "devbox.sweetlove.top", *, address: str = "auto", address6: str = "none", deploy: str = ""
) -> Site:
    """Return a site whose certificate two containers serve, or the targets of `deploy`."""
    targets = deploy or "[{container: registry, port: 5000}, {container: web}]"
    text = (
        f"aliyun: {{access_key_id: a, access_key_secret: b}}\n"
        f"sites:\n"
        f"  - domain: {domain}\n"
        f'    names: ["*.{domain}"]\n'
        f"    address: {address}\n"
        f"    address6: {address6}\n"
        f"    deploy: {targets}\n"
    )
    return load.parse(text.encode(), "c.yaml").sites[0]


SITE = site()


def failure(what: str = "the CA is closed", *, at: datetime = NOW, **fields: Any) -> Failure:
    """Return what is kept of an attempt that failed."""
    retry_at = at + timedelta(minutes=10)
    return Failure(
        **{"at": at, "what": what, "hint": "try later", "retry_at": retry_at, "count": 1, **fields}
    )


def pair(begin: timedelta, end: timedelta) -> Published:
    """Return a published pair that is valid from and until so far from now."""
    facts = LeafFacts(FACTS.names, FACTS.sha256, FACTS.issuer, NOW + begin, NOW + end)
    return Published(facts, Origin(ORIGIN.directory, "", "ec256", facts.not_before))


def said(text: str) -> tuple[Reason, ...]:
    """Return a reason of these words."""
    return because(Why.FAULT, text)


IN_WINDOW = Step(
    "deploy",
    said("another certificate"),
    "registry",
    wait_until=NOW + timedelta(hours=12),
    wait_why=said("its window 02:00-05:00")[0],
    waits_for_window=True,
)


def view(
    *steps: Step,
    of: Site = SITE,
    published: Published | None = None,
    served: dict[str, str] | None = None,
    failures: dict[str, Failure] | None = None,
    renewal: datetime = RENEWAL,
    **seen: Any,
) -> View:
    """Return how a site looks that is well but for what is given."""
    pair = Published(FACTS, ORIGIN) if published is None else published
    answers = (frozenset({"10.79.40.213"}), frozenset({"10.79.40.213"}))
    observation = Observation(
        **{
            "at": NOW,
            "host": "10.79.40.213",
            "addresses": {"A": "10.79.40.213", "AAAA": ""},
            "answers": {(of.domain, "A"): answers},
            "published": pair,
            "has_copy": True,
            "served": {"registry": FACTS.sha256, "web": FACTS.sha256} if served is None else served,
            **seen,
        }
    )
    decision = Decision(steps, observation.problems, renewal if pair.facts else None)
    standing = failures or {}
    state, cause = state_of(decision, standing)
    return View(of, SiteState(failures=standing), observation, decision, state, cause, standing)


LISTED = ("10.79.40.211", "10.79.40.212", "10.79.40.213")


def on_three(*steps: Step, out: tuple[str, ...] = (), **seen: Any) -> View:
    """Return how a site with three addresses looks, of which these are withdrawn, since 12 minutes ago."""
    of = site(address=f"[{', '.join(LISTED)}]")
    several = tuple(address for address in LISTED if address not in out)
    shown = {
        "addresses": {"A": LISTED[0], "AAAA": ""},
        "several": several,
        "answers": {(of.domain, "A"): (frozenset(several),)},
    }
    found = view(*steps, of=of, **shown | seen)
    since = NOW - timedelta(minutes=12)
    silence = Silence(since=since, checks=3, last=NOW, is_withdrawn=True)
    return replace(found, remembered=replace(found.remembered, silences=dict.fromkeys(out, silence)))
