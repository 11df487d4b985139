"""From answers to the file, and to what a person pastes elsewhere. Pure.

Source: docs/configuration.md; docs/registry.md, "The container".
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...world import registry

CERTS_DIR = Path("/certs")
# The drain time of a registry that is made as we say.
_DRAIN_S = 30
STOP_TIMEOUT_S = _DRAIN_S + registry.DRAIN_SPARE.seconds
# Text that YAML reads as text without quotes, unless it is one of its own words.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/.:@_-]*[A-Za-z0-9]")
_YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}
_TERMS = "https://letsencrypt.org/repository/"


@dataclass(frozen=True, slots=True)
class Answers:
    """All that the first file says.

    Attributes:
        access_key_id, access_key_secret: references, as the file writes them.
        zone, email, docker_host, container: empty for none.
        port: None for the container's one published port.
        stop_timeout_s: 0 for the default.
    """

    domain: str
    access_key_id: str
    access_key_secret: str
    zone: str = ""
    address: str = "auto"
    directory: str = "letsencrypt"
    email: str = ""
    docker_host: str = ""
    certs_dir: Path = CERTS_DIR
    key_mode: str = "0600"
    container: str = ""
    port: int | None = None
    stop_timeout_s: int = 0


def config_text(answers: Answers) -> str:
    """Return the commented configuration file."""
    lines = [
        "# The configuration of certbotless, made by `certbotless init`. Every key: docs/configuration.md.",
        "# Check an edit with `certbotless check`; a running daemon takes it over within 2 seconds.",
        "",
        "acme:",
        "  # letsencrypt | letsencrypt-staging | zerossl | google | litessl | an https:// URL",
        f"  directory: {_scalar(answers.directory)}",
        f"  email: {_scalar(answers.email)}" if answers.email else "  # email: you@example.com",
        "",
        "aliyun:",
        "  # Each is ${ENVIRONMENT_VARIABLE}, file:/path, or credential:NAME (systemd's).",
        f"  access_key_id: {_scalar(answers.access_key_id)}",
        f"  access_key_secret: {_scalar(answers.access_key_secret)}",
        "",
    ]
    if answers.docker_host:
        lines += ["docker:", f"  host: {_scalar(answers.docker_host)}", ""]
    lines += [
        f"certs_dir: {_scalar(str(answers.certs_dir))}    # the folder that the container mounts",
        f'key_mode: "{answers.key_mode}"    # 0640: the group of certs_dir reads the keys',
        "",
        "sites:",
        f"  - domain: {_scalar(answers.domain)}    # names the files, the A record and the certificate",
        f'    # names: ["*.{answers.domain}"]    # further names of the certificate',
        f"    zone: {_scalar(answers.zone)}" if answers.zone else "    # zone: found through the API",
        "    # auto | auto:eth0 | auto:10.0.0.0/8 | 10.0.0.5 | none",
        f"    address: {_scalar(answers.address)}",
    ]
    port, stop = answers.port, answers.stop_timeout_s
    deploy = [
        "    deploy:",
        f"      - container: {_scalar(answers.container)}",
        "        action: restart    # how it reads its files anew; or {signal: HUP}",
        f"        port: {port}"
        if port
        else "        # port: 5000    # where it serves TLS; absent: its one port",
        '        # when: "02:00-05:00"    # local time; absent: at once',
        f"        stop_timeout: {stop}s"
        if stop
        else "        # stop_timeout: 35s    # longer than its drain",
    ]
    nobody = ["    deploy: []    # nobody serves it: the files are all"]
    return _joined([*lines, *(deploy if answers.container else nobody)])


def sees_text(answers: Answers) -> list[str]:
    """Return the options of `docker run` by which a registry serves the files."""
    return [
        f"-v {shlex.quote(_certs_volume(answers))}",
        *(f"-e {name}={value}" for name, value in _tls_variables(answers).items()),
    ]


def _certs_volume(answers: Answers) -> str:
    return f"{answers.certs_dir}:/certs:ro"


def _tls_variables(answers: Answers) -> dict[str, str]:
    return {
        registry.CERTIFICATE: f"/certs/{answers.domain}.pem",
        registry.KEY: f"/certs/{answers.domain}.key",
    }


def run_text(answers: Answers) -> str:
    """Return the command that starts a registry which serves the files, and the same for compose."""
    name, publish = answers.container, f"{answers.port or registry.PORT}:{registry.PORT}"
    data = f"{name}-data:/var/lib/registry"
    variables = {**_tls_variables(answers), registry.DRAIN: f"{_DRAIN_S}s"}
    run = [
        f"docker run -d --name {name} --restart=always --stop-timeout {STOP_TIMEOUT_S} -p {publish} \\",
        f"  -v {data} \\",
        *(f"  {option} \\" for option in sees_text(answers)),
        f"  -e {registry.DRAIN}={_DRAIN_S}s \\",
        "  registry:2",
    ]
    compose = [
        "services:",
        f"  {_scalar(name)}:",
        "    image: registry:2",
        f"    container_name: {_scalar(name)}",
        "    restart: always",
        f"    stop_grace_period: {STOP_TIMEOUT_S}s",
        f'    ports: ["{publish}"]',
        f"    volumes: [{json.dumps(_certs_volume(answers), ensure_ascii=False)}, {json.dumps(data)}]",
        "    environment:",
        *(f"      {variable}: {value}" for variable, value in variables.items()),
        "volumes:",
        f"  {_scalar(f'{name}-data')}:",
    ]
    return _joined([*run, "", "or the same as a compose file:", "", *compose])


def terms_text(directory: str) -> str:
    """Return where the CA's terms of service are."""
    where = _TERMS if directory.startswith("letsencrypt") else "named by its ACME directory"
    return f"The CA's terms of service ({where}) are agreed to with the first order."


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
