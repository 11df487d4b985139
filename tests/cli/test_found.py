"""What a running container tells: its folder of certificates, its domain, its time to stop."""

from pathlib import Path

import pytest
from support.newcomer import DOMAIN, running


@pytest.mark.parametrize(
    ("mounts", "certificate", "certs_dir"),
    [
        ({"/certs": "/certs"}, None, "/certs"),
        ({"/certs": "/srv/c"}, None, "/srv/c"),
        ({"/etc/ssl": "/srv/ssl", "/certs": "/c"}, f"/etc/ssl/hub/{DOMAIN}.pem", "/srv/ssl/hub"),
        ({"/a": "/x", "/a/b": "/y"}, f"/a/b/{DOMAIN}.pem", "/y"),
        ({"/a/c.pem": "/srv/one/c.pem"}, "/a/c.pem", "/srv/one"),
        ({"/var/lib/registry": "/data"}, f"/certs/{DOMAIN}.pem", None),
        ({"/certs": "/certs"}, f"/certs/../../../etc/{DOMAIN}.pem", None),
        ({"/certs": "/certs"}, f"/certs/\x1b[2J/{DOMAIN}.pem", None),
    ],
)
def test_certs_dir_is_what_the_container_mounts_at_its_certificate(
    mounts: dict[str, str], certificate: str | None, certs_dir: str | None
) -> None:
    environment = {"TLS_CERTIFICATE": certificate} if certificate else {}
    found = running(mounts, **environment)
    assert found.certs_dir == (Path(certs_dir) if certs_dir else None)


def test_a_container_serves_a_domain_when_it_reads_exactly_its_files() -> None:
    pair = {"TLS_CERTIFICATE": f"/certs/{DOMAIN}.pem", "TLS_KEY": f"/certs/{DOMAIN}.key"}
    found = running({"/certs": "/certs"}, **pair, DRAINTIMEOUT="20s")
    assert (found.domain, found.stop_timeout_s, found.serves(DOMAIN)) == (DOMAIN, 25, True)
    written = ("", "0s", "1m30s", "2h")
    assert [running({}, DRAINTIMEOUT=text).stop_timeout_s for text in written] == [0, 0, 95, 600]
    assert not found.serves("other.sweetlove.top")
    assert not running({"/data": "/data"}, **pair).serves(DOMAIN)
    assert running({"/certs": "/certs"}).serves(DOMAIN)
    assert not running({}).serves(DOMAIN)
    assert running({"/certs": "/certs"}).domain == ""
    single = {f"/certs/{DOMAIN}.pem": "/c/a.pem", f"/certs/{DOMAIN}.key": "/c/a.key"}
    assert not running(single, **pair).serves(DOMAIN)
