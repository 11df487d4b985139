"""What to type on another machine, with this root and its fingerprint filled in."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...base.errors import UsageError, printable
from ...base.words import N_, Text, _
from .roots import Roots
from .stores import hosts_toml

_DEBIAN = (
    N_("Debian and Ubuntu, as root; new processes trust it:"),
    "cp {file} /usr/local/share/ca-certificates/certbotless-{short}.crt && update-ca-certificates",
)
_RHEL = (
    N_("Fedora and RHEL, as root; new processes trust it:"),
    "cp {file} /etc/pki/ca-trust/source/anchors/certbotless-{short}.crt && update-ca-trust",
)
# Releases of early 2024 ignore the second part without the first (k3s-io/k3s#9839).
_K3S = (
    N_("k3s, as root; what is between the two commands belongs in /etc/rancher/k3s/registries.yaml:"),
    "install -D -m 0644 certbotless.crt /etc/rancher/k3s/certbotless.crt",
    "mirrors:",
    '  "{place}": {endpoint: ["https://{place}"]}',
    "configs:",
    '  "{place}": {tls: {ca_file: /etc/rancher/k3s/certbotless.crt}}',
    "systemctl restart k3s",
)
_MACOS = (
    N_("macOS:"),
    "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {file}",
)
_WINDOWS = (N_("Windows, in a terminal of an administrator:"), "certutil -addstore -f Root {file}")
_IOS = (
    N_(
        "iOS: open the file of `certbotless trust export --format mobileconfig` and install the profile; then"
        " switch it on in Settings, General, About, Certificate Trust Settings."
    ),
)
_ANDROID = (
    N_(
        "Android: Settings, Security, Encryption and credentials, Install a certificate, CA certificate. Apps"
        " other than browsers ignore it."
    ),
)
# Systems by name, and what to type there: once, for each place, or for each root where a file has one alone.
_TYPED = {
    "debian": _DEBIAN,
    "rhel": _RHEL,
    "docker": (
        N_("Docker, as root; the next pull uses it, without a restart:"),
        "install -D -m 0644 certbotless.crt '/etc/docker/certs.d/{place}/ca.crt'",
    ),
    "podman": (
        N_("Podman, skopeo and CRI-O, as root; the next pull uses it:"),
        "install -D -m 0644 certbotless.crt '/etc/containers/certs.d/{place}/ca.crt'",
    ),
    "containerd": (
        N_("containerd, as root; the next pull uses it, if config_path names the folder:"),
        "install -D -m 0644 certbotless.crt '/etc/containerd/certs.d/{place}/ca.crt'",
        "cat >'/etc/containerd/certs.d/{place}/hosts.toml' <<'END'\n"
        + hosts_toml(Path("/etc/containerd/certs.d/{place}")).decode()
        + "END",
    ),
    "k3s": _K3S,
    "macos": _MACOS,
    "windows": _WINDOWS,
    "ios": _IOS,
    "android": _ANDROID,
}
SYSTEMS = tuple(_TYPED)
# It has all roots; some systems take the first certificate of a file alone.
_FILE = "certbotless.crt"


def text(roots: Roots, places: Sequence[str], systems: Sequence[str]) -> str:
    """Return the lines for these systems; for all of them where none is named.

    Raises:
        UsageError: there is no such system.
    """
    for name in systems:
        if name not in SYSTEMS:
            known = ", ".join(SYSTEMS)
            raise UsageError(Text("there is no system {!r}; there is {}", printable(name, 80), known))
    lines = [
        _("# The root, as the file certbotless.crt, and a check of its bytes:"),
        *_file(_FILE, roots.pem),
    ]
    for root in roots.all:
        lines.append(f"# {printable(root.name)}, SHA-256 {root.fingerprint}")
    files = {root.short: _FILE for root in roots.all}
    if roots.next:
        files = {root.short: f"certbotless-{root.short}.crt" for root in roots.all}
        lines.append(_("# Each root by itself:"))
        lines += [line for root in roots.all for line in _file(files[root.short], root.pem)]
    for name in systems or SYSTEMS:
        about, *typed = _TYPED[name]
        lines += ["", f"# {_(about)}"]
        for each in typed:
            lines += _filled_in(each, places or ["HOST:PORT"], files)
    return "\n".join(lines)


def _file(name: str, pem: bytes) -> tuple[str, str]:
    """Return what writes a file, and what checks its bytes."""
    sha256 = hashlib.sha256(pem).hexdigest()
    return f"cat >{name} <<'END'\n{pem.decode()}END", f"echo '{sha256}  {name}' | sha256sum -c"


def _filled_in(line: str, places: Sequence[str], files: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each place, or for each root, by the digits of the root and its file."""
    if "{place}" in line:
        yield from (line.replace("{place}", place) for place in places)
    elif "{file}" in line:
        for short, file in files.items():
            yield line.replace("{file}", file).replace("{short}", short)
    else:
        yield line
