"""What the daemon shows over HTTP: the facts of its last looks, where the file says, at no cost of a look."""

import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import sysconfig
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from support.asking import HOSTILE, get
from support.bed import files_below, wait_until
from support.daemons import DOMAIN, Machine
from support.languages import chinese
from support.pages import Reading, exchanged
from support.showing import PATH, config_of, showing
from support.views import NOW, SITE, failure, said, site, view

from certbotless.base.log_context import quoted
from certbotless.base.times import moment, rfc3339
from certbotless.config.settings import NEEDS_PROMETHEUS, Http
from certbotless.model.decision import Step
from certbotless.model.reason import Why, because
from certbotless.model.view import View
from certbotless.report.status_json import Seen
from certbotless.sandbox.host import require_private_host
from certbotless.sandbox.process import free_port
from certbotless.service.http_paths import Web

OTHER = site("other.sweetlove.top")
WELL, OTHER_WELL = view(), view(of=OTHER)
RENEWING = view(Step("order", said("due since today")))
AT_WORK = view(Step("restore", said("due since today")))
OTHER_AT_WORK = view(Step("order", because(Why.DUE, NOW, NOW)), of=OTHER)
FAILING = view(Step("order", said("due")), of=OTHER, failures={"order": failure()})
IN_WINDOW = view(Step("deploy", said("x"), "web", wait_until=NOW + timedelta(hours=1), waits_for_window=True))
NOBODY = 65534


def shown(home: Path, path: str, *views: View, **keywords: Any) -> tuple[int, str]:
    """Return what is answered while these views are shown."""
    with showing(home, [*views], **keywords) as url:
        return get(url, path)


# --- the paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("views", "keywords", "status", "text"),
    [
        ((WELL,), {}, 200, "sites: 1 ok; next renewal 2027-01-13 05:30 UTC, devbox.sweetlove.top"),
        ((IN_WINDOW,), {}, 200, "sites: 1 pending; next renewal 2027-01-13 05:30 UTC, devbox.sweetlove.top"),
        ((RENEWING,), {}, 200, "sites: 1 renewing; next renewal 2027-01-13 05:30 UTC, devbox.sweetlove.top"),
        ((AT_WORK,), {}, 503, "devbox.sweetlove.top pending: restore: due since today"),
        ((WELL, FAILING), {}, 503, "other.sweetlove.top failing: the CA is closed"),
        ((AT_WORK, FAILING), {}, 503, "devbox.sweetlove.top pending: restore: due since today (and 1 more)"),
        ((WELL,), {"refused": ("c.yaml:3:1: no", "further")}, 503, "an edit is refused: c.yaml:3:1: no"),
        ((WELL,), {"is_looking": False}, 503, "the daemon has stopped checking"),
    ],
)  # fmt: skip
def test_health_is_what_status_would_exit_with(
    tmp_path: Path, views: tuple[View, ...], keywords: dict[str, Any], status: int, text: str
) -> None:
    """A line names the fault. A site without a check is not well."""
    assert shown(tmp_path, "/healthz", *views, **keywords) == (status, f"{text}\n")


def test_programs_get_the_same_in_each_language(tmp_path: Path) -> None:
    """Only the page is for people."""
    refused = ("c.yaml:3:1: no",)
    for keywords in ({}, {"refused": refused}, {"is_looking": False}):
        for path in ("/healthz", "/status.json", "/metrics"):
            english = shown(tmp_path, path, WELL, OTHER_AT_WORK, **keywords)
            with chinese():
                assert shown(tmp_path, path, WELL, OTHER_AT_WORK, **keywords) == english
    with chinese():
        page = shown(tmp_path, "/", WELL, OTHER_AT_WORK)[1]
        assert "申请证书：2026-11-24 13:30 +08:00 起应续期" in page
        assert "守护进程已停止检查" in shown(tmp_path, "/", WELL, is_looking=False)[1]


def test_there_is_no_other_path(tmp_path: Path) -> None:
    for path in ("/favicon.ico", "/metrics/", "/./", "/index.html", "/../status.json"):
        assert shown(tmp_path, path, WELL)[0] == 404


def test_the_page_is_html_and_the_rest_is_not(tmp_path: Path) -> None:
    for path, start in (("/", "<!doctype html>"), ("/status.json", "{"), ("/metrics", "# HELP certbotless_")):
        status, body = shown(tmp_path, path, WELL)
        assert status == 200
        assert body.startswith(start)


def test_the_names_of_the_sites_lead_to_the_page_and_those_of_others_do_not(tmp_path: Path) -> None:
    with showing(tmp_path, [WELL]) as url:
        assert get(url, "/", Host=f"{DOMAIN}:9109")[0] == 421
        assert get(url, "/", Host=f"{SITE.domain}:9109")[0] == 200


# --- what was seen last -------------------------------------------------------------------------------------


def status_of(web: Web) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(web.answer("/status.json").body)
    return found


def sample_of(web: Web, name: str, domain: str) -> float | None:
    """Return the value of a metric of a site, None where there is none."""
    start, text = f'certbotless_{name}{{domain="{domain}"}} ', web.answer("/metrics").body.decode()
    values = [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]
    return float(values[0]) if values else None


def web_of(home: Path, *views: View) -> Web:
    return Web(Seen(config_of([*views], home)), PATH, tuple, lambda: True)


def test_before_the_first_look_nothing_is_said_to_be_well(tmp_path: Path) -> None:
    web = web_of(tmp_path, WELL)
    health = web.answer("/healthz")
    assert (health.status, health.body) == (503, b"nothing is known yet: the first check is running\n")
    (found,) = status_of(web)["sites"]
    assert (found["state"], found["certificate"]) == ("pending", None)
    assert b"the first check is pending" in web.answer("/").body


def test_a_site_that_is_at_work_is_shown_as_it_was_seen_last(tmp_path: Path) -> None:
    """The looks leave it out; what is shown is as old as the oldest of them."""
    web, later = web_of(tmp_path, WELL, OTHER_WELL), NOW + timedelta(minutes=5)
    config = config_of([WELL, OTHER_WELL], tmp_path)
    web.show(config, [OTHER_WELL, WELL], ())
    web.show(config, [view(of=OTHER, at=later)], ())
    found = status_of(web)
    assert [entry["domain"] for entry in found["sites"]] == [SITE.domain, OTHER.domain]
    assert found["observed_at"] == "2026-11-24T05:30:00Z"
    looked_at = [sample_of(web, "last_look_timestamp_seconds", each.domain) for each in (SITE, OTHER)]
    assert looked_at == [NOW.timestamp(), later.timestamp()]


def test_a_site_that_was_at_work_from_the_start_is_not_passed_over(tmp_path: Path) -> None:
    """As where a command renews it while the daemon starts."""
    web = web_of(tmp_path, WELL, OTHER_WELL)
    web.show(config_of([WELL, OTHER_WELL], tmp_path), [WELL], ())
    assert [entry["state"] for entry in status_of(web)["sites"]] == ["ok", "pending"]
    health = web.answer("/healthz")
    assert (health.status, health.body.split(b":")[0]) == (503, f"{OTHER.domain} pending".encode())


@pytest.mark.parametrize(("age", "status"), [(timedelta(minutes=90), 200), (timedelta(minutes=92), 503)])
def test_a_site_that_a_run_keeps_from_all_looks_is_not_well_any_more(
    tmp_path: Path, age: timedelta, status: int
) -> None:
    """Here 91 minutes are the longest that a look can wait for a run. The page says it too."""
    at = datetime.now(UTC) - age
    late = replace(WELL, seen=replace(WELL.seen, at=at))
    text = f"the last check of {SITE.domain} was at {{}}: a run on it does not end"
    with showing(tmp_path, [late], propagation_timeout=timedelta(minutes=30)) as url:
        found = get(url, "/healthz")
        assert found[0] == status
        assert (found[1] == f"{text.format(rfc3339(at))}\n") == (status == 503)
        assert (text.format(moment(at)) in get(url, "/")[1]) == (status == 503)


def test_a_site_that_was_taken_out_of_the_file_is_shown_no_more(tmp_path: Path) -> None:
    web = web_of(tmp_path, WELL, FAILING)
    web.show(config_of([WELL, FAILING], tmp_path), [WELL, FAILING], ())
    web.show(config_of([WELL], tmp_path), [WELL], ())
    assert [entry["domain"] for entry in status_of(web)["sites"]] == [SITE.domain]
    assert web.answer("/healthz").status == 200


def test_when_a_site_was_last_well_is_kept_while_it_is_not(tmp_path: Path) -> None:
    def last_success(*views: View) -> float | None:
        web = web_of(tmp_path, WELL)
        for each in views:
            web.show(config_of([WELL], tmp_path), [each], ())
        return sample_of(web, "last_success_timestamp_seconds", SITE.domain)

    for shown in (AT_WORK, RENEWING):
        later = replace(shown, seen=replace(shown.seen, at=NOW + timedelta(minutes=5)))
        assert last_success(WELL, later) == NOW.timestamp()
        assert last_success(later) is None


def test_what_is_asked_for_again_at_once_is_answered_with_the_same(tmp_path: Path) -> None:
    """So a flood of requests makes no work."""
    web = web_of(tmp_path, WELL)
    web.show(config_of([WELL], tmp_path), [WELL], ())
    assert web.answer("/") is web.answer("/")


# --- where it is open ---------------------------------------------------------------------------------------


def test_a_place_that_is_taken_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    web = web_of(tmp_path, WELL)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = Http(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        for _ in range(3):
            web.follow(wanted)
    assert [record.getMessage() for record in caplog.records] == [
        f"http.not_opened listen={wanted.listen} error=Address already in use "
        "hint=`ss -ltnp` shows the program that listens there: end it, or use another port in http.listen; "
        "it is tried again each second"
    ]
    web.follow(wanted)
    assert caplog.records[-1].getMessage() == f"http.opened listen={wanted.listen}"
    assert get(wanted.listen, "/healthz")[0] == 503
    web.close()


@pytest.mark.process
def test_a_port_that_only_root_may_open_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the network of a private host, which has the kernel's own bound: it begins at 1024."""
    require_private_host()
    web, user = web_of(tmp_path, WELL), os.geteuid()
    try:
        if user == 0:
            os.seteuid(NOBODY)
        web.follow(Http(listen="127.0.0.1:1023"))
    finally:
        os.seteuid(user)
        web.close()
    assert "error=Permission denied hint=a port below 1024 needs CAP_NET_BIND_SERVICE: " in caplog.text


def test_an_address_that_this_machine_does_not_have_is_told_again_when_it_is_wanted_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web = web_of(tmp_path, WELL)
    for wanted in (Http(listen="192.0.2.1:9109"), None, Http(listen="192.0.2.1:9109")):
        web.follow(wanted)
    assert caplog.text.count("http.not_opened") == 2
    assert "error=Cannot assign requested address hint=this machine has no such address: " in caplog.text


def test_a_server_that_has_come_down_is_made_anew(tmp_path: Path) -> None:
    """A fault of ours must not be the end of the page."""
    web, wanted = web_of(tmp_path, WELL), Http(listen=f"127.0.0.1:{free_port()}")
    web.follow(wanted)
    assert web.listening.server is not None
    web.listening.server.close()
    web.follow(wanted)
    assert get(wanted.listen, "/healthz")[0] == 503
    web.close()


@pytest.mark.process
def test_a_daemon_without_a_page_loads_nothing_for_it() -> None:
    script = "import sys, certbotless.service.daemon; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = {
        "certbotless.service.http_paths",
        "certbotless.service.http_server",
        "certbotless.service.listening",
        "certbotless.service.root_share",
        "certbotless.report.root_page",
        "certbotless.report.status_page",
        "certbotless.report.metrics",
    }
    assert (names | {"prometheus_client", "jinja2", "http.server"}) & set(run.stdout.split()) == set()


# --- the real daemon ----------------------------------------------------------------------------------------


@pytest.fixture
def listen() -> str:
    return f"127.0.0.1:{free_port()}"


def is_open(listen: str) -> bool:
    try:
        return get(listen, "/healthz")[0] in (200, 503)
    except (OSError, http.client.HTTPException):  # the latter where it is closed in the middle of an answer
        return False


def wait_for_page(machine: Machine, listen: str) -> None:
    """Wait until all that the page may show of a machine that is well is known."""
    machine.wait_until(lambda: is_open(listen) and get(listen, "/healthz")[0] == 200)


@pytest.mark.process
def test_requests_cost_no_look_and_no_line_of_the_log(machine: Machine, listen: str) -> None:
    """Good or bad ones, however many: nobody is asked, nothing is written."""
    machine.write(http={"listen": listen}, check_every="1d")
    with machine.daemon():
        wait_for_page(machine, listen)
        machine.wait_until(lambda: machine.status()["sites"][0]["client"] is not None)
        machine.look(2)
        asked, log = len(machine.dns.queries), machine.log.read_text()
        files = files_below(machine.home / "certs", machine.home / "state")
        for _ in range(10):
            for path in ("/", "/status.json", "/metrics", "/healthz"):
                assert get(listen, path)[0] == 200
            for request in HOSTILE:
                host, _, port = listen.rpartition(":")
                with socket.create_connection((host, int(port)), timeout=30) as sock:
                    sock.sendall(request)
                    assert sock.recv(65536)[9:12] in (b"400", b"404", b"405", b"421", b"431")
        assert machine.log.read_text() == log
        assert len(machine.dns.queries) == asked
        assert files_below(machine.home / "certs", machine.home / "state") == files


@pytest.mark.process
def test_who_keeps_connections_open_keeps_the_daemon_from_nothing(machine: Machine, listen: str) -> None:
    """However many there are: the looks go on, and others are answered."""
    machine.write(http={"listen": listen})
    host, _, port = listen.rpartition(":")
    with machine.daemon(), ExitStack() as kept:
        wait_for_page(machine, listen)
        for _ in range(200):
            sock = kept.enter_context(socket.create_connection((host, int(port)), timeout=30))
            sock.sendall(b"GET / HTTP/1.1\r\n")
        machine.wait_for_looks(3)
        assert get(listen, "/healthz")[0] == 200
        descriptors = len(list(Path(f"/proc/{machine.process.pid}/fd").iterdir()))
        assert descriptors < 100


@pytest.mark.process
def test_the_page_follows_the_file(machine: Machine, listen: str) -> None:
    """Edits open, move and close it. Without `http` there is none."""
    other = f"127.0.0.1:{free_port()}"
    with machine.daemon():
        machine.write(http={"listen": listen})
        wait_for_page(machine, listen)
        machine.write(http={"listen": other})
        wait_for_page(machine, other)
        assert not is_open(listen)
        machine.write()
        machine.wait_until(lambda: not is_open(other))
        machine.wait_for_looks(2)
    story = [
        line.split(" INFO ")[1] for line in machine.log.read_text().splitlines() if " INFO http." in line
    ]
    assert story == [
        f"http.opened listen={listen}",
        f"http.closed listen={listen}",
        f"http.opened listen={other}",
        f"http.closed listen={other}",
    ]


@pytest.mark.process
def test_a_port_that_is_taken_is_no_reason_not_to_run(machine: Machine, listen: str) -> None:
    """The looks go on; the page is there as soon as the port is free."""
    host, _, port = listen.rpartition(":")
    machine.write(http={"listen": listen})
    with socket.create_server((host, int(port))), machine.daemon():
        machine.wait_for_log("http.not_opened")
        machine.wait_for_looks(3)
        assert machine.log.read_text().count("http.not_opened") == 1
    with machine.daemon():
        wait_for_page(machine, listen)


@pytest.mark.process
def test_a_page_that_cannot_be_made_is_no_reason_not_to_run(machine: Machine, listen: str) -> None:
    """As where an upgrade has taken a package away under the daemon; told once, and made when it is back."""
    broken = machine.home / "lib" / "jinja2.py"
    broken.parent.mkdir()
    broken.write_text("raise ImportError('this package has gone')")
    machine.write(http={"listen": listen})
    with machine.daemon(PYTHONPATH=str(broken.parent), PYTHONDONTWRITEBYTECODE="1"):
        machine.wait_for_log("ImportError: this package has gone")
        machine.wait_for_looks(3)
        assert machine.log.read_text().count("http.not_started") == 1
        broken.unlink()
        wait_for_page(machine, listen)


def python_without(library: str, home: Path) -> Path:
    """Return the Python of an environment that has all packages of ours but this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (packages,) = home.glob("lib/python3*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(library):
            (packages / path.name).symlink_to(path)
    return home / "bin" / "python"


@pytest.mark.process
def test_without_the_library_of_the_metrics_the_page_works(machine: Machine, listen: str) -> None:
    """As an installation without the extra: `check` and the log say what is missing, and so does /metrics."""
    python = python_without("prometheus_client", machine.home / "venv")
    cure = NEEDS_PROMETHEUS
    command = [str(python), "-m", "certbotless", "--config", str(machine.file), "check"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""
    machine.write(http={"listen": listen})
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == (
        f"warning: http: {cure}\n"
    )
    with machine.daemon(str(python)):
        wait_for_page(machine, listen)
        assert get(listen, "/metrics") == (503, f"{cure}\n")
        assert get(listen, "/")[0] == get(listen, "/status.json")[0] == 200
    assert f"config.warning text={quoted(f'http: {cure}')}\n" in machine.log.read_text()
    with machine.daemon():
        wait_for_page(machine, listen)
        assert get(listen, "/metrics")[0] == 200


@pytest.mark.process
def test_an_edit_that_is_refused_is_no_health(machine: Machine, listen: str) -> None:
    """A look that crashes is none either (test_daemon, and `is_looking` above)."""
    machine.write(http={"listen": listen})
    good = machine.file.read_text()
    with machine.daemon():
        wait_for_page(machine, listen)
        machine.file.write_text("sites: []")
        machine.wait_until(lambda: get(listen, "/healthz")[0] == 503)
        assert get(listen, "/healthz")[1].startswith(f"an edit is refused: {machine.file}:1:")
        assert "An edit of the configuration is refused" in get(listen, "/")[1]
        machine.file.write_text(good)
        wait_for_page(machine, listen)


@pytest.mark.process
def test_a_page_that_others_can_reach_is_warned_of(machine: Machine) -> None:
    """Wherever the file is looked at; it is no fault."""
    machine.write(http={"listen": f"0.0.0.0:{free_port()}"})
    warning = "http.listen: the status page has no login, and this address is reachable from the network"
    command = [sys.executable, "-m", "certbotless", "--config", str(machine.file), "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert warning in done.stderr
    with machine.daemon():
        machine.wait_for_log(f'config.warning text="{warning}')


# --- behind a web server ------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.page("docs/status-page.md", "web server")
def test_nginx_asks_who_it_is_as_the_docs_have_it(tmp_path: Path, paper: Reading) -> None:
    """The page needs the password, and nginx needs no further line for its Host."""
    port = free_port()
    ca, bundle = trustme.CA(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(bundle)
    made = ca.issue_cert("status.example.com", "127.0.0.1")
    made.cert_chain_pems[0].write_to_path(tmp_path / "status.pem")
    made.private_key_pem.write_to_path(tmp_path / "status.key")
    (tmp_path / "htpasswd").write_text("me:{PLAIN}secret\n")
    tmp_path.chmod(0o755)
    with showing(tmp_path, [WELL]) as url:
        ours = {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/certs/status.example.com": f"{tmp_path}/status",
            "/etc/nginx/certbotless.htpasswd": f"{tmp_path}/htpasswd",
            "127.0.0.1:9109": url.removeprefix("http://").rstrip("/"),
        }
        block = exchanged(paper.text("docs/status-page.md", "web server"), ours)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
        (tmp_path / "nginx.conf").write_text(
            f"user root root; daemon off; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {folders}\n{block} }}\n"
        )
        command = ["/usr/sbin/nginx", "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as nginx:
            try:
                wait_until(lambda: proxied(port, bundle, None) == 401, "nginx answers")
                assert proxied(port, bundle, ("me", "secret")) == 200
            finally:
                nginx.terminate()


def proxied(port: int, bundle: Path, login: tuple[str, str] | None) -> int:
    """Return the status with which nginx answers; 0 while it does not."""
    host = {"Host": "status.example.com"}
    try:
        url = f"https://127.0.0.1:{port}/"
        return requests.get(url, headers=host, auth=login, verify=str(bundle), timeout=30).status_code
    except requests.ConnectionError:
        return 0
