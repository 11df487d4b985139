"""One run as a command: that it ends, whatever it waits for."""

import subprocess
import sys
import threading
from datetime import timedelta

import pytest

from certbotless.base.clock import SystemClock
from certbotless.base.errors import Interrupted
from certbotless.service.oneshot import ends_in_time


def test_a_run_that_takes_too_long_is_asked_to_end(caplog: pytest.LogCaptureFixture) -> None:
    """It cleans up, as at a signal; what ends in time is left alone."""
    clock = SystemClock()
    with ends_in_time(timedelta(hours=1), clock):
        clock.sleep(0)
    with pytest.raises(Interrupted), ends_in_time(timedelta(), clock):
        clock.sleep(3600)
    assert [r.levelname for r in caplog.records if r.message.startswith("run.overdue")] == ["ERROR"]


@pytest.mark.process
def test_a_run_that_does_not_end_when_it_is_asked_to_is_ended() -> None:
    """As where a library hangs in a call that knows no end."""
    code = (
        "import threading; from datetime import timedelta\n"
        "from certbotless.service import oneshot; from certbotless.base.clock import SystemClock\n"
        "oneshot._LEAVE_S = 0\n"
        "with oneshot.ends_in_time(timedelta(), SystemClock()):\n"
        "    threading.Event().wait()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count(b"Traceback")) == (1, 0)


def test_nothing_is_left_of_the_watch() -> None:
    before = threading.active_count()
    with ends_in_time(timedelta(hours=1), SystemClock()):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
