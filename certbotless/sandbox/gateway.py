"""What stands before the Alidns API: the V1 signature, the checks that every call must pass, the errors.

Knows nothing of records. Leaves out what the clients of a certificate or an address never use: XML answers
and the V3 signature.

Source: "RPC style, signature version 1.0", the error tables of Alidns API 2015-01-09. The texts of errors
that users have seen are those of the service, since some clients parse them.
"""

import base64
import hmac
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from .ram import Permits

Parameters = Mapping[str, str]

# How far a client's clock may be off, either way.
CLOCK_SKEW = timedelta(minutes=15)
# Parameters that every call carries; the rest is the action's own.
COMMON = frozenset(
    {
        "AccessKeyId",
        "Action",
        "Format",
        "RegionId",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureNonce",
        "SignatureType",
        "SignatureVersion",
        "Timestamp",
        "Version",
    }
)
VERSION = "2015-01-09"


def quota_of_ttl(least_s: int) -> str:
    """Return the text of QuotaExceeded.TTL, which carries the range (ddns-go issues 219, 280 and 1717)."""
    return f"The specified TTL is invalid. A valid TTL must be in the range of {least_s} to 86400."


# Code -> HTTP status and text. Codes that only an injected fault can give are here too.
ERRORS: Mapping[str, tuple[int, str]] = {
    # Sent again by terraform-provider-alicloud; its text is not known.
    "DnsSystemBusyness": (400, "The DNS system is busy."),
    "DomainRecordConflict": (400, "The DNS record conflicts with another record."),
    "DomainRecordDuplicate": (400, "The DNS record already exists."),
    "DomainRecordLocked": (400, "The DNS record is locked."),
    "DomainRecordNotBelongToUser": (400, "The DNS record does not exist in your account."),
    # 400 as users saw it: ddns-go issue 1155, mgsky1/DDNS issue 27, aliyun-ddns-cli issue 27.
    "Forbidden.RAM": (
        400,
        "User not authorized to operate on the specified resource, or this API doesn't support RAM.",
    ),
    "IncompleteSignature": (400, "The request signature does not conform to Aliyun standards."),
    "IncorrectDomainUser": (400, "The domain name does not belong to this user."),
    "InternalError": (500, "The request processing has failed due to some unknown error."),
    "InvalidAccessKeyId.Inactive": (400, "Specified access key is disabled."),
    "InvalidAccessKeyId.NotFound": (404, "Specified access key is not found."),
    "InvalidAction.NotFound": (404, "Specified api is not found, please check your url and method."),
    # acme.sh issue 6204, ddns-go issue 703.
    "InvalidDomainName.Format": (400, "Invalid domain name."),
    "InvalidDomainName.NoExist": (
        400,
        "The specified domain name does not exist. Refresh the page and try again.",
    ),
    "InvalidRR.Format": (400, "The format of the host record is invalid."),
    "InvalidSecurityToken.MismatchWithAccessKey": (
        400,
        "Specified SecurityToken mismatch with the AccessKey.",
    ),
    # As users saw it: vodupload, and Aliyun's own clients, which go by the code.
    "InvalidSecurityToken.Expired": (400, "Specified SecurityToken is expired."),
    "InvalidTimeStamp.Expired": (400, "Specified time stamp or date value is expired."),
    "InvalidTimeStamp.Format": (400, "Specified time stamp or date value is not well formatted."),
    "InvalidVersion": (400, "Specified parameter Version is not valid."),
    "LastOperationNotFinished": (400, "The last operation has not finished."),
    "QuotaExceeded.ARecord": (400, "The number of A records exceeds the limit."),
    "QuotaExceeded.TTL": (400, quota_of_ttl(600)),
    # While a zone is being switched; sent again by terraform-provider-alicloud. Its text is not known.
    "RecordForbidden.DNSChange": (400, "The DNS servers of the domain name are being changed."),
    # terraform-provider-alicloud and other clients of Aliyun's APIs; its text is that of KMS.
    "Rejected.Throttling": (400, "QPS Limit Exceeded"),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "SignatureDoesNotMatch": (400, "Specified signature is not matched with our calculation."),
    "SignatureNonceUsed": (400, "Specified signature nonce was used already."),
    # DNSControl PR 4787; its text is not known.
    "SubDomainInvalid.RR": (400, "The host record is invalid."),
    "SubDomainInvalid.Value": (400, "The DNS record is invalid or in the wrong format."),
    "Throttling": (400, "Request was denied due to request throttling."),
    "Throttling.User": (400, "Request was denied due to user flow control."),
}


class ApiError(Exception):
    """An error answer; its HTTP status and text are those of `ERRORS` unless given."""

    def __init__(self, code: str, text: str | None = None, http_status: int | None = None) -> None:
        default_status, default_text = ERRORS.get(code, (400, code))
        self.code = code
        self.text = default_text if text is None else text
        self.http_status = default_status if http_status is None else http_status
        super().__init__(f"{self.http_status} {code}: {self.text}")


@dataclass(frozen=True, slots=True)
class TemporaryKey:
    """A key that STS has given.

    Attributes:
        arn: of whom it is: a role and the name of a session.
        permits: what it may do; `None` is everything.
    """

    id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    ends_at: datetime
    arn: str
    permits: Permits | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Who may call, and what the account's edition allows."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    min_ttl_s: int = 600
    calls_per_second: int | None = None


def string_to_sign(method: str, parameters: Parameters) -> str:
    """Return what a V1 signature is made over: every parameter but `Signature`, in order, encoded twice."""
    canonical = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in sorted(parameters.items())
        if name != "Signature"
    )
    return f"{method}&%2F&{quote(canonical, safe='')}"


def sign(method: str, parameters: Parameters, access_key_secret: str) -> str:
    """Return the V1 signature of a call: base64 of the HMAC-SHA1 under the secret and ``&``."""
    text = string_to_sign(method, parameters)
    return base64.b64encode(hmac.digest(f"{access_key_secret}&".encode(), text.encode(), "sha1")).decode()


class Gateway:
    """Lets the calls of one account through. Not safe for several threads at a time.

    Attributes:
        ahead: by how much its clock is ahead of this machine's.
        temporary: the keys that STS has given, by their ids.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self.ahead = timedelta()
        self.temporary: dict[str, TemporaryKey] = {}
        self._nonces: set[str] = set()
        self._recent_calls_s: deque[float] = deque(maxlen=account.calls_per_second)

    def admit(self, method: str, parameters: Parameters, version: str = VERSION) -> TemporaryKey | None:
        """Check what is common to all calls; return the temporary key that signed, `None` for the account's.

        Args:
            method: the HTTP method, which is part of what is signed.
            parameters: those of the query and of the form together.
            version: of the API.

        Raises:
            ApiError: the call is refused.
        """
        if mandatory(parameters, "Version") != version:
            raise ApiError("InvalidVersion")
        if parameters.get("Format", "XML").upper() != "JSON":
            raise ApiError("InvalidParameter", "This stand-in answers Format=JSON only; XML is the default.")
        key = self._authenticate(method, parameters)
        self._throttle()
        return key

    def _authenticate(self, method: str, parameters: Parameters) -> TemporaryKey | None:
        account, key_id = self._account, mandatory(parameters, "AccessKeyId")
        temporary = self.temporary.get(key_id)
        if temporary is None and key_id != account.access_key_id:
            raise ApiError("InvalidAccessKeyId.NotFound")
        secret, token = account.access_key_secret, account.security_token
        if temporary is not None:
            secret, token = temporary.secret, temporary.token
            if datetime.now(UTC) + self.ahead >= temporary.ends_at:
                raise ApiError("InvalidSecurityToken.Expired")
        signed_as = (parameters.get("SignatureMethod"), parameters.get("SignatureVersion"))
        if not parameters.get("Signature") or signed_as != ("HMAC-SHA1", "1.0"):
            raise ApiError("IncompleteSignature")
        try:
            timestamp = mandatory(parameters, "Timestamp")
            sent_at = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError as exc:
            raise ApiError("InvalidTimeStamp.Format") from exc
        if abs(datetime.now(UTC) + self.ahead - sent_at) > CLOCK_SKEW:
            raise ApiError("InvalidTimeStamp.Expired")
        expected = sign(method, parameters, secret)
        if not hmac.compare_digest(expected.encode(), parameters["Signature"].encode()):
            # Clients take the text behind the colon and compare it with their own.
            text = f"{ERRORS['SignatureDoesNotMatch'][1]} server string to sign is:"
            raise ApiError("SignatureDoesNotMatch", text + string_to_sign(method, parameters))
        if token is not None and mandatory(parameters, "SecurityToken") != token:
            raise ApiError("InvalidSecurityToken.MismatchWithAccessKey")
        nonce = mandatory(parameters, "SignatureNonce")
        if nonce in self._nonces:
            raise ApiError("SignatureNonceUsed")
        self._nonces.add(nonce)
        return temporary

    def _throttle(self) -> None:
        limit, calls, now_s = self._account.calls_per_second, self._recent_calls_s, time.monotonic()
        if limit is None:
            return
        if len(calls) == limit and now_s - calls[0] < 1:
            raise ApiError("Throttling.User")
        calls.append(now_s)


def mandatory(parameters: Parameters, name: str) -> str:
    """Return a parameter that the call cannot do without.

    Raises:
        ApiError: it is absent or empty.
    """
    value = parameters.get(name)
    if not value:
        raise ApiError(f"Missing{name}", f"{name} is mandatory for this action.")
    return value
