"""One file becomes one frozen value, or a report of all that is wrong with it, each fault at its place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from certbotless import config
from certbotless.config import Action, AddressRule, Config, Port, Window
from certbotless.document import MAX_BYTES, Document
from certbotless.errors import ConfigError

MANY = settings(max_examples=200, deadline=None)

CANARY = "PlantedCanary"
# The smallest file that means something; further keys are added where the marks are.
LINES = [
    "{top}",
    "acme: {{{acme}}}",
    "aliyun:",
    f"  access_key_id: {CANARY}Id",
    f"  access_key_secret: {CANARY}Secret",
    "  {aliyun}",
    "dns: {{{dns}}}",
    "docker: {{{docker}}}",
    "sites:",
    "  - domain: {domain}",
    "    {site}",
    "    deploy: [{target}]",
]
PLACES = ("top", "acme", "aliyun", "dns", "docker", "site", "target")
PREFIX = {
    "top": "",
    "acme": "acme.",
    "aliyun": "aliyun.",
    "dns": "dns.",
    "docker": "docker.",
    "site": "sites[0].",
    "target": "sites[0].deploy[0].",
}


def text_of(**parts: str) -> str:
    """Return a good file with further keys at some of the places."""
    parts = {"domain": "devbox.sweetlove.top", **dict.fromkeys(PLACES, ""), **parts}
    if parts["target"]:
        is_whole = parts["target"].startswith(("label:", "command:", "container:"))
        parts["target"] = f"{{{'' if is_whole else 'container: registry, '}{parts['target']}}}"
    return "".join(f"{line}\n" for line in (line.format(**parts) for line in LINES) if line.strip())


def parse(text: str) -> Config:
    return config.parse(text.encode(), "c.yaml")


def faults_of(text: str) -> list[str]:
    """Return the faults of a file, which has some."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.faults


def fault_of(**parts: str) -> str:
    """Return the one fault of a file, without its place: ``path: text``."""
    (fault,) = faults_of(text_of(**parts))
    match = re.fullmatch(r"c\.yaml:\d+:\d+: (.+)", fault)
    assert match is not None
    return match[1]


# --- what good files mean -----------------------------------------------------------------------------------


def test_the_smallest_file_means_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys, one domain, one container; all the rest has its default."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    found = parse(
        "aliyun: {access_key_id: a, access_key_secret: b}\n"
        "sites:\n  - domain: devbox.sweetlove.top\n    deploy: [{container: registry}]\n"
    )
    assert found.acme.url == "https://acme-v02.api.letsencrypt.org/directory"
    assert (found.acme.email, found.acme.ca_bundle, found.acme.key_type) == (None, None, "ec256")
    assert (found.aliyun.endpoint, found.aliyun.ca_bundle) == ("https://alidns.aliyuncs.com", None)
    assert (found.dns.nameservers, found.dns.propagation_timeout) == ((), timedelta(minutes=10))
    assert found.docker.host == "unix:///var/run/docker.sock"
    assert (found.certs_dir, found.state_dir) == (Path("/certs"), Path("/var/lib/certbotless"))
    assert (found.check_every, found.parallel, found.key_mode) == (timedelta(minutes=1), 8, "0600")
    (site,) = found.sites
    assert (site.domain, site.names, site.zone, site.ttl) == ("devbox.sweetlove.top", (), None, 600)
    assert (site.address, site.records) == (AddressRule("auto"), "domain")
    (target,) = site.deploy
    assert (target.container, target.label, target.command) == ("registry", None, None)
    assert (target.port, target.action, target.when) == (None, Action("restart"), None)
    assert (found.acme.eab, found.acme.profile, found.aliyun.security_token) == (None, None, None)
    assert found.certs_dir_of(site) == Path("/certs")
    assert target.stop_timeout == timedelta(seconds=10)


FULL = """\
acme:
  directory: https://ca.example.org/dir
  email: you@example.com
  ca_bundle: /etc/ca.pem
  eab: {kid: kid-1, hmac_key: PlantedCanaryMac}
  profile: shortlived
  key_type: rsa2048
aliyun:
  access_key_id: PlantedCanaryId
  access_key_secret: PlantedCanarySecret
  security_token: PlantedCanaryToken
  endpoint: https://alidns.example.org:8443
  ca_bundle: /etc/api.pem
dns:
  nameservers: ["127.0.0.1:5353", "[::1]:53", "ns1.example.org:53"]
  propagation_timeout: 90s
docker:
  host: tcp://127.0.0.1:2375
certs_dir: /srv/certs
state_dir: /srv/state
check_every: 30s
parallel: 3
key_mode: "0640"
sites:
  - domain: DevBox.SweetLove.top.
    names: ["*.devbox.sweetlove.top", git.sweetlove.top]
    zone: sweetlove.top
    address: 10.79.40.213
    ttl: 1
    records: domain
    certs_dir: /srv/certs/devbox
    deploy:
      - container: registry
        action: restart
        port: 5000
        when: now
        stop_timeout: 1m
      - label: certbotless.reload=devbox
        action: {signal: HUP}
        when: "22:30-04:00"
      - {container: web, action: {exec: [nginx, -s, reload]}, port: "[::1]:443"}
      - {command: [systemctl, reload, nginx], port: none}
  - domain: bücher.example
    address: none
    deploy: []
"""


def test_every_key_that_is_live_is_taken() -> None:
    found = parse(FULL)
    assert (found.acme.url, found.acme.email) == ("https://ca.example.org/dir", "you@example.com")
    assert (found.acme.ca_bundle, found.aliyun.ca_bundle) == (Path("/etc/ca.pem"), Path("/etc/api.pem"))
    assert found.acme.eab is not None
    assert (found.acme.eab.kid, found.acme.eab.hmac_key.read()) == ("kid-1", "PlantedCanaryMac")
    assert (found.acme.profile, found.acme.key_type) == ("shortlived", "rsa2048")
    assert found.aliyun.security_token is not None
    assert found.aliyun.security_token.read() == "PlantedCanaryToken"
    assert found.aliyun.endpoint == "https://alidns.example.org:8443"
    assert found.dns.nameservers == ("127.0.0.1:5353", "[::1]:53", "ns1.example.org:53")
    assert found.dns.propagation_timeout == timedelta(seconds=90)
    assert found.docker.host == "tcp://127.0.0.1:2375"
    assert (found.certs_dir, found.state_dir) == (Path("/srv/certs"), Path("/srv/state"))
    assert (found.check_every, found.parallel, found.key_mode) == (timedelta(seconds=30), 3, "0640")
    first, second = found.sites
    assert first.domain == "devbox.sweetlove.top"
    assert first.all_names == ("*.devbox.sweetlove.top", "devbox.sweetlove.top", "git.sweetlove.top")
    assert (first.zone, first.ttl) == ("sweetlove.top", 1)
    assert first.address == AddressRule("literal", "10.79.40.213")
    assert (first.certs_dir, found.certs_dir_of(first)) == (Path("/srv/certs/devbox"),) * 2
    registry, labelled, web, command = first.deploy
    assert (registry.container, registry.action, registry.port, registry.when, registry.stop_timeout) == (
        "registry",
        Action("restart"),
        Port("number", 5000),
        None,
        timedelta(minutes=1),
    )
    assert (labelled.label, labelled.action) == ("certbotless.reload=devbox", Action("signal", "HUP"))
    assert (labelled.when, labelled.port) == (Window(time(22, 30), time(4)), None)
    assert web.action == Action("exec", argv=("nginx", "-s", "reload"))
    assert (web.port, web.stop_timeout) == (Port("elsewhere", 443, "::1"), timedelta(seconds=10))
    assert (command.command, command.port) == (("systemctl", "reload", "nginx"), Port("none"))
    assert [target.name for target in first.deploy] == [
        "registry",
        "label:certbotless.reload=devbox",
        "web",
        "systemctl reload nginx",
    ]
    assert found.certs_dir_of(second) == Path("/srv/certs")
    assert (second.domain, second.address, second.deploy) == (
        "xn--bcher-kva.example",
        AddressRule("none"),
        (),
    )


def test_names_are_a_set() -> None:
    """The order in which they are written, and how often, makes no other certificate."""
    one = parse(text_of(site="names: [b.sweetlove.top, a.sweetlove.top, B.sweetlove.top.]"))
    other = parse(text_of(site="names: [a.sweetlove.top, b.sweetlove.top, devbox.sweetlove.top]"))
    assert one.sites[0].all_names == other.sites[0].all_names


def test_the_value_is_frozen() -> None:
    found: Any = parse(FULL)
    for model, field in ((found, "parallel"), (found.sites[0], "ttl"), (found.aliyun, "access_key_id")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, field, None)


def test_the_docker_engine_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the file names one."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
    assert parse(text_of()).docker.host == "unix:///run/user/1000/docker.sock"
    assert parse(FULL).docker.host == "tcp://127.0.0.1:2375"


def test_what_yaml_makes_of_plain_words_does_not_matter() -> None:
    """`no` is a name like any other; `0600` is a mode and not 384."""
    found = parse(text_of(target="port: 5000", top="key_mode: 0600").replace("registry", "no"))
    assert found.sites[0].deploy[0].container == "no"


def test_a_thousand_sites_fit() -> None:
    sites = "".join(
        f"  - domain: box{i}.sweetlove.top\n    names: ['*.box{i}.sweetlove.top']\n    zone: sweetlove.top\n"
        f"    address: 10.79.{i // 250}.{i % 250}\n    deploy: [{{container: registry{i}, port: 5000}}]\n"
        for i in range(1000)
    )
    found = parse(f"aliyun: {{access_key_id: a, access_key_secret: b}}\nsites:\n{sites}")
    assert len(found.sites) == 1000


# --- all faults at once -------------------------------------------------------------------------------------

MANY_FAULTS = """\
acme:
  directory: zerossl
  emial: you@example.com
  profile: short lived
aliyun:
  access_key_id: 12345
  access_key_id: PlantedCanary
  endpoint: http://alidns.example.org
dns:
  propagation_timeout: 10
certs_dir: certs
parallel: 0
sites:
  - domain: devbox.sweetlove.top
    ttl: 010
    names: ["*.devbox.sweetlove.top", "*.other.example", 5]
    zone: sweetlove.top
  - domain: DEVBOX.sweetlove.top
    zone: example.org
    ttl: 86401
    deploy:
      - container: registry
        prot: 5000
      - container: registry
        port: 65536
  - names: devbox
  - domain: "*.sweetlove.top"
    address: 10.0.0
    address: auto
"""


def test_every_fault_is_reported_at_once_in_the_order_of_the_file() -> None:
    """Repeated keys, values, and values against each other, in one report."""
    found = [fault.removeprefix("c.yaml:") for fault in faults_of(MANY_FAULTS)]
    assert [re.sub(r"^(\S+ [^:]+): .*", r"\1", fault) for fault in found] == [
        "2:14: acme.directory",
        "3:3: acme.emial",
        "4:12: acme.profile",
        "6:3: aliyun.access_key_secret",
        "6:18: aliyun.access_key_id",
        "7:3: aliyun.access_key_id",
        "8:13: aliyun.endpoint",
        "10:24: dns.propagation_timeout",
        "11:12: certs_dir",
        "12:11: parallel",
        "15:10: sites[0].ttl",
        "16:39: sites[0].names[1]",
        "16:58: sites[0].names[2]",
        "18:13: sites[1].domain",
        "19:11: sites[1].zone",
        "20:10: sites[1].ttl",
        "23:9: sites[1].deploy[0].prot",
        "24:20: sites[1].deploy[1].container",
        "25:15: sites[1].deploy[1].port",
        "26:5: sites[2].domain",
        "26:12: sites[2].names",
        "27:13: sites[3].domain",
        "28:14: sites[3].address",
        "29:5: sites[3].address",
    ]


def test_a_fault_says_what_is_wrong_and_what_would_be_right() -> None:
    texts = "\n".join(faults_of(MANY_FAULTS))
    for text in (
        "acme.emial: unknown key 'emial'; the nearest known key is 'email'",
        "deploy[0].prot: unknown key 'prot'; the nearest known key is 'port'",
        "aliyun.access_key_id: duplicate key 'access_key_id', first given in line 6",
        "aliyun.access_key_secret: is needed",
        "sites[1].domain: 'devbox.sweetlove.top' is already the domain of sites[0]",
        "sites[1].zone: 'devbox.sweetlove.top' is not in the zone 'example.org'",
        "sites[0].names[1]: '*.other.example' is not in the zone 'sweetlove.top'",
        "sites[1].ttl: 86401 is outside 1..86400 (Aliyun's free plan starts at 600)",
        "sites[1].deploy[1].container: 'registry' is already a target",
    ):
        assert text in texts


@pytest.mark.parametrize(
    ("place", "typo", "nearest"),
    [
        ("top", "site", "sites"),
        ("top", "cert_dir", "certs_dir"),
        ("top", "checkevery", "check_every"),
        ("top", "Parallel", "parallel"),
        ("acme", "e-mail", "email"),
        ("acme", "directory_url", "directory"),
        ("aliyun", "accesskey_id", "access_key_id"),
        ("aliyun", "access-key-secret", "access_key_secret"),
        ("dns", "nameserver", "nameservers"),
        ("docker", "hosts", "host"),
        ("site", "name", "names"),
        ("site", "TTL", "ttl"),
        ("target", "timeout", "stop_timeout"),
        ("target", "containers", "container"),
    ],
)
def test_an_unknown_key_names_the_nearest_one_of_its_place(place: str, typo: str, nearest: str) -> None:
    fault = fault_of(**{place: f"{typo}: x"})
    assert fault == f"{PREFIX[place]}{typo}: unknown key {typo!r}; the nearest known key is {nearest!r}"


def test_a_repeated_unknown_key_is_both() -> None:
    first, second = faults_of(text_of(site="tl: 5\n    tl: 6"))
    assert "sites[0].tl: unknown key 'tl'; the nearest known key is 'ttl'" in first
    assert "sites[0].tl: duplicate key 'tl', first given in line" in second


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("sites: [{domain: a.example.com}]", ["aliyun"]),
        ("aliyun: {access_key_id: a, access_key_secret: b}", ["sites"]),
        ("aliyun: {access_key_id: a}\nsites: [{}]", ["aliyun.access_key_secret", "sites[0].domain"]),
    ],
)
def test_what_is_needed_is_named(text: str, paths: list[str]) -> None:
    faults = [fault.split(": ", 1)[1] for fault in faults_of(text)]
    assert faults == [f"{path}: is needed" for path in paths]


def test_a_file_without_sites_is_no_configuration() -> None:
    text = "aliyun: {access_key_id: a, access_key_secret: b}\nsites: []\n"
    assert faults_of(text) == ["c.yaml:2:8: sites: needs at least one entry"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "text", "[a, b]", "5", "null"])
def test_what_is_no_mapping_is_no_configuration(text: str) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith("c.yaml:1:1: the file: must be a mapping")


# --- values of the wrong kind -------------------------------------------------------------------------------

JUNK = [
    "null",
    "5",
    "-1",
    "true",
    "1.5",
    "no",
    "010",
    '""',
    '" "',
    "x y",
    "[]",
    "[5]",
    "[[]]",
    "{}",
    "{a: b}",
]
# Which of these each key takes; all other junk is a fault of that key. Where null is the default it is taken.
TAKEN: dict[str, dict[str, list[str]]] = {
    "top": {
        "certs_dir": [],
        "state_dir": [],
        "check_every": [],
        "parallel": ["5"],
        "key_mode": [],
    },
    "acme": {
        "directory": [],
        "email": ["null"],
        "ca_bundle": ["null"],
        "eab": ["null"],
        "profile": ["null", "1.5", "no", "010"],
        "key_type": [],
    },
    "aliyun": {"security_token": ["null", "1.5", "no", "010", "x y"], "endpoint": [], "ca_bundle": ["null"]},
    "dns": {"nameservers": ["[]"], "propagation_timeout": []},
    "docker": {"host": []},
    "site": {
        "names": ["[]"],
        "zone": ["null"],
        "address": [],
        "ttl": ["5"],
        "records": [],
        "certs_dir": ["null"],
    },
    "target": {
        "container": ["no", "010", "1.5"],
        "label": ["1.5", "no", "010"],
        "command": [],
        "action": [],
        "port": ["null", "5"],
        "when": ["null"],
        "stop_timeout": [],
    },
}
KEYS = [(place, key) for place, keys in TAKEN.items() for key in keys]


@pytest.mark.parametrize(("place", "key"), KEYS)
def test_a_value_of_the_wrong_kind_is_a_fault_of_its_key(place: str, key: str) -> None:
    for junk in JUNK:
        text = text_of(**{place: f"{key}: {junk}" + (", port: none" if key == "command" else "")})
        if junk in TAKEN[place][key]:
            parse(text)
            continue
        path = re.escape(PREFIX[place] + key)
        if key in ("container", "label", "command") and junk == "null":
            path = re.escape(PREFIX["target"].removesuffix("."))
        for fault in faults_of(text):
            assert re.fullmatch(rf"c\.yaml:\d+:\d+: {path}(\[\d\]|\.\w+)*: .+", fault), (junk, fault)


@pytest.mark.parametrize("key", ["access_key_id", "access_key_secret"])
def test_a_secret_is_text(key: str) -> None:
    """A number must be quoted, lest a leading zero is lost; what was written is not repeated."""
    other = {"access_key_id": "access_key_secret", "access_key_secret": "access_key_id"}[key]
    for junk in ("null", "31337", "true", '""', '" "', "[31337]", "{a: 31337}", "'${31337'", "file:31337"):
        text = f"aliyun: {{{other}: x, {key}: {junk}}}\nsites: [{{domain: a.example.com}}]\n"
        (fault,) = faults_of(text)
        assert f": aliyun.{key}: " in fault
        assert "31337" not in fault


@pytest.mark.parametrize("section", ["acme", "aliyun", "dns", "docker", "sites"])
def test_a_section_is_a_mapping_or_a_list(section: str) -> None:
    good = {"aliyun": "{access_key_id: a, access_key_secret: b}", "sites": "[{domain: a.example.com}]"}
    for junk in ("null", "5", "true", "text", "{}" if section == "sites" else "[]"):
        text = "".join(f"{key}: {value}\n" for key, value in {**good, section: junk}.items())
        (fault,) = faults_of(text)
        assert re.fullmatch(rf"c\.yaml:\d:\d+: {section}: must be a (mapping|list)", fault)


@pytest.mark.parametrize("junk", ["null", "5", "text", "[]"])
def test_an_entry_of_a_list_is_a_mapping(junk: str) -> None:
    text = text_of() + f"  - {junk}\n  - domain: b.example.com\n    deploy: [{junk}]\n"
    first, second = faults_of(text)
    assert ": sites[1]: must be a mapping" in first
    assert ": sites[2].deploy[0]: must be a mapping" in second


# --- keys of features that are not there yet ----------------------------------------------------------------


def test_what_is_not_there_yet_is_refused_and_never_ignored() -> None:
    assert fault_of(site="records: all") == "sites[0].records: not supported yet; only 'domain' is"


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("1s", timedelta(seconds=1)),
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("6h", timedelta(hours=6)),
        ("1d", timedelta(days=1)),
        ('"30s"', timedelta(seconds=30)),
    ],
)
def test_a_duration_is_a_number_with_its_unit(text: str, duration: timedelta) -> None:
    assert parse(text_of(top=f"check_every: {text}")).check_every == duration


@pytest.mark.parametrize(
    "text",
    ["30", '"30"', "30 s", "s", "-30s", "+30s", "1.5m", "1w", "1M", "5ms", "1h30m", "1:30", "٣s", "1e3s"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    assert fault_of(top=f"check_every: {text}").startswith("check_every: must be a duration with its unit")


@pytest.mark.parametrize(
    ("place", "key", "least", "most"),
    [
        ("top", "check_every", "1s", "1d"),
        ("dns", "propagation_timeout", "1s", "6h"),
        ("target", "stop_timeout", "1s", "10m"),
    ],
)
def test_a_duration_has_its_bounds(place: str, key: str, least: str, most: str) -> None:
    for good in (least, most):
        parse(text_of(**{place: f"{key}: {good}"}))
    for bad in ("0s", "2d", "999999999d"):
        fault = fault_of(**{place: f"{key}: {bad}"})
        assert fault == f"{PREFIX[place]}{key}: {bad} is outside {least}..{most}"


@pytest.mark.parametrize(
    ("place", "key", "least", "most"),
    [("site", "ttl", 1, 86400), ("top", "parallel", 1, 64), ("target", "port", 1, 65535)],
)
def test_a_number_has_its_bounds(place: str, key: str, least: int, most: int) -> None:
    for good in (least, most):
        parse(text_of(**{place: f"{key}: {good}"}))
    for bad in (least - 1, most + 1, -least, 10**18):
        assert fault_of(**{place: f"{key}: {bad}"}).startswith(f"{PREFIX[place]}{key}: ")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://alidns.aliyuncs.com",
        "https://alidns.cn-hangzhou.aliyuncs.com:8443",
        "https://10.0.0.1",
        "https://[2001:db8::1]:443",
        "http://127.0.0.1:8080",
        "http://127.255.255.254",
        "http://[::1]:8080",
        "http://localhost",
        "http://localhost:80",
    ],
)
def test_an_endpoint_is_a_scheme_a_host_and_a_port(endpoint: str) -> None:
    """A final slash says nothing more."""
    assert parse(text_of(aliyun=f"endpoint: {endpoint}")).aliyun.endpoint == endpoint
    assert parse(text_of(aliyun=f"endpoint: {endpoint}/")).aliyun.endpoint == endpoint


@pytest.mark.parametrize(
    "host",
    [
        *("alidns.aliyuncs.com", "10.79.40.213", "192.168.0.1", "0.0.0.1", "128.0.0.1", "[::]", "[fe80::1]"),
        *("127.0.0.1.example.com", "localhost.example.com", "notlocalhost", "2130706433", "127.1"),
    ],
)
def test_plain_http_is_for_loopback_only(host: str) -> None:
    """Else every request would show a signature that opens the zone."""
    for endpoint in (f"http://{host}", f"http://{host}:8080", f"HTTP://{host}"):
        assert "plain http is for loopback only" in fault_of(aliyun=f'endpoint: "{endpoint}"')


@pytest.mark.parametrize(
    "endpoint",
    [
        *(
            "alidns.aliyuncs.com",
            "//alidns.aliyuncs.com",
            "ftp://alidns.aliyuncs.com",
            "https://",
            "https://:443",
        ),
        *("https://a/path", "https://a?x=1", "https://a#x", "https://user@a", "https://user:pw@a"),
        *("https://a:0", "https://a:65536", "https://a:b", "https://[::1", "https://a b", "https://a\\nb"),
        *(
            "http://127.0.0.1@example.com",
            "http://127.0.0.1\\\\@example.com",
            "http://127.0.0.1#@example.com",
        ),
    ],
)
def test_anything_else_is_no_endpoint(endpoint: str) -> None:
    assert fault_of(aliyun=f'endpoint: "{endpoint}"').startswith("aliyun.endpoint: ")


def test_a_directory_is_a_known_name_or_a_url() -> None:
    """A private CA is reached over TLS as well, with its own root."""
    names = {
        "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
        "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
        "https://127.0.0.1:14000/dir": "https://127.0.0.1:14000/dir",
    }
    for written, url in names.items():
        assert parse(text_of(acme=f'directory: "{written}"')).acme.url == url
    for bad in (
        "LetsEncrypt",
        "http://127.0.0.1/dir",
        "https://",
        "ca.example.org",
        "https://a b/",
        "https://a:x/",
    ):
        fault = fault_of(acme=f'directory: "{bad}"')
        assert fault.endswith(
            "is neither letsencrypt, letsencrypt-staging, zerossl, google nor an https:// URL"
        )


def test_a_name_server_is_a_host_and_a_port() -> None:
    """An IPv6 address stands in brackets: without them nobody could tell its end from a port."""
    for good in ("127.0.0.1:53", "[2001:db8::53]:53", "ns1.example.org:5353"):
        assert parse(text_of(dns=f'nameservers: ["{good}"]')).dns.nameservers == (good,)
    for bad in (
        "127.0.0.1",
        "fe80::1",
        "::1:53",
        "[]:53",
        ":53",
        "ns1:0",
        "ns1:65536",
        "ns1:dns",
        "a..b:53",
        f"{'a' * 64}:53",
        "n s:53",
        "[::1]",
    ):
        fault = fault_of(dns=f'nameservers: ["127.0.0.1:53", "{bad}"]')
        assert fault == f"dns.nameservers[1]: {bad!r} is not of the form host:port"


def test_an_engine_is_a_socket_or_a_host() -> None:
    for good in ("unix:///run/docker.sock", "tcp://10.0.0.1:2376", "ssh://root@box"):
        assert parse(text_of(docker=f'host: "{good}"')).docker.host == good
    for bad in ("/run/docker.sock", "unix://docker.sock", "http://a", "unix:///a b", "unix:///a\\0b"):
        assert "docker.host: " in fault_of(docker=f'host: "{bad}"')


def test_an_address_is_found_or_written_or_not_wanted() -> None:
    for text, rule in {
        "auto": AddressRule("auto"),
        "none": AddressRule("none"),
        "10.79.40.213": AddressRule("literal", "10.79.40.213"),
        "47.96.12.34": AddressRule("literal", "47.96.12.34"),
        "auto:eth0": AddressRule("interface", "eth0"),
        "auto:enp3s0.5@x": AddressRule("interface", "enp3s0.5@x"),
        "auto:10.0.0.0/8": AddressRule("network", "10.0.0.0/8"),
    }.items():
        assert parse(text_of(site=f"address: {text}")).sites[0].address == rule
    for bad in ("10.79.40", "10.79.40.256", "010.1.1.1", "10.0.0.0/8", "::1", "eth0", "devbox.sweetlove.top"):
        fault = fault_of(site=f'address: "{bad}"')
        forms = "auto, auto:INTERFACE, auto:NETWORK, an IPv4 address or none"
        assert fault == f"sites[0].address: {bad!r} is not {forms}"
    for bad in ("10.0.0.1/8", "10.0.0.0/33", "eth0/8", "::/0"):
        fault = fault_of(site=f'address: "auto:{bad}"')
        assert fault == f"sites[0].address: {bad!r} is not an IPv4 network like 10.0.0.0/8"
    for bad in ("", "10.79.40.213", "a b", "eth0:1", "x" * 16):
        fault = fault_of(site=f'address: "auto:{bad}"')
        form = "an interface like eth0 nor a network like 10.0.0.0/8"
        assert fault == f"sites[0].address: {bad!r} is neither {form}"


def test_a_path_is_absolute() -> None:
    for key in ("certs_dir", "state_dir"):
        for bad in ("certs", "./certs", "~/certs", '"/a\\0b"'):
            assert fault_of(top=f"{key}: {bad}") == f"{key}: must be an absolute path"


def test_a_container_is_named_as_the_engine_allows_it() -> None:
    for bad in ("/registry", "-x", "a b", "a/b", "a;b", "ü", '"a\\n"', "a" * 256):
        (fault,) = faults_of(text_of().replace("deploy: []", f"deploy: [{{container: {bad}}}]"))
        assert fault.endswith("is not a container name")


@pytest.mark.parametrize(
    "domain",
    [
        *('"*.devbox.top"', "devbox", '"../../etc/x"', '"a\\0b.top"', "10.79.40.213", "a" * 300 + ".top"),
        *('"a/b.top"', "dev_box.top", '"."', '""', "devbox.top:5000", "https://devbox.top"),
    ],
)
def test_a_domain_is_a_host_name(domain: str) -> None:
    """It names files, so nothing else may come in."""
    assert fault_of(domain=domain).startswith("sites[0].domain: ")


def test_a_further_name_may_be_a_wildcard() -> None:
    names = ("*.devbox.sweetlove.top", "*.git.sweetlove.top")
    assert parse(text_of(site=f"names: {json.dumps(names)}")).sites[0].names == names
    for bad in ("*", "*.top", "a.*.sweetlove.top", "*.*.sweetlove.top", "../x.top"):
        assert fault_of(site=f'names: ["{bad}"]').startswith("sites[0].names[0]: ")
    assert fault_of(site='zone: "*.sweetlove.top"').startswith("sites[0].zone: ")


def test_names_lie_in_the_zone_that_is_given() -> None:
    parse(text_of(site='zone: SweetLove.top.\n    names: ["*.devbox.sweetlove.top", sweetlove.top]'))
    assert (
        fault_of(site="zone: love.top")
        == "sites[0].zone: 'devbox.sweetlove.top' is not in the zone 'love.top'"
    )


@pytest.mark.parametrize(
    ("domain", "names", "fault"),
    [
        ("devbox.sweetlove.top", ["*.sweetlove.top"], (0, "*.sweetlove.top", "devbox.sweetlove.top")),
        (
            "sweetlove.top",
            ["Git.sweetlove.top", "*.SweetLove.top"],
            (1, "*.sweetlove.top", "git.sweetlove.top"),
        ),
    ],
)
def test_a_name_that_a_wildcard_covers_is_refused(
    domain: str, names: list[str], fault: tuple[int, str, str]
) -> None:
    """Let's Encrypt refuses such an order, whichever of the two is the domain."""
    j, wildcard, name = fault
    text = f"{wildcard!r} covers {name!r} already: a CA refuses the two in one certificate"
    assert fault_of(domain=domain, site=f"names: {json.dumps(names)}") == f"sites[0].names[{j}]: {text}"


def test_a_wildcard_covers_one_label_and_neither_its_base_nor_itself() -> None:
    for other in ("*.sweetlove.top", "a.b.sweetlove.top", "*.b.sweetlove.top"):
        site = f'names: ["*.sweetlove.top", "{other}"]'
        found = parse(text_of(domain="sweetlove.top", site=site)).sites[0]
        assert found.all_names == tuple(sorted({"sweetlove.top", "*.sweetlove.top", other}))


# --- the CA and its account ---------------------------------------------------------------------------------

EAB = f"eab: {{kid: kid-1, hmac_key: {CANARY}}}"


@pytest.mark.parametrize("directory", ["zerossl", "google"])
def test_a_ca_that_binds_accounts_needs_the_binding(directory: str) -> None:
    for acme in (f"directory: {directory}", f"directory: {directory}, eab: null"):
        assert fault_of(acme=acme) == f"acme.directory: {directory} needs eab: {{kid: ..., hmac_key: ...}}"
    found = parse(text_of(acme=f"directory: {directory}, {EAB}"))
    assert found.acme.url.startswith("https://")
    assert list(found.secrets()) == ["aliyun.access_key_id", "aliyun.access_key_secret", "acme.eab.hmac_key"]


def test_any_ca_may_have_a_binding_and_a_binding_is_whole() -> None:
    assert parse(text_of(acme=EAB)).acme.eab is not None
    assert fault_of(acme="eab: {kid: k}") == "acme.eab.hmac_key: is needed"
    assert fault_of(acme=f"eab: {{hmac_key: {CANARY}}}") == "acme.eab.kid: is needed"
    assert fault_of(acme=f"eab: {{key: k, kid: k, hmac_key: {CANARY}}}") == (
        "acme.eab.key: unknown key 'key'; the nearest known key is 'hmac_key'"
    )
    for bad in ('""', "x y", "ü", "x" * 257):
        fault = fault_of(acme=f"eab: {{kid: {bad}, hmac_key: {CANARY}}}")
        assert fault == "acme.eab.kid: must be the key id that the CA gave, printable ASCII"


def test_a_profile_is_a_word_and_a_key_is_of_a_known_type() -> None:
    for bad in ("short lived", "a/b", '""', "x" * 65):
        fault = fault_of(acme=f"profile: {bad}")
        assert fault.startswith("acme.profile: ")
        assert fault.endswith("is not the name of a profile")
    for good in ("ec256", "ec384", "rsa2048", "rsa4096"):
        assert parse(text_of(acme=f"key_type: {good}")).acme.key_type == good
    fault = fault_of(acme="key_type: rsa1024")
    assert fault == "acme.key_type: must be 'ec256', 'ec384', 'rsa2048' or 'rsa4096'"
    assert fault_of(top="key_mode: 0644") == "key_mode: must be '0600' or '0640'"


# --- who serves it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("{}", "needs one of container, label and command"),
        ("{port: 5000}", "needs one of container, label and command"),
        ("{container: null}", "needs one of container, label and command"),
        ("{container: a, label: b}", "needs one of container, label and command, not container and label"),
        (
            "{command: [a], label: b, container: c, port: 1}",
            "needs one of container, label and command, not container and label and command",
        ),
        ("{command: [a]}", "a command needs port: a number, host:port, or none"),
        ("{command: [a], port: null}", "a command needs port: a number, host:port, or none"),
    ],
)
def test_a_target_is_found_in_one_way(target: str, text: str) -> None:
    (fault,) = faults_of(text_of().replace("deploy: []", f"deploy: [{target}]"))
    assert fault == f"c.yaml:9:14: sites[0].deploy[0]: {text}"


def test_a_command_is_its_own_action() -> None:
    fault = fault_of(target="command: [a], port: none, action: restart")
    assert fault == "sites[0].deploy[0].action: does not go with command: the command is the action"
    assert parse(text_of(target="command: [a], port: 5000")).sites[0].deploy[0].port == Port("number", 5000)


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        ("container: a", "container: a", "container: 'a' is already a target"),
        ("label: a=b", "label: a=b", "label: 'label:a=b' is already a target"),
        ("command: [a, b], port: 1", "command: [a, b], port: 2", "command: 'a b' is already a target"),
        ("container: a", "command: [a], port: 1", "command: 'a' is already a target"),
    ],
)
def test_two_targets_of_a_site_have_two_names(first: str, second: str, fault: str) -> None:
    """`status` and the retry times know them by these."""
    (found,) = faults_of(text_of().replace("deploy: []", f"deploy: [{{{first}}}, {{{second}}}]"))
    assert found.endswith(f": sites[0].deploy[1].{fault}")
    parse(text_of().replace("deploy: []", f"deploy: [{{{first}}}]"))


def test_a_label_is_a_key_or_a_key_and_its_value() -> None:
    for good in ("certbotless", "certbotless.reload=devbox", "a=", "a=b=c d"):
        assert parse(text_of(target=f'label: "{good}"')).sites[0].deploy[0].label == good
    for bad in ("=b", "a b", "a,b", "a=b\\n", "k" * 129, "a=" + "v" * 256):
        assert fault_of(target=f'label: "{bad}"').endswith("is not a label: key or key=value")


@pytest.mark.parametrize(
    "command", ["[]", "a b", '[""]', '["", a]', "[a, 5]", "[a, [b]]", "[a, null]", '["a\\0"]', '[a, "b\\nc"]']
)
def test_a_command_is_a_list_of_lines(command: str) -> None:
    """No shell ever reads it, and what is run is a line of the log."""
    text = 'must be a list of a program and its arguments, each one line of text: ["nginx", "-s", "reload"]'
    assert fault_of(target=f"command: {command}, port: none") == f"sites[0].deploy[0].command: {text}"
    assert fault_of(target=f"action: {{exec: {command}}}") == f"sites[0].deploy[0].action: {text}"


def test_an_argument_may_be_empty() -> None:
    assert parse(text_of(target='command: [a, ""], port: none')).sites[0].deploy[0].command == ("a", "")


def test_an_action_is_a_restart_a_signal_or_a_program() -> None:
    for written, action in {
        "restart": Action("restart"),
        "{signal: HUP}": Action("signal", "HUP"),
        "{signal: sigusr1}": Action("signal", "USR1"),
        '{exec: ["nginx", "-s", "reload"]}': Action("exec", argv=("nginx", "-s", "reload")),
    }.items():
        assert parse(text_of(target=f"action: {written}")).sites[0].deploy[0].action == action
    for bad in ("stop", "null", "{}", "{signal: HUP, exec: [a]}", "{sginal: HUP}", "[restart]"):
        fault = fault_of(target=f"action: {bad}")
        text = 'must be restart, {signal: HUP} or {exec: ["nginx", "-s", "reload"]}'
        assert fault == f"sites[0].deploy[0].action: {text}"


def test_a_signal_is_one_that_a_program_can_answer() -> None:
    for bad in ("HOP", "SIG", '""', "_DFL", "SIGSIGHUP", "9"):
        assert ".action: " in fault_of(target=f"action: {{signal: {bad}}}")
    for bad in ("KILL", "SIGSTOP"):
        assert "makes no program read its files" in fault_of(target=f"action: {{signal: {bad}}}")


def test_a_port_is_here_or_elsewhere_or_cannot_be_proved() -> None:
    for written, port in {
        "5000": Port("number", 5000),
        "none": Port("none"),
        '"10.79.40.213:5000"': Port("elsewhere", 5000, "10.79.40.213"),
        "proxy.example.com:443": Port("elsewhere", 443, "proxy.example.com"),
        '"[2001:db8::1]:443"': Port("elsewhere", 443, "2001:db8::1"),
    }.items():
        assert parse(text_of(target=f"port: {written}")).sites[0].deploy[0].port == port
    for bad in ('"5000"', "0", "65536", "-1", "https", "[5000]", "true"):
        fault = fault_of(target=f"port: {bad}")
        assert fault == "sites[0].deploy[0].port: must be a port number, 1..65535, or host:port, or none"
    for bad in (":5000", "a:0", "a:65536", "::1:443"):
        assert fault_of(target=f'port: "{bad}"').endswith(f"{bad!r} is not of the form host:port")


def test_a_window_is_a_part_of_the_day() -> None:
    """One that ends before it starts goes over midnight."""
    for written, window in {
        "now": None,
        '"02:00-05:00"': Window(time(2), time(5)),
        "22:30-04:00": Window(time(22, 30), time(4)),
        "00:00-23:59": Window(time(0), time(23, 59)),
    }.items():
        assert parse(text_of(target=f"when: {written}")).sites[0].deploy[0].when == window
    for bad in ("2:00-5:00", "02:00", "24:00-05:00", "02:60-05:00", "02:00 - 05:00", "0٢:00-05:00", "never"):
        fault = fault_of(target=f'when: "{bad}"')
        assert fault.endswith('when: must be now, or a daily window in local time, like "02:00-05:00"')
    assert fault_of(target="when: 02:00-02:00") == "sites[0].deploy[0].when: the window is empty"


# --- secrets ------------------------------------------------------------------------------------------------


def test_secrets_show_nowhere() -> None:
    found = parse(FULL)
    assert {path: secret.read() for path, secret in found.secrets().items()} == {
        "aliyun.access_key_id": "PlantedCanaryId",
        "aliyun.access_key_secret": "PlantedCanarySecret",
        "aliyun.security_token": "PlantedCanaryToken",
        "acme.eab.hmac_key": "PlantedCanaryMac",
    }
    for shown in (
        repr(found),
        str(found),
        f"{found.aliyun!r}",
        repr(found.secrets()),
    ):
        assert CANARY not in shown
    assert not any(CANARY in found.digest(site) for site in found.sites)


def test_warnings_are_no_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is not there, or open to others; an address that leads nowhere else."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o644)
    found = parse(
        f"aliyun: {{access_key_id: '${{NO_SUCH_KEY}}', access_key_secret: 'file:{secret}'}}\n"
        "sites: [{domain: a.example.com, address: 10.0.0.1}, {domain: b.example.com, address: 127.0.0.2}]\n"
    )
    first, second, third = found.warnings()
    assert first.startswith("aliyun.access_key_id: the environment variable 'NO_SUCH_KEY' is not set")
    assert second.startswith(f"aliyun.access_key_secret: {str(secret)!r} has mode 0644")
    assert third.startswith("sites[1].address: 127.0.0.2 ")
    secret.chmod(0o600)
    monkeypatch.setenv("NO_SUCH_KEY", CANARY)
    assert found.warnings() == [third]
    optional = parse(
        text_of(
            aliyun=f"security_token: file:{tmp_path}/none",
            acme="eab: {kid: k, hmac_key: '${NO_SUCH_MAC}'}",
        )
    )
    first, second = optional.warnings()
    assert first.startswith("aliyun.security_token: cannot read the secret")
    assert second.startswith("acme.eab.hmac_key: the environment variable 'NO_SUCH_MAC' is not set")
    assert parse(FULL).warnings() == []


# --- the digest of a site -----------------------------------------------------------------------------------

TWO_SITES = text_of(aliyun="endpoint: https://a.example.com") + "  - domain: b.example.com\n"


@pytest.mark.parametrize(
    ("old", "new", "is_touched"),
    [
        ("devbox.sweetlove.top", "DEVBOX.sweetlove.top", False),
        ("b.example.com", "c.example.com", False),
        ("acme: {}", "acme: {}\ncheck_every: 5s", False),
        ("deploy: []", "deploy: [{container: web}]", True),
        ("acme: {}", "acme: {directory: letsencrypt-staging}", True),
        ("acme: {}", "acme: {profile: shortlived}", True),
        ("acme: {}", "acme: {key_type: rsa2048}", True),
        ("acme: {}", f"acme: {{{EAB}}}", True),
        ("https://a.example.com", "https://b.example.com", True),
        (f"{CANARY}Secret", f"{CANARY}Other", True),
        ("dns: {}", "dns: {propagation_timeout: 5m}", True),
        ("docker: {}", "docker: {host: 'tcp://a:1'}", True),
        ("acme: {}", "acme: {}\ncerts_dir: /other", True),
    ],
)
def test_an_edit_clears_the_retry_times_of_the_sites_that_it_touches(
    old: str, new: str, is_touched: bool
) -> None:
    """They count for the digest under which the attempt failed."""
    before, after = parse(TWO_SITES), parse(TWO_SITES.replace(old, new))
    digests = [found.digest(found.sites[0]) for found in (before, after)]
    assert (digests[0] != digests[1]) == is_touched


def test_a_rotated_secret_clears_retry_times_as_an_edit_does(tmp_path: Path) -> None:
    """Also one that was not there at all."""
    secret = tmp_path / "secret"
    found = parse(text_of().replace(f"{CANARY}Secret", f"file:{secret}"))
    digests = {found.digest(found.sites[0])}
    for content in ("one", "two"):
        secret.write_text(content)
        digests.add(found.digest(found.sites[0]))
    assert len(digests) == 3
    assert found.digest(found.sites[0]) in digests


def test_a_secret_that_became_unreadable_counts_as_it_was_last_read(tmp_path: Path) -> None:
    """Root reads it, and the owner of state_dir goes on."""
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    found = parse(text_of().replace(f"{CANARY}Secret", f"file:{secret}"))
    before = found.digest(found.sites[0])
    secret.unlink()
    assert found.digest(found.sites[0]) == before
    assert CANARY not in repr(found)


# --- reading ------------------------------------------------------------------------------------------------


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """However long it is: one byte more shows that it is too long."""
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * (2 << 20))
    assert len(config.read(path)) == MAX_BYTES + 1
    with pytest.raises(ConfigError, match="larger than"):
        config.load(path)
    path.write_text(FULL)
    assert config.load(path) == parse(FULL)


def test_a_file_that_cannot_be_read_is_a_fault_with_the_reason(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            config.load(path)
        (fault,) = caught.value.faults
        assert fault.startswith(f"{path}:1:1: the file: cannot be read: {reason}")
    with pytest.raises(ConfigError, match="--config FILE"):
        config.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        (FULL, ("/srv/certs", "/srv/state")),
        (FULL.replace("parallel", "paralel"), ("/srv/certs", "/srv/state")),
        (FULL + "sites: [", ("/srv/certs", "/srv/state")),
        (FULL + "certs_dir: /other\n", ("/srv/certs", "/srv/state")),
        (FULL.replace("/srv/certs", '"/srv/my certs" # here') + "\t", ("/srv/my certs", "/srv/state")),
        ("{certs_dir: /a, state_dir: /b, x: y}", ("/a", "/b")),
        ("certs_dir: relative\nstate_dir: 5\n", ("/certs", "/var/lib/certbotless")),
        ("certs_dir: [\nstate_dir: {\n", ("/certs", "/var/lib/certbotless")),
        ("  certs_dir: /a\n\t", ("/certs", "/var/lib/certbotless")),
        ("", ("/certs", "/var/lib/certbotless")),
        ("- 5", ("/certs", "/var/lib/certbotless")),
    ],
)
def test_a_broken_file_still_tells_where_its_sites_are(text: str, folders: tuple[str, str]) -> None:
    """As far as it can: `status` shows them all the same."""
    assert config.folders_of_broken(text.encode()) == tuple(map(Path, folders))


# --- the environment ----------------------------------------------------------------------------------------


def test_the_journal_is_known_by_the_stream_that_systemd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stream").open("wb") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert config.is_read_by_journal(stream.fileno())
        for other in ("", "0:0", "x", f"{found.st_dev}:{found.st_ino + 1}"):
            monkeypatch.setenv("JOURNAL_STREAM", other)
            assert not config.is_read_by_journal(stream.fileno())
    assert not config.is_read_by_journal(10**6)


def test_systemd_says_where_it_wants_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert config.notify_socket() == ""
    monkeypatch.setenv("NOTIFY_SOCKET", "@notify")
    assert config.notify_socket() == "@notify"


# --- properties ---------------------------------------------------------------------------------------------

FAULT = re.compile(r"c\.yaml:(\d+):(\d+): .+: .+")


def check_report(raw: bytes) -> None:
    """Whatever the file holds: it is a configuration, or a report of printable faults in their order."""
    try:
        shown = repr(config.parse(raw, "c.yaml"))
    except ConfigError as exc:
        assert exc.faults
        assert all(fault.isprintable() for fault in exc.faults)
        matches = [FAULT.fullmatch(fault) for fault in exc.faults]
        places = [(int(match[1]), int(match[2])) for match in matches if match is not None]
        assert len(places) == len(exc.faults)
        assert places == sorted(places)
        shown = str(exc)
    assert CANARY not in shown


@MANY
@given(st.binary(max_size=300))
def test_any_bytes_are_a_configuration_or_a_report(raw: bytes) -> None:
    check_report(raw)
    check_report(FULL.encode() + raw)


WORDS = st.sampled_from(
    [
        *Config.model_fields,
        *config.Acme.model_fields,
        *config.Aliyun.model_fields,
        *config.Site.model_fields,
        *config.Target.model_fields,
        *(
            "nameservers",
            "host",
            "auto",
            "none",
            "restart",
            "10m",
            "a.example.com",
            "*.example.com",
            "http://",
        ),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | WORDS | st.text(max_size=10).map(json.dumps)
TREES = st.recursive(
    SCALARS, lambda t: st.lists(t, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), t, max_size=5)
)


@MANY
@given(TREES)
def test_any_tree_is_a_configuration_or_a_report(tree: object) -> None:
    check_report(json.dumps(tree).encode())


def good_tree() -> dict[str, Any]:
    """Return the file that has all keys, as a tree."""
    tree: dict[str, Any] = Document(FULL.encode(), "c.yaml").data
    return tree


def places_of(tree: object) -> list[list[str | int]]:
    """Return the path of every value in a tree."""
    items = (
        list(tree.items())
        if isinstance(tree, dict)
        else list(enumerate(tree))
        if isinstance(tree, list)
        else []
    )
    return [path for key, child in items for path in ([key], *([key, *inner] for inner in places_of(child)))]


@MANY
@given(st.data())
def test_a_good_file_with_some_values_replaced_is_a_configuration_or_a_report(data: st.DataObject) -> None:
    """The secrets are in it, and in nothing that is said of it."""
    tree = good_tree()
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(places_of(tree)))
        node: Any = tree
        for step in above:
            node = node[step]
        node[last] = data.draw(TREES)
    check_report(json.dumps(tree).encode())


def test_every_beginning_of_a_good_file_is_a_configuration_or_a_report() -> None:
    """An editor that saves in two writes shows one of them."""
    raw = FULL.encode()
    for length in range(len(raw)):
        check_report(raw[:length])


@pytest.mark.parametrize(
    "mutate",
    [
        lambda text: text.replace("access_key_secret: ", "access_key_secret "),
        lambda text: text.replace("access_key_secret: ", "access_key_secret: !"),
        lambda text: text.replace("access_key_secret: ", "access_key_secret: *"),
        lambda text: text.replace("access_key_secret: ", "access_key_secret: &"),
        lambda text: text.replace("access_key_secret: ", "access_key_secret: ["),
        lambda text: text.replace("access_key_secret: ", "access_key_secert: "),
        lambda text: text.replace("access_key_secret: ", "access_key_secret: ${"),
        lambda text: text.replace("access_key_secret: ", "access_key_secret: credential:../"),
        lambda text: text.replace("access_key_secret: ", "access_key_secret: 'x\n  "),
        lambda text: text.replace("access_key_secret: ", "security_token: "),
        lambda text: text.replace("Secret\n", "Secret\x00\n"),
        lambda text: text.replace("  access_key_secret: ", "\taccess_key_secret: "),
        lambda text: text.replace(
            "  access_key_secret", "  access_key_secret: PlantedCanary\n  access_key_secret"
        ),
    ],
)
def test_no_slip_around_a_secret_shows_it(mutate: Callable[[str], str]) -> None:
    report = "\n".join(faults_of(mutate(FULL)))
    assert CANARY not in report
