"""As root, with a link planted at any place that a run touches: nothing outside of our folders changes.

The places are those that a run was seen to touch. Root stays root here, as where it owns state_dir itself: so
nothing but the program keeps a change away.
"""

import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.children import run_in_child
from support.fakes import EPOCH
from support.scenes import DAY, DOMAIN, Scene

# What carries a name that nobody knows before.
_DRAWN = re.compile(r"\.[0-9a-f]{16}$|/\.aside\.|/aside-|\d{8}T\d{6}Z-[0-9a-f]{8}")


def well(scene: Scene) -> None:
    scene.make_well()
    scene.run()


def without_its_links(scene: Scene) -> None:
    """Both names are gone."""
    well(scene)
    for suffix in ("pem", "key"):
        (scene.certs_dir / f"{DOMAIN}.{suffix}").unlink()


def damaged(scene: Scene) -> None:
    """The pair is published once more from the copy."""
    well(scene)
    scene.damage()


def of_another_tool(scene: Scene) -> None:
    """Two plain files, which are set aside or adopted."""
    scene.point()
    scene.certs_dir.mkdir()
    scene.settings = {"acme": {"directory": "https://127.0.0.1:1/dir"}}
    made = trustme.CA().issue_cert(DOMAIN, not_before=EPOCH - DAY, not_after=EPOCH + 89 * DAY)
    (scene.certs_dir / f"{DOMAIN}.pem").write_bytes(made.cert_chain_pems[0].bytes())
    (scene.certs_dir / f"{DOMAIN}.key").write_bytes(made.private_key_pem.bytes())
    scene.start()


def key_of_another_mode(scene: Scene) -> None:
    """An edit of key_mode."""
    well(scene)
    scene.settings = {"key_mode": "0640"}


def restored_over_another_tool(scene: Scene) -> None:
    """What another tool has put in place of our links is set aside."""
    well(scene)
    for suffix in ("pem", "key"):
        path = scene.certs_dir / f"{DOMAIN}.{suffix}"
        path.unlink()
        path.write_text("theirs")


def tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return of everything below: owner, mode, and content."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        seen = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
        found[str(path.relative_to(folder))] = (seen.st_uid, seen.st_gid, seen.st_mode, content)
    return found


def touched_by(scene: Scene) -> list[Path]:
    """Let the scene run, and return every place below its folders that was opened, changed or listed."""
    told_read, told_write = os.pipe()

    def run() -> None:
        seen: set[str] = set()

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" or event.startswith("os."):
                seen.update(str(each) for each in arguments[:2] if isinstance(each, str | Path))

        sys.addaudithook(hook)
        scene.run()
        os.write(told_write, json.dumps(sorted(seen)).encode())

    run_in_child(run)
    os.close(told_write)
    with open(told_read, "rb") as told:
        paths = [Path(os.path.normpath(text)) for text in json.loads(told.read())]
    ours = (scene.certs_dir, scene.state_dir)
    below = {path for path in paths for top in ours if path.is_relative_to(top) and path != top}
    below |= {
        parent for path in below for parent in path.parents if any(top in parent.parents for top in ours)
    }
    return sorted(path for path in below if not _DRAWN.search(str(path)))


def plant(place: Path, target: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.process
@pytest.mark.parametrize(
    "prepare",
    [without_its_links, damaged, of_another_tool, key_of_another_mode, restored_over_another_tool],
    ids=lambda prepare: prepare.__name__,
)
def test_root_changes_nothing_outside_through_a_planted_link(
    scene: Scene, tmp_path: Path, prepare: Callable[[Scene], None]
) -> None:
    prepare(scene)
    folders, kept, outside = (scene.certs_dir, scene.state_dir), tmp_path / "kept", tmp_path / "outside"

    def put_back() -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            if (kept / folder.name).exists():
                shutil.copytree(kept / folder.name, folder, symlinks=True)

    for folder in folders:
        if folder.exists():
            shutil.copytree(folder, kept / folder.name, symlinks=True)
    places = touched_by(scene)
    put_back()
    assert len(places) > 5

    def put_outside() -> None:
        """A file, and a folder in which everything lies that might be looked for in one of ours."""
        shutil.rmtree(outside, ignore_errors=True)
        (outside / "folder").mkdir(parents=True)
        names = {*(place.name for place in places), "privkey.pem", "fullchain.pem", "meta.json"}
        for path in (outside / "shadow", *(outside / "folder" / name for name in names)):
            path.write_text("root's alone")
            path.chmod(0o600)

    put_outside()
    before, wrong = tree(outside), []
    for place in places:
        for target in ("shadow", "folder", "absent"):
            plant(place, outside / target)
            run_in_child(scene.run)
            after = tree(outside)
            if after != before:
                changed = {name for name in before | after if before.get(name) != after.get(name)}
                wrong.append((str(place.relative_to(tmp_path)), target, sorted(changed)))
                put_outside()
            put_back()
    assert wrong == []
