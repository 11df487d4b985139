"""Where other ACME clients keep the keys of their accounts, and which of them is meant."""

import errno
import os
from pathlib import Path

import pytest

from certbotless.base.errors import CertbotlessError
from certbotless.cli.account.foreign import key_of

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
HOST, STAGING_HOST = "acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org"
LAYOUTS = {
    "acme.sh": f"ca/{HOST}/directory/account.key",
    "acme.sh, older": f"ca/{HOST}/account.key",
    "certbot": f"accounts/{HOST}/directory/0123/private_key.json",
    "lego 4": f"accounts/{HOST}/you@example.com/keys/you@example.com.key",
    "lego 5": f"accounts/{HOST}/abc/abc.key",
}


def put(home: Path, name: str, content: str = "key") -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if path.suffix == ".key" and path.name != "account.key":
        beside = path.parent.parent if path.parent.name == "keys" else path.parent
        (beside / "account.json").write_text("{}")
    return path


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_key_of_each_client_is_found_from_any_folder_above_it(tmp_path: Path, layout: str) -> None:
    path = put(tmp_path, layout)
    put(tmp_path, layout.replace(HOST, STAGING_HOST), "other")
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "registry.example.com.key").write_text("none of an account")
    for start in (tmp_path, path.parent, path):
        assert key_of(start, LETS_ENCRYPT) == (path, b"key")
    assert key_of(tmp_path, STAGING)[1] == b"other"


def test_a_ca_with_a_port_is_told_by_both_spellings(tmp_path: Path) -> None:
    url = "https://127.0.0.1:14000/dir"
    certbot = put(tmp_path / "certbot", "accounts/127.0.0.1:14000/dir/0123/private_key.json")
    lego = put(tmp_path / "lego", "accounts/127.0.0.1_14000/a@b.com/keys/a@b.com.key")
    put(tmp_path / "certbot", "accounts/ca.test/dir/0123/private_key.json")
    assert key_of(tmp_path / "certbot", url)[0] == certbot
    assert key_of(tmp_path / "lego", url)[0] == lego


def test_a_folder_that_is_a_link_counts_and_a_loop_ends(tmp_path: Path) -> None:
    """certbot links the folder of Let's Encrypt's second version to that of the first."""
    real = put(tmp_path, "accounts/acme-v01.api.letsencrypt.org/directory/1/private_key.json")
    put(tmp_path, f"accounts/{STAGING_HOST}/directory/2/private_key.json", "other")
    link = tmp_path / "accounts" / HOST / "directory"
    link.parent.mkdir()
    link.symlink_to(real.parent.parent)
    (tmp_path / "accounts" / "loop").symlink_to(tmp_path)
    assert key_of(tmp_path, LETS_ENCRYPT) == (link / "1/private_key.json", b"key")


def test_a_link_to_itself_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "account.key").symlink_to("account.key")
    with pytest.raises(CertbotlessError, match="it is a symbolic link"):
        key_of(tmp_path, LETS_ENCRYPT)


def test_a_folder_that_may_not_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing keeps root from reading one, so the system is made to say so."""
    put(tmp_path, LAYOUTS["certbot"])

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CertbotlessError, match="Permission denied") as found:
        key_of(tmp_path, LETS_ENCRYPT)
    assert "use sudo" in found.value.hint


def test_nothing_is_guessed_where_there_is_none_or_more_than_one(tmp_path: Path) -> None:
    with pytest.raises(CertbotlessError, match="no account of acme"):
        key_of(tmp_path, LETS_ENCRYPT)
    with pytest.raises(CertbotlessError, match="cannot read"):
        key_of(tmp_path / "absent", LETS_ENCRYPT)
    for number in "12":
        put(tmp_path, f"accounts/{HOST}/directory/{number}/private_key.json")
    with pytest.raises(CertbotlessError, match="has several accounts") as found:
        key_of(tmp_path, LETS_ENCRYPT)
    assert "/1/private_key.json" in found.value.hint
    put(tmp_path, f"accounts/{HOST}/directory/\x1b]0;\n/private_key.json")
    with pytest.raises(CertbotlessError, match="has several accounts") as found:
        key_of(tmp_path, LETS_ENCRYPT)
    assert "/\\x1b]0;\\n/private_key.json" in found.value.hint
    with pytest.raises(CertbotlessError, match="no account"):
        key_of(tmp_path, STAGING)
