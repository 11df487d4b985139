"""A machine with a real systemd as its first process, booted from this one's own files or from a folder.

It has processes, mounts, control groups, /etc, /run, /tmp, /var and /usr/local of its own, all in memory;
/usr is this machine's, read-only. Of a folder all is its own: what is changed is in memory. The network is
the private host's, so the stand-ins are where they are. There is no D-Bus, which a small server may lack too.
All of it ends with its first process.

Sources: systemd(1); systemd.io/CONTAINER_INTERFACE (what a payload finds); pid_namespaces(7).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from certbotless.sandbox.host import require_private_host
from support.bed import wait_until
from support.commands import completed
from support.private_host import mounted

# By its whole path: a machine has a PATH of its own.
_SYSTEMD = "/usr/lib/systemd/systemd"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Joins a control group of its own, which is the machine's root of them, and goes on as its first process.
_JOIN = """
groups=$1 name=$2
shift 2
mount -t cgroup2 none "$groups"
mkdir -p "$groups/$name"
echo $$ >"$groups/$name/cgroup.procs"
umount "$groups"
exec unshare --mount --pid --uts --ipc --cgroup --fork sh -euc "$@"
"""

_BOOT = """
systemd=$1 root=$2 system=$3
shift 3
mount --make-rprivate /
mount -t tmpfs -o mode=0755 machine "$root"
"""

_OF_THIS_MACHINE = """
cd "$root"
for link in bin sbin lib lib32 lib64 libx32; do
    [ ! -L "/$link" ] || cp -P "/$link" .
done
cp -a /etc etc
rm -rf etc/certbotless  # which a private host has
mkdir usr proc sys dev run tmp var root home
mount --bind /usr usr
mount -o remount,bind,ro usr
mount -t tmpfs -o mode=0755 machine usr/local
mkdir usr/local/bin usr/local/lib var/lib var/log var/cache var/tmp
chmod 1777 var/tmp
ln -s /run var/run
"""

_OF_A_SYSTEM = """
mkdir "$root/upper" "$root/work" "$root/system"
mount -t overlay -o "lowerdir=$system,upperdir=$root/upper,workdir=$root/work" machine "$root/system"
cd "$root/system"
rm -f etc/resolv.conf
cp /etc/hosts /etc/resolv.conf etc
"""

_GO_ON = """
mount -t proc proc proc
mount --bind proc/sys proc/sys  # the kernel's settings are everybody's
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sys sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=0755 machine run
mount -t tmpfs -o mode=1777 machine tmp
mount -t tmpfs -o mode=0755 machine dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
while [ $# -gt 0 ]; do
    mkdir -p ".$2"
    mount --rbind "$1" ".$2"
    shift 2
done
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires
for unit in systemd-modules-load.service ldconfig.service dbus.service dbus.socket systemd-logind.service; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
: >etc/machine-id
hostname machine
mount --make-rshared /  # credentials are mounted for a unit from outside its own mounts
exec env -i container=certbotless PATH=/usr/sbin:/usr/bin chroot . "$systemd" --unit=multi-user.target
"""


class Machine:
    """A running machine, alive within the context.

    Args:
        workdir: an existing, empty folder.
        folders: what it sees of this machine: folder here -> absolute path there.
        system: the folder of a whole system, which stays as it is; without it, it has this machine's files.
    """

    def __init__(self, workdir: Path, folders: Mapping[Path, str], system: Path | None = None) -> None:
        self._workdir, self._system = workdir, system
        self._folders = folders
        self._group = f"{require_private_host()}-{workdir.name}"
        self._boot: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Machine:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, *command: str | Path, patience_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command of root's there, and return what came of it."""
        return completed(self.command(*command), timeout_s=patience_s, cwd="/", stdin=subprocess.DEVNULL)

    def command(self, *command: str | Path) -> list[str]:
        """Return what runs a command of root's there."""
        inside = ["nsenter", "--target", str(self._init), "--all", "--root", "--wd", "--"]
        plain = ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=xterm"]
        return [*inside, *plain, *map(str, command)]

    def ok(self, *command: str | Path, patience_s: float = 120) -> str:
        """Run a command that must exit 0, and return its standard output."""
        done = self.run(*command, patience_s=patience_s)
        assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def path(self, there: str) -> Path:
        """Return the way from here to a file of the machine."""
        return Path(f"/proc/{self._init}/root{there}")

    def pid_here(self, pid: int) -> int:
        """Return the pid that a process of the machine has on this side."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
                numbers = fields.get("NSpid", "").split()
                if numbers[-1:] == [str(pid)] and self._is_inside(status.parent):
                    return int(numbers[0])
        raise AssertionError(f"the machine has no process {pid}")

    def _is_inside(self, process: Path) -> bool:
        return os.readlink(process / "ns/pid") == os.readlink(f"/proc/{self._init}/ns/pid")

    def _start(self) -> None:
        root, groups = self._workdir / "root", self._workdir / "groups"
        root.mkdir()
        groups.mkdir()
        pairs = [part for here, there in self._folders.items() for part in (str(here), there)]
        boot = _BOOT + (_OF_A_SYSTEM if self._system else _OF_THIS_MACHINE) + _GO_ON
        join = ["sh", "-euc", _JOIN, "sh", str(groups), self._group]
        with (self._workdir / "boot.log").open("wb") as log:
            self._boot = subprocess.Popen(
                [*join, boot, "sh", _SYSTEMD, str(root), str(self._system or ""), *pairs],
                env={"PATH": _PATH},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._has_booted, "the machine has booted")

    def _has_booted(self) -> bool:
        assert self._boot is not None
        assert self._boot.poll() is None, (self._workdir / "boot.log").read_text()
        if not self._init:
            children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text().split()
            try:
                names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in children]
            except FileNotFoundError:  # a command of the set-up has just ended
                return False
            self._init = int(children[0]) if names == ["systemd"] else 0
            return False
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def _end(self) -> None:
        """End it at once, as a power cut does: nothing of it is kept, so nothing needs to be saved."""
        if self._boot is not None:
            if self._init:
                with suppress(ProcessLookupError):
                    os.kill(self._init, signal.SIGKILL)
            else:
                self._boot.kill()
            self._boot.wait()
        groups = self._workdir / "groups"
        if groups.is_dir():
            with mounted(groups, "-t", "cgroup2", "none"):
                wait_until(lambda: _remove(groups / self._group), "its control groups are gone")


def _remove(groups: Path) -> bool:
    """Try to remove a control group and those in it, and return whether it is gone."""
    for folder, _, _ in os.walk(groups, topdown=False):
        with suppress(OSError):  # its processes are ending
            os.rmdir(folder)
    return not groups.is_dir()
