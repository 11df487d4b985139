"""The parser of the command line -> the man page (argparse-manpage).

Source: man-pages(7).
"""

from __future__ import annotations

from argparse_manpage.manpage import Manpage

from certbotless import __version__
from certbotless.base.clock import RELEASED
from certbotless.cli import arguments


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
