"""One file becomes one frozen value, or a report of all that is wrong with it, each fault at its place."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.configs import CANARY, EAB, FULL, PREFIX, TREES, edited, fault_of, faults_of, parse, text_of

from certbotless.base.errors import ConfigError
from certbotless.config import load
from certbotless.config.settings import SECRET_KEYS
from certbotless.config.values import Port
from certbotless.config.yaml_document import MAX_BYTES

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
        "acme.emial: unknown key 'emial'; did you mean 'email'?",
        "deploy[0].prot: unknown key 'prot'; did you mean 'port'?",
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
        ("top", "Parallel", "parallel"),
        ("acme", "e-mail", "email"),
        ("aliyun", "access-key-secret", "access_key_secret"),
        ("dns", "nameserver", "nameservers"),
        ("docker", "hosts", "host"),
        ("site", "TTL", "ttl"),
        ("target", "containers", "container"),
    ],
)
def test_an_unknown_key_names_the_nearest_one_of_its_place(place: str, typo: str, nearest: str) -> None:
    fault = fault_of(**{place: f"{typo}: x"})
    assert fault == f"{PREFIX[place]}{typo}: unknown key {typo!r}; did you mean {nearest!r}?"


def test_a_secret_that_has_run_into_its_key_is_not_told() -> None:
    """In `{kid: a, hmac_key:b}` the last three words are one key."""
    assert "a space is missing after the colon" in faults_of(text_of(acme=f"eab: {{hmac_key:{CANARY}}}"))[0]
    # So far from the beginning of its line nothing is taken for a slip.
    told = "acme.eab.hmac_key: a longer key begins so; write a colon, a space and the secret after the name"
    far = f"eab: {{kid: a, {' ' * 500}hmac_key:{CANARY}}}"
    assert told in "\n".join(faults_of(text_of(acme=far)))
    assert {path.rpartition(".")[2].partition("[")[0] for path in parse(FULL).secrets()} == set(SECRET_KEYS)


def test_a_repeated_unknown_key_is_both() -> None:
    first, second = faults_of(text_of(site="tl: 5\n    tl: 6"))
    assert "sites[0].tl: unknown key 'tl'; did you mean 'ttl'?" in first
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


@pytest.mark.parametrize("section", ["acme", "aliyun", "dns", "docker", "sites"])
def test_a_section_is_a_mapping_or_a_list(section: str) -> None:
    good = {"aliyun": "{access_key_id: a, access_key_secret: b}", "sites": "[{domain: a.example.com}]"}
    for junk in ("null", "5", "true", "text", "{}" if section == "sites" else "[]"):
        text = "".join(f"{key}: {value}\n" for key, value in {**good, section: junk}.items())
        (fault,) = faults_of(text)
        words = "must be a (mapping|list): .*|is empty|needs at least one entry"
        assert re.fullmatch(rf"c\.yaml:\d:\d+: {section}: ({words})", fault)


@pytest.mark.parametrize("junk", ["null", "5", "text", "[]"])
def test_an_entry_of_a_list_is_a_mapping(junk: str) -> None:
    text = text_of() + f"  - {junk}\n  - domain: b.example.com\n    deploy: [{junk}]\n"
    first, second = faults_of(text)
    what = "is empty" if junk == "null" else "must be a mapping"
    assert f": sites[1]: {what}" in first
    assert f": sites[2].deploy[0]: {what}" in second


# --- values against each other ------------------------------------------------------------------------------


ONE_SITE = """\
aliyun: {access_key_id: a, access_key_secret: b}
sites:
  - domain: a.sweetlove.top
"""


@pytest.mark.parametrize(
    ("written", "column", "where", "text"),
    [
        ("[10.0.0.5]", 14, "", "a list has 2 to 10 addresses, this one 1; write one address without a list"),
        ("[]", 14, "", "a list has 2 to 10 addresses, this one 0; write one address without a list"),
        ("[10.0.0.5, 10.0.0.6, 10.0.0.5]", 35, "[2]", "'10.0.0.5' is already in this list"),
        ("[10.0.0.5, 8.8.8.8]", 25, "[1]", "'8.8.8.8' is not an address of a LAN"),
        ("[10.0.0.5, 0.0.0.0]", 25, "[1]", "'0.0.0.0' is not an address of a LAN"),
        ("[none, 10.0.0.5]", 15, "[0]", "'none' does not go into a list: write each address"),
        ("[10.0.0.5, 'auto:eth0']", 25, "[1]", "'auto:eth0' does not go into a list: write each address"),
        ("[10.0.0.5, nas]", 25, "[1]", "'nas' is not an IPv4 address, like 10.0.0.5"),
        ("[10.0.0.5, 'fd00::5']", 25, "[1]", "'fd00::5' is not an IPv4 address, like 10.0.0.5"),
        ("[10.0.0.5, 10.0.0.0/24]", 25, "[1]", "'10.0.0.0/24' is not an IPv4 address, like 10.0.0.5"),
        ("[10.0.0.5, [10.0.0.6]]", 25, "[1]", "must be one value, not several"),
        ("[10.0.0.5, 7]", 25, "[1]", 'must be text: put it in quotes, "..."'),
    ],
)
def test_a_list_of_addresses_says_which_entry_is_wrong(
    written: str, column: int, where: str, text: str
) -> None:
    (fault,) = faults_of(f"{ONE_SITE}    address: {written}\n")
    assert fault.endswith(f":4:{column}: sites[0].address{where}: {text}")


def test_eleven_addresses_are_too_many() -> None:
    many = ", ".join(f"10.0.0.{n}" for n in range(11))
    (fault,) = faults_of(f"{ONE_SITE}    address: [{many}]\n")
    assert "a list has 2 to 10 addresses, this one 11" in fault


TWO_SITES = """\
aliyun: {{access_key_id: a, access_key_secret: b}}
sites:
  - {{domain: devbox.sweetlove.top, names: [www.sweetlove.top, "*.lan.sweetlove.top"], {first}}}
  - {{domain: www.sweetlove.top, names: [git.sweetlove.top], {second}}}
"""


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ("records: all", "address: 10.0.0.5", True),
        ("records: all, address: 10.0.0.5", "address: 10.0.0.5", False),
        ("records: all, address: [10.0.0.5, 10.0.0.6]", "address: 10.0.0.5", True),
        ("records: all, address: [10.0.0.5, 10.0.0.6]", "address: [10.0.0.5, 10.0.0.7]", True),
        ("records: all, address: [10.0.0.5, 10.0.0.6]", "address: [10.0.0.6, 10.0.0.5]", False),
        ("records: all", "records: all", False),
        ("records: all", "address: none", False),
        ("records: all, address: none", "address: 10.0.0.5", False),
        ("records: domain", "address: 10.0.0.5", False),
        ("records: all, address6: auto", "address6: 'fd00::5'", True),
        ("records: all, address6: auto", "address6: auto", False),
        ("records: all, address6: auto", "address6: none", False),
        ("records: all", "address6: auto", False),
    ],
)
def test_two_sites_do_not_want_different_addresses_of_one_name(
    first: str, second: str, is_refused: bool
) -> None:
    text = TWO_SITES.format(first=first, second=second)
    if not is_refused:
        parse(text)
        return
    (fault,) = faults_of(text)
    type_ = "AAAA" if "address6" in first else "A"
    assert fault.endswith(
        f"sites[0].names[0]: 'www.sweetlove.top' has its {type_} record from sites[1], with another address"
    )


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
    if name == domain:
        text = f"{wildcard!r} covers {name!r} already: write certificate: {wildcard!r} instead"
    assert fault_of(domain=domain, site=f"names: {json.dumps(names)}") == f"sites[0].names[{j}]: {text}"


def test_a_wildcard_covers_one_label_and_neither_its_base_nor_itself() -> None:
    for other in ("*.sweetlove.top", "a.b.sweetlove.top", "*.b.sweetlove.top"):
        site = f'names: ["*.sweetlove.top", "{other}"]'
        found = parse(text_of(domain="sweetlove.top", site=site)).sites[0]
        assert found.all_names == tuple(sorted({"sweetlove.top", "*.sweetlove.top", other}))


@pytest.mark.parametrize("directory", ["zerossl", "google", "litessl"])
def test_a_ca_that_binds_accounts_needs_the_binding(directory: str) -> None:
    for acme in (f"directory: {directory}", f"directory: {directory}, eab: null"):
        assert fault_of(acme=acme) == f"acme.directory: {directory} needs eab: {{kid: ..., hmac_key: ...}}"
    found = parse(text_of(acme=f"directory: {directory}, {EAB}"))
    assert found.cas[0].url.startswith("https://")
    assert list(found.secrets()) == ["aliyun.access_key_id", "aliyun.access_key_secret", "acme.eab.hmac_key"]


def with_target(target: str) -> str:
    """Return a good file with these keys in its target, and no others."""
    return text_of().replace("deploy: []", f"deploy: [{{{target}}}]")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("", "needs one of container, label, command and service, or only port"),
        ("port: null", "needs one of container, label, command and service, or only port"),
        ("action: none", "needs one of container, label, command and service, or only port"),
        ("container: null", "needs one of container, label, command and service, or only port"),
        (
            "container: a, label: b",
            "needs one of container, label, command and service, not container and label",
        ),
        (
            "command: [a], label: b, container: c, port: 1",
            "needs one of container, label, command and service, not container and label and command",
        ),
        ("command: [a]", "a command needs port: a number, host:port, or none"),
        ("command: [a], port: null", "a command needs port: a number, host:port, or none"),
    ],
)
def test_a_target_is_found_in_one_way(target: str, text: str) -> None:
    (fault,) = faults_of(with_target(target))
    assert fault == f"c.yaml:9:14: sites[0].deploy[0]: {text}"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("", ": a service needs port: a number, at which each of its nodes serves"),
        (", port: none", ".port: a service needs port: a number, at which each of its nodes serves"),
        (", port: 'a:1'", ".port: a service needs port: a number, at which each of its nodes serves"),
        (
            ", port: 1, action: restart",
            ".action: does not go with service: the update settings of the service say how it restarts",
        ),
        (
            ", port: 1, stop_timeout: 5s",
            ".stop_timeout: does not go with service: the update settings of the service say how it restarts",
        ),
        (", port: 1, timeout: 5s", ".timeout: goes only with command; a container has stop_timeout"),
        (", port: 1, secrets: {cert: tls.key}", ".secrets: cert and key need different names"),
        (", port: 1, secrets: {cert: 'a,b'}", ".secrets.cert: 'a,b' is not the name of a file"),
        (
            ", port: 1, container: a",
            ": needs one of container, label, command and service, not container and service",
        ),
    ],
)
def test_a_service_is_updated_by_its_own_settings(more: str, text: str) -> None:
    (fault,) = faults_of(with_target(f"service: registry{more}"))
    assert fault.partition("sites[0].deploy[0]")[2] == text


def test_secrets_are_those_of_a_service() -> None:
    (target,) = (
        parse(with_target("service: registry, port: 5000, secrets: {cert: /certs/a.pem}")).sites[0].deploy
    )
    assert (target.name, target.has_containers, target.reads_by_itself) == ("service:registry", False, False)
    assert (target.secrets.cert, target.secrets.key) == ("/certs/a.pem", "tls.key")
    for other in ("container: a", "command: [a], port: 1", "port: 1"):
        (fault,) = faults_of(with_target(f"{other}, secrets: {{cert: a}}"))
        assert fault.endswith("sites[0].deploy[0].secrets: goes only with service")


def test_a_command_is_its_own_action() -> None:
    fault = fault_of(target="command: [a], port: none, action: restart")
    assert fault == "sites[0].deploy[0].action: does not go with command: the command is the action"
    assert parse(text_of(target="command: [a], port: 5000")).sites[0].deploy[0].port == Port("number", 5000)


@pytest.mark.parametrize("action", ["", ", action: none"])
@pytest.mark.parametrize("port", ["5000", '"10.0.0.7:443"', '"[::1]:443"', '"nas.lan:443"'])
def test_a_port_alone_is_a_program_that_reads_its_files_by_itself(port: str, action: str) -> None:
    (target,) = parse(with_target(f"port: {port}{action}")).sites[0].deploy
    assert target.name == f"port:{port.strip(chr(34))}"
    assert target.reads_by_itself
    assert not target.has_containers


@pytest.mark.parametrize("way", ["container: a", "label: a=b"])
def test_a_container_may_read_its_files_by_itself(way: str) -> None:
    (target,) = parse(with_target(f"{way}, action: none")).sites[0].deploy
    assert target.reads_by_itself
    assert target.has_containers


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (
            "port: 5000, action: restart",
            "action: without container, label or command nothing is done: write none",
        ),
        (
            "port: 5000, action: {signal: HUP}",
            "action: without container, label or command nothing is done: write none",
        ),
        ("port: 5000, timeout: 5s", "timeout: goes only with command; a container has stop_timeout"),
        ("container: a, timeout: 5s", "timeout: goes only with command; a container has stop_timeout"),
        ("label: a, timeout: 5s", "timeout: goes only with command; a container has stop_timeout"),
        ("port: 5000, when: now", "when: does not go with action none: nothing is done"),
        (
            'container: a, action: none, when: "02:00-05:00"',
            "when: does not go with action none: nothing is done",
        ),
        (
            "container: a, action: none, stop_timeout: 5s",
            "stop_timeout: does not go with action none: nothing is done",
        ),
        (
            "port: none",
            "port: none does not go with action none: nothing would be done, and nothing checked",
        ),
        (
            "container: a, action: none, port: none",
            "port: none does not go with action none: nothing would be done, and nothing checked",
        ),
    ],
)
def test_what_does_not_go_together_in_a_target_is_a_fault(target: str, fault: str) -> None:
    (found,) = faults_of(with_target(target))
    assert found.endswith(f": sites[0].deploy[0].{fault}")


def test_a_command_may_be_given_its_time_and_the_domain() -> None:
    found = parse(
        text_of(target='command: [carry, "{domain}", "a{domain}b", "{}"], port: 5000, timeout: 10m')
    )
    (target,) = found.sites[0].deploy
    assert target.timeout == timedelta(minutes=10)
    assert target.argv("x.example.com") == ("carry", "x.example.com", "ax.example.comb", "{}")
    assert target.name == "carry '{domain}' 'a{domain}b' '{}'"
    assert "outside 1s..10m" in fault_of(target="command: [a], port: 1, timeout: 11m")


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        ("port: 5000", "port: 5000", "port: 'port:5000' is already a target"),
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


def test_two_sites_do_not_replace_the_same_secret_of_a_service() -> None:
    """Each would put its own certificate in the place of the other's, at each check."""
    target = "deploy: [{service: registry, port: 5000}]"
    one = text_of().replace("deploy: []", target)
    other = f"{one.rstrip()}\n  - {{domain: other.sweetlove.top, {target}}}\n"
    (found,) = faults_of(other)
    assert "sites[1].deploy[0].service: the file 'tls.pem' of 'registry' is already that of sites[0]" in found
    half = other.replace("port: 5000}]}", "port: 5000, secrets: {cert: b.pem}}]}")
    assert "the file 'tls.key' of 'registry'" in faults_of(half)[0]
    parse(other.replace("port: 5000}]}", "port: 5000, secrets: {cert: b.pem, key: b.key}}]}"))
    parse(other.replace("registry, port: 5000}]}", "other, port: 5000}]}"))


# --- reading ------------------------------------------------------------------------------------------------


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """However long it is: one byte more shows that it is too long."""
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * (2 << 20))
    assert len(load.read(path)) == MAX_BYTES + 1
    with pytest.raises(ConfigError, match="larger than"):
        load.load(path)
    path.write_text(FULL)
    assert load.load(path) == parse(FULL)


def test_a_file_that_cannot_be_read_is_a_fault_with_the_reason(tmp_path: Path) -> None:
    none = tmp_path / "none.yaml"
    for path, said in (
        (none, f"no configuration yet at {none}; make one: certbotless init"),
        (tmp_path, f"{tmp_path}:1:1: the file: cannot be read: Is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            load.load(path)
        assert caught.value.faults == [said]


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
    for key, folder in zip(("certs_dir", "state_dir"), folders, strict=True):
        assert load.value_of_broken(text.encode(), key) == Path(folder)


# --- properties ---------------------------------------------------------------------------------------------

FAULT = re.compile(r"c\.yaml:(\d+):(\d+): .+: .+")


def check_report(raw: bytes) -> None:
    """Whatever the file holds: it is a configuration, or a report of printable faults in their order."""
    try:
        shown = repr(load.parse(raw, "c.yaml"))
    except ConfigError as exc:
        assert exc.faults
        assert all(fault.isprintable() for fault in exc.faults)
        matches = [FAULT.fullmatch(fault) for fault in exc.faults]
        places = [(int(match[1]), int(match[2])) for match in matches if match is not None]
        assert len(places) == len(exc.faults)
        assert places == sorted(places)
        shown = str(exc)
    assert CANARY not in shown


@given(st.binary(max_size=300))
def test_any_bytes_are_a_configuration_or_a_report(raw: bytes) -> None:
    check_report(raw)
    check_report(FULL.encode() + raw)


@given(TREES)
def test_any_tree_is_a_configuration_or_a_report(tree: object) -> None:
    check_report(json.dumps(tree).encode())


@given(st.data())
def test_a_good_file_with_some_values_replaced_is_a_configuration_or_a_report(data: st.DataObject) -> None:
    """The secrets are in it, and in nothing that is said of it."""
    check_report(edited(data, 3).encode())


@pytest.mark.parametrize(
    ("good", "slip"),
    [
        ("access_key_secret: ", "access_key_secret "),
        ("access_key_secret: ", "access_key_secret: !"),
        ("access_key_secret: ", "access_key_secret: *"),
        ("access_key_secret: ", "access_key_secret: &"),
        ("access_key_secret: ", "access_key_secret: ["),
        ("access_key_secret: ", "access_key_secert: "),
        ("access_key_secret: ", "access_key_secret: ${"),
        ("access_key_secret: ", "access_key_secret: credential:../"),
        ("access_key_secret: ", "access_key_secret: 'x\n  "),
        ("access_key_secret: ", "security_token: "),
        ("Secret\n", "Secret\x00\n"),
        ("  access_key_secret: ", "\taccess_key_secret: "),
        ("  access_key_secret", "  access_key_secret: PlantedCanary\n  access_key_secret"),
    ],
)
def test_no_slip_around_a_secret_shows_it(good: str, slip: str) -> None:
    assert CANARY not in "\n".join(faults_of(FULL.replace(good, slip)))
