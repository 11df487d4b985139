"""Answers from flags, from a person, or from what was found; each is checked as the file itself would be."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ...base.errors import UsageError, printable
from ...base.names import is_in_zone, normalise
from ...config.diagnostics import check
from ...config.secret import Secret
from ...config.settings import NEED_EAB, Acme, Config, Site, Target
from ...world import registry
from .found import Running, Say
from .text import STOP_TIMEOUT_S, Answers

T = TypeVar("T")

# Asks a person: the question, and whether the answer is a secret, which is not shown.
Ask = Callable[[str, bool], str]
# Returns what an answer means, or raises a `ValueError` that says what is wrong with it.
Check = Callable[[str], T]


@dataclass(frozen=True, slots=True)
class Questions:
    """Answers from flags, from a person, or from what was found.

    Attributes:
        flags: what the command line has said already, by the name of its option. `yes`: nothing is asked.
        person: None where there is nobody to ask.
    """

    flags: Mapping[str, Any]
    person: Ask | None
    say: Say

    def get(
        self, name: str, question: str, check: Check[T], default: str | None, *, is_secret: bool = False
    ) -> T:
        """Return a checked answer: the flag `name`, else that of a person, who is asked until it is good.

        Raises:
            UsageError: the flag's value is bad, or there is none and nobody to ask.
        """
        flag, given = f"--{name.replace('_', '-')}", self.flags.get(name)
        if given is None and self.flags.get("yes"):
            if default is None:
                raise UsageError(f"{flag} is needed: nothing was found that could take its place")
            given = default
        if given is None:
            return self.ask(flag, question, check, default, is_secret=is_secret)
        try:
            return check(given.strip())
        except ValueError as exc:
            raise UsageError(f"{flag}: {exc}") from exc

    def ask(self, flag: str, question: str, check: Check[T], default: str | None, *, is_secret: bool) -> T:
        """Return the checked answer of a person; `flag` is the option to give instead. Raises as `get`."""
        if self.person is None:
            raise UsageError(
                f"standard input is no terminal to ask at: give {flag}, or --yes for the defaults"
            )
        shown = f" [{printable(default, 80) or 'none'}]" if default is not None else ""
        while True:
            try:
                answer = self.person(f"{question}{shown}: ", is_secret).strip()
                return check(answer or default or "")
            except ValueError as exc:
                self.say(f"  that {exc}" if str(exc).startswith(("is ", "must ")) else f"  {exc}")
            except EOFError as exc:
                raise UsageError("the input ended before all was answered; nothing is written") from exc

    def agrees(self, question: str) -> bool:
        """Return whether a person says yes; no where nobody is asked."""
        if self.person is None or self.flags.get("yes"):
            return False
        with suppress(EOFError):
            return self.person(f"{question} [y/N]: ", False).strip().lower() in ("y", "yes")
        return False


def answer(
    path: Path, questions: Questions, address: str | None, running: Mapping[str, Running]
) -> tuple[Answers, dict[Path, str]]:
    """Return the answers, and each secret that was typed, by the file that shall hold it."""
    get, secrets = questions.get, dict[Path, str]()
    first = next((each for each in running.values() if each.settings.is_registry), None)
    found = (first.domain or None) if first else None
    domain = get("domain", "Domain of the service, like registry.example.com", normalise, found)
    zone = get("zone", "Its zone at Aliyun DNS; none: found through the API", _zone_of(domain), "")

    def key(name: str, what: str) -> str:
        file = path.with_name(name)
        question = f"{what}: credential:NAME, file:/path, ${{ENV}}, or itself (not shown)"
        check = _secret(file, is_flag=questions.flags.get(name) is not None)
        text = get(name, question, check, _reference(name, file), is_secret=True)
        if Secret.parse(text).kind != "literal":
            return text
        secrets[file] = f"{text}\n"
        return f"file:{file}"

    key_id, key_secret = key("access_key_id", "AccessKey ID"), key("access_key_secret", "AccessKey secret")
    question = "Container that serves the certificate, or none"
    found = first.container.name if first else "registry"
    name = get("container", question, _or_none(check(Target, "container")), found)
    chosen = running.get(name)
    question = "Address of its A record: auto, auto:INTERFACE, an IPv4 address, none"
    address = get("address", question, _address, address)
    question = "CA: letsencrypt, letsencrypt-staging, or an https:// URL"
    directory = get("directory", question, _directory, "letsencrypt")
    email = get("email", "E-mail address for the CA", _or_none(check(Acme, "email")), "")
    answers = Answers(domain, key_id, key_secret, zone, address, directory, email, container=name)
    if name:
        answers = _of_container(answers, questions, chosen)
    elif questions.flags.get("port") is not None:
        raise UsageError("--port goes with a container")
    return answers, secrets


def _of_container(answers: Answers, questions: Questions, chosen: Running | None) -> Answers:
    """Return the answers with those about the container; `chosen` is None where it does not run."""
    name = answers.container
    # A container that does not run, or waits for its first certificate, shows no port.
    ports = chosen.container.ports if chosen else ()
    if questions.flags.get("port") is not None or len(ports) != 1:
        listed = f", of {', '.join(map(str, ports))}" if ports else ""
        own = None if ports else str(registry.PORT)
        port = questions.get("port", f"Port where {name} serves TLS{listed}", _port, own)
        answers = replace(answers, port=port)
    if chosen is None:
        # It will be made as we say.
        return replace(answers, stop_timeout_s=STOP_TIMEOUT_S)
    certs_dir = chosen.certs_dir or answers.certs_dir
    if certs_dir != answers.certs_dir and not questions.flags.get("yes"):
        question = f"Folder on this machine where {name} looks for its certificate"
        checked = check(Config, "certs_dir")
        certs_dir = questions.ask("--yes", question, checked, str(certs_dir), is_secret=False)
    key_mode = "0600" if chosen.container.reads_all else "0640"
    return replace(answers, certs_dir=certs_dir, key_mode=key_mode, stop_timeout_s=chosen.stop_timeout_s)


# --- what an answer may be ----------------------------------------------------------------------------------


def _address(text: str) -> str:
    check(Site, "address")(text)
    return text


def _or_none(check: Check[str]) -> Check[str]:
    return lambda text: "" if text in ("", "none") else check(text)


def _zone_of(domain: str) -> Check[str]:
    def checked(text: str) -> str:
        zone = normalise(text)
        if not is_in_zone(domain, zone):
            raise ValueError(f"{domain!r} is not in the zone {zone!r}")
        return zone

    return _or_none(checked)


def _directory(text: str) -> str:
    if text in NEED_EAB:
        raise ValueError(f"{text} needs acme.eab, which init does not ask for: write the file by hand")
    return str(check(Acme, "directory")(text))


def _port(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueError("must be a port number, 1..65535")
    return int(text)


def _secret(file: Path, *, is_flag: bool) -> Check[str]:
    """Return a check of a reference, or of a secret that goes into `file`; no fault holds the secret."""

    def checked(text: str) -> str:
        if Secret.parse(text).kind == "literal":
            if is_flag:
                forms = "credential:NAME, file:/path or ${ENV}"
                raise ValueError(f"must be a reference, {forms}: a command line is seen by others")
            if os.path.lexists(file):
                raise ValueError(
                    f"cannot be kept: {str(file)!r} is there already; give file:{file} to use it"
                )
        return text

    return checked


def _reference(name: str, file: Path) -> str | None:
    """Return a reference to this part of the AccessKey, if it is on this machine already."""
    if os.path.lexists(file):
        return f"file:{file}"
    reference = f"credential:certbotless.{name}"
    path = Secret.parse(reference).path
    return reference if path is not None and os.path.exists(path) else None
