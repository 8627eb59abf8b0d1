"""What a collector counts."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from harness.collector_site import collector_site
from harness.fake_clouds import images, json_answer
from scopeway.control_plane.collector.metrics import CollectorMetrics


@pytest.mark.asyncio
async def test_requests_and_sub_requests_are_counted_by_what_became_of_them() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1"), "b": json_answer({}, 500)}
        await site.client.ask("/v2/images", ["a", "b", "c"])
        await site.client.ask("/v2/images/1", ["c"])
        await site.client.ask("/v2/images?marker=x", ["a"])
        registry = CollectorRegistry()
        registry.register(CollectorMetrics(site.collector.snapshot))
        lines = generate_latest(registry).decode().splitlines()

    found = {line for line in lines if line.startswith("scopeway_collector_")}
    assert {
        'scopeway_collector_requests_total{status="2xx",way="union"} 1.0',
        'scopeway_collector_requests_total{status="4xx",way="one"} 1.0',
        'scopeway_collector_requests_total{status="4xx",way="union"} 1.0',
        "scopeway_collector_sub_requests_total 4.0",
        "scopeway_collector_sub_requests_answered_total 1.0",
        'scopeway_collector_sub_requests_failed_total{cause="error"} 3.0',
        "scopeway_collector_request_seconds_count 3.0",
        "scopeway_collector_held_bytes 0.0",
    } <= found
