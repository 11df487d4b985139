"""The page of the root: what it says in each language, whatever the root is called."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from support.local_cas import PERMIT, put_ca, put_next

from certbotless.base import words
from certbotless.model.local_ca import RootCertificate
from certbotless.report import root_page
from certbotless.report.trust_steps import AFTER, ELSEWHERE, SYSTEMS, fetch, kit_of
from certbotless.state.shared_roots import shared

URL = "http://10.79.40.213:9110"
VOID = {"meta"}


class Reader(HTMLParser):
    """Reads a page as a browser does, and complains of what does not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags = set[str]()
        self.terminals: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "pre":
            self.terminals.append("")
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["pre"]:
            self.terminals[-1] += data
        if self._open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is to be read, a blank for any space."""
        return " ".join("".join(self.texts).split())


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[RootCertificate, ...]:
    """The root that signs, and the next one."""
    state = tmp_path_factory.mktemp("state")
    put_ca(state)
    put_next(state, permit=("lan", "git", "192.168.0.0/16"))
    return shared(state)


def read(roots: tuple[RootCertificate, ...], language: str = "en") -> Reader:
    text = root_page.page(roots, URL, language, words.speaker(language))
    assert f'<html lang="{language}">' in text
    return Reader(text)


def test_the_page_says_what_the_root_is(roots: tuple[RootCertificate, ...]) -> None:
    (root, _) = roots
    page = read((root,))
    for said in (
        root.name,
        root.fingerprint,
        f"{root.not_after:%Y-%m-%d}",
        ", ".join(PERMIT),
    ):
        assert said in page.text
    assert "two roots" not in page.text
    assert {*page.links} == {"/?lang=en", "/?lang=zh", "/root.crt", "/root.cer", "/root.mobileconfig"}


def test_during_a_rotation_it_has_both(roots: tuple[RootCertificate, ...]) -> None:
    page = read(roots)
    for root in roots:
        assert page.text.count(root.fingerprint) == 1
        assert f"/usr/local/share/ca-certificates/certbotless-{root.short}.crt" in page.text
    assert "Install both." in page.text
    assert "lan, git, 192.168.0.0/16" in page.text
    assert "/root.cer?next" in page.links


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("count", [1, 2])
def test_it_has_each_line_that_trust_commands_prints(
    roots: tuple[RootCertificate, ...], language: str, count: int
) -> None:
    """And each sentence of it, in the language of the reader."""
    roots, say = roots[:count], words.speaker(language)
    page = read(roots, language)
    linux = fetch("debian", URL, kit_of("debian", roots))
    wanted = ["\n".join(linux)]
    for name, steps in SYSTEMS.items():
        kit = kit_of(name, roots)
        fetched = fetch(name, URL, kit) if name in ELSEWHERE else []
        blocks = [fetched, steps.lines(kit)] if name in AFTER else [fetched + steps.lines(kit)]
        wanted += ["\n".join(block) for block in blocks if block]
        assert say(AFTER.get(name, "")) in page.text
        files, profile = say(", ").join(kit.pieces), f"{URL}/root.mobileconfig"
        for sentence in steps.said(kit):
            assert say(sentence).format(files=files, profile=profile) in page.text
    assert [text.strip("\n") for text in page.terminals] == wanted


def test_what_apple_and_google_document_is_said(roots: tuple[RootCertificate, ...]) -> None:
    text = read(roots).text
    assert "Settings, General, About, Certificate Trust Settings" in text
    assert "Apps other than browsers ignore it." in text
    assert "证书信任设置" in read(roots, "zh").text


def test_what_a_root_is_called_is_text_and_nothing_else(roots: tuple[RootCertificate, ...]) -> None:
    """Whoever makes it chooses its name and what it may vouch for."""
    evil = "<script>alert(1)</script>\x1b[31m{0}\n"
    page = read((replace(roots[0], name=evil, permit=(evil,)),))
    assert "script" not in page.tags
    assert page.text.count("<script>alert(1)</script>") == 2
    assert "\x1b" not in page.text
