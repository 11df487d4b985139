"""The code keeps to the module map of docs/architecture.md, and to rules that a reviewer might forget."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import certbotless

PACKAGE = Path(certbotless.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "architecture.md"

HEAVY = {
    "acme",
    "aliyunsdkalidns",
    "apprise",
    "aliyunsdkcore",
    "cryptography",
    "docker",
    "josepy",
    "pydantic",
    "rich",
}
# Each outside library has one home; a second one needs a reason, and stands here.
HOMES = {
    "acme": {"account", "ca", "issue"},  # ca: its network and errors; the others: its messages
    "aliyunsdkalidns": {"alidns"},
    "apprise": {"sender"},
    "apscheduler": {"timetable"},
    "cryptography": {"pki"},
    "dns": {"hijack", "nameservers", "names"},  # names: only to turn a name into A-labels
    "docker": {"deploy"},
    "jinja2": {"page"},
    "josepy": {"account", "ca", "issue"},  # as acme, which is made of it
    "prometheus_client": {"metrics"},
    # model, values: what checks and writes; the others: its errors
    "pydantic_core": {"configfile", "diagnostics", "model", "values"},
    "requests": {
        "alidns",
        "ca",
        "deploy",
        "exchange",
        "issue",
        "sender",
    },  # what the libraries speak HTTP with
    "rich": {"progress", "table", "terminal"},  # terminal: where its drawings go; the others: what they draw
    "yaml": {"document"},
}
# The guards around one site's steps, around the look at one site, around a job of the daemon, around its
# making of the page, which is no reason to end, and around an answer of the page, which must not cost others
# theirs.
GUARDS = {"act", "daemon", "look", "server", "timetable"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
FORBIDDEN_CALLS |= {f"yaml.{kind}load{many}" for kind in ("", "full_", "unsafe_") for many in ("", "_all")}
FORBIDDEN_MODULES = {"dill", "marshal", "pickle", "shelve"}


# --- reading the code ---------------------------------------------------------------------------------------


def sources(folder: Path = PACKAGE) -> Iterator[tuple[str, ast.Module]]:
    """Yield the dotted name below the package and the tree of each module."""
    for path in sorted(folder.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), ast.parse(path.read_text())


TREES = dict(sources())
MODULES = frozenset(name.partition(".")[0] for name in TREES)


def unit_of(name: str) -> str:
    """Return the row of the table that a module belongs to: all of `sandbox` is one."""
    return name.partition(".")[0]


def imports(tree: ast.Module, name: str) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, wherever in it the import stands."""
    package = ["certbotless", *name.split(".")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def units_imported_by(unit: str) -> set[str]:
    """Return the other rows of the table that a row imports from; the package's version is open to all."""
    found = set()
    for name, tree in TREES.items():
        if unit_of(name) == unit:
            parts = (target.split(".") for target in imports(tree, name))
            found |= {part[1] for part in parts if part[0] == "certbotless" and len(part) > 1}
    return found - {unit, "__version__"}


def libraries_of(unit: str) -> set[str]:
    """Return the outside libraries that a row imports."""
    names = (
        target for name, tree in TREES.items() if unit_of(name) == unit for target in imports(tree, name)
    )
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"certbotless"}


def called(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


# --- reading the document -----------------------------------------------------------------------------------


def read_table() -> dict[str, tuple[str, set[str]]]:
    """Return what stands under "Module map": module -> what it owns, what it may import."""
    section = DOCUMENT.read_text().split("## Module map\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == ["Module", "Owns", "May import"]
    table: dict[str, tuple[str, set[str]]] = {}
    for module, owns, may_import in rows[2:]:
        name = module.strip("`")
        assert name not in table, f"{name} has two rows"
        assert owns
        listed = re.findall(r"`(\w+)`", may_import)
        assert listed or may_import == "nothing"
        assert listed == sorted(listed), f"the row of {name} is not in order"
        table[name] = (owns, set(listed))
    return table


TABLE = read_table()


# --- the map ------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_module_and_a_module_for_each_row() -> None:
    """A module that nobody described has no place yet."""
    assert set(TABLE) == MODULES


@pytest.mark.parametrize("unit", sorted(MODULES))
def test_a_module_imports_what_its_row_says_and_nothing_else(unit: str) -> None:
    """Too much breaks the shape; a permission that nobody uses is a wrong picture of it."""
    _, may_import = TABLE[unit]
    assert units_imported_by(unit) - {"errors"} == may_import


def test_no_module_leads_back_to_itself() -> None:
    """Taking away, again and again, what imports nothing that is left takes all away."""
    left = {unit: units_imported_by(unit) for unit in MODULES}
    while leaves := [unit for unit, needs in left.items() if not needs & left.keys()]:
        for unit in leaves:
            del left[unit]
    assert left == {}


def test_only_the_command_line_knows_the_sandbox() -> None:
    """The program is the same without the stand-ins."""
    assert {unit for unit in MODULES if "sandbox" in units_imported_by(unit)} == {"cli"}


def test_the_sandbox_uses_nothing_of_the_program_but_its_errors() -> None:
    """Stand-ins that shared code with the program would share its mistakes."""
    assert units_imported_by("sandbox") <= {"errors"}


def test_each_outside_library_has_its_home() -> None:
    """So that a change of a library touches one module."""
    found: dict[str, set[str]] = {}
    for unit in MODULES - {"sandbox"}:
        for library in libraries_of(unit):
            found.setdefault(library, set()).add(unit)
    assert found == HOMES


# --- what is light ------------------------------------------------------------------------------------------


def led_to(*units: str) -> set[str]:
    """Return these rows of the table and those of all that they import, directly or by others."""
    reached: set[str] = set()
    ahead = set(units)
    while ahead:
        reached |= ahead
        ahead = set().union(*map(units_imported_by, ahead)) - reached
    return reached


# All that the daemon, and a command that looks, can come to import.
LIGHT = led_to("daemon", "status")


def test_the_table_marks_light_modules_alone() -> None:
    """The proofs below are about all that the marked ones lead to."""
    assert {"daemon", "status"} <= {unit for unit, (owns, _) in TABLE.items() if "**light**" in owns} <= LIGHT


def loaded_by(*modules: str) -> dict[str, set[str]]:
    """Return by module the heavy libraries that it brings into a fresh Python; imported in order."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'certbotless.{name}')\n"
        "    print(*sys.modules)\n"
    )
    command = [sys.executable, "-c", script, *modules]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    known = [{name.partition(".")[0] for name in line.split()} & HEAVY for line in lines]
    found = zip(modules, known, [set(), *known], strict=False)
    return {module: after - before for module, after, before in found if after != before}


@pytest.mark.process
def test_the_light_modules_load_nothing_heavy() -> None:
    """Seen in a process of their own, so through any number of others."""
    # A run (oneshot) loads what its steps need when it takes them.
    assert loaded_by(*sorted(LIGHT), "cli", "oneshot") == {}


@pytest.mark.process
def test_what_is_heavy_is_seen() -> None:
    """The proof above can fail: the code that acts loads all of it but what it imports when it needs it."""
    assert loaded_by("cli", "issue", "terminal") == {
        "issue": {"acme", "cryptography", "josepy"},
        "terminal": {"rich"},
    }
    assert loaded_by("alidns")["alidns"] >= {"aliyunsdkalidns", "aliyunsdkcore"}


def test_what_is_light_stays_light_when_it_runs() -> None:
    """An import inside a function counts too: no light module knows a heavy library."""
    assert set().union(*map(libraries_of, LIGHT)) & HEAVY == set()


# --- other rules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TREES))
def test_nothing_runs_text_as_code(name: str) -> None:
    """No shell, no eval, no pickle, no YAML that makes objects."""
    tree = TREES[name]
    for function, call in called(tree):
        assert function not in FORBIDDEN_CALLS, f"{name}:{call.lineno}: {function}"
        shell = next((keyword.value for keyword in call.keywords if keyword.arg == "shell"), None)
        assert shell is None or ast.unparse(shell) == "False", f"{name}:{call.lineno}: {ast.unparse(call)}"
    assert {target.partition(".")[0] for target in imports(tree, name)} & FORBIDDEN_MODULES == set()


def test_the_environment_is_read_in_few_places() -> None:
    """What the program does stands in the file, or is named there; how it looks is read by rich.

    The stand-ins are a program apart.
    """
    readers = set()
    for name, tree in TREES.items():
        attributes = (ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))
        named = {*attributes, *imports(tree, name)}
        if named & {"os.environ", "os.environb", "os.getenv", "os.getenvb"}:
            readers.add(unit_of(name))
    assert readers - {"sandbox"} == {"config", "secret", "systemd"}


def test_only_the_guards_catch_everything() -> None:
    """Anywhere else it would hide a fault of ours."""
    blanket = {"Exception", "BaseException"}
    found = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "BaseException" if node.type is None else ast.unparse(node.type)
            passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if caught in blanket and not passes_on:
                found.add(unit_of(name))
    assert found == GUARDS


def test_the_package_asserts_nothing() -> None:
    """`python -O` would take it away."""
    assert [
        name for name, tree in TREES.items() if any(isinstance(n, ast.Assert) for n in ast.walk(tree))
    ] == []
