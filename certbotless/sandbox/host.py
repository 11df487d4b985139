"""A private host: a throw-away machine of namespaces, in which the stand-ins and the tests live.

Owns what such a host looks like, and that nothing of it stays: not a process, interface, mount, control
group or file. It is root's own machine (the same programs, the same folders), with these of its own: the
processes, the network (`lo` and a LAN interface that carries the default route), the host name, /run, a copy
of /etc, without the user of a certbotless that is installed here, and of the roots below /usr/local that its
administrator trusts, a folder /tmp/certbotless-XXXXXX that is TMPDIR, and /certs, /etc/docker,
/etc/certbotless and /var/lib/certbotless, all empty.
Never touches the machine around it, but for that one folder in /tmp and the control groups of an engine; both
are removed at the end.

    python -m certbotless.sandbox.host COMMAND [ARGUMENT ...]

Sources: namespaces(7); pid_namespaces(7): all of one end with its first process; pivot_root(2).
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ..base.errors import CertbotlessError

HOST_NAME = "devbox"
LAN_INTERFACE = "lan0"
LAN_ADDRESS = "10.79.40.213"

# docker and env use this code for "the tool itself failed, not the command".
CANNOT = 125

# Variables by which the machine's trust, proxies or engine would reach into the private host.
FOREIGN_SETTINGS = {
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
}

# `su` leaves /usr/sbin out, where half of what a machine is made of lies.
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"

_MARK = Path("/.certbotless-host")
# Mounts are made private by us (`_leave_the_mounts_of_others`): unshare cannot in a chroot that is no mount.
_NAMESPACES = ["--mount", "--propagation=unchanged", "--net", "--pid", "--uts", "--ipc", "--fork"]

# The one process of a private host that lives outside it, and removes what outlives a namespace. It also
# outlives the caller: when that dies, the first process ends, so that unshare returns.
_KEEPER = """
scratch=$(mktemp -d /tmp/certbotless-XXXXXX) || exit 125
unshare "$@" "$scratch"
code=$?
find /sys/fs/cgroup -depth -type d -path "*/${scratch##*/}*" -exec rmdir {} + 2>/dev/null
rmdir "$scratch"
exit $code
"""

_SETUP = """
scratch=$1 host_name=$2 lan=$3 address=$4 mark=$5 root=$6

# A folder of the machine under a layer that can be added to without a trace.
shadow() {
    mount -t tmpfs -o mode=0755 certbotless "$2"
    for entry in "$1"/*; do
        target=$2/${entry##*/}
        if [ -L "$entry" ]; then cp -P "$entry" "$target"
        elif [ "$entry" = //run ]; then mkdir "$target"  # it holds the new root
        elif [ -d "$entry" ]; then mkdir "$target"; mount --rbind "$entry" "$target"
        elif [ -f "$entry" ]; then : >"$target"; mount --bind "$entry" "$target"
        fi
    done
}

mount -t tmpfs -o mode=1777 certbotless "$scratch"
mkdir "$scratch/home"
mount -t tmpfs -o mode=0755 certbotless /run
mkdir "$root"
shadow / "$root"
shadow /var/lib "$root/var/lib"
mount -t tmpfs -o mode=0755 certbotless "$root/run"
mount -t proc proc "$root/proc"
cp -a /etc "$scratch/.etc"
mount --bind "$scratch/.etc" "$root/etc"
for list in passwd group shadow gshadow; do
    if [ -f "$root/etc/$list" ]; then sed -i '/^certbotless:/d' "$root/etc/$list"; fi
done
roots=usr/local/share/ca-certificates  # which others make links to in /etc
if [ -d "/$roots" ]; then
    cp -a "/$roots" "$scratch/.roots"
    mount --bind "$scratch/.roots" "$root/$roots"
fi
for folder in certs etc/docker etc/certbotless var/lib/certbotless; do
    mkdir -p "$root/$folder"
    mount -t tmpfs -o mode=0755 certbotless "$root/$folder"
done
echo "${scratch##*/}" >"$root$mark"

echo "$host_name" >/proc/sys/kernel/hostname
rm -f "$root/etc/resolv.conf"
echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"  # a test may start a resolver there
printf '127.0.0.1 localhost\\n::1 localhost\\n127.0.1.1 %s\\n' "$host_name" >"$root/etc/hosts"
ip link set lo up
ip link add "$lan" type veth peer name "$lan-peer"
ip address add "$address/24" dev "$lan"
ip link set "$lan" up
ip link set "$lan-peer" up
ip route add default via "${address%.*}.1" dev "$lan"
"""

# Where the setup makes the new root.
_NEW_ROOT = "/run/root"
_CLONE_NEWNS = 0x00020000  # sched.h
_MNT_DETACH, _MS_REC, _MS_PRIVATE = 2, 0x4000, 0x40000  # sys/mount.h


class SandboxError(CertbotlessError):
    """A stand-in cannot be made, or did not do what it should."""


def inside() -> bool:
    """Return whether this process runs on a private host."""
    return _MARK.exists()


def require_private_host() -> str:
    """Return the name of the private host that this process runs on; it is unique on the machine.

    Raises:
        SandboxError: this is an ordinary machine.
    """
    if not inside():
        raise SandboxError(
            "this is not a private host, and an engine would change this machine",
            hint="start it as: python -m certbotless.sandbox.host COMMAND",
        )
    return _MARK.read_text().strip()


@contextmanager
def hosts_entry(name: str, address: str) -> Iterator[None]:
    """Let the private host's /etc/hosts say that `name` is at `address`, within the context.

    Programs in Go, like a Docker engine, look at the file again only after 5 s: enter before they start.
    """
    require_private_host()
    hosts, line = Path("/etc/hosts"), f"{address} {name}\n"
    hosts.write_text(hosts.read_text() + line)
    try:
        yield
    finally:
        hosts.write_text(hosts.read_text().replace(line, "", 1))


def run(command: Sequence[str]) -> int:
    """Run a command on a private host of its own, with our files and folder, and return its exit code.

    Ends when the command does; whatever that left behind ends with it. SIGTERM, SIGINT and SIGHUP are passed
    on to the command; if we are killed, all of the host is. Call it from the main thread.

    Returns:
        The command's exit code; 128 + N if signal N ended it; 125, said on stderr, if the host failed.

    Raises:
        SandboxError: this user, kernel or machine cannot make namespaces.
    """
    _check_means()
    lifeline, control = os.pipe()
    first = [sys.executable, "-c", "from certbotless.sandbox import host; host._first_process()"]

    def forward(signum: int, _frame: FrameType | None) -> None:
        with suppress(BrokenPipeError):  # the command has ended meanwhile
            os.write(control, bytes([signum]))

    # A session of its own: Ctrl-C reaches only us, and the command once, through `forward`.
    keeper = subprocess.Popen(
        ["sh", "-c", _KEEPER, "keeper", *_NAMESPACES, "--", *first, str(lifeline), *command],
        env={name: value for name, value in os.environ.items() if name.upper() not in FOREIGN_SETTINGS}
        | {"PATH": PATH},
        pass_fds=[lifeline],
        start_new_session=True,
    )
    os.close(lifeline)
    previous = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    for signum, handler in previous.items():
        if handler is not signal.SIG_IGN:  # nohup, or a shell's background job, said that it shall be ignored
            signal.signal(signum, forward)
    try:
        return _exit_code(keeper.wait())
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
        os.close(control)


def _check_means() -> None:
    """Raise, if this process cannot make a private host, one line: what is missing, how to get it."""
    if os.geteuid() != 0:
        raise SandboxError(
            "a private host needs root, because it is made of namespaces", hint="run it with sudo"
        )
    for program, package in {"unshare": "util-linux", "ip": "iproute2"}.items():
        if shutil.which(program, path=PATH) is None:
            raise SandboxError(f"the program {program!r} is missing", hint=f"apt-get install {package}")
    trial = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        raise SandboxError(
            f"the kernel allows no namespaces here, even to root: {trial.stderr.strip()}",
            hint="use a real or virtual machine, or a container started with --privileged",
        )


def _first_process() -> NoReturn:
    """Be process 1: set the host up, run the command, end with it (or with the caller).

    sys.argv[1:] is the descriptor of the lifeline, the command, and last the scratch folder.
    """
    lifeline, *command, scratch = sys.argv[1:]
    folder = os.getcwd()
    arguments = [scratch, HOST_NAME, LAN_INTERFACE, LAN_ADDRESS, str(_MARK), _NEW_ROOT]
    try:
        _leave_the_mounts_of_others()
        setup = subprocess.run(
            ["sh", "-euc", _SETUP, "setup", *arguments], capture_output=True, text=True, check=False
        )
        if setup.returncode != 0:
            _fail(" ".join(setup.stderr.split()))
        _enter(_NEW_ROOT)
    except OSError as error:
        _fail(str(error))
    os.chdir(folder)  # the same folder, in the new root
    os.environ.update(TMPDIR=scratch, HOME=f"{scratch}/home")
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"certbotless: {command[0]!r} cannot be run: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT)
    threading.Thread(target=_obey, args=(int(lifeline), child.pid), daemon=True).start()
    while True:  # process 1 is also the parent of every orphan
        pid, status = os.wait()
        if pid == child.pid:
            sys.exit(_exit_code(os.waitstatus_to_exitcode(status)))


def _fail(words: str) -> NoReturn:
    print(f"certbotless: a private host cannot be made here: {words}", file=sys.stderr)
    sys.exit(CANNOT)


def _leave_the_mounts_of_others() -> None:
    """Let no mount from here on reach the namespace that we come from. For a single thread.

    The root of the namespace alone is sure to be a mount; that of a chroot need not be one.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        _go_to_root_of_namespace()
        _call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
        os.fchdir(root)
        os.chroot(".")
    finally:
        os.close(root)


def _enter(new_root: str) -> None:
    """Make a folder the root of our mount namespace, and leave nothing of the old one. For a single thread.

    In a chroot our root is not that of the namespace. What enters a namespace, as `docker exec` and `nsenter`
    do, is at its root; and the kernel lets no process in a chroot make a user namespace.

    Source: pivot_root(2), NOTES.
    """
    folder = os.open(new_root, os.O_PATH | os.O_DIRECTORY)
    try:
        _go_to_root_of_namespace()
        os.fchdir(folder)
        _call("pivot_root", b".", b".")
        _call("umount2", b".", _MNT_DETACH)
        os.chdir("/")
    finally:
        os.close(folder)


def _go_to_root_of_namespace() -> None:
    """Have the root of our mount namespace for our own. Source: setns(2), also of one's own namespace."""
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    try:
        _call("setns", namespace, _CLONE_NEWNS)
    finally:
        os.close(namespace)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library. Raises OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _obey(lifeline: int, pid: int) -> None:
    """Pass each signal that the caller names on to the command; leave at once when the caller is gone."""
    while signums := os.read(lifeline, 1):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signums[0])
    os._exit(128 + signal.SIGKILL)


def _exit_code(returncode: int) -> int:
    """Return what a shell would: a process that signal N ended gives 128 + N."""
    return returncode if returncode >= 0 else 128 - returncode


def main() -> int:
    """Run the command line's command on a private host."""
    if not sys.argv[1:]:
        print("usage: python -m certbotless.sandbox.host COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    try:
        return run(sys.argv[1:])
    except SandboxError as error:
        print(f"certbotless: {error}", file=sys.stderr)
        return CANNOT


if __name__ == "__main__":
    sys.exit(main())
