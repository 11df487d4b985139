"""How an API of Aliyun is reached, and with which key. Light."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ...base.words import N_
from ...config.settings import Aliyun


class KeySource(Protocol):
    """Where a key comes from; all sites of a run share it. Safe to use from many threads."""

    @property
    def cure(self) -> str:
        """What to do where the API refuses its key; empty for a key of the file."""

    def key(self) -> Key:
        """Return a key that is valid now.

        Raises:
            KeyRefused: there is none before a person has acted.
            KeyUnavailable: there is none now.
        """

    def instead_of(self, refused: Key) -> Key | None:
        """Return another key, where the API takes this one for ended or unknown; None if there is no other.

        Raises as `key`.
        """

    def allow(self, zones: Iterable[str]) -> None:
        """Let the keys from now on change these zones too, where they are limited to some."""


@dataclass(frozen=True, slots=True)
class Key:
    """What signs a call; no `repr` shows it. A key of the file is its own source.

    Attributes:
        token: goes with each call; None for a key that is not temporary.
        ends_at: None where that is not known.
        cure: what to do where an API refuses it; empty for a key of the configuration.
    """

    id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    ends_at: datetime | None = None
    cure: str = field(default="", repr=False, compare=False)

    @classmethod
    def in_file(cls, aliyun: Aliyun) -> Key:
        """Return the key that the file names, as it is now.

        Raises:
            SecretUnreadable: a part of it leads nowhere.
        """
        (key_id, secret), token = aliyun.key, aliyun.security_token
        return cls(key_id.read(), secret.read(), token.read() if token else None)

    def key(self) -> Key:
        return self

    def instead_of(self, refused: Key) -> Key | None:
        return None

    def allow(self, zones: Iterable[str]) -> None:
        pass


# Is called with each key that was fetched.
Learn = Callable[[Key], None]


def forget(key: Key) -> None:
    """Learn nothing."""


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """Where an API is, and where the key comes from that signs its calls.

    Attributes:
        setting: the key of the configuration that has the endpoint.
        name: what people call the API.
    """

    endpoint: str
    source: KeySource = field(repr=False)
    ca_bundle: str | None = None
    setting: str = "aliyun.endpoint"
    name: str = N_("the DNS API")
