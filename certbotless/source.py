"""The configuration in force, as its file and the files of its secrets are edited. Light.

An edit is taken when it has come to rest and all of it is good; else it is refused, and the last good one
stays. A file that is absent or broken for a moment, as while it is saved, is no matter.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from . import configfile, edits
from .config import Config
from .errors import CertbotlessError, ConfigError, SecretUnreadable
from .follow import Content, Followed, is_plain, stamp_of
from .secret import Secret

logger = logging.getLogger(__name__)

# Between two polls: while nothing happens, and while something may be in the middle of being saved. Together
# less than a second, so that a machine whose cores are busy has another one to follow an edit within two.
_POLL_S, _POLL_SOON_S = 0.5, 0.25
# What is good and has stood so long is taken; what is bad and has stood so long is told.
_AT_REST_S, _SAVED_WITHIN_S = 0.2, 1.0


@dataclass(frozen=True, slots=True)
class Change:
    """Something else is in force now: before and after are the same where only a secret has changed."""

    before: Config
    after: Config


class Source:
    """The configuration file and its secrets.

    Args:
        path: None reads standard input. That, and a pipe, is read once; then only the secrets are followed.

    Attributes:
        name: of the file, for people.
        raw, config: what is in force, as text and as meaning.
        refused: what is wrong with the file as it is now, a line each; empty for the one in force.
        refused_digest: SHA-256 of that file.

    Raises:
        ConfigError, SecretUnreadable: there is nothing good to begin with.
    """

    def __init__(self, path: Path | None) -> None:
        self.name = str(path or "-")
        self.raw = configfile.read(path)
        self.config = self._parsed(self.raw)
        self.refused: tuple[str, ...] = ()
        self.refused_digest = ""
        # A pipe has been read, and is empty now.
        self._path = path if path is not None and is_plain(path) else None
        self._file = Followed(lambda: path, self._read, Content(self.raw))
        self._secrets = self._follow_secrets()
        # Of a file that was refused for their sake: it is good as soon as they can be read.
        self._lacking: tuple[Secret, ...] = ()

    @property
    def path(self) -> Path | None:
        """The file; None where it is read once."""
        return self._path

    @property
    def poll_within_s(self) -> float:
        """How soon the next poll should come."""
        followed = [secret.file for secret in self._secrets.values()]
        if self._path is not None:
            followed.append(self._file)
        return _POLL_SOON_S if any(file.is_restless for file in followed) else _POLL_S

    def poll(self, now_s: float, *, is_asked: bool = False) -> Change | None:
        """Take an edit that is there by now, and return it; what is wrong with one is logged, once a fault.

        Args:
            now_s: monotonic time.
            is_asked: somebody says that all is saved: it is taken, or refused, as it is now.
        """
        change = self._poll_file(now_s, is_asked) if self._path is not None else None
        has_changed = [secret.poll(now_s) for secret in self._secrets.values()]
        if change is None and any(has_changed):
            return Change(self.config, self.config)
        return change

    def _poll_file(self, now_s: float, is_asked: bool) -> Change | None:
        found = self._file.poll(now_s)
        if is_asked or (self._lacking and all(map(_is_readable, self._lacking))):
            return self._take(self._file.now(), is_told_again=is_asked)
        if found is None:
            return None
        content, stood_s = found
        if stood_s < _AT_REST_S:
            return None
        return self._take(content, is_final=stood_s >= _SAVED_WITHIN_S)

    def _take(self, content: Content, *, is_final: bool = True, is_told_again: bool = False) -> Change | None:
        """Put this content into force, or refuse it if it is final."""
        try:
            if content.error is not None:
                raise content.error
            edited = self._parsed(content.raw)
            if edited.state_dir != self.config.state_dir:
                raise CertbotlessError("state_dir cannot change while the daemon runs", hint="restart it")
        except CertbotlessError as exc:
            if is_final:
                self._refuse(content, exc, is_told_again=is_told_again)
            return None
        before, self.raw, self.config = self.config, content.raw, edited
        self._file.settle(content)
        self._secrets = self._follow_secrets()
        self._lacking, self.refused, self.refused_digest = (), (), ""
        logger.info("config.accepted sites=%d", len(edited.sites))
        for line in edits.changes(before, edited):
            logger.info("config.changed %s", line)
        return Change(before, edited)

    def _refuse(self, content: Content, error: CertbotlessError, *, is_told_again: bool) -> None:
        self._file.settle(content)
        lines = tuple(error.faults) if isinstance(error, ConfigError) else (str(error),)
        digest = hashlib.sha256(content.raw).hexdigest()
        new = [line for line in lines if line not in self.refused]
        if is_told_again or (not new and digest != self.refused_digest):
            new = [*lines]  # another edit with the same faults is refused as well
        for line in new:
            logger.error("config.refused %s", line)
        self.refused, self.refused_digest = lines, digest
        is_lack = isinstance(error, SecretUnreadable)
        self._lacking = tuple(self._meaning(content.raw).needed_secrets().values()) if is_lack else ()

    def _read(self) -> bytes:
        if self._path is not None and not is_plain(self._path):
            raise ConfigError([f"{self.name}:1:1: the file: is not a plain file"])
        return configfile.read(self._path)

    def _meaning(self, raw: bytes) -> Config:
        return configfile.parse(raw, self.name)

    def _parsed(self, raw: bytes) -> Config:
        """Return what the text means, if the secrets that certificates need can be read too."""
        config = self._meaning(raw)
        config.prove_readable()
        return config

    def _follow_secrets(self) -> dict[str, _FollowedSecret]:
        return {key: _FollowedSecret(key, secret) for key, secret in self.config.secrets().items()}


class _FollowedSecret:
    """One secret of the configuration in force; its value is known by its digest alone."""

    def __init__(self, key: str, secret: Secret) -> None:
        self._key = key
        self._secret = secret
        self.file = Followed(lambda: secret.path, lambda: secret.read().encode())
        self._stamps = self._look_at_sources()

    def poll(self, now_s: float) -> bool:
        """Return whether it has another value, or can be read again; what is wrong with it is logged once."""
        self._poll_sources()
        found = self.file.poll(now_s)
        if found is None:
            return False
        content, stood_s = found
        if stood_s < (_SAVED_WITHIN_S if content.error else _AT_REST_S):
            return False
        self.file.settle(content)
        if content.error is not None:
            logger.error("secret.lost key=%s error=%s", self._key, content.error)
            return False
        logger.info("secret.changed key=%s", self._key)
        return True

    def _poll_sources(self) -> None:
        stamps = self._look_at_sources()
        if stamps != self._stamps:
            where = ", ".join(str(path) for path in stamps if stamps[path] != self._stamps.get(path))
            self._stamps = stamps
            text = "secret.restart_needed key=%s changed=%s hint=%s"
            hint = "a service keeps the credentials that it was started with: restart needed"
            logger.warning(text, self._key, where, hint)

    def _look_at_sources(self) -> dict[Path, tuple[int, ...]]:
        """Return the stamp of each place; where we may not look into the folder, that of the folder."""
        seen = [path if _may_look_at(path) else path.parent for path in self._secret.sources()]
        return {path: stamp_of(path) for path in seen}


def _may_look_at(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def _is_readable(secret: Secret) -> bool:
    try:
        secret.read()
    except SecretUnreadable:
        return False
    return True
