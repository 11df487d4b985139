"""A list of addresses: which certificate each one serves, and how long a client waits at a silent one."""

from ...base.words import _
from ...model.view import View
from .finding import Case


def examine(case: Case, view: View) -> None:
    """Test each address of the list of a site."""
    listed, seen = view.site.address.several, view.seen
    serve_others = any(seen.proved.values())
    for address in listed:
        about, proved = _("{} of {}").format(address, view.site.domain), seen.proved.get(address)
        if proved:
            case.ok("address", about, _("a valid certificate is served there"))
        elif proved is None:
            case.ok("address", about, _("no target says what is served there: it always keeps its record"))
        elif address not in seen.several:
            text = _("no valid certificate is served there: the record is without it until there is one")
            case.warn("address", about, text, _("start the machine, or its service"))
        elif serve_others:
            text = _(
                "no valid certificate is served there: a client that takes it first waits, about 3 s where"
                " the machine is off, up to 2 minutes where packets are lost"
            )
            cure = _(
                "start the machine, or its service; after 3 minutes the record is without it. Where the LAN"
                " allows one, a virtual address (keepalived) spares clients the wait: docs/addresses.md"
            )
            case.fail("address", about, text, cure)
        else:
            text = _("no valid certificate is served at any address of the list, so each keeps its record")
            case.fail("address", about, text, _("start the machines, or their services"))
