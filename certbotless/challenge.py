"""dns-01 as a context manager: present, wait, clean up.

The journal knows of every record before it exists, so a killed run leaves nothing that the next one cannot
find. Only our own records are ever deleted: by the id that was returned to us, or, for what a dead run left,
after comparing the value.

Source: RFC 8555 section 8.4.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from .errors import CertbotlessError, DnsRefused, ZoneNotFound
from .records import Record, Zone

logger = logging.getLogger(__name__)

# Validation reads the authoritative servers at once; the least that every plan of the service takes.
TXT_TTL_S = 600


@dataclass(frozen=True, slots=True)
class TxtValue:
    """A txt value (43 characters), the challenge name where the CA looks for it, and the zone of that."""

    fqdn: str
    value: str
    zone: str


OpenZone = Callable[[str], Zone]


class Journal(Protocol):
    """What survives us: the records that we are about to make, or have made."""

    def entries(self) -> list[tuple[TxtValue, str]]:
        """Return every entry with its record id, empty where the answer never came."""

    def note(self, txt: TxtValue, record_id: str) -> None:
        """Write an entry, or the id of one that is there; on disk when this returns."""

    def forget(self, txt: TxtValue) -> None:
        """Remove an entry."""


@contextmanager
def presented(open_zone: OpenZone, journal: Journal, values: Sequence[TxtValue]) -> Iterator[None]:
    """Have the values in their zones for as long as the block runs.

    Clean-up that fails is logged and left to `sweep`; it never hides how the block ended.

    Raises:
        DnsError: a record could not be made; the others are gone again.
    """
    made: list[tuple[TxtValue, str]] = []
    try:
        for txt in values:
            journal.note(txt, "")
            try:
                record_id = open_zone(txt.zone).add(Record(txt.fqdn, "TXT", txt.value, TXT_TTL_S))
            except DnsRefused:
                journal.forget(txt)  # a clear no; after any other failure it may be there
                raise
            made.append((txt, record_id))
            journal.note(txt, record_id)
        yield
    finally:
        for txt, record_id in made:
            try:
                open_zone(txt.zone).delete(record_id)
                journal.forget(txt)
            except CertbotlessError as exc:
                logger.warning("txt.left fqdn=%s error=%s retry=next_run", txt.fqdn, exc)


def sweep(open_zone: OpenZone, journal: Journal) -> None:
    """Delete what a dead run left: records that hold exactly a journalled value.

    What is in a zone that the account does not have any more is forgotten, with a warning.

    Raises:
        CertbotlessError: the first failure; every entry was tried, and those that failed stay in the journal.
    """
    failed: list[CertbotlessError] = []
    for txt, _ in journal.entries():
        try:
            zone = open_zone(txt.zone)
            for record in zone.records(txt.fqdn):
                if record.type == "TXT" and record.value == txt.value:
                    zone.delete(record.record_id)
                    logger.info("txt.swept fqdn=%s", txt.fqdn)
            journal.forget(txt)
        except ZoneNotFound as exc:
            # The record is gone with its zone, or is in an account that we cannot ask.
            text = "txt.forgotten fqdn=%s zone=%s value=%s error=%s"
            logger.warning(text, txt.fqdn, txt.zone, txt.value, exc.message)
            journal.forget(txt)
        except CertbotlessError as exc:
            failed.append(exc)
    if failed:
        raise failed[0]
