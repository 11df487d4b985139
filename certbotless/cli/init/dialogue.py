"""The questions in their order, from the domain to the terms of the CA; without a domain, to the local CA."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...base.errors import UsageError, ValueFault
from ...base.names import is_address, u_labels
from ...base.words import N_, Text, _
from ...config.diagnostics import check
from ...config.secret import Secret
from ...config.settings import NEED_EAB, Acme, Config, Site
from ...config.site_names import local_name
from ...world import registry
from .. import found, names
from ..found import Engine, Lan, Running
from ..questions import Questions, is_no, or_none
from . import key
from .text import STOP_TIMEOUT_S, Answers, terms_of

# What a person is asked for, by its option; the terms have none.
_ASKED = ("domain", "wildcard", "access_key_id", "access_key_secret", "container", "address", "terms")
_ASKED_OF_LOCAL = ("domain", "container", "address")
# Options that a local CA has no use for.
_OF_PUBLIC = ("wildcard", "zone", "access_key_id", "access_key_secret", "endpoint", "directory", "email")


@dataclass(frozen=True, slots=True)
class Given:
    """All that was given.

    Attributes:
        secrets: each secret that was typed, by the file that shall hold it.
        container: the one that serves the certificate; None where there is none yet.
    """

    answers: Answers
    secrets: dict[Path, str] = field(repr=False)
    container: Running | None


def greet(questions: Questions) -> None:
    """Say what is to come, and what a person needs for it."""
    is_local = questions.options.get("ca") == "local"
    count = sum(not questions.has(name) for name in (_ASKED_OF_LOCAL if is_local else _ASKED))
    length = _("About {} questions, 2 minutes.").format(count) if count > 1 else _("1 question.")
    questions.say(_("{} Enter takes the value in [brackets].").format(length))
    if not is_local:
        questions.say(
            _("You need a domain at Aliyun DNS, and an AccessKey of a RAM user that may change it.")
        )
        questions.say(_("If you have no such domain, answer no: a CA on this machine can sign."))
    questions.say(_("Ctrl-C leaves nothing behind: files are written after the last question.\n"))


def hold(questions: Questions, path: Path, lan: Lan, engine: Engine, try_key: key.Try) -> Given:
    """Return what a person and the options say.

    Raises:
        UsageError: an option is bad or missing, a person does not agree to the terms, or the input has ended.
    """
    first = next((each for each in engine.running.values() if each.settings.is_registry), None)
    domain = _domain(questions, first.domain if first else "")
    if not domain:
        return _hold_local(questions, lan, engine, first)
    wildcard = f"*.{domain}"
    is_wild = questions.has("wildcard") or questions.agree(
        _("Also a certificate for every name below it, {}?").format(u_labels(wildcard))
    )
    further = questions.option("names", names.public_names, "")
    access, zone = key.ask(questions, path, domain, try_key)
    answers = Answers(
        domain,
        _kept(path, "access_key_id", access.id),
        _kept(path, "access_key_secret", access.secret),
        names=tuple([wildcard] * is_wild + further),
        zone=access.zone,
        found_zone=zone,
        endpoint=access.endpoint,
    )
    answers, made = _with_container(answers, questions, engine, first)
    answers = replace(
        answers,
        address=_address(questions, lan, is_local=False),
        directory=questions.option("directory", _directory, "letsencrypt"),
        email=questions.option("email", or_none(check(Acme, "email")), ""),
    )
    _agree_to_terms(questions, answers.directory)
    typed = {"access_key_id": access.id, "access_key_secret": access.secret}
    secrets = {path.with_name(name): f"{text}\n" for name, text in typed.items() if _is_typed(text)}
    return Given(answers, secrets, made)


def _domain(questions: Questions, found_domain: str) -> str:
    """Return the domain, empty where there is none at Aliyun DNS."""
    if questions.options.get("ca") == "local":
        return ""

    def checked(text: str) -> str:
        if is_no(text) and not questions.has("domain"):
            return ""
        try:
            return names.public_domain(text)
        except ValueFault as exc:
            if not names.is_for_local(text):
                raise
            form = N_("{}; for a CA on this machine answer no")
            if questions.has("domain"):
                form = N_("{}; for a CA on this machine give --ca local")
            raise ValueFault(Text(form, str(exc))) from exc

    question = _("Domain of the service at Aliyun DNS, like registry.example.com; or no")
    default = found_domain if found.is_public(found_domain) else None
    domain = questions.get("domain", question, checked, default)
    if (shown := u_labels(domain)) != domain:
        questions.say(f"  {shown} -> {domain}")
    return domain


def _hold_local(questions: Questions, lan: Lan, engine: Engine, first: Running | None) -> Given:
    """Return what a person without a domain at Aliyun DNS says. Raises as `hold`."""
    for option in filter(questions.has, _OF_PUBLIC):
        raise UsageError(Text("--{} does not go with --ca local", option.replace("_", "-")))
    if questions.are_asked:
        _say_ways(questions)
    domain, *further = _names_of_local(questions, lan)
    answers, made = _with_container(
        Answers(domain, names=tuple(further), is_local=True), questions, engine, first
    )
    if is_address(domain):
        address = questions.option("address", _local_rule, "auto")
        return Given(replace(answers, address=address), {}, made)
    address = _address(questions, lan, is_local=True)
    answers = replace(answers, address=address, with_address=address != "none")
    # By a rule that names an interface or a network it may be another address.
    host = lan.address if address == "auto" else "" if ":" in address or address == "none" else address
    return Given(replace(answers, host=host), {}, made)


def _say_ways(questions: Questions) -> None:
    """Say what is better than a local CA, and what that one asks of clients."""
    questions.say(_("  A public name is better where you can have one: it needs nothing on the clients."))
    questions.say(_(key.ELSEWHERE))
    questions.say(
        _("  Else a CA on this machine signs, and each client must get its root once (docs/local-ca.md).")
    )


def _names_of_local(questions: Questions, lan: Lan) -> list[str]:
    """Return the names for the local CA, the domain first."""
    if questions.has("domain"):
        domain = questions.option("domain", names.local_domain, "")
        return list(dict.fromkeys([domain, *questions.option("names", names.local_names, "")]))
    if questions.are_asked and not questions.has("names"):
        questions.say(
            _("  Clients find a name by their router (often NAME.lan or NAME.home.arpa) or /etc/hosts.")
        )
    question = _("Names that clients use; the first one also names the files")
    return questions.get("names", question, names.names_of_local, ", ".join(lan.names) or None)


def _kept(path: Path, name: str, text: str) -> str:
    """Return the reference to a part of the key, as the file has it."""
    return f"file:{path.with_name(name)}" if _is_typed(text) else text


def _is_typed(text: str) -> bool:
    return Secret.parse(text).kind == "literal"


# --- the container ------------------------------------------------------------------------------------------


def _with_container(
    answers: Answers, questions: Questions, engine: Engine, first: Running | None
) -> tuple[Answers, Running | None]:
    """Return the answers with those about the container, and the container as far as it is there."""
    name = found.choose(questions, engine, first.container.name if first else "registry")
    if not name:
        if questions.has("port"):
            raise UsageError(Text("--port goes with a container"))
        return answers, None
    made = engine.find(name)
    if made is None and questions.are_asked:
        questions.say(_("  {} does not exist yet; the command that creates it follows below").format(name))
    return _of_container(replace(answers, container=name), questions, made), made


def _of_container(answers: Answers, questions: Questions, made: Running | None) -> Answers:
    """Return the answers with those about the container; `made` is None where it is not there yet."""
    name = answers.container
    # A container that waits for its first certificate shows no port.
    ports = made.container.ports if made else ()
    if questions.has("port") or len(ports) != 1:
        listed = _(" ({})").format(", ".join(map(str, ports))) if ports else ""
        own = None if ports else str(registry.PORT)
        question = _("Port at which {} is reached by HTTPS{}").format(name, listed)
        answers = replace(answers, port=questions.get("port", question, _port, own))
    if made is None:
        # It will be made as we say.
        return replace(answers, stop_timeout_s=STOP_TIMEOUT_S)
    certs_dir = made.certs_dir or answers.certs_dir
    if certs_dir != answers.certs_dir and questions.are_asked:
        question = _("Folder on this machine from which {} reads its certificate").format(name)
        certs_dir = Path(questions.ask(question, check(Config, "certs_dir"), str(certs_dir)))
    key_mode = "0600" if made.container.reads_all else "0640"
    return replace(answers, certs_dir=certs_dir, key_mode=key_mode, stop_timeout_s=made.stop_timeout_s)


# --- the address, the CA ------------------------------------------------------------------------------------


def _address(questions: Questions, lan: Lan, *, is_local: bool) -> str:
    """Return the rule by which the LAN address is found, for the A record or a local certificate."""
    if questions.are_asked and lan.fault and not questions.has("address"):
        questions.say(_("No LAN address was found: {}").format(_(lan.fault)))
    question = _("LAN address: an IPv4 address, auto:INTERFACE, or none")
    if lan.address:
        question = _("LAN address: {}. Enter to follow it; or another address, auto:INTERFACE, none")
        if is_local:
            question = _(
                "LAN address, for clients that use no name: {}. Enter to follow it; or another address,"
                " auto:INTERFACE, none"
            )
        question = question.format(_("{} ({})").format(lan.address, lan.interface))
    default = "auto" if lan.address else "none" if is_local else None
    return questions.get("address", question, _local_rule if is_local else _rule, default)


def _agree_to_terms(questions: Questions, directory: str) -> None:
    """Have a person agree to the CA's terms, or say that the first order does."""
    ca, where = terms_of(directory)
    if not questions.are_asked:
        text = _("With the first certificate you agree to the terms of service of {} ({}).")
        questions.say(text.format(ca, where))
        return
    question = _("Do you agree to the terms of service of {} ({})?").format(ca, where)
    if not questions.agree(question):
        raise UsageError(Text("without that the CA issues no certificate; nothing is written"))


# --- what an answer may be ----------------------------------------------------------------------------------


def _rule(text: str) -> str:
    check(Site, "address")(text)
    return text


def _local_rule(text: str) -> str:
    rule = check(Site, "address")(text)
    if rule.kind == "literal":
        local_name(rule.value)
    return text


def _directory(text: str) -> str:
    if text in NEED_EAB:
        raise ValueFault(Text("{} needs acme.eab, which init does not ask for: write the file by hand", text))
    return str(check(Acme, "directory")(text))


def _port(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueFault(Text("{!r} is not a port number, 1..65535, like 5000", text))
    return int(text)
