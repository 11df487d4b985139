"""A machine behind the NAT of its own host: the doctor knows it by what the kernel says."""

import subprocess
import sys
from pathlib import Path

import pytest

from certbotless.cli.doctor import machine
from certbotless.cli.doctor.machine import default_gateway, nat_around

VERSIONS = {
    "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f) (gcc (GCC) 11.2.0)": True,
    "Linux version 6.6.36.6-microsoft-custom (me@box) (gcc 13)": True,
    "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com) (gcc version 5.4.0 (GCC) )": False,
    "Linux version 6.12.57+deb13-amd64 (debian-kernel@lists.debian.org)": False,
    "": False,
}
HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
IN_A_VM = """
import sys
from certbotless.cli.doctor.machine import nat_around
print(nat_around(sys.argv[1])[0])
"""


@pytest.mark.parametrize(("version", "is_one"), VERSIONS.items())
def test_wsl2_is_known_by_its_kernel(
    version: str, is_one: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WSL1 has the network of Windows itself."""
    (tmp_path / "version").write_text(version)
    monkeypatch.setattr(machine, "_VERSION", tmp_path / "version")
    monkeypatch.setattr(machine, "_MIRRORED", str(tmp_path / "loopback0"))
    assert nat_around("10.79.40.213")[0] == ("WSL2" if is_one else "")
    (tmp_path / "loopback0").touch()
    assert nat_around("10.79.40.213") == ("", "")


@pytest.mark.parametrize(
    "routes", ["", HEAD, f"{HEAD}eth0\t00000000\n", f"{HEAD}eth0\t0\tzz\t1\t0\t0\t0\t0\n", "x\ny"]
)
def test_without_a_default_route_there_is_no_gateway(routes: str) -> None:
    assert default_gateway(routes) == ""


@pytest.mark.process
@pytest.mark.row(98)
@pytest.mark.parametrize(
    ("address", "gateway", "between"),
    [
        ("10.0.2.15", "10.0.2.2", "a virtual machine of VirtualBox or QEMU"),
        ("10.0.3.15", "10.0.3.2", "a virtual machine of VirtualBox"),
        ("10.0.2.15", "10.0.2.1", ""),
        ("10.0.2.16", "10.0.2.2", ""),
        ("10.79.40.213", "10.79.40.1", ""),
    ],
)
def test_a_virtual_machine_behind_nat_is_known_by_its_address_and_gateway(
    address: str, gateway: str, between: str
) -> None:
    """On the interfaces and routes of a network namespace; a kernel of WSL2 is hidden, if this is one."""
    setup = (
        f"echo Linux >$TMP && mount --bind $TMP /proc/version && ip link add eth0 type veth peer name eth1"
        f" && ip address add {address}/24 dev eth0 && ip link set eth0 up && ip link set eth1 up"
        f' && ip route add default via {gateway} && exec "$@"'
    )
    done = subprocess.run(
        [
            *("sh", "-c", "TMP=$(mktemp) && export TMP && trap 'rm $TMP' EXIT && \"$@\"", "sh"),
            *("unshare", "--net", "--mount", "sh", "-c", setup, "sh", sys.executable, "-c", IN_A_VM, address),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{between}\n", "")
