"""The parser of the command line -> the man page (argparse-manpage).

Source: man-pages(7).
"""

from __future__ import annotations

from argparse_manpage.manpage import Manpage

from certbotless import __version__
from certbotless.base.clock import RELEASED
from certbotless.cli import arguments
from certbotless.config import environment

# Further sections: what is named, and what it is.
_SECTIONS = {
    "examples": {
        "certbotless init": "Write a first configuration.",
        "certbotless add devbox --ca local": "Add a site that a CA on this machine certifies.",
        "certbotless --renew-now --dry-run": "Test it with the staging server of the CA.",
        "certbotless --once registry.example.com": "Check and repair one site.",
        "certbotless doctor": "Find out what is wrong, and how to fix it.",
    },
    "files": {
        str(environment.FILE): "The configuration.",
        "/etc/certbotless/config.example.yaml": "An example with every key.",
        "/var/lib/certbotless": "Accounts, orders, limits and copies of the certificates.",
        "/certs/DOMAIN.pem, /certs/DOMAIN.key": "The certificate chain and the key of a site.",
    },
    "environment": {
        f"{environment.DOMAIN}, {environment.CONTAINER}, {environment.KEY_ID}, {environment.KEY_SECRET}": (
            "A configuration of one site, used if the file does not exist."
        ),
        "DOCKER_HOST": "The socket of the Docker engine, if docker.host is not set.",
        "LC_ALL, LC_MESSAGES, LANG": "The language of the output, English or Chinese.",
    },
}


def page() -> str:
    """Return the man page, of the day of the release."""
    facts = {
        "project_name": "certbotless",
        "version": __version__,
        "date": f"{RELEASED:%Y-%m-%d}",
        "manual_title": "certbotless",
        "description": "HTTPS certificates for services on a LAN, with Aliyun DNS and ACME DNS-01",
    }
    parser = arguments.parser()
    manpage = Manpage(parser, _data=facts)
    # It would put all usages on one line.
    usages = parser.format_usage().partition(":")[2].replace("-", r"\-").strip().splitlines()
    next_one = f"\n.br\n.B {parser.prog}\n"
    manpage.synopsis = [parser.prog, next_one.join(usage.split(maxsplit=1)[1] for usage in usages)]
    for heading, entries in _SECTIONS.items():
        text = "".join(f".TP\n.B {entry}\n{about}\n" for entry, about in entries.items())
        manpage.add_section(heading, "=", text.replace("-", r"\-").strip())
    # Its headings are those of argparse.
    text = str(manpage).replace("\nPOSITIONAL ARGUMENTS\n", "\nCOMMANDS\n")
    return text.replace(".SH COMMENTS\n", ".SH EXIT STATUS\n")
