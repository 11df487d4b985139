"""A YAML file is read as every reader would read it, and everything in it knows its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.base.errors import ConfigError
from certbotless.config.yaml_document import MAX_BYTES, MAX_DEPTH, Document, dotted


def read(text: str) -> Any:
    """Return the plain tree of a text without faults."""
    document = Document(text.encode(), "c.yaml")
    assert document.faults == []
    return document.data


def refusal(raw: bytes | str) -> str:
    """Return the one line that refuses a text as a whole."""
    with pytest.raises(ConfigError) as caught:
        Document(raw.encode() if isinstance(raw, str) else raw, "c.yaml")
    (fault,) = caught.value.faults
    assert fault.isprintable()
    return fault


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-5", -5),
        ("600", 600),
        ('"600"', "600"),
        ("'true'", "true"),
        ('""', ""),
        ("|\n  a\n  b", "a\nb"),
        ("5000 # a port", 5000),
        ("file:/run/secret#1", "file:/run/secret#1"),
    ],
)
def test_values_are_what_they_look_like(text: str, value: object) -> None:
    """The equality of True and 1 would hide a mistake, so the type counts."""
    found = read(f"key: {text}")["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        *("no", "yes", "on", "off", "y", "n", "No", "True", "TRUE", "Null"),
        *("010", "0o10", "0x10", "0b10", "1_000", "+5", "00", "1:30", "12:30:45"),
        *("1.5", "1e3", ".inf", ".nan", "2026-11-24", "2026-11-24T05:30:00Z", "=", "<<"),
        *("10.79.40.213", "0640", "12345678901234567890"),
    ],
)
def test_what_readers_disagree_on_stays_text(text: str) -> None:
    """YAML 1.1 makes false of `no`, 8 of `010` and 90 of `1:30`; YAML 1.2 does not."""
    assert read(f"key: {text}") == {"key": text}


def test_lists_and_mappings_are_what_they_are_in_any_style() -> None:
    tree = {"a": [1, {"b": "c"}], "d": {}, "e": []}
    assert read("a:\n- 1\n- b: c\nd: {}\ne: []\n") == tree
    assert read("{a: [1, {b: c}], d: {}, e: []}") == tree
    assert read(json.dumps(tree)) == tree


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "null"])
def test_an_empty_file_holds_nothing(text: str) -> None:
    document = Document(text.encode(), "c.yaml")
    assert document.data is None
    assert document.locate(("sites",))[1] == 1


def test_a_byte_order_mark_and_line_ends_of_another_system_do_not_matter() -> None:
    document = Document(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "c.yaml")
    assert document.data == {"a": 1, "b": 2}
    assert document.locate(("a",), at_key=True) == (1, 1)
    assert document.locate(("b",)) == (2, 4)


def test_a_merge_key_merges_nothing() -> None:
    """It is a key like any other, so the model will not know it."""
    assert read("<<: {a: 1}\nb: 2") == {"<<": {"a": 1}, "b": 2}


# --- places -------------------------------------------------------------------------------------------------

SITES = """\
# two sites
sites:
  - domain: one.example.com
    deploy: [{container: web}]
  - domain: "例子.example.com" # 2
    ttl:
      600
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ((), (2, 1), (2, 1)),
        (("sites",), (2, 1), (3, 3)),
        (("sites", 0), (3, 5), (3, 5)),
        (("sites", 0, "domain"), (3, 5), (3, 13)),
        (("sites", 0, "deploy", 0, "container"), (4, 15), (4, 26)),
        (("sites", 1, "domain"), (5, 5), (5, 13)),
        (("sites", 1, "ttl"), (6, 5), (7, 7)),
    ],
)
def test_keys_and_values_know_their_line_and_column(
    path: tuple[str | int, ...], key: tuple[int, int], value: tuple[int, int]
) -> None:
    document = Document(SITES.encode(), "c.yaml")
    assert document.locate(path, at_key=True) == key
    assert document.locate(path) == value


def test_what_is_not_there_stands_where_the_nearest_thing_around_it_stands() -> None:
    document = Document(SITES.encode(), "c.yaml")
    assert document.locate(("acme", "directory")) == (2, 1)
    assert document.locate(("sites", 7, "domain")) == (3, 3)
    assert document.locate(("sites", 1, "zone"), at_key=True) == (5, 5)
    assert document.locate(("sites", 1, "ttl", "inner", 0)) == (7, 7)


def test_faults_are_reported_in_the_order_of_the_file() -> None:
    document = Document(SITES.encode(), "c.yaml")
    faults = [
        document.fault(("sites", 1, "ttl"), "is too small"),
        document.fault(("acme",), "is needed"),
        document.fault(("sites", 0, "domain"), "is unknown", at_key=True),
    ]
    assert document.error(faults).faults == [
        "c.yaml:2:1: acme: is needed",
        "c.yaml:3:5: sites[0].domain: is unknown",
        "c.yaml:7:7: sites[1].ttl: is too small",
    ]


def test_a_path_is_written_as_a_person_writes_it() -> None:
    assert dotted(()) == "the file"
    assert dotted(("sites", 0, "deploy", 12, "port")) == "sites[0].deploy[12].port"
    assert dotted(("a\nb",)) == r"a\nb"


# --- repeated keys ------------------------------------------------------------------------------------------


@pytest.mark.row(24)
def test_a_repeated_key_is_a_fault_at_each_repetition() -> None:
    """It names the line of the first, whose value stands."""
    document = Document(b"a: 1\nb:\n  c: 2\n  c: 3\na: 4\n'a': 5\n", "c.yaml")
    assert document.data == {"a": 1, "b": {"c": 2}}
    assert document.error(document.faults).faults == [
        "c.yaml:4:3: b.c: duplicate key 'c', first given in line 3",
        "c.yaml:5:1: a: duplicate key 'a', first given in line 1",
        "c.yaml:6:1: a: duplicate key 'a', first given in line 1",
    ]


def test_a_key_that_is_no_text_is_a_fault() -> None:
    document = Document(b"? [a, b]\n: 1\nc: 2\n? {d: e}\n: 3\n", "c.yaml")
    assert document.data == {"c": 2}
    assert document.error(document.faults).faults == [
        "c.yaml:1:3: the file: a key must be plain text",
        "c.yaml:4:3: the file: a key must be plain text",
    ]


# --- what is refused as a whole -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ("a:\n\tb: 1\n", "2:1"),
        ("a: 1\n b: 2\n", "2:2"),
        ("a: [1, 2\nb: 3\n", "1:4"),
        ("a: 'x\n", "1:4"),
        ("a: 1\n---\nb: 2\n", "2:1"),
        ("例: \0\n", "1:4"),
        ("a: 1\nb: x\x07\n", "2:5"),
        ("a: 1\nb: \ufeff\n", "2:4"),
        (b"a: 1\nb: \xff\n", "2:4"),
        ("例: ".encode() + b"\x80", "1:4"),
        ("a: 1\n".encode("utf-16"), "1:1"),
        (b'a: "\\ud800"\n', "1:7"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_place(raw: bytes | str, where: str) -> None:
    assert refusal(raw).startswith(f"c.yaml:{where}: the file: ")


@pytest.mark.row(69)
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: !!str 5", "1:4"),
        ("a: 1\nb: !secret x", "2:4"),
        ("a: !x [1]", "1:4"),
        ("!x\na: 1", "1:1"),
        ("a: ! x", "1:4"),
        ("a: !!binary aGFsbG8=", "1:4"),
        ("a: !!python/name:os.system", "1:4"),
        ('a: !!python/object/apply:os.mkdir ["mark"]', "1:4"),
    ],
)
def test_tags_are_refused(text: str, where: str) -> None:
    fault = refusal(text)
    assert fault.startswith(f"c.yaml:{where}: the file: YAML tags are not supported")


def test_anchors_and_aliases_are_refused_each_at_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        Document(b"a: &x 1\nb: [*x, *x]\nc: &y {d: 2}\n", "c.yaml")
    places = [fault.partition(": ")[0] for fault in caught.value.faults]
    assert places == ["c.yaml:1:4", "c.yaml:2:5", "c.yaml:2:9", "c.yaml:3:4"]
    assert all("YAML anchors and aliases are not supported" in fault for fault in caught.value.faults)


@pytest.mark.row(69)
def test_aliases_are_refused_before_they_grow() -> None:
    """324 bytes like these would become 387 million values."""
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    with pytest.raises(ConfigError, match="anchors and aliases"):
        Document(bomb.encode(), "c.yaml")


@pytest.mark.parametrize("mark", ["*", "!", "&", "%", "@", "`"])
def test_a_secret_that_yaml_takes_for_something_else_is_not_repeated(mark: str) -> None:
    """Whoever forgot the quotes finds the place, and no secret in the log."""
    with pytest.raises(ConfigError) as caught:
        Document(f"a: {mark}PlantedCanary\nb: {mark}PlantedCanary\n".encode(), "c.yaml")
    assert caught.value.faults[0].startswith("c.yaml:1:4: ")
    assert "PlantedCanary" not in str(caught.value)


@pytest.mark.row(69)
def test_nesting_has_a_limit() -> None:
    """Before anything recursive sees the text."""
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    fault = refusal("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert fault.startswith(f"c.yaml:1:{MAX_DEPTH + 1}: ")
    for opening in ("[", "{", "- ", "? ", "[{a: "):
        assert refusal(opening * (MAX_BYTES // len(opening))).startswith("c.yaml:1:")


@pytest.mark.row(69)
def test_size_has_a_limit() -> None:
    line = b"a: 1\n"
    assert Document(line + b"#" * (MAX_BYTES - len(line)), "c.yaml").data == {"a": 1}
    assert "larger than" in refusal(line + b"#" * (MAX_BYTES - len(line) + 1))
    assert "larger than" in refusal(b"a" * (2 << 20))


# --- properties ---------------------------------------------------------------------------------------------


TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from("ü例😀"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | TEXTS
TREES = st.recursive(SCALARS, lambda t: st.lists(t, max_size=4) | st.dictionaries(TEXTS, t, max_size=4))


@given(TREES)
def test_a_tree_that_was_written_is_read_again_and_every_part_of_it_found(tree: object) -> None:
    """JSON is YAML, in which each value and key can be recognised at its place."""
    text = json.dumps(tree, ensure_ascii=False, indent=1)
    document = Document(text.encode(), "c.yaml")
    assert (document.data, document.faults) == (tree, [])

    def stands_at(where: tuple[int, int], value: object) -> bool:
        line, column = where
        opening = json.dumps(value, ensure_ascii=False)[: 1 if isinstance(value, list | dict) else None]
        return text.split("\n")[line - 1][column - 1 :].startswith(opening)

    def check(value: object, path: tuple[str | int, ...]) -> None:
        assert stands_at(document.locate(path), value)
        if isinstance(value, list):
            for i, child in enumerate(value):
                check(child, (*path, i))
        if isinstance(value, dict):
            for key, child in value.items():
                assert stands_at(document.locate((*path, key), at_key=True), key)
                check(child, (*path, key))

    check(tree, ())
