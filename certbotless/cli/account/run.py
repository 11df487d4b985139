"""The command: what each of its actions prints and does."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...base import privileges
from ...base.clock import SystemClock
from ...base.errors import printable
from ...base.words import _
from ...config import load
from ...state.site import Accounts
from ...world.acme.account import import_account
from ..chosen import ca_named
from .foreign import key_of


def run(source: Path | None, args: Mapping[str, Any], say: Callable[[str], None]) -> int:
    """Take over the account that the command line names, and return the exit code.

    Raises:
        CertbotlessError: nothing is changed.
    """
    config = load.load(source)
    name: str | None = args["directory"]
    acme = config.cas[0] if name is None else ca_named(config, name)
    file, content = key_of(Path(args["path"]), acme.url)
    privileges.become_owner(config.state_dir, ())
    store = Accounts(config.state_dir, acme.url)
    before, url = store.load()[1], import_account(acme, store, content, SystemClock())
    if url == before:
        say(_("{}: the account {} is in use already").format(acme.directory, printable(url)))
        return 0
    say(_("{}: the account {} is used from now on").format(acme.directory, printable(url)))
    if before:
        say(_("before: {}; its key is kept as key.pem.old").format(printable(before)))
    say(
        _(
            "do not change the key of this account with the old client: it would lock certbotless out ({})"
        ).format(printable(str(file), 4096))
    )
    return 0
