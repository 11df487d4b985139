"""What each kind of CA can certify: names, addresses, and the account that it needs."""

import pytest
from support.configs import fault_of, faults_of, parse, text_of

from certbotless.config.settings import Site

LOCAL = "sites: [{domain: devbox, ca: local"


def site_of(keys: str = "", top: str = "") -> Site:
    return parse(f"{top}\n{LOCAL}{keys}}}]\n").sites[0]


def test_the_smallest_file_of_a_local_site_has_no_account() -> None:
    config = parse(f"{LOCAL}}}]")
    assert config.aliyun is None
    assert config.needed_secrets() == {}
    assert config.sites[0].wanted_records == []
    assert not config.sites[0].needs_zone


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (", names: [devbox.lan, '*.devbox.lan']", ("*.devbox.lan", "devbox", "devbox.lan")),
        (", names: ['10.79.40.213', 'FD12:0::5']", ("10.79.40.213", "devbox", "fd12::5")),
        (", names: [git.home.arpa]", ("devbox", "git.home.arpa")),
    ],
)
def test_a_local_site_may_have_names_of_the_lan_and_addresses(keys: str, names: tuple[str, ...]) -> None:
    assert site_of(keys).all_names == names


def test_permit_is_compared_as_the_root_has_it() -> None:
    assert parse("local_ca: {permit: [LAN, '10.79.40.0/24']}\nsites: [{domain: devbox.lan, ca: local}]")


def test_the_domain_of_a_local_site_may_be_an_ipv4_address() -> None:
    assert parse("sites: [{domain: '10.79.40.213', ca: local}]").sites[0].domain == "10.79.40.213"


def test_the_name_of_a_local_site_may_be_permitted_by_itself() -> None:
    config = parse("local_ca: {permit: [devbox, 10.0.0.0/8]}\n" + LOCAL + ", names: ['*.devbox']}]")
    assert config.local_ca.permit == ("devbox", "10.0.0.0/8")


def test_a_local_site_may_have_a_record_and_then_needs_the_account() -> None:
    text = text_of(site="ca: local\n    records: domain")
    assert parse(text).sites[0].wanted_records == [("devbox.sweetlove.top", "A")]
    assert faults_of(f"{LOCAL}, records: domain}}]") == ["c.yaml:1:1: aliyun: is needed"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sites: [{domain: 'fd12::5', ca: local}]", "'fd12::5' cannot name files; write a name here"),
        ("sites: [{domain: '*.lan', ca: local}]", "'*.lan' is a wildcard"),
        ("sites: [{domain: '10.0.0.1', ca: local, records: all}]", "an IP address has no record"),
        (f"{LOCAL}, names: ['0.0.0.0']}}]", "leads to no machine by itself"),
        ("sites: [{domain: com, ca: local}]", "'com' is too much to vouch for"),
        (f"{LOCAL}, names: ['*.cn']}}]", "'cn' is too much to vouch for"),
        ("sites: [{domain: '8.8.8.8', ca: local}]", "'8.8.8.8' is not an address of a LAN"),
        (f"{LOCAL}, names: ['2001:db8::1']}}]", "'2001:db8::1' is not an address of a LAN"),
        ("local_ca: {permit: [com]}\n" + LOCAL + "}]", "'com' is too much to vouch for"),
        ("local_ca: {permit: [devbox, git]}\n" + LOCAL + "}]", "permit[1]: 'git' is too much to vouch for"),
        ("local_ca: {permit: [8.8.8.0/24]}\n" + LOCAL + "}]", "neither a domain nor a private network"),
        ("local_ca: {permit: [lan]}\n" + LOCAL + "}]", "'devbox' is outside local_ca.permit"),
        ("local_ca: {lifetime: 398d}\n" + LOCAL + "}]", "398d is outside 1d..397d"),
    ],
)
def test_what_a_local_ca_cannot_certify_is_told(text: str, fault: str) -> None:
    assert any(fault in each for each in faults_of(text)), faults_of(text)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"domain": "devbox"}, "sites[0].domain: 'devbox' has no domain"),
        ({"domain": "10.79.40.213"}, "sites[0].domain: '10.79.40.213' is an IP address"),
        ({"domain": "devbox.lan"}, "sites[0].domain: no public CA gives a certificate for a name in .lan"),
        ({"site": "names: ['10.0.0.1']"}, "sites[0].names[0]: '10.0.0.1' is an IP address"),
        ({"site": "with_address: true"}, "sites[0].with_address: a public CA certifies only names"),
    ],
)
def test_a_public_ca_certifies_public_names_alone(keys: dict[str, str], fault: str) -> None:
    assert fault_of(**keys).startswith(fault)


SHARING = "certificate: '*.sweetlove.top'"


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"site": "certificate: sweetlove.top"}, "sites[0].certificate: 'sweetlove.top' is not a wildcard"),
        (
            {"site": "certificate: '*'"},
            "sites[0].certificate: '*' is not a full DNS name; write it like *.lan.example.com",
        ),
        (
            {"site": "certificate: '*.lan'\n    ca: local"},
            "sites[0].certificate: clients do not accept '*.lan'",
        ),
        (
            {"site": f"{SHARING}\n    names: ['*.sweetlove.top']"},
            "sites[0].names[0]: '*.sweetlove.top' does not go with certificate: remove one of them",
        ),
        ({"site": "certificate: '*.other.top'"}, "sites[0].domain: 'devbox.sweetlove.top' is not covered by"),
        (
            {"site": f"{SHARING}\n    names: [a.b.sweetlove.top]"},
            "sites[0].names[0]: 'a.b.sweetlove.top' is not covered by",
        ),
        (
            {"site": f"{SHARING}\n    names: ['*.b.sweetlove.top']"},
            "sites[0].names[0]: '*.b.sweetlove.top' does not go with certificate",
        ),
        ({"site": f"{SHARING}\n    with_address: true\n    ca: local"}, "sites[0].with_address: does not go"),
        (
            {"site": f"{SHARING}\n    zone: devbox.sweetlove.top"},
            "sites[0].certificate: '*.sweetlove.top' is not in the zone 'devbox.sweetlove.top'",
        ),
    ],
)
def test_a_shared_certificate_covers_all_names_of_its_sites(keys: dict[str, str], fault: str) -> None:
    told = fault_of(**keys)
    assert told.startswith(fault), told


def test_sites_that_share_a_certificate_have_one_ca() -> None:
    text = text_of(site=SHARING) + f"  - domain: git.sweetlove.top\n    {SHARING}\n    ca: local\n"
    assert any("is certified by another CA in sites[0]" in each for each in faults_of(text)), faults_of(text)


def test_sites_that_share_a_certificate_have_one_zone() -> None:
    """It has one TXT record. A zone that only some of them name is that of all."""
    other, form = f"  - domain: git.sweetlove.top\n    {SHARING}\n", "    zone: {}\n"
    text = text_of(site=f"{SHARING}\n    zone: sweetlove.top")
    assert parse(text + other).shared[0].zone == "sweetlove.top"
    assert parse(text + other + form.format("Sweetlove.Top.")).shared[0].zone == "sweetlove.top"
    text = text.replace("devbox.sweetlove.top", "a.b.sweetlove.top").replace("'*.", "'*.b.")
    other = other.replace("git.", "git.b.").replace("'*.", "'*.b.")
    (fault,) = faults_of(text + other + form.format("b.sweetlove.top"))
    assert "sites[1].certificate: '*.b.sweetlove.top' is in another zone in sites[0]: give both" in fault


def test_the_local_ca_has_to_vouch_for_the_shared_certificate_alone() -> None:
    text = "local_ca: {{permit: [{}]}}\nsites: [{{domain: a.home.lan, certificate: '*.home.lan', ca: local}}]"
    assert faults_of(text.format("a.home.lan")) == [
        "c.yaml:2:43: sites[0].certificate: '*.home.lan' is outside local_ca.permit: add it, or a domain or"
        " network around it"
    ]
    assert parse(text.format("home.lan")).shared


def test_what_is_shared_is_kept_once_before_the_sites() -> None:
    text = text_of(site=SHARING) + f"  - domain: git.sweetlove.top\n    {SHARING}\n"
    config = parse(text)
    assert [site.domain for site in config.kept] == [
        "*.sweetlove.top",
        "devbox.sweetlove.top",
        "git.sweetlove.top",
    ]
    (shared,) = config.shared
    assert shared.wanted_records == []
    assert config.shared_dir in config.certs_dirs
