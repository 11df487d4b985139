"""The parser of the command line -> what completes it in bash, zsh and fish (`make install`).

``python tools/completion.py SHARE`` writes a script for each shell (shtab); SHARE is PREFIX/share of an
installation. They hold code of shtab's authors, so they are made where they are installed.

Source: bash-completion's README, zshcompsys(1) and fish-completions(1), for where each shell looks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import shtab

from certbotless.cli import arguments
from certbotless.cli.trust import install
from certbotless.report import trust_steps

SCRIPTS = {
    "bash": Path("bash-completion", "completions", "certbotless"),
    "zsh": Path("zsh", "site-functions", "_certbotless"),
    "fish": Path("fish", "vendor_completions.d", "certbotless.fish"),
}
# Not everybody may read the configuration, but all may list the default certs_dir. The shells evaluate what
# this prints, and who may write there is not who presses Tab: only what a domain is made of comes through.
# Without a dollar sign, which each shell would want quoted in its own way.
_DOMAINS = r"ls /certs 2>/dev/null | grep -x '[A-Za-z0-9][A-Za-z0-9.-]*[.]pem' | sed 's/\(.*\)[.]pem/\1/'"
# By metavar.
_VALUES = {
    "FILE": shtab.FILE,
    "PATH": shtab.FILE,
    "DOMAIN": shtab.cmd(_DOMAINS),
    "STORES": shtab.cmd("printf '%s\\n' " + " ".join(store.name for store in install.STORES)),
    "SYSTEM": shtab.cmd("printf '%s\\n' " + " ".join(trust_steps.SYSTEMS)),
}


def script(shell: str) -> str:
    """Return what one of the shells reads."""
    parser = arguments.parser()
    _add_values(parser)
    return shtab.complete(parser, shell)


def _add_values(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if action.metavar in _VALUES:
            action.complete = _VALUES[action.metavar]  # type: ignore[attr-defined]  # where shtab looks for it
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _add_values(command)


def main(share: Path) -> None:
    """Write the scripts."""
    for shell, path in SCRIPTS.items():
        (share / path).parent.mkdir(parents=True, exist_ok=True)
        (share / path).write_text(script(shell))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
