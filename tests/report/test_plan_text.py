"""What `plan` says: what would be done for each site, why, and how much that is."""

from datetime import timedelta

import pytest
from support.languages import chinese
from support.views import FACTS, IN_WINDOW, LISTED, NOTHING, NOW, failure, on_three, said, site, view

from certbotless.model.decision import Step
from certbotless.model.reason import Why, because
from certbotless.model.view import View
from certbotless.report import plan_text

pytestmark = pytest.mark.usefixtures("in_utc")

DOMAIN = FACTS.names[1]
NONE = because(Why.NO_CERTIFICATE)
NEW = because(Why.OTHER_VALUES, "nothing", "10.79.40.213")
MOVED = because(Why.OTHER_VALUES, ("10.0.0.1",), "10.79.40.213")
EMPTY = {(DOMAIN, "A"): (frozenset[str](),)}
ELSEWHERE = {(DOMAIN, "A"): (frozenset({"10.0.0.1"}),)}
TARGETS = """[
    {container: a, action: {signal: HUP}, port: 443},
    {container: b, action: {exec: [nginx, -s, reload]}, port: 444},
    {label: web=yes, port: 445}, {command: [sudo, reload], port: none}
]"""


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (view(), "nothing to do"),
        (
            view(Step("record", NEW), Step("order", NONE), published=NOTHING, answers=EMPTY),
            "would add the A record 10.79.40.213; would request a certificate (there is none);"
            " then restart registry; then restart web",
        ),
        (
            view(Step("record", MOVED), answers=ELSEWHERE),
            "would change the A record to 10.79.40.213 (10.0.0.1 -> 10.79.40.213)",
        ),
        (
            on_three(Step("record", because(Why.OTHER_VALUES, LISTED, LISTED[1:])), out=LISTED[:1]),
            "would change the A record to 10.79.40.212, 10.79.40.213"
            " (10.79.40.211, 10.79.40.212, 10.79.40.213 -> 10.79.40.212, 10.79.40.213)",
        ),
        (
            view(Step("record", because(Why.ZONE_UNKNOWN)), answers=None),
            "would write the A record 10.79.40.213 (the zone is not known yet)",
        ),
        (
            view(
                Step("order", said("due"), wait_until=NOW + timedelta(hours=1), wait_why=said("a limit")[0]),
                Step("deploy", because(Why.NO_ANSWER), "registry"),
            ),
            "would request a certificate (due), not before 2026-11-24 06:30 UTC: a limit;"
            " would restart registry (no TLS answer); then restart web",
        ),
        (
            view(IN_WINDOW),
            "would restart registry (another certificate), not before 2026-11-24 17:30 UTC:"
            " its window 02:00-05:00",
        ),
        (
            view(Step("clean-up", because(Why.TXT_LEFT)), Step("collect", because(Why.ORDER_LEFT))),
            "would delete the TXT record of an earlier run;"
            " would fetch the certificate of an earlier request",
        ),
        (
            view(Step("order", NONE), of=site(deploy=TARGETS.replace("\n", " "))),
            "would request a certificate (there is none); then send HUP to a; then run nginx in b;"
            " then restart label:web=yes; then run sudo reload",
        ),
    ],
)
def test_a_site_is_a_line_of_what_would_be_done_and_why(shown: View, line: str) -> None:
    assert plan_text.text_of([shown]).splitlines()[0] == f"{DOMAIN}: {line}"


def test_a_plan_is_in_the_language_of_people() -> None:
    deploy = Step("deploy", because(Why.OTHER_CERTIFICATE), "registry", wait_until=NOW, wait_why=said("x")[0])
    shown = view(Step("record", NEW), Step("order", NONE), deploy, answers=EMPTY)
    with chinese():
        assert plan_text.text_of([shown, view()]).splitlines() == [
            f"{DOMAIN}：将添加 A 记录 10.79.40.213；将申请证书（还没有）；"
            "将重启 registry（实际使用的是另一张证书），最早于 2026-11-24 13:30 +08:00：x；然后重启 web",
            f"{DOMAIN}：无需操作",
            "2 个站点，4 项改动",
        ]


def test_the_last_line_counts_the_changes() -> None:
    """What only waits or asks is none."""
    confirm = Step("confirm", because(Why.NOT_SHOWN_YET, "10.79.40.213"))
    new = view(Step("record", NEW), Step("order", NONE), of=site("b.example.com", deploy="[{container: r}]"))
    assert plan_text.text_of([view(confirm), new]).splitlines()[-1] == "2 sites, 3 changes"
    assert plan_text.text_of([view(confirm)]).splitlines()[-1] == "1 site, no changes"


def test_what_could_not_be_checked_is_said() -> None:
    """Which is not the same as nothing to do."""
    blind = plan_text.text_of([view(problems=(failure("no name server answers"),))])
    assert blind.splitlines() == [
        f"{DOMAIN}: cannot be checked: no name server answers; try later",
        "1 site, no changes",
    ]


def test_a_certificate_of_another_tool_has_its_verdict() -> None:
    verdict = "the certificate of another tool can be taken over"
    shown = view(Step("adopt", because(Why.ADOPTABLE)))
    assert plan_text.text_of([shown], {DOMAIN: verdict}).splitlines()[0] == f"{DOMAIN}: {verdict}"
    assert plan_text.text_of([shown]).splitlines()[1] == "1 site, no changes"
    assert "would check whether the certificate of another tool" in plan_text.text_of([shown])


def test_no_reason_acts_upon_a_terminal_or_makes_a_line_of_its_own() -> None:
    """It may be of a meta.json that others have written."""
    reason = "the certificate is for \x1b]0;pwned\x07\x1b[2J\nb.example.com: nothing to do"
    line, count = plan_text.text_of([view(Step("record", said(reason)))]).splitlines()
    assert line.isprintable()
    assert count == "1 site, 1 change"
