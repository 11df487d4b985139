"""The CA of this machine: is it whole, until when, for which names, and does this machine trust its roots?"""

import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ...act.local_rotation import names_now
from ...base.errors import StoreError
from ...base.words import _
from ...config.settings import Site
from ...model.local_ca import CaFiles, LocalCa
from ...state.local_ca import FACTS, LocalCaFolder
from ..trust.places import places
from . import programs
from .finding import Case

INSTALL = "certbotless trust install"


def examine(case: Case, sites: Sequence[Site]) -> None:
    """Test the local CA, if a site needs it."""
    names = sorted({name for site in sites if site.is_local for name in names_now(site)})
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
        coming = _next(case, folder)
        _validity(case, about, ca.facts, coming.facts if coming else None)
        _permit(case, about, ca.facts, names)
        if coming and (forbidden := coming.facts.forbids(names)):
            text = _("the next root may not vouch for {}, so it will not sign").format(", ".join(forbidden))
            cure = _("certbotless trust rotate makes another one; give it to every client")
            case.warn("local CA", about, text, cure)
        _backup(case, folder)
        _trust(case, [ca, coming] if coming else [ca])
        return
    try:
        folder.refuse_if_lost(case.config.certs_dirs)
        case.ok("local CA", about, _("none yet: the first certificate makes it"))
    except StoreError as exc:
        case.fail("local CA", about, _("it is gone, and there are certificates that it signed"), _(exc.hint))


def _permit(case: Case, about: str, facts: LocalCa, names: Sequence[str]) -> None:
    if forbidden := facts.forbids(names):
        text = _("the root may not vouch for {}").format(", ".join(forbidden))
        cure = _(
            "certbotless trust rotate makes one that may; when every client has it: certbotless trust switch"
        )
        case.fail("local CA", about, text, cure)
    if (asked := case.config.local_ca.permit) and {*asked} != {*facts.permit}:
        text = _("local_ca.permit is another one than when the root was made; the root may vouch for {}")
        case.warn("local CA", about, text.format(", ".join(facts.permit)), "certbotless trust rotate")


def _backup(case: Case, folder: LocalCaFolder) -> None:
    """Say from when on a copy has all: nothing shows whether there is one."""
    with suppress(OSError):
        changed = max(path.stat().st_mtime for path in folder.path.rglob(FACTS))
        text = _("it last changed on {:%Y-%m-%d}; keep a copy that is not older: nothing else can restore it")
        about, at = os.fspath(folder.path), datetime.fromtimestamp(changed, UTC).astimezone()
        case.ok("backup", about, text.format(at))


def _trust(case: Case, cas: Sequence[CaFiles]) -> None:
    """Test whether this machine trusts the roots, the one that signs first, and then each program."""
    here = trusted_here()
    trusts = [ssl.PEM_cert_to_DER_cert(ca.root_pem.decode()) in here for ca in cas]
    case.trusts_root = trusts[0]
    for ca, is_trusted in zip(cas, trusts, strict=True):
        if is_trusted:
            case.ok("root", ca.facts.short, _("this machine trusts it"))
        else:
            case.warn("root", ca.facts.short, _("this machine does not trust it"), INSTALL)
    roots = {ca.facts.short: ca.root_pem for ca in cas}
    with suppress(StoreError):  # a state that cannot be read is a finding of its own
        programs.examine(case, roots, places(case.config), is_in_system=all(trusts))


def _next(case: Case, folder: LocalCaFolder) -> CaFiles | None:
    try:
        return folder.load_next()
    except StoreError as exc:
        case.fail_by("local CA", os.fspath(folder.path), exc)
        return None


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
        case.ok("local CA", about, _("whole; its root ends on {:%Y-%m-%d}").format(facts.not_after))


def trusted_here() -> set[bytes]:
    """Return every CA certificate, as DER, that programs with OpenSSL trust here."""
    found = set(ssl.create_default_context().get_ca_certs(binary_form=True))
    capath = ssl.get_default_verify_paths().capath
    # OpenSSL reads a folder of certificates only when it meets one.
    for path in Path(capath).glob("*.[0-9]") if capath else ():
        with suppress(OSError, ValueError):
            found.add(ssl.PEM_cert_to_DER_cert(path.read_text()))
    return found
