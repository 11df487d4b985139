"""The units under a real systemd: as they are shipped, with the real program, on a machine of their own."""

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, assert_mode, wait_until, write_secret
from support.freeze import all_but_the_main_thread
from support.machine import Machine
from support.pages import Reading, exchanged
from support.services import CHECK, DAEMON, ONCE, SOCKET, Services
from support.ssh_machines import (
    KEYS,
    KNOWN_HOSTS,
    PORT,
    SshMachine,
    carrier,
    forget_keys,
    take_from_here,
)

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.process import free_port

# With a watchdog of 4 s, a daemon that has not looked for so long has been ended.
_LONGER_THAN_A_PULSE_S = 16


def owners(machine: Machine, *folders: str) -> set[str]:
    """Return who owns anything below these folders, but for what another tool left there."""
    others = ("-path", "*/aside-*", "-prune", "-o")
    return set(machine.ok("find", *folders, *others, "-printf", "%u:%g\n").split())


# --- the daemon -------------------------------------------------------------------------------------------


def test_the_service_is_ready_makes_all_facts_true_and_says_so(services: Services) -> None:
    """As its own user, with secrets that only root may read; the registry is restarted by it."""
    machine, bed = services.machine, services.bed
    started = bed.started_at()
    services.systemctl("start", DAEMON)
    assert services.property("ActiveState") == "active"
    services.wait_ok()
    services.assert_served()
    assert bed.started_at() != started
    assert bed.a_values() == [LAN_ADDRESS]
    wait_until(
        lambda: services.property("StatusText").startswith("sites: 1 ok; next renewal 20"), "it says so"
    )
    assert machine.ok("ps", "-o", "user=", services.property("MainPID")).strip() == "certbotless"
    for name in ("access_key_id", "access_key_secret"):
        assert_mode(machine.path(f"/etc/credstore/certbotless.{name}"), 0o600)
    assert owners(machine, "/var/lib/certbotless") == {"certbotless:certbotless"}
    assert_mode(machine.path("/var/lib/certbotless"), 0o700)
    assert_mode(machine.path(f"/certs/{DOMAIN}.key"), 0o600)
    assert "careless" not in services.journal()
    services.systemctl("stop", DAEMON)
    assert services.property("Result") == "success"


def test_the_service_does_not_see_the_ids_of_containers(services: Services) -> None:
    """They are names of control groups; all facts come true without them."""
    services.start()
    container_id, daemon = str(services.bed.registry.container.id), Path("/proc", str(services.pid()))
    for hidden in ("sys/fs/cgroup", "run/docker", "run/containerd"):
        folder = daemon / "root" / hidden
        assert not folder.exists() or os.listdir(folder) == []
    assert container_id not in (daemon / "mountinfo").read_text()


@pytest.mark.page("README.md", "first run")
@pytest.mark.page("docs/systemd.md", "first start", "day by day", "timer in place of the daemon")
def test_the_first_start_and_the_days_after_it_are_as_the_page_says(
    services: Services, paper: Reading
) -> None:
    """From the two secrets, typed in, on; `init` is given as options what a person answers."""
    machine = services.machine
    *type_in, init, plan, enable, doctor = paper.commands("docs/systemd.md", "first start")
    dry_run, enabled, status = paper.commands("README.md", "first run")
    assert enabled == enable
    machine.ok("sh", "-euc", "rm /etc/credstore/certbotless.* /etc/certbotless/config.yaml")
    for command, secret in zip(type_in, (KEY_ID, KEY_SECRET), strict=True):
        machine.ok("sh", "-euc", f"echo {secret} | {command}")
    answers = ("--yes", f"--domain={DOMAIN}", f"--zone={ZONE}")
    machine.ok("env", f"DOCKER_HOST=unix://{SOCKET}", *init.split(), *answers)
    written = yaml.safe_load(machine.path("/etc/certbotless/config.yaml").read_text())
    assert written["aliyun"]["access_key_secret"] == "credential:certbotless.access_key_secret"
    services.write()
    for command in (plan, dry_run, enable):
        machine.ok(*command.split())
    services.wait_ok()
    for command in (doctor, status):
        machine.ok(*command.split())

    for command in paper.commands("docs/systemd.md", "day by day"):
        machine.ok(*command.split())
    for command in paper.commands("docs/systemd.md", "timer in place of the daemon"):
        machine.ok(*command.split())
    assert services.property("ActiveState") == "inactive"
    assert services.property("ActiveState", "certbotless-once.timer") == "active"
    services.systemctl("disable", "certbotless-once.timer")


def test_the_status_page_is_open_when_the_service_is_ready(services: Services) -> None:
    """The sandbox of the unit lets it listen; and what is installed has all of the page."""
    services.config["http"] = {"listen": f"127.0.0.1:{free_port()}"}
    services.write()
    services.systemctl("start", DAEMON)

    def get(path: str) -> str:
        return services.machine.ok("curl", "--silent", f"http://{services.config['http']['listen']}/{path}")

    assert json.loads(get("status.json"))["daemon"]["running"] is True
    services.wait_ok()
    assert "<title>✓ Everything is OK · certbotless</title>" in get("")
    assert get("healthz").startswith("sites: 1 ok; next renewal ")
    assert 'certbotless_site_state{domain="devbox.sweetlove.test",state="ok"} 1.0' in get("metrics")


def test_a_good_edit_is_reloaded_and_a_bad_one_fails_the_reload_with_its_line(services: Services) -> None:
    services.start()
    services.config["sites"].append(services.bed.site(f"second.{ZONE}", deploy=[]))
    services.write()
    services.systemctl("reload", DAEMON)
    wait_until(lambda: services.bed.a_values("second") == [LAN_ADDRESS], "the new site has its record")
    services.wait_ok()

    good = services.machine.path("/etc/certbotless/config.yaml").read_text()
    services.write_text(good.replace("sites:", "sits:"))
    assert services.machine.run("systemctl", "reload", DAEMON).returncode != 0
    line = good[: good.index("sites:")].count("\n") + 1
    assert f"/etc/certbotless/config.yaml:{line}:1: sits" in services.journal()
    assert services.property("ActiveState") == "active"
    # The last good one stays in force.
    services.bed.dns.update(services.bed.dns.records("second", "A")[0].record_id, value="10.0.0.1")
    wait_until(
        lambda: services.bed.a_values("second") == [LAN_ADDRESS], "the record is put right all the same"
    )


@pytest.mark.row(5)
def test_a_stop_in_the_middle_of_an_order_leaves_no_txt(services: Services) -> None:
    """A worker that waits is no reason for the watchdog; the next start goes on with the same order."""
    bed = services.bed
    bed.dns.set_delay(1, 3600)
    services.add_to(DAEMON, "[Service]", "WatchdogSec=3")
    services.config["sites"] = [bed.site(address="none")]
    services.write()
    services.systemctl("start", DAEMON)
    wait_until(lambda: len(bed.dns.records(type="TXT")) == 1, "the challenge is presented")
    time.sleep(_LONGER_THAN_A_PULSE_S)
    assert "running" in services.property("StatusText")
    services.systemctl("stop", DAEMON)
    bed.assert_no_txt()
    assert (services.property("Result"), services.property("NRestarts")) == ("success", "0")
    bed.dns.set_delay(1, 0)
    services.start()
    assert bed.orders() == 1


@pytest.mark.soak
@pytest.mark.row(5)
def test_a_stop_at_any_moment_of_an_order_takes_5_s_at_most_and_leaves_no_txt(
    services: Services, promised: Callable[[float, float], None]
) -> None:
    services.bed.dns.set_delay(1, 0.5)
    moment = random.Random(5)  # noqa: S311  # no secret
    for n in range(40):
        services.config["sites"] = [services.bed.site(f"s{n}.{ZONE}", deploy=[])]
        services.write()
        services.systemctl("start", DAEMON)
        time.sleep(moment.uniform(0.3, 4))
        began = time.monotonic()
        services.systemctl("stop", DAEMON)
        promised(time.monotonic() - began, 5)
        services.bed.assert_no_txt()
        assert services.property("Result") == "success"


@pytest.mark.row(13)
def test_a_look_that_hangs_is_ended_by_the_watchdog_and_the_journal_says_where(services: Services) -> None:
    """One that takes long, over many sites, is not. Then its threads never go on, as in a call that does not
    return; the main thread ticks all the same.
    """
    services.add_to(DAEMON, "[Service]", "WatchdogSec=4", "RestartSec=100ms")
    services.start()
    pid = services.pid()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(30)
        services.config["dns"] = {"nameservers": [f"127.0.0.1:{silent.getsockname()[1]}"]}
        services.config["sites"] = [services.bed.site(f"s{n}.{ZONE}", deploy=[]) for n in range(400)]
        services.write()
        silent.recv(512)  # a look waits for the answer
        time.sleep(_LONGER_THAN_A_PULSE_S)
        assert services.property("NRestarts") == "0"
        with all_but_the_main_thread(pid) as let_go:

            def is_anew() -> bool:
                let_go()
                return services.property("NRestarts") == "1"

            wait_until(is_anew, "systemd has started it anew")
    journal = services.journal()
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal
    for function in ("observe", "_look", "_listen"):
        assert f" in {function}\n" in journal


@pytest.mark.row(13)
def test_a_daemon_that_stands_still_is_ended_by_the_watchdog(services: Services) -> None:
    services.add_to(DAEMON, "[Service]", "WatchdogSec=4", "RestartSec=100ms")
    services.start()
    os.kill(services.pid(), signal.SIGSTOP)
    wait_until(lambda: services.property("NRestarts") == "1", "systemd has started it anew")
    assert "Watchdog timeout" in services.journal()
    services.wait_ok()
    assert services.bed.orders() == 1


@pytest.mark.row(9)
def test_a_daemon_that_is_killed_again_and_again_always_comes_back(services: Services) -> None:
    """More often than the five times after which systemd gives up by default."""
    services.add_to(DAEMON, "[Service]", "RestartSec=10ms")
    services.systemctl("start", DAEMON)
    for times in range(1, 8):
        services.systemctl("kill", "--signal=KILL", DAEMON)
        wait_until(lambda: services.property("NRestarts") == str(times), "it comes back")  # noqa: B023  # called here
        wait_until(lambda: services.property("ActiveState") == "active", "it is ready")
    services.wait_ok()
    services.bed.assert_no_txt()
    assert services.bed.orders() <= 3


def test_a_start_with_a_bad_file_is_not_tried_again(services: Services) -> None:
    services.write_text("sites: [")
    assert services.machine.run("systemctl", "start", DAEMON).returncode != 0
    time.sleep(0.5)
    assert (services.property("ActiveState"), services.property("NRestarts")) == ("failed", "0")
    assert services.property("ExecMainStatus") == "2"
    assert "/etc/certbotless/config.yaml:2:1:" in services.journal()


def test_roots_renewal_beside_the_service_leaves_all_to_its_user(services: Services) -> None:
    services.start()
    before = services.bed.published()
    services.machine.ok("certbotless", "--renew-now")
    assert services.bed.published() != before
    services.assert_served()
    assert owners(services.machine, "/var/lib/certbotless", "/certs") == {"certbotless:certbotless"}
    assert services.bed.orders() == 2
    services.machine.path(f"/certs/{DOMAIN}.pem").unlink()
    wait_until(lambda: services.machine.path(f"/certs/{DOMAIN}.pem").exists(), "the daemon works on")
    services.wait_ok()
    assert owners(services.machine, "/var/lib/certbotless", "/certs") == {"certbotless:certbotless"}


@pytest.mark.row(16)
@pytest.mark.page("docs/systemd.md", "another folder", "open the other folder")
def test_a_folder_that_the_unit_may_not_write_to_is_told_with_the_drop_in_that_cures_it(
    services: Services, paper: Reading
) -> None:
    here = {"/srv/certs": "/srv/pairs"}  # the page's own is taken
    (make_folder,) = paper.commands("docs/systemd.md", "another folder")
    services.machine.ok(*exchanged(make_folder, here).split())
    services.config["sites"] = [
        services.bed.site(certs_dir="/srv/pairs", deploy=[]),
        services.bed.site(f"absent.{ZONE}", certs_dir="/srv/absent", deploy=[]),
    ]
    services.write()
    services.systemctl("start", DAEMON)
    cure = "`systemctl edit certbotless` with the lines `[Service]` and `ReadWritePaths=-/srv/pairs`"
    first = "`install -d -o certbotless -g certbotless /srv/absent`, then "
    wait_until(lambda: cure in services.journal() and first in services.journal(), "the drop-ins are told")
    assert cure in services.status()["sites"][0]["last_error"]["hint"]
    assert services.bed.orders() == 0
    services.machine.ok("install", "-d", "-o", "certbotless", "-g", "certbotless", "/srv/absent")
    drop_in = exchanged(paper.text("docs/systemd.md", "open the other folder"), here)
    services.add_to(DAEMON, *drop_in.splitlines(), "ReadWritePaths=-/srv/absent")
    services.systemctl("restart", DAEMON)
    services.machine.ok("certbotless", "--renew-now")  # or within ten minutes, by itself
    services.wait_ok()
    assert services.machine.path(f"/srv/pairs/{DOMAIN}.pem").exists()


def test_credentials_are_loaded_one_by_one_where_systemd_cannot_import_them(services: Services) -> None:
    """As on systemd 252, which passes over the line that it does not know."""
    unit = services.machine.path(f"/usr/local/lib/systemd/system/{DAEMON}")
    shipped = unit.read_text()
    unit.write_text(shipped.replace("ImportCredential=certbotless.*\n", ""))
    try:
        names = ("certbotless.access_key_id", "certbotless.access_key_secret")
        services.add_to(
            DAEMON, "[Service]", *(f"LoadCredential={name}:/etc/credstore/{name}" for name in names)
        )
        services.start()
    finally:
        unit.write_text(shipped)


@pytest.mark.row(27)
def test_a_credential_counts_from_the_next_start_as_the_error_says(services: Services) -> None:
    secret = services.machine.path("/etc/credstore/certbotless.access_key_secret")
    right = secret.read_text()
    secret.write_text("an older one\n")
    services.systemctl("start", DAEMON)
    told = "after changing a systemd credential: systemctl restart certbotless"
    wait_until(lambda: told in services.journal(), "the error says so")
    secret.write_text(right)
    services.systemctl("restart", DAEMON)
    services.wait_ok()


# --- the timers -------------------------------------------------------------------------------------------


def test_the_check_is_content_with_a_daemon_that_runs_and_sites_that_are_well(services: Services) -> None:
    services.start()
    services.systemctl("start", CHECK)
    assert services.property("Result", CHECK) == "success"


def test_the_check_timer_makes_a_dead_daemon_a_failed_unit(services: Services) -> None:
    """By its timer, here every second."""
    services.add_to("certbotless-check.timer", "[Timer]", "OnCalendar=*:*:*", "AccuracySec=100ms")
    services.systemctl("start", "certbotless-check.timer")
    # It begins again each second, and is failed between two starts.
    failed = ("list-units", "--failed", "--plain")
    wait_until(lambda: CHECK in services.systemctl(*failed), "the check has failed")
    assert "certbotless.service is not running" in services.journal(CHECK)


@pytest.mark.page("docs/systemd.md", "what failed")
def test_the_check_fails_for_a_site_that_is_not_well_and_says_what_is_amiss(
    services: Services, paper: Reading
) -> None:
    services.add_to(CHECK, "[Service]", "Environment=AGAIN_S=0")
    services.bed.registry.remove()
    services.systemctl("start", DAEMON)
    wait_until(lambda: services.status()["sites"][0]["state"] == "failing", "the site is failing")
    assert services.machine.run("systemctl", "start", CHECK).returncode != 0
    journal = services.journal(CHECK)
    assert "'registry'" in journal
    assert "a site has a problem" in journal
    (show,) = paper.commands("docs/systemd.md", "what failed")
    assert "'registry'" in services.machine.ok(*show.split())
    services.bed.registry.create()


def test_without_a_daemon_the_once_timer_makes_all_facts_true(services: Services) -> None:
    """By its timer, here at once; a site that is not well makes its unit fail."""
    services.add_to(
        "certbotless-once.timer", "[Timer]", "OnActiveSec=0", "RandomizedDelaySec=0", "AccuracySec=100ms"
    )
    services.systemctl("start", "certbotless-once.timer")
    wait_until(lambda: services.property("ExecMainExitTimestamp", ONCE) != "", "the run has ended", 60)
    assert services.property("Result", ONCE) == "success"
    assert services.is_ok()
    services.assert_served()
    assert services.status()["daemon"]["running"] is False
    assert owners(services.machine, "/var/lib/certbotless") == {"certbotless:certbotless"}

    services.bed.registry.container.stop(timeout=1)
    assert services.machine.run("systemctl", "start", ONCE).returncode != 0
    assert f"{DOMAIN}: pending" in services.journal(ONCE)
    assert services.bed.orders() == 1


# --- another machine --------------------------------------------------------------------------------------


def test_a_certificate_is_carried_with_a_key_that_is_a_credential(services: Services, tmp_path: Path) -> None:
    """By ssh, as the unit's own user and in its sandbox: with the files that docs/machines.md has."""
    machine = services.machine
    with SshMachine(tmp_path / "other", 1) as other:
        take_from_here(other, DOMAIN)
        try:
            name = f"certbotless.ssh_{other.address}"
            write_secret(machine.path(f"/etc/credstore/{name}"), (KEYS / name).read_text())
            machine.path("/etc/certbotless/known_hosts").write_text(KNOWN_HOSTS.read_text())
            carrier(machine.path("/usr/local/bin"))
            deploy = [{"command": ["/usr/local/bin/carry", other.address], "port": f"{other.address}:{PORT}"}]
            services.config["sites"][0]["deploy"] = deploy
            services.write()
            services.start()
            assert other.served(DOMAIN) == services.bed.published()
            assert "SIGSYS" not in services.journal()
            services.systemctl("start", ONCE)  # its credentials are in another folder
        finally:
            forget_keys()
            machine.run("rm", "-f", "/usr/local/bin/carry", f"/etc/credstore/{name}")
