"""What the shells themselves make of the scripts that complete the command line."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.pages import ROOT
from support.terminals import Terminal

from certbotless.cli import arguments
from certbotless.sandbox.host import require_private_host
from tools import completion

pytestmark = pytest.mark.process

# Each shell without anybody's settings, looking for scripts below $SHARE as it does below /usr/share.
_START = {
    "bash": (["--noprofile", "--norc", "-i"], ". /usr/share/bash-completion/bash_completion"),
    "zsh": (
        ["-f", "-i"],
        "fpath=($SHARE/zsh/site-functions $fpath) && autoload -U compinit && compinit -u -D",
    ),
}
# In place of the program: tells what it was called with.
_STAND_IN = """#!/bin/sh
echo "$*" >"$SHARE/called.new" && mv "$SHARE/called.new" "$SHARE/called"
"""
_PROMPT = "ready>"
# All three scripts are made by shtab from one parser: `make test` tries one of them, `make soak` the others.
SHELLS = [
    pytest.param(shell, marks=[] if shell == "bash" else pytest.mark.soak) for shell in completion.SCRIPTS
]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, and a stand-in of the program in `bin`."""
    share = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, ROOT / "tools" / "completion.py", share], check=True)
    (share / "bin").mkdir()
    (share / "bin/certbotless").write_text(_STAND_IN)
    (share / "bin/certbotless").chmod(0o755)
    (share / "my-config.yaml").touch()
    return share


@contextmanager
def published(*names: str) -> Iterator[None]:
    """Have files of these names in /certs, which is the private host's."""
    require_private_host()
    files = [Path("/certs", name) for name in names]
    try:
        for file in files:
            file.touch()
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def completed(shell: str, share: Path, words: str) -> str:
    """Return what `words` are after the key Tab: at a terminal, or by fish's own answer to that question."""
    environment = {
        "SHARE": str(share),
        "XDG_DATA_DIRS": f"{share}:/usr/share",
        "PATH": f"{share}/bin:{os.environ['PATH']}",
        "HOME": str(share),
        "TERM": "dumb",
    }
    if shell == "fish":
        asked = subprocess.run(
            ["fish", "--private", "--command", f"cd $SHARE; complete --do-complete 'certbotless {words}'"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        *before, typed = words.split(" ")
        (line,) = asked.stdout.splitlines() or [typed]
        return " ".join([*before, line.partition("\t")[0]])
    options, setup = _START[shell]
    called = share / "called"
    called.unlink(missing_ok=True)
    with Terminal([shell, *options], environment={**environment, "PS1": "", "PROMPT": ""}) as terminal:
        # What is typed is seen too: in two parts, so that it is not taken for the prompt.
        terminal.type(f"cd $SHARE; {setup}; PS1='rea''dy>'\n")
        terminal.wait_until(lambda: _PROMPT in terminal.raw, f"{shell} is ready")
        terminal.type(f"certbotless {words}\t\n")
        terminal.wait_until(called.exists, f"the line has been carried out: {terminal.raw!r}")
    return called.read_text().rstrip()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("st", "status"),
        ("--con", "--config"),
        ("--config my-c", "--config my-config.yaml"),
        ("status --j", "status --json"),
        ("check --config my-c", "check --config my-config.yaml"),
        ("init --access-key-s", "init --access-key-secret"),
        ("trust install --to ns", "trust install --to nss"),
        ("trust commands deb", "trust commands debian"),
    ],
)
def test_tab_completes_commands_options_and_files(shell: str, typed: str, meant: str, share: Path) -> None:
    assert completed(shell, share, typed) == meant


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_the_sites_that_have_a_certificate(shell: str, share: Path) -> None:
    names = ("devbox.sweetlove.test", "git.sweetlove.test", "pem.sweetlove.test")
    with published(*(name + suffix for name in names for suffix in (".pem", ".key"))):
        assert completed(shell, share, "status dev") == "status devbox.sweetlove.test"
        assert completed(shell, share, "status pe") == "status pem.sweetlove.test"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("dev$(touch ran).pem", "dev", "dev"),
        ("dev`touch ran`.pem", "dev", "dev"),
        ("dev;touch ran;.pem", "dev", "dev"),
        ("dev)(touch ran).pem", "dev", "dev"),
        ("dev\n$(touch ran)\n.pem", "dev", "dev"),
        ("$(touch ran).pem", "", "git.sweetlove.test"),
        ("devbox.sweetlove.test.pem.key", "dev", "dev"),
        ("devbox.sweetlove.test.pem~", "dev", "dev"),
    ],
)
def test_tab_offers_no_other_name_and_runs_none(
    shell: str, name: str, typed: str, meant: str, share: Path
) -> None:
    """Who may write to /certs is not the one who presses Tab: root, often."""
    with published(name, "git.sweetlove.test.pem"):
        assert completed(shell, share, f"status {typed}") == f"status {meant}"
        assert not (share / "ran").exists()


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_each_command_and_option_is_known(shell: str) -> None:
    script = completion.script(shell)
    for action in arguments.parser()._actions:
        if action.help == argparse.SUPPRESS:
            continue
        for word in [*(option.lstrip("-") for option in action.option_strings), *(action.choices or ())]:
            assert word in script
