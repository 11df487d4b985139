"""A name inside the program is safe in a path, a record and an order, whatever text it was made from."""

import re
from pathlib import PurePath

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from certbotless.base.names import (
    NameFault,
    candidate_zones,
    challenge_name,
    fqdn_of,
    is_in_zone,
    normalise,
    rr_of,
)

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
ENDS = st.from_regex(r"[a-z]{2,6}", fullmatch=True)
ZONES = st.builds(
    lambda labels, end: ".".join([*labels, end]), st.lists(LABELS, min_size=1, max_size=3), ENDS
)
RRS = st.one_of(st.just("@"), st.lists(LABELS, min_size=1, max_size=3).map(".".join))
# Text that has a chance to look like a name, and to break one.
NEARLY_NAMES = st.text(
    st.sampled_from("abAZ09..--*_/\\\0\n \t@:%例üßİK。\uff0e\u200d\u202e\ud800"), max_size=40
)
LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


# --- normalise ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("devbox.sweetlove.top", "devbox.sweetlove.top"),
        ("DevBox.SweetLove.TOP", "devbox.sweetlove.top"),
        ("devbox.sweetlove.top.", "devbox.sweetlove.top"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("bücher。example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"),
        (f"{'a' * 63}.top", f"{'a' * 63}.top"),
        (LONGEST, LONGEST),
    ],
)
def test_a_name_is_lower_case_in_a_labels_without_the_final_dot(text: str, name: str) -> None:
    assert normalise(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "top",
        "devbox..top",
        ".devbox.top",
        "devbox.top..",
        "-devbox.top",
        "devbox-.top",
        "dev_box.top",
        "dev box.top",
        "devbox.top\n",
        "dev\0box.top",
        "../../etc/x.top",
        "devbox/x.top",
        "https://devbox.top",
        "devbox.top:5000",
        "user@devbox.top",
        "dev\u202ebox.top",
        "bü cher.example",
        "bücher\\.example",
        "ü" * 300 + ".top",
        f"{'a' * 64}.top",
        f"{LONGEST}d",
        # No top-level domain is all digits, as the end of an address is.
        *("10.79.40.213", "devbox.443", "[::1].top", "0x7f.1"),
    ],
)
def test_what_is_no_host_name_is_refused(text: str) -> None:
    with pytest.raises(NameFault):
        normalise(text)


def test_a_wildcard_stands_only_where_it_is_allowed() -> None:
    """As the whole first label, above at least two others."""
    assert normalise("*.DevBox.top", wildcard=True) == "*.devbox.top"
    assert normalise("*.bücher.example", wildcard=True) == "*.xn--bcher-kva.example"
    with pytest.raises(NameFault, match="wildcard"):
        normalise("*.devbox.top")
    for text in ("*", "*.top", "*.*.devbox.top", "devbox.*.top", "*devbox.sweetlove.top", "d*.sweetlove.top"):
        with pytest.raises(NameFault):
            normalise(text, wildcard=True)


@pytest.mark.row(70)
@given(st.one_of(st.text(max_size=80), NEARLY_NAMES), st.booleans())
@example("a" * 300 + ".top", False)
@example("../../etc/passwd", False)
@example("a\0b.example.com", False)
@example("*.example.com", False)
@example("bücher.example", False)
def test_what_comes_out_is_always_safe(text: str, wildcard: bool) -> None:
    """No slash, no NUL, no upper case, nothing beyond ASCII; never too long; the same when done again.

    It names files and folders in certs_dir and state_dir.
    """
    try:
        name = normalise(text, wildcard=wildcard)
    except NameFault as exc:
        assert str(exc).isprintable()
        return
    host = name.removeprefix("*.") if wildcard else name
    assert re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", host)
    assert len(name) <= 253
    assert normalise(name, wildcard=wildcard) == name
    assert PurePath("/certs", f"{host}.pem").parent == PurePath("/certs")


@given(RRS, ZONES)
def test_case_and_the_final_dot_do_not_matter(rr: str, zone: str) -> None:
    name = fqdn_of(rr, zone)
    assert normalise(name) == normalise(name.upper()) == normalise(f"{name}.") == name


# --- names and zones ----------------------------------------------------------------------------------------


@given(RRS, ZONES)
def test_split_and_joined_a_name_is_what_it_was(rr: str, zone: str) -> None:
    fqdn = fqdn_of(rr, zone)
    assert is_in_zone(fqdn, zone)
    assert rr_of(fqdn, zone) == rr
    assert fqdn_of(rr_of(fqdn, zone), zone) == fqdn


@given(ZONES, ZONES)
def test_a_name_elsewhere_has_no_rr(fqdn: str, zone: str) -> None:
    assume(not is_in_zone(fqdn, zone))
    with pytest.raises(NameFault):
        rr_of(fqdn, zone)


def test_a_zone_ends_at_a_dot() -> None:
    """`notsweetlove.top` ends in the letters of `sweetlove.top`, and is another name."""
    assert is_in_zone("devbox.sweetlove.top", "sweetlove.top")
    assert not is_in_zone("notsweetlove.top", "sweetlove.top")
    assert not is_in_zone("sweetlove.top", "devbox.sweetlove.top")


def test_the_apex_is_written_as_an_at_sign() -> None:
    assert rr_of("sweetlove.top", "sweetlove.top") == "@"
    assert fqdn_of("@", "sweetlove.top") == "sweetlove.top"


def test_a_name_could_lie_in_any_zone_above_it_but_a_top_level_domain() -> None:
    """The longest first, so that a delegated zone wins over the one above it."""
    zones = ["devbox.lan.sweetlove.top", "lan.sweetlove.top", "sweetlove.top"]
    assert candidate_zones("devbox.lan.sweetlove.top") == zones
    assert candidate_zones("*.devbox.lan.sweetlove.top") == zones


@given(RRS, ZONES)
def test_the_zone_of_a_name_is_among_those_that_could_hold_it(rr: str, zone: str) -> None:
    candidates = candidate_zones(fqdn_of(rr, zone))
    assert zone in candidates
    assert candidates == sorted(candidates, key=len, reverse=True)
    assert all(is_in_zone(fqdn_of(rr, zone), candidate) and "." in candidate for candidate in candidates)


def test_a_wildcard_and_its_base_are_proved_at_one_name() -> None:
    """RFC 8555 section 8.4."""
    assert challenge_name("devbox.sweetlove.top") == "_acme-challenge.devbox.sweetlove.top"
    assert challenge_name("*.devbox.sweetlove.top") == "_acme-challenge.devbox.sweetlove.top"
