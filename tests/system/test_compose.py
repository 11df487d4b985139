"""From four values in docker/.env to a push that every client trusts, as README.md says: with Docker.

The image is that of `make release`. Nothing tells the program of the stand-ins: it asks Let's Encrypt and
Aliyun DNS by their own names, which lead to them here, and the LAN's resolver leads to the zone's servers.
"""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import copytree

import pytest
import trustme
import yaml
from docker.models.containers import Container
from support import images
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed, wait_until
from support.lan_resolver import SERVERS, resolving
from support.pages import Reading, exchanged
from support.release import PROJECT, built

from certbotless.sandbox.alidns import AlidnsEmulator, HttpsListener
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS, hosts_entry
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.process import Background

_CA, _CA_ADDRESS, _API = "acme-v02.api.letsencrypt.org", "127.0.0.6", "alidns.aliyuncs.com"
_FOLDERS = [Path(path) for path in ("/etc/certbotless", "/var/lib/certbotless", "/certs", "/etc/registry")]
_SOCKET = Path("/var/run/docker.sock")
_VALUES = {
    "CERTBOTLESS_DOMAIN": DOMAIN,
    "CERTBOTLESS_CONTAINER": "registry",
    "ALIYUN_ACCESS_KEY_ID": KEY_ID,
    "ALIYUN_ACCESS_KEY_SECRET": KEY_SECRET,
}
# nginx in front of Pebble, under the CA's name: the paths are Pebble's own, but for that of the directory.
_FRONT = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address}:443 ssl;
        ssl_certificate {folder}/front.pem;
        ssl_certificate_key {folder}/front.pem;
        proxy_set_header Host {name};
        location = /directory {{ proxy_pass https://127.0.0.1:{port}/dir; }}
        location / {{ proxy_pass https://127.0.0.1:{port}; }}
    }}
}}
"""

# A CA of its own, since the shared one asks elsewhere.
pytestmark = [
    pytest.mark.parametrize("ca", [{"retry_after_s": 0}], indirect=True, ids=["hasty"]),
    pytest.mark.long,
]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Vouches for the names of the services."""
    return trustme.CA()


@pytest.fixture(name="dns")
def service(authority: trustme.CA, tmp_path: Path) -> Iterator[AlidnsEmulator]:
    """The DNS service at its own name, whose name servers are found as on the Internet."""
    chain = tmp_path / "api.pem"
    authority.issue_cert(_API).private_key_and_cert_chain_pem.write_to_path(chain)
    with AlidnsEmulator(
        [ZONE],
        access_key_id=KEY_ID,
        access_key_secret=KEY_SECRET,
        dns_ports=[53, 53],
        dns_addresses=SERVERS,
        https=HttpsListener(443, chain, chain),
    ) as service:
        yield service


@contextmanager
def in_front_of(ca: Pebble, authority: trustme.CA, folder: Path) -> Iterator[None]:
    """Have Pebble under the CA's name."""
    authority.issue_cert(_CA).private_key_and_cert_chain_pem.write_to_path(folder / "front.pem")
    config = folder / "front.conf"
    config.write_text(_FRONT.format(folder=folder, address=_CA_ADDRESS, name=_CA, port=ca.port))
    front = Background(
        ["nginx", "-c", str(config), "-p", str(folder)], folder / "front.log", dict(os.environ)
    )
    front.wait_ready(lambda: "LISTEN" in listening(), patience_s=60)
    try:
        yield
    finally:
        front.end()


def listening() -> str:
    """Return what listens where the CA is."""
    told = subprocess.run(
        ["ss", "-Hltn", "src", f"{_CA_ADDRESS}:443"], capture_output=True, text=True, check=True
    )
    return told.stdout


@pytest.fixture
def machine(bed: Bed, authority: trustme.CA, tmp_path: Path) -> Iterator[Bed]:
    """A machine with an engine that has the image of the release, and nothing else of certbotless."""
    images.load(bed.engine)
    bed.registry.remove()
    bed.registry.certs = Path("/certs")
    with ExitStack() as undone:
        undone.enter_context(resolving())
        undone.enter_context(hosts_entry(_API, "127.0.0.1"))
        undone.enter_context(hosts_entry(_CA, _CA_ADDRESS))
        undone.enter_context(in_front_of(bed.ca, authority, tmp_path))
        undone.callback(empty)
        _SOCKET.touch()
        undone.callback(_SOCKET.unlink)
        subprocess.run(["mount", "--bind", bed.engine.socket, _SOCKET], check=True)
        undone.callback(lambda: subprocess.run(["umount", _SOCKET], check=True))
        undone.callback(remove_containers, bed.engine)
        yield bed


def remove_containers(engine: Engine) -> None:
    for container in engine.client().containers.list(all=True):
        container.remove(force=True, v=True)


def empty() -> None:
    """Leave the folders of the private host as they were: root's, and empty."""
    for folder in _FOLDERS:
        if folder.is_dir():
            subprocess.run(["find", folder, "-mindepth", "1", "-delete"], check=True)
            os.chown(folder, 0, 0)
            folder.chmod(0o755)


@pytest.fixture
def project(machine: Bed, authority: trustme.CA, tmp_path: Path) -> Path:
    """A checkout, whose containers also trust the stand-ins."""
    folder = tmp_path / "checkout"
    copytree(PROJECT / "docker", folder / "docker")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(authority.cert_pem.bytes() + machine.ca.root_pem().encode())
    trusts = dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), "/run/bundle.pem")
    program = {"entrypoint": ["/bin/registry"], "command": ["serve", "/etc/docker-registry/config.yml"]}
    override = {
        "services": {
            "certbotless": {"environment": trusts, "volumes": [f"{bundle}:/run/bundle.pem:ro"]},
            # The stand-in of the registry's image does not say what it runs.
            "registry": program,
        }
    }
    (folder / "docker" / "compose.override.yaml").write_text(yaml.safe_dump(override))
    return folder


def shell(bed: Bed, command: str, folder: Path, *, exit_code: int = 0) -> str:
    """Run a line of the page beside this engine, and return what it said."""
    done = subprocess.run(
        ["sh", "-euc", command],
        cwd=folder,
        env=os.environ | {"DOCKER_HOST": bed.engine.docker_host, "DOCKER_CONFIG": str(folder / "client")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    bed.said += [done.stdout, done.stderr]
    assert done.returncode == exit_code, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def is_healthy(daemon: Container) -> bool:
    """Ask as the image's own HEALTHCHECK does: each is a start of the program, so a second apart."""
    _, *command = daemon.attrs["Config"]["Healthcheck"]["Test"]
    if daemon.exec_run(command).exit_code == 0:
        return True
    time.sleep(1)
    return False


def rights_of_the_program(daemon: Container) -> dict[str, int]:
    """Return the user and the rights of the daemon's process itself, in the kernel's words."""
    script = (
        "cd /proc; for pid in [0-9]*; do grep -q bin/certbotless $pid/cmdline || continue;"
        " grep -E '^(Uid|CapPrm|CapEff|CapInh|CapAmb|NoNewPrivs):' $pid/status; done"
    )
    said: bytes = daemon.exec_run(["sh", "-c", script], user=str(images.UID)).output  # type: ignore[assignment]
    lines = [line.split() for line in said.decode().splitlines()]
    return {name.rstrip(":"): int(value, 10 if name == "Uid:" else 16) for name, value, *_ in lines}


@pytest.mark.page("README.md", "env", "up", "push")
@pytest.mark.page("docs/docker.md", "day by day")
@pytest.mark.page("docs/upgrade.md", "load the image", "replace the container")
def test_four_values_and_compose_lead_to_a_trusted_push(machine: Bed, project: Path, paper: Reading) -> None:
    shown, example = (
        dict(re.findall(r"(?m)^(\w+)=(.*)$", text))
        for text in (paper.text("README.md", "env"), (project / "docker/.env.example").read_text())
    )
    assert shown == example
    assert shown.keys() == _VALUES.keys()
    (project / "docker/.env").write_text("".join(f"{name}={value}\n" for name, value in _VALUES.items()))
    up, status = paper.commands("README.md", "up")
    compose = up.removesuffix(" up -d") + " -f docker/compose.override.yaml"
    shell(machine, f"{compose} up -d --no-build", project)
    try:
        daemon = machine.engine.client().containers.get("certbotless")
        wait_until(lambda: is_healthy(daemon), "all is well")
        assert machine.a_values() == [LAN_ADDRESS]
        assert machine.served() == machine.published()
        assert rights_of_the_program(daemon) == {
            "Uid": images.UID,
            **dict.fromkeys(("CapPrm", "CapEff", "CapInh", "CapAmb"), 0),
            "NoNewPrivs": 1,
        }
        assert {folder.stat().st_uid for folder in (Path("/certs"), Path("/var/lib/certbotless"))} == {
            images.UID
        }
        assert list(Path("/etc/certbotless").iterdir()) == []
        assert f"{DOMAIN}  ok" in shell(machine, status, project)
        push(machine, project, paper.commands("README.md", "push"))
        for command in paper.commands("docs/docker.md", "day by day"):
            assert shell(machine, command, project) or "logs" in command
        upgrade(machine, project, compose, paper)
        daemon = machine.engine.client().containers.get("certbotless")
        shell(machine, f"{compose} stop certbotless", project)
        daemon.reload()
        assert daemon.attrs["State"]["ExitCode"] == 0, daemon.logs().decode()
        assert KEY_SECRET not in daemon.logs().decode()
        assert_secret_is_nowhere()
    finally:
        shell(machine, f"{compose} down --volumes", project)


def upgrade(machine: Bed, project: Path, compose: str, paper: Reading) -> None:
    """Load the image again, and have another container take the place of the first: nothing is lost."""
    before, engine = machine.published(), machine.engine.client()
    old = engine.containers.get("certbotless").id
    (load,) = paper.commands("docs/upgrade.md", "load the image")
    (up,) = paper.commands("docs/upgrade.md", "replace the container")
    assert f"{compose} up -d".startswith(up.removesuffix(" up -d"))
    shell(machine, load, built())
    shell(machine, f"{compose} up -d --no-build --force-recreate certbotless", project)
    daemon = engine.containers.get("certbotless")
    assert daemon.id != old
    # Before that it has no answer to a signal.
    wait_until(lambda: b"daemon.started" in daemon.logs(), "the daemon has started")
    wait_until(lambda: is_healthy(daemon), "all is well again")
    assert machine.published() == before


def push(machine: Bed, project: Path, commands: list[str]) -> None:
    """Push and pull with the password that the registry has made; without it nothing is taken."""
    machine.engine.client().images.get("registry:2").tag("hello-world")
    read, *others = commands
    login, tag, send = (exchanged(line, {"registry.example.com": DOMAIN}) for line in others)
    shell(machine, tag, project)
    assert "no basic auth credentials" in shell(machine, send, project, exit_code=1)
    (password,) = set(shell(machine, read, project).split())
    typed = shlex.quote(password.removeprefix("password="))
    shell(machine, f"printf %s {typed} | {login} --password-stdin", project)
    assert "digest: sha256:" in shell(machine, send, project)


def assert_secret_is_nowhere() -> None:
    """In no file that the containers have left on the machine."""
    found = subprocess.run(
        ["grep", "-rlF", KEY_SECRET, *map(str, _FOLDERS)], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (1, "")


_BAD = {
    "CERTBOTLESS_DOMAIN, ALIYUN_ACCESS_KEY_SECRET: not set; write the file": {
        "CERTBOTLESS_DOMAIN": "",
        "ALIYUN_ACCESS_KEY_SECRET": "",
    },
    "CERTBOTLESS_DOMAIN: 'https://x.example.com' is a web address": {
        "CERTBOTLESS_DOMAIN": "https://x.example.com"
    },
    "CERTBOTLESS_CONTAINER: 'a b' is not a container name": {"CERTBOTLESS_CONTAINER": "a b"},
    "the environment variable 'ALIYUN_ACCESS_KEY_ID' is not one line": {"ALIYUN_ACCESS_KEY_ID": "a\nb"},
}


def test_a_value_that_is_missing_or_bad_is_one_line(machine: Bed) -> None:
    for line, change in _BAD.items():
        began = time.monotonic()
        container = machine.engine.client().containers.run(
            "certbotless", ["--once"], detach=True, environment=_VALUES | change
        )
        code = container.wait(timeout=120)["StatusCode"]
        said = container.logs().decode()
        container.remove()
        assert code in (1, 2), said
        assert len(said.splitlines()) == 1
        assert line in said
        assert KEY_SECRET not in said
        assert time.monotonic() - began < 60
