"""The parser of the command line -> the man page; loaded by no command.

``python -m certbotless.manual ROOT`` writes it (argparse-manpage).

Source: man-pages(7).
"""

from __future__ import annotations

import sys
from pathlib import Path

from argparse_manpage.manpage import Manpage

from . import __version__, arguments
from .clock import RELEASED

PAGE = Path("docs", "certbotless.1")


def page() -> str:
    """Return the man page, of the day of the release."""
    facts = {
        "project_name": "certbotless",
        "version": __version__,
        "date": f"{RELEASED:%Y-%m-%d}",
        "manual_title": "certbotless",
        "description": "keep a LAN service trusted: its A record, its certificate, and what it serves",
    }
    parser = arguments.parser()
    manpage = Manpage(parser, _data=facts)
    # It would put all usages on one line.
    usages = parser.format_usage().partition(":")[2].replace("-", r"\-").strip().splitlines()
    next_one = f"\n.br\n.B {parser.prog}\n"
    manpage.synopsis = [parser.prog, next_one.join(usage.split(maxsplit=1)[1] for usage in usages)]
    return str(manpage)


def main(root: Path) -> None:
    """Write the page."""
    (root / PAGE).write_text(page())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
