"""A further site in the file: what is new in it, that nothing else is, and what is asked or refused."""

import json
import os
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.bed import assert_mode
from support.configs import CANARY, FULL
from support.fakes import FakeClock
from support.pages import ROOT

from certbotless.base import words
from certbotless.base.errors import ConfigError, StoreError, UsageError
from certbotless.base.locks import DaemonLock
from certbotless.cli.add import place
from certbotless.cli.add.run import run
from certbotless.cli.found import Engine, Running
from certbotless.cli.main import main
from certbotless.cli.questions import Ask
from certbotless.config import load
from certbotless.config.yaml_document import Document
from certbotless.state.local_ca import LocalCaFolder
from certbotless.world import local_ca
from certbotless.world.containers import Container, Settings

NEW = "registry2.sweetlove.top"
HEAD = f"aliyun:\n  access_key_id: {CANARY}Id\n  access_key_secret: {CANARY}Secret\n"
ONE = f"{HEAD}sites:\n  - domain: devbox.sweetlove.top\n"


def engine_with(*running: Running) -> Engine:
    return Engine("unix:///x", {each.container.name: each for each in running})


NO_ENGINE = Engine(fault="no Docker engine at 'unix:///x'")


def container(name: str, image: str, *ports: int, certs: str = "/certs", **environment: str) -> Running:
    made = Settings(image, environment, {Path("/certs"): Path(certs)}, 0, frozenset({0}))
    now, reads_all = datetime.now(UTC), "alpine" not in image
    return Running(Container(f"id-{name}", name, "running", ports, now, reads_all=reads_all), made)


REGISTRY = container("registry", "registry:2", 5000)
WEB = container("web", "nginx:alpine", 80, 443)
HUB = container("hub", "registry:2", 5443, certs="/srv/hub", REGISTRY_HTTP_DRAINTIMEOUT="30s")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(f"state_dir: {tmp_path}/state\n{ONE}")
    return path


def add(file: Path, *answers: str, engine: Engine = NO_ENGINE, terminal: bool = False, **options: Any) -> str:
    """Run the command; return what it prints. With answers, or as said, it is at a terminal."""
    said: list[str] = []
    left = [*answers]

    def ask(question: str, _is_secret: bool) -> str:
        said.append(f"? {question}")
        return left.pop(0)

    person: Ask | None = ask if answers or terminal else None
    run(file, {"domain": NEW} | options, person, said.append, lambda _: engine)
    assert left == []
    return "\n".join(said)


def inserted(before: bytes, after: bytes) -> str:
    """Return what is new, as whole lines if it can be; all else must be as it was, to the byte."""
    length = len(after) - len(before)
    places = [
        i for i in range(len(before) + 1) if before[:i] == after[:i] and before[i:] == after[i + length :]
    ]
    at = next((i for i in places if before[:i].endswith(b"\n")), places[0])
    return after[at : at + length].decode()


def site_in(file: Path) -> dict[str, Any]:
    """Return the last site of the file, as plain values."""
    site: dict[str, Any] = Document(file.read_bytes(), "").data["sites"][-1]
    return site


# --- the text -----------------------------------------------------------------------------------------------

SITE = {"domain": NEW, "names": [f"*.{NEW}"], "deploy": [{"container": "r2", "port": 5001}]}


@pytest.mark.parametrize(
    ("sites", "new", "rest"),
    [
        (
            "sites:\n  - domain: a.b.top   # mine\n",
            "  - domain: {}\n    names: [{}]\n    deploy:\n      - container: r2\n        port: 5001\n",
            "",
        ),
        (
            "sites:\n- domain: a.b.top\n  deploy:\n  - container: r\n",
            "- domain: {}\n  names: [{}]\n  deploy:\n  - container: r2\n    port: 5001\n",
            "\n# what follows\nparallel: 3\n",
        ),
        (
            "sites:\n    -   domain: a.b.top\n        deploy:\n        -   container: r\n",
            "    -   domain: {}\n        names: [{}]\n        deploy:\n"
            "        -   container: r2\n            port: 5001\n",
            "parallel: 3\n",
        ),
        (
            "sites:\n  - domain: a.b.top\n\n  - domain: c.b.top\n",
            "\n  - domain: {}\n    names: [{}]\n    deploy:\n      - container: r2\n        port: 5001\n",
            "\nparallel: 3\n",
        ),
    ],
)
def test_the_lines_are_indented_as_those_above(sites: str, new: str, rest: str) -> None:
    assert place.with_site(HEAD + sites + rest, SITE) == HEAD + sites + new.format(NEW, f'"*.{NEW}"') + rest


def test_comments_that_are_indented_belong_to_the_site_above_and_others_to_what_follows() -> None:
    above = f"{ONE}    # names: []\n\n      # - label: x\n  # the end of the sites\n"
    below = "\n# The folder.\ncerts_dir: /c\n"
    assert place.with_site(above + below, {"domain": NEW}) == f"{above}  - domain: {NEW}\n{below}"


def test_the_example_keeps_its_comments_with_its_site() -> None:
    text = (ROOT / "config/certbotless.example.yaml").read_text()
    assert place.with_site(text, {"domain": NEW}) == f"{text}  - domain: {NEW}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sites: []\n", f"sites:\n  - domain: {NEW}\n"),
        ("sites: [ ]   # none yet\nparallel: 3\n", f"sites:   # none yet\n  - domain: {NEW}\nparallel: 3\n"),
        ("sites: null\n", f"sites:\n  - domain: {NEW}\n"),
        ("sites:\n", f"sites:\n  - domain: {NEW}\n"),
        ("sites:\n  # - domain: x\nparallel: 3", f"sites:\n  # - domain: x\n  - domain: {NEW}\nparallel: 3"),
        ("parallel: 3", f"parallel: 3\n\nsites:\n  - domain: {NEW}\n"),
        ("parallel: 3\n...\n", f"parallel: 3\n\nsites:\n  - domain: {NEW}\n...\n"),
    ],
)
def test_a_file_without_a_site_gets_its_first(before: str, after: str, file: Path) -> None:
    file.write_text(HEAD + before)
    assert f"site {NEW} added" in add(file)
    assert file.read_text() == HEAD + after


@pytest.mark.parametrize(
    ("sites", "after"),
    [
        ("[{domain: a.b.top}]", f'[{{domain: a.b.top}}, {{"domain": "{NEW}"}}]'),
        ("[{domain: a.b.top},  # mine\n  ]", f'[{{domain: a.b.top}}, {{"domain": "{NEW}"}},  # mine\n  ]'),
    ],
)
def test_a_list_in_brackets_gets_an_entry_in_braces(sites: str, after: str, file: Path) -> None:
    file.write_text(f"{HEAD}sites: {sites}\n")
    add(file)
    assert file.read_text() == f"{HEAD}sites: {after}\n"


def test_a_file_in_json_stays_json(file: Path) -> None:
    data = Document(ONE.encode(), "").data
    file.write_text(json.dumps(data))
    printed = add(file)
    assert json.loads(file.read_text()) == {**data, "sites": [*data["sites"], {"domain": NEW}]}
    assert CANARY not in printed


COMMENTS = st.sampled_from(["", "", " # a", "\t# a\ttab", "   # 注: [x"])
BETWEEN = st.sampled_from(["", "", "\n", "# at the edge\n", "    # inside\n", "      # - container: x\n"])
ENDS = st.sampled_from(["", "\n", "\n# the end\n", "parallel: 3\n", "# next\nparallel: 3\n...\n", "   \n"])


@st.composite
def layouts(draw: st.DrawFn) -> bytes:
    """Return a file in one of the layouts that people and programs give it."""
    dash, offset, inner = (
        draw(st.sampled_from([0, 2, 4])),
        draw(st.sampled_from([2, 4])),
        draw(st.sampled_from([0, 2])),
    )
    lines = [f"sites:{draw(COMMENTS)}"]
    for i in range(draw(st.integers(1, 3))):
        quote = draw(st.sampled_from(["", "'", '"']))
        pad = " " * (dash + offset)
        lines.append(f"{' ' * dash}{'-'.ljust(offset)}domain: {quote}s{i}.b.top{quote}{draw(COMMENTS)}")
        further = [
            f"{pad}names: [x{i}.b.top,\n{pad}  'y{i}.b.top']{draw(COMMENTS)}",
            f"{pad}deploy:{draw(COMMENTS)}\n{pad}{' ' * inner}{'-'.ljust(offset)}container: r",
            f"{pad}ttl: 60{draw(COMMENTS)}",
            f"{pad}deploy: [{{container: r}}]{draw(COMMENTS)}",
            f"{pad}records: >-\n{pad}  domain",
        ]
        lines += draw(
            st.lists(st.sampled_from(further), max_size=2, unique_by=lambda each: each.split(":")[0])
        )
        lines[-1] += "\n" + draw(BETWEEN).rstrip("\n")
    text = HEAD + "\n".join(lines) + "\n" + draw(ENDS)
    if draw(st.booleans()):
        text = text.rstrip("\n")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from(["", "\ufeff"])).encode() + text.encode()


@given(layouts(), st.booleans())
def test_whatever_the_layout_each_byte_stays_and_the_file_says_one_site_more(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, is_local: bool
) -> None:
    try:
        before = load.parse(raw, "")
    except ConfigError:
        assume(False)
    path = tmp_path_factory.mktemp("layout") / "config.yaml"
    path.write_bytes(raw)
    options: dict[str, Any] = {"ca": "local", "with_address": True} if is_local else {}
    add(path, names="*.registry2.sweetlove.top", container="r2", port="5000", **options)
    new = inserted(raw, path.read_bytes())
    assert re.match(r"\s*- +domain: registry2\.sweetlove\.top\r?\n", new)
    assert ("\r\n" in new) == (b"\r\n" in raw)
    after = load.parse(path.read_bytes(), "")
    assert after.sites[:-1] == before.sites
    assert after.sites[-1].all_names == (f"*.{NEW}", NEW)
    assert (after.sites[-1].is_local, after.sites[-1].with_address) == (is_local, is_local)


def test_a_whole_file_of_every_key_gets_it(file: Path) -> None:
    file.write_text(FULL)
    add(file, domain="git2.sweetlove.top")
    words.speak("en")
    assert inserted(FULL.encode(), file.read_bytes()) == (
        "  - domain: git2.sweetlove.top\n    zone: sweetlove.top\n"
    )


# --- what cannot be edited ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{HEAD}? sites\n: []\n", "not written as `sites: []`"),
        ("{aliyun: {access_key_id: x, access_key_secret: y}}\n", "one mapping in braces"),
        (f"# \x85{ONE}", "the editor cannot read its layout"),
    ],
)
def test_what_to_add_is_printed_where_the_layout_is_none_to_edit(
    text: str, why: str, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    code = main(["add", NEW, "--config", str(file), "--no-container"])
    out, err = capfd.readouterr()
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(f"certbotless: {str(file)!r} is not changed: ")
    assert why in err
    assert out.endswith(
        f"Add this to the list `sites:` in {file}, then run certbotless check:\n\n  - domain: {NEW}\n"
    )
    assert file.read_text() == text


def test_a_file_with_faults_is_not_edited(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for text, fault in (
        (f"{ONE}    nmes: []\n", "unknown key 'nmes'"),
        (f"{HEAD}sites: [&a {{domain: a.b.top}}]\n", "YAML anchors and aliases are not supported"),
        ("sites: []\nparallel: 0\n", "parallel: 0 is outside"),
        ("- a\n", "must be a mapping"),
        ("", "must be a mapping"),
        (f"{HEAD}sites: [a\n", "this list is never closed"),
    ):
        file.write_text(text)
        assert main(["add", NEW, "--config", str(file), "--no-container"]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert fault in err
        assert err.startswith(str(file))
        assert file.read_text() == text


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["add", NEW, "--config", str(tmp_path / "none.yaml")]) == 2
    assert "no configuration yet at" in capfd.readouterr().err
    assert main(["--config", "-", "add", NEW]) == 2
    assert "give its name with --config FILE" in capfd.readouterr().err


@pytest.mark.parametrize("command", [["check"], ["add", NEW]])
def test_who_may_not_read_the_file_is_led_to_sudo(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "etc" / "config.yaml"
    file.parent.mkdir(0)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        assert main([*command, "--config", str(file)]) == 2
    finally:
        os.seteuid(user)
    assert (
        capfd.readouterr().err
        == f"{file}: this user may not read it; use sudo (for the service: 0640 root:certbotless)\n"
    )


def test_who_may_not_read_the_file_in_a_container_is_led_to_its_group(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The image has no sudo, and does not list its user."""
    file = tmp_path / "config.yaml"
    file.touch(0o600)
    user, group = os.geteuid(), os.getegid()
    os.setegid(10001)
    os.seteuid(10001)
    try:
        assert main(["check", "--config", str(file)]) == 2
    finally:
        os.seteuid(user)
        os.setegid(group)
    said = (
        f"{file}: user 10001 may not read it; if this is a container, on the host: chgrp 10001 and chmod 0640"
    )
    assert capfd.readouterr().err == f"{said}\n"


# --- files --------------------------------------------------------------------------------------------------


def test_the_file_keeps_mode_and_link_and_nothing_stays_beside_it(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to("config.yaml")
    folder = set(tmp_path.iterdir())
    before = file.read_bytes()
    add(link)
    assert os.readlink(link) == "config.yaml"
    assert_mode(file, 0o640)
    assert set(tmp_path.iterdir()) == folder
    assert inserted(before, file.read_bytes()) == f"  - domain: {NEW}\n"


def test_a_dry_run_shows_the_difference_without_secrets_and_writes_nothing(file: Path) -> None:
    before = file.read_bytes(), file.stat().st_ino
    shown = add(file, only_show=True)
    assert f"\n+  - domain: {NEW}" in shown
    assert f"--- {file}\n+++ {file}\n@@ -4,3 +4,4 @@\n" in shown
    assert CANARY not in shown
    assert (file.read_bytes(), file.stat().st_ino) == before


def test_an_edit_of_somebody_else_meanwhile_is_not_lost(file: Path) -> None:
    said: list[str] = []

    def ask(_question: str, _is_secret: bool) -> str:
        file.write_text(f"{ONE}# mine\n")
        return ""

    with pytest.raises(StoreError, match="another program has changed it meanwhile"):
        run(file, {"domain": NEW}, ask, said.append, lambda _: NO_ENGINE)
    assert file.read_text() == f"{ONE}# mine\n"
    assert f"+  - domain: {NEW}" in "\n".join(said)


@pytest.mark.process
@pytest.mark.parametrize("options", [[], ["-o", "remount,bind,ro"]], ids=["of its own", "read-only"])
def test_a_file_that_is_a_mount_is_not_written_and_what_to_add_is_printed(
    options: Sequence[str], file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As of `docker run -v FILE:FILE`: nothing can be renamed over it."""
    before = file.read_bytes()
    subprocess.run(["mount", "--bind", file, file], check=True)
    try:
        if options:
            subprocess.run(["mount", *options, file], check=True)
        assert main(["add", NEW, "--no-container", "--config", str(file)]) == 1
    finally:
        subprocess.run(["umount", file], check=True)
    out, err = capfd.readouterr()
    assert f"Make this change to {file}, then run certbotless check:\n" in out
    assert f"\n+  - domain: {NEW}\n" in out
    assert err.startswith(f"certbotless: cannot write {str(file)!r}: ")
    assert err.count("\n") == 1
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


# --- what is asked ------------------------------------------------------------------------------------------


def test_without_a_terminal_and_options_it_is_a_site_without_a_target(file: Path) -> None:
    printed = add(file)
    assert site_in(file) == {"domain": NEW}
    assert "containers" not in printed
    assert f"{file}: site {NEW} added\n\n  - domain: {NEW}\n" in printed
    assert printed.endswith(f"no daemon runs. See what it would do: certbotless --config {file} plan {NEW}")


def test_the_next_step_names_the_daemon_that_runs(file: Path, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with DaemonLock(tmp_path / "state", FakeClock()):
        printed = add(file)
    assert f"the daemon (pid {os.getpid()}) reads the file by itself" in printed
    assert printed.endswith(f"certbotless --config {file} status {NEW}")


def test_a_person_chooses_among_the_containers_by_number(file: Path) -> None:
    engine = engine_with(HUB, REGISTRY, WEB)
    printed = add(file, "*.a.b", NEW, "9", "b c", "2", engine=engine, domain=None)
    assert printed.startswith(
        "? Domain of the new site, like registry2.example.com: \n  not taken: '*.a.b' is a wildcard"
    )
    question = "? Container that uses the certificate: its number, another name, or none [none]: "
    assert (
        "Containers that run here:\n  1  hub (registry:2), published ports: 5443\n"
        "  2  registry (registry:2), published ports: 5000\n"
        f"  3  web (nginx:alpine), published ports: 80, 443\n{question}\n"
        "  not taken: there is no container with number 9\n"
    ) in printed
    assert "'b c' is not a container name" in printed
    assert site_in(file) == {"domain": NEW, "deploy": [{"container": "registry"}]}


def test_the_one_registry_that_no_site_has_is_the_default(file: Path) -> None:
    file.write_text(f"{ONE}    deploy:\n      - container: registry\n")
    printed = add(file, "", engine=engine_with(HUB, REGISTRY))
    assert "or none [hub]: " in printed
    target = {"container": "hub", "stop_timeout": "35s"}
    assert site_in(file) == {"domain": NEW, "certs_dir": "/srv/hub", "deploy": [target]}


@pytest.mark.parametrize(
    ("answers", "deploy"),
    [
        (("2", "70000", "443"), [{"container": "web", "port": 443}]),
        (("web", "none"), [{"container": "web", "port": "none"}]),
        (("none",), None),
        (("",), [{"container": "registry"}]),
    ],
)
def test_a_port_is_asked_for_where_there_are_several(
    answers: Sequence[str], deploy: list[dict[str, Any]] | None, file: Path
) -> None:
    printed = add(file, *answers, engine=engine_with(REGISTRY, WEB))
    assert site_in(file).get("deploy") == deploy
    assert ("must be a port number" in printed) == ("70000" in answers)
    assert ("web cannot read a key of mode 0600" in printed) == ("web" in str(deploy))


def test_where_no_engine_answers_its_name_is_asked_for(file: Path) -> None:
    printed = add(file, "12")
    assert "No container was found: no Docker engine" in printed
    assert "Container that uses the certificate: a name, or none [none]" in printed
    assert site_in(file)["deploy"] == [{"container": "12"}]


def test_nothing_is_asked_where_all_is_given(file: Path) -> None:
    options = {"container": "r2", "port": "git.lan:443", "names": f"*.{NEW}，git.sweetlove.top,{NEW}"}
    printed = add(file, terminal=True, engine=engine_with(REGISTRY), **options)
    assert "no container 'r2' runs now" in printed
    assert site_in(file) == {
        "domain": NEW,
        "names": [f"*.{NEW}", "git.sweetlove.top"],
        "deploy": [{"container": "r2", "port": "git.lan:443"}],
    }
    add(file, terminal=True, domain="a.sweetlove.top", no_container=True)
    assert site_in(file) == {"domain": "a.sweetlove.top"}


def test_a_registry_that_looks_for_other_files_is_pointed_out(file: Path) -> None:
    other = container("r2", "registry:2", 1, REGISTRY_HTTP_TLS_CERTIFICATE="/certs/x.pem")
    printed = add(file, container="r2", engine=engine_with(other))
    assert f"r2 does not look for its certificate at /certs/{NEW}.pem: see docs/registry.md" in printed


def test_zone_and_address_are_those_of_the_others(file: Path) -> None:
    file.write_text(f"{ONE}    zone: sweetlove.top\n    address: auto:10.0.0.0/8\n")
    add(file)
    assert site_in(file) == {"domain": NEW, "zone": "sweetlove.top", "address": "auto:10.0.0.0/8"}
    assert "not in a zone" not in add(file, domain="deep.git.sweetlove.top")


def test_a_list_of_addresses_is_that_of_the_others(file: Path) -> None:
    file.write_text(f"{ONE}    zone: sweetlove.top\n    address: [10.0.0.5, 10.0.0.6]\n")
    add(file)
    assert site_in(file)["address"] == ["10.0.0.5", "10.0.0.6"]


def test_a_site_of_the_local_ca_has_no_zone_to_be_in(file: Path) -> None:
    file.write_text(f"{ONE}  - {{domain: devbox, ca: local}}\n")
    assert "of the other sites (sweetlove.top): " in add(file, domain="git.example.com")


@pytest.mark.parametrize("further", ["", "    zone: sweetlove.top\n"])
def test_a_name_outside_of_the_other_zones_is_a_note(further: str, file: Path) -> None:
    file.write_text(ONE + further)
    printed = add(file, domain="git.example.com")
    (note,) = [line for line in printed.splitlines() if line.startswith("Note: ")]
    assert note.startswith("Note: git.example.com is not in a zone of the other sites (sweetlove.top): ")
    assert site_in(file) == {"domain": "git.example.com"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["devbox.sweetlove.top"], "DOMAIN: the file has a site 'devbox.sweetlove.top' already"),
        (["DEVBOX.sweetlove.top."], "DOMAIN: the file has a site 'devbox.sweetlove.top' already"),
        (["*.sweetlove.top"], "DOMAIN: '*.sweetlove.top' is a wildcard"),
        (["nas.lan"], "DOMAIN: no public CA gives a certificate for a name in .lan"),
        (
            ["nas"],
            "DOMAIN: 'nas' has no domain: write the full name, like nas.example.com; for a CA on this ma",
        ),
        (["nas.lan", "--ca", "acme"], "DOMAIN: no public CA gives a certificate for a name in .lan"),
        (["com", "--ca", "local"], "DOMAIN: 'com' is too much to vouch for"),
        (["nas", "--ca", "local", "--names", "8.8.8.8"], "--names: '8.8.8.8' is not an address of a LAN"),
        ([NEW, "--with-address"], "--with-address goes with --ca local"),
        ([NEW, "--ca", "public"], "argument --ca: invalid choice: 'public'"),
        ([], "standard input is not a terminal: give DOMAIN\n"),
        ([NEW, "--names", "a.b.top,c"], "--names: 'c' has no domain"),
        ([NEW, "--names", "*.sweetlove.top"], "the new site: sites[1].names[0]: '*.sweetlove.top' covers"),
        ([NEW, "--container", "a b"], "--container: 'a b' is not a container name"),
        ([NEW, "--port", "443"], "--port goes with --container"),
        ([NEW, "--no-container", "--port", "443"], "--port goes with --container"),
        ([NEW, "--container", "r", "--port", "0"], "--port: must be a port number"),
        ([NEW, "--container", "r", "--no-container"], "argument --no-container: not allowed with"),
        ([NEW, "more"], "unrecognized arguments: more"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    options: Sequence[str], said: str, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f"docker: {{host: 'unix://{file}.sock'}}\n{ONE}")
    before = file.read_bytes()
    assert main(["add", "--config", str(file), *options]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"certbotless: {said}")
    assert err.count("\n") == 1
    assert file.read_bytes() == before


def test_a_container_with_several_ports_needs_one_without_a_terminal(file: Path) -> None:
    with pytest.raises(UsageError, match=r"'web' publishes the ports 80, 443: give --port PORT"):
        add(file, container="web", engine=engine_with(WEB))


def test_a_dry_run_of_another_command_is_not_taken_for_one(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    assert main(["--config", str(file), "--dry-run", "add", NEW]) == 2
    assert "--dry-run goes with --renew-now, or after add" in capfd.readouterr().err
    assert main(["--config", str(file), "add", NEW, "--dry-run"]) == 0
    assert file.read_bytes() == before


def test_an_end_of_the_input_writes_nothing(file: Path) -> None:
    def ask(_question: str, _is_secret: bool) -> str:
        raise EOFError

    before = file.read_bytes()
    with pytest.raises(UsageError, match="nothing is written"):
        run(file, {"domain": NEW}, ask, lambda _: None, lambda _: NO_ENGINE)
    assert file.read_bytes() == before


def test_it_speaks_the_language_of_the_file(file: Path) -> None:
    file.write_text(f"language: zh\n{ONE}")
    printed = add(file, "1", engine=engine_with(REGISTRY))
    assert "使用证书的容器" in printed


# --- a site of the local CA ---------------------------------------------------------------------------------

LOCAL_ALONE = "# No account.\nsites:\n  - domain: devbox\n    ca: local\n"


@pytest.mark.parametrize(
    "before", [ONE, LOCAL_ALONE, "certs_dir: /c\n", "sites: []\nlocal_ca: {permit: [lan]}\n"]
)
def test_a_local_site_needs_no_account_and_no_other_byte_changes(before: str, file: Path) -> None:
    before = f"state_dir: {file.parent}/state\n{before}"
    file.write_text(before)
    options: dict[str, Any] = {
        "ca": "local",
        "names": "nas2.lan,*.nas.lan",
        "with_address": True,
        "container": "r2",
    }
    printed = add(file, domain="NAS.lan", **options)
    site = {"domain": "nas.lan", "ca": "local", "names": ["nas2.lan", "*.nas.lan"], "with_address": True}
    assert site_in(file) == site | {"deploy": [{"container": "r2"}]}
    lines = file.read_text().splitlines()
    assert all(line in lines for line in before.replace("sites: []", "sites:").splitlines())
    assert (
        f"plan nas.lan\nThen each client needs the root. What to type there: certbotless --config {file}"
        in printed
    )
    assert "Note: " not in printed
    assert load.load(file).sites[-1].is_local


@pytest.mark.parametrize("domain", ["devbox2", "nas.lan", "192.168.1.2"])
def test_a_name_of_the_lan_has_the_local_ca_offered(domain: str, file: Path) -> None:
    """An address has no other address beside it."""
    answers = ["y", "none"] if domain[0].isdigit() else ["y", "y", "none"]
    printed = add(file, *answers, domain=domain)
    assert f"No public CA certifies {domain}; a CA on this machine can (docs/local-ca.md).\n" in printed
    assert "Each client must then get its root once. Use it? [y/N]: \n" in printed
    with_address = {} if domain[0].isdigit() else {"with_address": True}
    assert site_in(file) == {"domain": domain, "ca": "local"} | with_address


def test_no_to_the_local_ca_writes_nothing(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(UsageError, match="no public CA gives a certificate for a name in"):
        add(file, "nas.lan", "n", domain=None)
    assert file.read_bytes() == before


def test_a_public_name_may_be_certified_by_the_local_ca_and_then_has_no_zone(file: Path) -> None:
    file.write_text(f"{ONE}    zone: sweetlove.top\n    address: auto:10.0.0.0/8\n")
    add(file, ca="local")
    assert site_in(file) == {"domain": NEW, "ca": "local", "address": "auto:10.0.0.0/8"}


def test_a_public_site_in_a_file_without_an_account_is_refused(file: Path) -> None:
    file.write_text(LOCAL_ALONE)
    with pytest.raises(
        UsageError, match="needs an AccessKey, and the file has no aliyun; write it into the file"
    ):
        add(file)
    assert file.read_text() == LOCAL_ALONE


def test_a_name_that_the_root_may_not_vouch_for_is_a_note(file: Path, tmp_path: Path) -> None:
    made = local_ca.make("devbox", ("lan", "devbox"), datetime.now(UTC))
    (tmp_path / "state").mkdir()
    LocalCaFolder(tmp_path / "state").make(made)
    assert "Note: " not in add(file, domain="nas.lan", ca="local")
    printed = add(file, domain="nas", ca="local")
    assert "Note: the root may not vouch for nas: certbotless trust rotate makes one that may." in printed


# --- a certificate that others share ------------------------------------------------------------------------


def test_a_new_site_shares_the_certificate_of_the_others_if_it_covers_it(file: Path) -> None:
    """One of its own would show its name in the public logs, where the names of the others are not."""
    file.write_text(f"{HEAD}sites:\n  - domain: a.sweetlove.top\n    certificate: '*.sweetlove.top'\n")
    said = add(file)
    assert site_in(file) == {"domain": NEW, "certificate": "*.sweetlove.top"}
    assert "Note: it shares the certificate *.sweetlove.top with 1 site." in said
    add(file, domain="b.sweetlove.top", names="b.lan.sweetlove.top")
    assert "certificate" not in site_in(file)
    assert "with 2 sites" in add(file, domain="c.sweetlove.top")
    add(file, domain="sweetlove.top")
    assert "certificate" not in site_in(file)
