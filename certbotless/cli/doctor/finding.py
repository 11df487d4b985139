"""What was tested, its result, and the cure."""

import json
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from ... import __version__
from ...base.clock import Clock
from ...base.errors import CertbotlessError, causes, printable
from ...base.times import rfc3339
from ...base.words import N_, _
from ...config.settings import Acme, Config
from ...model.records import Zone
from ...world.acme.account import CaView
from ...world.containers import DockerContainers
from ...world.dns.nameservers import NameServers
from ...world.dns.query import Server


@dataclass(frozen=True, slots=True)
class Finding:
    """One test and its result; the fields are in the order of `doctor --json`.

    Attributes:
        check: what was tested, the same words for the same test.
        about: the domain, zone, container or server; empty for the machine as a whole.
        cure: what to do, with the command where there is one; empty for what is well.
    """

    check: str
    about: str
    level: Literal["ok", "warn", "fail"]
    text: str
    cure: str = ""

    @property
    def line(self) -> str:
        """The finding as one line, for people."""
        cure = _("fix: {}").format(self.cure) if self.cure else ""
        told = _("; ").join(filter(None, (self.text, cure)))
        subject = f"{_(self.check)} {self.about}".rstrip()
        return printable(f"{_(self.level):<5} " + _("{}: {}").format(subject, told), 2000)


# What is looked up when it is shown: levels and tests.
_LEVELS = (N_("ok"), N_("warn"), N_("fail"))
CHECKS = (
    *(N_("secret"), N_("notify"), N_("configuration"), N_("daemon"), N_("state"), N_("clock"), N_("address")),
    *(N_("state_dir"), N_("certs_dir"), N_("API"), N_("zone"), N_("delegation"), N_("permission"), N_("CA")),
    *(N_("account"), N_("profile"), N_("CAA"), N_("limits"), N_("name servers"), N_("name server")),
    *(N_("A record"), N_("AAAA record"), N_("system resolver"), N_("public resolver"), N_("certificate")),
    *(N_("engine"), N_("container"), N_("command"), N_("mount"), N_("key"), N_("drain"), N_("served")),
    *(N_("trusted"), N_("answer"), N_("local CA"), N_("root"), N_("backup"), N_("credentials")),
    *(N_("private"), N_("swarm"), N_("service")),
)


def summary(findings: Sequence[Finding]) -> str:
    """Return the last line: how many of each."""
    counts = Counter(found.level for found in findings)
    text = _("{} ok, {} warning, {} failed") if counts["warn"] == 1 else _("{} ok, {} warnings, {} failed")
    return text.format(counts["ok"], counts["warn"], counts["fail"])


def as_json(findings: Sequence[Finding]) -> str:
    """Return the object of `doctor --json`; its keys are a contract."""
    found = {
        "version": __version__,
        "observed_at": rfc3339(datetime.now(UTC)),
        "ok": all(found.level != "fail" for found in findings),
        "checks": list(map(asdict, findings)),
    }
    return json.dumps(found, indent=2)


# OpenSSL's numbers (x509_vfy.h) for a certificate whose time has not come, and for one whose time is over.
_WRONG_TIME = (9, 10)


def wrong_time(error: BaseException) -> bool:
    """Whether a certificate was refused because it is not valid now, by a clock that may be wrong."""
    refused = next((each for each in causes(error) if isinstance(each, ssl.SSLCertVerificationError)), None)
    return refused is not None and refused.verify_code in _WRONG_TIME


class Case:
    """One examination: what it works with, and what it has found so far.

    Args:
        say: is given each finding when it is made.

    Attributes:
        clock_is_in_doubt: a certificate of the CA or the API is not valid at our time.
        clock_is_refused: the API takes our time for wrong.
        cas: the CAs that can be asked, with what each says of itself.
        trusts_root: whether there is a local CA and this machine trusts its root.
        zones: the zone of each domain, as far as it is known.
        digits: the 16 digits of the account of the key; empty where nobody has said them.
        lacking: the zones in which the key lacks a right.
        readable: the zones whose records the key may read, by name.
        speaking: the authoritative servers of each zone that speak for it.
    """

    def __init__(self, config: Config, clock: Clock, say: Callable[[Finding], None]) -> None:
        self.config = config
        self.clock = clock
        self.servers = NameServers(config.dns.nameservers, clock)
        self.containers = DockerContainers(config.docker.host)
        self.clock_is_in_doubt = self.clock_is_refused = False
        self.cas: list[tuple[Acme, CaView]] = []
        self.trusts_root = False
        self.zones: dict[str, str] = {}
        self.digits = ""
        self.lacking: set[str] = set()
        self.readable: dict[str, Zone] = {}
        self.speaking: dict[str, list[Server]] = {}
        self.findings: list[Finding] = []
        self._say = say

    def ok(self, check: str, about: str, text: str) -> None:
        """Report what is as it should be."""
        self._find(Finding(check, about, "ok", text))

    def warn(self, check: str, about: str, text: str, cure: str) -> None:
        """Report what works, or may work, and what a person should know."""
        self._find(Finding(check, about, "warn", text, cure))

    def fail(self, check: str, about: str, text: str, cure: str) -> None:
        """Report what is broken."""
        self._find(Finding(check, about, "fail", text, cure))

    def fail_by(self, check: str, about: str, error: CertbotlessError) -> None:
        """Report what is broken in the words of the error."""
        self.fail(check, about, _(error.message), _(error.hint))

    def _find(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._say(finding)
