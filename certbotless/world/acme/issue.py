"""The ACME conversation, in the order of RFC 8555 section 7.4.

The `acme` library gives messages and challenges; the polling is ours, because the library sleeps a second
before it looks, and ignores what the CA asks with Retry-After.

Source: RFC 8555.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass

import josepy as jose
import requests
from acme import challenges, messages
from acme import errors as acme_errors

from ...base.clock import START_SLACK, TRUSTED_SKEW, Clock, Pace, is_possible
from ...base.errors import AuthorizationFailed, ClockWrong, IssueError, NotOffered, OrderTimeout, printable
from ...base.log_context import waits_for
from ...base.names import NameFault, challenge_name, normalise
from ...base.times import rfc3339
from ...base.words import N_, Text
from ...config.settings import Acme
from ...model.certificate import Published
from ...state.order_guard import OrderGuard
from ...state.site import Accounts
from . import keys
from .account import Account
from .connection import PROBLEM, order_refused
from .order import Issued, PendingOrder, TxtPlaces
from .renewal_info import renewal_info_url

logger = logging.getLogger(__name__)

_PEM_CHAIN = "application/pem-certificate-chain"
# An authorization or an order that is in progress for longer is left for the next run; until then the TXT
# record is there. ZeroSSL validates within 10 minutes as a rule (acme.sh, issue 6221).
_VALIDATION_TIMEOUT_S, _ISSUANCE_TIMEOUT_S = 1800, 600
# Most CAs validate at once; then ever more seldom.
_FIRST_LOOK_S, _SLOWEST_LOOK_S = 0.2, 3
_SLOWEST_LOOK_AT_VALIDATION_S = 10
# A CA may ask for a day (ZeroSSL does) and be ready a moment later.
_MOST_ASKED_WAIT_S = 30
# RFC 9773 section 5 names the first. Pebble 2.6 says the second of an identifier that it cannot read, and the
# third of a certificate that it does not find.
_REPLACES_PROBLEMS = frozenset(PROBLEM + name for name in ("alreadyReplaced", "malformed", "serverInternal"))
# How a CA refuses the key of a certificate (RFC 8555 section 6.7); Boulder says the second.
_KEY_PROBLEMS = frozenset(PROBLEM + name for name in ("badPublicKey", "badCSR"))
# Let's Encrypt takes no more names in an order; what else an invalid one lists is not read.
_MOST_NAMES = 100

# 128 bits at least, in base64url without padding (RFC 8555 section 8.4).
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,200}")
# By the kind of problem (RFC 8555 section 6.7): the CA was kept from looking, or saw something else.
VALIDATION_HINTS = {
    "caa": Text("the zone's CAA records forbid this CA: add one that allows it, or choose another CA"),
    "dns": Text("the CA's resolver got no answer: check the delegation of the zone, and its DNSSEC"),
}
_OTHER_VALUE_HINT = Text(
    "the CA asks the zone's public name servers: check that they are the ones that this zone uses"
)


class _NewOrder(messages.NewOrder):
    """With the field of RFC 9773 section 5."""

    replaces: str | None = jose.field("replaces", omitempty=True)


@dataclass(frozen=True, slots=True)
class _Challenge:
    """A dns-01 challenge that waits for our answer."""

    name: str
    authorization_url: str
    url: str
    txt_value: str
    response: challenges.KeyAuthorizationChallengeResponse
    is_answered: bool


@dataclass
class Issuance:
    """One certificate for `names` at one CA; each of the first three methods is a conversation of its own.

    Attributes:
        names: all that the certificate is for.
        dns: where the txt values go.
        pending: the order in flight; whatever can still be used is kept there.
        guard: our own count.
        patience_s: how long the CA may take to validate.
    """

    acme: Acme
    names: Sequence[str]
    accounts: Accounts
    _: KW_ONLY
    dns: TxtPlaces
    pending: PendingOrder
    guard: OrderGuard
    clock: Clock
    patience_s: int = _VALIDATION_TIMEOUT_S

    def __post_init__(self) -> None:
        self._account = Account(self.acme, self.accounts, self.guard, self.clock)
        self._network = self._account.network

    def issue(self, predecessor: Published | None = None) -> Issued:
        """Get the certificate; blocks for propagation and at most 40 minutes of the CA's own.

        1. Find the directory; recover or make the account.
        2. Go on with the order in flight, or reserve and place a new one.
        3. Ask for the authorizations that are not valid yet.
        4. Present their txt values; make the certificate key while DNS spreads.
        5. Answer the challenges, and poll until each authorization is valid.
        6. Finalize; key and order URL are on disk before.
        7. Poll until the certificate is there, and fetch it.

        Args:
            predecessor: what the new certificate takes the place of.

        Raises:
            IssueError, DnsError, Interrupted: no certificate.
        """
        order = self.authorize(predecessor)
        key = self.pending.key()
        with self._network.errors():
            if order.status in (messages.STATUS_PENDING, messages.STATUS_READY):
                order = self._finalize(order, key)  # 6
            return Issued(self._fetch(order), key, self._account.url)  # 7

    def authorize(self, predecessor: Published | None = None) -> messages.Order:
        """Return an order whose authorizations are all valid, steps 1 to 5 of `issue`.

        Raises:
            IssueError, DnsError, Interrupted: they could not be validated.
        """
        with self._network.errors():
            self._account.open()  # 1
            order = self._resume() or self._place(predecessor)  # 2
            todo = self._pending_challenges(order)  # 3
        if todo:
            values = [self.dns.locate(challenge_name(each.name), each.txt_value) for each in todo]
            with self.dns.presented(values):  # 4
                self.pending.key()
                self.dns.wait_until_shown(values)
                with self._network.errors():
                    self._answer(todo)  # 5
        return order

    def collect(self) -> Issued | None:
        """Fetch the certificate of an order that a dead run had finalized; drop any other. At most 10 min.

        Raises:
            IssueError, Interrupted: not now.
        """
        with self._network.errors():
            self._account.open()
            order = self._resume()
            if order is None or order.status not in (messages.STATUS_VALID, messages.STATUS_PROCESSING):
                self.pending.drop()
                return None
            return Issued(self._fetch(order), self.pending.key(), self._account.url)

    def _resume(self) -> messages.Order | None:
        """Return the order in flight if it can still give a certificate."""
        if not self.pending.url:
            return None
        try:
            order = self._read_order(self._network.send(self.pending.url))
        except (messages.Error, jose.DeserializationError) as exc:
            if self._network.status_code == 429 or self._network.status_code >= 500:
                raise  # a CA that cannot answer now has not lost it
            logger.info("order.lost url=%s error=%s", printable(self.pending.url), printable(exc, 120))
        else:
            if order.status != messages.STATUS_INVALID:
                logger.info("order.resumed status=%s", order.status.name)
                return order
            self._count_unseen_failures(order)
        self.pending.drop()
        return None

    def _count_unseen_failures(self, order: messages.Order) -> None:
        """Count what failed in an order after the run that placed it was gone: the CA has counted it."""
        failed = []
        for url in order.authorizations[:_MOST_NAMES]:
            try:
                authorization = self._read_authorization(url)
            except messages.Error:
                continue  # it is as lost as its order
            if authorization.status == messages.STATUS_INVALID:
                with suppress(NameFault):  # what is no name was none that we ordered
                    failed.append(normalise(authorization.identifier.value))
        if failed:
            self.guard.count_failure(self._account.now(), failed)

    def _place(self, predecessor: Published | None) -> messages.Order:
        self._check_profile()
        self._check_clock()
        replaces = self._replaces(predecessor)
        try:
            response = self._new_order(replaces)
        except (messages.Error, acme_errors.ConflictError) as exc:
            # The library does not read the problem that comes with a 409.
            kind = exc.typ if isinstance(exc, messages.Error) else f"{PROBLEM}alreadyReplaced"
            if replaces and kind in _REPLACES_PROBLEMS:
                # It has forgotten the predecessor, or counts it as replaced already: a plain order, then.
                logger.info("order.replaces_refused kind=%s", kind.removeprefix(PROBLEM))
                if self._network.status_code >= 500:
                    # Whatever it has made: without its URL no certificate can come of it.
                    self.guard.withdraw_order()
            elif not self._account.is_replaced_after(kind):
                raise
            response = self._new_order(None)
        self.pending.begin(self._network.urls.check(response.headers["Location"]))
        return self._read_order(response)

    def _new_order(self, replaces: str | None) -> requests.Response:
        """Count an order and place it; one that the CA refuses was none."""
        self.guard.reserve_order(self._account.now(), replaces=replaces is not None)
        identifiers = [messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in self.names]
        request = _NewOrder(identifiers=identifiers, profile=self.acme.profile, replaces=replaces)
        try:
            return self._network.send(self._account.directory["newOrder"], request)
        except (messages.Error, acme_errors.ConflictError):
            if self._network.status_code < 500:  # else nobody knows what it has made
                self.guard.withdraw_order()
            raise

    def _replaces(self, predecessor: Published | None) -> str | None:
        """Return the identifier of what this account got from this CA before (RFC 9773 section 5)."""
        facts, origin = (predecessor.facts, predecessor.origin) if predecessor else (None, None)
        if facts is None or origin is None or origin.directory != self.acme.url:
            return None
        if origin.account != self._account.url or not renewal_info_url(self._account.directory):
            return None
        # Without a name in common, as with a certificate that other sites go on sharing, a CA refuses it.
        return facts.ari_id if facts.ari_id and {*facts.names} & {*self.names} else None

    def _check_profile(self) -> None:
        """Refuse a profile that the CA does not list, before an order is spent on it.

        Source: draft-ietf-acme-profiles, section 3: directory meta, "profiles".
        """
        listed = self._account.directory.meta.profiles
        if self.acme.profile is not None and listed is not None and self.acme.profile not in listed:
            names = printable(", ".join(sorted(listed)))
            raise NotOffered(
                Text("the CA at {} lists no profile {!r}", self.acme.url, self.acme.profile),
                hint=Text("set acme.profile to one of: {}", names),
            )

    def _pending_challenges(self, order: messages.Order) -> list[_Challenge]:
        if order.status != messages.STATUS_PENDING:
            return []
        if len(order.authorizations) > len(self.names):
            raise IssueError(Text("the CA at {} asks for more than was ordered", self.acme.url))
        found, hosts = list[_Challenge](), {name.removeprefix("*.") for name in self.names}
        for url in order.authorizations:
            authorization = self._read_authorization(url)
            if authorization.identifier.value.removeprefix("*.") not in hosts:
                # It would choose where in our zone we write.
                raise IssueError(Text("the CA at {} asks for a name that was not ordered", self.acme.url))
            if authorization.status == messages.STATUS_VALID:
                continue  # reused by the CA from an earlier order
            if authorization.status != messages.STATUS_PENDING:
                raise self._failed({authorization.identifier.value: authorization})
            found.append(self._challenge(url, authorization))
        return found

    def _challenge(self, url: str, authorization: messages.Authorization) -> _Challenge:
        name = authorization.identifier.value.removeprefix("*.")  # some servers leave it (RFC 8555, 7.1.4)
        for body in authorization.challenges:
            if isinstance(body.chall, challenges.DNS01):
                response, txt_value = body.chall.response_and_validation(self._account.key)
                is_answered = body.status != messages.STATUS_PENDING
                return _Challenge(name, url, body.uri, txt_value, response, is_answered)
        raise NotOffered(
            Text("the CA at {} offers no dns-01 challenge for {!r}", self.acme.url, printable(name, 80)),
            hint=Text("choose a CA that validates by DNS"),
        )

    def _answer(self, todo: Sequence[_Challenge]) -> None:
        names = sorted({challenge.name for challenge in todo})
        self.guard.begin_validation(self._account.now(), names)
        for challenge in todo:
            if not challenge.is_answered:  # by a run that was killed
                self._network.send(challenge.url, challenge.response)
        logger.debug("ca.validating names=%s", ",".join(names), extra=waits_for(N_("the CA to validate")))
        failed = {}
        looks = self._looks(
            N_("the CA at {} did not validate in {} s"), self.patience_s, _SLOWEST_LOOK_AT_VALIDATION_S
        )
        waiting = {challenge.authorization_url: challenge.name for challenge in todo}
        while waiting:
            next(looks)
            for url in sorted(waiting):
                authorization = self._read_authorization(url)
                if authorization.status not in (messages.STATUS_PENDING, messages.STATUS_PROCESSING):
                    name = waiting.pop(url)
                    if authorization.status != messages.STATUS_VALID:
                        failed[name] = authorization
        if failed:
            raise self._failed(failed)
        self.guard.note_validation(self._account.now())

    def _failed(self, failed: Mapping[str, messages.Authorization]) -> AuthorizationFailed:
        """Count what the CA could not validate, by name, and return what it says of it."""
        self.guard.count_failure(self._account.now(), tuple(failed))
        problems = [body.error for auth in failed.values() for body in auth.challenges if body.error]
        kinds = [printable(problem.typ, 120).removeprefix(PROBLEM) for problem in problems]
        said = [f"{kind}: {printable(problem.detail)}" for kind, problem in zip(kinds, problems, strict=True)]
        text = printable("; ".join(said)) or Text("no reason given")
        hints = (VALIDATION_HINTS[kind] for kind in kinds if kind in VALIDATION_HINTS)
        return AuthorizationFailed(
            Text("the CA could not validate {}: {}", ", ".join(failed), text),
            names=tuple(failed),
            hint=next(hints, _OTHER_VALUE_HINT),
            # Boulder says `dns` of NXDOMAIN too, which is an answer.
            is_blind=set(kinds) == {"dns"} and not any("NXDOMAIN" in each for each in said),
        )

    def _finalize(self, order: messages.Order, key: keys.CertificateKey) -> messages.Order:
        request = messages.CertificateRequest(csr=keys.new_csr(key, self.names))
        try:
            return self._read_order(self._network.send(order.finalize, request))
        except messages.Error as exc:
            if exc.typ in _KEY_PROBLEMS:
                self.pending.drop()  # with its key: the CA would refuse that until the order expires
            raise

    def _fetch(self, order: messages.Order) -> bytes:
        url = printable(self.pending.url, 200)
        logger.debug("ca.issuing order=%s", url, extra=waits_for(N_("the CA to issue")))
        looks = self._looks(N_("the CA at {} did not issue in {} s"), _ISSUANCE_TIMEOUT_S, _SLOWEST_LOOK_S)
        while order.status != messages.STATUS_VALID:
            if order.status == messages.STATUS_INVALID:
                self.pending.drop()
                raise order_refused(self.acme.url, order.error)
            next(looks)
            order = self._read_order(self._network.send(self.pending.url))
        try:
            chain = self._network.send(str(order.certificate), accept=_PEM_CHAIN).content
        except messages.Error:
            if self._network.status_code in (404, 410):
                self.pending.drop()  # the CA has lost what it gave
            raise
        self.guard.note_certificate(self._account.now(), keys.lifetime(chain))
        return chain

    def _check_clock(self) -> None:
        """Refuse to order by a clock that is wrong: what it says is due may not be."""
        ours, theirs = self.clock.now(), self._network.date or self.clock.now()
        hint = Text(
            "set it, best by NTP; no order is placed by a clock that is an hour ahead, or 5 minutes behind"
        )
        if not is_possible(ours):
            raise ClockWrong(
                Text("this machine's clock says {}: this program is younger", rfc3339(ours)), hint=hint
            )
        if not -START_SLACK <= ours - theirs <= TRUSTED_SKEW:
            difference = f"{(ours - theirs).total_seconds():+.0f} s"
            raise ClockWrong(
                Text("this machine's clock differs by {} from the CA's at {}", difference, self.acme.url),
                hint=hint,
            )

    def _looks(self, what: str, timeout_s: int, most_s: float) -> Iterator[None]:
        """Yield when it is time to ask again; the wait that the CA asks for counts from the second time on.

        Raises:
            OrderTimeout: it has not done it in time; `what` has the words, with braces for URL and seconds.
        """
        pace, wait_s = Pace(self.clock, timeout_s, first_s=_FIRST_LOOK_S, most_s=most_s), 0.0
        while not pace.expired:
            pace.wait(wait_s)
            yield
            asked = self._network.retry_after
            wait_s = min(asked.total_seconds(), _MOST_ASKED_WAIT_S) if asked else 0.0
        raise OrderTimeout(Text(what, self.acme.url, timeout_s))

    def _read_authorization(self, url: str) -> messages.Authorization:
        told = self._network.send(url).json()
        for offered in told.get("challenges", ()):
            # The library would skip what is not base64url, and prove something else than was asked for.
            if offered["type"] == "dns-01" and not _TOKEN.fullmatch(offered["token"]):
                token = printable(offered["token"], 80)
                raise IssueError(
                    Text("the CA at {} offers an invalid token: {!r}", self.acme.url, token),
                    hint=Text("check acme.directory; if it is right, the CA is broken or not to be trusted"),
                )
        authorization: messages.Authorization = messages.Authorization.from_json(told)
        return authorization

    def _read_order(self, response: requests.Response) -> messages.Order:
        order: messages.Order = messages.Order.from_json(response.json())
        return order
