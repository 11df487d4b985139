"""What each value of the file may be: what is taken, what is refused, and in which words."""

from __future__ import annotations

import json
import re
from datetime import time, timedelta
from pathlib import PurePath

import pytest
from configs import CANARY, EAB, PREFIX, fault_of, faults_of, parse, text_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certbotless.names import normalise
from certbotless.values import Action, AddressRule, Port, Window

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


def test_what_yaml_makes_of_plain_words_does_not_matter() -> None:
    """`no` is a name like any other; `0600` is a mode and not 384."""
    found = parse(text_of(target="port: 5000", top="key_mode: 0600").replace("registry", "no"))
    assert found.sites[0].deploy[0].container == "no"


# --- numbers, names and addresses ---------------------------------------------------------------------------


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
            "is neither letsencrypt, letsencrypt-staging, zerossl, google, litessl nor an https:// URL"
        )


def test_the_page_is_opened_at_an_address_and_a_port() -> None:
    """A name would be a question to a resolver, and may lead anywhere."""
    for good in ("127.0.0.1:9109", "0.0.0.0:80", "[::1]:9109", "[fd00::5]:65535"):
        http = parse(text_of(top=f'http: {{listen: "{good}"}}')).http
        assert http is not None
        assert (http.listen, http.where) == (
            good,
            (good.rpartition(":")[0].strip("[]"), int(good.rpartition(":")[2])),
        )
    for bad in (
        "9109",
        ":9109",
        "127.0.0.1",
        "localhost:9109",
        "::1:9109",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.1:80",
        "[fe80::1%eth0]:80",
        "[]:80",
    ):
        fault = fault_of(top=f'http: {{listen: "{bad}"}}')
        assert fault == f"http.listen: {bad!r} is not an IP address and a port, like 127.0.0.1:9109"
    fault = fault_of(top="http: {listn: 127.0.0.1:9109}")
    assert fault == "http.listn: unknown key 'listn'; the nearest known key is 'listen'"


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
    for good in ("unix:///run/docker.sock", "tcp://10.0.0.1:2375"):
        assert parse(text_of(docker=f'host: "{good}"')).docker.host == good
    for bad in ("/run/docker.sock", "unix://docker.sock", "http://a", "unix:///a b", "unix:///a\\0b"):
        assert "docker.host: " in fault_of(docker=f'host: "{bad}"')


@pytest.mark.row(87)
def test_an_engine_behind_ssh_is_refused_with_the_way_to_forward_its_socket() -> None:
    for bad, host in (("ssh://root@box:2222/", "root@box"), ("ssh://box", "box"), ("ssh://-o'x y'", "HOST")):
        fault = fault_of(docker=f'host: "{bad}"')
        assert fault.startswith("docker.host: ")
        assert f"(ssh -nNT -L /run/remote-docker.sock:/var/run/docker.sock {host})" in fault
        assert fault.endswith("write unix:///run/remote-docker.sock")


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


def test_an_ipv6_address_is_found_or_written_or_not_wanted() -> None:
    """It has several spellings, and one in the end."""
    for text, (kind, value) in {
        "auto": ("auto", ""),
        "none": ("none", ""),
        "'fd00::5'": ("literal", "fd00::5"),
        "'FD00:0:0::0005'": ("literal", "fd00::5"),
        "'2409:8a00::1'": ("literal", "2409:8a00::1"),
        "auto:eth0": ("interface", "eth0"),
    }.items():
        assert parse(text_of(site=f"address6: {text}")).sites[0].address6 == AddressRule(kind, value, 6)  # type: ignore[arg-type]
    for bad in ("10.79.40.213", "fd00::5/64", "fe80::1%eth0", "eth0", "fd00:::5"):
        fault = fault_of(site=f'address6: "{bad}"')
        forms = "auto, auto:INTERFACE, an IPv6 address or none"
        assert fault in (
            f"sites[0].address6: {bad!r} is not {forms}",
            f"sites[0].address6: {bad!r} leads to no machine by itself; write a ULA or global address",
        )
    for bad in ("fe80::1", "fe80::1%eth0", "ff02::1", "::", "::ffff:10.0.0.5", "fd00::5%eth0"):
        fault = fault_of(site=f'address6: "{bad}"')
        assert fault == (
            f"sites[0].address6: {bad!r} leads to no machine by itself; write a ULA or global address"
        )
    for bad in ("", "fd00::/64", "a b", "x" * 16):
        fault = fault_of(site=f'address6: "auto:{bad}"')
        assert fault == f"sites[0].address6: {bad!r} is not an interface like eth0"


def test_a_path_is_absolute() -> None:
    for key in ("certs_dir", "state_dir"):
        for bad in ("certs", "./certs", "~/certs"):
            assert fault_of(top=f"{key}: {bad}") == f"{key}: must be an absolute path"
        for bad in ('"/a\\0b"', "/a/../b"):
            fault = fault_of(top=f"{key}: {bad}")
            assert fault == f"{key}: must be a path of printable characters, without .."


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


@pytest.mark.row(70)
@settings(max_examples=10_000, deadline=None)
@given(st.text() | st.text(alphabet="ab.-*/\\\0%ü ", max_size=80))
@example("../../etc/x")
@example("a\0b.example.com")
@example(".")
@example("..")
@example("*.example.com")
@example(f"{'a' * 300}.example.com")
@example(f"{'.'.join('a' * 60 for _ in range(5))}")
@example("bücher.example")
def test_whatever_is_a_name_is_one_part_of_a_path(text: str) -> None:
    """It names files and folders in certs_dir and state_dir."""
    try:
        name = normalise(text)
    except ValueError:
        return
    for file in (name, f"{name}.pem", f"{name}.order.key"):
        assert PurePath("/certs", file).parent == PurePath("/certs")
        assert len(file.encode()) <= 255
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)
    assert ".." not in name


def test_a_further_name_may_be_a_wildcard() -> None:
    names = ("*.devbox.sweetlove.top", "*.git.sweetlove.top")
    assert parse(text_of(site=f"names: {json.dumps(names)}")).sites[0].names == names
    for bad in ("*", "*.top", "a.*.sweetlove.top", "*.*.sweetlove.top", "../x.top"):
        assert fault_of(site=f'names: ["{bad}"]').startswith("sites[0].names[0]: ")
    assert fault_of(site='zone: "*.sweetlove.top"').startswith("sites[0].zone: ")


def test_records_are_of_the_domain_or_of_all_names() -> None:
    assert fault_of(site="records: none") == "sites[0].records: must be 'domain' or 'all'"


# --- the CA and its account ---------------------------------------------------------------------------------


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
