"""Files that others have at our names, or planted there: set aside or refused, and no byte of them lost."""

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.children import DONE, run_in_child
from support.files import in_time, mode_of, plant
from support.pairs import DOMAIN, FACTS, NOW, ORIGIN, home, look, pair, publish, put_foreign, read_pair

from certbotless.base import files
from certbotless.base.errors import StoreError
from certbotless.model.certificate import Published
from certbotless.state.pair import Store

NAMES = {".pem": "fullchain.pem", ".key": "privkey.pem"}


def asides(certs_dir: Path) -> list[Path]:
    return sorted(home(certs_dir).glob("aside-*"))


# --- files of another tool --------------------------------------------------------------------------------


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
