"""Secrets by reference: a literal, an environment variable, a file, or a systemd credential.

The value is read when it is needed, and it is not in the `repr` of the configuration. So it cannot get into a
log, an exception or a state file.

Source: systemd.exec(5), CREDENTIALS.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..base import files
from ..base.errors import SecretUnreadable, ValueFault, reason_of
from ..base.words import N_, Text

_Kind = Literal["literal", "environment", "file", "credential"]
_ENVIRONMENT_WORDS = N_("an environment reference is written ${NAME}")
# The kind of a reference, how one begins, its form, and what to say of another form.
_FORMS: tuple[tuple[_Kind, str, str, str], ...] = (
    ("environment", "${", r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", _ENVIRONMENT_WORDS),
    ("file", "file:", "file:(/.*)", N_("a file reference is written file:/absolute/path")),
    (
        "credential",
        "credential:",
        "credential:([A-Za-z0-9_-][A-Za-z0-9._-]{0,253})",
        N_("a credential reference is written credential:NAME"),
    ),
)
# How other programs write an environment reference, and what pages have in the place of a secret.
_OTHER_ENV = re.compile(r"(?i:\$[A-Za-z_]\w*|env:.*|\$env:.*|%\w+%|\$\(.*\)|\{\{.*\}\})")
_PLACEHOLDER = re.compile(r"(?i:<.*>|\*+|x{3,}|\.{3}|your[-_ ].*|change[-_]?me)")
# An Aliyun STS token, the longest secret that we know, is under 2 KiB.
MAX_BYTES = 64 * 1024
# Where systemd looks for credentials that a unit imports.
CREDSTORES = [f"/{root}/credstore{kind}" for root in ("etc", "run", "usr/lib") for kind in ("", ".encrypted")]


@dataclass(frozen=True, slots=True)
class Secret:
    """The place of a secret, not its value."""

    kind: _Kind
    where: str = field(repr=False)

    def __repr__(self) -> str:
        return "Secret(***)" if self.kind == "literal" else f"Secret({self.kind} {self.where})"

    @property
    def reference(self) -> str:
        """The secret as the file refers to it; a literal is hidden."""
        forms = {"environment": f"${{{self.where}}}", "file": f"file:{self.where}", "literal": "***"}
        return forms.get(self.kind, f"credential:{self.where}")

    @classmethod
    def parse(cls, text: str) -> Secret:
        """Return the reference in `text`.

        Raises:
            ValueFault: the reference is not well formed. The message does not repeat it.
        """
        text = text.strip()
        if not text:
            raise ValueFault(Text("is empty"))
        if not text.isprintable():
            raise ValueFault(Text("must be one line of text"))
        for kind, start, form, fault in _FORMS:
            if text.startswith(start):
                if (found := re.fullmatch(form, text)) is None:
                    raise ValueFault(Text(fault))
                return cls(kind, found[1])
        if _OTHER_ENV.fullmatch(text):
            raise ValueFault(Text(_ENVIRONMENT_WORDS))
        if is_placeholder(text):
            raise ValueFault(Text("is a placeholder: write the secret itself, or where it is"))
        return cls("literal", text)

    def read(self) -> str:
        """Return the secret as it is now, without surrounding white space.

        Raises:
            SecretUnreadable: it is absent, or we may not read it.
        """
        if self.kind == "literal":
            return self.where
        if (path := self.path) is None:
            value = os.environ.get(self.where, "").strip()
            lacks = Text("the environment variable {!r} is not set", self.where)
            hint = Text("set it where certbotless is started, or write file:/path instead")
            wrong = Text("the environment variable {!r} is not one line of text", self.where)
        else:
            lacks = Text("the secret {!r} is empty", str(path))
            hint = Text("write the secret into it")
            wrong = Text("the secret {!r} is not one line of text", str(path))
            try:
                value = files.read(path, MAX_BYTES, follows_links=True).decode().strip()
            except (OSError, UnicodeDecodeError) as exc:
                reason = reason_of(exc) if isinstance(exc, OSError) else Text("not text")
                text = Text("cannot read the secret {!r}: {}", str(path), reason)
                raise SecretUnreadable(text, hint=self._cure(exc)) from exc
        if not value:
            raise SecretUnreadable(lacks, hint=hint)
        if not value.isprintable():
            raise SecretUnreadable(wrong, hint=Text("write only the secret into it"))
        return value

    def _cure(self, failed: Exception) -> Text:
        """Return what to do about a file that cannot be read."""
        is_refused = isinstance(failed, PermissionError)
        if self.kind == "credential":
            # Only root can enter the credstore; the service has a copy, from its start on.
            if is_refused:
                return Text(
                    "use sudo; if the service says so, write the file, then systemctl restart certbotless"
                )
            return Text(
                "write it there as root, mode 0600; for the service then systemctl restart certbotless"
            )
        if is_refused:
            return Text("use sudo, or make it readable by the user that runs certbotless")
        return Text("create it, readable by the user that runs certbotless")

    def values(self) -> list[str]:
        """Return what no output may show. Raises as `read`."""
        return [self.read()]

    def warning(self, trusted: Collection[int]) -> str | None:
        """Return what is careless about the file of the secret, if anything is.

        Args:
            trusted: the uids that may own it.
        """
        if (path := self.path) is None:
            return None
        try:
            found = path.stat()
        except OSError:
            return None
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o007:
            return Text("{!r} has mode {:04o}, open to others: chmod 600", str(path), mode)
        return owned_by_another(path, trusted)

    @property
    def path(self) -> Path | None:
        """The file that it is read from; None for a literal or a variable, which cannot change as we run."""
        if self.kind == "file":
            return Path(self.where)
        if self.kind != "credential":
            return None
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        # Path.exists would raise where we may not look into the directory.
        if directory and os.path.exists(path := Path(directory, self.where)):
            return path
        return Path("/etc/credstore", self.where)

    def sources(self) -> list[Path]:
        """Return where systemd may have read a credential; after a change there the service must restart.

        A unit may name other places, and we may not be allowed to see these.
        """
        if self.kind != "credential" or self.path == Path("/etc/credstore", self.where):
            return []
        return [Path(store, self.where) for store in CREDSTORES]


def is_placeholder(text: str) -> bool:
    """Whether a text is what pages and examples have in the place of a secret, as `your-id` is."""
    return _PLACEHOLDER.fullmatch(text) is not None


def owned_by_another(path: Path, trusted: Collection[int]) -> str | None:
    """Return what to do about a file whose owner is none of the trusted uids; None where there is nothing."""
    with suppress(OSError):
        owner = path.stat().st_uid
        if owner not in trusted:
            form = N_("{!r} belongs to another user (uid {}), who may change it: chown it")
            return Text(form, str(path), owner)
    return None


def environment_without(secrets: Iterable[Secret]) -> dict[str, str]:
    """Return the environment for a foreign program, without what holds or leads to a secret."""
    hidden = {secret.where for secret in secrets if secret.kind == "environment"} | {"CREDENTIALS_DIRECTORY"}
    return {name: value for name, value in os.environ.items() if name not in hidden}
