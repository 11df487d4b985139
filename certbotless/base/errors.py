"""The exception tree: what happened, what to do now, and whether trying again can help.

Other rooms decide from `retryable` and `retry_after` what is tried again, and when.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from .words import N_, Text

# What operating systems say most often: `reason_of` is looked up by these words.
_REASONS = (
    N_("Connection refused"),
    N_("Connection reset by peer"),
    N_("Connection timed out"),
    N_("Is a directory"),
    N_("Name or service not known"),
    N_("Network is unreachable"),
    N_("No route to host"),
    N_("No space left on device"),
    N_("No such file or directory"),
    N_("Not a directory"),
    N_("Operation not permitted"),
    N_("Permission denied"),
    N_("Read-only file system"),
    N_("Temporary failure in name resolution"),
    N_("timed out"),
)
# Text of a CA or an API may be hostile or huge; a log line stays one readable line.
MAX_FOREIGN_TEXT = 500


def printable(text: object, limit: int = MAX_FOREIGN_TEXT) -> str:
    """Return foreign text as one line of printable characters, at most `limit` long.

    Control characters, line ends and everything else that a terminal may act upon are escaped.
    """
    start = str(text)[: limit + 1]
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in start)
    if isinstance(text, Text) and line == text and len(line) <= limit:
        return text
    return line if len(line) <= limit else line[: limit - 3] + "..."


def encodable(text: str) -> str:
    """Return the text with half characters as escapes: file names and foreign answers may hold some."""
    # A `Text` stays one.
    return text if (plain := text.encode(errors="backslashreplace").decode()) == text else plain


def reason_of(error: BaseException) -> str:
    """Return why something failed: the words of the operating system, if some error in the chain has them."""
    found = (each.strerror for each in causes(error) if isinstance(each, OSError) and each.strerror)
    reason = next(found, "") or str(error) or type(error).__name__
    return reason if isinstance(reason, Text) else Text(reason)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then its cause, then the cause of that, and so on."""
    while error is not None:
        yield error
        inner = (error.__cause__, error.__context__, *error.args, getattr(error, "reason", None))
        error = next((each for each in inner if isinstance(each, BaseException)), None)


class CertbotlessError(Exception):
    """A failure with a text for the user.

    Args:
        message: what happened and where, values in their `repr`.
        hint: what to do now.
        retry_after: how long the other side asked us to wait, if it did.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "", retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.message = encodable(message)
        self.hint = encodable(hint)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return Text("{}; {}", self.message, self.hint) if self.hint else self.message

    @property
    def kind(self) -> str:
        """The name of its class, or of the nearest one above it in this module: a file may keep that."""
        return next(each.__name__ for each in type(self).__mro__ if each.__module__ == __name__)


def internal_error(exc: Exception) -> CertbotlessError:
    """Return the error that users see for a fault of the program itself; the log has its traceback."""
    return CertbotlessError(
        Text("internal error: {}", type(exc).__name__), hint=Text("please report it with the log")
    )


class UsageError(CertbotlessError):
    """The command line asks for something that does not exist."""


class Interrupted(CertbotlessError):
    """SIGTERM or SIGINT came while waiting: clean up and leave."""


class ConfigError(CertbotlessError):
    """The configuration has faults; `faults` holds all of them, one printable line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(Text.joined("\n", faults))
        self.faults = [*faults]


class ValueFault(CertbotlessError, ValueError):
    """A value has the right form, but cannot be used; pydantic adds its place."""


class ProgramUnreadable(CertbotlessError):
    """The user that a command of root has switched to cannot read the program."""


class SecretUnreadable(CertbotlessError):
    """A well-formed reference to a secret leads nowhere."""


class AlreadyRunning(CertbotlessError):
    """Another daemon holds the state directory."""


class AddressError(CertbotlessError):
    """The machine has no address that the record may carry."""

    retryable = True


class ClockWrong(CertbotlessError):
    """This machine's clock cannot be right, so nothing is ordered by it."""

    retryable = True


class DnsError(CertbotlessError):
    """The DNS service or the zone's servers failed us."""


class ZoneNotFound(DnsError):
    """No zone of the account holds the name."""


class DnsRefused(DnsError):
    """The API said no, and will say no again."""


class KeyRefused(DnsError):
    """No key for the API can be had before a person has acted. The call was not made."""


class RecordConflict(DnsRefused):
    """A person must change what else is at a name. The rights of the account are not in question."""


class DnsUnavailable(DnsError):
    """The API or the servers did not answer, or asked to come again."""

    retryable = True


class KeyUnavailable(DnsUnavailable):
    """There is no key for the API now. The call was not made."""


class ZoneOnHold(DnsUnavailable):
    """Resolvers answer that there is no such zone: no CA can validate a name in it."""


class PropagationTimeout(DnsError):
    """A name server that answers did not show the value in time."""

    retryable = True


class IssueError(CertbotlessError):
    """The CA did not give the certificate.

    Attributes:
        is_fault_of_ca: whether it is the CA's own, so that another one may give the certificate.
    """

    is_fault_of_ca = False


class RequestRefused(IssueError):
    """The CA refused a request."""


class AccountRefused(IssueError):
    """The CA does not take our account."""

    is_fault_of_ca = True


class AuthorizationFailed(IssueError):
    """The CA could not validate these `names`; `is_blind` is whether its resolver got no answer."""

    retryable = True

    def __init__(
        self, message: str, *, names: tuple[str, ...], hint: str = "", is_blind: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.names = names
        self.is_blind = is_blind


class RateLimited(IssueError):
    """The CA, or our own ledger in its place, counts too many requests."""

    retryable = True


class AccountPaused(RateLimited):
    """The CA takes no order for these names until a person has opened a link."""

    retryable = False
    is_fault_of_ca = True


class CaUnavailable(IssueError):
    """The CA did not answer, or not like an ACME server."""

    retryable = True
    is_fault_of_ca = True


class NotOffered(IssueError):
    """The CA does not offer what the configuration asks of it: the profile, or dns-01."""

    is_fault_of_ca = True


class OrderTimeout(IssueError):
    """The CA kept the order in progress for too long."""

    retryable = True
    is_fault_of_ca = True


class StoreError(CertbotlessError):
    """A file could not be written, or is not what it should be."""


class DeployError(CertbotlessError):
    """The container, or the service it gives, is not as it should be; `container` is its name."""

    retryable = True

    def __init__(self, message: str, *, hint: str = "", container: str = "") -> None:
        super().__init__(message, hint=hint)
        self.container = container


class NotActedUpon(DeployError):
    """Nothing was done to the service, or it is not known that anything was: no fault of the certificate."""


class CertificateRefused(DeployError):
    """The service did not come up with the new certificate, so the one before was published again."""


class DeployWaits(DeployError):
    """Nothing is wrong, but a person must act or a moment must come first."""


class SwarmWaits(DeployWaits):
    """The Swarm is at work, or has no leader: it settles that by itself, and is looked at again soon."""


class NotifyError(CertbotlessError):
    """A message did not reach a receiver of the configuration."""

    retryable = True
