"""Several CAs in a file: what they say against each other, and that one by itself means what it did."""

import json
from dataclasses import replace

import pytest
from support.configs import parse

from certbotless.base.errors import ConfigError
from certbotless.config import as_yaml, diff
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.redact import Redactor
from certbotless.config.settings import Acme, Config
from certbotless.config.values import DIRECTORIES

EAB = "eab: {kid: k, hmac_key: PlantedCanaryMac}"


def text_with(acme: str) -> str:
    return (
        f"acme: {acme}\n"
        "aliyun: {access_key_id: a, access_key_secret: b}\n"
        "sites: [{domain: devbox.sweetlove.top}]\n"
    )


def with_acme(acme: str) -> Config:
    return parse(text_with(acme))


def faults(acme: str) -> list[str]:
    """What is wrong, without the name of the file."""
    with pytest.raises(ConfigError) as found:
        with_acme(acme)
    return [fault.partition(":")[2] for fault in found.value.faults]


LIST = f"[{{directory: letsencrypt, email: you@example.com}}, {{directory: litessl, {EAB}}}]"


def test_the_first_is_wanted_and_the_others_take_after_it() -> None:
    config = with_acme(LIST)
    first, other = config.cas
    assert (first.directory, other.directory) == ("letsencrypt", "litessl")
    assert (other.url, other.email) == (DIRECTORIES["litessl"], "you@example.com")
    assert config.has_stand_ins
    own = with_acme(f"[{{key_type: rsa2048}}, {{directory: zerossl, email: b@c.com, {EAB}}}]")
    assert [(ca.email, ca.key_type) for ca in own.cas] == [(None, "rsa2048"), ("b@c.com", "rsa2048")]
    assert own.cas[0].eab is None and own.cas[1].profile is None


def test_a_list_of_one_is_one() -> None:
    alone, listed = with_acme("{email: a@b.com}"), with_acme("[{email: a@b.com}]")
    assert alone == listed
    assert not alone.has_stand_ins
    assert Config(sites=alone.sites).cas == (Acme(),)


@pytest.mark.parametrize(
    ("acme", "fault"),
    [
        ("[]", "1:7: acme: needs at least one entry"),
        (f"[{', '.join(['{directory: https://a.top/d}'] * 5)}]", "1:7: acme: has more than 4 entries"),
        ("[letsencrypt]", "1:8: acme[0]: must be a mapping"),
        ("letsencrypt", "1:7: acme: must be a mapping"),
        (
            "[{}, {directory: letsencrypt}]",
            "1:24: acme[1].directory: 'letsencrypt' is already the CA of acme[0]",
        ),
        (
            f"[{{}}, {{directory: {DIRECTORIES['letsencrypt']}}}]",
            f"1:24: acme[1].directory: '{DIRECTORIES['letsencrypt']}' is already the CA of acme[0]",
        ),
        (
            "[{}, {directory: 'HTTPS://ACME-v02.api.letsencrypt.org:443/directory'}]",
            "1:24: acme[1].directory: 'HTTPS://ACME-v02.api.letsencrypt.org:443/directory' is already the CA",
        ),
        (
            "[{directory: https://a.top/d}, {directory: 'https://A.top/d'}]",
            "1:50: acme[1].directory: 'https://A.top/d' is already the CA of acme[0]",
        ),
        ("[{}, {directory: litessl}]", "1:24: acme[1].directory: litessl needs eab"),
        ("{directory: google-staging}", "1:19: acme.directory: google-staging needs eab"),
        (
            "[{}, {directory: letsencrypt-staging}]",
            "1:24: acme[1].directory: 'letsencrypt-staging' gives certificates that no client trusts",
        ),
        (
            f"[{{directory: {DIRECTORIES['google-staging']}}}, {{}}]",
            f"1:20: acme[0].directory: '{DIRECTORIES['google-staging']}' gives certificates",
        ),
        (
            "[{}, {directory: https://a.top/d, key_type: ec256}]",
            "1:41: acme[1].key_type: belongs into the first",
        ),
        ("[{}, {directory: nobody}]", "1:24: acme[1].directory: 'nobody' is neither letsencrypt"),
        ("[{}, {directry: https://a.top/d}]", "1:13: acme[1].directry: unknown key 'directry'"),
    ],
)
def test_what_cannot_be_in_a_list_is_a_fault_at_its_place(acme: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(acme)), faults(acme)


def test_a_staging_directory_alone_is_a_way_to_try() -> None:
    for word in ("letsencrypt-staging", "google-staging"):
        assert with_acme(f"{{directory: {word}, {EAB}}}").cas[0].url == DIRECTORIES[word]


def test_one_ca_counts_as_it_did_before_there_were_lists() -> None:
    """So that no failure is forgotten, and nothing is ordered, after an upgrade."""
    config = with_acme("{directory: 'https://ca.test/dir', email: a@b.com}")
    _, of_file = Fingerprints.of(config).digests(config, config.sites[0])
    assert of_file == "2:d71ed53fe541710a2823bd907e48083aa72d842b45fcf1090e1df175faaa8cec"
    assert with_acme(f"{{directory: zerossl, {EAB}}}").secrets().keys() == {
        "aliyun.access_key_id",
        "aliyun.access_key_secret",
        "acme.eab.hmac_key",
    }


def test_each_binding_of_a_list_is_a_secret_with_a_path() -> None:
    config = with_acme(LIST)
    assert "acme[1].eab.hmac_key" in config.secrets()
    # One that was used up keeps no daemon from starting.
    assert "acme[1].eab.hmac_key" not in config.needed_secrets()
    redact = Redactor.of(config)
    assert redact("PlantedCanaryMac for you@example.com") == "*** for ***"
    prints = Fingerprints.of(config)
    other = replace(config, acme=config.acme[::-1])
    assert prints.digests(config, config.sites[0]) != prints.digests(other, config.sites[0])


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (
            "{}",
            LIST,
            [
                "acme [letsencrypt] -> [letsencrypt, litessl]",
                "acme letsencrypt: email not set -> you@example.com",
            ],
        ),
        (LIST, LIST.replace("you@", "me@"), ["acme letsencrypt: email you@example.com -> me@example.com"]),
        (LIST, LIST.replace("kid: k", "kid: l"), ["acme litessl: eab.kid k -> l"]),
        (LIST, "[{email: you@example.com}]", ["acme [letsencrypt, litessl] -> [letsencrypt]"]),
    ],
)
def test_an_edit_of_the_list_is_told_by_name(before: str, after: str, lines: list[str]) -> None:
    assert diff.changes(with_acme(before), with_acme(after)) == lines


def test_a_report_shows_the_list_as_the_file_may_have_it() -> None:
    config = with_acme(LIST)
    lines = "\n".join(as_yaml.lines(config, config.sites[0]))
    assert "PlantedCanaryMac" not in lines
    assert parse(lines.replace("'***'", "x")).acme[1].eab is not None
    alone = "\n".join(as_yaml.lines(with_acme("{email: a@b.com}"), config.sites[0]))
    assert "acme:\n  email: a@b.com\n" in alone


def test_a_json_file_may_have_a_list_too() -> None:
    fields = {
        "acme": [{"directory": "https://a.test/d"}, {"directory": "https://b.test/d"}],
        "aliyun": {"access_key_id": "a", "access_key_secret": "b"},
        "sites": [{"domain": "devbox.sweetlove.top"}],
    }
    assert [ca.directory for ca in parse(json.dumps(fields)).cas] == ["https://a.test/d", "https://b.test/d"]
