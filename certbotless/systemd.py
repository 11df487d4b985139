"""The service manager that may have started us: what it says in the environment, and what it is told.

JOURNAL_STREAM and NOTIFY_SOCKET are of its protocol and no settings of the user's: so they are read here, and
not where the configuration is. Without systemd nothing is said.

Source: systemd.exec(5), JOURNAL_STREAM; sd_notify(3).
"""

from __future__ import annotations

import logging
import os
import socket

logger = logging.getLogger(__name__)


def is_read_by_journal(fd: int) -> bool:
    """Tell whether systemd's journal reads this descriptor."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def notify(state: str) -> None:
    """Tell systemd of our state, as in ``READY=1``, if it wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # An abstract address is written with an @.
    path = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            notifier.connect(path)
            notifier.sendall(state.encode())
    except OSError as exc:
        logger.warning("systemd.not_told error=%s", exc.strerror)
