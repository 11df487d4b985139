"""The table of docs/log-events.md: names and levels from the code, meanings from a file beside this one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import yaml

from certbotless.world.containers import ACTION_EVENTS

PACKAGE = Path(__file__).resolve().parents[2] / "certbotless"
MEANINGS: dict[str, str] = yaml.safe_load(Path(__file__).with_name("log_events.yaml").read_text())
# What takes an event: a method of a logger with its level, and `SiteContext.tell`.
_LEVELS = {
    "tell": "INFO",
    "exception": "ERROR",
    "log": "by case",
    **{name: name.upper() for name in ("debug", "info", "warning", "error", "critical")},
}
_STEP, _EITHER = "STEP", "by case"


def events() -> dict[str, str]:
    """Return the level of each event of the log, by its name; `STEP` stands for the name of a step."""
    found = {name: {"INFO"} for name, _ in ACTION_EVENTS.values()}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] != "sandbox":
            for name, level in _of(ast.parse(path.read_text())):
                found.setdefault(name, set()).add(level)
    return {name: levels.pop() if len(levels) == 1 else _EITHER for name, levels in sorted(found.items())}


def _of(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        assigned = [
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        ]
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            level, owner = _LEVELS.get(node.func.attr), ast.unparse(node.func.value)
            if level is None or owner.rpartition(".")[2] not in ("logger", "_ctx", "ctx", "self"):
                continue
            given = node.args[1 if node.func.attr == "log" else 0]
            if isinstance(given, ast.Name):
                before = [
                    a for a in assigned if a.lineno < node.lineno and ast.unparse(a.targets[0]) == given.id
                ]
                given = max(before, key=lambda a: a.lineno).value if before else given
            text = getattr(given, "value", None)
            # A change of the world is told by its name.
            if isinstance(text, str) and not text.startswith("%s "):
                name = text.partition(" ")[0]
                yield name.replace("%s", _STEP), level


def table() -> str:
    """Return the table of all events in Markdown."""
    rows = [f"| `{name}` | {level} | {MEANINGS[name]} |" for name, level in events().items()]
    return "\n".join(["| Event | Level | Meaning |", "|---|---|---|", *rows, ""])
