"""What the daemon has done by a process of its own: a visit as a client, or one message (`service.wire`)."""

import sys
from pathlib import Path


def run_errand(source: Path | None, name: str) -> int:
    """Do the work of a helper of the daemon, and return its exit code."""
    if name == "visit":
        from ..config import load
        from ..observe import client_visit

        client_visit.visit_due(load.load(source))
    else:
        from ..base.checked import of_json
        from ..base.clock import SystemClock
        from ..notify import apprise_sender, outbox

        post = of_json(outbox.Post, sys.stdin.buffer.read())
        outbox.deliver(post, apprise_sender.send, SystemClock())
    return 0
