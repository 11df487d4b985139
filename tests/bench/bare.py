"""Get certificates with the libraries alone: the yardstick for `make measure`, and no more than that.

    python tests/bench/bare.py SETTINGS

SETTINGS is a JSON file: `directory`, `ca_bundle`, `endpoint`, `key_id`, `key_secret`, `zone`, `nameservers`
(`HOST:PORT`), `address`, `domains`, and the folder `out`. For each domain, all at once: set the A record,
place an order, add the TXT record, wait until each name server shows it, have it validated, fetch the chain,
write chain and key, and delete the TXT record. Nothing is checked, remembered, retried or cleaned up after.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import josepy as jose
from acme import challenges, client, messages
from aliyunsdkalidns.request.v20150109.AddDomainRecordRequest import AddDomainRecordRequest
from aliyunsdkalidns.request.v20150109.DeleteDomainRecordRequest import DeleteDomainRecordRequest
from aliyunsdkcore.client import AcsClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_POLL_S = 0.2


class Exchange:
    """The calls for one domain, over connections of its own."""

    def __init__(self, settings: dict[str, Any], account: jose.JWKEC, registration: Any) -> None:
        self._settings = settings
        self._network = client.ClientNetwork(account, registration, jose.ES256, settings["ca_bundle"])
        directory = client.ClientV2.get_directory(settings["directory"], self._network)
        self.ca = client.ClientV2(directory, self._network)
        self._api = AcsClient(settings["key_id"], settings["key_secret"], "cn-hangzhou")

    def certify(self, domain: str) -> None:
        """Make the A record and the pair of a domain."""
        self._add(domain, "A", self._settings["address"])
        key = ec.generate_private_key(ec.SECP256R1())
        order = self.ca.new_order(_request(key, domain))
        [authorization] = order.authorizations
        body = next(
            each for each in authorization.body.challenges if isinstance(each.chall, challenges.DNS01)
        )
        response, value = body.response_and_validation(self._network.key)
        name = f"_acme-challenge.{domain}"
        record = self._add(name, "TXT", value)
        while not all(_shows(server, name, value) for server in self._settings["nameservers"]):
            time.sleep(_POLL_S)
        self.ca.answer_challenge(body, response)
        while self.ca.poll(authorization)[0].body.status != messages.STATUS_VALID:
            time.sleep(_POLL_S)
        order = self.ca.begin_finalization(order)
        while (done := self._order(order.uri)).status != messages.STATUS_VALID:
            time.sleep(_POLL_S)
        chain = self.ca._post_as_get(done.certificate).content
        out = Path(self._settings["out"])
        (out / f"{domain}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (out / f"{domain}.pem").write_bytes(chain)
        delete = DeleteDomainRecordRequest()
        delete.set_RecordId(record)
        self._ask(delete)

    def _order(self, url: str) -> messages.Order:
        order: messages.Order = messages.Order.from_json(self.ca._post_as_get(url).json())
        return order

    def _add(self, fqdn: str, kind: str, value: str) -> str:
        add = AddDomainRecordRequest()
        add.set_DomainName(self._settings["zone"])
        add.set_RR(fqdn.removesuffix(f".{self._settings['zone']}"))
        add.set_Type(kind)
        add.set_Value(value)
        return str(self._ask(add)["RecordId"])

    def _ask(self, request: Any) -> dict[str, Any]:
        host = self._settings["endpoint"].removeprefix("http://")
        request.set_endpoint(host)
        answer: dict[str, Any] = json.loads(self._api.do_action_with_exception(request))
        return answer


def _request(key: ec.EllipticCurvePrivateKey, domain: str) -> bytes:
    names = x509.SubjectAlternativeName([x509.DNSName(domain)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def _shows(server: str, name: str, value: str) -> bool:
    host, _, port = server.rpartition(":")
    answer = dns.query.udp(dns.message.make_query(name, "TXT"), host, port=int(port), timeout=3)
    return any(value in rdata.to_text() for rrset in answer.answer for rdata in rrset)


def main(settings: dict[str, Any]) -> None:
    """Make the account, and then all pairs at once."""
    account = jose.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    first = Exchange(settings, account, None)
    registration = first.ca.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))

    def certify(domain: str) -> None:
        Exchange(settings, account, registration).certify(domain)

    if len(settings["domains"]) == 1:
        first.certify(settings["domains"][0])
    else:
        with ThreadPoolExecutor(len(settings["domains"])) as pool:
            list(pool.map(certify, settings["domains"]))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
