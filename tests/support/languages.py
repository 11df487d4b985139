"""The language and the time zone in which people are spoken to, for a part of a test."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from certbotless.base import words


@contextmanager
def chinese() -> Iterator[None]:
    """Speak Chinese, with the time of China, as long as the block runs."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Shanghai"
    time.tzset()
    words.speak("zh")
    try:
        yield
    finally:
        words.speak("en")
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()
