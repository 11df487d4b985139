"""What the environment of a registry's container says: where its certificate is, how long it drains. Pure.

Source: distribution, "Configuring a registry": a variable for each key of its file; docs/registry.md.
"""

import re
from collections.abc import Mapping
from datetime import timedelta

CERTIFICATE, KEY, DRAIN = (f"REGISTRY_HTTP_{name}" for name in ("TLS_CERTIFICATE", "TLS_KEY", "DRAINTIMEOUT"))
# What it listens on by itself.
PORT = 5000
# It needs so much longer than its drain time, and the engine kills it after stop_timeout.
DRAIN_SPARE = timedelta(seconds=5)
# A duration as Go writes it. An image may have any text there; a longer number counts as absent.
_DURATION = re.compile(r"(?<![0-9.])([0-9]{1,6}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def drain_of(environment: Mapping[str, str]) -> timedelta:
    """Return for how long it lets pushes end when it is stopped; zero for none, or nonsense."""
    written = _DURATION.findall(environment.get(DRAIN, ""))
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in written))
