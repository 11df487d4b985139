"""What is wrong at a site, for the tests of messages."""

from certbotless.model.decision import Step
from certbotless.model.view import View
from support.views import failure, said, view

HOST, DOMAIN = "box", "devbox.sweetlove.top"

DEPLOY = Step("deploy", said("another certificate"), "registry")

BROKEN, OVER = f"{DOMAIN}: deploy failed", f"{DOMAIN}: solved: deploy failed"


def broken(what: str = "it does not start", **fields: object) -> View:
    """Return a site whose deploy has failed."""
    return view(DEPLOY, failures={"deploy:registry": failure(what)}, **fields)  # type: ignore[arg-type]
