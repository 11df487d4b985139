"""How does the real DNS API behave? Asked on demand, and printed as a text for a report.

It reads, and makes, lists and deletes one TXT record. It prints statuses, codes, the keys and types of
answers, numbers and times, and no name, no value and no id (shape). Names that a person needs, such as that
of a record that could not be deleted, go to another stream.

docs/doctor.md has the questions: the service documents none of the answers.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from ... import __version__
from ...base import privileges
from ...base.clock import Clock, SystemClock
from ...base.errors import CertbotlessError, DnsError, printable
from ...base.names import is_in_zone, u_labels
from ...base.times import parse_rfc3339, rfc3339
from ...base.words import Text
from ...config.redact import Redactor
from ...config.settings import Config
from ...model.records import Record, Zone
from ...state.site import SiteFile
from ...world.credentials.access import ApiAccess
from ...world.credentials.errors import NoAnswer
from ...world.credentials.way import way_to_dns
from ...world.dns.alidns import AlidnsAccount
from ...world.dns.nameservers import NameServers
from ...world.dns.query import Server, ask_all
from ...world.resolve import addresses_of
from .shape import code_of, form_of, kind_of, range_in, rows_of, shape_of

LABEL = "_certbotless-probe"
# The time when it was made follows: an old record was left by a probe that was killed.
VALUE = "made and deleted by certbotless doctor --probe at "
# The probe of a younger one may be at work.
_LEFT_AFTER = timedelta(minutes=10)
# Less than the free plan allows, so that the service names its least one.
_TTL_S = 60
_PAGE_SIZES = (1, 100, 500)
# How long the name servers are watched, and how often.
LAG_S = 60
_LAG_STEP_S = 1
_MOST_ADDRESSES = 32
# Asked of one address in a row; it is left alone after this many in a row without an answer.
_QUESTIONS, _MOST_SILENT = 50, 3
# The names of these servers do not tell whose zone it is.
_PUBLIC_SERVERS = (".hichina.com", ".alidns.com")

Say = Callable[[str], None]


def probe(config: Config, clock: Clock, say: Say, tell: Say) -> bool:
    """Ask, and return whether everything was asked and no record is left.

    Args:
        clock: to stop it ends the probe.
        say: prints a line of the report.
        tell: prints a line for the person alone: it has names.

    Raises:
        CertbotlessError: no site has a zone at Aliyun DNS, or a secret cannot be read.
    """
    sites = [site for site in config.kept if site.needs_zone]
    if not sites:
        raise CertbotlessError(
            Text("no site of this file has a zone at Aliyun DNS, so there is nothing to ask"),
            hint=Text("leave --probe out"),
        )
    redact = Redactor.of(config)
    access = way_to_dns(config, clock, lambda key: redact.learn([key.secret, key.token or ""], [key.id]))
    if os.path.isdir(config.state_dir):
        privileges.become_owner(config.state_dir, ())

    def report(line: str) -> None:
        say(redact(printable(line, 2000)))

    report(f"certbotless {__version__}, doctor --probe, {rfc3339(clock.now())}")
    is_whole = True
    try:
        finder = AlidnsAccount(access, clock)
        zones = set()
        for site in sites:
            known = site.zone or SiteFile(config.state_dir, site.domain).load().zone
            zones.add(known or finder.find(site.domain))
        for number, zone in enumerate(sorted(zones), 1):
            form = "ASCII" if u_labels(zone) == zone else "not ASCII"
            report(f"zone {number} of {len(zones)}: {form}, {zone.count('.') + 1} labels")
            is_whole &= _ZoneProbe(config, access, zone, clock, report, tell).run()
    except CertbotlessError as exc:
        report(f"ended: {kind_of(exc)}")
        tell(str(exc))
        return False
    return is_whole


class _ZoneProbe:
    """The questions about one zone."""

    def __init__(
        self, config: Config, access: ApiAccess, zone: str, clock: Clock, say: Say, tell: Say
    ) -> None:
        self._config, self._zone, self._clock, self._say, self._tell = config, zone, clock, say, tell
        self._name = f"{LABEL}.{zone}"
        # Read before this process becomes the owner of state_dir, which may not read them.
        self._access = access
        self._account = AlidnsAccount(access, clock, self._hear)
        # What is asked now, and what the replies have told so far: of each question its code; in what letters
        # names are written; the range of the TTL.
        self._asked = ""
        self._codes: dict[str, str] = {}
        self._forms: dict[str, set[str]] = {"DomainName": set(), "RR": set()}
        self._ttl_range = ""
        self._is_whole = True

    def run(self) -> bool:
        """Ask everything, then report the answers; return whether everything was asked and no record is left.

        Raises:
            NoAnswer: the API does not answer.
            Interrupted: we were asked to stop; the record is gone again.
        """
        self._read()
        try:
            servers = self._write()
        except DnsError as exc:
            servers, self._is_whole = f"not asked: {kind_of(exc)}", False
            self._tell(str(exc))
        alias = self._code_of("DescribeDomainRecords of the zone in A-labels")
        forms = [f"{key} {' and '.join(sorted(seen)) or 'absent'}" for key, seen in self._forms.items()]
        policy = "not asked"
        if u_labels(self._zone) != self._zone:
            read = self._code_of(f"DescribeDomainRecords PageSize={_PAGE_SIZES[0]}")
            policy = (
                f"{read}; please add which of the two lines of docs/ram-policy.md the policy has (one of them"
                " is enough for the test), or that the AccessKey is the account's own"
            )
        largest = f"PageSize={_PAGE_SIZES[-1]}"
        ttl = self._code_of("AddDomainRecord of the TXT record")
        if self._ttl_range:
            ttl = f"refused; the range is {self._ttl_range}"
        self._say(f"1. names: a zone in A-labels: {alias}; in answers: {', '.join(forms)}")
        self._say(f"2. RAM policy of a zone that is not ASCII: {policy}")
        self._say(f"3. pages: {largest}: {self._code_of(f'DescribeDomainRecords {largest}')}")
        self._say(f"4. name servers: {servers}")
        self._say(f"5. TTL of {_TTL_S}: {ttl}")
        return self._is_whole

    # The questions.

    def _read(self) -> None:
        zone, rows_of_name = u_labels(self._zone), "DescribeSubDomainRecords"
        for size in _PAGE_SIZES:
            self._ask("DescribeDomainRecords", f"PageSize={size}", DomainName=zone, PageSize=str(size))
        names = {
            name.removeprefix("*.")
            for site in self._config.kept
            if site.needs_zone
            for name in site.all_names
        }
        for number, name in enumerate(sorted(names), 1):
            rr = name.removesuffix(self._zone)
            if is_in_zone(name, self._zone) and u_labels(rr) != rr:
                of, ours, theirs = f"of name {number},", u_labels(name), f"{rr}{zone}"
                self._ask(rows_of_name, f"{of} in Unicode", DomainName=zone, SubDomain=ours)
                self._ask(rows_of_name, f"{of} its label in A-labels", DomainName=zone, SubDomain=theirs)
        if zone != self._zone:
            words, name = "of the zone in A-labels", self._zone
            self._ask("DescribeDomainRecords", words, DomainName=name, PageSize="1")
            self._ask(rows_of_name, words, DomainName=name, SubDomain=self._name)

    def _ask(self, action: str, words: str, **parameters: str) -> None:
        self._asked = words
        try:
            self._account.call(action, **parameters)
        except NoAnswer:
            raise
        except DnsError:
            pass  # a refusal is an answer

    def _write(self) -> str:
        """Make the record, watch it appear, and delete it; return the answer about the name servers."""
        zone = self._account.open(self._zone)
        self._asked = "before the TXT record"
        self._clear(zone)
        value = f"{VALUE}{rfc3339(self._clock.now())}"
        self._tell(f"the TXT record {self._name!r} is made, and deleted at the end")
        try:
            self._asked = "of the TXT record"
            zone.add(Record(self._name, "TXT", value, _TTL_S))
            servers = self._watch(value)
            self._asked = "with the TXT record"
            listed = [record.value == value for record in zone.records(self._name)]
            self._say(f"the TXT record is listed {sum(listed)} times as it was sent, of {len(listed)}")
        finally:
            self._clean_up(value)
        return servers

    def _clear(self, zone: Zone) -> None:
        """Delete what an earlier probe has left. Raises DnsError for the record of anybody else."""
        for record in zone.records(self._name):
            if not _is_left(record, self._clock.now()):
                self._tell(f"there is a {record.type} record {self._name!r}: {record.value!r}")
                raise DnsError(
                    f"a record that this probe did not make is at {self._name!r}",
                    hint="delete it in the Alidns console; if another probe is running, wait 10 minutes",
                )
            zone.delete(record.record_id)
            self._say("the TXT record of an earlier probe is deleted")

    def _clean_up(self, value: str) -> None:
        """Delete the record with our value, by another account object: a stop has ended the first one."""
        zone = AlidnsAccount(self._access, SystemClock(), self._hear).open(self._zone)
        self._asked = "to delete the TXT record"
        try:
            for record in zone.records(self._name):
                if (record.type, record.value) == ("TXT", value):
                    zone.delete(record.record_id)
        except CertbotlessError as exc:
            self._is_whole = False
            self._say("the TXT record could not be deleted")
            self._tell(f"{exc}; the TXT record {self._name!r} may be left: delete it in the Alidns console")

    # The name servers.

    def _watch(self, value: str) -> str:
        """Report when each address of each name server shows the record; return the answer about them."""
        made_at = self._clock.monotonic()
        try:
            found = NameServers(self._config.dns.nameservers, self._clock)
            servers = list(islice(_every_address(found, self._zone), _MOST_ADDRESSES))
        except DnsError as exc:
            self._say(f"name servers: {kind_of(exc)}")
            return "no resolver names them"
        shown: dict[Server, float] = {}
        faults: dict[Server, str] = {}
        while True:
            late = [server for server in servers if server not in shown]
            for server, answer in zip(late, ask_all(late, self._name, "TXT"), strict=True):
                faults[server] = answer.fault or ("" if answer.has_authority else "without authority")
                if value in (answer.values or ()):
                    shown[server] = self._clock.monotonic() - made_at
            if len(shown) == len(servers) or self._clock.monotonic() - made_at >= LAG_S:
                break
            self._clock.sleep(_LAG_STEP_S)
        for number, server in enumerate(servers, 1):
            when = f"after {shown[server]:.1f} s" if server in shown else f"not within {LAG_S} s"
            fault = f" ({faults[server]})" if faults[server] else ""
            self._say(f"{_label(server, number)}: shown {when}{fault}")
        times = sorted(shown.values())
        span = f", after {times[0]:.1f} to {times[-1]:.1f} s" if times else ""
        limit = self._questions_in_a_row(servers[0])
        return f"{len(shown)} of {len(servers)} addresses showed the record{span}; {limit}"

    def _questions_in_a_row(self, server: Server) -> str:
        heard: list[bool] = []
        while len(heard) < _QUESTIONS and (any(heard[-_MOST_SILENT:]) or len(heard) < _MOST_SILENT):
            [answer] = ask_all([server], self._zone, "SOA")
            heard.append(answer.values is not None)
            self._clock.sleep(0)
        return f"{sum(heard)} of {len(heard)} questions in a row to one address were answered"

    # What the API said.

    def _hear(self, action: str, status: int, reply: Mapping[str, Any]) -> None:
        question, code = f"{action} {self._asked}", code_of(reply)
        self._codes[question] = code
        self._say(f"{question}: HTTP {status}, {code}, {shape_of(reply)}")
        if code == "QuotaExceeded.TTL":
            self._ttl_range = range_in(reply.get("Message")) or "not named"
        for row in rows_of(reply):
            for key, forms in self._forms.items():
                forms.add(form_of(row.get(key)))

    def _code_of(self, question: str) -> str:
        return self._codes.get(question, "not asked")


def _is_left(record: Record, now: datetime) -> bool:
    """Whether a probe that was killed has left this record."""
    if record.type == "TXT" and record.value.startswith(VALUE):
        with suppress(ValueError):
            return now - parse_rfc3339(record.value.removeprefix(VALUE)) > _LEFT_AFTER
    return False


def _every_address(found: NameServers, zone: str) -> Iterator[Server]:
    """Yield every IPv4 address of each name server of the zone, also those that a check leaves out."""
    first: dict[str, Server] = {}
    for server in found.of(zone):
        first.setdefault(server.name, server)
    for server in first.values():
        others: list[str] = []
        if not server.is_given:
            with suppress(OSError):
                others = [at for at in addresses_of(server.name) if ":" not in at]
        for address in dict.fromkeys([server.address, *sorted(others)]):
            yield Server(server.name, address, server.port, is_given=server.is_given)


def _label(server: Server, number: int) -> str:
    if server.name.endswith(_PUBLIC_SERVERS):
        return f"name server {server.name} {server.address}"
    return f"name server {number} ({'given in the file' if server.is_given else 'not of Aliyun'})"
