"""Every key of the configuration changes what the program does, and a test says so by name.

`PROOFS` is the register: a key that is not in it fails here, as does an entry without its key or its test.
The tests that stand in this file are of keys whose effect no other test shows from the file on.
"""

from __future__ import annotations

import ast
import base64
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from fakes import EPOCH, FakeClock, FakeContainers, FakeZone, HttpServer, Reply, Request

from certbotless import act, configfile
from certbotless.cli import main
from certbotless.config import Config
from certbotless.decide import Intent, decide
from certbotless.errors import DnsRefused
from certbotless.leaf import LeafFacts
from certbotless.nameservers import NameServers
from certbotless.observe import Observation
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.httpapi import HttpsListener
from certbotless.state import SiteFile, SiteState, WrittenRecord
from certbotless.store import Origin, Published, Store
from certbotless.workbench import Edges, Workbench, Zones
from tools.docs import schema

TESTS = Path(__file__).resolve().parent

# Key -> file and name of a test that fails if the program ignores the key.
PROOFS = {
    "acme.directory": "test_keys.py::test_the_ca_of_the_file_is_told_where_to_write",
    "acme.email": "test_keys.py::test_the_ca_of_the_file_is_told_where_to_write",
    "acme.ca_bundle": "test_keys.py::test_a_private_ca_is_trusted_by_the_bundle_of_the_file",
    "acme.eab.kid": "system/test_acme.py::test_a_ca_that_binds_accounts_is_told_who_we_are",
    "acme.eab.hmac_key": "system/test_acme.py::test_a_ca_that_binds_accounts_is_told_who_we_are",
    "acme.profile": "test_keys.py::test_the_profile_of_the_file_is_ordered_where_it_is_listed",
    "acme.key_type": "system/test_acme.py::test_a_registry_serves_leafs_of_every_kind_of_key",
    "aliyun.access_key_id": "system/test_bad_input.py::"
    "test_a_wrong_secret_and_an_unknown_access_key_say_which_key_to_correct",
    "aliyun.access_key_secret": "system/test_bad_input.py::"
    "test_a_wrong_secret_and_an_unknown_access_key_say_which_key_to_correct",
    "aliyun.security_token": "test_keys.py::test_the_api_of_the_file_is_called_with_what_it_asks_for",
    "aliyun.endpoint": "test_keys.py::test_the_api_of_the_file_is_called_with_what_it_asks_for",
    "aliyun.ca_bundle": "test_keys.py::test_the_api_of_the_file_is_called_with_what_it_asks_for",
    "dns.nameservers": "test_keys.py::test_the_name_servers_of_the_file_say_what_is_published",
    "dns.propagation_timeout": "test_keys.py::test_a_record_that_does_not_show_in_time_is_written_again",
    "docker.host": "faults/test_docker.py::test_an_engine_that_is_away_costs_no_order_and_is_waited_for",
    "http.listen": "test_web.py::test_the_page_follows_the_file",
    "certs_dir": "test_keys.py::test_a_pair_counts_where_the_file_wants_it",
    "state_dir": "test_cli.py::test_the_daemon_is_known_by_its_lock",
    "check_every": "system/test_daemon.py::"
    "test_what_others_break_is_put_right_by_the_next_look_without_an_order",
    "parallel": "test_keys.py::test_as_many_sites_talk_at_a_time_as_the_file_allows",
    "key_mode": "test_keys.py::test_a_key_is_published_with_the_mode_of_the_file",
    "notify": "test_notify.py::test_a_run_tells_what_is_amiss_at_once_and_only_once",
    "sites[].domain": "system/test_chain.py::"
    "test_an_untrusted_registry_becomes_one_that_every_client_trusts_and_stays_so",
    "sites[].names": "system/test_chain.py::test_a_wildcard_and_its_base_are_proved_together",
    "sites[].zone": "system/test_bad_input.py::"
    "test_an_unknown_zone_and_a_name_in_none_say_so_before_any_order",
    "sites[].address": "system/test_recovery.py::test_an_edit_is_in_the_record_while_dns_is_still_waited_for",
    "sites[].address6": "faults/test_lan.py::test_the_aaaa_record_is_kept_as_the_a_record_is",
    "sites[].ttl": "test_keys.py::test_another_ttl_is_written_to_the_record",
    "sites[].records": "system/test_chain.py::test_every_name_gets_its_record_where_all_are_wanted",
    "sites[].certs_dir": "test_keys.py::test_a_pair_counts_where_the_file_wants_it",
    "sites[].deploy[].container": "system/test_bad_input.py::"
    "test_an_absent_container_is_named_before_the_first_order",
    "sites[].deploy[].label": "system/test_deploy.py::test_a_label_means_every_container_that_has_it",
    "sites[].deploy[].command": "system/test_deploy.py::test_a_command_reloads_a_service_of_the_machine",
    "sites[].deploy[].action": "test_serve.py::test_a_signal_is_no_restart",
    "sites[].deploy[].port": "test_serve.py::test_a_service_may_be_proved_elsewhere",
    "sites[].deploy[].when": "system/test_deploy.py::test_a_window_is_waited_for_but_not_beyond_the_deadline",
    "sites[].deploy[].stop_timeout": "test_serve.py::"
    "test_a_restart_gives_the_container_its_time_to_stop_and_is_proved",
}


# --- the register -------------------------------------------------------------------------------------------


def keys_of_the_model() -> set[str]:
    """Return the path of every key that has a value of its own, not one of a section."""
    paths = {path for path, _, _ in schema.all_keys()}
    return {
        path for path in paths if not any(other.startswith((f"{path}.", f"{path}[].")) for other in paths)
    }


def test_every_key_has_a_test_that_names_it() -> None:
    assert PROOFS.keys() == keys_of_the_model()


@pytest.mark.parametrize("key", PROOFS)
def test_every_test_that_is_named_is_there_and_names_the_key(key: str) -> None:
    """By its last word, in the test itself or in what its file prepares for it."""
    file, _, name = PROOFS[key].partition("::")
    text = (TESTS / file).read_text()
    functions = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert name in functions
    word = key.rpartition(".")[2]
    beside = (TESTS / "system" / "bed.py").read_text() if file.startswith("system/") else ""
    assert word in text + beside


# --- a site of which only one thing is due -----------------------------------------------------------------

DOMAIN = "devbox.sweetlove.test"
LAN, OTHER_LAN = "10.79.40.213", "10.79.40.7"
# Nobody listens there, so a run that should not talk to a CA cannot.
DIRECTORY = "https://127.0.0.1:1/dir"
KEY_ID, SECRET, TOKEN = "LTAI5tExample", "example-secret", "example-token"


def tree(home: Path, **site: Any) -> dict[str, Any]:
    """Return the smallest configuration that talks to nobody outside this machine."""
    return {
        "acme": {"directory": DIRECTORY},
        "aliyun": {"access_key_id": KEY_ID, "access_key_secret": SECRET, "endpoint": "http://127.0.0.1:1"},
        "dns": {"nameservers": ["127.0.0.1:1"]},
        "certs_dir": str(home / "certs"),
        "state_dir": str(home / "state"),
        "sites": [{"domain": DOMAIN, "zone": "sweetlove.test", "address": "none", **site}],
    }


def parsed(tree: dict[str, Any]) -> Config:
    return configfile.parse(json.dumps(tree).encode(), "test.yaml")


def publish(certs_dir: Path, domain: str = DOMAIN, now: datetime | None = None) -> None:
    """Put a pair there that is good for months, as far as a look can tell."""
    now = now or datetime.now(UTC)
    facts = LeafFacts((domain,), "ab" * 32, "CN=CA", now - timedelta(days=1), now + timedelta(days=89))
    note = SiteFile(certs_dir.parent / "state", domain).note_generation
    Store(certs_dir, domain).publish(b"chain", b"key", facts, Origin(DIRECTORY, "", "ec256", now), now, note)


def run(home: Path, tree: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the configuration in a process of its own."""
    (home / "config.yaml").write_text(json.dumps(tree))
    command = [sys.executable, "-m", "certbotless", "--config", str(home / "config.yaml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def planned(home: Path, tree: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> str:
    """Return what `plan` prints."""
    (home / "config.yaml").write_text(json.dumps(tree))
    main(["--config", str(home / "config.yaml"), "plan"])
    return capfd.readouterr().out


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def https(tmp_path: Path) -> tuple[Path, Path]:
    """Return a private root, and key and chain of its certificate for loopback."""
    ca = trustme.CA()
    root, chain = tmp_path / "root.pem", tmp_path / "chain.pem"
    ca.cert_pem.write_to_path(root)
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    return root, chain


# --- acme ---------------------------------------------------------------------------------------------------


class Ca(HttpServer):
    """A CA over HTTPS that lists one profile, opens an account, and takes no order.

    Attributes:
        told: the last payload of each resource, by its name.
    """

    def __init__(self, chain: Path) -> None:
        super().__init__(self._reply)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        server = cast(Any, self)._server
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.directory = self.url.replace("http:", "https:") + "/dir"
        self.told: dict[str, dict[str, Any]] = {}

    def _reply(self, request: Request) -> Reply:
        name = request.path.rpartition("/")[2]
        headers = {"Content-Type": "application/json", "Replay-Nonce": "bm9uY2U"}
        if name == "dir":
            urls = {name: f"{self.directory}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
            listed = {"meta": {"profiles": {"classic": "https://ca.test/classic"}}}
            return Reply(200, json.dumps(urls | listed).encode(), headers)
        if request.method == "HEAD":
            return Reply(200, b"", headers)
        self.told[name] = json.loads(base64.urlsafe_b64decode(json.loads(request.body)["payload"] + "=="))
        if name == "newAccount":
            return Reply(201, b'{"status": "valid"}', headers | {"Location": f"{self.directory}/account"})
        problem = {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "none of ours"}
        headers["Content-Type"] = "application/problem+json"
        return Reply(403, json.dumps(problem).encode(), headers)


def run_at(home: Path, https: tuple[Path, Path], **acme: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Run once at a CA with these keys of ours; return what it was told, and the log."""
    root, chain = https
    wanted = tree(home)
    emulator = AlidnsEmulator(["sweetlove.test"], access_key_id=KEY_ID, access_key_secret=SECRET)
    with Ca(chain) as ca, emulator as dns:
        wanted["aliyun"]["endpoint"] = dns.endpoint
        wanted["dns"]["nameservers"] = list(dns.nameservers)
        wanted["acme"] = {"directory": ca.directory, "ca_bundle": str(root), **acme}
        done = run(home, wanted, "--once")
    assert done.returncode == 1
    return ca.told, done.stderr


@pytest.mark.process
def test_the_ca_of_the_file_is_told_where_to_write(tmp_path: Path, https: tuple[Path, Path]) -> None:
    told, log = run_at(tmp_path, https, email="you@example.com")
    assert told["newAccount"]["contact"] == ["mailto:you@example.com"], log
    assert "profile" not in told["newOrder"]


@pytest.mark.process
def test_a_private_ca_is_trusted_by_the_bundle_of_the_file(tmp_path: Path, https: tuple[Path, Path]) -> None:
    """By that of the tests beside this one, and by no other."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "another.pem")
    told, log = run_at(tmp_path, https, ca_bundle=str(tmp_path / "another.pem"))
    assert told == {}
    assert "acme.ca_bundle" in log


@pytest.mark.process
def test_the_profile_of_the_file_is_ordered_where_it_is_listed(
    tmp_path: Path, https: tuple[Path, Path]
) -> None:
    told, log = run_at(tmp_path, https, profile="classic")
    assert told["newOrder"]["profile"] == "classic", log
    (tmp_path / "another").mkdir()
    told, log = run_at(tmp_path / "another", https, profile="shortlived")
    assert "newOrder" not in told
    assert "lists no profile 'shortlived'" in log


# --- aliyun, dns --------------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_api_of_the_file_is_called_with_what_it_asks_for(
    tmp_path: Path, https: tuple[Path, Path]
) -> None:
    """Over TLS that only the given root makes trusted, and with the token of a temporary key."""
    root, chain = https
    wanted = tree(tmp_path, address=LAN)
    publish(tmp_path / "certs")
    emulator = AlidnsEmulator(
        ["sweetlove.test"],
        access_key_id=KEY_ID,
        access_key_secret=SECRET,
        security_token=TOKEN,
        https=HttpsListener(0, chain, chain),
    )
    with emulator as dns:
        wanted["dns"]["nameservers"] = list(dns.nameservers)
        wanted["aliyun"] |= {
            "endpoint": dns.https_endpoint,
            "ca_bundle": str(root),
            "security_token": TOKEN,
        }
        done = run(tmp_path, wanted, "--once")
        assert done.returncode == 0, done.stderr
        assert [record.value for record in dns.records("devbox", "A")] == [LAN]


@pytest.fixture
def two_worlds() -> Iterator[list[AlidnsEmulator]]:
    """The name servers of two accounts that tell different things of one name."""
    worlds = [AlidnsEmulator(["sweetlove.test"], access_key_id="a", access_key_secret="b") for _ in range(2)]
    with worlds[0], worlds[1]:
        for world, value in zip(worlds, (LAN, OTHER_LAN), strict=True):
            world.add("devbox", "A", value)
        yield worlds


def test_the_name_servers_of_the_file_say_what_is_published(
    two_worlds: list[AlidnsEmulator], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = tree(tmp_path, address=LAN)
    publish(tmp_path / "certs")
    plans = []
    for world in two_worlds:
        wanted["dns"]["nameservers"] = list(world.nameservers)
        plans.append(planned(tmp_path, wanted, capfd))
    assert f"record: {OTHER_LAN} -> {LAN}" not in plans[0]
    assert f"record: {OTHER_LAN} -> {LAN}" in plans[1]


SEEN = Observation(
    at=EPOCH,
    address=LAN,
    answers={(DOMAIN, "A"): (frozenset({LAN}),)},
    published=Published(
        LeafFacts((DOMAIN,), "ab" * 32, "CN=CA", EPOCH, EPOCH + timedelta(days=90)),
        Origin(DIRECTORY, "", "ec256", EPOCH),
    ),
    has_copy=True,
    served={},
)
WRITTEN = WrittenRecord(value=LAN, ttl_s=600, at=EPOCH - timedelta(minutes=5), is_seen=False)


def steps(tree: dict[str, Any], seen: Observation, written: WrittenRecord) -> list[str]:
    """Return the keys of the steps that are due for the first site."""
    config = parsed(tree)
    state = replace(SiteState(), records={DOMAIN: written})
    decision = decide(config.sites[0], config, seen, state, [], Intent())
    return [step.key for step in decision.steps]


@pytest.mark.parametrize(("timeout", "step"), [("6m", "confirm"), ("5m", "record")])
def test_a_record_that_does_not_show_in_time_is_written_again(
    timeout: str, step: str, tmp_path: Path
) -> None:
    wanted = tree(tmp_path, address=LAN)
    wanted["dns"]["propagation_timeout"] = timeout
    assert steps(wanted, replace(SEEN, answers={(DOMAIN, "A"): (frozenset(),)}), WRITTEN) == [step]


# --- sites --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "due"), [(600, []), (1200, ["record"])])
def test_another_ttl_is_written_to_the_record(ttl: int, due: list[str], tmp_path: Path) -> None:
    seen = replace(WRITTEN, is_seen=True)
    assert steps(tree(tmp_path, address=LAN, ttl=ttl), SEEN, seen) == due


def test_a_pair_counts_where_the_file_wants_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The site's own certs_dir comes before that of the file."""
    wanted, own = tree(tmp_path), tree(tmp_path, certs_dir=str(tmp_path / "own"))
    missing = "there is no certificate yet"
    publish(tmp_path / "certs")
    assert missing not in planned(tmp_path, wanted, capfd)
    assert missing in planned(tmp_path, own, capfd)
    publish(tmp_path / "own")
    assert missing not in planned(tmp_path, own, capfd)
    assert missing in planned(tmp_path, wanted | {"certs_dir": str(tmp_path / "elsewhere")}, capfd)


# --- the rest -----------------------------------------------------------------------------------------------


def edges(zones: Zones) -> Edges:
    """Build a world in which only the account at Aliyun DNS is asked anything."""
    clock = FakeClock(EPOCH)
    return Edges(clock, NameServers((), clock), lambda _: zones, FakeContainers())


@pytest.mark.parametrize("mode", ["0600", "0640"])
def test_a_key_is_published_with_the_mode_of_the_file(mode: str, tmp_path: Path) -> None:
    config = parsed(tree(tmp_path) | {"key_mode": mode})
    bench = Workbench(config, config.sites[0], edges(cast(Zones, None)), Intent())
    facts = SEEN.published.facts
    assert facts is not None
    bench.store.publish(b"chain", b"key", facts, Origin(DIRECTORY, "", "ec256", EPOCH), EPOCH)
    key = (tmp_path / "certs" / f"{DOMAIN}.key").resolve()
    assert f"{key.stat().st_mode & 0o7777:04o}" == mode


class CrowdedZones:
    """An account that answers slowly enough for all who may ask at a time to be there together."""

    def __init__(self, expected: int) -> None:
        self.most = 0
        self._inside = 0
        self._expected = expected
        self._changed = threading.Condition()

    def find(self, fqdn: str) -> str:
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._expected, timeout=60)
            # One too many would come now.
            self._changed.wait_for(lambda: self.most > self._expected, timeout=0.1)
            self._inside -= 1
        raise DnsRefused(f"no zone for {fqdn!r}")

    def open(self, name: str) -> FakeZone:
        raise AssertionError("no zone was found")


@pytest.mark.parametrize("parallel", [1, 3])
def test_as_many_sites_talk_at_a_time_as_the_file_allows(parallel: int, tmp_path: Path) -> None:
    domains = [f"box{i}.sweetlove.test" for i in range(5)]
    for domain in domains:
        publish(tmp_path / "certs", domain, EPOCH)
    wanted = tree(tmp_path) | {"parallel": parallel}
    wanted["sites"] = [{"domain": domain, "address": LAN} for domain in domains]
    config, zones = parsed(wanted), CrowdedZones(parallel)
    outcomes = act.run(config, config.sites, edges(zones), Intent())
    assert [outcome.state for outcome in outcomes] == ["failing"] * 5
    assert zones.most == parallel
