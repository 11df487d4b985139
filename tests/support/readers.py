"""A registry that is not root: it reads a key by the group of its file, or not at all."""

import os

from certbotless.sandbox.registry import Registry
from support.bed import DOMAIN, Bed

# A user and a group that nobody has.
USER, GROUP = 4712, 4713


def serve_as_a_user(bed: Bed, *, restarts: bool = True) -> None:
    """Have the bed's registry run as this user, and serve a certificate whose key its group may read."""
    bed.config["sites"] = [bed.site(deploy=[])]
    bed.config["key_mode"] = "0640"
    os.chown(bed.certs, -1, GROUP)
    bed.certs.chmod(0o2755)
    bed.ok("--once")
    bed.registry.remove()
    bed.registry = Registry(bed.engine, DOMAIN, certs=bed.certs, user=f"{USER}:{GROUP}", restarts=restarts)
    bed.registry.create()
    bed.config["sites"] = [bed.site()]
    bed.ok("--once")


def give_new_keys_to(bed: Bed, group: int) -> None:
    """Let the keys that are published from now on be of this group; those that are there stay as they are."""
    os.chown(bed.certs / ".certbotless" / DOMAIN, -1, group)
