"""What a scrape shows of what happened on streams."""

from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from control_plane.metrics import Metrics
from control_plane.source import SourceStats
from xds.events import (
    Acked,
    Event,
    LookupFailed,
    Nacked,
    NamesSkipped,
    Sent,
    SlowClient,
    StreamClosed,
    StreamOpened,
    TypeNotServed,
)
from xds.source import Node
from xds.types import CLUSTER

NODE = Node(id="cloud-1/envoy", cluster="cloud-1", metadata={})
TYPE = CLUSTER


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def scrape(metrics: Metrics) -> dict[str, float]:
    """Return the samples of our one type URL, and those without a type."""
    text = generate_latest(metrics.registry).decode()
    samples: list[Any] = []
    for family in text_string_to_metric_families(text):
        samples += family.samples
    for sample in samples:
        assert sample.labels in ({}, {"type_url": TYPE})
    return {sample.name: sample.value for sample in samples}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            Sent(TYPE, resources=3, removed=2, size=500),
            {
                "xds_responses_total": 1,
                "xds_resources_sent_total": 3,
                "xds_removals_sent_total": 2,
                "xds_sent_bytes_total": 500,
            },
        ),
        (Acked(TYPE), {"xds_acks_total": 1}),
        (Nacked(TYPE, ("a", "b"), 13, "bad"), {"xds_nacks_total": 1}),
        (NamesSkipped(TYPE, 4), {"xds_names_skipped_total": 4}),
        (TypeNotServed(TYPE), {"xds_types_not_served_total": 1}),
        (LookupFailed(TYPE, "a", ValueError()), {"xds_lookups_failed_total": 1}),
        (SlowClient(TYPE), {"xds_slow_clients_total": 1}),
    ],
)
def test_every_event_is_counted_by_its_type(
    metrics: Metrics, event: Event, expected: dict[str, float]
) -> None:
    before = scrape(metrics)
    metrics.observe(NODE, event)
    after = {name: value for name, value in scrape(metrics).items() if "_created" not in name}

    assert {name: value for name, value in after.items() if value != before.get(name)} == expected


def test_open_streams_are_those_that_named_their_node(metrics: Metrics) -> None:
    metrics.observe(None, StreamClosed("INVALID_ARGUMENT"))
    for _ in range(2):
        metrics.observe(NODE, StreamOpened())
    metrics.observe(NODE, StreamClosed("OK"))

    assert scrape(metrics)["xds_streams"] == 1


def test_a_source_is_asked_at_each_scrape(metrics: Metrics) -> None:
    stats = SourceStats()
    metrics.watch_source(lambda: stats)
    before = scrape(metrics)
    stats = SourceStats(targets=3, compiled=5, refused=7)
    after = scrape(metrics)

    assert before["scopeway_targets_in_use"] == 0
    assert after["scopeway_targets_in_use"] == 3
    assert after["scopeway_clusters_compiled_total"] == 5
    assert after["scopeway_targets_refused_total"] == 7


def test_types_that_clients_invent_share_one_label(metrics: Metrics) -> None:
    for number in range(3):
        metrics.observe(NODE, TypeNotServed(f"type.googleapis.com/invented.{number}"))

    text = generate_latest(metrics.registry).decode()
    assert 'xds_types_not_served_total{type_url="other"} 3.0' in text
    assert "invented" not in text
