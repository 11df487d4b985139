"""The published pair: swapped as one, whole wherever a run ends, and nobody else's files lost."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.children import DONE, REFUSED, at_each_step, io_error, kill, limit_file_size, run_in_child
from support.files import in_time, mode_of, plant
from support.pairs import DOMAIN, FACTS, NOW, ORIGIN, pair, publish

from certbotless.base import files
from certbotless.base.errors import StoreError
from certbotless.model.certificate import Published
from certbotless.state.pair import Store, with_digest

Pair = tuple[bytes | None, bytes | None]
NOTHING: Pair = (None, None)
NAMES = {".pem": "fullchain.pem", ".key": "privkey.pem"}


def put_foreign(certs_dir: Path, name: str = "foreign", suffixes: tuple[str, ...] = (".pem", ".key")) -> None:
    """Have another tool write plain files at our names."""
    for suffix, data in zip((".pem", ".key"), pair(name), strict=True):
        if suffix in suffixes:
            path = certs_dir / f"{DOMAIN}{suffix}"
            path.unlink(missing_ok=True)
            path.write_bytes(data)


def read_pair(certs_dir: Path) -> Pair:
    """What a server reads at our two names."""
    chain, key = (certs_dir / f"{DOMAIN}{suffix}" for suffix in (".pem", ".key"))
    return (
        chain.read_bytes() if chain.exists() else None,
        key.read_bytes() if key.exists() else None,
    )


def home(certs_dir: Path) -> Path:
    return certs_dir / ".certbotless" / DOMAIN


def look(certs_dir: Path) -> Published:
    return Store(certs_dir, DOMAIN).look()


def plant_facts(certs_dir: Path, **facts: object) -> None:
    """Edit meta.json of the published pair, and let its own digest fit again."""
    path = home(certs_dir) / "current" / "meta.json"
    meta = json.loads(path.read_text()) | facts
    del meta["digest"]
    path.write_bytes(with_digest(meta))


# --- publishing -------------------------------------------------------------------------------------------


def test_what_is_published_is_found_again(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    assert read_pair(tmp_path) == pair("A")
    generation = (home(tmp_path) / "current").readlink().name
    digest = hashlib.sha256((home(tmp_path) / generation / "meta.json").read_bytes()).hexdigest()
    assert look(tmp_path) == Published(FACTS, ORIGIN, generation=generation, digest=digest)
    assert look(tmp_path).is_intact
    assert Store(tmp_path, DOMAIN).pair() == pair("A")


def test_nothing_published_is_no_fault(tmp_path: Path) -> None:
    assert look(tmp_path) == Published(None, None)
    with pytest.raises(StoreError, match="No such file"):
        Store(tmp_path, DOMAIN).pair()
    assert not look(tmp_path).is_intact
    assert list(tmp_path.iterdir()) == []


def test_the_layout_is_that_of_the_contract(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    assert {path.name for path in tmp_path.iterdir()} == {".certbotless", f"{DOMAIN}.pem", f"{DOMAIN}.key"}
    for suffix, name in ((".pem", "fullchain.pem"), (".key", "privkey.pem")):
        link = (tmp_path / f"{DOMAIN}{suffix}").readlink()
        assert str(link) == f".certbotless/{DOMAIN}/current/{name}"
    generation = (home(tmp_path) / "current").readlink()
    assert str(generation).startswith("20261124T053000Z-")
    assert {path.name for path in home(tmp_path).iterdir()} == {"current", str(generation)}
    names = {path.name for path in (home(tmp_path) / generation).iterdir()}
    assert names == {"fullchain.pem", "privkey.pem", "meta.json"}


def test_the_links_hold_where_the_folder_is_mounted_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    publish(tmp_path / "certs", "A")
    (tmp_path / "certs").rename(tmp_path / "mounted")
    assert read_pair(tmp_path / "mounted") == pair("A")


def test_a_new_pair_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """The moment of its issuance is kept to the microsecond."""
    publish(tmp_path, "A")
    moment = NOW + timedelta(days=60, microseconds=123_456)
    publish(tmp_path, "B", moment)
    assert read_pair(tmp_path) == pair("B")
    assert look(tmp_path).origin == replace(ORIGIN, issued_at=moment)


def test_generations_older_than_the_previous_one_and_a_day_go(tmp_path: Path) -> None:
    moments = [NOW, NOW + timedelta(hours=1), NOW + timedelta(days=30), NOW + timedelta(days=60)]
    for number, moment in enumerate(moments):
        publish(tmp_path, str(number), moment)
    left = sorted(p.name[:16] for p in home(tmp_path).iterdir() if p.name != "current")
    assert left == ["20261224T053000Z", "20270123T053000Z"]


def test_nothing_that_we_did_not_write_is_removed(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    (home(tmp_path) / "notes").mkdir()
    (home(tmp_path) / "19990101-of-the-admin").write_text("mine")
    (tmp_path / "other.pem").write_text("of another site")
    publish(tmp_path, "B", NOW + timedelta(days=60))
    publish(tmp_path, "C", NOW + timedelta(days=120))
    assert (home(tmp_path) / "notes").is_dir()
    assert (home(tmp_path) / "19990101-of-the-admin").read_text() == "mine"
    assert (tmp_path / "other.pem").read_text() == "of another site"


@pytest.mark.process
def test_an_old_generation_that_cannot_be_removed_is_no_failure(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    publish(tmp_path, "B", NOW + timedelta(days=30))
    [oldest] = [p for p in home(tmp_path).iterdir() if p.name.startswith("20261124")]

    def publish_where_nothing_can_be_removed() -> None:
        def hook(event: str, args: tuple[object, ...]) -> None:
            if event == "os.remove" and str(args[0]).startswith(str(oldest)):
                io_error()

        sys.addaudithook(hook)
        publish(tmp_path, "C", NOW + timedelta(days=60))

    assert run_in_child(publish_where_nothing_can_be_removed) == 0
    assert read_pair(tmp_path) == pair("C")
    assert oldest.exists()


# --- modes ------------------------------------------------------------------------------------------------

PUBLISH_UNDER_CLI = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[2])
from certbotless.cli import main as cli
from support.pairs import publish

cli.main(["--config", "/absent", "check"])
publish(Path(sys.argv[1]), "A")
"""


@pytest.mark.process
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_every_mode_is_that_of_the_contract_whatever_the_callers_umask(tmp_path: Path, umask: int) -> None:
    certs_dir = tmp_path / "certs"
    subprocess.run(
        [sys.executable, "-c", PUBLISH_UNDER_CLI, certs_dir, Path(__file__).parents[1]],
        umask=umask,
        check=True,
        capture_output=True,
    )
    generation = home(certs_dir) / (home(certs_dir) / "current").readlink()
    for folder in (certs_dir, certs_dir / ".certbotless", home(certs_dir), generation):
        assert mode_of(folder) == "0o755"
    assert mode_of(generation / "fullchain.pem") == "0o644"
    assert mode_of(generation / "privkey.pem") == "0o600"
    assert mode_of(generation / "meta.json") == "0o644"


# --- files of another tool --------------------------------------------------------------------------------


def asides(certs_dir: Path) -> list[Path]:
    return sorted(home(certs_dir).glob("aside-*"))


@pytest.mark.parametrize("suffixes", [(".pem", ".key"), (".pem",), (".key",)])
def test_plain_files_are_set_aside_with_the_same_bytes(
    tmp_path: Path, suffixes: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    put_foreign(tmp_path, suffixes=suffixes)
    publish(tmp_path, "A")
    assert read_pair(tmp_path) == pair("A")
    assert look(tmp_path).is_intact
    [aside] = asides(tmp_path)
    kept = {path.name: path.read_bytes() for path in aside.iterdir()}
    foreign = dict(zip(NAMES, pair("foreign"), strict=True))
    assert kept == {NAMES[suffix]: foreign[suffix] for suffix in suffixes}
    assert "store.set_aside" in caplog.text


def test_a_large_file_of_another_tool_is_set_aside_whole(tmp_path: Path) -> None:
    large = os.urandom(3 << 20)
    (tmp_path / f"{DOMAIN}.pem").write_bytes(large)
    publish(tmp_path, "A")
    assert (asides(tmp_path)[0] / "fullchain.pem").read_bytes() == large


def test_links_of_another_tool_are_set_aside_by_what_they_lead_to(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    for suffix, data in zip((".pem", ".key"), pair("foreign"), strict=True):
        (live / suffix).write_bytes(data)
        (tmp_path / f"{DOMAIN}{suffix}").symlink_to(live / suffix)
    publish(tmp_path, "A")
    assert read_pair(tmp_path) == pair("A")
    assert (asides(tmp_path)[0] / "fullchain.pem").read_bytes() == pair("foreign")[0]
    assert (live / ".pem").read_bytes() == pair("foreign")[0]


def test_what_was_set_aside_is_never_pruned(tmp_path: Path) -> None:
    put_foreign(tmp_path)
    for year in range(4):
        publish(tmp_path, str(year), NOW + timedelta(days=365 * year))
    [aside] = asides(tmp_path)
    assert (aside / "privkey.pem").read_bytes() == pair("foreign")[1]


def test_a_folder_at_our_name_is_for_a_person_to_move(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    (tmp_path / f"{DOMAIN}.pem").unlink()
    (tmp_path / f"{DOMAIN}.pem").mkdir()
    before = sorted(home(tmp_path).iterdir())
    with pytest.raises(StoreError, match="is a directory") as refused:
        publish(tmp_path, "B")
    assert "move it away" in refused.value.hint
    with pytest.raises(StoreError, match="is a directory"):
        Store(tmp_path, DOMAIN).probe_writable()
    assert Store(tmp_path, DOMAIN).pair() == pair("A")
    assert sorted(home(tmp_path).iterdir()) == before


# --- the generation before --------------------------------------------------------------------------------


def test_a_generation_tells_which_one_it_took_the_place_of_and_either_can_be_selected(tmp_path: Path) -> None:
    store = Store(tmp_path, DOMAIN)
    publish(tmp_path, "A")
    first = store.look()
    publish(tmp_path, "B")
    second = store.look()
    assert (first.previous, second.previous) == ("", first.generation)
    assert store.look_at(second.previous) == first
    store.select(second.previous)
    assert read_pair(tmp_path) == pair("A")
    assert store.look().is_intact
    store.select(second.generation)
    assert store.look() == second


@pytest.mark.parametrize("previous", ["../../etc", "aside-20261124T053000Z-3f9a01c2", ".", 5, None])
def test_what_is_no_generation_is_never_gone_back_to(tmp_path: Path, previous: object) -> None:
    """It comes from a file that others may have written, and becomes part of a path."""
    publish(tmp_path, "A")
    plant_facts(tmp_path, previous=previous)
    assert look(tmp_path).is_intact
    assert look(tmp_path).previous == ""


def test_a_generation_that_is_gone_or_damaged_is_none(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    generation = look(tmp_path).generation
    store = Store(tmp_path, DOMAIN)
    (home(tmp_path) / generation / "privkey.pem").write_bytes(b"edited")
    assert store.look_at(generation).facts is None
    assert store.look_at("20261124T053000Z-00000000").facts is None


# --- what a look finds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fullchain.pem", "privkey.pem"])
def test_a_file_that_was_edited_in_the_generation_is_found_and_the_pair_not_handed_out(
    tmp_path: Path, name: str
) -> None:
    publish(tmp_path, "A")
    (home(tmp_path) / "current" / name).write_bytes(b"edited")
    assert look(tmp_path) == Published(None, None, f"{name} was edited by hand", is_contested=True)
    with pytest.raises(StoreError, match="has been changed"):
        Store(tmp_path, DOMAIN).pair()


@pytest.mark.parametrize("name", ["fullchain.pem", "privkey.pem", "meta.json"])
def test_a_generation_that_lacks_a_file_is_found(tmp_path: Path, name: str) -> None:
    publish(tmp_path, "A")
    (home(tmp_path) / "current" / name).unlink()
    assert look(tmp_path) == Published(None, None, "its files are missing")


META = {
    "not JSON": "{",
    "another kind": "[]",
    "nothing": "",
    "not text": b"\xff\xfe".decode("latin-1"),
    "no end of lists": "[" * 100_000,
}


@pytest.mark.parametrize("meta", META.values(), ids=META.keys())
def test_facts_that_cannot_be_read_are_a_fault_and_no_error(tmp_path: Path, meta: str) -> None:
    publish(tmp_path, "A")
    (home(tmp_path) / "current" / "meta.json").write_bytes(meta.encode("latin-1"))
    found = look(tmp_path)
    assert (found.facts, found.origin) == (None, None)
    assert "cannot be read" in found.fault


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (r"2027-02-22", "2067-02-22"),
        (r'"digest"', '"digesu"'),
        (r'"files"', '"file"'),
        (r',\n "digest": "\w+"', ""),
        (r' "not_after": .*\n', ""),
    ],
    ids=["a later date", "another name of the digest", "of a fact", "no digest", "no end"],
)
def test_facts_that_were_edited_are_found(tmp_path: Path, before: str, after: str) -> None:
    """By hand, or by flipped bits; another date would keep the certificate from being renewed."""
    publish(tmp_path, "A")
    meta = home(tmp_path) / "current" / "meta.json"
    edited = re.sub(before, after, meta.read_text())
    assert json.loads(edited) != json.loads(meta.read_text())
    meta.write_text(edited)
    assert look(tmp_path) == Published(None, None, "meta.json was edited by hand", is_contested=True)


@pytest.mark.parametrize("where", [".", "..", "/etc", "../other.test/current", "gone"])
def test_what_is_published_is_below_our_own_folder(tmp_path: Path, where: str) -> None:
    publish(tmp_path, "A")
    other = Store(tmp_path, "other.test")
    other.publish(*pair("other"), FACTS, ORIGIN, NOW)
    current = home(tmp_path) / "current"
    current.unlink()
    current.symlink_to(where)
    assert look(tmp_path) == Published(None, None, "its files are missing")
    publish(tmp_path, "B")
    assert (read_pair(tmp_path), other.pair()) == (pair("B"), pair("other"))
    assert look(tmp_path).is_intact


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: (path.unlink(), path.write_bytes(b"other")), "a file of another tool"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/ssl/other.pem")), "links to another place"),
    ],
    ids=["deleted", "overwritten", "moved"],
)
@pytest.mark.parametrize("suffix", [".pem", ".key"])
def test_a_name_that_was_changed_by_hand_is_found_and_put_back(
    tmp_path: Path, suffix: str, edit: Callable[[Path], object], fault: str
) -> None:
    publish(tmp_path, "A")
    path = tmp_path / f"{DOMAIN}{suffix}"
    edit(path)
    found = look(tmp_path)
    assert (found.facts, found.origin) == (FACTS, ORIGIN)
    assert not found.is_intact
    assert str(path) in found.fault
    assert fault in found.fault
    assert found.is_contested == (fault != "missing")
    Store(tmp_path, DOMAIN).relink(NOW)
    assert look(tmp_path).is_intact
    assert read_pair(tmp_path) == pair("A")


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    put_foreign(tmp_path, suffixes=(".key",))
    before = {path: path.lstat() for path in tmp_path.rglob("*")}
    look(tmp_path)
    after = {path: path.lstat() for path in tmp_path.rglob("*")}
    assert [(p, s.st_mtime_ns, s.st_ino) for p, s in after.items()] == [
        (p, s.st_mtime_ns, s.st_ino) for p, s in before.items()
    ]


# --- what somebody planted --------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.row(71)
@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device"])
@pytest.mark.parametrize("suffix", [".pem", ".key"])
def test_what_is_no_file_is_moved_aside_and_never_opened(tmp_path: Path, suffix: str, kind: str) -> None:
    """Nobody can be served by it; a look does not wait for it either."""
    path = tmp_path / f"{DOMAIN}{suffix}"

    def look_and_publish() -> None:
        for number in range(2):
            path.unlink(missing_ok=True)
            plant(kind, path)
            found = look(tmp_path)
            assert (found.fault, found.plain) == (f"{str(path)!r} is {kind}" if number else "", "")
            assert found.is_contested == bool(number)
            publish(tmp_path, str(number))
            assert read_pair(tmp_path) == pair(str(number))
            assert look(tmp_path).is_intact

    assert in_time(look_and_publish) == DONE
    kept = [files.kind_of((aside / NAMES[suffix]).lstat().st_mode) for aside in asides(tmp_path)]
    assert kept == [kind, kind]


@pytest.mark.process
@pytest.mark.row(71)
@pytest.mark.parametrize("name", ["fullchain.pem", "privkey.pem", "meta.json"])
@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device", "a directory", "a symbolic link"])
def test_what_is_no_file_in_a_generation_is_a_fault(tmp_path: Path, name: str, kind: str) -> None:
    publish(tmp_path, "A")
    path = home(tmp_path) / "current" / name
    path.unlink()
    plant(kind, path)

    def check() -> None:
        assert look(tmp_path) == Published(None, None, f"its files cannot be read (it is {kind})")

    assert in_time(check) == DONE


@pytest.mark.row(71)
@pytest.mark.parametrize("suffix", [".pem", ".key"])
def test_a_link_to_a_secret_is_kept_as_a_link_and_nothing_of_the_secret_copied(
    tmp_path: Path, suffix: str
) -> None:
    """A copy in certs_dir would be open to every container that mounts it."""
    certs_dir = tmp_path / "certs"
    certs_dir.mkdir()
    (tmp_path / "account.key").write_bytes(b"secret")
    (certs_dir / f"{DOMAIN}{suffix}").symlink_to("../account.key")
    publish(certs_dir, "A")
    [aside] = asides(certs_dir)
    kept = aside / NAMES[suffix]
    assert kept.is_symlink()
    assert kept.read_bytes() == b"secret"  # by its name it still leads there
    found = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert found.count(b"secret") == 1


@pytest.mark.row(71)
@pytest.mark.parametrize(("suffix", "most"), [(".pem", 0o644), (".key", 0o640)])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o400])
def test_a_copy_is_open_to_nobody_who_could_not_read_the_file(
    tmp_path: Path, suffix: str, most: int, mode: int
) -> None:
    """A second name of a secret is a plain file."""
    path = tmp_path / f"{DOMAIN}{suffix}"
    path.write_bytes(b"foreign")
    path.chmod(mode)
    Store(tmp_path, DOMAIN, key_mode=0o640).publish(*pair("A"), FACTS, ORIGIN, NOW)
    [aside] = asides(tmp_path)
    assert mode_of(aside / NAMES[suffix]) == oct(mode & most)


@pytest.mark.parametrize("suffix", [".pem", ".key"])
def test_a_file_that_is_too_large_to_copy_is_moved(tmp_path: Path, suffix: str) -> None:
    with (tmp_path / f"{DOMAIN}{suffix}").open("wb") as file:
        file.truncate(1 << 40)
    publish(tmp_path, "A")
    assert (asides(tmp_path)[0] / NAMES[suffix]).stat().st_size == 1 << 40
    assert read_pair(tmp_path) == pair("A")


@pytest.mark.process
def test_a_key_that_is_not_ours_to_read_is_moved() -> None:
    """As root's key is for the service's user, who may change the folder."""
    with tempfile.TemporaryDirectory() as folder:
        certs_dir = Path(folder)
        put_foreign(certs_dir)
        (certs_dir / f"{DOMAIN}.key").chmod(0o600)
        os.chown(certs_dir, 4242, 4242)

        def publish_as_user() -> None:
            os.setgid(4242)
            os.setuid(4242)
            with pytest.raises(PermissionError):
                read_pair(certs_dir)
            publish(certs_dir, "A")
            assert read_pair(certs_dir) == pair("A")

        assert run_in_child(publish_as_user) == DONE
        [aside] = asides(certs_dir)
        assert (aside / "privkey.pem").read_bytes() == pair("foreign")[1]
        assert (aside / "privkey.pem").stat().st_uid == 0


def test_the_same_files_are_set_aside_once(tmp_path: Path) -> None:
    """A tool that writes them again and again does not fill the disk."""
    for name in ("one", "one", "two", "one"):
        put_foreign(tmp_path, name)
        publish(tmp_path, "A")
        assert read_pair(tmp_path) == pair("A")
    kept = {(aside / "privkey.pem").read_bytes() for aside in asides(tmp_path)}
    assert kept == {pair("one")[1], pair("two")[1]}
    assert len(asides(tmp_path)) == 2
    assert [path.name for path in home(tmp_path).glob(".*")] == []


def somebody_elses(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 4242, -1)


IN_THE_WAY: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a link in place of .certbotless": (".", lambda path: path.symlink_to("elsewhere")),
    "a link in place of the site's folder": (DOMAIN, lambda path: path.symlink_to("../elsewhere")),
    "a file in place of .certbotless": (".", lambda path: path.write_bytes(b"")),
    "a folder in place of current": (f"{DOMAIN}/current", Path.mkdir),
    "somebody else's .certbotless": (".", somebody_elses),
    "somebody else's folder of the site": (DOMAIN, somebody_elses),
}


@pytest.mark.process
@pytest.mark.row(71)
@pytest.mark.parametrize(("where", "put"), IN_THE_WAY.values(), ids=IN_THE_WAY.keys())
def test_what_may_lead_our_files_elsewhere_is_refused_before_an_order(
    tmp_path: Path, where: str, put: Callable[[Path], object]
) -> None:
    path = tmp_path / ".certbotless" / where
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").mkdir()
    put(path)
    before = sorted(tmp_path.rglob("*"))
    for action in (Store(tmp_path, DOMAIN).probe_writable, lambda: publish(tmp_path, "A")):
        with pytest.raises(StoreError) as refused:
            action()
        assert repr(str(path)) in refused.value.message
        assert refused.value.hint
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.process
def test_folders_of_whom_certs_dir_belongs_to_are_ours(tmp_path: Path) -> None:
    """As when root runs what is the service's user's."""
    (home(tmp_path)).mkdir(parents=True)
    for folder in (tmp_path, home(tmp_path).parent, home(tmp_path)):
        os.chown(folder, 4242, -1)
    publish(tmp_path, "A")
    assert read_pair(tmp_path) == pair("A")


@pytest.mark.process
@pytest.mark.row(71)
@pytest.mark.parametrize("suffix", [".pem", ".key"])
@pytest.mark.parametrize("what", ["another user", "second name", "named pipe", "symbolic link"])
def test_a_pair_that_others_may_change_is_not_for_adoption(tmp_path: Path, suffix: str, what: str) -> None:
    put_foreign(tmp_path)
    assert look(tmp_path).plain
    assert Store(tmp_path, DOMAIN).plain_pair() == pair("foreign")
    path = tmp_path / f"{DOMAIN}{suffix}"
    match what:
        case "another user":
            os.chown(path, 4242, -1)
        case "second name":
            os.link(path, tmp_path / "other")
        case kind:
            path.unlink()
            plant(f"a {kind}", path)

    def adopt() -> None:
        with pytest.raises(StoreError, match=what):
            Store(tmp_path, DOMAIN).plain_pair()

    assert in_time(adopt) == DONE


# --- what a killed run has left ---------------------------------------------------------------------------


def litter(certs_dir: Path) -> list[str]:
    """What stands in certs_dir and is of no use: temporary names, and generations without their facts."""
    halves = [path for path in home(certs_dir).glob("2*") if not (path / "meta.json").exists()]
    hidden = [path for path in certs_dir.rglob(".*") if path.name != ".certbotless"]
    return [str(path) for path in (*hidden, *halves)]


def test_tidying_removes_nothing_that_we_did_not_write(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    kept = [
        tmp_path / ".other.test.pem.0123456789abcdef",
        tmp_path / f".{DOMAIN}.pem.bak",
        home(tmp_path) / "20261124T053000Z-of-the-admin" / "notes",
        home(tmp_path) / "20261124T053000Z-01234567" / "notes",
        home(tmp_path) / ".aside.0123456789abcdef" / "notes",
        home(tmp_path) / "notes",
    ]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (home(tmp_path) / "20261124T053000Z-ffffffff").symlink_to("20261124T053000Z-01234567")
    before = sorted(tmp_path.rglob("*"))
    Store(tmp_path, DOMAIN).tidy()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_whole_generation_that_was_never_current_stays_for_a_day(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    publish(tmp_path, "B")
    generations = sorted(home(tmp_path).glob("2*"))
    Store(tmp_path, DOMAIN).tidy()
    assert sorted(home(tmp_path).glob("2*")) == generations


# --- room and rights --------------------------------------------------------------------------------------


def test_a_writable_store_is_left_as_it_was(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    before = sorted(tmp_path.rglob("*"))
    Store(tmp_path, DOMAIN).probe_writable()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.process
def test_a_store_without_room_is_told_before_an_order(tmp_path: Path) -> None:
    def probe() -> None:
        limit_file_size(32 * 1024)
        Store(tmp_path, DOMAIN).probe_writable()

    assert run_in_child(probe) == REFUSED
    assert list(home(tmp_path).iterdir()) == []


def test_a_store_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "certs").write_text("a file")
    with pytest.raises(StoreError, match="cannot write") as refused:
        Store(tmp_path / "certs", DOMAIN).probe_writable()
    assert "writable" in refused.value.hint


# --- wherever a run ends ----------------------------------------------------------------------------------


BOTH = (".pem", ".key")
# Whether our pair is published, which names another tool writes then, which one goes then, and what a server
# may read at our names until the new pair is in place.
BEFORE: dict[str, tuple[bool, tuple[str, ...], str, list[Pair]]] = {
    "nothing": (False, (), "", [NOTHING]),
    "our pair": (True, (), "", [pair("A")]),
    "our pair, one name deleted": (True, (), ".pem", [(None, pair("A")[1]), pair("A")]),
    "a pair of another tool": (False, BOTH, "", [pair("foreign")]),
    "a chain of another tool": (False, (".pem",), "", [(pair("foreign")[0], None)]),
    "a pair of another tool over ours": (True, BOTH, "", [pair("foreign")]),
}


def arrange(certs_dir: Path, before: str) -> list[Pair]:
    """Have `before` at our names, and return what a server may read there until the new pair is in place."""
    is_ours, foreign, deleted, allowed = BEFORE[before]
    if is_ours:
        publish(certs_dir, "A")
    put_foreign(certs_dir, suffixes=foreign)
    if deleted:
        (certs_dir / f"{DOMAIN}{deleted}").unlink()
    return allowed


@pytest.mark.process
@pytest.mark.parametrize("fault", [kill, io_error])
@pytest.mark.parametrize("before", BEFORE)
def test_the_pair_is_the_old_or_the_new_one_wherever_publishing_ends(
    tmp_path: Path, before: str, fault: Callable[[], None]
) -> None:
    """What is of no use any more where it was killed goes when the next run begins."""
    allowed: list[Pair] = []

    def prepare(step: int) -> Callable[[], None]:
        certs_dir = tmp_path / str(step)
        certs_dir.mkdir()
        allowed[:] = arrange(certs_dir, before)

        def work() -> None:
            if fault is kill:
                Store(certs_dir, DOMAIN).probe_writable()
            publish(certs_dir, "B", NOW + timedelta(days=60))

        return work

    codes = list(at_each_step(prepare, fault))
    assert len(codes) > 10
    assert set(codes) <= ({-signal.SIGKILL} if fault is kill else {DONE, REFUSED})
    littered = 0
    for step, code in enumerate(codes, start=1):
        certs_dir = tmp_path / str(step)
        found, seen = read_pair(certs_dir), look(certs_dir)
        assert found in ([pair("B")] if code == DONE else [*allowed, pair("B")])
        if fault is io_error:
            assert_no_half_is_left(certs_dir)
        if "another tool" in before:
            assert_kept(certs_dir, pair("foreign")[0])
        littered += bool(litter(certs_dir))
        Store(certs_dir, DOMAIN).tidy()
        assert litter(certs_dir) == []
        assert (read_pair(certs_dir), look(certs_dir)) == (found, seen)
        publish(certs_dir, "C", NOW + timedelta(days=61))
        assert read_pair(certs_dir) == pair("C")
        assert look(certs_dir).is_intact
    assert (littered > 3) == (fault is kill)


@pytest.mark.process
@pytest.mark.parametrize("fault", [kill, io_error])
def test_the_pair_is_that_of_one_tool_wherever_putting_it_back_ends(
    tmp_path: Path, fault: Callable[[], None]
) -> None:
    def prepare(step: int) -> Callable[[], None]:
        certs_dir = tmp_path / str(step)
        certs_dir.mkdir()
        publish(certs_dir, "A")
        put_foreign(certs_dir)
        return lambda: Store(certs_dir, DOMAIN).relink(NOW)

    codes = list(at_each_step(prepare, fault))
    assert len(codes) > 5
    for step in range(1, len(codes) + 1):
        assert read_pair(tmp_path / str(step)) in [pair("A"), pair("foreign")]
        assert_kept(tmp_path / str(step), pair("foreign")[1])


def assert_kept(certs_dir: Path, data: bytes) -> None:
    """These bytes of another tool are still somewhere: at their name, or set aside."""
    places = [*certs_dir.glob(f"{DOMAIN}.*"), *home(certs_dir).glob("aside-*/*")]
    assert data in [path.read_bytes() for path in places if path.is_file()]


def assert_no_half_is_left(certs_dir: Path) -> None:
    """Neither a generation that was never current, nor a file that was to be renamed."""
    if read_pair(certs_dir) != pair("B"):
        assert list(home(certs_dir).glob("20270123*")) == []
    assert [path.name for path in certs_dir.rglob(".*")] in ([], [".certbotless"])


def test_a_reader_of_one_folder_never_sees_a_mixed_pair_in_a_storm_of_swaps(tmp_path: Path) -> None:
    current = home(tmp_path) / "current"
    publish(tmp_path, "A")
    publish(tmp_path, "B")
    generations = [path.name for path in home(tmp_path).iterdir() if path != current]
    is_over = threading.Event()
    seen: list[Pair] = []

    def read(folder: int, name: str) -> bytes:
        with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
            return file.read()

    def reader() -> None:
        while not is_over.is_set():
            folder = os.open(current, os.O_RDONLY | os.O_DIRECTORY)
            try:
                seen.append((read(folder, "fullchain.pem"), read(folder, "privkey.pem")))
            finally:
                os.close(folder)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        number = 0
        # As many as it takes a busy machine's reader to look often.
        while len(seen) < 1000 or number < 3000:
            number += 1
            files.link(current, generations[number % 2])
    finally:
        is_over.set()
        thread.join()
    assert set(seen) == {pair("A"), pair("B")}


@pytest.mark.parametrize(
    "planted",
    [
        {"not_after": "9999-12-31T23:59:59Z"},
        {"issued_at": "9999-12-31T23:59:59Z"},
        {"issuer": "CN=CA\nb.example.com: nothing to do"},
        {"directory": "https://ca.test/\x1b[2J"},
    ],
)
def test_facts_that_no_certificate_has_are_not_believed_whatever_digest_they_have(
    tmp_path: Path, planted: dict[str, str]
) -> None:
    publish(tmp_path, "old")
    plant_facts(tmp_path, **planted)
    published = look(tmp_path)
    assert (published.facts, published.is_contested) == (None, True)


def test_the_facts_are_those_of_one_ca_and_of_exactly_these_names(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    found = look(tmp_path)
    assert found.facts_for(ORIGIN.directory, (DOMAIN,)) == FACTS
    assert found.facts_for("https://other.test/directory", (DOMAIN,)) is None
    assert found.facts_for(ORIGIN.directory, (DOMAIN, "other.test")) is None
    assert Published(None, None).facts_for(ORIGIN.directory, (DOMAIN,)) is None


def test_what_another_tool_left_is_not_noted_as_a_generation_to_go_back_to(tmp_path: Path) -> None:
    """A run may end between the taking over of foreign files and the swap."""
    publish(tmp_path, "A")
    aside = home(tmp_path) / "aside-20261124T053000Z-3f9a01c2"
    aside.mkdir()
    files.link(home(tmp_path) / "current", aside.name)
    publish(tmp_path, "B")
    assert json.loads((home(tmp_path) / "current" / "meta.json").read_text())["previous"] == ""


def test_a_link_that_is_called_like_a_generation_is_never_emptied(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "fullchain.pem").write_text("mine")
    publish(tmp_path, "A", NOW - timedelta(days=9))
    (home(tmp_path) / "20261101T000000Z-ffffffff").symlink_to(elsewhere)
    publish(tmp_path, "B", NOW - timedelta(days=5))
    publish(tmp_path, "C")
    Store(tmp_path, DOMAIN).tidy()
    assert (elsewhere / "fullchain.pem").read_text() == "mine"


def test_a_generation_with_half_a_meta_json_is_tidied_away(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    half = home(tmp_path) / "20261124T053000Z-01234567"
    half.mkdir()
    (half / "meta.json").write_text('{"names": ["devb')
    Store(tmp_path, DOMAIN).tidy()
    assert not half.exists()


@pytest.mark.parametrize("damage", ["{", None], ids=["damaged", "gone"])
def test_the_published_generation_is_never_tidied_away(tmp_path: Path, damage: str | None) -> None:
    publish(tmp_path, "A")
    meta = home(tmp_path) / "current" / "meta.json"
    meta.unlink() if damage is None else meta.write_text(damage)
    Store(tmp_path, DOMAIN).tidy()
    assert read_pair(tmp_path) == pair("A")


def test_a_generation_that_is_a_day_old_to_the_second_stays(tmp_path: Path) -> None:
    for number, age in enumerate([timedelta(days=1), timedelta(hours=2), timedelta()]):
        publish(tmp_path, str(number), NOW - age)
    assert len(list(home(tmp_path).glob("2*"))) == 3
    publish(tmp_path, "3", NOW + timedelta(seconds=1))
    assert len(list(home(tmp_path).glob("2*"))) == 3


def test_a_new_pair_is_noted_before_anything_leads_to_it(tmp_path: Path) -> None:
    publish(tmp_path, "A")
    noted: list[tuple[str, str]] = []

    def note(generation: str, digest: str) -> None:
        assert read_pair(tmp_path) == pair("A")
        noted.append((generation, digest))

    Store(tmp_path, DOMAIN).publish(*pair("B"), FACTS, ORIGIN, NOW, note)
    found = look(tmp_path)
    assert noted == [(found.generation, found.digest)]
    assert read_pair(tmp_path) == pair("B")
