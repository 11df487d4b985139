"""Mutants: the source of a module with one thing changed, each as a mistake that a person might make.

Made by the syntax tree: a comparison turned round, `and` for `or`, a number one higher, a call left out, a
condition that always holds or never does, a value that is not returned. Log lines and texts stay as they are.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_LEAST_OR_MOST = {"min": "max", "max": "min"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module.

    Attributes:
        module: its name below the package.
        name: what was changed where, the same as long as that place stays the same.
        line: where, in the source as it is.
        write: gives the whole module with the change.
    """

    module: str
    name: str
    line: int
    write: Callable[[], str]


def module_of(path: Path) -> str:
    """Return the dotted name of a module below the package."""
    parts = path.with_suffix("").parts
    return ".".join(parts[len(parts) - parts[::-1].index("certbotless") :])


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of the module at `path`."""
    source = path.read_text()
    seen: set[str] = set()
    for index, (node, function) in enumerate(_places(ast.parse(source))):
        for number, variant in enumerate(_variants(node)):
            name = f"{module_of(path)}.{function}: {_told(node)} -> {_told(variant)}"
            if name not in seen:
                seen.add(name)
                write = partial(_changed, source, index, number)
                yield Mutant(module_of(path), name, getattr(node, "lineno", 0), write)


def sample(paths: Sequence[Path], count: int, seed: str) -> list[Mutant]:
    """Return so many mutants of these modules, chosen by a digest of their names.

    So an edit changes the choice only where it changes the code.
    """

    def digest(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {mutant.name}".encode()).digest()

    return sorted((mutant for path in paths for mutant in mutants_of(path)), key=digest)[:count]


def replaced(path: Path, name: str, old: str, new: str) -> Mutant:
    """Return the mutant with one text of the module replaced by another. Raises ValueError."""
    source = path.read_text()
    if source.count(old) != 1:
        raise ValueError(f"{name}: {path.name} has this {source.count(old)} times, not once: {old!r}")
    line = source[: source.index(old)].count("\n") + 1
    return Mutant(module_of(path), name, line, lambda: source.replace(old, new))


def _places(tree: ast.AST, function: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Yield every node that may be changed, with the name of what it is in; always in the same order."""
    decorators = getattr(tree, "decorator_list", ())
    for child in ast.iter_child_nodes(tree):
        if child in decorators or _is_left_alone(child):
            continue
        inside = function
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inside = f"{function}.{child.name}" if function else child.name
        yield child, inside
        yield from _places(child, inside)


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.arg | ast.JoinedStr):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    return isinstance(node, ast.Expr) and (
        isinstance(node.value, ast.Constant) or ast.unparse(node.value).startswith("logger.")
    )


def _variants(node: ast.AST) -> Iterator[ast.AST]:  # noqa: PLR0912  (one case for each kind of mistake)
    match node:
        case ast.Compare(left, [op], right) if type(op) in _COMPARED:
            yield ast.Compare(left, [_COMPARED[type(op)]()], right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for left_out in range(len(values)):
                others = [value for index, value in enumerate(values) if index != left_out]
                yield others[0] if len(others) == 1 else ast.BoolOp(op, others)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(value + 1)
        case ast.BinOp(left, op, right) if type(op) in _COMPUTED:
            yield ast.BinOp(left, _COMPUTED[type(op)](), right)
        case ast.Return(value) if value is not None and not _is_nothing(value):
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.If(_, body, orelse):
            yield from (ast.If(ast.Constant(value), body, orelse) for value in (True, False))
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)
        case ast.comprehension(target, iter_, [_, *_], is_async):
            yield ast.comprehension(target, iter_, [], is_async)
        case ast.Call(ast.Name(name), args, keywords) if name in _LEAST_OR_MOST:
            yield ast.Call(ast.Name(_LEAST_OR_MOST[name], ast.Load()), args, keywords)


def _is_nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _told(node: ast.AST) -> str:
    """Say what a node is, in a line."""
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    if isinstance(node, ast.comprehension):
        return ast.unparse(node).strip()
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split())


def _changed(source: str, index: int, number: int) -> str:
    """Return the source with the node at `index` replaced by its variant of that number."""
    tree = ast.parse(source)
    node = list(_places(tree))[index][0]
    variant = list(_variants(node))[number]
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, variant)
            elif isinstance(value, list):
                value[:] = [variant if each is node else each for each in value]
    return ast.unparse(ast.fix_missing_locations(tree))
