"""SPIFFE IDs: each cloud has exactly one spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.identity import (
    cloud_of,
    control_plane_id,
    spiffe_id,
    trust_domain_problem,
)


def test_spiffe_ids_of_clouds_and_of_the_control_plane_never_collide() -> None:
    assert spiffe_id("edge.example", "cloud-1") == "spiffe://edge.example/cloud/cloud-1"
    assert control_plane_id("edge.example") == "spiffe://edge.example/control-plane"
    assert spiffe_id("edge.example", "control-plane") != control_plane_id("edge.example")


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True))
def test_a_spiffe_id_maps_back_to_its_cloud(cloud: str) -> None:
    assert cloud_of(spiffe_id("edge.example", cloud), "edge.example") in (
        {cloud} if cloud != "local" else {None}
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cloud-1",
        "spiffe://edge.example/control-plane",
        "spiffe://edge.example/cloud/",
        "spiffe://edge.example/cloud/cloud-1/",
        "spiffe://edge.example/cloud/cloud-1/sub",
        "spiffe://edge.example/cloud//cloud-1",
        "spiffe://edge.example/cloud/Cloud-1",
        "spiffe://edge.example/cloud/cloud-1\n",
        "spiffe://edge.example/cloud/cloud%2d1",
        "spiffe://edge.example/cloud/cloud-1?x=1",
        "spiffe://edge.example/cloud/cloud-1#x",
        "spiffe://edge.example/cloud/../cloud/cloud-1",
        "spiffe://edge.example/cloud/local",
        "spiffe://edge.example:443/cloud/cloud-1",
        "spiffe://user@edge.example/cloud/cloud-1",
        "spiffe://EDGE.example/cloud/cloud-1",
        "SPIFFE://edge.example/cloud/cloud-1",
        "spiffe://other.example/cloud/cloud-1",
        "spiffe://edge.example.evil/cloud/cloud-1",
        " spiffe://edge.example/cloud/cloud-1",
        "https://edge.example/cloud/cloud-1",
    ],
)
def test_other_names_map_to_no_cloud(name: str) -> None:
    assert cloud_of(name, "edge.example") is None


@pytest.mark.parametrize("text", ["", "Edge", "a/b", "a b", "ä", "a" * 256, "a:1", "a\n"])
def test_a_trust_domain_that_no_spiffe_id_can_contain_is_refused(text: str) -> None:
    assert trust_domain_problem(text) is not None
    assert trust_domain_problem("edge-1.example_x") is None
