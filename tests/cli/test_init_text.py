"""The text of the first configuration, and of the command that starts a registry."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.newcomer import DOMAIN

from certbotless.base.names import likely_zone, normalise
from certbotless.cli.init.text import Answers, config_text, run_text
from certbotless.cli.names import names_of_local
from certbotless.config import load
from certbotless.config.diagnostics import check
from certbotless.config.secret import Secret
from certbotless.config.targets import Target
from certbotless.config.values import Port

ANSWERS = Answers(DOMAIN, "file:/etc/id", "credential:certbotless.config.secret")


def test_the_text_says_what_was_answered() -> None:
    config = load.parse(config_text(ANSWERS).encode(), "text")
    (site,) = config.sites
    assert (site.domain, site.zone, site.deploy, config.cas[0].email) == (DOMAIN, None, (), None)
    full = replace(
        ANSWERS,
        zone="sweetlove.top",
        address="auto:eth0",
        directory="https://ca.example.com/dir",
        email="a@b.com",
        docker_host="tcp://127.0.0.1:2375",
        certs_dir=Path("/srv/my certs"),
        key_mode="0640",
        container="null",
        port=443,
        stop_timeout_s=35,
        names=(f"*.{DOMAIN}",),
        endpoint="https://alidns.example.com",
    )
    config = load.parse(config_text(full).encode(), "text")
    (site,) = config.sites
    (target,) = site.deploy
    assert (config.certs_dir, config.key_mode) == (Path("/srv/my certs"), "0640")
    assert (config.docker.host, config.cas[0].directory) == (full.docker_host, full.directory)
    assert (site.names, config.account.endpoint) == (full.names, full.endpoint)
    assert (site.zone, site.address.value, config.cas[0].email) == ("sweetlove.top", "eth0", "a@b.com")
    assert (target.container, target.port, target.stop_timeout.seconds) == ("null", Port("number", 443), 35)


def accepted(takes: Callable[[str], object]) -> Callable[[str], bool]:
    def is_accepted(text: str) -> bool:
        try:
            takes(text)
        except ValueError:
            return False
        return True

    return is_accepted


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABEL, min_size=2, max_size=4).map(".".join).filter(accepted(normalise))
# Printable, as all of them must be: a filter that most words fail ends the test itself now and then.
WORDS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=12)
REFERENCES = (
    st.one_of(
        st.from_regex(r"\$\{[A-Za-z_][A-Za-z0-9_]{0,8}\}", fullmatch=True),
        WORDS.map("file:/{}".format),
        st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True).map("credential:{}".format),
    )
    .map(str.strip)
    .filter(accepted(Secret.parse))
)
LOCAL_FORMS = ("{}.lan", "*.{}.home.arpa", "{}.example.com", "10.0.0.{}", "fd00::{}")
CONTAINERS = st.one_of(
    st.sampled_from(["null", "true", "no", "0x1f", "1e3", "12"]),
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,9}", fullmatch=True).filter(
        accepted(check(Target, "container"))
    ),
)


@given(
    DOMAINS,
    REFERENCES,
    REFERENCES,
    CONTAINERS,
    WORDS.filter(lambda word: ".." not in Path(word).parts),
)
def test_whatever_is_accepted_as_an_answer_the_text_holds_it(
    domain: str, key_id: str, key_secret: str, container: str, folder: str
) -> None:
    answers = Answers(domain, key_id, key_secret, container=container, certs_dir=Path("/", folder))
    config = load.parse(config_text(answers).encode(), "text")
    assert (config.sites[0].domain, config.certs_dir) == (normalise(domain), Path("/", folder))
    assert config.account.access_key_id == Secret.parse(key_id)
    assert config.account.access_key_secret == Secret.parse(key_secret)
    assert config.sites[0].deploy[0].container == container


@given(st.lists(st.one_of(LABEL, *(LABEL.map(form.format) for form in LOCAL_FORMS)), min_size=1, max_size=5))
def test_whatever_names_a_local_site_is_given_the_text_holds_them(names: list[str]) -> None:
    try:
        domain, *further = names_of_local("，".join(names))
    except ValueError:
        return
    answers = Answers(domain, names=tuple(further), is_local=True, with_address=True)
    (site,) = load.parse(config_text(answers).encode(), "text").sites
    assert (site.domain, site.names, site.ca) == (domain, tuple(further), "local")


def test_what_starts_a_registry_serves_tls_and_drains_and_asks_for_a_password() -> None:
    answers = replace(ANSWERS, container="hub", certs_dir=Path("/srv/my certs"), port=443)
    text = run_text(answers)
    assert "htpasswd -Bc /etc/registry/htpasswd USER\n" in text
    words = shlex.split(text.partition("docker run ")[2].replace("\\\n", " "))
    assert words[:8] == ["-d", "--name", "hub", "--restart=always", "--stop-timeout", "35", "-p", "443:5000"]
    volumes = [after for word, after in pairwise(words) if word == "-v"]
    assert volumes == ["hub-data:/var/lib/registry", "/srv/my certs:/certs:ro", "/etc/registry:/auth"]
    assert dict(after.split("=") for word, after in pairwise(words) if word == "-e") == {
        "REGISTRY_HTTP_TLS_CERTIFICATE": f"/certs/{DOMAIN}.pem",
        "REGISTRY_HTTP_TLS_KEY": f"/certs/{DOMAIN}.key",
        "REGISTRY_HTTP_DRAINTIMEOUT": "30s",
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "registry",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
    }
    assert max(map(len, text.splitlines())) <= 100


def test_clients_name_the_port_of_a_service_unless_it_is_that_of_https() -> None:
    assert [ANSWERS.at(port) for port in (None, 5001, 443)] == [f"{DOMAIN}:5000", f"{DOMAIN}:5001", DOMAIN]


@pytest.mark.parametrize(
    ("domain", "zone"),
    [("a.b.example.com", "example.com"), ("a.example.com.cn", "example.com.cn"), ("a.qq.cn", "qq.cn")],
)
def test_the_policy_before_the_key_names_what_is_most_likely_the_zone(domain: str, zone: str) -> None:
    assert likely_zone(domain) == zone
