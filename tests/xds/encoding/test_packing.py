"""Resources from messages of two protobuf libraries, and from bytes; what is said of mistakes."""

from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import (
    RouteConfiguration,
    ScopedRouteConfiguration,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret
from envoy_data_plane.envoy.service.runtime.v3 import Runtime
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

from scopeway import xds

CLUSTER_URL = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def google_cluster(**fields: str) -> Any:
    """A Cluster as Google's library has it, with the two fields that the tests use."""
    file = descriptor_pb2.FileDescriptorProto(
        name="cluster.proto", package="envoy.config.cluster.v3", syntax="proto3"
    )
    message = file.message_type.add(name="Cluster")
    for number, name in ((1, "name"), (28, "alt_stat_name")):
        message.field.add(name=name, number=number, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("envoy.config.cluster.v3.Cluster")
    return message_factory.GetMessageClass(found)(**fields)


@pytest.mark.parametrize(
    ("message", "type_url"),
    [
        (Cluster(name="n"), xds.CLUSTER),
        (ClusterLoadAssignment(cluster_name="n"), xds.ENDPOINT),
        (Listener(name="n"), xds.LISTENER),
        (RouteConfiguration(name="n"), xds.ROUTE),
        (ScopedRouteConfiguration(name="n"), xds.SCOPED_ROUTE),
        (Secret(name="n"), xds.SECRET),
        (Runtime(name="n"), xds.RUNTIME),
        (TypedExtensionConfig(name="n"), xds.EXTENSION),
        (google_cluster(name="n"), xds.CLUSTER),
    ],
)
def test_a_message_says_its_type_and_its_name(message: Any, type_url: str) -> None:
    resource = xds.resource_from_message(message)

    assert (resource.type_url, resource.name) == (type_url, "n")
    assert resource.body == message.SerializeToString()


def test_the_libraries_make_the_same_version_of_the_same_message() -> None:
    ours = xds.resource_from_message(Cluster(name="a", alt_stat_name="b"))
    googles = xds.resource_from_message(google_cluster(name="a", alt_stat_name="b"))
    from_bytes = xds.resource_from_bytes(
        xds.CLUSTER, "a", bytes(Cluster(name="a", alt_stat_name="b"))
    )

    assert ours == googles == from_bytes


def test_a_name_for_a_message_that_does_not_bear_the_resource_name() -> None:
    resource = xds.resource_from_message(VirtualHost(name="v"), name="routes/example.com")

    assert (resource.type_url, resource.name) == (xds.VIRTUAL_HOST, "routes/example.com")


def test_ttl_and_order_are_passed_on() -> None:
    resource = xds.resource_from_message(Cluster(name="a"), ttl=5, after=xds.LISTENER)

    assert (resource.ttl, resource.after) == (5, xds.LISTENER)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"name": "a"},
            "a dict is no resource: pass a message of Google's protobuf or of betterproto2, or "
            "what resource_from_bytes(type_url, name, body) returns",
        ),
        (
            Cluster,
            "the class Cluster is no resource: pass a message of Google's protobuf or of "
            "betterproto2, or what resource_from_bytes(type_url, name, body) returns",
        ),
        (
            None,
            "None is no resource: pass a message of Google's protobuf or of betterproto2, or what "
            "resource_from_bytes(type_url, name, body) returns",
        ),
        (
            any_pb2.Any(type_url=xds.CLUSTER),
            "a google.protobuf.Any is no resource: pass the message in it, or "
            "resource_from_bytes(any.type_url, name, any.value)",
        ),
    ],
    ids=["dict", "class", "None", "Any"],
)
def test_what_is_no_message_is_a_type_error(wrong: object, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        xds.resource_from_message(wrong)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Cluster(), "a Cluster without a name: set the message's name"),
        (
            VirtualHost(name="v"),
            "the name of VirtualHost resources is not in their messages: pass name=...",
        ),
    ],
    ids=["empty", "virtual host"],
)
def test_a_message_without_a_name_is_a_value_error(wrong: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        xds.resource_from_message(wrong)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("Cluster", "a", b""),
            ValueError,
            f"'Cluster' is no type URL: they read like {CLUSTER_URL!r} (xds.CLUSTER)",
        ),
        ((1, "a", b""), TypeError, "a type URL must be a string, not an int"),
        ((xds.CLUSTER, "", b""), ValueError, "'' cannot be the name of a Cluster"),
        ((xds.CLUSTER, "*", b""), ValueError, "'*' cannot be the name of a Cluster"),
        ((xds.CLUSTER, 1, b""), TypeError, "the name of a Cluster must be a string, not an int"),
        (
            (xds.CLUSTER, "é" * 2049, b""),
            ValueError,
            "the name of a Cluster has more than 4096 bytes: " + "é" * 256 + "… (2049 characters)",
        ),
        (
            (xds.CLUSTER, "a\udc80", b""),
            ValueError,
            "the name 'a\\udc80' of a Cluster is no valid Unicode",
        ),
        (
            (xds.CLUSTER, "a", "text"),
            TypeError,
            "the body of Cluster 'a' is a str, not bytes: pass what the message's "
            "SerializeToString() or bytes() returns, or use resource_from_message",
        ),
        (
            (xds.CLUSTER, "a", b"\x0a\x05a"),
            ValueError,
            "the body of Cluster 'a' is no protobuf message: field 1 is cut off at byte 3",
        ),
        (
            (xds.CLUSTER, "a", b"\x0a\x01b"),
            ValueError,
            "the Cluster 'a' is named 'b' in its message: both must be the same",
        ),
    ],
)
def test_bytes_that_cannot_be_a_resource_are_refused(
    arguments: tuple[Any, Any, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        xds.resource_from_bytes(*arguments)

    assert str(caught.value) == message


def test_bytes_of_a_type_of_your_own_may_have_any_body_and_name() -> None:
    resource = xds.resource_from_bytes("example.com/own.Type", "a", b"\x0a\x01b")

    assert (resource.type_url, resource.name) == ("example.com/own.Type", "a")


@pytest.mark.parametrize("ttl", ["5", True, float("nan"), float("inf"), 1e12])
def test_a_ttl_that_cannot_be_encoded_is_refused(ttl: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^the TTL of Cluster 'a' "):
        xds.resource_from_message(Cluster(name="a"), ttl=ttl)
