"""With what key, and by which way, the API and the CA are reached: temporary keys, and proxies.

The API answers over HTTPS here, and wants the token of a temporary key with every call.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from support.bed import KEY_ID, KEY_SECRET, NAME_SERVER_PORT, ZONE, Bed, write_secret
from support.forward_proxy import Proxy

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.httpapi import HttpsListener

TOKEN = "token+of/a=temporary key"
API = "alidns.aliyuncs.com:443"
# Nobody listens at port 1, so only a proxy leads from there to the CA.
CA = "localhost:1"
NO_PROXY_AT_ALL = "http://127.0.0.1:1"


@pytest.fixture
def dns(tmp_path: Path) -> Iterator[AlidnsEmulator]:
    authority = trustme.CA()
    chain = tmp_path / "api.pem"
    issued = authority.issue_cert("alidns.aliyuncs.com", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(chain)
    authority.cert_pem.write_to_path(tmp_path / "api-root.pem")
    with AlidnsEmulator(
        [ZONE],
        access_key_id=KEY_ID,
        access_key_secret=KEY_SECRET,
        security_token=TOKEN,
        https=HttpsListener(0, chain, chain),
        dns_ports=[NAME_SERVER_PORT],
    ) as dns:
        yield dns


@pytest.fixture
def access(bare: Bed) -> Bed:
    """A bed whose key is a temporary one, its token in a file."""
    write_secret(bare.home / "token", f"{TOKEN}\n")
    bare.config["aliyun"] |= {
        "endpoint": bare.dns.https_endpoint,
        "ca_bundle": str(bare.home / "api-root.pem"),
        "security_token": f"file:{bare.home / 'token'}",
    }
    return bare


def assert_is_well(bed: Bed) -> None:
    """The record is right, there is a certificate, and no challenge is left."""
    assert bed.a_values() == [LAN_ADDRESS]
    assert bed.published()
    bed.assert_no_txt()


# --- temporary keys ---------------------------------------------------------------------------------------


@pytest.mark.row(27)
def test_a_temporary_key_does_all_of_the_chain_as_soon_as_its_token_is_right(access: Bed) -> None:
    """Without a token, and with that of yesterday, it is told without what it was, and costs no order.

    A token that was renewed in its file is used by the next run.
    """
    token = access.config["aliyun"].pop("security_token")
    line = access.refused("--once")
    assert "refused with MissingSecurityToken" in line
    assert "aliyun.security_token" in line
    access.config["aliyun"]["security_token"] = token
    (access.home / "token").write_text("the token of yesterday")
    done = access.run("--once")
    assert done.returncode == 1
    assert "refused with InvalidSecurityToken.MismatchWithAccessKey" in done.stdout
    assert "renew aliyun.security_token" in done.stdout
    assert "the token of yesterday" not in done.stdout + done.stderr
    assert access.orders() == 0
    (access.home / "token").write_text(TOKEN)
    calls = len(access.dns.calls)
    access.ok("--once")
    access.ok("--renew-now")
    assert_is_well(access)
    assert {call.code for call in access.dns.calls[calls:]} == {"OK"}


# --- proxies ----------------------------------------------------------------------------------------------


def port_of(url: str) -> int:
    return urlsplit(url).port or 443


def lead_to_the_ca(bed: Bed) -> None:
    """Let the CA be where only a proxy leads to it."""
    bed.config["acme"]["directory"] = f"https://{CA}{urlsplit(bed.ca.directory_url).path}"


def test_the_api_and_the_ca_are_reached_through_the_proxy_of_the_environment(
    access: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It alone knows where they are: the API's own name is not to be resolved on this host.

    The password in its address goes to the proxy, and to nobody else.
    """
    places = {API: port_of(access.dns.https_endpoint), CA: port_of(access.ca.directory_url)}
    lead_to_the_ca(access)
    del access.config["aliyun"]["endpoint"]  # the default is the service's own name
    with Proxy(places) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:a-password@{proxy.place}")
        done = access.run("--once")
        assert done.returncode == 0, done.stdout + done.stderr
        assert_is_well(access)
        assert {tunnel.to for tunnel in proxy.tunnels} == {API, CA}
        credentials = base64.b64encode(b"somebody:a-password").decode()
        assert {tunnel.by for tunnel in proxy.tunnels} == {f"Basic {credentials}"}
    assert "a-password" not in done.stdout + done.stderr
    assert not [
        path for path in access.state.rglob("*") if path.is_file() and b"a-password" in path.read_bytes()
    ]


def test_what_no_proxy_names_is_reached_without_one(access: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two alone, as where the API stands in the LAN and the CA outside; also in small letters."""
    lead_to_the_ca(access)
    with Proxy({CA: port_of(access.ca.directory_url)}) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.place}")
        monkeypatch.setenv("no_proxy", "intranet.test,127.0.0.1")
        access.ok("--once")
        assert {tunnel.to for tunnel in proxy.tunnels} == {CA}
    assert_is_well(access)


def test_a_proxy_that_is_away_is_named_and_the_record_stays(
    access: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the API and for the CA alike."""
    access.ok("--once")
    monkeypatch.setenv("HTTPS_PROXY", NO_PROXY_AT_ALL)
    line = access.refused("--renew-now")
    assert "the proxy gave no connection to the CA" in line
    assert "correct HTTPS_PROXY" in line
    access.config["sites"] = [access.site(deploy=[], address="10.79.40.99")]
    assert "the proxy gave no connection; correct HTTPS_PROXY" in access.refused("--once")
    assert access.a_values() == [LAN_ADDRESS]
