"""The daemon hands out its root: a client that types what the page says trusts the service."""

import hashlib
import html
import plistlib
import re
import ssl
import subprocess
from pathlib import Path

import requests
from support.bed import LAN_NAME, Bed, wait_until
from support.commands import completed
from support.private_host import trust_stores

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.process import free_port


def got(url: str) -> bytes:
    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return answer.content


def is_there(url: str) -> bool:
    try:
        return bool(got(url))
    except OSError:
        return False


def terminal(page: str, about: str) -> list[str]:
    """Return the lines of the page that come first after a heading."""
    found = re.search(rf">{about}</h[23]>.*?<pre>\n(.*?)</pre>", page, re.DOTALL)
    assert found is not None, about
    return html.unescape(found[1]).splitlines()


def typed(lines: list[str], folder: Path) -> None:
    """Type these lines into a shell, as the user root of a client."""
    done = subprocess.run(
        ["sh", "-eu"], input="\n".join(lines), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_client_that_types_what_the_page_says_trusts_the_service(local: Bed, tmp_path: Path) -> None:
    """By curl and by an engine that runs already; and the page is gone when the file no longer wants it."""
    share, page = f"{LAN_ADDRESS}:{free_port()}", f"127.0.0.1:{free_port()}"
    local.config |= {"local_ca": {"share": share}, "http": {"listen": page}}
    where, client = f"{LAN_ADDRESS}:{local.registry.port}", tmp_path / "client"
    client.mkdir()
    fetch = ["curl", "-fsS", f"https://{where}/v2/"]
    pull = ["docker", "-H", local.engine.docker_host, "pull", f"{where}/nothing"]
    with local.daemon() as daemon, trust_stores():
        wait_until(lambda: is_there(f"http://{share}/root.crt"), "the CA is made")
        wait_until(lambda: local.status()["sites"][0]["state"] == "ok", "the site is ok")
        root = (local.state / "local-ca/root.pem").read_bytes()
        der = ssl.PEM_cert_to_DER_cert(root.decode())
        shown, fingerprint = got(f"http://{share}/").decode(), hashlib.sha256(der).digest().hex(":").upper()
        assert fingerprint in shown
        wait_until(lambda: fingerprint in got(f"http://{page}/").decode(), "the status page has the root")
        assert fingerprint in local.ok("trust")
        assert "证书" in got(f"http://{share}/?lang=zh").decode()
        assert LAN_NAME not in re.sub(r"<dd>lan, .*?</dd>|<h2>certbotless .*?</h2>", "", shown)
        assert (got(f"http://{share}/root.crt"), got(f"http://{share}/root.cer")) == (root, der)
        assert all(completed(each).returncode != 0 for each in (fetch, pull))
        typed(terminal(shown, "Linux"), client)
        typed(terminal(shown, "Docker"), client)
        Path("/etc/docker/certs.d/HOST:PORT").rename(f"/etc/docker/certs.d/{where}")
        try:
            typed(terminal(shown, "Debian, Ubuntu"), client)
            assert completed(fetch).returncode == 0
            said = completed(pull).stderr
            assert "manifest unknown" in said or "not found" in said
            local.ok("trust", "uninstall", "--to", "system,docker")
        finally:
            subprocess.run(["update-ca-certificates", "--fresh"], check=True, capture_output=True)
        assert completed(fetch).returncode != 0
        local.ok("trust", "rotate")
        coming = (local.state / "local-ca/next/root.pem").read_bytes()
        wait_until(lambda: got(f"http://{share}/root.crt") == root + coming, "both roots are handed out")
        profile = plistlib.loads(got(f"http://{share}/root.mobileconfig"))
        assert len(profile["PayloadContent"]) == 2
        typed(terminal(got(f"http://{share}/").decode(), "Linux"), client)
        assert (client / "root-2.crt").read_bytes() == coming
        local.config["local_ca"] = {}
        local.write()
        wait_until(lambda: not is_there(f"http://{share}/"), "the page is closed")
        assert "Traceback" not in daemon.log_text()
