"""A real registry in a real container, made of Debian's package: no image comes from a hub.

Owns the registry's image and container, what it starts with, and what a client sees of it.

Source: Debian's docker-registry (distribution 2.8), its configuration reference.
"""

from __future__ import annotations

import hashlib
import io
import re
import socket
import ssl
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import docker
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from docker.models.containers import Container

from .engine import Engine
from .host import SandboxError
from .process import wait_until

if TYPE_CHECKING:
    from docker.api.container import _RestartPolicy

IMAGE = "registry:2"
PROGRAM = Path("/usr/bin/docker-registry")
_COMMAND = 'CMD ["/bin/registry", "serve", "/etc/docker-registry/config.yml"]'
_ALWAYS: _RestartPolicy = {"Name": "always", "MaximumRetryCount": 0}
CONFIG = b"""
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}}
http: {addr: ":5000"}
"""


class RefusedByEngine(SandboxError):
    """The engine would not push or pull; the text is its own."""


class Registry:
    """A registry container that serves TLS with `<certs>/<domain>.pem` and `.key`, as at many users' today.

    Args:
        engine: where it runs.
        domain: its public name, which names the two files.
        certs: the folder with the pair; the container sees it as /certs.
        port: where the engine publishes it.
        publish: on this address of the host alone; empty is on every one.
        name: the container's name.
        user: UID:GID of its process, as of ``docker run --user``; empty is root.
        restarts: whether the engine starts it again when it ends.
        drain: how long it finishes what it has begun before it ends, as ``30s``; empty is not at all.
        cap_drop: what of root's rights it is without, as of ``docker run --cap-drop``.
        is_plain: it serves HTTP without TLS.
    """

    def __init__(
        self,
        engine: Engine,
        domain: str,
        *,
        certs: Path = Path("/certs"),
        port: int = 5000,
        publish: str = "",
        name: str = "registry",
        user: str = "",
        restarts: bool = True,
        drain: str = "",
        cap_drop: Sequence[str] = (),
        is_plain: bool = False,
    ) -> None:
        self.domain = domain
        self.port = port
        self.publish = publish
        self.certs = certs
        self._name = name
        self._user = user
        self._cap_drop = cap_drop
        self._restarts = restarts
        self._drain = drain or "0s"
        self._is_plain = is_plain
        self._docker = engine.client()

    @property
    def where(self) -> str:
        """NAME:PORT, as images of this registry are named after."""
        return f"{self.domain}:{self.port}"

    @property
    def container(self) -> Container:
        """The container as it is now."""
        return self._docker.containers.get(self._name)

    def create(self, mounts: dict[str, dict[str, str]] | None = None, *, waits: bool = True) -> None:
        """Create and start the container, and wait until it serves; at most 15 s.

        Args:
            mounts: what it sees in place of `certs` as a folder, as the library's `volumes`.
            waits: False where its files are not there yet, so that it ends and is started again.

        Raises:
            SandboxError: it does not; the text holds its last output.
        """
        import_registry(self._docker)
        self._docker.containers.run(
            IMAGE,
            name=self._name,
            detach=True,
            user=self._user,
            cap_drop=list(self._cap_drop),
            restart_policy=_ALWAYS if self._restarts else None,
            ports={"5000/tcp": (self.publish, self.port) if self.publish else self.port},
            volumes=mounts or {str(self.certs): {"bind": "/certs", "mode": "ro"}},
            environment={
                **({} if self._is_plain else self._tls()),
                "REGISTRY_HTTP_DRAINTIMEOUT": self._drain,
                "OTEL_TRACES_EXPORTER": "none",
            },
        )
        if waits:
            self.wait_serving()

    def _tls(self) -> dict[str, str]:
        return {
            "REGISTRY_HTTP_TLS_CERTIFICATE": f"/certs/{self.domain}.pem",
            "REGISTRY_HTTP_TLS_KEY": f"/certs/{self.domain}.key",
        }

    def wait_serving(self) -> None:
        """Wait until a TLS handshake succeeds, or without TLS a request; at most 15 s.

        Raises:
            SandboxError: none does; the text holds the container's last output.
        """
        what = "HTTP" if self._is_plain else "TLS"
        try:
            wait_until(self._serves, 15, f"container {self._name!r} serves {what} on port {self.port}")
        except SandboxError as error:
            words = self.container.logs(tail=5).decode(errors="replace").replace("\n", " | ")
            raise SandboxError(f"{error.message}: {words}") from error

    def recreate(self) -> None:
        """Remove the container and create it anew, as an upgrade of its image does; its images are lost."""
        self.remove()
        self.create()

    def remove(self) -> None:
        """Remove the container."""
        self.container.remove(force=True, v=True)

    def write_self_signed(self, *further_names: str) -> None:
        """Put a self-signed pair in `certs`, as plain files: what a registry on a LAN often starts with."""
        chain, key = self_signed(self.domain, *further_names)
        (self.certs / f"{self.domain}.pem").write_bytes(chain)
        key_file = self.certs / f"{self.domain}.key"
        key_file.touch(0o600)
        key_file.write_bytes(key)

    def push(self, image: str, *, name: str = "") -> str:
        """Make a tiny image, let the engine push it as `NAME:PORT/image`, and return its digest there.

        Args:
            image: its name in the registry, with a tag, as `hello:1`.
            name: another name of the registry than `domain`.

        Raises:
            RefusedByEngine: in the engine's words.
        """
        full_name = f"{name or self.domain}:{self.port}/{image}"
        _import(self._docker, full_name, {"hello.txt": (b"pushed by name\n", 0o644)})
        with _engines_words():
            lines = self._docker.api.push(full_name, stream=True, decode=True)
            digests: list[str] = [line["aux"]["Digest"] for line in _without_error(lines) if "aux" in line]
        return digests[0]

    def pull(self, image: str, *, name: str = "") -> str:
        """Remove the engine's own copy of `NAME:PORT/image`, let it pull the image, and return its digest.

        Args:
            name: as of `push`.

        Raises:
            RefusedByEngine: in the engine's words.
        """
        name = f"{name or self.domain}:{self.port}/{image}"
        with suppress(docker.errors.ImageNotFound):
            self._docker.images.remove(name, force=True)
        with _engines_words():
            list(_without_error(self._docker.api.pull(name, stream=True, decode=True)))
        digests: list[str] = self._docker.images.get(name).attrs["RepoDigests"]
        return digests[0].partition("@")[2]

    def _serves(self) -> bool:
        try:
            if self._is_plain:
                with urlopen(f"http://127.0.0.1:{self.port}/v2/", timeout=5):
                    return True
            served_sha256("127.0.0.1", self.port, self.domain)
        except OSError:
            return False
        return True


def import_registry(client: docker.DockerClient) -> None:
    """Let an engine have the image of the registry, IMAGE, unless it has."""
    if not client.images.list(name=IMAGE):
        _import(client, IMAGE, _program_files(), [_COMMAND])


def self_signed(domain: str, *further_names: str) -> tuple[bytes, bytes]:
    """Return a self-signed certificate for ten years, and its key, as PEM."""
    names = [x509.DNSName(name) for name in (domain, *further_names)]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


def served_sha256(address: str, port: int, sni: str, timeout_s: float = 5) -> str:
    """Return the SHA-256 of the DER leaf that a full TLS handshake shows, lower-case hex; it is not verified.

    Raises:
        OSError: no connection, or no handshake.
    """
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((address, port), timeout=timeout_s) as connection,
        tls.wrap_socket(connection, server_hostname=sni) as session,
    ):
        return hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest()


@contextmanager
def _engines_words() -> Iterator[None]:
    """Turn what the engine answers to a request into RefusedByEngine."""
    try:
        yield
    except docker.errors.APIError as error:
        raise RefusedByEngine(error.explanation or str(error)) from error


def _without_error(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pass the lines of a push or pull on; an error comes as one of them, after a status of 200."""
    for line in lines:
        if "error" in line:
            raise RefusedByEngine(line["error"])
        yield line


def _program_files() -> dict[str, tuple[bytes, int]]:
    """Return what the registry's image holds: path -> content and mode."""
    if not PROGRAM.exists():
        raise SandboxError(f"{PROGRAM} is missing", hint="apt-get install docker-registry")
    linked = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout
    libraries = {path: (Path(path).read_bytes(), 0o755) for path in re.findall(r"(/\S+) \(0x", linked)}
    return {
        "/bin/registry": (PROGRAM.read_bytes(), 0o755),
        "/etc/docker-registry/config.yml": (CONFIG, 0o644),
        **libraries,
    }


def _import(
    client: docker.DockerClient, name: str, files: dict[str, tuple[bytes, int]], changes: Sequence[str] = ()
) -> None:
    client.api.import_image_from_data(_tar(files), repository=name, changes=list(changes))


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, (content, mode) in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
