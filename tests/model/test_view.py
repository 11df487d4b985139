"""What is no fault of a site: a renewal, while the certificate in use is valid and served."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.views import FACTS, IN_WINDOW, NOTHING, NOW, failure, pair, said, site, view

from certbotless.model.decision import Step
from certbotless.model.deployed import Acted
from certbotless.model.view import View

DAY = timedelta(days=1)
OLD = "cd" * 32
ORDER = Step("order", said("due"))
DEPLOY = Step("deploy", said("another certificate"), "registry")
BOTH_OLD = {"registry": OLD, "web": OLD}


def acted_for(shown: View, sha256: str, **remembered: Any) -> View:
    """Return a site whose two containers were last acted upon for this certificate."""
    acted = {name: Acted(sha256=sha256, count=1) for name in ("registry", "web")}
    return replace(shown, remembered=replace(shown.remembered, acted=acted, **remembered))


REPLACED = acted_for(view(DEPLOY, served=BOTH_OLD), OLD, deploy_by=NOW + DAY)


@pytest.mark.parametrize(
    ("shown", "is_renewing"),
    [
        (view(ORDER), True),
        (view(Step("clean-up", said("left")), Step("collect", said("left"))), True),
        (view(ORDER, IN_WINDOW), True),
        (view(ORDER, of=site(deploy="[]")), True),
        # Published a moment ago, and not deployed yet: what is served is the certificate before it.
        (REPLACED, True),
        (acted_for(view(ORDER, of=site(deploy='[{command: ["true"], port: none}]')), OLD), False),
        # No step is due, or all is waited for a window: that is said in other words.
        (view(), False),
        (view(IN_WINDOW), False),
        # A person must know.
        (view(ORDER, published=NOTHING), False),
        (view(ORDER, published=pair(-90 * DAY, -DAY)), False),
        (view(ORDER, published=pair(-80 * DAY, 10 * DAY)), False),
        (view(ORDER, published=pair(DAY, 90 * DAY)), False),
        (view(ORDER, of=site("other.sweetlove.top")), False),
        (view(ORDER, served={"registry": FACTS.sha256, "web": ""}), False),
        (view(ORDER, served={"registry": FACTS.sha256}), False),
        (view(ORDER, served=BOTH_OLD), False),
        (view(ORDER, Step("record", said("10.0.0.1 -> 10.0.0.2"))), False),
        (view(Step("confirm", said("not shown yet"))), False),
        (view(Step("list", said("no name server"))), False),
        (view(Step("restore", said("no certificate is published"))), False),
        (view(ORDER, Step("redeploy", said("refused"))), False),
        (view(ORDER, refused=pair(-DAY, 80 * DAY)), False),
        (view(replace(ORDER, wait_until=NOW + DAY, wait_why=said("a limit")[0])), False),
        (view(ORDER, failures={"order": failure()}), False),
        (view(DEPLOY, served=BOTH_OLD, failures={"deploy:registry": failure(is_waiting=True)}), False),
        (view(ORDER, problems=(failure("no name server answers"),)), False),
        (acted_for(REPLACED, OLD, deploy_by=NOW), False),
        (acted_for(REPLACED, FACTS.sha256), False),
    ],
)
def test_a_renewal_is_no_fault_while_the_certificate_in_use_is_valid_and_served(
    shown: View, is_renewing: bool
) -> None:
    assert shown.is_renewing == is_renewing
    only_waits = all(step.waits_for_window for step in shown.decision.steps) and shown.state != "failing"
    assert shown.is_well == (is_renewing or only_waits)
