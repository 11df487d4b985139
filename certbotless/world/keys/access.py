"""How the API of Aliyun DNS is reached, with the secrets for it. Light."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...config.settings import Aliyun


@dataclass(frozen=True, slots=True)
class AlidnsAccess:
    """Where the API is, and the key that signs; the secrets stay out of every `repr`."""

    endpoint: str
    key_id: str = field(repr=False)
    key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None

    @classmethod
    def of(cls, aliyun: Aliyun) -> AlidnsAccess:
        """Return what the configuration says, with the secrets as they are now.

        Raises:
            SecretUnreadable: one of them leads nowhere.
        """
        return cls(
            aliyun.endpoint,
            aliyun.access_key_id.read(),
            aliyun.access_key_secret.read(),
            aliyun.security_token.read() if aliyun.security_token else None,
            str(aliyun.ca_bundle) if aliyun.ca_bundle else None,
        )
