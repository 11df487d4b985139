"""The configuration in force, while its file and the files of its secrets are edited. Light.

The files are small, so each poll reads them and compares their contents: how an editor saves does not matter
(it may write in place, rename over, change a link in the path, or delete and create). An edit is accepted
when it is at rest and all of it is good; else it is refused, and the last good one stays in force. A file may
be absent or broken for a moment, as while it is saved.
"""

from __future__ import annotations

import hashlib
import logging
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..base import words
from ..base.errors import CertbotlessError, ConfigError, SecretUnreadable
from ..base.words import Text
from . import checks, diff, load
from .secret import Secret
from .settings import Config

logger = logging.getLogger(__name__)

# Between two polls: while nothing happens, and while something may be in the middle of being saved. Together
# less than a second, so that a busy machine has another second to follow an edit within two.
_POLL_S, _POLL_SOON_S = 0.5, 0.25
# A good content that is so old is accepted; a bad one that is so old is refused.
_AT_REST_S, _SAVED_WITHIN_S = 0.2, 1.0

_NO_MOVE = Text("state_dir cannot change while the daemon runs")

# What a file held when it was read: its bytes, or why it could not be read.
_Content = bytes | CertbotlessError


class Source:
    """The configuration file and its secrets.

    Args:
        path: None reads standard input. That or a pipe is read once; then only the secrets are followed.

    Attributes:
        name: the name of the file, for people.
        path: the file; None if it is read only once.
        raw, config: the configuration in force, as text and as a value.
        refused: the faults of the file as it is now, one line each; empty if it is in force.
        refused_digest: SHA-256 of that file.

    Raises:
        ConfigError, SecretUnreadable: the first configuration is not good.
    """

    def __init__(self, path: Path | None) -> None:
        self.name = str(path or "-")
        self.raw = load.read(path)
        self.config = self._parsed(self.raw)
        words.speak(self.config.language)
        self.refused: tuple[str, ...] = ()
        self.refused_digest = ""
        # A pipe has been read, and is empty now.
        self.path = path if path is not None and _is_plain(path) else None
        self._file = _Followed(self._read, self.raw)
        self._secrets = self._follow_secrets()
        # The secrets of a file that was refused because of one: it is tried again when all can be read.
        self._lacking: tuple[Secret, ...] = ()

    @property
    def poll_within_s(self) -> float:
        """How soon the next poll should come."""
        is_edited = self._file.new_digest or any(secret.file.new_digest for secret in self._secrets)
        return _POLL_SOON_S if is_edited else _POLL_S

    def poll(self, now_s: float, *, is_asked: bool = False) -> Config | None:
        """Follow edits; return the configuration in force if it, or a secret of it, has changed.

        Each fault of an edit is logged once.

        Args:
            now_s: monotonic time.
            is_asked: whether the user says that all is saved: the file is accepted, or refused, as it is.
        """
        is_edited = self.path is not None and self._poll_file(now_s, is_asked)
        has_changed = [secret.poll(now_s) for secret in self._secrets]
        return self.config if is_edited or any(has_changed) else None

    def _poll_file(self, now_s: float, is_asked: bool) -> bool:
        found = self._file.poll(now_s)
        if is_asked or (self._lacking and all(map(_is_readable, self._lacking))):
            return self._take(self._file.now(), is_told_again=is_asked)
        if found is None or found[1] < _AT_REST_S:
            return False
        content, stood_s = found
        return self._take(content, is_final=stood_s >= _SAVED_WITHIN_S)

    def _take(self, content: _Content, *, is_final: bool = True, is_told_again: bool = False) -> bool:
        """Put this content into force. If it is bad, refuse it if it is final."""
        try:
            if isinstance(content, CertbotlessError):
                raise content
            edited = self._parsed(content)
            if edited.state_dir != self.config.state_dir:
                raise CertbotlessError(_NO_MOVE, hint=Text("restart it"))
        except CertbotlessError as exc:
            if is_final:
                self._refuse(content, exc, is_told_again=is_told_again)
            return False
        before, self.raw, self.config = self.config, content, edited
        words.speak(edited.language)
        self._file.settle(content)
        self._secrets = self._follow_secrets()
        self._lacking, self.refused, self.refused_digest = (), (), ""
        logger.info("config.accepted sites=%d", len(edited.sites))
        for line in diff.changes(before, edited):
            logger.info("config.changed what=%s", line)
        return True

    def _refuse(self, content: _Content, error: CertbotlessError, *, is_told_again: bool) -> None:
        self._file.settle(content)
        lines = tuple(error.faults) if isinstance(error, ConfigError) else (str(error),)
        raw = content if isinstance(content, bytes) else b""
        digest = _digest_of(raw)
        new = [line for line in lines if line not in self.refused]
        if is_told_again or (not new and digest != self.refused_digest):
            new = [*lines]  # another edit with the same faults is refused as well
        for line in new:
            logger.error("config.refused fault=%s", line)
        self.refused, self.refused_digest = lines, digest
        self._lacking = ()
        if isinstance(error, SecretUnreadable):
            self._lacking = tuple(load.parse(raw, self.name).needed_secrets().values())

    def _read(self) -> bytes:
        if self.path is not None and not _is_plain(self.path):
            raise ConfigError([Text("{}:1:1: the file: is not a plain file", self.name)])
        return load.read(self.path)

    def _parsed(self, raw: bytes) -> Config:
        """Return the configuration in the text, if all secrets that certificates need can be read."""
        config = load.parse(raw, self.name)
        checks.prove_readable(config)
        return config

    def _follow_secrets(self) -> list[_FollowedSecret]:
        """Return the secrets that can change while we run."""
        found = self.config.secrets().items()
        return [_FollowedSecret(key, secret) for key, secret in found if secret.path is not None]


def _digest_of(content: _Content) -> str:
    """Tell one content from another."""
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else f"error: {content.message}"


class _Followed:
    """A file, and the last content that was handled. Only its digest is kept: it may be a secret.

    Args:
        read: reads the file; a CertbotlessError counts as a content.
        known: the content that was handled already; None for the present one.

    Attributes:
        new_digest: of a content that the last poll found and that was not handled yet; else empty.
    """

    def __init__(self, read: Callable[[], bytes], known: _Content | None = None) -> None:
        self._read = read
        self._known = _digest_of(self.now() if known is None else known)
        self.new_digest, self._new_since_s = "", 0.0

    def poll(self, now_s: float) -> tuple[_Content, float] | None:
        """Return a content that was not handled yet and its age in seconds, None if there is none."""
        content = self.now()
        digest = _digest_of(content)
        if digest == self._known:
            self.new_digest = ""
            return None
        if digest != self.new_digest:
            self.new_digest, self._new_since_s = digest, now_s
        return content, now_s - self._new_since_s

    def now(self) -> _Content:
        """Return the present content of the file."""
        try:
            return self._read()
        except CertbotlessError as exc:
            return exc

    def settle(self, content: _Content) -> None:
        """Note that this content was handled."""
        self._known, self.new_digest = _digest_of(content), ""


class _FollowedSecret:
    """One secret of the configuration in force."""

    def __init__(self, key: str, secret: Secret) -> None:
        self._key = key
        self._secret = secret
        self.file = _Followed(lambda: secret.read().encode())
        self._stamps = dict(map(_stamp, secret.sources()))

    def poll(self, now_s: float) -> bool:
        """Return whether it has a new value, or can be read again. A fault is logged once."""
        stamps = dict(map(_stamp, self._secret.sources()))
        if stamps != self._stamps:
            where = ", ".join(str(path) for path in stamps if stamps[path] != self._stamps.get(path))
            self._stamps = stamps
            hint = "a service keeps the credentials that it was started with: restart needed"
            logger.warning("secret.restart_needed key=%s changed=%s hint=%s", self._key, where, hint)
        if (found := self.file.poll(now_s)) is None:
            return False
        content, stood_s = found
        if stood_s < (_AT_REST_S if isinstance(content, bytes) else _SAVED_WITHIN_S):
            return False
        self.file.settle(content)
        if not isinstance(content, bytes):
            logger.error("secret.lost key=%s error=%s", self._key, content)
            return False
        logger.info("secret.changed key=%s", self._key)
        return True


def _stamp(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Return what each edit of a file changes in its stat, which needs no right to read the file.

    If its folder is closed to us, the stat of the folder; if the file is absent, nothing.
    """
    for place in (path, path.parent):
        try:
            found = place.stat()
        except PermissionError:
            continue
        except OSError:
            break
        return place, (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
    return path, ()


def _is_plain(path: Path) -> bool:
    """Whether reading it does not wait for others, as a pipe would; true also if it is absent."""
    with suppress(OSError):
        return stat.S_ISREG(path.stat().st_mode)
    return True


def _is_readable(secret: Secret) -> bool:
    try:
        secret.read()
    except SecretUnreadable:
        return False
    return True
