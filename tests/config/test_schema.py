"""What the JSON Schema says of a file is what the program does, and what a reader needs."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support.configs import FULL, edited, parse, text_of

from certbotless.base.errors import ConfigError
from certbotless.config import load
from certbotless.config.yaml_document import Document
from tools.docs import schema

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config" / "certbotless.example.yaml"
VALIDATOR = Draft202012Validator(schema.json_schema())


def faults(text: str) -> list[str]:
    """Return what the schema has against a file."""
    return [error.json_path for error in VALIDATOR.iter_errors(Document(text.encode(), "c.yaml").data)]


def is_good(text: str) -> bool:
    """Whether the program takes the file."""
    try:
        load.parse(text.encode(), "c.yaml")
    except ConfigError:
        return False
    return True


def test_the_first_line_of_the_example_leads_an_editor_to_the_schema() -> None:
    first = EXAMPLE.read_text().splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert (EXAMPLE.parent / first.removeprefix(prefix)).resolve() == ROOT / "config" / "schema.json"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema.json_schema())


@pytest.mark.parametrize(
    "text",
    [
        FULL,
        text_of(),
        EXAMPLE.read_text(),
        text_of(domain="例子。example", acme="directory: HTTPS://ca.example.com/directory"),
        text_of(aliyun="endpoint: HTTPS://alidns.example.com", site="address: auto:10.0.0.0/255.0.0.0"),
    ],
    ids=["full", "smallest", "example", "of another script", "other spellings"],
)
def test_a_good_file_is_good_for_both(text: str) -> None:
    assert faults(text) == []
    assert is_good(text)


LIST = "[{key_type: rsa2048}, {directory: litessl, eab: {kid: k, hmac_key: h}}]"


@pytest.mark.parametrize(
    ("acme", "path"),
    [
        (LIST, ""),
        ("[{}, {directory: litessl}]", "$.acme[1]"),
        ("[{}, {directory: nobody}]", "$.acme[1].directory"),
        ("[]", "$.acme"),
        ("letsencrypt", "$.acme"),
        (f"[{', '.join(['{directory: https://a.test/d}'] * 5)}]", "$.acme"),
    ],
)
def test_a_list_of_cas_is_known_to_the_schema(acme: str, path: str) -> None:
    text = text_of().replace("acme: {}", f"acme: {acme}")
    assert faults(text) == ([path] if path else [])
    assert is_good(text) is (not path)


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"top": "paralel: 5"}, "$"),
        ({"top": "parallel: 0"}, "$.parallel"),
        ({"top": "check_every: 10"}, "$.check_every"),
        ({"top": "key_mode: 0644"}, "$.key_mode"),
        ({"top": "certs_dir: certs"}, "$.certs_dir"),
        ({"acme": "directory: http://ca.example.com/dir"}, "$.acme.directory"),
        ({"acme": "directory: zerossl"}, "$.acme"),
        ({"acme": "eab: {kid: k}"}, "$.acme.eab"),
        ({"acme": "email: nobody"}, "$.acme.email"),
        ({"acme": "key_type: rsa1024"}, "$.acme.key_type"),
        ({"aliyun": "endpoint: http://alidns.aliyuncs.com"}, "$.aliyun.endpoint"),
        ({"aliyun": "security_token: 5"}, "$.aliyun.security_token"),
        ({"aliyun": "credentials: ecs"}, "$.aliyun"),
        ({"aliyun": "external_id: abc"}, "$.aliyun"),
        ({"aliyun": "role: certbotless"}, "$.aliyun.role"),
        ({"dns": "nameservers: [127.0.0.1]"}, "$.dns.nameservers[0]"),
        ({"dns": "nameservers: ['::1:53']"}, "$.dns.nameservers[0]"),
        ({"docker": "host: /run/docker.sock"}, "$.docker.host"),
        ({"domain": '"*.example.com"'}, "$.sites[0].domain"),
        ({"site": "ttl: 86401"}, "$.sites[0].ttl"),
        ({"site": "records: some"}, "$.sites[0].records"),
        ({"site": "address: eth0"}, "$.sites[0].address"),
        ({"site": "address: auto:a-name-of-16-char"}, "$.sites[0].address"),
        ({"site": 'names: "a.example.com"'}, "$.sites[0].names"),
        ({"target": "prot: 5000"}, "$.sites[0].deploy[0]"),
        ({"target": "container: a, label: b"}, "$.sites[0].deploy[0]"),
        ({"target": "command: [a]"}, "$.sites[0].deploy[0]"),
        ({"target": "command: [a], port: none, action: restart"}, "$.sites[0].deploy[0]"),
        ({"target": "container: a, port: 1, timeout: 5s"}, "$.sites[0].deploy[0]"),
        ({"target": "service: a"}, "$.sites[0].deploy[0]"),
        ({"target": "service: a, port: none"}, "$.sites[0].deploy[0]"),
        ({"target": "service: a, port: 1, action: restart"}, "$.sites[0].deploy[0]"),
        ({"target": "container: a, secrets: {cert: a}"}, "$.sites[0].deploy[0]"),
        ({"target": "port: 65536"}, "$.sites[0].deploy[0].port"),
        ({"target": "when: 2:00-5:00"}, "$.sites[0].deploy[0].when"),
        ({"target": "action: {sginal: HUP}"}, "$.sites[0].deploy[0].action"),
        ({"target": "action: {exec: []}"}, "$.sites[0].deploy[0].action"),
    ],
)
def test_a_wrong_file_is_refused_by_both(parts: dict[str, str], path: str) -> None:
    text = text_of(**parts)
    assert path in faults(text)
    assert not is_good(text)


def test_what_is_needed_is_needed_by_both() -> None:
    for text in (
        "sites: [{domain: a.example.com}]",
        "aliyun: {access_key_id: a, access_key_secret: b}",
        "aliyun: {access_key_id: a, access_key_secret: b}\nsites: []",
        "aliyun: {access_key_id: a, access_key_secret: b}\nsites: [{}]",
    ):
        assert faults(text)
        assert not is_good(text)


@given(st.data())
def test_the_schema_marks_nothing_that_the_program_takes(data: st.DataObject) -> None:
    """An editor must not cry over a good file; the program, which knows more, may refuse further ones."""
    text = edited(data)
    if is_good(text):
        assert faults(text) == []


# --- what it tells a reader ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, value, _ in schema.all_keys()])
def test_every_key_says_what_it_does(path: str, value: dict[str, Any]) -> None:
    """In whole sentences, and without what Markdown would swallow."""
    text = value["description"]
    assert text[0].isupper() or text.startswith("ACME")
    assert text.endswith(".")
    assert not set("<>\n") & set(text)


def with_example(path: str, example: object) -> str:
    """Return a good file in which one key has this value."""
    target: dict[str, Any] = {"port": 5000}
    if "secrets" in path:
        target |= {"service": "registry", "secrets": {}}
    tree: dict[str, Any] = {
        "acme": {"eab": {"kid": "k", "hmac_key": "m"}},
        "aliyun": {"access_key_id": "a", "access_key_secret": "b"},
        "dns": {},
        "docker": {},
        "http": {},
        "local_ca": {},
        "sites": [{"domain": "registry.example.com", "deploy": [target]}],
    }
    node: Any = tree
    *above, last = path.replace("[]", ".[]").split(".")
    for step in above:
        node = node[0] if step == "[]" else node[step]
    node[last] = example
    if last == "credentials":
        del node["access_key_id"], node["access_key_secret"]
    if last == "external_id":
        node["role"] = "acs:ram::1234567890123456:role/certbotless"
    if path.endswith("deploy[].timeout"):
        target["command"] = ["carry"]
    if last == "with_address" and example:
        node["ca"] = "local"
    if not {"label", "command", "service"} & target.keys():
        target.setdefault("container", "registry")
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("path", "example"),
    [(path, example) for path, value, _ in schema.all_keys() for example in value.get("examples", ())],
)
def test_every_example_is_good_for_both(path: str, example: object) -> None:
    text = with_example(path, example)
    assert faults(text) == []
    load.parse(text.encode(), "c.yaml")


def test_every_value_has_an_example() -> None:
    """All but the sections, whose keys have theirs; nothing is said of a key that is none."""
    paths = {path for path, _, _ in schema.all_keys()}
    assert schema.KEYS.keys() <= paths
    sections = {
        path for path in paths if any(other.startswith((f"{path}.", f"{path}[].")) for other in paths)
    }
    assert {path for path, value, _ in schema.all_keys() if "examples" not in value} == sections


def test_every_default_that_the_schema_tells_is_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that writes all of them out means the same as one that has none of them."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    for path, value, _ in schema.all_keys():
        if "default" in value and path != "sites[].deploy":
            written = json.loads(with_example(path, value["default"]))
            without = json.loads(with_example("parallel", 8))
            if path.endswith("[].timeout"):  # it goes with a command
                without["sites"][0]["deploy"] = [{"command": ["carry"], "port": 5000}]
            if "secrets" in path:
                without["sites"][0]["deploy"] = [{"service": "registry", "port": 5000}]
            assert parse(json.dumps(written)) == parse(json.dumps(without)), path
