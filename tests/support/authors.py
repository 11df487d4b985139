"""Somebody who edits a configuration file, and what follows it."""

import logging
import time
from pathlib import Path

import pytest

from certbotless.config.live import Source
from certbotless.config.settings import Config
from support.bed import renamed_over

TICK_S = 0.25


class Author:
    """Somebody who edits a configuration file, and the source that follows it."""

    def __init__(self, home: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self.home, self.file = home, home / "config.yaml"
        self.file.write_text(text)
        self._caplog = caplog
        self.source = Source(self.file)
        self.now_s = 0.0
        self.wait(5)

    def wait(self, seconds: float) -> list[Config]:
        """Let time pass with its polls, and return what came into force, or has another secret now."""
        end_s, found = self.now_s + seconds, []
        while self.now_s < end_s:
            config = self.source.poll(self.now_s)
            found += [config] if config else []
            self.now_s += TICK_S
        return found

    def ask(self) -> Config | None:
        """Poll as at SIGHUP."""
        return self.source.poll(self.now_s, is_asked=True)

    def said(self) -> list[str]:
        """Return the lines logged since the last time."""
        lines = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return lines


def in_place(path: Path, text: str) -> None:
    """Save as an editor that writes into the file itself."""
    with path.open("r+") as file:
        file.truncate()
        file.write(text)


def created_anew(path: Path, text: str) -> None:
    """Save as one that deletes the file first."""
    path.unlink()
    path.write_text(text)


def flipped(path: Path, text: str) -> None:
    """Save as Kubernetes does with a ConfigMap: a new folder, and a link to it that is renamed over.

    The file is a link through `..data`; it is made one at the first time.
    """
    data, beside = path.parent / "..data", path.parent / "..data_tmp"
    folder = path.parent / f"..{time.monotonic_ns()}"
    folder.mkdir()
    (folder / path.name).write_text(text)
    beside.symlink_to(folder.name)
    beside.replace(data)
    if not path.is_symlink():
        path.unlink()
        path.symlink_to(f"..data/{path.name}")


STYLES = (in_place, renamed_over, created_anew, flipped)
