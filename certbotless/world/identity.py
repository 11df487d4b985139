"""Which user of this machine runs a container's first process, and whether it may read what we write.

The ids in a container are this machine's, but for an engine that is rootless or that remaps them: its root is
an ordinary user here, and reads no file of another one.

Source: Docker Engine API, GET /info (SecurityOptions, DockerRootDir) and GET /containers/NAME/json;
docs.docker.com, "Rootless mode" and "Isolate containers with a user namespace"; user_namespaces(7).
"""

import io
import os
import pwd
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

# An image's users and groups are a few dozen lines.
_MOST_NAMES_BYTES = 1 << 20
# What is read of an archive with such a file: its headers and its padding are less than the rest.
MOST_ARCHIVE_BYTES = _MOST_NAMES_BYTES + (1 << 16)
# The data folder of an engine that remaps ids has the ids of its root here: /var/lib/docker/100000.100000.
_REMAPPED = re.compile(r"/([0-9]{1,9})\.([0-9]{1,9})/*\Z")

# As Linux has them, and no digits of other scripts: an image may write anything.
_ID = re.compile(r"[0-9]{1,10}")

Namespace = Literal["", "rootless", "userns"]
# From /etc/passwd or /etc/group to its archive as the engine gives it; empty where there is none.
Archive = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class RootHere:
    """What a container's root is on this machine.

    Attributes:
        namespace: of which kind its user namespace is; empty where it is root here too.
        uid, gid: its ids on this machine; None where they are not known.
    """

    namespace: Namespace = ""
    uid: int | None = 0
    gid: int | None = 0

    def here(self, first: int | None, id_: int | None) -> int | None:
        """Return an id on this machine of one in the container, `first` being root's; None for not known."""
        if not self.namespace:
            return id_
        if first is None or id_ is None:
            return None
        # The ids of a rootless engine but for its root come from /etc/subuid, wherever they begin.
        return first + id_ if id_ == 0 or self.namespace == "userns" else None


def root_of_engine(info: Any, socket: str) -> RootHere:
    """Return what root in the containers of an engine is here.

    Args:
        info: what the engine says of itself.
        socket: path of its socket, empty where it is reached by another way.
    """
    options = info.get("SecurityOptions") or ()
    names = {word.removeprefix("name=") for option in options for word in str(option).split(",")}
    if "rootless" in names:
        with suppress(OSError):
            # A socket of root's is not the engine's own: there is a proxy before it.
            if socket and (found := os.stat(socket)).st_uid != 0:
                return RootHere("rootless", found.st_uid, _group_of(found.st_uid))
        return RootHere("rootless", None, None)
    if "userns" in names:
        remapped = _REMAPPED.search(str(info.get("DockerRootDir", "")))
        return RootHere("userns", *(map(int, remapped.groups()) if remapped else (None, None)))
    return RootHere()


def root_of_container(engine: RootHere, attrs: Any) -> RootHere:
    """Return what root in this container is here: it may have the machine's own ids, or ones of its own."""
    mode = (attrs.get("HostConfig") or {}).get("UsernsMode") or ""
    if mode == "host" and engine.namespace == "userns":
        return RootHere()
    if mode not in ("", "host"):
        return RootHere(engine.namespace or "userns", None, None)
    return engine


def is_root(attrs: Any) -> bool:
    """Whether the first process is root, with the capability to ignore the modes of files."""
    user = attrs.get("Config", {}).get("User") or ""
    dropped = {name.upper().removeprefix("CAP_") for name in attrs.get("HostConfig", {}).get("CapDrop") or ()}
    return user.partition(":")[0] in {"", "0", "root"} and not dropped & {"ALL", "DAC_OVERRIDE"}


def reads_all(root: RootHere) -> bool:
    """Whether root in a container reads every file of ours: it is root here too, or has our uid."""
    return not root.namespace or root.uid == os.geteuid()


def identity(attrs: Any, archive: Archive, root: RootHere) -> tuple[int | None, frozenset[int]]:
    """Return uid and gids of a container's first process, as this machine has them.

    What is not known, as of a name that is not in its image, is None, and absent from the gids.
    """
    user = (attrs.get("Config") or {}).get("User") or "0"
    further = (attrs.get("HostConfig") or {}).get("GroupAdd") or ()
    name, _, group = user.partition(":")
    users: Mapping[str, list[int]] = {}
    groups: Mapping[str, list[int]] = {}
    if not _ID.fullmatch(name) or (not group and int(name) != 0):
        users = _ids_in(archive("/etc/passwd"))
    if not all(map(_ID.fullmatch, (group or "0", *further))):
        groups = _ids_in(archive("/etc/group"))
    uid = int(name) if _ID.fullmatch(name) else users.get(name, [None])[0]
    login = next((ids[1] for ids in users.values() if ids[0] == uid and len(ids) > 1), 0)
    named = [group or str(login), *further]
    gids = [int(each) if _ID.fullmatch(each) else groups.get(each, [None])[0] for each in named]
    here = (root.here(root.gid, gid) for gid in gids)
    return root.here(root.uid, uid), frozenset(gid for gid in here if gid is not None)


def _ids_in(archive: bytes) -> Mapping[str, list[int]]:
    """Return the ids by name in the plain file that an archive begins with; none in anything else."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r|") as members:
            first = members.next()
            file = members.extractfile(first) if first and first.isreg() else None
            if file is None or first is None or first.size > _MOST_NAMES_BYTES:
                return {}
            text = file.read().decode(errors="replace")
    except tarfile.TarError:
        return {}  # an image of one program has no such file, and a proxy before the engine may give none
    rows: Sequence[list[str]] = [line.split(":") for line in text.splitlines()]
    return {
        row[0]: [int(word) for word in row[2:4] if _ID.fullmatch(word)]
        for row in rows
        if len(row) > 2 and _ID.fullmatch(row[2])
    }


def _group_of(uid: int) -> int | None:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return None
