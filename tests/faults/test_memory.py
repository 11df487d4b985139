"""Answers without an end: what is read of them is bounded, and with it the memory of a run."""

import sys
from collections.abc import Callable

import pytest
from support.bed import Bed
from support.commands import completed
from support.fault_proxy import Fault, FaultProxy, gzip_bomb, huge
from support.invariants import assert_invariants

# What a run may take more than one that succeeds.
MOST_GROWTH_KIB = 32 * 1024


# In a process of its own: a child's peak begins with the size of whom it was forked from.
_MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, usage.ru_maxrss)
"""


def peak_kib(bed: Bed) -> int:
    """Run `--once` to its end, and return the most memory that it held."""
    bed.write()
    command = [sys.executable, "-c", _MEASURE, *bed.command("--once")]
    done = completed(command)
    code, peak = map(int, done.stdout.split())
    assert code in (0, 1), done.stderr
    return peak


@pytest.mark.row(8)
@pytest.mark.parametrize("body", [huge, gzip_bomb])
def test_an_answer_without_end_costs_little_memory(
    bare: Bed, ca_proxy: FaultProxy, api_proxy: FaultProxy, body: Callable[[], Fault]
) -> None:
    """Ten gigabytes, or as many as a bomb unpacks to; of the CA at each step, and of the DNS API."""
    usual = peak_kib(bare)
    places = [
        (ca_proxy, "GET", "/dir"),
        (ca_proxy, "POST", "/order-plz"),
        (ca_proxy, "POST", "/authZ/"),
        (ca_proxy, "POST", "/certZ/"),
        (api_proxy, "POST", "DescribeSubDomainRecords"),
        (api_proxy, "POST", "AddDomainRecord"),
    ]
    for number, (proxy, method, path) in enumerate(places):
        bare.config["sites"] = [bare.site(f"site{number}.sweetlove.test", deploy=[])]
        proxy.at(method, path, body())
        assert peak_kib(bare) - usual < MOST_GROWTH_KIB, path
        assert proxy.count(method, path) > 0
        proxy.forget()
    bare.config["sites"] = [bare.site(deploy=[])]
    bare.ok("--once")
    assert_invariants(bare)
