"""Servers that read the pair while it is swapped, as one that restarts by itself does."""

import os
import select
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import DONE, start_child, wait_for
from support.pairs import DOMAIN, publish_alike


def read_at(folder: int | None, name: str | Path) -> bytes:
    file = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        return os.read(file, 100)
    finally:
        os.close(file)


def read_by_folder(certs_dir: Path) -> tuple[bytes, bytes]:
    """Open the folder once, and both files in it."""
    folder = os.open(certs_dir / ".certbotless" / DOMAIN / "current", os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read_at(folder, "fullchain.pem"), read_at(folder, "privkey.pem")
    finally:
        os.close(folder)


def read_by_names(certs_dir: Path) -> tuple[bytes, bytes]:
    """Open the two names one after the other, as nearly all servers do."""
    return read_at(None, certs_dir / f"{DOMAIN}.pem"), read_at(None, certs_dir / f"{DOMAIN}.key")


class Reader:
    """A process that reads the pair again and again, until it is asked for what it has seen.

    Args:
        most: it reads no more often than this.
    """

    def __init__(self, certs_dir: Path, read: Callable[[Path], tuple[bytes, bytes]], most: int) -> None:
        self._reports, report = os.pipe()

        def look() -> None:
            is_over = False

            def end(*_: object) -> None:
                nonlocal is_over
                is_over = True

            signal.signal(signal.SIGTERM, end)
            os.write(report, b"!")
            seen: Counter[str] = Counter()
            while not is_over and seen.total() < most:
                try:
                    chain, key = read(certs_dir)
                    seen["whole" if chain == key else "mixed"] += 1
                except FileNotFoundError:
                    seen["missing"] += 1
            os.write(report, b" ".join(b"%d" % seen[kind] for kind in ("whole", "mixed", "missing")))

        self._pid = start_child(look)
        os.close(report)
        assert os.read(self._reports, 1) == b"!"

    @property
    def is_done(self) -> bool:
        """Whether it has read as often as it may."""
        return bool(select.select([self._reports], [], [], 0)[0])

    def end(self) -> tuple[int, int, int]:
        """Let it end, and return how many pairs it has seen: whole, mixed, and with a file missing."""
        os.kill(self._pid, signal.SIGTERM)
        whole, mixed, missing = map(int, os.read(self._reports, 100).split())
        os.close(self._reports)
        assert wait_for(self._pid) == DONE
        return whole, mixed, missing


@pytest.mark.row(63)
@pytest.mark.parametrize(
    ("swaps", "reads"),
    [(500, 50_000), pytest.param(10_000, 1_000_000, marks=pytest.mark.soak)],
    ids=["some", "many"],
)
def test_a_reader_of_one_folder_never_sees_a_mixed_pair_in_a_storm_of_swaps(
    tmp_path: Path, swaps: int, reads: int
) -> None:
    """Nor a missing file: the generations of a day are kept. One that goes by the names is not as safe."""
    publish_alike(tmp_path, 0)
    by_folder, by_names = Reader(tmp_path, read_by_folder, reads), Reader(tmp_path, read_by_names, reads)
    number = 0
    while number < swaps or not by_folder.is_done:
        number += 1
        publish_alike(tmp_path, number)
    whole, mixed, missing = by_folder.end()
    naive = by_names.end()
    print(
        f"\n{number} swaps; a reader of one folder: {whole + mixed + missing} reads, {mixed} mixed,"
        f" {missing} missing; a reader by the two names: {sum(naive)} reads, {naive[1]} mixed,"
        f" {naive[2]} missing"
    )
    assert (whole, mixed, missing) == (reads, 0, 0)
    assert sum(naive) > 0
    assert naive[2] == 0
