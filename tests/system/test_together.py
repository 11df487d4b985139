"""The example with all of it in one file works: two CAs, keys that end, a shared name, the local CA."""

import json
import os
from pathlib import Path

import pytest
import yaml
from support import forks
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed, write_secret
from support.fault_proxy import FaultProxy, answer
from support.hooks import Hook
from support.two_cas import EAB_KEY, EAB_KID

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import served_sha256
from certbotless.sandbox.sts import Role

EXAMPLE = Path(__file__).parents[2] / "config/together.example.yaml"
WILDCARD, GIT, LOCAL = f"*.{ZONE}", f"git.{ZONE}", "devbox"


@pytest.fixture
def together(bed: Bed, ca: Pebble, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """A bed of the example; only the places of the stand-ins, and the services, are others."""
    secrets = bed.home / "credentials"
    secrets.mkdir()
    write_secret(secrets / "certbotless.litessl", EAB_KEY)
    write_secret(secrets / "certbotless.notify", hook.url)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets))
    program = bed.home / "aliyun-key"
    key = json.dumps({"AccessKeyId": KEY_ID, "AccessKeySecret": KEY_SECRET})
    program.write_text(f"#!/bin/sh\necho '{key}'\n")
    program.chmod(0o700)
    bed.dns.sts.roles["certbotless"] = Role()

    text = EXAMPLE.read_text().replace("registry.lan.example.com", DOMAIN).replace("lan.example.com", ZONE)
    written = yaml.safe_load(text)
    written["acme"][1] |= {"directory": ca.directory_url, "ca_bundle": str(ca.ca_bundle)}
    written["acme"][1]["eab"]["kid"] = EAB_KID
    endpoints = dict.fromkeys(("endpoint", "sts_endpoint"), bed.dns.endpoint)
    written["aliyun"] |= {"credentials": {"command": [str(program)]}, **endpoints}
    registry, git, local = written["sites"]
    registry["deploy"] = bed.site()["deploy"]
    git |= {"certs_dir": str(bed.home / "git"), "deploy": []}
    local["deploy"] = []
    del bed.config["aliyun"], bed.config["sites"]
    bed.config |= written
    return bed


@pytest.mark.row(108)
@pytest.mark.parametrize(
    "ca", [{"retry_after_s": 0, "eab_keys": {EAB_KID: EAB_KEY}}], indirect=True, ids=["with EAB"]
)
def test_the_example_with_all_of_it_works_while_its_first_ca_is_away(
    together: Bed, ca: Pebble, tmp_path: Path
) -> None:
    (tmp_path / "proxy").mkdir()
    with FaultProxy(ca.directory_url, tmp_path / "proxy", ca.ca_bundle) as first:
        first.at("GET", "/dir", answer(503, b"overloaded", {"Retry-After": "25200"}), times=10**6)
        name = f"{first.url}/dir"
        together.config["acme"][0] |= {"directory": name, "ca_bundle": str(first.ca_bundle)}
        checked = forks.run(["check", "--config", str(EXAMPLE)], dict(os.environ), 60)
        assert (checked.returncode, checked.stdout) == (0, f"{EXAMPLE}: ok (3 sites)\n"), checked.stderr
        # Of the program alone, which is not here.
        assert [line for line in checked.stderr.splitlines() if "/usr/local/bin/aliyun-key" not in line] == []
        together.ok("--once")
        asked = len(first.asked)
        # It was needed once, and is good for days only.
        (together.home / "credentials/certbotless.litessl").unlink()
        together.ok("--once")
        assert len(first.asked) == asked
        checks = together.checks()
    assert "secret" not in {each["check"] for each in checks if each["level"] == "fail"}
    [unreached] = [each for each in checks if (each["check"], each["about"]) == ("CA", name)]
    assert unreached["level"] == "fail"
    assert unreached["cure"].endswith(
        f"; this machine reaches {ca.directory_url}: put it before {name} in acme"
    )
    status = together.status()
    (unit,) = status["certificates"]
    standings = {each["directory"]: each["standing"] for each in unit["cas"]}
    assert standings == {name: "failing", ca.directory_url: "used"}
    sites = {site["domain"]: site for site in status["sites"]}
    assert [*sites] == [DOMAIN, GIT, LOCAL]
    assert {site["state"] for site in sites.values()} == {"ok"}
    assert {sites[each]["certificate"]["sha256"] for each in (DOMAIN, GIT)} == {unit["sha256"]}
    assert served_sha256(LAN_ADDRESS, together.registry.port, DOMAIN) == unit["sha256"]
    assert sites[LOCAL]["certificate"]["names"] == sorted([LAN_ADDRESS, LOCAL])
    assert sites[LOCAL]["certificate"]["ca"].startswith("local:")
    assert together.orders() == 1
    together.assert_no_txt()
    assert "AssumeRole" in {call.action for call in together.dns.calls}
    assert "issued instead" in together.ok("status")
