"""`make install` and `make uninstall` on a machine with a systemd."""

import shlex
import subprocess
from collections.abc import Iterator

import pytest
from support.machine import Machine
from support.pages import Reading
from support.services import DAEMON, FOLDERS, UNITS, WITHOUT_NETWORK, make

_STATE, _ETC = "/var/lib/certbotless", "/etc/certbotless"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine"), FOLDERS) as machine:
        yield machine


def kept(machine: Machine) -> str:
    """Return of all that is the admin's the owner, mode, time of the last change, and name."""
    ours = ("!", "-name", "*.example.yaml", "!", "-name", "schema.json", "!", "-path", _ETC)
    folders = (_ETC, "/etc/credstore", _STATE, "/certs")
    return machine.ok("find", *folders, *ours, "-printf", "%u:%g %m %T@ %p\n")


def completed_by_bash(machine: Machine, prefix: str) -> str:
    """Return what a bash there makes of `certbotless st` at the key Tab, with the script below `prefix`."""
    script = f"{prefix}/share/bash-completion/completions/certbotless"
    ask = "COMP_WORDS=(certbotless st) COMP_CWORD=1; _shtab_certbotless; echo ${COMPREPLY[@]}"
    return machine.ok("bash", "-c", f". {script}; {ask}").strip()


def assert_a_link_stays(machine: Machine) -> None:
    """A configuration that is a link to what is not there just now, as in a folder that is mounted later."""
    machine.ok("sh", "-euc", f"cd {_ETC}; mv config.yaml mine; ln -s /srv/not-mounted/config.yaml .")
    assert f"kept: {_ETC}/config.yaml" in make(machine, "install")
    assert machine.path(f"{_ETC}/config.yaml").is_symlink()
    machine.ok("mv", f"{_ETC}/mine", f"{_ETC}/config.yaml")


def listing(machine: Machine) -> str:
    """Return all files of the machine but what its own programs write, with all that a change changes."""
    folders = ("/etc", "/usr/local", "/var/lib", "/root", "/home")
    return machine.ok("find", *folders, "-printf", "%i %U:%G %m %s %C@ %p\n")


@pytest.mark.page("README.md", "install")
@pytest.mark.page("docs/systemd.md", "install", "init by options")
@pytest.mark.page("docs/upgrade.md", "make install")
@pytest.mark.long
def test_an_installation_a_second_one_and_its_end(machine: Machine, paper: Reading) -> None:
    fetch, install, init = paper.commands("README.md", "install")
    assert paper.commands("docs/systemd.md", "install") == [fetch, install]
    assert fetch.startswith("apt-get install ")
    # There is no network here to fetch them by, and the machine has what this one has.
    subprocess.run(["dpkg-query", "--show", *shlex.split(fetch)[2:]], check=True, capture_output=True)
    said = make(machine, *shlex.split(install)[1:])

    assert "is installed" in said
    assert f"next: {init}; " in said
    (by_options,) = paper.commands("docs/systemd.md", "init by options")
    assert by_options.startswith(f"{init} ")
    machine.ok(*shlex.split(by_options), "--address=none")
    modes = machine.ok(
        "stat", "-c", "%U:%G %a %n", _ETC, f"{_ETC}/config.yaml", "/etc/credstore", _STATE, "/certs"
    )
    assert modes.splitlines() == [
        f"root:certbotless 750 {_ETC}",
        f"root:certbotless 640 {_ETC}/config.yaml",
        "root:root 700 /etc/credstore",
        f"certbotless:certbotless 700 {_STATE}",
        "certbotless:certbotless 755 /certs",
    ]
    assert "docker" in machine.ok("id", "-nG", "certbotless").split()
    assert machine.ok("certbotless", "--version").startswith("certbotless ")
    assert machine.path("/usr/local/share/man/man1/certbotless.1").read_text().startswith(".TH CERTBOTLESS")
    # The secrets are not there yet.
    assert machine.ok("certbotless", "check").startswith(f"{_ETC}/config.yaml: ok (1 site), but 2 secrets ")
    assert completed_by_bash(machine, "/usr/local") == "status"
    assert set(UNITS) <= set(machine.ok("systemctl", "list-unit-files", "--plain").split())
    units = [f"/usr/local/lib/systemd/system/{unit}" for unit in UNITS]
    machine.ok("systemd-analyze", "verify", "--recursive-errors=no", *units)

    machine.path(f"{_ETC}/config.yaml").write_text("# mine\n")
    machine.ok("chown", "root:root", f"{_ETC}/config.yaml")
    for path in ("/certs/a.pem", f"{_STATE}/ledger.jsonl", "/etc/credstore/certbotless.access_key_id"):
        machine.path(path).touch()
    before = kept(machine)
    machine.ok("systemctl", "enable", "certbotless.service", "certbotless-check.timer")
    assert paper.commands("docs/upgrade.md", "make install") == [install]
    said = make(machine, "install")
    assert f"kept: {_ETC}/config.yaml" in said
    assert machine.path(f"{_ETC}/config.yaml").read_text() == "# mine\n"
    assert kept(machine) == before
    assert_a_link_stays(machine)

    for _ in range(2):
        assert "kept: " in make(machine, "uninstall")
    assert machine.path(f"{_ETC}/config.yaml").read_text() == "# mine\n"
    for path in ("/certs/a.pem", f"{_STATE}/ledger.jsonl", "/etc/credstore/certbotless.access_key_id"):
        assert machine.path(path).exists(), path
    assert not machine.path("/usr/local/bin/certbotless").is_symlink()
    assert not machine.path("/usr/local/lib/certbotless").exists()
    assert machine.ok("find", "/usr/local", "-name", "*certbotless*") == ""
    assert "certbotless" not in machine.ok("systemctl", "list-unit-files", "--plain")
    assert machine.ok("find", "/etc/systemd/system", "-name", "*certbotless*") == ""


@pytest.mark.page("docs/systemd.md", "scripts of a package")
def test_a_staged_installation_is_whole_where_it_is_moved_to(machine: Machine, paper: Reading) -> None:
    """As a package collects it: by anybody, below DESTDIR alone. Two commands of systemd do the rest."""
    machine.ok("rm", "-rf", _ETC)
    machine.ok("install", "-d", "-o", "nobody", "/srv/build")
    before = listing(machine)
    stage = "DESTDIR=/srv/build/stage", "PREFIX=/usr"
    builder = ("setpriv", "--reuid=nobody", "--clear-groups", "env", "HOME=/srv/build", *WITHOUT_NETWORK)
    said = machine.ok(*builder, "make", "-C", "/src", "install", *stage, patience_s=300)
    assert listing(machine) == before
    assert machine.run("grep", "-rl", "/srv/build", "/srv/build/stage").stdout == ""
    assert {path.name for path in machine.path("/srv/build/stage").iterdir()} == {"usr"}

    machine.ok("mount", "-t", "overlay", "-o", "lowerdir=/srv/build/stage/usr:/usr", "moved", "/usr")
    try:
        commands = said.partition("they need: ")[2].strip()
        assert commands.split("; ") == paper.commands("docs/systemd.md", "scripts of a package")
        machine.ok("sh", "-euc", commands)
        example = f"{_ETC}/config.example.yaml"
        assert machine.ok("stat", "-c", "%U:%G %a", _ETC, _STATE, "/certs").splitlines() == [
            "root:certbotless 750",
            "certbotless:certbotless 700",
            "certbotless:certbotless 755",
        ]
        for part in ("id", "secret"):
            machine.path(f"/etc/credstore/certbotless.access_key_{part}").write_text("made-up")
        assert machine.ok("certbotless", "check", "--config", example) == f"{example}: ok (1 site)\n"
        which = machine.ok(
            "/usr/lib/certbotless/bin/python", "-c", "import certbotless; print(certbotless.__file__)"
        )
        assert which.startswith("/usr/lib/certbotless/lib/")
        assert completed_by_bash(machine, "/usr") == "status"
        units = [f"/usr/lib/systemd/system/{unit}" for unit in UNITS]
        machine.ok("systemd-analyze", "verify", "--recursive-errors=no", *units)
        assert machine.ok("systemctl", "show", "--value", "--property=ExecStart", DAEMON).startswith(
            "{ path=/usr/bin/certbotless ;"
        )
        machine.ok("ln", "-s", example, f"{_ETC}/config.yaml")
        machine.ok("systemctl", "start", DAEMON)
        machine.ok("systemctl", "stop", DAEMON)
    finally:
        machine.ok("umount", "--lazy", "/usr")

    machine.ok(*builder, "make", "-C", "/src", "uninstall", *stage)
    assert machine.ok("find", "/srv/build/stage", "-name", "*certbotless*") == ""


@pytest.mark.page("docs/configuration.md", "group", "group of what is there")
@pytest.mark.page("docs/systemd.md", "remove all")
def test_certs_are_given_to_a_group_and_all_is_removed_as_the_pages_say(
    machine: Machine, paper: Reading
) -> None:
    """On what an installation leaves when it is gone: the user, the folders, the credentials."""
    if machine.run("id", "certbotless").returncode != 0:
        make(machine, "install")
        make(machine, "uninstall")
    for command in paper.commands("docs/configuration.md", "group"):
        machine.ok(*shlex.split(command))
    assert machine.ok("stat", "-c", "%U:%g %a", "/certs") == "certbotless:4711 2755\n"
    key = "/certs/.certbotless/registry.example.com/key"
    machine.ok("install", "-D", "-m", "0600", "/dev/null", key)
    machine.ok("ln", "-s", key, "/certs/registry.example.com.key")
    for command in paper.commands("docs/configuration.md", "group of what is there"):
        machine.ok("sh", "-euc", command)
    assert machine.ok("stat", "-c", "%g %a", key, "/certs/.certbotless") == "4711 600\n4711 2755\n"

    for command in paper.commands("docs/systemd.md", "remove all"):
        machine.ok("sh", "-euc", command)
    assert not machine.path("/certs").exists()
    left = machine.ok("find", "/etc", "/usr/local", "/var", "-name", "*certbotless*")
    assert (left, machine.run("id", "certbotless").returncode) == ("", 1)
