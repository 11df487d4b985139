"""`status --watch`: the same text again and again, in place, until Ctrl-C.

Each picture is one write of lines that overwrite the old ones, so nothing flickers.

Source: ECMA-48 (cursor home, erase to the end of the line and of the page).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn, TextIO

from .terminal import Screen

EVERY_S = 2.0

_HOME, _ERASE_LINE, _ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(picture: Callable[[Screen], tuple[str, int]], stream: TextIO) -> NoReturn:
    """Draw what `picture` gives, every 2 s, and end at Ctrl-C with the code of the last one.

    Args:
        picture: from the screen to its text and an exit code.
        stream: a terminal that moves its cursor.
    """
    code = 1
    fd = stream.fileno()

    def leave(*_: object) -> NoReturn:
        # At once: nobody waits for a look that hangs in a resolver, and there is nothing to clean up.
        os.write(fd, f"\r{_ERASE_LINE}".encode())
        os._exit(code)

    signal.signal(signal.SIGINT, leave)
    while True:
        screen = Screen.of(stream)
        text, code = picture(screen)
        left = memoryview(drawn(text, screen).encode(screen.encoding, "backslashreplace"))
        while left:
            left = left[os.write(fd, left) :]
        time.sleep(EVERY_S)


def drawn(text: str, screen: Screen) -> str:
    """Return what draws the text over the last one; what does not fit is counted, and the cursor is below."""
    lines = text.split("\n")
    room = max(screen.height - 1, 1)
    if len(lines) > room:
        more = f"({len(lines) - room + 1} more lines; a higher terminal shows them)"
        lines = [*lines[: room - 1], screen.cut(more, screen.width)]
    return _HOME + "".join(f"{line}{_ERASE_LINE}\r\n" for line in lines) + _ERASE_BELOW
