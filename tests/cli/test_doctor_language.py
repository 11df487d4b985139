"""What the doctor says is in the language of people, and its JSON in English."""

import json
import re
from pathlib import Path

import pytest
from support.boxes import DOMAIN, Box

from certbotless.base import words
from certbotless.cli.doctor import finding
from certbotless.cli.main import main

SOURCES = Path(finding.__file__).parent.glob("*.py")


def test_each_language_has_the_same_findings(
    box: Box, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write('dns: {nameservers: ["127.0.0.1:1"]}')
    box.publish()
    # Then the API is not asked, which would be tried again for a while.
    box.secret.unlink()

    def told(language: str, *arguments: str) -> str:
        monkeypatch.setenv("LC_ALL", language)
        main(["--config", str(box.file), "doctor", *arguments])
        assert words.language() == ("zh" if language == "zh_CN.UTF-8" and not arguments else "en")
        return capfd.readouterr().out

    chinese, english = told("zh_CN.UTF-8").splitlines(), told("C").splitlines()
    found = json.loads(told("zh_CN.UTF-8", "--json"))["checks"]
    lines = [without_numbers(finding.Finding(**each).line) for each in found]
    words.speak("en")
    assert lines == [without_numbers(line) for line in english[:-1]]
    assert len(chinese) == len(english)
    assert re.fullmatch(r"\d+ 项正常，\d+ 项警告，\d+ 项失败", chinese[-1])
    shown = "\n".join(chinese)
    assert f"证书 {DOMAIN}：" in shown
    assert all(line[:2] in ("正常", "警告", "失败") for line in chinese[:-1])


def without_numbers(line: str) -> str:
    """Return a line without what a clock or a process has put into it."""
    return re.sub(r"\d+", "", line)


def test_every_test_of_the_doctor_has_a_name_in_each_language() -> None:
    text = "".join(source.read_text() for source in SOURCES)
    named = set(re.findall(r'[.]_?(?:ok|warn|fail|fail_by)\(\s*"([^"]+)"', text))
    assert len(named) > 20
    assert named <= set(finding.CHECKS)
