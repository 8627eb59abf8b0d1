"""The constants for foreign ids that the Lua gets."""

from typing import Any

import pytest

from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.translator.foreign_ids import id_constants


def constants(*rules: tuple[list[str], str]) -> dict[str, object]:
    accept: list[dict[str, Any]] = [
        {"clouds": ["any"], "identity": {"clouds": clouds, "ids": ids}} for clouds, ids in rules
    ]
    document = {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": "cloud-1"},
        "spec": {"accept": accept},
    }
    return id_constants(parse_manifest(document, "here"))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], {}),
        ([(["a"], "mapped")], {}),
        ([(["a", "b"], "kept")], {"clouds_with_kept_ids": {"a": True, "b": True}}),
        # kept only where all rules say so, as in the answers of Keystones
        ([(["a"], "kept"), (["a"], "mapped")], {}),
        ([(["[x=1]"], "kept"), (["a"], "mapped")], {"clouds_with_mapped_ids": {"a": True}}),
        ([(["[x=1]"], "kept")], {"clouds_with_mapped_ids": {}}),
        (
            [(["[x=1]", "b"], "kept")],
            {"clouds_with_kept_ids": {"b": True}, "clouds_with_mapped_ids": {}},
        ),
        ([(["[x=1]"], "mapped")], {}),
    ],
)
def test_lua_constants_name_the_clouds_whose_ids_are_kept_or_mapped(
    rules: Any, expected: dict[str, object]
) -> None:
    assert constants(*rules) == expected
