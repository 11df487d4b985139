"""Debian's nginx in a container: a service that reads its certificates anew without a restart."""

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from docker.models.containers import Container

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import served_sha256
from support.bed import wait_until
from support.programs import without_error

PROGRAM = "/usr/sbin/nginx"
IMAGE = "nginx:test"


def configuration(domains: Iterable[str], certs: Path, scratch: Path, port: int) -> str:
    """Return a configuration with one TLS server for each domain, told apart by SNI.

    Args:
        domains: what the servers' files in `certs` are named after.
        scratch: an existing folder for all that nginx writes.
        port: where it listens, on every address.
    """
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {scratch}/{kind};\n" for kind in kinds)
    servers = "".join(
        f"server {{ listen {port} ssl; server_name {domain}; return 204;"
        f" ssl_certificate {certs}/{domain}.pem; ssl_certificate_key {certs}/{domain}.key; }}\n"
        for domain in domains
    )
    return f"""
user root root;
daemon off;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log stderr;
events {{}}
http {{
access_log off;
{folders}{servers}}}
"""


class Nginx:
    """An nginx container that serves TLS for `domains` with the pairs in `certs`.

    Args:
        engine: where it runs.
        folder: an existing folder, which gets one for the container's configuration.
        certs: the folder with the pairs, which must be there; the container sees it as /certs.
        domains: one TLS server each.
        name: the container's name.
        ports: port of the host by port of the container, which listens at 443.
        labels: of the container.
        is_deaf: its first process takes no SIGTERM.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        certs: Path,
        domains: Iterable[str],
        *,
        name: str = "nginx",
        ports: Mapping[int, int] | None = None,
        labels: Mapping[str, str] | None = None,
        is_deaf: bool = False,
    ) -> None:
        published = ports or {443: 8443}
        self.port = published[443]
        self.name = name
        self._docker = engine.client()
        if not self._docker.images.list(name=IMAGE):
            self._docker.api.import_image_from_data(image_of(PROGRAM), repository=IMAGE)
        config = folder / name
        config.mkdir()
        (config / "nginx.conf").write_text(configuration(domains, Path("/certs"), Path("/tmp"), 443))  # noqa: S108
        # A container's first process is spared the signals that it does not handle; a shell handles none.
        deaf = ["/bin/sh", "-c", f"{PROGRAM} & wait"]
        self._docker.containers.run(
            IMAGE,
            command=deaf if is_deaf else [PROGRAM],
            name=name,
            detach=True,
            labels=dict(labels or {}),
            ports={f"{inside}/tcp": outside for inside, outside in published.items()},
            volumes={
                str(certs): {"bind": "/certs", "mode": "ro"},
                str(config): {"bind": "/etc/nginx", "mode": "ro"},
            },
        )
        wait_until(without_error(lambda: self.served("any.test")), f"the container {name} serves TLS")

    @property
    def container(self) -> Container:
        """The container as it is now."""
        return self._docker.containers.get(self.name)

    @property
    def id(self) -> str:
        """The container's id."""
        return str(self.container.id)

    def served(self, domain: str) -> str:
        """Return the fingerprint of the leaf that it serves for `domain`."""
        return served_sha256(LAN_ADDRESS, self.port, domain)


def image_of(program: str) -> bytes:
    """Return an image's only layer: a program, a shell, their libraries, and a user to run as."""
    files = ["/bin/sh", program]
    linked = subprocess.run(["ldd", *files], capture_output=True, text=True, check=True).stdout
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for path in [*files, *sorted(set(re.findall(r"(/\S+) \(0x", linked)))]:
            archive.add(path)
        scratch = tarfile.TarInfo("tmp")
        scratch.type, scratch.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(scratch)
        for name, line in (("passwd", b"root:x:0:0::/:/bin/sh\n"), ("group", b"root:x:0:\n")):
            entry = tarfile.TarInfo(f"etc/{name}")
            entry.size, entry.mode = len(line), 0o644
            archive.addfile(entry, io.BytesIO(line))
    return buffer.getvalue()
