"""What contradicts itself in the section `aliyun`: there is exactly one way to a key."""

from collections.abc import Iterator

from ..base.words import Text
from .yaml_document import Document, Fault

# The keys of a key that the file names itself.
_OF_KEY = ("access_key_id", "access_key_secret", "security_token")


def check(doc: Document) -> Iterator[Fault]:
    """Yield each contradiction."""
    aliyun = doc.data.get("aliyun")
    if not isinstance(aliyun, dict):
        return
    given = [key for key in _OF_KEY if key in aliyun]
    if "credentials" in aliyun:
        if given:
            text = Text("does not go with {}: one of the two gives the key", given[0])
            yield doc.fault(("aliyun", "credentials"), text)
    elif not given:
        text = Text("needs access_key_id and access_key_secret, or credentials")
        yield doc.fault(("aliyun",), text)
    else:
        for key in _OF_KEY[:2]:
            if key not in aliyun:
                yield doc.fault(("aliyun", key), Text("is needed"))
    if aliyun.get("external_id") is not None and aliyun.get("role") is None:
        text = Text("does nothing without role: it goes with a role that is assumed")
        yield doc.fault(("aliyun", "external_id"), text)
