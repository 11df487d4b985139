"""What the pages tell a reader to type and to write is done here, from their text, beside the stand-ins."""

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
import trustme
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, Bed, wait_until, write_secret
from support.commands import completed
from support.machine import Machine
from support.nginx import PROGRAM as NGINX
from support.nginx import configuration as nginx_configuration
from support.nginx import image_of
from support.pages import Reading, exchanged, yaml_after
from support.programs import running, without_error

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import RefusedByEngine, served_sha256

HAPROXY = "/usr/sbin/haproxy"
IN_README, ELSEWHERE = "registry.example.com", "git.example.com"
# Where the pages' port 443 is published here.
PORT = 8443


def certbotless(bed: Bed, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a page on the bed's file."""
    program, *arguments = shlex.split(command)
    assert program == "certbotless"
    return bed.run(*arguments)


# --- the first ten minutes ----------------------------------------------------------------------------------


@pytest.mark.page("docs/registry.md", "registry", "password", "login")
@pytest.mark.page("docs/troubleshooting.md", "begin here")
def test_a_registry_with_a_password_serves_what_is_renewed(
    bed: Bed, paper: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's own configuration and the page's commands; only the places of the stand-ins are added."""
    with pytest.raises(RefusedByEngine, match="certificate signed by unknown authority"):
        bed.registry.push("seed:1")
    client = bed.engine.client()
    client.images.get(f"{bed.registry.where}/seed:1").tag("hello-world")
    bed.registry.remove()
    for path in bed.certs.iterdir():
        path.unlink()
    configure_as_the_page_does(bed, monkeypatch)
    fetch, *make_users = paper.commands("docs/registry.md", "password")
    subprocess.run(["dpkg-query", "--show", *shlex.split(fetch)[2:]], check=True, capture_output=True)
    auth = bed.home / "auth"
    for command in make_users:
        typed = exchanged(command, {"/etc/registry": str(auth)}).replace("htpasswd -B", "htpasswd -iB", 1)
        bed.docker_shell(typed, typed="made-up-password")

    (run,) = paper.commands("docs/registry.md", "registry")
    # The image is made of Debian's package, which has other paths than the one on the hub.
    instead = {
        IN_README: DOMAIN,
        "docker run ": "docker run --entrypoint=/bin/registry -e OTEL_TRACES_EXPORTER=none ",
        "-v /certs:": f"-v {bed.certs}:",
        "-v /etc/registry:": f"-v {auth}:",
    }
    bed.docker_shell(f"{exchanged(run, instead)} serve /etc/docker-registry/config.yml")
    for command in ("check", "plan", "--renew-now --dry-run", "--once", "status", "doctor"):
        done = certbotless(bed, f"certbotless {command}")
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    for command in paper.commands("docs/troubleshooting.md", "begin here"):
        assert certbotless(bed, command.replace(IN_README, DOMAIN)).returncode == 0
    assert bed.orders() == 2  # the dry run's was one too: this CA has no staging directory

    image = f"{bed.registry.where}/hello-world"
    bed.docker_shell(f"docker tag hello-world {image}")
    assert "no basic auth credentials" in bed.docker_shell(f"docker push {image}", code=1)
    (login,) = paper.commands("docs/registry.md", "login")
    for user in ("alice", "bob"):
        login_as = f"{exchanged(login, {IN_README: DOMAIN})} -u {user} --password-stdin"
        assert "Login Succeeded" in bed.docker_shell(login_as, typed="made-up-password")
        bed.docker_shell(f"docker push {image}; docker rmi {image}; docker pull {image}")


def configure_as_the_page_does(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the whole file of docs/configuration.md, its secrets as credentials, beside the stand-ins."""
    for part, secret in {"id": KEY_ID, "secret": KEY_SECRET}.items():
        write_secret(bed.home / f"certbotless.access_key_{part}", secret)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(bed.home))
    written = yaml_after("docs/configuration.md", "", {IN_README: DOMAIN})
    bed.config |= {**written, "aliyun": bed.config["aliyun"] | written["aliyun"]}


# --- other services -----------------------------------------------------------------------------------------


def target_of(page: str, name: str) -> dict[str, Any]:
    """Return the target that the page writes for a service, at the port that it has here."""
    (site,) = yaml_after(page, name, {ELSEWHERE: DOMAIN, "port: 443": f"port: {PORT}"})["sites"]
    (target,) = site["deploy"]
    assert site["domain"] == DOMAIN
    return dict(target)


def start_container(bed: Bed, name: str, program: list[str], folder: str, files: Mapping[str, str]) -> None:
    """Start a container with these files in a folder, 443 published, and wait until it serves TLS."""
    here = bed.home / name
    here.mkdir()
    for file, text in files.items():
        (here / file).write_text(text)
    client = bed.engine.client()
    client.api.import_image_from_data(image_of(program[0]), repository=f"{name}:page")
    volumes = {str(bed.certs): {"bind": "/certs", "mode": "ro"}, str(here): {"bind": folder, "mode": "ro"}}
    client.containers.run(
        f"{name}:page", command=program, name=name, detach=True, ports={"443/tcp": PORT}, volumes=volumes
    )
    wait_until(without_error(served), f"{name} serves TLS")


def served(address: str = LAN_ADDRESS) -> str:
    return served_sha256(address, PORT, DOMAIN)


def assert_two_certificates_are_served(bed: Bed, target: dict[str, Any]) -> None:
    """The first one in place of the self-signed, and a renewed one in place of that."""
    bed.config["sites"] = [bed.site(deploy=[target])]
    seen = [served()]
    for command in ("--once", "--renew-now"):
        bed.ok(command)
        seen.append(served())
        assert seen[-1] == bed.published()
    assert len(set(seen)) == 3


@pytest.mark.page("docs/services.md", "nginx")
def test_the_nginx_of_the_page_serves_what_is_renewed(bed: Bed, paper: Reading) -> None:
    server = exchanged(paper.text("docs/services.md", "nginx"), {ELSEWHERE: DOMAIN})
    text = nginx_configuration([], Path("/certs"), Path("/tmp"), 443)  # noqa: S108  # in the container
    files = {"nginx.conf": f"{text.rstrip().removesuffix('}')}{server}}}\n"}
    start_container(bed, "nginx", [NGINX], "/etc/nginx", files)
    before = bed.started_at("nginx")
    assert_two_certificates_are_served(bed, target_of("docs/services.md", "nginx"))
    assert bed.started_at("nginx") == before


@pytest.mark.page("docs/services.md", "haproxy")
def test_the_haproxy_of_the_page_serves_what_is_renewed(bed: Bed, paper: Reading) -> None:
    files = {"haproxy.cfg": exchanged(paper.text("docs/services.md", "haproxy"), {ELSEWHERE: DOMAIN})}
    program = [HAPROXY, "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]
    start_container(bed, "haproxy", program, "/etc/haproxy", files)
    before = bed.started_at("haproxy")
    assert_two_certificates_are_served(bed, target_of("docs/services.md", "haproxy"))
    assert bed.started_at("haproxy") == before


@pytest.mark.page("docs/services.md", "haproxy before 3.0", "key beside")
def test_the_link_of_the_page_is_where_an_older_haproxy_looks_for_the_key(bed: Bed, paper: Reading) -> None:
    """By the version that is here, which looks there too; the link leads to each new key."""
    (link,) = paper.commands("docs/services.md", "key beside")
    subprocess.run(shlex.split(exchanged(link, {ELSEWHERE: DOMAIN, "/certs": str(bed.certs)})), check=True)
    text = paper.text("docs/services.md", "haproxy before 3.0")
    file = bed.home / "haproxy.cfg"
    file.write_text(exchanged(text, {ELSEWHERE: DOMAIN, "/certs": str(bed.certs), ":443": f":{PORT}"}))
    with running([HAPROXY, "-W", "-db", "-f", str(file)], bed.home / "haproxy.log", served) as server:
        reload = ["/usr/bin/kill", "-HUP", str(server.process.pid)]
        assert_two_certificates_are_served(bed, {"command": reload, "port": PORT})


@pytest.mark.soak
@pytest.mark.page("docs/services.md", "go program", "go build")
def test_the_go_program_of_the_page_serves_what_is_renewed_without_a_reload(bed: Bed, paper: Reading) -> None:
    """It is formatted as Go programs are, and gives the pair before for as long as there is no whole one."""
    (bed.home / "hello.go").write_text(paper.text("docs/services.md", "go program"))
    (build,) = paper.commands("docs/services.md", "go build")
    # Go's own library is compiled too: once for all runs of this .venv, and not optimised.
    cache = Path(sys.prefix, "go")
    own = {"GOCACHE": str(cache), "GOPATH": str(bed.home / "go"), "GOTOOLCHAIN": "local"}
    own |= {"GOFLAGS": "'-gcflags=all=-N -l'", "CGO_ENABLED": "0"}
    for command in (["gofmt", "-l", "hello.go"], shlex.split(build)):
        done = completed(command, cwd=bed.home, env=os.environ | own)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    chain, key = bed.certs / f"{DOMAIN}.pem", bed.certs / f"{DOMAIN}.key"
    program = [str(bed.home / "hello"), f":{PORT}", str(chain), str(key)]
    with running(program, bed.home / "hello.log", served):
        assert_two_certificates_are_served(bed, target_of("docs/services.md", "go build"))
        last = served()
        key.unlink()
        chain.unlink()
        chain.write_text("no certificate")
        assert served() == last


@pytest.mark.page("docs/services.md", "path unit", "reload unit", "start the path unit")
def test_the_path_unit_of_the_page_reloads_the_nginx_of_a_machine(bed: Bed, paper: Reading) -> None:
    """By systemd, as root; certbotless only sees that it has happened."""
    bed.config["sites"] = [bed.site(deploy=[])]
    bed.ok("--once")
    (folder := bed.home / "machine").mkdir()
    with Machine(folder, {bed.certs: "/certs"}) as machine:
        text = nginx_configuration([DOMAIN], Path("/certs"), Path("/run"), PORT)
        machine.path("/etc/nginx/nginx.conf").write_text(text.replace("daemon off;", ""))
        machine.ok("systemctl", "start", "nginx")
        wait_until(without_error(served), "nginx serves TLS")
        before = served()
        for kind, name in (("path", "path unit"), ("service", "reload unit")):
            unit = paper.text("docs/services.md", name).replace(ELSEWHERE, DOMAIN)
            machine.path(f"/etc/systemd/system/certbotless-nginx.{kind}").write_text(unit)
        for command in paper.commands("docs/services.md", "start the path unit"):
            machine.ok(*shlex.split(command))
        bed.config["sites"] = [bed.site(deploy=[target_of("docs/services.md", "start the path unit")])]
        for _ in range(2):
            bed.ok("--renew-now")
            assert served() == bed.published() != before
            before = served()


# --- coming from another tool -------------------------------------------------------------------------------


@pytest.mark.page("docs/coming-from.md", "acme.sh", "certbot", "lego")
def test_the_pair_of_another_tool_is_copied_as_the_page_says_and_taken_over(
    bed: Bed, paper: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where each tool keeps it: no order, and the very same files."""
    places = {
        "acme.sh": (".acme.sh/{}_ecc/fullchain.cer", ".acme.sh/{}_ecc/{}.key"),
        "certbot": ("letsencrypt/live/{}/fullchain.pem", "letsencrypt/live/{}/privkey.pem"),
        "lego": (".lego/certificates/{}.crt", ".lego/certificates/{}.key"),
    }
    monkeypatch.setenv("SSL_CERT_FILE", str(bed.home / "roots.pem"))
    bed.config["acme"] = {"directory": "letsencrypt"}
    for tool, kept in places.items():
        authority, now = trustme.CA(), datetime.now(UTC)
        authority.cert_pem.write_to_path(bed.home / "roots.pem")
        issued = authority.issue_cert(
            DOMAIN, not_before=now - timedelta(hours=1), not_after=now + timedelta(days=90)
        )
        chain = b"".join(pem.bytes() for pem in [*issued.cert_chain_pems, authority.cert_pem])
        pair = (chain, issued.private_key_pem.bytes())
        for place, content in zip(kept, pair, strict=True):
            path = bed.home / place.format(DOMAIN, DOMAIN)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for folder in (bed.certs, bed.state):
            subprocess.run(["find", folder.parent / folder.name, "-mindepth", "1", "-delete"], check=False)
        for command in paper.commands("docs/coming-from.md", tool):
            moved = exchanged(command, {IN_README: DOMAIN, "/certs/": f"{bed.certs}/"})
            moved = moved.replace("/etc/letsencrypt", f"{bed.home}/letsencrypt")
            subprocess.run(
                ["sh", "-euc", moved], cwd=bed.home, env={**os.environ, "HOME": str(bed.home)}, check=True
            )
        bed.config["sites"] = [bed.site(deploy=[])]
        assert "the certificate of another tool " in bed.ok("plan")
        bed.ok("--once")
        assert bed.orders() == 0
        assert (bed.certs / f"{DOMAIN}.pem").is_symlink()
        assert (bed.certs / f"{DOMAIN}.pem").read_bytes() == chain
        assert (bed.certs / f"{DOMAIN}.key").read_bytes() == pair[1]


# --- less than the whole socket -----------------------------------------------------------------------------


@pytest.mark.page("docs/security.md", "socket proxy")
def test_the_socket_proxy_of_the_page_lets_through_what_is_needed_and_no_more(
    bed: Bed, paper: Reading
) -> None:
    """A first issuance, a renewal and the doctor; no list, no other one, no program, no new one."""
    proxy_socket = bed.home / "docker-proxy.sock"
    here = {
        "/run/docker-proxy/docker.sock": str(proxy_socket),
        "/var/run/docker.sock": str(bed.engine.socket),
        "group certbotless": "group docker",
    }
    bed.engine.socket.parent.chmod(0o711)
    file = bed.home / "proxy.cfg"
    file.write_text(exchanged(paper.text("docs/security.md", "socket proxy"), here))
    with running([HAPROXY, "-db", "-f", str(file)], bed.home / "proxy.log", proxy_socket.stat):
        written = yaml_after(
            "docs/security.md", "socket proxy", {"/run/docker-proxy/docker.sock": str(proxy_socket)}
        )
        bed.config |= written
        for command in ("--once", "--renew-now", "doctor"):
            bed.ok(command)
        assert bed.served() == bed.published()

        other = bed.engine.client().containers.run(
            "registry:2",
            ["/bin/registry", "serve", "/etc/docker-registry/config.yml"],
            name="other",
            detach=True,
        )
        started = bed.started_at("other")
        for path in detours(id_from_cgroups(str(other.id))):
            for method, action in (("GET", "json"), ("POST", "restart"), ("POST", "kill?signal=HUP")):
                request = f"{method} {path}/{action}"
                assert status_of(proxy_socket, request) in (400, 403), request
        assert status_of(proxy_socket, "GET /containers/registry/json") == 200
        assert bed.started_at("other") == started
        client = docker.DockerClient(base_url=f"unix://{proxy_socket}")
        try:
            registry = client.containers.get("registry")
            for asked in (
                client.containers.list,
                lambda: client.containers.get("other"),
                lambda: client.containers.get(str(other.name)),
                lambda: registry.exec_run(["/bin/registry", "--version"]),
                lambda: registry.kill(signal="HUP"),
                registry.stop,
                lambda: registry.get_archive("/certs"),
                lambda: client.containers.create("registry:2", "/bin/registry"),
                client.images.list,
            ):
                with pytest.raises(docker.errors.APIError) as refused:
                    asked()
                assert refused.value.status_code == 403
        finally:
            client.close()


def id_from_cgroups(container_id: str) -> str:
    """Return the container's id as any user of the machine reads it."""
    found = {name for _, folders, _ in os.walk("/sys/fs/cgroup") for name in folders}
    assert container_id in found
    return container_id


def detours(id_: str) -> list[str]:
    """Return paths that an engine may take for another container than the registry."""
    by_id = [id_, id_[:12], id_[:1], id_.upper(), f"%{ord(id_[0]):x}{id_[1:]}"]
    containers = [f"{version}/containers/{each}" for version in ("", "/v1.41") for each in [*by_id, "other"]]
    return [
        *containers,
        f"/containers/registry/../{id_}",
        f"/containers/registry/json/../../{id_}",
        f"/containers/registry%2f..%2f{id_}",
        f"/containers/registry%2F..%2F{id_}",
        f"/containers//{id_}",
        f"//containers/{id_}",
        f"/v1.41//containers/{id_}",
        f"/v1.41/../containers/{id_}",
        f"/containers/{id_}/../registry",
        f"/containers/REGISTRY/../{id_}",
        f"/containers/{id_}/json?/containers/registry",
        f"/containers/{id_}#/containers/registry",
        f"http://docker/containers/{id_}",
        f"/containers/registry\t/../{id_}",
        f"/containers/registry;/../{id_}",
        f"/containers/{id_}\\..\\registry",
    ]


def status_of(path: Path, request: str) -> int:
    """Return the status of the answer to a request line that no library would send as it is."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        head = f"{request} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode())
        return int(connection.recv(4096).split()[1])


@pytest.mark.page("docs/security.md", "socket proxy", "socket folder")
def test_the_socket_proxy_of_the_page_starts_again_and_again_as_a_service(
    tmp_path: Path, paper: Reading
) -> None:
    """In a folder that nobody but systemd makes, and that is gone when it ends."""
    (folder := tmp_path / "machine").mkdir()
    with Machine(folder, {}) as machine:
        machine.ok("groupadd", "--system", "certbotless")
        machine.path("/etc/haproxy/haproxy.cfg").write_text(paper.text("docs/security.md", "socket proxy"))
        drop_ins = machine.path("/etc/systemd/system/haproxy.service.d")
        drop_ins.mkdir()
        (drop_ins / "override.conf").write_text(paper.text("docs/security.md", "socket folder"))
        machine.ok("systemctl", "daemon-reload")
        for _ in range(2):
            machine.ok("systemctl", "start", "haproxy")
            seen = machine.ok("stat", "-c", "%F %G %a", "/run/docker-proxy/docker.sock")
            assert seen == "socket certbotless 660\n"
            machine.ok("systemctl", "stop", "haproxy")
            assert not machine.path("/run/docker-proxy").exists()
