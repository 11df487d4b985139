"""dns-01 as a context manager: present, wait, clean up.

The journal knows of every record before it exists, so a killed run leaves nothing that the next one cannot
find. Only our own records are ever deleted: by the id that was returned to us, or, for what a dead run left,
after comparing the value.

Source: RFC 8555 section 8.4.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ...base.errors import CertbotlessError, DnsRefused, KeyRefused, KeyUnavailable, ZoneNotFound
from ...model.memory import TxtValue
from ...model.records import Record, Zone
from ...state.site import SiteFile

logger = logging.getLogger(__name__)

# Validation reads the authoritative servers at once; the least that every plan of the service takes.
TXT_TTL_S = 600


OpenZone = Callable[[str], Zone]


@contextmanager
def presented(open_zone: OpenZone, journal: SiteFile, values: Sequence[TxtValue]) -> Iterator[None]:
    """Have the values in their zones for as long as the block runs.

    Clean-up that fails is logged and left to `sweep`; it never hides how the block ended.

    Raises:
        DnsError: a record could not be made; the others are gone again.
    """
    made: list[TxtValue] = []
    try:
        for txt in values:
            journal.note(txt)
            try:
                record_id = open_zone(txt.zone).add(Record(txt.fqdn, "TXT", txt.value, TXT_TTL_S))
            except (DnsRefused, KeyRefused, KeyUnavailable):
                journal.forget(txt)  # a clear no; after any other failure it may be there
                raise
            made.append(replace(txt, record_id=record_id))
            journal.note(made[-1])
        yield
    finally:
        for txt in made:
            try:
                open_zone(txt.zone).delete(txt.record_id)
                journal.forget(txt)
            except CertbotlessError as exc:
                logger.warning("txt.left fqdn=%s error=%s retry=next_run", txt.fqdn, exc)


def sweep(open_zone: OpenZone, journal: SiteFile) -> None:
    """Delete what a dead run left: records that hold exactly a journalled value.

    What is in a zone that the account does not have any more is forgotten, with a warning.

    Raises:
        CertbotlessError: the first failure; every entry was tried, and those that failed stay in the journal.
    """
    failed: list[CertbotlessError] = []
    for txt in journal.state.txt:
        try:
            zone = open_zone(txt.zone)
            for record in zone.records(txt.fqdn):
                if record.type == "TXT" and record.value == txt.value:
                    zone.delete(record.record_id)
                    logger.info("txt.removed fqdn=%s", txt.fqdn)
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
