"""Files of another tool at our names: recognised, refused, or set aside without losing a byte.

A user who may write to certs_dir may put a link to one of our keys there, a second name of it, or a pipe that
nobody fills. So no link is followed, no pipe is opened, and no copy is open to more users than its original.
"""

import contextlib
import logging
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from ..base import files
from ..base.errors import StoreError
from ..base.words import Text

logger = logging.getLogger(__name__)

# A larger file is no certificate; it is moved, not copied.
_MOST_COPIED_BYTES = 16 << 20
# A folder that is being filled. A run that was killed leaves it.
_GATHERING = re.compile(r"\.aside\.[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class OurName:
    """A name of ours: the path that servers read, the file's name in a generation, and its mode there."""

    path: Path
    name: str
    mode: int

    @property
    def is_foreign(self) -> bool:
        """Whether the path has a file that is not ours."""
        if self.path.is_symlink():
            return ".certbotless/" not in str(self.path.readlink())
        return os.path.lexists(self.path)


def take_over(places: tuple[OurName, ...], home: Path, stamp: str) -> None:
    """Set aside what another tool has at these places, so that our links there will lead to the same files.

    1. Copy what each place has now into a new folder below `home`. A link stays a link.
    2. Lead `current` to that folder: once the places are links of ours, they give what they gave before.
    3. Move what could not be copied into it: a pipe, or a file that is huge or that we may not read.

    Raises:
        OSError: every place gives what it gave before, or nothing if that could not be copied.
    """
    foreign = [place for place in places if place.is_foreign]
    if not foreign:
        return
    folder, moved = _gather(places, home, stamp)  # 1
    names = ",".join(str(place.path) for place in foreign)
    logger.warning("store.set_aside files=%s to=%s", names, folder)
    files.link(home / "current", folder.name)  # 2
    for place in moved:  # 3
        place.path.rename(folder / place.name)


def _gather(places: tuple[OurName, ...], home: Path, stamp: str) -> tuple[Path, list[OurName]]:
    """Return a folder with copies of what these places have, and the places that could not be copied."""
    gathered = home / f".aside.{secrets.token_hex(8)}"
    try:
        gathered.mkdir(0o755)
        moved = [place for place in places if not _copy(place, gathered)]
        files.sync_dir(gathered)
        if not moved and (same := _same_as(gathered, home)) is not None:
            files.remove_dir(gathered, {place.name for place in places})
            return same, []
        return gathered.rename(home / f"aside-{stamp}-{secrets.token_hex(4)}"), moved
    except BaseException:
        with contextlib.suppress(OSError):
            files.remove_dir(gathered, {place.name for place in places})
        raise


def tidy(places: tuple[OurName, ...], home: Path) -> None:
    """Remove what `take_over` leaves when it is killed.

    Raises:
        OSError: not all of it could be removed.
    """
    for folder in list(home.iterdir()):
        if _GATHERING.fullmatch(folder.name) and not folder.is_symlink():
            files.remove_dir(folder, {place.name for place in places})


def refuse_unless_ours(path: Path, certs_dir: Path) -> None:
    """Raise StoreError for a file that others may change: one of another user, or one with a second name.

    What belongs to us, to root, or to the owner of certs_dir is ours.
    """
    if not os.path.lexists(path):
        return
    found = path.lstat()
    if found.st_uid not in (0, os.geteuid(), certs_dir.stat().st_uid):
        raise StoreError(
            Text("{!r} belongs to another user (uid {})", str(path), found.st_uid),
            hint=Text(
                "find out what wrote it; then remove it, or chown it to the owner of {!r}", str(certs_dir)
            ),
        )
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise StoreError(
            Text("{!r} has a second name (a hard link)", str(path)), hint=Text("remove it, or the other one")
        )


def _copy(place: OurName, folder: Path) -> bool:
    """Copy what a place has into `folder`; return False if it has something that cannot be copied."""
    path, to = place.path, folder / place.name
    if path.is_symlink() and place.is_foreign:
        target = path.readlink()
        to.symlink_to(target if target.is_absolute() else os.path.relpath(path.parent / target, folder))
        return True
    # A link of ours leads to a generation of ours.
    source = folder.parent / "current" / place.name if path.is_symlink() else path
    try:
        data, its_mode = files.read_with_mode(source, _MOST_COPIED_BYTES)
        mode = place.mode & its_mode | stat.S_IRUSR
    except OSError:
        return not place.is_foreign
    files.write_new(to, data, mode)
    return True


def _same_as(gathered: Path, home: Path) -> Path | None:
    """Return where the same files were set aside before: a tool that writes hourly must not fill the disk."""
    content = _content(gathered)
    return next((folder for folder in sorted(home.glob("aside-*")) if _content(folder) == content), None)


def _content(folder: Path) -> dict[str, bytes]:
    """Return each file of a folder, for a link its target; what cannot be read is left out."""
    found = {}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            is_link = path.is_symlink()
            found[path.name] = (
                os.fsencode(path.readlink()) if is_link else files.read(path, _MOST_COPIED_BYTES)
            )
    return found
