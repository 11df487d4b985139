"""The pages as documents: their templates (jinja2) and the one style that they share.

A page needs nothing else: its style is in it, and no picture, font or script is fetched. Texts of others may
hold anything: the template escapes each, and `printable` cuts it.

Source: HTML Living Standard; WCAG 2.2, 1.4.1 (no state by colour alone) and 1.4.3 (contrast).
"""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..base.errors import printable
from ..base.times import distance, moment, parse_rfc3339, span
from ..base.words import _

_STYLE = Path(__file__).with_name("page.css").read_text()
# The one thing that may style a page (CSP Level 3, section 2.3.1).
STYLE_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
_LONGEST = 1000


def _shown(value: object) -> object:
    """Return what the template shows of a value: HTML of its own as it is, any text cut and printable."""
    return value if hasattr(value, "__html__") else printable(value, _LONGEST)


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
    finalize=_shown,
)
ENVIRONMENT.filters |= {"moment": parse_rfc3339, "local": moment, "distance": distance, "span": span}
ENVIRONMENT.globals |= {"style": _STYLE, "_": _}
