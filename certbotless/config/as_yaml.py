"""Pure: a configuration as YAML, for bug reports: what differs from the defaults."""

from typing import Any

from ..base.checked import Model
from . import yaml_document
from .addresses import AddressRule
from .credentials import Credentials
from .diff import written
from .secret import Secret
from .settings import Config, Site
from .values import Port, Reload

_SECTIONS = ("acme", "aliyun", "dns", "docker", "certs_dir", "state_dir")


def lines(config: Config, site: Site) -> list[str]:
    """Return the lines of one site and of the sections that its steps use, without the secrets themselves."""
    shared = {name: _plain(getattr(config, name)) for name in _SECTIONS}
    if not config.has_stand_ins:
        [shared["acme"]] = shared["acme"]
    shared = {name: value for name, value in shared.items() if value != {}}
    return yaml_document.text_of({**shared, "sites": [_plain(site)]}).splitlines()


def _plain(value: Any) -> Any:
    """Return a value as YAML has it; of a section, the keys that are not at their default."""
    match value:
        case Reload() | Credentials():
            return value.written
        case Port("number"):
            return value.number
        case AddressRule(others=(_, *_)):
            return [*value.several]
        case Model():
            held = value.to_dict()
            return {name: _plain(each) for name, each in held.items() if not value.is_default(name)}
        case Secret():
            return value.reference
        case tuple():
            return [_plain(each) for each in value]
        case int():
            return value
        case _:
            return written(value)
