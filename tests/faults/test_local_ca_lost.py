"""The local CA is damaged, goes back to a copy, or does not fit the time: one line says what to do."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from support.bed import Bed, files_below
from support.commands import completed
from support.local_cas import new_ca, put_ca
from support.wall_clock import WallClock

from certbotless.state.local_ca import LocalCaFolder

DAY = timedelta(days=1)
LIFE = timedelta(days=3652)


def folder_of(bed: Bed) -> Path:
    return bed.state / "local-ca"


def leaf_of(bed: Bed) -> x509.Certificate:
    return x509.load_pem_x509_certificates((bed.certs / "devbox.pem").read_bytes())[0]


@pytest.mark.row(103)
def test_a_damaged_file_is_one_line_with_two_ways_out_and_its_copy_brings_all_of_it_back(local: Bed) -> None:
    """Cut short, or of another CA: the next check says so. Nothing is made again; the certificate stays."""
    local.ok("--once")
    folder, copy, other = folder_of(local), local.home / "copy", new_ca()
    shutil.copytree(folder, copy)
    before, leaf = LocalCaFolder(local.state).load(), leaf_of(local)
    damages = {
        "root.pem": other.root_pem,
        "issuing.pem": (folder / "issuing.pem").read_bytes()[:-100],
        "issuing.key": other.issuing_key,
        "ca.json": (folder / "ca.json").read_bytes()[:-100],
    }
    for name, data in damages.items():
        (folder / name).write_bytes(data)
        damaged = files_below(folder)
        [site] = local.status()["sites"]
        assert site["state"] == "failing", name
        assert f"the local CA in '{folder}' is damaged" in site["reason"], name
        line = local.refused("--renew-now", "--force")
        assert f"the local CA in '{folder}' is damaged; put your copy of the folder back" in line, name
        assert "certbotless trust rotate --now" in line
        assert files_below(folder) == damaged
        assert leaf_of(local) == leaf
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
    assert local.status()["sites"][0]["state"] == "ok"
    local.ok("--renew-now", "--force")
    assert LocalCaFolder(local.state).load() == before


@pytest.mark.row(103)
def test_a_copy_from_before_a_switch_lets_the_old_root_sign_again(local: Bed) -> None:
    """That is what was asked for: clients that have both roots notice nothing."""
    local.ok("--once")
    folder, copy = folder_of(local), local.home / "copy"
    local.ok("trust", "rotate")
    shutil.copytree(folder, copy)
    first = local.status()["local_ca"]
    local.ok("trust", "switch")
    local.ok("--once")
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    assert "the certificate is from local:" in local.ok("plan")
    local.ok("--once")
    found = local.status()
    assert found["local_ca"] == first
    assert found["sites"][0]["certificate"]["ca"] == f"local:{first['root_sha256'][:16]}"


@pytest.mark.row(104)
@pytest.mark.parametrize("age", [-2 * DAY, LIFE + DAY], ids=["before its life", "after it"])
def test_a_root_that_is_not_valid_now_signs_nothing_and_is_not_replaced_by_itself(
    local: Bed, age: timedelta
) -> None:
    """The clock may be wrong. If it is right, one command makes a root that signs."""
    put_ca(local.state, age)
    before = files_below(folder_of(local))
    for line in (local.refused("--once"), local.refused("--renew-now", "--force")):
        assert "the local CA is valid from 20" in line
        assert "set this machine's clock; if it is right: certbotless trust rotate --now" in line
    [finding] = [each for each in local.checks() if each["check"] == "local CA" and each["level"] == "fail"]
    assert finding["text"].startswith("the local CA is valid from 20")
    assert files_below(folder_of(local)) == before
    assert not (local.certs / "devbox.pem").exists()
    local.ok("trust", "rotate", "--now")
    local.ok("--renew-now")


@pytest.mark.row(105)
def test_a_certificate_that_was_signed_while_the_clock_was_ahead_is_replaced_when_it_is_right(
    local: Bed, tmp_path: Path
) -> None:
    local.ok("--once")
    wall = WallClock(tmp_path / "faketime")
    wall.move(2 * DAY)
    done = completed(local.command("--renew-now"), env=os.environ | wall.environment)
    assert done.returncode == 0, done.stderr
    assert leaf_of(local).not_valid_before_utc > datetime.now(UTC) + DAY
    local.ok("--once")
    assert leaf_of(local).not_valid_before_utc < datetime.now(UTC)


@pytest.mark.row(106)
def test_a_root_whose_end_is_near_gets_its_next_one_at_once_and_a_person_is_asked_to_hurry(
    local: Bed,
) -> None:
    """As where no run was made for years. A certificate ends with the root at the latest."""
    ca = put_ca(local.state, LIFE - 20 * DAY)
    local.ok("--once")
    assert leaf_of(local).not_valid_after_utc == ca.not_after
    found = local.status()
    assert (found["sites"][0]["state"], found["local_ca"]["root_sha256"]) == ("ok", ca.root_sha256)
    assert found["local_ca"]["next"] is not None
    checks = [each for each in local.checks() if each["check"] == "local CA"]
    cure = "when every client has the next root: certbotless trust switch"
    assert [(each["level"], each["cure"]) for each in checks] == [("warn", cure)]
    local.ok("trust", "switch")
    local.ok("--once")
    assert leaf_of(local).not_valid_after_utc > ca.not_after
