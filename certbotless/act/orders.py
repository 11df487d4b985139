"""How a certificate is got: what the steps around a certificate ask of the authority of its site."""

from typing import Protocol

from ..model.authority import Authority
from ..model.observation import Observation
from ..world.acme.order import Issued


class Orders(Protocol):
    """The orders of one site at its authority. Every call may raise `CertbotlessError`."""

    def authority(self, seen: Observation) -> Authority:
        """Return who certifies: after an order, whoever has given its certificate."""

    def check(self, seen: Observation) -> None:
        """Check what costs nothing before an order is spent."""

    def order(self, seen: Observation) -> Issued:
        """Get a new certificate; an order in flight is finished first."""

    def collect(self, seen: Observation) -> Issued | None:
        """Return what an order in flight has given; None, and the order is dropped, where that is nothing."""

    def drop(self) -> None:
        """Forget the order in flight: its certificate cannot be used, or was published before."""

    def drop_all(self) -> None:
        """Forget every order in flight, at whatever CA: a certificate is published."""

    def rehearse(self, seen: Observation) -> None:
        """Do all that an order does, and forget the certificate."""

    def ask_when_to_renew(self, seen: Observation) -> None:
        """Keep when the authority wants the certificate renewed. A failure does no harm."""
