"""Every way to make a service read its files anew, on real services: what is served before and after."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.bed import DOMAIN, ZONE, Bed, wait_until
from support.children import DONE, run_in_child
from support.nginx import PROGRAM, Nginx, configuration
from support.programs import running

from certbotless.base.errors import DeployError
from certbotless.config.values import Reload
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import Registry, served_sha256
from certbotless.world.containers import DockerContainers

OTHER = f"git.{ZONE}"
RELOAD = [PROGRAM, "-s", "reload"]
FAIL = ["/bin/sh", "-c", "echo no such service >&2; exit 3"]


def nginx(bed: Bed, name: str = "nginx", port: int = 8443, **how: Any) -> Nginx:
    """Start an nginx for the bed's site, published at `port`."""
    return Nginx(bed.engine, bed.home, bed.certs, [DOMAIN], name=name, ports={443: port}, **how)


def deploy_states(bed: Bed) -> dict[str, str]:
    """State by target, as `status --json` tells it."""
    return {entry["container"]: entry["state"] for entry in bed.status()["sites"][0]["deploy"]}


def count_restarts(log: str) -> int:
    return log.count("container.restarted")


def test_a_signal_and_a_program_reload_without_a_restart_beside_a_container_that_restarts(bed: Bed) -> None:
    """Three targets of one site, each in its own way, and all are proved."""
    signalled, executed = nginx(bed, "signalled", 8443), nginx(bed, "executed", 8444)
    before = [bed.started_at(name) for name in ("signalled", "executed", "registry")]
    deploy = [
        {"container": "signalled", "action": {"signal": "HUP"}},
        {"container": "executed", "action": {"exec": RELOAD}, "port": 8444},
        {"container": "registry", "port": bed.registry.port},
    ]
    bed.config["sites"] = [bed.site(deploy=deploy)]
    bed.ok("--once")
    assert {signalled.served(DOMAIN), executed.served(DOMAIN), bed.served()} == {bed.published()}
    assert [bed.started_at(name) for name in ("signalled", "executed")] == before[:2]
    assert bed.started_at() != before[2]
    assert deploy_states(bed) == dict.fromkeys(["signalled", "executed", "registry"], "serving")


def test_a_program_that_fails_is_told_with_its_words_and_spares_the_other_targets(bed: Bed) -> None:
    """The first target is the canary, in this run and in the next ones."""
    server, started_at, old = nginx(bed), bed.started_at(), bed.served()
    deploy: list[dict[str, Any]] = [
        {"container": "nginx", "action": {"exec": FAIL}},
        {"container": "registry", "port": bed.registry.port},
    ]
    bed.config["sites"] = [bed.site(deploy=deploy)]
    done = bed.run("--once")
    assert done.returncode == 1
    text = "failing: '/bin/sh' in the container ended with 3: no such service"
    assert [line for line in done.stdout.splitlines() if text in line] == done.stdout.splitlines()
    assert bed.run("--once").returncode == 1
    assert (bed.served(), server.served(DOMAIN)) == (old, old)
    assert bed.started_at() == started_at
    assert deploy_states(bed)["nginx"] == "failing"

    deploy[0]["action"] = {"exec": RELOAD}
    bed.ok("--once")
    assert bed.served() == server.served(DOMAIN) == bed.published() != old


@pytest.mark.parametrize("script", ["kill -STOP $$", "while :; do echo y; done"], ids=["silent", "chatty"])
def test_a_program_that_does_not_end_holds_nobody_up(bed: Bed, script: str) -> None:
    server = nginx(bed)
    containers = DockerContainers(bed.engine.docker_host, program_timeout_s=0.5)
    with pytest.raises(DeployError, match=r"'/bin/sh' in the container did not end in 0\.5 s"):
        containers.act(server.id, Reload("exec", argv=("/bin/sh", "-c", script)), 1)


def test_a_label_means_every_container_that_has_it(bed: Bed) -> None:
    """One entry in status for each; where none is left, one that is named by the label."""
    label = {"certbotless.reload": "devbox"}
    servers = [nginx(bed, "web1", 8443, labels=label), nginx(bed, "web2", 8444, labels=label)]
    bystander = nginx(bed, "web3", 8445, labels={"certbotless.reload": "other"})
    target = {"label": "certbotless.reload=devbox", "action": {"signal": "HUP"}}
    bed.config["sites"] = [bed.site(deploy=[target])]
    bed.ok("--once")
    assert {server.served(DOMAIN) for server in servers} == {bed.published()}
    assert bystander.served(DOMAIN) != bed.published()
    assert deploy_states(bed) == {"web1": "serving", "web2": "serving"}

    for server in servers:
        server.container.remove(force=True)
    assert "there is no container with the label 'certbotless.reload=devbox'" in bed.refused("--once")
    assert deploy_states(bed) == {"label:certbotless.reload=devbox": "failing"}


def test_a_command_reloads_a_service_of_the_machine(bed: Bed, tmp_path: Path) -> None:
    """Once for all its sites. And one that fails, or does not exist, is told in one line."""
    Registry(bed.engine, OTHER, certs=bed.certs).write_self_signed()
    file = tmp_path / "nginx.conf"
    file.write_text(configuration([DOMAIN, OTHER], bed.certs, tmp_path, 8443))

    def served(domain: str = DOMAIN) -> str:
        return served_sha256("127.0.0.1", 8443, domain)

    with running([PROGRAM, "-c", str(file)], tmp_path / "nginx.log", served):
        old = served()
        for command, text in (
            (FAIL, "the command '/bin/sh' ended with 3: no such service"),
            (["/no/such/program"], "the command '/no/such/program' cannot be run: No such file"),
        ):
            bed.config["sites"] = [bed.site(deploy=[{"command": command, "port": "127.0.0.1:8443"}])]
            done = bed.run("--once")
            assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
            assert f"{DOMAIN}: failing: {text}" in done.stdout
            assert served() == old

        command = [PROGRAM, "-c", str(file), "-s", "reload"]
        bed.config["sites"] = [
            bed.site(domain, deploy=[{"command": [*command], "port": "127.0.0.1:8443"}])
            for domain in (DOMAIN, OTHER)
        ]
        bed.ok("--once")
        assert served() == bed.published() != old
        assert served(OTHER) == bed.published(OTHER)
        assert bed.orders() == 2
        done = bed.run("--renew-now")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr.count("command.run") == 1


def test_what_cannot_be_proved_is_acted_upon_once_for_each_certificate(bed: Bed) -> None:
    bed.config["sites"] = [bed.site(deploy=[{"container": "registry", "port": "none"}])]
    before = bed.started_at()
    bed.ok("--once")
    once = bed.started_at()
    assert once != before
    status = bed.status()["sites"][0]
    assert status["state"] == "ok"
    (target,) = status["deploy"]
    assert (target["container"], target["state"], target["served_sha256"]) == ("registry", "unproved", None)

    bed.ok("--once")
    assert bed.started_at() == once
    bed.ok("--renew-now")
    assert bed.started_at() != once
    bed.registry.wait_serving()  # nobody has waited for it
    assert bed.served() == bed.published()


def test_several_published_ports_wait_for_the_one_in_the_file(bed: Bed) -> None:
    server = Nginx(bed.engine, bed.home, bed.certs, [DOMAIN], ports={443: 8443, 80: 8080})
    target: dict[str, Any] = {"container": "nginx", "action": {"signal": "HUP"}}
    bed.config["sites"] = [bed.site(deploy=[target])]
    line = bed.refused("--once")
    assert f"{DOMAIN}: pending: " in line
    assert "publishes 2 TCP ports (8080, 8443): set port in its deploy entry" in line
    status = bed.status()["sites"][0]
    assert (status["state"], status["last_error"]) == ("pending", None)
    assert "set port" in status["reason"]
    assert [entry["state"] for entry in status["deploy"]] == ["pending"]

    target["port"] = 8443
    bed.ok("--once")
    assert server.served(DOMAIN) == bed.published()


def test_two_sites_on_one_container_need_one_restart(bed: Bed) -> None:
    """Each is proved by its name (SNI), whichever of them had its certificate first."""
    server = shared_server(bed, {"container": "nginx", "port": 8443}, {"container": "nginx", "port": 8443})
    assert act_and_count(bed, "--once", "container.restarted") == 1
    assert server.served(DOMAIN) == bed.published()
    assert server.served(OTHER) == bed.published(OTHER) != bed.published()
    before = {bed.published(), bed.published(OTHER)}
    assert act_and_count(bed, "--renew-now", "container.restarted") == 1
    assert (server.served(DOMAIN), server.served(OTHER)) == (bed.published(), bed.published(OTHER))
    assert not before & {bed.published(), bed.published(OTHER)}
    assert bed.orders() == 4


def test_two_sites_that_cannot_be_proved_need_one_signal(bed: Bed) -> None:
    target = {"container": "nginx", "port": "none", "action": {"signal": "HUP"}}
    server = shared_server(bed, target, target)
    assert act_and_count(bed, "--once", "container.signalled") == 1
    assert act_and_count(bed, "--renew-now", "container.signalled") == 1
    # A worker that nginx is about to end may take a connection yet.
    names = (DOMAIN, OTHER)
    wait_until(
        lambda: all(server.served(name) == bed.published(name) for name in names), "one signal was for both"
    )


def test_a_site_that_names_a_container_and_one_that_finds_it_by_label_share_one_restart(bed: Bed) -> None:
    """From the second time on: who has a label is known once it was looked for."""
    label = {"label": "certbotless.reload=devbox", "port": 8443}
    server = shared_server(bed, {"container": "nginx", "port": 8443}, label)
    bed.ok("--once")
    assert act_and_count(bed, "--renew-now", "container.restarted") == 1
    assert server.served(OTHER) == bed.published(OTHER)


def shared_server(bed: Bed, *targets: dict[str, Any]) -> Nginx:
    """Start one nginx that serves two sites, with one of these targets each."""
    Registry(bed.engine, OTHER, certs=bed.certs).write_self_signed()
    label = {"certbotless.reload": "devbox"}
    server = Nginx(bed.engine, bed.home, bed.certs, [DOMAIN, OTHER], labels=label)
    bed.config["sites"] = [
        bed.site(domain, deploy=[deepcopy(target)])
        for domain, target in zip((DOMAIN, OTHER), targets, strict=True)
    ]
    return server


def act_and_count(bed: Bed, command: str, event: str) -> int:
    """Run a command that must go well, and return how often its log tells of the event."""
    done = bed.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr.count(event)


def test_a_window_is_waited_for_but_not_beyond_the_deadline(bed: Bed) -> None:
    """The first certificate waits for nothing; a new one is published and waits, and nothing is wrong."""
    opens = datetime.now().astimezone().replace(second=0, microsecond=0) + timedelta(hours=2)
    target = {"container": "registry", "port": bed.registry.port}
    target["when"] = f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}"
    bed.config["sites"] = [bed.site(deploy=[target])]
    bed.ok("--once")
    old = bed.served()
    assert old == bed.published()

    assert bed.run("--renew-now").returncode == 1
    waiting = bed.run("--once")
    assert waiting.returncode == 1
    assert f"not before {opens.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" in waiting.stdout
    assert bed.served() == old != bed.published()
    assert bed.run("status").returncode == 0
    assert bed.status()["sites"][0]["state"] == "pending"
    assert deploy_states(bed) == {"registry": "pending"}

    state_file = bed.state / "sites" / f"{DOMAIN}.json"
    state = json.loads(state_file.read_text())
    state_file.write_text(json.dumps(state | {"deploy_by": datetime.now(UTC).isoformat()}))
    bed.ok("--once")
    assert bed.served() == bed.published()


def test_a_container_that_is_deaf_to_its_end_is_given_its_stop_timeout(bed: Bed) -> None:
    began = datetime.now(UTC)
    nginx(bed, is_deaf=True)
    target = {"container": "nginx", "port": 8443, "stop_timeout": "2s"}
    bed.config["sites"] = [bed.site(deploy=[target])]
    bed.ok("--once")
    assert served_sha256(LAN_ADDRESS, 8443, DOMAIN) == bed.published()
    # The engine counts in whole seconds.
    until = datetime.now(UTC) + timedelta(seconds=1)
    events = bed.engine.client().events(since=began, until=until, filters={"container": "nginx"}, decode=True)
    at = {event["Action"]: event["timeNano"] for event in reversed(list(events))}
    # Between the first signal and the end: the default of 10 s would show.
    assert 2 <= (at["die"] - at["kill"]) / 1e9 < 10


def test_a_folder_in_place_of_an_images_users_is_not_read_to_its_end(bed: Bed) -> None:
    """400 MiB of them, as an image may hold; `doctor` and `init` ask as root, without a bound of memory."""
    folder = bed.home / "passwd"
    folder.mkdir()
    with (folder / "large").open("wb") as large:
        large.truncate(400 << 20)  # it takes no room on the disk
    bed.engine.client().containers.create(
        "registry:2",
        ["/bin/registry"],
        name="large",
        user="somebody",
        volumes={str(folder): {"bind": "/etc/passwd", "mode": "ro"}},
    )

    def ask_for_its_user() -> None:
        containers = DockerContainers(bed.engine.docker_host)
        containers.find("large")
        before_kib = peak_kib()
        assert containers.settings("large").uid is None
        assert peak_kib() - before_kib < 32 << 10

    assert run_in_child(ask_for_its_user) == DONE


def peak_kib() -> int:
    """The most memory that this process has had."""
    (line,) = [row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM")]
    return int(line.split()[1])
