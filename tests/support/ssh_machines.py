"""Other machines on the LAN with an SSH server, to which a certificate is carried, or which fetch it.

Beside what the sandbox's second machine has of its own, these have /root, /certs and /usr/local/sbin.

Source: sshd(8), "AUTHORIZED_KEYS FILE FORMAT".
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trustme

from certbotless.sandbox.neighbour import Neighbour
from certbotless.sandbox.registry import served_sha256
from support.bed import wait_until
from support.nginx import PROGRAM as NGINX
from support.pages import block, exchanged
from support.private_host import ip
from support.programs import without_error

PAGE = "docs/machines.md"
# What the page calls this machine, the other one, and the site.
HERE, THERE, SITE = "10.79.40.5", "10.79.40.7", "registry.example.com"
TAKE = "/usr/local/sbin/take-certificate"
KNOWN_HOSTS = Path("/etc/certbotless/known_hosts")
KEYS = Path("/etc/credstore")
PORT = 8443

# What a machine with an SSH server has of its own.
_FOLDERS = """
for place in /root /certs /usr/local/sbin; do
    mount -t tmpfs -o mode=0755 machine "$place"
done
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
install -d -m 0700 /root/.ssh
sed -i 's/^root:[^:]*/root:*/' /etc/shadow
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def sshd(through: Sequence[str], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have an SSH server where this command leads, for the block; it has the folders of a machine there."""
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = ["/usr/sbin/sshd", "-D", "-e", "-o", "UsePAM=no", "-o", "PidFile=none"]
    words = [word for option in options for word in ("-o", option)]
    with subprocess.Popen([*through, *server, *words], stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


class SshMachine(Neighbour):
    """A running machine with an SSH server and, once it has a certificate, nginx at `PORT`.

    Args:
        workdir: an existing, empty folder.
        number: from 1 to 9: that of its network.
        options: of the SSH server.
    """

    def __init__(self, workdir: Path, number: int, *options: str) -> None:
        workdir.mkdir(exist_ok=True)
        name = f"machine{number}"
        super().__init__(workdir, f"10.79.5{number}.7/24", "127.0.0.1", name, link=f"{name}-peer")
        self.here, self._options = f"10.79.5{number}.5", options

    def start(self, alive: ExitStack) -> None:
        """Start the machine, with a cable of its own to this one, and its SSH server."""
        ip("link", "add", self.name, "type", "veth", "peer", "name", f"{self.name}-peer")
        alive.callback(ip, "link", "delete", self.name)
        ip("address", "add", f"{self.here}/24", "dev", self.name)
        ip("link", "set", self.name, "up")
        super().start(alive)
        self.typed(_FOLDERS)
        self._sshd = alive.enter_context(sshd(self.through, *self._options))
        wait_until(lambda: b"SSH-" in _banner(self.address), "its SSH server answers")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Have a file there."""
        command = [*self.through, "sh", "-euc", 'cat >"$1"; chmod "$2" "$1"', "sh", path, f"{mode:o}"]
        subprocess.run(command, input=text.encode(), check=True)

    def unplug(self) -> None:
        """Take its cable out."""
        self.typed("ip link set eth0 down")

    def plug(self) -> None:
        """Put its cable in again."""
        self.typed("ip link set eth0 up")

    def hang(self) -> None:
        """Let its SSH server take connections and say nothing."""
        self._sshd.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let its SSH server go on."""
        self._sshd.send_signal(signal.SIGCONT)

    def serve(self, domain: str) -> None:
        """Start nginx there, with a certificate of its own until another one is carried there."""
        pair = trustme.CA().issue_cert(domain)
        self.typed(f"mkdir -p /certs/{domain}/first; ln -s first /certs/{domain}/current")
        chain = b"".join(each.bytes() for each in pair.cert_chain_pems).decode()
        self.write(f"/certs/{domain}/first/fullchain.pem", chain)
        self.write(f"/certs/{domain}/first/privkey.pem", pair.private_key_pem.bytes().decode(), 0o600)
        self.write("/root/nginx.conf", nginx_at(f"/certs/{domain}/current", "/root", PORT))
        nginx = subprocess.Popen([*self.through, NGINX, "-c", "/root/nginx.conf"], stderr=subprocess.DEVNULL)
        self._alive.enter_context(nginx)
        self._alive.callback(nginx.terminate)
        wait_until(without_error(lambda: self.served(domain)), "nginx serves TLS")

    def served(self, domain: str) -> str:
        """Return the fingerprint of the certificate that it serves."""
        return served_sha256(self.address, PORT, domain)


def nginx_at(folder: str, scratch: str, port: int) -> str:
    """Return a configuration of nginx that serves the certificate in a folder, and writes to another one."""
    temporary = "".join(f"{kind}_temp_path {scratch}/{kind};\n" for kind in _TEMPORARY)
    return f"""
user root root;
daemon off;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log stderr;
events {{}}
http {{
access_log off;
{temporary}server {{ listen {port} ssl; return 204;
ssl_certificate {folder}/fullchain.pem; ssl_certificate_key {folder}/privkey.pem; }}
}}
"""


def own_folders(through: Sequence[str]) -> None:
    """Give a machine that is there already the folders that one with an SSH server has of its own."""
    subprocess.run([*through, "sh", "-euc", _FOLDERS], check=True)


def _banner(address: str) -> bytes:
    done = subprocess.run(
        ["ssh-keyscan", "-T", "2", "-t", "ed25519", address], capture_output=True, check=False
    )
    return done.stderr + done.stdout


# --- what the page says -------------------------------------------------------------------------------------


def typed(name: str, instead: Mapping[str, str]) -> str:
    """Return a block of the page, with what is called otherwise here."""
    return exchanged(block(PAGE, name).text, instead)


def be_known(address: str) -> str:
    """Do what the page says for the key and the known hosts of another machine; return the public key."""
    KEYS.mkdir(mode=0o700, exist_ok=True)
    *commands, shown = block(PAGE, "key").commands
    for command in commands:
        subprocess.run(["sh", "-euc", command.replace(THERE, address)], check=True, capture_output=True)
    return subprocess.run(
        ["sh", "-euc", shown.replace(THERE, address)], check=True, capture_output=True, text=True
    ).stdout


def authorized(key: str, here: str, domain: str) -> str:
    """Return the line of the page that lets a key do one thing."""
    return f"{typed('authorized', {HERE: here, SITE: domain}).strip()} {key}"


def carrier(folder: Path) -> str:
    """Write the page's `carry`, and return its path."""
    path = folder / "carry"
    path.write_text(block(PAGE, "carry").text)
    path.chmod(0o755)
    return str(path)


def take_from_here(machine: SshMachine, domain: str) -> None:
    """Set a machine up as the page says, with nginx in place of the container."""
    reload = 'kill -HUP "$(cat /root/nginx.pid)"'
    machine.write(TAKE, typed("take", {"docker restart registry": reload}), 0o755)
    line = authorized(be_known(machine.address), machine.here, domain)
    machine.write("/root/.ssh/authorized_keys", line, 0o600)
    machine.serve(domain)


def forget_keys() -> None:
    """Remove the keys and the known hosts of all machines."""
    KNOWN_HOSTS.unlink(missing_ok=True)
    for key in KEYS.glob("certbotless.ssh_*"):
        os.unlink(key)
