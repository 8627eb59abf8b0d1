"""The example manifests and those in the documentation are valid."""

import re
from pathlib import Path

import pytest
import yaml

from scopeway.control_plane.catalog.loader import read_registry
from scopeway.control_plane.clouds.manifest import API_VERSION, InvalidCloud
from scopeway.control_plane.clouds.policy import evaluate_rules, pattern_matches
from scopeway.control_plane.registry import open_registry
from scopeway.control_plane.registry.documents import parse_document
from scopeway.control_plane.scope import IDENTITY_VALIDATE

ROOT = Path(__file__).parents[3]


@pytest.mark.asyncio
async def test_the_example_manifests_have_no_problems() -> None:
    found = await read_registry(open_registry(f"dir:{ROOT}/deploy/examples/clouds"))

    assert not found.problems
    assert found.clouds >= {"cloud-1", "cloud-999", "public-1", "archive"}


@pytest.mark.asyncio
async def test_examples_that_honour_tokens_of_a_cloud_may_ask_its_keystone() -> None:
    """Otherwise, every request of a user of that cloud would end in a 401."""
    found = await read_registry(open_registry(f"dir:{ROOT}/deploy/examples/clouds"))
    clouds = list(found.inventory)
    honoured = [
        (issuer, host)
        for host in clouds
        for issuer in clouds
        if issuer.name != host.name and "identity" in issuer.services
        for rule in host.accept
        if rule.identity and any(pattern_matches(each, issuer) for each in rule.identity.clouds)
    ]

    assert ("cloud-1", "cloud-999") in [(issuer.name, host.name) for issuer, host in honoured]
    for issuer, host in honoured:
        assert host.front, f"nobody at {host.name} could ask"
        assert evaluate_rules(issuer, host, IDENTITY_VALIDATE).allowed, (
            f"{issuer.name} refuses {host.name}"
        )


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_the_manifests_in_the_documentation_are_valid(page: Path) -> None:
    """All blocks of YAML that have an `apiVersion` of Scopeway."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    problems = []
    for block in blocks:
        for document in yaml.safe_load_all(block):
            if document.get("apiVersion") == API_VERSION:
                try:
                    parse_document(document, page.name)
                except InvalidCloud as error:
                    problems.append(str(error))

    assert problems == []
