"""The CA of this machine: is it whole, until when, for which names, and does this machine trust its root?"""

import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...base.errors import StoreError
from ...base.words import _
from ...config.settings import Site
from ...model.local_ca import PREFIX, CaFiles, LocalCa
from ...state.local_ca import LocalCaFolder
from ...state.pair import generations
from .finding import Case

INSTALL = "certbotless trust install"


def examine(case: Case, sites: Sequence[Site]) -> None:
    """Test the local CA, if a site needs it."""
    names = sorted({name for site in sites if site.is_local for name in site.all_names})
    if not names:
        return
    folder = LocalCaFolder(case.config.state_dir)
    about = os.fspath(folder.path)
    try:
        ca = folder.load()
    except StoreError as exc:
        case.fail_by("local CA", about, exc)
        return
    if ca is not None:
        _validity(case, about, ca.facts, _next(case, folder))
        _whole(case, about, ca, names)
    elif _was_there(case):
        cure = _("put your copy of it back, or make a new CA: certbotless trust rotate --now")
        case.fail("local CA", about, _("it is gone, and there are certificates that it signed"), cure)
    else:
        case.ok("local CA", about, _("none yet: the first certificate makes it"))


def _whole(case: Case, about: str, ca: CaFiles, names: Sequence[str]) -> None:
    facts = ca.facts
    if forbidden := facts.forbids(names):
        text = _("the root may not vouch for {}").format(", ".join(forbidden))
        cure = _(
            "certbotless trust rotate makes one that may; when every client has it: certbotless trust switch"
        )
        case.fail("local CA", about, text, cure)
    case.trusts_root = ssl.PEM_cert_to_DER_cert(ca.root_pem.decode()) in trusted_here()
    if case.trusts_root:
        case.ok("root", facts.short, _("this machine trusts it"))
    else:
        case.warn("root", facts.short, _("this machine does not trust it"), INSTALL)


def _next(case: Case, folder: LocalCaFolder) -> LocalCa | None:
    try:
        found = folder.load_next()
    except StoreError as exc:
        case.fail_by("local CA", os.fspath(folder.path), exc)
        return None
    return found.facts if found else None


def _validity(case: Case, about: str, facts: LocalCa, coming: LocalCa | None) -> None:
    now = case.clock.now()
    if not facts.is_valid(now):
        case.fail_by("local CA", about, facts.not_valid_now())
    elif facts.ends_soon(coming, now):
        text = _("its root ends on {:%Y-%m-%d}").format(facts.not_after)
        cure = _("when every client has the next root: certbotless trust switch")
        case.warn("local CA", about, text, cure if coming else "certbotless trust rotate")
    elif coming:
        text = _("whole; the next root {} signs from {:%Y-%m-%d} on: give it to every client")
        case.ok("local CA", about, text.format(coming.short, coming.switches_at))
    else:
        text = _(
            "whole; its root ends on {:%Y-%m-%d}; keep a copy of this folder: nothing else can restore it"
        )
        case.ok("local CA", about, text.format(facts.not_after))


def _was_there(case: Case) -> bool:
    held = (told.origin for *_rest, told in generations(case.config.certs_dirs))
    return any(origin is not None and origin.directory.startswith(PREFIX) for origin in held)


def trusted_here() -> set[bytes]:
    """Return every CA certificate, as DER, that programs with OpenSSL trust here."""
    found = set(ssl.create_default_context().get_ca_certs(binary_form=True))
    capath = ssl.get_default_verify_paths().capath
    # OpenSSL reads a folder of certificates only when it meets one.
    for path in Path(capath).glob("*.[0-9]") if capath else ():
        with suppress(OSError, ValueError):
            found.add(ssl.PEM_cert_to_DER_cert(path.read_text()))
    return found
