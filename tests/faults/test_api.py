"""Faults of the Aliyun DNS API, in the whole chain: a real run, the real emulator behind the fault proxy."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from support import fault_proxy as faults
from support.bed import DOMAIN, KEY_SECRET, Bed, wait_until, write_secret
from support.fault_proxy import FaultProxy
from support.invariants import assert_invariants

from certbotless.sandbox.alidns import Fault

OURS = "_acme-challenge.devbox"


def calls(bed: Bed, action: str) -> list[str]:
    """Return how the calls of an action ended."""
    return [call.code for call in bed.dns.calls if call.action == action]


@pytest.mark.row(28, 30, 90)
@pytest.mark.parametrize(
    "codes",
    [
        ["Throttling.User", "LastOperationNotFinished"],
        ["RecordForbidden.DNSChange", "DnsSystemBusyness", "Rejected.Throttling"],
    ],
)
def test_what_the_api_asks_to_send_again_is_no_failure_of_the_order(bare: Bed, codes: list[str]) -> None:
    """Of the A record, of the TXT record, and of its deletion."""
    for action in ("DescribeSubDomainRecords", "AddDomainRecord", "DeleteDomainRecord"):
        for code in codes:
            bare.dns.fail(action, Fault("error", code=code))
    bare.ok("--once")
    assert bare.orders() == 1
    assert [call.code for call in bare.dns.calls if call.code != "OK"] == codes * 3
    assert_invariants(bare)


@pytest.mark.row(29)
def test_a_change_whose_answer_is_lost_is_made_once(bare: Bed, api_proxy: FaultProxy) -> None:
    """Of the A record, then of the TXT record, then of its deletion: each in another way."""
    api_proxy.at("POST", "AddDomainRecord", faults.dropped(after_change=True))
    api_proxy.at("POST", "AddDomainRecord", faults.reset(after_change=True), nth=2)
    api_proxy.at("POST", "DeleteDomainRecord", faults.cut())
    bare.ok("--once")
    assert calls(bare, "AddDomainRecord") == ["OK", "DomainRecordDuplicate"] * 2
    assert calls(bare, "DeleteDomainRecord") == ["OK", "DomainRecordNotBelongToUser"]
    assert len(bare.dns.records("devbox", "A")) == 1
    assert bare.orders() == 1
    assert_invariants(bare)


@pytest.mark.row(31)
def test_an_answer_that_is_none_is_asked_for_again(bare: Bed, api_proxy: FaultProxy) -> None:
    page = faults.answer(500, b"<html>Bad gateway</html>", {"Content-Type": "text/html"})
    api_proxy.at("POST", "AddDomainRecord", page)
    api_proxy.at("POST", "AddDomainRecord", faults.answer(200, b"null"))
    api_proxy.at("POST", "DeleteDomainRecord", faults.answer(200, b'{"RequestId": '))
    bare.ok("--once")
    assert bare.orders() == 1
    assert_invariants(bare)


@pytest.mark.row(32)
@pytest.mark.parametrize(
    ("code", "cure"),
    [
        ("InvalidAccessKeyId.Inactive", "enable the key in the RAM console"),
        ("Forbidden.RAM", "grant the RAM user"),
        # The secret of this test is wrong: nothing is put in place of the service's answer.
        ("SignatureDoesNotMatch", "correct aliyun.access_key_secret"),
    ],
)
def test_a_key_that_may_not_costs_no_order_and_a_corrected_one_is_tried_at_once(
    bare: Bed, code: str, cure: str
) -> None:
    secret = bare.home / "secret"
    write_secret(secret, f"{KEY_SECRET}-wrong\n")
    bare.config["aliyun"]["access_key_secret"] = f"file:{secret}"
    if code != "SignatureDoesNotMatch":
        bare.dns.fail("DescribeSubDomainRecords", Fault("error", code=code), times=100)
    line = bare.refused("--once")
    assert code in line
    assert cure in line
    assert "next try" in line
    # Without the record, the next run looks whether the order could do with the key.
    assert code in bare.refused("--once")
    asked = len(bare.dns.calls)
    # Then the schedule keeps both from being tried with the same one.
    assert code in bare.refused("--once")
    assert (len(bare.dns.calls), bare.ca.requests()) == (asked, [])

    secret.write_text(f"{KEY_SECRET}\n")
    bare.dns.forget_faults()
    bare.ok("--once")
    assert bare.orders() == 1
    assert_invariants(bare)


@pytest.mark.row(35, 37)
def test_what_others_have_at_our_names_is_left_alone(bare: Bed) -> None:
    """A disabled record, one of another line, and another machine's value of the same challenge."""
    wanted = bare.dns.add("devbox", "A", "10.79.40.1")
    spare = bare.dns.add("devbox", "A", "10.79.40.2")
    disabled = bare.dns.add("devbox", "A", "10.79.40.3", status="DISABLE")
    telecom = bare.dns.add("devbox", "A", "10.79.40.4", line="telecom")
    bare.ok("--once")
    records = {record.record_id: record for record in bare.dns.records("devbox", "A")}
    assert records.pop(disabled.record_id) == disabled
    assert records.pop(telecom.record_id) == telecom
    [ours] = records.values()
    assert ours.record_id in (wanted.record_id, spare.record_id)
    assert_invariants(bare)


@pytest.mark.row(36)
def test_a_ttl_below_the_plan_becomes_the_least_one(bare: Bed) -> None:
    bare.config["sites"] = [bare.site(ttl=60, deploy=[])]
    done = bare.run("--once")
    assert done.returncode == 0, done.stdout
    assert "record.ttl_raised" in done.stderr
    assert bare.dns.records("devbox", "A")[0].ttl_s == 600
    before = len(bare.dns.calls)
    bare.ok("--once")
    assert len(bare.dns.calls) == before
    assert_invariants(bare)


@pytest.mark.row(37)
def test_two_machines_that_prove_one_name_at_once_leave_each_other_alone(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    """Both values stand together; each run deletes its own, and both get their certificate."""
    is_seen = threading.Event()

    def held(exchange: faults.Exchange) -> None:
        is_seen.wait(60)
        exchange.send(exchange.forward())

    ca_proxy.at("POST", "/chalZ/", held, times=2)
    bare.config["sites"] = [bare.site(address="none", deploy=[])]
    bare.write()
    other = yaml.safe_load(bare.file.read_text())
    other |= {"state_dir": str(bare.home / "other-state"), "certs_dir": str(bare.home / "other-certs")}
    other_file = bare.home / "other.yaml"
    other_file.write_text(yaml.safe_dump(other))
    theirs = [sys.executable, "-m", "certbotless", "--config", str(other_file), "--once"]
    commands = [bare.command("--once"), theirs]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    wait_until(lambda: len(bare.dns.records(OURS, "TXT")) == 3, "both values and the foreign one stand")
    is_seen.set()
    bare.said += [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], bare.said
    certs = [Path(config["certs_dir"]) / f"{DOMAIN}.pem" for config in (bare.config, other)]
    assert certs[0].read_bytes() != certs[1].read_bytes()
    assert calls(bare, "DeleteDomainRecord") == ["OK", "OK"]
    assert bare.ca.orders_made() == 2
    # The ledger of this machine knows of its own order alone.
    (bare.state / "ledger.jsonl").write_text(
        "".join((Path(config["state_dir"]) / "ledger.jsonl").read_text() for config in (bare.config, other))
    )
    assert_invariants(bare)


@pytest.mark.row(38)
def test_a_record_that_cannot_be_deleted_keeps_no_certificate_back(bare: Bed) -> None:
    """It is published all the same; what is left is told, and deleted by the next run that can."""
    bare.dns.fail("DeleteDomainRecord", Fault("error", code="Forbidden.RAM"), times=100)
    done = bare.run("--once")
    assert "txt.left" in done.stderr
    assert bare.published()
    assert len(bare.dns.records(OURS, "TXT")) == 2
    journal = json.loads((bare.state / "sites" / f"{DOMAIN}.json").read_text())["txt"]
    assert len(journal) == 1

    bare.dns.forget_faults()
    # With a corrected right, which the file does not show, the schedule would keep it waiting.
    bare.config["dns"]["propagation_timeout"] = "9m"
    bare.ok("--once")
    assert bare.orders() == 1
    assert_invariants(bare)
