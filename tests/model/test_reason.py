"""A reason has words for programs, in English and UTC, and others for people."""

from dataclasses import replace
from datetime import time, timedelta

import pytest
from support.languages import chinese
from support.views import NOW, view

from certbotless.model.decision import Step
from certbotless.model.reason import Reason, Value, Why, because

pytestmark = pytest.mark.usefixtures("in_utc")

DUE = Reason(Why.DUE, (NOW, NOW + timedelta(days=30)))
WINDOW = Reason(Why.WINDOW, (time(3), time(4, 30)))


@pytest.mark.parametrize(
    ("kind", "values", "words", "english", "in_chinese"),
    [
        (Why.NO_CERTIFICATE, (), "there is no certificate yet", "there is no certificate yet", "还没有证书"),
        (
            Why.DUE,
            (NOW, NOW + timedelta(days=30)),
            "due since 2026-11-24T05:30:00Z, expires 2026-12-24T05:30:00Z",
            "due since 2026-11-24 05:30 UTC, expires 2026-12-24 05:30 UTC",
            "2026-11-24 13:30 +08:00 起应续期，2026-12-24 13:30 +08:00 到期",
        ),
        (Why.OTHER_VALUES, ("nothing", "10.0.0.5"), *["nothing -> 10.0.0.5"] * 2, "无 -> 10.0.0.5"),
        # What another program said is quoted.
        (Why.FAULT, ("the CA is closed",), *["the CA is closed"] * 3),
        (Why.WINDOW, WINDOW.values, *["its window 03:00-04:30"] * 2, "只在 03:00-04:30 之间重启"),
    ],
)
def test_a_program_reads_english_and_a_person_their_language_and_time(
    kind: Why, values: tuple[Value, ...], words: str, english: str, in_chinese: str
) -> None:
    reason = Reason(kind, values)
    assert (reason.words, reason.spoken) == (words, english)
    with chinese():
        assert (reason.words, reason.spoken) == (words, in_chinese)


def test_a_step_and_the_state_of_its_site_have_both() -> None:
    step = Step("deploy", because(Why.OTHER_CERTIFICATE), "registry")
    waiting = replace(step, wait_until=NOW, wait_why=WINDOW)
    with chinese():
        assert view(step).reason == "deploy:registry: another certificate"
        assert view(step).spoken_reason == "部署:registry：实际使用的是另一张证书"
        assert waiting.wait_text == "deploy:registry not before 2026-11-24T05:30:00Z: its window 03:00-04:30"
        assert waiting.spoken_wait == (
            "部署:registry：最早于 2026-11-24 13:30 +08:00 执行：只在 03:00-04:30 之间重启"
        )
    assert view(step).spoken_reason == view(step).reason
    assert (step.spoken_wait, step.spoken_wait_reason, view().spoken_reason) == ("", "", "")


@pytest.mark.parametrize(
    "kind", [kind for kind in Why if "{} ->" not in kind.value and kind is not Why.FAULT]
)
def test_each_kind_of_reason_is_in_chinese(kind: Why) -> None:
    reason = Reason(kind, WINDOW.values if kind is Why.WINDOW else ("1", "2", "3", "4"))
    with chinese():
        assert any("一" <= letter <= "龥" for letter in reason.spoken)
