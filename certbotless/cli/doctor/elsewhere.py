"""Targets without a container: the program of a command, and what keeps this or another machine silent."""

import os
import shutil
import stat

from ...base.errors import reason_of
from ...base.words import _
from ...config.targets import Target
from ...model.view import View
from ...world.resolve import connect
from .finding import Case


class Programs:
    """The programs of commands. One that several targets have is reported once."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._can_be_run: dict[str, bool] = {}

    def can_run(self, program: str) -> bool:
        """Report whether this user may run a program."""
        if program not in self._can_be_run:
            self._can_be_run[program] = self._examine(program)
        return self._can_be_run[program]

    def _examine(self, program: str) -> bool:
        if shutil.which(program) is not None:
            self._case.ok("command", program, _("can be run"))
            return True
        if os.path.exists(program):
            found = os.stat(program)
            text = _("this user (uid {}) may not run it: it is {}").format(
                os.geteuid(),
                f"uid {found.st_uid}, gid {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}",
            )
            self._case.fail("command", program, text, f"chmod +x {program}")
        else:
            self._case.fail("command", program, _("cannot be run here"), _("give its full path"))
        return False


def silence(where: tuple[str, int]) -> str:
    """Return what keeps a program of this or another machine from an answer."""
    try:
        connect(*where, 2).close()
    except OSError as exc:
        return _(reason_of(exc))
    return _("its host takes the connection: the port is not for TLS, or what listens there hangs")


def reaches(case: Case, view: View, wanted: Target, leaf: str) -> None:
    """Report that another machine cannot be reached, before there is a certificate that it could serve."""
    if leaf or wanted.has_containers or wanted.port is None or wanted.port.kind != "elsewhere":
        return
    try:
        connect(wanted.port.host, wanted.port.number, 2).close()
    except ConnectionRefusedError:
        pass  # it is there, and its service may wait for the certificate
    except OSError as exc:
        about = _("{} by {}").format(view.site.domain, wanted.name)
        text = _("{} does not answer: {}").format(wanted.port.written, _(reason_of(exc)))
        case.warn("served", about, text, _("check that the machine is on, and its address"))
