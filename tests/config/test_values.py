"""What each value of the file may be: what is taken, what is refused, and in which words."""

import json
import re
from datetime import time, timedelta
from typing import Any, get_args, get_type_hints

import pytest
from support.configs import CANARY, EAB, PREFIX, fault_of, faults_of, parse, text_of

from certbotless.base.errors import printable
from certbotless.config.addresses import AddressRule
from certbotless.config.values import DailyWindow, Port, Reload

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
        "address6": [],
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
        "timeout": [],
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


# --- what is taken, and what it means -----------------------------------------------------------------------

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
ENDPOINTS = [
    "https://alidns.aliyuncs.com",
    "https://alidns.cn-hangzhou.aliyuncs.com:8443",
    "https://10.0.0.1",
    "https://[2001:db8::1]:443",
    "http://127.0.0.1:8080",
    "http://127.255.255.254",
    "http://[::1]:8080",
    "http://localhost",
    "http://localhost:80",
]
GOOD: list[tuple[str, str, dict[Any, Any]]] = [
    (
        "top",
        "check_every",
        {"1s": SECOND, "90s": 90 * SECOND, "10m": 10 * MINUTE, "6h": 6 * HOUR, "1d": 24 * HOUR},
    ),
    ("dns", "propagation_timeout", {"1s": SECOND, "6h": 6 * HOUR}),
    ("target", "stop_timeout", {"1s": SECOND, "10m": 10 * MINUTE}),
    ("target", "timeout", {"1s": SECOND, "10m": 10 * MINUTE}),
    ("top", "parallel", {1: 1, 64: 64}),
    ("site", "ttl", {1: 1, 86400: 86400}),
    ("aliyun", "endpoint", {url: url for url in ENDPOINTS}),
    # A final slash and the case of the scheme say nothing.
    ("aliyun", "endpoint", {f"{url.replace('http', 'HTTP')}/": url for url in ENDPOINTS}),
    # A private CA is reached over TLS as well, with its own root.
    ("acme", "directory", {name: name for name in ("letsencrypt-staging", "https://127.0.0.1:14000/dir")}),
    ("acme", "key_type", {name: name for name in ("ec256", "ec384", "rsa2048", "rsa4096")}),
    ("docker", "host", {url: url for url in ("unix:///run/docker.sock", "tcp://10.0.0.1:2375")}),
    # An IPv6 address stands in brackets: without them nobody could tell its end from a port.
    (
        "dns",
        "nameservers",
        {servers: servers for servers in [("127.0.0.1:53", "[::1]:53", "ns1.a.org:5353")]},
    ),
    (
        "site",
        "address",
        {
            "auto": AddressRule("auto"),
            "none": AddressRule("none"),
            "10.79.40.213": AddressRule("literal", "10.79.40.213"),
            "47.96.12.34": AddressRule("literal", "47.96.12.34"),
            "auto:eth0": AddressRule("interface", "eth0"),
            "auto:enp3s0.5@x": AddressRule("interface", "enp3s0.5@x"),
            "auto:10.0.0.0/8": AddressRule("network", "10.0.0.0/8"),
        },
    ),
    (
        "site",
        "address",
        {
            ("10.79.40.211", "100.64.0.7"): AddressRule("literal", "10.79.40.211", others=("100.64.0.7",)),
            tuple(f"10.0.0.{n}" for n in range(10)): AddressRule(
                "literal", "10.0.0.0", others=tuple(f"10.0.0.{n}" for n in range(1, 10))
            ),
        },
    ),
    (
        "site",
        "address6",
        {
            "auto": AddressRule("auto", version=6),
            "none": AddressRule("none", version=6),
            # It has several spellings, and one in the end.
            "fd00::5": AddressRule("literal", "fd00::5", 6),
            "FD00:0:0::0005": AddressRule("literal", "fd00::5", 6),
            "2409:8a00::1": AddressRule("literal", "2409:8a00::1", 6),
            "auto:eth0": AddressRule("interface", "eth0", 6),
        },
    ),
    ("site", "names", {names: names for names in [("*.devbox.sweetlove.top", "*.git.sweetlove.top")]}),
    (
        "target",
        "label",
        {label: label for label in ("certbotless", "certbotless.reload=devbox", "a=", "a=b=c d")},
    ),
    ("target", "command", {("a", ""): ("a", "")}),
    (
        "target",
        "port",
        {
            5000: Port("number", 5000),
            1: Port("number", 1),
            65535: Port("number", 65535),
            "none": Port("none"),
            "10.79.40.213:5000": Port("elsewhere", 5000, "10.79.40.213"),
            "proxy.example.com:443": Port("elsewhere", 443, "proxy.example.com"),
            "[2001:db8::1]:443": Port("elsewhere", 443, "2001:db8::1"),
        },
    ),
    # A window that ends before it starts goes over midnight.
    (
        "target",
        "when",
        {
            "now": None,
            "02:00-05:00": DailyWindow(time(2), time(5)),
            "22:30-04:00": DailyWindow(time(22, 30), time(4)),
            "00:00-23:59": DailyWindow(time(0), time(23, 59)),
        },
    ),
]


def written(place: str, key: str, value: object) -> str:
    """Return a good file in which a key has this value."""
    port = ", port: none" if key == "command" else ""
    return text_of(**{place: f"{key}: {json.dumps(value, ensure_ascii=False)}{port}"})


@pytest.mark.parametrize(("place", "key", "values"), GOOD)
def test_what_is_taken_means_what_it_looks_like(place: str, key: str, values: dict[Any, Any]) -> None:
    for value, meaning in values.items():
        found = parse(written(place, key, value))
        sections = {"top": found, "site": found.sites[0], "target": next(iter(found.sites[0].deploy), None)}
        section = found.cas[0] if place == "acme" else sections.get(place) or getattr(found, place)
        assert getattr(section, key) == meaning


# --- what is refused, and in which words --------------------------------------------------------------------

DURATION = "must be a duration with its unit, like 30s, 10m, 6h or 30d"
LOOPBACK = "plain http is for loopback only (127.0.0.0/8, ::1, localhost): write https"
ENDPOINT = "{!r} is not of the form https://host[:port]"
DIRECTORY = (
    "{!r} is neither letsencrypt, letsencrypt-staging, zerossl, google, google-staging, litessl "
    "nor an https:// URL"
)
DOCKER = "{!r} is not of the form unix:///path or tcp://host:port"
LINK = "{!r} leads to no machine by itself; write a ULA or global address"
NAME = "{!r} is not a full DNS name; write it like devbox.example.com"
WILDCARD = "{!r} is a wildcard; write it in names or certificate"
ARGV = 'must be a list of a program and its arguments, each one line of text: ["nginx", "-s", "reload"]'
ACTION = 'must be restart, {{signal: HUP}}, {{exec: ["nginx", "-s", "reload"]}} or none'
PATH = "must be an absolute path"
BAD: list[tuple[str, str, list[Any], str]] = [
    ("top", "check_every", [30, "30", "30 s", "s", "-30s", "+30s", "1.5m", "1w", "1M", "5ms"], DURATION),
    ("top", "check_every", ["1h30m", "1:30", "٣s", "1e3s", "30s\n"], DURATION),
    ("top", "check_every", ["0s", "2d", "86401s", "999999999d"], "{} is outside 1s..1d"),
    ("dns", "propagation_timeout", ["0s", "7h"], "{} is outside 1s..6h"),
    ("target", "stop_timeout", ["0s", "601s"], "{} is outside 1s..10m"),
    ("target", "timeout", ["0s", "601s"], "{} is outside 1s..10m"),
    ("top", "parallel", [0, 65, -1, 10**18], "{} is outside 1..64"),
    ("top", "parallel", ["8", "many", True], "must be a whole number"),
    ("site", "ttl", [0, 86401, -1, 10**18], "{} is outside 1..86400 (Aliyun's free plan starts at 600)"),
    ("site", "ttl", ["10m", "1.5"], "must be a whole number of seconds"),
    # Else every request would show a signature that opens the zone.
    (
        "aliyun",
        "endpoint",
        [
            f"{scheme}://{host}{port}"
            for scheme in ("http", "HTTP")
            for port in ("", ":8080")
            for host in (
                *("alidns.aliyuncs.com", "10.79.40.213", "192.168.0.1", "0.0.0.1", "128.0.0.1", "[::]"),
                *("127.0.0.1.example.com", "localhost.example.com", "notlocalhost", "2130706433", "127.1"),
                "[fe80::1]",
            )
        ],
        LOOPBACK,
    ),
    ("aliyun", "endpoint", ["alidns.aliyuncs.com", "//alidns.aliyuncs.com", "ftp://a", "https://"], ENDPOINT),
    ("aliyun", "endpoint", ["https://a/path", "https://a?x=1", "https://a#x", "https://u:p@a"], ENDPOINT),
    ("aliyun", "endpoint", ["https://a:0", "https://a:65536", "https://a:b", "https://[::1"], ENDPOINT),
    ("aliyun", "endpoint", ["https://:443", "https://user@a", "https://a b", "https://a\nb"], ENDPOINT),
    (
        "aliyun",
        "endpoint",
        ["http://127.0.0.1@a.com", "http://127.0.0.1#@a.com", "http://127.0.0.1\\@a.com"],
        ENDPOINT,
    ),
    ("acme", "directory", ["LetsEncrypt", "http://127.0.0.1/dir", "https://", "ca.example.org"], DIRECTORY),
    ("acme", "directory", ["https://a b/", "https://a:x/"], DIRECTORY),
    ("acme", "email", ["nobody", "a@b@c", "a b@c", "a@b?c"], "{!r} is not an e-mail address"),
    ("acme", "profile", ["short lived", "a/b", "", "x" * 65, "x\n"], "{!r} is not the name of a profile"),
    ("acme", "key_type", ["rsa1024"], "must be 'ec256', 'ec384', 'rsa2048' or 'rsa4096'"),
    ("top", "key_mode", ["0644"], "must be '0600' or '0640'"),
    (
        "docker",
        "host",
        ["/run/docker.sock", "unix://docker.sock", "http://a", "unix:///a b", "unix:///a\0b"],
        DOCKER,
    ),
    ("site", "records", ["some"], "must be 'none', 'domain' or 'all'"),
    (
        "site",
        "address",
        ["10.79.40", "10.79.40.256", "010.1.1.1", "::1", "2001:db8::1", "devbox sweetlove top"],
        "{!r} is not auto, auto:INTERFACE, auto:NETWORK, an IPv4 address or none",
    ),
    (
        "site",
        "address6",
        ["10.79.40.213", "fd00::5/64", "fd00:::5"],
        "{!r} is not auto, auto:INTERFACE, an IPv6 address or none",
    ),
    (
        "site",
        "address6",
        ["fe80::1", "fe80::1%eth0", "ff02::1", "::", "::ffff:10.0.0.5", "fd00::5%eth0"],
        LINK,
    ),
    *[("top", key, ["certs", "./certs", "~/certs", ""], PATH) for key in ("certs_dir", "state_dir")],
    *[
        (
            "top",
            key,
            ["/a\0b", "/a\nb", "/a\x1b]0;pwned\x07", "/a/../b", "/a/.."],
            "must be a path of printable characters, without ..",
        )
        for key in ("certs_dir", "state_dir")
    ],
    ("site", "zone", ["*.sweetlove.top"], WILDCARD),
    ("target", "label", ["=b", "a b", "a,b", "a=b\n", "a=\x07"], "{!r} is not a label: key or key=value"),
    # No shell ever reads it, and what is run is a line of the log.
    ("target", "command", [[], "a b", [""], ["", "a"], ["a", 5], ["a", ["b"]], ["a", None], ["a\0"]], ARGV),
    ("target", "action", [{"exec": bad} for bad in ([], "a b", [""], ["", "a"], ["a", 5], ["b\nc"])], ARGV),
    ("target", "action", ["stop", None, {}, {"signal": "HUP", "exec": ["a"]}, {"sginal": "HUP"}], ACTION),
    ("target", "action", [["restart"], {"restart": 5}], ACTION),
    (
        "target",
        "port",
        ["5000", 0, 65536, -1, "https", [5000], True],
        "must be a port number, 1..65535 without quotes, or host:port, or none",
    ),
    ("target", "port", [":5000", "a:0", "a:65536", "::1:443"], "{!r} is not of the form host:port"),
    (
        "target",
        "when",
        ["2:00-5:00", "02:00", "24:00-05:00", "02:60-05:00", "02:00 - 05:00", "0٢:00-05:00", "never"],
        'must be now, or a daily window in local time, like "02:00-05:00"',
    ),
    ("target", "when", ["02:00-02:00"], "the window is empty"),
]


@pytest.mark.parametrize(("place", "key", "values", "told"), BAD)
def test_what_is_refused_is_told_with_what_would_be_right(
    place: str, key: str, values: list[Any], told: str
) -> None:
    for value in values:
        (fault,) = faults_of(written(place, key, value))
        shown = printable(value) if isinstance(value, str) else value
        assert fault.endswith(f": {PREFIX[place]}{key}: {told.format(shown)}")


def test_a_bad_interface_or_network_is_told_without_what_leads_to_it() -> None:
    interface = "{!r} is neither an interface like eth0 nor a network like 10.0.0.0/8"
    for bad in ("", "10.79.40.213", "a b", "eth0:1", "x" * 16):
        assert fault_of(site=f'address: "auto:{bad}"') == f"sites[0].address: {interface.format(bad)}"
    for bad in ("10.0.0.1/8", "10.0.0.0/33", "eth0/8", "::/0"):
        fault = fault_of(site=f'address: "auto:{bad}"')
        assert fault == f"sites[0].address: {bad!r} is not an IPv4 network like 10.0.0.0/8"
    for bad in ("", "fd00::/64", "a b", "x" * 16):
        fault = fault_of(site=f'address6: "auto:{bad}"')
        assert fault == f"sites[0].address6: {bad!r} is not an interface like eth0"


def test_what_is_longer_than_a_line_is_told_in_part() -> None:
    for bad in ("k" * 129, "a=" + "v" * 256):
        fault = fault_of(target=f"label: {bad}")
        assert fault == f"sites[0].deploy[0].label: {bad[:77] + '...'!r} is not a label: key or key=value"


def test_the_page_is_opened_at_an_address_and_a_port() -> None:
    """A name would be a question to a resolver, and may lead anywhere."""
    for good in ("127.0.0.1:9109", "0.0.0.0:80", "[::1]:9109", "[fd00::5]:65535"):
        http = parse(text_of(top=f'http: {{listen: "{good}"}}')).http
        assert http is not None
        host, _, port = good.rpartition(":")
        assert (http.listen, http.where) == (good, (host.strip("[]"), int(port)))
    told = "is not an IP address and a port, like 127.0.0.1:9109"
    for bad in (
        *("127.0.0.1", "localhost:99999999", "::1:9109", "127.0.0.1:0", "127.0.0.1:65536"),
        *("127.1:80", "[fe80::1%eth0]:80", "[]:80"),
    ):
        assert fault_of(top=f'http: {{listen: "{bad}"}}') == f"http.listen: {bad!r} {told}"
    fault = fault_of(top="http: {listn: 127.0.0.1:9109}")
    assert fault == "http.listn: unknown key 'listn'; did you mean 'listen'?"


def test_the_root_is_handed_out_at_an_address_of_the_lan() -> None:
    """No URL of loopback, or of all addresses, leads others there."""
    for good, leads in (
        ("10.79.40.213:9110", True),
        ("172.16.0.1:80", True),
        ("100.64.0.9:9110", True),
        ("169.254.7.7:9110", True),
        ("[fd12::5]:9110", True),
        ("127.0.0.1:9110", False),
        ("[::1]:9110", False),
        ("0.0.0.0:9110", False),
        ("[::]:9110", False),
    ):
        local_ca = parse(text_of(top=f'local_ca: {{share: "{good}"}}')).local_ca
        assert (local_ca.share, local_ca.shared_at) == (good, f"http://{good}" if leads else "")
    assert parse(text_of()).local_ca.shared_at == ""


def test_the_root_is_not_handed_out_at_other_places() -> None:
    told = "is a public address: the root is handed out in the LAN only"
    for bad in ("8.8.8.8", "203.0.113.7", "172.32.0.1", "[2001:db8::1]", "[::ffff:8.8.8.8]", "224.0.0.1"):
        fault = fault_of(top=f'local_ca: {{share: "{bad}:9110"}}')
        assert fault == f"local_ca.share: {bad.strip('[]')!r} {told}"
    told = "is not an IP address and a port, like 10.0.0.5:9110"
    for bad in ("10.0.0.5", "10.0.0.5:0", "10.0.0.5:65536", "[]:80", "http://10.0.0.5:9110", "10.1:80"):
        assert fault_of(top=f'local_ca: {{share: "{bad}"}}') == f"local_ca.share: {bad!r} {told}"
    taken = 'http: {listen: "10.0.0.5:9109"}\nlocal_ca: {share: "10.0.0.5:9109"}'
    assert fault_of(top=taken) == "local_ca.share: '10.0.0.5:9109' is http.listen already"
    assert fault_of(top='http: {}\nlocal_ca: {share: "127.0.0.1:9109"}').endswith("is http.listen already")
    assert fault_of(top="local_ca: {share: }") == "local_ca.share: is empty"


def test_a_fault_of_an_entry_is_told_with_its_place() -> None:
    for bad in (
        *("127.0.0.1", "fe80::1", "::1:53", "[]:53", ":53", "ns1:0", "ns1:65536", "ns1:dns", "a..b:53"),
        *(f"{'a' * 64}:53", "n s:53", "[::1]"),
    ):
        fault = fault_of(dns=f'nameservers: ["127.0.0.1:53", "{bad}"]')
        assert fault == f"dns.nameservers[1]: {bad!r} is not of the form host:port"
    for bad in ("*", "*.top", "a.*.sweetlove.top", "*.*.sweetlove.top", "../x.top"):
        assert fault_of(site=f'names: ["{bad}"]') == f"sites[0].names[0]: {NAME.format(bad)}"


@pytest.mark.row(87)
def test_an_engine_behind_ssh_is_refused_with_the_way_to_forward_its_socket() -> None:
    for bad, host in (("ssh://root@box:2222/", "root@box"), ("ssh://box", "box"), ("ssh://-o'x y'", "HOST")):
        fault = fault_of(docker=f'host: "{bad}"')
        assert fault.startswith("docker.host: ")
        assert f"(ssh -nNT -L /run/remote-docker.sock:/var/run/docker.sock {host})" in fault
        assert fault.endswith("write unix:///run/remote-docker.sock")


def test_a_container_is_named_as_the_engine_allows_it() -> None:
    for bad in ("/registry", "-x", "a b", "a/b", "a;b", "ü", "a\n", "a" * 256):
        (fault,) = faults_of(text_of().replace("deploy: []", f"deploy: [{{container: {json.dumps(bad)}}}]"))
        assert fault.endswith("is not a container name")


def test_a_domain_is_a_host_name() -> None:
    """It names files, so nothing else may come in."""
    for bad in ("../../etc/x", "a\0b.top", ".", ""):
        assert fault_of(domain=json.dumps(bad)) == f"sites[0].domain: {NAME.format(printable(bad))}"
    assert fault_of(domain='"*.devbox.top"') == f"sites[0].domain: {WILDCARD.format('*.devbox.top')}"
    assert len(parse(text_of(domain="a." * 111 + "test")).sites[0].domain) == 226
    assert fault_of(domain="a." * 112 + "top") == (
        "sites[0].domain: has 227 characters; it names files, so 226 are the most; put a long name into names"
    )


def test_any_ca_may_have_a_binding_and_a_binding_is_whole() -> None:
    assert parse(text_of(acme=EAB)).cas[0].eab is not None
    assert fault_of(acme="eab: {kid: k}") == "acme.eab.hmac_key: is needed"
    assert fault_of(acme=f"eab: {{hmac_key: {CANARY}}}") == "acme.eab.kid: is needed"
    assert fault_of(acme=f"eab: {{key: k, kid: k, hmac_key: {CANARY}}}") == (
        "acme.eab.key: unknown key 'key'; the keys here are kid, hmac_key"
    )
    for bad in ('""', "x y", "ü", "x" * 257):
        fault = fault_of(acme=f"eab: {{kid: {bad}, hmac_key: {CANARY}}}")
        assert fault == "acme.eab.kid: must be the key id that the CA gave, printable ASCII"


def test_a_signal_is_one_that_a_program_can_answer() -> None:
    for good, name in {"HUP": "HUP", "sigusr1": "USR1"}.items():
        assert parse(text_of(target=f"action: {{signal: {good}}}")).sites[0].deploy[0].action == Reload(
            "signal", name
        )
    for bad in ("HOP", "SIG", "", "_DFL", "SIGSIGHUP", "9"):
        fault = fault_of(target=f'action: {{signal: "{bad}"}}')
        assert fault == f"sites[0].deploy[0].action: {bad!r} is not the name of a signal, such as HUP"
    for bad in ("KILL", "SIGSTOP"):
        assert "makes no program read its files" in fault_of(target=f"action: {{signal: {bad}}}")


@pytest.mark.parametrize("kind", get_args(get_type_hints(Reload)["kind"]))
def test_each_action_is_said_and_written_as_the_file_has_it(kind: str) -> None:
    action = {
        "restart": Reload("restart"),
        "signal": Reload("signal", "HUP"),
        "exec": Reload("exec", argv=("nginx", "-s", "reload")),
        "none": Reload("none"),
    }[kind]
    assert parse(text_of(target=f"action: {json.dumps(action.written)}")).sites[0].deploy[0].action == action
    assert "web" in action.spoken("web")
