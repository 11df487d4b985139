"""Digests that tell one configuration from another: a failure under one says nothing about the next.

A digest is made of data: the canonical JSON of what the file says, without defaults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ..base.checked import dump
from ..base.errors import CertbotlessError
from .secret import Secret
from .settings import Config, Site

# Begins each digest. One without it was written by a version that made digests in another way.
FORM = "2:"


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The secrets of a configuration as digests, and the digests of its sites.

    Make it before privileges drop: the later user may not be able to read the secrets.

    Attributes:
        secrets: the digest of each secret, or why it could not be read, by the path of its key.
    """

    secrets: Mapping[str, str]

    @classmethod
    def of(cls, config: Config, before: Fingerprints | None = None) -> Fingerprints:
        """Read the secrets that attempts use. One that cannot be read keeps its entry of `before`."""
        found = {}
        for path, secret in (config.needed_secrets() | config.bindings()).items():
            try:
                found[path] = _digest(secret.read())
            except CertbotlessError as exc:
                found[path] = before.secrets.get(path, exc.message) if before else exc.message
        return cls(found)

    def digests(self, config: Config, site: Site) -> tuple[str, str]:
        """Return two digests of all settings that attempts for `site` depend on: with and without secrets.

        The second tells whether only a secret has changed, as a temporary key does each hour.
        """
        acme = config.acme if config.has_stand_ins else config.acme[0]
        parts = (acme, config.aliyun, config.dns, config.docker, config.certs_dir, site)
        of_file = _digest(parts)
        return _digest([of_file, self.secrets]), of_file


def _plain(value: object) -> Any:
    """Return a value that JSON has no form for as plain data; of a secret only its place."""
    if isinstance(value, Secret):
        return [value.kind, "" if value.kind == "literal" else value.where]
    if is_dataclass(value):
        given = {each.name: (getattr(value, each.name), each.default) for each in fields(value)}
        return {name: found for name, (found, default) in given.items() if found != default}
    return json.loads(dump(value))


def _digest(value: object) -> str:
    import hashlib  # noqa: PLC0415  (with OpenSSL, which `check` does not need)

    text = json.dumps(value, sort_keys=True, default=_plain)
    return FORM + hashlib.sha256(text.encode()).hexdigest()
