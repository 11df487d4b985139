"""The code keeps to its rooms (certbotless/__init__.py), and to rules that a reviewer might forget."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import certbotless

PACKAGE = Path(certbotless.__file__).parent

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
    "ruamel",
}
# Each outside library has one home; a second one needs a reason, and stands here.
HOMES = {
    "acme": {
        "world.acme.account",
        "world.acme.connection",
        "world.acme.issue",
        "world.acme.renewal_info",
    },
    "aliyunsdkalidns": {"world.dns.alidns"},
    "aliyunsdkcore": {"world.credentials.sts"},
    "apprise": {"notify.apprise_sender"},
    "apscheduler": {"service.timetable"},
    "cryptography": {"world.acme.keys", "world.local_ca", "world.local_root"},
    # names: only to turn a name into A-labels
    "dns": {"world.dns.hijack", "world.dns.nameservers", "world.dns.query", "base.names"},
    "docker": {"world.engine"},
    "jinja2": {"report.html"},
    "josepy": {"world.acme.account", "world.acme.connection", "world.acme.issue"},  # acme is made of it
    "prometheus_client": {"report.metrics"},
    # checked, values: what checks and writes; the others: its errors
    "pydantic_core": {
        *(
            "base.checked",
            "config.addresses",
            "config.credentials",
            "config.diagnostics",
            "config.load",
            "config.values",
        ),
        "model.local_ca",
    },
    # what the libraries speak HTTP with
    "requests": {
        "notify.apprise_sender",
        "world.acme.connection",
        "world.acme.issue",
        "world.credentials.errors",
        "world.credentials.metadata",
        "world.credentials.rpc",
        "world.engine",
        "world.http",
    },
    # terminal: where its drawings go; the others: what they draw
    "rich": {"report.progress", "report.status_text", "report.terminal"},
    "ruamel": {"cli.add.place"},
    "yaml": {"config.yaml_document"},
}
# The guards around one site's steps, around the look at one site, around a job of the daemon, around its
# making of the page, which is no reason to end, and around an answer of the page, which must not cost others
# theirs.
GUARDS = {"act.run", "observe.views", "service.daemon", "service.http_server", "service.timetable"}
# May import ground (base, config, model) and nothing else.
PURE = {"decide", "report"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
FORBIDDEN_CALLS |= {f"yaml.{kind}load{many}" for kind in ("", "full_", "unsafe_") for many in ("", "_all")}
FORBIDDEN_MODULES = {"dill", "marshal", "pickle", "shelve"}


# --- reading the code ---------------------------------------------------------------------------------------


def sources(folder: Path = PACKAGE) -> Iterator[tuple[str, ast.Module]]:
    """Yield the dotted name below the package and the tree of each module."""
    for path in sorted(folder.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), ast.parse(path.read_text())


TREES = dict(sources())
MODULES = frozenset(name.removesuffix(".__init__") for name in TREES) - {"__init__"}


def room_of(name: str) -> str:
    """Return the room that a module is in."""
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


def modules_imported_by(module: str) -> set[str]:
    """Return the modules of ours that a module imports; the package's version is open to all."""
    name = module if module in TREES else f"{module}.__init__"
    found = set()
    for target in imports(TREES[name], name):
        ours, _, rest = target.partition(".")
        if ours == "certbotless" and rest != "__version__":
            found.add(rest if rest in MODULES else rest.rpartition(".")[0])
    return found & MODULES - {module}


def rooms_imported_by(room: str) -> set[str]:
    """Return the other rooms that the modules of a room import from."""
    mine = {module for module in MODULES if room_of(module) == room}
    return {room_of(other) for module in mine for other in modules_imported_by(module)} - {room}


def libraries_of(module: str) -> set[str]:
    """Return the outside libraries that a module imports."""
    name = module if module in TREES else f"{module}.__init__"
    names = {target.partition(".")[0] for target in imports(TREES[name], name)}
    return names - sys.stdlib_module_names - {"certbotless"}


def called(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


# --- the rooms ----------------------------------------------------------------------------------------------

# In the order of dependence, with the names in the text of the package. A room imports from rooms before it.
ROOMS = re.findall(r"^    (\w+) ", certbotless.__doc__ or "", re.MULTILINE)
TOP = {"__main__"}


def test_the_package_names_its_rooms_and_no_others() -> None:
    """Whoever opens it finds the way."""
    assert set(ROOMS) == {room_of(module) for module in MODULES} - TOP
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for_and_what_it_never_does(room: str) -> None:
    """In its first lines, and where to begin to read."""
    text = ast.get_docstring(TREES[f"{room}.__init__"]) or ""
    assert "Entry: " in text
    assert "Never: " in text
    assert len(TREES[f"{room}.__init__"].body) == 1


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_rooms_before_it(room: str) -> None:
    """So there is no circle, and whoever reads a room knows what it can touch."""
    assert rooms_imported_by(room) <= set(ROOMS[: ROOMS.index(room)])


@pytest.mark.parametrize("room", sorted(PURE))
def test_what_is_pure_knows_values_alone(room: str) -> None:
    """It can ask nobody and change nothing."""
    assert rooms_imported_by(room) <= {"base", "config", "model"}


def test_few_arrows_lead_from_room_to_room() -> None:
    """A picture with more of them is none."""
    assert sum(len(rooms_imported_by(room)) for room in ROOMS) <= 60


def test_no_module_leads_back_to_itself() -> None:
    """Taking away, again and again, what imports nothing that is left takes all away."""
    left = {module: modules_imported_by(module) for module in MODULES}
    while leaves := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in leaves:
            del left[module]
    assert left == {}


def test_only_the_command_line_knows_the_sandbox() -> None:
    """The program is the same without the stand-ins."""
    assert {room for room in ROOMS if "sandbox" in rooms_imported_by(room)} == {"cli"}


def test_the_sandbox_uses_nothing_of_the_program_but_its_errors() -> None:
    """Stand-ins that shared code with the program would share its mistakes."""
    used = {o for m in MODULES if room_of(m) == "sandbox" for o in modules_imported_by(m)}
    assert {module for module in used if room_of(module) != "sandbox"} == {"base.errors"}


def test_each_outside_library_has_its_home() -> None:
    """So that a change of a library touches one module."""
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for library in libraries_of(module) if room_of(module) != "sandbox" else ():
            found.setdefault(library, set()).add(module)
    assert found == HOMES


# --- the size of things -------------------------------------------------------------------------------------

_MOST_LINES, _MOST_OF_A_FUNCTION = 400, 50
# What a function is given beyond these belongs together: it is a value.
_MOST_PARAMETERS = 6


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_file_and_a_function_can_be_read_at_once(name: str) -> None:
    """What is longer holds a second idea."""
    path = PACKAGE / Path(*name.split(".")).with_suffix(".py")
    assert len(path.read_text().splitlines()) <= _MOST_LINES
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < _MOST_OF_A_FUNCTION, node.name


def test_a_function_has_few_parameters() -> None:
    """The stand-ins have one for each thing that a test may want otherwise."""
    found = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree) if room_of(name) != "sandbox" else ():
            if isinstance(node, ast.FunctionDef):
                named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if len([each for each in named if each.arg not in ("self", "cls")]) > _MOST_PARAMETERS:
                    found.add(f"{name}.{node.name}")
    assert found == set()


# --- what is light ------------------------------------------------------------------------------------------


def led_to(*modules: str) -> set[str]:
    """Return these modules and those of all that they import, directly or by others."""
    reached: set[str] = set()
    ahead = set(modules)
    while ahead:
        reached |= ahead
        ahead = set().union(*map(modules_imported_by, ahead)) - reached
    return reached


# All that the daemon, and a command that looks, can come to import.
LIGHT = led_to("service.daemon", "cli.status")


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
    assert loaded_by(*sorted(LIGHT), "cli.main", "service.oneshot") == {}


@pytest.mark.process
def test_what_is_heavy_is_seen() -> None:
    """The proof above can fail: the code that acts loads all of it but what it imports when it needs it."""
    assert loaded_by("cli.main", "world.acme.issue", "report.terminal") == {
        "world.acme.issue": {"acme", "cryptography", "josepy"},
        "report.terminal": {"rich"},
    }
    assert loaded_by("world.dns.alidns")["world.dns.alidns"] >= {"aliyunsdkalidns", "aliyunsdkcore"}


def test_what_is_light_stays_light_when_it_runs() -> None:
    """An import inside a function counts too: no light module knows a heavy library."""
    assert set().union(*map(libraries_of, LIGHT)) & HEAVY == set()


def test_the_daemon_has_no_way_to_a_key() -> None:
    """Runs, one-shot commands and `doctor` fetch one: a source that is away is no reason to check less."""
    assert {module for module in LIGHT if module.startswith("world.credentials")} == set()
    assert {"world.credentials.sources", "world.credentials.metadata"} <= led_to("service.wiring")


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
            readers.add(name)
    assert {name for name in readers if room_of(name) != "sandbox"} == {
        "base.systemd",
        "config.environment",
        "config.secret",
        "config.settings",
    }


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
                found.add(name)
    assert found == GUARDS


def test_the_package_asserts_nothing() -> None:
    """`python -O` would take it away."""
    assert [
        name for name, tree in TREES.items() if any(isinstance(n, ast.Assert) for n in ast.walk(tree))
    ] == []
