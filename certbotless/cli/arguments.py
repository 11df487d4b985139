"""The command line: its commands and options, and how they are parsed.

Added to argparse is what it cannot do: domains between options, and the nearest command.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .. import __version__
from ..base.errors import UsageError, printable
from ..base.words import N_, Text, _
from ..config import environment
from ..service import wire

_COMMANDS = {
    "check": N_("check the configuration file; needs no network"),
    "plan": N_("show what a run would do; change nothing"),
    "status": N_("show each site: address, certificate, the certificate in use, next renewal"),
    "doctor": N_("run all checks; each failure comes with a fix"),
    "notify-test": N_("send a test message to each URL of notify"),
    "init": N_("write a first configuration, from questions or options; overwrite nothing"),
    "add": N_("add a site to the configuration file; keep its comments, and every other byte"),
    "account": N_("take over an account that another ACME client has made"),
    "trust": N_("show the root of the local CA, and bring it to clients"),
    "sandbox": N_("show how certbotless works, with local stand-ins of Aliyun DNS and the CA"),
}
_TRUST_ACTIONS = {
    "show": N_("show the root: fingerprint, end, what it may vouch for (without an action, too)"),
    "export": N_("write the root, for a client to import"),
    "rotate": N_("make the next root, which signs 90 days later"),
    "switch": N_("let the next root sign from now on"),
    "install": N_("make this machine and your browsers trust the root; use sudo"),
    "uninstall": N_("remove the root from this machine and your browsers; use sudo"),
    "commands": N_("print what to type on another machine"),
}
_ROOT_FORMATS = ("pem", "der", "mobileconfig")
_INIT_OPTIONS = (
    ("--domain", "NAME", N_("the name of the service; it names the files too")),
    ("--names", "A,B", N_("more names for the certificate, separated by commas")),
    (
        "--zone",
        "NAME",
        N_("its domain as the Aliyun DNS console lists it; found through the API when absent"),
    ),
    ("--access-key-id", "REF", N_("the AccessKey ID, as a reference")),
    ("--access-key-secret", "REF", N_("the AccessKey secret, as a reference")),
    ("--endpoint", "URL", N_("another address of the API of Aliyun DNS")),
    ("--container", "NAME", N_("the container that uses the certificate, or none")),
    ("--port", "PORT", N_("where it is reached by HTTPS; its one published port when absent")),
    ("--address", "RULE", N_("auto, auto:INTERFACE, auto:NETWORK, an IPv4 address, or none")),
    ("--directory", "CA", N_("letsencrypt (default), letsencrypt-staging, or an https:// URL")),
    ("--email", "ADDRESS", N_("your e-mail address for the CA; none when absent")),
)
_REFERENCES = N_(
    "REF says where a secret is: credential:NAME (the file NAME in /etc/credstore, which systemd gives to the"
    " service), file:/absolute/path, or ${ENV} (a variable of the environment). The questions take these too."
)
_CONFIG = str(environment.FILE)
_CONFIG_HELP = N_("the configuration (default {}); - is standard input")
_DOMAINS_HELP = N_("domain of a site (default: all sites)")
_ONE_SHOT = ("--once", "--renew-now")
# What other tools call it, and what does it here.
_ELSEWHERE = {
    **dict.fromkeys(("renew", "force-renew", "renew-now"), "certbotless --renew-now [DOMAIN ...]"),
    **dict.fromkeys(("run", "issue", "once", "obtain", "certonly"), "certbotless --once [DOMAIN ...]"),
    **dict.fromkeys(("list", "ls", "show", "certificates"), "certbotless status"),
    **dict.fromkeys(("debug", "diagnose"), "certbotless doctor"),
    **dict.fromkeys(("daemon", "start", "serve"), Text("certbotless, without a command")),
    **dict.fromkeys(("remove", "rm", "delete"), Text("an editor, to delete the site from the file")),
    "help": "certbotless --help",
    "version": "certbotless --version",
}
# The short options.
_SHORT = ("-c", "-h", "-V")
# How alike a word must be to be taken for a slip of the hand; 1 is the same word.
_NEAR = 0.6


# The texts of argparse itself that our command line can make it say.
_OF_ARGPARSE = (
    N_("usage: "),
    N_("positional arguments"),
    N_("options"),
    N_("show this help message and exit"),
    N_("argument %(argument_name)s: %(message)s"),
    N_("expected one argument"),
    N_("not allowed with argument %s"),
    N_("ignored explicit argument %r"),
    N_("unrecognized arguments: %s"),
    N_("the following arguments are required: %s"),
    N_("invalid choice: %(value)r (choose from %(choices)s)"),
)
# It looks them up in our catalogue. Its own way is to search the disk for a catalogue at each text.
vars(argparse)["_"] = _


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all our errors; it takes no shortened options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(Text("{}; see {} --help", message, self.prog))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line. Domains and options may be in any order.

    Raises:
        UsageError: it makes no sense.
    """
    if not set(_ONE_SHOT).isdisjoint(argv):
        args = parser(has_domains=True).parse_intermixed_args(argv)
        for command in (word for word in args.domains if word in _COMMANDS):
            raise UsageError(Text("{} does not go with --once or --renew-now", command))
        return args
    options, word = _split(argv)
    is_known = word in _COMMANDS and {"-h", "--help"}.isdisjoint(options)
    parsed = parser(only=word if word and is_known else "")
    known = {name for action in parsed._actions for name in action.option_strings}
    for option in options:
        if option.partition("=")[0] not in known and option[:2] not in _SHORT:
            parsed.error(Text("there is no option {!r}", printable(option, 80)))
    if word is not None and word not in _COMMANDS:
        raise UsageError(Text("there is no command {!r}; {}", printable(word, 80), _meant(word)))
    return parsed.parse_args(argv)


def _split(argv: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the options in front of the first other argument, and that argument."""
    options, words = list[str](), iter(argv)
    for word in words:
        if not word.startswith("-"):
            return options, word
        options.append(word)
        if word in ("--config", "-c", "--ca"):
            next(words, None)
    return options, None


def _meant(word: str) -> str:
    """Return what may have been meant by a word that is no command."""
    from difflib import get_close_matches  # noqa: PLC0415  (only a mistake needs it)

    if "." in word:
        return Text("a DOMAIN goes with --once, --renew-now, status or plan")
    if word in _ELSEWHERE:
        return Text("use: {}", _ELSEWHERE[word])
    for nearest in get_close_matches(word, _COMMANDS, 1, _NEAR):
        return Text("the nearest one is {!r}", nearest)
    return Text("the commands are {}", ", ".join(_COMMANDS))


def parser(*, has_domains: bool = False, only: str = "") -> argparse.ArgumentParser:
    """Return the parser of a one-shot run, which takes domains, or of everything else, or of one command."""
    parser = _Parser(
        prog="certbotless",
        usage="%(prog)s [--config FILE] [COMMAND ...]\n"
        "       %(prog)s [--config FILE] --once [DOMAIN ...]\n"
        "       %(prog)s [--config FILE] --renew-now [DOMAIN ...] [--ca CA] [--force] [--dry-run]",
        description=_(
            "Give a service on a LAN an HTTPS certificate: keep its A record, get and renew the"
            " certificate, restart the service and check that it uses the certificate."
        ),
        epilog=_(
            "Without a command, certbotless runs as the daemon. Exit codes: 0 ok, 1 a problem, 2"
            " wrong usage or configuration."
        ),
    )
    version, version_help = f"certbotless {__version__}", _("show program's version number and exit")
    parser.add_argument("-V", "--version", action="version", version=version, help=version_help)
    config_help = _(_CONFIG_HELP).format(_CONFIG)
    parser.add_argument("-c", "--config", metavar="FILE", default=_CONFIG, help=config_help)
    once = parser.add_mutually_exclusive_group()
    _flag(once, "--once", N_("check and repair the given sites (default: all), then exit"))
    renew_help = N_(
        "request a new certificate for the given sites (default: all), install it, check its use, then exit"
    )
    _flag(once, "--renew-now", renew_help)
    force_help = N_("with --renew-now: ignore the limits of certbotless and the CA's Retry-After")
    _flag(parser, "--force", force_help)
    dry_run_help = N_(
        "with --renew-now: request a test certificate from the CA's staging server; change no file and no "
        "service"
    )
    _flag(parser, "--dry-run", dry_run_help)
    ca_help = _("with --renew-now: ask only this CA, one of acme in the configuration")
    parser.add_argument("--ca", metavar="CA", dest="only_ca", help=ca_help)
    if has_domains:
        parser.add_argument(wire.SETTLED, action="append", default=[], help=argparse.SUPPRESS)
        parser.add_argument("domains", nargs="*", metavar="DOMAIN", help=_(_DOMAINS_HELP))
        parser.set_defaults(command=None, errand=None)
        return parser
    parser.add_argument(wire.ERRAND, choices=wire.HELPERS, help=argparse.SUPPRESS)
    _add_commands(parser, only)
    return parser


def _add_commands(parser: argparse.ArgumentParser, only: str) -> None:
    """Add all commands, or `only` one: to make the others is a tenth of the time of a command that looks."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog=parser.prog)
    more = {"init": (N_("the file to write (default {})"), _REFERENCES), "sandbox": ("",)}
    for name, text in _COMMANDS.items():
        if only in ("", name):
            _OPTIONS[name](_command(commands, name, text, *more.get(name, ())))


def _add_options_of_check(check: argparse.ArgumentParser) -> None:
    _flag(check, "--strict", N_("exit with 1 if there is a warning"))


def _add_options_of_plan(plan: argparse.ArgumentParser) -> None:
    plan.add_argument("domains", nargs="*", metavar="DOMAIN", help=_(_DOMAINS_HELP))
    _flag(plan, "--exit-code", N_("exit with 3 if there is something to do"))


def _add_options_of_status(status: argparse.ArgumentParser) -> None:
    domain_help = _("show only this site, in detail")
    status.add_argument("domain", nargs="?", metavar="DOMAIN", help=domain_help)
    _flag(status, "--json", N_("print one JSON object"))
    _flag(status, "--watch", N_("refresh every 2 s, until Ctrl-C"))


def _add_options_of_doctor(doctor: argparse.ArgumentParser) -> None:
    _flag(doctor, "--json", N_("print one JSON object"))
    probe_help = N_(
        "only test how the DNS API behaves, with a TXT record that is created and deleted; "
        "print a text for a report, without names and secrets"
    )
    _flag(doctor, "--probe", probe_help)
    _flag(doctor, "--public", N_("also ask public resolvers for the names of sites that share a certificate"))


def _add_options_of_init(init: argparse.ArgumentParser) -> None:
    _add_ca(init)
    for option, metavar, text in _INIT_OPTIONS:
        init.add_argument(option, metavar=metavar, help=_(text))
    _flag(init, "--wildcard", N_("also a certificate for every name below the domain"))
    yes_help = N_("ask nothing: use what is found, agree to the CA's terms, and do not test the AccessKey")
    _flag(init, "--yes", yes_help)


def _command(
    of: argparse._SubParsersAction[Any],
    name: str,
    text: str,
    config_help: str = _CONFIG_HELP,
    epilog: str = "",
) -> argparse.ArgumentParser:
    """Add a command, or an action of one, with its help; the configuration may be named after most, too."""
    command: argparse.ArgumentParser
    command = of.add_parser(name, help=_(text), description=_(text), epilog=_(epilog) or None)
    if config_help:
        shown = _(config_help).format(_CONFIG)
        command.add_argument("-c", "--config", metavar="FILE", default=argparse.SUPPRESS, help=shown)
    return command


def _add_options_of_add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("domain", nargs="?", metavar="DOMAIN", help=_("the domain of the new site"))
    _add_ca(parser)
    names_help = _("more names for the certificate, separated by commas")
    parser.add_argument("--names", metavar="A,B", help=names_help)
    _flag(parser, "--with-address", N_("with --ca local: also for the LAN address of this machine"))
    container = parser.add_mutually_exclusive_group()
    container_help = _("the container that uses the certificate; asked for at a terminal when absent")
    container.add_argument("--container", metavar="NAME", help=container_help)
    _flag(container, "--no-container", N_("no container uses the certificate: only write its files"))
    port_help = _("where it serves TLS: a port, host:port, or none; its one published port when absent")
    parser.add_argument("--port", metavar="PORT", help=port_help)
    # Not `dry_run`: that one is given before the command, and goes with --renew-now.
    show_help = _("print the difference; write nothing")
    parser.add_argument("--dry-run", action="store_true", dest="only_show", help=show_help)


def _add_ca(parser: argparse.ArgumentParser) -> None:
    ca_help = _("acme: a public CA; local: a CA on this machine, for names and addresses of the LAN")
    parser.add_argument("--ca", choices=("acme", "local"), help=ca_help)


def _add_actions_of_account(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="account_action", metavar="ACTION", prog=parser.prog, required=True)
    text = N_("use the account of acme.sh, certbot or lego from now on; no account is made")
    action = _command(actions, "import", text)
    action.add_argument("path", metavar="PATH", help=_("the file with its key, or the folder of that client"))
    directory_help = _("the CA, one of acme in the configuration (default: the first)")
    action.add_argument("--directory", metavar="CA", help=directory_help)


def _add_actions_of_trust(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="trust_action", metavar="ACTION", prog=parser.prog)

    def add(name: str) -> argparse.ArgumentParser:
        return _command(actions, name, _TRUST_ACTIONS[name])

    add("show")
    export = add("export")
    format_help = _("pem (default), der, or mobileconfig for iOS and macOS")
    export.add_argument("--format", choices=_ROOT_FORMATS, default="pem", help=format_help)
    export.add_argument("--out", metavar="FILE", help=_("the file to write; standard output when absent"))
    now_help = N_("let the new root sign at once: for a key that was stolen, or a CA that is gone or damaged")
    _flag(add("rotate"), "--now", now_help)
    add("switch")
    to_help = _("system, docker, podman, containerd, nss, separated by commas; those found here when absent")
    for name in ("install", "uninstall"):
        add(name).add_argument("--to", metavar="STORES", help=to_help)
    systems_help = _(
        "debian, rhel, docker, podman, containerd, k3s, macos, windows, ios, android (default: all)"
    )
    add("commands").add_argument("systems", nargs="*", metavar="SYSTEM", help=systems_help)


def _add_options_of_sandbox(sandbox: argparse.ArgumentParser) -> None:
    shown = _("{}. It needs root, runs in its own namespaces, and leaves nothing behind.")
    sandbox.description = shown.format(sandbox.description)
    other = sandbox.add_mutually_exclusive_group()
    _flag(other, "--local", N_("show the local CA instead, with a second machine: no domain, no account"))
    nodes_help = _("show a service of Docker Swarm on 3 machines instead; one of them loses its power")
    other.add_argument("--nodes", type=int, choices=(3,), help=nodes_help)


_OPTIONS: Mapping[str, Callable[[argparse.ArgumentParser], object]] = {
    "check": _add_options_of_check,
    "plan": _add_options_of_plan,
    "status": _add_options_of_status,
    "doctor": _add_options_of_doctor,
    "notify-test": str,
    "init": _add_options_of_init,
    "add": _add_options_of_add,
    "account": _add_actions_of_account,
    "trust": _add_actions_of_trust,
    "sandbox": _add_options_of_sandbox,
}


def _flag(of: argparse._ActionsContainer, name: str, text: str) -> None:
    of.add_argument(name, action="store_true", help=_(text))
