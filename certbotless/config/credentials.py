"""The key `aliyun.credentials`: where an AccessKey comes from that is not in the file; and what goes with it.

Source: the key table of docs/configuration.md.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic_core import core_schema

from ..base.checked import after, schema_of
from ..base.words import N_
from . import values

Kind = Literal["command"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where a key comes from.

    Attributes:
        kind: a program prints it.
        argv: the program and its arguments.
    """

    kind: Kind
    argv: tuple[str, ...] = ()

    @property
    def written(self) -> dict[str, object]:
        """The value as the file has it."""
        return {"command": [*self.argv]}


def _made(written: dict[str, Any]) -> Credentials:
    return Credentials("command", written["command"])


def _field(schema: core_schema.CoreSchema, *, is_needed: bool = True) -> core_schema.TypedDictField:
    return core_schema.typed_dict_field(schema, required=is_needed)


def _mapping(**keys: core_schema.TypedDictField) -> core_schema.CoreSchema:
    return core_schema.typed_dict_schema(keys, extra_behavior="forbid")


_FORM = _mapping(command=_field(schema_of(values.Argv)))
CredentialsValue = Annotated[Credentials, lambda _: after(_made)(_FORM)]
# By key: what a faulty value must be (diagnostics). {0} is the value as it is written.
WORDS = {"credentials": N_("must be {{command: [...]}}")}
