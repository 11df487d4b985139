"""Why a step is due, or must wait: a kind and its values. Words are made of them when they are shown."""

from dataclasses import dataclass
from datetime import datetime, time
from enum import Enum

from ..base.times import rfc3339

Value = str | int | datetime | time | tuple[str, ...]


class Why(Enum):
    """The kinds of reasons, each with its words; the values of a reason replace the braces."""

    # what is wrong, in words of its own
    FAULT = "{}"
    # record, confirm, list
    ZONE_UNKNOWN = "the zone is not known yet"
    UNREACHABLE = "no name server speaks for the zone"
    OTHER_TTL = "ttl {} -> {}"
    OTHER_VALUES = "{} -> {}"
    NOT_SHOWN_YET = "{} is not shown by every name server yet"
    # order, collect, adopt, clean-up, renewal-info
    TXT_LEFT = "a TXT record of an earlier run is left"
    NO_CERTIFICATE = "there is no certificate yet"
    EXPIRED_COPY = "our certificate has expired; there is only a copy of it"
    OTHER_NAMES = "the certificate is for {}"
    OTHER_CA = "the certificate is from {}"
    OTHER_KEY_TYPE = "the certificate's key is {}"
    DUE = "due since {}, expires {}"
    ASKED_FOR = "asked for"
    NO_STAGING = (
        "the CA has no staging directory: the dry run ends when all names are validated, and no certificate"
        " is issued; a failed validation counts"
    )
    ORDER_LEFT = "an earlier run left an order"
    ADOPTABLE = "another tool left a pair here, which may be as good as a new one"
    NOT_ADOPTED = "the certificate of another tool is not taken over: {}"
    RENEWAL_TIME = "the CA may want it renewed at another time"
    # restore, rebuild, note
    NOT_PUBLISHED = "nothing is published"
    KEY_MODE = "the key has mode {}, not {}"
    COPY_END_UNKNOWN = "it is not known when our copy of the certificate ends"
    STATE_LOST = "its state makes no sense"
    NO_COPY = "there is no copy of the published pair"
    NOT_NOTED = "the digests of our certificates are not noted, or out of date"
    # deploy, redeploy
    NO_ANSWER = "no TLS answer"
    OTHER_CERTIFICATE = "another certificate"
    PORT_UNKNOWN = "its port is not known yet"
    NOT_ACTED_UPON = "not acted upon for this certificate"
    REFUSED = "the new certificate was refused"
    # what is waited for
    CA_LIMIT = "{}; --renew-now --force asks all the same"
    OUR_LIMIT = "{}; --renew-now --force orders all the same"
    OLD_CLOCK = "this machine's clock is older than this program: set it"
    WINDOW = "its window {:%H:%M}-{:%H:%M}"
    CANARY_FAILED = "the first target failed: {}"


@dataclass(frozen=True, slots=True)
class Reason:
    """A kind of reason, and its values in the order of its words."""

    kind: Why
    values: tuple[Value, ...] = ()

    @property
    def words(self) -> str:
        """The reason as it is shown."""
        return self.kind.value.format(*map(_shown, self.values))


def because(kind: Why, *values: Value) -> tuple[Reason, ...]:
    """Return the one reason of a step."""
    return (Reason(kind, values),)


def _shown(value: Value) -> str | int | time:
    if isinstance(value, datetime):
        return rfc3339(value)
    return ", ".join(value) if isinstance(value, tuple) else value
