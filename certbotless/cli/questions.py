"""Answers from options or from a person; each is checked as the file itself would be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..base.errors import UsageError, printable
from ..base.words import N_, Text, _

T = TypeVar("T")

# Asks a person: the question, and whether the answer is a secret, which is not shown.
Ask = Callable[[str, bool], str]
# Returns what an answer means, or raises a `ValueError` that says what is wrong with it.
Check = Callable[[str], T]
Say = Callable[[str], None]

_YES, _NO = ("y", "yes", "是"), ("n", "no", "否", "没有", "无")


@dataclass(frozen=True, slots=True)
class Questions:
    """Answers from options or from a person.

    Attributes:
        options: what the command line has said already, by the name of its option. `yes`: nothing is asked.
        person: None where there is nobody to ask.
        operands: those of the names that are typed without an option.
    """

    options: Mapping[str, Any]
    person: Ask | None
    say: Say
    operands: frozenset[str] = frozenset()

    @property
    def are_asked(self) -> bool:
        """Whether a person answers."""
        return self.person is not None and not self.options.get("yes")

    def has(self, name: str) -> bool:
        """Whether the command line has answered this already."""
        return self.options.get(name) not in (None, False)

    def option(self, name: str, check: Check[T], default: str) -> T:
        """Return the checked option `name`, which nobody is asked for. Raises as `get`."""
        given = self.options.get(name)
        try:
            return check(default if given is None else given.strip())
        except ValueError as exc:
            raise UsageError(Text("{}: {}", self._written(name), str(exc))) from exc

    def get(self, name: str, question: str, check: Check[T], default: str | None) -> T:
        """Return a checked answer: the option `name`, else that of a person.

        Raises:
            UsageError: the option's value is bad, or there is none and nobody to ask.
        """
        if self.has(name) or (self.options.get("yes") and default is not None):
            return self.option(name, check, default or "")
        if self.options.get("yes"):
            raise UsageError(Text("{} is needed: init has found no value for it", self._written(name)))
        if self.person is None:
            form = N_("standard input is not a terminal: give {}")
            if "yes" in self.options:
                form = N_("standard input is not a terminal: give {}, or --yes for the defaults")
            raise UsageError(Text(form, self._written(name)))
        return self.ask(question, check, default)

    def ask(self, question: str, check: Check[T], default: str | None, *, is_secret: bool = False) -> T:
        """Return the checked answer of a person, who is asked until it is good; Enter is `default`.

        Raises:
            UsageError: the input has ended.
        """
        shown = f" [{printable(default, 80)}]" if default else ""
        while True:
            answer = self._heard(f"{question}{shown}: ", is_secret=is_secret)
            if not answer and default is None:
                self.say(_("  this needs an answer"))
                continue
            try:
                return check(answer or default or "")
            except ValueError as exc:
                self.say(_("  not taken: {}").format(_(str(exc))))

    def agree(self, question: str) -> bool:
        """Return whether a person says yes; Enter, and nobody there, are no. Raises as `ask`."""
        while self.are_asked:
            answer = self._heard(f"{question} [y/N]: ").lower()
            if answer in _YES:
                return True
            if answer == "" or is_no(answer):
                return False
            self.say(_("  not taken: type y or n"))
        return False

    def _heard(self, prompt: str, *, is_secret: bool = False) -> str:
        try:
            return self.person(prompt, is_secret).strip() if self.person else ""
        except EOFError as exc:
            raise UsageError(Text("the input ended before the last question; nothing is written")) from exc

    def _written(self, name: str) -> str:
        """Return how an answer is given on the command line."""
        return name.upper() if name in self.operands else f"--{name.replace('_', '-')}"


def is_no(answer: str) -> bool:
    """Whether an answer is no."""
    return answer.lower() in _NO


def or_none(check: Check[str]) -> Check[str]:
    """Return a check that also takes `none`, and nothing, as an empty text."""
    return lambda text: "" if text in ("", "none") else check(text)
