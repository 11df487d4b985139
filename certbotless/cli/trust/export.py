"""The roots in the forms that systems import."""

import plistlib
import uuid

from ...world.local_root import Root
from .roots import Roots

FORMATS = ("pem", "der", "mobileconfig")
# Of the names below: any UUID of our own (RFC 9562, section 5.5).
_NAMESPACE = uuid.UUID("0f6c4d3e-3a53-5d0c-9a4e-6c1f3d1b7a52")


def exported(roots: Roots, form: str) -> bytes:
    """Return the roots as a file; `der` has room for the one that signs now alone."""
    if form == "der":
        return roots.current.der
    return roots.pem if form == "pem" else mobileconfig(roots)


def mobileconfig(roots: Roots) -> bytes:
    """Return a configuration profile for iOS and macOS.

    Source: Apple, Device Management: Profile-Specific Payload Keys, CertificateRoot.
    """
    payloads = [_payload(root) for root in roots.all]
    whole = {
        "PayloadContent": payloads,
        "PayloadDisplayName": roots.current.name,
        "PayloadIdentifier": "certbotless.local-ca",
        "PayloadType": "Configuration",
        "PayloadUUID": _uuid(*(root.sha256 for root in roots.all)),
        "PayloadVersion": 1,
    }
    return plistlib.dumps(whole)


def _payload(root: Root) -> dict[str, object]:
    return {
        "PayloadCertificateFileName": f"certbotless-{root.short}.cer",
        "PayloadContent": root.der,
        "PayloadDisplayName": root.name,
        "PayloadIdentifier": f"certbotless.local-ca.{root.short}",
        "PayloadType": "com.apple.security.root",
        "PayloadUUID": _uuid(root.sha256),
        "PayloadVersion": 1,
    }


def _uuid(*of: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, " ".join(of))).upper()
