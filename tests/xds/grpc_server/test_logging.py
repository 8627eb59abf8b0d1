"""The log lines about streams: each names the node, the type and the resource it is about."""

import logging

import pytest

from scopeway.xds.events import (
    Event,
    Kept,
    LookupFailed,
    Nacked,
    NamesSkipped,
    SlowClient,
    StreamClosed,
    Throttled,
    TypeNotServed,
)
from scopeway.xds.grpc_server.logging import StreamLog
from scopeway.xds.type_urls import CLUSTER

LINES = {
    "lookup": (
        LookupFailed(CLUSTER, "a", KeyError("x"), 2.0),
        "resource lookup failed, will retry in 2 s: type {type}, resource a, node n/1: KeyError:"
        " 'x'",
    ),
    "lookup that is not repeated": (
        LookupFailed(CLUSTER, "a", ValueError("bad")),
        "resource lookup failed: type {type}, resource a, node n/1: ValueError: bad",
    ),
    "nack": (
        Nacked(CLUSTER, ("a", "b"), 13, "no such filter"),
        "client rejected a response (NACK): node n/1, type {type}, resources ['a', 'b']: no such"
        " filter",
    ),
    "closed": (
        StreamClosed("PERMISSION_DENIED", "unknown node"),
        "stream ended with PERMISSION_DENIED: node n/1: unknown node",
    ),
    "throttled": (
        Throttled(0.25),
        "client has used up its CPU budget, its requests and responses wait for 0.250 s: node n/1",
    ),
    "kept": (
        Kept(CLUSTER, 3),
        "client keeps the resources that it reported, because the source is outdated: node n/1, "
        "type {type}, resources: 3",
    ),
    "skipped": (
        NamesSkipped(CLUSTER, 3),
        "skipped resource names that are too long, not UTF-8 or over the limit: node n/1, "
        "type {type}, names: 3",
    ),
    "not served": (
        TypeNotServed(CLUSTER),
        "client requested a type that the source does not serve: node n/1, type {type}",
    ),
    "slow": (
        SlowClient(CLUSTER),
        "client did not read a response in time, ending its stream: node n/1, type {type}",
    ),
}


@pytest.mark.parametrize(("event", "text"), LINES.values(), ids=LINES)
def test_a_log_line_names_node_type_and_resource(
    event: Event, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "scopeway.xds"):
        StreamLog().log("n/1", event)
    (record,) = caplog.records

    assert record.getMessage() == text.format(type=CLUSTER)


def test_the_fields_of_a_log_line_are_fields_of_its_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = KeyError("x")
    StreamLog().log("n/1", LookupFailed(CLUSTER, "a", error, 2.0))
    StreamLog().log("n/1", Nacked(CLUSTER, ("a", "b"), 13, "no such filter"))
    lookup, nack = map(vars, caplog.records)

    assert (lookup["node"], lookup["type_url"], lookup["resource_name"]) == ("n/1", CLUSTER, "a")
    assert lookup["exc_info"][1] is error
    assert (nack["node"], nack["type_url"], nack["names"]) == ("n/1", CLUSTER, ["a", "b"])
