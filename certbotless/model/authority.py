"""Who certifies a site, as a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, as far as a decision needs to know it.

    Attributes:
        id: what the certificates that it gave have as `Origin.directory`: the URL of an ACME directory.
        key_type: the kind of key that a certificate shall have.
    """

    id: str
    key_type: str
