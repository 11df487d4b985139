"""The console of rich on which drawings are shown: a terminal, a file or a pipe.

Text from outside is never taken for markup, and never acts on a terminal. A stream that is no terminal gets
the same text without colours, in 80 columns. rich itself reads NO_COLOR, TERM and COLUMNS.

Source: no-color.org (NO_COLOR); ECMA-48 (control sequences).
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TextIO

from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.live import Live
from rich.segment import SegmentLines
from rich.text import Text

from ..base.errors import printable

# What rich draws.
Drawing = RenderableType

# Of a file or a pipe.
_WIDTH = 80
# As a line of the log.
_MOST_LETTERS = 4000
_EVERY_S = 2.0


class Terminal(Console):
    """A console for one stream.

    A `str` in a drawing is shown as plain text: never markup, one line, no control characters, and only
    letters that the stream has. So text from outside is given to rich as `str`, and never as `Text`.
    """

    def __init__(self, stream: TextIO) -> None:
        is_terminal = stream.isatty()
        super().__init__(
            file=stream,
            force_terminal=is_terminal,  # else FORCE_COLOR would put colours into a pipe
            width=None if is_terminal else _WIDTH,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def legible(self, text: str) -> str:
        """Return text as one line of letters that the stream has; others are written as their codes."""
        return printable(text, _MOST_LETTERS).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text that rich lays out for a `str`; rich calls this for every `str` of a drawing."""
        return super().render_str(self.legible(text), **options)

    def one_line(self, text: str, *, style: str = "", is_cut: bool) -> Text:
        """Return text that is never broken into lines; with `is_cut` it ends at the width of the screen."""
        line = self.render_str(text, style=style, overflow=self.cut if is_cut else "ignore")
        line.no_wrap = True
        return line

    @property
    def cut(self) -> OverflowMethod:
        """How to cut a line: with a mark at its end, if the stream has that."""
        return "ellipsis" if self.legible("…") == "…" else "crop"

    def show_cursor(self, show: bool = True) -> bool:
        """Leave the cursor as it is: a run that is killed or suspended could not bring it back."""
        return False

    def show(self, drawing: Drawing) -> None:
        """Write a drawing, without the spaces with which rich fills up its lines.

        Raises:
            BrokenPipeError: nobody reads the pipe. (rich's own `print` would end the process.)
        """
        with self.capture() as captured:
            # A group, because rich forgets `no_wrap` of a text that is printed alone.
            self.print(Group(drawing), crop=False)
        self.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def watch(self, look: Callable[[], tuple[Drawing, int]]) -> NoReturn:
        """Show the drawing that `look` returns, every 2 s, on the terminal's alternate screen.

        SIGINT and SIGTERM end the process with the last exit code that it returned; the last drawing stays on
        the main screen.
        """

        def leave(*_: object) -> NoReturn:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            raise KeyboardInterrupt

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, leave)
        drawing: Drawing = ""
        code = 1
        pool = ThreadPoolExecutor(1)
        try:
            with Live(console=self, screen=True, auto_refresh=False) as live:
                while True:
                    drawing, code = pool.submit(look).result()
                    live.update(self._fitted(drawing), refresh=True)
                    time.sleep(_EVERY_S)
        except KeyboardInterrupt:
            self.show(drawing)
            self.file.flush()
        # Not `sys.exit`, which would wait for a look that hangs in a resolver.
        os._exit(code)

    def _fitted(self, drawing: Drawing) -> SegmentLines:
        """Return the lines of a drawing that fit on the screen; the last one says how many more there are."""
        lines = self.render_lines(drawing, pad=False)
        left_out = len(lines) - self.height
        if left_out > 0:
            more = f"({left_out + 1} more lines; a higher terminal shows them)"
            lines[self.height - 1 :] = self.render_lines(more, pad=False)[:1]
        return SegmentLines(lines, new_lines=True)
