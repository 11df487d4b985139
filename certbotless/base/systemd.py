"""systemd, which may have started us: what it says in the environment, and what we tell it.

JOURNAL_STREAM, NOTIFY_SOCKET and WATCHDOG_USEC belong to its protocol. They are no settings of the user, so
they are read here and not in `config`. Without systemd they are absent, and nothing is sent.

Source: systemd.exec(5), JOURNAL_STREAM; sd_notify(3); sd_watchdog_enabled(3).
"""

import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

# The user of our units.
USER = "certbotless"
# The last part of a control group, in `0::/system.slice/certbotless.service`.
_UNIT = re.compile(r"/(certbotless[^/\n]*\.service)$", re.MULTILINE)
# The part of the watchdog's time between pings. sd_watchdog_enabled(3) asks for a half; pings may be late.
_PING_SHARE = 1 / 4


def is_read_by_journal(fd: int) -> bool:
    """Tell whether systemd's journal reads this descriptor."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    with suppress(OSError):
        found = os.fstat(fd)
        return (device, inode) == (str(found.st_dev), str(found.st_ino))
    return False


def own_unit(control_groups: Path = Path("/proc/self/cgroup")) -> str:
    """Return the name of the unit of ours that runs this process; empty for none."""
    with suppress(OSError):
        if found := _UNIT.search(control_groups.read_text()):
            return found[1]
    return ""


def notify(state: str) -> None:
    """Send our state, such as ``READY=1``, to systemd if it listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # An abstract address is written with an @.
    path = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        import socket  # noqa: PLC0415  (most commands tell systemd nothing)

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            notifier.connect(path)
            notifier.sendall(state.encode())
    except OSError as exc:
        logger.warning("systemd.not_notified error=%s", exc.strerror)


class Watchdog:
    """systemd's watchdog: it restarts a process that sends no ping within a time.

    Attributes:
        time_s: that time; None if it watches no process, or another one, such as our parent.
    """

    def __init__(self) -> None:
        self.time_s = _watchdog_s()
        self._next_s = 0.0

    def ping(self) -> None:
        """Send a ping if one is due. Call it as often as you like."""
        now = time.monotonic()
        if self.time_s is not None and now >= self._next_s:
            self._next_s = now + self.time_s * _PING_SHARE
            notify("WATCHDOG=1")


def _watchdog_s() -> float | None:
    micros, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not micros.isascii() or not micros.isdigit() or pid not in ("", str(os.getpid())):
        return None
    return int(micros) / 1e6 or None
