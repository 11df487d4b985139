"""Which IPv6 address the LAN reaches this machine by, on machines that are made for the question."""

from __future__ import annotations

import pytest

from .machines import ask, bridge, interface

ULA, LOWER_ULA, GLOBAL = "fd12:3456:789a:1::20", "fd12:3456:789a:1::7", "2409:8a00:1:2::20"


def made(name: str, *addresses: str, ipv4: str = "10.79.40.213") -> str:
    """Return the commands that make an interface with one IPv4 address and these of IPv6."""
    added = [f"ip address add {each} dev {name} nodad" for each in addresses]
    return " && ".join([interface(name, ipv4), *added])


def default_route(name: str) -> str:
    return f"ip -6 route add default dev {name}"


def found(rules: list[str], *commands: str) -> list[str]:
    return ask(rules, *commands, key="address6")


@pytest.mark.row(65)
def test_the_local_address_is_found_beside_global_ones_and_those_of_links() -> None:
    assert found(
        ["auto", "auto:eth0", "none"],
        made("eth0", f"{GLOBAL}/64", f"{ULA}/64"),
        made("eth1", "fd99::1/64"),
        default_route("eth0"),
    ) == [ULA, ULA, ""]


def test_without_an_ipv6_route_the_interface_of_the_ipv4_route_counts() -> None:
    """A LAN whose provider has no IPv6 yet."""
    route = "ip route add default via 10.79.40.1 dev eth0"
    other = made("eth1", "fd99::1/64", ipv4="192.168.1.20")
    assert found(["auto"], other, made("eth0", f"{ULA}/64"), route) == [ULA]


@pytest.mark.row(66)
def test_a_global_address_is_refused_unless_it_is_written() -> None:
    auto, named, literal = found(
        ["auto", "auto:eth0", GLOBAL], made("eth0", f"{GLOBAL}/64"), default_route("eth0")
    )
    for told in (auto, named):
        assert told.startswith("refused:")
        assert f"{GLOBAL!r} is not a unique local address" in told
        assert "'fe80::" in told
        assert "sites[].address6" in told
    assert literal == GLOBAL


def test_an_address_that_is_deprecated_or_not_proved_yet_gives_way() -> None:
    """The lower one would be taken else."""
    for state in ("preferred_lft 0 nodad", "tentative"):
        settled, alone = (
            f"ip address add {ULA}/64 dev eth0 nodad",
            "ip address add 10.0.0.7/24 dev eth0",
        )
        # An interface without a carrier proves nothing, so an address stays tentative.
        other = f"ip address add {LOWER_ULA}/64 dev eth0 {state.removesuffix('tentative')}"
        # The kernel notes a moment later that the carrier is gone.
        is_down = "ip -o link show eth0 | grep -q 'state [A-Z]*DOWN'"
        no_carrier = f"ip link set peer-eth0 down && until {is_down}; do sleep 0.01; done"
        down = no_carrier if state == "tentative" else "true"
        lines = [interface("eth0"), "ip link set eth0 up", down, other]
        assert found(["auto:eth0"], *lines, settled) == [ULA]
        (told,) = found(["auto:eth0"], *lines, alone)
        why = "deprecated" if state != "tentative" else "not known to be the only one of its kind"
        assert f"{LOWER_ULA!r} is {why}" in told


def test_a_temporary_address_is_never_taken() -> None:
    """The kernel makes them of the prefixes that it is told to; they change each day."""
    lines = [
        interface("eth0"),
        "sysctl -q -w net.ipv6.conf.eth0.use_tempaddr=2",
        f"ip address add {ULA}/64 dev eth0 mngtmpaddr nodad",
    ]
    shown = "ip -6 address show dev eth0 temporary | grep -q 'inet6 fd12:3456:789a:1:'"
    assert found(["auto:eth0"], *lines, shown) == [ULA]
    (told,) = found(["auto:eth0"], *lines, shown, f"ip address delete {ULA}/64 dev eth0")
    assert told.startswith("refused:")


@pytest.mark.row(65)
def test_a_default_route_through_containers_or_a_tunnel_is_refused() -> None:
    for name, made_by in (("wg0", interface("wg0")), ("docker0", bridge("docker0"))):
        auto, named = found(
            ["auto", f"auto:{name}"],
            made_by,
            f"ip address add {ULA}/64 dev {name} nodad",
            default_route(name),
        )
        assert f"{ULA!r} belongs to a container network or tunnel" in auto
        assert named == ULA


def test_a_kernel_without_ipv6_has_none() -> None:
    off = "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1"
    auto, literal = found(["auto", ULA], off, interface("eth0", "10.79.40.213"))
    assert auto.startswith("refused: this machine has no default route")
    assert literal == ULA
