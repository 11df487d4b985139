"""`certbotless init` as a new user meets it; `test_new_user.py` goes on from there to a push by name."""

import os
import subprocess

import pytest
import yaml
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed, assert_mode, write_secret
from support.commands import completed
from support.pages import Reading
from support.terminals import ENTER, Terminal, _is_asked, answer, lead_to_stand_ins

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import Registry


def certbotless(bed: Bed, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the program on the file as it is, beside this engine."""
    environment = os.environ | {"DOCKER_HOST": bed.engine.docker_host}
    done = completed(bed.command(*args), env=environment, stdin=subprocess.DEVNULL)
    bed.said += [done.stdout, done.stderr]
    return done


@pytest.mark.page("README.md", "install")
def test_a_few_answers_make_the_file_and_no_secret_is_shown(bed: Bed, paper: Reading) -> None:
    """Enter takes what was found; what is typed as a secret is nowhere to be seen."""
    *_, init = paper.commands("README.md", "install")
    environment = {"DOCKER_HOST": bed.engine.docker_host}
    with Terminal(bed.command(*init.split()[1:]), width=200, environment=environment) as terminal:
        answer(
            terminal,
            (f"Domain of the service, like registry.example.com [{DOMAIN}]", ENTER),
            ("zone", "example.com"),
            ("zone", ZONE),
            ("AccessKey ID", KEY_ID),
            ("AccessKey secret", KEY_SECRET),
            ("Container that serves the certificate, or none [registry]", ENTER),
            ("Address of its A record", "auto:"),
            ("[auto]", ENTER),
            ("CA", "zerossl"),
            ("CA", bed.ca.directory_url),
            ("E-mail", ENTER),
            ("Folder on this machine where registry looks for its certificate", ENTER),
            ("dry run now? [y/N]", ENTER),
        )
        assert terminal.wait() == 0
        text = terminal.text()
        for withheld in (KEY_ID, KEY_SECRET):
            assert withheld not in terminal.raw
    assert f"found: LAN address {LAN_ADDRESS}" in text
    assert (
        f"found: container registry (registry:2): port 5000, user 0, mounts /certs from {bed.certs}" in text
    )
    assert f"'{DOMAIN}' is not in the zone 'example.com'" in text
    assert "zerossl needs acme.eab" in text
    assert f'"acs:alidns:*:ACCOUNT:domain/{ZONE}"' in text
    assert "docker run" not in text
    assert f"certbotless --config {bed.file} --renew-now --dry-run" in text
    for name, mode in (("config.yaml", 0o600), ("access_key_id", 0o600), ("access_key_secret", 0o600)):
        assert_mode(bed.home / name, mode)
    assert certbotless(bed, "check").stderr == ""
    written = yaml.safe_load(bed.file.read_text())
    assert (written["certs_dir"], written["docker"]["host"]) == (str(bed.certs), bed.engine.docker_host)


def test_a_registry_that_looks_for_other_files_is_told_of(bed: Bed) -> None:
    bed.registry.remove()
    other = Registry(bed.engine, f"other.{ZONE}", certs=bed.certs)
    other.write_self_signed()
    other.create()
    flags = ["--domain", DOMAIN, "--access-key-id", "${A}", "--access-key-secret", "${B}"]
    done = certbotless(bed, "init", "--yes", *flags)
    assert "registry does not look for its certificate where it will be" in done.stdout
    assert (
        f"  -v {bed.certs}:/certs:ro -e REGISTRY_HTTP_TLS_CERTIFICATE=/certs/{DOMAIN}.pem -e" in done.stdout
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

    printed = done.stdout.partition("or the same as a compose file:\n")[2].partition("\n\nIt starts again")[0]
    (service,) = yaml.safe_load(printed)["services"].values()
    certs, data = (volume.split(":") for volume in service["volumes"])
    assert certs == ["/certs", "/certs", "ro"]
    (published, inside) = service["ports"][0].split(":")
    # The image is made of Debian's package, which has other paths than the one on the hub.
    bed.engine.client().containers.run(
        service["image"],
        entrypoint=["/bin/registry"],
        command=["serve", "/etc/docker-registry/config.yml"],
        name=service["container_name"],
        detach=True,
        restart_policy={"Name": service["restart"], "MaximumRetryCount": 0},
        ports={f"{inside}/tcp": published},
        volumes=[f"{bed.certs}:/certs:ro", ":".join(data)],
        environment={**service["environment"], "OTEL_TRACES_EXPORTER": "none"},
    )
    bed.file.write_text(bed.file.read_text().replace("certs_dir: /certs ", f"certs_dir: {bed.certs} "))
    lead_to_stand_ins(bed, bed.file)
    bed.file.write_text(f"{bed.file.read_text()}state_dir: {bed.state}\n")
    done = certbotless(bed, "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    pushed = bed.registry.push("hello:1")
    assert bed.registry.pull("hello:1") == pushed


def test_the_dry_run_that_is_offered_is_run(bed: Bed) -> None:
    """As far as it gets without the secrets, which are not in this environment."""
    flags = ["--access-key-id", "${USER_KEY}", "--access-key-secret", "${USER_SECRET}"]
    environment = {"DOCKER_HOST": bed.engine.docker_host}
    with Terminal(bed.command("init", *flags), width=200, environment=environment) as terminal:
        answer(terminal, ("Domain", ENTER), ("zone", ZONE), ("Container", ENTER), ("Address", "none"))
        answer(terminal, ("CA", bed.ca.directory_url), ("E-mail", ENTER), ("Folder on this machine", ENTER))
        answer(terminal, ("dry run now? [y/N]", "y"))
        assert terminal.wait() == 1
    assert "certbotless: the environment variable 'USER_KEY' is not set" in terminal.text()


def test_ctrl_c_leaves_nothing_behind(bed: Bed) -> None:
    with Terminal(
        bed.command("init"), width=200, environment={"DOCKER_HOST": bed.engine.docker_host}
    ) as terminal:
        before = set(bed.home.iterdir())
        answer(terminal, ("Domain", ENTER), ("zone", ENTER), ("AccessKey ID", KEY_ID))
        terminal.wait_until(lambda: _is_asked(terminal, "AccessKey secret"), "it asks for the secret")
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert set(bed.home.iterdir()) == before
