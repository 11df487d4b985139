"""Names in Chinese at the Alidns API: what it takes, and how it answers.

Made with the codec of the standard library, and not with the program's own: a mistake there must not be
answered by the same mistake here.

Sources: external-dns PR 6141 (a zone in A-labels is InvalidDomainName.NoExist; answers are in Unicode);
lego's alidns provider (Unicode as DomainName, `PunyCode` beside it in DescribeDomains); DNSControl's
providers/alidns/convert.go and PRs 4424, 4787 (the RR of an answer is in Unicode; of scripts beyond ASCII
only Chinese is taken, else SubDomainInvalid.RR or SubDomainInvalid.Value, also where the label came as an
A-label).
"""

import encodings.idna
import re

# CJK ideographs and their extension A, as DNSControl's integration tests found them accepted.
_TAKEN = re.compile(r"[\x00-\x7f\u3400-\u4dbf\u4e00-\u9fff]*")


def to_wire(name: str) -> str:
    """Return a name or an RR in lower case and A-labels, as DNS has it.

    Raises:
        UnicodeError: there is no such name.
    """
    return ".".join(
        encodings.idna.ToASCII(label).decode() if label else "" for label in name.split(".")
    ).lower()


def to_unicode(name: str) -> str:
    """Return a name or an RR as the API answers it; what is no A-label stays as it is."""
    return ".".join(map(_label_in_unicode, name.split(".")))


def _label_in_unicode(label: str) -> str:
    try:
        return encodings.idna.ToUnicode(label)
    except UnicodeError:
        return label


def is_taken(name: str) -> bool:
    """Whether the service takes labels in this script."""
    return _TAKEN.fullmatch(to_unicode(name)) is not None
