"""What anybody may see of an answer of the DNS API: its code, and the keys and types of its JSON.

Pure. No name, no value and no id gets through, whatever the service puts where.
"""

import re
from collections.abc import Mapping
from typing import Any

_KEY = re.compile(r"[A-Za-z]{1,40}")
_CODE = re.compile(r"[A-Za-z]{1,40}(\.[A-Za-z]{1,40}){0,3}")
_RANGE = re.compile(r"\b(\d{1,6}) to (\d{1,6})\b")
_COUNTS = frozenset({"TotalCount", "PageNumber", "PageSize"})


def code_of(reply: Mapping[str, Any]) -> str:
    """Return the code of a reply, ``OK`` where it has none."""
    if "Code" not in reply:
        return "OK" if "RequestId" in reply else "no answer of the API"
    code = str(reply["Code"])
    return code if _CODE.fullmatch(code) else "a code of another form"


def kind_of(error: BaseException) -> str:
    """Return what may be shown of an error: its class, and the service's code."""
    code = str(getattr(error, "code", ""))
    return f"{type(error).__name__}{f' {code}' if _CODE.fullmatch(code) else ''}"


def range_in(text: object) -> str:
    """Return the range that a text names, as ``600 to 86400``, empty for none."""
    found = _RANGE.search(str(text))
    return f"{found[1]} to {found[2]}" if found else ""


def rows_of(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the records of a reply that lists records, else none."""
    records = reply.get("DomainRecords")
    rows = records.get("Record") if isinstance(records, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def form_of(name: object) -> str:
    """Return how a name is written."""
    if not isinstance(name, str):
        return "absent"
    if not name.isascii():
        return "in Unicode"
    return "in A-labels" if "xn--" in name.lower() else "ASCII"


def shape_of(value: object) -> str:
    """Return the keys and types of a value, the length of each list, and the numbers that count records."""
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "text"
        case Mapping():
            return f"{{{', '.join(sorted(_entry(str(key), item) for key, item in value.items()))}}}"
        case list():
            shapes = sorted({shape_of(item) for item in value})
            return f"[{len(value)}{' of ' if shapes else ''}{' or '.join(shapes)}]"
    return "null"


def _entry(key: str, item: object) -> str:
    is_count = key in _COUNTS and isinstance(item, int) and not isinstance(item, bool) and abs(item) < 10**6
    return f"{key if _KEY.fullmatch(key) else '?'}: {item if is_count else shape_of(item)}"
