"""Which address the LAN reaches this machine by, on machines that are made for the question.

Each has a network of its own, so that names of interfaces, addresses and routes are as the test says.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
from certbotless.address import lan_address
from certbotless.errors import AddressError
try:
    print(lan_address())
except AddressError as exc:
    assert exc.retryable
    print("refused:", exc)
"""


def interface(name: str, address: str, *, kind: str = "veth") -> str:
    """Return the commands that make an interface with this address."""
    if kind == "bridge":
        link = f"ip link add {name} type bridge"
    else:
        link = f"ip link add {name} type veth peer name peer-{len(name)} && ip link set peer-{len(name)} up"
    return f"{link} && ip address add {address}/24 dev {name} && ip link set {name} up"


def default_route(name: str, gateway: str, metric: int = 100) -> str:
    return f"ip route add default via {gateway} dev {name} metric {metric}"


def ask(*commands: str) -> str:
    """Make a machine by these commands, and return what is found there."""
    script = " && ".join(["ip link set lo up", *commands, 'exec "$@"'])
    ended = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("eth0", "veth"),
        ("br0", "bridge"),
        ("vmbr0", "bridge"),
        ("br-lan", "bridge"),
        ("enp3s0", "veth"),
        ("lan0", "veth"),
    ],
)
def test_the_address_of_the_default_route_is_the_one(name: str, kind: str) -> None:
    found = ask(interface(name, "10.79.40.213", kind=kind), default_route(name, "10.79.40.1"))
    assert found == "10.79.40.213"


@pytest.mark.parametrize("address", ["192.168.1.20", "172.20.0.20", "10.0.0.20"])
def test_every_private_network_is_a_lan(address: str) -> None:
    gateway = address.rpartition(".")[0] + ".1"
    assert ask(interface("eth0", address), default_route("eth0", gateway)) == address


def test_of_two_networks_the_one_with_the_better_default_route_counts() -> None:
    found = ask(
        interface("eth0", "192.168.1.20"),
        interface("wlan0", "10.79.40.213"),
        default_route("eth0", "192.168.1.1", metric=600),
        default_route("wlan0", "10.79.40.1", metric=100),
    )
    assert found == "10.79.40.213"


def test_networks_of_containers_beside_the_default_route_are_no_matter() -> None:
    found = ask(
        interface("eth0", "192.168.1.20"),
        interface("docker0", "172.17.0.1", kind="bridge"),
        interface("br-0123456789ab", "172.18.0.1", kind="bridge"),
        default_route("eth0", "192.168.1.1"),
    )
    assert found == "192.168.1.20"


@pytest.mark.parametrize(
    "name",
    ["docker0", "br-0123456789ab", "virbr0", "veth12ab34c", "cni0", "tun0", "wg0", "tailscale0"],
)
def test_a_default_route_through_containers_or_a_tunnel_is_refused(name: str) -> None:
    told = ask(interface(name, "10.79.40.213"), default_route(name, "10.79.40.1"))
    assert told.startswith("refused:")
    assert repr(name) in told
    assert "'10.79.40.213'" in told
    assert "sites[].address" in told


@pytest.mark.parametrize("address", ["47.96.12.34", "100.64.0.20", "169.254.10.20"])
def test_an_address_that_is_not_the_lans_is_refused(address: str) -> None:
    gateway = address.rpartition(".")[0] + ".1"
    told = ask(interface("eth0", address), default_route("eth0", gateway))
    assert told.startswith("refused:")
    assert repr(address) in told
    assert "sites[].address" in told


def test_without_a_default_route_there_is_no_address_yet() -> None:
    told = ask(interface("eth0", "10.79.40.213"))
    assert told.startswith("refused: this machine has no default route")
    assert "sites[].address" in told


IN_CONTAINER = "mount -t tmpfs none /run && touch /run/.containerenv"


def test_in_a_container_with_a_network_of_its_own_the_address_is_refused() -> None:
    told = ask(IN_CONTAINER, interface("eth0", "172.17.0.5"), default_route("eth0", "172.17.0.1"))
    assert told.startswith("refused:")
    assert "container network" in told


def test_in_a_container_with_the_hosts_network_the_address_is_the_hosts() -> None:
    found = ask(
        IN_CONTAINER,
        interface("eth0", "192.168.1.20"),
        interface("docker0", "172.17.0.1", kind="bridge"),
        default_route("eth0", "192.168.1.1"),
    )
    assert found == "192.168.1.20"
