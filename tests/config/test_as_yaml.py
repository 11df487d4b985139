"""A configuration is shown as the YAML that asks for it."""

import pytest

from certbotless.config import as_yaml, load

TEXT = """
aliyun: {access_key_id: LTAI0123456789abcdef, access_key_secret: "${SECRET}", security_token: "file:/token"}
acme: {email: a@example.com, eab: {kid: k, hmac_key: "credential:hmac"}}
certs_dir: /somewhere
dns: {propagation_timeout: 5m, nameservers: ["10.0.0.1:53"]}
docker: {host: "tcp://127.0.0.1:2375"}
sites:
  - domain: a.example.com
    names: ["*.a.example.com"]
    address: auto:eth0
    address6: none
    ttl: 700
    deploy:
      - {container: registry, action: {signal: HUP}, port: 5000, when: "02:00-05:00"}
      - {container: web, action: {exec: [nginx, -s, reload]}, stop_timeout: 20s}
      - {command: [carry, "{domain}"], port: none, timeout: 5m}
      - {container: proxy, action: none}
      - {port: "10.0.0.3:443"}
      - {label: web=yes, port: "10.0.0.2:443"}
  - domain: b.example.com
"""
SEVERAL = TEXT.replace("address: auto:eth0", "address: [10.0.0.5, 10.0.0.6]")


@pytest.mark.parametrize("file", [TEXT, SEVERAL])
def test_what_is_shown_asks_for_the_same(file: str) -> None:
    """But for a secret that is written in the file: it is hidden. The other sites are left out."""
    config = load.parse(file.encode(), "c.yaml")
    text = "\n".join(as_yaml.lines(config, config.sites[0]))
    assert "LTAI" not in text
    again = load.parse(text.replace("'***'", "LTAI0123456789abcdef").encode(), "d.yaml")
    assert again.sites == config.sites[:1]
    for name in ("acme", "aliyun", "dns", "docker", "certs_dir", "state_dir"):
        assert getattr(again, name) == getattr(config, name)


@pytest.mark.parametrize("line", ["- domain: a.example.com", "    port: 5000", "  propagation_timeout: 5m"])
def test_it_is_written_as_a_person_writes_it(line: str) -> None:
    config = load.parse(TEXT.encode(), "c.yaml")
    assert line in as_yaml.lines(config, config.sites[0])


def test_what_is_a_default_is_left_out() -> None:
    config = load.parse(TEXT.encode(), "c.yaml")
    assert as_yaml.lines(config, config.sites[1])[-2:] == ["sites:", "- domain: b.example.com"]
