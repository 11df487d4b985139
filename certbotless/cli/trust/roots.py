"""The roots of the local CA, read with the rights of the owner of the folder, and checked.

Whoever takes over the service writes the folder. So what may vouch for more than a LAN, or than names of the
configuration file, which root writes, is refused. Each file is read once: what is checked is what is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ...base import files
from ...base.errors import CertbotlessError, StoreError, printable
from ...base.privileges import as_owner
from ...base.words import Text
from ...config.settings import Config
from ...config.site_names import beyond_the_lan
from ...model.local_ca import RootCertificate, pem_of
from ...state.local_ca import NEXT, OLD, ROOT, LocalCaFolder
from ...state.local_ca import Root as HeldRoot
from ...world.local_root import read_root


@dataclass(frozen=True, slots=True)
class Roots:
    """The root that signs now, the one that takes its place, if there is one, and earlier ones.

    Attributes:
        old: the earlier ones, the last one first. None of them is installed.
        kept: those of `old` that clients need not remove yet.
        is_wanted: False where a store is to have none of them.
    """

    folder: Path
    current: RootCertificate
    next: RootCertificate | None = None
    old: tuple[RootCertificate, ...] = ()
    kept: tuple[RootCertificate, ...] = ()
    is_wanted: bool = True

    @property
    def all(self) -> tuple[RootCertificate, ...]:
        """The root that signs now, and the next one."""
        return (self.current, self.next) if self.next else (self.current,)

    @property
    def live(self) -> tuple[RootCertificate, ...]:
        """What clients need now: those of `all` that have not ended."""
        now = datetime.now(UTC)
        return tuple(root for root in self.all if self.is_wanted and root.not_after > now)

    @property
    def unwanted(self) -> Roots:
        """The same roots, for a store that is to have none of them."""
        return replace(self, kept=(), is_wanted=False)

    @property
    def known(self) -> tuple[RootCertificate, ...]:
        """Each root of this CA, earlier ones too."""
        return (*self.all, *self.old)

    @property
    def pem(self) -> bytes:
        """`all`, one after the other."""
        return pem_of(self.all)


def read(config: Config) -> Roots:
    """Return the roots of the local CA, also where a switch was cut off.

    Raises:
        CertbotlessError: there is none yet.
        StoreError: one cannot be read, or no machine should trust it; the CA is gone.
    """
    folder, now = LocalCaFolder(config.state_dir), datetime.now(UTC)
    with as_owner(config.state_dir), files.store_errors(folder.path, "read"):
        for each in (folder.path, folder.path / NEXT, folder.path / OLD):
            files.refuse_unless_directory(each)
        held = folder.roots()
        if not held:
            folder.refuse_if_lost(config.certs_dirs)
    if not held:
        hint = Text("add the first site that uses it: certbotless add NAME --ca local")
        if any(site.is_local for site in config.sites):
            hint = Text("the first certificate makes it: certbotless --once")
        raise CertbotlessError(Text("there is no local CA yet"), hint=hint)
    found = [(each, _checked(config, folder.path, each)) for each in held]
    return Roots(
        folder.path,
        found[0][1],
        next((root for each, root in found if each.role == "next"), None),
        tuple(root for each, root in found if each.role == "old"),
        tuple(root for each, root in found if each.remove_from and each.remove_from > now),
    )


def _checked(config: Config, folder: Path, held: HeldRoot) -> RootCertificate:
    """Return a root as it may be handed on. One that is old is only removed: it may vouch for anything."""
    names = {"current": ROOT, "next": f"{NEXT}/{ROOT}", "old": f"{OLD}/{held.facts.root_sha256}.pem"}
    where = folder / names[held.role]
    root = read_root(held.pem, str(where))
    if held.role == "old":
        return root
    named = [name for site in config.sites if site.is_local for name in site.certified_names]
    if beyond := beyond_the_lan(root.permit, [*config.local_ca.permit, *named]):
        raise StoreError(
            Text(
                "{!r} is refused: it may vouch for {}",
                str(where),
                ", ".join(map(repr, map(printable, beyond))),
            ),
            hint=Text("if that is right, add it to local_ca.permit; else: certbotless trust rotate --now"),
        )
    return root
