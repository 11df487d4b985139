"""A client of the tests' own at the CA."""

import json

import josepy as jose
from acme import messages
from acme.client import ClientNetwork, ClientV2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.bed import Bed


def client_of_account(bed: Bed) -> ClientV2:
    """Return a client of the CA that has the key of our account, as anybody who has taken it."""
    [home] = (bed.state / "accounts").iterdir()
    key = serialization.load_pem_private_key((home / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    acme = bed.config["acme"]
    network = ClientNetwork(jose.JWKEC(key=key), alg=jose.ES256, verify_ssl=acme["ca_bundle"])
    url = json.loads((home / "account.json").read_bytes())["url"]
    network.account = messages.RegistrationResource(uri=url, body=messages.Registration())
    return ClientV2(ClientV2.get_directory(acme["directory"], network), network)
