"""The configuration in force, as its file and the files of its secrets are edited. Light.

They are small, so each poll reads them and compares: whatever an editor does (writes in place, renames over,
flips a link somewhere in the path, deletes and creates), the content counts and not how it came. An edit is
taken when it has come to rest and all of it is good; else it is refused, and the last good one stays. A file
that is absent or broken for a moment, as while it is saved, is no matter.
"""

from __future__ import annotations

import hashlib
import logging
import stat
from collections.abc import Callable
from pathlib import Path

from ..base.errors import CertbotlessError, ConfigError, SecretUnreadable
from . import checks, diff, load
from .secret import Secret
from .settings import Config

logger = logging.getLogger(__name__)

# Between two polls: while nothing happens, and while something may be in the middle of being saved. Together
# less than a second, so that a machine whose cores are busy has another one to follow an edit within two.
_POLL_S, _POLL_SOON_S = 0.5, 0.25
# What is good and has stood so long is taken; what is bad and has stood so long is told.
_AT_REST_S, _SAVED_WITHIN_S = 0.2, 1.0

# What a file held when it was read: its bytes, or why it could not be read.
_Content = bytes | CertbotlessError


class Source:
    """The configuration file and its secrets.

    Args:
        path: None reads standard input. That, and a pipe, is read once; then only the secrets are followed.

    Attributes:
        name: of the file, for people.
        path: the file; None where it is read once.
        raw, config: what is in force, as text and as meaning.
        refused: what is wrong with the file as it is now, a line each; empty for the one in force.
        refused_digest: SHA-256 of that file.

    Raises:
        ConfigError, SecretUnreadable: there is nothing good to begin with.
    """

    def __init__(self, path: Path | None) -> None:
        self.name = str(path or "-")
        self.raw = load.read(path)
        self.config = self._parsed(self.raw)
        self.refused: tuple[str, ...] = ()
        self.refused_digest = ""
        # A pipe has been read, and is empty now.
        self.path = path if path is not None and _is_plain(path) else None
        self._file = _Followed(self._read, self.raw)
        self._secrets = self._follow_secrets()
        # Of a file that was refused for their sake: it is good as soon as they can be read.
        self._lacking: tuple[Secret, ...] = ()

    @property
    def poll_within_s(self) -> float:
        """How soon the next poll should come."""
        is_edited = self._file.is_new or any(secret.file.is_new for secret in self._secrets)
        return _POLL_SOON_S if is_edited else _POLL_S

    def poll(self, now_s: float, *, is_asked: bool = False) -> Config | None:
        """Take an edit that is there by now; return what is in force if that, or a secret, has changed.

        What is wrong with an edit is logged, once a fault.

        Args:
            now_s: monotonic time.
            is_asked: somebody says that all is saved: it is taken, or refused, as it is now.
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
        """Put this content into force, or refuse it if it is final."""
        try:
            if isinstance(content, CertbotlessError):
                raise content
            edited = self._parsed(content)
            if edited.state_dir != self.config.state_dir:
                raise CertbotlessError("state_dir cannot change while the daemon runs", hint="restart it")
        except CertbotlessError as exc:
            if is_final:
                self._refuse(content, exc, is_told_again=is_told_again)
            return False
        before, self.raw, self.config = self.config, content, edited
        self._file.settle(content)
        self._secrets = self._follow_secrets()
        self._lacking, self.refused, self.refused_digest = (), (), ""
        logger.info("config.accepted sites=%d", len(edited.sites))
        for line in diff.changes(before, edited):
            logger.info("config.changed %s", line)
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
            logger.error("config.refused %s", line)
        self.refused, self.refused_digest = lines, digest
        self._lacking = ()
        if isinstance(error, SecretUnreadable):
            self._lacking = tuple(load.parse(raw, self.name).needed_secrets().values())

    def _read(self) -> bytes:
        if self.path is not None and not _is_plain(self.path):
            raise ConfigError([f"{self.name}:1:1: the file: is not a plain file"])
        return load.read(self.path)

    def _parsed(self, raw: bytes) -> Config:
        """Return what the text means, if the secrets that certificates need can be read too."""
        config = load.parse(raw, self.name)
        checks.prove_readable(config)
        return config

    def _follow_secrets(self) -> list[_FollowedSecret]:
        """Return those that can change while we run."""
        found = self.config.secrets().items()
        return [_FollowedSecret(key, secret) for key, secret in found if secret.path is not None]


def _digest_of(content: _Content) -> str:
    """Tell one content from another."""
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else f"error: {content.message}"


class _Followed:
    """A file, and the content of it that was dealt with; that is kept as its digest, for it may be a secret.

    Args:
        read: reads it; a CertbotlessError is a content too.
        known: what was dealt with already; else what is there now.

    Attributes:
        is_new: at the last poll there was a content that was not dealt with.
    """

    def __init__(self, read: Callable[[], bytes], known: _Content | None = None) -> None:
        self._read = read
        self._known = _digest_of(self.now() if known is None else known)
        self._new, self._new_since_s = "", 0.0

    @property
    def is_new(self) -> bool:
        return bool(self._new)

    def poll(self, now_s: float) -> tuple[_Content, float] | None:
        """Return a content that was not dealt with and how many seconds it has stood, if there is one."""
        content = self.now()
        digest = _digest_of(content)
        if digest == self._known:
            self._new = ""
            return None
        if digest != self._new:
            self._new, self._new_since_s = digest, now_s
        return content, now_s - self._new_since_s

    def now(self) -> _Content:
        """Return what the file holds now."""
        try:
            return self._read()
        except CertbotlessError as exc:
            return exc

    def settle(self, content: _Content) -> None:
        """Take note that this content was dealt with."""
        self._known, self._new = _digest_of(content), ""


class _FollowedSecret:
    """One secret of the configuration in force."""

    def __init__(self, key: str, secret: Secret) -> None:
        self._key = key
        self._secret = secret
        self.file = _Followed(lambda: secret.read().encode())
        self._stamps = dict(map(_stamp, secret.sources()))

    def poll(self, now_s: float) -> bool:
        """Return whether it has another value, or can be read again; what is wrong with it is logged once."""
        self._poll_sources()
        found = self.file.poll(now_s)
        if found is None:
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

    def _poll_sources(self) -> None:
        stamps = dict(map(_stamp, self._secret.sources()))
        if stamps != self._stamps:
            where = ", ".join(str(path) for path in stamps if stamps[path] != self._stamps.get(path))
            self._stamps = stamps
            text = "secret.restart_needed key=%s changed=%s hint=%s"
            hint = "a service keeps the credentials that it was started with: restart needed"
            logger.warning(text, self._key, where, hint)


def _stamp(path: Path) -> tuple[Path, tuple[int, ...]]:
    """Return what each edit of a file changes, though we may not read it; of its folder, if that is closed.

    Empty for what is not there.
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
    """Whether nobody is waited for when it is read, as one would be with a pipe; also if it is absent."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _is_readable(secret: Secret) -> bool:
    try:
        secret.read()
    except SecretUnreadable:
        return False
    return True
