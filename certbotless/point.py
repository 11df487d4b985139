"""Make the A and AAAA records lead here, and see that the authoritative servers show it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .contest import Contest
from .errors import AddressError, DnsUnavailable
from .nameservers import SILENCE_S, Wanted, wait_until_shown
from .records import DEFAULT_LINE, Add, Delete, Record, Update, address_type, apply_changes, plan_changes
from .state import RECORD_FIELDS, Listed, WrittenRecord
from .workbench import Workbench

logger = logging.getLogger(__name__)

# Values that we once wrote, to know our own records again.
_MOST_OUR_VALUES = 20


class Pointing:
    """The steps `list`, `record` and `confirm` of one site, and `record6` and `confirm6`."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def write(self, fqdn: str, address: str) -> None:
        """Write what `plan_changes` asks for at this name, if it still leads here then.

        Raises:
            RecordConflict: a person must act: another record is in the way, or another program keeps this.
            DnsError: any other.
        """
        contest = Contest(self._bench, fqdn, address)
        zone, file = self._bench.zone(), self._bench.file
        type_ = address_type(address)
        wanted = Record(fqdn, type_, address, self._bench.site.ttl)
        last_written, our_values = RECORD_FIELDS[type_]
        ours = getattr(file.load(), our_values).get(fqdn, ())
        existing = zone.records(fqdn)
        self._keep(fqdn, existing)
        for record in existing:
            if record.type == wanted.type and not (record.is_enabled and record.line == DEFAULT_LINE):
                text = "record.not_ours fqdn=%s value=%s line=%s enabled=%s"
                logger.warning(text, record.fqdn, record.value, record.line, record.is_enabled)
        changes = plan_changes(existing, wanted, ours=ours)
        self._bench.clock.sleep(0)  # nothing new begins once we are asked to stop
        if not self._is_still(address):
            logger.info("record.not_written fqdn=%s reason=%s is no more the LAN address", fqdn, address)
            return
        is_contested = contest.is_entered_by(changes)
        # Known as ours before it is there, should we be killed in between.
        ours = (*(value for value in ours if value != address), address)[-_MOST_OUR_VALUES:]
        file.put(our_values, fqdn, ours)
        apply_changes(zone, changes)
        if is_contested:
            contest.note()  # what the API did not take was not set back
        written = WrittenRecord(value=address, ttl_s=wanted.ttl_s, at=self._bench.clock.now())
        file.put(last_written, fqdn, written)
        self._keep(fqdn, [*(record for record in existing if record.type != wanted.type), wanted])
        for change in changes:
            match change:
                case Add(record):
                    self._bench.tell("record.added", f"fqdn={fqdn} value={record.value} ttl_s={record.ttl_s}")
                case Update(record, old):
                    values = f"old={old.value} new={record.value}"
                    self._bench.tell("record.updated", f"fqdn={fqdn} {values} ttl_s={record.ttl_s}")
                case Delete(record):
                    self._bench.tell("record.deleted", f"fqdn={fqdn} value={record.value}")

    def list(self, fqdn: str) -> None:
        """Keep what the API lists of this name: what counts where no name server speaks for the zone.

        Raises:
            DnsError: the API did not list it.
        """
        self._keep(fqdn, self._bench.zone().records(fqdn))

    def _keep(self, fqdn: str, records: Sequence[Record]) -> None:
        ours = [record for record in records if record.is_enabled and record.line == DEFAULT_LINE]
        values = {
            type_: tuple(sorted({record.value for record in ours if record.type == type_}))
            for type_ in ("A", "AAAA")
        }
        file, site = self._bench.file, self._bench.site
        names = {name for type_ in site.rules for name in site.names_with(type_)}
        others = {name: each for name, each in file.load().listed.items() if name in names}
        file.change(listed=others | {fqdn: Listed(at=self._bench.clock.now(), values=values)})

    def _is_still(self, address: str) -> bool:
        try:
            return self._bench.address_of(self._bench.site.rules[address_type(address)]) == address
        except AddressError:
            return False

    def confirm(self, fqdn: str, address: str) -> None:
        """Wait for every server that answers, at most propagation_timeout; where none does, 30 s.

        Raises:
            PropagationTimeout: a server still answers without it.
        """
        bench, zone = self._bench, self._bench.zone().name
        try:
            servers = bench.servers.of(zone)
        except DnsUnavailable:
            servers = ()
        is_shown = wait_until_shown(
            servers,
            [Wanted(fqdn, address_type(address), address)],
            bench.clock,
            bench.config.dns.propagation_timeout.total_seconds(),
            blind_s=max(SILENCE_S - (bench.servers.blind_s(zone) or 0), 0),
        )
        if is_shown:
            logger.info("record.shown fqdn=%s value=%s", fqdn, address)
