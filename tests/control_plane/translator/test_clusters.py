"""The bytes of clusters, compared with golden files."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.extensions.bootstrap.internal_listener.v3 import InternalListener
from envoy_data_plane.envoy.extensions.clusters.dynamic_forward_proxy.v3 import ClusterConfig
from envoy_data_plane.google.protobuf import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st

from harness.envoy import PROGRAM
from scopeway.control_plane.cli.options import place
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.manifest import API_VERSION, KIND, parse_manifest
from scopeway.control_plane.planner.plan import PeerHop, Rejection, Route
from scopeway.control_plane.planner.planner import MAX_HOPS, PlanSettings, plan_target
from scopeway.control_plane.scope import parse_target
from scopeway.control_plane.translator import cluster_templates
from scopeway.control_plane.translator.clusters import MAX_REASON, compile_cluster, header_value
from scopeway.xds.encoding.protobuf import field_bytes

CASES = sorted((Path(__file__).parents[2] / "testdata" / "clusters").glob("*.in.yaml"))
KNOWN = (ClusterConfig,)
"""Types that are in the goldens, and that nothing else here imports."""


def compiled(case: Path) -> bytes:
    """Compile the target of a case; see docs/targets.md for its form."""
    document = yaml.safe_load(case.read_text())
    clouds = [parse_manifest(_manifest(each), case.name) for each in document["clouds"]]
    inventory = Inventory().apply({cloud.name: cloud for cloud in clouds})
    caller = inventory.get(document["caller"])
    assert caller is not None
    told = document.get("settings", {})
    if "direct" in told:
        told["direct"] = tuple(map(place, told["direct"]))
    settings = PlanSettings(**told)
    name = document["target"]
    plan = plan_target(parse_target(name), caller, inventory, settings)
    return compile_cluster(name, plan, collector="/run/scopeway")


def _manifest(short: dict[str, Any]) -> dict[str, Any]:
    spec = {key: value for key, value in short.items() if key not in {"name", "labels"}}
    metadata = {key: short[key] for key in ("name", "labels") if key in short}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removesuffix(".in.yaml"))
def test_compiled_clusters_equal_the_golden_files(case: Path, rewrite: bool) -> None:
    golden = case.with_name(case.name.replace(".in.", ".out."))
    cluster = Cluster.parse(compiled(case)).to_dict()

    if rewrite:
        golden.write_text(yaml.safe_dump(cluster, sort_keys=False, allow_unicode=True))
    assert cluster == yaml.safe_load(golden.read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removesuffix(".in.yaml"))
def test_compiled_bytes_equal_those_of_the_envoy_types_except_for_the_order_of_fields(
    case: Path,
) -> None:
    """Envoy's types take in what was joined, and give out not a byte more or less."""
    body = compiled(case)
    cluster = Cluster.parse(body)

    assert Cluster.parse(bytes(cluster)) == cluster
    assert sorted(bytes(cluster)) == sorted(body)


@pytest.mark.envoy
def test_envoy_accepts_every_golden_cluster_and_the_largest_one(tmp_path: Path) -> None:
    """Envoy reads the very bytes that it would be sent."""
    internal_listeners = TypedExtensionConfig(
        name="envoy.bootstrap.internal_listener", typed_config=AnyMessage.pack(InternalListener())
    )
    hop = PeerHop(cloud="cloud-1", address="127.0.0.1", port=1, prefix="")
    largest = compile_cluster("image@many", Route(hops=(hop,) * MAX_HOPS))
    clusters = {Cluster.parse(body).name: body for body in (largest, *map(compiled, CASES))}
    static_resources = b"".join(field_bytes(2, body) for body in clusters.values())
    config = tmp_path / "bootstrap.pb"
    # envoy.config.bootstrap.v3.Bootstrap: static_resources, bootstrap_extensions
    config.write_bytes(
        field_bytes(2, static_resources) + field_bytes(21, bytes(internal_listeners))
    )

    result = subprocess.run(
        [PROGRAM, "--mode", "validate", "-c", config, "--log-level", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stderr


def test_text_of_a_scope_in_a_cluster_is_never_a_format_string() -> None:
    """Reasons come from scopes: they must never become formats or further headers."""
    reason = "no cloud is named %REQ(authorization)%\r\nx: y\x00\u20ac"
    cluster = Cluster.parse(compile_cluster("image@x", Rejection(status=404, reason=reason)))

    assert cluster.metadata is not None
    metadata = cluster.metadata.filter_metadata["scopeway"].to_dict()
    assert metadata == {
        "prefix": "",
        "host": "",
        "status": "404",
        "reason": "no cloud is named %REQ(authorization)%\\r\\nx: y\\x00\\u20ac",
    }


@given(st.text(max_size=2000))
def test_any_text_becomes_a_valid_header_value(text: str) -> None:
    value = header_value(text)

    assert all(" " <= char <= "~" for char in value)
    assert len(value) <= MAX_REASON
    assert header_value(value) == value


def test_retries_grow_with_the_endpoints_up_to_a_bound() -> None:
    retries = []
    for count in (1, 2, 20):
        options = Cluster.parse(cluster_templates.service(count, waits=False)).to_dict()
        (http,) = options["typedExtensionProtocolOptions"].values()
        retries.append(http["retryPolicy"]["numRetries"])

    # of one endpoint only reads are sent again
    assert retries == [1, 1, cluster_templates.MAX_ENDPOINT_RETRIES]
