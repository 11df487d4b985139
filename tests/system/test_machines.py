"""One certificate on several machines: carried by ssh, and fetched, as docs/machines.md says.

The SSH servers are real ones, on machines of their own beside this one.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.bed import LAN_NAME, Bed, wait_until
from support.machine import Machine
from support.neighbour import ADDRESS as SECOND
from support.neighbour import Neighbour
from support.nginx import PROGRAM as NGINX
from support.nginx import image_of
from support.pages import Reading, exchanged
from support.ssh_machines import (
    HERE,
    KEYS,
    KNOWN_HOSTS,
    PORT,
    SITE,
    TAKE,
    THERE,
    SshMachine,
    carrier,
    forget_keys,
    nginx_at,
    own_folders,
    sshd,
    take_from_here,
)

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import served_sha256

MACHINES = 3


def login(address: str, *words: str, key: str = "", stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Log in with the key of a machine, which is that of the address by default."""
    command = ["ssh", "-F", "none", "-T", "-i", f"{KEYS}/certbotless.ssh_{key or address}"]
    options = ("IdentitiesOnly=yes", "BatchMode=yes", f"UserKnownHostsFile={KNOWN_HOSTS}")
    given = [word for option in options for word in ("-o", option)]
    return subprocess.run([*command, *given, *words], input=stdin, capture_output=True, check=False)


@pytest.fixture
def carry(tmp_path: Path) -> Iterator[str]:
    """The path of the page's `carry`; what it needs is gone after the test."""
    yield carrier(tmp_path)
    forget_keys()


def shell(command: str) -> str:
    """Run a line of a shell, which must do, and return what it printed."""
    done = subprocess.run(["sh", "-euc", command], check=True, capture_output=True, text=True)
    return done.stdout


def target(carry: str, address: str, **keys: Any) -> dict[str, Any]:
    """Return the target of another machine."""
    return {"command": [carry, address], "port": f"{address}:{PORT}", "timeout": "10s", **keys}


def sites(bare: Bed, *targets: dict[str, Any]) -> None:
    """Have one site of the local CA with these targets."""
    for key in ("aliyun", "acme"):
        bare.config.pop(key, None)
    bare.config["check_every"] = "1s"
    bare.config["sites"] = [{"domain": LAN_NAME, "ca": "local", "deploy": [*targets]}]


def states(bare: Bed) -> dict[str, str]:
    """Return the state of each target by its name."""
    (site,) = bare.status()["sites"]
    return {each["container"]: each["state"] for each in site["deploy"]}


# --- the recipes --------------------------------------------------------------------------------------------


@pytest.mark.page("docs/machines.md", "take", "key", "authorized", "carry")
def test_a_second_docker_host_gets_each_renewed_certificate(bare: Bed, paper: Reading) -> None:
    """By the page's own files and commands; the key of that machine can do this one thing."""
    (folder := bare.home / "second").mkdir()
    with Neighbour(folder, []) as second, ExitStack() as stack:
        own_folders(second.through)
        stack.callback(forget_keys)
        stack.enter_context(sshd(second.through))
        start_registry(second, bare.home)
        restart = f"docker --host {second.engine.docker_host} restart"
        write(second, TAKE, exchanged(paper.text("docs/machines.md", "take"), {"docker restart": restart}))
        KEYS.mkdir(mode=0o700, exist_ok=True)
        said = ""
        for command in paper.commands("docs/machines.md", "key"):
            said = shell(command.replace(THERE, SECOND))
        line = exchanged(
            paper.text("docs/machines.md", "authorized"), {HERE: LAN_ADDRESS, SITE: LAN_NAME}
        ).strip()
        write(second, "/root/.ssh/authorized_keys", f"{line} {said}")
        script = bare.home / "carry"
        script.write_text(paper.text("docs/machines.md", "carry"))
        script.chmod(0o755)
        sites(bare, {"command": [str(script), SECOND], "port": f"{SECOND}:5000", "timeout": "30s"})
        seen = []
        for _ in range(2):
            bare.ok("--renew-now", "--force")
            seen.append(served_sha256(SECOND, 5000, LAN_NAME))
            assert seen[-1] == bare.published(LAN_NAME)
        assert len(set(seen)) == 2
        refused(SECOND)
        assert served_sha256(SECOND, 5000, LAN_NAME) == seen[-1]


def start_registry(second: Neighbour, home: Path) -> None:
    """Have a container `registry` there, in the network of that machine, which serves TLS from its /certs."""
    (home / "nginx.conf").write_text(nginx_at(f"/certs/{LAN_NAME}/current", "/tmp", 5000))  # noqa: S108
    client = second.engine.client()
    client.api.import_image_from_data(image_of(NGINX), repository="registry:page")
    volumes = {
        "/certs": {"bind": "/certs", "mode": "ro"},
        str(home / "nginx.conf"): {"bind": "/etc/nginx/nginx.conf", "mode": "ro"},
    }
    # It does not start before it has its first certificate.
    client.containers.create(
        "registry:page", command=[NGINX], name="registry", network_mode="host", volumes=volumes
    )


def write(second: Neighbour, path: str, text: str) -> None:
    """Have a file there that its owner alone may write and run."""
    command = [*second.through, "sh", "-euc", 'cat >"$1"; chmod 700 "$1"', "sh", path]
    subprocess.run(command, input=text.encode(), check=True)


def refused(address: str) -> None:
    """Nothing but to take a certificate is done for a key: no shell, no file, no forwarding."""
    for words in (["id"], ["cat", "/etc/shadow"], [""], ["docker", "ps"]):
        done = login(address, f"root@{address}", *words)
        assert done.returncode != 0
        assert b"root:" not in done.stdout
        assert b"uid=" not in done.stdout
    files = login(address, "-s", f"root@{address}", "sftp")
    assert files.returncode != 0
    done = login(address, "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9", f"root@{address}")
    assert done.returncode != 0


# --- three machines -----------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[SshMachine]]:
    """Three machines that take the certificate of the site."""
    with ExitStack() as stack:
        stack.callback(forget_keys)
        machines = [
            stack.enter_context(SshMachine(tmp_path / f"machine{n}", n)) for n in range(1, MACHINES + 1)
        ]
        for each in machines:
            take_from_here(each, LAN_NAME)
        yield machines


def ill(machine: SshMachine, how: int) -> str:
    """Let a machine be unplugged, full, or hang; return what is said of it."""
    if how == 0:
        machine.unplug()
        return "No route to host|Connection timed out|did not end in"
    if how == 1:
        machine.typed("mount -o remount,size=128k /certs; head -c 1M /dev/zero >/certs/filler || true")
        return "No space left on device"
    machine.hang()
    return "did not end in|timed out during banner exchange"


def well(machine: SshMachine, how: int) -> None:
    """Let it be as before."""
    if how == 0:
        machine.plug()
    elif how == 1:
        machine.typed("rm /certs/filler; mount -o remount,size=50% /certs")
    else:
        machine.wake()


def renew_with_one_ill(bare: Bed, three: list[SshMachine], number: int) -> None:
    """Renew while one machine is ill: it alone is told, and has what it needs once it is well."""
    how = number % MACHINES
    sick = three[how]
    before = sick.served(LAN_NAME) if how else ""
    words = ill(sick, how)
    done = bare.run("--renew-now", "--force")
    assert done.returncode == 1
    new = bare.published(LAN_NAME)
    for machine in three:
        if machine is not sick:
            assert machine.served(LAN_NAME) == new
    (site,) = bare.status()["sites"]
    found = {each["at"].partition(":")[0]: each["state"] for each in site["deploy"]}
    wanted = {each.address: "failing" if each is sick else "serving" for each in three}
    assert found == wanted, f"{words}: {done.stdout}{done.stderr}"
    assert site["state"] == "failing"
    assert re.search(words, site["last_error"]["what"]), site["last_error"]
    if how:
        # Half of a pair is never in use there.
        assert sick.served(LAN_NAME) == before
    well(sick, how)
    wait_until(lambda: bare.status()["sites"][0]["state"] == "ok", "the daemon has brought it there too")
    assert bare.published(LAN_NAME) == new
    # Its nginx has workers of before for a moment.
    wait_until(lambda: sick.served(LAN_NAME) == new, "it serves it")


@pytest.mark.row(127)
def test_a_machine_that_is_off_full_or_hangs_is_told_alone_and_heals_by_itself(
    bare: Bed, three: list[SshMachine]
) -> None:
    carry = carrier(bare.home)
    sites(bare, *(target(carry, each.address, timeout="4s") for each in three))
    bare.ok("--once")
    with bare.daemon():
        for number in range(MACHINES):
            renew_with_one_ill(bare, three, number)
    keys_open_nothing_else(three)


@pytest.mark.soak
@pytest.mark.row(127)
def test_three_machines_and_twenty_renewals_by_ssh(bare: Bed, three: list[SshMachine]) -> None:
    carry = carrier(bare.home)
    sites(bare, *(target(carry, each.address, timeout="4s") for each in three))
    bare.ok("--once")
    with bare.daemon():
        for number in range(20):
            if number % 2:
                renew_with_one_ill(bare, three, number // 2)
            else:
                bare.ok("--renew-now", "--force")
                assert {each.served(LAN_NAME) for each in three} == {bare.published(LAN_NAME)}
    keys_open_nothing_else(three)
    # Of each machine one generation and the one before are left, and nothing half.
    for each in three:
        assert len(each.typed(f"find /certs/{LAN_NAME} -mindepth 1 -maxdepth 1 -type d").split()) <= 2


def keys_open_nothing_else(three: list[SshMachine]) -> None:
    """The key of one machine is none on another one, and reads nothing on its own."""
    for each in three:
        for other in three:
            if other is not each:
                done = login(other.address, f"root@{other.address}", key=each.address)
                assert done.returncode != 0
                assert b"Permission denied (publickey" in done.stderr
        done = login(each.address, f"root@{each.address}", f"cat /certs/{LAN_NAME}/current/privkey.pem")
        assert done.returncode != 0
        assert done.stdout == b""


# --- what goes wrong ----------------------------------------------------------------------------------------


@pytest.fixture
def one(tmp_path: Path) -> Iterator[SshMachine]:
    """A machine that takes the certificate of the site, and lets two log in at once."""
    with ExitStack() as stack:
        stack.callback(forget_keys)
        machine = stack.enter_context(SshMachine(tmp_path / "machine", 1, "MaxStartups=2:100:2"))
        take_from_here(machine, LAN_NAME)
        yield machine


@pytest.mark.row(128)
def test_what_keeps_ssh_from_its_work_is_told_in_its_own_words(bare: Bed, one: SshMachine) -> None:
    """It never asks anybody, and what is mended is used by the next try."""
    sites(bare, target(carrier(bare.home), one.address))
    bare.ok("--once")
    known, key = KNOWN_HOSTS.read_text(), KEYS / f"certbotless.ssh_{one.address}"
    line = one.typed("cat /root/.ssh/authorized_keys")

    def told(words: str) -> None:
        assert bare.run("--renew-now").returncode == 1
        (site,) = bare.status()["sites"]
        assert words in site["last_error"]["what"], site["last_error"]

    KNOWN_HOSTS.write_text("")
    told("Host key verification failed.")
    of_another = " ".join(Path(f"{key}.pub").read_text().split()[:2])
    KNOWN_HOSTS.write_text(f"{one.address} {of_another}\n")
    told("Host key verification failed.")
    KNOWN_HOSTS.write_text(known)

    one.write("/root/.ssh/authorized_keys", "", 0o600)
    told("Permission denied (publickey")
    one.write("/root/.ssh/authorized_keys", line, 0o600)

    moved = key.rename(key.with_suffix(".aside"))
    told("No such file or directory")
    moved.rename(key)
    bare.ok("--renew-now", "--force")
    assert one.served(LAN_NAME) == bare.published(LAN_NAME)


@pytest.mark.row(129)
def test_half_of_a_key_is_never_in_use_on_the_other_machine(bare: Bed, one: SshMachine) -> None:
    """The connection breaks after any byte, or what comes is of two certificates: the old one stays."""
    sites(bare, target(carrier(bare.home), one.address))
    bare.ok("--once")
    served = one.served(LAN_NAME)
    chain, key = ((bare.certs / f"{LAN_NAME}.{end}").read_bytes() for end in ("pem", "key"))
    bare.ok("--renew-now", "--dry-run")
    foreign = KEYS / f"certbotless.ssh_{one.address}"
    whole = chain + key
    sent = [whole[: len(whole) * part // 5] for part in range(5)]
    for stdin in (*sent, chain, key, chain + foreign.read_bytes(), b"\0" * 300_000):
        done = login(one.address, f"root@{one.address}", stdin=stdin)
        assert done.returncode != 0
        assert done.stderr.strip()
        assert one.typed(f"ls /certs/{LAN_NAME}").split().count("current") == 1
    one.typed('kill -HUP "$(cat /root/nginx.pid)"')
    assert one.served(LAN_NAME) == served


@pytest.mark.row(130)
def test_many_sites_at_once_get_through_a_server_that_lets_few_log_in(bare: Bed, one: SshMachine) -> None:
    """Each has a login of its own; what is turned away is tried again."""
    count = 8
    names = [f"host{number}.lan" for number in range(count)]
    reload = one.typed(f"cat {TAKE}").replace("folder=/certs/$1", 'folder="/certs/$SSH_ORIGINAL_COMMAND"')
    one.write(TAKE, reload, 0o755)
    script = Path(carrier(bare.home))
    script.write_text(script.read_text().replace('"root@$1"', '"root@$1" "$2"'))
    sites(bare)
    command = [str(script), one.address, "{domain}"]
    bare.config["sites"] = [
        {"domain": name, "ca": "local", "deploy": [{"command": [*command], "port": "none"}]} for name in names
    ]
    assert "'{domain}'" in bare.ok("plan")
    wait_until(lambda: bare.run("--once").returncode == 0, "all have theirs")
    assert "'{domain}'" in bare.ok("status", names[0])
    for name in names:
        carried = one.typed(f"cat /certs/{name}/current/fullchain.pem")
        assert carried == (bare.certs / f"{name}.pem").read_text()


# --- a machine that fetches ---------------------------------------------------------------------------------

FETCHING, READER = "10.79.40.8", "/home/certs-reader"
# Where that home is here: /home is not the private host's own.
HOME = "/run/certs-reader"
FETCHED_SITE, OTHER = "git.example.com", "other.lan"


@pytest.mark.page("docs/machines.md", "reader", "fetching key", "reading", "fetch")
@pytest.mark.page("docs/machines.md", "fetching unit", "timer", "start the timer")
def test_a_machine_fetches_its_certificate_by_a_timer_with_a_key_that_reads_it_alone(
    bare: Bed, paper: Reading
) -> None:
    """By real units: the site waits for it, and has no login there."""
    page = "docs/machines.md"
    (folder := bare.home / "box").mkdir()
    sites(bare)
    bare.config |= {"certs_dir": "/certs", "key_mode": "0640"}
    bare.config["sites"].append({"domain": OTHER, "ca": "local", "deploy": []})
    bare.ok("--once")
    with ExitStack() as stack:
        box = stack.enter_context(Machine(folder, {}))
        stack.callback(shell, "find /certs -mindepth 1 -delete")
        stack.callback(shell, "userdel certs-reader")
        for command in paper.commands(page, "reader"):
            if not command.startswith("apt "):
                at_home = command.replace("--create-home", f"--create-home --home-dir {HOME}")
                shell(at_home.replace(READER, HOME))
        # The server here has no PAM, and takes a user for locked whose password begins with "!".
        shell("usermod --password '*' certs-reader")
        stack.enter_context(sshd([]))
        said = ""
        for command in paper.commands(page, "fetching key"):
            if not command.startswith("apt "):
                said = box.ok("sh", "-euc", command.replace(HERE, LAN_ADDRESS))
        line = exchanged(paper.text(page, "reading"), {FETCHING: LAN_ADDRESS, FETCHED_SITE: LAN_NAME})
        keys = Path(HOME, ".ssh/authorized_keys")
        keys.write_text(f"{line.strip()} {said}")
        shell(f"chown certs-reader {keys}")
        script = box.path("/usr/local/sbin/fetch-certificate")
        script.parent.mkdir(exist_ok=True)
        script.write_text(exchanged(paper.text(page, "fetch"), {HERE: LAN_ADDRESS}))
        script.chmod(0o755)
        for name, kind in (("fetching unit", "service"), ("timer", "timer")):
            box.path(f"/etc/systemd/system/fetch-certificate.{kind}").write_text(paper.text(page, name))
        serve_what_is_fetched(box)
        for command in paper.commands(page, "start the timer"):
            box.ok(*shlex.split(command))
        assert "fetch-certificate.timer" in box.ok("systemctl", "list-timers", "--no-pager")
        bare.config["sites"][0]["deploy"] = [{"port": f"{LAN_ADDRESS}:{PORT}"}]
        bare.ok("--once")
        reads_its_own_alone(box)
        published = Path("/certs", f"{LAN_NAME}.pem")
        before = published.read_bytes()
        with subprocess.Popen(bare.command("--renew-now")) as renewal:
            wait_until(lambda: published.read_bytes() != before, "another one is published")
            box.ok("systemctl", "start", "fetch-certificate.service")
            assert renewal.wait() == 0  # it has seen the new certificate there


def serve_what_is_fetched(box: Machine) -> None:
    """Have nginx there, with a certificate of its own before the first that is fetched."""
    folder, pair = "/var/lib/fetch-certificate", trustme.CA().issue_cert(LAN_NAME)
    box.path(f"{folder}/first").mkdir()
    pair.cert_chain_pems[0].write_to_path(box.path(f"{folder}/first/fullchain.pem"))
    pair.private_key_pem.write_to_path(box.path(f"{folder}/first/privkey.pem"))
    box.ok("ln", "-s", "first", f"{folder}/current")
    conf = nginx_at(f"{folder}/current", "/run", PORT)
    box.path("/etc/nginx/nginx.conf").write_text(conf.replace("daemon off;", ""))
    box.ok("systemctl", "start", "nginx")


def reads_its_own_alone(box: Machine) -> None:
    """No shell, no file of another site, nothing is written."""
    ssh = (
        "ssh -F none -i /etc/fetch-certificate/key -o BatchMode=yes -o IdentitiesOnly=yes"
        " -o UserKnownHostsFile=/etc/fetch-certificate/known_hosts"
    )
    who = f"certs-reader@{LAN_ADDRESS}"
    for command in (
        f"{ssh} {who} id",
        f"{ssh} {who} cat /certs/{OTHER}.key",
        f"rsync --rsh='{ssh}' {who}:/certs/{OTHER}.key /run/",
        f"rsync --recursive --copy-links --rsh='{ssh}' {who}:../{OTHER}/current/ /run/other/",
        f"rsync --rsh='{ssh}' /etc/hostname {who}:current/",
    ):
        assert box.run("sh", "-euc", command).returncode != 0, command
    assert box.run("sh", "-euc", "ls /run/other/privkey.pem /run/*.key").returncode != 0
