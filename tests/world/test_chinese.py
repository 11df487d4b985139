"""Names in Chinese: A-labels inside the program and in DNS, their own script at the API of Aliyun DNS."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from support.fakes import FakeClock, HttpServer, Reply

from certbotless.base.errors import DnsRefused, DnsUnavailable, ZoneNotFound
from certbotless.base.names import a_labels, normalise, u_labels
from certbotless.model.memory import TxtValue
from certbotless.model.records import Record, plan_changes
from certbotless.sandbox import ram
from certbotless.sandbox.alidns import ACCOUNT_ID, AlidnsEmulator, Fault, Unsure
from certbotless.state.site import SiteFile
from certbotless.world.acme.challenge import presented, sweep
from certbotless.world.credentials.access import ApiAccess, Key
from certbotless.world.dns import ram_policy
from certbotless.world.dns.alidns import AlidnsAccount

KEY_ID, SECRET = "LTAI5tExampleKeyId", "example+secret/of=a+key"
# A zone in Chinese, and a Chinese name below a zone that is not.
IN_CHINESE, IN_ASCII = normalise("例子.com"), "example.com"
NAMES = [(f"registry.{IN_CHINESE}", IN_CHINESE), (normalise("仓库.example.com"), IN_ASCII)]
NAME, ZONE = NAMES[0]
BOTH = pytest.mark.parametrize(("fqdn", "zone"), NAMES, ids=["a zone in Chinese", "a label in Chinese"])


@pytest.fixture(params=[True, False], ids=["answers in Unicode", "answers in A-labels"])
def emulator(request: pytest.FixtureRequest) -> Iterator[AlidnsEmulator]:
    unsure = Unsure(answers_unicode=request.param)
    with AlidnsEmulator(
        [IN_CHINESE, IN_ASCII], access_key_id=KEY_ID, access_key_secret=SECRET, unsure=unsure
    ) as emulator:
        yield emulator


@pytest.fixture
def account(emulator: AlidnsEmulator) -> AlidnsAccount:
    return AlidnsAccount(ApiAccess(emulator.endpoint, Key(KEY_ID, SECRET)), FakeClock())


def values(emulator: AlidnsEmulator) -> list[str]:
    return [record.value for record in emulator.records()]


@pytest.mark.row(78, 82)
@pytest.mark.parametrize("is_empty", [True, False], ids=["no record in it", "a record in it"])
@BOTH
def test_the_zone_is_found(
    emulator: AlidnsEmulator, account: AlidnsAccount, fqdn: str, zone: str, is_empty: bool
) -> None:
    if not is_empty:
        emulator.add("仓库", "A", "10.0.0.1", zone=zone)
    assert account.find(fqdn) == zone
    assert account.find(f"_acme-challenge.{fqdn}") == zone


@pytest.mark.row(78, 82)
@BOTH
def test_a_record_is_added_listed_moved_and_deleted(
    emulator: AlidnsEmulator, account: AlidnsAccount, fqdn: str, zone: str
) -> None:
    """And there is one record at any time."""
    opened = account.open(zone)
    wanted = Record(fqdn, "A", "10.0.0.1", 600)
    record_id = opened.add(wanted)
    [found] = opened.records(fqdn)
    assert found == Record(fqdn, "A", "10.0.0.1", 600, record_id)
    assert opened.add(wanted) == record_id  # as a duplicate
    [change] = plan_changes([found], Record(fqdn, "A", "10.0.0.2", 600))
    assert change.new is not None
    opened.update(change.new)
    opened.update(change.new)  # a duplicate, by itself
    assert values(emulator) == ["10.0.0.2"]
    opened.delete(record_id)
    assert opened.records(fqdn) == []


@pytest.mark.row(78, 82)
@BOTH
def test_an_addition_whose_answer_was_lost_is_found_again(
    emulator: AlidnsEmulator, account: AlidnsAccount, fqdn: str, zone: str
) -> None:
    emulator.fail("AddDomainRecord", Fault("drop", after_change=True))
    record_id = account.open(zone).add(Record(fqdn, "A", "10.0.0.1", 600))
    assert [record.record_id for record in emulator.records()] == [record_id]


@pytest.mark.row(78, 82)
@BOTH
def test_a_challenge_of_a_dead_run_is_swept(
    emulator: AlidnsEmulator, account: AlidnsAccount, fqdn: str, zone: str, tmp_path: Path
) -> None:
    journal = SiteFile(tmp_path, fqdn)
    txt = TxtValue(f"_acme-challenge.{fqdn}", "x" * 43, zone)
    emulator.fail("DeleteDomainRecord", Fault("error", "Forbidden.RAM"))
    with presented(account.open, journal, [txt]):
        pass
    assert values(emulator) == ["x" * 43]
    sweep(account.open, journal)
    assert (values(emulator), journal.load().txt) == ([], ())


def test_a_cname_is_compared_and_shown_in_a_labels(emulator: AlidnsEmulator, account: AlidnsAccount) -> None:
    emulator.add("www", "CNAME", "仓库.例子.com.", zone=IN_ASCII)
    [alias] = account.open(IN_ASCII).records(f"www.{IN_ASCII}")
    assert alias.value == normalise("仓库.例子.com")
    with pytest.raises(DnsRefused, match=r"a CNAME to 'xn--"):
        plan_changes([alias], Record(f"www.{IN_ASCII}", "A", "10.0.0.1", 600))


# --- on the wire --------------------------------------------------------------------------------------------


def test_the_service_is_asked_in_unicode_and_refuses_a_zone_in_a_labels(
    emulator: AlidnsEmulator, account: AlidnsAccount
) -> None:
    opened = account.open(ZONE)
    opened.update(Record(NAME, "A", "10.0.0.2", 600, opened.add(Record(NAME, "A", "10.0.0.1", 600))))
    opened.records(NAME)
    account.find(NAME)
    own = [call.parameters for call in emulator.calls]
    assert [(p.get("DomainName"), p.get("RR"), p.get("SubDomain")) for p in own] == [
        ("例子.com", "registry", None),
        (None, "registry", None),
        ("例子.com", None, "registry.例子.com"),
        ("registry.例子.com", None, None),
        ("例子.com", None, None),
    ]


# By find, records, add, update and delete.
SENT = [
    "/?DomainName=example.com&PageSize=1&Version=2015-01-09&Action=DescribeDomainRecords",
    "/?DomainName=example.com&SubDomain=devbox.example.com&PageNumber=1&PageSize=100"
    "&Version=2015-01-09&Action=DescribeSubDomainRecords",
    "/?DomainName=example.com&RR=_acme-challenge.devbox&Type=TXT&Value=v&TTL=600&Line=default"
    "&Version=2015-01-09&Action=AddDomainRecord",
    "/?RecordId=7&RR=%40&Type=A&Value=10.0.0.1&TTL=600&Line=default"
    "&Version=2015-01-09&Action=UpdateDomainRecord",
    "/?RecordId=7&Version=2015-01-09&Action=DeleteDomainRecord",
]


def test_an_ascii_name_goes_out_byte_for_byte_as_before() -> None:
    """What is sent of each call, up to the parameters that are new each time."""
    body = {"RequestId": "A-1", "RecordId": "7", "TotalCount": 0, "DomainRecords": {"Record": []}}
    with HttpServer(lambda _: Reply(200, json.dumps(body).encode())) as server:
        account = account_at(server)
        zone = account.open(IN_ASCII)
        account.find(IN_ASCII)
        zone.records("devbox.example.com")
        zone.add(Record("_acme-challenge.devbox.example.com", "TXT", "v", 600))
        zone.update(Record(IN_ASCII, "A", "10.0.0.1", 600, "7"))
        zone.delete("7")
        requests = [request.path.partition("&Format=JSON") for request in server.requests]
    assert [sent for sent, _, _ in requests] == SENT
    assert all(common for _, _, common in requests)


# --- what is not understood ---------------------------------------------------------------------------------


def account_at(server: HttpServer) -> AlidnsAccount:
    return AlidnsAccount(ApiAccess(server.url, Key(KEY_ID, SECRET)), FakeClock())


def listing(**row: object) -> Reply:
    whole = {"RR": "devbox", "Type": "A", "Value": "10.0.0.1", "TTL": 600, "RecordId": "1"} | row
    body = {"RequestId": "A-1", "TotalCount": 1, "DomainRecords": {"Record": [whole]}}
    return Reply(200, json.dumps(body).encode())


@pytest.mark.row(82)
@pytest.mark.parametrize(
    "row",
    [
        {"RR": "仓 库"},
        {"RR": ""},
        {"RR": "a..b"},
        {"RR": None},
        {"RR": ["devbox"]},
        {"RR": "\u202edevbox"},
        {"RR": "库" * 70},
        {"RR": "devbox", "DomainName": "例 子.com"},
        {"RR": "devbox", "DomainName": ""},
    ],
    ids=str,
)
def test_a_row_whose_name_is_not_understood_is_an_error_and_never_no_record(row: dict[str, object]) -> None:
    with HttpServer(lambda _: listing(**row)) as server, pytest.raises(DnsUnavailable) as error:
        account_at(server).open(IN_ASCII).records("devbox.example.com")
    if isinstance(row["RR"], str):
        assert "answers in a form that is not understood" in error.value.message
    assert error.value.message.isprintable()


@pytest.mark.row(82)
@pytest.mark.parametrize("name", ["另一个.com", "例 子.com", "example.org"])
def test_a_zone_whose_list_is_of_another_is_an_error_and_never_the_zone(name: str) -> None:
    fault = pytest.raises(DnsUnavailable, match="answers in a form that is not understood")
    with HttpServer(lambda _: listing(DomainName=name)) as server, fault:
        account_at(server).find("devbox.example.com")


@pytest.mark.parametrize("label", ["xn--ls8h", "xn--99999999", "xn--", "xn--abc-", "xn--" + "a" * 59])
def test_an_a_label_that_stands_for_nothing_we_know_goes_out_as_it_is(
    emulator: AlidnsEmulator, account: AlidnsAccount, label: str
) -> None:
    assert u_labels(f"{label}.com") == f"{label}.com"
    with pytest.raises(ZoneNotFound):
        account.find(f"registry.{label}.com")
    assert emulator.calls[-1].parameters["DomainName"] == f"{label}.com"


def test_labels_that_are_mapped_are_the_same_name() -> None:
    """Full width, upper case, and a letter in two parts (UTS 46); letters that IDNA 2003 folded stay."""
    assert a_labels("\uff24evBox.É.e\u0301") == "devbox.xn--9ca.xn--9ca"
    assert u_labels(a_labels("straße")) == "straße"
    assert a_labels("_acme-challenge.*.仓库") == "_acme-challenge.*.xn--5mqv79a"


# --- the RAM policy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_unicode", [True, False])
def test_the_policy_names_such_a_zone_in_both_forms(is_unicode: bool) -> None:
    unsure = Unsure(arns_unicode=is_unicode)
    with AlidnsEmulator(
        [IN_CHINESE], access_key_id=KEY_ID, access_key_secret=SECRET, unsure=unsure
    ) as emulator:
        document = ram_policy.document(IN_CHINESE).replace("ACCOUNT", ACCOUNT_ID)
        emulator.attach_policy(ram.parse(document).permits)
        account = AlidnsAccount(ApiAccess(emulator.endpoint, Key(KEY_ID, SECRET)), FakeClock())
        zone = account.open(account.find(NAME))
        zone.delete(zone.add(Record(NAME, "A", "10.0.0.1", 600)))
    assert ram_policy.document(IN_ASCII).count("domain/") == 1


def test_the_signature_covers_letters_beyond_ascii() -> None:
    """The emulator checks it; this shows that they are encoded as UTF-8."""
    with HttpServer(lambda _: listing(DomainName="例子.com")) as server:
        account_at(server).find(IN_CHINESE)
        [request] = server.requests
    assert "%E4%BE%8B%E5%AD%90.com" in request.path
    assert dict(parse_qsl(urlsplit(request.path).query))["DomainName"] == "例子.com"
