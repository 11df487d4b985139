"""Whoever calls the stand-in of the DNS service, with a signature or without."""

import http.client
import json
import ssl
import uuid
from datetime import UTC, datetime
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode, urlsplit

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.gateway import ERRORS, sign

ZONE = "sweetlove.test"

KEY_ID = "key-id"

KEY_SECRET = "key-secret"


class Client:
    """Signed calls over one kept connection; what a call raises is left to the caller."""

    def __init__(self, endpoint: str, tls: ssl.SSLContext | None = None) -> None:
        place = urlsplit(endpoint).netloc
        self.connection = (
            http.client.HTTPSConnection(place, timeout=30, context=tls)
            if tls
            else http.client.HTTPConnection(place, timeout=30)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(
        self, parameters: dict[str, str], method: Literal["GET", "POST"] = "GET", secret: str = KEY_SECRET
    ) -> tuple[int, bytes]:
        """Sign the parameters as they are and return status and body."""
        signed = parameters | {"Signature": sign(method, parameters, secret)}
        return self.send_signed(signed, method)

    def send_signed(
        self, parameters: dict[str, str], method: Literal["GET", "POST"] = "GET"
    ) -> tuple[int, bytes]:
        if method == "GET":
            self.connection.request("GET", f"/?{urlencode(parameters, quote_via=quote)}")
        else:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            self.connection.request("POST", "/", urlencode(parameters), form)
        with self.connection.getresponse() as response:
            return response.status, response.read()

    def call(self, action: str, /, **parameters: str | int) -> dict[str, Any]:
        """Return the answer, an error too, as its JSON object."""
        return self.call_with_status(action, **parameters)[1]

    def call_with_status(self, action: str, /, **parameters: str | int) -> tuple[int, dict[str, Any]]:
        own = {name: str(value) for name, value in parameters.items()}
        status, body = self.send(common(action) | own)
        answer = json.loads(body)
        assert isinstance(answer, dict)
        return status, answer

    def code(self, action: str, /, **parameters: str | int) -> str:
        """Return the code of the error that answers, or OK; check that the error has its form and status."""
        status, answer = self.call_with_status(action, **parameters)
        if status == 200:
            return "OK"
        assert_is_error(status, answer)
        return str(answer["Code"])


def common(action: str) -> dict[str, str]:
    return {
        "Action": action,
        "Version": "2015-01-09",
        "Format": "JSON",
        "AccessKeyId": KEY_ID,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": uuid.uuid4().hex,
        "Timestamp": timestamp(datetime.now(UTC)),
    }


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def assert_is_error(status: int, answer: dict[str, Any]) -> None:
    detail = {"AccessDeniedDetail"} if answer["Code"] == "Forbidden.RAM" else set()
    assert set(answer) == {"RequestId", "HostId", "Code", "Message", "Recommend"} | detail
    assert answer["HostId"] == "alidns.aliyuncs.com"
    assert answer["RequestId"] in answer["Recommend"]
    assert status == ERRORS.get(answer["Code"], (400, ""))[0]


def emulator(**options: Any) -> AlidnsEmulator:
    zones = options.pop("zones", [ZONE])
    return AlidnsEmulator(zones, access_key_id=KEY_ID, access_key_secret=KEY_SECRET, **options)


ADD = {"DomainName": ZONE, "RR": "box", "Type": "A", "Value": "10.0.0.1"}
