"""What the Alidns API refuses, and what keeps us from reaching it: what each means, and what to do.

Source: Alidns API 2015-01-09, error codes; what people report of them is beside each."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests

from ...base.errors import DnsRefused, DnsUnavailable, RecordConflict
from ...base.words import N_, Text
from ..http import BadAnswer
from .alidns_access import AlidnsAccess

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

# The account has no such zone; it may be somebody else's.
NO_SUCH_ZONE = frozenset({"IncorrectDomainUser", "InvalidDomainName.NoExist"})

# What the RAM user's policy does not allow. Other codes with "Forbidden" are about the zone itself.
NOT_ALLOWED = frozenset({"Forbidden", "Forbidden.RAM", "NoPermission"})

# What says nothing of the zone or the account, but of one record and what else is at its name.
OF_ONE_RECORD = frozenset(
    {
        "DomainRecordConflict",
        "DomainRecordDuplicate",
        "DomainRecordLocked",
        "DomainRecordNotBelongToUser",
        "QuotaExceeded.ARecord",
        "SubDomainInvalid.Value",
    }
)

# Start of a code -> what to do; the longer of two starts comes first.
HINTS = {
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
    "InvalidTimeStamp": N_("set the clock"),
    "DomainRecordDuplicate": N_("delete the other record with this value in the Alidns console"),
    "DomainRecordLocked": N_("unlock the record in the Alidns console"),
    "DomainRecordConflict": N_("delete the conflicting record in the Alidns console"),
    "DomainRecordNotBelongToUser": N_("check in the Alidns console whether the record still exists"),
    "InvalidDomainName": N_("correct sites[].zone"),
    "SubDomainInvalid.RR": N_(
        "choose another name: beyond ASCII the service accepts only Chinese characters"
    ),
    "QuotaExceeded.TTL": N_("set sites[].ttl to what the zone's plan allows"),
    "QuotaExceeded": N_("delete records that are no longer needed, or take a larger plan"),
    "SubDomainInvalid.Value": N_("correct sites[].address: the service takes no such value"),
    "": N_("see the code in Aliyun's reference of this action"),
}


class ApiRefusal(DnsRefused):
    """An error reply, with the service's own `code`, and what it `said`."""

    def __init__(self, message: str, *, code: str, said: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.said = said


class RecordRefusal(ApiRefusal, RecordConflict):
    """One that is about this record alone: a TXT record beside it may be written."""


class NoAnswer(DnsUnavailable):
    """There was no answer, or one that is not of the DNS API."""


@contextmanager
def transport_errors(action: str, access: AlidnsAccess) -> Iterator[None]:
    """Map what `requests` raises, `from None`: its texts hold the signed URL, so only the kind is told."""
    try:
        yield
    except OSError as exc:  # those of `requests` are such, too
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
                hint = Text("correct HTTPS_PROXY, or name the API's host in NO_PROXY")
            case requests.RequestException():
                what = Text("no connection ({})", type(exc).__name__)
                hint = Text("check the network, the resolver and aliyun.endpoint")
            case _:
                what = Text("the trust bundle {!r} cannot be read", access.ca_bundle)
                hint = Text("correct aliyun.ca_bundle")
        raise NoAnswer(Text("{} at {}: {}", action, access.endpoint, what), hint=hint) from None
