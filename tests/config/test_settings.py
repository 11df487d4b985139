"""What a configuration says: its values and their defaults, its secrets, and its digests."""

from dataclasses import dataclass, replace
from datetime import time, timedelta
from pathlib import Path

import pytest
from support.configs import CANARY, EAB, FULL, fault_of, parse, text_of

from certbotless.config.addresses import AddressRule
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.settings import Config, Site
from certbotless.config.values import DailyWindow, Port, Reload

# --- what good files mean -----------------------------------------------------------------------------------


def test_the_smallest_file_means_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys, one domain, one container; all the rest has its default."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    found = parse(
        "aliyun: {access_key_id: a, access_key_secret: b}\n"
        "sites:\n  - domain: devbox.sweetlove.top\n    deploy: [{container: registry}]\n"
    )
    assert found.cas[0].url == "https://acme-v02.api.letsencrypt.org/directory"
    assert (found.cas[0].email, found.cas[0].ca_bundle, found.cas[0].key_type) == (None, None, "ec256")
    assert (found.account.endpoint, found.account.ca_bundle) == ("https://alidns.aliyuncs.com", None)
    assert (found.dns.nameservers, found.dns.propagation_timeout) == ((), timedelta(minutes=10))
    assert found.docker.host == "unix:///var/run/docker.sock"
    assert found.http is None
    assert (found.certs_dir, found.state_dir) == (Path("/certs"), Path("/var/lib/certbotless"))
    assert (found.check_every, found.parallel, found.key_mode) == (timedelta(minutes=1), 8, "0600")
    (site,) = found.sites
    assert (site.domain, site.names, site.zone, site.ttl) == ("devbox.sweetlove.top", (), None, 600)
    assert (site.address, site.names_with("A")) == (AddressRule("auto"), (site.domain,))
    assert (site.address6, site.names_with("AAAA")) == (AddressRule("none", version=6), ())
    (target,) = site.deploy
    assert (target.container, target.label, target.command) == ("registry", None, None)
    assert (target.port, target.action, target.when) == (None, Reload("restart"), None)
    assert (found.cas[0].eab, found.cas[0].profile, found.account.security_token) == (None, None, None)
    assert found.certs_dir_of(site) == Path("/certs")
    assert (target.stop_timeout, target.timeout) == (timedelta(seconds=10), timedelta(minutes=1))
    staging = "https://acme-staging-v02.api.letsencrypt.org/directory"
    assert parse(text_of(acme="directory: letsencrypt-staging")).cas[0].url == staging


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ("records: domain", ["devbox.sweetlove.top"]),
        ("records: all", ["devbox.sweetlove.top", "git.sweetlove.top", "www.sweetlove.top"]),
        ("records: all, address: none", []),
    ],
)
def test_records_are_for_the_domain_and_where_asked_for_every_name_that_is_no_wildcard(
    keys: str, names: list[str]
) -> None:
    found = parse(
        "aliyun: {access_key_id: a, access_key_secret: b}\n"
        "sites:\n  - domain: devbox.sweetlove.top\n"
        '    names: [www.sweetlove.top, "*.lan.sweetlove.top", git.sweetlove.top]\n'
        + "".join(f"    {key}\n" for key in keys.split(", "))
    )
    assert list(found.sites[0].names_with("A")) == names


def test_every_key_that_is_live_is_taken() -> None:
    found = parse(FULL)
    assert (found.cas[0].url, found.cas[0].email) == ("https://ca.example.org/dir", "you@example.com")
    assert (found.cas[0].ca_bundle, found.account.ca_bundle) == (Path("/etc/ca.pem"), Path("/etc/api.pem"))
    assert found.cas[0].eab is not None
    assert (found.cas[0].eab.kid, found.cas[0].eab.hmac_key.read()) == ("kid-1", "PlantedCanaryMac")
    assert (found.cas[0].profile, found.cas[0].key_type) == ("shortlived", "rsa2048")
    assert found.account.security_token is not None
    assert found.account.security_token.read() == "PlantedCanaryToken"
    assert found.account.endpoint == "https://alidns.example.org:8443"
    assert found.dns.nameservers == ("127.0.0.1:5353", "[::1]:53", "ns1.example.org:53")
    assert found.dns.propagation_timeout == timedelta(seconds=90)
    assert found.docker.host == "tcp://127.0.0.1:2375"
    assert found.http is not None
    assert found.http.listen == "[::1]:9109"
    assert (found.certs_dir, found.state_dir) == (Path("/srv/certs"), Path("/srv/state"))
    assert (found.check_every, found.parallel, found.key_mode) == (timedelta(seconds=30), 3, "0640")
    first, second = found.sites
    assert first.domain == "devbox.sweetlove.top"
    assert first.all_names == ("*.devbox.sweetlove.top", "devbox.sweetlove.top", "git.sweetlove.top")
    assert (first.zone, first.ttl) == ("sweetlove.top", 1)
    assert first.address == AddressRule("literal", "10.79.40.213")
    assert (first.certs_dir, found.certs_dir_of(first)) == (Path("/srv/certs/devbox"),) * 2
    registry, labelled, web, command, nas = first.deploy
    assert (registry.container, registry.action, registry.port, registry.when, registry.stop_timeout) == (
        "registry",
        Reload("restart"),
        Port("number", 5000),
        None,
        timedelta(minutes=1),
    )
    assert (labelled.label, labelled.action) == ("certbotless.reload=devbox", Reload("signal", "HUP"))
    assert (labelled.when, labelled.port) == (DailyWindow(time(22, 30), time(4)), None)
    assert web.action == Reload("exec", argv=("nginx", "-s", "reload"))
    assert (web.port, web.stop_timeout) == (Port("elsewhere", 443, "::1"), timedelta(seconds=10))
    assert (command.command, command.port) == (("systemctl", "reload", "nginx"), Port("none"))
    assert command.timeout == timedelta(seconds=30)
    assert (nas.port, nas.action) == (Port("elsewhere", 443, "nas.lan"), Reload("none"))
    assert [target.name for target in first.deploy] == [
        "registry",
        "label:certbotless.reload=devbox",
        "web",
        "systemctl reload nginx",
        "port:nas.lan:443",
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


def test_the_docker_engine_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the file names one."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1000/docker.sock")
    assert parse(text_of()).docker.host == "unix:///run/user/1000/docker.sock"
    assert parse(FULL).docker.host == "tcp://127.0.0.1:2375"


@pytest.mark.row(87)
def test_an_engine_of_the_environment_that_cannot_be_used_is_a_fault_where_a_container_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://root@box")
    fault = fault_of(target="port: 5000")
    assert fault.startswith("docker: without host, DOCKER_HOST of the environment counts: 'ssh://root@box'")
    assert "write unix:///run/remote-docker.sock" in fault
    assert parse(text_of(target="command: [systemctl, reload, nginx], port: none"))
    assert parse(text_of(docker="host: unix:///run/a.sock", target="port: 5000"))


def test_a_thousand_sites_fit() -> None:
    sites = "".join(
        f"  - domain: box{i}.sweetlove.top\n    names: ['*.box{i}.sweetlove.top']\n    zone: sweetlove.top\n"
        f"    address: 10.79.{i // 250}.{i % 250}\n    deploy: [{{container: registry{i}, port: 5000}}]\n"
        for i in range(1000)
    )
    found = parse(f"aliyun: {{access_key_id: a, access_key_secret: b}}\nsites:\n{sites}")
    assert len(found.sites) == 1000


# --- secrets ------------------------------------------------------------------------------------------------


def test_secrets_show_nowhere() -> None:
    found = parse(FULL)
    assert {path: secret.read() for path, secret in found.secrets().items()} == {
        "aliyun.access_key_id": "PlantedCanaryId",
        "aliyun.access_key_secret": "PlantedCanarySecret",
        "aliyun.security_token": "PlantedCanaryToken",
        "acme.eab.hmac_key": "PlantedCanaryMac",
        "notify[0]": "jsons://PlantedCanaryHook@hooks.example.com/x",
    }
    for shown in (repr(found), str(found), repr(found.account), repr(found.secrets())):
        assert CANARY not in shown
    prints = Fingerprints.of(found)
    assert not any(CANARY in str((prints, prints.digests(found, site))) for site in found.sites)


# --- the digest of a site -----------------------------------------------------------------------------------


def digest_of(config: Config) -> str:
    """The digest of the first site, with the secrets as they are now."""
    return Fingerprints.of(config).digests(config, config.sites[0])[0]


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
    digests = [digest_of(found) for found in (before, after)]
    assert (digests[0] != digests[1]) == is_touched


def test_a_rotated_secret_clears_retry_times_as_an_edit_does(tmp_path: Path) -> None:
    """Also one that was not there at all."""
    secret = tmp_path / "secret"
    found = parse(text_of().replace(f"{CANARY}Secret", f"file:{secret}"))
    digests = {digest_of(found)}
    for content in ("one", "two"):
        secret.write_text(content)
        digests.add(digest_of(found))
    assert len(digests) == 3
    assert digest_of(found) in digests


def test_a_secret_that_became_unreadable_counts_as_it_was_last_read(tmp_path: Path) -> None:
    """Root reads it, and the owner of state_dir goes on."""
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    found = parse(text_of().replace(f"{CANARY}Secret", f"file:{secret}"))
    before = Fingerprints.of(found)
    secret.unlink()
    assert Fingerprints.of(found, before) == before
    assert Fingerprints.of(found) != before
    assert CANARY not in repr(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed(Site):
    further: str = "default"


def test_a_digest_is_of_what_the_file_says_and_not_of_the_names_of_our_classes() -> None:
    """A later version that renames a class, or adds a key with a default, forgets no failure."""
    found = parse(TWO_SITES)
    site = Renamed(**found.sites[0].to_dict())
    prints = Fingerprints.of(found)
    assert prints.digests(found, site) == prints.digests(found, found.sites[0])
    assert prints.digests(found, replace(site, further="set")) != prints.digests(found, site)
