"""The table of names in docs/xds.md: all exist and are documented, and nothing else is used."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "xds.md").read_text()
TABLE = DOCUMENT.partition("\n## Names\n")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| `(scopeway\.xds[\w.]*)` \| (.+?) \|", re.MULTILINE)
PROGRAMS = re.findall(r"```python\n(.+?)```", DOCUMENT, re.DOTALL)

LISTED = {
    (module, name) for module, names in ROW.findall(TABLE) for name in re.findall(r"`(\w+)`", names)
}


def documented(module: str) -> set[str]:
    """The names that a module defines with a docstring: classes, functions, constants."""
    body = ast.parse((REPOSITORY / f"src/{module.replace('.', '/')}.py").read_text()).body
    names = set()
    for statement, following in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(statement):
                    names.add(statement.name)
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                match following:
                    case ast.Expr(ast.Constant(str())):
                        names.add(name)
    return names


def imported(text: str) -> set[tuple[str, str]]:
    """What a program imports from xds, as pairs of module and name."""
    return {(module, name) for module, name in _imports(text) if module.startswith("scopeway.xds")}


def _imports(text: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import():
                yield from ((each.name, "") for each in node.names)
            case ast.ImportFrom(module=str(module)):
                yield from ((module, each.name) for each in node.names)


@pytest.mark.parametrize("module", sorted({module for module, _ in LISTED}))
def test_every_documented_public_name_exists_and_has_a_docstring(module: str) -> None:
    assert {name for where, name in LISTED if where == module} <= documented(module)


def test_the_control_plane_uses_public_names_only() -> None:
    files = sorted((REPOSITORY / "control_plane").rglob("*.py"))
    used = set[tuple[str, str]]().union(*(imported(each.read_text()) for each in files))

    assert used
    assert used <= LISTED


@pytest.mark.parametrize("program", PROGRAMS, ids=["whole", "nodes", "session"])
def test_the_programs_of_the_document_use_public_names_only(program: str) -> None:
    assert imported(program)
    assert imported(program) <= LISTED


def test_the_library_imports_only_grpcio() -> None:
    files = sorted((REPOSITORY / "xds").rglob("*.py"))
    found = {module for each in files for module, _ in _imports(each.read_text())}
    packages = {module.partition(".")[0] for module in found}

    assert packages - sys.stdlib_module_names == {"grpc", "scopeway"}


def test_the_documented_program_without_grpc_runs() -> None:
    exec(PROGRAMS[2], {"__name__": "program"})
