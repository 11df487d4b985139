"""Runs of the program that do not load its libraries: each is a fork of a Python that has loaded them.

A run is that of `python -m certbotless`: the program is imported and runs from its beginning to its end, in a
process of its own with the caller's environment. What it imports of others is in memory already; to load that
is more than half of what a short run costs. What is about the start itself is started as users start it.

Source: docs.python.org, multiprocessing, "Contexts and start methods".
"""

import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from tempfile import TemporaryDirectory

_LIBRARIES = (
    *("acme.challenges", "acme.client", "acme.messages", "cryptography.x509", "docker", "requests"),
    *("aliyunsdkcore.client", "aliyunsdkalidns.request.v20150109.AddDomainRecordRequest"),
    *("dns.query", "dns.resolver", "dns.rdtypes.ANY.TXT", "pydantic_core", "rich.table", "yaml"),
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(_LIBRARIES))


def run(arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> CompletedProcess[str]:
    """Run the program to its end, and return its exit code and outputs.

    Raises:
        TimeoutExpired: it did not end in time, and was killed.
    """
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = _context.Process(target=_run, args=(arguments, dict(environment), os.getcwd(), outputs))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutExpired(list(arguments), timeout_s)
        return CompletedProcess(
            list(arguments), process.exitcode, *(output.read_text() for output in outputs)
        )


def _run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: str, outputs: Sequence[Path]
) -> None:
    for number, output in enumerate(outputs, 1):
        with output.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    sys.argv = ["certbotless", *arguments]
    runpy.run_module("certbotless", run_name="__main__", alter_sys=True)
