"""Frozen dataclasses that pydantic's core makes from data, by their annotations: configuration and state.

The models of pydantic itself do no more for us. They cost each command 40 ms of CPU and the idle daemon
6 MiB, so no command loads pydantic itself. An annotation is a type of `_PLAIN`, a model, a `Literal`,
``X | None``, ``tuple[X, ...]`` or ``dict[X, Y]``, or one of these in `Annotated` with marks.

Source: the documentation of ``pydantic_core.core_schema``.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic_core import (
    CoreSchema,
    PydanticSerializationError,
    SchemaValidator,
    core_schema,
    to_json,
    to_jsonable_python,
)

from .errors import StoreError
from .words import Text, of_parts, parts_of

T = TypeVar("T")
# What `Annotated` adds to a type: the schema of the type -> the schema that checks the value.
Mark = Callable[[CoreSchema], CoreSchema]

_PLAIN: dict[Any, CoreSchema] = {
    str: core_schema.str_schema(),
    Path: core_schema.no_info_after_validator_function(Path, core_schema.str_schema()),
    int: core_schema.int_schema(),
    bool: core_schema.bool_schema(),
    # Without a time zone it would be no moment.
    Any: core_schema.any_schema(),
    datetime: core_schema.datetime_schema(tz_constraint="aware"),
}


def after(make: Callable[[Any], object]) -> Mark:
    """Return a mark: `make` turns the checked value into the final one. A ValueError of it is a fault."""
    return lambda schema: core_schema.no_info_after_validator_function(make, schema)


def or_else(default: object) -> Mark:
    """Return a mark: a value of another type is replaced by the default."""
    return lambda schema: core_schema.with_default_schema(schema, default=default, on_error="default")


def or_made_by(make: Callable[[dict[str, Any]], object]) -> Mark:
    """Return a mark: a value of another type is replaced by what `make` returns for the fields before it."""
    return lambda schema: core_schema.with_default_schema(
        schema, default_factory=make, default_factory_takes_data=True, on_error="default"
    )


def exactly(schema: CoreSchema) -> CoreSchema:
    """A mark: no value of another type is converted."""
    return {**schema, "strict": True}


def if_given(schema: CoreSchema) -> CoreSchema:
    """A mark of ``X | None``: None is for a key that is absent, and not to be written."""
    return schema["schema"]  # type: ignore[no-any-return]


def at_least_one(schema: CoreSchema) -> CoreSchema:
    """A mark: the tuple is not empty."""
    return core_schema.tuple_variable_schema(schema["items_schema"][0], strict=False, min_length=1)


def or_one(most: int) -> Mark:
    """Return a mark of a tuple: data may have one entry alone, in place of a list of 1 to `most`."""

    def mark(schema: CoreSchema) -> CoreSchema:
        one = schema["items_schema"][0]
        several = core_schema.tuple_variable_schema(one, strict=False, min_length=1, max_length=most)
        return or_list(several)(after(lambda alone: (alone,))(one))

    return mark


def or_list(several: CoreSchema) -> Mark:
    """Return a mark: data may also be a list, of this schema."""

    def mark(schema: CoreSchema) -> CoreSchema:
        def made(value: Any, alone: Callable[[Any], object]) -> object:
            # Its validator costs time that only a list needs.
            return (
                SchemaValidator(several).validate_python(value) if isinstance(value, list) else alone(value)
            )

        return core_schema.no_info_wrap_validator_function(made, schema, metadata={"several": several})

    return mark


class Model:
    """The base of a dataclass that is made from a mapping with its fields.

    Attributes:
        strict: whether no value is converted from another type, and no other keys are allowed.
    """

    __slots__ = ()
    strict: ClassVar[bool] = False

    @classmethod
    def validate(cls, data: object) -> Self:
        """Return the value that plain data means. Raises ValidationError, with every fault."""
        made: Self = _validator(cls).validate_python(data)
        return made

    def to_plain(self) -> dict[str, Any]:
        """Return the plain data, as JSON has it, from which `validate` makes the same value."""
        plain: dict[str, Any] = to_jsonable_python(self)
        return plain

    def to_dict(self) -> dict[str, Any]:
        """Return the value of each field by its name."""
        return {each.name: getattr(self, each.name) for each in _given(type(self))}

    def is_default(self, name: str) -> bool:
        """Whether a field has the value that it has where none is given."""
        return bool(getattr(self, name) == default_of(type(self), name))


class Section(Model):
    """A mapping of the configuration. Other keys are faults, and no value is converted from another type."""

    __slots__ = ()
    strict = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Model):
    """A model that keeps the parts of its texts by field (`words.parts_of`), so that others speak them."""

    parts: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        texts = {name: value for name, value in self.to_dict().items() if isinstance(value, str)}
        found = {name: of_parts(text, self.parts.get(name)) for name, text in texts.items()}
        for name, text in found.items():
            object.__setattr__(self, name, text)
        parts = {name: parts_of(text) for name, text in found.items()}
        object.__setattr__(self, "parts", {name: each for name, each in parts.items() if each})


def _validator_of(kind: Any) -> SchemaValidator:
    """Return the validator of an annotation. Its errors show no values."""
    return SchemaValidator(schema_of(kind), {"hide_input_in_errors": True})


_validator: Callable[[Any], SchemaValidator] = cache(_validator_of)


def dump(value: object, *, indent: int | None = None) -> bytes:
    """Return the JSON of a value, from which `of_json` makes the same one.

    Raises:
        StoreError: a text in it holds half a character, as an answer from outside may.
    """
    try:
        return to_json(value, indent=indent)
    except PydanticSerializationError as exc:
        raise StoreError(
            Text("a value cannot be written: {}", str(exc)), hint=Text("please report it with the log")
        ) from exc


def of_json(kind: type[T], raw: bytes) -> T:
    """Return the value of an annotation, as of a model, that JSON means. Raises ValidationError."""
    made: T = _validator(kind).validate_json(raw)
    return made


def schema_of(kind: Any) -> CoreSchema:
    """Return the schema of pydantic's core for an annotation."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        schema = schema_of(arguments[0])
        for mark in arguments[1:]:
            schema = mark(schema)
        return schema
    if origin is Literal:
        return core_schema.literal_schema(list(arguments))
    if origin in (Union, UnionType):
        (other,) = (argument for argument in arguments if argument is not NoneType)
        return core_schema.nullable_schema(schema_of(other))
    if origin is tuple:
        return core_schema.tuple_variable_schema(schema_of(arguments[0]), strict=False)
    if origin is dict:
        return core_schema.dict_schema(*map(schema_of, arguments))
    if isinstance(kind, type) and issubclass(kind, Model):
        return _mapping(kind)
    return _PLAIN.get(kind) or core_schema.is_instance_schema(kind)


def _given(model: type[Model]) -> list[Field[Any]]:
    """Return the fields that data may give."""
    return [each for each in fields(model) if each.init]  # type: ignore[arg-type]


def fields_of(model: type[Model]) -> dict[str, core_schema.TypedDictField]:
    """Return the schemas of a model's fields by their names."""
    hints = get_type_hints(model, include_extras=True)
    return {
        each.name: core_schema.typed_dict_field(
            schema_of(hints[each.name]),
            required=each.default is MISSING and each.default_factory is MISSING,
        )
        for each in _given(model)
    }


def default_of(model: type[Model], name: str) -> Any:
    """Return the default of a field that has one."""
    return next(each.default for each in _given(model) if each.name == name)


def _mapping(model: type[Model]) -> CoreSchema:
    shape = core_schema.typed_dict_schema(
        fields_of(model),
        extra_behavior="forbid" if model.strict else "ignore",
        config={"strict": model.strict},
        metadata={"model": model},
    )
    return core_schema.no_info_after_validator_function(lambda values: model(**values), shape)
