"""The client of the DNS service before a stand-in that says what a test wants."""

import traceback

from certbotless.model.records import Record
from certbotless.sandbox.alidns import AlidnsEmulator, Fault
from certbotless.world.dns.nameservers import NameServers
from certbotless.world.dns.query import Server
from support.fakes import FakeClock

ZONE = "sweetlove.test"

NAME = "devbox.sweetlove.test"
FQDN = f"_acme-challenge.{NAME}"

KEY_ID, SECRET = "LTAI5tExampleKeyId", "example+secret/of=a+key"

REQUEST_ID = r"request id [0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}"


def servers_of(emulator: AlidnsEmulator) -> tuple[Server, ...]:
    """The name servers of the stand-in."""
    return NameServers(emulator.nameservers, FakeClock()).of(ZONE)


def a_record(value: str = "10.79.40.213", record_id: str = "") -> Record:
    return Record(NAME, "A", value, 600, record_id)


def assert_tells_no_secret(error: BaseException) -> None:
    """No text that a log can show of the error holds the key, the secret, or what is signed."""
    text = "".join(traceback.format_exception(error)) + repr(error) + str(error)
    for withheld in (KEY_ID, SECRET, "Signature=", "SignatureNonce=", "string to sign", "Timestamp%3D"):
        assert withheld not in text


TEMPORARY = [
    Fault("error", "Throttling"),
    Fault("error", "Throttling.User"),
    Fault("error", "Throttling.User", http_status=429),
    Fault("error", "Throttling.User", http_status=503),
    Fault("error", "LastOperationNotFinished"),
    Fault("error", "Rejected.Throttling"),
    Fault("error", "RecordForbidden.DNSChange"),
    Fault("error", "DnsSystemBusyness"),
    Fault("error", "ServiceUnavailable"),
    Fault("error", "InternalError"),
    Fault("error", "SignatureNonceUsed"),
    Fault("error", "NobodyHeardOfThis", http_status=502),
    Fault("html"),
    Fault("empty"),
    Fault("null"),
    Fault("list"),
    Fault("foreign"),
    Fault("truncated"),
    Fault("drop"),
]
