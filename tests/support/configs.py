"""Configuration files for tests: good ones, ways to add to them, and what is told of bad ones."""

import json
import re
from typing import Any

import pytest
from hypothesis import strategies as st

from certbotless.base.checked import fields_of
from certbotless.base.errors import ConfigError
from certbotless.config import load
from certbotless.config.settings import Acme, Aliyun, Config, Site
from certbotless.config.targets import Target
from certbotless.config.yaml_document import Document

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

EAB = f"eab: {{kid: kid-1, hmac_key: {CANARY}}}"
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
http:
  listen: "[::1]:9109"
certs_dir: /srv/certs
state_dir: /srv/state
check_every: 30s
parallel: 3
key_mode: "0640"
notify: ["jsons://PlantedCanaryHook@hooks.example.com/x"]
language: zh
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
      - {command: [systemctl, reload, nginx], port: none, timeout: 30s}
      - {port: "nas.lan:443", action: none}
  - domain: bücher.example
    address: none
    deploy: []
"""


def text_of(**parts: str) -> str:
    """Return a good file with further keys at some of the places."""
    parts = {"domain": "devbox.sweetlove.top", **dict.fromkeys(PLACES, ""), **parts}
    if parts["target"]:
        is_whole = parts["target"].startswith(("label:", "command:", "container:"))
        way = (
            "command: [carry], port: 1, "
            if parts["target"].startswith("timeout:")
            else "container: registry, "
        )
        parts["target"] = f"{{{'' if is_whole else way}{parts['target']}}}"
    return "".join(f"{line}\n" for line in (line.format(**parts) for line in LINES) if line.strip())


def parse(text: str) -> Config:
    return load.parse(text.encode(), "c.yaml")


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


# --- trees --------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *fields_of(Config),
        *fields_of(Acme),
        *fields_of(Aliyun),
        *fields_of(Site),
        *fields_of(Target),
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


def edited(data: st.DataObject, most: int = 1) -> str:
    """Return the file that has all keys, with some values replaced by any others, as JSON."""
    tree: dict[str, Any] = Document(FULL.encode(), "c.yaml").data
    for _ in range(data.draw(st.integers(1, most))):
        *above, last = data.draw(st.sampled_from(places_of(tree)))
        node: Any = tree
        for step in above:
            node = node[step]
        node[last] = data.draw(TREES)
    return json.dumps(tree)
