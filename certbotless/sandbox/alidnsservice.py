"""What the Alidns API answers: from a call's parameters to its JSON object or its error. No sockets.

Owns the actions with their rules. Leaves out what the clients of a certificate or an address never ask for:
other record types than `TYPES`, groups, weights, and what lines there are.

Source: Alidns API 2015-01-09, the reference of each action and what users saw of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import dns.exception

from .dnsserver import rdata
from .gateway import Account, ApiError, Gateway, Parameters, mandatory
from .ram import Policy
from .zonedata import Record, Status, ZoneData

Answer = dict[str, Any]

TYPES = frozenset({"A", "AAAA", "CAA", "CNAME", "TXT"})
_MAX_TTL_S = 86400
_RR = re.compile(r"@|(\*|[a-z0-9_-]{1,63})(\.[a-z0-9_-]{1,63})*")
_DOMAIN = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")


class AlidnsService:
    """One account of the service. Safe to call from many threads; each action is atomic.

    Attributes:
        policy: what the key may do, as a RAM user's; `None` is the key of the account itself.
    """

    def __init__(self, account: Account, data: ZoneData) -> None:
        self._min_ttl_s = account.min_ttl_s
        self._data = data
        self.gateway = Gateway(account)
        self.policy: Policy | None = None
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
            self.gateway.admit(method, parameters)
            carry_out, names = self._actions[action]
            for name in names:
                mandatory(parameters, name)
            # A parameter that is sent empty counts as not sent.
            sent = {name: value for name, value in parameters.items() if value}
            if self.policy is not None and not self.policy.permits(action, self._zone_meant(sent)):
                raise ApiError("Forbidden.RAM")
            return carry_out(sent)

    def _zone_meant(self, parameters: Parameters) -> str | None:
        """Return the zone that a call is about, which need not be one of the account; `None` for all of them.

        What the service makes of a record id that is not there is not known; this is the stricter guess.
        """
        if record_id := parameters.get("RecordId"):
            return next((r.zone for r in self._data.records() if r.record_id == record_id), None)
        if "DomainName" in parameters:
            return parameters["DomainName"].lower()
        return self._split(parameters["SubDomain"])[0] if "SubDomain" in parameters else None

    # Names and zones.

    def _zone(self, domain_name: str) -> str:
        name = domain_name.lower()
        if not _DOMAIN.fullmatch(name):
            raise ApiError("InvalidDomainName.Format")
        if name not in self._data.zones:
            raise ApiError("InvalidDomainName.NoExist")
        return name

    def _split(self, name: str) -> tuple[str, str]:
        """Return the zone and RR of a full name; a zone of the account if there is one, the longest first."""
        labels = name.lower().split(".")
        suffixes = [".".join(labels[at:]) for at in range(len(labels))]
        # The service cuts by the list of public suffixes, foreign names too; two labels come near enough.
        zone = next((suffix for suffix in suffixes if suffix in self._data.zones), ".".join(labels[-2:]))
        return zone, name.lower().removesuffix(zone).removesuffix(".") or "@"

    def _split_name(self, parameters: Parameters) -> Answer:
        zone, rr = self._split(parameters["InputString"])
        if not _DOMAIN.fullmatch(zone):
            raise ApiError("InvalidDomainName.Format")
        return {"DomainName": zone, "RR": rr, "DomainLevel": 1 if rr == "@" else rr.count(".") + 2}

    def _describe_domains(self, parameters: Parameters) -> Answer:
        keyword = parameters.get("KeyWord", "").lower()
        domains = [
            {"DomainName": zone, "DomainId": zone, "PunyCode": zone, "AliDomain": False}
            for zone in self._data.zones
            if keyword in zone
        ]
        return _page(parameters, "Domains", "Domain", domains, largest=100)

    # Reading records.

    def _describe_zone(self, parameters: Parameters) -> Answer:
        zone = self._zone(parameters["DomainName"])

        def wanted(record: Record) -> bool:
            rr_keyword = parameters.get("KeyWord", "").lower()
            exact = parameters.get("SearchMode", "").upper() == "EXACT"
            return (
                record.zone == zone
                and _selected(record, parameters)
                # Matched anywhere in the text, as the service does: `a` finds `b.a` and `lan` too.
                and parameters.get("RRKeyWord", "").lower() in record.rr
                and parameters.get("ValueKeyWord", "").lower() in record.value.lower()
                and parameters.get("TypeKeyWord", record.type).upper() == record.type
                and (not rr_keyword or rr_keyword == record.rr or (not exact and rr_keyword in record.rr))
            )

        return _record_page(parameters, filter(wanted, self._data.records()))

    def _describe_name(self, parameters: Parameters) -> Answer:
        name = parameters["SubDomain"].lower().removeprefix("@.")
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
        return _record_page(parameters, records)

    def _describe_record(self, parameters: Parameters) -> Answer:
        return _as_json(self._own(parameters["RecordId"]))

    # Changing records.

    def _add_record(self, parameters: Parameters) -> Answer:
        record = self._parsed(parameters, self._data.new_id(), self._zone(parameters["DomainName"]))
        self._refuse_clash(record)
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
        zone, rr = self._zone(parameters["DomainName"]), parameters["RR"].lower()
        doomed = [
            record
            for record in self._data.records()
            if (record.zone, record.rr) == (zone, rr) and not record.locked and _selected(record, parameters)
        ]
        for record in doomed:
            self._data.remove(record.record_id)
        return {"RR": rr, "TotalCount": str(len(doomed))}

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
        rr, type_, value = parameters["RR"].lower(), parameters["Type"].upper(), parameters["Value"]
        if not _RR.fullmatch(rr) or len(f"{rr}.{zone}") > 253:
            raise ApiError("InvalidRR.Format")
        if type_ not in TYPES:
            raise _invalid("Type")
        try:
            rdata(type_, value)
        except dns.exception.DNSException as exc:
            raise ApiError("SubDomainInvalid.Value") from exc
        ttl_s = _integer(parameters, "TTL", 600)
        if not self._min_ttl_s <= ttl_s <= _MAX_TTL_S:
            raise ApiError("QuotaExceeded.TTL")
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


def _record_page(parameters: Parameters, records: Iterable[Record]) -> Answer:
    newest_first = [_as_json(record) for record in records][::-1]
    return _page(parameters, "DomainRecords", "Record", newest_first, largest=500)


def _as_json(record: Record) -> Answer:
    return {
        "DomainName": record.zone,
        "RecordId": record.record_id,
        "RR": record.rr,
        "Type": record.type,
        "Value": record.value,
        "TTL": record.ttl_s,
        "Line": record.line,
        "Status": record.status,
        "Locked": record.locked,
    }
