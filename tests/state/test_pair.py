"""The published pair: swapped as one, found again with its facts, and tidied up after."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.children import REFUSED, io_error, limit_file_size, run_in_child
from support.files import mode_of
from support.pairs import DOMAIN, FACTS, NOW, ORIGIN, home, look, pair, publish, put_foreign, read_pair

from certbotless.base import files
from certbotless.base.errors import StoreError
from certbotless.model.certificate import Published
from certbotless.state.pair import Store, with_digest


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


def test_what_another_tool_left_is_not_noted_as_a_generation_to_go_back_to(tmp_path: Path) -> None:
    """A run may end between the taking over of foreign files and the swap."""
    publish(tmp_path, "A")
    aside = home(tmp_path) / "aside-20261124T053000Z-3f9a01c2"
    aside.mkdir()
    files.link(home(tmp_path) / "current", aside.name)
    publish(tmp_path, "B")
    assert json.loads((home(tmp_path) / "current" / "meta.json").read_text())["previous"] == ""


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


# --- what tidying leaves ----------------------------------------------------------------------------------


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


@pytest.mark.row(141)
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_store_without_links_is_told_before_an_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As on a CIFS mount without its option for them, and on FAT."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(StoreError, match="no symbolic link can be made"):
        Store(tmp_path, DOMAIN).probe_writable()
    assert list(home(tmp_path).iterdir()) == []


def test_a_store_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "certs").write_text("a file")
    with pytest.raises(StoreError, match="cannot write") as refused:
        Store(tmp_path / "certs", DOMAIN).probe_writable()
    assert "writable" in refused.value.hint
