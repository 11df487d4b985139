"""Warnings: what is careless about a configuration, or not there yet. It is used all the same.

The checks read files of this machine and their modes, and look for optional libraries.
"""

import importlib.util
import logging
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from ..base import files
from ..base.errors import SecretUnreadable
from ..base.words import N_, Text
from .secret import Secret, owned_by_another
from .settings import NEEDS_APPRISE, NEEDS_PROMETHEUS, Config
from .values import is_every_address, is_loopback, where_of

logger = logging.getLogger(__name__)


def prove_readable(config: Config) -> None:
    """Read every secret that certificates need. The receivers of messages need not be readable.

    Raises:
        SecretUnreadable: one cannot be read.
    """
    for secret in config.needed_secrets().values():
        secret.read()


def log(config: Config, file: Path | None) -> None:
    """Log each warning."""
    for warning in warnings(config, file):
        logger.warning("config.warning text=%s", warning)


def warnings(config: Config, file: Path | None = None) -> list[str]:
    """Return careless settings as ``path: text``, and the file if others may write it or read a secret."""
    # Root checks what the service's user, who owns state_dir, will use.
    trusted = {0, os.geteuid()}
    with suppress(OSError):
        trusted.add(config.state_dir.stat().st_uid)
    of_file = [] if file is None else _of_file(file, config, trusted)
    of_values = [*_of_values(config), *_of_program(config, trusted), *_of_folders(config)]
    return [*of_file, *_of_secrets(config, trusted), *of_values]


def _of_file(file: Path, config: Config, trusted: Collection[int]) -> Iterator[str]:
    """Yield how other users may write the file, or read a secret in it.

    Who may write it can run programs as its user, and send the AccessKey anywhere.
    """
    with suppress(OSError):
        seen = file.stat()
        if opened := files.open_to_all(file.absolute()) or files.open_to_all(file.resolve()):
            form = N_(
                "{}: every user can write the configuration, and so run programs as its user; chmod o-w"
            )
            yield Text(form, opened)
        if seen.st_uid not in trusted:
            form = N_("{!r} belongs to another user (uid {}), who may write it: chown it")
            yield Text(form, str(file), seen.st_uid)
        literal = next((path for path, secret in config.secrets().items() if secret.kind == "literal"), None)
        if literal is not None and seen.st_mode & stat.S_IROTH:
            mode = stat.S_IMODE(seen.st_mode)
            form = N_("{!r} has mode {:04o}, and {} is written in it: chmod o-r")
            yield Text(form, str(file), mode, literal)


def unreadable(config: Config) -> list[str]:
    """Return each secret that certificates need and that cannot be read, as ``path: text``."""
    needed = config.needed_secrets()
    return [Text("{}: {}", path, fault) for path, secret in needed.items() if (fault := _fault_of(secret))]


def _of_secrets(config: Config, trusted: Collection[int]) -> Iterator[str]:
    for path, secret in config.secrets().items():
        if text := _fault_of(secret) or secret.warning(trusted):
            yield Text("{}: {}", path, text)


def _fault_of(secret: Secret) -> str:
    """Return why a secret cannot be read; empty if it can."""
    try:
        secret.read()
    except SecretUnreadable as exc:
        return str(exc)
    return ""


def _of_values(config: Config) -> Iterator[str]:
    if config.notify and importlib.util.find_spec("apprise") is None:
        yield Text("{}: {}", "notify", NEEDS_APPRISE)
    for i, site in enumerate(config.sites):
        for key, rule in {"address": site.address, "address6": site.address6}.items():
            literals = rule.several or ((rule.value,) if rule.kind == "literal" else ())
            for address in filter(is_loopback, literals):
                form = N_("{}: {} leads every other machine to itself; write the LAN address")
                where = f"sites[{i}].{key} ({site.domain})"
                yield Text(form, where, address)
        for name in site.all_names:
            if name.endswith(".local"):
                form = N_("sites[{}]: {} is for multicast DNS (RFC 6762): many clients ask no router for it")
                yield Text(form, i, name)
    host = config.docker.host
    if host.startswith("tcp://") and not is_loopback(host.removeprefix("tcp://").rpartition(":")[0]):
        form = N_(
            "docker.host: {} has no TLS and no password: everyone who can connect to it is root"
            " there; forward its socket by SSH instead"
        )
        yield Text(form, host)
    if config.http is not None and importlib.util.find_spec("prometheus_client") is None:
        yield Text("{}: {}", "http", NEEDS_PROMETHEUS)
    if config.http is not None and not is_loopback(config.http.where[0]):
        yield Text(
            "http.listen: the status page has no login, and this address is reachable from the"
            " network: use 127.0.0.1, or a reverse proxy with a password"
        )
    share = config.local_ca.share
    if share is not None and is_every_address(where_of(share)[0]):
        yield Text(
            "local_ca.share: this is every address of this machine, also a public one: write that of the LAN"
        )


def _of_program(config: Config, trusted: Collection[int]) -> Iterator[str]:
    """Yield what keeps the program of `credentials` from being run, or lets others put one in its place."""
    credentials = config.aliyun.credentials if config.aliyun else None
    if credentials is None or not credentials.argv:
        return
    import shutil  # noqa: PLC0415  (time that only such a file needs)

    found = shutil.which(credentials.argv[0])
    if found is None:
        text = Text("the program {!r} is not there, or this user may not run it", credentials.argv[0])
        yield Text("{}: {}", "aliyun.credentials", text)
    elif theirs := owned_by_another(Path(found), trusted):
        yield Text("{}: {}", "aliyun.credentials", theirs)
    elif opened := files.open_to_all(Path(found)):
        form = N_("{}: {}: every user can put another program there, and get the key; chmod o-w")
        yield Text(form, "aliyun.credentials", opened)


def _of_folders(config: Config) -> Iterator[str]:
    own = {f"sites[{i}].certs_dir ({site.domain})": site.certs_dir for i, site in enumerate(config.sites)}
    for path, folder in {"certs_dir": config.certs_dir, "state_dir": config.state_dir, **own}.items():
        if folder is not None and (opened := files.open_to_all(folder)):
            yield Text("{}: {}: every user can replace the files there; chmod o-w", path, opened)
