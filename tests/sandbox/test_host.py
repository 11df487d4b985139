"""A private host is a machine of its own, passes its command's end on, and leaves nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.bed import wait_until
from support.commands import completed
from support.pages import ROOT

pytestmark = pytest.mark.process

ON_PRIVATE_HOST = [sys.executable, "-m", "certbotless.sandbox.host"]

# Says where it is, leaves a child to itself, and waits to be told to end.
RESIDENT = """
import os, signal, sys
from certbotless.sandbox.host import require_private_host
os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "300")
codes = {signal.SIGTERM: 9, signal.SIGINT: 8}
signal.pthread_sigmask(signal.SIG_BLOCK, codes)
print(require_private_host(), os.readlink("/proc/self/ns/pid"), flush=True)
sys.exit(codes[signal.sigwait(codes)])
"""


@dataclass(frozen=True, slots=True)
class Resident:
    """A private host with somebody in it: the process that holds it, its name, its pid namespace."""

    holder: subprocess.Popen[str]
    name: str
    pid_namespace: str

    def processes(self) -> list[int]:
        """Return the processes that live on it, as this machine numbers them, the first one first."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                namespace = str((process / "ns/pid").readlink())
            except OSError:  # it has ended meanwhile
                continue
            if namespace == self.pid_namespace:
                found.append(int(process.name))
        return sorted(found)

    def traces(self) -> list[str]:
        """Return what this machine holds of it: mounts, control groups, files."""
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if self.name in line]
        groups = [str(path) for path in Path("/sys/fs/cgroup").rglob(self.name)]
        folders = Path("/tmp").glob(self.name)  # noqa: S108 - its name there is not guessable
        return [*mounts, *groups, *map(str, folders)]

    def gone(self) -> bool:
        """Return whether nothing of it is left."""
        return not self.processes() and not self.traces()


@contextmanager
def resident() -> Iterator[Resident]:
    """Have somebody on a private host, with a control group as an engine makes them."""
    with subprocess.Popen(
        [*ON_PRIVATE_HOST, sys.executable, "-c", RESIDENT], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        try:
            yield Resident(holder, *holder.stdout.readline().split())
        finally:
            holder.terminate()


def run_inside(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a private host, with further environment variables."""
    return completed([*ON_PRIVATE_HOST, *command], env={**os.environ, **settings})


def test_it_has_a_lan_address_that_carries_the_default_route() -> None:
    """A program that looks for the LAN address finds it, on an interface that is no bridge of an engine."""
    addresses = json.loads(run_inside("ip", "-json", "-4", "address").stdout)
    routes = json.loads(run_inside("ip", "-json", "route").stdout)
    assert {link["ifname"]: link["addr_info"][0]["local"] for link in addresses} == {
        "lo": "127.0.0.1",
        "lan0": "10.79.40.213",
    }
    assert [(route["dst"], route["dev"]) for route in routes if "gateway" in route] == [("default", "lan0")]


def test_its_files_are_its_own() -> None:
    """What is written where a service keeps its things is there, and not on this machine."""
    places = ["/certs", "/etc", "/etc/docker", "/etc/certbotless", "/var/lib/certbotless", "/run", "/var/lib"]
    files = [f"{place}/written-on-a-private-host" for place in places]
    inside = run_inside("sh", "-euc", 'touch "$@"; ls /certs; echo 1.2.3.4 a >>/etc/hosts', "sh", *files)
    assert (inside.stdout, inside.stderr) == ("written-on-a-private-host\n", "")
    assert not [file for file in files if Path(file).exists()]
    assert "1.2.3.4 a" not in Path("/etc/hosts").read_text()


def test_it_has_no_user_of_a_certbotless_that_is_installed_here() -> None:
    """To that user would belong what root makes there, in folders which only root may enter."""
    script = "useradd --system --no-create-home certbotless && exec \"$@\" sh -c 'id certbotless || id root'"
    inside = run_inside("sh", "-euc", script, "sh", *ON_PRIVATE_HOST)
    assert inside.stdout.startswith("uid=0(root)"), inside.stderr


def test_the_rest_is_this_machine(tmp_path: Path) -> None:
    """A command finds its folder and every other file as they are here, and may write there."""
    inside = run_inside("sh", "-euc", f"pwd; echo seen >{tmp_path}/file")
    assert (inside.stdout, inside.stderr) == (f"{os.getcwd()}\n", "")
    assert (tmp_path / "file").read_text() == "seen\n"


def test_the_machines_trust_proxies_and_engine_stay_outside() -> None:
    """Variables that would lead a program out of the private host do not reach it; others do."""
    foreign = {"REQUESTS_CA_BUNDLE": "x", "SSL_CERT_FILE": "x", "https_proxy": "x", "DOCKER_HOST": "x"}
    names = {line.partition("=")[0] for line in run_inside("env", OTHER="x", **foreign).stdout.splitlines()}
    assert names.isdisjoint(foreign)
    assert {"OTHER", "TMPDIR", "HOME"} <= names


def test_names_are_looked_up_in_its_own_hosts_file_and_nowhere_else() -> None:
    """A name is known within `hosts_entry` only, and no resolver is asked that could know better."""
    script = """
import socket
from certbotless.sandbox.host import hosts_entry
def look():
    try:
        return socket.gethostbyname("registry.lan")
    except socket.gaierror:
        return "unknown"
print(look())
with hosts_entry("registry.lan", "10.79.40.213"):
    print(look())
print(look())
"""
    assert run_inside(sys.executable, "-c", script).stdout == "unknown\n10.79.40.213\nunknown\n"


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)])
def test_the_commands_exit_code_is_passed_on(script: str, code: int) -> None:
    """As a shell does, with 128 + N for signal N."""
    assert run_inside("sh", "-c", script).returncode == code


def test_a_private_host_fits_in_another_one() -> None:
    """So the sandbox can be tested by tests that run on a private host themselves."""
    inside = run_inside(*ON_PRIVATE_HOST, "sh", "-c", "ip -brief link | wc -l; exit 7")
    assert (inside.stdout, inside.stderr, inside.returncode) == ("3\n", "", 7)


# A chroot may be a mount, or a plain folder in which the top folders of this machine are.
JAILS = {
    "mount": 'mount --rbind / "$0"',
    "folder": """
        for each in /*; do
            if [ -L "$each" ]; then cp -P "$each" "$0"; elif [ -d "$each" ]; then
                mkdir "$0$each"
                mount --rbind "$each" "$0$each"
            fi
        done
    """,
}


@pytest.mark.parametrize("made", JAILS.values(), ids=JAILS.keys())
def test_a_private_host_that_is_made_in_a_chroot_is_at_the_root_of_its_mounts(
    tmp_path: Path, made: str
) -> None:
    """So what enters its namespaces, as `docker exec` does, sees its files."""
    jail = tmp_path / "jail"
    jail.mkdir()
    # This checkout may be in /tmp.
    keeps = f'mkdir -p "$0{ROOT}"\nmount --rbind "{ROOT}" "$0{ROOT}"'
    enters = f'{made}\nmount -t tmpfs jail "$0/tmp"\n{keeps}\nexec chroot "$0" "$@"'
    asks = "cat /.certbotless-host; nsenter --mount=/proc/self/ns/mnt cat /.certbotless-host"
    command = ["unshare", "--mount", "sh", "-euc", enters, str(jail), *ON_PRIVATE_HOST, "sh", "-euc", asks]
    answer = completed(command, cwd="/")
    assert (answer.returncode, answer.stderr) == (0, "")
    inside, entered = answer.stdout.splitlines()
    assert inside == entered


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 9), (signal.SIGINT, 8)])
def test_a_signal_reaches_the_command_and_nothing_is_left(signum: signal.Signals, code: int) -> None:
    """The command ends as it wishes, and its orphan ends with it."""
    with resident() as host:
        host.holder.send_signal(signum)
        assert host.holder.wait(60) == code
        assert host.gone()


def test_killing_the_holder_ends_all_of_it() -> None:
    """Even SIGKILL, which nobody can pass on, leaves no process, mount, control group or file."""
    with resident() as host:
        assert len(host.processes()) == 3
        unified = Path("/sys/fs/cgroup/unified")
        groups = unified if unified.is_dir() else unified.parent
        (groups / host.name / "container").mkdir(parents=True)
        host.holder.kill()
        wait_until(host.gone, "all of it is gone")


def test_killing_the_first_process_ends_all_of_it() -> None:
    """The kernel ends the others, and the holder says so by its exit code."""
    with resident() as host:
        os.kill(host.processes()[0], signal.SIGKILL)
        assert host.holder.wait(60) == 128 + signal.SIGKILL
        assert host.gone()


def test_interfaces_of_this_machine_stay_as_they_are() -> None:
    """The LAN interface is never one of this machine's."""
    before = socket.if_nameindex()
    with resident():
        assert socket.if_nameindex() == before


@pytest.mark.parametrize(
    ("weakened", "said"),
    [
        (
            ["unshare", "--user"],
            "a private host needs root, because it is made of namespaces; run it with sudo\n",
        ),
        (["setpriv", "--bounding-set=-sys_admin"], ".*Operation not permitted.*--privileged.*\n"),
    ],
    ids=["nobody's namespace", "an ordinary container"],
)
def test_without_the_right_to_administer_it_is_one_line(weakened: list[str], said: str) -> None:
    """Where we are not root, and where the kernel refuses it to root."""
    answer = completed([*weakened, *ON_PRIVATE_HOST, "true"])
    assert answer.returncode == 125
    assert re.fullmatch(f"certbotless: {said}", answer.stderr)


HIDE_IP = 'for file in $(which -a ip); do mount --bind /dev/null "$file"; done; exec "$@"'


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["sh", "-euc", HIDE_IP, "sh", *ON_PRIVATE_HOST, "true"],
            "the program 'ip' is missing; apt-get install iproute2",
        ),
        (["no-such-command"], "'no-such-command' cannot be run: No such file or directory"),
    ],
    ids=["a program of ours", "the command"],
)
def test_what_is_missing_is_one_line(command: list[str], said: str) -> None:
    """A program of ours with the package that has it."""
    inside = run_inside(*command)
    assert (inside.returncode, inside.stderr) == (125, f"certbotless: {said}\n")


def test_without_a_command_it_says_how_it_is_used() -> None:
    """Bad usage is 2, as everywhere."""
    answer = run_inside()
    assert (answer.returncode, answer.stderr.partition(":")[0]) == (2, "usage")
