"""A profile of the `aliyun` command: the file in which `aliyun configure` keeps an AccessKey.

Loaded only where the configuration names one. Nothing is written there.

Source: github.com/aliyun/aliyun-cli, config/profile.go and configuration.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import astuple, dataclass, field
from pathlib import Path

from ..base import files, privileges
from ..base.errors import SecretUnreadable, printable, reason_of
from ..base.words import N_, Text
from .credentials import ROLE_ARN, ROLE_NAME, Credentials
from .secret import MAX_BYTES, Secret

# How another file is named.
_OTHER = "credentials: {profile: NAME, file: /path}"
_KEY = ("access_key_id", "access_key_secret")
# Of each mode that is understood: the members that it needs, and others that it uses.
_MODES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "AK": (_KEY, ()),
    "StsToken": ((*_KEY, "sts_token"), ()),
    "RamRoleArn": ((*_KEY, "ram_role_arn"), ("external_id",)),
    "EcsRamRole": ((), ("ram_role_name",)),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile says, by the names that its file has; empty for what its mode does not use.

    Attributes:
        mode: AK, StsToken, RamRoleArn or EcsRamRole.
        ram_role_name: of the instance; empty for the one that it has.
    """

    mode: str
    access_key_id: str = field(default="", repr=False)
    access_key_secret: str = field(default="", repr=False)
    sts_token: str = field(default="", repr=False)
    ram_role_arn: str = ""
    external_id: str = ""
    ram_role_name: str = ""


@dataclass(frozen=True, slots=True)
class ProfileSecret(Secret):
    """The place of a profile: a file that is read and followed as that of a secret is.

    Attributes:
        name: of the profile; empty for the current one.
        reader: uid and gid of the user as whom root reads it; None for root itself.
    """

    name: str = ""
    reader: tuple[int, int] | None = None

    def read(self) -> str:
        """Return what the profile says, in one line: it tells one content from another.

        Raises:
            SecretUnreadable: the file, or the profile in it, is absent or of no use.
        """
        return json.dumps(astuple(self.profile()))

    def values(self) -> list[str]:
        found = self.profile()
        return [found.access_key_secret, found.sts_token]

    def profile(self) -> Profile:
        """Return what the profile says. Raises as `read`."""
        try:
            with privileges.as_user(*self.reader) if self.reader else nullcontext():
                raw = files.read(Path(self.where), MAX_BYTES, follows_links=True)
            tree = json.loads(raw)
            profiles = {str(each["name"]): each for each in tree["profiles"]}
            name = self.name or str(tree.get("current") or "default")
            found = profiles.get(name)
            members = {} if found is None else {key: _text(found.get(key)) for key in Profile.__slots__}
        except OSError as exc:
            text = Text("cannot read the profiles {!r}: {}", self.where, reason_of(exc))
            hint = Text("make it readable by the user that runs certbotless, or write {}", _OTHER)
            if isinstance(exc, FileNotFoundError):
                form = N_("make it as the user that runs certbotless, by: aliyun configure; or write {}")
                hint = Text(form, _OTHER)
            elif isinstance(exc, files.NotPlainError):
                hint = Text("make it by: aliyun configure")
            raise SecretUnreadable(text, hint=hint) from exc
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as exc:
            text = Text("{!r} is not a file of profiles", self.where)
            raise SecretUnreadable(text, hint=Text("make it by: aliyun configure")) from exc
        if found is None:
            names = printable(", ".join(map(repr, sorted(profiles))), 200) or Text("none")
            text = Text("{!r} has no profile {!r}; it has {}", self.where, name, names)
            raise SecretUnreadable(text, hint=Text("correct aliyun.credentials"))
        return _understood(name, members)


def place_of(credentials: Credentials, state_dir: Path) -> ProfileSecret:
    """Return where the profile is: in the file that is named, or in that of the service's user."""
    if credentials.file is not None:
        return ProfileSecret("file", str(credentials.file), credentials.name)
    # Into its own home this user can put a link to what only root may read.
    user = privileges.owner_of(state_dir)
    file = Path(user.pw_dir, ".aliyun", "config.json")
    return ProfileSecret("file", str(file), credentials.name, (user.pw_uid, user.pw_gid))


def _understood(name: str, members: Mapping[str, str]) -> Profile:
    written = members["mode"] or "AK"
    # The command takes no notice of capitals either.
    mode = next((mode for mode in _MODES if mode.lower() == written.lower()), None)
    if mode is None:
        form = N_("the profile {!r} has the mode {!r}, which certbotless does not know")
        text = Text(form, name, printable(written, 40))
        raise SecretUnreadable(text, hint=Text("write credentials: {command: [...]} instead"))
    needed, used = _MODES[mode]
    if lacking := [key for key in needed if not members[key]]:
        text = Text("the profile {!r} has no {}", name, lacking[0])
        raise SecretUnreadable(text, hint=Text("run: aliyun configure --profile {}", name))
    for key, form in {"ram_role_name": ROLE_NAME, "ram_role_arn": ROLE_ARN}.items():
        if key in (*needed, *used) and members[key] and not re.fullmatch(form, members[key]):
            value = printable(members[key], 80)
            text = Text("the profile {!r} has the {} {!r}, which is none", name, key, value)
            raise SecretUnreadable(text, hint=Text("run: aliyun configure --profile {}", name))
    # A profile may keep what it had in another mode.
    return Profile(mode, **{key: members[key] for key in (*needed, *used)})


def _text(value: object) -> str:
    """Return a member of a profile; empty for an absent one. Raises ValueError for what is no text."""
    text = "" if value is None else value
    if not isinstance(text, str) or not text.isprintable():
        raise ValueError
    return text.strip()
