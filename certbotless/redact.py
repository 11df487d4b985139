"""Secrets out of a text that a person may show to anybody.

By value, for every secret that the configuration leads to; and by form, for what libraries may say: keys in
PEM, signed requests of ACME and Aliyun, key authorizations.

Source: RFC 7468 (PEM), RFC 7515 (JWS), RFC 8555 section 8.1 (key authorization); the V1 signature of Aliyun's
APIs, whose requests carry it in their query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Self
from urllib.parse import quote, unquote

from .config import Config
from .errors import SecretUnreadable

_HIDDEN = "***"
# Shorter values are no secrets, and stand in every second word.
_LEAST_LENGTH = 6
# A part of a URL that is as long and no host may be a token; a password is one however short.
_LEAST_TOKEN = 12
# As much of an AccessKey's id as tells a person which one it is.
_KEPT_OF_ID = 4

_FORMS = (
    # Also one whose end was cut off, and one with its line ends escaped.
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL), _HIDDEN),
    (re.compile(r"\?[\w.%-]+=[^\s'\"<>]*"), f"?{_HIDDEN}"),
    (re.compile(r"://[^/\s@'\"]+@"), f"://{_HIDDEN}@"),
    (re.compile(r"\b(Signature|SecurityToken|AccessKeySecret)=[^\s&'\"]+"), rf"\1={_HIDDEN}"),
    (re.compile(r"\b(LTAI|STS\.)[0-9A-Za-z]{6,}"), rf"\1{_HIDDEN}"),
    (
        re.compile(r"([\"'](?:protected|payload|signature|d|k|hmac_key)[\"']: *)([\"'])[^\"']*\2"),
        rf"\1{_HIDDEN}",
    ),
    # A JSON object in base64url: a JWS header.
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*)*"), _HIDDEN),
    (re.compile(r"(?<![\w.-])[\w-]{22,}\.[\w-]{43}(?![\w-])"), _HIDDEN),
)


class Redactor:
    """Takes secrets out of texts.

    Args:
        secrets: values that never may be seen.
        key_ids: ids of AccessKeys, of which four letters stay.
    """

    def __init__(self, secrets: Iterable[str], key_ids: Iterable[str] = ()) -> None:
        shown = {key_id: key_id[:_KEPT_OF_ID] + _HIDDEN for key_id in key_ids}
        shown |= dict.fromkeys(secrets, _HIDDEN)
        # A call is in a URL, and the text that it was signed by holds that once more encoded.
        for _ in range(2):
            shown |= {quote(value, safe=""): instead for value, instead in shown.items()}
        # The longest first: a value may begin with another.
        values = sorted((v for v in shown if len(v) >= _LEAST_LENGTH), key=len, reverse=True)
        self._shown = shown
        self._values = re.compile("|".join(map(re.escape, values))) if values else None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return one for all that is secret in a configuration, as far as it can be read."""
        values: dict[str, str] = {}
        for path, secret in config.secrets().items():
            with suppress(SecretUnreadable):
                values[path] = secret.read()
        key_ids = [values.pop(path) for path in ("aliyun.access_key_id",) if path in values]
        tokens = [token for path in config.receivers() if path in values for token in tokens_of(values[path])]
        # A public report is no place for an address either.
        private = [config.acme.email] if config.acme.email else []
        return cls([*values.values(), *tokens, *private], key_ids)

    def __call__(self, text: str) -> str:
        """Return the text without what is secret in it."""
        if self._values is not None:
            text = self._values.sub(lambda found: self._shown[found[0]], text)
        for form, instead in _FORMS:
            text = form.sub(instead, text)
        return text


def tokens_of(url: str, least: int = _LEAST_TOKEN) -> Iterator[str]:
    """Yield what may be secret in a URL: the password, and each part that is as long and no host name."""
    _, _, rest = url.partition("://")
    login, is_there, _ = rest.partition("@")
    if is_there and "/" not in login:
        yield unquote(login.partition(":")[2] or login)
    for part in re.split(r"[/:?#@&=,]+", rest):
        if len(part) >= least and (least < _LEAST_TOKEN or "." not in part):
            yield from {part, unquote(part)}
