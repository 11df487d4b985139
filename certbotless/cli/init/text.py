"""From answers to the file, and to what a person pastes elsewhere. Pure.

Source: docs/configuration.md; docs/registry.md, "Start a registry" and "Set a password".
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...base.words import _
from ...world import registry

CERTS_DIR = Path("/certs")
# The drain time of a registry that is made as we say.
_DRAIN_S = 30
STOP_TIMEOUT_S = _DRAIN_S + registry.DRAIN_SPARE.seconds
# The folder of this machine with the passwords of a registry that is made as we say.
_PASSWORDS = "/etc/registry"
_HTTPS_PORT = 443
# Text that YAML reads as text without quotes, unless it is one of its own words.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/.:@_-]*[A-Za-z0-9]")
_YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}
_TERMS = "https://letsencrypt.org/repository/"


@dataclass(frozen=True, slots=True)
class Answers:
    """All that the first file says.

    Attributes:
        access_key_id, access_key_secret: references, as the file writes them; empty for the local CA.
        is_local: the local CA certifies it, with the LAN address if `with_address`.
        host: the address that clients may use in place of the domain; empty for none.
        zone, endpoint, email, docker_host, container: empty for none.
        found_zone: the zone that the API has found, for a comment; empty where it was not asked.
        port: None for the container's one published port.
        stop_timeout_s: 0 for the default.
    """

    domain: str
    access_key_id: str = ""
    access_key_secret: str = ""
    is_local: bool = False
    with_address: bool = False
    host: str = ""
    names: tuple[str, ...] = ()
    zone: str = ""
    found_zone: str = ""
    endpoint: str = ""
    address: str = "auto"
    directory: str = "letsencrypt"
    email: str = ""
    docker_host: str = ""
    certs_dir: Path = CERTS_DIR
    key_mode: str = "0600"
    container: str = ""
    port: int | None = None
    stop_timeout_s: int = 0

    def at(self, port: int | None) -> str:
        """Return the service as clients name it at a port: ``registry.example.com:5000``."""
        host = self.host or self.domain
        return host if port == _HTTPS_PORT else f"{host}:{port or registry.PORT}"


def config_text(answers: Answers) -> str:
    """Return the commented configuration file."""
    lines = [
        _("# Made by `certbotless init`. docs/configuration.md has every key."),
        _("# Check an edit with `certbotless check`; a running daemon uses it within 2 seconds."),
        "",
        *([] if answers.is_local else _accounts(answers)),
    ]
    if answers.docker_host:
        lines += ["docker:", f"  host: {_scalar(answers.docker_host)}", ""]
    lines += [
        f"certs_dir: {_scalar(str(answers.certs_dir))}    " + _("# the folder that the container mounts"),
        f'key_mode: "{answers.key_mode}"    ' + _("# 0640: the group of certs_dir reads the keys"),
        "",
        "sites:",
        *_site(answers),
    ]
    return _joined([*lines, *_deploy(answers)])


def _accounts(answers: Answers) -> list[str]:
    lines = [
        "acme:",
        "  # letsencrypt | letsencrypt-staging | zerossl | google | litessl | https://...",
        f"  directory: {_scalar(answers.directory)}",
        f"  email: {_scalar(answers.email)}" if answers.email else "  # email: you@example.com",
        "",
        "aliyun:",
        _("  # Each is ${ENVIRONMENT_VARIABLE}, file:/path, or credential:NAME (of systemd)."),
        f"  access_key_id: {_scalar(answers.access_key_id)}",
        f"  access_key_secret: {_scalar(answers.access_key_secret)}",
    ]
    if answers.endpoint:
        lines.append(f"  endpoint: {_scalar(answers.endpoint)}")
    return [*lines, ""]


def _site(answers: Answers) -> list[str]:
    names = f'"*.{answers.domain}"' if not answers.names else ", ".join(map(json.dumps, answers.names))
    names = f"{'' if answers.names else '# '}names: [{names}]    " + _("# further names of the certificate")
    address = [
        "# auto | auto:eth0 | auto:10.0.0.0/8 | 10.0.0.5 | none",
        f"address: {_scalar(answers.address)}",
    ]
    if answers.is_local:
        about = _("# of the files and the certificate")
        ca = "ca: local    " + _("# a CA on this machine signs: docs/local-ca.md")
        lines = [ca, *([names] if answers.names else [])]
        if answers.with_address:
            lines.append("with_address: true    " + _("# also for the LAN address, and follows it"))
    else:
        about = _("# of the files, the A record and the certificate")
        zone = _("# zone: found through the API")
        if answers.found_zone:
            zone = _("# zone: {}    # found through the API").format(answers.found_zone)
        lines = [names, f"zone: {_scalar(answers.zone)}" if answers.zone else zone]
    first = f"  - domain: {_scalar(answers.domain)}    {about}"
    return [first, *(f"    {line}" for line in [*lines, *address])]


def _deploy(answers: Answers) -> list[str]:
    if not answers.container:
        return ["    deploy: []    " + _("# no container uses it: the files are all")]
    port, stop = answers.port, answers.stop_timeout_s
    return [
        "    deploy:",
        f"      - container: {_scalar(answers.container)}",
        "        action: restart    " + _("# how it reads its files again; or {signal: HUP}"),
        f"        port: {port}"
        if port
        else "        # port: 5000    " + _("# where it is reached by HTTPS; absent: its one port"),
        '        # when: "02:00-05:00"    ' + _("# local time; absent: at once"),
        f"        stop_timeout: {stop}s"
        if stop
        else "        # stop_timeout: 35s    " + _("# longer than its drain"),
    ]


def sees_text(answers: Answers) -> list[str]:
    """Return the options of `docker run` by which a registry serves the files."""
    return [
        f"-v {shlex.quote(f'{answers.certs_dir}:/certs:ro')}",
        f"-e {registry.CERTIFICATE}=/certs/{answers.domain}.pem",
        f"-e {registry.KEY}=/certs/{answers.domain}.key",
    ]


def run_text(answers: Answers) -> str:
    """Return the commands that give a registry a password and start it; it serves the files."""
    name, publish = answers.container, f"{answers.port or registry.PORT}:{registry.PORT}"
    certs, certificate, key = sees_text(answers)
    return _joined(
        [
            f"apt-get install apache2-utils; install -d -m 0700 {_PASSWORDS}",
            f"htpasswd -Bc {_PASSWORDS}/htpasswd USER",
            f"docker run -d --name {name} --restart=always --stop-timeout {STOP_TIMEOUT_S} -p {publish} \\",
            f"  -v {name}-data:/var/lib/registry {certs} -v {_PASSWORDS}:/auth \\",
            f"  {certificate} \\",
            f"  {key} \\",
            f"  -e {registry.DRAIN}={_DRAIN_S}s \\",
            "  -e REGISTRY_AUTH=htpasswd -e REGISTRY_AUTH_HTPASSWD_REALM=registry \\",
            "  -e REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd registry:2",
        ]
    )


def terms_of(directory: str) -> tuple[str, str]:
    """Return how the CA is called, and where its terms of service are."""
    if directory.startswith("letsencrypt"):
        return "Let's Encrypt", _TERMS
    return directory, _("its ACME directory names them")


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
