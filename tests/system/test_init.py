"""`certbotless init` as a new user meets it; `test_new_user.py` goes on from there to a push by name."""

import os
import re
import subprocess

import pytest
import yaml
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, LAN_NAME, ZONE, Bed, assert_mode, write_secret
from support.commands import completed
from support.pages import Reading, exchanged
from support.private_host import trust_stores
from support.terminals import ENTER, Terminal, _is_asked, answer, lead_to_stand_ins

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.ram import parse
from certbotless.sandbox.registry import Registry

PASSWORDS = "/etc/registry"


def certbotless(bed: Bed, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the program on the file as it is, beside this engine."""
    environment = os.environ | {"DOCKER_HOST": bed.engine.docker_host}
    done = completed(bed.command(*args), env=environment, stdin=subprocess.DEVNULL)
    bed.said += [done.stdout, done.stderr]
    return done


@pytest.mark.page("README.md", "install")
def test_a_few_answers_make_the_file_and_no_secret_is_shown(bed: Bed, paper: Reading) -> None:
    """Enter takes what was found. A wrong secret is found at once."""
    *_, init = paper.commands("README.md", "install")
    environment = {"DOCKER_HOST": bed.engine.docker_host}
    command = bed.command(*init.split()[1:], "--endpoint", bed.dns.endpoint)
    with Terminal(command, width=200, environment=environment) as terminal:
        answer(
            terminal,
            (f"Domain of the service at Aliyun DNS, like registry.example.com; or no [{DOMAIN}]", ENTER),
            (f"Also a certificate for every name below it, *.{DOMAIN}? [y/N]", ENTER),
            ("AccessKey ID (starts with LTAI)", KEY_ID),
            ("AccessKey secret (hidden; Enter when pasted)", "mistyped"),
            (f"AccessKey ID (Enter: {KEY_ID[:4]}…{KEY_ID[-4:]} again; skip: leave it untested)", ENTER),
            ("AccessKey secret (hidden; Enter: as before)", KEY_SECRET),
            ("Container that uses the certificate: its number, another name, or none [registry]", "1"),
            ("Folder on this machine from which registry reads its certificate", ENTER),
            (f"LAN address: {LAN_ADDRESS} (", ENTER),
            ("Do you agree to the terms of service of Let's Encrypt", "y"),
            ("test server", ENTER),
        )
        assert terminal.wait() == 0
        text = terminal.text()
        assert KEY_SECRET not in terminal.raw
    assert text.index(f'"acs:alidns:*:ACCOUNT:domain/{ZONE}"') < text.index("AccessKey ID")
    assert "  the key does not work: DescribeDomainRecords refused with SignatureDoesNotMatch" in text
    assert f"  the key works, {ZONE} found" in text
    assert "  1  registry (registry:2), published ports: 5000" in text
    assert "docker run" not in text
    assert "Start the service" not in text
    assert f"certbotless --config {bed.file} --renew-now --dry-run" in text.partition("Next:")[2]
    for name, mode in (("config.yaml", 0o600), ("access_key_id", 0o600), ("access_key_secret", 0o600)):
        assert_mode(bed.home / name, mode)
    assert certbotless(bed, "check").stderr == ""
    written = yaml.safe_load(bed.file.read_text())
    assert (written["certs_dir"], written["docker"]["host"]) == (str(bed.certs), bed.engine.docker_host)


def test_a_key_without_its_policy_gets_the_policy_and_is_tested_again(bed: Bed) -> None:
    """It is attached in the console meanwhile, as it is printed."""
    bed.dns.attach_policy(lambda action, zone: False)
    command = bed.command("init", "--endpoint", bed.dns.endpoint, "--container=none", "--address=none")
    with Terminal(command, width=200, height=60) as terminal:
        answer(terminal, ("Domain", DOMAIN), ("every name", "n"), ("AccessKey ID", KEY_ID))
        answer(terminal, ("AccessKey secret", KEY_SECRET), ("console lists it", ENTER))
        printed = terminal.text().partition("digits of your account:\n")[2].partition("\nDomain as")[0]
        bed.dns.attach_policy(parse(printed).permits)
        answer(terminal, ("AccessKey ID (Enter", ENTER), ("AccessKey secret", ENTER), ("terms", "n"))
        assert terminal.wait() == 2
        text = terminal.text()
    assert f"  the key works, {ZONE} found" in text
    assert text.rstrip().endswith(
        "certbotless: without that the CA issues no certificate; nothing is written"
    )
    assert not bed.file.exists()


def test_a_registry_that_reads_other_files_is_to_be_created_again(bed: Bed) -> None:
    bed.registry.remove()
    other = Registry(bed.engine, f"other.{ZONE}", certs=bed.certs)
    other.write_self_signed()
    other.create()
    flags = ["--domain", DOMAIN, "--access-key-id", "${A}", "--access-key-secret", "${B}"]
    done = certbotless(bed, "init", "--yes", *flags)
    assert "create registry again with these options (docs/registry.md): " in done.stdout
    assert (
        f": -v {bed.certs}:/certs:ro -e REGISTRY_HTTP_TLS_CERTIFICATE=/certs/{DOMAIN}.pem -e" in done.stdout
    )
    assert "docker run" not in done.stdout


def test_a_registry_without_full_root_leads_to_the_group(bed: Bed) -> None:
    bed.registry.remove()
    for path in bed.certs.iterdir():
        path.chmod(0o644)
    Registry(bed.engine, DOMAIN, certs=bed.certs, user="1000:4711", drain="20s").create()
    done = certbotless(
        bed, "init", "--yes", "--access-key-id", "credential:a", "--access-key-secret", "credential:b"
    )
    assert f"chgrp 4711 {bed.certs} && chmod 2755 {bed.certs}" in done.stdout
    written = yaml.safe_load(bed.file.read_text())
    assert written["key_mode"] == "0640"
    assert written["sites"][0]["deploy"] == [
        {"container": "registry", "action": "restart", "stop_timeout": "25s"}
    ]


def test_where_no_registry_runs_the_one_that_is_printed_will_do(bed: Bed) -> None:
    """It has no certificate to start with, and serves the first one as soon as that is there."""
    bed.registry.remove()
    for path in bed.certs.iterdir():
        path.unlink()
    flags = ["--domain", DOMAIN, "--directory", bed.ca.directory_url]
    flags += ["--access-key-id", f"file:{bed.home}/id", "--access-key-secret", f"file:{bed.home}/secret"]
    done = certbotless(bed, "init", "--yes", *flags)
    assert done.returncode == 0, done.stderr
    for name, secret in {"id": KEY_ID, "secret": KEY_SECRET}.items():
        write_secret(bed.home / name, secret)

    (login,) = re.findall(r"docker login \S+", done.stdout)
    printed = done.stdout.partition("apt-get install ")[2].partition(" registry:2\n")[0]
    _, make_user, run = printed.replace("\\\n", "").split("\n", 2)
    typed = exchanged(make_user, {PASSWORDS: str(bed.home), "-Bc": "-iBc", "USER": "alice"})
    bed.docker_shell(typed, typed="made-up-password")
    # The image is made of Debian's package, which has other paths than the one on the hub.
    instead = {
        "docker run ": "docker run --entrypoint=/bin/registry -e OTEL_TRACES_EXPORTER=none ",
        "-v /certs:": f"-v {bed.certs}:",
        f"-v {PASSWORDS}:": f"-v {bed.home}:",
    }
    bed.docker_shell(f"{exchanged(run, instead)} registry:2 serve /etc/docker-registry/config.yml")
    bed.file.write_text(bed.file.read_text().replace("certs_dir: /certs ", f"certs_dir: {bed.certs} "))
    lead_to_stand_ins(bed, bed.file)
    bed.file.write_text(f"{bed.file.read_text()}state_dir: {bed.state}\n")
    done = certbotless(bed, "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    bed.docker_shell(f"{login} -u alice --password-stdin", typed="made-up-password")
    image = f"{bed.registry.where}/hello-world"
    bed.docker_shell(f"docker tag registry:2 {image}; docker push {image}; docker pull {image}")


def test_who_has_no_domain_pushes_by_address_after_what_the_end_says_to_type(local: Bed) -> None:
    """From the answer no, by the commands that are printed, to a push that an engine trusts."""
    where = f"{LAN_ADDRESS}:{local.registry.port}"
    with Terminal(
        local.command("init"), width=200, environment={"DOCKER_HOST": local.engine.docker_host}
    ) as terminal:
        answer(
            terminal,
            ("Domain of the service at Aliyun DNS, like registry.example.com; or no", "no"),
            ("Names that clients use; the first one also names the files", f"{LAN_NAME}, {LAN_NAME}.lan"),
            ("its number, another name, or none [registry]", ENTER),
            ("Folder on this machine from which registry reads its certificate", ENTER),
            (f"LAN address, for clients that use no name: {LAN_ADDRESS} (", ENTER),
            ("Try it now (it changes no file", "y"),
        )
        assert terminal.wait() == 0
        after = terminal.text().partition("\nNext:\n")[2]
    assert "A public name is better where you can have one" in terminal.text()
    assert [path.name for path in local.home.iterdir() if path.name == "access_key_id"] == []
    next_ones = [
        line.partition("    #")[0].split()[3:] for line in after.splitlines() if "certbotless" in line
    ]
    assert ["trust", "commands"] in next_ones
    local.file.write_text(f"{local.file.read_text()}state_dir: {local.state}\n")
    assert certbotless(local, "check").stderr == ""
    done = certbotless(local, "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    with trust_stores():
        push = f"docker tag registry:2 {where}/hello; docker push {where}/hello"
        assert "x509" in local.docker_shell(push, code=1)
        typed = certbotless(local, "trust", "commands", "docker").stdout
        local.docker_shell(f"cd {local.home}; {typed}")
        try:
            local.docker_shell(push)
        finally:
            certbotless(local, "trust", "uninstall", "--to", "docker")


def test_ctrl_c_and_the_end_of_the_input_leave_nothing_behind(bed: Bed) -> None:
    environment = {"DOCKER_HOST": bed.engine.docker_host}
    before = set(bed.home.iterdir())
    for key, code in {"\x03": 130, "\x04": 2}.items():
        with Terminal(bed.command("init"), width=200, environment=environment) as terminal:
            answer(terminal, ("Domain", ENTER), ("every name", ENTER), ("AccessKey ID", KEY_ID))
            terminal.wait_until(lambda t=terminal: _is_asked(t, "AccessKey secret"), "it asks for the secret")  # type: ignore[misc]
            terminal.type(key)
            assert terminal.wait() == code
            last = terminal.text().rstrip().rpartition("\n")[2]
        assert set(bed.home.iterdir()) == before
    assert last == "certbotless: the input ended before the last question; nothing is written"
