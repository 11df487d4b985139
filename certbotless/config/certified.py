"""What the CA of each site can certify: names of a public CA, or those that the local CA may vouch for."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ..base.errors import ValueFault
from ..base.names import is_address, is_in_zone, normalise, not_permitted
from ..base.words import N_, Text
from .site_names import local_name, may_be_permitted, permit_entry, public_name, shared_name, too_much
from .yaml_document import Document, Fault, Path

# None is a name that is wrong by itself, or absent.
_Names = Sequence[str | None]


def check(
    doc: Document,
    sites: Sequence[dict[str, Any]],
    domains: _Names,
    names: Sequence[_Names],
    wrong: Collection[Path],
) -> Iterator[Fault]:
    """Yield names that the CA of their site cannot certify, and keys that are missing for it."""
    section = doc.data.get("local_ca")
    written = section.get("permit") if isinstance(section, dict) else None
    is_wrong = any(path[:2] == ("local_ca", "permit") for path in wrong)
    permit = [*map(permit_entry, written)] if isinstance(written, list) and not is_wrong else []
    needs_account, local_names = False, set[str | None]()
    yield from _of_shared(doc, sites, domains, names, wrong)
    for i, site in enumerate(sites):
        places: list[tuple[Path, str | None]] = [(("sites", i, "domain"), domains[i])]
        places += [(("sites", i, "names", j), name) for j, name in enumerate(names[i])]
        if site.get("ca") != "local":
            needs_account = True
            yield from _of_acme(doc, site, i, places)
            continue
        needs_account |= site.get("records") in ("domain", "all")
        if is_address(domains[i] or "") and site.get("records") in ("domain", "all"):
            yield doc.fault(("sites", i, "records"), Text("an IP address has no record: write records: none"))
        here: Path = ("sites", i, "certificate")
        if site.get("certificate") is not None and here not in wrong:
            # What it shares is all that is certified.
            places = [(here, shared_name(site["certificate"]))]
        local_names |= {name and name.removeprefix("*.") for _, name in places}
        yield from _of_local(doc, places, permit)
    for i, entry in enumerate(permit):
        if not may_be_permitted(entry) and not local_names & {entry, None}:
            yield doc.fault(("local_ca", "permit", i), str(too_much(entry)))
    if needs_account and "aliyun" not in doc.data:
        yield doc.fault(("aliyun",), Text("is needed"))


def _of_local(
    doc: Document, places: Sequence[tuple[Path, str | None]], permit: Sequence[str]
) -> Iterator[Fault]:
    for path, name in places:
        if name is None:
            continue
        try:
            local_name(name)
        except ValueFault as exc:
            yield doc.fault(path, str(exc))
            continue
        if permit and not_permitted([name], permit):
            form = N_("{!r} is outside local_ca.permit: add it, or a domain or network around it")
            yield doc.fault(path, Text(form, name))


def _of_acme(
    doc: Document, site: dict[str, Any], i: int, places: Sequence[tuple[Path, str | None]]
) -> Iterator[Fault]:
    for path, name in places:
        if name is None:
            continue
        key = str(path[2])
        if _is_public(name, key):
            continue
        from .diagnostics import public  # noqa: PLC0415  (time and memory that only a mistake needs)

        try:
            public(key, site["domain"] if key == "domain" else site["names"][path[3]])
        except ValueFault as exc:
            yield doc.fault(path, str(exc))
    if site.get("with_address"):
        yield doc.fault(
            ("sites", i, "with_address"), Text("a public CA certifies only names: write ca: local")
        )


def _of_shared(
    doc: Document,
    sites: Sequence[dict[str, Any]],
    domains: _Names,
    names: Sequence[_Names],
    wrong: Collection[Path],
) -> Iterator[Fault]:
    """Yield names that the shared certificate of their site does not cover, and keys that contradict it."""
    first: dict[str, int] = {}
    zones: dict[str, tuple[str, int]] = {}
    for i, site in enumerate(sites):
        here: Path = ("sites", i, "certificate")
        written = site.get("certificate")
        if written is None or here in wrong:
            continue
        wildcard = shared_name(written)
        places: list[tuple[Path, str | None]] = [(("sites", i, "domain"), domains[i])]
        places += [(("sites", i, "names", j), name) for j, name in enumerate(names[i])]
        for path, name in places:
            if name is not None and name[0] == "*":
                yield doc.fault(path, Text("{!r} does not go with certificate: remove one of them", name))
            elif name is not None and name.partition(".")[2] != wildcard[2:]:
                form = N_("{!r} is not covered by {!r}, which is for one label in front of {}")
                yield doc.fault(path, Text(form, name, wildcard, wildcard[2:]))
        zone = site.get("zone")
        if zone is not None and ("sites", i, "zone") not in wrong:
            zone = normalise(zone)
            other_zone, j = zones.setdefault(wildcard, (zone, i))
            if not is_in_zone(wildcard[2:], zone):
                yield doc.fault(here, Text("{!r} is not in the zone {!r}", wildcard, zone))
            elif zone != other_zone:
                form = N_("{!r} is in another zone in sites[{}]: give both the same zone")
                yield doc.fault(here, Text(form, wildcard, j))
        if site.get("with_address"):
            yield doc.fault(
                ("sites", i, "with_address"), Text("does not go with certificate: it has no address")
            )
        other = sites[first.setdefault(wildcard, i)]
        if site.get("ca", "acme") != other.get("ca", "acme"):
            form = N_("{!r} is certified by another CA in sites[{}]: give both the same ca")
            yield doc.fault(here, Text(form, wildcard, first[wildcard]))


def _is_public(name: str, key: str) -> bool:
    try:
        public_name(name, wildcard=key == "names")
    except ValueFault:
        return False
    return True
