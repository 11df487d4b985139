"""Writes txt_value.json: the dns-01 TXT value of RFC 8555 section 8.4, by hash functions alone.

    python tests/vectors/make_txt_value.py

The account key is the example of RFC 7638 section 3.1, which also gives its thumbprint; the token is that of
the example in RFC 8555 section 8.4.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from pathlib import Path

KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKR"
    "XjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs"
    "8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_x"
    "BniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
}
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


def base64url_of_sha256(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def main() -> None:
    # The required members alone, in order, without white space (RFC 7638 section 3).
    if base64url_of_sha256(json.dumps(KEY, sort_keys=True, separators=(",", ":"))) != THUMBPRINT:
        raise SystemExit("the key is not that of RFC 7638")
    vector = {
        "account_key": KEY,
        "thumbprint": THUMBPRINT,
        "token": TOKEN,
        "txt_value": base64url_of_sha256(f"{TOKEN}.{THUMBPRINT}"),
    }
    Path(__file__).with_name("txt_value.json").write_text(json.dumps(vector, indent=1) + "\n")


if __name__ == "__main__":
    main()
