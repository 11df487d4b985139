"""What another tool has at our names: told from what is ours, refused, or set aside without a byte lost.

A user that may write to certs_dir may put there a link to a key of ours, a second name of it, or a pipe that
nobody fills. So no link is followed, no pipe opened, and no copy open to more users than its original.
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

logger = logging.getLogger(__name__)

# A larger file is no certificate; it is moved, not copied.
_MOST_COPIED_BYTES = 16 << 20
# A folder that is being filled; one that stays was left by a run that was killed.
_GATHERING = re.compile(r"\.aside\.[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class OurName:
    """A name of ours: the path that servers read, what it is called in a generation, and its mode there."""

    path: Path
    name: str
    mode: int

    @property
    def is_foreign(self) -> bool:
        """Whether something stands there that is not ours."""
        if self.path.is_symlink():
            return ".certbotless/" not in str(self.path.readlink())
        return os.path.lexists(self.path)


def take_over(places: tuple[OurName, ...], home: Path, stamp: str) -> None:
    """Turn what another tool has at these places into links to the same.

    1. Gather what each place gives now in a folder of its own, below `home`. What is a link stays one.
    2. Lead `current` there: as links of ours the places will give the same.
    3. Move there what could not be copied: a pipe, or a file that is huge or not ours to read.

    Raises:
        OSError: every place gives what it gave, or, if it could not be copied, nothing.
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
    """Return a folder that gives what these places give now, and those of them that could not be copied."""
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
    """Remove what `take_over` has left where it was killed.

    Raises:
        OSError: not all of it could be removed.
    """
    for folder in list(home.iterdir()):
        if _GATHERING.fullmatch(folder.name) and not folder.is_symlink():
            files.remove_dir(folder, {place.name for place in places})


def refuse_directory(path: Path) -> None:
    """Raise StoreError for a directory, which no rename takes away."""
    if path.is_dir() and not path.is_symlink():
        raise StoreError(f"{str(path)!r} is a directory", hint="move it away")


def refuse_unless_ours(path: Path, certs_dir: Path) -> None:
    """Raise StoreError for what another user owns, or a file that has a second name: it may change any time.

    Ours is what belongs to us, to root, or to the owner of certs_dir.
    """
    if not os.path.lexists(path):
        return
    found = path.lstat()
    if found.st_uid not in (0, os.geteuid(), certs_dir.stat().st_uid):
        raise StoreError(
            f"{str(path)!r} belongs to another user (uid {found.st_uid})",
            hint=f"find out who wrote it; then remove it, or chown it to the owner of {str(certs_dir)!r}",
        )
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise StoreError(f"{str(path)!r} has a second name (a hard link)", hint="remove it, or the other one")


def _copy(place: OurName, folder: Path) -> bool:
    """Let `folder` give what a place gives now; False if something is there that cannot be copied."""
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
    """Return where the very same was set aside before: its hourly writer shall not fill the disk."""
    content = _content(gathered)
    return next((folder for folder in sorted(home.glob("aside-*")) if _content(folder) == content), None)


def _content(folder: Path) -> dict[str, bytes]:
    """Return each file of a folder, and of a link where it leads; what cannot be read is left out."""
    found = {}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            is_link = path.is_symlink()
            found[path.name] = (
                os.fsencode(path.readlink()) if is_link else files.read(path, _MOST_COPIED_BYTES)
            )
    return found
