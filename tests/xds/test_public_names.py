"""The public names of the library: documented, in the reference, and nothing else is used."""

import ast
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scopeway import xds

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs" / "xds"
REFERENCE: dict[str, Any] = runpy.run_path(str(DOCS / "make_reference.py"))
PAGE: str = REFERENCE["page"]()
HOMES: dict[str, tuple[str, ...]] = xds._HOMES  # type: ignore[attr-defined]

LISTED = {
    (f"scopeway.xds.{module}", name)
    for homes in (HOMES, REFERENCE["BLOCKS"])
    for module, names in homes.items()
    for name in names
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
def test_every_public_name_is_there_and_documented(module: str) -> None:
    assert {name for where, name in LISTED if where == module} <= documented(module)


def test_the_control_plane_uses_public_names_only() -> None:
    files = sorted((REPOSITORY / "control_plane").rglob("*.py"))
    used = set[tuple[str, str]]().union(*(imported(each.read_text()) for each in files))

    assert used
    assert used <= LISTED


def test_the_page_of_reference_is_current() -> None:
    """If it is not: `make reference`."""
    assert (DOCS / "reference.md").read_text() == PAGE


@pytest.mark.parametrize("name", sorted({*xds.__all__} - {"testing"}))
def test_every_public_name_has_a_heading_in_the_reference(name: str) -> None:
    headings = [each for each in PAGE.splitlines() if each.startswith("### ")]

    assert [each for each in headings if each.split()[1] == f"xds.{name}"] != []


def test_no_type_of_grpc_is_in_the_public_interface() -> None:
    """Another transport may follow."""
    assert "grpc." not in PAGE.replace("grpc.health", "").replace("xds.grpc_", "")


def test_the_library_needs_grpcio_only() -> None:
    files = sorted((REPOSITORY / "xds").rglob("*.py"))
    found = {module for each in files for module, _ in _imports(each.read_text())}
    packages = {module.partition(".")[0] for module in found}

    assert packages - sys.stdlib_module_names == {"grpc", "scopeway"}
