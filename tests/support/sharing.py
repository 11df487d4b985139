"""How sites look that share a certificate, for what is said of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from certbotless.config import load
from certbotless.config.settings import Config
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import Step
from certbotless.model.shared import Shared
from certbotless.model.view import View
from support.views import FACTS, NOW, ORIGIN, RENEWAL, failure, said, view

WILDCARD = "*.lan.example.com"
NAMES = [f"{name}.lan.example.com" for name in ("registry", "git", "nas")]
FACTS_OF_ALL = replace(FACTS, names=(WILDCARD,))
DUE = Step("order", said("due since Monday"))


def config(count: int = 3) -> Config:
    """Return a configuration of so many sites that share a certificate; each has one container."""
    names = [*NAMES, *(f"box{number}.lan.example.com" for number in range(count - len(NAMES)))][:count]
    sites = "".join(
        f"  - {{domain: {name}, certificate: '{WILDCARD}', address: 10.79.40.213,"
        f" deploy: [{{container: {name.partition('.')[0]}, port: 443}}]}}\n"
        for name in names
    )
    text = f"aliyun: {{access_key_id: a, access_key_secret: b}}\nsites:\n{sites}"
    return load.parse(text.encode(), "c.yaml")


def published(facts: LeafFacts = FACTS_OF_ALL) -> Published:
    """Return a certificate of the CA that is published."""
    return Published(facts, Origin(ORIGIN.directory, "", "ec256", facts.not_before))


def unit(*steps: Step, facts: LeafFacts | None = FACTS_OF_ALL, **fields: Any) -> View:
    """Return how the shared certificate looks: well, but for what is given."""
    (site,) = config().shared
    pair = published(facts) if facts else Published(None, None)
    return view(*steps, of=site, published=pair, served={}, addresses={"A": "", "AAAA": ""}, **fields)


def failing(facts: LeafFacts | None = FACTS_OF_ALL) -> View:
    """Return how the shared certificate looks whose CA gives no other one."""
    return unit(DUE, facts=facts, failures={"order": failure()})


def sharers(*steps: Step, facts: LeafFacts = FACTS_OF_ALL, count: int = 3, **fields: Any) -> list[View]:
    """Return how the sites look: well, but for what is given."""
    shared = Shared(FACTS_OF_ALL, (), RENEWAL)
    return [
        view(
            *steps,
            of=site,
            published=published(facts),
            served={site.domain.partition(".")[0]: facts.sha256},
            **{"shared": shared, **fields},
        )
        for site in config(count).sites
    ]


def near_its_end(left: timedelta = timedelta(days=2)) -> LeafFacts:
    """Return a certificate that ends soon."""
    return replace(FACTS_OF_ALL, not_before=NOW - 80 * timedelta(days=1), not_after=NOW + left)
