"""When a target is acted upon: by what it serves, and after the first one."""

from dataclasses import replace

import pytest
from support.decisions import (
    AHEAD,
    DAY,
    FACTS,
    HOUR,
    LAN,
    LEAF,
    NOTHING,
    NOW,
    OLD_LEAF,
    ORIGIN,
    WELL,
    decided,
    failure,
    of_targets,
    state,
    steps_of,
)

from certbotless.config.settings import Config
from certbotless.model.certificate import Published
from certbotless.model.deployed import Acted
from certbotless.model.memory import SiteState
from certbotless.model.observation import Observation

SERVED = {
    "another certificate": (
        {"registry": OLD_LEAF, "mirror": LEAF},
        [("deploy:registry", "another certificate")],
    ),
    "no answer": ({"registry": LEAF, "mirror": ""}, [("deploy:mirror", "no TLS answer")]),
    "no known port": ({"registry": LEAF}, [("deploy:mirror", "its port is not known yet")]),
    "both wrong": (
        {"registry": "", "mirror": OLD_LEAF},
        [("deploy:registry", "no TLS answer"), ("deploy:mirror", "another certificate")],
    ),
}


@pytest.mark.parametrize(("served", "steps"), SERVED.values(), ids=SERVED.keys())
def test_a_container_that_does_not_serve_what_is_published_is_acted_on_without_an_order(
    served: dict[str, str], steps: list[tuple[str, str]]
) -> None:
    assert steps_of(replace(WELL, served=served)) == steps


def test_a_container_that_left_the_configuration_is_left_alone() -> None:
    assert steps_of(replace(WELL, served=dict(WELL.served) | {"old": OLD_LEAF})) == []


def test_a_target_waits_for_the_lan_address_at_which_it_is_proved() -> None:
    """To act upon it would be a failure, which is tried again a minute after the address is there."""
    away = replace(WELL, addresses={}, host="", served={})
    assert [step.key for step in decided(away).steps] == []
    assert [step.key for step in decided(replace(away, host=LAN)).steps] == [
        "deploy:registry",
        "deploy:mirror",
    ]


@pytest.mark.parametrize(
    "fault", ["'/certs/devbox.key' is missing", "'/certs/devbox.key' links to another place"]
)
def test_nothing_is_restarted_on_files_that_are_not_as_they_were_published(fault: str) -> None:
    """It would come up with no pair, or with another one."""
    published = replace(WELL.published, fault=fault)
    seen = replace(WELL, published=published, served={"registry": OLD_LEAF, "mirror": ""})
    assert [key for key, _ in steps_of(seen)] == ["restore"]


def acted(*names: str, sha256: str = LEAF) -> SiteState:
    return state(acted={name: Acted(sha256=sha256, count=1) for name in names})


LABEL = "{label: 'reload=devbox', action: {signal: HUP}}"
MATCHED = state(matched={"reload=devbox": ("web1", "web2")})
LABELLED = {
    "no look for matches yet": ({}, NOTHING, ["its port is not known yet"]),
    "no match": ({}, state(matched={"reload=devbox": ()}), ["its port is not known yet"]),
    "all right": ({"web1": LEAF, "web2": LEAF}, MATCHED, []),
    "one wrong": ({"web1": LEAF, "web2": OLD_LEAF}, MATCHED, ["another certificate"]),
    "one silent, one wrong": (
        {"web1": "", "web2": OLD_LEAF},
        MATCHED,
        ["another certificate, no TLS answer"],
    ),
    "one unknown": ({"web1": LEAF}, MATCHED, ["its port is not known yet"]),
}


@pytest.mark.parametrize(("served", "remembered", "reasons"), LABELLED.values(), ids=LABELLED.keys())
def test_a_label_is_one_step_for_all_that_it_matches(
    served: dict[str, str], remembered: SiteState, reasons: list[str]
) -> None:
    by_key = {f"label:reload=devbox {name}": leaf for name, leaf in served.items()}
    steps = steps_of(replace(WELL, served=by_key), remembered, config=of_targets(LABEL))
    assert steps == [("deploy:label:reload=devbox", reason) for reason in reasons]


def test_a_command_is_named_as_a_shell_would_be_told() -> None:
    config = of_targets("{command: [systemctl, reload, 'my nginx'], port: '127.0.0.1:443'}")
    name = "systemctl reload 'my nginx'"
    assert steps_of(replace(WELL, served={name: LEAF}), config=config) == []
    seen = replace(WELL, served={name: OLD_LEAF})
    assert steps_of(seen, config=config) == [(f"deploy:{name}", "another certificate")]


UNPROVED = of_targets("{container: registry, port: none}")
UNPROVED_LABEL = of_targets("{label: 'reload=devbox', port: none}")


@pytest.mark.parametrize(
    ("config", "remembered", "is_due"),
    [
        (UNPROVED, NOTHING, True),
        (UNPROVED, acted("registry", sha256=OLD_LEAF), True),
        (UNPROVED, acted("mirror"), True),
        (UNPROVED, acted("registry"), False),
        (UNPROVED_LABEL, NOTHING, True),
        (UNPROVED_LABEL, replace(MATCHED, acted=acted("web1").acted), True),
        (UNPROVED_LABEL, replace(MATCHED, acted=acted("web1", "web2").acted), False),
    ],
)
def test_what_cannot_be_proved_is_due_once_for_each_certificate(
    config: Config, remembered: SiteState, is_due: bool
) -> None:
    keys = [reason for _, reason in steps_of(replace(WELL, served={}), remembered, config=config)]
    assert keys == (["not yet reloaded for this certificate"] if is_due else [])


# --- the first target holds the others back ---------------------------------------------------------------

BOTH_OLD = replace(
    WELL,
    published=Published(FACTS, replace(ORIGIN, issued_at=NOW - HOUR)),
    served={"registry": OLD_LEAF, "mirror": OLD_LEAF},
)
CANARY_FAILED = state(failures={"deploy:registry": failure(what="it crashed")})
ALONE = replace(WELL, served={"registry": OLD_LEAF, "mirror": LEAF})
MIRROR_FAILED = state(failures={"deploy:mirror": failure()})
CANARIES: dict[str, tuple[Observation, SiteState, list[str]]] = {
    "the first one comes first": (BOTH_OLD, NOTHING, ["registry", "mirror"]),
    "it is tried again before the others": (
        replace(BOTH_OLD, at=NOW + HOUR),
        CANARY_FAILED,
        ["registry", "mirror"],
    ),
    "the others are not touched as long as it fails": (BOTH_OLD, CANARY_FAILED, []),
    "a later one that fails holds nobody back": (BOTH_OLD, MIRROR_FAILED, ["registry"]),
    "nor where it is true by now": (ALONE, MIRROR_FAILED, ["registry"]),
    "its admin stopped the first one": (
        BOTH_OLD,
        state(failures={"deploy:registry": failure(is_waiting=True)}),
        ["mirror"],
    ),
    "the other one has nothing to lose": (
        replace(WELL, served={"registry": OLD_LEAF, "mirror": ""}),
        CANARY_FAILED,
        ["mirror"],
    ),
    "nobody knows how long the replaced certificate is good for, and a day is over": (
        replace(BOTH_OLD, published=Published(FACTS, replace(ORIGIN, issued_at=NOW - DAY))),
        CANARY_FAILED,
        ["mirror"],
    ),
    "the replaced certificate expires": (BOTH_OLD, replace(CANARY_FAILED, deploy_by=NOW), ["mirror"]),
    "it failed while the clock was ahead": (
        BOTH_OLD,
        state(failures={"deploy:registry": replace(failure(NOW + AHEAD + HOUR), at=NOW + AHEAD)}),
        ["registry", "mirror"],
    ),
}


@pytest.mark.parametrize(("seen", "remembered", "due"), CANARIES.values(), ids=CANARIES.keys())
def test_the_first_target_holds_the_others_back_for_no_less_than_its_failure(
    seen: Observation, remembered: SiteState, due: list[str]
) -> None:
    assert [step.target for step in decided(seen, remembered).due(seen.at)] == due


def test_the_first_target_holds_nobody_back_once_it_came_true_by_itself() -> None:
    config = of_targets(*(f"{{container: {name}, port: 5000}}" for name in ("registry", "mirror", "cache")))
    seen = replace(WELL, served={"registry": LEAF, "mirror": OLD_LEAF, "cache": OLD_LEAF})
    due = decided(seen, CANARY_FAILED, config=config).due(NOW)
    assert [step.target for step in due] == ["mirror", "cache"]


def test_what_the_first_target_holds_back_says_until_when_and_why() -> None:
    _, mirror = decided(BOTH_OLD, CANARY_FAILED).steps
    assert mirror.wait_until == NOW + HOUR
    assert mirror.wait_reason == "the first target failed: it crashed"
