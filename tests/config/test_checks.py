"""What is careless is told, and used all the same: in the values, and in who may read or write the files."""

import os
from pathlib import Path

import pytest
from support.configs import CANARY, FULL, parse, text_of

from certbotless.config import load
from certbotless.config.checks import warnings

# --- what the file says -------------------------------------------------------------------------------------


def test_an_engine_that_anybody_on_the_way_may_use_is_warned_of() -> None:
    (warning,) = warnings(parse(text_of(docker="host: tcp://10.0.0.5:2375")))
    assert warning.startswith("docker.host: tcp://10.0.0.5:2375 has no TLS and no password")
    assert warnings(parse(text_of(docker="host: tcp://127.0.0.1:2375"))) == []


def test_warnings_are_no_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is not there, or open to others; an address that leads nowhere else."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o644)
    found = parse(
        f"aliyun: {{access_key_id: '${{NO_SUCH_KEY}}', access_key_secret: 'file:{secret}'}}\n"
        "sites: [{domain: a.example.com, address: 10.0.0.1, address6: '::1'},"
        " {domain: b.example.com, address: 127.0.0.2}]\n"
    )
    first, second, *others = warnings(found)
    assert first.startswith("aliyun.access_key_id: the environment variable 'NO_SUCH_KEY' is not set")
    assert second.startswith(f"aliyun.access_key_secret: {str(secret)!r} has mode 0644")
    assert others[0].startswith("sites[0].address6 (a.example.com): ::1 leads every other machine to itself")
    assert others[1].startswith(
        "sites[1].address (b.example.com): 127.0.0.2 leads every other machine to itself"
    )
    secret.chmod(0o600)
    monkeypatch.setenv("NO_SUCH_KEY", CANARY)
    assert warnings(found) == others
    optional = parse(
        text_of(
            aliyun=f"security_token: file:{tmp_path}/none",
            acme="eab: {kid: k, hmac_key: '${NO_SUCH_MAC}'}",
        )
    )
    first, second = warnings(optional)
    assert first.startswith("aliyun.security_token: cannot read the secret")
    assert second.startswith("acme.eab.hmac_key: the environment variable 'NO_SUCH_MAC' is not set")
    assert warnings(parse(FULL)) == []
    for listen, count in (("127.0.0.9:9109", 0), ("[::1]:9109", 0), ("0.0.0.0:9109", 1), ("10.0.0.5:80", 1)):
        told = warnings(parse(text_of(top=f'http: {{listen: "{listen}"}}')))
        assert [text.partition(":")[0] for text in told] == ["http.listen"] * count
    for share, count in (("10.0.0.5:9110", 0), ("127.0.0.1:9110", 0), ("0.0.0.0:9110", 1), ("[::]:9110", 1)):
        told = warnings(parse(text_of(top=f'local_ca: {{share: "{share}"}}')))
        assert [text.partition(":")[0] for text in told] == ["local_ca.share"] * count


def test_a_name_that_clients_look_up_by_multicast_is_warned_of() -> None:
    (warning,) = warnings(parse("sites: [{domain: devbox, ca: local, names: [nas.local, a.locals.lan]}]"))
    assert warning.startswith("sites[0]: nas.local is for multicast DNS")


# --- who may read or write it -------------------------------------------------------------------------------


def test_folders_that_anybody_may_write_to_are_warned_of(tmp_path: Path) -> None:
    """And used: a certificate that expires would do more harm."""
    folders = {name: tmp_path / name for name in ("certs", "state", "own")}
    for folder in folders.values():
        folder.mkdir()
    found = parse(
        f"aliyun: {{access_key_id: a, access_key_secret: b}}\n"
        f"certs_dir: {folders['certs']}\nstate_dir: {folders['state']}\n"
        f"sites: [{{domain: a.example.com}}, {{domain: b.example.com, certs_dir: {folders['own']}}}]\n"
    )
    assert warnings(found) == []
    for folder in folders.values():
        folder.chmod(0o777)
    keys = ["certs_dir", "state_dir", "sites[1].certs_dir (b.example.com)"]
    told = "has mode 0777: every user can replace the files there; chmod o-w"
    assert warnings(found) == [
        f"{key}: {str(folder)!r} {told}" for key, folder in zip(keys, folders.values(), strict=True)
    ]


@pytest.mark.process
@pytest.mark.row(68)
def test_a_secret_may_belong_to_root_to_us_or_to_the_owner_of_state_dir(tmp_path: Path) -> None:
    """Root checks what the service's user will use."""
    state_dir, secret = tmp_path / "state", tmp_path / "secret"
    state_dir.mkdir()
    secret.touch(0o600)
    secret.write_text(CANARY)
    os.chown(secret, 4242, -1)
    text = f"aliyun: {{access_key_id: a, access_key_secret: 'file:{secret}'}}\n"
    found = parse(f"{text}state_dir: {state_dir}\nsites: [{{domain: a.example.com}}]\n")
    [warning] = warnings(found)
    assert warning.startswith(f"aliyun.access_key_secret: {str(secret)!r} belongs to another user (uid 4242)")
    os.chown(state_dir, 4242, -1)
    assert warnings(found) == []


@pytest.mark.parametrize(
    ("mode", "folder_mode", "is_literal", "words"),
    [
        (0o640, 0o755, True, ""),
        (0o644, 0o755, False, ""),
        (0o644, 0o755, True, "has mode 0644, and aliyun.access_key_id is written in it"),
        (0o666, 0o755, False, "every user can write the configuration"),
        (0o640, 0o777, False, "every user can write the configuration"),
    ],
)
def test_a_file_that_is_open_to_others_is_warned_of(
    tmp_path: Path, mode: int, folder_mode: int, is_literal: bool, words: str
) -> None:
    """A user who may write it can run programs as its user."""
    secret, file = tmp_path / "secret", tmp_path / "etc" / "config.yaml"
    secret.touch(0o600)
    secret.write_text(CANARY)
    file.parent.mkdir()
    text = text_of().replace(f"{CANARY}Secret", f"file:{secret}")
    file.write_text(text if is_literal else text.replace(f"{CANARY}Id", f"file:{secret}"))
    file.chmod(mode)
    file.parent.chmod(folder_mode)
    found = warnings(load.load(file), file)
    assert [words in text for text in found] == ([True] if words else [])


@pytest.mark.process
def test_a_file_of_another_user_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.touch(0o600)
    file.write_text(text_of())
    os.chown(file, 4712, 4712)
    (text,) = warnings(load.load(file), file)
    assert "belongs to another user (uid 4712)" in text
