"""Why a step is due, or must wait: a kind and its values. Words are made of them when they are shown.

JSON and the log have `words`: English, with moments in UTC. A person reads `spoken`: in the language that is
spoken, with moments in local time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time
from enum import Enum

from ..base.times import moment, rfc3339
from ..base.words import N_, Text, _

Value = str | int | datetime | time | tuple[str, ...]


class Why(Enum):
    """The kinds of reasons, each with its words; the values of a reason replace the braces."""

    # what is wrong, in words of its own
    FAULT = "{}"
    # record, confirm, list
    ZONE_UNKNOWN = N_("the zone is not known yet")
    UNREACHABLE = N_("no name server of the zone can be reached")
    OTHER_TTL = N_("ttl {} -> {}")
    OTHER_VALUES = N_("{} -> {}")
    NOT_ALL_SHOWN = N_("the name servers show some of the addresses only")
    NOT_SHOWN_YET = N_("{} is not shown by every name server yet")
    # watch
    SILENT = N_("no valid certificate at {}")
    HEARD = N_("a valid certificate at {} again")
    # order, collect, adopt, clean-up, renewal-info
    TXT_LEFT = N_("a TXT record of an earlier run is left")
    NO_CERTIFICATE = N_("there is no certificate yet")
    EXPIRED_COPY = N_("the certificate has expired; there is only a copy of it")
    OTHER_NAMES = N_("the certificate is for {}")
    OTHER_CA = N_("the certificate is from {}")
    OTHER_KEY_TYPE = N_("the certificate's key is {}")
    DUE = N_("due since {}, expires {}")
    ASKED_FOR = N_("asked for")
    STANDS_IN = N_("instead of {}: {}")
    NO_ACCOUNT = N_("there is no account yet")
    NO_STAGING = N_(
        "the CA has no staging directory: the dry run places an order there, which ends when all names are"
        " validated; no certificate is issued; a failed validation counts"
    )
    ORDER_LEFT = N_("an earlier run left an order")
    SHARED = N_("{} is the certificate of this site")
    ADOPTABLE = N_("another tool left a certificate and its key here; they may be usable")
    NOT_ADOPTED = N_("the certificate of another tool is not taken over: {}")
    RENEWAL_TIME = N_("the CA may want it renewed at another time")
    NOT_VALID_YET = N_("the certificate is valid from {} on")
    # rotate
    ROOT_OLD = N_("the root ends at {}: four fifths of its life are over")
    SWITCH_DUE = N_("the next root signs from {} on")
    # restore, rebuild, note
    NOT_PUBLISHED = N_("no certificate is published")
    KEY_MODE = N_("the key has mode {}, not {}")
    COPY_END_UNKNOWN = N_("it is not known when the copy of the certificate expires")
    STATE_LOST = N_("its state file is damaged")
    NO_COPY = N_("there is no copy of the published certificate and key")
    NOT_VERIFIED = N_("nothing is remembered of the published certificate: it is checked first")
    NOT_NOTED = N_("the list of the digests of issued certificates is missing or out of date")
    # deploy, redeploy
    NO_ANSWER = N_("no TLS answer")
    OTHER_CERTIFICATE = N_("another certificate")
    PORT_UNKNOWN = N_("its port is not known yet")
    NODES_TIME = N_("a node may have joined the Swarm, or left it")
    NODES_UNKNOWN = N_("its nodes are not known yet")
    NOT_ACTED_UPON = N_("not yet reloaded for this certificate")
    REFUSED = N_("the new certificate was refused")
    # what gave the certificate
    ISSUED_INSTEAD = N_("{}: {} since {}; {} issued instead")
    ISSUED_IN_PLACE = N_("{} issued instead of {}")
    BACK = N_("{} is back; {} had issued instead")
    # what is waited for
    ASKED_AFTER = N_("{} is asked first")
    CA_LIMIT = N_("{}; to ask now: certbotless --renew-now --force")
    OUR_LIMIT = N_("{}; to order now: certbotless --renew-now --force")
    OLD_CLOCK = N_("this machine's clock is older than this program: set it")
    WINDOW = N_("its window {:%H:%M}-{:%H:%M}")
    SHARED_COMES = N_("waits for {}")
    SHARED_REFUSED = N_("{} did not come up with it")
    READS_BY_ITSELF = N_("it reads the files by itself, and has time until then")
    CANARY_FAILED = N_("the first target failed: {}")


@dataclass(frozen=True, slots=True)
class Reason:
    """A kind of reason, and its values in the order of its words."""

    kind: Why
    values: tuple[Value, ...] = ()

    @property
    def words(self) -> str:
        """The reason for programs."""
        return Text(self.kind.value, *(_shown(value, _same, rfc3339) for value in self.values))

    @property
    def spoken(self) -> str:
        """The reason for people."""
        return _(self.kind.value).format(*(_shown(value, _, moment) for value in self.values))


def _same(text: str) -> str:
    return text


def because(kind: Why, *values: Value) -> tuple[Reason, ...]:
    """Return the one reason of a step."""
    return (Reason(kind, values),)


def _shown(value: Value, say: Callable[[str], str], show: Callable[[datetime], str]) -> str | int | time:
    if isinstance(value, datetime):
        return show(value)
    if isinstance(value, tuple):
        return ", ".join(value)
    return say(value) if isinstance(value, str) else value
