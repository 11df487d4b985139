"""What is typed so that a client trusts the root: each line in a real shell, with the real files."""

import hashlib
import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support.local_cas import put_ca, put_next

from certbotless.model.local_ca import RootCertificate, pem_of
from certbotless.report.trust_steps import ELSEWHERE, SYSTEMS, fetch, kit_of
from certbotless.state.shared_roots import shared

URL = "http://10.79.40.213:9110"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[RootCertificate, ...]:
    """The root that signs, and the next one."""
    state = tmp_path_factory.mktemp("state")
    put_ca(state)
    put_next(state)
    return shared(state)


def typed(lines: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Type these lines into a shell."""
    return subprocess.run(
        ["sh"], input="\n".join(lines), cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.process
def test_a_file_with_two_roots_is_divided_by_any_awk(
    roots: tuple[RootCertificate, ...], tmp_path: Path
) -> None:
    kit = kit_of("debian", roots)
    (tmp_path / kit.file).write_bytes(pem_of(roots))
    done = typed(kit.divided, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [(tmp_path / piece).read_bytes() for piece in kit.pieces] == [root.pem for root in roots]
    alone = kit_of("debian", roots[:1])
    assert (alone.divided, [*alone.pieces]) == ([], ["root.crt"])


def test_each_root_has_a_line_and_each_service_too(roots: tuple[RootCertificate, ...]) -> None:
    """Debian reads one certificate of a file; Docker reads all of them."""
    now, coming = (root.short for root in roots)
    places = ["devbox:5000", "10.79.40.213:5000"]
    kit = kit_of("debian", roots, places)
    assert SYSTEMS["debian"].lines(kit) == [
        f"cp {piece} /usr/local/share/ca-certificates/certbotless-{short}.crt && update-ca-certificates"
        for piece, short in (("root-1.crt", now), ("root-2.crt", coming))
    ]
    assert SYSTEMS["docker"].lines(kit) == [
        f"install -D -m 0644 root.crt '/etc/docker/certs.d/{place}/ca.crt'" for place in places
    ]
    assert "HOST:PORT" not in "".join(SYSTEMS["docker"].said(kit))
    blank = kit_of("docker", roots)
    assert "/etc/docker/certs.d/HOST:PORT/ca.crt" in SYSTEMS["docker"].lines(blank)[0]
    assert "HOST:PORT is the name" in "".join(SYSTEMS["docker"].said(blank))


def test_windows_gets_one_der_for_each_root_and_sees_its_digest(roots: tuple[RootCertificate, ...]) -> None:
    kit = kit_of("windows", roots)
    now, coming = (hashlib.sha256(root.der).hexdigest() for root in roots)
    assert fetch("windows", URL, kit) == [
        f'curl.exe -fsSo root.cer "{URL}/root.cer"',
        f"certutil -hashfile root.cer SHA256 | findstr {now}",
        f'curl.exe -fsSo next.cer "{URL}/root.cer?next"',
        f"certutil -hashfile next.cer SHA256 | findstr {coming}",
    ]
    added = [f"certutil -addstore -f Root {piece}" for piece in ("root.cer", "next.cer")]
    assert SYSTEMS["windows"].lines(kit) == added


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name not in ELSEWHERE])
def test_no_line_has_a_gap_left(system: str, roots: tuple[RootCertificate, ...]) -> None:
    kit = kit_of(system, roots)
    for line in [*SYSTEMS[system].lines(kit), *fetch(system, "http://[fd12::5]:9110", kit)]:
        for gap in ("{file}", "{piece}", "{short}", "{place}"):
            assert gap not in line


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP, as somebody on the way to the client may."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.HTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.process
def test_who_changes_the_file_on_its_way_gets_nothing_installed(
    roots: tuple[RootCertificate, ...], tmp_path: Path
) -> None:
    """Whoever types all lines at once has no file for the lines that come after."""
    served, here = tmp_path / "served", tmp_path / "here"
    for folder in (served, here):
        folder.mkdir()
    kit = kit_of("debian", roots)
    with serving(served) as url:
        line, *_ = fetch("debian", url, kit)
        (served / "root.crt").write_bytes(pem_of(roots))
        done = typed([line], here)
        assert (done.returncode, done.stdout) == (0, "root.crt: OK\n")
        (served / "root.crt").write_bytes(pem_of(roots[:1]))
        done = typed([line], here)
        assert done.returncode != 0
        assert [*here.iterdir()] == []
        (served / "root.crt").unlink()
        assert typed([line], here).returncode != 0
        assert [*here.iterdir()] == []
