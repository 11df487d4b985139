"""The AccessKey: it is asked for, and tested by the calls that `doctor` begins with."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...base.clock import SystemClock
from ...base.errors import CertbotlessError, DnsError, SecretUnreadable, ValueFault, ZoneNotFound
from ...base.names import is_in_zone, likely_zone, normalise
from ...base.words import N_, Text, _
from ...config.diagnostics import check
from ...config.secret import Secret
from ...config.settings import Aliyun
from ...world.credentials.access import ApiAccess
from ...world.credentials.access import Key as ApiKey
from ...world.credentials.errors import ApiRefusal
from ...world.credentials.sts import Identity, whose
from ...world.dns import ram_policy
from ...world.dns.alidns import AlidnsAccount
from ...world.dns.alidns_errors import NOT_ALLOWED
from ..questions import Check, Questions, or_none

_ID, _SECRET = "access_key_id", "access_key_secret"
ELSEWHERE = N_(
    "  Is your domain elsewhere? Move its DNS to Aliyun, or only the validation (docs/delegation.md)."
)
# The answer that leaves a key untested.
_SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Key:
    """An AccessKey as it was given, a reference or itself, and what it is for.

    Attributes:
        zone: as an option or a person has named it; empty where the API finds it.
        endpoint: of the API; empty for Aliyun's.
    """

    id: str = field(repr=False)
    secret: str = field(repr=False)
    zone: str = ""
    endpoint: str = ""

    @property
    def aliyun(self) -> Aliyun:
        """The section of the file that it makes."""
        aliyun = Aliyun(access_key_id=Secret.parse(self.id), access_key_secret=Secret.parse(self.secret))
        return replace(aliyun, endpoint=self.endpoint) if self.endpoint else aliyun

    def access(self) -> ApiAccess:
        """Return what signs a call. Raises `SecretUnreadable`."""
        return ApiAccess(self.aliyun.endpoint, ApiKey.in_file(self.aliyun))


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a test.

    Attributes:
        zone: the zone whose records the key may read.
        error: why not; None for a key that works.
        account: the 16 digits of the account, where an answer has them.
        is_of_account: whether the key is not that of a RAM user.
    """

    zone: str = ""
    error: CertbotlessError | None = None
    account: str = ""
    is_of_account: bool = False


# Tests a key for a domain.
Try = Callable[[Key, str], Tried]


def try_key(key: Key, domain: str) -> Tried:
    """Find the zone of the domain, read the records of its name, and ask whose it is: nothing is changed."""
    accounts = [""]
    try:
        account = AlidnsAccount(
            key.access(), SystemClock(), lambda *reply: accounts.append(ram_policy.account_of(reply[2]))
        )
        zone = key.zone or account.find(domain)
        account.open(zone).records(domain)
    except (DnsError, SecretUnreadable) as exc:
        if _is_about_zone(exc) and not max(accounts):
            accounts.append(_identity(key).account)
        return Tried(error=exc, account=max(accounts))
    identity = _identity(key)
    return Tried(zone, account=identity.account, is_of_account=identity.is_of_account)


def _identity(key: Key) -> Identity:
    """Return whose the key is; one without an account where STS does not say it."""
    with suppress(DnsError):
        return whose(key.aliyun, key.access().source, SystemClock())
    return Identity("", "")


def ask(questions: Questions, path: Path, domain: str, try_key: Try) -> tuple[Key, str]:
    """Return the key and the zone that a test has found, empty where no test was made or wanted.

    A key that fails is asked for again. A key from options alone is not tested, for a machine without a
    network may be made ready so.

    Raises:
        UsageError: an option is bad or missing, or the input has ended.
    """
    zone = questions.option("zone", zone_of(domain), "")
    endpoint = questions.option("endpoint", or_none(check(Aliyun, "endpoint")), "")
    if questions.are_asked and not (questions.has(_ID) and questions.has(_SECRET)):
        questions.say(policy_text(zone or likely_zone(domain)))
        questions.say(_("Or type the key first: if it has no policy yet, this comes again with the digits."))
    key = Key(*_first(questions, path), zone, endpoint)
    while questions.are_asked:
        _say_masked(questions, key)
        tried = try_key(key, domain)
        if tried.error is None:
            questions.say(_("  the key works, {} found").format(tried.zone))
            if tried.is_of_account:
                questions.say(_("  It is the key of the account itself, which no policy limits."))
                questions.say(_("  The key of a RAM user with this policy is safer:"))
                questions.say(ram_policy.document(tried.zone, account=tried.account))
            return key, tried.zone
        _say_fault(questions, tried, zone=key.zone or likely_zone(domain))
        again = _again(questions, path, domain, key, tried.error)
        if again is None:
            break
        key = again
    return key, ""


def _first(questions: Questions, path: Path) -> tuple[str, str]:
    """Return the ID and the secret, from options or a person. Files of earlier answers are the default."""
    found = []
    for name, question in {
        _ID: _("AccessKey ID (starts with LTAI)"),
        _SECRET: _("AccessKey secret (hidden; Enter when pasted)"),
    }.items():
        file = path.with_name(name)
        default, checked = _reference(name, file), _secret(file, is_option=questions.has(name))
        if questions.has(name) or not questions.are_asked:
            found.append(questions.get(name, question, checked, default))
        else:
            found.append(questions.ask(question, checked, default, is_secret=name == _SECRET))
    return found[0], found[1]


def _again(questions: Questions, path: Path, domain: str, key: Key, error: CertbotlessError) -> Key | None:
    """Return what a person gives after a failure, Enter being as before; None for a key that is kept so."""
    zone = key.zone
    if _is_about_zone(error):
        question = _("Domain as the Aliyun DNS console lists it (Enter: find it)")
        zone = questions.ask(question, zone_of(domain), "")
    question = _("AccessKey ID (Enter: {} again; {}: leave it untested)").format(_shown(key.id), _SKIP)
    id_ = questions.ask(question, or_none(_part(path, _ID, skips=True)), "")
    if id_ == _SKIP:
        return None
    question = _("AccessKey secret (hidden; Enter: as before)")
    secret = questions.ask(question, or_none(_part(path, _SECRET)), "", is_secret=True)
    return replace(key, id=id_ or key.id, secret=secret or key.secret, zone=zone)


def _part(path: Path, name: str, *, skips: bool = False) -> Check[str]:
    checked = _secret(path.with_name(name), is_option=False)
    return lambda text: text if skips and text == _SKIP else checked(text)


def _is_about_zone(error: CertbotlessError) -> bool:
    return isinstance(error, ZoneNotFound) or (isinstance(error, ApiRefusal) and error.code in NOT_ALLOWED)


# --- what is shown ------------------------------------------------------------------------------------------


def policy_text(zone: str) -> str:
    """Return the policy for a zone, without the digits of the account, which nobody knows yet."""
    what = _("The RAM user of the AccessKey needs this policy; put your account's 16 digits for ACCOUNT:")
    return f"\n{what}\n{ram_policy.document(zone)}"


def _say_masked(questions: Questions, key: Key) -> None:
    """Say enough of the key to see whether it was pasted whole, and that it is tested."""
    if Secret.parse(key.secret).kind == "literal":
        questions.say(_("  {}, {} characters").format(_shown(key.id), len(key.secret)))
    questions.say(_("  testing the key ..."))


def _say_fault(questions: Questions, tried: Tried, zone: str) -> None:
    if isinstance(tried.error, ZoneNotFound):
        questions.say(_("  the domain is not found: {}").format(_(str(tried.error))))
        questions.say(_("  Is it mistyped? Press Ctrl-C, and begin again."))
        questions.say(_(ELSEWHERE))
    else:
        questions.say(_("  the key does not work: {}").format(_(str(tried.error))))
    if tried.account:
        text = _(
            "  If its RAM user has no policy for {} yet, attach this one, with the digits of your account:"
        )
        questions.say(text.format(zone))
        questions.say(ram_policy.document(zone, account=tried.account))


def _shown(text: str) -> str:
    """Return a part of a key so that its owner knows it again: ``LTAI…0000``, or the reference."""
    if Secret.parse(text).kind != "literal":
        return text
    return f"{text[:4]}…{text[-4:]}" if len(text) > 12 else f"{text[:4]}…"


# --- what an answer may be ----------------------------------------------------------------------------------


def zone_of(domain: str) -> Check[str]:
    """Return a check of the zone of a domain; empty, and none, for one that the API finds."""

    def checked(text: str) -> str:
        zone = normalise(text)
        if not is_in_zone(domain, zone):
            raise ValueFault(Text("{!r} is not in the zone {!r}", domain, zone))
        return zone

    return or_none(checked)


def _secret(file: Path, *, is_option: bool) -> Check[str]:
    """Return a check of a reference, or of a secret that goes into `file`; no fault holds the secret."""

    def checked(text: str) -> str:
        if Secret.parse(text).kind == "literal":
            if is_option:
                forms = "credential:NAME, file:/path, ${ENV}"
                raise ValueFault(Text("must be a reference, {}: other users can read a command line", forms))
            if os.path.lexists(file):
                raise ValueFault(Text("{!r} exists already: type file:{} to use it", str(file), file))
        return text

    return checked


def _reference(name: str, file: Path) -> str | None:
    """Return a reference to this part of the AccessKey, if it is on this machine already."""
    if os.path.lexists(file):
        return f"file:{file}"
    reference = f"credential:certbotless.{name}"
    path = Secret.parse(reference).path
    return reference if path is not None and os.path.exists(path) else None
