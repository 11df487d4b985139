"""The questions in their order, from the domain to the terms of the CA."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...base.errors import UsageError, ValueFault
from ...base.names import normalise, u_labels
from ...base.words import Text, _
from ...config.diagnostics import check
from ...config.secret import Secret
from ...config.settings import NEED_EAB, Acme, Config, Site, Target
from ...world import registry
from . import key
from .found import Engine, Lan, Running
from .questions import Check, Questions
from .text import STOP_TIMEOUT_S, Answers, terms_of

_ASKED = ("domain", "wildcard", "access_key_id", "access_key_secret", "container", "address")


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
    # The last one is about the terms.
    count = 1 + sum(not questions.has(name) for name in _ASKED)
    length = _("{} questions, about 2 minutes.").format(count) if count > 1 else _("1 question.")
    questions.say(_("{} Enter takes the value in [brackets].").format(length))
    questions.say(_("You need a domain at Aliyun DNS, and an AccessKey of a RAM user that may change it."))
    questions.say(_("Ctrl-C leaves nothing behind: files are written after the last question.\n"))


def hold(questions: Questions, path: Path, lan: Lan, engine: Engine, try_key: key.Try) -> Given:
    """Return what a person and the options say.

    Raises:
        UsageError: an option is bad or missing, a person does not agree to the terms, or the input has ended.
    """
    first = next((each for each in engine.running.values() if each.settings.is_registry), None)
    domain = _domain(questions, (first.domain or None) if first else None)
    wildcard = f"*.{domain}"
    is_wild = questions.has("wildcard") or questions.agree(
        _("Also a certificate for every name below it, {}?").format(u_labels(wildcard))
    )
    access, zone = key.ask(questions, path, domain, try_key)
    name, made = _container(questions, engine, first)
    answers = Answers(
        domain,
        _kept(path, "access_key_id", access.id),
        _kept(path, "access_key_secret", access.secret),
        names=(wildcard,) if is_wild else (),
        zone=access.zone,
        found_zone=zone,
        endpoint=access.endpoint,
        container=name,
    )
    if name:
        answers = _of_container(answers, questions, made)
    elif questions.has("port"):
        raise UsageError(Text("--port goes with a container"))
    answers = replace(
        answers,
        address=_address(questions, lan),
        directory=questions.option("directory", _directory, "letsencrypt"),
        email=questions.option("email", _or_none(check(Acme, "email")), ""),
    )
    _agree_to_terms(questions, answers.directory)
    typed = {"access_key_id": access.id, "access_key_secret": access.secret}
    secrets = {path.with_name(name): f"{text}\n" for name, text in typed.items() if _is_typed(text)}
    return Given(answers, secrets, made)


def _domain(questions: Questions, found: str | None) -> str:
    question = _("Domain of the service, like registry.example.com")
    domain = questions.get("domain", question, normalise, found)
    if (shown := u_labels(domain)) != domain:
        questions.say(f"  {shown} -> {domain}")
    return domain


def _kept(path: Path, name: str, text: str) -> str:
    """Return the reference to a part of the key, as the file has it."""
    return f"file:{path.with_name(name)}" if _is_typed(text) else text


def _is_typed(text: str) -> bool:
    return Secret.parse(text).kind == "literal"


# --- the container ------------------------------------------------------------------------------------------


def _container(questions: Questions, engine: Engine, first: Running | None) -> tuple[str, Running | None]:
    """Return the container's name, empty for none, and the container as far as it is there."""
    names = list(engine.running)
    if questions.are_asked and not questions.has("container"):
        if engine.fault:
            questions.say(_("No container was found: {}").format(_(engine.fault)))
        elif names:
            questions.say(_("Containers that run here:"))
        for number, each in enumerate(engine.running.values(), 1):
            questions.say(f"  {number}  {each}")

    def chosen(text: str) -> str:
        if re.fullmatch(r"[0-9]{1,4}", text) and text not in names:
            if not 1 <= int(text) <= len(names):
                raise ValueFault(Text("there is no container with number {}", text))
            return names[int(text) - 1]
        return _or_none(check(Target, "container"))(text)

    question = _("Container that uses the certificate: a name, or none")
    if names:
        question = _("Container that uses the certificate: its number, another name, or none")
    name = questions.get("container", question, chosen, first.container.name if first else "registry")
    made = engine.find(name) if name else None
    if name and made is None and questions.are_asked:
        questions.say(_("  {} does not exist yet; the command that creates it follows below").format(name))
    return name, made


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


def _address(questions: Questions, lan: Lan) -> str:
    """Return the rule by which the address of the A record is found."""
    if questions.are_asked and lan.fault and not questions.has("address"):
        questions.say(_("No LAN address was found: {}").format(_(lan.fault)))
    if lan.address:
        where = _("{} ({})").format(lan.address, lan.interface)
        question = _("LAN address: {}. Enter to follow it; or another address, auto:INTERFACE, none").format(
            where
        )
    else:
        question = _("LAN address: an IPv4 address, auto:INTERFACE, or none")
    return questions.get("address", question, _rule, "auto" if lan.address else None)


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


def _or_none(check: Check[str]) -> Check[str]:
    return lambda text: "" if text in ("", "none") else check(text)


def _directory(text: str) -> str:
    if text in NEED_EAB:
        raise ValueFault(Text("{} needs acme.eab, which init does not ask for: write the file by hand", text))
    return str(check(Acme, "directory")(text))


def _port(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueFault(Text("{!r} is not a port number, 1..65535, like 5000", text))
    return int(text)
