"""Where a key comes from that is not in the file: how that is written, shown and told from another."""

import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.configs import CANARY, faults_of, parse, text_of

from certbotless.base.errors import SecretUnreadable
from certbotless.config import as_yaml, checks, diff
from certbotless.config.credentials import Credentials
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.redact import Redactor
from certbotless.config.settings import Config

ARN = "acs:ram::1234567890123456:role/certbotless"
SITES = "sites: [{domain: devbox.sweetlove.top, zone: sweetlove.top}]\n"


def of(credentials: object, **keys: Any) -> str:
    """Return a file whose key comes from there."""
    return f"aliyun: {json.dumps({'credentials': credentials, **keys})}\n{SITES}"


def told_of(credentials: object) -> str:
    [fault] = faults_of(of(credentials))
    assert fault.startswith("c.yaml:1:25: aliyun.credentials: ")
    return fault.partition("aliyun.credentials: ")[2]


# --- how it is written --------------------------------------------------------------------------------------

WRITTEN = [
    ("ecs", Credentials("ecs"), "ecs"),
    ({"ecs": "certbotless"}, Credentials("ecs", name="certbotless"), "ecs certbotless"),
    ({"command": ["/bin/k", "a b"]}, Credentials("command", ("/bin/k", "a b")), "command /bin/k 'a b'"),
    ("profile", Credentials("profile"), "profile"),
    ({"profile": "home"}, Credentials("profile", name="home"), "profile home"),
    (
        {"profile": "home", "file": "/etc/a.json"},
        Credentials("profile", name="home", file=Path("/etc/a.json")),
        "profile home /etc/a.json",
    ),
    ({"file": "/etc/a.json"}, Credentials("profile", file=Path("/etc/a.json")), "profile /etc/a.json"),
]


@pytest.mark.parametrize(("written", "value", "shown"), WRITTEN, ids=[shown for *_, shown in WRITTEN])
def test_each_form_means_one_source_and_is_shown_as_it_was_written(
    written: object, value: Credentials, shown: str
) -> None:
    config = parse(of(written))
    assert config.account.credentials == value
    [line] = diff.changes(parse(of("ecs", endpoint="https://a.example.com")), config)[:1]
    assert line in (
        f"aliyun.credentials ecs -> {shown}",
        "aliyun.endpoint https://a.example.com -> https://alidns.aliyuncs.com",
    )
    lines = as_yaml.lines(config, config.sites[0])
    assert yaml.safe_load("\n".join(lines))["aliyun"]["credentials"] == written


@pytest.mark.parametrize(
    "written",
    [
        *("ECS", "", 5, True, [], ["ecs"], {}, {"ecs": "a", "command": ["b"]}, {"oidc": "x"}),
        *({"command": ["a"], "file": "/x"}, {"profile": "a", "ecs": "b"}),
    ],
    ids=str,
)
def test_any_other_form_is_told_with_those_that_there_are(written: object) -> None:
    told = "must be ecs, {ecs: ROLE}, {command: [...]}, profile or {profile: NAME, file: /path}"
    assert told_of(written) == told


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"ecs": "../user-data"}, "'../user-data' is not the name of a RAM role"),
        ({"ecs": ""}, "'' is not the name of a RAM role"),
        ({"ecs": None}, "is empty"),
        ({"command": "aliyun-key --zone x"}, "must be a list of a program and its arguments"),
        ({"command": []}, "must be a list of a program and its arguments"),
        ({"command": ["a\nb"]}, "must be a list of a program and its arguments"),
        ({"profile": "a b"}, "'a b' is not the name of a profile"),
        ({"profile": "a", "file": "aliyun.json"}, "must be an absolute path"),
        ({"profile": "a", "file": "/etc/../x"}, "must be a path of printable characters, without .."),
    ],
    ids=str,
)
def test_what_is_wrong_in_one_is_told(written: object, told: str) -> None:
    assert told_of(written).startswith(told)


@pytest.mark.parametrize("key", ["access_key_id", "access_key_secret", "security_token"])
def test_there_is_one_way_to_a_key(key: str) -> None:
    [fault] = faults_of(of("ecs", **{key: CANARY}))
    assert fault == f"c.yaml:1:25: aliyun.credentials: does not go with {key}: one of the two gives the key"


def test_there_is_a_way_to_a_key() -> None:
    [fault] = faults_of(f"aliyun: {{role: '{ARN}'}}\n{SITES}")
    assert fault == "c.yaml:1:9: aliyun: needs access_key_id and access_key_secret, or credentials"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("certbotless", "'certbotless' is not the ARN of a RAM role: acs:ram::ACCOUNT:role/NAME"),
        (ARN.replace("role/", "user/"), "is a user: write the role that it assumes"),
        ("arn:aws:iam::123456789012:role/x", "is not the ARN of a RAM role"),
        (f"{ARN}/more", "is not the ARN of a RAM role"),
    ],
)
def test_a_role_is_written_as_its_arn(written: str, told: str) -> None:
    assert parse(of("ecs", role=ARN)).account.role == ARN
    [fault] = faults_of(of("ecs", role=written))
    assert told in fault


def test_an_external_id_goes_with_a_role() -> None:
    [fault] = faults_of(of("ecs", external_id="7f3a"))
    assert fault.endswith(
        "aliyun.external_id: does nothing without role: it goes with a role that is assumed"
    )
    [fault] = faults_of(of("ecs", role=ARN, external_id="a b"))
    assert "aliyun.external_id: must be 2 to 1224 letters, digits or =,.@:/_+- without blanks" in fault


def test_sts_is_reached_as_the_api_is() -> None:
    [fault] = faults_of(of("ecs", sts_endpoint="http://sts.aliyuncs.com"))
    assert "aliyun.sts_endpoint: plain http is for loopback only" in fault
    [fault] = faults_of(of("ecs", sts_endpoint="sts.aliyuncs.com"))
    assert "'sts.aliyuncs.com' is not of the form https://host[:port]" in fault


# --- digests ------------------------------------------------------------------------------------------------


def digest(config: Config) -> str:
    return Fingerprints.of(config).digests(config, config.sites[0])[0]


def test_a_digest_takes_the_source_as_it_is_written() -> None:
    """Not the key that it gives, which is another one each hour."""
    digests = [digest(parse(of(written))) for written, *_ in WRITTEN if "rofile" not in str(written)]
    assert len(set(digests)) == len(digests)
    assert digest(parse(of("ecs"))) == digest(parse(of("ecs")))
    assert digest(parse(of("ecs", role=ARN))) != digest(parse(of("ecs")))


# --- a program --------------------------------------------------------------------------------------------


def test_a_program_that_cannot_be_run_or_that_others_may_replace_is_warned_of(tmp_path: Path) -> None:
    """The key is got later, by the user of the service, so it is no fault of the file."""
    program = tmp_path / "aliyun-key"
    config = parse(of({"command": [str(program)]}))

    def warned() -> list[str]:
        return [warning for warning in checks.warnings(config) if warning.startswith("aliyun.credentials")]

    absent = f"aliyun.credentials: the program '{program}' is not there, or this user may not run it"
    assert warned() == [absent]
    program.touch(0o644)
    assert warned() == [absent]
    program.chmod(0o755)
    assert warned() == []
    program.chmod(0o757)
    [warning] = warned()
    assert "every user can put another program there, and get the key" in warning
    os.chown(program, 65534, 65534)
    theirs = (
        f"aliyun.credentials: '{program}' belongs to another user (uid 65534), who may change it: chown it"
    )
    assert warned() == [theirs]


# --- a profile of the aliyun command ------------------------------------------------------------------------

KEY = {"access_key_id": "LTAIplanted", "access_key_secret": CANARY}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "aliyun.json"
    path.touch(0o600)
    return path


def save(file: Path, *profiles: dict[str, Any], **keys: Any) -> None:
    file.write_text(
        json.dumps({"current": "default", "profiles": profiles, "meta_path": "", **keys}, indent=1)
    )


def read(file: Path, name: str = "") -> str:
    """Return what is read of a profile, as it is told from another."""
    config = parse(of({"file": str(file), **({"profile": name} if name else {})}))
    assert config.profile is not None
    return config.profile.read()


def fault_of(file: Path, name: str = "") -> str:
    with pytest.raises(SecretUnreadable) as caught:
        read(file, name)
    assert CANARY not in str(caught.value)
    return str(caught.value).replace(str(file), "FILE")


def test_the_current_profile_counts_or_the_one_that_is_named(file: Path) -> None:
    other = {"name": "home", "mode": "StsToken", **KEY, "access_key_id": "STS.home", "sts_token": "t"}
    save(file, {"name": "default", "mode": "AK", **KEY, "sts_token": "of old"}, other)
    assert json.loads(read(file)) == ["AK", "LTAIplanted", CANARY, "", "", "", ""]
    assert json.loads(read(file, "home")) == ["StsToken", "STS.home", CANARY, "t", "", "", ""]
    save(file, other, current="home")
    assert json.loads(read(file))[0] == "StsToken"


@pytest.mark.parametrize(
    ("profile", "found"),
    [
        ({**KEY}, ["AK", "LTAIplanted", CANARY, "", "", "", ""]),
        ({"mode": "ak", **KEY}, ["AK", "LTAIplanted", CANARY, "", "", "", ""]),
        ({"mode": "EcsRamRole", **KEY}, ["EcsRamRole", "", "", "", "", "", ""]),
        ({"mode": "EcsRamRole", "ram_role_name": "r"}, ["EcsRamRole", "", "", "", "", "", "r"]),
        (
            {"mode": "RamRoleArn", **KEY, "ram_role_arn": ARN, "ram_session_name": "x", "external_id": "e"},
            ["RamRoleArn", "LTAIplanted", CANARY, "", ARN, "e", ""],
        ),
    ],
    ids=["of an old file", "in small letters", "of the instance", "of a role of it", "of a role"],
)
def test_the_modes_that_are_understood(file: Path, profile: dict[str, Any], found: list[str]) -> None:
    save(file, {"name": "default", **profile})
    assert json.loads(read(file)) == found


@pytest.mark.parametrize(
    "mode", ["OIDC", "External", "ChainableRamRoleArn", "CloudSSO", "OAuth", "CredentialsURI"]
)
def test_another_mode_leads_to_a_command(file: Path, mode: str) -> None:
    save(file, {"name": "default", "mode": mode, **KEY})
    assert fault_of(file) == (
        f"the profile 'default' has the mode {mode!r}, which certbotless does not know; "
        "write credentials: {command: [...]} instead"
    )


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ({"mode": "AK", "access_key_id": "a"}, "the profile 'default' has no access_key_secret; run: aliyun"),
        ({"mode": "StsToken", **KEY}, "the profile 'default' has no sts_token; run: aliyun configure"),
        ({"mode": "RamRoleArn", **KEY}, "the profile 'default' has no ram_role_arn;"),
        ({"mode": "RamRoleArn", **KEY, "ram_role_arn": "x"}, "has the ram_role_arn 'x', which is none;"),
        ({"mode": "EcsRamRole", "ram_role_name": "../x"}, "has the ram_role_name '../x', which is none;"),
        ({**KEY, "access_key_secret": 5}, "'FILE' is not a file of profiles; make it by: aliyun configure"),
        ({**KEY, "access_key_secret": f"{CANARY}\n"}, "'FILE' is not a file of profiles;"),
    ],
    ids=str,
)
def test_a_profile_that_lacks_something_is_told(file: Path, profile: dict[str, Any], told: str) -> None:
    save(file, {"name": "default", **profile})
    assert told in fault_of(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"profiles": 5}', '{"profiles": [5]}', "\xff"])
def test_a_file_that_is_none_of_profiles_is_told(file: Path, text: str) -> None:
    file.write_text(text)
    assert fault_of(file).startswith("'FILE' is not a file of profiles;")


def test_a_profile_or_a_file_that_is_not_there_is_told(file: Path) -> None:
    save(file, {"name": "default", **KEY}, {"name": "home", **KEY})
    told = "'FILE' has no profile 'hone'; it has 'default', 'home'; correct aliyun.credentials"
    assert fault_of(file, "hone") == told
    file.unlink()
    told = "cannot read the profiles 'FILE': No such file or directory; make it as the user that runs"
    assert fault_of(file).startswith(told)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (os.mkfifo, "it is a named pipe"),
        (os.mkdir, "it is a directory"),
        (lambda file: Path(file).write_bytes(b" " * (64 * 1024 + 1)), "it is larger than 65536 bytes"),
        (lambda file: Path(file).symlink_to(file), "it is a symbolic link"),
        (lambda file: Path(file).symlink_to("/dev/zero"), "it is a device"),
        (lambda file: Path(file).symlink_to("nowhere"), "No such file or directory"),
    ],
    ids=["a pipe", "a directory", "much", "a loop of links", "a device", "a link to nowhere"],
)
def test_what_is_no_plain_file_is_told_at_once(file: Path, make: Callable[[Path], object], told: str) -> None:
    file.unlink()
    make(file)
    assert fault_of(file).startswith(f"cannot read the profiles 'FILE': {told}; ")


def test_a_link_is_followed_as_that_of_a_secret_is(file: Path, tmp_path: Path) -> None:
    save(file, {"name": "default", **KEY})
    link = tmp_path / "link.json"
    link.symlink_to(file)
    assert json.loads(read(link))[1] == "LTAIplanted"


def test_its_file_is_watched_as_that_of_a_secret(file: Path) -> None:
    """A mode that others can read is warned of, and another key is another digest."""
    save(file, {"name": "default", **KEY})
    config = parse(of({"file": str(file)}))
    assert [w for w in checks.warnings(config) if "aliyun" in w] == []
    file.chmod(0o644)
    [warning] = [w for w in checks.warnings(config) if "aliyun" in w]
    assert warning == f"aliyun.credentials: '{file}' has mode 0644, open to others: chmod 600"
    file.chmod(0o600)
    os.chown(file, 65533, -1)
    [warning] = [w for w in checks.warnings(config) if "aliyun" in w]
    assert warning.endswith("belongs to another user (uid 65533), who may change it: chown it")
    before = digest(config)
    save(file, {"name": "default", **KEY, "region_id": "cn-hangzhou"})
    assert digest(config) == before
    save(file, {"name": "default", **KEY, "access_key_id": "LTAIanother"})
    assert digest(config) != before


def test_its_secret_is_removed_from_a_text(file: Path) -> None:
    save(file, {"name": "default", "mode": "StsToken", **KEY, "sts_token": "the token"})
    redact = Redactor.of(parse(of({"file": str(file)})))
    assert redact(f"{CANARY} the token LTAIplanted1") == "*** *** LTAI***"


def test_without_a_file_it_is_that_of_the_user_who_owns_the_state(tmp_path: Path) -> None:
    """Not that of root, who may run a command by hand."""
    text = of("profile") + f"state_dir: {tmp_path}\n"
    found = parse(text).profile
    assert found is not None
    home = pwd.getpwuid(tmp_path.stat().st_uid).pw_dir
    assert found.where == f"{home}/.aliyun/config.json"


def test_a_file_with_a_plain_key_reads_no_profile() -> None:
    assert parse(text_of()).profile is None


def test_root_reads_the_profile_of_the_services_user_with_the_rights_of_that_user(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes over that user may put a link in its home to a file that only root may read."""
    for folder in (file.parent, *file.parents[1:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    state, home, place = (file.parent / name for name in ("state", "home", "home/.aliyun"))
    for folder in (state, home, place):
        folder.mkdir(0o755)
        os.chown(folder, 65534, 65534)
    user = pwd.struct_passwd(("service", "x", 65534, 65534, "", str(home), "/bin/false"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    save(file, {"name": "default", **KEY})
    (place / "config.json").symlink_to(file)
    config = parse(f"state_dir: {state}\n{of('profile')}")
    assert config.profile is not None
    with pytest.raises(SecretUnreadable, match="Permission denied"):
        config.profile.read()
    assert os.geteuid() == 0
    os.chown(file, 65534, 65534)
    assert CANARY in config.profile.read()
