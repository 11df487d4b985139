"""What the doctor makes of what a CA says, and the small things that no stand-in shows."""

import json
import re
from dataclasses import replace
from pathlib import Path

import dns.rcode
import pytest
from support.fakes import EPOCH, FakeClock, FakeZone, ZoneServer
from support.languages import chinese
from support.listeners import listening
from support.scripted_ca import ScriptedCa
from support.views import LISTED, NOTHING, failure, on_three, site, view

from certbotless.cli.doctor import addresses, authority, finding, naming, service
from certbotless.cli.doctor.finding import Case, Finding
from certbotless.config import load
from certbotless.model.certificate import Published
from certbotless.model.ledger import Entry
from certbotless.model.memory import CaTrouble
from certbotless.model.records import Record
from certbotless.model.view import View
from certbotless.state.site import Accounts
from certbotless.world import registry
from certbotless.world.acme import keys
from certbotless.world.acme.account import CaView, look_at_ca
from certbotless.world.dns.nameservers import NameServers
from certbotless.world.dns.query import Server

ZONE = "sweetlove.test"
DOMAIN = f"devbox.{ZONE}"
DIRECTORY, ACCOUNT = "https://ca.test/directory", "https://ca.test/account/1"
SEEN = CaView("valid", ACCOUNT, ("classic", "shortlived"), ("ca.test",), False, None)


def case(**acme: str) -> Case:
    fields = {
        "acme": {"directory": DIRECTORY, **acme},
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "sites": [{"domain": DOMAIN, "names": [f"*.{DOMAIN}"], "zone": ZONE}],
    }
    config = load.parse(json.dumps(fields).encode(), "test.json")
    return Case(config, FakeClock(), lambda _: None)


def only(found: Case) -> Finding:
    (one,) = found.findings
    return one


# --- the CA -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standing", "needs_binding", "level"),
    [
        ("valid", True, "ok"),
        ("none", False, "ok"),
        ("none", True, "fail"),
        ("gone", False, "warn"),
        ("closed", False, "warn"),
    ],
)
def test_an_account_is_as_the_ca_has_it(standing: str, needs_binding: bool, level: str) -> None:
    found = case()
    authority.account(found, found.config.cas[0], CaView(standing, "", None, (), needs_binding, None))  # type: ignore[arg-type]
    assert only(found).level == level


def test_a_profile_is_one_that_the_ca_lists_if_it_lists_any() -> None:
    for name, seen, level in (
        ("shortlived", SEEN, "ok"),
        ("fast", SEEN, "fail"),
        ("fast", CaView("valid", ACCOUNT, (), (), False, None), "fail"),
    ):
        found = case(profile=name)
        authority.profile(found, found.config.cas[0], seen)
        assert only(found).level == level
    silent = case(profile="fast")
    authority.profile(silent, silent.config.cas[0], CaView("valid", ACCOUNT, None, (), False, None))
    assert silent.findings == []


PERMITS = [
    [],
    ['0 issue "ca.test"'],
    ['0 issue "CA.test"', '0 issue "other.test"'],
    [f'0 issue "ca.test; validationmethods=dns-01; accounturi={ACCOUNT}"'],
    ['0 issue "ca.test; validationmethods=http-01,dns-01"'],
    ['0 issue "ca.test"', '0 issuewild "ca.test"'],
    ['0 iodef "mailto:a@b.test"'],
]
STARS_FORBIDDEN = ['0 issue "ca.test"', '0 issuewild ";"']
FORBIDS = [
    ['0 issue ";"'],
    ['0 issue "other.test"'],
    ['0 issue "ca.test; validationmethods=http-01"'],
    [f'0 issue "ca.test; accounturi={ACCOUNT}0"'],
    STARS_FORBIDDEN,
    ['0 issuewild "ca.test"', '0 issue "other.test"'],
]


@pytest.mark.parametrize(
    ("values", "level"),
    [(values, "ok") for values in PERMITS] + [(values, "fail") for values in FORBIDS],
)
@pytest.mark.parametrize("owner", [DOMAIN, ZONE], ids=["at the name", "above it"])
def test_caa_permits_this_ca_and_this_account(values: list[str], level: str, owner: str) -> None:
    """RFC 8659 and RFC 8657: the first set on the way up counts; a wildcard has a tag of its own."""
    found = case()
    (site,) = found.config.sites
    zone = FakeZone(ZONE, [Record(owner, "CAA", value, 600) for value in values])
    with ZoneServer(zone) as server:
        servers = configured(server.place)
        found.cas = [(found.config.cas[0], SEEN)]
        authority.caa(found, site, ZONE, servers)
    told = only(found)
    assert told.level == level
    tag = "issuewild" if values == STARS_FORBIDDEN else "issue"
    pinned = owner if level == "fail" else DOMAIN
    # Of a CA that is named already, the account or the method is another one.
    is_named = level == "ok" or any(value.startswith(f'0 {tag} "ca.test') for value in values)
    parameters = f"; validationmethods=dns-01; accounturi={ACCOUNT}" if is_named else ""
    assert f'{pinned} CAA 0 {tag} "ca.test{parameters}"' in f"{told.text} {told.cure}"


def test_caa_that_no_name_server_tells_permits_nothing() -> None:
    """RFC 8659 section 3: without an answer a CA must not issue. The others are answered all the same."""
    found = case()
    (site,) = found.config.sites
    with ZoneServer(FakeZone(ZONE)) as server:
        server.rcode = dns.rcode.SERVFAIL
        found.cas = [(found.config.cas[0], SEEN)]
        authority.caa(found, site, ZONE, configured(server.place))
    assert (only(found).check, only(found).level) == ("CAA", "warn")
    assert only(found).text == f"no name server answers the question for the CAA records of {DOMAIN}"


def configured(place: str) -> tuple[Server, ...]:
    return NameServers([place], FakeClock()).of(ZONE)


def test_the_orders_that_are_left_are_counted_for_these_names() -> None:
    for orders, level, words in (
        (0, "ok", "3 more orders"),
        (2, "ok", "1 more order may"),
        (3, "warn", "no order is made now"),
    ):
        found = case()
        (site,) = found.config.sites
        ledger = [Entry(EPOCH, "order", DIRECTORY, site.all_names)] * orders
        authority.limits(found, view(of=site, published=NOTHING), ledger)
        assert only(found).level == level
        assert words in only(found).text


# --- several addresses --------------------------------------------------------------------------------------


def of_addresses(shown: View) -> dict[str, Finding]:
    found = case()
    addresses.examine(found, shown)
    return {each.about.split()[0]: each for each in found.findings}


def test_each_address_of_a_list_is_tested() -> None:
    told = of_addresses(on_three(out=LISTED[2:], proved={LISTED[0]: True, LISTED[2]: False}))
    assert [(each.check, each.level) for each in told.values()] == [
        ("address", "ok"),
        ("address", "ok"),
        ("address", "warn"),
    ]
    assert told[LISTED[1]].text == "no target says what is served there: it always keeps its record"


def test_while_clients_may_wait_at_a_dead_address_the_doctor_says_so() -> None:
    told = of_addresses(on_three(proved={LISTED[0]: False, LISTED[1]: True, LISTED[2]: True}))
    assert told[LISTED[0]].level == "fail"
    assert "a client that takes it first waits, about 3 s where the machine is off" in told[LISTED[0]].text
    assert "virtual address (keepalived)" in told[LISTED[0]].cure
    all_off = of_addresses(on_three(proved=dict.fromkeys(LISTED, False)))
    assert {each.level for each in all_off.values()} == {"fail"}
    assert all("each keeps its record" in each.text for each in all_off.values())


@pytest.mark.parametrize(
    ("shown", "listed", "level"),
    [
        (LISTED, LISTED, "ok"),
        (LISTED[:1], LISTED, "warn"),
        (LISTED[:2], LISTED[:2], "fail"),
        ((), LISTED, "fail"),
        ((*LISTED, "10.79.40.9"), LISTED, "fail"),
    ],
)
def test_the_records_of_a_list_are_all_shown_or_some_of_them_by_weights(
    shown: tuple[str, ...], listed: tuple[str, ...], level: str
) -> None:
    found = case()
    (site,) = found.config.sites
    at_the_api = FakeZone(ZONE, [Record(DOMAIN, "A", value, 600) for value in listed])
    with ZoneServer(FakeZone(ZONE, [Record(DOMAIN, "A", value, 600) for value in shown])) as server:
        is_right = naming.record(found, site, DOMAIN, LISTED, configured(server.place), at_the_api)
    assert (only(found).level, is_right) == (level, level != "fail")
    assert ("weights" in only(found).cure) == (level == "warn")


# --- several CAs --------------------------------------------------------------------------------------------


def case_of_two(*directories: str, state_dir: Path) -> Case:
    fields = {
        "acme": [{"directory": directory} for directory in directories],
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "state_dir": str(state_dir),
        "sites": [{"domain": DOMAIN, "zone": ZONE}],
    }
    return Case(load.parse(json.dumps(fields).encode(), "test.json"), FakeClock(), lambda _: None)


def test_who_cannot_reach_one_ca_is_told_which_of_the_list_it_reaches(tmp_path: Path) -> None:
    nobody, nobody_either = "https://127.0.0.1:1/dir", "https://127.0.0.1:2/dir"
    with ScriptedCa(FakeZone(ZONE)) as ca:
        found = case_of_two(nobody, "https://there.test/dir", state_dir=tmp_path)
        there = replace(found.config.cas[1], directory=ca.directory)
        found.config = replace(found.config, acme=(found.config.cas[0], there))
        seen = authority.examine(found, {})
    assert [acme.url for acme, _ in seen] == [ca.directory]
    told = {(each.check, each.about): each for each in found.findings}
    assert told["CA", nobody].level == "fail"
    reached = f"; this machine reaches {ca.directory}: put it before {nobody} in acme"
    assert told["CA", nobody].cure.endswith(reached)
    assert told["CA", ca.directory].level == told["account", ca.directory].level == "ok"
    with ScriptedCa(FakeZone(ZONE)) as ca:
        found.config = replace(
            found.config, acme=(replace(there, directory=ca.directory), found.config.cas[0])
        )
        authority.examine(found, {})
    assert found.findings[-1].cure.endswith(f"; this machine reaches {ca.directory}")
    found = case_of_two(nobody, nobody_either, state_dir=tmp_path)
    assert authority.examine(found, {}) == []
    assert all("reaches none of the CAs in acme" in each.cure for each in found.findings)


def test_an_account_that_could_not_be_made_ahead_fails_with_its_cause(tmp_path: Path) -> None:
    found = case_of_two("https://a.test/dir", "https://b.test/dir", state_dir=tmp_path)
    trouble = CaTrouble(at=EPOCH, what="the MAC is wrong", hint="copy it again", since=EPOCH)
    none = CaView("none", "", None, (), False, None)
    for known, level in ((trouble, "fail"), (None, "ok")):
        found.findings.clear()
        authority.account(found, found.config.cas[1], none, known)
        assert only(found).level == level
    authority.account(found, found.config.cas[1], none, trouble)
    assert found.findings[-1].text == "there is none, and none can be made: the MAC is wrong"
    assert found.findings[-1].cure == "copy it again"


def test_an_account_that_was_refused_was_never_there(tmp_path: Path) -> None:
    """Its key is kept before the CA gets to know it. One that had a URL is gone."""
    with ScriptedCa(FakeZone(ZONE)) as ca:
        acme = replace(case().config.cas[0], directory=ca.directory)
        accounts = Accounts(tmp_path, acme.url)
        with accounts.locked(FakeClock(), 1):
            accounts.save_key(keys.key_to_pem(keys.new_key()))
        assert look_at_ca(acme, accounts, FakeClock()).standing == "none"
        accounts.save_url(ca.url("account/1"))
        assert look_at_ca(acme, accounts, FakeClock()).standing == "gone"


def test_caa_and_limits_are_tested_for_each_ca(tmp_path: Path) -> None:
    """CAA allows the first alone; what to add has the name that the second one publishes."""
    found = case_of_two("https://a.test/dir", "https://b.test/dir", state_dir=tmp_path)
    (site,) = found.config.sites
    first, other = (CaView("none", "", None, (name,), False, None) for name in ("a.test", "b.test"))
    found.cas = list(zip(found.config.cas, (first, other), strict=True))
    zone = FakeZone(ZONE, [Record(DOMAIN, "CAA", '0 issue "a.test"', 600)])
    with ZoneServer(zone) as server:
        authority.caa(found, site, ZONE, configured(server.place))
    authority.limits(found, view(of=site, published=NOTHING), [])
    told = [(each.check, each.about.partition(" at ")[2], each.level) for each in found.findings]
    urls = ["https://a.test/dir", "https://b.test/dir"]
    assert told == [
        *(("CAA", url, level) for url, level in zip(urls, ("ok", "fail"), strict=True)),
        *(("limits", url, "ok") for url in urls),
    ]
    assert found.findings[1].cure.endswith(f'{DOMAIN} CAA 0 issue "b.test"')
    with chinese():
        authority.limits(found, view(of=site, published=NOTHING), [])
    assert found.findings[-1].about == f"{DOMAIN}（{urls[1]}）"


# --- lines --------------------------------------------------------------------------------------------------


def test_a_finding_is_one_line_and_its_cure_the_end_of_it() -> None:
    found = case()
    found.fail("A record", DOMAIN, "shows\n10.0.0.4", "certbotless --once")
    assert only(found).line == f"fail  A record {DOMAIN}: shows\\n10.0.0.4; fix: certbotless --once"
    found.ok("clock", "", "0 s ahead of the CA's")
    found.warn("daemon", "", "not running", "start it")
    assert found.findings[1].line == "ok    clock: 0 s ahead of the CA's"
    assert finding.summary(found.findings) == "1 ok, 1 warning, 1 failed"


def test_a_drain_time_is_written_as_go_writes_it() -> None:
    for text, seconds in {
        "": 0,
        "0s": 0,
        "20s": 20,
        "1m30s": 90,
        "1.5h": 5400,
        "500ms": 0.5,
        "soon": 0,
        # An image may say anything.
        f"{'9' * 30}h": 0,
        f"{'9' * 400}h": 0,
        "1" * 200_000: 0,
    }.items():
        assert registry.drain_of({registry.DRAIN: text}).total_seconds() == seconds


def test_the_page_has_each_check_and_no_other() -> None:
    package = Path(service.__file__).parent
    calls = re.findall(
        r'\.(?:ok|warn|fail|fail_by)\(\s*(?:check|f?"([^"]+)")',
        "".join(path.read_text() for path in package.glob("*.py")),
    )
    by_variable = {"A record", "AAAA record", "public resolver", "state_dir", "certs_dir", "delegation"}
    named = {name for name in calls if name} | by_variable
    page = (package.parents[2] / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == named


# --- targets without a container ----------------------------------------------------------------------------


def of_command(port: str, program: str = "/bin/true") -> tuple[Case, View]:
    """Return an examination of a site with a command and its port, and what is seen of it."""
    found = view(of=site(deploy=f'[{{command: ["{program}", "{{domain}}"], port: "{port}"}}]'))
    return case(), found


def examined(found: Case, of: View) -> list[tuple[str, str, str]]:
    targets = service.Targets(found)
    for target in of.site.deploy:
        targets.examine(of, target)
        targets.examine(of, target)
    return [(each.check, each.level, each.text) for each in found.findings if each.check == "command"]


def test_the_program_of_a_command_is_there_and_may_be_run(tmp_path: Path) -> None:
    """It is reported once, whatever else it is for."""
    program = tmp_path / "carry"
    assert examined(*of_command("127.0.0.1:1", str(program))) == [("command", "fail", "cannot be run here")]
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    [(_, level, text)] = examined(*of_command("127.0.0.1:1", str(program)))
    assert (level, "may not run it" in text, "mode 0644" in text) == ("fail", True, True)
    program.chmod(0o755)
    assert examined(*of_command("127.0.0.1:1", str(program))) == [("command", "ok", "can be run")]


def test_why_another_machine_is_silent_is_said() -> None:
    """Its port is closed, or what listens there does not speak TLS."""
    found, seen = of_command("127.0.0.1:1")
    examined(found, seen)
    assert found.findings[-1].text == "no TLS answer at 127.0.0.1:1 (Connection refused)"
    with listening(lambda connection: connection.close()) as port:
        found, seen = of_command(f"127.0.0.1:{port}")
        examined(found, seen)
    assert "its host takes the connection" in found.findings[-1].text


def test_a_machine_that_cannot_be_reached_is_said_before_there_is_a_certificate() -> None:
    found, seen = of_command("host.invalid:443")
    examined(found, replace(seen, seen=replace(seen.seen, published=Published(None, None))))
    last = found.findings[-1]
    assert (last.check, last.level) == ("served", "warn")
    assert last.text.startswith("host.invalid:443 does not answer: ")
    found, seen = of_command("127.0.0.1:1")
    examined(found, replace(seen, seen=replace(seen.seen, published=Published(None, None))))
    assert [each.check for each in found.findings] == ["command"]


def test_a_first_certificate_that_failed_is_cured_by_what_the_order_wants_first() -> None:
    found = case()
    lacking = failure("there is no container 'registry'", hint="create it")
    assert not service.certificate(found, view(published=NOTHING, failures={"order": lacking}))
    assert only(found).text == "none is published yet (the last order: there is no container 'registry')"
    assert only(found).cure == "create it; then certbotless --once devbox.sweetlove.top"
