"""The pair is whole wherever a run ends, and whenever a server reads it."""

import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.children import DONE, REFUSED, at_each_step, io_error, kill
from support.pairs import DOMAIN, NOW, Pair, home, look, pair, publish, put_foreign, read_pair

from certbotless.base import files
from certbotless.state.pair import Store

NOTHING: Pair = (None, None)


def litter(certs_dir: Path) -> list[str]:
    """What stands in certs_dir and is of no use: temporary names, and generations without their facts."""
    halves = [path for path in home(certs_dir).glob("2*") if not (path / "meta.json").exists()]
    hidden = [path for path in certs_dir.rglob(".*") if path.name != ".certbotless"]
    return [str(path) for path in (*hidden, *halves)]


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
