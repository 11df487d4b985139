"""The Aliyun DNS API as a `Zone`.

Compares RR, type and line exactly: the service's own searches are fuzzy. Deletes by record id only.

The service has names in their own script: it refuses a zone in A-labels, and answers in U-labels. Inside the
program names are A-labels, so every name is converted here, in both directions.

Source: Alidns API 2015-01-09; for names in Chinese
external-dns PR 6141, lego's alidns provider, and DNSControl's providers/alidns/convert.go.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from aliyunsdkalidns.request.v20150109.AddDomainRecordRequest import AddDomainRecordRequest
from aliyunsdkalidns.request.v20150109.DeleteDomainRecordRequest import DeleteDomainRecordRequest
from aliyunsdkalidns.request.v20150109.DescribeDomainRecordsRequest import DescribeDomainRecordsRequest
from aliyunsdkalidns.request.v20150109.DescribeSubDomainRecordsRequest import DescribeSubDomainRecordsRequest
from aliyunsdkalidns.request.v20150109.UpdateDomainRecordRequest import UpdateDomainRecordRequest

from ...base.clock import Clock
from ...base.errors import (
    CertbotlessError,
    DnsError,
    DnsUnavailable,
    RecordConflict,
    ZoneNotFound,
    printable,
)
from ...base.names import NameFault, a_labels, candidate_zones, fqdn_of, rr_of, u_labels
from ...base.words import N_, Text
from ...model.records import DEFAULT_LINE, Record
from ..credentials.access import ApiAccess
from ..credentials.errors import ABOUT_THE_KEY, ApiRefusal, call_was_made
from ..credentials.rpc import OnReply, Refused, SignedCalls
from .alidns_errors import HINTS, NO_SUCH_ZONE, NOT_ALLOWED, OF_ONE_RECORD, RecordRefusal, ZoneForbidden

logger = logging.getLogger(__name__)

# Every call that we make, by its name.
REQUESTS = {
    kind().get_action_name(): kind
    for kind in (
        AddDomainRecordRequest,
        DeleteDomainRecordRequest,
        DescribeDomainRecordsRequest,
        DescribeSubDomainRecordsRequest,
        UpdateDomainRecordRequest,
    )
}
# The reference in Chinese says 100 at most (since 2024-12), the one in English 500.
_PAGE_SIZE = 100
# 10,000 records at one name: a list that goes on after that has no end.
_MOST_PAGES = 100
# The least TTL of the free and personal plans, for where the service does not name it.
LEAST_TTL_S = 600
# "A valid TTL must be in the range of 600 to 86400." (ddns-go issue 1717)
_TTL_RANGE = re.compile(r"\b(\d{1,6}) to \d{1,6}\b")


class AlidnsAccount:
    """The DNS account: finds zones and opens them, by one signed call at a time. For one thread."""

    def __init__(self, access: ApiAccess, clock: Clock, on_reply: OnReply = lambda *_: None) -> None:
        self._source = access.source
        self._calls = SignedCalls(access, clock, _error_of, on_reply)

    @property
    def clock_ahead(self) -> timedelta | None:
        """How far our clock is ahead of the API's, as of its last reply; None where it has told no time."""
        return self._calls.clock_ahead

    def call(self, action: str, **parameters: str | int) -> dict[str, Any]:
        """Call an action with exactly these parameters, and return the JSON object of the reply.

        A call that the service asks to send again is tried for 60 s; one without an answer for 15 s.

        Raises:
            DnsRefused: the service said no; an `ApiRefusal` carries its code.
            ZoneNotFound: the service knows no such zone in this account.
            KeyRefused, KeyUnavailable: there is no key; nothing was sent.
            DnsUnavailable: no usable answer within the deadline.
        """
        return self._calls.call(REQUESTS[action], **parameters)

    def prove(self, zones: Iterable[str]) -> None:
        self._source.allow(zones)
        self._source.key()

    def find(self, fqdn: str) -> str:
        """Return the zone of the account that holds `fqdn`: the longest suffix that the account may read.

        Needs no right beyond the ones for the zone itself: "not yours" and "forbidden" both mean "not this
        one".

        Raises:
            ZoneNotFound: none does.
            DnsError: the API refused for another reason, or did not answer.
        """
        forbidden: list[str] = []
        self._source.allow(candidate_zones(fqdn))
        for name in candidate_zones(fqdn):
            try:
                with _reply_shape("DescribeDomainRecords"):
                    reply = self.call("DescribeDomainRecords", DomainName=u_labels(name), PageSize=1)
                    for row in reply["DomainRecords"]["Record"]:
                        # With a record of another zone in its list `name` need not be a zone at all.
                        if (zone := a_labels(row.get("DomainName", name))) != name:
                            raise NameFault(
                                Text("asked for the zone {!r}, the API answered for {!r}", name, zone)
                            )
            except ZoneNotFound:
                continue
            except ApiRefusal as exc:
                if exc.code in NOT_ALLOWED:
                    forbidden.append(name)
                elif not exc.code.startswith("InvalidDomainName"):
                    raise
                continue
            return name
        # Such an answer hides whether there is a zone.
        text = Text("no zone of this Aliyun account holds {!r}", fqdn)
        if forbidden:
            form = N_("{}; DescribeDomainRecords is forbidden for {}")
            text = Text(form, text, printable(", ".join(forbidden), 200))
        kind = ZoneForbidden if forbidden else ZoneNotFound
        raise kind(
            text,
            hint=Text(
                "add the zone in the Alidns console, grant the RAM user its records (docs/ram-policy.md), "
                "or set sites[].zone"
            ),
        )

    def open(self, name: str) -> AlidnsZone:
        """Return the zone; makes no call."""
        self._source.allow([name])
        return AlidnsZone(self, name)


def _error_of(refused: Refused) -> DnsError:
    """Return the error for what the service says no to."""
    code, text = refused.code, refused.text
    if code in NO_SUCH_ZONE:
        return ZoneNotFound(
            Text("{}: the account has no such zone", text),
            hint=Text("add the zone in the Alidns console or correct sites[].zone"),
        )
    if code in NOT_ALLOWED:
        cure = Text("grant the RAM user alidns:{} on the zone (docs/ram-policy.md)", refused.action)
        return ApiRefusal(text, code=code, hint=cure)
    hint: str = Text(next(hint for start, hint in HINTS.items() if code.startswith(start)))
    if refused.cure and code.startswith(tuple(ABOUT_THE_KEY)):
        hint = refused.cure
    kind = RecordRefusal if code in OF_ONE_RECORD else ApiRefusal
    return kind(text, code=code, said=refused.said, hint=hint)


class AlidnsZone:
    """A zone of the account. See `records.Zone` for the contract of each method."""

    def __init__(self, account: AlidnsAccount, name: str) -> None:
        self._call = account.call
        self.name = name

    def records(self, fqdn: str) -> list[Record]:
        rr_of(fqdn, self.name)  # raises NameFault for a name that does not lie in the zone
        found: list[Record] = []
        seen = 0
        for page in range(1, _MOST_PAGES + 1):
            with _reply_shape("DescribeSubDomainRecords"):
                reply = self._call(
                    "DescribeSubDomainRecords",
                    DomainName=u_labels(self.name),
                    SubDomain=u_labels(fqdn),
                    PageNumber=page,
                    PageSize=_PAGE_SIZE,
                )
                rows = reply["DomainRecords"]["Record"]
                found += [self._record(row) for row in rows if self._name_of(row) == fqdn]
                total = int(reply["TotalCount"])
            seen += len(rows)
            if not rows or seen >= total:
                return found
        raise DnsUnavailable(Text("the API's list of the records of {!r} does not end", fqdn))

    def add(self, record: Record) -> str:
        try:
            reply = self._write("AddDomainRecord", record, DomainName=u_labels(self.name))
        except ApiRefusal as exc:
            if exc.code != "DomainRecordDuplicate":
                raise
            # An earlier try did the change and its answer was lost, or someone else's record is the same.
            with call_was_made():
                return self._twin(record).record_id
        with _reply_shape("AddDomainRecord"):
            return _record_id(reply)

    def update(self, record: Record) -> None:
        try:
            self._write("UpdateDomainRecord", record, RecordId=record.record_id)
        except ApiRefusal as exc:
            # An update that changes nothing is refused so, and one that makes two records the same.
            if exc.code != "DomainRecordDuplicate" or self._twin(record).record_id != record.record_id:
                raise

    def delete(self, record_id: str) -> None:
        try:
            self._call("DeleteDomainRecord", RecordId=record_id)
        except ApiRefusal as exc:
            # What is not there any more answers so.
            if exc.code != "DomainRecordNotBelongToUser":
                raise

    def _write(self, action: str, record: Record, **parameters: str | int) -> dict[str, Any]:
        """Send the record, once more with the least TTL of the plan where its own is below that."""
        parameters |= {"RR": u_labels(rr_of(record.fqdn, self.name)), "Type": record.type}
        parameters |= {"Value": record.value, "TTL": record.ttl_s, "Line": record.line}
        try:
            return self._call(action, **parameters)
        except ApiRefusal as exc:
            named = _TTL_RANGE.search(exc.said)
            least_s = int(named[1]) if named else LEAST_TTL_S
            if exc.code != "QuotaExceeded.TTL" or record.ttl_s >= least_s:
                raise
            logger.warning(
                "record.ttl_raised fqdn=%s wanted_s=%d ttl_s=%d", record.fqdn, record.ttl_s, least_s
            )
            return self._call(action, **parameters | {"TTL": least_s})

    def _twin(self, wanted: Record) -> Record:
        """Return the record that made the service speak of a duplicate."""
        for record in self.records(wanted.fqdn):
            if (record.type, record.value, record.line) == (wanted.type, wanted.value, wanted.line):
                if record.is_enabled:
                    return record
                raise RecordConflict(
                    Text(
                        "{!r} already has the {} record {!r}, but disabled",
                        wanted.fqdn,
                        wanted.type,
                        wanted.value,
                    ),
                    hint=Text("enable or delete it in the Alidns console"),
                )
        raise DnsUnavailable(Text("the API rejects {!r} as a duplicate, but does not list it", wanted.fqdn))

    def _name_of(self, row: dict[str, Any]) -> str:
        return fqdn_of(a_labels(row["RR"]), a_labels(row.get("DomainName", self.name)))

    def _record(self, row: dict[str, Any]) -> Record:
        type_, value = str(row["Type"]).upper(), str(row["Value"])
        if type_ == "A":
            ipaddress.IPv4Address(value)  # raises ValueError for what is no address
        elif type_ == "AAAA":
            value = str(ipaddress.IPv6Address(value))  # it has several spellings
        elif type_ == "CNAME":
            with suppress(NameFault):  # it is only shown
                value = a_labels(value)
        return Record(
            fqdn=self._name_of(row),
            type=type_,
            value=value,
            ttl_s=int(row.get("TTL", LEAST_TTL_S)),
            record_id=_record_id(row),
            line=str(row.get("Line", DEFAULT_LINE)),
            is_enabled=str(row.get("Status", "ENABLE")).upper() == "ENABLE",
        )


@contextmanager
def _reply_shape(action: str) -> Iterator[None]:
    """Map what a reply raises that lacks what it must hold; a row that is not understood is never no row."""
    try:
        yield
    except NameFault as exc:
        raise DnsUnavailable(
            Text("{}: the API answers in a form that is not understood: {}", action, exc.message),
            hint=Text("please report it, with this line and the text of certbotless doctor --probe"),
        ) from exc
    except CertbotlessError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        raise DnsUnavailable(
            Text("{}: the reply lacks what it must hold ({})", action, printable(exc, 80))
        ) from exc


def _record_id(row: dict[str, Any]) -> str:
    record_id = str(row["RecordId"])
    if not record_id.isalnum() or len(record_id) > 64:
        raise ValueError("RecordId")
    return record_id
