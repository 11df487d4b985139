"""`certbotless sandbox` tells a true story, and fails in plain words where it cannot."""

import re
import shlex
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from support.commands import completed
from support.pages import ROOT, Reading, block

SANDBOX = [sys.executable, "-m", "certbotless", "sandbox"]
(DEMO,) = block("README.md", "try").commands


def surroundings() -> set[str]:
    """Return what a private host could leave here: its mounts, interfaces and programs."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    interfaces = [name for _, name in socket.if_nameindex()]
    programs = set()
    for process in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            programs.add(process.read_text().strip())
    return {*mounts, *interfaces, *programs & {"dockerd", "containerd", "pebble", "registry", "docker-proxy"}}


def told(command: list[str]) -> str:
    """Run a demo as a newcomer does; it must end well and leave this machine as it was."""
    before = surroundings()
    run = completed(command, cwd=ROOT)
    assert (run.stderr, run.returncode) == ("", 0), run.stdout
    assert surroundings() ^ before == set()
    scratch = re.search(r" (/\w+/(certbotless-\w+))/", run.stdout)
    assert scratch is not None
    # Only those of this run: /tmp and the control groups are shared with whoever else tests on this machine.
    assert not Path(scratch[1]).exists()
    assert list(Path("/sys/fs/cgroup").rglob(scratch[2])) == []
    return run.stdout


@pytest.fixture(scope="module")
def story() -> str:
    return told(shlex.split(DEMO))


@pytest.fixture(scope="module")
def local_story() -> str:
    return told([*SANDBOX, "--local"])


@pytest.fixture(scope="module")
def swarm_story() -> str:
    return told([*SANDBOX, "--nodes", "3"])


@pytest.mark.page("README.md", "try")
def test_the_command_of_the_readme_is_the_demo(story: str, paper: Reading) -> None:
    assert paper.commands("README.md", "try") == [DEMO]
    assert story


def test_the_command_that_the_readme_names_for_developers_is_what_ci_runs() -> None:
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    for page in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md"):
        assert f"`{command}`" in (ROOT / page).read_text()


@pytest.mark.parametrize(
    "fact",
    [
        "push refused: x509: certificate signed by unknown authority",
        "push refused: no such host",
        "DNS-01: Pebble read the TXT record",
        "record: devbox.sweetlove.test is 10.79.40.213, says name server 127.0.0.1:53",
        "record: devbox.sweetlove.test is 10.79.40.213, says name server 127.0.0.2:53",
        "record: devbox.sweetlove.test is 10.79.40.213, as any client resolves it",
        "files: only the owner can read the key",
        "certificate: a client that trusts the CA's root verifies devbox.sweetlove.test",
        "service: the registry uses the certificate in the file",
        "push accepted",
        "pulled back, the same image",
        "a second run: 0 ACME requests, 0 calls of the Aliyun API",
        "each client saw the old certificate, the new one, or none; never a wrong one",
        "the zone has only that record: no TXT record is left",
    ],
)
def test_each_promised_fact_is_verified(story: str, fact: str) -> None:
    """A line of its own says so, with the seconds since the start."""
    assert has_fact(story, fact)


def has_fact(story: str, fact: str) -> bool:
    return re.search(rf"^ *\d+\.\d\ds +ok {re.escape(fact)}", story, re.MULTILINE) is not None


def test_the_local_ca_is_played_with_a_second_machine(local_story: str) -> None:
    facts = [
        "push accepted, on localhost",
        "push refused: server gave HTTP response to HTTPS client",
        "push refused: x509: certificate signed by unknown authority",
        "the root can vouch for names and addresses of a LAN only",
        "laptop has the root, byte for byte",
        *(f"pushed and pulled by {name}" for name in ("10.79.40.213", "devbox", "devbox.lan")),
        "certificate: it is for devbox, devbox.lan and 10.79.40.77",
        "laptop has both roots",
        "each client saw the old certificate, the new one, or none; never a wrong one",
        "no client that has both roots refused a certificate",
        "a client that has the first root only refuses the new one",
        "the same certificate is used",
    ]
    assert [fact for fact in facts if not has_fact(local_story, fact)] == []


def test_a_fleet_is_played_with_a_machine_that_loses_its_power(swarm_story: str) -> None:
    facts = [
        *(f"service: node{number} uses the certificate in the file" for number in (1, 2, 3)),
        "records: devbox.sweetlove.test leads to all machines",
        *(f"node{n}: each client saw the old certificate, the new one, or none" for n in (1, 2, 3)),
        "status: node3 is not there, and the site is ok",
    ]
    assert [fact for fact in facts if not has_fact(swarm_story, fact)] == []


def test_the_renewal_shows_two_leaves_and_the_gap(story: str) -> None:
    """The restart turns clients away for a moment; both leaves were seen by some."""
    leaves = re.search(r"another certificate: ([0-9a-f]{16})\.\.\. -> ([0-9a-f]{16})\.\.\.", story)
    gap = re.search(r"the gap: connections were refused for (\d+) ms", story)
    assert leaves is not None
    assert gap is not None
    assert leaves[1] != leaves[2]
    assert 0 < int(gap[1]) < 60_000


@pytest.mark.parametrize(
    ("options", "broken", "cover", "words"),
    [
        ([], "pebble", "/dev/null", "certbotless: missing programs: pebble; apt-get install pebble\n"),
        (
            [],
            "pebble",
            "/usr/bin/false",
            "certbotless: the sandbox failed in step 1: pebble ended with code 1:",
        ),
        (["--local"], "docker-registry", "/dev/null", "certbotless: missing programs: docker-registry;"),
    ],
)
def test_a_sandbox_that_cannot_go_on_says_why(
    options: list[str], broken: str, cover: str, words: str
) -> None:
    """On a machine where the program is missing, or does not work; exit code 1 and nothing left."""
    before = surroundings()
    hide = f'mount --bind {cover} "$(command -v {broken})"; exec "$@"'
    run = completed(
        [sys.executable, "-m", "certbotless.sandbox.host", "sh", "-euc", hide, "sh", *SANDBOX, *options]
    )
    assert run.returncode == 1
    assert run.stderr.startswith(words)
    assert len(run.stderr.splitlines()) == 1
    assert surroundings() ^ before == set()
