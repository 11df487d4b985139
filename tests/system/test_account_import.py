"""Accounts that acme.sh, certbot and lego have made at the CA are used by us: no other one is made."""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.bed import DOMAIN, Bed, assert_mode
from support.commands import completed
from support.pages import Reading
from support.programs import within_reach

from certbotless.sandbox.pebble import Pebble

HOST = "127.0.0.1"


def run(home: Path, command: list[str], ca: Pebble, **environment: str) -> None:
    done = completed(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        timeout_s=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def by_acme_sh(home: Path, ca: Pebble, *options: str) -> Path:
    command = ["acme.sh", "--register-account", "--server", ca.directory_url, "--home", str(home)]
    run(home, [*command, "--config-home", str(home), *options], ca, CURL_CA_BUNDLE=str(ca.ca_bundle))
    return home


def closed_by_acme_sh(home: Path, ca: Pebble) -> Path:
    """Return the key of an account that was made, and closed."""
    (key,) = by_acme_sh(home, ca).rglob("account.key")
    kept = shutil.copy(key, home / "closed.key")
    command = ["acme.sh", "--deactivate-account", "--server", ca.directory_url, "--home", str(home)]
    run(home, [*command, "--config-home", str(home)], ca, CURL_CA_BUNDLE=str(ca.ca_bundle))
    return Path(kept)


def by_acme_sh_p384(home: Path, ca: Pebble) -> Path:
    return by_acme_sh(home, ca, "--accountkeylength", "ec-384")


def by_certbot(home: Path, ca: Pebble) -> Path:
    folders = [f"--{name}-dir={home / name}" for name in ("config", "work", "logs")]
    command = ["certbot", "register", "--server", ca.directory_url, "--agree-tos", "-m", "you@example.com"]
    run(home, [*command, "-n", *folders], ca, REQUESTS_CA_BUNDLE=str(ca.ca_bundle))
    return home / "config"


def by_lego(home: Path, ca: Pebble) -> Path:
    # It makes an account only with an order, which fails here: nobody solves the challenge.
    command = ["lego", "--server", ca.directory_url, "--path", str(home), "--email", "you@example.com"]
    completed(
        [*command, "--accept-tos", "--domains", DOMAIN, "--http", "--http.port", f"{HOST}:5002", "run"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LEGO_CA_CERTIFICATES": str(ca.ca_bundle)},
        timeout_s=120,
    )
    return home


def url_of(folder: Path) -> str:
    """Return the URL of the account that a client has noted."""
    for path in folder.rglob("*"):
        if path.name == "regr.json":
            return str(json.loads(path.read_text())["uri"])
        if path.name == "account.json":
            return str(json.loads(path.read_text())["registration"]["uri"])
        if path.name == "ca.conf":
            lines = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
            return lines["ACCOUNT_URL"].strip("'")
    raise AssertionError(f"no account in {folder}")


# Each with the line of the page that is about it.
AUTHORS: dict[Callable[[Path, Pebble], Path], int] = {by_acme_sh: 0, by_certbot: 1, by_lego: 2}


def account_of(bare: Bed) -> dict[str, str]:
    [path] = (bare.state / "accounts").glob("*/account.json")
    found: dict[str, str] = json.loads(path.read_text())
    return found


@pytest.mark.page("docs/coming-from.md", "account")
@pytest.mark.parametrize("author", AUTHORS, ids=lambda author: author.__name__.removeprefix("by_"))
def test_an_account_of_another_client_is_used_from_now_on(
    bare: Bed, ca: Pebble, tmp_path: Path, paper: Reading, author: Callable[[Path, Pebble], Path]
) -> None:
    """The order is placed under its URL, and the CA makes no account."""
    home = tmp_path / "other"
    home.mkdir()
    folder = author(home, ca)
    url = url_of(home)
    assert (before := made(ca)) > 0
    line = paper.commands("docs/coming-from.md", "account")[AUTHORS[author]]
    program, *words, path = shlex.split(line)
    assert (program, path[0] in "~/") == ("certbotless", True)
    said = bare.ok(*words, str(folder))
    assert f"the account {url} is used from now on" in said
    assert "do not change the key of this account with the old client" in said
    assert account_of(bare) == {"url": url}
    bare.ok("--once")
    assert made(ca) == before
    assert bare.rows("account") == []
    assert account_of(bare) == {"url": url}
    [finding] = [each for each in bare.checks() if each["check"] == "account"]
    assert (finding["level"], finding["text"]) == ("ok", url)
    again = bare.ok("account", "import", str(folder))
    assert f"the account {url} is in use already" in again
    shutil.rmtree(home)


def made(ca: Pebble) -> int:
    """Return how many accounts the CA has made; one that it knew is none."""
    return ca.log.read_text().count("accounts in memory")


def test_the_account_before_is_kept_beside_and_a_key_that_the_ca_does_not_know_changes_nothing(
    bare: Bed, ca: Pebble, tmp_path: Path
) -> None:
    bare.ok("--once")
    [key] = (bare.state / "accounts").glob("*/key.pem")
    ours, url = key.read_bytes(), account_of(bare)["url"]
    unknown = tmp_path / "unknown.pem"
    completed(["openssl", "genpkey", "-algorithm", "RSA", "-out", str(unknown)])
    done = bare.run("account", "import", str(unknown))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "knows no account with this key" in done.stderr
    assert (key.read_bytes(), account_of(bare)["url"]) == (ours, url)

    home = tmp_path / "other"
    home.mkdir()
    said = bare.ok("account", "import", str(by_acme_sh_p384(home, ca)))
    assert f"before: {url}; its key is kept as key.pem.old" in said
    assert key.with_suffix(".pem.old").read_bytes() == ours
    assert account_of(bare)["url"] != url
    bare.ok("--renew-now")
    assert len(bare.rows("account")) == 1
    done = bare.run("account", "import", str(tmp_path / "certs"))
    assert (done.returncode, "no account of acme.sh, certbot or lego" in done.stderr) == (1, True)
    done = bare.run("account", "import", str(home), "--directory", "litessl")
    assert (done.returncode, "acme has no CA 'litessl'" in done.stderr) == (2, True)


def test_an_account_that_was_closed_changes_nothing(bare: Bed, ca: Pebble, tmp_path: Path) -> None:
    home = tmp_path / "other"
    home.mkdir()
    done = bare.run("account", "import", str(closed_by_acme_sh(home, ca)))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "has closed the account of this key" in done.stderr
    assert [*bare.state.glob("accounts/*/*")] == []


def test_root_reads_the_folder_and_the_owner_of_the_state_has_the_account(
    bare: Bed, ca: Pebble, tmp_path: Path, user: int
) -> None:
    """At a later CA of a list, whose name is given."""
    home = tmp_path / "other"
    home.mkdir(mode=0o700)
    folder = by_certbot(home, ca)
    bare.state.mkdir(mode=0o700)
    os.chown(bare.state, user, user)
    bare.config["acme"] = [{"directory": "https://127.0.0.1:1/dir"}, bare.config["acme"]]
    with within_reach(bare):
        said = bare.ok("account", "import", str(folder), "--directory", ca.directory_url)
    assert f"the account {url_of(home)} is used from now on" in said
    assert account_of(bare) == {"url": url_of(home)}
    assert {path.stat().st_uid for path in bare.state.rglob("*")} == {user}
    (key,) = (bare.state / "accounts").glob("*/key.pem")
    assert_mode(key, 0o600)
