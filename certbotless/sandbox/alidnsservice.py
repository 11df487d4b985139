"""What the Alidns API answers: from a call's parameters to its JSON object or its error. No sockets.

Owns the actions with their rules. Leaves out what the clients of a certificate or an address never ask for:
other record types than `TYPES`, groups, the calls about weights, and what lines there are.

Source: Alidns API 2015-01-09, the reference of each action and what users saw of it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import dns.exception

from .dnsserver import rdata
from .gateway import Account, ApiError, Gateway, Parameters, mandatory, quota_of_ttl
from .idn import is_taken, to_unicode, to_wire
from .ram import Permits
from .zonedata import Record, Status, ZoneData

Answer = dict[str, Any]

TYPES = frozenset({"A", "AAAA", "CAA", "CNAME", "TXT"})
_MAX_TTL_S = 86400
# Of one name, type and line, in the free edition: what Aliyun's page "Weight configuration" says of records
# with weights. The number without weights is told nowhere, and taken to be the same.
_MOST_ADDRESSES = 10
_RR = re.compile(r"@|(\*|[a-z0-9_-]{1,63})(\.[a-z0-9_-]{1,63})*")
_DOMAIN = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")


@dataclass(frozen=True, slots=True)
class Unsure:
    """What is not sure of the real service; the defaults are what the sources say, or else suspect.

    Attributes:
        largest_page: the reference in Chinese says 100 since 2024-12. The one in English says 500, and
            clients that ask for 500 (lego, NewFuture/DDNS) work; ours must not depend on it.
        answers_unicode: whether names in answers are in their own script (external-dns PR 6141, DNSControl).
        arns_unicode: whether the resource of a RAM policy names a zone so. Nobody has told; suspected.
    """

    largest_page: int = 100
    answers_unicode: bool = True
    arns_unicode: bool = True


class AlidnsService:
    """One account of the service. Safe to call from many threads; each action is atomic.

    Attributes:
        permits: what the key may do, as a RAM user's; `None` is the key of the account itself.
    """

    def __init__(self, account: Account, data: ZoneData, unsure: Unsure | None = None) -> None:
        self._unsure = unsure or Unsure()
        self._min_ttl_s = account.min_ttl_s
        self._data = data
        self.gateway = Gateway(account)
        self.permits: Permits | None = None
        # Each action with the parameters it cannot do without.
        self._actions: dict[str, tuple[Callable[[Parameters], Answer], tuple[str, ...]]] = {
            "AddDomainRecord": (self._add_record, ("DomainName", "RR", "Type", "Value")),
            "DeleteDomainRecord": (self._delete_record, ("RecordId",)),
            "DeleteSubDomainRecords": (self._delete_name, ("DomainName", "RR")),
            "DescribeDomainRecordInfo": (self._describe_record, ("RecordId",)),
            "DescribeDomainRecords": (self._describe_zone, ("DomainName",)),
            "DescribeDomains": (self._describe_domains, ()),
            "DescribeSubDomainRecords": (self._describe_name, ("SubDomain",)),
            "GetMainDomainName": (self._split_name, ("InputString",)),
            "SetDomainRecordStatus": (self._set_status, ("RecordId", "Status")),
            "UpdateDomainRecord": (self._update_record, ("RecordId", "RR", "Type", "Value")),
        }

    def call(self, method: str, parameters: Parameters) -> Answer:
        """Check a call, carry it out, and return its answer without the RequestId.

        Args:
            method: the HTTP method, which is part of what is signed.
            parameters: those of the query and of the form together.

        Raises:
            ApiError: the service refuses; nothing was changed.
        """
        with self._data.lock:
            action = mandatory(parameters, "Action")
            if action not in self._actions:
                raise ApiError("InvalidAction.NotFound")
            temporary = self.gateway.admit(method, parameters)
            carry_out, names = self._actions[action]
            for name in names:
                mandatory(parameters, name)
            # A parameter that is sent empty counts as not sent.
            sent = {name: value for name, value in parameters.items() if value}
            permits = self.permits if temporary is None else temporary.permits
            if permits is not None:
                zone = self._zone_meant(sent)
                is_turned = zone is not None and self._unsure.arns_unicode
                if not permits(action, to_unicode(zone) if zone and is_turned else zone):
                    raise ApiError("Forbidden.RAM")
            return carry_out(sent)

    def _zone_meant(self, parameters: Parameters) -> str | None:
        """Return the zone that a call is about, which need not be one of the account; `None` for all of them.

        What the service makes of a record id that is not there is not known; this is the stricter guess.
        """
        if record_id := parameters.get("RecordId"):
            return next((r.zone for r in self._data.records() if r.record_id == record_id), None)
        if "DomainName" in parameters:
            return _wire(parameters["DomainName"])
        return self._split(parameters["SubDomain"])[0] if "SubDomain" in parameters else None

    # Names and zones.

    def _zone(self, domain_name: str) -> str:
        name = _wire(domain_name)
        if not _DOMAIN.fullmatch(name):
            raise ApiError("InvalidDomainName.Format")
        # A zone in Chinese is known by its own script alone (idn).
        if name not in self._data.zones or "xn--" in domain_name.lower():
            raise ApiError("InvalidDomainName.NoExist")
        return name

    def _split(self, name: str) -> tuple[str, str]:
        """Return the zone and RR of a full name; a zone of the account if there is one, the longest first."""
        name = _wire(name)
        labels = name.split(".")
        suffixes = [".".join(labels[at:]) for at in range(len(labels))]
        # The service cuts by the list of public suffixes, foreign names too; two labels come near enough.
        zone = next((suffix for suffix in suffixes if suffix in self._data.zones), ".".join(labels[-2:]))
        return zone, name.removesuffix(zone).removesuffix(".") or "@"

    def _split_name(self, parameters: Parameters) -> Answer:
        zone, rr = self._split(parameters["InputString"])
        if not _DOMAIN.fullmatch(zone):
            raise ApiError("InvalidDomainName.Format")
        level = 1 if rr == "@" else rr.count(".") + 2
        return {"DomainName": self._shown(zone), "RR": self._shown(rr), "DomainLevel": level}

    def _describe_domains(self, parameters: Parameters) -> Answer:
        keyword = parameters.get("KeyWord", "").lower()
        domains = [
            {"DomainName": self._shown(zone), "DomainId": zone, "PunyCode": zone, "AliDomain": False}
            for zone in self._data.zones
            if keyword in to_unicode(zone)
        ]
        return _page(parameters, "Domains", "Domain", domains, largest=100)

    # Reading records.

    def _describe_zone(self, parameters: Parameters) -> Answer:
        zone = self._zone(parameters["DomainName"])

        def wanted(record: Record) -> bool:
            rr_keyword, rr = parameters.get("KeyWord", "").lower(), to_unicode(record.rr)
            exact = parameters.get("SearchMode", "").upper() == "EXACT"
            return (
                record.zone == zone
                and _selected(record, parameters)
                # Matched anywhere in the text, as the service does: `a` finds `b.a` and `lan` too.
                and parameters.get("RRKeyWord", "").lower() in rr
                and parameters.get("ValueKeyWord", "").lower() in record.value.lower()
                and parameters.get("TypeKeyWord", record.type).upper() == record.type
                and (not rr_keyword or rr_keyword == rr or (not exact and rr_keyword in rr))
            )

        return self._record_page(parameters, filter(wanted, self._data.records()))

    def _describe_name(self, parameters: Parameters) -> Answer:
        name = _wire(parameters["SubDomain"]).removeprefix("@.")
        if "DomainName" in parameters:
            zone = self._zone(parameters["DomainName"])
            if name != zone and not name.endswith(f".{zone}"):
                raise ApiError("InvalidDomainName.Format")
            rr = name.removesuffix(zone).removesuffix(".") or "@"
        else:
            zone, rr = self._split(name)
            self._zone(zone)
        records = (
            record
            for record in self._data.records()
            if (record.zone, record.rr) == (zone, rr) and _selected(record, parameters)
        )
        return self._record_page(parameters, records)

    def _describe_record(self, parameters: Parameters) -> Answer:
        return self._as_json(self._own(parameters["RecordId"]))

    def _record_page(self, parameters: Parameters, records: Iterable[Record]) -> Answer:
        newest_first = [self._as_json(record) for record in records][::-1]
        largest = self._unsure.largest_page
        return _page(parameters, "DomainRecords", "Record", newest_first, largest=largest)

    def _shown(self, name: str) -> str:
        return to_unicode(name) if self._unsure.answers_unicode else name

    def _as_json(self, record: Record) -> Answer:
        return {
            "DomainName": self._shown(record.zone),
            "RecordId": record.record_id,
            "RR": self._shown(record.rr),
            "Type": record.type,
            "Value": self._shown(record.value) if record.type == "CNAME" else record.value,
            "TTL": record.ttl_s,
            "Line": record.line,
            "Status": record.status,
            "Locked": record.locked,
            **self._data.weight_of(record),
        }

    # Changing records.

    def _add_record(self, parameters: Parameters) -> Answer:
        record = self._parsed(parameters, self._data.new_id(), self._zone(parameters["DomainName"]))
        self._refuse_clash(record)
        if record.type in ("A", "AAAA") and len(self._data.beside(record)) >= _MOST_ADDRESSES:
            raise ApiError("QuotaExceeded.ARecord")
        self._data.put(record)
        return {"RecordId": record.record_id}

    def _update_record(self, parameters: Parameters) -> Answer:
        old = self._unlocked(parameters["RecordId"])
        record = replace(self._parsed(parameters, old.record_id, old.zone), status=old.status)
        if record == old:
            raise ApiError("DomainRecordDuplicate")
        self._refuse_clash(record)
        self._data.put(record)
        return {"RecordId": record.record_id}

    def _set_status(self, parameters: Parameters) -> Answer:
        statuses: dict[str, Status] = {"ENABLE": "ENABLE", "DISABLE": "DISABLE"}
        status = statuses.get(parameters["Status"].upper())
        if status is None:
            raise _invalid("Status")
        record = replace(self._unlocked(parameters["RecordId"]), status=status)
        self._data.put(record)
        return {"RecordId": record.record_id, "Status": status.capitalize()}

    def _delete_record(self, parameters: Parameters) -> Answer:
        record = self._unlocked(parameters["RecordId"])
        self._data.remove(record.record_id)
        return {"RecordId": record.record_id}

    def _delete_name(self, parameters: Parameters) -> Answer:
        zone, rr = self._zone(parameters["DomainName"]), _wire(parameters["RR"])
        doomed = [
            record
            for record in self._data.records()
            if (record.zone, record.rr) == (zone, rr) and not record.locked and _selected(record, parameters)
        ]
        for record in doomed:
            self._data.remove(record.record_id)
        return {"RR": self._shown(rr), "TotalCount": str(len(doomed))}

    def _own(self, record_id: str) -> Record:
        for record in self._data.records():
            if record.record_id == record_id:
                return record
        raise ApiError("DomainRecordNotBelongToUser")

    def _unlocked(self, record_id: str) -> Record:
        record = self._own(record_id)
        if record.locked:
            raise ApiError("DomainRecordLocked")
        return record

    def _parsed(self, parameters: Parameters, record_id: str, zone: str) -> Record:
        rr, type_, value = _wire(parameters["RR"]), parameters["Type"].upper(), parameters["Value"]
        if not is_taken(rr):
            raise ApiError("SubDomainInvalid.RR")
        if not _RR.fullmatch(rr) or len(f"{rr}.{zone}") > 253:
            raise ApiError("InvalidRR.Format")
        if type_ not in TYPES:
            raise _invalid("Type")
        if type_ == "CNAME" and not is_taken(value):
            raise ApiError("SubDomainInvalid.Value")
        try:
            rdata(type_, value)
        except dns.exception.DNSException as exc:
            raise ApiError("SubDomainInvalid.Value") from exc
        ttl_s = _integer(parameters, "TTL", 600)
        if not self._min_ttl_s <= ttl_s <= _MAX_TTL_S:
            raise ApiError("QuotaExceeded.TTL", quota_of_ttl(self._min_ttl_s))
        return Record(record_id, zone, rr, type_, value, ttl_s, parameters.get("Line", "default"))

    def _refuse_clash(self, record: Record) -> None:
        beside = [
            other
            for other in self._data.records()
            if (other.zone, other.rr, other.line) == (record.zone, record.rr, record.line)
            and other.record_id != record.record_id
        ]
        if any((other.type, other.value) == (record.type, record.value) for other in beside):
            raise ApiError("DomainRecordDuplicate")
        # An alias stands alone at its name (RFC 1034 section 3.6.2).
        if beside and "CNAME" in {record.type, *(other.type for other in beside)}:
            raise ApiError("DomainRecordConflict")


def _wire(name: str) -> str:
    """Return a name as DNS has it; one that cannot be turned stays, and is refused for its letters."""
    try:
        return to_wire(name)
    except UnicodeError:
        return name.lower()


def _invalid(name: str) -> ApiError:
    return ApiError("InvalidParameter", f"The parameter value {name} is invalid.")


def _integer(parameters: Parameters, name: str, default: int) -> int:
    text = parameters.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _invalid(name)
    return int(text)


def _selected(record: Record, parameters: Parameters) -> bool:
    """Tell whether a record has the type and line that a call asks for, where it asks."""
    return (
        parameters.get("Type", record.type).upper() == record.type
        and parameters.get("Line", record.line) == record.line
    )


def _page(
    parameters: Parameters,
    plural: Literal["DomainRecords", "Domains"],
    single: str,
    items: list[Answer],
    largest: int,
) -> Answer:
    number, size = _integer(parameters, "PageNumber", 1), _integer(parameters, "PageSize", 20)
    if number < 1:
        raise _invalid("PageNumber")
    if not 1 <= size <= largest:
        raise _invalid("PageSize")
    page = items[(number - 1) * size : number * size]
    return {"TotalCount": len(items), "PageNumber": number, "PageSize": size, plural: {single: page}}
