"""Digests that tell one configuration from another: what failed under one says nothing of the next.

They are of data: the canonical JSON of what the file says, without what is a default.
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
    """What the secrets of a configuration held when they were read, and the digests that follow.

    Make it before privileges drop: the user after that may not be able to read the secrets.

    Attributes:
        secrets: by the path of its key the digest of each secret, or why it could not be read.
    """

    secrets: Mapping[str, str]

    @classmethod
    def of(cls, config: Config, before: Fingerprints | None = None) -> Fingerprints:
        """Read the secrets that certificates need; one that cannot be read counts as it did `before`."""
        found = {}
        for path, secret in config.needed_secrets().items():
            try:
                found[path] = _digest(secret.read())
            except CertbotlessError as exc:
                found[path] = before.secrets.get(path, exc.message) if before else exc.message
        return cls(found)

    def digests(self, config: Config, site: Site) -> tuple[str, str]:
        """Return two digests of all that decides how attempts for `site` go.

        The first is also of what the secrets hold; the second is not, for a temporary key changes each hour.
        """
        parts = (config.acme, config.aliyun, config.dns, config.docker, config.certs_dir, site)
        of_file = _digest(parts)
        return _digest([of_file, self.secrets]), of_file


def _plain(value: object) -> Any:
    """Return what JSON has no form for in another form; of a secret only where it is."""
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
