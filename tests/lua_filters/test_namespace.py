"""The namespaces of foreign ids: Lua computes those of the planner."""

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.planner.access import namespace

ID = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ],
)
def test_sha256_matches_the_examples_of_the_standard(modules: Any, text: str, digest: str) -> None:
    """FIPS 180-2, appendix B."""
    assert modules["sha256"].hex(text) == digest


def test_sha256_matches_python_for_every_length(modules: Any) -> None:
    for length in range(200):
        text = "x" * length
        assert modules["sha256"].hex(text) == sha256(text.encode()).hexdigest(), length


def test_a_cloud_has_the_namespace_that_the_planner_computes(new_modules: Any) -> None:
    modules = new_modules()

    @given(st.from_regex("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True))
    def agrees(cloud: str) -> None:
        assert modules["namespace"].of(cloud) == namespace(cloud)

    agrees()


def test_a_forgotten_namespace_is_computed_again(modules: Any) -> None:
    of = modules["namespace"].of
    for index in range(1100):
        of(f"cloud-{index}")

    assert of("cloud-5") == namespace("cloud-5")


def test_a_mapped_id_is_not_mapped_again(modules: Any) -> None:
    moved = modules["namespace"].mapped_id
    once = moved(ID, "f" * 16)

    assert once == "f" * 16 + ID[16:]
    assert moved(once, "f" * 16) == once
    assert moved("short", "f" * 16) == "f" * 16 + "short"
    assert moved(ID, "") == ID
