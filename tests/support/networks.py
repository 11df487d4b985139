"""Machines made for a question: each has a network of its own, which ends with the process that asks."""

import sys

from support.commands import completed

ASK = """
import sys
from certbotless.config import load as configfile
from certbotless.base.errors import AddressError
from certbotless.world.lan.address import address_now

FILE = "{aliyun: {access_key_id: i, access_key_secret: s}, sites: [{domain: a.test, %s: '%s'}]}"
key, *texts = sys.argv[1:]
for text in texts:
    rule = getattr(configfile.parse((FILE % (key, text)).encode(), "c.yaml").sites[0], key)
    try:
        print(address_now(rule))
    except AddressError as exc:
        assert exc.retryable
        print("refused:", exc)
"""


def interface(name: str, *addresses: str) -> str:
    """Return the commands that make an interface with these addresses, /24 where they say nothing else."""
    peer = f"peer-{name[-9:]}"
    lines = [f"ip link add {name} type veth peer name {peer}", f"ip link set {peer} up"]
    return _with_addresses(lines, name, addresses)


def bridge(name: str, *addresses: str) -> str:
    """Return the commands that make a bridge, with one port, that has these addresses."""
    port, peer = f"port-{name[-9:]}", f"peer-{name[-9:]}"
    lines = [
        f"ip link add {name} type bridge",
        f"ip link add {port} type veth peer name {peer}",
        f"ip link set {port} master {name}",
        f"ip link set {port} up",
        f"ip link set {peer} up",
    ]
    return _with_addresses(lines, name, addresses)


def _with_addresses(lines: list[str], name: str, addresses: tuple[str, ...]) -> str:
    full = (each if "/" in each else f"{each}/24" for each in addresses)
    added = [f"ip address add {each} dev {name}" for each in full]
    return " && ".join([*lines, *added, f"ip link set {name} up"])


def with_ipv6(made: str, name: str, *addresses: str) -> str:
    """Return the commands that make an interface, and then give it these addresses of IPv6 too."""
    added = [f"ip address add {each}/64 dev {name} nodad" for each in addresses]
    return " && ".join([made, *added])


def default_route6(name: str) -> str:
    return f"ip -6 route add default dev {name}"


def default_route(name: str, gateway: str, metric: int = 100) -> str:
    return f"ip route add default via {gateway} dev {name} metric {metric}"


def ask6(rules: list[str], *commands: str) -> list[str]:
    """As `ask`, of `sites[].address6`."""
    return ask(rules, *commands, key="address6")


def ask(rules: list[str], *commands: str, script: str = ASK, key: str = "address") -> list[str]:
    """Make a machine by these commands, and return what each rule of `sites[].KEY` finds there."""
    # What /sys shows of interfaces is of the network in which it was mounted.
    setup = " && ".join(["mount -t sysfs sysfs /sys", "ip link set lo up", *commands, 'exec "$@"'])
    asking = [sys.executable, "-c", script, key, *rules]
    ended = completed(["unshare", "--net", "--mount", "sh", "-c", setup, "sh", *asking])
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()
