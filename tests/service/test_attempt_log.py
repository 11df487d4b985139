"""The last attempt at a site as one text: what is in it, what never is, and that it never breaks a run."""

import logging
import os
import re
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest
from support.files import mode_of

from certbotless.base import log_context
from certbotless.base.errors import StoreError
from certbotless.base.log_context import Event
from certbotless.config.redact import Redactor
from certbotless.service.attempt_log import MOST_BYTES, AttemptLogs
from certbotless.state.site import SiteFile

DOMAIN, OTHER = "devbox.sweetlove.top", "other.sweetlove.top"
CANARY = "PlantedCanarySecret"
LOGGER = logging.getLogger("certbotless.test")


def open_logs(state_dir: Path) -> AttemptLogs:
    return AttemptLogs(
        state_dir,
        lambda domain: [f"site: {domain}", f"key: {CANARY}\nforged"],
        Redactor([CANARY], ["LTAI5tPlantedCanary1"]),
    )


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[AttemptLogs]:
    """What a run has while it lasts; what is logged meanwhile is about the first site."""
    handler = open_logs(tmp_path)
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.addHandler(handler)
    with log_context.about(DOMAIN):
        yield handler
    LOGGER.removeHandler(handler)
    handler.close()


def path_of(state_dir: Path, domain: str = DOMAIN) -> Path:
    """Return the path before the end of the run."""
    return SiteFile(state_dir, domain).unfinished_path


def read(state_dir: Path, domain: str = DOMAIN) -> list[str]:
    return SiteFile(state_dir, domain).last_attempt()[0]


def due(key: str = "order") -> None:
    """Let a step begin."""
    extra = Event("begins", {"step": key, "reason": "asked for"}).extra
    LOGGER.info("%s.due domain=%s reason=%s", key, DOMAIN, "asked for", extra=extra)


def end() -> None:
    """Let the run end."""
    LOGGER.debug("run.ended %s: ok", DOMAIN, extra=Event("run ended").extra)


def told(state_dir: Path, domain: str = DOMAIN) -> list[str]:
    """Return what follows the head, without the times."""
    lines = read(state_dir, domain)
    start = next(i for i, line in enumerate(lines) if line.startswith("began at "))
    assert all(re.match(r" +\d+\.\d{3} |         ", line) for line in lines[start + 1 :])
    return [line[9:] for line in lines[start + 1 :]]


# --- what is in it ------------------------------------------------------------------------------------------


def test_it_is_the_log_of_one_site_from_its_first_step_to_the_end(tmp_path: Path, logs: AttemptLogs) -> None:
    LOGGER.warning("before the first step")
    due("record")
    LOGGER.debug("alidns.call action=%s", "AddDomainRecord")
    end()
    LOGGER.info("after the end")
    due("order")
    with log_context.about(""):
        LOGGER.info("about no site")
    assert told(tmp_path) == [
        'INFO    record.due domain=devbox.sweetlove.top reason="asked for"',
        "DEBUG   alidns.call action=AddDomainRecord",
        "DEBUG   run.ended devbox.sweetlove.top: ok",
    ]
    file = SiteFile(tmp_path, DOMAIN)
    assert list(path_of(tmp_path).parent.iterdir()) == [file.attempt_path]
    assert file.last_attempt()[1]
    assert mode_of(path_of(tmp_path).parent) == "0o700"


def test_the_head_says_what_ran_and_for_what(tmp_path: Path, logs: AttemptLogs) -> None:
    due()
    head = read(tmp_path)[:4]
    assert re.match(r"certbotless \S+, Python \d+\.\d+\.\d+, Linux \S+", head[0])
    assert head[1:3] == [f"site: {DOMAIN}", "key: ***\\nforged"]
    assert re.fullmatch(r"began at \S+Z; seconds since then:", head[3])


def test_each_site_has_its_own_whatever_thread_works_for_it(tmp_path: Path, logs: AttemptLogs) -> None:
    """A thread that a site's thread starts carries its context on, as those that ask name servers do."""

    def work(domain: str) -> None:
        with log_context.about(domain):
            due()
            with ThreadPoolExecutor(2) as pool:
                for i in range(3):
                    pool.submit(copy_context().run, LOGGER.debug, "dns.no_answer server=%s.%d", domain, i)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, [DOMAIN, OTHER]))
    assert log_context.site() == DOMAIN
    for domain in (DOMAIN, OTHER):
        lines = sorted(told(tmp_path, domain))
        assert lines[:3] == [f"DEBUG   dns.no_answer server={domain}.{i}" for i in range(3)]
        assert len(lines) == 4


def test_the_next_attempt_takes_its_place(tmp_path: Path, logs: AttemptLogs) -> None:
    due("record")
    end()
    LOGGER.removeHandler(logs)
    with_next = open_logs(tmp_path)
    LOGGER.addHandler(with_next)
    try:
        with log_context.about(DOMAIN):
            LOGGER.info("it only looks")
            assert told(tmp_path)[0].startswith("INFO    record.due")
            due("order")
            assert not SiteFile(tmp_path, DOMAIN).last_attempt()[1]
        assert told(tmp_path) == ['INFO    order.due domain=devbox.sweetlove.top reason="asked for"']
    finally:
        LOGGER.removeHandler(with_next)
        with_next.close()


def test_who_takes_no_step_writes_nothing(tmp_path: Path, logs: AttemptLogs) -> None:
    """Nor does upkeep, which is told as detail: the last attempt stays."""
    LOGGER.warning("ledger.row_unreadable")
    LOGGER.debug("renewal-info.due domain=%s reason=%s", DOMAIN, "x")
    LOGGER.debug("renewal-info.done domain=%s", DOMAIN)
    end()
    assert list(tmp_path.iterdir()) == []
    assert read(tmp_path) == []


# --- what never is ------------------------------------------------------------------------------------------


def test_no_secret_is_in_it_whatever_is_logged(tmp_path: Path, logs: AttemptLogs) -> None:
    due()
    LOGGER.info("x key=%s", CANARY)
    LOGGER.debug("x url=https://alidns.aliyuncs.com/?Signature=%s", "planted")
    LOGGER.debug("x id=%s", "LTAI5tPlantedCanary1")
    error = RuntimeError(f"{CANARY}\n-----BEGIN EC PRIVATE KEY-----\nplanted\n")
    LOGGER.error("step.crashed", exc_info=error)
    text = path_of(tmp_path).read_text()
    assert "planted" not in text.lower().replace("ltai***", "")
    assert "id=LTAI***" in text
    assert "RuntimeError: ***\n         ***\n" in text


def test_foreign_text_cannot_forge_a_line_or_act_on_a_terminal(tmp_path: Path, logs: AttemptLogs) -> None:
    due()
    LOGGER.info("x detail=%s", "a\n   0.001 INFO forged\x1b[2J" + "x" * 10_000)
    lines = read(tmp_path)
    assert all(line.isprintable() and len(line) <= 1100 for line in lines)
    assert len(told(tmp_path)) == 2


# --- its file -----------------------------------------------------------------------------------------------


def test_its_file_is_for_its_owner_alone_and_no_link_in_its_place_is_followed(
    tmp_path: Path, logs: AttemptLogs
) -> None:
    path, victim = path_of(tmp_path), tmp_path / "victim"
    victim.write_text("precious")
    path.parent.mkdir(0o700)
    path.symlink_to(victim)
    before = os.umask(0)
    try:
        due()
    finally:
        os.umask(before)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert mode_of(path) == "0o600"


def test_it_stays_small_and_tells_how_the_run_ended(tmp_path: Path, logs: AttemptLogs) -> None:
    due()
    for i in range(5000):
        LOGGER.debug("dns.no_answer server=%d", i)
    end()
    *_, last, mark, ended = told(tmp_path)
    assert last.startswith("DEBUG   dns.no_answer server=")
    assert mark == "(what follows is left out, but for the end)"
    assert ended == "DEBUG   run.ended devbox.sweetlove.top: ok"
    assert MOST_BYTES <= SiteFile(tmp_path, DOMAIN).attempt_path.stat().st_size < MOST_BYTES + 200


def test_one_huge_error_does_not_fill_it(tmp_path: Path, logs: AttemptLogs) -> None:
    due()
    error = RuntimeError("a line of a text\n" * 100_000)
    LOGGER.error("step.crashed", exc_info=error)
    end()
    assert told(tmp_path)[-1] == "DEBUG   run.ended devbox.sweetlove.top: ok"
    assert SiteFile(tmp_path, DOMAIN).attempt_path.stat().st_size < MOST_BYTES / 2


def test_where_it_cannot_be_begun_the_run_goes_on(
    tmp_path: Path, logs: AttemptLogs, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once."""
    (tmp_path / "sites").write_text("a file")
    due("record")
    due("order")
    end()
    said = [record.getMessage() for record in caplog.records if "attempt_log" in record.getMessage()]
    assert said == [f"attempt_log.not_written file={path_of(tmp_path)} error=Not a directory"]


def test_where_it_cannot_be_gone_on_with_the_run_goes_on(
    tmp_path: Path, logs: AttemptLogs, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a full disk; here no file may grow any more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    due()
    written = path_of(tmp_path).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, before[1]))
    try:
        LOGGER.info("container.restarted")
        LOGGER.info("certificate.served")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    LOGGER.info("and so on")
    said = [record.getMessage() for record in caplog.records if "attempt_log" in record.getMessage()]
    assert said == [f"attempt_log.not_written file={path_of(tmp_path)} error=File too large"]
    assert len(told(tmp_path)) == 1


def test_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    path_of(tmp_path).mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot read"):
        read(tmp_path)
