"""Make the A and AAAA records lead here, and see that the authoritative servers show it.

Another machine, or a DDNS client, may keep the same record: if the name servers had shown our value and show
another one now, something has changed it (`contest`).
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from ..base.errors import AddressError, DnsUnavailable, RecordConflict
from ..base.words import N_, Text
from ..model.memory import Listed, Rewritten, WrittenRecord
from ..model.records import DEFAULT_LINE, Change, Record, address_type, apply_changes, plan_changes
from ..world.dns.propagation import SILENCE_S, Wanted, wait_until_shown
from .contest import set_right_lately
from .context import SiteContext

logger = logging.getLogger(__name__)

# Values that we once wrote, to know our own records again.
_MOST_OUR_VALUES = 20


class RecordSteps:
    """The steps `list`, `record` and `confirm` of one name, and `record6` and `confirm6`, by the address.

    Several addresses have a record each.
    """

    def __init__(self, ctx: SiteContext, fqdn: str, *addresses: str) -> None:
        self._ctx = ctx
        self._fqdn = fqdn
        self._addresses = addresses
        self._value = ",".join(addresses)
        self._type = address_type(*addresses)
        self._key = f"{self._type} {fqdn}"

    def write(self) -> None:
        """Write what `plan_changes` asks for, if the address is still ours by then.

        Raises:
            RecordConflict: a person must act: another record is in the way, or another program keeps this.
            DnsError: any other.
        """
        ctx, file, fqdn = self._ctx, self._ctx.file, self._fqdn
        zone = ctx.zone()
        wanted = [Record(fqdn, self._type, address, ctx.site.ttl) for address in self._addresses]
        ours_by_name = file.state.our_values.get(self._type, {})
        ours = ours_by_name.get(fqdn, ())
        existing = zone.records(fqdn)
        self._keep(existing)
        for record in existing:
            if record.type == self._type and not (record.is_enabled and record.line == DEFAULT_LINE):
                text = "record.not_ours fqdn=%s value=%s line=%s enabled=%s"
                logger.warning(text, record.fqdn, record.value, record.line, record.is_enabled)
        changes = plan_changes(existing, *wanted, ours=ours)
        ctx.clock.sleep(0)  # nothing new begins once we are asked to stop
        if not self._is_still_ours():
            text = "record.not_written fqdn=%s value=%s reason=%s"
            logger.info(text, fqdn, self._value, "it is not the LAN address any more")
            return
        lately = self._set_right_lately(changes)
        # Known as ours before it is there, should we be killed in between.
        ours = (*(value for value in ours if value not in self._addresses), *self._addresses)
        ours = ours[-_MOST_OUR_VALUES:]
        file.put("our_values", self._type, ours_by_name | {fqdn: ours})
        apply_changes(zone, changes)
        if lately is not None:
            # What the API did not take was not set back.
            rewritten = Rewritten(value=self._value, at=(*lately, ctx.clock.now()))
            file.put("rewritten", self._key, rewritten)
        written = WrittenRecord(value=self._value, ttl_s=ctx.site.ttl, at=ctx.clock.now())
        file.put("records", self._type, file.state.records.get(self._type, {}) | {fqdn: written})
        self._keep([*(record for record in existing if record.type != self._type), *wanted])
        for change in changes:
            match change:
                case None, Record() as new:
                    ctx.tell("record.added", fqdn=fqdn, value=new.value, ttl_s=new.ttl_s)
                case Record() as old, Record() as new:
                    values = {"old": old.value, "new": new.value, "ttl_s": new.ttl_s}
                    ctx.tell("record.updated", fqdn=fqdn, **values)
                case Record() as old, None:
                    ctx.tell("record.deleted", fqdn=fqdn, value=old.value)

    def list(self) -> None:
        """Keep what the API lists of this name: it counts where no name server speaks for the zone.

        Raises:
            DnsError: the API did not list it.
        """
        self._keep(self._ctx.zone().records(self._fqdn))

    def confirm(self) -> None:
        """Wait for every server that answers, at most propagation_timeout; where none does, 30 s.

        Raises:
            PropagationTimeout: a server still answers without it.
        """
        ctx, zone = self._ctx, self._ctx.zone().name
        try:
            servers = ctx.servers.of(zone)
        except DnsUnavailable:
            servers = ()
        is_shown = wait_until_shown(
            servers,
            [Wanted(self._fqdn, self._type, self._value, self._among)],
            ctx.clock,
            ctx.config.dns.propagation_timeout.total_seconds(),
            blind_s=max(SILENCE_S - (ctx.servers.blind_s(zone) or 0), 0),
        )
        if is_shown:
            logger.info("record.shown fqdn=%s value=%s", self._fqdn, self._value)

    @property
    def _among(self) -> frozenset[str]:
        """What a name server may show, where there are several records: with weights, one of them."""
        return frozenset(self._addresses if self._ctx.site.rules[self._type].others else ())

    def _keep(self, records: Sequence[Record]) -> None:
        ours = [record for record in records if record.is_enabled and record.line == DEFAULT_LINE]
        values = {
            type_: tuple(sorted({record.value for record in ours if record.type == type_}))
            for type_ in ("A", "AAAA")
        }
        file, names = self._ctx.file, {name for name, _ in self._ctx.site.wanted_records}
        others = {name: each for name, each in file.state.listed.items() if name in names}
        file.change(listed=others | {self._fqdn: Listed(at=self._ctx.clock.now(), values=values)})

    def _is_still_ours(self) -> bool:
        try:
            rule = self._ctx.site.rules[self._type]
            return {*self._addresses} <= {*rule.several} or self._ctx.address_of(rule) == self._value
        except AddressError:
            return False

    def _set_right_lately(self, changes: Sequence[Change]) -> tuple[datetime, ...] | None:
        """Return when this was done in the last day, if it undoes a change that we did not make; else None.

        Raises:
            RecordConflict: it was done often enough, and no command asks for it now.
        """
        state, type_, fqdn = self._ctx.state, self._type, self._fqdn
        written, kept = state.records.get(type_, {}).get(fqdn), state.rewritten.get(self._key)
        if written is None or not written.is_seen or {*written.values} != {*self._addresses}:
            return None
        # A change of the TTL alone is ours.
        if all(old and new and old.value == new.value for old, new in changes):
            return None
        values = ", ".join(repr(old.value) for old, _ in changes if old)
        form = N_("the {} record of {!r} is {} again: certbotless had set it to {!r}")
        what = Text(form, type_, fqdn, values or Text("gone"), ", ".join(self._addresses))
        hint = Text("find what else changes this record, another machine or a DDNS client, and stop it")
        times = kept.at if kept and kept.value == self._value else ()
        return set_right_lately(self._ctx, times, RecordConflict, what, hint)
