"""The way to the DNS API that a configuration describes. Light.

A key of the file is read at once. For every other one `sources` is loaded, which fetches it when it is first
needed.
"""

from ...base.clock import Clock
from ...config.settings import Config
from .access import ApiAccess, Key, KeySource, Learn, forget


def way_to_dns(config: Config, clock: Clock, learn: Learn = forget) -> ApiAccess:
    """Return the way to the DNS API; the secrets of the file are read now, and nothing is asked yet.

    Args:
        clock: that of the process: it gives no slot to another site while a key is fetched.
        learn: is given each key that is fetched.

    Raises:
        SecretUnreadable: a secret leads nowhere.
    """
    aliyun = config.account
    source: KeySource
    if aliyun.is_plain:
        source = Key.in_file(aliyun)
    else:
        from .sources import source_of  # noqa: PLC0415  (a key of the file needs none of it)

        source = source_of(config, clock, learn)
    return ApiAccess(aliyun.endpoint, source, str(aliyun.ca_bundle) if aliyun.ca_bundle else None)
