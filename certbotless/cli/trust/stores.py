"""Where programs of this machine keep the roots that they trust, and what is written there.

A file is ours if its bytes are roots of ours and nothing else, or, for containerd, what is written beside
them. Other files are never changed. No link is followed below the folder of a store.

Source: update-ca-certificates(8); docs.docker.com, "Verify repository client with certificates";
containers-certs.d(5); containerd, docs/hosts.md.
"""

import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import files
from ...base.errors import StoreError
from ...base.words import N_, Text
from ...report import trust_steps

UPDATE = "update-ca-certificates"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_UPDATE_TIMEOUT_S = 120
_MODE, _DIR_MODE = 0o644, 0o755
# Where `install` makes the folder of the hosts, it leaves a mark there. Both go with the last of ours.
_TOP, _MADE = "certs.d", ".made-by-certbotless"
_CA, _HOSTS = "ca.crt", "hosts.toml"


@dataclass(frozen=True, slots=True)
class Store:
    """A store.

    Attributes:
        marks: folders or files of which one is there where the program is installed.
        folder: what it reads.
        effect: when it sees a change; English, in the catalogue.
    """

    name: str
    marks: tuple[Path, ...]
    folder: Path
    effect: str

    @property
    def is_found(self) -> bool:
        return any(mark.exists() for mark in self.marks)

    def wanted(self, roots: Mapping[str, bytes], places: Collection[str]) -> dict[Path, bytes]:
        """Return each file that it should have.

        Args:
            roots: PEM, by the 8 digits of each.
            places: `host:port` of each service.
        """
        if self.name == "system":
            return {self.folder / f"certbotless-{short}.crt": pem for short, pem in roots.items()}
        wanted, pem = dict[Path, bytes](), b"".join(roots.values())
        for place in places:
            wanted[self.folder / place / _CA] = pem
            if self.name == "containerd":
                wanted[self.folder / place / _HOSTS] = hosts_toml(self.folder / place)
        return wanted

    def ours(self, roots: Collection[bytes]) -> Iterator[Path]:
        """Yield each file that has been written here: what it has is a root of ours, or leads to one."""
        pattern = "certbotless-*.crt" if self.name == "system" else f"*/{_CA}"
        for path in sorted(self.folder.glob(pattern)):
            if not path.parent.is_symlink() and is_of(_read(path), roots):
                hosts = path.with_name(_HOSTS)
                if self.name == "containerd" and _read(hosts) == hosts_toml(path.parent):
                    yield hosts
                yield path


_ETC = Path("/etc")
STORES = (
    Store(
        "system",
        (Path("/usr/sbin", UPDATE),),
        Path("/usr/local/share/ca-certificates"),
        N_("new processes; restart dockerd and containerd yourself where they should see it"),
    ),
    Store(
        "docker",
        (_ETC / "docker", Path("/usr/bin/dockerd")),
        _ETC / "docker/certs.d",
        N_("the next pull or push; no restart"),
    ),
    Store(
        "podman",
        (_ETC / "containers",),
        _ETC / "containers/certs.d",
        N_("the next pull or push, also of skopeo and CRI-O; no restart"),
    ),
    Store(
        "containerd",
        (_ETC / "containerd",),
        _ETC / "containerd/certs.d",
        N_('the next pull, if config_path is "/etc/containerd/certs.d" in /etc/containerd/config.toml'),
    ),
)
NAMES = tuple(store.name for store in STORES)


def hosts_toml(folder: Path) -> bytes:
    """Return what leads containerd to the root in this folder, whose name is that of the service."""
    return trust_steps.hosts_toml(folder.name, str(folder / _CA)).encode()


def is_of(data: bytes | None, roots: Collection[bytes]) -> bool:
    """Whether these bytes are roots of ours, one or more, and nothing else."""
    left = data or b""
    for root in roots:
        left = left.replace(root, b"", 1)
    return bool(data) and not left


def write(path: Path, data: bytes, known: Collection[bytes]) -> bool:
    """Write a file of a store unless it is there already; return whether it was written.

    Raises:
        StoreError: there is a file of another program, or it cannot be written.
    """
    found = _read(path)
    if found == data:
        return False
    if path.is_symlink() or (found is not None and not is_of(found, known)):
        raise StoreError(
            Text("{!r} belongs to another program", str(path)), hint=Text("add these lines to it")
        )
    with files.store_errors(path):
        for folder in (path.parent.parent, path.parent):
            files.refuse_unless_directory(folder)
        is_new = path.parent.parent.name == _TOP and not path.parent.parent.is_dir()
        files.make_dir(path.parent, _DIR_MODE)
        if is_new:
            files.replace(path.parent.parent / _MADE, b"", _MODE, 0)
        files.replace(path, data, _MODE, 0)
    return True


def remove(store: Store, path: Path) -> None:
    """Remove a file of ours, and the folders that were made for it, once empty. Raises `StoreError`."""
    with files.store_errors(path):
        path.unlink()
        files.sync_dir(path.parent)
    if store.name != "system":
        with suppress(OSError):
            path.parent.rmdir()
            made = store.folder / _MADE
            if [*store.folder.iterdir()] == [made]:
                made.unlink()
                store.folder.rmdir()


def is_in_bundle(pem: bytes) -> bool:
    """Whether the bundle of the system has a root: an update that was cut off may have left or lacked it."""
    try:
        return pem in _BUNDLE.read_bytes()
    except OSError:
        return False


def refresh(*, fresh: bool) -> None:
    """Have the system make its bundle of the files in its folder. Raises `StoreError`."""
    command = [shutil.which(UPDATE, path="/usr/sbin:/sbin") or UPDATE, *(["--fresh"] if fresh else [])]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_UPDATE_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as exc:
        raise StoreError(Text("{} failed: {}", UPDATE, str(exc))) from exc


def _read(path: Path) -> bytes | None:
    """Return what a file has; None where there is none, or something else."""
    try:
        return files.read(path)
    except OSError:
        return None
