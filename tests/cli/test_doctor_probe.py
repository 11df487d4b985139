"""`certbotless doctor --probe` against the stand-in: what it asks, says, leaves and hides."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dns.rcode
import pytest
from support.fakes import FakeClock, HttpServer, Reply

from certbotless.base.times import rfc3339
from certbotless.cli.doctor.probe import LABEL, VALUE, probe
from certbotless.cli.doctor.shape import code_of, shape_of
from certbotless.config import load
from certbotless.sandbox import ram
from certbotless.sandbox.alidns import ACCOUNT_ID, AlidnsEmulator, Fault, Unsure

ZONE, CHINESE = "sweetlove.test", "xn--fsqu00a.com"
KEY_ID, SECRET = "LTAI5tExampleKeyId", "example+secret/of=a+key"
ID = re.compile(r"[0-9A-F]{8}-|\d{12,}")


@dataclass
class Bench:
    """A service with zones, and the configuration of one who asks it."""

    dns: AlidnsEmulator
    state: Path
    clock: FakeClock = field(default_factory=FakeClock)
    report: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def run(self, *domains: str, **aliyun: str) -> bool:
        """Probe, and return whether all was asked and nothing is left."""
        fields = {
            "aliyun": {
                "access_key_id": KEY_ID,
                "access_key_secret": SECRET,
                "endpoint": self.dns.endpoint,
                **aliyun,
            },
            "dns": {"nameservers": list(self.dns.nameservers)},
            "state_dir": str(self.state),
            "certs_dir": str(self.state / "certs"),
            "sites": [{"domain": domain} for domain in domains or [f"devbox.{ZONE}"]],
        }
        config = load.parse(json.dumps(fields).encode(), "test.json")
        return probe(config, self.clock, self.report.append, self.told.append)

    def answer(self, number: int) -> str:
        """Return the line that answers a question."""
        [line] = [line for line in self.report if line.startswith(f"{number}. ")]
        return line

    @property
    def ours(self) -> list[str]:
        """The values of what is at the name of the probe."""
        return [record.value for record in self.dns.records(LABEL)]


@contextmanager
def benched(tmp_path: Path, **options: Any) -> Iterator[Bench]:
    with AlidnsEmulator([ZONE, CHINESE], access_key_id=KEY_ID, access_key_secret=SECRET, **options) as dns:
        yield Bench(dns, tmp_path / "state")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with benched(tmp_path) as made:
        yield made


def test_one_record_is_made_listed_and_deleted_and_every_question_is_answered(bench: Bench) -> None:
    assert bench.run()
    assert bench.ours == []
    changes = [c for c in bench.dns.calls if not c.action.startswith("Describe")]
    assert [(c.action, c.code) for c in changes] == [
        ("AddDomainRecord", "QuotaExceeded.TTL"),
        ("AddDomainRecord", "OK"),
        ("DeleteDomainRecord", "OK"),
    ]
    assert {c.parameters["RR"] for c in changes[:2]} == {LABEL}
    assert "the TXT record is listed 1 times as it was sent, of 1" in bench.report
    assert (
        bench.answer(1) == "1. names: a zone in A-labels: not asked; in answers: DomainName ASCII, RR ASCII"
    )
    assert bench.answer(2).endswith("not asked")
    assert bench.answer(3) == "3. pages: PageSize=500: InvalidParameter"
    assert bench.answer(4).startswith(
        "4. name servers: 2 of 2 addresses showed the record, after 0.0 to 0.0 s;"
    )
    assert bench.answer(4).endswith("50 of 50 questions in a row to one address were answered")
    assert bench.answer(5) == "5. TTL of 60: refused; the range is 600 to 86400"


def test_a_service_that_does_otherwise_is_told_so(tmp_path: Path) -> None:
    with benched(tmp_path, min_ttl_s=1, unsure=Unsure(largest_page=500, answers_unicode=False)) as bench:
        bench.dns.add("仓库", "A", "10.0.0.1", zone=CHINESE)
        assert bench.run(f"registry.{CHINESE}")
    assert bench.answer(1).endswith("in answers: DomainName in A-labels, RR ASCII and in A-labels")
    assert bench.answer(3) == "3. pages: PageSize=500: OK"
    assert bench.answer(5) == "5. TTL of 60: OK"


def test_names_in_chinese_are_asked_in_both_forms(bench: Bench) -> None:
    """A zone, and a label below an ASCII zone."""
    bench.dns.add("仓库", "A", "10.0.0.1")
    assert bench.run(f"registry.{CHINESE}", f"仓库.{ZONE}")
    asked = {(c.parameters.get("DomainName"), c.parameters.get("SubDomain")) for c in bench.dns.calls}
    assert {
        ("例子.com", None),
        (CHINESE, None),
        (CHINESE, f"{LABEL}.{CHINESE}"),
        (ZONE, f"仓库.{ZONE}"),
        (ZONE, f"xn--5mqv79a.{ZONE}"),
    } <= asked
    names = [line for line in bench.report if line.startswith("1. ")]
    assert names == [
        "1. names: a zone in A-labels: not asked; in answers: DomainName ASCII, RR ASCII and in Unicode",
        "1. names: a zone in A-labels: InvalidDomainName.NoExist;"
        " in answers: DomainName in Unicode, RR ASCII",
    ]
    [policy] = [line for line in bench.report if line.startswith("2. ") and "not asked" not in line]
    assert "which of the two lines" in policy
    assert bench.ours == []


def test_the_name_servers_are_watched_for_a_minute_each_address_by_itself(bench: Bench) -> None:
    bench.dns.set_delay(1, 3600)
    bench.dns.set_rcode(0, dns.rcode.REFUSED)
    bench.clock.on_sleep = lambda: bench.clock.advance(20)
    assert bench.run()
    assert "name server 1 (given in the file): shown not within 60 s (REFUSED)" in bench.report
    assert "name server 2 (given in the file): shown not within 60 s" in bench.report
    assert bench.answer(4) == (
        "4. name servers: 0 of 2 addresses showed the record;"
        " 0 of 3 questions in a row to one address were answered"
    )


# --- nothing is left, nothing is taken ----------------------------------------------------------------------


def test_one_that_is_stopped_takes_its_record_away(bench: Bench) -> None:
    bench.dns.set_delay(0, 3600)
    bench.clock.on_sleep = bench.clock.stop
    assert not bench.run()
    assert bench.report[-1] == "ended: Interrupted"
    assert "AddDomainRecord" in {call.action for call in bench.dns.calls}
    assert bench.ours == []


@pytest.mark.parametrize("fault", [Fault("drop", after_change=True), Fault("html", after_change=True)])
def test_a_record_whose_answer_never_came_is_taken_away(bench: Bench, fault: Fault) -> None:
    bench.clock = FakeClock(least_sleep_s=100)
    bench.dns.fail("AddDomainRecord", fault, times=50)
    assert not bench.run()
    assert bench.ours == []


def test_a_record_that_cannot_be_deleted_is_named_to_the_person_and_not_in_the_report(bench: Bench) -> None:
    bench.dns.fail("DeleteDomainRecord", Fault("error", "Forbidden.RAM"), times=50)
    assert not bench.run()
    assert len(bench.ours) == 1
    assert "the TXT record could not be deleted" in bench.report
    assert any(f"{LABEL}.{ZONE}" in line and "Alidns console" in line for line in bench.told)
    assert ZONE not in "\n".join(bench.report)

    # The next one finds it: not yet, for it may be at work; then it goes first.
    bench.dns.forget_faults()
    assert not bench.run()
    assert len(bench.ours) == 1
    bench.clock.advance(timedelta(minutes=20).total_seconds())
    assert bench.run()
    assert "the TXT record of an earlier probe is deleted" in bench.report
    assert bench.ours == []


FOREIGN: dict[str, Callable[[Bench], tuple[str, str]]] = {
    "a TXT record": lambda bench: ("TXT", "of somebody else"),
    "an alias": lambda bench: ("CNAME", "elsewhere.test."),
    "a probe at work": lambda bench: ("TXT", f"{VALUE}{rfc3339(bench.clock.now())}"),
    "nearly a probe": lambda bench: ("TXT", f"{VALUE}2026-01-01"),
    "one of tomorrow": lambda bench: ("TXT", f"{VALUE}{rfc3339(bench.clock.now() + timedelta(days=1))}"),
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
def test_where_a_record_of_others_is_nothing_is_made(
    bench: Bench, foreign: Callable[[Bench], tuple[str, str]]
) -> None:
    type_, value = foreign(bench)
    kept = bench.dns.add(LABEL, type_, value)
    assert not bench.run()
    assert bench.dns.records() == [kept]
    assert {call.action for call in bench.dns.calls if call.code == "OK"} == {
        "DescribeDomainRecords",
        "DescribeSubDomainRecords",
    }
    assert bench.answer(4) == "4. name servers: not asked: DnsError"
    assert bench.answer(5) == "5. TTL of 60: not asked"
    assert value not in "\n".join(bench.report)


# --- what it hides ------------------------------------------------------------------------------------------

READ_ONLY = {
    "Version": "1",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["alidns:Describe*"],
            "Resource": [f"acs:alidns:*:{ACCOUNT_ID}:domain/{ZONE}"],
        }
    ],
}


@pytest.mark.parametrize("is_read_only", [False, True])
def test_the_report_has_no_name_no_value_no_secret_and_no_id(bench: Bench, is_read_only: bool) -> None:
    """Where a right is missing the service says whose account it is."""
    bench.dns.add("project-x", "CNAME", "customer.example.")
    bench.dns.add("vpn", "A", "203.0.113.77")
    bench.dns.add("@", "TXT", "verification=of-somebody")
    if is_read_only:
        bench.dns.attach_policy(ram.parse(json.dumps(READ_ONLY)).permits)
    assert bench.run() != is_read_only
    assert ("Forbidden.RAM" in "\n".join(bench.report)) == is_read_only
    text = "\n".join(bench.report)
    withheld = [
        *(KEY_ID, SECRET, ACCOUNT_ID, ZONE, "devbox", LABEL, "project-x", "customer", "vpn"),
        *("203.0.113.77", "verification", "127.0.0.1", "made and deleted", "SubUser", "Signature"),
    ]
    assert [word for word in withheld if word.lower() in text.lower()] == []
    assert ID.search(text) is None
    # It has what a report is for.
    assert "DescribeDomainRecords PageSize=100: HTTP 200, OK, {DomainRecords: {Record: [3 of {" in text
    assert "TTL: number" in text


def test_an_api_that_cannot_be_reached_ends_it_with_its_reason_for_the_person_alone(bench: Bench) -> None:
    bench.clock = FakeClock(least_sleep_s=100)
    assert not bench.run(endpoint="http://127.0.0.1:1")
    assert bench.report[-1] == "ended: NoAnswer"
    assert any("no connection" in line for line in bench.told)


def test_what_a_hostile_service_puts_into_keys_and_codes_is_not_shown(bench: Bench) -> None:
    body = {"RequestId": "A-1", "Code": "see evil.example", "evil.example": 1, "TotalCount": "evil.example"}
    reply = Reply(400, json.dumps(body | {"PageSize": 10**20, "x": [None, True, 1.5]}).encode())
    with HttpServer(lambda _: reply) as server:
        bench.clock = FakeClock(least_sleep_s=100)
        bench.run(endpoint=server.url)
    assert "evil" not in "\n".join(bench.report)
    assert shape_of({"x": [None, True, 1.5], "PageSize": 10**20, "a b": {}}) == (
        "{?: {}, PageSize: number, x: [3 of bool or null or number]}"
    )
    assert code_of({"Code": "see evil.example"}) == "a code of another form"
