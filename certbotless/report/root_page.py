"""The page that hands out the root of the local CA, by the template root_page.html. Pure.

What is typed, and what to do on a phone, is in `trust_steps`: `certbotless trust commands` prints the same.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..model.local_ca import RootCertificate
from .html import ENVIRONMENT
from .trust_steps import AFTER, ELSEWHERE, SYSTEMS, fetch, kit_of


@dataclass(frozen=True, slots=True)
class _Client:
    """One kind of client on the page: what is said, its files, and the lines for its terminal."""

    name: str
    title: str
    said: list[str]
    files: Sequence[str]
    fetched: list[str]
    after: str
    typed: list[str]

    @property
    def is_linux(self) -> bool:
        return self.name not in ELSEWHERE


def page(roots: Sequence[RootCertificate], url: str, language: str, say: Callable[[str], str]) -> str:
    """Return the page.

    Args:
        roots: the one that signs now, and the next one during a rotation.
        url: of the page as the client calls it, without a path.
        language: `en` or `zh`.
        say: says a text in this language.
    """
    return _TEMPLATE.render(
        roots=roots, url=url, language=language, clients=[*_clients(roots, url)], **{"_": say}
    )


def _clients(roots: Sequence[RootCertificate], url: str) -> Iterator[_Client]:
    for name, steps in SYSTEMS.items():
        kit = kit_of(name, roots)
        typed = [line for text in steps.lines(kit) for line in text.split("\n")]
        fetched, after = fetch(name, url, kit), AFTER.get(name, "")
        yield _Client(name, steps.title, steps.said(kit), kit.pieces, fetched, after, typed)


_TEMPLATE = ENVIRONMENT.get_template("root_page.html")
