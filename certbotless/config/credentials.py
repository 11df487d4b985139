"""The key `aliyun.credentials`: where an AccessKey comes from that is not in the file; and what goes with it.

Source: the key table of docs/configuration.md; RAM, "ARN of a role"; STS, AssumeRole (`ExternalId`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic_core import core_schema

from ..base.checked import after, schema_of
from ..base.words import N_
from . import values

Kind = Literal["command", "ecs", "profile"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where a key comes from.

    Attributes:
        kind: a program prints it; the metadata service of an ECS instance gives it; a file of the `aliyun`
            command has it.
        argv: the program and its arguments.
        name: of the RAM role of the instance, or of the profile; empty for the one that there is.
        file: of the profiles; None for that of the service's user.
    """

    kind: Kind
    argv: tuple[str, ...] = ()
    name: str = ""
    file: Path | None = None

    @property
    def written(self) -> str | dict[str, object]:
        """The value as the file has it."""
        if self.argv:
            return {"command": [*self.argv]}
        held: dict[str, object] = {self.kind: self.name} if self.name else {}
        if self.file is not None:
            held["file"] = str(self.file)
        return held or self.kind


def _way(written: object) -> str | None:
    """Return the form of a written value; None for an unknown one."""
    if isinstance(written, str):
        return "word"
    if not isinstance(written, dict) or not written:
        return None
    if written.keys() <= {"profile", "file"}:
        return "profile"
    return next(iter(written)) if len(written) == 1 else None


def _made(written: Any) -> Credentials:
    match written:
        case {"command": argv}:
            return Credentials("command", argv)
        case {"ecs": role}:
            return Credentials("ecs", name=role)
        case dict():
            return Credentials("profile", name=written.get("profile", ""), file=written.get("file"))
        case "ecs":
            return Credentials("ecs")
        case _:
            return Credentials("profile")


def _field(schema: core_schema.CoreSchema, *, is_needed: bool = True) -> core_schema.TypedDictField:
    return core_schema.typed_dict_field(schema, required=is_needed)


def _mapping(**keys: core_schema.TypedDictField) -> core_schema.CoreSchema:
    return core_schema.typed_dict_schema(keys, extra_behavior="forbid")


# RAM's own rules, but for a name that would lead elsewhere in a path.
ROLE_NAME, ROLE_ARN = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "acs:ram::[0-9]{16}:role/[A-Za-z0-9._-]{1,64}"
_PROFILE = core_schema.str_schema(pattern=r"^[^\s\x00-\x1f]{1,64}$")
_FORM = core_schema.tagged_union_schema(
    {
        "word": core_schema.literal_schema(["ecs", "profile"]),
        "command": _mapping(command=_field(schema_of(values.Argv))),
        "ecs": _mapping(ecs=_field(core_schema.str_schema(pattern=f"^{ROLE_NAME}$"))),
        "profile": _mapping(
            profile=_field(_PROFILE, is_needed=False),
            file=_field(schema_of(values.PathValue), is_needed=False),
        ),
    },
    discriminator=_way,
)
CredentialsValue = Annotated[Credentials, lambda _: after(_made)(_FORM)]
RoleArn = Annotated[str, lambda _: core_schema.str_schema(pattern=f"^{ROLE_ARN}$")]
ExternalId = Annotated[str, lambda _: core_schema.str_schema(pattern=r"^[A-Za-z0-9_=,.@:/+-]{2,1224}$")]
# By key: what a faulty value must be (diagnostics). {0} is the value as it is written.
WORDS = {
    "credentials": N_(
        "must be ecs, {{ecs: ROLE}}, {{command: [...]}}, profile or {{profile: NAME, file: /path}}"
    ),
    "ecs": N_("{0!r} is not the name of a RAM role"),
    "file": N_("must be an absolute path"),
    "role": N_("{0!r} is not the ARN of a RAM role: acs:ram::ACCOUNT:role/NAME, ACCOUNT being 16 digits"),
    "external_id": N_("must be 2 to 1224 letters, digits or =,.@:/_+- without blanks"),
}
