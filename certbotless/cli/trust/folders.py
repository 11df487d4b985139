"""Stores that are folders of certificates: that of the system, and the `certs.d` of container engines.

A file is ours if its bytes are roots of ours and nothing else, or, for containerd, what is written beside
them. No link is followed below the folder of a store, also none that somebody puts there meanwhile.

Source: update-ca-certificates(8); docs.docker.com, "Verify repository client with certificates";
containers-certs.d(5); containerd, docs/hosts.md.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import files
from ...base.entered import entered
from ...base.errors import StoreError
from ...base.words import N_, Text, _
from ...model.local_ca import RootCertificate, pem_of
from ...report import trust_steps
from . import containerd
from .roots import Roots
from .stores import Outcome, still_wanted

UPDATE = "update-ca-certificates"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_UPDATE_TIMEOUT_S = 120
_MODE = 0o644
# In each folder that `install` makes it leaves this mark. Both go with the last of ours.
_MADE = ".made-by-certbotless"
_CA, _HOSTS = "ca.crt", "hosts.toml"
_ETC = Path("/etc")
_Roots = Sequence[RootCertificate]


@dataclass(frozen=True, slots=True)
class SystemStore:
    """The folder of which Debian makes what programs of the system read: a bundle, and links."""

    name: str = "system"
    effect: str = N_("new processes; restart dockerd and containerd yourself where they should see it")
    needs_root: bool = True
    folder: Path = Path("/usr/local/share/ca-certificates")

    @property
    def is_found(self) -> bool:
        return not self.lacks

    @property
    def lacks(self) -> str:
        if _update_program():
            return ""
        return N_("needs update-ca-certificates; on Fedora and RHEL: certbotless trust commands rhel")

    def bring(self, roots: Roots, places: Sequence[str]) -> Outcome:
        done, stay = Outcome(), roots.live
        if stay or self.folder.exists():
            with _entered(self.folder, makes=bool(stay)) as place:
                has = dict(_own_files(place.here, roots.known))
                stay = still_wanted(roots, list(has.values()))
                for root in roots.live:
                    _write(place, f"certbotless-{root.short}.crt", root.pem, done)
                for name, root in has.items():
                    if root not in stay:
                        _remove(place, name, done)
        # An update that was cut off may have left one there.
        is_left = not stay and any(map(_is_in_bundle, roots.known))
        if done.written or done.removed or is_left or not all(map(_is_in_bundle, stay)):
            _refresh(fresh=is_left or bool(done.removed))
        return done

    def installed(self, known: Sequence[RootCertificate]) -> list[tuple[str, RootCertificate]]:
        return [(str(self.folder / name), root) for name, root in _own_files(self.folder, known)]


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A folder of a container engine, with a folder for each `host:port`.

    Attributes:
        marks: folders or files of which one is there where the program is installed.
    """

    name: str
    marks: tuple[Path, ...]
    folder: Path
    effect: str = N_("the next pull or push; no restart")
    needs_root: bool = True
    lacks: str = ""

    @property
    def is_found(self) -> bool:
        return any(mark.exists() for mark in self.marks)

    def bring(self, roots: Roots, places: Sequence[str]) -> Outcome:
        done = Outcome()
        if roots.live and not places:
            done.nothing = _("nothing to do: the port of no service is known yet")
        wanted = [self._folders()[0] / place for place in places]
        # Where no site is any more nothing comes in.
        for folder in dict.fromkeys([*wanted, *self._ours(roots.known)]):
            is_wanted = folder in wanted

            def act(place: _Place, is_wanted: bool = is_wanted) -> None:
                has = _roots_in(place.here / _CA, roots.known)
                stay = [root for root in still_wanted(roots, has) if is_wanted or root in has]
                if stay or has:
                    self._bring(place, stay, has, done)

            _within(folder, act, done, makes=is_wanted and bool(roots.live))
        return done

    def installed(self, known: Sequence[RootCertificate]) -> list[tuple[str, RootCertificate]]:
        paths = [folder / _CA for folder in self._ours(known)]
        return [(str(path), root) for path in paths for root in _roots_in(path, known)]

    def lacking(self, roots: Sequence[bytes], places: Sequence[str]) -> list[str]:
        """Return the places whose folder does not have each of these roots, PEM. Raises `StoreError`."""
        held = {place: _read(self._folders()[0] / place / _CA) or b"" for place in places}
        return [place for place in places if not all(root in held[place] for root in roots)]

    def _folders(self) -> list[Path]:
        """Return the folder that the engine reads, and others in which it may have been."""
        return [self.folder]

    def _ours(self, known: Sequence[RootCertificate]) -> list[Path]:
        """Return the folder of each file of ours."""
        found = [path for folder in self._folders() for path in sorted(folder.glob(f"*/{_CA}"))]
        return [path.parent for path in found if not path.parent.is_symlink() and _roots_in(path, known)]

    def _bring(self, place: "_Place", roots: _Roots, has: _Roots, done: Outcome) -> bool:
        """Let the file in this folder have these roots; return whether it has them.

        Args:
            has: those of ours that it has, and nothing else; empty where it is absent or of others.
        """
        if roots:
            return _write(place, _CA, pem_of(roots), done, replaces=bool(has))
        _remove(place, _CA, done)
        return True


@dataclass(frozen=True, slots=True)
class ContainerdStore(FolderStore):
    """That of containerd: its configuration names the folder, and a second file leads to the root."""

    def bring(self, roots: Roots, places: Sequence[str]) -> Outcome:
        done = FolderStore.bring(self, roots, places)
        if places:
            done.notes += containerd.setting(self.folder).to_do
        return done

    def _folders(self) -> list[Path]:
        return [*dict.fromkeys([containerd.setting(self.folder).folder, self.folder])]

    def _bring(self, place: "_Place", roots: _Roots, has: _Roots, done: Outcome) -> bool:
        folder = place.folder
        if roots:
            # Beside a root of others, what leads to it is of no use.
            return FolderStore._bring(self, place, roots, has, done) and _write(
                place, _HOSTS, hosts_toml(folder), done
            )
        text = _read(place.here / _HOSTS)
        if text == hosts_toml(folder):
            _remove(place, _HOSTS, done)
        elif text and os.fsencode(folder / _CA) in text:
            form = _("{} still names {}: remove that line")
            done.notes.append(form.format(folder / _HOSTS, folder / _CA))
        return FolderStore._bring(self, place, roots, has, done)


STORES = (
    SystemStore(),
    FolderStore("docker", (_ETC / "docker", Path("/usr/bin/dockerd")), _ETC / "docker/certs.d"),
    FolderStore(
        "podman",
        (_ETC / "containers",),
        _ETC / "containers/certs.d",
        N_("the next pull or push, also of skopeo and CRI-O; no restart"),
    ),
    ContainerdStore("containerd", (_ETC / "containerd",), _ETC / "containerd/certs.d"),
)


def hosts_toml(folder: Path) -> bytes:
    """Return what leads containerd to the root in this folder, whose name is that of the service."""
    return trust_steps.hosts_toml(folder.name, str(folder / _CA)).encode()


def _roots_in(path: Path, known: Sequence[RootCertificate]) -> list[RootCertificate]:
    """Return the roots of ours that a file has; none if it has anything else."""
    left, found = _read(path) or b"", list[RootCertificate]()
    for root in known:
        if root.pem in left:
            left = left.replace(root.pem, b"", 1)
            found.append(root)
    return [] if left else found


def _own_files(folder: Path, known: Sequence[RootCertificate]) -> Iterator[tuple[str, RootCertificate]]:
    """Yield the name of each file in the folder of the system that has a root of ours alone."""
    for path in sorted(folder.glob("certbotless-*.crt")):
        match _roots_in(path, known):
            case [root]:
                yield path.name, root


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder of a store that is open.

    Attributes:
        folder: as people know it.
        here: the same folder for as long as it is open (base.entered).
    """

    folder: Path
    here: Path


@contextmanager
def _entered(folder: Path, *, makes: bool = False) -> Iterator[_Place]:
    """Open a folder of a store; one that is made has a mark.

    Raises:
        StoreError: it cannot be used.
    """
    top = next(each for each in folder.parents[1:] if each.is_dir())
    made = (lambda here: files.replace(here / _MADE, b"", _MODE, 0)) if makes else None
    with files.store_errors(folder):
        for each in (folder.parent, folder):
            files.refuse_unless_directory(each)
        with entered(top, folder.relative_to(top).parts, made) as here:
            yield _Place(folder, here)


def _within(folder: Path, act: Callable[[_Place], object], done: Outcome, *, makes: bool = False) -> None:
    """Act in a folder of a store. What cannot be done there is noted."""
    if not makes and not folder.is_dir():
        return
    try:
        with _entered(folder, makes=makes) as place:
            act(place)
            # Where nothing but the mark is left, that goes too.
            is_over = [*place.here.iterdir()] == [place.here / _MADE]
            if is_over:
                (place.here / _MADE).unlink()
    except StoreError as exc:
        done.failed.append(_(str(exc)))
    else:
        if is_over:
            _remove_folders(folder)


def _write(place: _Place, name: str, data: bytes, done: Outcome, *, replaces: bool = False) -> bool:
    """Write a file unless it has this already; return whether it has then.

    Args:
        replaces: whether the file that is there is ours; another one stays.
    """
    path = place.here / name
    if _read(path) == data:
        return True
    if os.path.lexists(path) and not replaces:
        form = _("{} belongs to another program; add these lines to it")
        done.failed.append(f"{form.format(place.folder / name)}\n{data.decode()}")
        return False
    files.replace(path, data, _MODE, 0)
    done.written.append(str(place.folder / name))
    return True


def _remove(place: _Place, name: str, done: Outcome) -> None:
    (place.here / name).unlink()
    files.sync_dir(place.here)
    done.removed.append(str(place.folder / name))


def _remove_folders(folder: Path) -> None:
    """Remove an empty folder that `install` made, and those above it that it made."""
    with suppress(OSError):
        folder.rmdir()
        while [*(folder := folder.parent).iterdir()] == [folder / _MADE]:
            (folder / _MADE).unlink()
            folder.rmdir()


def _is_in_bundle(root: RootCertificate) -> bool:
    """Whether the bundle of the system has a root: an update that was cut off may have left or lacked it."""
    try:
        return root.pem in _BUNDLE.read_bytes()
    except OSError:
        return False


def _update_program() -> str | None:
    return shutil.which(UPDATE, path="/usr/sbin:/sbin")


def _refresh(*, fresh: bool) -> None:
    """Have the system make its bundle of the files in its folder. Raises `StoreError`."""
    command = [_update_program() or UPDATE, *(["--fresh"] if fresh else [])]
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
