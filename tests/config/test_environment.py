"""The variables that take the place of the default file."""

import os
from pathlib import Path

import pytest

from certbotless.base.errors import ConfigError
from certbotless.config import environment, load
from certbotless.config.live import Source
from certbotless.config.secret import Secret

VALUES = {
    environment.DOMAIN: "registry.example.com",
    environment.CONTAINER: "registry",
    environment.KEY_ID: "made-up-id",
    environment.KEY_SECRET: "made-up-secret",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default file, which is not there; all four variables are set."""
    path = tmp_path / "config.yaml"
    monkeypatch.setattr(environment, "FILE", path)
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    return path


def test_four_values_are_the_smallest_configuration(file: Path) -> None:
    config = load.load(file)
    (site,) = config.sites
    assert (site.domain, [target.name for target in site.deploy]) == ("registry.example.com", ["registry"])
    assert config.account.access_key_id == Secret("environment", environment.KEY_ID)
    assert config.account.key[1].read() == "made-up-secret"


def test_it_is_named_as_what_it_is(file: Path) -> None:
    assert environment.name_of(file) == "the environment"
    file.touch()
    assert environment.name_of(file) == str(file)
    assert (environment.name_of(None), environment.name_of(Path("/x"))) == ("-", "/x")


def test_no_secret_is_in_the_text_that_is_handed_on(file: Path) -> None:
    """To the workers of the daemon, and to its own digests."""
    assert b"made-up" not in load.read(file)


def test_a_name_in_chinese_and_a_site_without_a_container(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environment.DOMAIN, "仓库.example.com")
    monkeypatch.setenv(environment.CONTAINER, "none")
    (site,) = load.load(file).sites
    assert (site.domain, site.deploy) == ("xn--5mqv79a.example.com", ())


def test_a_file_counts_more_and_is_taken_when_it_appears(file: Path) -> None:
    source = Source(file)
    file.write_text(
        "aliyun: {access_key_id: a, access_key_secret: b}\nsites: [{domain: other.example.com}]\n"
    )
    assert source.poll(0) is None  # it may be in the middle of being saved
    taken = source.poll(2)
    assert taken is not None
    assert [site.domain for site in taken.sites] == ["other.example.com"]


@pytest.mark.parametrize("name", sorted(VALUES))
def test_without_one_of_them_a_line_names_it(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty is not set: compose hands over an empty value for a name that its .env lacks."""
    monkeypatch.setenv(name, " ")
    with pytest.raises(ConfigError) as caught:
        load.read(file)
    assert caught.value.faults == [f"{name}: not set; write the file {file}, or set all four variables"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (environment.DOMAIN, "https://registry.example.com", "CERTBOTLESS_DOMAIN: "),
        (environment.DOMAIN, 'a".example.com', "CERTBOTLESS_DOMAIN: "),
        (
            environment.CONTAINER,
            "my registry",
            "CERTBOTLESS_CONTAINER: 'my registry' is not a container name",
        ),
        (environment.CONTAINER, 'a"\nx: y', "CERTBOTLESS_CONTAINER: "),
        (environment.KEY_ID, "your-id", "ALIYUN_ACCESS_KEY_ID: is a placeholder: write your own value"),
    ],
)
def test_a_bad_value_is_one_line(
    name: str, value: str, said: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load.read(file)
    (fault,) = caught.value.faults
    assert fault.startswith(said)
    assert fault.isprintable()


def test_another_file_and_no_variable_are_told_as_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"no configuration yet at .*other\.yaml"):
        load.read(file.with_name("other.yaml"))
    for name in VALUES:
        monkeypatch.delenv(name)
    assert not [name for name in os.environ if name in VALUES]
    with pytest.raises(ConfigError, match=r"no configuration yet at .*config\.yaml"):
        load.read(file)
