"""Which folder containerd looks into for roots, as its configuration says, and what a person is told."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from certbotless.base.errors import StoreError
from certbotless.cli.trust.containerd import setting

DEFAULT = Path("/etc/containerd/certs.d")
_OF_1 = '[plugins."io.containerd.grpc.v1.cri".registry]'
_OF_2 = '[plugins."io.containerd.cri.v1.images".registry]'
_THERE = 'config_path = "/srv/certs"'


def written(folder: Path, **texts: str) -> Path:
    """Write files of TOML by their names, and return the main one."""
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text.replace("HERE", str(folder)))
    return folder / "config.toml"


@pytest.mark.parametrize(
    "text",
    [
        f"version = 2\n{_OF_1}\n{_THERE}",
        f"version = 3\n{_OF_2}\n{_THERE}",
        f"version = 4\n{_OF_2}\n{_THERE}",
        f"[plugins.cri.registry]\n{_THERE}",
        "version = 3\n[plugins.'io.containerd.cri.v1.images']\nregistry = {config_path = \"/srv/certs\"}",
    ],
    ids=["containerd 1", "containerd 2", "containerd 2.4", "without a version", "in other words"],
)
def test_the_folder_is_found_in_each_version_of_the_file(tmp_path: Path, text: str) -> None:
    found = setting(DEFAULT, written(tmp_path, config=text))
    assert (found.folder, found.to_do) == (Path("/srv/certs"), ())


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("version = 2\n", _OF_1),
        ("version = 3\n", _OF_2),
        (f"version = 3\n{_OF_1}\n{_THERE}", _OF_2),
        (f"version = 2\n{_OF_2}\n{_THERE}", _OF_1),
        (f'version = 2\n{_OF_1}\nconfig_path = ""', _OF_1),
        ('root = "/var/lib/containerd"\n', "[plugins.cri.registry]"),
        ('version = "two"\nimports = "x"\ndisabled_plugins = 1\nplugins = 3\n', "[plugins.cri.registry]"),
        (None, f"version = 2\n{_OF_1}"),
    ],
)
def test_where_it_is_not_set_the_lines_and_the_restart_are_told(
    tmp_path: Path, text: str | None, table: str
) -> None:
    """Under the name that this version knows; under another one containerd does not see it."""
    file = written(tmp_path, config=text) if text is not None else tmp_path / "config.toml"
    found = setting(DEFAULT, file)
    (said,) = found.to_do
    assert found.folder == DEFAULT
    assert said.endswith(f'{table}\n  config_path = "/etc/containerd/certs.d"')
    assert "systemctl restart containerd" in said


def test_of_a_list_of_folders_the_first_is_taken_and_the_list_is_told(tmp_path: Path) -> None:
    """containerd 2.2 finds nothing in it, though it is its default (containerd#12808)."""
    text = f'version = 3\n{_OF_2}\nconfig_path = "/srv/certs:/etc/docker/certs.d"'
    found = setting(DEFAULT, written(tmp_path, config=text))
    assert found.folder == Path("/srv/certs")
    assert 'config_path = "/srv/certs"' in found.to_do[0]


def test_what_containerd_refuses_beside_it_is_told(tmp_path: Path) -> None:
    text = (
        f'version = 2\n{_OF_1}\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."a"]\nendpoint = ["b"]'
    )
    assert "mirrors" in setting(DEFAULT, written(tmp_path, config=text)).to_do[1]


def test_a_containerd_that_serves_no_kubernetes_needs_no_lines(tmp_path: Path) -> None:
    """So Docker's packages have it."""
    assert setting(DEFAULT, written(tmp_path, config='disabled_plugins = ["cri"]')).to_do == ()


def test_a_file_that_is_no_toml_is_an_error(tmp_path: Path) -> None:
    for text in ("[plugins", "a = 1\na = 2"):
        with pytest.raises(StoreError, match="cannot read"):
            setting(DEFAULT, written(tmp_path, config=text))


_IMPORTS = {
    "the import alone": (
        'version = 2\nimports = ["HERE/part*.toml"]',
        f"version = 2\n{_OF_1}\n{_THERE}",
    ),
    "the import counts": (
        f'version = 2\nimports = ["part.toml"]\n{_OF_1}\nconfig_path = "/srv/other"',
        f"version = 2\n{_OF_1}\n{_THERE}",
    ),
    "an import of the file itself": (
        f'version = 2\nimports = ["HERE/config.toml", "HERE/part.toml"]\n{_OF_1}\n{_THERE}',
        "version = 2",
    ),
}


@pytest.mark.process
@pytest.mark.parametrize("name", _IMPORTS)
def test_imports_are_read_as_containerd_reads_them(tmp_path: Path, name: str) -> None:
    main, part = _IMPORTS[name]
    file = written(tmp_path, config=main, part=part)
    assert setting(DEFAULT, file).folder == Path("/srv/certs")
    dump = subprocess.run(
        ["containerd", "-c", file, "config", "dump"], check=True, capture_output=True, text=True
    ).stdout
    registry = tomllib.loads(dump)["plugins"]["io.containerd.grpc.v1.cri"]["registry"]
    assert registry["config_path"] == "/srv/certs"


def test_an_import_without_a_version_may_have_either_name(tmp_path: Path) -> None:
    """A drop-in of another program: containerd 2 takes it for one of version 1, and translates it."""
    for table in (_OF_1, _OF_2):
        file = written(tmp_path, config='version = 3\nimports = ["part.toml"]', part=f"{table}\n{_THERE}")
        assert setting(DEFAULT, file).folder == Path("/srv/certs")
