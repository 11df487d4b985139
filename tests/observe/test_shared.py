"""What a check of many sites costs that share one certificate, beside as many with one of their own each."""

from dataclasses import dataclass

import pytest
import trustme
from support.files import opened_files
from support.scenes import DAY, ZONE, Scene

from certbotless.model.situation import Goal
from certbotless.observe.record_answers import ask_servers
from certbotless.observe.views import Looking, look
from certbotless.state.site import SiteFile

WILDCARD = f"*.{ZONE}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one check of all costs: files opened, and questions to name servers."""

    files: int
    questions: int


def cost(scene: Scene) -> Cost:
    """Check all that has a certificate, one after the other, and return what it cost; all of them are ok."""
    config, questions = scene.config, 0

    def count() -> None:
        nonlocal questions
        questions += 1

    scene.server.on_query = count
    looking = Looking(ask_servers(scene.edges().servers))
    now = scene.clock.now()
    with opened_files() as paths:
        states = {look(Goal(site, config), looking, now).state for site in config.kept}
    assert states == {"ok"}
    below = [path for path in paths if path.startswith((str(scene.certs_dir), str(scene.state_dir)))]
    return Cost(len(below), questions)


def publish(scene: Scene, names: list[str]) -> None:
    """Let each of these have a pair and a copy of it; what is for a wildcard is the same for all sites."""
    ca, now = trustme.CA(), scene.clock.now()
    made = ca.issue_cert(WILDCARD, not_before=now - DAY, not_after=now + 89 * DAY)
    for name in names:
        if WILDCARD not in names:
            made = ca.issue_cert(name, not_before=now - DAY, not_after=now + 89 * DAY)
        pair = scene.publish_pair(made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes(), domain=name)
        SiteFile(scene.state_dir, name).save_pair(pair)


@pytest.mark.parametrize("count", [12, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_check_of_sites_that_share_costs_no_more_than_of_others(scene: Scene, count: int) -> None:
    """But for the certificate itself, which is one more to be checked and is read once for all sites."""
    costs = []
    for keys in ({}, {"certificate": WILDCARD}):
        kind = "sharing" if keys else "own"
        scene.domains = [f"{kind}{number}.{ZONE}" for number in range(count)]
        scene.keys_of = {domain: {"deploy": [], **keys} for domain in scene.domains}
        for domain in scene.domains:
            scene.point(domain)
        publish(scene, [*([WILDCARD] if keys else []), *scene.domains])
        costs.append(cost(scene))
    own, shared = costs
    each = own.files // count
    assert shared.files <= own.files + 3 * each
    assert shared.questions == own.questions
