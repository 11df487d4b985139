"""The fault matrix: the rows of `rows.yaml`, the tests that say they cover them, and docs/faults.md of both.

A test says so by its mark, ``@pytest.mark.row(46)`` or ``@pytest.mark.row(46, 47)``, wherever in tests/ it
stands; the marks are read from the source, so nothing has to be listed by hand. `make docs` writes the page:

    python tests/faults/matrix.py
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

TESTS = Path(__file__).parent.parent
ROWS = Path(__file__).with_name("rows.yaml")
# A bar that ends no cell.
BAR = r"\|"
PAGE = TESTS.parent / "docs" / "faults.md"

_HEAD = """# Faults

What certbotless is built to survive, row by row, and the tests that show it. Made by `make docs` from
`tests/faults/rows.yaml` and the marks in the tests. `make test` runs every test that is named here, but for
those with *(soak)*, which `make soak` runs.

After each test of `tests/faults/` six things hold:

1. the pair on disk is the old or the new one, never mixed;
2. no limit of the ledger is exceeded;
3. no TXT record of ours is left;
4. no record of somebody else has changed;
5. no secret is in an output or a state file;
6. the status says `serving` of no leaf that is not served.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A fault and what must come of it; `lacks` says what no test shows, and why."""

    number: int
    part: str
    fault: str
    outcome: str
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class NamedTest:
    """A test that covers a row, by its path below tests/ and its name."""

    path: str
    name: str
    is_soak: bool


def rows() -> list[Row]:
    """Return all rows, in the order of the file."""
    parts = yaml.safe_load(ROWS.read_text())
    return [
        Row(found["row"], part, found["fault"], found["outcome"], found.get("lacks", ""))
        for part, of_part in parts.items()
        for found in of_part
    ]


def covering() -> dict[int, list[NamedTest]]:
    """Return the tests of each row number that a mark names."""
    found: defaultdict[int, list[NamedTest]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = dict(_marks(node))
                for number in marks.get("row", ()):
                    where = path.relative_to(TESTS).as_posix()
                    found[number].append(NamedTest(where, node.name, "soak" in marks))
    return dict(found)


def _marks(function: ast.FunctionDef) -> Iterator[tuple[str, list[int]]]:
    """Yield the name of each mark of a test, and its arguments where they are numbers."""
    for decorator in function.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = ast.unparse(target)
        if name.startswith("pytest.mark."):
            arguments = decorator.args if isinstance(decorator, ast.Call) else []
            numbers = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
            yield name.removeprefix("pytest.mark."), [n for n in numbers if isinstance(n, int)]


def page(all_rows: Sequence[Row], tests: Mapping[int, Sequence[NamedTest]]) -> str:
    """Return docs/faults.md."""
    covered = sum(row.number in tests for row in all_rows)
    lines = [_HEAD, f"{covered} of {len(all_rows)} rows are covered by a test, some of them in part."]
    part = ""
    for row in all_rows:
        if row.part != part:
            part = row.part
            lines += ["", f"## {part}", ""]
            lines += ["| # | What happens | What comes of it | Tests | Status |", "|---|---|---|---|---|"]
        shown = tests.get(row.number, ())
        cells = [str(row.number), row.fault, row.outcome, "<br>".join(_names(shown)), _status(row, shown)]
        lines.append(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _names(tests: Sequence[NamedTest]) -> Iterator[str]:
    path = ""
    for test in tests:
        if test.path != path:
            path = test.path
            yield f"{path}:"
        yield f"`{test.name}`{' (soak)' if test.is_soak else ''}"


def _status(row: Row, tests: Sequence[NamedTest]) -> str:
    if not tests:
        return f"**not covered**: {row.lacks}"
    return f"in part; not shown: {row.lacks}" if row.lacks else "covered"


if __name__ == "__main__":
    PAGE.write_text(page(rows(), covering()))
