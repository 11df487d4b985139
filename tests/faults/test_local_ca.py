"""The making and the rotation of the local CA: killed at any system call, and searched for the root's key."""

import base64
import os
import re
import shutil
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support import strace
from support.bed import Bed, wait_until
from support.commands import completed
from support.kills import evenly, litter, watched
from support.local_cas import put_ca, put_next

from certbotless.state.local_ca import LocalCaFolder

# The order of the curve P-256: a private key is a number below it (FIPS 186-4, D.1.2.3).
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_WRITES = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg"
_SOME = pytest.mark.parametrize("count", [8, pytest.param(None, marks=pytest.mark.soak)], ids=["some", "all"])


def start_again(bed: Bed) -> None:
    for folder in (bed.state, bed.certs):
        shutil.rmtree(folder, ignore_errors=True)
    bed.certs.mkdir()


def of_the_ca(calls: list[strace.Call]) -> list[strace.Call]:
    return [call for call in calls if any("local-ca" in path for path in call.paths)]


@pytest.mark.row(100)
@_SOME
def test_killed_at_any_system_call_of_the_making_there_is_no_ca_or_a_whole_one(
    local: Bed, count: int | None
) -> None:
    """And the next run goes on with it: a root that clients may have is never made again."""
    start_again(local)
    calls = of_the_ca(watched(local))
    assert len(calls) > 15
    killed = whole = 0
    for call in evenly(calls, count):
        start_again(local)
        done = strace.killed(local.command("--once"), call)
        assert done.code == -signal.SIGKILL, f"{call}\n{done.said}"
        killed += 1
        before = LocalCaFolder(local.state).load()
        whole += before is not None
        local.ok("--once")
        after = LocalCaFolder(local.state).load()
        assert after is not None, call
        assert before in (None, after), call
        assert litter(local) == [], call
    print(f"\nkilled {killed}: a whole CA {whole}, none {killed - whole}, neither 0")


@pytest.mark.row(102)
@_SOME
def test_killed_at_any_system_call_of_a_rotation_one_whole_ca_signs_and_the_command_can_be_given_again(
    local: Bed, count: int | None
) -> None:
    """With overlap, at the switch, and without overlap."""
    start_again(local)
    local.ok("--once")
    folder, copy = LocalCaFolder(local.state), local.home / "copy"
    killed = after = shown = 0
    for action in (("rotate",), ("switch",), ("rotate", "--now")):
        command = local.command("trust", *action)
        shutil.copytree(folder.path, copy)
        before = folder.roots()
        run, calls = strace.watched(command, local.home / "watched")
        assert run.code == 0, run.said
        calls = of_the_ca(calls)
        # Between the two renames nothing is in its place.
        renamed = [
            call for call in calls if call.name.startswith("rename") and str(folder.path) in call.paths
        ]
        for call in dict.fromkeys([*evenly(calls, count and count // 4), *renamed[-1:]]):
            shutil.rmtree(folder.path)
            shutil.copytree(copy, folder.path)
            assert strace.killed(command, call).code == -signal.SIGKILL, call
            killed += 1
            found, loaded = folder.roots(), folder.load()
            assert loaded is not None, call
            assert loaded.facts == found[0].facts, call
            if not folder.path.exists():
                # The roots are shown all the same, before anybody tidies up.
                digits = bytes.fromhex(loaded.facts.root_sha256).hex(":").upper()
                assert digits in local.ok("trust", "show"), call
                assert found[0].pem.decode() in local.ok("trust", "export"), call
                shown += 1
            if found == before:
                local.ok("trust", *action)
            else:
                # The old root is never lost: clients have it.
                assert {root.facts for root in before} <= {root.facts for root in found}, call
                after += 1
            # The next change of the CA removes what was left.
            local.ok("--renew-now", "--force")
            assert litter(local) == [], call
        shutil.rmtree(copy)
    assert shown
    print(f"\nkilled {killed}: whole {killed}, of these the new one {after}, between two renames {shown}")


@pytest.mark.row(102)
@pytest.mark.parametrize(
    ("step", "count"),
    [("switched", 1), *(pytest.param(step, None, marks=pytest.mark.soak) for step in ("began", "switched"))],
    ids=["switch, some", "rotation, all", "switch, all"],
)
def test_where_a_run_was_killed_at_a_step_of_the_rotation_a_daemon_goes_on_with_one_whole_ca(
    local: Bed, step: str, count: int | None
) -> None:
    """The step was due, so it is taken; the site has a certificate of the CA that signs then."""
    start_again(local)
    first = put_ca(local.state, timedelta(days=2900 if step == "switched" else 2950))
    if step == "switched":
        local.ok("--once")
        put_next(local.state, timedelta(days=90))
    folder, copies = LocalCaFolder(local.state), local.home / "copies"
    for each in (local.state, local.certs):
        shutil.copytree(each, copies / each.name, symlinks=True)
    calls, killed = of_the_ca(watched(local)), 0
    assert len(calls) > 10
    for call in evenly(calls, count):
        for each in (local.state, local.certs):
            shutil.rmtree(each)
            shutil.copytree(copies / each.name, each, symlinks=True)
        assert strace.killed(local.command("--once"), call).code == -signal.SIGKILL, call
        assert folder.load() is not None, call
        killed += 1
        with local.daemon():
            wait_until(lambda: is_well_after(local, step), f"the daemon has gone on after {call}")
        roles = [(root.role, root.facts == first) for root in folder.roots()]
        assert roles == [
            ("current", step == "began"),
            ("next" if step == "began" else "old", step != "began"),
        ]
        assert litter(local) == [], call
    print(f"\nkilled {killed}, gone on with a whole CA {killed}")


def is_well_after(bed: Bed, step: str) -> bool:
    """Whether the rotation has taken this step, and the site has a certificate of the CA that signs."""
    found = bed.status()
    ca, (site,) = found["local_ca"], found["sites"]
    of = f"local:{ca['root_sha256'][:16]}"
    return site["state"] == "ok" and site["certificate"]["ca"] == of and bool(ca["next"]) == (step == "began")


# --- the key of the root ------------------------------------------------------------------------------------


def written(bed: Bed) -> list[bytes]:
    """Run to the end, and return the bytes of each call that writes or sends, whole."""
    log = bed.home / "written"
    options = ["-f", "-qq", "-xx", "-s", "1048576", "-o", str(log), "-e", f"trace={_WRITES}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = completed(["strace", *options, *bed.command("--once")], env=environment)
    assert done.returncode == 0, done.stderr
    texts = re.findall(r'"((?:\\x[0-9a-f]{2})*)"', log.read_text())
    assert '"...' not in log.read_text()
    return [bytes.fromhex(text.replace("\\x", "")) for text in texts]


def numbers_in(data: bytes) -> Iterator[int]:
    """Return each number of 32 bytes in these bytes: as they are, in hex, and in base64 of any alignment."""
    found = [data]
    found += [
        bytes.fromhex(text[: len(text) // 2 * 2].decode()) for text in re.findall(rb"[0-9a-fA-F]{64,}", data)
    ]
    joined = re.sub(rb"\\n|\s", b"", data)
    for text in re.findall(rb"[A-Za-z0-9+/_-]{43,}", joined):
        plain = text.translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4):
            part = plain[start:]
            found.append(base64.b64decode(part[: len(part) // 4 * 4]))
    for each in found:
        for at in range(len(each) - 31):
            yield int.from_bytes(each[at : at + 32], "big")


def public_of(number: int) -> ec.EllipticCurvePublicNumbers | None:
    if not 0 < number < _ORDER:
        return None
    return ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers()


@pytest.mark.row(101)
def test_no_32_bytes_that_the_making_writes_are_the_key_of_the_root(local: Bed) -> None:
    """The issuing key and the key of the site's certificate are found that way, so a third one would be."""
    start_again(local)
    parts = written(local)
    assert len(parts) > 5
    folder = local.state / "local-ca"
    root, issuing, leaf = (
        x509.load_pem_x509_certificates(path.read_bytes())[0].public_key()
        for path in (folder / "root.pem", folder / "issuing.pem", local.certs / "devbox.pem")
    )
    kept = {numbers_of(load_pem_private_key(key, None).public_key()) for key in pem_keys(parts)}
    assert kept == {numbers_of(issuing), numbers_of(leaf)}
    found = {public_of(number) for number in {number for part in parts for number in numbers_in(part)}}
    assert {numbers_of(issuing), numbers_of(leaf)} <= found
    assert numbers_of(root) not in found
    print(f"\n{len(parts)} writes, {sum(map(len, parts))} bytes, {len(found)} numbers tried")


def numbers_of(key: object) -> ec.EllipticCurvePublicNumbers:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_numbers()


def pem_keys(parts: list[bytes]) -> Iterator[bytes]:
    pattern = rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\n?"
    for part in parts:
        yield from re.findall(pattern, part.replace(b"\\n", b"\n"), re.DOTALL)
