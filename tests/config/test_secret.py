"""A secret is named in the configuration and read when it is needed; it never shows in what is printed."""

import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from certbotless.base.errors import SecretUnreadable
from certbotless.config.secret import Secret, environment_without

CANARY = "LTAI5tPlantedCanary"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """A file with a secret in it, open to its owner alone."""
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(f"{CANARY}\n")
    return path


# --- the four ways to write one -----------------------------------------------------------------------------


@pytest.mark.parametrize("text", [CANARY, f"  {CANARY}\n", "a$b", "files:x", "x${ENV}", "例子 x"])
def test_a_literal_is_the_secret_itself(text: str) -> None:
    """Without the white space around it, such as the line end of a YAML block."""
    assert Secret.parse(text).read() == text.strip()


def test_an_environment_variable_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret.parse("${ALIYUN_KEY}")
    monkeypatch.setenv("ALIYUN_KEY", f" {CANARY}\n")
    assert secret.read() == CANARY
    monkeypatch.setenv("ALIYUN_KEY", "another")
    assert secret.read() == "another"


def test_a_file_is_read_when_it_is_needed(secret_file: Path) -> None:
    """So a rotated secret counts from the next run on."""
    secret = Secret.parse(f"file:{secret_file}")
    assert secret.read() == CANARY
    secret_file.write_text("another")
    assert secret.read() == "another"


def test_a_credential_comes_from_the_directory_that_systemd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aliyun.key").write_text(CANARY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Secret.parse("credential:aliyun.key").read() == CANARY


@pytest.mark.parametrize("directory", [None, "", "/nonexistent"])
def test_a_credential_that_systemd_did_not_give_is_looked_for_in_the_credstore(
    directory: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when an administrator runs a command by hand."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    if directory is not None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", directory)
    with pytest.raises(SecretUnreadable, match="'/etc/credstore/certbotless-test-absent'") as told:
        Secret.parse("credential:certbotless-test-absent").read()
    # Nobody but root may read the credstore, so nothing leads to a wider mode.
    assert told.value.hint.startswith("write it there as root, mode 0600; for the service then ")


# --- references that are not well formed --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "${}",
        "${" + CANARY,
        "${A B}",
        "${1A}",
        "${A}x",
        f"file:{CANARY}",
        "file:",
        "file:../x",
        "file:/a\0b",
        "file:/a\nb",
        "credential:",
        "credential:../x",
        "credential:.x",
        f"credential:/{CANARY}",
        f"credential:{CANARY}/x",
        f"{CANARY}\nsecond line",
        f"{CANARY}\x1b[2J",
    ],
)
def test_a_reference_that_is_not_well_formed_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"is empty|is written|one line") as caught:
        Secret.parse(text)
    assert CANARY not in str(caught.value)
    assert str(caught.value).isprintable()


# --- references that lead nowhere ---------------------------------------------------------------------------


def unreadable(text: str) -> str:
    """Return the one line that says why a well-formed reference gives no secret."""
    with pytest.raises(SecretUnreadable) as caught:
        Secret.parse(text).read()
    assert caught.value.hint
    line = str(caught.value)
    assert line.isprintable()
    assert CANARY not in line
    return line


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALIYUN_KEY", raising=False)
    assert "'ALIYUN_KEY' is not set" in unreadable("${ALIYUN_KEY}")
    monkeypatch.setenv("ALIYUN_KEY", " ")
    assert "'ALIYUN_KEY' is not set" in unreadable("${ALIYUN_KEY}")


def test_a_file_that_gives_no_secret_is_named_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    text = f"file:{path}"
    assert f"{str(path)!r}: No such file" in unreadable(text)
    path.mkdir()
    assert f"{str(path)!r}: it is a directory" in unreadable(text)
    path.rmdir()
    os.mkfifo(path)  # which nobody fills, and nobody waits for
    assert f"{str(path)!r}: it is a named pipe" in unreadable(text)
    path.unlink()
    path.write_text(" \n")
    assert f"{str(path)!r} is empty" in unreadable(text)
    path.write_bytes(b"\xff\xfe" + CANARY.encode())
    assert f"{str(path)!r}: not text" in unreadable(text)


@pytest.mark.parametrize("content", [f"id\n{CANARY}\n", f"{CANARY}\0", f"{CANARY}\x1b[2J"])
def test_what_is_more_than_one_line_of_text_is_no_secret(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrong file, or one of another format: better said now than as a wrong signature later."""
    path = tmp_path / "secret"
    path.write_text(content)
    assert f"{str(path)!r} is not one line of text" in unreadable(f"file:{path}")
    if "\0" not in content:  # which no variable can hold
        monkeypatch.setenv("ALIYUN_KEY", content)
        assert "'ALIYUN_KEY' is not one line of text" in unreadable("${ALIYUN_KEY}")
    # What is not UTF-8 is handed on as lone surrogates, which nothing can encode again.
    monkeypatch.setenv("ALIYUN_KEY", "\udcff")
    assert "not one line of text" in unreadable("${ALIYUN_KEY}")


# --- what is careless ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_file_closed_to_others_needs_no_word(secret_file: Path, mode: int) -> None:
    """A group may read it: systemd's own credentials are such files."""
    secret_file.chmod(mode)
    assert Secret.parse(f"file:{secret_file}").warning({os.geteuid()}) is None


@pytest.mark.row(68)
def test_a_file_of_another_user_is_warned_of(secret_file: Path) -> None:
    warning = Secret.parse(f"file:{secret_file}").warning({os.geteuid() + 1})
    assert warning is not None
    assert f"another user (uid {os.geteuid()})" in warning


@pytest.mark.row(68)
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o666])
def test_a_file_open_to_others_is_warned_of_and_read(secret_file: Path, mode: int) -> None:
    secret_file.chmod(mode)
    secret = Secret.parse(f"file:{secret_file}")
    warning = secret.warning({os.geteuid()})
    assert warning is not None
    assert str(secret_file) in warning
    assert f"{mode:04o}" in warning
    assert secret.read() == CANARY


@pytest.mark.parametrize("text", [CANARY, "${ALIYUN_KEY}", "file:/nonexistent/secret"])
def test_what_is_no_file_or_not_there_is_not_warned_of(text: str) -> None:
    assert Secret.parse(text).warning({os.geteuid()}) is None


# --- for programs that are none of ours ---------------------------------------------------------------------


def test_the_environment_of_others_lacks_what_leads_to_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that references name, and where systemd has put the credentials; nothing else."""
    for name in ("ALIYUN_KEY", "ALIYUN_SECRET", "CREDENTIALS_DIRECTORY", "LANGUAGE"):
        monkeypatch.setenv(name, CANARY)
    secrets = map(Secret.parse, ["${ALIYUN_KEY}", "${ALIYUN_SECRET}", "${NOT_SET}", "file:/LANGUAGE", CANARY])
    hidden = {"ALIYUN_KEY", "ALIYUN_SECRET", "CREDENTIALS_DIRECTORY"}
    left = {name: value for name, value in os.environ.items() if name not in hidden}
    assert environment_without(secrets) == left
    assert left["LANGUAGE"] == CANARY


# --- what is printed ----------------------------------------------------------------------------------------


def test_a_reference_is_shown_by_its_name_and_a_literal_as_stars(secret_file: Path) -> None:
    """Which is what a person must know, and no secret."""
    assert repr(Secret.parse(CANARY)) == str(Secret.parse(CANARY)) == "Secret(***)"
    shown = repr(Secret.parse(f"file:{secret_file}"))
    assert str(secret_file) in shown
    assert CANARY not in shown


@given(st.text(), st.text())
def test_a_planted_secret_shows_in_no_text(before: str, after: str) -> None:
    """Neither in the value's own text nor in that of its refusal."""
    try:
        secret = Secret.parse(before + CANARY + after)
    except ValueError as exc:
        shown = str(exc)
    else:
        assume(secret.kind == "literal")  # a reference shows where the secret is
        shown = repr(secret)
    assert CANARY not in shown
