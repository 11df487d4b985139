"""Remove secrets from a text that a person may show to anybody.

They are found by value, for every secret of the configuration; and by form, for what libraries may say: keys
in PEM, signed requests of ACME and Aliyun, key authorizations.

Source: RFC 7468 (PEM), RFC 7515 (JWS), RFC 8555 section 8.1 (key authorization); the V1 signature of Aliyun's
APIs, whose requests carry it in their query.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from typing import Self
from urllib.parse import quote

from ..base.errors import SecretUnreadable
from .settings import Config

_HIDDEN = "***"
# Shorter values are no secrets, and are parts of many words.
_LEAST_LENGTH = 6
# As much of an AccessKey's id as tells a person which one it is.
_KEPT_OF_ID = 4

_FORMS = (
    # Also without its end, and with its line ends escaped.
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL), _HIDDEN),
    (re.compile(r"\?[\w.%-]+=[^\s'\"<>]*"), f"?{_HIDDEN}"),
    (re.compile(r"://[^/\s@'\"]+@"), f"://{_HIDDEN}@"),
    (re.compile(r"\b(Signature|SecurityToken|AccessKeySecret)=[^\s&'\"]+"), rf"\1={_HIDDEN}"),
    (re.compile(r"\b(LTAI|STS\.)[0-9A-Za-z]{6,}"), rf"\1{_HIDDEN}"),
    # An STS token, which begins so in base64; and what programs print of a key as JSON.
    (re.compile(r"\bCA[EI]S[\w+/-]{24,}=*"), _HIDDEN),
    (
        re.compile(
            r"(?i)([\"'](?:access_?key_?secret|security_?token|sts_token|secret_key)[\"']\s*:\s*)([\"'])[^\"']*\2?"
        ),
        rf"\1{_HIDDEN}",
    ),
    (
        re.compile(r"([\"'](?:protected|payload|signature|d|k|hmac_key)[\"']: *)([\"'])[^\"']*\2"),
        rf"\1{_HIDDEN}",
    ),
    # A JSON object in base64url: a JWS header.
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*)*"), _HIDDEN),
    (re.compile(r"(?<![\w.-])[\w-]{22,}\.[\w-]{43}(?![\w-])"), _HIDDEN),
)
# What may be a secret in the words of a program: long, of mixed letters and digits. Vault writes the kind of
# its token and a dot first (hvb., s.). A path is none, nor is the fingerprint of a host, which ssh shows.
_LIKE_A_SECRET = re.compile(
    r"(?<![\w/.+-])(?<!SHA256:)(?:\w{1,4}\.)?"
    r"(?=[\w+/=-]*[0-9])(?=[\w+/=-]*[a-z])(?=[\w+/=-]*[A-Z])[\w+/=.-]{20,}"
)


def without_likely_secrets(text: str) -> str:
    """Return the words of a foreign program without what may be a secret, as the lines of a private key."""
    return _LIKE_A_SECRET.sub(_HIDDEN, text)


class Redactor:
    """Removes secrets from texts.

    Args:
        secrets: values that must not be shown.
        key_ids: ids of AccessKeys; their first four letters stay.
    """

    def __init__(self, secrets: Iterable[str], key_ids: Iterable[str] = ()) -> None:
        # What is shown instead of each value, and the pattern that finds all of them.
        self._hidden: tuple[dict[str, str], re.Pattern[str] | None] = {}, None
        self.learn(secrets, key_ids)

    def learn(self, secrets: Iterable[str], key_ids: Iterable[str] = ()) -> None:
        """Remove these from now on, too. For one thread at a time; others may use it meanwhile."""
        shown = {key_id: key_id[:_KEPT_OF_ID] + _HIDDEN for key_id in key_ids}
        shown |= dict.fromkeys(secrets, _HIDDEN)
        # A request has them in its URL, and the signed text has that URL encoded once more.
        for _ in range(2):
            shown |= {quote(value, safe="", errors="replace"): instead for value, instead in shown.items()}
        shown = self._hidden[0] | shown
        # The longest first: a value may begin with another.
        values = sorted((v for v in shown if len(v) >= _LEAST_LENGTH), key=len, reverse=True)
        self._hidden = shown, re.compile("|".join(map(re.escape, values))) if values else None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return one for all secrets of a configuration that can be read.

        A URL is removed only as a whole: a part of it may be a common word, such as the name of a robot.
        """
        values: dict[str, list[str]] = {}
        for path, secret in config.secrets().items():
            with suppress(SecretUnreadable):
                values[path] = secret.values()
        key_ids = values.pop("aliyun.access_key_id", [])
        # An address does not belong into a public report either.
        return cls([*chain(*values.values()), *(ca.email or "" for ca in config.acme)], key_ids)

    def __call__(self, text: str) -> str:
        """Return the text without the secrets in it."""
        shown, values = self._hidden
        if values is not None:
            text = values.sub(lambda found: shown[found[0]], text)
        for form, instead in _FORMS:
            text = form.sub(instead, text)
        return text
