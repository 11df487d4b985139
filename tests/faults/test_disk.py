"""A disk that is full, read-only, broken or gone: the old pair stays, no order is lost, errors are plain."""

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import strace
from support.bed import DOMAIN, Bed
from support.fault_proxy import Exchange, FaultProxy
from support.invariants import assert_invariants, is_pair
from support.kills import evenly, litter, make_due, txt_of_ours, watched
from support.private_host import mounted

from certbotless.sandbox.host import LAN_ADDRESS

ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT")
_MOST_TRIES = 5


def remount(folder: Path, options: str) -> None:
    """Change how a folder is mounted."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def generation_of(bed: Bed) -> str:
    """Return the name of the published generation."""
    return str((bed.certs / ".certbotless" / DOMAIN / "current").readlink())


@pytest.fixture
def hasty(bare: Bed) -> Bed:
    """A bed without a container, where what failed is tried again after a second."""
    bare.config["check_every"] = "1s"
    return bare


# --- full ---------------------------------------------------------------------------------------------------


@pytest.mark.row(14)
@pytest.mark.parametrize("where", ["certs", "state"])
@pytest.mark.parametrize("size", ["16k", "60k"])
def test_a_disk_without_room_for_a_pair_costs_no_order(hasty: Bed, where: str, size: str) -> None:
    """The record is looked after all the same; the error names what could not be written, and the room."""
    folder = {"certs": hasty.certs, "state": hasty.state}[where]
    folder.mkdir(exist_ok=True)
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        done = hasty.run("--once")
        assert done.returncode == 1
        error = rf"cannot write '{folder}[^']*': No space left on device \(\d+ bytes free\)"
        assert re.search(error, done.stdout), done.stdout
        assert f"check that '{folder}" in done.stdout
        assert hasty.orders() == 0
        if where == "certs":
            assert hasty.a_values() == [LAN_ADDRESS]
        remount(folder, "size=4m")
        hasty.once_until_ok()
        assert is_pair(hasty.certs)
        assert hasty.orders() == 1
        assert_invariants(hasty)


# --- broken -------------------------------------------------------------------------------------------------


class Start:
    """A site whose next run renews; it is brought back to here, so that each run makes the same calls.

    The CA is not: that a certificate is replaced already, as it says of a second renewal, is so from here on.
    `orders` are those that it had made before the run whose call failed.
    """

    orders: int

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._folders = (bed.certs, bed.state)
        make_due(bed)
        self._acme = dict(bed.config["acme"])
        for folder in self._folders:
            shutil.copytree(folder, self._kept(folder), symlinks=True)
        bed.ok("--once")

    def _kept(self, folder: Path) -> Path:
        return self._bed.home / f"{folder.name}.kept"

    def restore(self) -> None:
        """Put the two folders and the configuration back."""
        for folder in self._folders:
            shutil.rmtree(folder)
            shutil.copytree(self._kept(folder), folder, symlinks=True)
        self._bed.config["acme"] = dict(self._acme)
        self._bed.write()

    def calls(self, folder: Path) -> list[strace.Call]:
        """Renew, and return the calls that changed something below this folder."""
        self.restore()
        return [call for call in watched(self._bed) if str(folder) in str(call.paths)]

    def fail(self, call: strace.Call, error: str) -> strace.Run:
        """Renew while this very call fails.

        A run that had to look once more at what takes time has made another call at that place: then it is
        tried again.
        """
        missed = []
        for _ in range(_MOST_TRIES):
            self.restore()
            self.orders = self._bed.orders()
            run = strace.failing(self._bed.command("--once"), call, error, self._bed.home / "failed")
            if run.hit is not None and run.hit.like == call.like:
                return run
            missed.append(str(run.hit))
        raise AssertionError(f"{call} never failed; these did: {missed}")


def assert_fault_is_survived(bed: Bed, start: Start, call: strace.Call, error: str) -> None:
    """Renew while one call fails: the pair stays whole, and the next run ends it with no order too many."""
    where = f"{error} at {call}"
    start.restore()
    old = generation_of(bed)
    run = start.fail(call, error)
    orders = start.orders
    assert run.code in (0, 1), f"{where}\n{run.said}"
    assert "Traceback" not in run.said, f"{where}\n{run.said}"
    assert is_pair(bed.certs), where
    assert txt_of_ours(bed) == [], where
    if call.name not in ("unlink", "rmdir"):
        # Nothing half written; the key of an order that goes on is of use.
        assert [path for path in litter(bed) if not path.endswith(".order.key")] == [], where
    if run.code == 1:
        # What could not be done, in the system's words; never by a name that a file has for a moment.
        assert os.strerror(getattr(errno, error)) in run.said, f"{where}\n{run.said}"
        assert re.search(r"\.[0-9a-f]{16}'", run.said) is None, f"{where}\n{run.said}"
    placed, is_renewed = bed.orders() - orders, generation_of(bed) != old
    # An edit lets what failed be tried again at once.
    bed.config["acme"]["email"] = f"{call.name}{call.nth}-{error.lower()}@example.com"
    done = bed.run("--once")
    assert done.returncode == 0, f"{where}\n{run.said}{done.stdout}{done.stderr}"
    assert generation_of(bed) != old, where
    assert is_pair(bed.certs), where
    assert bed.orders() - orders <= (1 if is_renewed else placed + 1), where
    assert (txt_of_ours(bed), litter(bed)) == ([], []), where


@pytest.mark.row(15, 17)
@pytest.mark.parametrize("count", [4, pytest.param(None, marks=pytest.mark.soak)], ids=["some", "all"])
@pytest.mark.parametrize("where", ["certs", "state"])
def test_a_renewal_survives_any_call_on_a_file_that_fails(hasty: Bed, where: str, count: int | None) -> None:
    """Full, broken, read-only, over the quota: the old pair is untouched, or the new one is whole."""
    hasty.ok("--once")
    start = Start(hasty)
    calls = start.calls({"certs": hasty.certs, "state": hasty.state}[where])
    assert len(calls) > 10
    for number, call in enumerate(evenly(calls, count)):
        for error in ERRORS if count is None and where == "certs" else (ERRORS[number % len(ERRORS)],):
            assert_fault_is_survived(hasty, start, call, error)


@pytest.mark.row(17)
@pytest.mark.parametrize("count", [2, pytest.param(None, marks=pytest.mark.soak)], ids=["some", "all"])
def test_a_call_that_a_signal_interrupts_is_made_again(hasty: Bed, count: int | None) -> None:
    hasty.ok("--once")
    start = Start(hasty)
    calls = [c for c in start.calls(hasty.certs) if c.name in ("openat", "write", "fsync")]
    for call in evenly(calls, count):
        start.restore()
        old = generation_of(hasty)
        run = start.fail(call, "EINTR")
        assert (run.code, generation_of(hasty) != old) == (0, True), f"{call}\n{run.said}"


# --- read-only, or gone -------------------------------------------------------------------------------------


@pytest.mark.row(16)
def test_a_read_only_folder_costs_no_order_and_the_record_is_looked_after(hasty: Bed) -> None:
    hasty.ok("--once")
    leaf = hasty.published()
    hasty.config["sites"] = [hasty.site(address="10.79.40.99", names=[f"www.{DOMAIN}"], deploy=[])]
    with mounted(hasty.certs, "--bind", str(hasty.certs)):
        remount(hasty.certs, "bind,ro")
        line = hasty.refused("--once")
        assert "Read-only file system" in line
        assert f"check that '{hasty.certs}' exists, has room, and is writable" in line
        assert (hasty.orders(), hasty.a_values()) == (1, ["10.79.40.99"])
        assert hasty.published() == leaf
        remount(hasty.certs, "bind,rw")
        hasty.once_until_ok()
        assert (hasty.orders(), hasty.published() != leaf) == (2, True)
    assert_invariants(hasty)


@pytest.mark.row(16)
def test_a_folder_that_is_unmounted_is_filled_from_the_copy_and_costs_no_order(hasty: Bed) -> None:
    """What is mounted again later is as good as before."""
    with mounted(hasty.certs, "-t", "tmpfs", "tmpfs"):
        hasty.ok("--once")
        leaf = hasty.published()
        subprocess.run(["umount", hasty.certs], check=True)
        assert list(hasty.certs.iterdir()) == []
        hasty.ok("--once")
        assert hasty.published() == leaf
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", hasty.certs], check=True)
        hasty.ok("--once")
        assert hasty.published() == leaf
        assert hasty.orders() == 1
        assert_invariants(hasty)


@pytest.mark.row(16)
def test_a_folder_that_vanishes_during_an_order_is_made_anew(hasty: Bed, ca_proxy: FaultProxy) -> None:
    def vanish(exchange: Exchange) -> None:
        true = exchange.forward()
        shutil.rmtree(hasty.certs)
        exchange.send(true)

    ca_proxy.at("POST", "/finalize-order/", vanish)
    done = hasty.run("--once")
    assert done.returncode == 0, done.stdout
    assert is_pair(hasty.certs)
    assert hasty.orders() == 1
    assert_invariants(hasty)


# --- what has to be on disk, and with which mode ------------------------------------------------------------


@pytest.mark.row(10)
def test_everything_is_on_disk_before_the_rename_that_makes_it_count(hasty: Bed) -> None:
    """So that a power cut leaves the old pair or the new one, and a state that is whole."""
    hasty.ok("--once")
    make_due(hasty)
    folders = (str(hasty.certs), str(hasty.state))
    calls = [call for call in watched(hasty) if any(folder in str(call.paths) for folder in folders)]
    # But for the log of the attempt, on which no run depends.
    renames = [
        i
        for i, call in enumerate(calls)
        if call.name == "rename" and not call.error and not call.paths[1].endswith(".log")
    ]
    renamed = {os.path.basename(calls[i].paths[1]) for i in renames}
    assert {"current", f"{DOMAIN}.pair", f"{DOMAIN}.json"} <= renamed
    for i in renames:
        source, target = calls[i].paths
        before = [(call.name, call.paths[-1]) for call in calls[:i]]
        after = [(call.name, call.paths[-1]) for call in calls[i + 1 :]]
        # The file itself, since its last byte; a link has no bytes of its own.
        if ("symlink", source) not in before:
            assert ("fsync", source) in before
            assert ("write", source) not in before[before.index(("fsync", source)) :]
        # And the entry in its folder, before anything else is renamed.
        next_rename = next((k for k, (name, _) in enumerate(after) if name == "rename"), len(after))
        assert ("fsync", os.path.dirname(target)) in after[:next_rename]
    [swap] = [i for i in renames if calls[i].paths[1].endswith("/current")]
    synced = [call.paths[-1] for call in calls[:swap] if call.name == "fsync"]
    generation = hasty.certs / ".certbotless" / DOMAIN / generation_of(hasty)
    names = ("privkey.pem", "fullchain.pem", "meta.json")
    wanted = [str(generation / name) for name in names] + [str(generation), str(generation.parent)]
    assert [path for path in synced if path in wanted][-len(wanted) :] == wanted


@pytest.mark.row(10)
def test_what_is_made_at_the_first_run_is_on_disk_with_its_folders(hasty: Bed) -> None:
    shutil.rmtree(hasty.certs)
    hasty.write()
    calls = watched(hasty)
    synced = {call.paths[-1] for call in calls if call.name == "fsync"}
    made = [call.paths[-1] for call in calls if call.name == "mkdir" and not call.error]
    assert {str(hasty.certs), str(hasty.state), str(hasty.state / "sites")} <= set(made)
    assert [path for path in made if os.path.dirname(path) not in synced] == []
    assert {str(hasty.state), str(hasty.state / "ledger.jsonl")} <= synced


@pytest.mark.row(18)
def test_no_rename_leaves_its_folder(hasty: Bed) -> None:
    """certs_dir may be a file system of its own, as NFS, or a volume."""
    with mounted(hasty.certs, "-t", "tmpfs", "tmpfs"):
        hasty.write()
        renames = [call.paths for call in watched(hasty) if call.name == "rename"]
        assert len(renames) >= 10
        assert [pair for pair in renames if len(set(map(os.path.dirname, pair))) != 1] == []
        assert is_pair(hasty.certs)


@pytest.mark.row(21)
@pytest.mark.parametrize("key_mode", ["0600", "0640"])
def test_a_key_is_never_open_to_more_than_its_mode_says(hasty: Bed, key_mode: str) -> None:
    """Under a umask of 000, in a folder of another group: made with its mode, and never changed."""
    hasty.config["key_mode"] = key_mode
    os.chown(hasty.certs, -1, 4242)
    hasty.certs.chmod(0o2755)
    hasty.write()
    run, calls = strace.watched(hasty.command("--once"), hasty.home / "watched", umask=0)
    assert run.code == 0, run.said
    assert [call for call in calls if call.name.endswith(("chmod", "chown"))] == []
    made = {call.paths[-1]: call.arguments.rpartition(", ")[2] for call in calls if call.name == "openat"}
    keys = {path: mode for path, mode in made.items() if path.endswith("/privkey.pem")}
    assert list(keys.values()) == [key_mode]
    kept = {os.path.basename(path): mode for path, mode in made.items() if path.startswith(str(hasty.state))}
    assert len([name for name in kept if re.search(r"(key|key\.pem|pair)\.\w{16}$", name)]) == 3
    assert set(kept.values()) == {"0600"}
    found = (hasty.certs / f"{DOMAIN}.key").stat()
    assert (f"{found.st_mode & 0o7777:04o}", found.st_gid) == (key_mode, 4242)


@contextmanager
def mounted_ntfs(folder: Path, image: Path) -> Iterator[None]:
    """Mount a new file system of Windows over a folder: it shows every mode as 0777, and sets none."""
    with image.open("wb") as file:
        file.truncate(8 << 20)
    # The options are facts of a disk, which it cannot ask a file for.
    disk = ("-F", "-Q", "-q", "-s", "512", "-p", "0", "-H", "16", "-S", "63")
    subprocess.run(["mkntfs", *disk, image], check=True, capture_output=True)
    subprocess.run(["ntfs-3g", image, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.row(99)
def test_a_key_whose_file_system_keeps_no_modes_is_warned_of_once_and_the_site_is_well(hasty: Bed) -> None:
    with mounted_ntfs(hasty.certs, hasty.home / "ntfs"):
        for key_mode in ("0600", "0640"):
            hasty.config["key_mode"] = key_mode
            before = len(hasty.said)
            for _ in range(3):
                hasty.ok("--once")
            said = "".join(hasty.said[before:])
            assert said.count("key.mode_not_kept") == 1, said
            assert f"the key has mode 0777, not {key_mode}, and the file system does not keep modes" in said
            assert "files.restored" not in said
            assert hasty.status()["sites"][0]["state"] == "ok"
            told = hasty.run("doctor").stdout
            text = f"key_mode is {key_mode}: the file system of certs_dir does not keep modes"
            assert text in re.sub(r"\s+", " ", told), told
        assert (is_pair(hasty.certs), hasty.orders(), litter(hasty)) == (True, 1, [])
        # A renewal there is warned of no more.
        hasty.ok("--renew-now")
        assert "key.mode_not_kept" not in "".join(hasty.said[-2:])
        assert (hasty.status()["sites"][0]["state"], hasty.orders()) == ("ok", 2)


@pytest.mark.row(70)
def test_no_run_creates_or_changes_anything_outside_its_two_folders(hasty: Bed) -> None:
    hasty.write()
    # A sync changes nothing: that of the folder above makes ours durable.
    changed = [call for call in watched(hasty) if call.paths and call.name not in ("fsync", "connect")]
    inside = (str(hasty.certs), str(hasty.state))
    assert len(changed) > 100
    assert [call for call in changed if not all(path.startswith(inside) for path in call.paths)] == []
