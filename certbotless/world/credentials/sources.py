"""From what the configuration says of a key that is not in it to where that key is fetched. Light.

Loaded only for such a configuration. What one source needs is loaded only for that source.
"""

from __future__ import annotations

from ...base import privileges
from ...base.clock import Clock
from ...base.names import candidate_zones
from ...base.words import Text
from ...config.credentials import Credentials
from ...config.profile import ProfileSecret
from ...config.secret import environment_without
from ...config.settings import Config
from .access import Key, KeySource, Learn
from .assumed import AssumedRole
from .fetched import FetchedKey


def source_of(config: Config, clock: Clock, learn: Learn) -> KeySource:
    """Return where the keys of a run come from; nothing is fetched yet.

    Raises:
        SecretUnreadable: a secret of the file, or the profile, leads nowhere.
    """
    return _Sources(config, clock, learn).last()


class _Sources:
    """The sources of one configuration: of the key itself, and of a role that it assumes."""

    def __init__(self, config: Config, clock: Clock, learn: Learn) -> None:
        self._config, self._aliyun, self._clock, self._learn = config, config.account, clock, learn

    def last(self) -> KeySource:
        """Return the source of the key that signs the calls."""
        arn = self._aliyun.role
        sites = [site for site in self._config.kept if site.needs_zone]
        zones = {
            name for site in sites for name in ([site.zone] if site.zone else candidate_zones(site.domain))
        }
        if arn is None:
            return self._first(zones)
        return self._assumed(self._first(None), arn, self._aliyun.external_id or "", zones)

    def _first(self, zones: set[str] | None) -> KeySource:
        """Return the source that `credentials` names; a role of a profile is limited to the zones."""
        credentials, profile = self._aliyun.credentials, self._config.profile
        if credentials is None:
            return Key.in_file(self._aliyun)
        if profile is not None:
            return self._of_profile(profile, zones)
        return (
            self._of_instance(credentials.name) if credentials.kind == "ecs" else self._printed(credentials)
        )

    def _printed(self, credentials: Credentials) -> FetchedKey:
        argv = credentials.argv
        environment = environment_without(self._config.secrets().values())
        state_dir = self._config.state_dir

        def fetch() -> Key:
            from .command import key_from  # noqa: PLC0415  (for this source alone)

            return key_from(argv, environment, privileges.runner_of(state_dir), self._clock)

        cure = Text("see what the command {!r} prints: aliyun.credentials has it", argv[0])
        return FetchedKey(fetch, self._clock, cure, self._learn)

    def _of_instance(self, role: str) -> FetchedKey:
        def fetch() -> Key:
            from .metadata import key_from  # noqa: PLC0415  (as above)

            return key_from(role, self._clock)

        cure = Text("see the RAM role of this instance in the ECS console")
        return FetchedKey(fetch, self._clock, cure, self._learn)

    def _of_profile(self, secret: ProfileSecret, zones: set[str] | None) -> KeySource:
        found = secret.profile()
        if found.mode == "EcsRamRole":
            return self._of_instance(found.ram_role_name)
        cure = Text("correct the profile in {!r}, by: aliyun configure", secret.where)
        key = Key(found.access_key_id, found.access_key_secret, found.sts_token or None, cure=cure)
        if found.mode != "RamRoleArn":
            return key
        return self._assumed(key, found.ram_role_arn, found.external_id, zones)

    def _assumed(self, source: KeySource, arn: str, external_id: str, zones: set[str] | None) -> FetchedKey:
        role = AssumedRole(self._aliyun, source, self._clock, (arn, external_id), zones)
        cure = Text("see the role {} in the RAM console", arn)
        return FetchedKey(role.fetch, self._clock, cure, self._learn, role)
