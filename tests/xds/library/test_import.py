"""The one import, `from scopeway import xds`: what it has, and what it costs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from scopeway import xds

FACE = Path(str(xds.__file__))


def names_for_type_checkers() -> set[tuple[str, str]]:
    """What the module imports where a type checker reads it, as module and name."""
    found = set()
    for node in ast.walk(ast.parse(FACE.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("scopeway.xds"):
            found |= {(str(node.module), each.name) for each in node.names}
    return found


@pytest.mark.parametrize("name", xds.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(xds, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    for module, name in names_for_type_checkers() - {("scopeway.xds", "testing")}:
        assert getattr(xds, name) is getattr(importlib.import_module(module), name)

    assert {name for _, name in names_for_type_checkers()} == set(xds.__all__)
    assert set(xds.__all__) <= set(dir(xds))


def test_each_public_name_is_named_once() -> None:
    assert len(set(xds.__all__)) == len(xds.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError) as caught:
        xds.SnapshotCash  # type: ignore[attr-defined]  # noqa: B018

    assert str(caught.value) == "module 'scopeway.xds' has no attribute 'SnapshotCash'"


@pytest.mark.parametrize(
    ("program", "unloaded"),
    [
        ("from scopeway import xds", {"grpc", "asyncio", "scopeway.xds.cache.snapshot"}),
        ("from scopeway import xds; xds.SnapshotCache()", {"grpc", "asyncio"}),
        ("from scopeway import xds; xds.testing.Client", {"grpc"}),
        (
            "from scopeway import xds; xds.serve, xds.SnapshotCache, xds.testing",
            {"envoy_data_plane", "betterproto2", "google.protobuf", "scopeway.control_plane"},
        ),
    ],
)
def test_a_program_loads_what_it_uses_only(program: str, unloaded: set[str]) -> None:
    program += "; import sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()

    assert not unloaded & set(loaded)
