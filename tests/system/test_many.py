"""Many at once: sites that are due together, commands given together, daemons."""

import sys
from collections import Counter

import pytest
from support.bed import DOMAIN, ZONE, Bed, wait_until
from support.commands import completed

MANY = [f"box{number}.{ZONE}" for number in range(20)]


def acme_requests(bed: Bed, start: int = 0) -> int:
    """Return how many requests the CA got after the first `start`; polls of an order in progress apart."""
    return sum(request != "POST /my-order/" for request in bed.ca.requests()[start:])


@pytest.mark.parametrize("ca", [{}], indirect=True, ids=["its own"])
def test_twenty_sites_due_at_once_cost_each_what_one_alone_costs(bare: Bed) -> None:
    """9 ACME requests and 4 Alidns calls each, 3 more for the account; then 9 and 2, with slow DNS too."""
    bare.config["sites"] = [bare.site(domain, deploy=[]) for domain in MANY]
    bare.ok("--once")
    assert acme_requests(bare) <= 9 * len(MANY) + 3
    assert Counter(call.action for call in bare.dns.calls) == {
        "DescribeSubDomainRecords": 20,
        "AddDomainRecord": 40,
        "DeleteDomainRecord": 20,
    }
    first = {domain: bare.published(domain) for domain in MANY}
    bare.assert_no_txt()

    for server, delay_s in enumerate((2, 3)):
        bare.dns.set_delay(server, delay_s)
    requests, calls = len(bare.ca.requests()), len(bare.dns.calls)
    bare.ok("--renew-now")
    assert acme_requests(bare, requests) <= 9 * len(MANY)
    again = Counter(call.action for call in bare.dns.calls[calls:])
    # Pebble uses one valid authorization in a hundred again, even where it shall use none: no TXT then.
    assert set(again) == {"AddDomainRecord", "DeleteDomainRecord"}
    assert max(again.values()) <= len(MANY)
    assert not {bare.published(domain) for domain in MANY} & set(first.values())
    assert bare.orders() == 2 * len(MANY)
    bare.assert_no_txt()


# Fifty processes that run the command line, all of them loaded before the first one begins: on a busy machine
# most would begin only when the first one is done.
_FIFTY = """
import os, sys, traceback
import pytest

from certbotless.act import run as _
from certbotless.cli import main as cli
from certbotless.config import settings
from certbotless.world import containers
from certbotless.world.dns import alidns
def run():
    try:
        os._exit(cli.main(sys.argv[1:]))
    except BaseException:
        traceback.print_exc()
        os._exit(70)
pids = [os.fork() or run() for _ in range(50)]
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in pids))
"""


@pytest.mark.row(7)
def test_fifty_hasty_renewals_beside_a_daemon_are_one_order(bed: Bed) -> None:
    """All fifty end well, with the one leaf that is served then; the daemon finds nothing to do."""
    bed.ok("--once")
    old = bed.published()
    bed.config["check_every"] = "1s"
    with bed.daemon() as daemon:
        command = [sys.executable, "-c", _FIFTY, *bed.command("--renew-now", DOMAIN)[3:]]
        done = completed(command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines() == [f"{DOMAIN}: renewed and served"] * 50
        asked = len(bed.dns.queries)
        wait_until(lambda: len(bed.dns.queries) >= asked + 4, "the daemon has looked twice more")
        assert "order" not in daemon.log_text()
    assert bed.orders() == 2
    assert bed.served() == bed.published() != old
    bed.assert_no_txt()
