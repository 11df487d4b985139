"""What a test changes of the private host that it runs on; a block of `with` leaves it as it was."""

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOSTS, RESOLV_CONF = Path("/etc/hosts"), Path("/etc/resolv.conf")
ROOTS = Path("/usr/local/share/ca-certificates")
# What update-ca-certificates starts. For Java that is dpkg, whose records are those of the machine around.
HOOKS = Path("/etc/ca-certificates/update.d")


def ip(*arguments: str) -> None:
    """Run a command of iproute2, which must exit 0."""
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def with_address(address: str) -> Iterator[None]:
    """Let this address be one of the machine's own."""
    ip("address", "add", f"{address}/32", "dev", "lo")
    try:
        yield
    finally:
        ip("address", "delete", f"{address}/32", "dev", "lo")


@contextmanager
def mounted(place: str | Path, *arguments: str | Path) -> Iterator[None]:
    """Mount something over a file or a folder; the arguments are those of mount(8) before it."""
    subprocess.run(["mount", *arguments, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@contextmanager
def written_over(file: Path, text: str) -> Iterator[None]:
    """Let a file have this text."""
    before = file.read_text()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)


@contextmanager
def trust_stores() -> Iterator[None]:
    """Have the files of the roots that the machine trusts for one test at a time.

    Those of /etc are the private host's own. The folder below /usr/local is not, nor is what the
    hooks change: empty folders cover them.
    """
    with open("/run/certbotless-stores", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with mounted(ROOTS, "-t", "tmpfs", "tmpfs"), mounted(HOOKS, "-t", "tmpfs", "tmpfs"):
            yield
