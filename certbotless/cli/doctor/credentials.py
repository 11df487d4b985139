"""Where the key of the DNS API comes from, until when it is valid, whose it is, and what it lacks."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from ...base.errors import DnsError, SecretUnreadable
from ...base.times import moment
from ...base.words import _
from ...config import diff
from ...config.settings import Aliyun, Config
from ...world.credentials.access import ApiAccess, Key
from ...world.credentials.sts import whose
from ...world.dns import ram_policy
from .finding import Case

# What people take a key for that should be replaced. Its file may have been written for another reason.
_OLD = timedelta(days=180)
_PAGE = "docs/credentials.md"


def fetched(case: Case, access: ApiAccess) -> Key | None:
    """Return the key, fetched where it is not in the file; report why there is none."""
    try:
        return access.source.key()
    except DnsError as exc:
        case.fail_by("credentials", _where_from(case.config.account), exc)
        return None


def examine(case: Case, access: ApiAccess) -> None:
    """Report where the key comes from, until when it is valid, and whose it is. The API was asked before."""
    aliyun, about = case.config.account, _where_from(case.config.account)
    _warn_of_old_files(case)
    if (key := fetched(case, access)) is None:
        return
    until = _("valid until {}").format(moment(key.ends_at)) if key.ends_at else _("valid until it is deleted")
    if key.ends_at is None and key.token is not None:
        until = _("temporary")
    if any((found.check, found.level) == ("API", "fail") for found in case.findings):
        # Why it is of no use is said already, and STS would say no more.
        if not aliyun.is_plain:
            case.ok("credentials", about, until)
        return
    try:
        identity = whose(aliyun, access.source, case.clock)
    except DnsError as exc:
        text = _("{}; STS does not say whose it is: {}")
        case.ok("credentials", about, text.format(until, _(exc.message)))
        return
    case.digits = identity.account
    if not identity.is_of_account:
        case.ok("credentials", about, _("{}; it is that of {}").format(until, identity.arn))
        return
    case.lacking.update(case.zones.values())
    text = _("{}; it is that of the account itself ({}), which no policy limits")
    cure = _("create a RAM user with the policy that doctor prints at its end, and use its key")
    case.warn("credentials", about, text.format(until, identity.account), cure)


def policy(case: Case) -> str:
    """Return the policy that the key lacks, or another key needs; with the digits of its account if known."""
    if not case.lacking:
        return ""
    if case.digits:
        what = _("The RAM user or role of the key needs this policy:")
        return f"\n{what}\n{ram_policy.document(*sorted(case.lacking), account=case.digits)}"
    what = _("The RAM user or role of the key needs this policy; put your account's 16 digits for ACCOUNT:")
    return f"\n{what}\n{ram_policy.document(*sorted(case.lacking))}"


def _where_from(aliyun: Aliyun) -> str:
    """Return the source as the file writes it."""
    found = "aliyun.access_key_id" if aliyun.credentials is None else diff.written(aliyun.credentials)
    return f"{found} + {aliyun.role}" if aliyun.role else found


def _warn_of_old_files(case: Case) -> None:
    for path, file in _files_of_lasting_keys(case.config):
        with suppress(OSError):
            age = timedelta(seconds=case.clock.now().timestamp() - file.stat().st_mtime)
            if age > _OLD:
                text = _("{!r} was last written {} days ago: the key in it may be as old").format(
                    str(file), age.days
                )
                case.warn("credentials", path, text, _("replace the key: {}").format(_PAGE))


def _files_of_lasting_keys(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield the files with a key that does not end by itself, by the paths of the keys that name them."""
    aliyun = config.account
    if aliyun.credentials is None and aliyun.security_token is None and (file := aliyun.key[1].path):
        # What systemd has made of a file is as old as the start of the service.
        for each in aliyun.key[1].sources() or [file]:
            yield "aliyun.access_key_secret", each
    if config.profile is not None and (file := config.profile.path):
        with suppress(SecretUnreadable):
            if config.profile.profile().mode in ("AK", "RamRoleArn"):
                yield "aliyun.credentials", file
