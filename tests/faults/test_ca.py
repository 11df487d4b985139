"""Faults of the CA: what it refuses, forgets or never says, at each step of an issuance."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from support import fault_proxy as faults
from support.bed import DOMAIN, ZONE, Bed
from support.fakes import Reply
from support.fault_proxy import FaultProxy
from support.ground import Ground
from support.hostile import forged
from support.invariants import assert_invariants

from certbotless.model.memory import Failure, RenewalInfo
from certbotless.state.site import SiteFile

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MOST_WAIT = timedelta(hours=34)


def remembered(home: Path) -> SiteFile:
    """Return what runs on the ground remember of the site."""
    return SiteFile(home / "state", DOMAIN)


# --- a CA that is away, at each request ---------------------------------------------------------------------

REQUESTS = {
    "directory": ("GET", "/dir", 1),
    "nonce": ("HEAD", "/nonce-plz", 1),
    "account": ("POST", "/sign-me-up", 1),
    "order": ("POST", "/order-plz", 1),
    "authorization": ("POST", "/authZ/", 1),
    "challenge": ("POST", "/chalZ/", 1),
    "validation": ("POST", "/authZ/", 2),
    "finalization": ("POST", "/finalize-order/", 1),
    "order's end": ("POST", "/my-order/", 1),
    "certificate": ("POST", "/certZ/", 1),
}
AWAY: dict[str, faults.Fault] = {
    "503": faults.answer(503, b"<html>overloaded</html>", {"Retry-After": "60"}),
    "500": faults.problem("serverInternal", 500),
    "reset": faults.reset(),
    "lost": faults.dropped(after_change=True),
    "cut": faults.cut(),
}


@pytest.mark.row(47)
@pytest.mark.parametrize("kind", AWAY)
@pytest.mark.parametrize("request_", REQUESTS)
def test_an_order_is_gone_on_with_wherever_the_ca_was_away(
    ground: Ground, request_: str, kind: str, tmp_path: Path
) -> None:
    method, path, nth = REQUESTS[request_]
    before = ground.ca.orders_made()
    ground.restart_clock()
    ground.ca_proxy.at(method, path, AWAY[kind], nth=nth)
    try:
        first = ground.run(tmp_path)
        assert first.failure is None or first.failure.what.isprintable()
        ground.assert_zone_is_as_left()
        again = ground.run(tmp_path, asks_again=True)
    finally:
        ground.forget()
    assert again.state == "ok", again
    ground.assert_zone_is_as_left()
    # Whose URL never came cannot be gone on with; and the CA may look for a value when we are gone with it.
    is_lost = request_ == "order" and kind in ("lost", "cut")
    may_be_invalid = request_ in ("challenge", "validation")
    most = 2 if is_lost or may_be_invalid else 1
    assert 1 <= ground.ca.orders_made() - before <= most


@pytest.mark.row(47)
def test_a_ca_that_goes_down_in_the_middle_is_gone_on_with_when_it_is_back(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    ca_proxy.at("POST", "/finalize-order/", faults.down())
    assert "no connection to the CA" in bare.refused("--once")
    assert "no connection to the CA" in bare.refused("--renew-now")
    assert_invariants(bare)
    ca_proxy.come_back()
    bare.ok("--renew-now")
    assert bare.orders() == 1
    assert_invariants(bare)


# --- a CA that counts ---------------------------------------------------------------------------------------

WAITS = {
    "120": timedelta(minutes=2),
    "a date": timedelta(seconds=100),
    "": None,
    "soon": None,
    "-5": None,
    "9" * 5000: MOST_WAIT,
    "Sat, 24 Nov 2096 05:30:00 GMT": MOST_WAIT,
}


@pytest.mark.row(46)
@pytest.mark.parametrize(("asked", "wait"), WAITS.items(), ids=[text[:20] or "nothing" for text in WAITS])
def test_a_wait_that_the_ca_asks_for_is_kept_over_runs(
    ground: Ground, tmp_path: Path, asked: str, wait: timedelta | None
) -> None:
    """With a little more, so that not all come back at once; nonsense leaves it to our own schedule."""
    ground.restart_clock()
    began = datetime.now(UTC)
    if wait and asked == "a date":
        asked = format_datetime(began + wait, usegmt=True)
    headers = {"Retry-After": asked} if asked else {}
    ground.ca_proxy.at("POST", "/order-plz", faults.problem("rateLimited", 429, headers))
    try:
        assert ground.run(tmp_path).state == "failing"
        took = datetime.now(UTC) - began
        failure = remembered(tmp_path).load().failures["order"]
        before = len(ground.ca_proxy.asked)
        ground.clock.advance(30)
        assert ground.run(tmp_path).state == "failing"
        assert len(ground.ca_proxy.asked) == before
        assert_waits(failure, wait, took)
        ground.clock.advance(max((failure.retry_at - ground.clock.now()).total_seconds(), 0))
        # By then the present of the CA is long ago for a clock that has waited for a day and more.
        assert ground.run(tmp_path).state == ("failing" if wait == MOST_WAIT else "ok")
    finally:
        ground.forget()
    ground.assert_zone_is_as_left()


def assert_waits(failure: Failure, wait: timedelta | None, took: timedelta) -> None:
    """The failure waits as long as the CA has asked for, or as the schedule says where it has not.

    A date is a whole second, and nearer by as much as the run took before it was refused.
    """
    waited = failure.retry_at - failure.at
    if wait is None:
        assert timedelta(minutes=1) <= waited <= timedelta(seconds=75)
        assert failure.limited_until is None
    else:
        assert wait - timedelta(seconds=1) - took <= waited <= wait * 21 / 20
        assert failure.limited_until is not None
        assert failure.limited_until <= failure.retry_at


@pytest.mark.row(46)
def test_a_command_is_refused_until_the_ca_takes_orders_again_unless_it_is_forced(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    ca_proxy.at("POST", "/order-plz", faults.problem("rateLimited", 429, {"Retry-After": "3600"}))
    bare.refused("--once")
    asked = len(ca_proxy.asked)
    line = bare.refused("--renew-now")
    assert "rateLimited" in line
    assert "order not before 20" in line
    assert "to ask now: certbotless --renew-now --force" in line
    assert len(ca_proxy.asked) == asked
    bare.ok("--renew-now", "--force")
    assert_invariants(bare)


# --- a CA that remembers, and one that forgets --------------------------------------------------------------


@pytest.mark.row(45)
@pytest.mark.parametrize(
    "ca", [{"retry_after_s": 0, "authz_reuse_percent": 100}], indirect=True, ids=["kind"]
)
def test_what_is_proved_already_is_not_proved_again(bare: Bed) -> None:
    bare.ok("--once")
    before = len(bare.dns.calls)
    old = bare.published()
    bare.ok("--renew-now")
    assert bare.published() != old
    assert bare.dns.calls[before:] == []
    assert bare.orders() == 2
    assert_invariants(bare)


@pytest.mark.row(83)
def test_a_ca_that_asks_for_a_day_between_two_polls_is_polled_all_the_same(
    ground: Ground, tmp_path: Path
) -> None:
    """Authorization and order ask for it three times, and the TXT record is there each time."""

    def not_yet(status: str) -> faults.Fault:
        def change(true: Reply) -> Reply:
            body = json.dumps(json.loads(true.body) | {"status": status}).encode()
            return replace(true, body=body, headers={**true.headers, "Retry-After": "86400"})

        return faults.rewritten(change)

    def noted(exchange: faults.Exchange) -> None:
        ours.append(len(ground.dns.records("_acme-challenge.devbox", "TXT")) - theirs)
        not_yet("pending")(exchange)

    ours: list[int] = []
    theirs = len(ground.dns.records("_acme-challenge.devbox", "TXT"))
    ground.restart_clock()
    ground.ca_proxy.at("POST", "/authZ/", noted, nth=2, times=3)
    ground.ca_proxy.at("POST", "/my-order/", not_yet("processing"), times=3)
    try:
        assert ground.run(tmp_path).state == "ok"
    finally:
        ground.forget()
    assert ours == [1, 1, 1]
    assert ground.clock.sleeps.count(30) == 6
    assert ground.clock.monotonic() < 300
    ground.assert_zone_is_as_left()


# --- what it gives ------------------------------------------------------------------------------------------


@pytest.mark.row(54)
def test_a_certificate_for_another_name_never_takes_the_place_of_the_old_one(
    bed: Bed, ca_proxy: FaultProxy
) -> None:
    """That stays, published and served; the failure counts, and the next order comes by the schedule."""
    bed.ok("--once")
    old = bed.published()
    ca_proxy.at("POST", "/certZ/", forged(names=(f"evil.{ZONE}",)))
    assert "is for" in bed.refused("--renew-now")
    assert bed.published() == bed.served() == old
    bed.ok("--once")  # four true facts, and a wish that failed
    assert "is for" in bed.status()["sites"][0]["last_error"]["what"]
    assert bed.orders() == 2
    assert_invariants(bed)


# --- when it wants to be asked again ------------------------------------------------------------------------


def window(start: datetime, end: datetime, retry_after: str = "21600") -> faults.Fault:
    """Renewal information (RFC 9773 section 4.2)."""
    edges = {"start": start.isoformat(), "end": end.isoformat()}
    body = json.dumps({"suggestedWindow": edges}).encode()
    return faults.answer(200, body, {"Content-Type": "application/json", "Retry-After": retry_after})


NOW = datetime.now(UTC)
# What the CA says, and for how long nobody asks again.
SUGGESTIONS: dict[str, tuple[faults.Fault, timedelta]] = {
    "404": (faults.problem("malformed", 404), HOUR * 12),
    "503 for a minute": (faults.answer(503, b"", {"Retry-After": "1"}), timedelta(minutes=1)),
    "503 for ten years": (faults.answer(503, b"", {"Retry-After": "315360000"}), DAY),
    "no answer": (faults.reset(), HOUR * 12),
    "no JSON": (faults.answer(200, b"soon"), HOUR * 12),
    "no window": (faults.answer(200, b"{}"), HOUR * 12),
    "no moments": (faults.answer(200, b'{"suggestedWindow": {"start": 1, "end": null}}'), HOUR * 12),
    "an end before its start": (window(NOW + 9 * DAY, NOW + 8 * DAY), HOUR * 6),
    "wider than the life": (window(NOW - 99 * DAY, NOW + 99 * DAY), HOUR * 6),
    "in 2099": (window(datetime(2099, 1, 1, tzinfo=UTC), datetime(2099, 1, 2, tzinfo=UTC)), HOUR * 6),
    "asked again at once": (window(NOW + 9 * DAY, NOW + 8 * DAY, "0"), timedelta(minutes=1)),
    "asked again in ten years": (window(NOW + 9 * DAY, NOW + 8 * DAY, "315360000"), DAY),
}


@pytest.mark.row(51)
def test_a_suggestion_that_cannot_be_meant_changes_nothing_and_is_asked_for_again(
    ground: Ground, tmp_path: Path
) -> None:
    """One after the other, each a day after the one before: no order, no failure, and one question each."""
    ground.restart_clock()
    assert ground.run(tmp_path).state == "ok"
    before = ground.ca.orders_made()
    for name, (fault, pause) in SUGGESTIONS.items():
        ground.clock.advance((DAY + HOUR).total_seconds())
        ground.ca_proxy.at("GET", "/draft-ietf-acme-ari", fault, times=100)
        try:
            assert ground.run(tmp_path).state == "ok", name
            assert ground.run(tmp_path).state == "ok", name
            asked = [each for each in ground.ca_proxy.asked if "renewalInfo" in each.path]
        finally:
            ground.forget()
        told = remembered(tmp_path).load().renewal
        assert isinstance(told, RenewalInfo), name
        assert (told.moment, len(asked)) == (None, 1), name
        assert pause - timedelta(seconds=5) <= told.next_look - ground.clock.now() <= pause, name
    assert ground.ca.orders_made() == before


# --- a long time with a CA that is hard to please -----------------------------------------------------------


@pytest.mark.soak
@pytest.mark.row(44, 45)
@pytest.mark.parametrize(
    "ca",
    [{"retry_after_s": 0, "nonce_reject_percent": 20, "authz_reuse_percent": 50}],
    indirect=True,
    ids=["fussy"],
)
def test_two_hundred_issuances_at_a_fussy_ca_all_succeed(bare: Bed) -> None:
    """It refuses one good nonce in five, and takes half of its valid authorizations again."""
    domains = [f"box{number}.{ZONE}" for number in range(50)]
    bare.config["sites"] = [bare.site(domain, address="none", deploy=[]) for domain in domains]
    leaves = set()
    for args in (["--once"], *[["--renew-now", "--force"]] * 3):
        bare.ok(*args)
        leaves |= {bare.published(domain) for domain in domains}
    print(f"\norders {bare.orders()}, certificates {len(leaves)}, API calls {len(bare.dns.calls)}")
    assert len(leaves) == 200
    # Pebble 2.6 does not find one predecessor in 256, whose serial number has a leading zero in DER: it fails
    # (500), and what failed there may have been an order.
    assert_invariants(bare, forced_orders=3)
