"""Standard output that takes no more: its reader has gone, or its disk is full."""

import errno
import os
import signal
import sys

from ..base.errors import reason_of
from ..base.words import Text, _

# The errors of a write. An error of a file of ours has its name, and was caught where the file is written.
_UNWRITTEN = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


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
