"""Files that nobody meant: cut off, mangled; and edits at the worst moment.

The good one stays in force, and each fault is told with its place.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from authors import STYLES, Author
from configs import CANARY, FULL
from machines import DOMAIN, Machine

from certbotless import configfile


@pytest.fixture
def author(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Author:
    """Somebody with the file that has all keys."""
    return Author(tmp_path, FULL, caplog)


@pytest.mark.row(22)
@pytest.mark.parametrize("files", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_file_that_is_cut_off_anywhere_is_refused_with_its_place_or_good_in_itself(
    files: int, author: Author
) -> None:
    refused = _refuse_or_take(author, [FULL.encode()[: len(FULL) * n // files] for n in range(files)])
    print(f"\n{files} files cut off: {refused} refused, {files - refused} good in themselves")
    assert refused > files / 2


@pytest.mark.row(22, 24)
@pytest.mark.parametrize("files", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_no_fuzzed_file_does_harm(files: int, author: Author) -> None:
    """No crash; the last good one stays in force; every refusal has its lines, each with a place."""
    random = Random(20261125)  # noqa: S311
    refused = _refuse_or_take(author, [fuzzed(random) for _ in range(files)])
    print(f"\n{files} fuzzed files: {refused} refused, {files - refused} good in themselves")
    assert 0 < refused < files


def _refuse_or_take(author: Author, files: list[bytes]) -> int:
    refused = 0
    for raw in files:
        good = author.source.config
        author.file.write_bytes(raw)
        change = author.ask()
        lines = author.said()
        assert all(CANARY not in line for line in lines)
        if change is not None:
            assert author.source.raw == raw
            assert change.after == configfile.parse(raw, "c.yaml")
            continue
        refused += 1
        assert author.source.config is good
        assert author.source.refused
        assert lines == [f"config.refused {line}" for line in author.source.refused]
        for line in author.source.refused:
            place = line.removeprefix(f"{author.file}:").split(": ", 1)[0]
            is_whole = line.startswith(
                ("state_dir cannot change", "cannot read the secret", "the environment")
            )
            assert is_whole or all(number.isdigit() for number in place.split(":")), line
    return refused


def fuzzed(random: Random) -> bytes:
    """Return the full file with a few accidents: of bytes, of lines, of words."""
    raw = FULL.encode()
    for _ in range(random.randint(1, 4)):
        lines = raw.split(b"\n")
        at, line = random.randrange(len(raw) + 1), random.randrange(len(lines))
        match random.randrange(8):
            case 0:
                raw = raw[:at]
            case 1:
                raw = raw[:at] + random.randbytes(random.randint(1, 8)) + raw[at:]
            case 2:
                raw = raw[:at] + raw[at + random.randint(1, 40) :]
            case 3:
                raw = b"\n".join([*lines[:line], *lines[line + 1 :]])
            case 4:
                raw = b"\n".join([*lines[:line], lines[random.randrange(len(lines))], *lines[line:]])
            case 5:
                indented = b" " * random.randint(1, 3) + lines[line]
                raw = b"\n".join([*lines[:line], indented, *lines[line + 1 :]])
            case 6:
                word = random.choice(
                    [b": ", b"- ", b"{", b"[", b'"', b"&a ", b"*a", b"!!python/object ", b"\t", b"#"]
                )
                raw = raw[:at] + word + raw[at:]
            case 7:
                number = random.choice([b"0", b"-1", b"99999999999999999999", b"1e9", b"null", b"~", b"yes"])
                head, colon, _ = lines[line].partition(b": ")
                raw = b"\n".join([*lines[:line], head + colon + number, *lines[line + 1 :]])
    return raw


# --- the real daemon ----------------------------------------------------------------------------------------


@pytest.mark.row(23)
@pytest.mark.parametrize("edits", [5, pytest.param(25, marks=pytest.mark.soak)])
@pytest.mark.parametrize("save", STYLES)
def test_an_edit_is_in_force_within_two_seconds(
    save: Callable[[Path, str], None], edits: int, machine: Machine
) -> None:
    """Whatever the editor does; the daemon would look by itself once a day only."""
    save(machine.file, machine.text(check_every="1d"))
    seconds = []
    with machine.daemon():
        for ttl in range(100, 100 + edits):
            looks = len(machine.dns.queries)
            began = time.monotonic()
            save(machine.file, machine.text(check_every="1d", sites=[machine.site(ttl=ttl)]))
            machine.wait_for_log(
                f"config.changed site {DOMAIN}: ttl {ttl - 1 if ttl > 100 else 600} -> {ttl}"
            )
            seconds.append(time.monotonic() - began)
            machine.wait_until(lambda looks=looks: len(machine.dns.queries) > looks)  # type: ignore[misc]
            # To come at another moment of its second; right after an edit it looks more often.
            time.sleep(Random(ttl).random() + (3 if edits > 5 else 0))  # noqa: S311
    print(f"\n{edits} edits, {save.__name__}: in force within {max(seconds):.2f} s")
    assert max(seconds) < 2
    assert "config.refused" not in machine.log.read_text()


@pytest.mark.row(22, 24)
def test_twenty_fuzzed_files_leave_the_last_good_one_in_force(machine: Machine) -> None:
    """Each is refused, if only because it names another state_dir; `status` says so, and the looks go on."""
    random = Random(20261126)  # noqa: S311
    with machine.daemon():
        for n in range(20):
            said = machine.log.read_text()
            machine.file.write_bytes(fuzzed(random))
            machine.reload()
            machine.wait_until(lambda said=said: machine.log.read_text() != said)  # type: ignore[misc]
            if n % 5 == 0:
                machine.wait_for_looks(2)
        machine.write(acme={"directory": "http://127.0.0.1"})
        machine.wait_for_log("is neither letsencrypt")
        (error,) = machine.status()["config"]["error"].splitlines()
        assert f"config.refused {error}" in machine.log.read_text()
        machine.write()
        machine.wait_for_log("config.accepted")
        assert machine.status()["config"]["error"] is None
    said = machine.log.read_text()
    assert said.count("config.accepted") == 1
    assert "Traceback" not in said
    places = rf"{re.escape(str(machine.file))}:\d+:\d+: |state_dir cannot change"
    lines = [line for line in said.splitlines() if "config.refused" in line]
    assert all(re.search(f"config.refused ({places})", line) for line in lines)
