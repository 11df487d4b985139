"""The command line: its commands and options, and how they are parsed.

Added to argparse is what it cannot do: domains between options, and the nearest command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__
from ..base.errors import UsageError, printable
from ..config import environment
from ..service import wire

if TYPE_CHECKING:
    from ..config.settings import Config, Site

_COMMANDS = {
    "check": "validate the configuration, offline",
    "plan": "look at the world and print what would be done; changes nothing",
    "status": "show each site: address, certificate, what is served, next renewal",
    "doctor": "test everything that can break, a line each, with the cure",
    "notify-test": "send a test message to each URL of notify",
    "init": "make a first configuration from a few questions, or from options; overwrites nothing",
    "sandbox": "the whole chain on this machine, nothing needed from outside",
}
_INIT_OPTIONS = (
    ("--domain", "NAME", "the public name of the service"),
    ("--zone", "NAME", "its zone at Aliyun DNS; found through the API when absent"),
    ("--access-key-id", "REF", "credential:NAME, file:/path or ${ENV}"),
    ("--access-key-secret", "REF", "the same for its secret"),
    ("--container", "NAME", "who serves the certificate, or none"),
    ("--port", "PORT", "where it serves TLS; its one published port when absent"),
    ("--address", "RULE", "auto, auto:INTERFACE, auto:NETWORK, an IPv4 address, or none"),
    ("--directory", "CA", "letsencrypt, letsencrypt-staging, or an https:// URL"),
    ("--email", "ADDRESS", "where the CA may write to"),
)
_CONFIG = str(environment.FILE)
_CONFIG_HELP = f"the configuration (default {_CONFIG}); - is standard input"
_ONE_SHOT = ("--once", "--renew-now")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all our errors; it takes no shortened options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line. Domains and options may be in any order.

    Raises:
        UsageError: it makes no sense.
    """
    if not set(_ONE_SHOT).isdisjoint(argv):
        args = parser(has_domains=True).parse_intermixed_args(argv)
        for command in (word for word in args.domains if word in _COMMANDS):
            raise UsageError(f"{command} does not go with --once or --renew-now")
        return args
    word = _first_word(argv)
    if word is not None and word not in _COMMANDS:
        from difflib import get_close_matches  # noqa: PLC0415  (only a mistake needs it)

        (nearest,) = get_close_matches(word, _COMMANDS, 1, cutoff=0)
        hint = f"the nearest one is {nearest!r}"
        if "." in word:
            hint = "a DOMAIN goes with --once, --renew-now or status"
        raise UsageError(f"there is no command {printable(word, 80)!r}; {hint}")
    return parser().parse_args(argv)


def _first_word(argv: Sequence[str]) -> str | None:
    """Return the first argument that is neither an option nor the value of one."""
    words = iter(argv)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def parser(*, has_domains: bool = False) -> argparse.ArgumentParser:
    """Return the parser of a one-shot run, which takes domains, or of everything else."""
    parser = _Parser(
        prog="certbotless",
        usage="%(prog)s [--config FILE] [COMMAND ...]\n"
        "       %(prog)s [--config FILE] --once [DOMAIN ...]\n"
        "       %(prog)s [--config FILE] --renew-now [DOMAIN ...] [--force] [--dry-run]",
        description="Keep a LAN service trusted: its A record, its certificate, and what it serves.",
        epilog="Without a command: the daemon. Exit codes: 0 well, 1 not well, 2 bad usage or configuration.",
    )
    parser.add_argument("--version", action="version", version=f"certbotless {__version__}")
    parser.add_argument("--config", metavar="FILE", default=_CONFIG, help=_CONFIG_HELP)
    once = parser.add_mutually_exclusive_group()
    _flag(once, "--once", "make all facts true where they are not, of these sites or all; exit")
    _flag(once, "--renew-now", "order now, publish, restart, prove, these sites or all; exit")
    _flag(parser, "--force", "with --renew-now: order even beyond our own limits on orders")
    dry_run_help = "with --renew-now: try the whole chain at the CA's staging directory; publish nothing"
    _flag(parser, "--dry-run", dry_run_help)
    if has_domains:
        parser.add_argument(wire.SETTLED, action="append", default=[], help=argparse.SUPPRESS)
        parser.add_argument("domains", nargs="*", metavar="DOMAIN", help="a site's domain; none: all sites")
        parser.set_defaults(command=None, errand=None)
        return parser
    parser.add_argument(wire.ERRAND, choices=wire.HELPERS, help=argparse.SUPPRESS)
    _add_commands(parser)
    return parser


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog=parser.prog)

    def add(name: str, config_help: str = _CONFIG_HELP) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=_COMMANDS[name], description=_COMMANDS[name])
        command.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=config_help)
        return command

    add("check")
    plan = add("plan")
    _flag(plan, "--exit-code", "exit 3 when something is to be done")
    status = add("status")
    domain_help = "only this site, and all that is known of it"
    status.add_argument("domain", nargs="?", metavar="DOMAIN", help=domain_help)
    _flag(status, "--json", "as one JSON object")
    _flag(status, "--watch", "again every 2 s, in place, until Ctrl-C")
    doctor = add("doctor")
    _flag(doctor, "--json", "as one JSON object")
    probe_help = "only ask the DNS API how it behaves, with a TXT record that is made and deleted"
    _flag(doctor, "--probe", f"{probe_help}; print a text for a report, without names and secrets")
    add("notify-test")
    init = add("init", f"the file to be made (default {_CONFIG})")
    for option, metavar, text in _INIT_OPTIONS:
        init.add_argument(option, metavar=metavar, help=text)
    _flag(init, "--yes", "ask nothing: take what is found")
    sandbox = commands.add_parser("sandbox", help=_COMMANDS["sandbox"])
    sandbox.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _flag(of: argparse._ActionsContainer, name: str, text: str) -> None:
    of.add_argument(name, action="store_true", help=text)


def sites_named(config: Config, domains: Sequence[str]) -> list[Site]:
    """Return the sites with exactly these domains; every site where no domain is given.

    Raises:
        UsageError: no site has one of these domains.
    """
    from ..base.names import u_labels  # noqa: PLC0415  (help needs none)

    # A domain in Chinese may also be given in Chinese letters.
    by_name = {name: site for site in config.sites for name in (site.domain, u_labels(site.domain))}
    for domain in domains:
        if domain not in by_name:
            known = ", ".join(site.domain for site in config.sites)
            raise UsageError(f"no site has the domain {printable(domain, 80)!r}; there is {known}")
    chosen = {by_name[domain].domain: by_name[domain] for domain in domains}
    return list(chosen.values()) or list(config.sites)
