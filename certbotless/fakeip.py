"""Addresses that a proxy makes up: Clash, mihomo, sing-box and the like answer DNS questions with them.

Programs of the machine then connect to the proxy, which knows the name behind each of them. They are in no
record.

Source: RFC 2544 section 6 (198.18.0.0/15); wiki.metacubex.one/config/dns, `fake-ip-range`, `fake-ip-filter`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_MADE_UP = ipaddress.IPv4Network("198.18.0.0/15")

TEXT = f"a proxy (Clash, mihomo, sing-box) answers with made-up addresses ({_MADE_UP})"


def is_made_up(values: Iterable[str], *, but: str = "") -> bool:
    """Whether one of these addresses, `but` aside, is a proxy's."""
    for value in values:
        try:
            if value != but and ipaddress.ip_address(value) in _MADE_UP:
                return True
        except ValueError:
            continue
    return False


def cure(zone: str) -> str:
    """Say what lets a zone through such a proxy."""
    return f"put +.{zone} into the fake-ip-filter of the proxy, or exclude port 53 from it"
