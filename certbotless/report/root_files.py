"""The roots of the local CA as files, in the forms that systems import."""

import plistlib
import uuid
from collections.abc import Sequence

from ..base.errors import printable
from ..model.local_ca import RootCertificate, pem_of

# Of the names below: any UUID of our own (RFC 9562, section 5.5).
_NAMESPACE = uuid.UUID("0f6c4d3e-3a53-5d0c-9a4e-6c1f3d1b7a52")


def exported(roots: Sequence[RootCertificate], form: str) -> bytes:
    """Return the roots as a file of this form: `pem`, `der` or `mobileconfig`.

    Args:
        roots: the one that signs now comes first; `der` has room for it alone.
    """
    if form == "der":
        return roots[0].der
    return pem_of(roots) if form == "pem" else mobileconfig(roots)


def mobileconfig(roots: Sequence[RootCertificate]) -> bytes:
    """Return a configuration profile for iOS and macOS.

    Source: Apple, Device Management: Profile-Specific Payload Keys, CertificateRoot.
    """
    whole = {
        "PayloadContent": [_payload(root) for root in roots],
        "PayloadDisplayName": printable(roots[0].name),
        "PayloadIdentifier": "certbotless.local-ca",
        "PayloadType": "Configuration",
        "PayloadUUID": _uuid(*(root.root_sha256 for root in roots)),
        "PayloadVersion": 1,
    }
    return plistlib.dumps(whole)


def _payload(root: RootCertificate) -> dict[str, object]:
    return {
        "PayloadCertificateFileName": f"certbotless-{root.short}.cer",
        "PayloadContent": root.der,
        "PayloadDisplayName": printable(root.name),
        "PayloadIdentifier": f"certbotless.local-ca.{root.short}",
        "PayloadType": "com.apple.security.root",
        "PayloadUUID": _uuid(root.root_sha256),
        "PayloadVersion": 1,
    }


def _uuid(*of: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, " ".join(of))).upper()
