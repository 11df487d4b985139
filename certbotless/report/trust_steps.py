"""What makes each kind of client trust the root: for `certbotless trust commands`, and the page of the root.

Whoever types it has the roots as files (`Kit`). During a rotation there are two. Some systems read one
certificate of a file alone, so each root then has a file of its own too.

Source: update-ca-certificates(8); update-ca-trust(8); docs.docker.com, "Verify repository client with
certificates"; containers-certs.d(5); containerd, docs/hosts.md; docs.k3s.io, "Private Registry
Configuration"; security(1) of macOS; Microsoft, certutil; Apple, "Trust manually installed certificate
profiles in iOS, iPadOS, and visionOS"; Android developers, "Changes to Trusted Certificate Authorities in
Android Nougat".
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..base.words import N_
from ..model.local_ca import RootCertificate, pem_of

# What the place of a service is called where none is known.
PLACE = "HOST:PORT"
_AS_ROOT = N_("Type this as the user root.")
_BY_PLACE = N_("Where addresses change, use names.")
_MEANS = N_("HOST:PORT is the name or the address of the service and its port, as in docker push.")


@dataclass(frozen=True, slots=True)
class Kit:
    """The files that a client has at first.

    Attributes:
        roots: the one that signs now, and the next one during a rotation.
        file: what the file with all of them is called, PEM.
        pieces: what the file of each of them is called.
        places: `host:port` of each service.
    """

    roots: Sequence[RootCertificate]
    file: str
    pieces: Sequence[str]
    places: Sequence[str] = ()

    @property
    def divided(self) -> list[str]:
        """The line that makes the pieces of the file, on any Unix; none where there is one root."""
        if len(self.roots) == 1:
            return []
        stem, _, suffix = self.file.rpartition(".")
        return [f"""awk '/BEGIN/ {{n++}} {{print > ("{stem}-" n ".{suffix}")}}' {self.file}"""]


@dataclass(frozen=True, slots=True)
class Steps:
    """What makes one kind of client trust the root.

    Attributes:
        title: what the client is called; English, and in the catalogue if it is more than a name.
        about: what to do or to know, a sentence or two each; English, in the catalogue. `{files}` stands for
            the files with one root each, and `{profile}` for the profile.
        typed: lines for a terminal. `{file}` stands for the file with all roots, `{short}` for the 8 digits
            of the first. A line with `{piece}` is for each root, with its `{short}`. One with `{place}` is
            for each service.
    """

    title: str
    about: tuple[str, ...]
    typed: tuple[str, ...] = ()

    def said(self, kit: Kit) -> list[str]:
        """Return what is said, with what the lines mean for a client that has these files."""
        return [*self.about, *([_MEANS] if _BY_PLACE in self.about and not kit.places else [])]

    def lines(self, kit: Kit) -> list[str]:
        """Return what is typed on a client that has these files."""
        return [line for text in self.typed for line in _filled(text, kit)]


def _filled(text: str, kit: Kit) -> Iterator[str]:
    if "{piece}" in text:
        for root, piece in zip(kit.roots, kit.pieces, strict=True):
            yield text.replace("{piece}", piece).replace("{short}", root.short)
        return
    for place in (kit.places or [PLACE]) if "{place}" in text else [""]:
        line = text.replace("{place}", place).replace("{short}", kit.roots[0].short)
        yield line.replace("{file}", kit.file)


def hosts_toml(place: str, ca: str) -> str:
    """Return what leads containerd to the root of a service, which is in the file `ca`.

    It asks the host first. Where that has no such image it asks the server, which has a root of its own.
    Without a host some releases refuse the file.

    Source: containerd, core/remotes/docker/config/hosts.go; containerd/containerd#10027.
    """
    server, root = f"https://{place}", f'ca = "{ca}"'
    host = f'[host."{server}"]\n  capabilities = ["pull", "resolve", "push"]\n  {root}\n'
    return f'server = "{server}"\n{root}\n\n{host}'


_CONTAINERD = "/etc/containerd/certs.d/{place}"
# By the names that `trust commands` knows.
SYSTEMS = {
    "debian": Steps(
        N_("Debian, Ubuntu"),
        (_AS_ROOT, N_("New programs trust it. One that is running, such as dockerd, does after a restart.")),
        ("cp {piece} /usr/local/share/ca-certificates/certbotless-{short}.crt && update-ca-certificates",),
    ),
    "rhel": Steps(
        N_("Fedora, RHEL"),
        (_AS_ROOT, N_("New programs trust it. One that is running, such as dockerd, does after a restart.")),
        ("cp {piece} /etc/pki/ca-trust/source/anchors/certbotless-{short}.crt && update-ca-trust",),
    ),
    "docker": Steps(
        "Docker",
        (_AS_ROOT, N_("The next pull or push uses it, without a restart."), _BY_PLACE),
        ("install -D -m 0644 {file} '/etc/docker/certs.d/{place}/ca.crt'",),
    ),
    "podman": Steps(
        N_("Podman, skopeo, CRI-O"),
        (_AS_ROOT, N_("The next pull or push uses it, without a restart."), _BY_PLACE),
        ("install -D -m 0644 {file} '/etc/containers/certs.d/{place}/ca.crt'",),
    ),
    "containerd": Steps(
        "containerd",
        (_AS_ROOT, N_("The next pull uses it, if config_path names the folder."), _BY_PLACE),
        (
            f"install -D -m 0644 {{file}} '{_CONTAINERD}/ca.crt'",
            f"cat >'{_CONTAINERD}/hosts.toml' <<'END'\n{hosts_toml('{place}', f'{_CONTAINERD}/ca.crt')}END",
        ),
    ),
    "k3s": Steps(
        "k3s",
        (
            N_(
                "Type the first and the last line as the user root. What is between them belongs in"
                " /etc/rancher/k3s/registries.yaml."
            ),
            _BY_PLACE,
        ),
        (
            "install -D -m 0644 {file} /etc/rancher/k3s/certbotless.crt",
            # Releases of early 2024 ignore the second part without the first (k3s-io/k3s#9839).
            "mirrors:",
            '  "{place}": {endpoint: ["https://{place}"]}',
            "configs:",
            '  "{place}": {tls: {ca_file: /etc/rancher/k3s/certbotless.crt}}',
            "systemctl restart k3s",
        ),
    ),
    "macos": Steps(
        "macOS",
        (N_("Type this in a terminal."),),
        ("sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {piece}",),
    ),
    "windows": Steps(
        "Windows",
        (N_("Type this in a terminal of an administrator."),),
        ("certutil -addstore -f Root {piece}",),
    ),
    "ios": Steps(
        N_("iPhone, iPad (iOS)"),
        (
            N_("Open {profile} in Safari or in Files, and allow the download of the profile."),
            N_("Install it in Settings, General, VPN & Device Management."),
            N_(
                "Then switch the root on in Settings, General, About, Certificate Trust Settings. Without"
                " this second switch nothing trusts it."
            ),
        ),
    ),
    "android": Steps(
        "Android",
        (
            N_("Save {files} on the phone."),
            N_(
                "Install it in Settings, Security, Encryption & credentials, Install a certificate, CA"
                " certificate. Phones differ: search the settings for CA certificate."
            ),
            N_("Browsers trust it. Apps other than browsers ignore it."),
        ),
    ),
}


# What does not fetch by the line that `fetch` has for Linux.
ELSEWHERE = ("macos", "windows", "ios", "android")


# What is said between the lines that fetch and those that come after.
AFTER = {"windows": N_("findstr prints a line if the file is right. If it prints nothing, stop. Then:")}


def kit_of(system: str, roots: Sequence[RootCertificate], places: Sequence[str] = ()) -> Kit:
    """Return the files that a client of this system gets from the daemon (`local_ca.share`)."""
    if system in ("windows", "android"):
        pieces = ["root.cer", "next.cer"]
        return Kit(roots, pieces[0], pieces[: len(roots)], places)
    pieces = ["root.crt"] if len(roots) == 1 else [f"root-{i + 1}.crt" for i in range(len(roots))]
    return Kit(roots, "root.crt", pieces, places)


def fetch(system: str, url: str, kit: Kit) -> list[str]:
    """Return the lines that get these files from the daemon and prove their bytes.

    A file with other bytes is removed, so lines that are typed after it find none. Of Windows see `AFTER`.
    On a phone nothing is typed.

    Args:
        url: of the daemon, without a path.
    """
    if system in ("ios", "android"):
        return []
    if system == "windows":
        lines, paths = [], ("root.cer", "root.cer?next")
        for root, piece, path in zip(kit.roots, kit.pieces, paths, strict=False):
            lines.append(f'curl.exe -fsSo {piece} "{url}/{path}"')
            lines.append(f"certutil -hashfile {piece} SHA256 | findstr {root.root_sha256}")
        return lines
    where = f"{url}/{kit.file}"
    where = f"'{where}'" if "[" in where else where
    check = "shasum -a 256 -c" if system == "macos" else "sha256sum -c"
    digest = hashlib.sha256(pem_of(kit.roots)).hexdigest()
    proof = f'echo "{digest}  {kit.file}" | {check} || {{ rm -f {kit.file}; false; }}'
    return [f"curl -fsSO {where} && {proof}", *kit.divided]
