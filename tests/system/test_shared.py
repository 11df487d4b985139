"""Sites that share a wildcard certificate: one order, no name of a host in it, and each serves it."""

import base64
import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from support.bed import (
    DOMAIN,
    LONGEST_RUN_S,
    ZONE,
    Bed,
    assert_mode,
    sha256_of,
    wait_until,
)
from support.commands import completed
from support.fault_proxy import Asked, FaultProxy
from support.nginx import Nginx
from support.pages import Reading, exchanged
from support.programs import without_error
from support.readers import GROUP, USER
from support.reloading import Reloading, reloading

from certbotless.base.times import parse_rfc3339
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import Registry, served_sha256
from certbotless.world.tls import served_leaf

WILDCARD, OTHER = f"*.{ZONE}", f"git.{ZONE}"
NAMES = [DOMAIN, *(f"box{number}.{ZONE}" for number in range(2, 21))]


@pytest.fixture
def shared(bed: Bed) -> Bed:
    """A bed with two sites that share a certificate; one of them is on another machine."""
    (site,) = bed.config["sites"]
    other = {"domain": OTHER, "certificate": WILDCARD, "address": "10.79.40.9"}
    bed.config["sites"] = [site | {"certificate": WILDCARD}, other]
    return bed


@pytest.fixture
def unserved(bare: Bed) -> Bed:
    """A bed with three sites that share a certificate, and no service."""
    bare.config["sites"] = [sharing(bare, name) for name in NAMES[:3]]
    return bare


def sharing(bed: Bed, domain: str, **keys: Any) -> dict[str, Any]:
    """Return a site that shares the certificate, without a service."""
    return bed.site(domain, **{"certificate": WILDCARD, "deploy": [], **keys})


def unit_of(bed: Bed, wildcard: str = WILDCARD) -> str:
    """Return the shared certificate as it is on disk."""
    return sha256_of(bed.state / "shared" / f"{wildcard.replace('*', '_')}.pem")


def events_of(bed: Bed, domain: str) -> list[dict[str, str]]:
    """Return what the program has kept of a site, oldest first."""
    rows = map(json.loads, (bed.state / "events.jsonl").read_text().splitlines())
    return [row for row in rows if row["site"] == domain]


def txt_calls(bed: Bed, start: int = 0) -> Counter[str]:
    """Return the calls about TXT records after the first `start`, by their kind; a deletion has no type."""
    kinds = ("AddDomainRecord", "DeleteDomainRecord")
    calls = [call for call in bed.dns.calls[start:] if call.action in kinds]
    return Counter(
        call.action for call in calls if call.action == kinds[1] or call.parameters.get("Type") == "TXT"
    )


def acme_requests(bed: Bed, start: int = 0) -> int:
    """Return how many requests the CA got after the first `start`; polls of an order in progress apart."""
    return sum(request != "POST /my-order/" for request in bed.ca.requests()[start:])


def test_one_order_serves_all_sites_and_shows_none_of_their_names(shared: Bed) -> None:
    plan = shared.run("plan").stdout
    assert f"{WILDCARD}: would request a certificate" in plan
    assert f"{DOMAIN}: would add the A record" in plan
    assert f"would use the certificate that it shares (waits for {WILDCARD})" in plan
    shared.ok("--once")
    status = shared.status()
    (unit,) = status["certificates"]
    assert (unit["name"], unit["state"], unit["names"]) == (WILDCARD, "ok", [WILDCARD])
    assert unit["used_by"] == [DOMAIN, OTHER]
    for site in status["sites"]:
        assert site["state"] == "ok"
        assert site["certificate"]["shared"] == WILDCARD
        assert (shared.certs / f"{site['domain']}.pem").exists()
    assert {site["certificate"]["sha256"] for site in status["sites"]} == {unit["sha256"]}
    assert status["sites"][0]["deploy"][0]["served_sha256"] == unit["sha256"]
    assert "of " + WILDCARD in shared.run("status").stdout
    assert f"{WILDCARD} ok" in shared.run("status", OTHER).stdout


def test_a_renewal_of_one_is_that_of_all_and_a_second_run_does_nothing(shared: Bed) -> None:
    shared.ok("--once")
    (before,) = shared.status()["certificates"]
    calls = len(shared.dns.calls)
    shared.ok("--once")
    assert len(shared.dns.calls) == calls
    said, *ended = shared.ok("--renew-now", OTHER).splitlines()
    assert said == f"renews {WILDCARD} for 2 sites"
    assert [line.partition(":")[0] for line in ended] == [WILDCARD, DOMAIN, OTHER]
    status = shared.status()
    (after,) = status["certificates"]
    assert after["sha256"] != before["sha256"]
    assert {site["certificate"]["sha256"] for site in status["sites"]} == {after["sha256"]}


# --- twenty sites -------------------------------------------------------------------------------------------


class Twenty:
    """Twenty sites with one certificate and three kinds of services.

    The first has the registry, which is restarted. Those from the second on have one nginx, which gets a
    signal. The last two have a service each that a command reloads.
    """

    def __init__(self, bed: Bed, commands: list[Reloading]) -> None:
        self.bed, self.commands = bed, commands
        registry, *others = (sharing(bed, name) for name in NAMES)
        registry["deploy"] = bed.site()["deploy"]
        for site in others[:-2]:
            site["deploy"] = [{"container": "nginx", "action": {"signal": "HUP"}, "port": 8443}]
        for site, service in zip(others[-2:], commands, strict=True):
            site["deploy"] = [service.target]
        self.sites = [registry, *others]

    def served(self) -> list[str]:
        """Return what is served for each site, in their order."""
        found = [self.bed.served()]
        found += [served_sha256(LAN_ADDRESS, 8443, name) for name in NAMES[1:-2]]
        return found + [
            served_leaf("127.0.0.1", each.tls.port, name)
            for each, name in zip(self.commands, NAMES[-2:], strict=True)
        ]


@pytest.fixture
def twenty(bed: Bed) -> Iterator[Twenty]:
    with ExitStack() as stack:
        services = [stack.enter_context(reloading(bed.certs / f"{name}.pem")) for name in NAMES[-2:]]
        twenty = Twenty(bed, services)
        # Where each of them has files by now, their services can be started.
        bed.config["sites"] = [site | {"deploy": []} for site in twenty.sites]
        yield twenty


def named_in(asked: Sequence[Asked]) -> list[tuple[str, list[str]]]:
    """Return the names of each order and of each CSR that the CA got, in the order in which it got them."""

    def payload(each: Asked) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(from_base64(json.loads(each.body)["payload"]))
        return found

    def from_base64(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "==")

    found = []
    for each in asked:
        if each.path == "/order-plz":
            found.append(("order", [name["value"] for name in payload(each)["identifiers"]]))
        elif each.path.startswith("/finalize-order/"):
            csr = x509.load_der_x509_csr(from_base64(payload(each)["csr"]))
            subject = [str(name.value) for name in csr.subject]
            found.append(("CSR", [*subject, *dns_names(csr)]))
    return found


def dns_names(of: x509.Certificate | x509.CertificateSigningRequest) -> list[str]:
    names = of.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("ca", [{}], indirect=True, ids=["its own"])
def test_twenty_sites_with_three_kinds_of_services_cost_one_order(twenty: Twenty, tmp_path: Path) -> None:
    """As one site: 10 ACME requests at most, then 9. 2 calls for each record, and 2 for the TXT value."""
    bed = twenty.bed
    (tmp_path / "proxy").mkdir()
    with FaultProxy(bed.ca.directory_url, tmp_path / "proxy", bed.ca.ca_bundle) as proxy:
        bed.config["acme"] = {"directory": f"{proxy.url}/dir", "ca_bundle": str(proxy.ca_bundle)}
        order_twice(twenty, tmp_path)
        # In what the CA was asked for there is no name but the wildcard.
        assert {(kind, *names) for kind, names in named_in(proxy.asked)} == {
            ("order", WILDCARD),
            ("CSR", WILDCARD),
        }
        hosts = [name.encode() for name in NAMES]
        assert not [each.path for each in proxy.asked if any(host in each.body for host in hosts)]
    # Nor in all that it has noted, in the names of the TXT records, and in the certificates.
    log = bed.ca.log.read_text()
    found = set(re.findall(rf"[*\w.-]+\.{re.escape(ZONE)}", log))
    assert found <= {WILDCARD, f"_acme-challenge.{ZONE}"}
    txt = [call for call in bed.dns.calls if call.parameters.get("Type") == "TXT"]
    assert {call.parameters["RR"] for call in txt} == {"_acme-challenge"}
    # That of the registry's first days is another tool's.
    chains = [path for folder in (bed.certs, bed.state) for path in folder.rglob("2*/fullchain.pem")]
    leaves = {path.read_bytes() for path in chains}
    assert [dns_names(x509.load_pem_x509_certificate(leaf)) for leaf in leaves] == [[WILDCARD]] * 2


def order_twice(twenty: Twenty, folder: Path) -> None:
    """Let the sites get their certificate, have their services, and renew it; count what it costs."""
    bed = twenty.bed
    bed.ok("--once")
    requests, calls = acme_requests(bed), len(bed.dns.calls)
    print(f"\ntwenty sites, first run: {bed.orders()} order, {requests} ACME requests, {calls} Alidns calls")
    assert requests <= 10
    assert calls == 2 + 2 * len(NAMES)
    assert bed.orders() == 1
    assert txt_calls(bed) == {"AddDomainRecord": 1, "DeleteDomainRecord": 1}

    Nginx(bed.engine, folder, bed.certs, NAMES[1:-2])
    bed.config["sites"] = twenty.sites
    bed.ok("--once")
    assert set(twenty.served()) == {unit_of(bed)}
    before, polled, called = unit_of(bed), len(bed.ca.requests()), len(bed.dns.calls)
    started = bed.started_at("nginx")
    reloads = [each.reloads for each in twenty.commands]
    bed.ok("--renew-now")
    requests, calls = acme_requests(bed, polled), len(bed.dns.calls) - called
    print(f"renewal: {bed.orders() - 1} order, {requests} ACME requests, {calls} Alidns calls")
    assert requests <= 9
    # Pebble uses one valid authorization in a hundred again: no TXT then.
    assert calls in (0, 2)
    assert set(twenty.served()) == {unit_of(bed)} != {before}
    assert bed.orders() == 2
    assert bed.started_at("nginx") == started
    assert [each.reloads for each in twenty.commands] == [count + 1 for count in reloads]
    bed.assert_no_txt()


@pytest.mark.row(111)
@pytest.mark.parametrize(
    "number", [pytest.param(1, marks=pytest.mark.soak), 7, pytest.param(20, marks=pytest.mark.soak)]
)
def test_a_registry_that_refuses_it_keeps_later_services_from_it(
    bed: Bed, number: int, promised: Callable[[float, float], None]
) -> None:
    """As number 1, 7 or 20 of the file: it may not read the new key, by the group of its own folder."""
    certs, folder = bed.certs, bed.home / "of-registry"
    folder.mkdir()
    os.chown(folder, -1, GROUP)
    folder.chmod(0o2755)
    bed.config["key_mode"] = "0640"
    registry = sharing(bed, DOMAIN, certs_dir=str(folder))
    others = [sharing(bed, name) for name in NAMES[1:]]
    sites = bed.config["sites"] = [*others[: number - 1], registry, *others[number - 1 :]]
    bed.ok("--once")
    bed.registry.remove()
    bed.registry = Registry(bed.engine, DOMAIN, certs=folder, user=f"{USER}:{GROUP}")
    bed.registry.create()
    registry["deploy"] = bed.site()["deploy"]
    bed.ok("--once")
    old, made = unit_of(bed), folder / ".certbotless" / DOMAIN

    def leaves() -> list[str]:
        return [sha256_of(Path(site.get("certs_dir", certs)) / f"{site['domain']}.pem") for site in sites]

    # The key of this site is readable for its service; those of the others and the shared one are not.
    assert (folder / f"{DOMAIN}.key").stat().st_gid == GROUP
    assert {path.stat().st_gid for path in certs.glob("box*.key")} == {0}
    (shared_key,) = (bed.state / "shared").glob("*.key")
    assert_mode(shared_key, 0o600)

    os.chown(made, -1, 0)
    assert bed.run("--renew-now").returncode == 1
    at = {event["event"]: parse_rfc3339(event["at"]) for event in events_of(bed, DOMAIN)}
    took = at["redeploy.failed"] - at["certificate.taken"]
    print(f"\nas number {number} of 20: back with the one before {took} after it was taken")
    promised(took.total_seconds(), 15)
    new, orders = unit_of(bed), bed.orders()
    assert leaves() == [*[new] * (number - 1), *[old] * (21 - number)]
    assert bed.served() == old != new
    states = [site["state"] for site in bed.status()["sites"]]
    assert states == [*["ok"] * (number - 1), "failing", *["pending"] * (20 - number)]
    assert bed.run("--once").returncode == 1
    assert leaves() == [*[new] * (number - 1), *[old] * (21 - number)]

    # It is repaired, and tried again at the next edit of its site; else by itself.
    for key in made.glob("*/privkey.pem"):
        os.chown(key, -1, GROUP)
    if number == 7:
        registry["ttl"] = 601
        bed.once_until_ok()
    else:
        with bed.daemon():
            wait_until(lambda: set(leaves()) == {new}, "all have it", LONGEST_RUN_S)
            wait_until(without_error(bed.served), "it serves again")
    assert {*leaves(), bed.served()} == {new}
    assert bed.orders() == orders


@pytest.mark.row(111)
@pytest.mark.soak
def test_a_service_that_answers_nobody_with_it_has_the_one_before_again(
    unserved: Bed, promised: Callable[[float, float], None]
) -> None:
    """It goes on running, so it has half a minute to come up."""
    bed = unserved
    bed.ok("--once")
    old, sites = unit_of(bed), bed.config["sites"]
    with reloading(bed.certs / f"{NAMES[0]}.pem") as service:
        sites[0]["deploy"] = [service.target]
        bed.ok("--once")
        service.may_come_up = lambda: bed.published(NAMES[0]) == old
        assert bed.run("--renew-now").returncode == 1
        new = unit_of(bed)
        assert {bed.published(name) for name in NAMES[:3]} == {old} != {new}
        assert served_leaf("127.0.0.1", service.tls.port, NAMES[0]) == old
        at = {event["event"]: parse_rfc3339(event["at"]) for event in events_of(bed, NAMES[0])}
        took = at["redeploy.failed"] - at["certificate.taken"]
        print(f"\nback with the one before {took} after it was taken")
        promised(took.total_seconds(), 40)

        service.may_come_up = lambda: True
        sites[0]["ttl"] = 601
        bed.once_until_ok()
        assert {bed.published(name) for name in NAMES[:3]} == {new}
    assert bed.orders() == 2


@pytest.mark.soak
def test_a_thousand_sites_cost_one_order(bare: Bed) -> None:
    bed = bare
    names = [f"box{number}.{ZONE}" for number in range(1000)]
    bed.config["sites"] = [sharing(bed, name) for name in names]
    for orders, asked in ((1, ["--once"]), (2, ["--renew-now", names[500]])):
        requests, calls, began = len(bed.ca.requests()), len(bed.dns.calls), time.monotonic()
        bed.ok(*asked)
        cost = f"{acme_requests(bed, requests)} ACME requests, {len(bed.dns.calls) - calls} Alidns calls"
        print(f"\n1,000 sites, {asked[0]}: {cost}, {time.monotonic() - began:.0f} s")
        assert bed.orders() == orders
        assert {bed.published(name) for name in names} == {unit_of(bed)}


# --- what is edited, lost and asked for ---------------------------------------------------------------------


def test_a_site_that_joins_orders_nothing_and_one_that_leaves_its_own(unserved: Bed) -> None:
    bed = unserved
    bed.ok("--once")
    old = unit_of(bed)
    bed.config["sites"].append(sharing(bed, f"nas.{ZONE}"))
    calls = len(bed.dns.calls)
    bed.ok("--once")
    assert txt_calls(bed, calls) == {}
    del bed.config["sites"][1]["certificate"]
    bed.ok("--once")
    certificates = {site["domain"]: site["certificate"]["names"] for site in bed.status()["sites"]}
    assert certificates == {
        NAMES[0]: [WILDCARD],
        NAMES[1]: [NAMES[1]],
        NAMES[2]: [WILDCARD],
        f"nas.{ZONE}": [WILDCARD],
    }
    assert (bed.orders(), unit_of(bed)) == (2, old)


def test_a_wildcard_that_is_renamed_is_another_certificate_and_two_are_two(unserved: Bed) -> None:
    """What nobody uses any more stays as it is; what is used again is not ordered again."""
    bed = unserved
    bed.ok("--once")
    first = unit_of(bed)
    deep = {
        site["domain"]: site | {"domain": site["domain"].replace(ZONE, f"lan.{ZONE}")}
        for site in bed.config["sites"]
    }
    before = bed.config["sites"]
    bed.config["sites"] = [
        before[0],
        *({**site, "certificate": f"*.lan.{ZONE}"} for site in [*deep.values()][1:]),
    ]
    bed.ok("--once")
    second = unit_of(bed, f"*.lan.{ZONE}")
    status = bed.status()
    assert [each["name"] for each in status["certificates"]] == [WILDCARD, f"*.lan.{ZONE}"]
    assert [each["certificate"]["sha256"] for each in status["sites"]] == [first, second, second]
    bed.config["sites"] = before
    bed.ok("--once")
    assert {each["certificate"]["sha256"] for each in bed.status()["sites"]} == {first}
    assert (bed.orders(), unit_of(bed, f"*.lan.{ZONE}")) == (2, second)


@pytest.mark.row(122)
@pytest.mark.parametrize("lost", ["its own files", "the state", "the files of a site"])
def test_what_is_lost_of_it_is_restored_without_an_order(unserved: Bed, lost: str) -> None:
    bed = unserved
    bed.ok("--once")
    old = unit_of(bed)
    if lost == "its own files":
        shutil.rmtree(bed.state / "shared")
        for path in bed.state.glob(f"sites/_.{ZONE}.pair"):
            path.unlink()
    elif lost == "the state":
        shutil.rmtree(bed.state)
    else:
        (bed.certs / f"{NAMES[1]}.pem").resolve().write_text("edited by hand\n")
    bed.once_until_ok()
    assert unit_of(bed) == old
    assert {site["certificate"]["sha256"] for site in bed.status()["sites"]} == {old}
    assert bed.orders() == 1


def test_a_unit_that_is_damaged_at_every_site_is_ordered_again(unserved: Bed) -> None:
    bed = unserved
    bed.ok("--once")
    shutil.rmtree(bed.state)
    for name in NAMES[:3]:
        (bed.certs / f"{name}.key").resolve().write_text("damaged\n")
    bed.once_until_ok()
    assert bed.orders() == 2
    assert {site["certificate"]["sha256"] for site in bed.status()["sites"]} == {unit_of(bed)}


# Processes that run the command line, each for another site, all of them loaded before the first one begins.
# Each writes to a file of its own: lines of several processes in one pipe may meet.
_HASTY = """
import os, sys, tempfile, traceback
import pytest

from certbotless.act import run as _
from certbotless.cli import main as cli
from certbotless.world.dns import alidns
count, *args = sys.argv[1:]
domains = args.pop().split(",")
def run(number, output):
    try:
        os.dup2(output.fileno(), 1)
        os._exit(cli.main([*args, domains[number % len(domains)]]))
    except BaseException:
        traceback.print_exc()
        os._exit(70)
outputs = [tempfile.TemporaryFile() for _ in range(int(count))]
pids = [os.fork() or run(number, output) for number, output in enumerate(outputs)]
failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
for output in outputs:
    output.seek(0)
    print(output.read().decode(), end="")
sys.exit(failed)
"""


@pytest.mark.row(123)
@pytest.mark.parametrize("count", [8, pytest.param(50, marks=pytest.mark.soak)])
def test_hasty_renewals_of_several_sites_are_one_order(unserved: Bed, count: int) -> None:
    bed = unserved
    bed.ok("--once")
    old = unit_of(bed)
    command = bed.command("--renew-now", ",".join(NAMES[:3]))[3:]
    done = completed([sys.executable, "-c", _HASTY, str(count), *command])
    assert done.returncode == 0, done.stdout + done.stderr
    assert Counter(done.stdout.splitlines()) == {
        f"renews {WILDCARD} for 3 sites": count,
        **{f"{name}: renewed and served": count for name in (WILDCARD, *NAMES[:3])},
    }
    assert bed.orders() == 2
    assert {site["certificate"]["sha256"] for site in bed.status()["sites"]} == {unit_of(bed)} != {old}


def test_a_daemon_renews_it_and_all_take_it(unserved: Bed) -> None:
    """With its own back-off where the CA is away: the sites are ok, and the certificate says why."""
    bed = unserved
    bed.config["check_every"] = "1s"
    with bed.daemon():
        wait_until(lambda: all(s["state"] == "ok" for s in bed.status()["sites"]), "all have it")
        old = unit_of(bed)
        bed.config["acme"]["key_type"] = "ec384"
        bed.write()
        wait_until(
            lambda: {s["certificate"]["sha256"] for s in bed.status()["sites"]} == {unit_of(bed)} != {old},
            "all have the new one",
        )
        bed.config["acme"] |= {"directory": "https://127.0.0.1:1/dir", "key_type": "ec256"}
        bed.write()
        wait_until(lambda: bed.status()["certificates"][0]["state"] == "failing", "the CA is away")
    status = bed.status()
    (unit,) = status["certificates"]
    for site in status["sites"]:
        assert (site["state"], site["last_error"]) == ("ok", unit["last_error"])
    assert bed.run("status").returncode == 1


# --- the page of the docs -----------------------------------------------------------------------------------

_PAGE = "docs/private-names.md"


@pytest.mark.page("docs/private-names.md", "workaround", "beside", "instead")
def test_from_a_wildcard_in_names_as_the_page_says(bed: Bed, paper: Reading) -> None:
    serves = {"10.0.0.5:5000": f"{LAN_ADDRESS}:{bed.registry.port}"}
    base = bed.registry
    base.remove()
    shutil.copy(bed.certs / f"{DOMAIN}.pem", bed.certs / f"{ZONE}.pem")
    shutil.copy(bed.certs / f"{DOMAIN}.key", bed.certs / f"{ZONE}.key")
    bed.registry = Registry(bed.engine, ZONE, certs=bed.certs)
    bed.registry.create()
    words = {"lan.example.com": ZONE, **serves}
    bed.config["sites"] = yaml.safe_load(exchanged(paper.text(_PAGE, "workaround"), words))["sites"]
    bed.ok("--once")
    old = bed.served()
    bed.dns.add("devbox", "A", "10.0.0.5")  # by hand
    words |= {"registry.": "devbox."}
    for name in ("beside", "instead"):
        bed.config["sites"] = yaml.safe_load(exchanged(paper.text(_PAGE, name), words))["sites"]
        if name == "instead":
            bed.registry.remove()
            bed.registry = Registry(bed.engine, DOMAIN, certs=bed.certs)
            bed.registry.create()
        bed.ok("--once")
        assert bed.a_values() == ["10.0.0.5"]
    assert bed.served() == unit_of(bed) != old
    assert bed.orders() == 2


@pytest.mark.page("docs/private-names.md", "each its own", "shared")
def test_from_a_certificate_for_each_site_as_the_page_says(bed: Bed, paper: Reading) -> None:
    words = {"lan.example.com": ZONE, "registry.": "devbox."}
    sites: dict[str, list[dict[str, Any]]] = {
        name: yaml.safe_load(exchanged(paper.text(_PAGE, name), words))["sites"]
        for name in ("each its own", "shared")
    }
    for name, orders in (("each its own", 2), ("shared", 3), ("shared", 3)):
        bed.config["sites"] = sites[name]
        sites[name][0] |= {"deploy": [{"container": "registry", "port": bed.registry.port}]}
        bed.ok("--once")
        assert bed.orders() == orders
        assert bed.served() == bed.published()
    assert bed.published() == bed.published(f"git.{ZONE}") == unit_of(bed)
    found = [each for each in bed.checks() if each["check"] == "private"]
    assert [each["level"] for each in found if each["about"] in (DOMAIN, f"git.{ZONE}")] == ["warn", "warn"]
    assert "is in public logs since 20" in found[0]["text"]
