"""The model of the configuration: one frozen `Config`, and what it says of itself.

It is made from a file by `configfile` alone. The environment counts in one place: DOCKER_HOST is a default.

Source: the key table of docs/configuration.md.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from .errors import CertbotlessError
from .model import Model, at_least_one, setting
from .secret import Secret, environment_without
from .values import (
    DIRECTORIES,
    Action,
    ActionValue,
    Address,
    Address6,
    AddressRule,
    Argv,
    CertificateName,
    CheckEvery,
    Container,
    Directory,
    DockerHost,
    Email,
    Endpoint,
    HostAndPort,
    Kid,
    Label,
    Listen,
    Name,
    NotifyUrl,
    Parallel,
    PathValue,
    PortValue,
    Profile,
    PropagationTimeout,
    SecretValue,
    StopTimeout,
    Ttl,
    When,
)

# The longest that a run may take beyond the propagation of its records: the CA's time, and a restart.
RUN_MARGIN = timedelta(hours=1)
# CAs that bind each account to one that they know already.
NEED_EAB = ("zerossl", "google", "litessl")
# The keys whose values are secrets, wherever they stand.
SECRET_KEYS = ("access_key_id", "access_key_secret", "security_token", "hmac_key", "notify")
NEEDS_APPRISE = "nobody can be told without the library apprise: pip install 'certbotless[notify]'"
NEEDS_PROMETHEUS = "/metrics needs the library prometheus-client: pip install 'certbotless[metrics]'"
DOCKER_SOCKET = "unix:///var/run/docker.sock"


class _Section(Model):
    """A mapping of the file: its keys and no others, and no value that is turned into one of another kind."""

    __slots__ = ()
    strict = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Eab(_Section):
    """External account binding (RFC 8555, 7.3.4): ties a new account to one that the CA knows."""

    kid: Kid = setting(description="The key id that the CA gave.", examples=["kid-1"])
    hmac_key: SecretValue = setting(
        description="The MAC key that the CA gave, base64url.",
        examples=["file:/etc/certbotless/eab_hmac_key"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Acme(_Section):
    """The certificate authority and our account there."""

    directory: Directory = setting(
        default="letsencrypt",
        description="The CA: letsencrypt, letsencrypt-staging, zerossl, google, litessl, or the URL of "
        "another's ACME directory. Another directory orders a new certificate.",
        examples=[*DIRECTORIES, "https://ca.example.com/acme/directory"],
    )
    email: Email | None = setting(
        default=None,
        description="Where the CA may write to, told when an account is made.",
        examples=["a@b.com"],
    )
    ca_bundle: PathValue | None = setting(
        default=None,
        description="PEM file of the roots to trust for the connection to a private ACME server; "
        "not for what it issues.",
        examples=["/etc/certbotless/private-ca.pem"],
    )
    eab: Eab | None = setting(
        default=None,
        description="External account binding; zerossl, google and litessl need it for a new account.",
    )
    profile: Profile | None = setting(
        default=None,
        description="ACME profile to ask for; refused before an order if the CA lists profiles without "
        "it. It counts from the next order on.",
        examples=["shortlived"],
    )
    key_type: Literal["ec256", "ec384", "rsa2048", "rsa4096"] = setting(
        default="ec256",
        description="Kind of the certificate's key. Another kind orders a new certificate.",
        examples=["ec256", "rsa2048"],
    )

    @property
    def url(self) -> str:
        """The directory's URL."""
        return DIRECTORIES.get(self.directory, self.directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliyun(_Section):
    """The account at Aliyun DNS."""

    access_key_id: SecretValue = setting(
        description="The AccessKey of a RAM user that may list, add, update and delete the zone's records.",
        examples=["file:/etc/certbotless/access_key_id"],
    )
    access_key_secret: SecretValue = setting(
        description="The secret of that AccessKey.",
        examples=["file:/etc/certbotless/access_key_secret"],
    )
    security_token: SecretValue | None = setting(
        default=None,
        description="The token of a temporary AccessKey (STS), read anew in each run.",
        examples=["file:/run/sts/token"],
    )
    endpoint: Endpoint = setting(
        default="https://alidns.aliyuncs.com",
        description="The API: https://host[:port]; plain http only to loopback.",
        examples=["https://alidns.ap-southeast-1.aliyuncs.com"],
    )
    ca_bundle: PathValue | None = setting(
        default=None,
        description="PEM file of the roots to trust for the connection to the API.",
        examples=["/etc/certbotless/proxy-ca.pem"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns(_Section):
    """How changes of the zone are watched."""

    nameservers: tuple[HostAndPort, ...] = setting(
        default=(),
        description="Servers or resolvers to ask, and to believe, instead of the zone's own name servers.",
        examples=[["127.0.0.1:5353"]],
    )
    propagation_timeout: PropagationTimeout = setting(
        default=timedelta(minutes=10),
        description="How long to wait, 1s to 6h, until every name server shows a change.",
        examples=["10m"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker(_Section):
    """The engine that runs the containers."""

    host: DockerHost = setting(
        default_factory=lambda: os.environ.get("DOCKER_HOST") or DOCKER_SOCKET,
        description="The engine's socket; the environment's DOCKER_HOST takes the place of this default. "
        "tcp:// has no TLS. For an engine behind SSH, forward its socket.",
        examples=["unix:///run/user/1000/docker.sock", "tcp://127.0.0.1:2375"],
        shown=DOCKER_SOCKET,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Http(_Section):
    """The status page and the metrics: what `status` tells, over HTTP. Absent: nothing is open."""

    listen: Listen = setting(
        default="127.0.0.1:9109",
        description="Where the daemon shows its status page and metrics: an IP address of this machine and a "
        "port. Whoever reaches it may read it.",
        examples=["127.0.0.1:9109", "[::1]:9109", "10.0.0.5:9109"],
    )

    @property
    def where(self) -> tuple[str, int]:
        """The address and the port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(_Section):
    """What serves the certificate of its site: a container, every container with a label, or a command."""

    container: Container | None = setting(
        default=None,
        description="Name of the container that serves the certificate. A target has one of container, "
        "label and command.",
        examples=["registry"],
    )
    label: Label | None = setting(
        default=None,
        description="Label, key or key=value, of containers that serve the certificate: all that have "
        "it, one after the other; if the first fails, the others stay as they are.",
        examples=["certbotless.reload=devbox"],
    )
    command: Argv | None = setting(
        default=None,
        description="Program and arguments to run on this machine, without a shell, when the certificate is "
        "new; it needs port.",
        examples=[["systemctl", "reload", "nginx"]],
    )
    action: ActionValue = setting(
        default=Action("restart"),
        description="What makes the container read its files anew: a restart, a signal, or a program run "
        "in it. Not with command.",
        examples=["restart", {"signal": "HUP"}, {"exec": ["nginx", "-s", "reload"]}],
    )
    port: PortValue | None = setting(
        default=None,
        description="Where it serves TLS, so that it can be proved: a port of the site's address, "
        "a host:port, or none for no proof. Absent: the container's one published port.",
        examples=[5000, "10.0.0.5:443", "none"],
    )
    when: When = setting(
        default=None,
        description="When the action may be taken: at once, or in a daily window of local time; "
        "a certificate that would expire does not wait for it.",
        examples=["now", "02:00-05:00"],
        shown="now",
    )
    stop_timeout: StopTimeout = setting(
        default=timedelta(seconds=10),
        description="How long a restart lets the container end by itself, 1s to 10m.",
        examples=["10s"],
    )

    @property
    def name(self) -> str:
        """What the target is called in status, state and log."""
        return target_name(self.container, self.label, self.command)


def target_name(
    container: str | None = None, label: str | None = None, command: tuple[str, ...] | None = None
) -> str:
    if container is not None:
        return container
    return f"label:{label}" if label is not None else shlex.join(command or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(_Section):
    """One public name that points at this machine, its certificate, and who serves it."""

    domain: Name = setting(
        description="Names the files, the A record and the certificate; never a wildcard.",
        examples=["registry.example.com"],
    )
    names: tuple[CertificateName, ...] = setting(
        default=(),
        description="Further names of the certificate, also wildcards. Another set orders a new one.",
        examples=[["*.registry.example.com"]],
    )
    zone: Name | None = setting(
        default=None,
        description="The zone at Aliyun DNS that holds the names. Absent: found through the API, once.",
        examples=["example.com"],
    )
    address: Address = setting(
        default=AddressRule("auto"),
        description="What the A record shows: auto, the address of the default route; auto:INTERFACE or "
        "auto:NETWORK, the one there; an IPv4 address as written; none: there is no record.",
        examples=["auto", "auto:eth0", "auto:10.0.0.0/8", "10.0.0.5", "none"],
    )
    address6: Address6 = setting(
        default=AddressRule("none", version=6),
        description="What the AAAA record shows: auto, the unique local address (ULA) on the interface of "
        "the default route; auto:INTERFACE, the one there; an IPv6 address as written; none: no record.",
        examples=["auto", "auto:eth0", "fd12:3456:789a::5", "none"],
    )
    ttl: Ttl = setting(
        default=600,
        description="TTL of the records in seconds, 1 to 86400; Aliyun's free plan starts at 600.",
        examples=[600],
    )
    records: Literal["domain", "all"] = setting(
        default="domain",
        description="Which names get the A and AAAA records: the domain alone, or all that are no wildcard.",
        examples=["domain", "all"],
    )
    certs_dir: PathValue | None = setting(
        default=None,
        description="A folder of its own for this site's files, so that its container sees no other key. "
        "Absent: the certs_dir of the file.",
        examples=["/certs/registry"],
    )
    deploy: tuple[Target, ...] = setting(
        default=(),
        description="Who serves the certificate. Empty: the site is well when it is published.",
    )

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name of the certificate, sorted, A-labels."""
        return tuple(sorted({self.domain, *self.names}))

    @property
    def rules(self) -> dict[str, AddressRule]:
        """What is asked for each type of record that carries an address."""
        return {"A": self.address, "AAAA": self.address6}

    def names_with(self, type_: str) -> tuple[str, ...]:
        """Every name that has a record of ours of this type: the domain, then the others, sorted."""
        if self.rules[type_].kind == "none":
            return ()
        others = self.all_names if self.records == "all" else ()
        return (self.domain, *(name for name in others if name != self.domain and name[0] != "*"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(_Section):
    """The whole file."""

    acme: Acme = Acme()
    aliyun: Aliyun
    dns: Dns = Dns()
    docker: Docker = field(default_factory=Docker)
    http: Http | None = setting(
        default=None, description="The status page and the metrics of the daemon, off where it is absent."
    )
    certs_dir: PathValue = setting(
        default=Path("/certs"),
        description="The folder of the published files: DOMAIN.pem and DOMAIN.key of each site.",
        examples=["/certs"],
    )
    state_dir: PathValue = setting(
        default=Path("/var/lib/certbotless"),
        description="The folder of what runs remember: accounts, orders, limits, events.",
        examples=["/var/lib/certbotless"],
    )
    check_every: CheckEvery = setting(
        default=timedelta(minutes=1),
        description="How often, 1s to 1d, the daemon looks whether all is as it should be.",
        examples=["1m"],
    )
    parallel: Parallel = setting(
        default=8,
        description="How many sites, 1 to 64, talk to the CA or the API at a time; those that wait for DNS "
        "or the CA do not count.",
        examples=[8],
    )
    key_mode: Literal["0600", "0640"] = setting(
        default="0600",
        description="Mode of the key files; 0640 lets the group of certs_dir read them.",
        examples=["0600", "0640"],
    )
    notify: tuple[NotifyUrl, ...] = setting(
        default=(),
        description="Who is told of news and troubles: URLs as the library apprise writes them "
        "(docs/notifications.md), each of them a secret.",
        examples=[["credential:certbotless.notify", "${NOTIFY_URL}"]],
    )
    sites: Annotated[tuple[Site, ...], at_least_one] = setting(description="The public names to keep.")

    # Of each secret, as last read: who reads it first may be another user than who goes on (owner.py).
    _secrets_seen: dict[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)

    def secrets(self) -> dict[str, Secret]:
        """Return every secret by the path of its key."""
        return self.needed_secrets() | self.receivers()

    def receivers(self) -> dict[str, Secret]:
        """Return the URLs of who is told, by the path of the key."""
        return {f"notify[{i}]": secret for i, secret in enumerate(self.notify)}

    def needed_secrets(self) -> dict[str, Secret]:
        """Return those that certificates need, by the path of the key: an attempt may fail for them."""
        found = {
            "aliyun.access_key_id": self.aliyun.access_key_id,
            "aliyun.access_key_secret": self.aliyun.access_key_secret,
        }
        if self.aliyun.security_token is not None:
            found["aliyun.security_token"] = self.aliyun.security_token
        if self.acme.eab is not None:
            found["acme.eab.hmac_key"] = self.acme.eab.hmac_key
        return found

    @property
    def longest_run(self) -> timedelta:
        """The longest that a run may take."""
        return self.dns.propagation_timeout + RUN_MARGIN

    def prove_readable(self) -> None:
        """Look whether all that certificates need can be read; who is told of them holds nothing up.

        Raises:
            SecretUnreadable: one cannot.
        """
        for secret in self.needed_secrets().values():
            secret.read()

    def certs_dir_of(self, site: Site) -> Path:
        """Return the folder of the site's pair."""
        return site.certs_dir or self.certs_dir

    @property
    def certs_dirs(self) -> frozenset[Path]:
        """Every folder that holds the pair of some site."""
        return frozenset(map(self.certs_dir_of, self.sites))

    def environment_of_commands(self) -> dict[str, str]:
        """Return what a deploy command gets of our environment: all but what is about our secrets."""
        return environment_without(self.secrets().values())

    def digest(self, site: Site) -> str:
        """Return a digest of all that decides how attempts for `site` go, also of what the secrets hold."""
        for path, secret in self.needed_secrets().items():
            try:
                self._secrets_seen[path] = _sha256(secret.read())
            except CertbotlessError as exc:
                self._secrets_seen.setdefault(path, exc.message)
        secrets = sorted(self._secrets_seen.items())
        return _sha256(repr([self.file_digest(site), secrets]))

    def file_digest(self, site: Site) -> str:
        """Return a digest of the same without the secrets' content: a temporary key changes each hour."""
        parts = [self.acme, self.aliyun, self.dns, self.docker, self.certs_dir, site]
        return _sha256(repr(parts))


def _sha256(text: str) -> str:
    import hashlib  # noqa: PLC0415  (with OpenSSL, which `check` does not need)

    return hashlib.sha256(text.encode()).hexdigest()
