from datetime import timedelta

import pytest
from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
)
from envoy_data_plane.envoy.config.core.v3 import BuildVersion, Extension, Locality
from envoy_data_plane.envoy.config.core.v3 import Node as ProtoNode
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryResponse,
)
from envoy_data_plane.envoy.service.discovery.v3 import Resource as ProtoResource
from envoy_data_plane.envoy.type.v3 import SemanticVersion
from envoy_data_plane.google.protobuf import Any, Struct
from envoy_data_plane.google.rpc import Status
from hypothesis import given
from hypothesis import strategies as st

from scopeway.xds import source
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import (
    DeltaRequest,
    ErrorDetail,
    decode_delta_request,
    delta_response,
    endpoints_name,
    heartbeat,
    resource,
    sotw_framed,
    sotw_response,
    without_ttl,
)
from scopeway.xds.encoding.node import MAX_METADATA
from scopeway.xds.errors import MalformedRequestError
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER


class TestResource:
    def test_version_is_a_hash_of_the_body(self) -> None:
        one = resource(CLUSTER, "a", b"body")

        assert one.version == resource(CLUSTER, "b", b"body").version
        assert one.version != resource(CLUSTER, "a", b"other").version
        assert one == resource(CLUSTER, "a", b"body")

    def test_version_survives_a_restart(self) -> None:
        assert resource(CLUSTER, "a", b"body").version == "d11e6e5dcf93f0"


class TestResponse:
    def test_protobuf_reads_what_was_joined(self) -> None:
        data = b"".join(
            delta_response(
                type_url=CLUSTER,
                nonce="7",
                resources=[resource(CLUSTER, "a", b"body"), resource(CLUSTER, "ä|b", b"")],
                removed=["gone", "away"],
            )
        )

        message = DeltaDiscoveryResponse.parse(data)
        assert (message.type_url, message.nonce) == (CLUSTER, "7")
        assert [each.name for each in message.resources] == ["a", "ä|b"]
        first = message.resources[0]
        assert first.version == resource(CLUSTER, "a", b"body").version
        assert first.resource is not None
        assert (first.resource.type_url, first.resource.value) == (CLUSTER, b"body")
        assert message.removed_resources == ["gone", "away"]

    def test_an_empty_response_has_no_resources(self) -> None:
        data = b"".join(delta_response(type_url=CLUSTER, nonce="1", resources=[], removed=[]))

        assert DeltaDiscoveryResponse.parse(data) == DeltaDiscoveryResponse(
            type_url=CLUSTER, nonce="1"
        )


@pytest.mark.parametrize(
    ("cluster", "name"),
    [
        (Cluster(name="a", type=ClusterDiscoveryType.EDS), "a"),
        (
            Cluster(
                name="a",
                type=ClusterDiscoveryType.EDS,
                eds_cluster_config=ClusterEdsClusterConfig(service_name="pool"),
            ),
            "pool",
        ),
        (Cluster(name="a", type=ClusterDiscoveryType.STRICT_DNS), None),
        (Cluster(name="a"), None),
        (b"\x12\xff", None),
    ],
)
def test_the_endpoints_of_a_cluster_that_has_eds(
    cluster: Cluster | bytes, name: str | None
) -> None:
    assert endpoints_name(resource(CLUSTER, "a", bytes(cluster))) == name


class TestTtl:
    """What protobuf reads of a resource with a TTL."""

    FOUND = resource(CLUSTER, "a", b"body", ttl=90.5)

    def test_a_ttl_is_encoded_beside_the_resource(self) -> None:
        data = b"".join(
            delta_response(type_url=CLUSTER, nonce="1", resources=[self.FOUND], removed=[])
        )

        (read,) = DeltaDiscoveryResponse.parse(data).resources
        assert read == ProtoResource(
            name="a",
            version=self.FOUND.version,
            ttl=timedelta(seconds=90.5),
            resource=Any(type_url=CLUSTER, value=b"body"),
        )

    def test_a_heartbeat_is_the_resource_without_its_body(self) -> None:
        beat = heartbeat(CLUSTER, "a", self.FOUND.version, 90.5)
        data = b"".join(delta_response(type_url=CLUSTER, nonce="1", resources=[beat], removed=[]))

        (read,) = DeltaDiscoveryResponse.parse(data).resources
        assert read == ProtoResource(
            name="a", version=self.FOUND.version, ttl=timedelta(seconds=90.5)
        )

    def test_a_ttl_in_sotw_needs_a_wrapper(self) -> None:
        data = b"".join(
            sotw_response(
                type_url=CLUSTER,
                nonce="1",
                version_info="v",
                framed=[
                    sotw_framed(each)
                    for each in (
                        self.FOUND,
                        without_ttl(self.FOUND),
                    )
                ],
            )
        )

        wrapped, plain = DiscoveryResponse.parse(data).resources
        assert wrapped.type_url == "type.googleapis.com/envoy.service.discovery.v3.Resource"
        assert ProtoResource.parse(wrapped.value) == ProtoResource(
            name="a",
            version=self.FOUND.version,
            ttl=timedelta(seconds=90.5),
            resource=Any(type_url=CLUSTER, value=b"body"),
        )
        assert plain == Any(type_url=CLUSTER, value=b"body")

    def test_another_ttl_is_another_version(self) -> None:
        versions = {resource(CLUSTER, "a", b"body", ttl=ttl).version for ttl in (None, 1, 2, 2.5)}

        assert len(versions) == 4
        assert without_ttl(self.FOUND).version == self.FOUND.version

    def test_a_ttl_that_is_too_short_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"TTL of 0.9 s is too short"):
            resource(CLUSTER, "a", b"body", ttl=0.9)

        assert resource(CLUSTER, "a", b"body", ttl=1).ttl == 1


class TestRequest:
    def test_every_needed_field_of_a_request_is_read(self) -> None:
        message = DeltaDiscoveryRequest(
            node=ProtoNode(
                id="cloud-1/a",
                cluster="cloud-1",
                metadata=Struct.from_dict(
                    {
                        "scopeway": {"protocol": 1.0, "zone": "z", "deep": {"share": 0.1}},
                        "flag": True,
                        "list": ["x"],
                        "nothing": None,
                    }
                ),
                locality=Locality(region="r", zone="z", sub_zone="s"),
                user_agent_name="envoy",
                user_agent_build_version=BuildVersion(
                    version=SemanticVersion(major_number=1, minor_number=40, patch=0),
                    metadata=Struct.from_dict({"build.type": "RELEASE"}),
                ),
                extensions=[Extension(name="x", type_urls=["u"])] * 3,
                client_features=["one", "two"],
            ),
            type_url=CLUSTER,
            resource_names_subscribe=["a", "b"],
            resource_names_unsubscribe=["c"],
            initial_resource_versions={"a": "1", "d": "2"},
            response_nonce="9",
            error_detail=Status(code=13, message="bad cluster"),
        )

        assert decode_delta_request(bytes(message)) == DeltaRequest(
            type_url=CLUSTER,
            response_nonce="9",
            subscribe=("a", "b"),
            unsubscribe=("c",),
            initial_versions={"a": "1", "d": "2"},
            error=ErrorDetail(code=13, message="bad cluster"),
            node=Node(
                id="cloud-1/a",
                cluster="cloud-1",
                metadata={
                    "scopeway.protocol": "1",
                    "scopeway.zone": "z",
                    "scopeway.deep.share": "0.1",
                },
                locality=source.Locality(region="r", zone="z", sub_zone="s"),
                user_agent="envoy/1.40.0",
                client_features=frozenset({"one", "two"}),
            ),
            names_empty=False,
        )

    @pytest.mark.parametrize(
        ("node", "user_agent"),
        [
            (ProtoNode(id="n"), ""),
            (ProtoNode(user_agent_name="grpc", user_agent_version="1.66"), "grpc/1.66"),
            (ProtoNode(user_agent_name="mine"), "mine"),
        ],
    )
    def test_the_user_agent_has_the_parts_that_the_client_sends(
        self, node: ProtoNode, user_agent: str
    ) -> None:
        read = decode_delta_request(_request(node=node)).node

        assert read is not None
        assert read.user_agent == user_agent

    def test_reading_the_node_can_be_turned_off(self) -> None:
        data = _request(node=ProtoNode(id="n"))

        assert decode_delta_request(data, with_node=False).node is None

    def test_empty_request_names_nothing(self) -> None:
        assert decode_delta_request(_request()) == DeltaRequest(type_url=CLUSTER)

    def test_an_empty_error_is_a_nack(self) -> None:
        data = _request() + wire.field_bytes(7, b"")

        assert decode_delta_request(data).error == ErrorDetail(code=0, message="")

    def test_initial_versions_alone_name_nothing(self) -> None:
        """A returning client with the legacy wildcard lists versions, but subscribes to nothing."""
        request = decode_delta_request(_request(initial_resource_versions={"a": "1"}))

        assert request.names_empty

    @pytest.mark.parametrize("number", [3, 4])
    def test_names_that_are_not_utf8_are_skipped_and_counted(self, number: int) -> None:
        data = _request() + wire.field_bytes(number, b"a\xff") + wire.field_bytes(number, b"b")

        request = decode_delta_request(data)
        assert (*request.subscribe, *request.unsubscribe) == ("b",)
        assert request.skipped == 1

    def test_a_request_of_only_bad_names_names_something(self) -> None:
        request = decode_delta_request(_request() + wire.field_bytes(3, b"\xff"))

        assert not request.names_empty

    def test_bad_names_among_initial_versions_are_skipped_and_counted(self) -> None:
        data = _request(initial_resource_versions={"a": "1"})
        data += wire.field_bytes(5, wire.field_bytes(1, b"\xff") + wire.field_string(2, "1"))

        request = decode_delta_request(data)
        assert request.initial_versions == {"a": "1"}
        assert request.skipped == 1

    def test_names_up_to_the_limit_are_read(self) -> None:
        names = ["x" * 4096, "y" * 4097, "z" * 10]

        longest = decode_delta_request(_request(resource_names_subscribe=names))
        shortest = decode_delta_request(_request(resource_names_subscribe=names), max_name_bytes=9)
        assert longest.subscribe == ("x" * 4096, "z" * 10)
        assert longest.skipped == 1
        assert shortest.subscribe == ()
        assert shortest.skipped == 3

    def test_names_among_initial_versions_have_the_same_limit(self) -> None:
        versions = {"x" * 4096: "1", "y" * 4097: "2"}

        request = decode_delta_request(_request(initial_resource_versions=versions))
        assert request.initial_versions == {"x" * 4096: "1"}
        assert request.skipped == 1

    def test_an_error_message_cut_inside_a_character_is_kept(self) -> None:
        error = wire.field_varint(1, 13) + wire.field_bytes(2, "schlüssel".encode()[:5])

        assert decode_delta_request(_request() + wire.field_bytes(7, error)).error == ErrorDetail(
            code=13, message="schl\ufffd"
        )

    @pytest.mark.parametrize(
        ("above", "deep"), [(15, {"n." * 15 + "leaf": "deep"}), (16, {}), (40, {})]
    )
    def test_metadata_is_read_to_a_depth(self, above: int, deep: dict[str, str]) -> None:
        nested: dict[str, object] = {"leaf": "deep"}
        for _ in range(above):
            nested = {"n": nested}
        metadata = Struct.from_dict({"shallow": "x", **nested})

        node = decode_delta_request(_request(node=ProtoNode(id="n", metadata=metadata))).node
        assert node == Node(id="n", cluster="", metadata={"shallow": "x", **deep})

    def test_metadata_is_read_up_to_its_limit(self) -> None:
        """Key and value, and above a second one the path to it."""
        long = "v" * (MAX_METADATA - len("a" + "n" + "n." + "b"))

        def read(value: str) -> DeltaRequest:
            metadata = Struct.from_dict({"a": value, "n": {"b": ""}})
            return decode_delta_request(_request(node=ProtoNode(metadata=metadata)))

        node = read(long).node
        assert node is not None
        assert node.metadata == {"a": long, "n.b": ""}
        with pytest.raises(
            MalformedRequestError, match=f"more than {MAX_METADATA} characters"
        ) as refused:
            read(long + "v")
        assert refused.value.status == "INVALID_ARGUMENT"

    @pytest.mark.parametrize("below", [wire.field_string(3, ""), wire.field_bytes(5, b"")])
    def test_a_long_key_above_many_leaves_fills_no_memory(self, below: bytes) -> None:
        inside = b"".join(_entry(f"{number}", below) for number in range(200))
        above = _entry("k" * 10_000, wire.field_bytes(5, inside))
        data = _request() + wire.field_bytes(1, wire.field_bytes(3, above))
        assert len(data) < MAX_METADATA / 2

        with pytest.raises(MalformedRequestError, match="metadata has more than"):
            decode_delta_request(data)

    def test_the_last_one_of_repeated_metadata_keys_counts(self) -> None:
        """https://protobuf.dev/programming-guides/encoding/#last-one-wins"""
        text, nothing = wire.field_string(3, "v"), wire.field_varint(1, 0)
        struct = wire.field_bytes(5, _entry("x", text))
        metadata = _entry("a", struct) + _entry("a", text) + _entry("b", text + nothing)
        metadata += _entry("c", struct + wire.field_bytes(5, _entry("y", text)))
        data = _request() + wire.field_bytes(1, wire.field_bytes(3, metadata))

        node = decode_delta_request(data).node
        assert node is not None
        assert node.metadata == {"a": "v", "c.x": "v", "c.y": "v"}

    def test_numbers_have_the_width_of_their_fields(self) -> None:
        error = wire.field_varint(1, -1)
        numbers = wire.field_varint(1, 1) + wire.field_varint(2, -1)
        build = wire.field_bytes(8, wire.field_bytes(1, numbers))
        data = _request() + wire.field_bytes(7, error) + wire.field_bytes(1, build)

        request = decode_delta_request(data)
        assert request.error == ErrorDetail(code=-1, message="")
        assert request.node is not None
        assert request.node.user_agent == f"1.{(1 << 32) - 1}.0"

    def test_unknown_fields_are_skipped(self) -> None:
        version = wire.field_string(1, "a") + wire.field_string(2, "1") + wire.field_string(3, "?")
        error = wire.field_varint(1, 13) + wire.field_string(2, "no") + wire.field_string(3, "?")
        data = _request() + wire.field_bytes(5, version) + wire.field_bytes(7, error)
        data += wire.field_string(99, "?")

        request = decode_delta_request(data)
        assert request.initial_versions == {"a": "1"}
        assert request.error == ErrorDetail(code=13, message="no")

    def test_other_fields_of_a_struct_are_skipped(self) -> None:
        entry = wire.field_string(1, "k") + wire.field_bytes(2, wire.field_string(3, "v"))
        odd = wire.field_bytes(1, entry + wire.field_string(3, "?")) + wire.field_string(2, "?")
        data = _request() + wire.field_bytes(1, wire.field_bytes(3, odd))

        assert decode_delta_request(data).node == Node(id="", cluster="", metadata={"k": "v"})

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xff\xff\xff",
            wire.field_string(3, "a"),
            wire.field_bytes(2, b"\xff"),
            wire.field_string(2, CLUSTER) + b"\x1a\x7f",
            wire.field_string(2, CLUSTER) + wire.field_bytes(5, b"\x0a\x7f"),
            wire.field_string(2, CLUSTER) + wire.field_bytes(7, b"\xff"),
            wire.field_string(2, CLUSTER) + wire.field_bytes(1, wire.field_bytes(1, b"\xff")),
        ],
    )
    def test_malformed_bytes_are_an_invalid_argument(self, data: bytes) -> None:
        with pytest.raises(MalformedRequestError, match="malformed DeltaDiscoveryRequest") as error:
            decode_delta_request(data)

        assert error.value.status == "INVALID_ARGUMENT"

    @given(st.binary())
    def test_any_bytes_are_a_request_or_malformed(self, data: bytes) -> None:
        with pytest.raises(MalformedRequestError):
            decode_delta_request(data + b"\x12\x01\xff")


def _entry(key: str, value: bytes) -> bytes:
    """An entry of a Struct."""
    return wire.field_bytes(1, wire.field_string(1, key) + wire.field_bytes(2, value))


def _request(**fields: object) -> bytes:
    message: Message = DeltaDiscoveryRequest(type_url=CLUSTER, **fields)  # type: ignore[arg-type]
    return bytes(message)
