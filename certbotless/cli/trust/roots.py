"""The roots of the local CA, read with the rights of the owner of the folder, and checked.

Whoever takes over the service writes the folder. So what may vouch for more than a LAN, or than names of the
configuration file, which root writes, is refused.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...base import files
from ...base.errors import CertbotlessError, StoreError
from ...base.privileges import as_owner
from ...base.words import Text
from ...config.settings import Config
from ...config.site_names import beyond_the_lan
from ...model.local_ca import RootCertificate, pem_of
from ...state.local_ca import NEXT, OLD, ROOT, LocalCaFolder
from ...world.local_root import read_root


@dataclass(frozen=True, slots=True)
class Roots:
    """The root that signs now, the one that takes its place, if there is one, and earlier ones.

    `kept` are those of the earlier ones that clients need not remove yet. No earlier one is installed.
    """

    folder: Path
    current: RootCertificate
    next: RootCertificate | None = None
    old: tuple[RootCertificate, ...] = ()
    kept: tuple[RootCertificate, ...] = ()

    @property
    def all(self) -> tuple[RootCertificate, ...]:
        """What clients need, in this order: now, next."""
        return (self.current, self.next) if self.next else (self.current,)

    @property
    def known(self) -> list[bytes]:
        """Each root of this CA as PEM, earlier ones too."""
        return [root.pem for root in (*self.all, *self.old)]

    @property
    def pem(self) -> bytes:
        """All of them, one after the other."""
        return pem_of(self.all)


def read(config: Config) -> Roots:
    """Return the roots of the local CA.

    Raises:
        CertbotlessError: there is none yet.
        StoreError: one cannot be read, or no machine should trust it.
    """
    folder = LocalCaFolder(config.state_dir).path
    current = _read(config, folder, ROOT)
    if current is None:
        raise CertbotlessError(
            Text("there is no local CA yet"),
            hint=Text("the first site with ca: local makes it: certbotless --once"),
        )
    with as_owner(config.state_dir):
        earlier = LocalCaFolder(config.state_dir).old()
    now = datetime.now(UTC)
    old, kept = list[RootCertificate](), list[RootCertificate]()
    for each in earlier:
        root = _read(config, folder, OLD, f"{each.ca.root_sha256}.pem", is_old=True)
        if root is not None:
            old.append(root)
            if each.remove_from > now:
                kept.append(root)
    return Roots(folder, current, _read(config, folder, NEXT, ROOT), tuple(old), tuple(kept))


def _read(config: Config, folder: Path, *names: str, is_old: bool = False) -> RootCertificate | None:
    """Return a root, None if there is none. One that is old is only removed: it may vouch for anything."""
    path = folder.joinpath(*names)
    with as_owner(config.state_dir), files.store_errors(path, "read"):
        for each in (folder, path.parent):
            files.refuse_unless_directory(each)
        try:
            data = files.read(path)
        except FileNotFoundError:
            return None
    root = read_root(data, str(path))
    if is_old:
        return root
    named = [name for site in config.sites if site.is_local for name in site.certified_names]
    if beyond := beyond_the_lan(root.permit, [*config.local_ca.permit, *named]):
        raise StoreError(
            Text("{!r} is refused: it may vouch for {}", str(path), ", ".join(map(repr, beyond))),
            hint=Text("if that is right, add it to local_ca.permit; else: certbotless trust rotate --now"),
        )
    return root
