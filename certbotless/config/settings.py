"""The model of the configuration: one frozen `Config`, and what follows from it.

It is only data. `load` makes it from a file. The environment counts in one place: DOCKER_HOST is a default.

Source: the key table of docs/configuration.md, whose words are in tools/docs/keys.yaml.
"""

import os
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from .. import CHECKOUT
from ..base.checked import Section, at_least_one, if_given, or_one
from ..base.names import SHARED, is_address
from ..base.words import Language, Text
from . import addresses, values
from .addresses import AddressRule
from .credentials import CredentialsValue, ExternalId, RoleArn
from .secret import Secret
from .targets import Target

if TYPE_CHECKING:
    from .profile import ProfileSecret

# The longest that a run may take beyond the propagation of its records: the CA's time, and a restart.
RUN_MARGIN = timedelta(hours=1)
# The longest that an order may take at a CA for which another one can stand in.
LONGEST_ORDER = timedelta(minutes=20)
# CAs that bind each new account to one that they know already.
NEED_EAB = ("zerossl", "google", "google-staging", "litessl")
# So many CAs may stand in for each other: each has an account of its own.
MOST_CAS = 4
# The keys whose values are secrets, wherever they stand.
SECRET_KEYS = ("access_key_id", "access_key_secret", "security_token", "hmac_key", "notify")
NEEDS_APPRISE = Text(
    "messages need the library apprise; make install, the Debian package and the image bring it; "
    "else, in {}: pip install '.[notify]'",
    CHECKOUT,
)
NEEDS_PROMETHEUS = Text(
    "/metrics needs the library prometheus-client; make install, the Debian package and the image bring it; "
    "else, in {}: pip install '.[metrics]'",
    CHECKOUT,
)
DOCKER_SOCKET = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Eab(Section):
    """External account binding (RFC 8555, 7.3.4): ties a new account to one that the CA knows."""

    kid: values.Kid
    hmac_key: values.SecretValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Acme(Section):
    """A certificate authority and our account there."""

    directory: values.Directory = "letsencrypt"
    email: values.Email | None = None
    ca_bundle: values.PathValue | None = None
    eab: Eab | None = None
    profile: values.Profile | None = None
    key_type: Literal["ec256", "ec384", "rsa2048", "rsa4096"] = "ec256"

    @property
    def url(self) -> str:
        """The directory's URL."""
        return values.DIRECTORIES.get(self.directory, self.directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliyun(Section):
    """The account at Aliyun DNS."""

    access_key_id: Annotated[values.SecretValue | None, if_given] = None
    access_key_secret: Annotated[values.SecretValue | None, if_given] = None
    security_token: values.SecretValue | None = None
    credentials: Annotated[CredentialsValue | None, if_given] = None
    role: Annotated[RoleArn | None, if_given] = None
    external_id: Annotated[ExternalId | None, if_given] = None
    endpoint: values.Endpoint = "https://alidns.aliyuncs.com"
    sts_endpoint: values.Endpoint = "https://sts.aliyuncs.com"
    ca_bundle: values.PathValue | None = None

    @property
    def key(self) -> tuple[Secret, Secret]:
        """The id and the secret of a key of the file, which is there where `credentials` is not (load)."""
        if self.access_key_id is None or self.access_key_secret is None:
            raise ValueError("the key is not in the file")
        return self.access_key_id, self.access_key_secret

    @property
    def has_sts(self) -> bool:
        """Whether STS is that of the API: both are Aliyun's, or STS is named. Else it sees no key."""
        host = urlsplit(self.endpoint).hostname or ""
        return host.endswith(".aliyuncs.com") or not self.is_default("sts_endpoint")

    @property
    def is_plain(self) -> bool:
        """Whether the key of the file signs the calls as it is."""
        return self.credentials is None and self.role is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns(Section):
    """How changes of the zone are watched."""

    nameservers: tuple[values.HostAndPort, ...] = ()
    propagation_timeout: values.PropagationTimeout = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker(Section):
    """The engine that runs the containers."""

    host: values.DockerHost = field(default_factory=lambda: os.environ.get("DOCKER_HOST") or DOCKER_SOCKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Http(Section):
    """The status page and the metrics of the daemon, over HTTP. If absent, no port is open."""

    listen: values.Listen = "127.0.0.1:9109"

    @property
    def where(self) -> tuple[str, int]:
        """The address and the port."""
        return values.where_of(self.listen)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCaSettings(Section):
    """The CA of this machine's own, for sites with `ca: local`. It is made when the first one needs it."""

    permit: tuple[values.Permit, ...] = ()
    lifetime: values.CertificateLife = timedelta(days=90)
    key_type: Literal["ec256", "ec384", "rsa2048", "rsa4096"] = "ec256"
    share: Annotated[values.Share | None, if_given] = None

    @property
    def shared_at(self) -> str:
        """The URL where other machines get the root, without a path; empty where no address leads there."""
        if self.share is None:
            return ""
        host, _ = values.where_of(self.share)
        return "" if values.is_loopback(host) or values.is_every_address(host) else f"http://{self.share}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(Section):
    """One public name that points at this machine, its certificate, and the services that use it."""

    domain: values.Domain
    ca: Literal["acme", "local"] = "acme"
    names: tuple[values.CertificateName, ...] = ()
    certificate: Annotated[values.Wildcard | None, if_given] = None
    zone: values.Name | None = None
    address: addresses.Address = AddressRule("auto")
    address6: addresses.Address6 = AddressRule("none", version=6)
    ttl: values.Ttl = 600
    records: Annotated[Literal["none", "domain", "all"] | None, if_given] = None
    with_address: bool = False
    certs_dir: values.PathValue | None = None
    deploy: tuple[Target, ...] = ()

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name of the certificate, sorted, A-labels."""
        return tuple(sorted({self.domain, *self.names}))

    @property
    def certified_names(self) -> tuple[str, ...]:
        """Every name of its certificate, sorted: those of the site, or the wildcard that it shares."""
        return (self.certificate,) if self.certificate else self.all_names

    @property
    def is_shared(self) -> bool:
        """Whether this is a certificate that sites share (`Config.shared`), and none of the file's sites."""
        return self.domain.startswith("*.")

    @property
    def is_local(self) -> bool:
        """Whether the CA of this machine certifies it."""
        return self.ca == "local"

    @property
    def needs_zone(self) -> bool:
        """Whether it has a zone at Aliyun DNS: for its records, or for the challenges of an ACME CA."""
        is_validated = not self.is_local and not self.certificate
        return is_validated or bool(self.wanted_records)

    @property
    def rules(self) -> dict[str, AddressRule]:
        """How the address is found, for each type of record.

        Of a local site without records it is published nowhere, so `auto` needs no default route.
        """
        is_alone = self.is_local and self.address.kind == "auto" and not self._record_names
        return {"A": AddressRule("alone") if is_alone else self.address, "AAAA": self.address6}

    @property
    def wanted_records(self) -> list[tuple[str, str]]:
        """Name and type of each record that the site wants."""
        return [(fqdn, type_) for type_ in self.rules for fqdn in self.names_with(type_)]

    def names_with(self, type_: str) -> tuple[str, ...]:
        """Every name that has a record of ours of this type: the domain, then the others, sorted."""
        return () if self.rules[type_].kind == "none" else self._record_names

    @property
    def _record_names(self) -> tuple[str, ...]:
        records = self.records or ("none" if self.is_local else "domain")
        if records == "none":
            return ()
        others = self.all_names if records == "all" else ()
        return (self.domain, *(name for name in others if name != self.domain and has_record(name)))


def has_record(name: str) -> bool:
    """Whether a name of a certificate may have a record: it is neither a wildcard nor an IP address."""
    return name[0] != "*" and not is_address(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Section):
    """The whole file.

    Attributes:
        acme: as it is written; `cas` has what follows from it.
    """

    acme: Annotated[tuple[Acme, ...], or_one(MOST_CAS)] = (Acme(),)
    aliyun: Annotated[Aliyun | None, if_given] = None
    local_ca: LocalCaSettings = LocalCaSettings()
    dns: Dns = Dns()
    docker: Docker = field(default_factory=Docker)
    http: Http | None = None
    certs_dir: values.PathValue = Path("/certs")
    state_dir: values.PathValue = Path("/var/lib/certbotless")
    check_every: values.CheckEvery = timedelta(minutes=1)
    parallel: values.Parallel = 8
    key_mode: Literal["0600", "0640"] = "0600"
    notify: tuple[values.NotifyUrl, ...] = ()
    language: Language = "auto"
    sites: Annotated[tuple[Site, ...], at_least_one]

    def secrets(self) -> dict[str, Secret]:
        """Return every secret by the path of its key."""
        return self.needed_secrets() | self.bindings() | self.receivers()

    def receivers(self) -> dict[str, Secret]:
        """Return the URLs of the receivers of messages, by the path of the key."""
        return {f"notify[{i}]": secret for i, secret in enumerate(self.notify)}

    def bindings(self) -> dict[str, Secret]:
        """Return the keys that bind new accounts, by the path of the key."""
        path = "acme[{}].eab.hmac_key" if self.has_stand_ins else "acme.eab.hmac_key"
        return {path.format(i): ca.eab.hmac_key for i, ca in enumerate(self.acme) if ca.eab}

    @property
    def account(self) -> Aliyun:
        """The account at Aliyun DNS, which is there where a site needs a zone (load)."""
        if self.aliyun is None:
            raise ValueError("no site of this file needs an account at Aliyun DNS")
        return self.aliyun

    @property
    def profile(self) -> "ProfileSecret | None":
        """The profile of the `aliyun` command that has the key; None where the key comes from elsewhere."""
        credentials = self.aliyun.credentials if self.aliyun else None
        if credentials is None or credentials.kind != "profile":
            return None
        from .profile import place_of  # noqa: PLC0415  (time that only such a file needs)

        return place_of(credentials, self.state_dir)

    def needed_secrets(self) -> dict[str, Secret]:
        """Return the secrets that certificates need, by the path of the key: no attempt succeeds without.

        In a list no CA is needed, and a binding that has made its account may be used up.
        """
        found = {
            "aliyun.access_key_id": self.aliyun.access_key_id if self.aliyun else None,
            "aliyun.access_key_secret": self.aliyun.access_key_secret if self.aliyun else None,
            "aliyun.security_token": self.aliyun.security_token if self.aliyun else None,
            "aliyun.credentials": self.profile,
        }
        given = {path: secret for path, secret in found.items() if secret is not None}
        return given if self.has_stand_ins else given | self.bindings()

    @property
    def has_stand_ins(self) -> bool:
        """Whether there is a CA that stands in for the first one."""
        return len(self.acme) > 1

    @property
    def cas(self) -> tuple[Acme, ...]:
        """The public CAs: the first is wanted, the others stand in for it, in this order."""
        first, *others = self.acme
        return (
            first,
            *(replace(each, email=each.email or first.email, key_type=first.key_type) for each in others),
        )

    @property
    def longest_run(self) -> timedelta:
        """The longest that a run may take: it may order at each CA, one after the other."""
        for_stand_ins = (self.dns.propagation_timeout + LONGEST_ORDER) * (len(self.acme) - 1)
        return self.dns.propagation_timeout + RUN_MARGIN + for_stand_ins

    @property
    def shared(self) -> tuple[Site, ...]:
        """The certificates that sites share, each as a site without record and service, by its wildcard."""
        return tuple(
            Site(
                domain=wildcard,
                ca=sites[0].ca,
                zone=next((site.zone for site in sites if site.zone), None),
                address=AddressRule("none"),
                records="none",
                certs_dir=self.shared_dir,
            )
            for wildcard, sites in self.users.items()
        )

    @property
    def users(self) -> dict[str, list[Site]]:
        """The sites that share each certificate, by its wildcard, in the order of the file."""
        found: dict[str, list[Site]] = {}
        for site in self.sites:
            if site.certificate:
                found.setdefault(site.certificate, []).append(site)
        return found

    @property
    def kept(self) -> tuple[Site, ...]:
        """All that has a certificate to be kept: what sites share, then the sites, in the file's order."""
        return (*self.shared, *self.sites)

    @property
    def has_services(self) -> bool:
        """Whether a target is a service of a Docker Swarm."""
        return any(target.service for site in self.sites for target in site.deploy)

    @property
    def account_keeper(self) -> str:
        """The domain of the first that orders at public CAs: it has the accounts made. Empty for none."""
        return next((each.certificate or each.domain for each in self.sites if not each.is_local), "")

    @property
    def shared_dir(self) -> Path:
        """The folder of the certificates that sites share; no server reads there."""
        return self.state_dir / SHARED

    def certs_dir_of(self, site: Site) -> Path:
        """Return the folder of the site's pair."""
        return site.certs_dir or self.certs_dir

    def key_mode_of(self, site: Site) -> int:
        """Return the mode of the site's key. No server reads that of a certificate that sites share."""
        return 0o600 if site.is_shared else int(self.key_mode, 8)

    @property
    def certs_dirs(self) -> frozenset[Path]:
        """Every folder that holds the pair of some site."""
        own = frozenset(map(self.certs_dir_of, self.sites))
        return own | {self.shared_dir} if any(site.certificate for site in self.sites) else own
