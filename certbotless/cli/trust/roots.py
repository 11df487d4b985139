"""The roots of the local CA, read with the rights of the owner of the folder, and checked.

Whoever takes over the service writes the folder. So what may vouch for more than a LAN, or than names of the
configuration file, which root writes, is refused.
"""

from dataclasses import dataclass
from pathlib import Path

from ...base import files
from ...base.errors import CertbotlessError, StoreError
from ...base.privileges import as_owner
from ...base.words import Text
from ...config.settings import Config
from ...config.site_names import beyond_the_lan
from ...state.local_ca import NEXT, ROOT, LocalCaFolder
from ...world.local_root import Root, read_root


@dataclass(frozen=True, slots=True)
class Roots:
    """The root that signs now, and the one that takes its place, if there is one."""

    folder: Path
    current: Root
    next: Root | None = None

    @property
    def all(self) -> tuple[Root, ...]:
        """What clients need, in this order: now, next."""
        return (self.current, self.next) if self.next else (self.current,)

    @property
    def pem(self) -> bytes:
        """All of them, one after the other."""
        return b"".join(root.pem for root in self.all)


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
    return Roots(folder, current, _read(config, folder, NEXT, ROOT))


def _read(config: Config, folder: Path, *names: str) -> Root | None:
    path = folder.joinpath(*names)
    with as_owner(config.state_dir), files.store_errors(path, "read"):
        for each in (folder, path.parent):
            files.refuse_unless_directory(each)
        try:
            data = files.read(path)
        except FileNotFoundError:
            return None
    root = read_root(data, str(path))
    named = [name for site in config.sites if site.is_local for name in site.all_names]
    if beyond := beyond_the_lan(root.permit, [*config.local_ca.permit, *named]):
        raise StoreError(
            Text("{!r} is refused: it may vouch for {}", str(path), ", ".join(map(repr, beyond))),
            hint=Text("if that is right, add it to local_ca.permit; else: certbotless trust rotate --now"),
        )
    return root
