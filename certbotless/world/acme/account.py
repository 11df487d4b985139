"""Our account at a CA, and the connection that speaks in its name: found, made, or put in place of another.

An account that is gone costs one new one in an issuance, never a loop; what was ordered before is kept.

Source: RFC 8555 sections 7.3 (accounts), 7.3.1 (find by key), 7.3.4 (external binding), 7.3.6 (closed).
"""

import logging
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import josepy as jose
from acme import messages

from ...base.clock import TRUSTED_SKEW, Clock
from ...base.errors import AccountRefused, SecretUnreadable, StoreError, printable
from ...base.words import N_, Text
from ...config.settings import Acme
from ...state.order_guard import OrderGuard
from ...state.site import Accounts
from . import keys
from .connection import PROBLEM, Network

logger = logging.getLogger(__name__)

# Another run may wait for its CA as long as for an order.
_LOCK_TIMEOUT_S = 600
# There is no account yet; the CA takes it; the CA knows no such account; the CA has closed it.
Standing = Literal["none", "valid", "gone", "closed"]
_GONE, _CLOSED = f"{PROBLEM}accountDoesNotExist", f"{PROBLEM}unauthorized"
_BINDING = f"{PROBLEM}externalAccountRequired"
# Base64url, with or without padding, or base64: the library's decoder skips what is neither.
_MAC_KEY = re.compile(r"(?:[\w+/-]{4})*[\w+/-]{2,4}={0,2}", re.ASCII)


@dataclass
class Account:
    """The account for one issuance, usable from `open` on.

    Attributes:
        guard: our own count of what is made; None to make nothing.
        url: of the account at the CA.
        key: what it signs with.
        network: the connection; it signs in the account's name.
        directory: where the CA wants each request.
    """

    acme: Acme
    store: Accounts
    guard: OrderGuard | None
    clock: Clock
    url: str = field(init=False)
    key: jose.JWK = field(init=False)
    network: Network = field(init=False)
    directory: messages.Directory = field(init=False)

    def __post_init__(self) -> None:
        self.network = Network(None, self.acme, self.clock)

    def now(self) -> datetime:
        """Return the CA's time as of its last reply; ours, where that has none, or one that cannot be right.

        What is counted by it settles the rows of every CA, so a CA whose clock is far off must not. Twice the
        difference at which nothing is ordered, for one that was just below has passed that check.
        """
        ours, theirs = self.clock.now(), self.network.date
        return theirs if theirs is not None and abs(theirs - ours) < 2 * TRUSTED_SKEW else ours

    def open(self) -> None:
        """Connect in the name of our account, which is made if there is none."""
        key, url = self._load()
        if key is not None and url:
            self._connect(key)
            self._use(url)
        else:
            self._settle()

    def standing(self) -> Standing:
        """Connect, and ask the CA for the state of our account. Makes no account, and keeps nothing."""
        key, known = self._load()
        self.url = ""
        if key is None:
            self.directory = self.network.read_directory()
            return "none"
        self._connect(key)
        standing, self.url = self._standing_and_url()
        # The CA has refused to make an account with this key, or was not reached.
        return "none" if standing == "gone" and not known else standing

    def is_replaced_after(self, problem: str) -> bool:
        """Put another account in place of ours, if the CA's problem of this type means that it needs one.

        Returns:
            False if the account is as good as before, so that the problem is another one.
        """
        if problem not in (_GONE, _CLOSED):
            return False
        refused = self.url
        return self._settle(refused, is_gone=problem == _GONE) != refused

    def _settle(self, refused: str = "", *, is_gone: bool = False) -> str:
        """Connect in the name of an account that is found or made; return its URL, empty for a new one.

        Args:
            refused: the URL of an account that the CA did not take; `is_gone` if it does not know it.
        """
        with self.store.locked(self.clock, _LOCK_TIMEOUT_S):
            key, url = self._load()
            if key is None:
                self._take_new_key()
                self._make()
                return ""
            self._connect(key)
            if url and url != refused:
                self._use(url)  # another run was here first
                return url
            if is_gone:
                self.store.save_url("")
            return self._find_or_make()

    def _load(self) -> tuple[keys.CertificateKey | None, str]:
        """Return key and URL; the account of a key that is lost, or damaged, is lost with it."""
        pem, url = self.store.load()
        if pem is None:
            return None, ""
        try:
            return keys.key_from_pem(pem), url
        except StoreError as exc:
            logger.warning("account.key_lost directory=%s error=%s", self.acme.url, exc)
            return None, ""

    def standing_of(self, key: keys.CertificateKey) -> tuple[Standing, str]:
        """Connect, and ask the CA for the account of another key, and its URL. Keeps nothing."""
        self._connect(key)
        return self._standing_and_url()

    def _connect(self, key: keys.CertificateKey) -> None:
        self.key, self.network.alg = _signer(key)
        self.network.key = self.key
        self.network.account = None  # the key itself signs until its account is known
        self.directory = self.network.read_directory()

    def _take_new_key(self) -> None:
        self.store.save_url("")
        key = keys.new_key()
        self.store.save_key(keys.key_to_pem(key))
        self._connect(key)

    def _find_or_make(self) -> str:
        """Return the URL of the account that was found; empty for one that had to be made.

        A key whose account is closed for good gives way to a new one.
        """
        standing, url = self._standing_and_url()
        if standing == "closed":
            logger.warning("account.closed directory=%s", self.acme.url)
            self._take_new_key()
        if url:
            self._keep(url)
            logger.info("account.recovered url=%s", printable(url))
        else:
            self._make()
        return url

    def _standing_and_url(self) -> tuple[Standing, str]:
        """Ask for the account of our key; the URL is empty for one that is of no use."""
        # ZeroSSL wants the address in each request there (ansible community.crypto, acme/account.py).
        body = messages.NewRegistration.from_data(email=self.acme.email, only_return_existing=True)
        where = self.directory["newAccount"]
        try:
            try:
                response = self.network.send(where, body)
            except messages.Error as exc:
                if exc.typ != _BINDING or self.acme.eab is None:
                    raise
                # Some CAs want the binding with each request there (ansible community.crypto, issue 918).
                response = self.network.send(where, body.update(external_account_binding=self._binding()))
        except messages.Error as exc:
            if exc.typ == _GONE:
                return "gone", ""
            if exc.typ == _CLOSED:
                return "closed", ""
            raise
        if response.json()["status"] != "valid":
            return "closed", ""
        return "valid", self.network.urls.check(response.headers["Location"])

    def _make(self) -> None:
        body = messages.NewRegistration.from_data(
            email=self.acme.email,
            terms_of_service_agreed=True,
            external_account_binding=self._binding(),
        )
        if self.guard is None:
            raise AccountRefused(Text("only an order creates an account"))
        self.guard.reserve_account(self.now())
        response = self.network.send(self.directory["newAccount"], body)
        url = self.network.urls.check(response.headers["Location"])
        self._keep(url)
        logger.info("account.made url=%s", printable(url))

    def _binding(self) -> dict[str, Any] | None:
        eab = self.acme.eab
        if eab is None:
            if self.directory.meta.external_account_required:
                raise AccountRefused(
                    Text("the CA at {} requires external account binding", self.acme.url),
                    hint=Text("set acme.eab to the kid and hmac_key that the CA gives its customers"),
                )
            return None
        try:
            hmac_key = eab.hmac_key.read()
        except SecretUnreadable as exc:
            # Another CA of a list may give the certificate without it.
            raise AccountRefused(exc.message, hint=exc.hint) from exc
        # The CA would only say that the MAC is wrong.
        if not _MAC_KEY.fullmatch(hmac_key):
            raise AccountRefused(
                Text("acme.eab.hmac_key is not base64url"), hint=Text("copy it from the CA again")
            )
        binding: dict[str, Any] = messages.ExternalAccountBinding.from_data(
            self.key.public_key(), eab.kid, hmac_key, self.directory
        )
        return binding

    def _keep(self, url: str) -> None:
        self.store.save_url(url)
        self._use(url)

    def _use(self, url: str) -> None:
        self.url = url
        self.network.account = messages.RegistrationResource(uri=url, body=messages.Registration())


def _signer(key: keys.CertificateKey) -> tuple[jose.JWK, Any]:
    """Return a key as the library has it, and the algorithm that it signs with (RFC 7518 section 3.1).

    Keys of our own are P-256; those of an imported account may be others.
    """
    kind = keys.key_type_of(key)
    if kind.startswith("rsa"):
        return jose.JWKRSA(key=jose.ComparableRSAKey(key)), jose.RS256
    algorithms = {"ec256": jose.ES256, "ec384": jose.ES384, "ec521": jose.ES512}
    if kind not in algorithms:
        raise StoreError(Text("an account key of the kind {} cannot sign for an ACME server", kind))
    return jose.JWKEC(key=key), algorithms[kind]


# --- to ask alone -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CaView:
    """What a CA says of itself and of our account.

    Attributes:
        account_url: of an account that is valid; else empty.
        profiles: those that it lists; None where it knows of none.
        caa_identities: how CAA records name it; empty where it does not say.
        needs_binding: whether it makes an account only for a customer (acme.eab).
        time: of its last reply; None where that had none.
    """

    standing: Standing
    account_url: str
    profiles: tuple[str, ...] | None
    caa_identities: tuple[str, ...]
    needs_binding: bool
    time: datetime | None


def make_account(acme: Acme, store: Accounts, guard: OrderGuard, clock: Clock) -> str:
    """Make our account at a CA if there is none, and return its URL.

    Raises:
        IssueError: the CA could not be asked, or takes no account of ours; StoreError: it cannot be kept.
    """
    account = Account(acme, store, guard, clock)
    with account.network.errors():
        account.open()
    return account.url


def import_account(acme: Acme, store: Accounts, content: bytes, clock: Clock) -> str:
    """Use the account of this key from now on, and return its URL. No account is made.

    Args:
        content: the key, as PEM or as a JWK.

    Raises:
        IssueError: the CA could not be asked, or has no valid account with this key: nothing is changed.
        StoreError: it is no key that can sign; the account cannot be kept.
    """
    key = _key_of(content)
    account = Account(acme, store, None, clock)
    with account.network.errors():
        standing, url = account.standing_of(key)
    if not url:
        what = N_("the CA at {} has closed the account of this key")
        if standing == "gone":
            what = N_("the CA at {} knows no account with this key")
        raise AccountRefused(
            Text(what, acme.url), hint=Text("check which CA the account is at: --directory CA")
        )
    with store.locked(clock, _LOCK_TIMEOUT_S):
        pem = keys.key_to_pem(key)
        if store.load() != (pem, url):
            # Killed in between, the next order finds the account by its key.
            store.save_url("")
            store.save_key(pem)
            store.save_url(url)
    return url


def _key_of(content: bytes) -> keys.CertificateKey:
    """Return the key that is written as PEM or as a JWK. Raises StoreError."""
    try:
        if content.lstrip().startswith(b"{"):
            content = keys.key_to_pem(jose.JWK.json_loads(content.decode()).key)
        return keys.key_from_pem(content)
    except (StoreError, jose.Error, ValueError, TypeError, AttributeError, KeyError) as exc:
        raise StoreError(
            Text("not a private key: neither PEM without a password nor a JWK"),
            hint=Text("name the file with the account key"),
        ) from exc


def look_at_ca(acme: Acme, store: Accounts, clock: Clock) -> CaView:
    """Ask a CA for its directory and for our account. Makes no account, and keeps nothing.

    Raises:
        IssueError: it could not be asked.
    """
    account = Account(acme, store, None, clock)
    with account.network.errors():
        standing = account.standing()
        meta = account.directory.meta
        return CaView(
            standing,
            account.url,
            None if meta.profiles is None else tuple(sorted(meta.profiles)),
            tuple(map(str.lower, meta.caa_identities or ())),
            bool(meta.external_account_required),
            account.network.date,
        )
