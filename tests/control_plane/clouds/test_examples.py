"""The manifests that we show to others are good ones."""

import re
from pathlib import Path

import pytest
import yaml

from control_plane.clouds.manifest import parse_manifest
from control_plane.registry import open_registry, read_registry

ROOT = Path(__file__).parents[3]


@pytest.mark.asyncio
async def test_the_examples_are_a_registry_without_problems() -> None:
    found = await read_registry(open_registry(f"dir:{ROOT}/deploy/examples/clouds"))

    assert not found.problems
    assert found.clouds >= {"cloud-1", "cloud-999", "public-1", "archive"}


def test_the_manifest_of_the_reference_is_good() -> None:
    text = (ROOT / "docs/clouds.md").read_text()
    (document,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    assert parse_manifest(yaml.safe_load(document), "docs/clouds.md").name == "cloud-999"
