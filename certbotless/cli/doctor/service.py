"""This machine: the published files, the containers that read them, and what these serve."""

import os
import stat
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...base.errors import DeployError
from ...base.words import N_, _
from ...config.settings import Config, Site
from ...config.targets import Target
from ...config.values import DIRECTORIES, STAGING_WORDS
from ...model.observation import where_of
from ...model.view import View
from ...observe.client_visit import knock
from ...world import registry
from ...world.containers import Container, Settings, published_port
from ...world.tls import served_leaf
from .elsewhere import Programs, reaches, silence
from .finding import Case

if TYPE_CHECKING:
    from .swarm import Swarm

# OpenSSL's numbers (x509_vfy.h) for a name that the certificate lacks, and for one whose time is over.
_WRONG_NAME, _EXPIRED = 62, 10
# A pair with its facts takes less.
_LEAST_ROOM_BYTES = 1 << 20


# --- files --------------------------------------------------------------------------------------------------


def folders(case: Case) -> set[Path]:
    """Test whether we may write what we remember and what we publish; return each certs_dir where we may."""
    has_state = _folder(case, "state_dir", case.config.state_dir)
    shared = case.config.shared_dir
    # The first run makes it.
    found = {shared} if has_state and not os.path.lexists(shared) else set[Path]()
    return found | {
        each for each in sorted(case.config.certs_dirs - found) if _folder(case, "certs_dir", each)
    }


def _folder(case: Case, check: str, folder: Path) -> bool:
    about = str(folder)
    if not os.path.isdir(folder):
        text = _("is not a folder, or this user (uid {}) may not enter it").format(os.geteuid())
        case.fail(
            check,
            about,
            text,
            _("mkdir {}; or allow this user to enter the folders above it; or correct {}").format(
                folder, check
            ),
        )
        return False
    store = folder / ".certbotless"
    inside = [store, *sorted(store.glob("*"))] if check == "certs_dir" else sorted(folder.glob("*"))
    for path in (folder, *inside):
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            text = _("this user (uid {}) may not write to {}: it is {}").format(
                os.geteuid(), path, _modes(path)
            )
            cure = _(
                "chown it to the service's user; under systemd, add ReadWritePaths={} by a drop-in"
            ).format(folder)
            case.fail(check, about, text, cure)
            return False
    room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize < _LEAST_ROOM_BYTES:
        case.fail(check, about, _("its disk is full"), _("make room: df -h {}").format(folder))
        return False
    case.ok(check, about, _("this user (uid {}) may write to it: {}").format(os.geteuid(), _modes(folder)))
    return True


def certificate(case: Case, view: View) -> bool:
    """Whether a certificate is published that a service could serve."""
    domain, published, facts = view.site.domain, view.seen.published, view.seen.published.facts
    if view.site.certificate and facts is None and not (view.seen.shared and view.seen.shared.facts):
        return False  # what it shares is not there yet, which is reported of that
    renewal = next((step for step in view.decision.steps if step.action in ("order", "take")), None)
    failed = view.standing_failures.get("order")
    said = _(" (the last order: {})").format(_(failed.what)) if failed is not None else ""
    days = (facts.not_after - case.clock.now()) / timedelta(days=1) if facts else 0
    cure = f"certbotless --once {domain}"
    if failed is not None and failed.hint:
        cure = _("{}; then {}").format(_(failed.hint), cure)
    if published.fault or facts is None or days <= 0:
        expired = _("expired {:.0f} days ago{}").format(-days, said)
        text = expired if facts else _("none is published yet{}").format(said)
        case.fail("certificate", domain, _(published.fault) or text, cure)
        return False
    if published.wrong_mode:
        text = _("the key has mode {}, and key_mode is {}").format(*published.wrong_mode)
        if published.wrong_mode == view.remembered.unkept_modes:
            text = _("{}: the file system of certs_dir does not keep modes").format(text)
            cure = _(
                "set who may read there by the options of its mount, or move certs_dir to another file system"
            )
        case.warn("certificate", domain, text, cure)
    elif renewal is not None:
        text = _("{:.0f} days left, and a new one is due: {}{}").format(days, renewal.spoken_reason, said)
        case.warn("certificate", domain, text, cure)
    else:
        text = _("{:.0f} days left, for {}, by {}").format(days, ", ".join(facts.names), facts.issuer)
        case.ok("certificate", domain, text)
    return True


def _key(config: Config, site: Site) -> Path:
    return config.certs_dir_of(site) / f"{site.domain}.key"


# --- the targets --------------------------------------------------------------------------------------------


class Targets:
    """The targets of all sites. What several sites share is reported once, the engine first."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._runs: dict[str, bool] = {}
        self._programs = Programs(case)
        self._has_engine = True
        if any(target.has_containers for site in case.config.sites for target in site.deploy):
            try:
                case.containers.ping()
                case.ok("engine", case.config.docker.host, _("answers"))
            except DeployError as exc:
                self._has_engine = False
                case.fail_by("engine", case.config.docker.host, exc)

    def examine(self, view: View, wanted: Target) -> None:
        """Test a target of a site, and what is served there."""
        if wanted.service is not None:
            self._swarm.examine(view, wanted)
            return
        if not wanted.has_containers:
            if wanted.command and not self._programs.can_run(wanted.argv(view.site.domain)[0]):
                return
            where = where_of(wanted, view.seen.host, None, {})
            leaf = served_leaf(*where, view.site.domain) if where else ""
            self._serves(view, wanted, wanted.name, where, leaf)
        elif self._has_engine:
            for container in self._found(wanted):
                self._container(view, wanted, container)

    @cached_property
    def _swarm(self) -> "Swarm":
        from ...world.engine import Engine  # noqa: PLC0415  (as below)
        from ...world.swarm import DockerServices  # noqa: PLC0415  (as below)
        from .swarm import Swarm  # noqa: PLC0415  (nothing of it is loaded for other files)

        return Swarm(self._case, DockerServices(Engine(self._case.config.docker.host)))

    def _found(self, wanted: Target) -> list[Container]:
        case = self._case
        try:
            if wanted.label is None:
                return [case.containers.find(wanted.name)]
            found = case.containers.matching(wanted.label)
        except DeployError as exc:
            case.fail_by("container", wanted.name, exc)
            return []
        if not found:
            cure = _("start one with --label {}, or correct the label").format(wanted.label)
            case.fail(
                "container", wanted.name, _("no container has the label {!r}").format(wanted.label), cure
            )
        return found

    def _container(self, view: View, wanted: Target, container: Container) -> None:
        case, name = self._case, container.name
        try:
            settings = case.containers.settings(name)
            # One that does not run publishes nothing.
            needs_port = wanted.port is None and container.status == "running"
            port = published_port(container) if needs_port else None
        except DeployError as exc:
            case.fail("container", name, exc.message, exc.hint or _("write port: NUMBER in its deploy entry"))
            return
        where = where_of(wanted, view.seen.host, port, container.bound)
        leaf, facts = served_leaf(*where, view.site.domain) if where else "", view.seen.published.facts
        # A container that serves what is published can read it. One that cannot read it does not run either;
        # then only the cause is reported.
        is_served = facts is not None and leaf == facts.sha256
        can_read = _mount(case, view.site, wanted, name, settings, is_served=is_served) and (
            is_served or _reads_key(case, view.site, container, settings)
        )
        if can_read and self._does_run(wanted, container, settings):
            self._serves(view, wanted, name, where, leaf)

    def _does_run(self, wanted: Target, container: Container, settings: Settings) -> bool:
        case, name = self._case, container.name
        if name in self._runs:
            return self._runs[name]
        self._runs[name] = container.status == "running"
        if not self._runs[name]:
            verb = {"paused": "unpause", "restarting": "logs"}.get(container.status, "start")
            case.fail("container", name, _("is {}").format(container.status), f"docker {verb} {name}")
            return False
        case.ok("container", name, _("runs"))
        if wanted.action.kind == "restart" and settings.is_registry:
            _drain(case, wanted, name, settings)
        return True

    def _serves(
        self, view: View, wanted: Target, name: str, where: tuple[str, int] | None, leaf: str
    ) -> None:
        """Report what is served there; nothing for a target that is not to be proved."""
        case, facts = self._case, view.seen.published.facts
        if facts is None:
            reaches(case, view, wanted, leaf)
        if where is None or facts is None:
            return
        about, at = _("{} by {}").format(view.site.domain, name), f"{where[0]}:{where[1]}"
        look = f"docker logs {name}; " if wanted.has_containers else ""
        if not leaf:
            text = _("no TLS answer at {}").format(at)
            if not wanted.has_containers:
                text = _("{} ({})").format(text, silence(where))
            case.fail(
                "served",
                about,
                text,
                _("{}check that this is its TLS port, and that it uses the two files").format(look),
            )
        elif leaf != facts.sha256:
            text = _("the certificate at {} is not the published one").format(at)
            case.fail("served", about, text, f"certbotless --once {view.site.domain}")
        else:
            case.ok("served", about, _("the published certificate, at {}").format(at))
            _as_client(case, view.site, where, about, look)


# --- what a container may read ------------------------------------------------------------------------------


def _mount(case: Case, site: Site, wanted: Target, name: str, settings: Settings, *, is_served: bool) -> bool:
    """Whether the container sees the folder of the pair, and its environment names the right files."""
    if not case.config.docker.host.startswith("unix:"):
        return True  # an engine elsewhere has folders of its own
    folder = case.config.certs_dir_of(site)
    real = Path(os.path.realpath(folder))
    sources = {inside: Path(os.path.realpath(source)) for inside, source in settings.mounts.items()}
    seen = [inside / real.relative_to(at) for inside, at in sources.items() if real.is_relative_to(at)]
    if not seen:
        single = sorted(str(settings.mounts[i]) for i, at in sources.items() if at.is_relative_to(real))
        text = _("mounts only {}, and still sees the old file after a renewal").format(", ".join(single))
        cure = _("create it with the folder mounted: -v {}:{}:ro").format(folder, folder)
        if single and wanted.action.kind == "restart":
            case.warn("mount", name, _("{}, until it is restarted").format(text), cure)
            return True
        if not single and is_served:
            return True  # it gets the pair in a way of its own
        case.fail("mount", name, text if single else _("does not see {}").format(folder), cure)
        return False
    # A container that several sites share may be given the names of another site's pair.
    domains = [site.domain, *(other.domain for other in case.config.sites)]
    for variable, ending, file in (
        (registry.CERTIFICATE, "pem", "fullchain.pem"),
        (registry.KEY, "key", "privkey.pem"),
    ):
        right = [
            str(inside / path)
            for domain in domains
            for inside in seen
            for path in (f"{domain}.{ending}", f".certbotless/{domain}/current/{file}")
        ]
        # Where it is not set, a file in the container may name the pair.
        said = settings.environment.get(variable)
        if said is not None and said not in right and not is_served:
            case.fail(
                "mount",
                name,
                _("{} is {!r}").format(variable, said),
                _("create it with -e {}={}").format(variable, right[0]),
            )
            return False
    case.ok("mount", name, _("sees {} as {}").format(folder, seen[0]))
    return True


def _reads_key(case: Case, site: Site, container: Container, settings: Settings) -> bool:
    """Whether the container's user may read the key, and go through the folders on the way to it."""
    key, top = _key(case.config, site), case.config.certs_dir_of(site)
    if container.reads_all:
        return True
    if settings.uid is None:
        cure = _("check that it may read {}: {}").format(key, _modes(key))
        case.warn("key", container.name, _(_UNKNOWN_USER[settings.namespace]), cure)
        return True
    groups = ", ".join(map(str, sorted(settings.gids))) or _("not known")
    who = _("uid {} (groups {}){}").format(settings.uid, groups, _(_NAMESPACES[settings.namespace]))
    real = Path(os.path.realpath(key))
    for folder in (real.parent, *real.parent.parents):
        if not _may(folder, settings, stat.S_IXOTH):
            text = _("{} may not enter {}: it is {}").format(who, folder, _modes(folder))
            case.fail("key", container.name, text, f"chmod o+x {folder}")
            return False
        if folder == Path(os.path.realpath(top)):
            break
    if _may(real, settings, stat.S_IROTH):
        case.ok("key", container.name, _("{} may read {}").format(who, key))
        return True
    let_in = f"chgrp -R {min(settings.gids, default=settings.uid)} {top}"
    inherit = f"find {top} -type d -exec chmod g+s {{}} +"
    cure = _('set key_mode: "0640", then {} && {} && chmod 0640 {}').format(let_in, inherit, key)
    case.fail("key", container.name, _("{} may not read {}: it is {}").format(who, key, _modes(key)), cure)
    return False


# By the kind of its user namespace: where its uid on this machine is not known, and where it is.
_UNKNOWN_USER = {
    "": N_("its user has a name, and certbotless cannot find its uid"),
    "rootless": N_("its engine is rootless, and does not show which user of this machine it runs as"),
    "userns": N_("it has its own user namespace, and certbotless cannot find its user on this machine"),
}
_NAMESPACES = {
    "": "",
    "rootless": N_(", of a rootless engine,"),
    "userns": N_(", in its own user namespace,"),
}


def _may(path: Path, settings: Settings, bit_of_others: int) -> bool:
    found = path.stat()
    shift = 6 if settings.uid == found.st_uid else 3 if found.st_gid in settings.gids else 0
    return bool(found.st_mode & bit_of_others << shift)


def _drain(case: Case, wanted: Target, name: str, settings: Settings) -> None:
    drain, spare = registry.drain_of(settings.environment), registry.DRAIN_SPARE
    if not drain:
        text = _("a restart interrupts running pushes, unless its config.yml sets a draintimeout")
        case.warn(
            "drain",
            name,
            text,
            _("create it with -e {}=30s, and set stop_timeout: 35s").format(registry.DRAIN),
        )
    elif wanted.stop_timeout < drain + spare:
        least = (drain + spare).total_seconds()
        text = _("the engine kills it before its drain time of {:g} s is over").format(drain.total_seconds())
        case.warn("drain", name, text, _("set stop_timeout: {:.0f}s in its deploy entry").format(least))
    else:
        case.ok("drain", name, _("finishes pushes for {:g} s").format(drain.total_seconds()))


# --- trust --------------------------------------------------------------------------------------------------


def _as_client(case: Case, site: Site, where: tuple[str, int], about: str, look: str) -> None:
    """Connect as a client of this machine does: verify by its trust store, for this name, and ask."""
    met = knock(*where, site.domain)
    if met.is_trusted:
        case.ok("trusted", about, _("by this machine's trust store"))
        if met.is_error:
            case.fail("answer", about, _(met.text), _("{}the fault is in the service itself").format(look))
        elif met.status is None:
            case.warn(
                "answer", about, _(met.text), _("{}ignore it if the service does not use HTTP").format(look)
            )
        else:
            case.ok("answer", about, _(met.text))
    elif not met.verify_code:
        case.fail("trusted", about, _(met.text), _("try again"))
    elif met.verify_code in (_WRONG_NAME, _EXPIRED):
        case.fail("trusted", about, _(met.text), f"certbotless --once {site.domain}")
    elif site.is_local:
        if case.trusts_root:  # else that is a finding of its own
            cure = _("configure it to send the whole DOMAIN.pem")
            case.fail("trusted", about, _(met.text), cure)
    elif {ca.directory for ca in case.config.cas} <= DIRECTORIES.keys() - {*STAGING_WORDS}:
        cure = _("configure it to send the whole DOMAIN.pem, or update this machine's ca-certificates")
        case.fail("trusted", about, _(met.text), cure)
    else:
        text = _("{}, by this machine's trust store: the CA is not a public one").format(_(met.text))
        cure = _("give each client the root of this CA, or use a CA that is trusted everywhere")
        case.warn("trusted", about, text, cure)


def _modes(path: Path) -> str:
    found = path.stat()
    return f"uid {found.st_uid}, gid {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}"
