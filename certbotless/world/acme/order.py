"""What an order needs around it: where it is kept, and where its TXT values go."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ...model.memory import TxtValue
from . import keys


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate fresh from the CA, not yet checked: PEM chain, its key, our account's URL."""

    chain_pem: bytes
    key: keys.CertificateKey
    account: str


class PendingOrder(Protocol):
    """What makes an order outlive us: its URL, and its certificate key once there is one."""

    @property
    def url(self) -> str:
        """The URL of the order in flight, empty if there is none."""

    def begin(self, url: str) -> None:
        """Keep the URL of a new order."""

    def key(self) -> keys.CertificateKey:
        """Return the order's key, made and kept at the first call."""

    def drop(self) -> None:
        """Forget the order."""


class TxtPlaces(Protocol):
    """Where txt values go, and whether they are there. Every call may raise `DnsError`."""

    def locate(self, name: str, value: str) -> TxtValue:
        """Return the txt value of a challenge name with the zone that holds it."""

    def presented(self, values: Sequence[TxtValue]) -> AbstractContextManager[None]:
        """Have the values in their zones for as long as the block runs (challenge.presented)."""

    def wait_until_shown(self, values: Sequence[TxtValue]) -> None:
        """Block until the authoritative servers show them all."""
