"""When the CA suggests to renew a certificate. Source: RFC 9773 (ACME Renewal Information)."""

from dataclasses import dataclass
from datetime import timedelta

from acme import messages

from ...base.clock import Clock
from ...base.errors import printable
from ...base.times import parse_rfc3339
from ...config.settings import Acme
from ...model.renewal import RenewalWindow
from .connection import Network


@dataclass(frozen=True, slots=True)
class Suggestion:
    """When the CA suggests to renew, why, and when to ask again; None and empty where it says nothing."""

    window: RenewalWindow | None = None
    explanation: str = ""
    retry_after: timedelta | None = None


def suggested_renewal(acme: Acme, ari_id: str, clock: Clock) -> Suggestion:
    """Ask when the CA wants the certificate with this ARI identifier renewed. Takes at most about a minute.

    Raises:
        IssueError: it could not be asked, or does not know.

    Source: RFC 9773 section 4.
    """
    # Nothing is signed: the answer is open to everybody.
    network = Network(None, acme, clock)
    with network.errors():
        url = renewal_info_url(network.read_directory())
        if not url:
            return Suggestion()
        told = network.get(f"{url}/{ari_id}").json()
        window = RenewalWindow(*(parse_rfc3339(told["suggestedWindow"][edge]) for edge in ("start", "end")))
        return Suggestion(window, printable(told.get("explanationURL", "")), network.retry_after)


def renewal_info_url(directory: messages.Directory) -> str:
    """Return where renewal information is asked for, empty for a CA that has none."""
    try:
        return str(directory["renewalInfo"]).removesuffix("/")
    except KeyError:
        return ""
