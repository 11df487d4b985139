"""What the new site is: from options, from a person, or a default. Values are checked as the file's are."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ...base.errors import DeployError, UsageError, ValueFault, printable
from ...base.names import is_in_zone
from ...base.words import Text, _
from ...config.diagnostics import check, public
from ...config.diff import written
from ...config.settings import Config, Site, Target
from ...world.containers import Container, Settings
from ..init.found import Running

T = TypeVar("T")
Say = Callable[[str], None]
# Asks a person: the question, and whether the answer is a secret, which is not shown.
Ask = Callable[[str, bool], str]


class Engine(Protocol):
    """What is asked of the engine. Each call may raise `DeployError`."""

    def running(self) -> list[Container]:
        """Return every container that runs, by name."""

    def settings(self, name: str) -> Settings:
        """Return how a container was made."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command, and whom to ask for the rest.

    Attributes:
        options: by their names; None for one that is not given.
        person: None if there is no terminal to ask at.
        say: prints a line.
    """

    options: Mapping[str, Any]
    person: Ask | None
    say: Say

    def get(self, name: str, option: str, question: str, takes: Callable[[str], T]) -> T:
        """Return a checked answer: the option, or that of a person, who is asked until it is good.

        Args:
            name: of the option in `options`.
            option: how an error names it.

        Raises:
            UsageError: the option is bad, or it is missing and nobody can be asked.
        """
        given = self.options.get(name)
        if given is not None:
            try:
                return takes(given.strip())
            except ValueError as exc:
                raise UsageError(Text("{}: {}", option, str(exc))) from exc
        if self.person is None:
            raise UsageError(Text("give {}: standard input is not a terminal", option))
        while True:
            try:
                return takes(self.person(f"{question}: ", False).strip())
            except ValueError as exc:
                self.say(f"  {_(str(exc))}")
            except EOFError as exc:
                raise UsageError(Text("the input ended before all was answered; nothing is written")) from exc


def new_site(asked: Asked, others: Sequence[Site], config: Config, engine: Engine) -> dict[str, Any]:
    """Return the keys of the new site with plain values, as the file shall have them.

    Args:
        others: the sites that are there.
        config: the file as a value; where it has no site yet, with any.

    Raises:
        UsageError: an option is bad, or missing.
    """
    domain = asked.get(
        "domain", "DOMAIN", _("Domain of the new site, like registry2.example.com"), _domain(others)
    )
    site: dict[str, Any] = {"domain": domain}
    names = asked.options.get("names")
    if names is not None and (further := [each for each in _names(names) if each != domain]):
        site["names"] = further
    site |= _as_the_others(asked, domain, others)
    found = {} if asked.options.get("no_container") else _running(asked, engine)
    name = _container(asked, found, others)
    if not name:
        if asked.options.get("port") is not None:
            raise UsageError(Text("--port goes with --container"))
        return site
    running = found.get(name)
    target: dict[str, Any] = {"container": name}
    if (port := _port(asked, name, running)) is not None:
        target["port"] = port
    if running is not None:
        if running.stop_timeout_s:
            target["stop_timeout"] = f"{running.stop_timeout_s}s"
        if running.certs_dir is not None and running.certs_dir != config.certs_dir:
            site["certs_dir"] = str(running.certs_dir)
        _note(asked.say, running, domain, config)
    return site | {"deploy": [target]}


def _domain(others: Sequence[Site]) -> Callable[[str], str]:
    def takes(text: str) -> str:
        domain: str = check(Site, "domain")(text)
        public("domain", text)
        if domain in (site.domain for site in others):
            raise ValueFault(Text("the file has a site {!r} already", domain))
        return domain

    return takes


def _names(text: str) -> list[str]:
    try:
        found = [public("names", each) for each in re.split(r"[,\uff0c\s]+", text) if each]
    except ValueError as exc:
        raise UsageError(Text("{}: {}", "--names", str(exc))) from exc
    return [*dict.fromkeys(found)]


def _as_the_others(asked: Asked, domain: str, others: Sequence[Site]) -> dict[str, str]:
    """Return what the new site takes over: a zone that is written, and an address that all of them have."""
    zones = [site.zone for site in others if site.zone is not None]
    known = [*zones, *(_parent(site.domain) for site in others if site.zone is None and site.needs_zone)]
    found: dict[str, str] = {}
    if mine := [zone for zone in zones if is_in_zone(domain, zone)]:
        found["zone"] = max(mine, key=len)
    elif known and not any(is_in_zone(domain, zone) for zone in known):
        text = _("Note: {} is not in a zone of the other sites ({}): Aliyun DNS must hold its zone too.")
        asked.say(text.format(domain, ", ".join(dict.fromkeys(known))))
    addresses = {site.address for site in others}
    if len(addresses) == 1 and (rule := addresses.pop()).kind not in ("auto", "none"):
        found["address"] = written(rule)
    return found


def _parent(domain: str) -> str:
    """Return the name above a domain, or the domain itself where only a top-level domain is above."""
    parent = domain.partition(".")[2]
    return parent if "." in parent else domain


# --- its container ------------------------------------------------------------------------------------------


def _running(asked: Asked, engine: Engine) -> dict[str, Running]:
    """Return the containers that run, by name; none, with a line that says why, if they cannot be listed."""
    if asked.person is None and asked.options.get("container") is None:
        return {}
    try:
        found = [Running(each, engine.settings(each.name)) for each in engine.running()]
    except DeployError as exc:
        asked.say(_("Note: the containers cannot be listed: {}").format(_(str(exc))))
        return {}
    return {each.container.name: each for each in found}


def _container(asked: Asked, found: Mapping[str, Running], others: Sequence[Site]) -> str:
    """Return the name of the container, empty for none."""
    if asked.options.get("no_container"):
        return ""
    takes = _one_of(list(found))
    if asked.options.get("container") is not None:
        name = asked.get("container", "--container", "", _one_of([]))
        if name and found and name not in found:
            asked.say(_("Note: no container {!r} runs now.").format(name))
        return name
    if asked.person is None:
        return ""
    if not found:
        question = _("Name of the container that uses the certificate, or none [none]")
        return asked.get("container", "--container", question, takes)
    used = {target.container for site in others for target in site.deploy}
    free = [name for name, each in found.items() if each.settings.is_registry and name not in used]
    default = list(found).index(free[0]) + 1 if len(free) == 1 else 0
    asked.say(_("Containers that run here:"))
    for number, text in enumerate([_("none of them"), *map(_shown, found.values())]):
        asked.say(f"  {number}  {text}")
    question = _("Which one uses the certificate? Its number or name [{}]").format(default)
    return asked.get("container", "--container", question, lambda text: takes(text or str(default)))


def _shown(running: Running) -> str:
    ports = ", ".join(map(str, running.container.ports)) or "-"
    text = _("{} ({}), port {}").format(running.container.name, running.settings.image, ports)
    return printable(text)


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    """Return what takes the number of one of these containers, or a name; empty and 0 are none."""

    def takes(text: str) -> str:
        if text in ("", "none"):
            return ""
        if names and text not in names and re.fullmatch("[0-9]{1,4}", text):
            if int(text) > len(names):
                raise ValueFault(Text("there is no number {} in the list", text))
            return ["", *names][int(text)]
        return str(check(Target, "container")(text))

    return takes


def _port(asked: Asked, name: str, running: Running | None) -> int | str | None:
    """Return where the container uses the certificate; None for its one published port."""

    def takes(text: str) -> int | str:
        port = int(text) if re.fullmatch("[0-9]{1,9}", text) else text
        check(Target, "port")(port)
        return port

    is_given = asked.options.get("port") is not None
    if not is_given and (running is None or len(running.container.ports) == 1):
        return None
    ports = ", ".join(map(str, running.container.ports)) if running is not None else ""
    if not is_given and asked.person is None:
        raise UsageError(
            Text("{!r} publishes the ports {}: give --port PORT, or --port none for no check", name, ports)
            if ports
            else Text("{!r} publishes no port: give --port PORT, or --port none for no check", name)
        )
    question = _("Port at which {} uses the certificate ({}), or none for no check").format(
        name, ports or "-"
    )
    return asked.get("port", "--port", question, takes)


def _note(say: Say, running: Running, domain: str, config: Config) -> None:
    """Print what the container lacks to use the files of this domain."""
    name, settings = running.container.name, running.settings
    if settings.is_registry and not running.serves(domain):
        text = _("Note: {} does not look for its certificate at {}: see docs/registry.md.")
        say(text.format(name, f"{running.certificate.parent}/{domain}.pem"))
    if not running.container.reads_all and config.key_mode == "0600":
        text = _("Note: {} cannot read a key of mode 0600: see key_mode in docs/configuration.md.")
        say(text.format(name))
