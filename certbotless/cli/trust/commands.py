"""What to type on another machine, with this root and its fingerprint filled in."""

import hashlib
from collections.abc import Iterator, Sequence

from ...base.errors import UsageError, printable
from ...base.words import Text, _
from ...model.local_ca import pem_of
from ...report.trust_steps import AFTER, ELSEWHERE, SYSTEMS, Kit, fetch, kit_of
from .roots import Roots

_PROFILE = "certbotless trust export --format mobileconfig"


def text(roots: Roots, places: Sequence[str], systems: Sequence[str], url: str = "") -> str:
    """Return the lines for these systems; for all of them where none is named.

    Args:
        url: where other machines get the roots from the daemon; empty where they cannot.

    Raises:
        UsageError: there is no such system.
    """
    for name in systems:
        if name not in SYSTEMS:
            known = ", ".join(SYSTEMS)
            raise UsageError(Text("there is no system {!r}; there is {}", printable(name, 80), known))
    named = systems or [*SYSTEMS]
    lines = [f"# {printable(root.name)}, SHA-256 {root.fingerprint}" for root in roots.all]
    if not url:
        lines += ["", *_written(_kit(roots))]
        if not {*named}.isdisjoint(ELSEWHERE):
            lines.append(_("# These lines are for Linux. Copy what they write to macOS, Windows and phones."))
    elif linux := next((name for name in named if name not in ELSEWHERE), ""):
        lines += ["", _("# Linux: the root, as this machine hands it out, and a check of its bytes:")]
        lines += fetch(linux, url, kit_of(linux, roots.all))
    for name in named:
        lines += ["", *_of_system(name, roots, places, url)]
    return "\n".join(lines)


def _kit(roots: Roots, places: Sequence[str] = ()) -> Kit:
    """Return the files that are written on a client, where the daemon does not hand them out."""
    file = "certbotless.crt"
    pieces = [f"certbotless-{root.short}.crt" for root in roots.all] if roots.next else [file]
    return Kit(roots.all, file, pieces, places)


def _written(kit: Kit) -> Iterator[str]:
    """Yield the lines that write these files, and check their bytes."""
    yield _("# The root, as the file certbotless.crt, and a check of its bytes:")
    yield from _file(kit.file, pem_of(kit.roots))
    if len(kit.roots) > 1:
        yield _("# Each root by itself:")
        for root, piece in zip(kit.roots, kit.pieces, strict=True):
            yield from _file(piece, root.pem)


def _file(name: str, pem: bytes) -> tuple[str, str]:
    """Return what writes a file, and what checks its bytes."""
    sha256 = hashlib.sha256(pem).hexdigest()
    return f"cat >{name} <<'END'\n{pem.decode()}END", f"echo '{sha256}  {name}' | sha256sum -c"


def _of_system(name: str, roots: Roots, places: Sequence[str], url: str) -> Iterator[str]:
    steps = SYSTEMS[name]
    kit = kit_of(name, roots.all, places) if url else _kit(roots, places)
    profile = f"{url}/root.mobileconfig" if url else _("the file of {}").format(_PROFILE)
    yield f"# {_(steps.title)}:"
    for each in steps.said(kit):
        yield "# " + _(each).format(files=", ".join(kit.pieces), profile=profile)
    if url and name in ELSEWHERE:
        yield from fetch(name, url, kit)
        if name in AFTER:
            yield f"# {_(AFTER[name])}"
    yield from steps.lines(kit)
