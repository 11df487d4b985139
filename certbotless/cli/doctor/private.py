"""Sites that share a certificate: were their names public before, and who else can learn them?

No log server is asked: that would show it the name. What is known here counts: the certificates of certs_dir,
those of another tool that were set aside there, the ledger of orders, and what the state of a site has of the
certificates that it had before.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from ...base.errors import StoreError
from ...base.words import _
from ...model.ledger import Entry
from ...model.shared import is_logged
from ...state.pair import generations, set_aside
from ...state.site import SiteFile
from ...world.acme import keys
from ...world.dns.query import lists_names
from .finding import Case


def examine(case: Case, entries: Sequence[Entry], *, asks_public: bool) -> None:
    """Report for each site that shares a certificate of a public CA whether its names were public before.

    Args:
        asks_public: whether public resolvers were asked for the names.
    """
    sharers = [site for site in case.config.sites if site.certificate and not site.is_local]
    if not sharers:
        return
    since: dict[str, datetime] = {}
    for at, names in _logged(case, entries):
        since |= {name: min(at, since.get(name, at)) for name in names}
    for site in sharers:
        found = [(since[name], name) for name in site.all_names if name in since]
        if found:
            at, name = min(found)
            text = _("{} is in public logs since {:%Y-%m-%d}, for ever").format(name, at)
            case.warn("private", site.domain, text, _("a new name would not be there; or ignore it"))
        else:
            case.ok("private", site.domain, _("in no certificate of a public CA that is known here"))
    for zone in sorted({case.zones[site.domain] for site in sharers if site.domain in case.zones}):
        _listing(case, zone)
    if not asks_public:
        text = _("not asked for these names, which it would learn; to ask: certbotless doctor --public")
        case.ok("public resolver", "", text)


def _logged(case: Case, entries: Sequence[Entry]) -> Iterator[tuple[datetime, tuple[str, ...]]]:
    """Yield the names of each certificate of a public CA that is known, and since when they are public."""
    for _made, _name, told in generations(case.config.certs_dirs):
        if told.facts is not None and told.origin is not None and is_logged(told.origin.directory):
            yield told.facts.not_before, told.facts.names
    for chain in set_aside(case.config.certs_dirs):
        names, at = keys.logged_names(chain)
        yield at, names
    for row in entries:
        is_certificate = row.kind == "order" and row.outcome == "issued" and not row.rehearsal
        if is_certificate and is_logged(row.directory):
            yield row.at, row.names
    for site in case.config.sites:
        with suppress(StoreError):  # the check of the site reports it
            logged = SiteFile(case.config.state_dir, site.domain).load().logged
            yield from ((at, (name,)) for name, at in logged.items())


def _listing(case: Case, zone: str) -> None:
    """Report whether the name servers of a zone give all of its names to whoever asks."""
    servers = case.speaking.get(zone, [])
    ways = {server.name: way for server in servers if (way := lists_names(server, zone))}
    if ways:
        text = _("{} gives every client a list of all names of the zone ({})")
        name, way = next(iter(ways.items()))
        cure = (
            _("forbid zone transfers there") if way == "AXFR" else _("use NSEC3, or no DNSSEC, for the zone")
        )
        case.warn("private", zone, text.format(name, way), cure)
    elif servers:
        case.ok("private", zone, _("its name servers do not list its names (AXFR, NSEC)"))
