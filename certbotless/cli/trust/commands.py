"""What to type on another machine, with this root and its fingerprint filled in."""

import hashlib
from collections.abc import Sequence

from ...base.errors import UsageError, printable
from ...base.words import N_, Text, _
from .roots import Roots

_DEBIAN = (
    N_("Debian and Ubuntu, as root; new processes trust it:"),
    "cp certbotless.crt /usr/local/share/ca-certificates/certbotless-{short}.crt && update-ca-certificates",
)
_RHEL = (
    N_("Fedora and RHEL, as root; new processes trust it:"),
    "cp certbotless.crt /etc/pki/ca-trust/source/anchors/certbotless-{short}.crt && update-ca-trust",
)
_K3S = (
    N_("k3s, as root: add these lines to /etc/rancher/k3s/registries.yaml for each place:"),
    'configs:\n  "{place}":\n    tls:\n      ca_file: /etc/rancher/k3s/certbotless-{short}.crt',
    "cp certbotless.crt /etc/rancher/k3s/certbotless-{short}.crt && systemctl restart k3s",
)
_MACOS = (
    N_("macOS:"),
    "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain certbotless.crt",
)
_WINDOWS = (N_("Windows, in a terminal of an administrator:"), "certutil -addstore -f Root certbotless.crt")
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
# Systems by name, and what to type there; `docker` and the others have a folder for each place.
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
        'server = "https://{place}"\n\n[host."https://{place}"]\n'
        '  ca = "/etc/containerd/certs.d/{place}/ca.crt"\nEND',
    ),
    "k3s": _K3S,
    "macos": _MACOS,
    "windows": _WINDOWS,
    "ios": _IOS,
    "android": _ANDROID,
}
SYSTEMS = tuple(_TYPED)


def text(roots: Roots, places: Sequence[str], systems: Sequence[str]) -> str:
    """Return the lines for these systems; for all of them where none is named.

    Raises:
        UsageError: there is no such system.
    """
    for name in systems:
        if name not in SYSTEMS:
            known = ", ".join(SYSTEMS)
            raise UsageError(Text("there is no system {!r}; there is {}", printable(name, 80), known))
    sha256 = hashlib.sha256(roots.pem).hexdigest()
    lines = [
        _("# The root, as the file certbotless.crt, and a check of its bytes:"),
        f"cat >certbotless.crt <<'END'\n{roots.pem.decode()}END",
        f"echo '{sha256}  certbotless.crt' | sha256sum -c",
    ]
    for root in roots.all:
        lines.append(f"# {printable(root.name)}, SHA-256 {root.fingerprint}")
    for name in systems or SYSTEMS:
        about, *typed = _TYPED[name]
        lines += ["", f"# {_(about)}"]
        for each in typed:
            for place in places or ["HOST:PORT"] if "{place}" in each else [""]:
                lines.append(each.replace("{place}", place).replace("{short}", roots.current.short))
    return "\n".join(lines)
