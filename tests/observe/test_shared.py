"""What a check of many sites costs that share one certificate, beside as many with one of their own each."""

from dataclasses import dataclass

import pytest
import trustme
from support.files import opened_files
from support.scenes import DAY, HOUR, ZONE, Scene

from certbotless.model.certificate import Origin
from certbotless.model.memory import SavedPair
from certbotless.model.situation import Goal
from certbotless.observe.record_answers import ask_servers
from certbotless.observe.views import Looking, look
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile
from certbotless.world.acme import keys

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
    """Let each of these have a certificate and a copy of it; with a wildcard among them all have that one."""
    ca, config, now = trustme.CA(), scene.config, scene.clock.now()
    origin = Origin(config.cas[0].url, "", "ec256", now - HOUR)
    for name in names:
        if name == WILDCARD or WILDCARD not in names:
            made = ca.issue_cert(name, not_before=now - DAY, not_after=now + 89 * DAY)
            chain, key = made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()
            facts = keys.matching_facts(chain, keys.key_from_pem(key))
        file = SiteFile(config.state_dir, name)
        folder = config.shared_dir if name == WILDCARD else config.certs_dir
        Store(folder, name).publish(chain, key, facts, origin, now, file.note_generation)
        scene.date_links(now - HOUR, name)
        file.save_pair(SavedPair.of(chain, key, origin, facts.not_after))


@pytest.mark.parametrize("count", [12, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_check_of_sites_that_share_costs_no_more_than_of_others(scene: Scene, count: int) -> None:
    """But for the certificate itself, which is one more to be checked and is read once for all sites."""
    costs = []
    for more in ({}, {"certificate": WILDCARD}):
        kind = "sharing" if more else "own"
        scene.domains = [f"{kind}{number}.{ZONE}" for number in range(count)]
        scene.keys_of = {domain: {"deploy": [], **more} for domain in scene.domains}
        for domain in scene.domains:
            scene.point(domain)
        publish(scene, [*([WILDCARD] if more else []), *scene.domains])
        costs.append(cost(scene))
    own, shared = costs
    each = own.files // count
    assert shared.files <= own.files + 3 * each
    assert shared.questions == own.questions
