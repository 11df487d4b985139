"""What an edit changes, in words: a line a change, values as the file writes them, secrets never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configs import CANARY, FULL, edited, parse, text_of

from certbotless.base.errors import ConfigError
from certbotless.config.diff import changes

SITE = "site devbox.sweetlove.top: "


def told(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the lines of an edit of the small file."""
    return changes(parse(text_of(**before)), parse(text_of(**after)))


@pytest.mark.parametrize(
    ("place", "before", "after", "line"),
    [
        ("site", "ttl: 600", "ttl: 60", SITE + "ttl 600 -> 60"),
        ("site", "", "ttl: 60", SITE + "ttl 600 -> 60"),
        ("site", "address: auto", "address: auto:eth0", SITE + "address auto -> auto:eth0"),
        ("site", "address: auto:10.0.0.0/8", "address: none", SITE + "address auto:10.0.0.0/8 -> none"),
        ("site", "address: 10.0.0.5", "address: 10.0.0.6", SITE + "address 10.0.0.5 -> 10.0.0.6"),
        (
            "site",
            "address: 10.0.0.5",
            "address: [10.0.0.5, 10.0.0.6]",
            SITE + "address 10.0.0.5 -> [10.0.0.5, 10.0.0.6]",
        ),
        ("site", "", "names: [b.top, a.top]", SITE + "names [] -> [b.top, a.top]"),
        ("site", "", "zone: sweetlove.top", SITE + "zone not set -> sweetlove.top"),
        ("site", "certs_dir: /a", "certs_dir: /b", SITE + "certs_dir /a -> /b"),
        ("target", "port: 5000", "port: 5001", SITE + "target registry: port 5000 -> 5001"),
        ("target", "port: none", 'port: "[::1]:443"', SITE + "target registry: port none -> [::1]:443"),
        ("target", "when: now", 'when: "02:00-05:00"', SITE + "target registry: when now -> 02:00-05:00"),
        (
            "target",
            "action: restart",
            "action: {signal: HUP}",
            SITE + "target registry: action restart -> signal HUP",
        ),
        ("target", "stop_timeout: 10s", "stop_timeout: 1m", SITE + "target registry: stop_timeout 10s -> 1m"),
        ("top", "", "check_every: 1h", "check_every 1m -> 1h"),
        ("top", 'key_mode: "0600"', 'key_mode: "0640"', "key_mode 0600 -> 0640"),
        ("acme", "", "key_type: ec384", "acme.key_type ec256 -> ec384"),
        ("dns", "", "propagation_timeout: 90s", "dns.propagation_timeout 10m -> 90s"),
        ("top", "http: {}", 'http: {listen: "[::1]:9110"}', "http.listen 127.0.0.1:9109 -> [::1]:9110"),
        ("top", "", "http: {}", "http added"),
        ("top", "http: {}", "", "http removed"),
        ("aliyun", "", f"security_token: {CANARY}Token", "aliyun.security_token added"),
        ("aliyun", f"security_token: {CANARY}", "security_token: file:/a", "aliyun.security_token changed"),
        ("aliyun", f"security_token: {CANARY}", "", "aliyun.security_token removed"),
    ],
)
def test_a_change_is_a_line(place: str, before: str, after: str, line: str) -> None:
    assert told({place: before}, {place: after}) == [line]


def test_another_ca_may_come_with_a_binding() -> None:
    before, after = (f"directory: google, eab: {{kid: {kid}, hmac_key: {CANARY}}}" for kid in "ab")
    assert told({"acme": "directory: letsencrypt"}, {"acme": before}) == [
        "acme.directory letsencrypt -> google",
        "acme.eab added",
    ]
    assert told({"acme": before}, {"acme": after}) == ["acme.eab.kid a -> b"]
    assert told({"acme": before}, {"acme": before.replace(CANARY, "c")}) == ["acme.eab.hmac_key changed"]


def test_the_target_and_the_domain_are_known_by_name() -> None:
    """A site or target under another name is one that is gone and one that is new."""
    assert told({"target": "container: a"}, {"target": "container: b"}) == [SITE + "deploy [a] -> [b]"]
    assert told({"domain": "a.top"}, {"domain": "b.top"}) == [
        "site a.top removed; its record, files and container are left as they are",
        "site b.top added",
    ]


def test_the_order_of_the_targets_is_told_because_the_first_one_goes_before_the_others() -> None:
    first, other = "container: a}, {container: b", "container: b}, {container: a, port: 1"
    assert told({"target": first}, {"target": other}) == [
        SITE + "deploy [a, b] -> [b, a]",
        SITE + "target a: port not set -> 1",
    ]


def test_what_means_the_same_is_no_change() -> None:
    """Comments, the order of sites, a default that is written out, a name in its own script."""
    text = FULL.replace("bücher.example", "xn--bcher-kva.example") + "parallel: 3\n".join(["# ", ""])
    assert changes(parse(FULL), parse(text)) == []
    assert told({}, {"site": "ttl: 600", "top": "check_every: 60s"}) == []


@given(st.data())
def test_two_good_files_are_told_apart_by_printable_lines_without_a_secret(data: st.DataObject) -> None:
    """And by none exactly if they mean the same."""
    try:
        after = parse(edited(data))
    except ConfigError:
        return
    before = parse(FULL)
    lines = changes(before, after)
    assert all(line.isprintable() and CANARY not in line for line in lines)
    if [site.domain for site in before.sites] == [site.domain for site in after.sites]:
        assert bool(lines) == (before != after)
