"""What the new site is: from options, from a person, or a default. Values are checked as the file's are."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ...base.errors import UsageError, ValueFault
from ...base.names import is_address, is_in_zone
from ...base.words import Text, _
from ...config.diagnostics import check
from ...config.diff import written
from ...config.settings import Config, Site
from ...config.targets import Target
from .. import found, names
from ..found import Engine, Running
from ..questions import Questions, Say

# Those of the command line that are typed without an option.
OPERANDS = frozenset({"domain"})


def new_site(
    questions: Questions, others: Sequence[Site], config: Config, engine_at: Callable[[str], Engine]
) -> dict[str, Any]:
    """Return the keys of the new site with plain values, as the file shall have them.

    Args:
        others: the sites that are there.
        config: the file as a value; where it has no site yet, with any.
        engine_at: asks the engine at an address, if a person is asked or an option names a container.

    Raises:
        UsageError: an option is bad, or missing.
    """
    domain, is_local = _domain(questions, others)
    site: dict[str, Any] = {"domain": domain}
    if is_local:
        site["ca"] = "local"
    elif config.aliyun is None:
        raise UsageError(
            Text("{!r} needs an AccessKey, and the file has no aliyun", domain),
            hint=Text("write it into the file first (docs/configuration.md), or give --ca local"),
        )
    further = questions.option("names", names.local_names if is_local else names.public_names, "")
    if further := [each for each in further if each != domain]:
        site["names"] = further
    if _has_address(questions, domain, is_local=is_local):
        site["with_address"] = True
    if not site.get("with_address"):
        site |= _certificate_of_others(questions.say, [domain, *further], others, is_local=is_local)
    if not is_local:
        site |= _zone_of_others(questions.say, domain, others)
    site |= _address_of_others(others)
    return site | _with_container(questions, domain, others, config, engine_at)


def _domain(questions: Questions, others: Sequence[Site]) -> tuple[str, bool]:
    """Return the domain, and whether the local CA certifies it, which a person is asked for."""
    ca = questions.options.get("ca")

    def takes(text: str) -> tuple[str, str]:
        fault = ""
        try:
            domain = names.local_domain(text) if ca == "local" else names.public_domain(text)
        except ValueFault as exc:
            if ca or not names.is_for_local(text):
                raise
            if not questions.are_asked:
                raise ValueFault(Text("{}; for a CA on this machine give --ca local", str(exc))) from exc
            domain, fault = names.local_domain(text), str(exc)
        if domain in (site.domain for site in others):
            raise ValueFault(Text("the file has a site {!r} already", domain))
        return domain, fault

    domain, fault = questions.get(
        "domain", _("Domain of the new site, like registry2.example.com"), takes, None
    )
    if fault:
        questions.say(
            _("No public CA certifies {}; a CA on this machine can (docs/local-ca.md).").format(domain)
        )
        if not questions.agree(_("Each client must then get its root once. Use it?")):
            raise UsageError(fault)
    return domain, ca == "local" or bool(fault)


def _has_address(questions: Questions, domain: str, *, is_local: bool) -> bool:
    """Whether the certificate shall be for the LAN address as well, which a person is asked for."""
    if not is_local:
        if questions.has("with_address"):
            raise UsageError(Text("--with-address goes with --ca local"))
        return False
    asks = not is_address(domain) and not questions.has("with_address")
    return questions.has("with_address") or (
        asks and questions.agree(_("Also for the LAN address of this machine, for clients that use no name?"))
    )


def _certificate_of_others(
    say: Say, names: Sequence[str], others: Sequence[Site], *, is_local: bool
) -> dict[str, str]:
    """Return the wildcard certificate that other sites share, if it covers the new one; say so.

    A certificate of its own would show its name in public logs, as theirs are not.
    """
    shared = Counter(site.certificate for site in others if site.certificate and site.is_local == is_local)
    for wildcard, count in shared.items():
        if wildcard and all(name[0] != "*" and name.partition(".")[2] == wildcard[2:] for name in names):
            form = _("Note: it shares the certificate {} with {} site.")
            if count > 1:
                form = _("Note: it shares the certificate {} with {} sites.")
            say(form.format(wildcard, count))
            return {"certificate": wildcard}
    return {}


def _zone_of_others(say: Say, domain: str, others: Sequence[Site]) -> dict[str, str]:
    """Return the zone that another site has in the file; say so if perhaps no zone holds the domain."""
    zones = [site.zone for site in others if site.zone is not None]
    known = [*zones, *(_parent(site.domain) for site in others if site.zone is None and site.needs_zone)]
    if mine := [zone for zone in zones if is_in_zone(domain, zone)]:
        return {"zone": max(mine, key=len)}
    if known and not any(is_in_zone(domain, zone) for zone in known):
        text = _("Note: {} is not in a zone of the other sites ({}): Aliyun DNS must hold its zone too.")
        say(text.format(domain, ", ".join(dict.fromkeys(known))))
    return {}


def _address_of_others(others: Sequence[Site]) -> dict[str, Any]:
    """Return the address rule that all of them have, where it is written."""
    addresses = {site.address for site in others}
    if len(addresses) == 1 and (rule := addresses.pop()).kind not in ("auto", "none"):
        return {"address": [*rule.several] or written(rule)}
    return {}


def _parent(domain: str) -> str:
    """Return the name above a domain, or the domain itself where only a top-level domain is above."""
    parent = domain.partition(".")[2]
    return parent if "." in parent else domain


# --- its container ------------------------------------------------------------------------------------------


def _with_container(
    questions: Questions,
    domain: str,
    others: Sequence[Site],
    config: Config,
    engine_at: Callable[[str], Engine],
) -> dict[str, Any]:
    """Return the keys about the container, none where there is none."""
    engine, name = Engine(), ""
    if not questions.has("no_container") and (questions.are_asked or questions.has("container")):
        engine = engine_at(config.docker.host)
        used = {target.container for site in others for target in site.deploy}
        free = [
            name for name, each in engine.running.items() if each.settings.is_registry and name not in used
        ]
        name = found.choose(questions, engine, free[0] if len(free) == 1 else "none")
    if not name:
        if questions.has("port"):
            raise UsageError(Text("--port goes with --container"))
        return {}
    running = engine.running.get(name)
    target: dict[str, Any] = {"container": name}
    if (port := _port(questions, name, running)) is not None:
        target["port"] = port
    if running is None:
        # At a terminal a fault of the engine has been said.
        if engine.fault and not questions.are_asked:
            questions.say(_("No container was found: {}").format(_(engine.fault)))
        elif engine.running:
            questions.say(_("Note: no container {!r} runs now.").format(name))
        return {"deploy": [target]}
    if running.stop_timeout_s:
        target["stop_timeout"] = f"{running.stop_timeout_s}s"
    _note(questions.say, running, domain, config)
    is_elsewhere = running.certs_dir not in (None, config.certs_dir)
    return ({"certs_dir": str(running.certs_dir)} if is_elsewhere else {}) | {"deploy": [target]}


def _port(questions: Questions, name: str, running: Running | None) -> int | str | None:
    """Return where the container uses the certificate; None for its one published port."""

    def takes(text: str) -> int | str:
        port = int(text) if re.fullmatch("[0-9]{1,9}", text) else text
        check(Target, "port")(port)
        return port

    if questions.has("port"):
        return questions.option("port", takes, "")
    if running is None or len(running.container.ports) == 1:
        return None
    ports = ", ".join(map(str, running.container.ports))
    if not questions.are_asked:
        raise UsageError(
            Text("{!r} publishes the ports {}: give --port PORT, or --port none for no check", name, ports)
            if ports
            else Text("{!r} publishes no port: give --port PORT, or --port none for no check", name)
        )
    question = _("Port at which {} uses the certificate ({}), or none for no check")
    return questions.ask(question.format(name, ports or "-"), takes, None)


def _note(say: Say, running: Running, domain: str, config: Config) -> None:
    """Print what the container lacks to use the files of this domain."""
    name, settings = running.container.name, running.settings
    if settings.is_registry and not running.serves(domain):
        text = _("Note: {} does not look for its certificate at {}: see docs/registry.md.")
        say(text.format(name, f"{running.certificate.parent}/{domain}.pem"))
    if not running.container.reads_all and config.key_mode == "0600":
        text = _("Note: {} cannot read a key of mode 0600: see key_mode in docs/configuration.md.")
        say(text.format(name))
