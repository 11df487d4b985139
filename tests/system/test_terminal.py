"""What a person sees of the main job, on a real terminal."""

import re

from support.bed import DOMAIN, Bed
from support.terminals import Terminal

from certbotless.sandbox.host import LAN_ADDRESS

STEP = re.compile(r"(ok|not done) +(\S+)  (\S+): .*? +\d+\.\d s")


def steps_of(terminal: Terminal) -> list[tuple[str, ...]]:
    """Return how each step ended, whose it was, and which: the lines that end in a time."""
    return [match.groups() for match in map(STEP.fullmatch, terminal.lines()) if match]


def test_a_run_shows_each_step_with_its_time_and_what_it_waits_for(bed: Bed) -> None:
    """What was waited for leaves nothing behind; a failure is told as anywhere, and where it can be read."""
    bed.dns.set_delay(1, 1.5)
    bed.write()
    with Terminal(bed.command("--once")) as terminal:
        assert terminal.wait() == 0
        assert steps_of(terminal) == [
            ("ok", DOMAIN, "record"),
            ("ok", DOMAIN, "adopt"),
            ("ok", DOMAIN, "order"),
            ("ok", DOMAIN, "deploy:registry"),
        ]
        assert f"{DOMAIN}  record: nothing -> {LAN_ADDRESS} " in terminal.lines()[0]
        (warning,) = (line for line in terminal.lines() if " WARNING " in line)
        assert "store.set_aside" in warning
        assert terminal.lines()[-2:] == [f"{DOMAIN}: ok", ""]
        assert len(terminal.lines()) == 4 + 1 + 2
    for what in ("name servers to show it (", "CA to validate", "container to restart"):
        assert f"{DOMAIN} " in terminal.raw
        assert f", waits for the {what}" in terminal.raw
    assert "\x1b[32m" in terminal.raw

    bed.dns.set_delay(1, 3600)
    bed.forget_account()
    bed.config["dns"]["propagation_timeout"] = "1s"
    bed.write()
    with Terminal(bed.command("--renew-now", DOMAIN), environment={"NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 1
        assert steps_of(terminal) == [("not done", DOMAIN, "order")]
        assert any(" WARNING order.failed " in line for line in terminal.lines())
    assert re.search(rf"^{DOMAIN}: failing: .* does not show _acme-challenge", terminal.text(), re.MULTILINE)
    assert "\x1b[3" not in terminal.raw
