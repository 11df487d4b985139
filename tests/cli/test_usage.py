"""How a command is typed: its help, its language, and each slip as one line."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.boxes import DOMAIN, Box, Told, assert_refused

from certbotless import __version__
from certbotless.cli.arguments import parse
from certbotless.cli.main import main


def ended(*arguments: str) -> int:
    """Return the code with which a command ends that argparse itself answers."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


# --- help -------------------------------------------------------------------------------------------------


def test_help_names_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    """What each has of its own is on the page of the manual, which is made from the parser."""
    assert ended("--help") == 0
    text = capfd.readouterr().out
    options = ("--config", "--once", "--renew-now", "--force", "/etc/certbotless/config.yaml")
    commands = ("check", "plan", "status", "doctor", "notify-test", "init", "sandbox")
    assert [word for word in (*options, *commands) if word not in text] == []


def test_help_is_told_in_the_language_of_the_reader(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert ended("--help") == 0
    help_ = capfd.readouterr().out
    assert "检查配置文件，无需网络" in help_
    for command in ([], ["add"], ["trust"], ["trust", "export"]):
        assert ended(*command, "--help") == 0
        help_ = capfd.readouterr().out
        assert help_.startswith("用法：certbotless ")
        assert "\n选项:\n" in help_
        assert not re.search("usage|options|positional", help_)


def test_the_version_is_that_of_the_package(capfd: pytest.CaptureFixture[str]) -> None:
    for option in ("--version", "-V"):
        assert ended(option) == 0
        assert capfd.readouterr().out == f"certbotless {__version__}\n"


@pytest.mark.process
def test_the_installed_command_is_the_module() -> None:
    """Both ways to start it print the same."""
    script = Path(sys.executable).with_name("certbotless")
    for command in ([script], [sys.executable, "-m", "certbotless"]):
        run = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert run.stdout == f"certbotless {__version__}\n"


# --- usage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc"], "没有命令 'chekc'；最接近的是 'check'"),
        (["--config"], "参数 -c/--config：缺少一个值；参见 certbotless --help"),
        (["check", "extra"], "无法识别的参数：extra；参见 certbotless --help"),
        (["--once", "--forc"], "无法识别的参数：--forc；参见 certbotless --help"),
        (["--once", "--renew-now"], "参数 --renew-now：不能与 --once 同时使用；参见 certbotless --help"),
        (["check", "--strict=x"], "参数 --strict：不接受值 'x'；参见 certbotless check --help"),
        (["account", "import"], "缺少必需的参数：PATH；参见 certbotless account import --help"),
        # How the choices are quoted depends on the version of Python.
        (["trust", "export", "--format", "p7b"], "参数 --format：无效的值 'p7b'（可选："),
    ],
)
def test_every_slip_of_the_command_line_is_told_in_the_language_of_the_reader(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that argparse words."""
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert main(arguments) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"certbotless: {said}")
    assert not re.search("argument|invalid|choose", line)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "there is no command 'nonsense'; the commands are check, plan, status, "),
        (["renew"], "there is no command 'renew'; use: certbotless --renew-now [DOMAIN ...]"),
        (["run", DOMAIN], "there is no command 'run'; use: certbotless --once [DOMAIN ...]"),
        (["issue"], "there is no command 'issue'; use: certbotless --once [DOMAIN ...]"),
        (["list"], "there is no command 'list'; use: certbotless status"),
        (["ad", DOMAIN], "there is no command 'ad'; the nearest one is 'add'"),
        (["remove"], "there is no command 'remove'; use: an editor, to delete the site from the file"),
        (["version"], "there is no command 'version'; use: certbotless --version"),
        (["help"], "there is no command 'help'; use: certbotless --help"),
        (["chek"], "there is no command 'chek'; the nearest one is 'check'"),
        (["--force", "statsu", "--json"], "there is no command 'statsu'; the nearest one is 'status'"),
        (["--config", "plan", "paln"], "there is no command 'paln'; the nearest one is 'plan'"),
        ([DOMAIN], f"there is no command '{DOMAIN}'; a DOMAIN goes with --once, --renew-now, status or plan"),
        (["--dry-run", DOMAIN], f"there is no command '{DOMAIN}'; a DOMAIN goes with "),
        (["x\x1b[2J"], "there is no command 'x\\\\x1b[2J'; the commands are "),
        (["--nonsense"], "there is no option '--nonsense'; see certbotless --help"),
        (["--renew", DOMAIN], "there is no option '--renew'; see certbotless --help"),
        (["-x", "c.yaml", "check"], "there is no option '-x'; see certbotless --help"),
        (["--once", "--forc"], "unrecognized arguments: --forc; see certbotless --help"),
        (["--config"], "argument -c/--config: expected one argument"),
        (["check", "extra"], "unrecognized arguments: extra"),
        (["status", DOMAIN, "extra"], "unrecognized arguments: extra"),
        (["status", "--jsn"], "unrecognized arguments: --jsn"),
        (["--once", "--renew-now"], "argument --renew-now: not allowed with argument --once"),
        (["--renew-now", "--once", DOMAIN], "argument --once: not allowed with argument --renew-now"),
        (["--force"], "--force goes with --renew-now"),
        (["--force", "check"], "--force goes with --renew-now"),
        (["--dry-run", "plan"], "--dry-run goes with --renew-now"),
        (["--once", "--force"], "--force goes with --renew-now"),
        (["--once", "--dry-run"], "--dry-run goes with --renew-now"),
        (["--dry-run"], "--dry-run goes with --renew-now"),
        (["--once", "check"], "check does not go with --once or --renew-now"),
        (["check", "--once"], "check does not go with --once or --renew-now"),
        (["--config", "c", "--renew-now", DOMAIN, "status"], "status does not go with --once or --renew-now"),
        (["plan", "--renew-now", "--force"], "plan does not go with --once or --renew-now"),
        (["--once", "--config", "c", "sandbox"], "sandbox does not go with --once or --renew-now"),
        (["doctor", "--probe", "--json"], "--probe prints one text; leave --json out"),
        (["status", "--watch"], "--watch needs a terminal, and standard output is not one; leave it out"),
        (
            ["status", "--watch", "--json"],
            "--watch does not go with --json; use: watch certbotless status --json",
        ),
        (["status", "--watch", "--config", "-"], "--watch reads the file again and again"),
    ],
)
def test_bad_usage_is_2_and_one_line(
    arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"certbotless: {said}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--renew-now", "nobody.example.com"],
        ["--renew-now", DOMAIN, "nobody.example.com"],
        ["--renew-now", "--force", "nobody.example.com"],
        ["--renew-now", "--dry-run", "nobody.example.com"],
        ["--renew-now", "--force", f"*.{DOMAIN}"],
        ["--renew-now", DOMAIN.upper()],
        ["--renew-now", f"{DOMAIN}."],
        ["--renew-now", ""],
        ["--once", "nobody.example.com"],
        ["plan", "nobody.example.com"],
        ["status", "nobody.example.com"],
        ["status", "nobody.example.com", "--json"],
    ],
)
def test_what_does_not_exist_is_bad_usage_and_nothing_is_done(
    arguments: list[str], box: Box, told: Told
) -> None:
    """A DOMAIN must equal the domain of a site."""
    assert_refused(box, told, arguments, 2, "certbotless: no site has the domain ")


@pytest.mark.parametrize("flags", [["--once"], ["--renew-now", "--force"], ["--renew-now", "--dry-run"]])
def test_domains_stand_in_any_order_with_options(flags: list[str]) -> None:
    """In front, between and behind; what is not asked for is not set."""
    parts = [*([flag] for flag in flags), ["a.example.com"], ["b.example.com"], ["--config", "c.yaml"]]
    for order in itertools.permutations(parts):
        args = parse([word for part in order for word in part])
        assert sorted(args.domains) == ["a.example.com", "b.example.com"]
        assert (args.config, args.command) == ("c.yaml", None)
        asked = {name for name in ("once", "renew_now", "force", "dry_run") if getattr(args, name)}
        assert asked == {flag.strip("-").replace("-", "_") for flag in flags}


def test_a_ca_that_is_asked_alone_is_one_of_the_file(box: Box, told: Told) -> None:
    asked = ["--renew-now", "--ca", "litessl"]
    assert_refused(
        box, told, asked, 2, "certbotless: acme has no CA 'litessl'; there is https://127.0.0.1:1/dir"
    )
    assert_refused(box, told, ["--ca", "litessl", "--once"], 2, "certbotless: --ca goes with --renew-now")
    args = parse(["--renew-now", "a.example.com", "--ca", "litessl", "--dry-run"])
    assert (args.only_ca, args.domains, args.dry_run) == ("litessl", ["a.example.com"], True)
