"""Standard output that is closed, or takes no more: its reader has gone, or its disk is full."""

import errno
import os
import signal
import sys

from ..base.errors import reason_of
from ..base.words import Text, _

# The errors of a write. An error of a file of ours has its name, and was caught where the file is written.
_UNWRITTEN = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def open_closed() -> None:
    """Lead a standard output or standard error that is closed to nowhere, and so those of our children.

    Else a file of ours would take its number, and Python has None in its place.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "w"))  # noqa: SIM115


def code_of(error: OSError) -> int:
    """Return the exit code of a command that could not print; what is still in the buffer goes nowhere.

    Raises:
        OSError: `error` itself, where it is none of a write.
    """
    if error.errno not in _UNWRITTEN or error.filename is not None:
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return 128 + signal.SIGPIPE  # the reader has seen enough, as `head` has
    line = Text("standard output cannot be written: {}", reason_of(error))
    print("certbotless:", _(line), file=sys.stderr)
    return 1
