"""What the next steps need is loaded while the first one waits, and once."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
from certbotless.act import dispatch as steps

def loaded(action, *later):
    steps.load_ahead(action, later)
    threads = [each for each in threading.enumerate() if each.name == "load"]
    for thread in threads:
        thread.join()
    heavy = ("acme", "aliyunsdkcore", "docker")
    print(len(threads), *(name for name in heavy if name in sys.modules))

loaded("order", "order", "note")
loaded("order", "deploy")
loaded("record", "record", "order", "deploy")
loaded("record", "record", "order", "deploy")
"""


@pytest.mark.process
def test_what_the_next_steps_need_is_loaded_ahead_once_and_not_what_this_one_loads() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "0",
        "1 docker",
        "1 acme docker",
        "0 acme docker",
    ]
