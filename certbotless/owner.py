"""Who runs it: a command that root starts becomes the owner of the state directory before it acts.

So `sudo certbotless --renew-now` never leaves a file that the daemon's user cannot read.

Source: credentials(7), initgroups(3).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from . import files, systemd


def become_owner(state_dir: Path, certs_dirs: Iterable[Path]) -> None:
    """Make the folders that are absent, and become the owner of `state_dir`, with all of his groups.

    What is made belongs to the service's user if there is one, else to us. Does nothing unless we are root.

    Raises:
        StoreError: a folder could not be made.
    """
    if os.geteuid() != 0:
        return
    _make(state_dir, 0o700)
    for certs_dir in certs_dirs:
        _make(certs_dir, 0o755)
    found = state_dir.stat()
    if found.st_uid == 0:
        return
    # The Docker socket is the service's by a group of his.
    try:
        os.initgroups(pwd.getpwuid(found.st_uid).pw_name, found.st_gid)
    except KeyError:
        os.setgroups([])
    os.setgid(found.st_gid)
    os.setuid(found.st_uid)


def _make(path: Path, mode: int) -> None:
    if path.is_dir():
        return
    with files.store_errors(path):
        files.make_dir(path, mode)
        try:
            user = pwd.getpwnam(systemd.USER)
        except KeyError:
            return
        os.chown(path, user.pw_uid, user.pw_gid)
