"""The smallest configuration, from four variables of the environment: for a container that has no file.

Only where the default file is absent. The text refers to the two secrets by the names of their variables, so
neither is written anywhere.

Source: docs/docker.md.
"""

import json
import os
from pathlib import Path

from ..base.errors import ConfigError, ValueFault
from ..base.words import N_, Text, _
from .secret import is_placeholder

FILE = Path("/etc/certbotless/config.yaml")
DOMAIN, CONTAINER = "CERTBOTLESS_DOMAIN", "CERTBOTLESS_CONTAINER"
KEY_ID, KEY_SECRET = "ALIYUN_ACCESS_KEY_ID", "ALIYUN_ACCESS_KEY_SECRET"


def is_set() -> bool:
    """Whether one of the variables has a value: then all of them are needed."""
    return any(map(_value, (DOMAIN, CONTAINER, KEY_ID, KEY_SECRET)))


def name_of(source: Path | None) -> str:
    """Return where a configuration is from, for people: a path, "-" for standard input, or the variables."""
    if source == FILE and is_set() and not FILE.exists():
        return _("the environment")
    return str(source or "-")


def text() -> bytes:
    """Return the configuration as YAML; `CERTBOTLESS_CONTAINER=none` is a site without a container.

    Raises:
        ConfigError: a variable is not set or not valid, a line for each.
    """
    from .diagnostics import check, public  # noqa: PLC0415  (time and memory that only this needs)
    from .settings import Site  # noqa: PLC0415  (as above)
    from .targets import Target  # noqa: PLC0415  (as above)

    faults, missing = [], [name for name in (DOMAIN, CONTAINER, KEY_ID, KEY_SECRET) if not _value(name)]
    if missing:
        form = N_("{}: not set; write the file {}, or set all four variables")
        faults.append(Text(form, ", ".join(missing), str(FILE)))
    for name, model, key in ((DOMAIN, Site, "domain"), (CONTAINER, Target, "container")):
        try:
            if _value(name):
                check(model, key)(_value(name))
            if _value(name) and key == "domain":
                public(key, _value(name))
        except ValueFault as exc:
            faults.append(Text("{}: {}", name, str(exc)))
    form = N_("{}: is a placeholder: write your own value")
    faults += [Text(form, name) for name in (KEY_ID, KEY_SECRET) if is_placeholder(_value(name))]
    if faults:
        raise ConfigError(faults)
    lines = [
        "aliyun:",
        f"  access_key_id: ${{{KEY_ID}}}",
        f"  access_key_secret: ${{{KEY_SECRET}}}",
        "sites:",
        f"  - domain: {json.dumps(_value(DOMAIN), ensure_ascii=False)}",
    ]
    if _value(CONTAINER) != "none":
        lines += ["    deploy:", f"      - container: {json.dumps(_value(CONTAINER))}"]
    return "\n".join([*lines, ""]).encode()


def sudo_user() -> str:
    """Return the name of the user who typed `sudo`, empty without it. Source: sudo(8), ENVIRONMENT."""
    return _value("SUDO_USER")


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()
