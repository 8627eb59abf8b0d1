"""The metrics that a scrape gets after events of streams."""

from importlib.metadata import version
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scopeway.control_plane.admin.metrics import Metrics
from scopeway.control_plane.serving.stats import SourceStats
from scopeway.xds.events import (
    Acked,
    Event,
    LookupFailed,
    Nacked,
    NamesSkipped,
    Sent,
    SlowClient,
    StreamClosed,
    StreamDelayed,
    StreamOpened,
    StreamRefused,
    TypeNotServed,
)
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER

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
    return {
        sample.name: sample.value
        for sample in samples
        if sample.labels in ({}, {"type_url": TYPE}) and not sample.name.startswith("process_")
    }


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
        (
            Acked(TYPE, 0.25),
            {"xds_acks_total": 1, "xds_ack_seconds_count": 1, "xds_ack_seconds_sum": 0.25},
        ),
        (Nacked(TYPE, ("a", "b"), 13, "bad"), {"xds_nacks_total": 1}),
        (NamesSkipped(TYPE, 4), {"xds_names_skipped_total": 4}),
        (TypeNotServed(TYPE), {"xds_types_not_served_total": 1}),
        (LookupFailed(TYPE, "a", ValueError()), {"xds_lookups_failed_total": 1}),
        (StreamDelayed(0.5), {"xds_streams_held_total": 1}),
        (StreamRefused(5.0), {"xds_streams_refused_total": 1}),
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


def test_open_streams_are_counted_when_they_have_named_their_node(metrics: Metrics) -> None:
    metrics.observe(None, StreamClosed("INVALID_ARGUMENT"))
    for _ in range(2):
        metrics.observe(NODE, StreamOpened())
    metrics.observe(NODE, StreamClosed("OK"))

    assert scrape(metrics)["xds_streams"] == 1


def test_streams_that_ended_are_counted_by_their_status(metrics: Metrics) -> None:
    for status in ("OK", "OK", "PERMISSION_DENIED"):
        metrics.observe(NODE, StreamClosed(status))
    value = metrics.registry.get_sample_value

    assert value("xds_streams_ended_total", {"status": "OK"}) == 2
    assert value("xds_streams_ended_total", {"status": "PERMISSION_DENIED"}) == 1


def test_metrics_show_the_version_and_the_memory_of_the_process(metrics: Metrics) -> None:
    value = metrics.registry.get_sample_value

    assert value("scopeway_build_info", {"version": version("scopeway")}) == 1
    assert (value("process_resident_memory_bytes") or 0) > 0


def test_the_statistics_of_a_source_are_read_at_each_scrape(metrics: Metrics) -> None:
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


def test_skipped_clouds_are_counted_by_cause_and_not_by_name(metrics: Metrics) -> None:
    stats = SourceStats(skipped={"cordoned": 3})
    metrics.watch_source(lambda: stats)
    value = metrics.registry.get_sample_value

    assert value("scopeway_clouds_passed_over_total", {"cause": "cordoned"}) == 3
    assert value("scopeway_clouds_passed_over_total", {"cause": "policy"}) == 0


def test_the_compilation_time_is_a_histogram(metrics: Metrics) -> None:
    stats = SourceStats(answers=[5, 0, 1, 0, 0, 0, 0, 2], answer_seconds=1.5)
    metrics.watch_source(lambda: stats)
    value = metrics.registry.get_sample_value

    assert value("scopeway_compile_seconds_bucket", {"le": "0.0001"}) == 5
    assert value("scopeway_compile_seconds_bucket", {"le": "0.0005"}) == 6
    assert value("scopeway_compile_seconds_bucket", {"le": "+Inf"}) == 8
    assert value("scopeway_compile_seconds_count") == 8
    assert value("scopeway_compile_seconds_sum") == 1.5


def test_results_of_status_are_counted_with_a_bound_on_labels(metrics: Metrics) -> None:
    for what, result in (("write", "written"), ("write", "strange"), ("event", "dropped")):
        metrics.count_status(what, result)
    sample = metrics.registry.get_sample_value

    assert sample("scopeway_status_writes_total", {"result": "written"}) == 1
    assert sample("scopeway_status_writes_total", {"result": "other"}) == 1
    assert sample("scopeway_status_writes_total", {"result": "denied"}) == 0
    assert sample("scopeway_status_events_total", {"result": "dropped"}) == 1
