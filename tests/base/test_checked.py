"""A dataclass is made of data by its annotations, or all that is wrong is told with its place."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Annotated, Literal

import pytest
from pydantic_core import ValidationError

from certbotless.base.checked import Model, after, at_least_one, default_of, dump, fields_of, of_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Model):
    at: datetime
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Model):
    name: Annotated[str, after(str.strip), after(str.upper)]
    kind: Literal["a", "b"] = "a"
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    home: Path = Path("/")
    by_port: dict[int, tuple[str, ...]] = field(default_factory=dict)
    is_new: bool = field(default=False, init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strict(Whole):
    strict = True
    words: Annotated[tuple[str, ...], at_least_one]
    folder: Annotated[PurePath, after(str)] | None = None


AT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
WHOLE = Whole(
    name="X", home=Path("/home"), part=Part(at=AT), parts=(Part(at=AT, count=2),), by_port={443: ("::1",)}
)


def kinds_of(model: type[Model], data: object) -> dict[tuple[object, ...], str]:
    """Return each fault by its place."""
    with pytest.raises(ValidationError) as caught:
        model.validate(data)
    return {error["loc"]: error["type"] for error in caught.value.errors()}


def test_what_went_to_json_comes_back_as_it_was() -> None:
    assert of_json(Whole, dump(WHOLE)) == WHOLE
    assert b'"at":"2026-11-28T12:00:00Z"' in dump(WHOLE)


def test_marks_count_in_their_order_and_a_moment_has_a_time_zone() -> None:
    assert Whole.validate({"name": " x "}) == Whole(name="X")
    assert kinds_of(Whole, {"name": "x", "part": {"at": "2026-11-28T12:00:00"}}) == {
        ("part", "at"): "timezone_aware"
    }


def test_a_lenient_model_takes_what_a_newer_version_wrote_and_a_strict_one_no_key_that_it_does_not_know() -> (
    None
):
    data = {"name": "x", "words": ["a"], "new": 1, "is_new": True}
    assert Whole.validate(data) == Whole(name="X")
    assert kinds_of(Strict, data) == {("new",): "extra_forbidden", ("is_new",): "extra_forbidden"}


def test_every_fault_is_told_at_its_place() -> None:
    data = {
        "kind": "c",
        "part": 5,
        "parts": [{"at": "x"}, {}],
        "words": [],
        "folder": "/a",
        "by_port": {"1": 2},
    }
    assert kinds_of(Strict, data) == {
        ("name",): "missing",
        ("kind",): "literal_error",
        ("part",): "dict_type",
        ("parts", 0, "at"): "datetime_from_date_parsing",
        ("parts", 1, "at"): "missing",
        ("words",): "too_short",
        ("folder",): "is_instance_of",
        ("by_port", "1"): "tuple_type",
        ("by_port", "1", "[key]"): "int_type",
    }


def test_a_model_knows_its_fields_and_their_defaults() -> None:
    assert [*fields_of(Part)] == ["at", "count"] == [*Part(at=AT).to_dict()]
    assert default_of(Part, "count") == 1
    assert "is_new" not in fields_of(Whole)
