"""What each API of Aliyun may refuse, and what keeps us from reaching one.

Source: Aliyun, "Public error codes"; what people report of them is beside each.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import requests

from ...base.errors import DnsRefused, DnsUnavailable, KeyRefused, KeyUnavailable
from ...base.words import N_, Text
from ..http import BadAnswer
from .access import ApiAccess

AGAIN = frozenset(
    {
        # The service is busy. Like the two below, terraform-provider-alicloud sends such a call again.
        "DnsSystemBusyness",
        "InternalError",
        "LastOperationNotFinished",
        # The zone is being switched to other servers, as in its first days.
        "RecordForbidden.DNSChange",
        "Rejected.Throttling",
        "ServiceUnavailable",
        "ServiceUnavailableTemporary",
        "SignatureNonceUsed",
    }
)

# Start of a code with which every call of the key is refused -> what to do where the key is in the file.
ABOUT_THE_KEY = {
    "InvalidAccessKeyId": N_(
        "correct aliyun.access_key_id, or enable the key in the RAM console; a temporary one needs "
        "aliyun.security_token too; after changing a systemd credential: systemctl restart certbotless"
    ),
    "SignatureDoesNotMatch": N_(
        "correct aliyun.access_key_secret; after changing a systemd credential: systemctl restart certbotless"
    ),
    "IncompleteSignature": N_("correct aliyun.access_key_secret"),
    "InvalidSecurityToken": N_("renew aliyun.security_token"),
    "MissingSecurityToken": N_("set aliyun.security_token: the key is a temporary one"),
}


class ApiRefusal(DnsRefused):
    """An error reply, with the service's own `code`, and what it `said`."""

    def __init__(self, message: str, *, code: str, said: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.said = said


class NoAnswer(DnsUnavailable):
    """There was no answer, or one that is not of the API."""


@contextmanager
def call_was_made() -> Iterator[None]:
    """Let the lack of a key say nothing of whether a change was made: a call before it may have made it."""
    try:
        yield
    except (KeyRefused, KeyUnavailable) as exc:
        raise DnsUnavailable(exc.message, hint=exc.hint, retry_after=exc.retry_after) from exc


@contextmanager
def transport_errors(action: str, access: ApiAccess) -> Iterator[None]:
    """Map what `requests` raises, `from None`: its texts hold the signed URL, so only the kind is told."""
    try:
        yield
    except (
        OSError,
        ValueError,
    ) as exc:  # those of `requests` are the first, of a name that is none the second
        match exc:
            case BadAnswer():
                what, hint = str(exc), Text("check which server answers instead of the API")
            case requests.exceptions.SSLError():
                what = Text("the server's certificate is not trusted")
                hint = Text(
                    "set aliyun.ca_bundle, or check which server answers instead of the API, and this "
                    "machine's clock"
                )
            case requests.exceptions.ProxyError():
                what = Text("the proxy gave no connection")
                hint = Text(
                    "correct HTTPS_PROXY, or name the API's host in NO_PROXY; a SOCKS proxy is not supported"
                )
            case requests.RequestException() | ValueError():
                what = Text("no connection ({})", type(exc).__name__)
                hint = Text("check the network, the resolver and {}", access.setting)
            case _:
                what = Text("the trust bundle {!r} cannot be read", access.ca_bundle)
                hint = Text("correct aliyun.ca_bundle")
        raise NoAnswer(Text("{} at {}: {}", action, access.endpoint, what), hint=hint) from None
